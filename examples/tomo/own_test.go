package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// setting sets a setting behind the command's back.
func (m *machine) setting(key, value string) {
	m.t.Helper()
	m.sql(`insert or replace into settings (key, value) values ('` + key + `', '` + value + `')`)
}

func (m *machine) settings() settings {
	m.t.Helper()
	db, err := openSQLite(m.db(), "wal")
	require.NoError(m.t, err)
	defer db.Close()
	s, err := readSettings(m.t.Context(), newDatabase(m.db(), db))
	require.NoError(m.t, err)
	return s
}

func TestARestoreLeavesTheSettingsOfBackupsOfThisMachine(t *testing.T) {
	m := newMachine(t, 3)
	elsewhere := t.TempDir()
	m.setting("backup_keep_last", "1")
	m.setting("backup_enabled", "false")
	m.setting("backup_dir", `"`+elsewhere+`"`)
	m.ok("backup", "create", "--output", m.path("old.json"))
	m.sql(`delete from settings where key = 'backup_dir'`)
	m.setting("backup_keep_last", "9")
	m.setting("backup_enabled", "true")
	m.setting("theme", `"light"`)

	o := m.ok("backup", "restore", "--input", m.path("old.json"), "--full", "--yes")
	require.Contains(t, o.stdout, `settings "backup_keep_last" stays as it is here; in the backup it is another one`)
	require.Contains(t, o.stdout, `settings "backup_dir" stays unset here; the backup sets it`)
	s := m.settings()
	require.JSONEq(t, "9", string(s["backup_keep_last"]))
	require.JSONEq(t, "true", string(s["backup_enabled"]))
	require.False(t, s.has("backup_dir"))
	m.ok("backup", "undo", "--yes")

	// The settings of the backup, if they are asked for. The way back is still found.
	o = m.ok("backup", "restore", "--input", m.path("old.json"), "--full", "--yes", "--backup-settings")
	require.Contains(t, o.stdout, `settings "backup_keep_last" is another one in the backup: the restore takes that of the backup`)
	require.Contains(t, o.stdout, "stays in use beside them")
	s = m.settings()
	require.JSONEq(t, "1", string(s["backup_keep_last"]))
	require.JSONEq(t, `["`+elsewhere+`"]`, string(s["backup_locations"]))
	m.ok("backup", "undo", "--yes")
	require.JSONEq(t, "9", string(m.settings()["backup_keep_last"]))
	require.False(t, m.settings().has("backup_locations"))
}

func TestANewMachineKeepsWorkingWithItsOwnFolder(t *testing.T) {
	m := newMachine(t, 3)
	m.setting("backup_dir", `"/no/such/drive"`)
	m.ok("backup", "create", "--output", m.path("old.json"))
	other := newMachine(t, 0)
	o := other.ok("backup", "restore", "--input", m.path("old.json"), "--full", "--yes")
	require.Contains(t, o.stdout, "stays in use beside them")
	other.ok("backup", "undo", "--yes")
	o = other.ok("backup", "restore", "--input", m.path("old.json"), "--full", "--yes")
	require.Contains(t, o.stdout, `settings "backup_dir" is not set here: the restore takes it from the backup`)
	require.NotEmpty(t, other.create().Name)
}
