//go:build !race

package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNobodyIsAskedForAPassphraseThatOpensNothing(t *testing.T) {
	m := newMachine(t, 2).without(passphraseVariable)
	locked, err := filepath.Abs("../../agekey/testdata/keys/ed25519_locked")
	require.NoError(t, err)
	public := strings.TrimSpace(read(t, locked+".pub"))
	_, other := m.generate()
	term := m.terminal("backup", "create", "--recipient", public, "--encrypt", "--output", m.path("whole"))
	term.wait(statusDone) // and was not asked
	require.NotContains(t, term.shown(), "Passphrase of")
	m.ok("backup", "create", "--recipient", other, "--output", m.path("b.json"))
	m.with(passphraseVariable, "typed in").ok("backup", "create", "--encrypt", "--output", m.path("p.age"))

	term = m.terminal("backup", "verify", m.path("b.json"), "--identity", locked)
	term.wait(statusFailed)
	require.NotContains(t, term.shown(), "Passphrase of", "neither key takes one for this")
	require.Contains(t, term.shown(), other)

	term = m.terminal("backup", "restore", "--input", m.path("whole"), "--identity", locked)
	term.answer("Passphrase of "+locked+": ", "hunter2\n")
	term.wait(statusDone)
	require.NotContains(t, term.shown(), "hunter2")
	require.NotContains(t, term.shown(), "Passphrase of the backup")

	term = m.terminal("backup", "verify", m.path("p.age"), "--identity", locked)
	term.answer("Passphrase of the backup: ", "typed in\n")
	term.wait(statusDone)
	m.fails(statusFailed, "no terminal to ask for it", "backup", "verify", m.path("whole"), "--identity", locked)
}
