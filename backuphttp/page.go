package backuphttp

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
)

// The page "Backup & Restore" for people: all paths except those below api/. The answer
// to a form is a redirect. If something is wrong, it is the same page again, which says
// what is wrong and has kept what the person has typed.

// A service is what the pages need of the Handler (model.go).
type service interface {
	overview(ctx context.Context) (overview, error)
	create(ctx context.Context, include []string) (job, error)
	verify(ctx context.Context, name string) (job, error)
	file(ctx context.Context, name string) (download, error)
	delete(ctx context.Context, name, confirm string) error
	accept(ctx context.Context, name string) error
	prunePreview(ctx context.Context, s Settings) ([]manager.Pruned, error)
	prune(ctx context.Context) (job, error)
	job(id string) (job, error)
	atWork() string
	mostUpload() int64
	upload(ctx context.Context, name string, r io.Reader) (restoreInfo, error)
	look(ctx context.Context, name string) (restoreInfo, error)
	lookUndo(ctx context.Context) (restoreInfo, error)
	restore(id string) (restoreInfo, error)
	unlock(ctx context.Context, id string, key []byte) (restoreInfo, error)
	plan(ctx context.Context, id string, in planInput) (restoreInfo, error)
	changes(ctx context.Context, id, plan string, from, most int) ([]backup.Change, bool, error)
	apply(ctx context.Context, id, plan, confirm string) (job, error)
	salvage(ctx context.Context, id string) (job, error)
	salvaged(id string) (download, error)
	discard(id string) error
	settings() Settings
	save(ctx context.Context, s Settings, force bool) error
	probe(ctx context.Context, s Settings) ([]manager.Copy, error)
	log(what string, err error)
}

// pages serve the page for people.
type pages struct {
	service
	opts  Options
	title string // the name of the host for people
	base  func(*http.Request) string
	allow func(Action, http.Handler) http.Handler
}

func (h *Handler) pages() *pages {
	return &pages{service: h, opts: h.opts, title: h.title(), base: h.base, allow: h.allow}
}

// A route is a path of the page, and the Action that it takes.
type route struct {
	pattern string
	action  Action
	serve   func(http.ResponseWriter, *http.Request) error
}

func (p *pages) routes() []route {
	return []route{
		{"GET /{$}", View, p.showOverview},
		{"GET /style.css", View, asset("style.css", "text/css; charset=utf-8")},
		{"GET /page.js", View, asset("page.js", "text/javascript; charset=utf-8")},

		{"POST /create", Create, p.doCreate},
		{"GET /backups/{name}/download", Download, p.download},
		{"POST /backups/{name}/verify", Create, p.doVerify},
		{"POST /backups/{name}/accept", Delete, p.doAccept},
		{"GET /backups/{name}/delete", Delete, p.showDelete},
		{"POST /backups/{name}/delete", Delete, p.doDelete},
		{"GET /jobs/{id}", View, p.showJob},

		{"GET /restore", Restore, p.showChoose},
		{"POST /upload", Restore, p.doUpload},
		{"POST /look", Restore, p.doLook},
		{"POST /undo", Restore, p.doUndo},
		{"GET /restore/{id}", Restore, p.showRestore},
		{"POST /restore/{id}/unlock", Restore, p.doUnlock},
		{"POST /restore/{id}/salvage", Restore, p.doSalvage},
		{"GET /restore/{id}/download", Download, p.downloadSalvaged},
		{"POST /restore/{id}/discard", Restore, p.doDiscard},
		{"GET /restore/{id}/plan", Restore, p.showPlan},
		{"POST /restore/{id}/plan", Restore, p.doPlan},
		{"POST /restore/{id}/apply", Restore, p.doApply},

		{"GET /settings", View, p.showSettings},
		{"POST /settings", Configure, p.doSettings},
		{"GET /prune", View, p.showPrune},
		{"POST /prune", Delete, p.doPrune},
	}
}

// maxForm limits the size of a form without a file.
const maxForm = 1 << 20

func (p *pages) handler() http.Handler {
	mux := http.NewServeMux()
	for _, route := range p.routes() {
		mux.Handle(route.pattern, p.allow(route.action, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var err error
			if route.pattern != "POST /upload" {
				r.Body = http.MaxBytesReader(w, r.Body, maxForm)
				err = unreadable(r.ParseForm(), "the form cannot be read: load the page again, then send the form again")
			}
			if err == nil {
				err = route.serve(w, r)
			}
			if err != nil {
				p.showError(w, r, err)
			}
		})))
	}
	mux.Handle("/", p.allow(View, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.showError(w, r, fmt.Errorf("there is no such page: %w", fs.ErrNotExist))
	})))
	return mux
}

// unreadable replaces the error of a form that cannot be read by a text for people,
// unless the form is too large.
func unreadable(err error, text string) error {
	if err == nil || errors.As(err, new(*http.MaxBytesError)) {
		return err
	}
	return invalid("unreadable", "%s", text)
}

