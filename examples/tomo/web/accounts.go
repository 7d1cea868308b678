package web

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuphttp"
)

// A User is a record of the collection users, with the members that matter
// here.
type User struct {
	ID           string `json:"id"`
	Username     string `json:"username"`
	Email        string `json:"email"`
	PasswordHash string `json:"password_hash"`
	TOTPSecret   string `json:"totp_secret"`
	Role         string `json:"role"` // "admin", "operator" or "viewer"
	Disabled     bool   `json:"disabled"`
}

// Admin tells whether the user may do everything.
func (u User) Admin() bool { return u.Role == "admin" }

// Edits tells whether the user may change servers.
func (u User) Edits() bool { return u.Admin() || u.Role == "operator" }

// CanLogIn tells whether the user can log in here. Some users of Tomo cannot:
// those with a second factor, which this program must not skip, and those whose
// hash is not bcrypt's or takes minutes to check.
func (u User) CanLogIn() bool {
	cost, err := bcrypt.Cost([]byte(u.PasswordHash))
	return err == nil && cost <= maxCost && !u.Disabled && u.TOTPSecret == ""
}

const (
	passwordCost = bcrypt.DefaultCost
	maxCost      = 14 // takes about a second

	minPassword = 10
	maxPassword = 72 // in bytes; bcrypt ignores the rest
)

// checkPassword says what is wrong with a new password.
func checkPassword(password string) string {
	switch {
	case len([]rune(password)) < minPassword:
		return fmt.Sprintf("Choose a password of at least %d characters.", minPassword)
	case len(password) > maxPassword:
		return fmt.Sprintf("Choose a password of at most %d bytes.", maxPassword)
	}
	return ""
}

// Accounts knows who is logged in. It lives as long as the process, whatever is
// restored meanwhile: each request is checked against the users of that moment.
type Accounts struct {
	// Proxy says that a reverse proxy in front sets X-Forwarded-For and
	// X-Forwarded-Proto. Without it, the limit of logins counts the proxy, and
	// the cookie is Secure only if this server itself speaks TLS.
	Proxy bool

	store backup.Store
	log   *slog.Logger

	mu       sync.Mutex
	timeout  time.Duration
	sessions map[string]session // by the token in the cookie
	over     map[string]bool    // tokens of sessions that ended because their users have changed

	attempts attempts
	hashing  chan struct{} // limits how many passwords are checked at a time
}

// A session ends when its user is gone or disabled, or has another password. It
// is in no database, so it is in no backup.
type session struct {
	user, hash string
	seen       time.Time
}

// NewAccounts returns the accounts of the users in store.
func NewAccounts(store backup.Store, log *slog.Logger) *Accounts {
	return &Accounts{store: store, log: log, timeout: 12 * time.Hour, sessions: map[string]session{}, over: map[string]bool{}, hashing: make(chan struct{}, 2)}
}

// Reload drops the sessions of users who are gone. timeout is how long a
// session lasts without a request.
func (a *Accounts) Reload(ctx context.Context, timeout time.Duration) error {
	users, err := a.users(ctx)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.timeout = timeout
	for token, s := range a.sessions {
		if !a.valid(s, find(users, func(u User) bool { return u.ID == s.user })) {
			a.drop(token)
		}
	}
	return nil
}

// drop ends a session that is not valid any more, and remembers the reason for
// its browser.
func (a *Accounts) drop(token string) {
	s, ok := a.sessions[token]
	if !ok {
		return
	}
	delete(a.sessions, token)
	if time.Since(s.seen) >= a.timeout {
		return
	}
	if len(a.over) >= mostOver {
		clear(a.over)
	}
	a.over[token] = true
}

// mostOver limits how many ended sessions are remembered.
const mostOver = 1000

// putOut tells whether the session of a request ended because its user is gone,
// cannot log in any more or has another password.
func (a *Accounts) putOut(r *http.Request) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.over[sessionOf(r)]
}

