//go:build !race

package integration

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup/internal/testtime"
	"github.com/tomo-project/backup/sqlstore"
)

// withoutPages are the connections of a database that do not have sqlite_dbpage.
type withoutPages struct{ witnessed }

func (w *withoutPages) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := w.witnessed.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return pagelessConn{conn.(witnessedConn)}, nil
}

type pagelessConn struct{ witnessedConn }

func (c pagelessConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if strings.Contains(query, "sqlite_dbpage") {
		return nil, errors.New("no such table: sqlite_dbpage")
	}
	return c.witnessedConn.PrepareContext(ctx, query)
}

// requireSameWithoutPages compares what a store reads from pages with what SQLite reads,
// also the error.
func requireSameWithoutPages(t *testing.T, db *sql.DB, table sqlstore.Table, script string) (records int) {
	t.Helper()
	pageless := sql.OpenDB(&withoutPages{witnessed{db: db}})
	want, wantErr := readAll(t.Context(), store(pageless, table), "things")
	require.NoError(t, pageless.Close())
	got, err := readAll(t.Context(), store(db, table), "things")
	require.Equal(t, fmt.Sprint(wantErr), fmt.Sprint(err), script)
	require.Equal(t, want, got, script)
	return len(got)
}

// anyTable returns a script that makes a table of any kind and fills it.
func anyTable(rnd dice) (script []string) {
	keyType := func() string { return oneOf(rnd, "TEXT", "TEXT", "INT", "NUMERIC", "BLOB", "VARCHAR(9)") }
	keyValue := func() string {
		return oneOf(rnd, "i", "-i", "'k' || i", "CAST('b' || i AS BLOB)", "char(65 + i % 60) || i", "CASE i % 2 WHEN 0 THEN i ELSE 'k' || i END", "printf('%.*c', i * 7 % 900, 'q') || i",
			"CASE i WHEN 70 THEN NULL ELSE 'n' || i END", "CASE WHEN i > 60 THEN i + 0.5 ELSE i END")
	}
	value := func() string { return pagesValues[rnd.IntN(len(pagesValues))] }
	sorted := oneOf(rnd, "", "", " DESC", " COLLATE NOCASE", " COLLATE BINARY", " COLLATE BINARY DESC")
	names, values := []string{"x", "id", "b"}, []string{value(), keyValue(), keyValue()}
	columns := fmt.Sprintf("x %s, id %s, b %s", pagesTypes[rnd.IntN(len(pagesTypes))], keyType(), keyType())
	end := oneOf(rnd, "PRIMARY KEY (id"+sorted+"), UNIQUE (id COLLATE BINARY)", "PRIMARY KEY (id"+sorted+", b)", "PRIMARY KEY (b, id"+sorted+"), UNIQUE (id)", "PRIMARY KEY (id, b"+sorted+"), UNIQUE (b, id)")
	if end += ")"; rnd.IntN(2) == 0 {
		end += " WITHOUT ROWID"
	}
	if rnd.IntN(4) == 0 {
		columns, end, values[1] = "x, id INTEGER PRIMARY KEY, b", "UNIQUE (b))", "(i - 40) * 9876543210"
	}
	for c := range rnd.IntN(5) {
		names, values = append(names, fmt.Sprint("c", c)), append(values, value())
		columns += fmt.Sprintf(", c%d %s", c, pagesTypes[rnd.IntN(len(pagesTypes))])
	}
	insert := func(from, to int) string {
		return fmt.Sprintf("WITH RECURSIVE n (i) AS (SELECT %d UNION ALL SELECT i + 1 FROM n WHERE i < %d) INSERT OR IGNORE INTO main.things (%s) SELECT %s FROM n", from, to, strings.Join(names, ","), strings.Join(values, ","))
	}
	script = []string{"CREATE TABLE things (" + columns + ", " + end, insert(1, 120)}
	for step := range rnd.IntN(5) {
		script = append(script, oneOf(rnd,
			fmt.Sprintf("ALTER TABLE main.things ADD COLUMN d%d %s%s", step, pagesTypes[rnd.IntN(len(pagesTypes))], oneOf(rnd, "", " DEFAULT NULL", " DEFAULT (NULL)", " DEFAULT -5", " DEFAULT x'01'", " DEFAULT 1e3", " NOT NULL DEFAULT 'x'")),
			"ALTER TABLE main.things DROP COLUMN c0", "ALTER TABLE main.things RENAME COLUMN x TO y", "DELETE FROM main.things WHERE rowid % 3 = 0", "DELETE FROM main.things WHERE id > 50",
			"UPDATE main.things SET b = id", "VACUUM", "CREATE UNIQUE INDEX part ON things (id) WHERE id > 3", "CREATE UNIQUE INDEX low ON things (lower(id))", "CREATE UNIQUE INDEX down ON things (id DESC)",
			"CREATE TEMP TABLE things (id TEXT PRIMARY KEY); INSERT INTO temp.things VALUES ('temporary')"))
		names = names[:3] // others may be gone
		values = values[:3]
		if script[len(script)-1] != "ALTER TABLE main.things RENAME COLUMN x TO y" {
			continue
		}
		names[0] = "y"
	}
	return append(script, insert(121, 160))
}

func TestSQLiteReadsAnyTableFromPagesAsItDoesItself(t *testing.T) {
	read := 0
	for seed := range testtime.Pick(t, 150, 3000) {
		rnd := dice{rand.New(rand.NewPCG(uint64(seed), 18))}
		path := filepath.Join(t.TempDir(), "test.db")
		db, err := sql.Open("sqlite", fmt.Sprintf("file:%s?_pragma=page_size(%d)&_pragma=auto_vacuum(%d)&_pragma=encoding('%s')&_pragma=journal_mode(%s)&_pragma=synchronous(0)",
			path, 512<<rnd.IntN(8), rnd.IntN(3), oneOf(rnd, "UTF-8", "UTF-8", "UTF-8", "UTF-16le"), oneOf(rnd, "WAL", "DELETE", "MEMORY")))
		require.NoError(t, err)
		db.SetMaxOpenConns(1) // a temporary table is that of a connection
		script := anyTable(rnd)
		for _, statement := range script {
			_, _ = db.Exec(statement) // SQLite refuses some for some tables
		}
		read += requireSameWithoutPages(t, db, sqlstore.Table{Collection: "things", Key: oneOf(rnd, "", "", "id", "id,b")}, strings.Join(script, ";\n"))
		require.NoError(t, db.Close())
		require.NoError(t, os.Remove(path))
	}
	t.Logf("read %d records", read)
	require.Greater(t, read, 1000)
}
