package pocketbase

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
)

const newPassword = "difference engine"

// moveFiles gives the files of records that came under another key their new place:
// PocketBase keeps them in a folder with the id of the record, which is no reference that
// could be declared.
func (h *host) moveFiles(collection string, keys map[string]string) {
	c, err := h.app.FindCollectionByNameOrId(collection)
	require.NoError(h.t, err)
	for old, now := range keys {
		from, to := filepath.Join(h.storage(), c.Id, old), filepath.Join(h.storage(), c.Id, now)
		if _, err := os.Stat(from); err == nil {
			require.NoError(h.t, os.Rename(from, to))
		}
	}
}

// TestPocketBaseTakesInAnotherServer restores a backup into an installation that has the
// same superuser, the same user and a note of the same title, all under other ids.
func TestPocketBaseTakesInAnotherServer(t *testing.T) {
	old := start(t, t.TempDir())
	old.fill()
	oldRoot, _ := old.login("_superusers", admin, adminPassword)
	oldAda := idOf(t, oldRoot.items("users"), "email", ada)
	app, store := old.declare()
	var file bytes.Buffer
	_, err := app.Backup(t.Context(), &file, store, backup.BackupOptions{Recipients: []backup.Recipient{key}, Installation: "old", Serial: 1})
	require.NoError(t, err)
	old.stop()

	for _, strategy := range []backup.Strategy{backup.SkipDuplicates, backup.Merge} {
		t.Run(string(strategy), func(t *testing.T) {
			h := start(t, t.TempDir())
			h.superuser(admin, "another password")
			s, err := backup.OpenSnapshot(t.Context(), bytes.NewReader(file.Bytes()), backup.OpenOptions{Identities: []backup.Identity{key}})
			require.NoError(t, err)
			defer s.Close()
			h.shape(s)
			root, _ := h.login("_superusers", admin, "another password")
			created := root.call(http.MethodPost, "/api/collections/users/records", object{"email": ada, "password": newPassword, "passwordConfirm": newPassword, "name": "Ada L."})
			newAda := created["id"].(string)
			require.NotEqual(t, oldAda, newAda)
			user, _ := h.login("users", ada, newPassword)
			for _, title := range []string{"note 3", "of the new server"} {
				user.call(http.MethodPost, "/api/collections/notes/records", object{"title": title, "author": newAda, "body": "new"})
			}
			newNote := idOf(t, user.items("notes"), "title", "note 3")

			app, store := h.declare()
			opts := backup.RestoreOptions{Strategy: strategy, Installation: "new"}
			report, err := app.Restore(t.Context(), s, store, opts)
			require.NoError(t, err)
			moved := map[string]map[string]string{}
			for _, c := range report.Collections {
				if c.Rekeyed > 0 {
					moved[c.Name] = c.RekeyedKeys
				}
			}
			require.Len(t, moved["superusers"], 1)
			require.Equal(t, map[string]string{oldAda: newAda}, moved["users"])
			require.Len(t, moved["notes"], 1)
			for _, now := range moved["notes"] {
				require.Equal(t, newNote, now)
			}
			again, err := app.Restore(t.Context(), s, store, opts)
			require.NoError(t, err)
			require.False(t, again.Changed(), "%+v", again)
			h.moveFiles("users", moved["users"])
			h.moveFiles("notes", moved["notes"])
			h.stop()

			h = start(t, h.dir)
			passwords := map[bool][2]string{false: {"another password", newPassword}, true: {adminPassword, adaPassword}}
			theirs, ours := passwords[strategy == backup.Merge], passwords[strategy != backup.Merge]
			for collection, who := range map[string]struct{ email, right, wrong string }{
				"_superusers": {admin, theirs[0], ours[0]}, "users": {ada, theirs[1], ours[1]},
			} {
				_, ok := h.login(collection, who.email, who.right)
				require.True(t, ok, collection)
				_, ok = h.login(collection, who.email, who.wrong)
				require.False(t, ok, collection)
			}
			root, _ = h.login("_superusers", admin, theirs[0])
			require.Len(t, root.items("_superusers"), 1)
			require.Len(t, root.items("users"), 2, "Ben, and one Ada")
			user, _ = h.login("users", ada, theirs[1])
			notes := user.items("notes")
			require.Len(t, notes, 31, "she sees her notes of both servers")
			for _, n := range notes {
				note := n.(object)
				require.Equal(t, newAda, note["author"])
				if readers := note["readers"].([]any); note["title"] != "of the new server" && (strategy == backup.Merge || note["id"] != newNote) {
					require.Equal(t, []any{newAda}, readers, note["title"])
				}
			}
			require.Equal(t, newNote, idOf(t, notes, "title", "note 3"))
			permit := user.call(http.MethodPost, "/api/files/token", nil)["token"].(string)
			papers := 0
			for _, n := range notes {
				note := n.(object)
				for _, name := range note["papers"].([]any) {
					at := "/api/files/" + note["collectionId"].(string) + "/" + note["id"].(string) + "/" + name.(string)
					status, _ := client{host: h}.send(http.MethodGet, at+"?token="+permit, "", nil)
					require.Equal(t, http.StatusOK, status, at)
					papers++
				}
			}
			want := 43
			if strategy == backup.SkipDuplicates {
				want -= 3 // those of note 3, which stays as it is here
			}
			require.Equal(t, want, papers)
		})
	}
}

// idOf returns the id of the record that has a value.
func idOf(t *testing.T, records []any, field, value string) string {
	for _, r := range records {
		if r.(object)[field] == value {
			return r.(object)["id"].(string)
		}
	}
	require.Fail(t, "there is none", "%s %s", field, value)
	return ""
}
