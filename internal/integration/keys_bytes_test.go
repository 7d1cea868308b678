//go:build !race

package integration

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/sqlstore"
)

func TestKeysOfBytes(t *testing.T) {
	for name, d := range dialects {
		typ := map[string]string{"SQLite": "BLOB", "PostgreSQL": "bytea", "MariaDB": "binary(3)"}[name]
		lit := func(hex string) string {
			if name == "PostgreSQL" {
				return `'\x` + hex + `'`
			}
			return "x'" + hex + "'"
		}
		t.Run(name, func(t *testing.T) {
			schema := strings.ReplaceAll(`CREATE TABLE users (id BYTES NOT NULL PRIMARY KEY, name varchar(9) UNIQUE, boss BYTES, photo BYTES, FOREIGN KEY (boss) REFERENCES users (id));
				CREATE TABLE members (user_id BYTES NOT NULL, role varchar(9) NOT NULL, PRIMARY KEY (user_id, role), FOREIGN KEY (user_id) REFERENCES users (id))`, "BYTES", typ)
			from, to := d.open(t, schema), d.open(t, schema)
			exec(t, from, "INSERT INTO users VALUES ("+lit("00ff27")+", 'a', NULL, "+lit("000000")+"), ("+lit("612041")+", 'b', "+lit("00ff27")+", NULL), ("+lit("000000")+", 'c', "+lit("612041")+", NULL)")
			exec(t, from, "INSERT INTO members VALUES ("+lit("00ff27")+", 'x'), ("+lit("612041")+", 'x')")
			s, app := describe(t, sqlstore.Store{DB: from, Dialect: d.Dialect})
			require.Equal(t, []string{"members /user_id,/role /user_id>users", "users /id /boss>users"}, collections(app))
			require.Contains(t, dump(t, s, "users"), `x'00ff27' {"id":"x'00ff27'","name":"a","boss":null,"photo":"AAAA"}`)
			require.Contains(t, dump(t, s, "members"), `["x'00ff27'","x"] {"user_id":"x'00ff27'","role":"x"}`)
			onto := s
			onto.DB = to
			transfer(t, app, s, onto)

			// Overwrite, exchange unique values, delete, put back.
			var file bytes.Buffer
			_, err := app.Backup(t.Context(), &file, onto, backup.BackupOptions{})
			require.NoError(t, err)
			exec(t, to, "UPDATE users SET name = 'z' WHERE id = "+lit("00ff27"))
			exec(t, to, "UPDATE users SET name = 'a' WHERE id = "+lit("612041"))
			exec(t, to, "UPDATE users SET name = 'b' WHERE id = "+lit("00ff27"))
			exec(t, to, "DELETE FROM users WHERE id = "+lit("000000"))
			exec(t, to, "INSERT INTO users VALUES ("+lit("ffffff")+", 'n', NULL, NULL)")
			snapshot, err := backup.OpenSnapshot(t.Context(), &file, backup.OpenOptions{})
			require.NoError(t, err)
			defer snapshot.Close()
			_, err = app.Restore(t.Context(), snapshot, onto, backup.RestoreOptions{Strategy: backup.Replace})
			require.NoError(t, err)
			require.Equal(t, dumpAll(t, s, app), dumpAll(t, onto, app))
			ctx := t.Context()
			require.NoError(t, onto.Update(ctx, func(w backup.Writer) error {
				found, err := w.Lookup(ctx, "users", []string{"x'00ff27'", "x'00FF27'", "00ff27", "x'00f'", "\x00\xff'", "a A", "x'612041'"})
				require.NoError(t, err)
				require.Len(t, found, 2)
				return nil
			}))
			for _, wrong := range []string{"a A", "x'00FF27'", "AP8n"} {
				if name == "SQLite" {
					break // which may store text there
				}
				require.ErrorIs(t, put(onto, "users", record(wrong, `{"id":`+quoted(wrong)+`}`)), backup.ErrInvalid)
			}
			require.ErrorIs(t, put(onto, "users", record("x'000001'", `{"id":"x'000002'"}`)), backup.ErrInvalid)
		})
	}
}

// A host describes its tables at each start, in a new database too, which has no rows yet.
func TestKeysInAColumnOfBlobsAreTextOrBytes(t *testing.T) {
	const schema = `CREATE TABLE users (id BLOB PRIMARY KEY NOT NULL, boss BLOB REFERENCES users)`
	from, to := open(t, schema), open(t, schema)
	exec(t, from, `INSERT INTO users VALUES ('ann', NULL), (x'00ff', 'ann'), ('5', x'00ff'), (x'35', '5')`)
	s, app := describe(t, sqlstore.Store{DB: from, Dialect: sqlstore.SQLite})
	require.Equal(t, []string{"users /id /boss>users"}, collections(app))
	onto, again := describe(t, sqlstore.Store{DB: to, Dialect: sqlstore.SQLite})
	require.Equal(t, s.Tables, onto.Tables)
	require.Equal(t, app, again)
	transfer(t, again, s, onto)
	require.Equal(t, asStored(t, from, "users", "id boss"), asStored(t, to, "users", "id boss"))
	exec(t, from, `INSERT INTO users VALUES ('bob', 'x''00''')`)
	_, err := tryDump(s, "users")
	require.ErrorContains(t, err, "/boss: the column holds text that has the form of bytes")
}

// A column of SQLite holds keys of any type, and a VARBINARY of MariaDB text or bytes.
func TestKeysThatAreTextOrBytes(t *testing.T) {
	for name, typ := range map[string]string{"SQLite": "TEXT", "MariaDB": "varbinary(9)"} {
		t.Run(name, func(t *testing.T) {
			d := dialects[name]
			schema := `CREATE TABLE pages (id ` + typ + ` NOT NULL PRIMARY KEY, n integer)`
			from, to := d.open(t, schema), d.open(t, schema)
			exec(t, from, `INSERT INTO pages VALUES ('Main_Page', 1), (x'00ff', 2), ('3', 3), (x'ff', 4), ('é', 5)`)
			s, app := describe(t, sqlstore.Store{DB: from, Dialect: d.Dialect})
			require.Contains(t, dump(t, s, "pages"), `Main_Page {"id":"Main_Page","n":1}`)
			require.Contains(t, dump(t, s, "pages"), `x'00ff' {"id":"x'00ff'","n":2}`)
			onto := s
			onto.DB = to
			transfer(t, app, s, onto)
			if name == "SQLite" {
				require.Equal(t, asStored(t, from, "pages", "id n"), asStored(t, to, "pages", "id n"))
				exec(t, from, `INSERT INTO pages VALUES ('x''00''', 9)`)
				_, err := tryDump(s, "pages")
				require.ErrorContains(t, err, "cannot be told from them")
				return
			}
			require.Equal(t, column(t, from, "SELECT HEX(id) FROM pages ORDER BY n"), column(t, to, "SELECT HEX(id) FROM pages ORDER BY n"))
			require.ErrorIs(t, put(onto, "pages", record("x'61'", `{"id":"x'61'"}`)), backup.ErrInvalid, "it is read as a")
			exec(t, from, `INSERT INTO pages VALUES ('x''00''', 9)`)
			require.Contains(t, dump(t, s, "pages"), `x'7827303027' {"id":"x'7827303027'","n":9}`)
		})
	}
}
