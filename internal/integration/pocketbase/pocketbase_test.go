// Package pocketbase backs up a real application that keeps its rows in SQLite and the
// files of its users in a folder, and moves it to a new installation. It is a module of its
// own, since PocketBase brings much along.
package pocketbase

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
)

const (
	admin, adminPassword = "root@example.com", "correct horse battery"
	ada, adaPassword     = "ada@example.com", "analytical engine"
)

var key = backup.Passphrase([]byte("a passphrase of the test"))

// filled returns what people have put into PocketBase by its API.
type filled struct {
	files       map[string]string // digests by address
	records     map[string]any    // by collection, as a superuser sees them
	token       string            // of a user
	settings    any
	collections any
}

func (h *host) fill() filled {
	h.superuser(admin, adminPassword)
	root, ok := h.login("_superusers", admin, adminPassword)
	require.True(h.t, ok)
	root.call(http.MethodPatch, "/api/settings", object{
		"meta": object{"appName": "Moved"},
		"smtp": object{"enabled": true, "host": "mail.example.com", "port": 587, "username": "u", "password": "made-up"},
	})
	const mine = "@request.auth.id = author"
	root.call(http.MethodPost, "/api/collections", object{
		"name": "notes", "type": "base",
		"listRule": mine, "viewRule": mine, "createRule": mine, "updateRule": mine,
		"indexes": []string{"CREATE UNIQUE INDEX idx_notes_title ON notes (author, title)"},
		"fields": []object{
			{"name": "title", "type": "text", "required": true},
			{"name": "author", "type": "relation", "collectionId": "_pb_users_auth_", "maxSelect": 1, "required": true},
			{"name": "readers", "type": "relation", "collectionId": "_pb_users_auth_", "maxSelect": 9},
			{"name": "papers", "type": "file", "maxSelect": 9, "protected": true},
			{"name": "body", "type": "editor"}, {"name": "place", "type": "number"}, {"name": "done", "type": "bool"},
			{"name": "more", "type": "json"}, {"name": "where", "type": "geoPoint"}, {"name": "due", "type": "date"},
			{"name": "tags", "type": "select", "values": []string{"red", "blue"}, "maxSelect": 2},
			{"name": "created", "type": "autodate", "onCreate": true}, {"name": "updated", "type": "autodate", "onCreate": true, "onUpdate": true},
		},
	})
	root.call(http.MethodPost, "/api/collections", object{
		"name": "titles", "type": "view", "listRule": "", "viewQuery": "SELECT id, title FROM notes",
	})
	root.call(http.MethodPost, "/api/collections/users/records", object{"email": "ben@example.com", "password": "12345678", "passwordConfirm": "12345678"})
	r := rand.NewChaCha8([32]byte{7})
	content := func(n int) []byte {
		b := make([]byte, n)
		r.Read(b)
		return b
	}
	person := root.upload("/api/collections/users/records",
		map[string]string{"email": ada, "password": adaPassword, "passwordConfirm": adaPassword, "name": "Ada", "verified": "true"},
		map[string]map[string][]byte{"avatar": {"me.png": append([]byte("\x89PNG\r\n\x1a\n"), content(3000)...)}})
	user, ok := h.login("users", ada, adaPassword)
	require.True(h.t, ok)
	for i := range 30 {
		papers := map[string][]byte{}
		for j := range i % 4 {
			papers[fmt.Sprintf("Ärger %d.bin", j)] = content(1 + 40_000*i*j/30)
		}
		user.upload("/api/collections/notes/records", map[string]string{
			"title": fmt.Sprint("note ", i), "author": person["id"].(string), "readers": person["id"].(string),
			"body": "<p>a\u2028\U0001F600</p>", "place": fmt.Sprint(float64(i) / 3), "done": fmt.Sprint(i%2 == 0),
			"more": `{"b": [1, 2.50, null], "a": "x"}`, "where": `{"lon": 2.35, "lat": 48.85}`, "due": "2030-01-02 03:04:05.678Z", "tags": "blue",
		}, map[string]map[string][]byte{"papers": papers})
	}
	return h.look()
}

