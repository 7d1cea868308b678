package tomo

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"

	"github.com/tomo-project/backup"
)

// The schema versions of Tomo's data. A snapshot that does not say its version,
// as in the user's guide, has version 1.
//
// Version 1 keeps the look of the user interface in the users, and has no
// preferences:
//
//	servers       id name description address port user password private_key passphrase host_key jump_server_id tags last_seen created_at updated_at
//	applications  id name server_id repository_id compose env(list of "NAME=value") domains status auto_update created_at updated_at
//	settings      as in version 3 without backup_keep_days, with retention_days and analytics
//	users         id username email password_hash totp_secret admin(boolean) disabled theme language dashboard created_at last_login
//	repositories  id name url type branch token priority last_sync created_at
//	logs          as in version 3
//
// Version 2: servers have host instead of address, and always port and user;
// users have role instead of admin; theme, language and dashboard are in the
// preferences.
//
// Version 3: servers have auth_method and no last_seen; the env of applications
// is an object; the setting retention_days is called backup_keep_days, and
// analytics is gone; repositories always have type and enabled.
//
// A step changes only what is in the old form. Everything else stays, down to
// the bytes of a value. So a document without a schema version also restores if
// its records are already in the newer form. What a step does not understand is
// refused later by the schema, which names the record and the field.

type emitFunc = func(collection string, r backup.Record) error

func from1(_ context.Context, collection string, r backup.Record, emit emitFunc) error {
	o, ok := parse(r.Value)
	if !ok || (collection != "servers" && collection != "users") {
		return emit(collection, r)
	}
	switch collection {
	case "servers":
		o.rename("address", "host")
		o.preset("port", `22`)
		o.preset("user", `"root"`)
	case "users":
		switch string(o["admin"]) {
		case "true":
			o.preset("role", `"admin"`)
			delete(o, "admin")
		case "", "null", "false":
			o.preset("role", `"operator"`)
			delete(o, "admin")
		}

		// A user who never changed the look gets no preferences.
		if look := o.take("theme", "language", "dashboard"); len(look) > 0 && o.has("id") {
			look["user_id"] = o["id"]
			if err := emit("preferences", backup.Record{Value: look.bytes()}); err != nil {
				return err
			}
		}
	}
	r.Value = o.bytes()
	return emit(collection, r)
}

func from2(_ context.Context, collection string, r backup.Record, emit emitFunc) error {
	if collection == "settings" {
		switch r.Key {
		case "analytics":
			return nil
		case "retention_days":
			r.Key = "backup_keep_days"
		}
		return emit(collection, r)
	}
	o, ok := parse(r.Value)
	if !ok {
		return emit(collection, r)
	}
	switch collection {
	case "servers":
		delete(o, "last_seen") // monitoring, not configuration
		o.preset("auth_method", authMethod(o))
	case "applications":
		env, ok := envObject(o["env"])
		if !ok {
			return emit(collection, r)
		}
		o["env"] = env
	case "repositories":
		o.preset("type", `"git"`)
		o.preset("enabled", `true`)
	default:
		return emit(collection, r)
	}
	r.Value = o.bytes()
	return emit(collection, r)
}

// authMethod returns the method that Tomo 2.0 tried first on a server.
func authMethod(server object) string {
	switch {
	case server.has("private_key"):
		return `"private_key"`
	case server.has("password"):
		return `"password"`
	}
	return `"agent"`
}

// envObject turns ["NAME=value","NAME"] into {"NAME":"value","NAME":null}. If a
// name comes twice, the last one wins, as in compose.
func envObject(list json.RawMessage) (json.RawMessage, bool) {
	var entries []*string
	if !bytes.HasPrefix(list, []byte("[")) || json.Unmarshal(list, &entries) != nil {
		return nil, false
	}
	env := object{}
	for _, e := range entries {
		if e == nil {
			return nil, false
		}
		name, value, ok := strings.Cut(*e, "=")
		if !ok {
			env[name] = json.RawMessage("null")
			continue
		}
		env[name] = marshal(value)
	}
	return env.bytes(), true
}

// An object is a JSON object whose values keep their bytes: a number would
// change on its way through a float64.
type object map[string]json.RawMessage

// parse returns false for anything but an object.
func parse(value json.RawMessage) (object, bool) {
	var o object
	err := json.Unmarshal(value, &o)
	return o, err == nil && o != nil
}

// has tells whether there is a value that is neither null nor empty.
func (o object) has(name string) bool {
	v := string(o[name])
	return v != "" && v != "null" && v != `""`
}

// rename does nothing if both names are there. The schema then refuses the old
// name, so no value is lost silently.
func (o object) rename(from, to string) {
	v, ok := o[from]
	if _, taken := o[to]; !ok || taken {
		return
	}
	o[to] = v
	delete(o, from)
}

// preset sets a member if it is absent or null.
func (o object) preset(name, value string) {
	if v, ok := o[name]; !ok || string(v) == "null" {
		o[name] = json.RawMessage(value)
	}
}

// take moves members from o into a new object. Members that are null are
// dropped.
func (o object) take(names ...string) object {
	taken := object{}
	for _, name := range names {
		if v, ok := o[name]; ok && string(v) != "null" {
			taken[name] = v
		}
		delete(o, name)
	}
	return taken
}

// bytes returns o with its members sorted by name, so that a step always gives
// the same bytes.
func (o object) bytes() json.RawMessage { return marshal(o) }

// marshal leaves < > & unescaped, which json.Marshal does not.
func marshal(v any) json.RawMessage {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic("tomo: " + err.Error()) // only strings and parsed values get here
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
