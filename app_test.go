package backup_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	host "github.com/tomo-project/backup/internal/homelab"
)

func homelab() *backup.App { return host.App() }

func homelabStore() backuptest.MapStore { return host.Store() }

type testKey = host.Key

var sealed = []backup.Recipient{testKey("k")}

// backedUp returns the snapshot of a store.
func backedUp(t testing.TB, app *backup.App, src backup.DataSource, opts backup.BackupOptions) *backup.Snapshot {
	t.Helper()
	opts.Recipients = sealed
	var file bytes.Buffer
	_, err := app.Backup(t.Context(), &file, src, opts)
	require.NoError(t, err)
	return opened(t, file.String())
}

// keep is a Migrator that keeps every record as it is.
func keep(from int) backup.Migrator {
	return backup.Migration(from, func(_ context.Context, collection string, r backup.Record, emit func(string, backup.Record) error) error {
		return emit(collection, r)
	})
}

func opened(t testing.TB, file string) *backup.Snapshot {
	t.Helper()
	s, err := backup.OpenSnapshot(t.Context(), bytes.NewReader([]byte(file)), backup.OpenOptions{Identities: []backup.Identity{testKey("k")}})
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// document returns a snapshot as a person would write it.
func document(app *backup.App, schemaVersion int, data string) string {
	return fmt.Sprintf(`{"version":"1.0","created_at":"2024-01-15T10:30:00Z","application":%q,"application_version":%q,"schema_version":%d,"data":%s}`,
		app.Name, app.Version, schemaVersion, data)
}

func written(t testing.TB, app *backup.App, schemaVersion int, data string) *backup.Snapshot {
	t.Helper()
	return opened(t, document(app, schemaVersion, data))
}

func list(name string) backup.Collection { return backup.Collection{Name: name, Key: "/id"} }

func TestAGoodDeclarationIsValid(t *testing.T) {
	require.NoError(t, homelab().Validate())
}

func TestValidateNamesWhatIsWrong(t *testing.T) {
	keepOne := keep(1)
	with := func(c backup.Collection) func(*backup.App) {
		return func(a *backup.App) { a.Collections = []backup.Collection{c} }
	}
	schema := func(s string) func(*backup.App) {
		return with(backup.Collection{Name: "servers", Key: "/id", Schema: []byte(s)})
	}
	for name, c := range map[string]struct {
		break_ func(*backup.App)
		want   string
	}{
		"no name":                     {func(a *backup.App) { a.Name = "" }, `Name "": want lower-case letters`},
		"a name with a slash":         {func(a *backup.App) { a.Name = "../tomo" }, `Name "../tomo"`},
		"no version":                  {func(a *backup.App) { a.Version = "" }, `Version "": want a semantic version`},
		"a version with a v":          {func(a *backup.App) { a.Version = "v2.1.0" }, `Version "v2.1.0"`},
		"no schema version":           {func(a *backup.App) { a.SchemaVersion = 0 }, "SchemaVersion 0: want 1 or more"},
		"a collection twice":          {func(a *backup.App) { a.Collections = append(a.Collections, list("users")) }, `collection "users" is declared twice`},
		"a collection in capitals":    {with(list("Users")), `collection "Users": want a name of lower-case letters`},
		"no key":                      {with(backup.Collection{Name: "users"}), "Key is empty: want a JSON Pointer such as /id"},
		"a key that is no pointer":    {with(backup.Collection{Name: "users", Key: "id"}), `Key: "id" is not a JSON Pointer: it must begin with a slash`},
		"a key with a bad escape":     {with(backup.Collection{Name: "users", Key: "/a~2"}), `~ must be followed by 0 or 1`},
		"a key with a wildcard":       {with(backup.Collection{Name: "users", Key: "/*/id"}), "Key /*/id has a wildcard"},
		"a place twice in a key":      {with(backup.Collection{Name: "users", Key: "/id,/id"}), `Key: "/id,/id" names a place twice`},
		"a wildcard in part of a key": {with(backup.Collection{Name: "users", Key: "/id,/a/*"}), "Key /id,/a/* has a wildcard"},
		"a secret in part of a key":   {with(backup.Collection{Name: "users", Key: "/id,/name", Secrets: []string{"/name"}}), "Secret /name contains the Key /id,/name"},
		"too few parts of a reference": {with(backup.Collection{Name: "users", Key: "/id,/name", Refs: []backup.Ref{{Pointer: "/boss", Collection: "users"}}}),
			"Ref /boss to \"users\": want as many pointers as its Key /id,/name has"},
		"too many parts of a reference": {with(backup.Collection{Name: "users", Key: "/id", Refs: []backup.Ref{{Pointer: "/boss,/name", Collection: "users"}}}),
			"Ref /boss,/name to \"users\": want as many pointers as its Key /id has"},
		"a wildcard in part of a reference": {with(backup.Collection{Name: "users", Key: "/id,/name", Refs: []backup.Ref{{Pointer: "/boss,/b/*", Collection: "users"}}}),
			"Ref /boss,/b/* has a wildcard and more than one pointer"},
		"a key in a map":              {with(backup.Collection{Name: "users", Key: "/id", Shape: backup.Map}), "a record of a Map is identified by its member name"},
		"an unknown shape":            {with(backup.Collection{Name: "users", Key: "/id", Shape: "tree"}), `Shape "tree" is neither List nor Map`},
		"a reference to nowhere":      {with(backup.Collection{Name: "users", Key: "/id", Refs: []backup.Ref{{Pointer: "/team", Collection: "teams"}}}), `Ref /team to "teams", which is not declared`},
		"a reference without pointer": {with(backup.Collection{Name: "users", Key: "/id", Refs: []backup.Ref{{Collection: "users"}}}), "Ref is empty"},
		"a secret that is the key":    {with(backup.Collection{Name: "users", Key: "/id", Secrets: []string{"/id"}}), "Secret /id contains the Key /id"},
		"a secret around the key":     {with(backup.Collection{Name: "users", Key: "/a/id", Secrets: []string{"/a"}}), "Secret /a contains the Key /a/id"},
		"a wildcard over the key":     {with(backup.Collection{Name: "users", Key: "/id", Secrets: []string{"/*"}}), "Secret /* contains the Key /id"},
		"a secret that is a reference": {with(backup.Collection{Name: "users", Key: "/id", Secrets: []string{"/boss"},
			Refs: []backup.Ref{{Pointer: "/boss", Collection: "users"}}}), "Secret /boss contains the Ref /boss"},
		"secrets inside each other":   {with(backup.Collection{Name: "users", Key: "/id", Secrets: []string{"/a/b", "/a"}}), "Secrets /a/b and /a overlap"},
		"the whole record a secret":   {with(backup.Collection{Name: "users", Key: "/id", Secrets: []string{""}}), "Secret is empty"},
		"a schema that is not JSON":   {schema(`{`), "schema of servers"},
		"a schema that is no schema":  {schema(`{"type":"strange"}`), "schema of servers"},
		"a schema of a file":          {schema(`{"$ref":"file:///etc/passwd"}`), "which must stand alone"},
		"a schema of the network":     {schema(`{"$ref":"https://example.com/schema.json"}`), "which must stand alone"},
		"a schema of a relative file": {schema(`{"$ref":"users.json"}`), "which must stand alone"},
		"a gap in the migrations":     {func(a *backup.App) { a.SchemaVersion, a.Migrators = 3, []backup.Migrator{keepOne} }, "no migrator from schema version 2 to 3: backups of version 2 and older could not be restored"},
		"a migration twice":           {func(a *backup.App) { a.SchemaVersion, a.Migrators = 2, []backup.Migrator{keepOne, keepOne} }, "two migrators from schema version 1"},
		"a migration of the future":   {func(a *backup.App) { a.Migrators = []backup.Migrator{keepOne} }, "migrator from schema version 1"},
		"a migration of version 0": {func(a *backup.App) {
			a.SchemaVersion, a.Migrators = 2, []backup.Migrator{keep(0), keepOne}
		}, "migrator from schema version 0"},
		"a migration that is nil": {func(a *backup.App) { a.SchemaVersion, a.Migrators = 2, []backup.Migrator{nil, keepOne} }, "a migrator is nil"},
	} {
		t.Run(name, func(t *testing.T) {
			app := homelab()
			c.break_(app)
			require.ErrorContains(t, app.Validate(), c.want)
		})
	}
}

func TestValidateNamesAllThatIsWrongAtOnce(t *testing.T) {
	app := &backup.App{Name: "Tomo!", Version: "two", SchemaVersion: 2, Collections: []backup.Collection{
		{Name: "a", Key: "id", Schema: []byte(`{`)},
		{Name: "b", Key: "/id", Refs: []backup.Ref{{Pointer: "/c", Collection: "c"}}},
	}}
	err := app.Validate()
	for _, want := range []string{`Name "Tomo!"`, `Version "two"`, `collection "a": Key`, "schema of a", `collection "b": Ref /c`, "no migrator from schema version 1"} {
		require.ErrorContains(t, err, want)
	}
}

func TestADeclarationThatIsWrongDoesNothing(t *testing.T) {
	s := backedUp(t, homelab(), homelabStore(), backup.BackupOptions{})
	app := homelab()
	app.Version = "two"
	var file bytes.Buffer
	store := homelabStore()
	_, err := app.Backup(t.Context(), &file, store, backup.BackupOptions{Recipients: sealed})
	require.ErrorContains(t, err, `Version "two"`)
	require.Zero(t, file.Len())
	_, err = app.Verify(t.Context(), s, backup.RestoreOptions{})
	require.ErrorContains(t, err, `Version "two"`)
	_, err = app.Plan(t.Context(), s, store, backup.RestoreOptions{})
	require.ErrorContains(t, err, `Version "two"`)
	_, err = app.Restore(t.Context(), s, store, backup.RestoreOptions{Strategy: backup.Replace})
	require.ErrorContains(t, err, `Version "two"`)
	require.Equal(t, homelabStore(), store)
}

// at is a time for snapshots that are compared.
var at = time.Date(2024, 1, 15, 10, 30, 0, 0, time.UTC)