// look returns what a superuser and a user see by the API.
func (h *host) look() filled {
	root, ok := h.login("_superusers", admin, adminPassword)
	require.True(h.t, ok, "the superuser logs in")
	user, ok := h.login("users", ada, adaPassword)
	require.True(h.t, ok, "the user logs in")
	f := filled{token: user.token, files: map[string]string{}, records: map[string]any{}}
	for _, c := range []string{"_superusers", "users", "notes", "titles"} {
		f.records[c] = root.items(c)
	}
	f.settings = root.call(http.MethodGet, "/api/settings", nil)
	f.collections = root.call(http.MethodGet, "/api/collections?sort=name&perPage=100", nil)["items"]
	permit := user.call(http.MethodPost, "/api/files/token", nil)["token"].(string)
	download := func(record any, field string) {
		r := record.(object)
		names, several := r[field].([]any)
		if !several && r[field] != "" {
			names = []any{r[field]}
		}
		for _, name := range names {
			at := fmt.Sprintf("/api/files/%s/%s/%s", r["collectionId"], r["id"], name)
			status, content := client{host: h}.send(http.MethodGet, at+"?token="+permit, "", nil)
			require.Equal(h.t, http.StatusOK, status, "%s: %s", at, content)
			f.files[at] = fmt.Sprintf("%d bytes, %x", len(content), sha256.Sum256(content))
		}
	}
	for _, r := range f.records["users"].([]any) {
		download(r, "avatar")
	}
	for _, r := range user.items("notes") {
		download(r, "papers")
	}
	return f
}

// TestPocketBaseMoves makes a backup of an installation, and restores it into new ones.
func TestPocketBaseMoves(t *testing.T) {
	old := start(t, t.TempDir())
	want := old.fill()
	require.Len(t, want.files, 1+43)
	app, store := old.declare()
	var file bytes.Buffer
	_, err := app.Backup(t.Context(), &file, store, backup.BackupOptions{Recipients: []backup.Recipient{key}})
	require.NoError(t, err)
	for _, secret := range []string{adminPassword, "made-up", "authToken"} {
		require.NotContains(t, file.String(), secret)
	}
	old.stop()

	for name, prepare := range map[string]func(h *host){
		"empty": func(h *host) {},
		"first superuser, of the same address": func(h *host) {
			h.superuser(admin, "another password")
			_, ok := h.login("_superusers", admin, "another password")
			require.True(t, ok)
		},
		"first superuser, and files of a user": func(h *host) {
			h.superuser("me@example.com", "another password")
			root, _ := h.login("_superusers", "me@example.com", "another password")
			root.upload("/api/collections/users/records", map[string]string{"email": "new@example.com", "password": "12345678", "passwordConfirm": "12345678"},
				map[string]map[string][]byte{"avatar": {"new.png": []byte("\x89PNG\r\n\x1a\n")}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, t.TempDir())
			prepare(h)
			s, err := backup.OpenSnapshot(t.Context(), bytes.NewReader(file.Bytes()), backup.OpenOptions{Identities: []backup.Identity{key}})
			require.NoError(t, err)
			defer s.Close()
			h.shape(s)
			app, store := h.declare()
			report, err := app.Restore(t.Context(), s, store, backup.RestoreOptions{Strategy: backup.Replace})
			require.NoError(t, err)
			require.Empty(t, report.Warnings)
			again, err := app.Restore(t.Context(), s, store, backup.RestoreOptions{Strategy: backup.Replace})
			require.NoError(t, err)
			for _, c := range again.Collections {
				require.Zero(t, c.Added+c.Updated+c.Deleted, c.Name)
			}
			h.stop()

			h = start(t, h.dir)
			got := h.look()
			require.Equal(t, text(t, want.records), text(t, got.records))
			require.Equal(t, want.files, got.files)
			require.Equal(t, text(t, want.settings), text(t, got.settings))
			require.Equal(t, text(t, want.collections), text(t, got.collections))
			require.Len(t, client{h, want.token}.items("notes"), 30, "who was logged in before the move is still")
			for _, gone := range []string{admin, "me@example.com"} {
				_, ok := h.login("_superusers", gone, "another password")
				require.False(t, ok, gone)
			}
			user, _ := h.login("users", ada, adaPassword)
			user.upload("/api/collections/notes/records", map[string]string{"title": "after", "author": user.items("notes")[0].(object)["author"].(string)},
				map[string]map[string][]byte{"papers": {"after.bin": []byte("1")}})
		})
	}
}

func text(t *testing.T, v any) string {
	b, err := json.MarshalIndent(v, "", " ")
	require.NoError(t, err)
	return string(b)
}
