package main

import (
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
)

func TestVerifySaysWhichBackupItIsAndWhereItsFormatIsDescribed(t *testing.T) {
	printed := func(m backup.Manifest) string {
		out, err := os.Create(t.TempDir() + "/out")
		require.NoError(t, err)
		defer out.Close()
		(&cli{stdout: out}).printVerified("b.json", m, backup.Report{}, false)
		return read(t, out.Name())
	}
	said := printed(backup.Manifest{Version: "1.0", Format: "https://example.com/\x1b[31mFORMAT.md", Installation: "home", Serial: 1234})
	require.Contains(t, said, "backup 1,234 of the installation home\n")
	require.Contains(t, said, "format 1.0, described at https://example.com/")
	require.NotContains(t, said, "\x1b")

	said = printed(backup.Manifest{Version: "1.0"})
	require.NotContains(t, said, "installation")
	require.NotContains(t, said, "described")
}

func TestVerifySaysWhyNothingIsProven(t *testing.T) {
	m := newMachine(t, 1)
	file, cut, saved := m.path("a.json"), m.path("cut.json"), m.path("saved.json")
	m.ok("backup", "create", "--output", file)
	require.Contains(t, m.without(passphraseVariable).ok("backup", "verify", file).stdout, "the passphrase or a signature of a --trust key would prove it")
	text := regexp.MustCompile(`(?m)^"proof":.*\n`).ReplaceAllString(read(t, file), "")
	write(t, cut, remade(t, text, "a", "a"))
	require.Contains(t, m.ok("backup", "verify", cut).stdout, "not proven: the passphrase opens it, but the proof that belongs to it is missing")
	m.ok("backup", "salvage", file, "--output", saved)
	require.Contains(t, m.ok("backup", "verify", saved).stdout, "not proven: what was salvaged carries no proof")
	_, public := m.generate()
	none := m.without(passphraseVariable)
	none.ok("backup", "create", "--output", m.path("public.json"), "--recipient", public)
	require.Contains(t, none.ok("backup", "verify", m.path("public.json")).stdout, "not proven: no passphrase can prove it")
}
