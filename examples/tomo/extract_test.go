//go:build !race

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheDatabaseIsCopiedAndExtracted(t *testing.T) {
	m := newMachine(t, 5)
	o := m.ok("backup", "create", "--database", "--compress", "zstd")
	name := regexp.MustCompile(`tomo-db-\S+\.db\.zst`).FindString(o.stdout)
	require.NotEmpty(t, name, o.stdout)
	require.Contains(t, m.ok("backup", "list").stdout, "copy of the database")
	require.Contains(t, m.ok("backup", "verify", name).stdout, "is a whole copy of the database")

	o = m.ok("backup", "create", "--database", "--json")
	require.Equal(t, 1, strings.Count(o.stdout, `"database": {`), o.stdout)
	require.True(t, json.Valid([]byte(o.stdout)), o.stdout)
	before, database := m.dump(), m.db()
	out := m.path("out", "tomo.db")
	require.NoError(t, os.Mkdir(filepath.Dir(out), 0o700))
	require.Contains(t, m.ok("backup", "extract", name, "--output", out).stdout, "Database written: "+out)
	m.sql("DELETE FROM applications")
	for _, ending := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(database + ending); ending == "" {
			require.NoError(t, err)
		}
	}
	require.NoError(t, os.Rename(out, database))
	require.Equal(t, before, m.dump())
	m.ok("backup", "create") // with the key beside it, the credentials open

	m.fails(statusFailed, "already exists", "backup", "extract", name, "--output", database)
	m.fails(statusUsage, "--output", "backup", "extract", name)
	m.fails(statusFailed, "not the name of a copy of the database", "backup", "extract", "tomo-backup-2024-01-15T10-30-00.json", "--output", m.path("x"))
	m.fails(statusFailed, "copy of the database and no snapshot", "backup", "restore", name, "--yes")

	stored := filepath.Join(filepath.Dir(database), "backups", name)
	text, err := os.ReadFile(stored)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(stored, text[:len(text)-10], 0o600))
	m.fails(statusFailed, "damaged", "backup", "extract", name, "--output", m.path("x"))
	require.NoFileExists(t, m.path("x"))
	m.fails(statusFailed, "damaged", "backup", "verify", name)
	require.NoError(t, os.Remove(stored+".manifest")) // without it the database is checked itself
	m.fails(statusFailed, "damaged", "backup", "extract", name, "--output", m.path("x"))
	write(t, stored, string(text))
	require.Contains(t, m.ok("backup", "verify", name).stdout, "nothing beside it tells its digest")
	m.ok("backup", "extract", name, "--output", m.path("y"))

	write(t, m.path("z-wal"), "of another database")
	m.fails(statusFailed, "SQLite would take it for a part of the new database", "backup", "extract", name, "--output", m.path("z"))

	// Also where the database itself is lost, and as a file that somebody takes for a backup.
	require.NoError(t, os.Rename(m.db(), m.path("lost.db")))
	m.ok("backup", "extract", name, "--output", m.path("back.db"))
	o = m.fails(statusFailed, "it is a SQLite database and no snapshot", "backup", "verify", m.path("back.db"))
	require.NotContains(t, o.stderr, "salvage")
}
