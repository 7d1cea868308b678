//go:build !race

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAPassphraseThatIsMadeOpensBackupsAndIsOnTheSheet(t *testing.T) {
	m := newMachine(t, 2).without(passphraseVariable)
	file, paper := m.path("passphrase"), m.path("sheet.txt")
	o := m.ok("key", "generate", "--passphrase", "--output", file, "--sheet", paper)
	passphrase := strings.TrimSuffix(read(t, file), "\n")
	require.Regexp(t, `^([a-km-np-z2-9]{4}-){5}[a-km-np-z2-9]{4}$`, passphrase, "120 bits")
	require.NotContains(t, o.stdout+o.stderr, passphrase)
	for _, path := range []string{file, paper} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), path)
	}
	text := read(t, paper)
	for _, says := range []string{"Passphrase:   " + passphrase + "\n", "tomo backup restore --input", "FORMAT.md", "read_snapshot.py FILE.json > opened.json", "age -d"} {
		require.Contains(t, text, says)
	}
	require.NotContains(t, text, "{{")
	for line := range strings.Lines(text) {
		require.LessOrEqual(t, len(line), 96, "it fits on paper")
	}

	m.ok("backup", "create", "--passphrase-file", file)
	b := m.list()[0]
	m.ok("backup", "verify", b.Name, "--passphrase-file", file)
	m.with(passphraseVariable, regexp.MustCompile(`Passphrase: +(\S+)`).FindStringSubmatch(text)[1]).ok("backup", "verify", b.Name)

	// Nothing is overwritten, and half of the work is none.
	m.fails(statusFailed, "exists", "key", "generate", "--passphrase", "--output", file)
	other := m.path("other")
	m.fails(statusFailed, "exists", "key", "generate", "--passphrase", "--output", other, "--sheet", paper)
	require.NoFileExists(t, other)
	require.Equal(t, text, read(t, paper))
	m.fails(statusUsage, "--passphrase", "key", "generate", "--output", other, "--sheet", paper)
	m.fails(statusUsage, "--signing", "key", "generate", "--passphrase", "--signing", "--output", other)
	require.NotEqual(t, newPassphrase(), newPassphrase())
}

func TestCreateRefusesAKeyThatHasChanged(t *testing.T) {
	m := newMachine(t, 2)
	first := m.create()
	typo := m.with(passphraseVariable, testPassphrase+"s")
	o := typo.fails(statusFailed, first.Name+" is sealed with another key", "backup", "create")
	for _, says := range []string{"mistyped", "--new-key", "1 kept backup needs it", "tomo backup rewrap NAME"} {
		require.Contains(t, o.stderr, says)
	}
	require.Len(t, m.list(), 1, "nothing was sealed")
	typo.fails(statusFailed, "wrong key", "backup", "verify", first.Name)
	require.NotContains(t, o.stderr, "older backup")

	file := m.path("out.json")
	o = typo.fails(statusFailed, first.Name+" is sealed with another key", "backup", "create", "--output", file)
	require.Contains(t, o.stderr, "--new-key")
	require.NoFileExists(t, file)
	require.Contains(t, typo.ok("backup", "create", "--output", file, "--new-key").stderr, "warning: "+first.Name+" is sealed with another key")
	require.Empty(t, m.ok("backup", "create", "--output", file, "--force").stderr)

	o = typo.ok("backup", "create", "--new-key")
	require.Contains(t, o.stderr, "warning: "+first.Name+" is sealed with another key")
	require.Len(t, m.list(), 2)
	require.NotContains(t, typo.ok("backup", "list").stdout, "its key is another", "--new-key accepts it")
	held := filepath.Join(m.backups(), m.list()[0].Name+".rekeyed") // as a server leaves it
	require.NoError(t, os.WriteFile(held, nil, 0o600))
	require.Contains(t, typo.ok("backup", "list").stdout, "its key is another")
	o = typo.fails(statusFailed, "nothing is deleted", "backup", "prune", "--keep-last", "1")
	require.Contains(t, o.stderr, "tomo backup accept "+m.list()[0].Name)
	typo.ok("backup", "accept", m.list()[0].Name)
	require.NoFileExists(t, held)
	typo.ok("backup", "create")
	require.Contains(t, m.fails(statusFailed, "sealed with another key", "backup", "create").stderr, "2 kept backups")

	// Public keys in the place of the passphrase, which is still at hand.
	_, public := m.generate()
	o = typo.ok("backup", "create", "--recipient", public)
	require.Empty(t, o.stderr, "the passphrase opens it too")
	o = typo.without(passphraseVariable).fails(statusFailed, "another key", "backup", "create", "--recipient", mustPublic(m))
	require.Contains(t, o.stderr, "may need it")
}

// mustPublic makes another key and returns its public half.
func mustPublic(m *machine) string {
	path := m.path("another.txt")
	m.ok("key", "generate", "--output", path)
	return regexp.MustCompile(`age1[a-z0-9]+`).FindString(read(m.t, path))
}

func TestRewrapSaysHowManyBackupsNeedTheOldKeyAndUntilWhen(t *testing.T) {
	m := newMachine(t, 2)
	for range 3 {
		m.create()
	}
	fresh := m.path("new")
	write(t, fresh, "another passphrase\n")
	o := m.ok("backup", "rewrap", m.list()[2].Name, "--new-passphrase-file", fresh, "--delete-old")
	require.Contains(t, o.stdout, "Besides, 2 kept backups need the old key as long as they are kept. Keep that key")
	o = m.ok("backup", "rewrap", m.list()[0].Name, "--new-passphrase-file", fresh, "--delete-old")
	require.Contains(t, o.stdout, "Besides, 1 kept backup needs the old key", "the first opens with the new one")
	o = m.ok("backup", "rewrap", m.list()[1].Name, "--new-passphrase-file", fresh, "--delete-old")
	require.NotContains(t, o.stdout, "old key")
}
