package main

import (
	"os"
	"strings"
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
	require.Regexp(t, `(?m)^NAME +TIME +SERIAL +SIZE .*\n`+first.Name+` .* UTC +#1 +[0-9]`, m.ok("backup", "list").stdout)

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

// Two installations that share a folder do not touch each other's backups.
func TestBackupsOfAnotherInstallationAreListedApart(t *testing.T) {
	mine, theirs := newMachine(t, 3), newMachine(t, 5)
	shared := t.TempDir()
	mine.ok("backup", "create", "--dir", shared)
	theirs.ok("backup", "create", "--dir", shared)
	own := strings.TrimSpace(read(t, installationFile(mine.db())))
	id := strings.TrimSpace(read(t, installationFile(theirs.db())))

	text := mine.ok("backup", "list", "--dir", shared).stdout
	heading := "\nOf another installation, " + id + ". They are restored only by name:\n"
	before, after, found := strings.Cut(text, heading)
	require.True(t, found, text)
	require.Equal(t, 1, strings.Count(before, "tomo-backup-"), text)
	require.Equal(t, 1, strings.Count(after, "tomo-backup-"), text)
	name := strings.Fields(strings.Split(after, "\n")[1])[0]

	require.NotZero(t, mine.run("backup", "undo", "--dir", shared, "--yes").status)
	warning := "the backup is of another installation, " + id + ", and not of this one, " + own
	o := mine.ok("backup", "restore", name, "--dir", shared, "--full", "--dry-run")
	require.Contains(t, o.stdout+o.stderr, warning)
	o = mine.ok("backup", "restore", name, "--dir", shared, "--full", "--yes")
	require.Contains(t, o.stdout+o.stderr, warning)
}
