package web

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tomo-project/backup"
)

// A server is a record of the collection servers, with the members that are
// shown. Secrets are not shown: the form says only whether there is one.
type server struct {
	ID          string   `json:"id"`
	Name        string   `json:"name"`
	Description string   `json:"description"`
	Host        string   `json:"host"`
	Port        int      `json:"port"`
	User        string   `json:"user"`
	AuthMethod  string   `json:"auth_method"`
	Jump        string   `json:"jump_server_id"`
	Tags        []string `json:"tags"`
}

func (r *request) servers() error {
	servers, err := r.allServers()
	if err != nil {
		return err
	}
	return r.show(http.StatusOK, "servers", "Servers", servers)
}

func (r *request) allServers() (servers []server, err error) {
	err = r.store.View(r.Context(), func(reader backup.Reader) error {
		servers, err = all[server](r.Context(), reader, "servers")
		return err
	})
	slices.SortStableFunc(servers, func(a, b server) int { return strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)) })
	return servers, err
}

// A serverForm is what a person enters. If something is wrong with it, the form
// is shown again, without the secrets.
type serverForm struct {
	ID                                                string // empty for a new server
	Name, Description, Host, Port, User, Method, Tags string
	Jump                                              string
	Others                                            []server // servers to connect through

	HasPassword, HasPrivateKey, HasPassphrase bool // the secret is stored
	password, privateKey, passphrase          string
	problems
}

// The names of the fields with secrets.
var secretFields = []string{"password", "private_key", "passphrase"}

func (r *request) newServer() error {
	return r.showServer(http.StatusOK, serverForm{Port: "22", User: "root", Method: "agent"})
}

func (r *request) server() error {
	o, f, err := r.readServer()
	if err != nil {
		return err
	}
	f.stored(o)
	return r.showServer(http.StatusOK, f)
}

// readServer returns the server in the address, and a form with its values.
func (r *request) readServer() (o object, f serverForm, err error) {
	id := r.PathValue("id")
	err = r.store.View(r.Context(), func(reader backup.Reader) error {
		for record, err := range reader.Records(r.Context(), "servers") {
			if err != nil {
				return err
			}
			if record.Key != id {
				continue
			}
			var s server
			if err := errors.Join(json.Unmarshal(record.Value, &o), json.Unmarshal(record.Value, &s)); err != nil {
				return err
			}
			f = serverForm{ID: s.ID, Name: s.Name, Description: s.Description, Host: s.Host, Port: strconv.Itoa(s.Port), User: s.User, Method: s.AuthMethod, Tags: strings.Join(s.Tags, ", "), Jump: s.Jump}
			return nil
		}
		return errGone
	})
	return o, f, err
}

// stored notes which secrets are stored.
func (f *serverForm) stored(o object) {
	f.HasPassword, f.HasPrivateKey, f.HasPassphrase = o.has("password"), o.has("private_key"), o.has("passphrase")
}

func (r *request) showServer(status int, f serverForm) error {
	servers, err := r.allServers()
	if err != nil {
		return err
	}
	f.Others = slices.DeleteFunc(servers, func(s server) bool { return s.ID == f.ID })
	title := "Add a server"
	if f.ID != "" {
		title = "Server " + f.Name
	}
	return r.show(status, "server", title, f)
}

func (r *request) addServer() error { return r.writeServer(strings.ToLower(rand.Text()), true) }

func (r *request) saveServer() error { return r.writeServer(r.PathValue("id"), false) }

func (r *request) writeServer(id string, isNew bool) error {
	f := r.serverForm()
	if !isNew {
		f.ID = id
	}
	now := time.Now().UTC().Format(time.RFC3339)
	err := change(r.Context(), r.store, func(t tx) error {
		o := object{}
		var err error
		if isNew {
			o.set("id", id)
			o.set("created_at", now)
		} else if o, err = lookup(r.Context(), t, "servers", id); err != nil {
			return err
		}
		f.stored(o)
		f.problems = nil
		if err := f.check(r.Context(), t); err != nil {
			return err
		}
		f.fill(o)
		o.set("updated_at", now)
		return o.put(r.Context(), t, "servers", id)
	})
	if errors.Is(err, errForm) {
		return r.showServer(http.StatusUnprocessableEntity, f)
	}
	if err != nil {
		return err
	}
	r.Logger.Info("server saved", "server", id, "by", r.user.Username)
	if isNew {
		return r.done("/servers", "added")
	}
	return r.done("/servers", "saved")
}

// errForm: something that was entered is wrong, and the form says what.
var errForm = errors.New("the form is not valid")

