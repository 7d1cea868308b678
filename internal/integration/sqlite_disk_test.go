//go:build !race

package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/sqlstore"
)

// The database may not grow, which to SQLite is a full disk.
func TestSQLiteARestoreOntoAFullDiskLeavesTheDatabaseAsItWas(t *testing.T) {
	app := &backup.App{Name: "notes", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{{Name: "notes", Key: "/id"}}}
	src := backuptest.MapStore{"notes": {}}
	for i := range 2000 {
		id := fmt.Sprintf("n%04d", i)
		src["notes"][id] = fmt.Sprintf(`{"id":%q,"text":%q}`, id, strings.Repeat("x", 200))
	}
	var file strings.Builder
	_, err := app.Backup(t.Context(), &file, src, backup.BackupOptions{})
	require.NoError(t, err)
	s, err := backup.OpenSnapshot(t.Context(), strings.NewReader(file.String()), backup.OpenOptions{})
	require.NoError(t, err)
	defer s.Close()

	db := openFile(t, t.TempDir()+"/test.db", "&_pragma=max_page_count(20)", `CREATE TABLE notes (id TEXT PRIMARY KEY, text TEXT); INSERT INTO notes VALUES ('old', 'stays')`)
	notes := store(db, sqlstore.Table{Collection: "notes"})
	_, err = app.Restore(t.Context(), s, notes, backup.RestoreOptions{Strategy: backup.Replace})
	require.ErrorContains(t, err, "check disk space")

	var rows int
	var text string
	require.NoError(t, db.QueryRow("SELECT count(*), max(text) FROM notes").Scan(&rows, &text))
	require.Equal(t, 1, rows)
	require.Equal(t, "stays", text)
}
