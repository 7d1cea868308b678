//go:build !race

package main

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A screen is what a person looks at. The rest is counted.
func TestDiffInATerminalFillsAScreen(t *testing.T) {
	m := newMachine(t, 40).with("TERM", "xterm")
	require.NoError(t, os.MkdirAll(m.backups(), 0o700))
	before := m.at(10, testPassphrase)
	m.sql("UPDATE servers SET port = port + 1", "UPDATE users SET username = username || '\x1b[2J' WHERE id = 'user-0000003'")

	term := m.terminal("backup", "diff", before)
	term.wait(statusDone)
	shown := term.shown()
	require.LessOrEqual(t, strings.Count(shown, "\n"), 24)
	require.Contains(t, shown, "\x1b[33m~ servers server-0000000 (node 0)\x1b[0m")
	require.Contains(t, shown, "\x1b[31m22\x1b[0m → \x1b[32m23\x1b[0m")
	require.Contains(t, shown, "more; --all shows all")
	require.Contains(t, shown, "41 changes: 0 added, 41 changed, 0 deleted (servers 40, users 1)")
	require.NotContains(t, shown, "\x1b[2J")

	term = m.terminal("backup", "diff", before, "--all")
	term.wait(statusDone)
	require.Contains(t, term.shown(), "server-0000039")
	require.NotContains(t, term.shown(), "--all shows all")
	require.NotContains(t, term.shown(), "\x1b[2J")

	term = m.with("NO_COLOR", "1").terminal("backup", "diff", before)
	term.wait(statusDone)
	require.NotContains(t, term.shown(), "\x1b[3")
	require.Contains(t, term.shown(), "~ servers server-0000000")

	require.NotContains(t, m.ok("backup", "diff", before).stdout, "\x1b")
	require.Contains(t, m.ok("backup", "diff", before).stdout, "server-0000039", "a file gets all")
}