var (
	//go:embed page
	pageFiles embed.FS
	templates = parse()
	versions  = map[string]string{"style.css": version("style.css"), "page.js": version("page.js")}
)

// parse returns the template of each page: page/base.html with the "main" of the page.
func parse() map[string]*template.Template {
	common := template.Must(template.New("").Funcs(functions).ParseFS(pageFiles, "page/base.html", "page/parts.html"))
	files, err := fs.Glob(pageFiles, "page/*.html")
	if err != nil {
		panic(err)
	}
	parsed := make(map[string]*template.Template)
	for _, file := range files {
		name := strings.TrimSuffix(strings.TrimPrefix(file, "page/"), ".html")
		if name != "base" && name != "parts" {
			parsed[name] = template.Must(template.Must(common.Clone()).ParseFS(pageFiles, file))
		}
	}
	return parsed
}

// version changes with the content of a file, so that a browser loads the file again.
func version(file string) string {
	sum := sha256.Sum256(read(file))
	return hex.EncodeToString(sum[:8])
}

func read(file string) []byte {
	content, err := pageFiles.ReadFile("page/" + file)
	if err != nil {
		panic(err)
	}
	return content
}

func asset(file, contentType string) func(http.ResponseWriter, *http.Request) error {
	content := read(file)
	return func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Cache-Control", "private, max-age=31536000, immutable")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
		return nil
	}
}

// A frame is the part that all pages share. The data of a page embeds it.
type frame struct {
	Base    string // the beginning of all links
	Host    string // the name of the host for people
	Home    string // where "Back" leads; may be empty
	Title   string
	Focus   bool              // put the focus on the title: the page answers a form
	Problem string            // what went wrong, and what to do next
	Busy    bool              // the problem is that something else is running
	AtWork  string            // the ID of that, if it is a job
	Invalid map[string]string // by field of the form: what is wrong with it
	Done    string            // what has been done
	Refresh bool              // reload the page every few seconds if there is no JavaScript

	zone *time.Location
	can  func(Action) bool
}

func (p *pages) frame(r *http.Request, title string) *frame {
	return &frame{
		Base:  p.base(r),
		Host:  p.title,
		Home:  p.opts.Home,
		Title: title,
		zone:  zoneOf(p.settings()),
		can:   func(a Action) bool { return p.opts.Authorize(r, a) == nil },
	}
}

// Can tells whether the person may do something, so that the page offers it.
func (f *frame) Can(a Action) bool { return f.can(a) }

// When formats a time. JavaScript replaces it by a time in the zone of the browser.
func (f *frame) When(t time.Time) string { return t.In(f.zone).Format("2 Jan 2006, 15:04 MST") }

// problem puts an error on a page, if it is not nil, and returns the status of the
// answer.
func (p *pages) problem(f *frame, err error) int {
	if err == nil {
		return http.StatusOK
	}
	if f.Problem, f.Busy = err.Error(), errors.Is(err, location.ErrBusy); f.Busy {
		f.AtWork = p.atWork()
	}
	code, _ := classify(err)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		f.Problem = tooLarge(large.Limit, f.Host)
	case code >= 500 && code != http.StatusServiceUnavailable:
		p.log("a page", err)
	}
	return code
}

// show answers with a page. data embeds a frame.
func (p *pages) show(w http.ResponseWriter, code int, page string, data any) error {
	var b bytes.Buffer
	if err := templates[page].ExecuteTemplate(&b, "base", data); err != nil {
		p.log("show a page", err)
		http.Error(w, "This page cannot be shown. The log of the application says why.", http.StatusInternalServerError)
		return nil
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = w.Write(visible(b.Bytes())) // an error means that the client is gone
	return nil
}

// showError answers with a page that only says what went wrong.
func (p *pages) showError(w http.ResponseWriter, r *http.Request, err error) {
	f := p.frame(r, "That did not work")
	code := p.problem(f, err)
	retryAfter(w, err)
	_ = p.show(w, code, "error", f)
}

// next sends the browser to another page.
func (p *pages) next(w http.ResponseWriter, r *http.Request, path string) error {
	http.Redirect(w, r, p.base(r)+path, http.StatusSeeOther)
	return nil
}

// visible escapes control characters and those that change the direction of text. They
// could make a page look different from what it says. Names and values may come from a
// hostile file, and those of an honest file do not need such characters.
func visible(page []byte) []byte {
	hidden := func(r rune) bool {
		return r < ' ' && r != '\n' && r != '\t' && r != '\r' || 0x7f <= r && r < 0xa0 ||
			slices.Contains([]rune{0x061c, 0x200e, 0x200f, 0xfeff}, r) || 0x202a <= r && r <= 0x202e || 0x2066 <= r && r <= 0x2069
	}
	page = bytes.ToValidUTF8(page, []byte("\uFFFD"))
	if bytes.IndexFunc(page, hidden) < 0 {
		return page
	}
	var b bytes.Buffer
	for _, r := range string(page) {
		if hidden(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.Bytes()
}
