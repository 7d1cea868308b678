package rules

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/sqlstore"
)

// Pragmas are what a test sets on each connection of a database.
type Pragmas struct {
	JournalMode string
	ForeignKeys bool
}

// Query returns the parameters in the form that most drivers take.
func (p Pragmas) Query() string {
	query := "_pragma=busy_timeout(10000)&_pragma=journal_mode(" + p.JournalMode + ")"
	if p.ForeignKeys {
		query += "&_pragma=foreign_keys(1)"
	}
	return query
}

// TestSQLite runs the conformance suite on databases that a driver opens. The driver must
// wait for a lock for 10 s.
func TestSQLite(t *testing.T, open func(path string, p Pragmas) (*sql.DB, error)) {
	const schema = `CREATE TABLE servers (id TEXT PRIMARY KEY, name TEXT NOT NULL, port INTEGER, labels JSON, note TEXT, parent TEXT REFERENCES servers, place INTEGER UNIQUE);
		CREATE TABLE apps (id INTEGER PRIMARY KEY, server TEXT NOT NULL REFERENCES servers(id), enabled BOOLEAN, weight REAL, icon BLOB, slot INTEGER, UNIQUE (enabled, slot));
		CREATE TABLE members (grp TEXT NOT NULL, usr TEXT NOT NULL, server TEXT REFERENCES servers, pin TEXT, PRIMARY KEY (usr, grp));
		CREATE INDEX by_parent ON servers(parent);
		CREATE INDEX by_server ON apps(server);
		CREATE TABLE settings (name TEXT PRIMARY KEY, value JSON NOT NULL) WITHOUT ROWID`
	for mode, pragmas := range map[string]Pragmas{
		"WAL":              {"WAL", false},
		"foreign keys on":  {"WAL", true},
		"rollback journal": {"DELETE", false},
	} {
		t.Run(mode, func(t *testing.T) {
			fixture := Fixture()
			fixture.Blocking = pragmas.JournalMode != "WAL"
			backuptest.TestStore(t, func(t *testing.T) backuptest.Store {
				return sqlstore.Store{DB: opened(t, open, pragmas, schema), Dialect: sqlstore.SQLite, Tables: []sqlstore.Table{
					{Collection: "servers", Columns: []sqlstore.Column{{Name: "note", OmitNull: true}, {Name: "place", OmitNull: true}}},
					{Collection: "apps", Columns: []sqlstore.Column{{Name: "slot", OmitNull: true}}},
					{Collection: "members"},
					{Collection: "settings", Value: "value"},
				}}
			}, fixture)
		})
	}
}

// opened returns a new database with a schema.
func opened(t *testing.T, open func(path string, p Pragmas) (*sql.DB, error), p Pragmas, schema string) *sql.DB {
	t.Helper()
	db, err := open(filepath.Join(t.TempDir(), "test.db"), p)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	_, err = db.Exec(schema)
	require.NoError(t, err)
	return db
}
