package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The database has rules of its own, which the declaration does not know: here,
// addresses are unique, and triggers run.

func TestARestoreNamesBothRecordsOfAClashAndLeavesThemOut(t *testing.T) {
	m := newMachine(t, 3)
	file := m.path("b.json")
	m.ok("backup", "create", "--output", file)
	m.sql("DELETE FROM preferences", "DELETE FROM users WHERE id = 'user-0000001'",
		"CREATE UNIQUE INDEX users_email ON users (email)", "UPDATE users SET email = 'user-1@example.org' WHERE id = 'user-0000002'")
	before := m.dump()
	restore := []string{"backup", "restore", "--input", file, "--only", "users"}

	for _, how := range [][]string{{"--dry-run"}, nil} {
		o := m.fails(statusFailed, `users "user-0000001"`, append(restore, how...)...)
		require.Contains(t, o.stderr, `clashes with "`)
		require.Contains(t, o.stderr, "--skip-clashes")
		require.Contains(t, o.stderr, "nothing was changed")
	}
	o := m.ok(append(restore, "--dry-run", "--untried")...)
	require.Contains(t, o.stdout, "+ users user-0000001")
	require.Contains(t, o.stdout, "nothing was tried")
	m.fails(statusUsage, "--untried goes with --dry-run", append(restore, "--untried")...)

	o = m.ok(append(restore, "--dry-run", "--skip-clashes")...)
	require.Contains(t, o.stdout, "= users user-0000001 (left out: clashes with ")
	require.Contains(t, o.stdout, `Left out: users "user-0000001"`)
	require.Contains(t, o.stdout, "The restore was tried, and rolled back.")
	require.Equal(t, before, m.dump())
	o = m.ok(append(restore, "--skip-clashes")...)
	require.Contains(t, o.stdout, "Nothing had to be changed.")
	require.Equal(t, before, m.dump())
}

func TestARestoreSaysWhatTheDatabaseMakesOtherwise(t *testing.T) {
	m := newMachine(t, 3)
	file := m.path("b.json")
	m.ok("backup", "create", "--output", file)
	m.sql("CREATE TRIGGER shouts AFTER INSERT ON repositories BEGIN UPDATE repositories SET name = upper(name) WHERE id = new.id; END",
		"CREATE TRIGGER shouts_again AFTER UPDATE ON repositories BEGIN UPDATE repositories SET name = upper(name) WHERE id = new.id; END",
		"CREATE TRIGGER keeps BEFORE DELETE ON repositories BEGIN SELECT raise(IGNORE); END",
		"INSERT INTO repositories (id, name, url) VALUES ('extra', 'Extra', 'https://extra.example.org/')",
		"UPDATE repositories SET name = 'x' WHERE id = 'repo-0000001'")

	for _, c := range []struct{ flag, first string }{{"--dry-run", "would do this:"}, {"--yes", "but not all is as in the backup: 2 records."}} {
		o := m.ok("backup", "restore", "--input", file, "--only", "repositories", "--strategy", "replace", c.flag)
		require.Contains(t, o.stdout, c.first)
		require.Regexp(t, `UNCHANGED +ALTERED +EXTRA\n`, o.stdout)
		require.Regexp(t, `total +0 +0 +0 +0 +2 +1 +1\n`, o.stdout)
		require.Contains(t, o.stdout, "The database does not leave them as the restore writes them: repositories repo-0000001\n")
		require.Contains(t, o.stdout, "Others that the database makes, changes, removes or keeps by itself: repositories extra\n")
	}
}
