//go:build !race

package integration

import (
	"bytes"
	"database/sql"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/sqlstore"
)

// A triggered is a database whose triggers run while a restore replaces what was found by
// what was saved.
type triggered struct {
	schema, saved, found string
	triggers             string
	tables               []sqlstore.Table
}

func (c triggered) restore(t *testing.T, d database) (db *sql.DB, want, got string, err error) {
	t.Helper()
	db = d.open(t, c.schema)
	s := sqlstore.Store{DB: db, Dialect: d.dialect, Tables: c.tables}
	app := &backup.App{Name: "triggered", Version: "1.0.0", SchemaVersion: 1}
	clear := ""
	for _, table := range c.tables {
		key := table.Key
		if key == "" {
			key = "id"
		}
		app.Collections = append(app.Collections, backup.Collection{Name: table.Collection, Key: "/" + key})
		clear += "DELETE FROM " + table.Collection + ";"
	}
	exec(t, db, c.saved)
	want = dumpAll(t, s, app)
	var file bytes.Buffer
	_, err = app.Backup(t.Context(), &file, s, backup.BackupOptions{})
	require.NoError(t, err)
	exec(t, db, clear+c.found)
	if c.triggers != "" {
		exec(t, db, c.triggers)
	}
	snapshot, err := backup.OpenSnapshot(t.Context(), bytes.NewReader(file.Bytes()), backup.OpenOptions{})
	require.NoError(t, err)
	defer snapshot.Close()
	_, err = app.Restore(t.Context(), snapshot, s, backup.RestoreOptions{Strategy: backup.Replace})
	return db, want, dumpAll(t, s, app), err
}

func (c triggered) works(t *testing.T, d database) *sql.DB {
	t.Helper()
	db, want, got, err := c.restore(t, d)
	require.NoError(t, err)
	require.Equal(t, want, got)
	return db
}

func databaseOf(name string) database {
	for _, d := range databases {
		if d.name == name {
			return d
		}
	}
	panic(name)
}

func TestSQLiteTriggersKeepTheirOwnConflictClauses(t *testing.T) {
	for _, clause := range []string{"OR REPLACE", "OR IGNORE"} {
		for _, event := range []string{"UPDATE", "INSERT", "DELETE"} {
			row := map[bool]string{true: "old", false: "new"}[event == "DELETE"]
			c := triggered{
				schema: `CREATE TABLE items (id TEXT PRIMARY KEY NOT NULL, name TEXT UNIQUE, note TEXT DEFAULT 'none'); CREATE TABLE queue (item TEXT PRIMARY KEY);
					INSERT INTO queue VALUES ('a'), ('b'), ('c'), ('d')`,
				saved:    `INSERT INTO items VALUES ('a', 'x', '1'), ('b', 'y', '2'), ('c', 'z', '3')`,
				found:    `INSERT INTO items VALUES ('a', 'y', '1'), ('b', 'x', '4'), ('d', 'w', '5')`,
				triggers: `CREATE TRIGGER dirty AFTER ` + event + ` ON items BEGIN INSERT ` + clause + ` INTO queue VALUES (` + row + `.id); END`,
				tables:   []sqlstore.Table{{Collection: "items"}},
			}
			t.Run(event+" "+clause, func(t *testing.T) {
				db := c.works(t, databaseOf("SQLite"))
				require.Equal(t, []string{"a", "b", "c", "d"}, column(t, db, "SELECT item FROM queue ORDER BY item"))
			})
		}
	}
}

func TestSQLiteTriggersOfATableWhoseColumnsAreAllInTheKey(t *testing.T) {
	c := triggered{
		schema:   `CREATE TABLE links (a TEXT NOT NULL, b INTEGER NOT NULL, PRIMARY KEY (a, b)); CREATE TABLE log (a TEXT, b INT)`,
		saved:    `INSERT INTO links VALUES ('x', 1), ('x', 2)`,
		found:    `INSERT INTO links VALUES ('x', 1), ('y', 2)`,
		triggers: `CREATE TRIGGER added AFTER INSERT ON links BEGIN INSERT INTO log VALUES (new.a, new.b); END`,
		tables:   []sqlstore.Table{{Collection: "links", Key: "a,b"}},
	}
	s := sqlstore.Store{Dialect: sqlstore.SQLite, Tables: c.tables, DB: databaseOf("SQLite").open(t, c.schema)}
	exec(t, s.DB, c.saved)
	want := dump(t, s, "links")
	exec(t, s.DB, "DELETE FROM links;"+c.found+";"+c.triggers)
	require.NoError(t, become(t, s, "links", want))
	require.Equal(t, want, dump(t, s, "links"))
	require.Equal(t, []string{"x2"}, column(t, s.DB, "SELECT a || b FROM log"))
}

