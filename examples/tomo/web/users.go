package web

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"net/mail"
	"regexp"
	"slices"
	"strings"
	"time"
)

func (r *request) users() error {
	users, err := r.Accounts.users(r.Context())
	if err != nil {
		return err
	}
	slices.SortStableFunc(users, func(a, b User) int { return strings.Compare(strings.ToLower(a.Username), strings.ToLower(b.Username)) })
	return r.show(http.StatusOK, "users", "Users", users)
}

// A userForm is what a person enters. If something is wrong with it, the form
// is shown again, without the password.
type userForm struct {
	Username, Email, Role string
	problems
}

// The rules of package tomo. A user who breaks them could not be in a backup.
var (
	username = regexp.MustCompile(`^[^\s/:]+$`)
	email    = regexp.MustCompile(`^[A-Za-z0-9.!#$%&'*+/=?^_{|}~-]{1,64}@([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
)

func checkUsername(name string) string {
	if !username.MatchString(name) || len([]rune(name)) > 64 {
		return "Enter a name of at most 64 characters, without spaces, / or :."
	}
	return ""
}

func (r *request) newUser() error {
	return r.show(http.StatusOK, "user", "Add a user", userForm{Role: "viewer"})
}

func (r *request) addUser() error {
	f := userForm{Username: strings.TrimSpace(r.PostFormValue("username")), Email: strings.TrimSpace(r.PostFormValue("email")), Role: r.PostFormValue("role")}
	f.add("username", checkUsername(f.Username))
	if _, err := mail.ParseAddress(f.Email); f.Email != "" && (err != nil || len(f.Email) > 254 || !email.MatchString(f.Email)) {
		f.add("email", "Enter an address such as ada@example.org, or none.")
	}
	if !slices.Contains([]string{"admin", "operator", "viewer"}, f.Role) {
		f.add("role", "Choose a role.")
	}
	hash, err := f.password(r)
	if err != nil {
		return err
	}
	if len(f.problems) == 0 {
		err = change(r.Context(), r.store, func(t tx) error {
			users, err := all[User](r.Context(), t, "users")
			if err != nil {
				return err
			}
			if find(users, func(other User) bool { return other.Username == f.Username }) != nil {
				return errForm
			}
			return putUser(r.Context(), t, f.Username, f.Email, f.Role, hash)
		})
		if err == nil {
			r.Logger.Info("user added", "user", f.Username, "role", f.Role, "by", r.user.Username)
			return r.done("/users", "added")
		}
		if !errors.Is(err, errForm) {
			return err
		}
		f.add("username", "There is a user of this name already.")
	}
	return r.show(http.StatusUnprocessableEntity, "user", "Add a user", f)
}

// password returns the hash of a password that was entered twice.
func (p *problems) password(r *request) (hash string, err error) {
	password := r.PostFormValue("password")
	problem := checkPassword(password)
	if problem == "" && password != r.PostFormValue("again") {
		p.add("again", "The two passwords differ. Enter both again.")
	}
	p.add("password", problem)
	if len(*p) > 0 {
		return "", nil
	}
	return hashPassword(password)
}

// putUser adds a user.
func putUser(ctx context.Context, t tx, name, email, role, hash string) error {
	id, o := strings.ToLower(rand.Text()), object{}
	o.set("id", id)
	o.set("username", name)
	o.set("email", email)
	o.set("password_hash", hash)
	o.set("role", role)
	o.set("disabled", false)
	o.set("created_at", time.Now().UTC().Format(time.RFC3339))
	return o.put(ctx, t, "users", id)
}

// readUser returns the user in the address.
func (r *request) readUser() (User, error) {
	users, err := r.Accounts.users(r.Context())
	if err != nil {
		return User{}, err
	}
	u := find(users, func(u User) bool { return u.ID == r.PathValue("id") })
	if u == nil {
		return User{}, errGone
	}
	return *u, nil
}

// A passwordForm is for a new password of a user.
type passwordForm struct {
	Name string
	Self bool
	problems
}

// ownOrAdmin returns the user in the address. It refuses a visitor who is
// neither that user nor an admin.
func (r *request) ownOrAdmin() (User, passwordForm, error) {
	self := r.PathValue("id") == r.user.ID
	if !self && !r.user.Admin() {
		return User{}, passwordForm{}, errForbidden
	}
	u, err := r.readUser()
	return u, passwordForm{Name: u.Username, Self: self}, err
}

func (r *request) password() error {
	_, f, err := r.ownOrAdmin()
	if err != nil {
		return err
	}
	return r.show(http.StatusOK, "password", "Change the password of "+f.Name, f)
}

func (r *request) savePassword() error {
	u, f, err := r.ownOrAdmin()
	if err != nil {
		return err
	}
	status := http.StatusUnprocessableEntity
	if f.Self { // somebody else may be at the keyboard
		var often *tooOftenError
		switch err := r.Accounts.confirm(r.Request, u, r.PostFormValue("current")); {
		case errors.As(err, &often):
			status = http.StatusTooManyRequests
			f.add("current", often.tell(r))
		case errors.Is(err, errRefused):
			f.add("current", "This is not your current password.")
		case err != nil:
			return err
		}
	}
	hash, err := f.problems.password(r)
	if err != nil {
		return err
	}
	if len(f.problems) > 0 {
		return r.show(status, "password", "Change the password of "+f.Name, f)
	}
	err = change(r.Context(), r.store, func(t tx) error {
		o, err := lookup(r.Context(), t, "users", u.ID)
		if err != nil {
			return err
		}
		o.set("password_hash", hash)
		return o.put(r.Context(), t, "users", u.ID)
	})
	if err != nil {
		return err
	}
	r.Logger.Info("password changed", "user", u.Username, "by", r.user.Username)
	if f.Self { // the session belonged to the old password
		u.PasswordHash = hash
		r.Accounts.begin(r.w, r.Request, u)
	}
	if !r.user.Admin() {
		return r.done("/servers", "password")
	}
	return r.done("/users", "password")
}

func (r *request) askDeleteUser() error {
	u, err := r.readUser()
	if err != nil {
		return err
	}
	return r.showDeleteUser(http.StatusOK, u, nil)
}

func (r *request) showDeleteUser(status int, u User, p problems) error {
	return r.show(status, "delete", "Delete "+u.Username, deletion{Name: u.Username, What: "user", Back: "/users", problems: p})
}

func (r *request) deleteUser() error {
	u, err := r.readUser()
	if err != nil {
		return err
	}
	err = change(r.Context(), r.store, func(t tx) error {
		users, err := all[User](r.Context(), t, "users")
		if err != nil {
			return err
		}
		left := slices.DeleteFunc(users, func(other User) bool { return other.ID == u.ID })
		if admins(left) == 0 {
			return errForm
		}
		if err := t.Delete(r.Context(), "preferences", []string{u.ID}); err != nil { // otherwise they would belong to nobody
			return err
		}
		return t.Delete(r.Context(), "users", []string{u.ID})
	})
	if errors.Is(err, errForm) {
		return r.showDeleteUser(http.StatusConflict, u, problems{{"", "Nobody would be left who can log in as an admin. Add another admin first."}})
	}
	if err != nil {
		return err
	}
	r.Logger.Info("user deleted", "user", u.Username, "by", r.user.Username)
	return r.done("/users", "deleted")
}
