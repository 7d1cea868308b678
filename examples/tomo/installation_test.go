package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBackupsAreNumberedByAnIdThatNoRestoreChanges(t *testing.T) {
	m := newMachine(t, 3)
	file := installationFile(m.db())
	m.ok("backup", "list")
	require.NoFileExists(t, file, "whoever only looks is no installation")
	first := m.create()
	require.FileExists(t, file)
	id := read(t, file)
	require.Regexp(t, "^[0-9a-f]{32}\n$", id)
	require.Equal(t, id[:32], first.Manifest.Installation)
	require.Equal(t, int64(1), first.Manifest.Serial)

	m.sql("DELETE FROM applications")
	m.ok("backup", "restore", first.Name, "--full", "--yes")
	m.ok("backup", "undo", "--yes")
	require.Equal(t, id, read(t, file))
	require.Equal(t, int64(4), m.create().Manifest.Serial, "the restore and the undo have stored what they replaced")
	for _, b := range m.list() {
		require.Equal(t, id[:32], b.Manifest.Installation)
	}
	require.NotEqual(t, id[:32], newMachine(t, 3).create().Manifest.Installation)

	require.NoError(t, os.WriteFile(file, []byte("tomo\n"), 0o600))
	o := m.ok("backup", "create")
	require.Contains(t, o.stderr, "going on without the id of this installation")
	require.Contains(t, o.stderr, file)
}
