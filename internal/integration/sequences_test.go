//go:build !race

package integration

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/sqlstore"
)

// After a restore on a new server, the host inserts its next row with a new number.
func TestMariaDBSequencesGoOnBehindWhatWasRestored(t *testing.T) {
	const schema = "CREATE SEQUENCE s; CREATE SEQUENCE `it's ``odd``` START WITH 100 INCREMENT BY 10; CREATE SEQUENCE down START WITH -1 INCREMENT BY -1 MINVALUE -1000 MAXVALUE -1; CREATE SEQUENCE names; CREATE SEQUENCE small MAXVALUE 50;" +
		"CREATE TABLE things (id bigint PRIMARY KEY DEFAULT NEXTVAL(s), odd int DEFAULT NEXT VALUE FOR `it's ``odd```, down int DEFAULT NEXTVAL(down), name varchar(20) DEFAULT (CONCAT('INV-', LPAD(NEXTVAL(names), 6, '0'))), small int DEFAULT NEXTVAL(small), v text)"
	from, _ := newMariaDB(t, schema)
	to, _ := newMariaDB(t, schema)
	exec(t, from, "INSERT INTO things (v) VALUES ('a'), ('b'), ('c'); INSERT INTO things (id, name, small, v) VALUES (700, 'by hand 2024-1', 999, 'd')")
	data, app := describe(t, sqlstore.Store{DB: from, Dialect: sqlstore.MariaDB})
	s := snapshotOf(t, app, data)
	data.DB = to
	plan, err := app.Plan(t.Context(), s, data, backup.RestoreOptions{Strategy: backup.Replace})
	require.NoError(t, err)
	require.NotZero(t, plan)
	require.Equal(t, []string{"1"}, column(t, to, "SELECT NEXTVAL(s)"), "a plan sets no sequence")
	_, err = app.Restore(t.Context(), s, data, backup.RestoreOptions{Strategy: backup.Replace})
	require.NoError(t, err)
	exec(t, to, "INSERT INTO things (v) VALUES ('new')")
	require.Equal(t, []string{"701 140 -5 INV-000004 4"}, column(t, to, "SELECT CONCAT_WS(' ', id, odd, down, name, small) FROM things WHERE v = 'new'"))

	// They never go back.
	exec(t, to, "DO SETVAL(s, 5000)")
	_, err = app.Restore(t.Context(), s, data, backup.RestoreOptions{Strategy: backup.Replace})
	require.NoError(t, err)
	require.Equal(t, []string{"5001"}, column(t, to, "SELECT NEXTVAL(s)"))
	failure := errors.New("failure")
	require.ErrorIs(t, data.Update(t.Context(), func(w backup.Writer) error {
		require.NoError(t, put1(t, w, "things", record("9999", `{"id":9999,"odd":1,"down":-1,"name":"x","small":1,"v":null}`)))
		return failure
	}), failure)
	require.Equal(t, []string{"5002"}, column(t, to, "SELECT NEXTVAL(s)"))
}

// The deletion of the highest row does not make its number free, and neither does a
// restore.
func TestAutoIncrementNeverGivesANumberTwice(t *testing.T) {
	for name, c := range map[string]struct {
		open func() sqlstore.Store
	}{
		"SQLite": {func() sqlstore.Store {
			return store(open(t, `CREATE TABLE things (id INTEGER PRIMARY KEY AUTOINCREMENT, slug TEXT NOT NULL UNIQUE)`), sqlstore.Table{Collection: "things", Key: "slug"})
		}},
		"MariaDB": {func() sqlstore.Store {
			db, _ := newMariaDB(t, "CREATE TABLE things (id INTEGER PRIMARY KEY AUTO_INCREMENT, slug varchar(20) COLLATE utf8mb4_nopad_bin NOT NULL UNIQUE)")
			return my(db, sqlstore.Table{Collection: "things", Key: "slug"})
		}},
		"PostgreSQL": {func() sqlstore.Store {
			db, _ := newPostgres(t, "CREATE TABLE things (id serial PRIMARY KEY, slug text NOT NULL UNIQUE)")
			return pg(db, sqlstore.Table{Collection: "things", Key: "slug"})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := c.open()
			next := func(slug string) string {
				exec(t, s.DB, "INSERT INTO things (slug) VALUES ('"+slug+"')")
				return column(t, s.DB, "SELECT id FROM things WHERE slug = '"+slug+"'")[0]
			}
			require.Equal(t, "1", next("a"))
			app := &backup.App{Name: "things", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{{Name: "things", Key: "/slug"}}}
			restore := func(records ...string) {
				t.Helper()
				_, err := app.Restore(t.Context(), oldSnapshot(t, records...), s, backup.RestoreOptions{Strategy: backup.Replace})
				require.NoError(t, err)
			}
			restore(`{"id":500,"slug":"a"}`, `{"id":7,"slug":"b"}`) // a gets another number
			exec(t, s.DB, "DELETE FROM things WHERE id = 500")
			require.Equal(t, "501", next("c"))
			exec(t, s.DB, "DELETE FROM things WHERE id = 501")
			restore(`{"id":3,"slug":"a"}`) // an older backup takes the highest rows away
			require.Equal(t, "502", next("d"))
			if name == "SQLite" {
				exec(t, s.DB, "DELETE FROM sqlite_sequence")
				restore(`{"id":900,"slug":"a"}`)
				exec(t, s.DB, "DELETE FROM things")
				require.Equal(t, "901", next("e"))
				plan, err := app.Plan(t.Context(), oldSnapshot(t, `{"id":5000,"slug":"a"}`), s, backup.RestoreOptions{Strategy: backup.Replace})
				require.NoError(t, err)
				require.NotZero(t, plan)
				require.Equal(t, "902", next("f"))
			}
		})
	}
}

