package integration

import (
	"bytes"
	"database/sql"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/sqlstore"
)

// A backup from before columns were added says nothing about them. Where they hold what a
// restore would put there, it changes nothing.
func TestABackupFromBeforeColumnsWereAddedChangesOnlyWhatDiffers(t *testing.T) {
	const columns = `ALTER TABLE things ADD COLUMN note TEXT; ALTER TABLE things ADD COLUMN title VARCHAR(40) NOT NULL DEFAULT 'it''s; 7'; ALTER TABLE things ADD COLUMN place INTEGER NOT NULL DEFAULT -7;
		ALTER TABLE things ADD COLUMN flag BOOLEAN NOT NULL DEFAULT FALSE; ALTER TABLE things ADD COLUMN ratio DOUBLE PRECISION DEFAULT 2; ALTER TABLE things ADD COLUMN amount NUMERIC(8,2) DEFAULT 1.5; ALTER TABLE things ADD COLUMN numeral VARCHAR(9) DEFAULT '007'`
	for name, c := range map[string]struct {
		open func(t *testing.T, schema string) *sql.DB
		of   func(*sql.DB, ...sqlstore.Table) sqlstore.Store
		more string
	}{
		"SQLite":     {func(t *testing.T, schema string) *sql.DB { return open(t, schema) }, store, `ALTER TABLE things ADD COLUMN odd BOOLEAN DEFAULT 1; ALTER TABLE things ADD COLUMN untyped DEFAULT '12'`},
		"PostgreSQL": {func(t *testing.T, schema string) *sql.DB { db, _ := newPostgres(t, schema); return db }, pg, `ALTER TABLE things ADD COLUMN list int[] DEFAULT '{1,2}'; ALTER TABLE things ADD COLUMN day date DEFAULT '2024-01-15'; ALTER TABLE things ADD COLUMN "a b" char(4) DEFAULT 'x'`},
		"MariaDB":    {func(t *testing.T, schema string) *sql.DB { db, _ := newMariaDB(t, schema); return db }, my, `ALTER TABLE things ADD COLUMN day date DEFAULT '2024-01-15'; ALTER TABLE things ADD COLUMN kind ENUM('a', 'b') NOT NULL DEFAULT 'b'`},
	} {
		t.Run(name, func(t *testing.T) {
			db := c.open(t, `CREATE TABLE things (id INTEGER PRIMARY KEY, name VARCHAR(40))`)
			exec(t, db, `INSERT INTO things VALUES (1, 'one'), (2, 'two'), (3, 'three')`)
			s := c.of(db, sqlstore.Table{Collection: "things"})
			app := &backup.App{Name: "a", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{{Name: "things", Key: "/id"}}}
			var file bytes.Buffer
			_, err := app.Backup(t.Context(), &file, s, backup.BackupOptions{})
			require.NoError(t, err)
			exec(t, db, columns+"; "+c.more)

			restore := func(strategy backup.Strategy) backup.CollectionReport {
				t.Helper()
				snapshot, err := backup.OpenSnapshot(t.Context(), bytes.NewReader(file.Bytes()), backup.OpenOptions{})
				require.NoError(t, err)
				defer snapshot.Close()
				report, err := app.Restore(t.Context(), snapshot, s, backup.RestoreOptions{Strategy: strategy})
				require.NoError(t, err)
				return report.Collections[0]
			}
			added := dump(t, s, "things")
			for _, strategy := range []backup.Strategy{backup.Replace, backup.Merge, backup.SkipDuplicates} {
				report := restore(strategy)
				require.Equal(t, int64(3), report.Unchanged, "%s %+v", strategy, report)
			}
			exec(t, db, `UPDATE things SET note = 'mine', place = 8 WHERE id = 2`)
			require.Equal(t, int64(3), restore(backup.Merge).Unchanged, "Merge keeps what the backup does not have")
			require.Equal(t, int64(1), restore(backup.Replace).Updated)
			require.Equal(t, int64(3), restore(backup.Replace).Unchanged)
			require.Equal(t, added, dump(t, s, "things"))
		})
	}
}