// valid tells whether a session is still valid. u is its user as stored now, or
// nil.
func (a *Accounts) valid(s session, u *User) bool {
	return u != nil && u.CanLogIn() && subtle.ConstantTimeCompare([]byte(s.hash), []byte(u.PasswordHash)) == 1 && time.Since(s.seen) < a.timeout
}

func (a *Accounts) users(ctx context.Context) (users []User, err error) {
	err = a.store.View(ctx, func(r backup.Reader) error {
		users, err = all[User](ctx, r, "users")
		return err
	})
	return users, err
}

func find(users []User, is func(User) bool) *User {
	if i := slices.IndexFunc(users, is); i >= 0 {
		return &users[i]
	}
	return nil
}

// admins counts the admins who can log in.
func admins(users []User) (n int) {
	for _, u := range users {
		if u.Admin() && u.CanLogIn() {
			n++
		}
	}
	return n
}

// HasAdmin tells whether an admin can log in.
func (a *Accounts) HasAdmin(ctx context.Context) (bool, error) {
	users, err := a.users(ctx)
	return admins(users) > 0, err
}

// First makes the user admin if there are no users, and returns the password.
func (a *Accounts) First(ctx context.Context) (password string, err error) {
	users, err := a.users(ctx)
	if err != nil || len(users) > 0 {
		return "", err
	}
	password, _, err = a.SetPassword(ctx, "admin")
	return password, err
}

// SetPassword gives a user a new password and returns it. It also removes
// whatever kept the user from logging in. If there is no user of that name, it
// makes an admin.
func (a *Accounts) SetPassword(ctx context.Context, name string) (password string, made bool, err error) {
	if problem := checkUsername(name); problem != "" {
		return "", false, errors.New(problem)
	}
	password = strings.ToLower(rand.Text())
	hash, err := hashPassword(password)
	if err != nil {
		return "", false, err
	}
	err = change(ctx, a.store, func(t tx) error {
		users, err := all[User](ctx, t, "users")
		if err != nil {
			return err
		}
		u := find(users, func(u User) bool { return u.Username == name })
		if made = u == nil; made {
			return putUser(ctx, t, name, "", "admin", hash)
		}
		o, err := lookup(ctx, t, "users", u.ID)
		if err != nil {
			return err
		}
		o.set("password_hash", hash)
		o.set("totp_secret", nil)
		o.set("disabled", false)
		return o.put(ctx, t, "users", u.ID)
	})
	return password, made, err
}

func hashPassword(password string) (string, error) {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), passwordCost)
	return string(hash), err
}

// cookie is the name of the cookie with the token of the session.
const cookie = "tomo_session"

// logIn begins a session if name and password are right, and ends the earlier
// session of the browser. Neither its answer nor its time reveals whether there
// is a user of that name.
func (a *Accounts) logIn(w http.ResponseWriter, r *http.Request, name, password string) error {
	from := origin(r, a.Proxy)
	pair := from + " " + name[:min(len(name), 256)]
	done, err := a.try(r, from, pair)
	if err != nil {
		return err
	}
	defer done()
	users, err := a.users(r.Context())
	if err != nil {
		return err
	}
	u := match(users, name, password)
	if u == nil {
		a.log.Warn("login refused", "from", from) // without the name, because people type passwords there
		return errRefused
	}
	if !u.CanLogIn() {
		a.log.Warn("login refused, although the password is right", "user", u.Username, "from", from)
		return errNotLetIn
	}
	a.attempts.forget(pair)
	a.begin(w, r, *u)
	a.log.Info("logged in", "user", u.Username, "from", from)
	return nil
}