func TestPostgresSequencesThatNoColumnOwns(t *testing.T) {
	const schema = `CREATE TABLE things (id bigint PRIMARY KEY, "Order" int, v text); CREATE SEQUENCE things_seq INCREMENT 50; CREATE SEQUENCE "things_Order_seq"; CREATE SEQUENCE hibernate_sequence;
		CREATE SEQUENCE tickets; CREATE TABLE tickets_sold (id text PRIMARY KEY DEFAULT nextval('tickets')::text, v text);
		CREATE SEQUENCE invoices; CREATE TABLE bills (id text PRIMARY KEY DEFAULT 'INV-' || lpad(nextval('invoices')::text, 6, '0'), v text);
		CREATE SEQUENCE ids; CREATE DOMAIN num AS bigint DEFAULT nextval('ids'); CREATE TABLE typed (id num PRIMARY KEY, v text);
		CREATE SEQUENCE small MAXVALUE 50; CREATE TABLE limited (id int PRIMARY KEY DEFAULT nextval('small'), v text);
		CREATE SEQUENCE wide; CREATE TABLE numbers (id int PRIMARY KEY, n numeric DEFAULT nextval('wide'), v text);
		CREATE TABLE other (id serial PRIMARY KEY, bills_id int); CREATE SEQUENCE other_bills_id_seq OWNED BY limited.v`
	from, _ := newPostgres(t, schema)
	to, _ := newPostgres(t, schema)
	exec(t, from, `INSERT INTO things VALUES (1234, 77, 'x'), (5, NULL, ''); INSERT INTO tickets_sold (v) SELECT '' FROM generate_series(1, 12); INSERT INTO tickets_sold VALUES ('by hand 2024-99', ''), ('-', '');
		INSERT INTO bills (v) SELECT '' FROM generate_series(1, 9); INSERT INTO bills VALUES ('2024-0500', ''), ('INV-123456789012345678901234567890', ''); INSERT INTO typed (v) VALUES ('a'), ('b');
		INSERT INTO limited VALUES (3, ''), (999, ''); INSERT INTO numbers VALUES (1, 1e30, ''), (2, 'NaN', ''), (3, 41, ''); INSERT INTO other VALUES (1, 88)`)
	data, app := describe(t, sqlstore.Store{DB: from, Dialect: sqlstore.PostgreSQL, Wire: wire(sqlstore.PostgreSQL), Exclude: []string{"numbers"}})
	data.Exclude = nil
	data.Tables = append(data.Tables, sqlstore.Table{Collection: "numbers", Columns: []sqlstore.Column{{Name: "n", Kind: sqlstore.Text}}})
	app.Collections = append(app.Collections, backup.Collection{Name: "numbers", Key: "/id"})
	s := snapshotOf(t, app, data)
	data.DB = to
	_, err := app.Restore(t.Context(), s, data, backup.RestoreOptions{Strategy: backup.Replace})
	require.NoError(t, err)
	for sequence, want := range map[string]string{`things_seq`: "1284", `"things_Order_seq"`: "78", "tickets": "13", "invoices": "10", "ids": "3", "small": "4", "wide": "42",
		"hibernate_sequence": "1", "other_bills_id_seq": "1"} {
		require.Equal(t, want, column(t, to, fmt.Sprintf("SELECT nextval('%s')::text", sequence))[0], sequence)
	}
	exec(t, to, "INSERT INTO tickets_sold (v) VALUES ('new'); INSERT INTO bills (v) VALUES ('new')")

	// A sequence that is only named after a column is no reason to fail.
	role := fmt.Sprintf("plain_%d", os.Getpid())
	exec(t, to, "CREATE ROLE "+role+"; GRANT SELECT, INSERT, UPDATE, DELETE ON things TO "+role)
	defer exec(t, to, "RESET ROLE; DROP OWNED BY "+role+"; DROP ROLE "+role)
	to.SetMaxOpenConns(1)
	exec(t, to, "SET ROLE "+role)
	require.NoError(t, put(pg(to, sqlstore.Table{Collection: "things"}), "things", record("9000", `{"id":9000}`)))
}

