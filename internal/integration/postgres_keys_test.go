//go:build !race

package integration

import (
	"bytes"
	"database/sql"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/sqlstore"
)

// needsPostgres skips a test on a server that is older than a major version.
func needsPostgres(t *testing.T, db *sql.DB, major int) {
	t.Helper()
	var number, version string
	require.NoError(t, db.QueryRow("SELECT current_setting('server_version_num'), current_setting('server_version')").Scan(&number, &version))
	if n := number[:len(number)-4]; n < fmt.Sprint(major) {
		t.Skipf("needs PostgreSQL %d, and the server is %s: set BACKUP_TEST_POSTGRES to the URL of a newer one", major, version)
	}
}

func TestPostgresEffectsAreForeignKeysThatChangeRecords(t *testing.T) {
	db, _ := newPostgres(t, `CREATE TABLE p (id int PRIMARY KEY, code text UNIQUE, seen text UNIQUE);
		CREATE TABLE by_code (id int PRIMARY KEY, code text CONSTRAINT follows REFERENCES p (code) ON UPDATE CASCADE ON DELETE CASCADE);
		CREATE TABLE by_id (id int PRIMARY KEY, p int CONSTRAINT by_key REFERENCES p ON UPDATE CASCADE ON DELETE SET NULL);
		CREATE TABLE by_seen (id int PRIMARY KEY, seen text REFERENCES p (seen) ON UPDATE SET NULL);
		CREATE TABLE calm (id int PRIMARY KEY, code text REFERENCES p (code));
		CREATE TABLE hidden (id int PRIMARY KEY, p int UNIQUE CONSTRAINT hidden_p REFERENCES p ON DELETE CASCADE, code text REFERENCES p (code) ON UPDATE SET NULL);
		CREATE TABLE below (id int PRIMARY KEY, hidden int CONSTRAINT below_hidden REFERENCES hidden ON DELETE CASCADE);
		CREATE TABLE sessions (id int PRIMARY KEY, p int REFERENCES p ON DELETE CASCADE);
		CREATE RULE no_delete AS ON DELETE TO calm DO INSTEAD NOTHING`)
	effects := func(tables ...sqlstore.Table) (all []string) {
		look(t, pg(db, tables...), func(w related) {
			for _, table := range tables {
				effects, err := w.Effects(t.Context(), table.Collection)
				require.NoError(t, err)
				for _, e := range effects {
					all = append(all, table.Collection+": "+e)
				}
			}
		})
		return all
	}
	tables := []sqlstore.Table{{Collection: "p", Exclude: []string{"seen"}}, {Collection: "by_code"}, {Collection: "by_id"}, {Collection: "by_seen"}, {Collection: "calm"}}
	require.Equal(t, []string{"p: foreign key follows (ON UPDATE CASCADE)", "calm: rule no_delete"}, effects(tables...), "what the store carries out itself, or never changes, is none")
	require.Contains(t, effects(append(tables, sqlstore.Table{Collection: "below"})...), "p: foreign key hidden_p (ON DELETE CASCADE)", "on the way to a record")
	exec(t, db, `CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; CREATE TRIGGER x AFTER DELETE ON hidden EXECUTE FUNCTION f()`)
	require.Contains(t, effects(tables...), "p: foreign key hidden_p (ON DELETE CASCADE)", "on the way to a trigger")
	exec(t, db, `CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE part PARTITION OF parts FOR VALUES FROM (0) TO (9); CREATE TRIGGER on_part AFTER INSERT ON part EXECUTE FUNCTION f();
		CREATE TRIGGER on_parts AFTER INSERT ON parts FOR EACH ROW EXECUTE FUNCTION f()`)
	require.Equal(t, []string{"parts: trigger on_part", "parts: trigger on_parts"}, effects(sqlstore.Table{Collection: "parts"}))
}

