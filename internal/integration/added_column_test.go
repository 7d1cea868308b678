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

// Nobody knows what a default that is an expression gives. A record that is there keeps
// what it has, as no backup says otherwise.
func TestABackupFromBeforeAColumnWithAnExpressionKeepsWhatRowsHave(t *testing.T) {
	const before, after = `CREATE TABLE things (id INTEGER PRIMARY KEY, name VARCHAR(40) UNIQUE, place INTEGER`, `, note VARCHAR(9) DEFAULT 'n')`
	for name, c := range map[string]struct {
		open  func(t *testing.T, schema string) *sql.DB
		of    func(*sql.DB, ...sqlstore.Table) sqlstore.Store
		added string
	}{
		"SQLite":     {func(t *testing.T, schema string) *sql.DB { return open(t, schema) }, store, `, made TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f')), code TEXT UNIQUE DEFAULT (hex(randomblob(9)))`},
		"PostgreSQL": {func(t *testing.T, schema string) *sql.DB { db, _ := newPostgres(t, schema); return db }, pg, `, made timestamptz NOT NULL DEFAULT clock_timestamp(), code text UNIQUE DEFAULT md5(random()::text)`},
		"MariaDB":    {func(t *testing.T, schema string) *sql.DB { db, _ := newMariaDB(t, schema); return db }, my, `, made DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6), code VARCHAR(40) UNIQUE DEFAULT (uuid())`},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, things := t.Context(), sqlstore.Table{Collection: "things"}
			old := c.open(t, before+")")
			exec(t, old, `INSERT INTO things VALUES (1, 'one', 1), (2, 'two', 2), (3, 'three', 3)`)
			app := &backup.App{Name: "a", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{{Name: "things", Key: "/id"}}}
			var file bytes.Buffer
			_, err := app.Backup(ctx, &file, c.of(old, things), backup.BackupOptions{})
			require.NoError(t, err)
			snapshot, err := backup.OpenSnapshot(ctx, bytes.NewReader(file.Bytes()), backup.OpenOptions{})
			require.NoError(t, err)
			defer snapshot.Close()
			_, err = app.Drill(ctx, snapshot, c.of(c.open(t, before+c.added+after), things), backup.RestoreOptions{})
			require.NoError(t, err)

			db := c.open(t, before+c.added+after)
			s := c.of(db, things)
			restore := func(strategy backup.Strategy) backup.CollectionReport {
				t.Helper()
				plan, err := app.Plan(ctx, snapshot, s, backup.RestoreOptions{Strategy: strategy})
				require.NoError(t, err)
				report, err := plan.Apply(ctx)
				require.NoError(t, err)
				require.Equal(t, plan.Report().Collections, report.Collections)
				return report.Collections[0]
			}
			restore(backup.Replace)
			exec(t, db, `UPDATE things SET made = '2001-02-03 04:05:06' WHERE id = 3`)
			added := dump(t, s, "things")
			for _, strategy := range []backup.Strategy{backup.Replace, backup.Merge, backup.SkipDuplicates} {
				report := restore(strategy)
				require.Equal(t, int64(3), report.Unchanged, "%s %+v", strategy, report)
			}
			const keep = " WHERE id = 1"
			exec(t, db, `UPDATE things SET note = 'mine', place = 7, made = made`+keep)
			exec(t, db, `UPDATE things SET name = 'for now', made = made`+keep)
			exec(t, db, `UPDATE things SET name = 'one', made = made WHERE id = 2`)
			exec(t, db, `UPDATE things SET name = 'two', made = made`+keep)
			report := restore(backup.Replace)
			require.Equal(t, []int64{2, 0}, []int64{report.Updated, report.Altered}, "%+v", report)
			require.Equal(t, added, dump(t, s, "things"))
			require.Equal(t, int64(3), restore(backup.Replace).Unchanged)
		})
	}
}
