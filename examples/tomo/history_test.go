//go:build !race

package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/manager"
)

// pastOf returns a machine with backups of eight days, of which a server is lost.
func pastOf(t *testing.T) *machine {
	m := newMachine(t, 2)
	write(t, installationFile(m.db()), strings.Repeat("0123456789abcdef", 2)+"\n")
	require.NoError(t, os.MkdirAll(m.backups(), 0o700))
	m.at(1, testPassphrase)
	m.sql(
		`INSERT INTO servers (id, name, host, port, user, auth_method) VALUES ('web-1', 'The NAS', 'nas.example', 22, 'root', 'agent')`,
		`INSERT INTO servers (id, name, description, host, port, user, auth_method) VALUES ('odd', 'x', 'old', 'a.example', 22, 'root', 'agent')`)
	m.at(2, testPassphrase)
	m.sql(`UPDATE servers SET description = 'bell'||char(7)||char(27)||'[2Jnas' WHERE id = 'odd'`)
	m.at(3, testPassphrase)
	m.sql(`UPDATE servers SET name = 'Storage of the whole house, with a name that is much longer than a line', port = 2222 WHERE id = 'web-1'`)
	m.at(4, testPassphrase)
	m.at(5, testPassphrase, "users")
	m.at(6, "another passphrase for tests")
	damaged := m.at(7, testPassphrase)
	text := read(t, filepath.Join(m.backups(), damaged))
	write(t, filepath.Join(m.backups(), damaged), strings.Replace(text, "whole house", "WHOLE house", 1))
	m.sql(`DELETE FROM servers WHERE id IN ('web-1', 'odd')`)
	m.at(8, testPassphrase)
	return m
}

// What is told of a record stands in a file, so that a person reads it as a whole.
func TestWhatIsSaidOfARecord(t *testing.T) {
	m := pastOf(t)
	var said strings.Builder
	for _, args := range [][]string{
		{"history", "servers", "web-1"},
		{"history", "servers", "odd"},
		{"history", "settings", "theme"},
		{"history", "servers", "web-7"},
		{"history", "logs", "1"},
		{"history", "nothing", "1"},
		{"find", "NAS"},
		{"find", "web-1"},
		{"find", "web-1", "--only", "users,servers"},
		{"find", "e", "--limit", "2"},
		{"find", "such a thing"},
	} {
		o := m.run(append([]string{"backup"}, args...)...)
		said.WriteString("$ tomo backup " + strings.Join(args, " ") + "\n" + o.stdout + o.stderr + "\n")
	}
	got := strings.ReplaceAll(said.String(), m.home, "~")
	got = regexp.MustCompile(`[0-9a-f]{40,}…`).ReplaceAllString(got, "…")
	file := filepath.Join("testdata", "history.golden")
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
	}
	for line := range strings.Lines(got) {
		require.False(t, strings.ContainsFunc(strings.TrimSuffix(line, "\n"), unicode.IsControl), "%q", line)
		if !strings.HasPrefix(line, "  tomo ") && !strings.HasPrefix(line, "tomo: ") && !strings.HasPrefix(line, "  Give the private key") && !strings.Contains(line, "~/") {
			require.LessOrEqual(t, len([]rune(line)), maxLine+1, line)
		}
	}
	require.Equal(t, read(t, file), got)
}

func TestHistoryAndFindForMachines(t *testing.T) {
	m := pastOf(t)
	var history historyResult
	require.NoError(t, json.Unmarshal([]byte(m.ok("backup", "history", "servers", "web-1", "--json").stdout), &history))
	require.Equal(t, "web-1", history.Key)
	var presence []manager.Presence
	for _, s := range history.States {
		presence = append(presence, s.Presence)
	}
	require.Equal(t, []manager.Presence{"absent", "unread", "unread", "silent", "present", "present", "present", "absent"}, presence)
	require.Equal(t, backup.Delete, history.States[4].Then.Action)

	require.NoError(t, json.Unmarshal([]byte(m.fails(statusFailed, "no backup that could be read has", "backup", "history", "servers", "web-7", "--json").stdout), &history))
	require.Len(t, history.States, 8)

	var found findResult
	require.NoError(t, json.Unmarshal([]byte(m.ok("backup", "find", "nas", "--json").stdout), &found))
	require.Len(t, found.Found, 2)
	require.Len(t, found.Unread, 2)
	require.Len(t, found.Searched, 5)
	require.Equal(t, []string{"odd", "web-1"}, []string{found.Found[0].Key, found.Found[1].Key})
	require.False(t, found.Found[0].Newest)
	o := m.fails(statusFailed, "no record has", "backup", "find", "no such thing", "--json")
	require.NoError(t, json.Unmarshal([]byte(o.stdout), &found))
	require.Empty(t, found.Found)
}

