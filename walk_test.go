package backup_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
)

// walked returns what Walk hands out, in lines.
func walked(t testing.TB, app *backup.App, s *backup.Snapshot, opts backup.RestoreOptions) (lines []string) {
	t.Helper()
	require.NoError(t, app.Walk(t.Context(), s, opts, func(collection string, r backup.Record) error {
		lines = append(lines, fmt.Sprintf("%s/%s %s", collection, r.Key, r.Value))
		return nil
	}))
	return lines
}

func TestWalkHandsOutTheRecordsOpenAndWithTheirKeys(t *testing.T) {
	app := homelab()
	var file bytes.Buffer
	_, err := app.Backup(t.Context(), &file, homelabStore(), backup.BackupOptions{Recipients: sealed})
	require.NoError(t, err)
	s := opened(t, file.String())
	all := walked(t, app, s, backup.RestoreOptions{})
	require.Len(t, all, 8)
	require.Contains(t, all, `servers/s1 {"id":"s1","name":"nas","port":22,"password":"hunter22"}`)
	require.Contains(t, all, `settings/smtp_password "mail-pass"`)
	require.Equal(t, []string{`users/7 {"id":7,"name":"ada"}`}, walked(t, app, s, backup.RestoreOptions{Only: []string{"users", "logs"}}))
	require.Equal(t, []string{`servers/s1 {"id":"s1","name":"nas","port":22,"password":"hunter22"}`, `settings/theme "dark"`},
		walked(t, app, s, backup.RestoreOptions{Records: map[string][]string{"servers": {"s1", "s7"}, "settings": {"theme"}, "logs": {"1"}}}))
	require.Empty(t, walked(t, app, s, backup.RestoreOptions{Records: map[string][]string{}}))

	locked, err := backup.OpenSnapshot(t.Context(), strings.NewReader(file.String()), backup.OpenOptions{})
	require.NoError(t, err)
	defer locked.Close()
	require.Len(t, walked(t, app, locked, backup.RestoreOptions{Only: []string{"users"}}), 1)
	none := func(string, backup.Record) error { return nil }
	require.ErrorIs(t, app.Walk(t.Context(), locked, backup.RestoreOptions{}, none), backup.ErrNoKey)
	require.ErrorIs(t, app.Walk(t.Context(), s, backup.RestoreOptions{Only: []string{"nothing"}}, none), backup.ErrInvalid)
	app.Collections = app.Collections[:3]
	require.ErrorIs(t, app.Walk(t.Context(), s, backup.RestoreOptions{}, none), backup.ErrInvalid)
	require.Len(t, walked(t, app, s, backup.RestoreOptions{AllowUnknown: true}), 7)
	app.Name = "other"
	require.ErrorIs(t, app.Walk(t.Context(), s, backup.RestoreOptions{}, none), backup.ErrForeign)
}

// Of the others, not even a secret that is damaged shows.
func TestWalkOpensOnlyTheSecretsOfTheNamedRecords(t *testing.T) {
	app := homelab()
	store := homelabStore()
	store["servers"]["s3"] = `{"id":"s3","name":"third","password":"hunter33"}`
	var file bytes.Buffer
	_, err := app.Backup(t.Context(), &file, store, backup.BackupOptions{Recipients: sealed})
	require.NoError(t, err)
	lines := strings.SplitAfter(file.String(), "\n")
	for i, line := range lines {
		if strings.Contains(line, `"id":"s3"`) { // the secret of another record
			lines[i] = strings.Replace(line, `{"id":"s3"`, `{"id":"s4"`, 1)
		}
	}
	s := opened(t, resummed(t, strings.Join(lines, "")))
	require.Len(t, walked(t, app, s, backup.RestoreOptions{Records: map[string][]string{"servers": {"s1"}}}), 1)
	err = app.Walk(t.Context(), s, backup.RestoreOptions{Only: []string{"servers"}}, func(string, backup.Record) error { return nil })
	require.ErrorContains(t, err, "does not open")
}

