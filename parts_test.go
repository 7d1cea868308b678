package backup_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
)

// membersApp has a collection whose records are identified by two places, and one
// that refers to it.
func membersApp() *backup.App {
	return &backup.App{
		Name: "tomo", Version: "1.0.0", SchemaVersion: 1,
		Collections: []backup.Collection{
			{Name: "badges", Key: "/id", Refs: []backup.Ref{{Pointer: "/user,/group", Collection: "members"}}},
			{Name: "members", Key: "/user,/group", Secrets: []string{"/pin"}},
		},
	}
}

func membersHost() backuptest.MapStore {
	return backuptest.MapStore{
		"members": {
			`["7","admins"]`: `{"user":7,"group":"admins","pin":"marked-1"}`,
			`["7","guests"]`: `{"user":7,"group":"guests","pin":"marked-2"}`,
			`["8",""]`:       `{"user":8,"group":"","pin":"marked-3"}`,
		},
		"badges": {
			"a": `{"id":"a","user":7,"group":"guests"}`,
			"b": `{"id":"b","user":null,"group":"nobody"}`,
		},
	}
}

func TestRecordsIdentifiedBySeveralParts(t *testing.T) {
	app, host := membersApp(), membersHost()
	var file bytes.Buffer
	_, err := app.Backup(t.Context(), &file, host, backup.BackupOptions{Recipients: sealed})
	require.NoError(t, err)
	require.NotContains(t, file.String(), "marked")
	require.Contains(t, file.String(), `"members":{"key":"/user,/group","secrets":["/pin"]}`)

	restored := backuptest.MapStore{"members": {}, "badges": {}}
	restore := func(file string, opts backup.RestoreOptions) (backup.Report, error) {
		s, err := backup.OpenSnapshot(t.Context(), strings.NewReader(file), backup.OpenOptions{Identities: []backup.Identity{testKey("k")}})
		require.NoError(t, err)
		defer s.Close()
		return app.Restore(t.Context(), s, restored, opts)
	}
	_, err = restore(file.String(), backup.RestoreOptions{})
	require.NoError(t, err)
	require.Equal(t, host, restored)

	restored["members"][`["8",""]`] = `{"user":8,"group":"","pin":"changed"}`
	restored["members"][`["9","x"]`] = `{"user":9,"group":"x"}`
	report, err := restore(file.String(), backup.RestoreOptions{Strategy: backup.Replace})
	require.NoError(t, err)
	require.Equal(t, host, restored)
	require.EqualValues(t, 1, membersIn(report).Updated)
	require.EqualValues(t, 1, membersIn(report).Deleted)

	// What is sealed for one record does not open for another, also of the same user.
	swapped := strings.NewReplacer(`"group":"admins"`, `"group":"guests"`, `"group":"guests"`, `"group":"admins"`).Replace(file.String())
	swapped = swapped[:strings.LastIndex(swapped, "\"integrity\"")-2] + "}"
	s, err := backup.OpenSnapshot(t.Context(), strings.NewReader(swapped), backup.OpenOptions{Identities: []backup.Identity{testKey("k")}})
	require.NoError(t, err)
	defer s.Close()
	_, err = app.Verify(t.Context(), s, backup.RestoreOptions{})
	require.ErrorIs(t, err, backup.ErrDamaged)
	require.ErrorContains(t, err, `members "[\"7\",\"guests\"]" /pin`)
}

func TestAReferenceOfSeveralPartsIsChecked(t *testing.T) {
	app, host := membersApp(), membersHost()
	host["badges"]["c"] = `{"id":"c","user":8,"group":"admins"}`
	_, err := app.Backup(t.Context(), new(bytes.Buffer), host, backup.BackupOptions{Recipients: sealed})
	require.ErrorIs(t, err, backup.ErrDangling)
	require.ErrorContains(t, err, `badges "c" /user,/group: there is no "[\"8\",\"admins\"]" in members`)
}

func TestSalvageOfRecordsIdentifiedBySeveralParts(t *testing.T) {
	app, host := membersApp(), membersHost()
	var file bytes.Buffer
	_, err := app.Backup(t.Context(), &file, host, backup.BackupOptions{Recipients: sealed})
	require.NoError(t, err)
	damaged := strings.Replace(file.String(), `"group":"guests","pin"`, `"group":"guests",!pin"`, 1)
	var saved bytes.Buffer
	report, err := app.Salvage(t.Context(), &saved, strings.NewReader(damaged), backup.SalvageOptions{
		Identities: []backup.Identity{testKey("k")}})
	require.NoError(t, err)
	require.Len(t, report.Lost, 1)
	require.Equal(t, `["7","guests"]`, report.Lost[0].Key)
	require.EqualValues(t, 2, report.Manifest.Records["members"])
}

func membersIn(r backup.Report) backup.CollectionReport {
	i := slices.IndexFunc(r.Collections, func(c backup.CollectionReport) bool { return c.Name == "members" })
	return r.Collections[i]
}