// Without the right key the backups are named, and what to do.
func TestHistoryWithoutAKey(t *testing.T) {
	m := pastOf(t).without(passphraseVariable)
	o := m.fails(statusFailed, "Not read, so not searched: 7 backups", "backup", "find", "nas")
	require.Contains(t, o.stderr, "Give the private key with --identity FILE")
	require.Contains(t, o.stderr, "nothing was searched")
	require.NotContains(t, o.stderr, "There is no full backup")
	o = m.fails(statusFailed, "no backup that could be read has servers web-1.", "backup", "history", "servers", "web-1")
	require.NotContains(t, o.stderr, "There is none")
}

// On a new server the backups of the old one are left out, but not in silence.
func TestASearchLooksInTheBackupsOfTheOldServer(t *testing.T) {
	m := newMachine(t, 2)
	m.create()
	old := strings.TrimSpace(read(t, installationFile(m.db())))
	write(t, installationFile(m.db()), strings.Repeat("0123456789abcdef", 2)+"\n")
	for _, args := range [][]string{{"find", "node 1"}, {"history", "servers", "node 1"}} {
		args = append([]string{"backup"}, args...)
		o := m.fails(statusFailed, "Left out: 1 backup of another installation. To search there:", args...)
		require.Contains(t, o.stderr, "--installation "+old+"\n")
		o = m.ok(append(args, "--installation", old)...)
		require.Contains(t, o.stdout, "--record servers/server-0000001")
	}
	m.fails(statusFailed, "", "backup", "find", "node 1", "--installation", "no id")
}

// What was found and could not be told is no success.
func TestASearchThatCannotPrintFails(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full")
	}
	defer full.Close()
	m := newMachine(t, 2)
	m.create()
	for _, args := range [][]string{{"find", "node 1"}, {"history", "servers", "server-0000001"}} {
		cmd := m.command(append([]string{"backup"}, args...)...)
		cmd.Stdout = full
		require.Error(t, cmd.Run(), args)
	}
}

// The last line is a command that a person copies into a shell.
func TestTheLastLineOfAHistoryRestoresTheRecord(t *testing.T) {
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no sh")
	}
	m := newMachine(t, 2)
	write(t, installationFile(m.db()), strings.Repeat("0123456789abcdef", 2)+"\n")
	require.NoError(t, os.MkdirAll(m.backups(), 0o700))
	m.at(1, testPassphrase)
	m.sql(`UPDATE servers SET host = 'changed.example' WHERE id = 'server-0000001'`, `UPDATE settings SET value = '"light"' WHERE key = 'theme'`)
	changed := m.dump()
	copied := func(more string, args ...string) outcome {
		lines := strings.Split(strings.TrimSpace(m.ok(args...).stdout), "\n")
		cmd := exec.CommandContext(t.Context(), shell, "-eu", "-c", lines[len(lines)-1]+more)
		cmd.Env, cmd.Dir = m.env, m.home
		return finish(t, cmd)
	}
	for _, args := range [][]string{{"backup", "history", "servers", "server-0000001"}, {"backup", "find", "server-0000001", "--only", "servers", "--dir", m.backups()}} {
		o := copied(" --yes", args...) // the database may still have the record
		require.Zero(t, o.status, o.stderr)
		require.NotEqual(t, changed, m.dump())
		require.Contains(t, m.dump(), "light", "nothing else is restored")
		require.NotContains(t, m.dump(), "changed.example")
		m.ok("backup", "undo", "--yes")
		require.Equal(t, changed, m.dump())
	}

	m.sql(`DELETE FROM applications`, `UPDATE servers SET jump_server_id = NULL`, `DELETE FROM servers WHERE id = 'server-0000001'`)
	m.create()
	for _, args := range [][]string{{"backup", "history", "servers", "server-0000001"}, {"backup", "find", "SERVER-0000001", "--only", "servers"}} {
		lost := m.dump()
		o := copied("", args...)
		require.Zero(t, o.status, o.stderr)
		require.NotEqual(t, lost, m.dump())
		m.ok("backup", "undo", "--yes")
		require.Equal(t, lost, m.dump())
	}
}
