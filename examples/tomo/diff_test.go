//go:build !race

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
)

// changedMachine returns a machine with a backup, and changes of its database since.
func changedMachine(t *testing.T) (m *machine, before string) {
	m = newMachine(t, 3)
	require.NoError(t, os.MkdirAll(m.backups(), 0o700))
	before = m.at(10, testPassphrase)
	m.sql(
		"UPDATE servers SET port = 2222, description = 'a long text that does not fit: "+strings.Repeat("x", 100)+"' WHERE id = 'server-0000001'",
		"UPDATE repositories SET token = NULL WHERE id = 'repo-0000001'",
		"DELETE FROM applications WHERE id = 'app-0000002'",
		`UPDATE settings SET value = '"two\u001b[2Jlines"' WHERE key = 'site_name'`,
		`INSERT INTO settings (key, value) VALUES ('log_keep_days', '30')`,
	)
	return m, before
}

// What people read of two backups stands in a file, so that somebody reads it as a whole.
func TestWhatDiffSays(t *testing.T) {
	m, before := changedMachine(t)
	after := m.at(11, testPassphrase)
	partial := m.at(12, testPassphrase, "servers")
	foreign := m.atOf(strings.Repeat("fedcba9876543210", 2), 14, testPassphrase)
	write(t, m.path("copy.json"), read(t, filepath.Join(m.backups(), before)))
	var said strings.Builder
	say := func(status int, args ...string) {
		t.Helper()
		o := m.run(append([]string{"backup", "diff"}, args...)...)
		require.Equal(t, status, o.status, "%s%s", o.stdout, o.stderr)
		said.WriteString("$ tomo backup diff " + strings.Join(args, " ") + "\n" + o.stdout + o.stderr + "\n")
	}
	say(statusDone, before, after)
	say(statusDone, after, before, "--only", "servers,settings")
	say(statusDone, before)
	say(statusDone, "copy.json", before)
	say(statusDone, before, partial)
	say(statusDone, before, partial, "--only", "logs")
	say(statusDone, after, foreign)
	write(t, installationFile(m.db()), strings.Repeat("0123456789abcdef", 2)+"\n")
	say(statusDone, foreign, "--only", "settings")
	say(statusUsage)
	say(statusUsage, before, "--only", "nothing")
	say(statusFailed, before, "tomo-backup-2020-01-01T00-00-00.json")
	say(statusFailed, before, "nothing.json")
	m = m.with(passphraseVariable, "another passphrase for tests")
	say(statusFailed, before, after)
	m = m.without(passphraseVariable)
	say(statusFailed, before, after)
	say(statusFailed, before, after, "--json")
	got := strings.ReplaceAll(said.String(), m.home, "~")
	file := filepath.Join("testdata", "diff.golden")
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
	}
	require.Equal(t, read(t, file), got)
	require.NotContains(t, got, "\x1b", "no control character reaches a terminal, and no colour a file")
}

// diffResult is what diff prints with --json.
type diffResult struct {
	From, To    compared
	Changes     []backup.Change
	Added       int
	Changed     int
	Deleted     int
	NotCompared []backup.Change `json:"not_compared"`
	Notes       []string
}

func TestDiffForMachines(t *testing.T) {
	m, before := changedMachine(t)
	got := parse[diffResult](t, m.ok("backup", "diff", before, "--json").stdout)
	require.Equal(t, before, got.From.Backup)
	require.Equal(t, m.db(), got.To.Database)
	require.Equal(t, []int{1, 3, 1}, []int{got.Added, got.Changed, got.Deleted})
	require.Len(t, got.Changes, 5)
	require.Equal(t, "logs", got.NotCompared[0].Collection)
	require.Equal(t, []string{"not compared, because only the database has it: logs"}, got.Notes)
	server := got.Changes[0]
	require.Equal(t, "/port", server.Fields[1].Pointer)
	require.Equal(t, json.RawMessage("2222"), server.Fields[1].After)
	require.Contains(t, string(server.Fields[0].After), strings.Repeat("x", 100), "machines get all of it")

	same := parse[diffResult](t, m.ok("backup", "diff", before, before, "--json").stdout)
	require.Empty(t, same.Changes)
	require.NotNil(t, same.Changes, "an empty list, and not null")

	// No database is needed for two backups.
	lost := *m
	lost.env = append(lost.env, "UNUSED=")
	require.NoError(t, os.Rename(m.db(), m.db()+".away"))
	lost.ok("backup", "diff", before, before)
	lost.fails(statusFailed, "no database at", "backup", "diff", before)
}

// A salvaged backup lacks what was lost. That is not what people did.
func TestDiffOfASalvagedBackupSaysWhatWasLost(t *testing.T) {
	m := newMachine(t, 12)
	require.NoError(t, os.MkdirAll(m.backups(), 0o700))
	whole := m.at(10, testPassphrase)
	text := read(t, filepath.Join(m.backups(), whole))
	write(t, m.path("cut.json"), text[:len(text)/2])
	m.ok("backup", "salvage", "cut.json", "--output", "saved.json")
	o := m.ok("backup", "diff", whole, "saved.json")
	require.Contains(t, o.stdout, "Note: saved.json was salvaged, and what it lost looks as if it was not there then.")
}

// One record may have more fields than a screen has lines.
func TestOneLargeRecordLeavesTheScreenReadable(t *testing.T) {
	var out strings.Builder
	p := &diffPrinter{out: &out, lines: 5}
	change := backup.Change{Collection: "servers", Key: strings.Repeat("k", 500), Action: backup.Update, Label: "nas\x1b[2J"}
	for i := range 100 {
		change.Fields = append(change.Fields, backup.FieldChange{Pointer: fmt.Sprintf("/f%d", i), Before: json.RawMessage(`"` + strings.Repeat("é", 1000) + `"`)})
	}
	p.print(change)
	p.print(change)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, 5)
	require.Equal(t, "… and 97 fields more", strings.TrimSpace(lines[4]))
	require.Contains(t, lines[0], `… (nas\x1b[2J)`)
	require.EqualValues(t, 1, p.hidden)
	for _, line := range lines {
		require.Less(t, len(line), 300)
	}
}
