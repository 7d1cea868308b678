// Package homelab is a host for tests: an App with data and a key.
package homelab

import (
	"encoding/json"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
)

// App returns the declaration of the host. It has references between collections and
// inside of one, a Map, secrets in both shapes, and an optional collection.
func App() *backup.App {
	return &backup.App{
		Name: "homelab", Version: "2.1.0", SchemaVersion: 1,
		Collections: []backup.Collection{
			{
				Name: "applications", Key: "/id",
				Schema:  []byte(`{"type":"object","required":["id","name"],"properties":{"name":{"type":"string"},"env":{"type":"object"}}}`),
				Refs:    []backup.Ref{{Pointer: "/server_id", Collection: "servers"}, {Pointer: "/needs/*/application", Collection: "applications"}},
				Secrets: []string{"/env/*"},
			},
			{
				Name: "servers", Key: "/id",
				Schema: []byte(`{"type":"object","required":["id","name"],"properties":{
					"name":{"type":"string","minLength":1},
					"port":{"type":"integer","minimum":1,"maximum":65535},
					"password":{"type":"string","minLength":4}}}`),
				Refs:    []backup.Ref{{Pointer: "/parent", Collection: "servers"}},
				Secrets: []string{"/password"},
			},
			{
				Name: "settings", Shape: backup.Map,
				Schema:  []byte(`{"type":"object","properties":{"theme":{"enum":["dark","light"]}}}`),
				Refs:    []backup.Ref{{Pointer: "/home_server", Collection: "servers"}},
				Secrets: []string{"/smtp_password"},
			},
			{Name: "users", Key: "/id"},
			{Name: "logs", Key: "/id", Optional: true},
		},
	}
}

// Store returns records of all collections of App, with secrets.
func Store() backuptest.MapStore {
	return backuptest.MapStore{
		"servers": {
			"s1": `{"id":"s1","name":"nas","port":22,"password":"hunter22"}`,
			"s2": `{"id":"s2","name":"pi","parent":"s1"}`,
		},
		"applications": {
			"a1": `{"id":"a1","name":"jellyfin","server_id":"s1","env":{"TOKEN":"t0ken-of-a1"}}`,
			"a2": `{"id":"a2","name":"proxy","server_id":"s2","needs":[{"application":"a1"}]}`,
		},
		"settings": {"theme": `"dark"`, "smtp_password": `"mail-pass"`, "home_server": `"s1"`},
		"users":    {"7": `{"id":7,"name":"ada"}`},
		"logs":     {"1": `{"id":1}`},
	}
}

// A Key seals and opens at once, since it derives no key. It protects nothing.
type Key string

// Wrap implements [backup.Recipient].
func (k Key) Wrap(key []byte) (json.RawMessage, error) {
	return json.Marshal(map[string]any{"type": "test", "for": k, "key": key})
}

// Unwrap implements [backup.Identity].
func (k Key) Unwrap(wrapped json.RawMessage) ([]byte, error) {
	var w struct {
		For Key
		Key []byte
	}
	if err := json.Unmarshal(wrapped, &w); err != nil || w.For != k {
		return nil, backup.ErrWrongKey
	}
	return w.Key, nil
}
