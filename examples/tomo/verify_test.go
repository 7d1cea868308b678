package main

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"regexp"
	"strings"
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

func TestAnErrorDoesNotAdviseTwiceOrInVain(t *testing.T) {
	m := newMachine(t, 1)
	made := m.create()
	path := filepath.Join(m.backups(), made.Name)
	o := m.with(passphraseVariable, "wrong").fails(statusFailed, "wrong key", "backup", "verify", path)
	require.NotContains(t, o.stderr, "nothing was changed", "verify never changes anything")
	write(t, m.path("empty"), "")
	o = m.fails(statusFailed, "the file is empty", "backup", "salvage", m.path("empty"), "--output", m.path("out"))
	require.NotContains(t, o.stderr, "tomo backup salvage")
	write(t, m.path("other"), "root:x:0:0:root:/root:/bin/sh\n")
	o = m.fails(statusFailed, "this is no backup", "backup", "verify", m.path("other"))
	require.NotContains(t, o.stderr, "damaged")
	o = m.with(passphraseVariable, "wrong").fails(statusFailed, "wrong key", "backup", "restore", made.Name, "--full", "--dry-run")
	require.Equal(t, 1, strings.Count(o.stderr, made.Name), o.stderr)
	flip(t, path)
	o = m.fails(statusFailed, "damaged", "backup", "verify", path)
	require.Equal(t, 1, strings.Count(strings.ToLower(o.stderr), "another copy"), o.stderr)
	require.Contains(t, o.stderr, "tomo backup salvage")
	m.fails(statusFailed, "give a NAME from tomo backup list", "backup", "restore", "x.json", "--full", "--dry-run")
	write(t, m.path("taken"), "key")
	m.fails(statusFailed, "give a new name with --output", "key", "generate", "--output", m.path("taken"))
}

func TestCreateSaysThatANewFolderGetsTheOlderBackups(t *testing.T) {
	m := newMachine(t, 1)
	m.create()
	m.create()
	drive := m.path("drive")
	require.NoError(t, os.Mkdir(drive, 0o700))
	require.Contains(t, m.ok("backup", "create", "--location", drive).stdout, "Copied 2 older backups to "+drive+" too")
	require.NotContains(t, m.ok("backup", "create", "--location", drive).stdout, "Copied")
}

// remade alters a document and makes its digest anew, as everybody can.
func remade(t *testing.T, text, old, with string) string {
	t.Helper()
	require.Contains(t, text, old)
	text = strings.ReplaceAll(text, old, with)
	at := strings.LastIndex(text, "\n\"integrity\":") + 1
	sum := sha256.Sum256([]byte(text[:at]))
	return text[:at] + regexp.MustCompile(`[0-9a-f]{64}`).ReplaceAllString(text[at:], hex.EncodeToString(sum[:]))
}

// flip alters one letter in the middle of a file.
func flip(t *testing.T, name string) {
	t.Helper()
	require.NoError(t, damage(name))
}
