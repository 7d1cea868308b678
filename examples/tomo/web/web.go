// Package web is what people see of Tomo in a browser, except for the backups:
// they log in, and edit servers and users. The pages are plain forms on the
// collections of package tomo, and work without JavaScript.
package web

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/tomo-project/backup"
)

// Options say what the pages show.
type Options struct {
	Accounts *Accounts
	Backups  http.Handler // serves the page at BackupsPath
	Version  string       // the version of Tomo

	// Busy tells whether an error means that the store cannot be written at
	// present.
	Busy func(error) bool

	Logger *slog.Logger
}

// BackupsPath is the page for backups, and LoginPath the page to log in.
const (
	BackupsPath = "/settings/backup/"
	LoginPath   = "/login"
)

// pages has what the handlers of the pages need.
type pages struct {
	Options
	store backup.Store
}

// New returns the pages. They show the store that contains the users of
// o.Accounts.
func New(o Options) http.Handler {
	p := &pages{o, o.Accounts.store}
	mux := http.NewServeMux()
	mux.HandleFunc(BackupsPath, p.backups)
	mux.Handle("GET /style.css", style)
	mux.Handle("GET /favicon.ico", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))

	page := func(pattern string, show func(*request) error) {
		mux.Handle(pattern, p.page(show))
	}
	everybody := func(User) bool { return true }
	for pattern, of := range map[string]struct {
		may  func(User) bool
		show func(*request) error
	}{
		"GET /{$}":                  {everybody, (*request).home},
		"GET /servers":              {everybody, (*request).servers},
		"GET /servers/new":          {User.Edits, (*request).newServer},
		"POST /servers/new":         {User.Edits, (*request).addServer},
		"GET /servers/{id}":         {User.Edits, (*request).server},
		"POST /servers/{id}":        {User.Edits, (*request).saveServer},
		"GET /servers/{id}/delete":  {User.Edits, (*request).askDeleteServer},
		"POST /servers/{id}/delete": {User.Edits, (*request).deleteServer},
		"GET /users":                {User.Admin, (*request).users},
		"GET /users/new":            {User.Admin, (*request).newUser},
		"POST /users/new":           {User.Admin, (*request).addUser},
		"GET /users/{id}/delete":    {User.Admin, (*request).askDeleteUser},
		"POST /users/{id}/delete":   {User.Admin, (*request).deleteUser},
		"GET /users/{id}/password":  {everybody, (*request).password}, // each user, and admins for others
		"POST /users/{id}/password": {everybody, (*request).savePassword},
		"/":                         {everybody, func(*request) error { return errGone }},
	} {
		page(pattern, func(r *request) error {
			user, err := p.Accounts.user(r.Request)
			switch {
			case err != nil:
				return err
			case user == nil:
				return errNobody
			case !of.may(*user):
				return errForbidden
			}
			r.user = user
			return of.show(r)
		})
	}
	page("GET "+LoginPath, (*request).loginForm)
	page("POST "+LoginPath, (*request).logIn)
	page("POST /logout", (*request).logOut)
	return mux
}

// backups serves the page for backups. Somebody who must log in first comes
// back to the same part of it, such as the report of a restore that ended the
// session.
func (p *pages) backups(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet && !strings.HasPrefix(r.URL.Path, BackupsPath+"api/") {
		if user, err := p.Accounts.user(r); err == nil && user == nil {
			http.Redirect(w, r, loginFor(r), http.StatusSeeOther)
			return
		}
	}
	p.Backups.ServeHTTP(w, r)
}

// loginFor returns the address of the login page, which leads back to the page
// that was asked for.
func loginFor(r *http.Request) string {
	return LoginPath + "?next=" + url.QueryEscape(r.URL.RequestURI())
}

// A request is a request for a page.
type request struct {
	*http.Request
	*pages
	w    http.ResponseWriter
	user *User // nil: nobody is logged in
}

// Answers in place of the page.
var (
	errNobody    = errors.New("nobody is logged in")
	errForbidden = errors.New("the role of the user does not allow it")
	errGone      = errors.New("there is no such page or record")
	errRefused   = errors.New("name or password is wrong")
	errNotLetIn  = errors.New("the account is disabled, or has a second factor")
)

// maxForm limits the size of a form. Backups are uploaded elsewhere. The server
// that serves the pages limits the time.
const maxForm = 1 << 20