// MariaDB takes NULL for the current time, and SQLite for the next number. Nothing of
// that may get into restored rows.
func TestAColumnThatFillsItselfIsNeverLeftToDoSo(t *testing.T) {
	for _, mode := range []string{"OFF", "ON"} {
		my1, _ := newMariaDB(t, "SET explicit_defaults_for_timestamp="+mode+"; CREATE TABLE things (id int PRIMARY KEY, v text, first timestamp NOT NULL DEFAULT '2001-01-01 00:00:00', u timestamp(3) NOT NULL DEFAULT 0, w timestamp NULL); ALTER TABLE things ALTER u DROP DEFAULT")
		s := my(my1, sqlstore.Table{Collection: "things"})
		for _, lacks := range []string{`{"id":1,"v":"b"}`, `{"id":1,"v":"b","u":null}`} {
			_, err := thingsApp.Restore(t.Context(), oldSnapshot(t, lacks), s, backup.RestoreOptions{Strategy: backup.Replace})
			require.ErrorIs(t, err, backup.ErrInvalid, mode)
			require.ErrorContains(t, err, `things "1" /u: `)
			require.Empty(t, column(t, my1, "SELECT CONCAT_WS(' ', id, v, u) FROM things"))
		}
		require.NoError(t, put(s, "things", record("1", `{"id":1,"u":"2024-01-15T10:30:00Z"}`)))
		require.Equal(t, []string{`1 {"id":1,"v":null,"first":"2001-01-01T00:00:00Z","u":"2024-01-15T10:30:00Z","w":null}`}, dump(t, s, "things"))
		s.Tables[0].Columns = []sqlstore.Column{{Name: "first", OmitNull: true}}
		require.ErrorContains(t, put(s, "things", record("1", `{"id":1,"u":"2024-01-15T10:30:00Z"}`)), `things "1" /first: `)
	}
	lite := store(open(t, `CREATE TABLE things (id INTEGER PRIMARY KEY, slug TEXT NOT NULL UNIQUE)`), sqlstore.Table{Collection: "things", Key: "slug"})
	require.ErrorContains(t, put(lite, "things", record("a", `{"slug":"a"}`)), `things "a" /id: `)
	require.ErrorContains(t, put(lite, "things", record("a", `{"slug":"a","id":null}`)), `things "a" /id: `)
}

// A restore sets unique values aside for a while. What stands in for them must not become
// the number from which the database continues.
func TestRecordsThatExchangeTheirNumbersTakeNoneAway(t *testing.T) {
	for name, open := range map[string]func() sqlstore.Store{
		"SQLite": func() sqlstore.Store {
			return store(open(t, `CREATE TABLE things (id INTEGER PRIMARY KEY AUTOINCREMENT, slug TEXT NOT NULL UNIQUE)`), sqlstore.Table{Collection: "things", Key: "slug"})
		},
		"MariaDB": func() sqlstore.Store {
			db, _ := newMariaDB(t, "CREATE TABLE things (id INTEGER PRIMARY KEY AUTO_INCREMENT, slug varchar(20) COLLATE utf8mb4_nopad_bin NOT NULL UNIQUE)")
			return my(db, sqlstore.Table{Collection: "things", Key: "slug"})
		},
		"MariaDB unsigned": func() sqlstore.Store {
			db, _ := newMariaDB(t, "CREATE TABLE things (id INTEGER UNSIGNED PRIMARY KEY AUTO_INCREMENT, slug varchar(20) COLLATE utf8mb4_nopad_bin NOT NULL UNIQUE)")
			return my(db, sqlstore.Table{Collection: "things", Key: "slug"})
		},
		"PostgreSQL": func() sqlstore.Store {
			db, _ := newPostgres(t, "CREATE TABLE things (id serial PRIMARY KEY, slug text NOT NULL UNIQUE)")
			return pg(db, sqlstore.Table{Collection: "things", Key: "slug"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := open()
			exec(t, s.DB, "INSERT INTO things (slug) VALUES ('a'), ('b'), ('c')")
			app := &backup.App{Name: "things", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{{Name: "things", Key: "/slug"}}}
			_, err := app.Restore(t.Context(), oldSnapshot(t, `{"id":2,"slug":"a"}`, `{"id":3,"slug":"b"}`, `{"id":1,"slug":"c"}`), s, backup.RestoreOptions{Strategy: backup.Replace})
			require.NoError(t, err)
			exec(t, s.DB, "INSERT INTO things (slug) VALUES ('d')")
			want := []string{"4"}
			if name == "MariaDB unsigned" { // it has no negative numbers to stand in
				want = append(want, "5", "6", "7")
			}
			require.Contains(t, want, column(t, s.DB, "SELECT id FROM things WHERE slug = 'd'")[0])
		})
	}
}