// try counts an attempt, and waits until the password may be checked.
func (a *Accounts) try(r *http.Request, from, pair string) (done func(), err error) {
	if wait := a.attempts.take(time.Now(), from, pair); wait > 0 {
		return nil, &tooOftenError{wait}
	}
	select {
	case a.hashing <- struct{}{}:
		return func() { <-a.hashing }, nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

// confirm returns errRefused unless password is the password of u, who is
// logged in.
func (a *Accounts) confirm(r *http.Request, u User, password string) error {
	from := origin(r, a.Proxy)
	pair := from + " " + u.Username
	done, err := a.try(r, from, pair)
	if err != nil {
		return err
	}
	defer done()
	if match([]User{u}, u.Username, password) == nil {
		a.log.Warn("change of a password refused: the current one was wrong", "user", u.Username, "from", from)
		return errRefused
	}
	a.attempts.forget(pair)
	return nil
}

// match returns the user with this name and password. For a name that nobody
// has, it takes as long as for the user whose password takes longest to check.
func match(users []User, name, password string) *User {
	typed := []byte(password)[:min(len(password), maxPassword)]
	longest := passwordCost
	for i, u := range users {
		cost, err := bcrypt.Cost([]byte(u.PasswordHash))
		if err != nil || cost > maxCost {
			continue
		}
		if u.Username == name {
			if bcrypt.CompareHashAndPassword([]byte(u.PasswordHash), typed) != nil {
				return nil
			}
			return &users[i]
		}
		longest = max(longest, cost)
	}
	bcrypt.GenerateFromPassword(typed, longest)
	return nil
}

// begin gives the browser a new session, and ends its earlier session.
func (a *Accounts) begin(w http.ResponseWriter, r *http.Request, u User) {
	token := rand.Text()
	a.mu.Lock()
	defer a.mu.Unlock()
	for token, s := range a.sessions {
		if time.Since(s.seen) >= a.timeout {
			delete(a.sessions, token)
		}
	}
	delete(a.sessions, sessionOf(r))
	delete(a.over, sessionOf(r))
	a.sessions[token] = session{user: u.ID, hash: u.PasswordHash, seen: time.Now()}
	a.setCookie(w, r, token, 0)
}

// end ends the session of a request.
func (a *Accounts) end(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.sessions, sessionOf(r))
	a.setCookie(w, r, "", -1)
}

// setCookie sets the cookie of the session.
func (a *Accounts) setCookie(w http.ResponseWriter, r *http.Request, token string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: cookie, Value: token, Path: "/", MaxAge: maxAge,
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: secure(r, a.Proxy),
	})
}

func sessionOf(r *http.Request) string {
	c, err := r.Cookie(cookie)
	if err != nil {
		return ""
	}
	return c.Value
}

// user returns the user who sent a request, or nil if nobody is logged in.
func (a *Accounts) user(r *http.Request) (*User, error) {
	token := sessionOf(r)
	a.mu.Lock()
	s, ok := a.sessions[token]
	a.mu.Unlock()
	if !ok {
		return nil, nil
	}
	users, err := a.users(r.Context())
	if err != nil {
		return nil, err
	}
	u := find(users, func(u User) bool { return u.ID == s.user })
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.valid(s, u) {
		a.drop(token)
		return nil, nil
	}
	if _, ok := a.sessions[token]; ok { // it may have ended meanwhile
		s.seen = time.Now()
		a.sessions[token] = s
	}
	return u, nil
}

// Authorize is for [backuphttp.Options]. Everybody may see which backups there
// are. Operators may make and verify backups. Everything else is for admins,
// because a backup contains all data.
func (a *Accounts) Authorize(r *http.Request, action backuphttp.Action) error {
	u, err := a.user(r)
	switch {
	case err != nil:
		return err
	case u == nil:
		return backuphttp.ErrLogin
	case action == backuphttp.View, action == backuphttp.Health, action == backuphttp.Create && u.Edits(), u.Admin():
		return nil
	}
	return errForbidden
}

// Client is for [backuphttp.Options]: the id of the user who is logged in.
func (a *Accounts) Client(r *http.Request) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sessions[sessionOf(r)].user
}