// TestPostgresRecordsThatAnActionRewroteArePutBack: what is at the end is what was put. A
// restore reads back what it wrote, and may put it again.
func TestPostgresRecordsThatAnActionRewroteArePutBack(t *testing.T) {
	for _, action := range []string{"CASCADE", "SET NULL", "SET DEFAULT"} {
		t.Run(action, func(t *testing.T) {
			db, _ := newPostgres(t, `CREATE TABLE z_parent (id int PRIMARY KEY, code text NOT NULL UNIQUE, name text); CREATE TABLE a_child (id int PRIMARY KEY, code text DEFAULT 'd' UNIQUE REFERENCES z_parent (code) ON UPDATE `+action+`, n int, seen text);
				CREATE TABLE below (id int PRIMARY KEY, code text DEFAULT 'd' REFERENCES a_child (code) ON UPDATE `+strings.ReplaceAll(action, "DEFAULT", "NULL")+`); CREATE TABLE hidden (id int PRIMARY KEY, code text DEFAULT 'd' REFERENCES z_parent (code) ON UPDATE `+action+`);
				INSERT INTO z_parent VALUES (2, 'a'), (3, 'e'), (4, 'f'), (9, 'd'); INSERT INTO a_child VALUES (1, 'a', 7, 'mine'), (3, 'f', NULL, NULL); INSERT INTO below VALUES (1, 'a'); INSERT INTO hidden VALUES (1, 'a'), (2, 'e')`)
			s := pg(db, sqlstore.Table{Collection: "below"}, sqlstore.Table{Collection: "a_child", Exclude: []string{"seen"}}, sqlstore.Table{Collection: "z_parent"})
			require.NoError(t, s.Update(t.Context(), func(writer backup.Writer) error {
				w := writer.(related)
				require.NoError(t, w.Delete(t.Context(), "a_child", []string{"3"}))
				require.NoError(t, w.Put(t.Context(), "z_parent", []backup.Record{record("2", `{"id":2,"code":"b","name":"new"}`), record("4", `{"id":4,"code":"h"}`), record("5", `{"id":5,"code":"a"}`)}))
				require.NoError(t, put1(t, w, "a_child", record("2", `{"id":2,"code":"h","n":8}`)))
				require.NoError(t, w.Settle(t.Context()))
				require.NoError(t, put1(t, w, "a_child", record("7", `{"id":7,"code":"b","n":null}`)))
				for range 2 {
					require.NoError(t, put1(t, w, "a_child", record("1", `{"id":1,"code":"a","n":7}`)))
					require.NoError(t, put1(t, w, "below", record("1", `{"id":1,"code":"a"}`)))
					require.NoError(t, w.Settle(t.Context()))
				}
				return nil
			}))
			want := []string{`1 {"id":1,"code":"a","n":7}`, `2 {"id":2,"code":"h","n":8}`, `7 {"id":7,"code":"b","n":null}`}
			require.Equal(t, want, dump(t, s, "a_child"))
			require.Equal(t, []string{`1 {"id":1,"code":"a"}`}, dump(t, s, "below"))
			require.Equal(t, []string{"mine"}, column(t, db, "SELECT seen FROM a_child WHERE id = 1"))
			// And back, without a record of a child.
			require.NoError(t, put(s, "z_parent", record("5", `{"id":5,"code":"x"}`), record("6", `{"id":6,"code":"a"}`)))
			require.Equal(t, want, dump(t, s, "a_child"))
			require.Equal(t, []string{`1 {"id":1,"code":"a"}`}, dump(t, s, "below"))
			// Where nothing else is possible, it is as the action makes it.
			require.NoError(t, put(s, "z_parent", record("6", `{"id":6,"code":"y"}`)))
			require.Equal(t, column(t, db, `SELECT CASE '`+action+`' WHEN 'CASCADE' THEN 'y' WHEN 'SET DEFAULT' THEN 'd' ELSE 'none' END`), column(t, db, "SELECT coalesce(code, 'none') FROM a_child WHERE id = 1"))
		})
	}
}

func TestPostgresForeignKeysThatAreNotValid(t *testing.T) {
	for _, deferrable := range []string{"", " DEFERRABLE"} {
		t.Run("keys"+deferrable, func(t *testing.T) {
			db, _ := newPostgres(t, `CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE c (id int PRIMARY KEY, p int, n text); INSERT INTO p VALUES (1); INSERT INTO c VALUES (1, 1), (2, 77), (3, 78);
				ALTER TABLE c ADD CONSTRAINT later FOREIGN KEY (p) REFERENCES p`+deferrable+` NOT VALID`)
			s, collections, err := sqlstore.Store{DB: db, Dialect: sqlstore.PostgreSQL, Wire: wire(sqlstore.PostgreSQL)}.Describe(t.Context())
			require.NoError(t, err)
			require.Equal(t, "c", collections[0].Name)
			require.Empty(t, collections[0].Refs, "old rows may dangle")
			app := &backup.App{Name: "x", Version: "1.0.0", SchemaVersion: 1, Collections: collections}
			var file bytes.Buffer
			_, err = app.Backup(t.Context(), &file, s, backup.BackupOptions{})
			require.NoError(t, err)
			look(t, s, func(w related) {
				parents, err := w.Parents(t.Context(), "c")
				require.NoError(t, err)
				require.Equal(t, []string{"p"}, parents)
			})
			// New rows are checked, and rows that were there are not the reason.
			dangles(t, put(s, "c", record("5", `{"id":5,"p":79,"n":null}`)), "c 5 /p")
			require.NoError(t, put(s, "c", record("2", `{"id":2,"p":77,"n":"new"}`)))
			require.NoError(t, s.Update(t.Context(), func(w backup.Writer) error { return w.Delete(t.Context(), "c", []string{"3"}) }))
			dangles(t, s.Update(t.Context(), func(w backup.Writer) error { return w.Delete(t.Context(), "p", []string{"1"}) }), "c 1 /p")
			require.Len(t, dump(t, s, "c"), 2)
		})
	}
}