func TestWalkEndsWhenItsCallerHasSeenEnough(t *testing.T) {
	app := homelab()
	s := opened(t, document(app, 1, `{"users":[{"id":1},{"id":2},{"id":3}]}`))
	for _, stop := range []error{fs.SkipAll, errors.New("mine")} {
		n := 0
		err := app.Walk(t.Context(), s, backup.RestoreOptions{}, func(string, backup.Record) error {
			if n++; n == 2 {
				return stop
			}
			return nil
		})
		require.Equal(t, 2, n)
		if stop == fs.SkipAll {
			require.NoError(t, err)
		} else {
			require.Equal(t, stop, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, app.Walk(ctx, s, backup.RestoreOptions{}, func(string, backup.Record) error { return nil }), context.Canceled)
}

func TestWalkMigrates(t *testing.T) {
	app := homelab()
	app.SchemaVersion = 2
	app.Migrators = []backup.Migrator{backup.Migration(1, func(_ context.Context, collection string, r backup.Record, emit func(string, backup.Record) error) error {
		if collection == "people" {
			return emit("users", backup.Record{Value: json.RawMessage(strings.Replace(string(r.Value), "nick", "name", 1))})
		}
		return emit(collection, r)
	})}
	s := opened(t, document(app, 1, `{"people":[{"id":1,"nick":"ada"},{"id":2,"nick":"bob"}],"users":[{"id":3}]}`))
	require.Equal(t, []string{`users/2 {"id":2,"name":"bob"}`, `users/3 {"id":3}`},
		walked(t, app, s, backup.RestoreOptions{Records: map[string][]string{"users": {"3", "2"}}}))
}

func TestAChangeMasksSecrets(t *testing.T) {
	app := homelab()
	was := &backup.Record{Key: "s1", Value: json.RawMessage(`{"id": "s1", "name": "nas", "password": "hunter22"}`)}
	is := &backup.Record{Key: "s1", Value: json.RawMessage(`{"id":"s1","name":"box","password":"hunter23"}`)}
	change, err := app.Change("servers", was, is)
	require.NoError(t, err)
	text, err := json.Marshal(change)
	require.NoError(t, err)
	require.JSONEq(t, `{"collection":"servers","key":"s1","action":"update","fields":[
		{"pointer":"/name","before":"nas","after":"box"},{"pointer":"/password","before":"(secret)","after":"(secret)"}]}`, string(text))
	change, err = app.Change("servers", was, was)
	require.NoError(t, err)
	require.Equal(t, backup.Change{Collection: "servers", Key: "s1", Action: backup.Update}, change)
	change, err = app.Change("servers", nil, is)
	require.NoError(t, err)
	require.Equal(t, backup.Add, change.Action)
	change, err = app.Change("settings", &backup.Record{Key: "smtp_password", Value: json.RawMessage(`"mail-pass"`)}, nil)
	require.NoError(t, err)
	require.Equal(t, backup.Change{Collection: "settings", Key: "smtp_password", Action: backup.Delete,
		Fields: []backup.FieldChange{{Before: json.RawMessage(`"(secret)"`)}}}, change)

	_, err = app.Change("servers", nil, nil)
	require.ErrorIs(t, err, backup.ErrInvalid)
	_, err = app.Change("nothing", was, is)
	require.ErrorIs(t, err, backup.ErrInvalid)
	_, err = app.Change("servers", was, &backup.Record{Key: "s1", Value: json.RawMessage(`{`)})
	require.ErrorIs(t, err, backup.ErrInvalid)
}

func TestLabelOf(t *testing.T) {
	app := homelab()
	for _, c := range []struct{ label, value, want string }{
		{"/name", `{"id":"s1","name":"nas"}`, "nas"},
		{"/name", `{"id":"s1","name":"\u00e4"}`, "ä"},
		{"/port", `{"id":"s1","port":22}`, "22"},
		{"/name", `{"id":"s1","name":null}`, ""},
		{"/name", `{"id":"s1","name":["nas"]}`, ""},
		{"/name", `{"id":"s1"}`, ""},
		{"/name", `{"id":"s1","name":"` + strings.Repeat("n", 1<<20) + `"}`, strings.Repeat("n", 500) + "…"},
		{"/name", `{`, ""},
		{"", `{"id":"s1","name":"nas"}`, ""},
	} {
		app.Collections[1].Label = c.label
		require.Equal(t, c.want, app.LabelOf("servers", backup.Record{Key: "s1", Value: json.RawMessage(c.value)}), c)
	}
	require.Empty(t, app.LabelOf("nothing", backup.Record{}))
}
