package backup_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
)

func TestValidateRefusesUniquesAndLabelsThatSayNothing(t *testing.T) {
	for name, c := range map[string]struct {
		col  backup.Collection
		want string
	}{
		"a map":               {backup.Collection{Shape: backup.Map, Unique: []string{"/a"}}, "known by its member name"},
		"no pointer":          {backup.Collection{Key: "/id", Unique: []string{"name"}}, "not a JSON Pointer"},
		"empty":               {backup.Collection{Key: "/id", Unique: []string{"fold:"}}, "is empty"},
		"a wildcard":          {backup.Collection{Key: "/id", Unique: []string{"/tags/*"}}, "wildcard"},
		"twice":               {backup.Collection{Key: "/id", Unique: []string{"/a,/b", "fold:/b,/a"}}, "declared twice"},
		"too many":            {backup.Collection{Key: "/id", Unique: make([]string, 17)}, "17 Uniques, the most is 16"},
		"part of a secret":    {backup.Collection{Key: "/id", Unique: []string{"/login/name"}, Secrets: []string{"/login"}}, "overlap"},
		"around a secret":     {backup.Collection{Key: "/id", Unique: []string{"/login"}, Secrets: []string{"/login/password"}}, "overlap"},
		"a secret label":      {backup.Collection{Key: "/id", Label: "/login", Secrets: []string{"/login/password"}}, "contains the Secret"},
		"a label of many":     {backup.Collection{Key: "/id", Label: "/names/*"}, "wildcard"},
		"a label, no pointer": {backup.Collection{Key: "/id", Label: "name"}, "not a JSON Pointer"},
	} {
		t.Run(name, func(t *testing.T) {
			c.col.Name = "users"
			app := &backup.App{Name: "people", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{c.col}}
			require.ErrorContains(t, app.Validate(), c.want)
		})
	}
	app := twinApp()
	app.Collections[0].Unique = []string{"/username", "fold:/email", "/token", "/realm,/number"}
	app.Collections[0].Secrets = []string{"/token"}
	require.NoError(t, app.Validate(), "a secret may be unique")
}

// twinApp has users that are known by their names and addresses, and notes of these users.
func twinApp() *backup.App {
	return &backup.App{Name: "people", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{
		{Name: "users", Key: "/id", Unique: []string{"/username", "fold:/email"}},
		{Name: "notes", Key: "/id", Refs: []backup.Ref{{Pointer: "/user", Collection: "users"}}},
	}}
}

func TestABackupHasNoTwoRecordsWithAUniqueValue(t *testing.T) {
	app := twinApp()
	store := backuptest.MapStore{"users": {
		"u1": `{"id":"u1","username":"ann","email":"ann@x"}`,
		"u2": `{"id":"u2","username":"Ann","email":"a\u004eN@x"}`,
		"u3": `{"id":"u3","username":"\u0061nn"}`,
		"u4": `{"id":"u4","username":null,"email":null}`,
		"u5": `{"id":"u5","email":null}`,
	}, "notes": {"n1": `{"id":"n1","user":"u3"}`}}
	_, err := app.Backup(t.Context(), &bytes.Buffer{}, store, backup.BackupOptions{})
	require.ErrorIs(t, err, backup.ErrInvalid)
	require.NotErrorIs(t, err, backup.ErrDangling, "a reference to such a record is no second problem")
	require.ErrorContains(t, err, `users "u2" /email: another record has the same /email`)
	require.ErrorContains(t, err, `users "u3" /username: another record has the same /username`)

	var file bytes.Buffer
	m, err := app.Backup(t.Context(), &file, store, backup.BackupOptions{LeaveOutInvalid: true})
	require.NoError(t, err)
	require.Equal(t, map[string]int64{"users": 2}, m.Missing)
	require.Len(t, m.Dangling, 1)
}

func TestASnapshotThatBreaksAUniqueIsRefused(t *testing.T) {
	app := twinApp()
	loose := twinApp()
	loose.Collections[0].Unique = nil
	s := backedUp(t, loose, backuptest.MapStore{"notes": {}, "users": {
		"u1": `{"id":"u1","username":"ann"}`, "u2": `{"id":"u2","username":"ann"}`}}, backup.BackupOptions{})
	_, err := app.Verify(t.Context(), s, backup.RestoreOptions{})
	require.ErrorIs(t, err, backup.ErrInvalid)
	require.ErrorContains(t, err, `users "u2" /username (byte`)
	host := backuptest.MapStore{"users": {}, "notes": {}}
	report, err := app.Restore(t.Context(), s, host, backup.RestoreOptions{LeaveOutInvalid: true})
	require.NoError(t, err)
	require.Len(t, report.LeftOut, 1)
	require.Len(t, host["users"], 1)
}
