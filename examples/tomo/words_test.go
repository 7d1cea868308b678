//go:build !race

package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/tomo"
)

var update = flag.Bool("update", false, "write the golden files in testdata anew")

// at puts a backup of the database there with a fixed time and serial, and returns its name.
func (m *machine) at(serial int64, passphrase string, only ...string) string {
	m.t.Helper()
	return m.atOf(strings.Repeat("0123456789abcdef", 2), serial, passphrase, only...)
}

// atOf is at for a backup of some installation.
func (m *machine) atOf(installation string, serial int64, passphrase string, only ...string) string {
	m.t.Helper()
	db, err := openSQLite(m.db(), "wal")
	require.NoError(m.t, err)
	defer db.Close()
	app := tomo.App(version)
	opts := backup.BackupOptions{
		CreatedAt:    time.Date(2024, 1, int(serial), 10, 30, 0, 0, time.UTC),
		Recipients:   []backup.Recipient{backup.Passphrase([]byte(passphrase))},
		Metadata:     map[string]string{"trigger": "manual"},
		Installation: installation,
		Serial:       serial,
		Only:         only,
	}
	var text bytes.Buffer
	_, err = app.Backup(m.t.Context(), &text, newDatabase(m.db(), db).store, opts)
	require.NoError(m.t, err)
	name := app.BackupName(opts.CreatedAt)
	write(m.t, filepath.Join(m.backups(), name), text.String())
	return name
}

// changing is what differs each time: how long something took, and how old it is.
var changing = regexp.MustCompile(`(the data is|restore took|comparison) [0-9][0-9a-zµ.,]*( (ms|s|minutes?|hours?|days?))?`)

// today is a time of this run, or an age in days.
var today = regexp.MustCompile(`[0-9]+ days|20(2[5-9]|[3-9][0-9])-[0-9-]+ [0-9:]+ UTC`)

// What the commands say of backups that are not what they seem stands in a file, so that a
// person reads it as a whole.
func TestWhatIsSaidOfBackupsSideBySide(t *testing.T) {
	m := newMachine(t, 12)
	write(t, installationFile(m.db()), strings.Repeat("0123456789abcdef", 2)+"\n")
	require.NoError(t, os.MkdirAll(m.backups(), 0o700))
	var said strings.Builder
	say := func(args ...string) {
		o := m.run(args...)
		said.WriteString("$ tomo " + strings.Join(args, " ") + "\n" + o.stdout + o.stderr + "\n")
	}
	cut := m.path("cut.json")
	plain := m.at(10, testPassphrase)
	text := read(t, filepath.Join(m.backups(), plain))
	write(t, cut, text[:len(text)/2])
	partial := m.at(11, testPassphrase, "servers")
	say("backup", "drill") // the newest full backup
	otherKey := m.at(12, "another passphrase for tests")
	foreign := m.atOf(strings.Repeat("fedcba9876543210", 2), 14, testPassphrase)
	m.sql("DELETE FROM preferences", "DELETE FROM applications")
	shrunk := m.at(13, testPassphrase)
	saved := filepath.Join(m.backups(), "saved.json")
	say("backup", "salvage", cut, "--output", saved)
	say("backup", "salvage", plain, "--output", m.path("needless.json"))
	say("backup", "list")
	say("backup", "status")
	for _, name := range []string{plain, partial, saved, otherKey, foreign, shrunk} {
		say("backup", "verify", name)
	}
	for _, name := range []string{plain, partial, otherKey, foreign, shrunk} {
		say("backup", "drill", name)
	}
	got := changing.ReplaceAllString(strings.ReplaceAll(said.String(), m.home, "~"), "$1 …")
	got = today.ReplaceAllString(got, "…")
	file := filepath.Join("testdata", "words.golden")
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
	}
	require.Equal(t, read(t, file), got)
}