func TestTriggersWriteNothingThatAnotherTableForbids(t *testing.T) {
	for _, name := range []string{"SQLite", "MariaDB"} {
		for _, check := range []string{"", ", CHECK (pos BETWEEN 1 AND 3)"} {
			c := triggered{
				schema: `CREATE TABLE items (id INT PRIMARY KEY NOT NULL, pos INT NOT NULL UNIQUE` + check + `); CREATE TABLE history (pos INT NOT NULL, CHECK (pos BETWEEN 1 AND 3))`,
				saved:  `INSERT INTO items VALUES (1, 1), (2, 2), (3, 3)`,
				found:  `INSERT INTO items VALUES (1, 3), (2, 1), (3, 2)`,
				triggers: map[string]string{
					"SQLite":  `CREATE TRIGGER moved AFTER UPDATE ON items BEGIN INSERT INTO history VALUES (new.pos); END`,
					"MariaDB": `CREATE TRIGGER moved AFTER UPDATE ON items FOR EACH ROW INSERT INTO history VALUES (new.pos)`,
				}[name],
				tables: []sqlstore.Table{{Collection: "items"}},
			}
			t.Run(name+check, func(t *testing.T) {
				db := c.works(t, databaseOf(name))
				require.Empty(t, column(t, db, "SELECT pos FROM history WHERE NOT pos BETWEEN 1 AND 3"))
			})
		}
	}
}

// settingsOfUsers returns the trigger that gives each new user settings.
func settingsOfUsers(d database) string {
	switch d.name {
	case "SQLite":
		return `CREATE TRIGGER settings_for AFTER INSERT ON users BEGIN INSERT INTO settings (id, theme) VALUES (new.id, 'light'); END`
	case "MariaDB":
		return `CREATE TRIGGER settings_for AFTER INSERT ON users FOR EACH ROW INSERT INTO settings (id, theme) VALUES (new.id, 'light')`
	}
	return `CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO settings (id, theme) VALUES (new.id, 'light'); RETURN NULL; END $$;
		CREATE TRIGGER settings_for AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION f()`
}

func TestTriggersMakeRowsThatAreRecordsAlready(t *testing.T) {
	inEach(t, func(t *testing.T, d database) {
		triggered{
			schema:   `CREATE TABLE settings (id INT PRIMARY KEY NOT NULL, theme VARCHAR(20)); CREATE TABLE users (id INT PRIMARY KEY NOT NULL, name VARCHAR(20) UNIQUE)`,
			saved:    `INSERT INTO users VALUES (1, 'x'), (2, 'y'), (3, 'z'); INSERT INTO settings VALUES (1, 'dark'), (2, 'blue'), (4, 'none')`,
			found:    `INSERT INTO users VALUES (3, 'y'); INSERT INTO settings VALUES (3, 'red')`,
			triggers: settingsOfUsers(d),
			tables:   []sqlstore.Table{{Collection: "settings"}, {Collection: "users"}},
		}.works(t, d)
	})
}

func TestTriggersMakeRowsThatAnotherTableHasAlready(t *testing.T) {
	inEach(t, func(t *testing.T, d database) {
		if d.name == "PostgreSQL" {
			t.Skip("its error says so itself")
		}
		_, _, _, err := triggered{
			schema:   `CREATE TABLE settings (id INT PRIMARY KEY NOT NULL, theme VARCHAR(20)); INSERT INTO settings VALUES (1, 'dark'); CREATE TABLE users (id INT PRIMARY KEY NOT NULL, name VARCHAR(20))`,
			saved:    `INSERT INTO users VALUES (1, 'x')`,
			found:    `SELECT 1`,
			triggers: settingsOfUsers(d),
			tables:   []sqlstore.Table{{Collection: "users"}},
		}.restore(t, d)
		require.ErrorIs(t, err, backup.ErrClash)
		require.ErrorContains(t, err, `a trigger of table "users" inserts that row`)
		require.NotContains(t, err.Error(), "rename")
	})
}
