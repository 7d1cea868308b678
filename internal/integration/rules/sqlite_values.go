package rules

import (
	"context"
	"database/sql"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/sqlstore"
)

// TestSQLiteTexts backs up columns of many declared types whose text and numbers a driver
// may take for times and booleans, restores them elsewhere, and compares what is stored.
func TestSQLiteTexts(t *testing.T, open func(path string, p Pragmas) (*sql.DB, error)) {
	const (
		schema  = `CREATE TABLE things (id VARCHAR(40) PRIMARY KEY, untyped, date DATE, at DATETIME, stamp TIMESTAMP, clock TIME, name VARCHAR(40), text TEXT, number INTEGER, amount NUMERIC, size REAL, flag BOOLEAN, tiny TINYINT(1))`
		columns = 13
	)
	texts := []string{`2024-01-15T10:30:00Z`, `2024-01-15 10:30:00`, `2024-01-15T10:30:00.120+02:00`, `2024-01-15`, `10:30:00`, `2460325.0a`, `T`, ``}
	insert := "INSERT INTO things VALUES (?" + strings.Repeat(", ?", columns-1) + ")"
	db := opened(t, open, Pragmas{"WAL", false}, schema)
	for _, text := range texts {
		row := slices.Repeat([]any{text}, columns)
		_, err := db.Exec(insert, row...)
		require.NoError(t, err)
	}
	for i, number := range []any{int64(0), int64(1), int64(1705314600), 2460325.5} {
		row := slices.Repeat([]any{number}, columns)
		row[0] = []string{"zero", "one", "many", "broken"}[i]
		_, err := db.Exec(insert, row...)
		require.NoError(t, err)
	}
	to := opened(t, open, Pragmas{"WAL", false}, schema)
	store := func(db *sql.DB) sqlstore.Store {
		return sqlstore.Store{DB: db, Dialect: sqlstore.SQLite, Tables: []sqlstore.Table{{Collection: "things"}}}
	}
	ctx := context.Background()
	require.NoError(t, store(db).View(ctx, func(r backup.Reader) error {
		return store(to).Update(ctx, func(w backup.Writer) error {
			for rec, err := range r.Records(ctx, "things") {
				if err != nil {
					return err
				}
				if err := w.Put(ctx, "things", []backup.Record{rec}); err != nil {
					return err
				}
			}
			return nil
		})
	}))
	require.Equal(t, stored(t, db), stored(t, to))
}

// stored returns what is stored, in words that no driver changes.
func stored(t *testing.T, db *sql.DB) (rows []string) {
	t.Helper()
	found, err := db.Query(`SELECT 'r ' || quote(id) || quote(untyped) || quote(date) || quote(at) || quote(stamp) || quote(clock) || quote(name) || quote(text) || quote(number) || quote(amount) || quote(size) || quote(flag) || quote(tiny) FROM things ORDER BY id`)
	require.NoError(t, err)
	defer found.Close()
	for found.Next() {
		var row string
		require.NoError(t, found.Scan(&row))
		rows = append(rows, row)
	}
	require.NoError(t, found.Err())
	require.Len(t, rows, 12)
	return rows
}