func TestPostgresRestrictIsADanglingReferenceToo(t *testing.T) {
	db, _ := newPostgres(t, `CREATE TABLE p (id int PRIMARY KEY, code text UNIQUE); CREATE TABLE c (id int PRIMARY KEY, code text REFERENCES p (code) ON UPDATE RESTRICT); CREATE TABLE hidden (p int REFERENCES p ON DELETE RESTRICT, code text REFERENCES p (code) ON UPDATE RESTRICT);
		INSERT INTO p VALUES (1, 'x'), (2, 'y'); INSERT INTO hidden VALUES (1, 'y')`)
	s := pg(db, sqlstore.Table{Collection: "p"}, sqlstore.Table{Collection: "c"})
	err := s.Update(t.Context(), func(w backup.Writer) error { return w.Delete(t.Context(), "p", []string{"1"}) })
	require.ErrorIs(t, err, backup.ErrDangling)
	require.Empty(t, recordErrors(err), "it is no record that refers to it")
	text := dangles(t, put(s, "p", record("2", `{"id":2,"code":"z"}`)), "p 2 ")
	require.Contains(t, text, `rows of table "hidden" refer by the foreign key "hidden_code_fkey" (code) to what the record has now`)
}

func TestPostgresMatchFullNamesRowsThatAreHalfNull(t *testing.T) {
	db, _ := newPostgres(t, `CREATE TABLE p (a int, b int, PRIMARY KEY (a, b)); CREATE TABLE c (id int PRIMARY KEY, a int, b int, FOREIGN KEY (a, b) REFERENCES p MATCH FULL DEFERRABLE)`)
	s := pg(db, sqlstore.Table{Collection: "p"}, sqlstore.Table{Collection: "c"})
	err := put(s, "c", record("1", `{"id":1,"a":1,"b":null}`))
	dangles(t, err, "c 1 ")
	require.NoError(t, put(s, "c", record("1", `{"id":1,"a":null,"b":null}`)))
}

func TestPostgresForeignKeysThatAreNotEnforced(t *testing.T) {
	db, _ := newPostgres(t, ``)
	needsPostgres(t, db, 18)
	exec(t, db, `CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p ON DELETE CASCADE NOT ENFORCED); INSERT INTO p VALUES (1), (2); INSERT INTO c VALUES (1, 2), (2, 77)`)
	s, collections, err := sqlstore.Store{DB: db, Dialect: sqlstore.PostgreSQL, Wire: wire(sqlstore.PostgreSQL)}.Describe(t.Context())
	require.NoError(t, err)
	for _, c := range collections {
		require.Empty(t, c.Refs)
	}
	require.NoError(t, s.Update(t.Context(), func(writer backup.Writer) error {
		w := writer.(related)
		for _, ask := range []func(collection string) ([]string, error){
			func(c string) ([]string, error) { return w.Parents(t.Context(), c) }, func(c string) ([]string, error) { return w.Effects(t.Context(), c) },
		} {
			for _, c := range []string{"c", "p"} {
				names, err := ask(c)
				require.NoError(t, err)
				require.Empty(t, names)
			}
		}
		require.NoError(t, put1(t, w, "c", record("3", `{"id":3,"p":78}`)))
		return w.Delete(t.Context(), "p", []string{"2"})
	}))
	require.Equal(t, []string{`1 {"id":1,"p":2}`, `2 {"id":2,"p":77}`, `3 {"id":3,"p":78}`}, dump(t, s, "c"))
	require.Equal(t, []string{"1"}, column(t, db, "SELECT id::text FROM p"))
}

func TestPostgresNotNullThatIsNotValid(t *testing.T) {
	db, _ := newPostgres(t, ``)
	needsPostgres(t, db, 18)
	exec(t, db, `CREATE TABLE a (id int PRIMARY KEY, n int, m int NOT NULL); INSERT INTO a VALUES (1, NULL, 1); ALTER TABLE a ADD CONSTRAINT nn NOT NULL n NOT VALID`)
	s, collections, err := sqlstore.Store{DB: db, Dialect: sqlstore.PostgreSQL, Wire: wire(sqlstore.PostgreSQL)}.Describe(t.Context())
	require.NoError(t, err)
	require.Contains(t, string(collections[0].Schema), `"n": {"type": ["integer", "null"]}`)
	require.Contains(t, string(collections[0].Schema), `"m": {"type": "integer"}`)
	var file bytes.Buffer
	_, err = (&backup.App{Name: "x", Version: "1.0.0", SchemaVersion: 1, Collections: collections}).Backup(t.Context(), &file, s, backup.BackupOptions{})
	require.NoError(t, err)
}

