//go:build !race

package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/sqlstore"
)

// TestSQLiteForeignKeysThatCannotBeEnforced: the host does not enforce its foreign keys, so
// nobody has noticed that one leads to columns that are not unique, or not there.
func TestSQLiteForeignKeysThatCannotBeEnforced(t *testing.T) {
	db := open(t, `CREATE TABLE p (id INTEGER PRIMARY KEY, code TEXT, a INT, b INT, UNIQUE (b, a)); CREATE TABLE c (id INTEGER PRIMARY KEY, code TEXT REFERENCES p (code), x TEXT REFERENCES p (nowhere), p INTEGER REFERENCES p, a INT, b INT, FOREIGN KEY (a, b) REFERENCES p (A, B));
		CREATE TABLE w (id TEXT PRIMARY KEY, code TEXT REFERENCES p (code), p INTEGER REFERENCES p) WITHOUT ROWID; CREATE TABLE hidden (code TEXT REFERENCES p (code), p INTEGER REFERENCES p ON DELETE CASCADE);
		INSERT INTO p VALUES (1, 'x', 1, 2), (2, 'x', 3, 4); INSERT INTO c VALUES (1, 'none', 'none', 1, 1, 2), (2, 'none', 'none', 77, NULL, NULL); INSERT INTO w VALUES ('a', 'none', 1), ('b', 'none', 78); INSERT INTO hidden VALUES ('none', 2)`)
	s := store(db, sqlstore.Table{Collection: "p"}, sqlstore.Table{Collection: "c"}, sqlstore.Table{Collection: "w"})
	require.NoError(t, put(s, "c", record("3", `{"id":3,"code":"z","x":"z","p":1,"a":1,"b":2}`), record("2", `{"id":2,"code":"z","x":"z","p":77,"a":null,"b":null}`)))
	dangles(t, put(s, "c", record("4", `{"id":4,"p":79}`), record("5", `{"id":5,"a":2,"b":1}`)), "c 4 /p", "c 5 ")
	dangles(t, put(s, "w", record("c", `{"id":"c","code":"z","p":79}`), record("d", `{"id":"d","code":"z","p":2}`)), "w c /p")
	require.NoError(t, s.Update(t.Context(), func(w backup.Writer) error { return w.Delete(t.Context(), "p", []string{"2"}) }))
	require.Empty(t, column(t, db, "SELECT code FROM hidden"), "the action was carried out")
	dangles(t, s.Update(t.Context(), func(w backup.Writer) error { return w.Delete(t.Context(), "p", []string{"1"}) }), "c 1 ", "c 1 /p", "c 3 ", "c 3 /p", "w a /p")
}

// TestOrphansOfTheHostGoIntoANewDatabase: SQLite does not enforce foreign keys unless it is
// told to, nor does MariaDB with foreign_key_checks=0.
func TestOrphansOfTheHostGoIntoANewDatabase(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, on testBed) {
		if on.name == "PostgreSQL" {
			t.Skip("it enforces foreign keys")
		}
		const schema = `CREATE TABLE servers (id varchar(9) PRIMARY KEY); CREATE TABLE apps (id varchar(9) PRIMARY KEY, server varchar(9), FOREIGN KEY (server) REFERENCES servers (id));
			CREATE TABLE gone (id int PRIMARY KEY); CREATE TABLE links (id varchar(9) PRIMARY KEY, gone int, FOREIGN KEY (gone) REFERENCES gone (id))`
		db := on.open(t, schema)
		exec(t, db, on.unforced+"INSERT INTO servers VALUES ('s1'); INSERT INTO apps VALUES ('a1', 's1'), ('a2', 's9'); INSERT INTO links VALUES ('l1', 7); DROP TABLE gone")
		from, collections, err := on.store(db).Describe(t.Context())
		require.NoError(t, err)
		app := &backup.App{Name: "x", Version: "1.0.0", SchemaVersion: 1, Collections: collections}
		var file bytes.Buffer
		_, err = app.Backup(t.Context(), &file, from, backup.BackupOptions{LeaveOutInvalid: true})
		require.NoError(t, err)
		snapshot, err := backup.OpenSnapshot(t.Context(), &file, backup.OpenOptions{})
		require.NoError(t, err)
		defer snapshot.Close()
		to := on.store(on.open(t, schema), from.Tables...)
		restore := func(allow bool) error {
			return to.Update(t.Context(), func(w backup.Writer) error {
				w.(related).AllowDangling(allow)
				return snapshot.View(t.Context(), func(r backup.Reader) error {
					for _, c := range collections {
						for record, err := range r.Records(t.Context(), c.Name) {
							var in struct{ ID string }
							if err := errors.Join(err, json.Unmarshal(record.Value, &in)); err != nil {
								return err
							}
							record.Key = in.ID
							if err := put1(t, w, c.Name, record); err != nil {
								return err
							}
						}
					}
					return nil
				})
			})
		}
		dangles(t, restore(false), "apps a2 /server", "links l1 /gone")
		require.NoError(t, restore(true))
		for _, c := range collections {
			require.Equal(t, dump(t, from, c.Name), dump(t, to, c.Name))
		}
	})
}