// page wraps the handler of every page.
func (p *pages) page(show func(*request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		q := &request{Request: r, pages: p, w: w}
		if r.Method == http.MethodPost {
			r.Body = http.MaxBytesReader(w, r.Body, maxForm)
			if err := r.ParseForm(); err != nil {
				q.problem(http.StatusBadRequest, "The form did not arrive", "It was too large or was cut off. Go back and send it again.")
				return
			}
		}
		if err := show(q); err != nil {
			q.fail(err)
		}
	})
}

// fail answers with the page for an error.
func (r *request) fail(err error) {
	switch {
	case errors.Is(err, errNobody):
		to := LoginPath
		if r.Method == http.MethodGet && r.URL.Path != "/" {
			to = loginFor(r.Request)
		}
		http.Redirect(r.w, r.Request, to, http.StatusSeeOther)
	case errors.Is(err, errForbidden):
		r.problem(http.StatusForbidden, "Not allowed", "Your account may not do this. Ask an admin.")
	case errors.Is(err, errGone):
		r.problem(http.StatusNotFound, "Not found", "There is no such page, or its subject has been deleted meanwhile.")
	case errors.Is(err, context.Canceled) && r.Context().Err() != nil: // nobody reads the answer
	case r.Busy(err):
		r.w.Header().Set("Retry-After", "10")
		r.problem(http.StatusServiceUnavailable, "Tomo is busy", "Somebody else is writing to the database, maybe a restore. Nothing was changed. Go back and try again.")
	default:
		r.Logger.Error("page failed", "method", r.Method, "path", r.URL.Path, "error", err.Error())
		r.problem(http.StatusInternalServerError, "It did not work", "Nothing was changed. The log of tomo serve says why.")
	}
}

// problem answers with a page that only shows a text.
func (r *request) problem(status int, title, text string) {
	r.show(status, "problem", title, text)
}

// done redirects to another page, which says what has happened.
func (r *request) done(to, what string) error {
	http.Redirect(r.w, r.Request, to+"?done="+what, http.StatusSeeOther)
	return nil
}

// What can have happened. The page shows one of these texts, and never a text
// from its address.
var happened = map[string]string{
	"added":    "Added.",
	"saved":    "Saved.",
	"deleted":  "Deleted.",
	"password": "The password is changed. Whoever was logged in with the old one has been logged out.",
}

func (r *request) home() error {
	http.Redirect(r.w, r.Request, "/servers", http.StatusSeeOther)
	return nil
}

var (
	//go:embed templates style.css
	files     embed.FS
	templates = func() map[string]*template.Template {
		all := map[string]*template.Template{}
		for _, name := range []string{"login", "servers", "server", "users", "user", "password", "delete", "problem"} {
			all[name] = template.Must(template.ParseFS(files, "templates/base.html", "templates/"+name+".html"))
		}
		return all
	}()
	style = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		http.ServeFileFS(w, r, files, "style.css")
	})
)

// shown is the input of a template.
type shown struct {
	Title    string
	User     *User
	Section  string // the part of the navigation: "servers" or "users"
	Done     string
	Problems problems
	Version  string
	Backups  string // BackupsPath
	Data     any
}

// show answers with a page.
func (r *request) show(status int, name, title string, data any) error {
	section, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	s := shown{Title: title, User: r.user, Section: section, Done: happened[r.URL.Query().Get("done")], Version: r.Version, Backups: BackupsPath, Data: data}
	if f, ok := data.(interface{ wrong() problems }); ok {
		s.Problems = f.wrong()
	}
	var b bytes.Buffer
	if err := templates[name].ExecuteTemplate(&b, "base.html", s); err != nil {
		return err
	}
	h := r.w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	r.w.WriteHeader(status)
	r.w.Write(b.Bytes())
	return nil
}

// problems are the problems of a form, by the names of its fields.
type problems []problem

type problem struct{ Field, Text string }

func (p *problems) add(field, text string) {
	if text != "" {
		*p = append(*p, problem{field, text})
	}
}

// Of returns the problem of a field.
func (p problems) Of(field string) string {
	for _, problem := range p {
		if problem.Field == field {
			return problem.Text
		}
	}
	return ""
}

func (p problems) wrong() problems { return p }