func (r *request) serverForm() serverForm {
	text := func(name string) string { return strings.TrimSpace(r.PostFormValue(name)) }
	return serverForm{
		Name: text("name"), Description: strings.ReplaceAll(text("description"), "\r\n", "\n"), Host: text("host"), Port: text("port"), User: text("user"),
		Method: text("auth_method"), Tags: text("tags"), Jump: text("jump_server_id"),
		password: r.PostFormValue("password"), privateKey: strings.ReplaceAll(r.PostFormValue("private_key"), "\r\n", "\n"), passphrase: r.PostFormValue("passphrase"),
	}
}

// The rules of package tomo. A server that breaks them could not be in a
// backup.
var (
	serverHost = regexp.MustCompile(`^[^\s/@]+$`)
	serverUser = regexp.MustCompile(`^[^\s:@]+$`)
)

// check finds what is wrong with a form. Stored secrets need not be entered
// again.
func (f *serverForm) check(ctx context.Context, t tx) error {
	wrong := func(field string, is bool, text string) {
		if is {
			f.add(field, text)
		}
	}
	long := func(s string, most int) bool { return len([]rune(s)) > most }
	port, err := strconv.Atoi(f.Port)
	wrong("name", f.Name == "" || long(f.Name, 100), "Enter a name of at most 100 characters.")
	wrong("host", !serverHost.MatchString(f.Host) || long(f.Host, 253), "Enter a host name or IP address, such as nas.example.org or 10.0.0.2.")
	wrong("port", err != nil || port < 1 || port > 65535, "Enter a port from 1 to 65535; SSH uses 22.")
	wrong("user", !serverUser.MatchString(f.User) || long(f.User, 64), "Enter the name of the user on the server, without spaces, : or @.")
	wrong("tags", slices.ContainsFunc(f.tags(), func(tag string) bool { return long(tag, 100) }), "Enter tags of at most 100 characters each.")
	wrong("description", long(f.Description, 10_000), "Enter at most 10,000 characters.")
	switch f.Method {
	case "agent":
	case "password":
		wrong("password", f.password == "" && !f.HasPassword, "Enter the password of the user on the server.")
	case "private_key":
		wrong("private_key", f.privateKey == "" && !f.HasPrivateKey, "Paste the private key.")
	default:
		f.add("auth_method", "Choose how Tomo logs in to the server.")
	}
	if f.Jump != "" {
		found, err := t.Lookup(ctx, "servers", []string{f.Jump})
		if err != nil {
			return err
		}
		wrong("jump_server_id", len(found) == 0 || f.Jump == f.ID, "Choose another server that exists.")
	}
	if len(f.problems) > 0 {
		return errForm
	}
	return nil
}

func (f *serverForm) tags() []string {
	tags := []string{}
	for tag := range strings.SplitSeq(f.Tags, ",") {
		if tag = strings.TrimSpace(tag); tag != "" && !slices.Contains(tags, tag) {
			tags = append(tags, tag)
		}
	}
	return tags
}

// fill puts the form into a record. A secret that was left empty stays; a
// secret that the method does not need is removed.
func (f *serverForm) fill(o object) {
	port, _ := strconv.Atoi(f.Port)
	o.set("name", f.Name)
	o.set("description", f.Description)
	o.set("host", f.Host)
	o.set("port", port)
	o.set("user", f.User)
	o.set("auth_method", f.Method)
	o.set("jump_server_id", f.Jump)
	o.set("tags", f.tags())
	needs := map[string][]string{"password": {"password"}, "private_key": {"private_key", "passphrase"}}[f.Method]
	entered := map[string]string{"password": f.password, "private_key": f.privateKey, "passphrase": f.passphrase}
	for _, field := range secretFields {
		switch {
		case !slices.Contains(needs, field):
			o.set(field, nil)
		case entered[field] != "":
			o.set(field, entered[field])
		}
	}
	if f.Method == "private_key" && f.privateKey != "" && f.passphrase == "" {
		o.set("passphrase", nil) // the passphrase belonged to the old key
	}
}

// A deletion is the question before something is deleted.
type deletion struct {
	Name, What, Back string
	problems
}

func (r *request) askDeleteServer() error {
	_, f, err := r.readServer()
	if err != nil {
		return err
	}
	return r.showDeleteServer(http.StatusOK, f.Name, nil)
}

func (r *request) showDeleteServer(status int, name string, p problems) error {
	return r.show(status, "delete", "Delete "+name, deletion{Name: name, What: "server", Back: "/servers", problems: p})
}

func (r *request) deleteServer() error {
	_, f, err := r.readServer()
	if err != nil {
		return err
	}
	err = change(r.Context(), r.store, func(t tx) error { return t.Delete(r.Context(), "servers", []string{f.ID}) })
	if errors.Is(err, backup.ErrDangling) {
		return r.showDeleteServer(http.StatusConflict, f.Name, problems{{"", "Applications run on it, or other servers are reached through it. Move them first."}})
	}
	if err != nil {
		return err
	}
	r.Logger.Info("server deleted", "server", f.ID, "by", r.user.Username)
	return r.done("/servers", "deleted")
}
