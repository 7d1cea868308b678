package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/sqlstore"
)

// A full-text index that triggers keep is right after a restore, whatever the restore had
// to do: here, two notes exchange their titles.
func TestSQLiteAFullTextIndexStaysRight(t *testing.T) {
	const schema = `CREATE TABLE notes (id INTEGER PRIMARY KEY, title TEXT NOT NULL UNIQUE);
		CREATE VIRTUAL TABLE search USING fts5(title, content='notes', content_rowid='id');
		CREATE TRIGGER i AFTER INSERT ON notes BEGIN INSERT INTO search(rowid, title) VALUES (new.id, new.title); END;
		CREATE TRIGGER d AFTER DELETE ON notes BEGIN INSERT INTO search(search, rowid, title) VALUES ('delete', old.id, old.title); END;
		CREATE TRIGGER u AFTER UPDATE ON notes BEGIN INSERT INTO search(search, rowid, title) VALUES ('delete', old.id, old.title); INSERT INTO search(rowid, title) VALUES (new.id, new.title); END;`
	db := open(t, schema+"INSERT INTO notes VALUES (1, 'apple'), (2, 'pear'), (3, 'plum')")
	app := &backup.App{Name: "notes", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{{Name: "notes", Key: "/id"}}}
	store := sqlstore.Store{DB: db, Dialect: sqlstore.SQLite, Tables: []sqlstore.Table{{Collection: "notes"}}}
	snapshot := snapshotOf(t, app, store)
	exec(t, db, "DELETE FROM notes WHERE id = 3; UPDATE notes SET title = 'x' WHERE id = 1; UPDATE notes SET title = 'apple' WHERE id = 2; UPDATE notes SET title = 'pear' WHERE id = 1; INSERT INTO notes VALUES (4, 'plum')")
	report, err := app.Restore(t.Context(), snapshot, store, backup.RestoreOptions{Strategy: backup.Replace})
	require.NoError(t, err)
	require.Empty(t, report.Warnings)
	exec(t, db, "INSERT INTO search(search) VALUES ('integrity-check')")
	for title, id := range map[string]string{"apple": "1", "pear": "2", "plum": "3"} {
		require.Equal(t, []string{id}, column(t, db, "SELECT rowid FROM search WHERE search MATCH '"+title+"'"), title)
	}
}
