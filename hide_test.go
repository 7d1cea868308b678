package backup_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
)

var errHost = errors.New("the host's own kind of error")

const password = "correct \"horse\" bät"

// careless quotes all of a record in an error, as programs do.
func careless(records ...backup.Record) error {
	var texts []string
	for _, r := range records {
		var v struct{ Password any }
		_ = json.Unmarshal(r.Value, &v)
		texts = append(texts, fmt.Sprintf("%s %q %v %q %+q", r.Value, r.Value, v.Password, v.Password, v.Password))
	}
	return fmt.Errorf("%w: cannot use %s", errHost, strings.Join(texts, " and "))
}

func requireHidden(t *testing.T, err error) {
	t.Helper()
	require.ErrorIs(t, err, errHost)
	require.ErrorContains(t, err, "(secret)")
	report, jsonErr := json.Marshal(err)
	require.NoError(t, jsonErr)
	about, ok := errors.AsType[*backup.RecordError](err)
	require.True(t, ok)
	asJSON, jsonErr := json.Marshal(about)
	require.NoError(t, jsonErr)
	for _, text := range []string{err.Error(), string(report), string(asJSON)} {
		require.NotContains(t, text, "horse")
		require.NotContains(t, text, "hunter2")
		require.NotContains(t, text, "4711")
	}
}

// twoSteps is an App with two migrations, whose snapshots of version 1 are of before.
func twoSteps(steps ...backup.Migrator) (before, today *backup.App) {
	before = &backup.App{Name: "homelab", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{
		{Name: "boxes", Key: "/id", Secrets: []string{"/password"}},
	}}
	today = &backup.App{Name: "homelab", Version: "3.0.0", SchemaVersion: 3, Migrators: steps, Collections: []backup.Collection{
		{Name: "servers", Key: "/id", Secrets: []string{"/secret"}},
	}}
	return before, today
}

func TestAnErrorOfAMigratorShowsNoSecret(t *testing.T) {
	fails := func(from int) backup.Migrator {
		return step(from, func(_ string, r backup.Record, _ emitFunc) error { return careless(r) })
	}
	rename := step(1, func(_ string, r backup.Record, emit emitFunc) error {
		m := members(r)
		m["secret"] = "new hunter2"
		return emit("servers", record(r.Key, m))
	})
	for name, steps := range map[string][]backup.Migrator{
		"of the first step":                      {fails(1), keep(2)},
		"of a step after the record was changed": {rename, fails(2)},
	} {
		t.Run(name, func(t *testing.T) {
			before, today := twoSteps(steps...)
			source := backuptest.MapStore{"boxes": {"a": string(record("", map[string]any{"id": "a", "password": password}).Value)}}
			s := backedUp(t, before, source, backup.BackupOptions{Recipients: sealed})
			_, err := today.Verify(t.Context(), s, backup.RestoreOptions{})
			requireHidden(t, err)
			_, err = today.Restore(t.Context(), s, backuptest.MapStore{"servers": {}}, backup.RestoreOptions{LeaveOutInvalid: true})
			requireHidden(t, err)
		})
	}
}

func TestAnErrorOfMergeShowsNoSecretOfEitherSide(t *testing.T) {
	app := &backup.App{Name: "homelab", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{
		{Name: "servers", Key: "/id", Secrets: []string{"/password"}, Merge: func(a, b backup.Record) (backup.Record, error) { return backup.Record{}, careless(a, b) }},
		{Name: "settings", Shape: backup.Map, Secrets: []string{"/pin"}, Merge: func(a, b backup.Record) (backup.Record, error) { return backup.Record{}, careless(a, b) }},
	}}
	source := backuptest.MapStore{
		"servers":  {"a": string(record("", map[string]any{"id": "a", "password": password}).Value)},
		"settings": {"pin": `4711`},
	}
	s := backedUp(t, app, source, backup.BackupOptions{Recipients: sealed})
	host := backuptest.MapStore{"servers": {"a": `{"id":"a","password":"hunter2"}`}, "settings": {"pin": `{"of":["hunter2"]}`}}
	_, err := app.Restore(t.Context(), s, host, backup.RestoreOptions{Strategy: backup.Merge})
	requireHidden(t, err)
	_, err = app.Plan(t.Context(), s, host, backup.RestoreOptions{Strategy: backup.Merge, Only: []string{"settings"}})
	requireHidden(t, err)
}

// A secret of one letter is not told by the words that lack it, and no long text of the
// host is in a report as a whole.
func TestAnErrorOfTheHostStaysReadable(t *testing.T) {
	for secret, want := range map[string]string{
		"e":    "merge: the (secret) is refused for e2e",
		"":     "merge: the  is refused for e2e",
		"null": "merge: the null is refused for e2e",
	} {
		app := &backup.App{Name: "homelab", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{
			{Name: "servers", Key: "/id", Secrets: []string{"/password"}, Merge: func(a, _ backup.Record) (backup.Record, error) {
				return a, fmt.Errorf("the %s is refused for e2e %s", secret, strings.Repeat("!", 1000))
			}},
		}}
		value := `null`
		if secret != "null" {
			value = `"` + secret + `"`
		}
		s := backedUp(t, app, backuptest.MapStore{"servers": {"a": `{"id":"a","password":` + value + `}`}}, backup.BackupOptions{Recipients: sealed})
		_, err := app.Restore(t.Context(), s, backuptest.MapStore{"servers": {"a": `{"id":"a"}`}}, backup.RestoreOptions{Strategy: backup.Merge})
		require.ErrorContains(t, err, want)
		require.Less(t, len(err.Error()), 800)
	}
}
