package backup_test

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
)

// labelled is an App whose records have labels.
func labelled() *backup.App {
	servers := list("servers")
	servers.Label = "/name"
	return &backup.App{Name: "homelab", Version: "1.0.0", SchemaVersion: 2, Collections: []backup.Collection{
		servers,
		{Name: "grants", Key: "/user,/group"},
		{Name: "settings", Shape: backup.Map},
	}, Migrators: []backup.Migrator{backup.Migration(1, func(_ context.Context, collection string, r backup.Record, emit func(string, backup.Record) error) error {
		r.Value = []byte(strings.Replace(string(r.Value), `"hostname"`, `"name"`, 1))
		r.Value = []byte(strings.Replace(string(r.Value), `"id":"`, `"id":"s-`, 1))
		return emit(collection, r)
	})}}
}

func TestPeopleNameARecordByItsKeyOrItsLabel(t *testing.T) {
	app := labelled()
	hold := backuptest.MapStore{
		"servers": {
			"a":   `{"id":"a","name":"web-1"}`,
			"b":   `{"id":"b","name":"twice"}`,
			"c":   `{"id":"c","name":"twice"}`,
			"d":   `{"id":"d","name":"a"}`,
			"e":   `{"id":"e","name":7}`,
			"f":   `{"id":"f","name":"a/b"}`,
			"g":   `{"id":"g","name":null}`,
			"h":   `{"id":"h","name":{"web-1":1}}`,
			"i":   `{"id":"i"}`,
			"é\"": `{"id":"é\"","name":"caf\u00e9"}`,
		},
		"grants":   {`["1","x"]`: `{"user":1,"group":"x"}`},
		"settings": {"theme": `"dark"`, "a/b": `1`},
	}
	snapshot := backedUp(t, app, hold, backup.BackupOptions{})
	for name, src := range map[string]backup.DataSource{"snapshot": snapshot, "host": hold} {
		t.Run(name, func(t *testing.T) {
			for name, want := range map[string]string{
				"servers/a": "a", "servers/web-1": "a", "servers/b": "b", "servers/7": "e", "servers/a/b": "f", "servers/é\"": "é\"", "servers/café": "é\"",
				`grants/["1","x"]`: `["1","x"]`, "settings/theme": "theme", "settings/a/b": "a/b",
			} {
				collection, _, _ := strings.Cut(name, "/")
				keys, err := app.Resolve(t.Context(), src, []string{name})
				require.NoError(t, err, name)
				require.Equal(t, map[string][]string{collection: {want}}, keys, name)
			}
			keys, err := app.Resolve(t.Context(), src, []string{"servers/web-1", "settings/theme", "servers/a", "servers/b"})
			require.NoError(t, err)
			require.Equal(t, map[string][]string{"servers": {"a", "b"}, "settings": {"theme"}}, keys)

			for name, want := range map[string]string{
				"servers/web-9":    `find a record: servers has no record with the key or the /name "web-9"`,
				"servers/null":     `servers has no record with the key or the /name "null"`,
				"settings/light":   `settings has no record with the key "light"`,
				`grants/["1","y"]`: `grants has no record with the key "[\"1\",\"y\"]"`,
			} {
				_, err := app.Resolve(t.Context(), src, []string{"servers/a", name})
				require.ErrorContains(t, err, want)
				require.ErrorIs(t, err, fs.ErrNotExist)
				require.NotContains(t, err.Error(), fs.ErrNotExist.Error(), "no file is missing")
			}
			for name, want := range map[string]string{
				"servers/twice": `2 records of servers have the /name "twice"; name the one that you mean by its key: servers/b, servers/c`,
				"web-1":         `"web-1" names no record: want COLLECTION/KEY, such as servers/web-1`,
				"servers/":      `"servers/" names no record`,
				"":              `"" names no record`,
				"hosts/web-1":   `homelab has no collection "hosts", only servers, grants, settings`,
			} {
				_, err := app.Resolve(t.Context(), src, []string{name})
				require.ErrorContains(t, err, want)
				require.ErrorIs(t, err, backup.ErrInvalid)
			}
		})
	}
	keys, err := app.Resolve(t.Context(), snapshot, nil)
	require.NoError(t, err)
	require.Empty(t, keys)
}

func TestARecordOfAnOlderSnapshotIsNamedAsItIsToday(t *testing.T) {
	app := labelled()
	snapshot := written(t, app, 1, `{"servers":[{"id":"a","hostname":"web-1"}]}`)
	for _, name := range []string{"servers/s-a", "servers/web-1"} {
		keys, err := app.Resolve(t.Context(), snapshot, []string{name})
		require.NoError(t, err, name)
		require.Equal(t, map[string][]string{"servers": {"s-a"}}, keys)
	}
	_, err := app.Resolve(t.Context(), snapshot, []string{"servers/a"})
	require.ErrorIs(t, err, fs.ErrNotExist)

	app.SchemaVersion, app.Migrators = 1, nil
	_, err = app.Resolve(t.Context(), written(t, app, 2, `{"servers":[{"id":"a"}]}`), []string{"servers/a"})
	require.ErrorIs(t, err, backup.ErrTooNew)
}

func TestALabelOfManyRecordsListsTheFirst(t *testing.T) {
	app := labelled()
	servers := make(map[string]string)
	for i := range 1000 {
		key := fmt.Sprintf("%04d", i)
		servers[key] = fmt.Sprintf(`{"id":%q,"name":"x"}`, key)
	}
	_, err := app.Resolve(t.Context(), backedUp(t, app, backuptest.MapStore{"servers": servers}, backup.BackupOptions{Only: []string{"servers"}}), []string{"servers/x"})
	require.ErrorContains(t, err, "1000 records of servers have the /name")
	require.ErrorContains(t, err, "servers/0019, and 980 more")
	require.Less(t, len(err.Error()), 1000)
	require.ErrorIs(t, err, backup.ErrInvalid)
	require.NotContains(t, err.Error(), backup.ErrInvalid.Error(), "two records may well have one label")
}