func TestPostgresForeignKeysOfPeriods(t *testing.T) {
	for _, deferrable := range []string{"", " DEFERRABLE"} {
		t.Run("keys"+deferrable, func(t *testing.T) {
			db, _ := newPostgres(t, ``)
			needsPostgres(t, db, 18)
			exec(t, db, `CREATE EXTENSION btree_gist; CREATE TABLE z_jobs (id int PRIMARY KEY, emp int NOT NULL, during daterange NOT NULL, UNIQUE (emp, during WITHOUT OVERLAPS));
				CREATE TABLE a_tasks (id int PRIMARY KEY, emp int, during daterange, CONSTRAINT in_job FOREIGN KEY (emp, PERIOD during) REFERENCES z_jobs (emp, PERIOD during)`+deferrable+`)`)
			s, collections, err := sqlstore.Store{DB: db, Dialect: sqlstore.PostgreSQL, Wire: wire(sqlstore.PostgreSQL)}.Describe(t.Context())
			require.NoError(t, err)
			require.Empty(t, collections[0].Refs, "contained is not equal")
			look(t, s, func(w related) {
				parents, err := w.Parents(t.Context(), "a_tasks")
				require.NoError(t, err)
				require.Equal(t, []string{"z_jobs"}, parents)
			})
			task := func(key, during string) backup.Record {
				return record(key, fmt.Sprintf(`{"id":%s,"emp":7,"during":"[2024-01-%s)"}`, key, during))
			}
			update := func(f func(w backup.Writer)) error {
				return s.Update(t.Context(), func(w backup.Writer) error { f(w); return nil })
			}
			require.NoError(t, update(func(w backup.Writer) {
				require.NoError(t, put1(t, w, "z_jobs", task("1", "01,2024-01-10")))
				require.NoError(t, put1(t, w, "z_jobs", task("2", "10,2024-01-20")))
				require.NoError(t, put1(t, w, "a_tasks", task("1", "05,2024-01-15")))
			}), "two jobs cover it")
			dangles(t, put(s, "a_tasks", task("1", "05,2024-01-15"), task("2", "15,2024-01-25")), "a_tasks 2 ")
			remove := func(w backup.Writer, collection, key string) {
				require.NoError(t, w.Delete(t.Context(), collection, []string{key}))
			}
			err = update(func(w backup.Writer) { remove(w, "z_jobs", "1") })
			dangles(t, err, "a_tasks 1 ")
			// Another job covers it in the end.
			require.NoError(t, update(func(w backup.Writer) {
				remove(w, "z_jobs", "1")
				remove(w, "z_jobs", "2")
				require.NoError(t, put1(t, w, "a_tasks", task("1", "12,2024-01-15")))
				require.NoError(t, put1(t, w, "z_jobs", task("2", "10,2024-01-16")))
			}))
			require.Equal(t, []string{`2 {"id":2,"emp":7,"during":"[2024-01-10,2024-01-16)"}`}, dump(t, s, "z_jobs"))
			require.NoError(t, update(func(w backup.Writer) { remove(w, "z_jobs", "2"); remove(w, "a_tasks", "1") }))
			require.Empty(t, dump(t, s, "z_jobs"))
		})
	}
}

func TestPostgresNoSettingOfTheConnectionChangesWhatIsStored(t *testing.T) {
	_, address := newPostgres(t, `CREATE DOMAIN code AS text; CREATE TABLE a (id int PRIMARY KEY, codes code[]); INSERT INTO a VALUES (1, '{NULL,x}')`)
	u, err := url.Parse(address)
	require.NoError(t, err)
	q := u.Query()
	q.Set("array_nulls", "off")
	u.RawQuery = q.Encode()
	db, err := sql.Open("pgx", u.String())
	require.NoError(t, err)
	defer db.Close()
	s := pg(db, sqlstore.Table{Collection: "a"})
	before := dump(t, s, "a")
	require.NoError(t, put(s, "a", record("1", before[0][2:])))
	require.Equal(t, before, dump(t, s, "a"))
}

func TestPostgresATemporaryTableIsNotTakenForAnother(t *testing.T) {
	db, _ := newPostgres(t, `CREATE TABLE a (id int PRIMARY KEY)`)
	db.SetMaxOpenConns(1) // the table belongs to the connection
	exec(t, db, `CREATE TEMP TABLE a (id int PRIMARY KEY)`)
	require.ErrorContains(t, put(pg(db, sqlstore.Table{Collection: "a"}), "a", record("1", `{"id":1}`)), "temporary table")
	require.NoError(t, put(pg(db, sqlstore.Table{Collection: "a", Name: "public.a"}), "a", record("1", `{"id":1}`)))
	require.Equal(t, []string{"1"}, column(t, db, "SELECT id::text FROM public.a"))
}
