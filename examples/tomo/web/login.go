package web

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// loginPage is what the form shows. It does not repeat the password.
type loginPage struct {
	Username, Next string
	PutOut         bool // the session has ended because its user has changed
	problems
}

func (r *request) loginForm() error {
	return r.show(http.StatusOK, "login", "Log in", loginPage{Next: local(r.FormValue("next")), PutOut: r.Accounts.putOut(r.Request)})
}

func (r *request) logIn() error {
	p := loginPage{Username: strings.TrimSpace(r.PostFormValue("username")), Next: local(r.PostFormValue("next")), PutOut: r.Accounts.putOut(r.Request)}
	err := r.Accounts.logIn(r.w, r.Request, p.Username, r.PostFormValue("password"))
	status := http.StatusUnauthorized
	var often *tooOftenError
	switch {
	case err == nil:
		to := p.Next
		if to == "" {
			to = "/"
		}
		http.Redirect(r.w, r.Request, to, http.StatusSeeOther)
		return nil
	case errors.As(err, &often):
		status = http.StatusTooManyRequests
		p.add("password", often.tell(r))
	case errors.Is(err, errNotLetIn):
		status = http.StatusForbidden
		p.add("username", "This account cannot log in: it is disabled, or has a second factor, which is not supported here. The command below helps.")
	case errors.Is(err, errRefused):
		p.add("password", "Name or password is wrong.")
	default:
		return err
	}
	return r.show(status, "login", "Log in", p)
}

// tell tells the browser how long to wait, and returns the text for its user.
func (e *tooOftenError) tell(r *request) string {
	seconds := strconv.Itoa(e.seconds())
	r.w.Header().Set("Retry-After", seconds)
	return "Too many attempts. Wait " + seconds + " seconds and try again."
}

func (r *request) logOut() error {
	r.Accounts.end(r.w, r.Request)
	http.Redirect(r.w, r.Request, LoginPath, http.StatusSeeOther)
	return nil
}

// local returns an address on this server, or "" for any other address.
func local(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "" || u.Host != "" || !strings.HasPrefix(address, "/") ||
		strings.HasPrefix(address, "//") || strings.ContainsAny(address, "\\\t\r\n") {
		return ""
	}
	return address
}
