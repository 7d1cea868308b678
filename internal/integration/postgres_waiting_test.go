//go:build !race

package integration

import (
	"database/sql"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/sqlstore"
)

// An overPostgres is a restore of the rows saved over the rows found. Tables are declared
// as "name" or "name:key".
type overPostgres struct {
	schema, saved, found, tables string
}

// run returns the database after the restore, and whether it holds what was saved.
func (c overPostgres) run(t *testing.T) (db *sql.DB, same bool, err error) {
	t.Helper()
	app := &backup.App{Name: "over", Version: "1.0.0", SchemaVersion: 1}
	var tables []sqlstore.Table
	for _, name := range strings.Fields(c.tables) {
		name, key, ok := strings.Cut(name, ":")
		if !ok {
			key = "id"
		}
		tables = append(tables, sqlstore.Table{Collection: name, Key: key})
		app.Collections = append(app.Collections, backup.Collection{Name: name, Key: "/" + strings.ReplaceAll(key, ",", ",/")})
	}
	load := func(rows string) (*sql.DB, sqlstore.Store) {
		db, _ := newPostgres(t, c.schema)
		if rows != "" {
			exec(t, db, "SET session_replication_role = replica; "+rows+"; RESET session_replication_role")
		}
		return db, pg(db, tables...)
	}
	_, from := load(c.saved)
	db, to := load(c.found)
	err = restorePostgres(t, app, from, to, backup.RestoreOptions{Strategy: backup.Replace})
	return db, dumpAll(t, from, app) == dumpAll(t, to, app), err
}

// works returns the database after a restore that works.
func (c overPostgres) works(t *testing.T) *sql.DB {
	t.Helper()
	db, same, err := c.run(t)
	require.NoError(t, err)
	require.True(t, same)
	return db
}

func TestPostgresForeignKeysToAPartition(t *testing.T) {
	const items = `CREATE TABLE items (region text, id text, slot int NOT NULL CHECK (slot IN (1, 2)), code text NOT NULL, PRIMARY KEY (region, id), UNIQUE (region, slot), UNIQUE (region, code)) PARTITION BY LIST (region);
		CREATE TABLE items_eu PARTITION OF items FOR VALUES IN ('eu');`
	t.Run("the rows of the host stay", func(t *testing.T) {
		db, _, _ := overPostgres{schema: items + `CREATE TABLE host (region text, item text, FOREIGN KEY (region, item) REFERENCES items_eu (region, id) ON DELETE CASCADE)`,
			saved: `INSERT INTO items VALUES ('eu', 'a', 1, 'x'), ('eu', 'b', 2, 'y')`, found: `INSERT INTO items VALUES ('eu', 'a', 2, 'x'), ('eu', 'b', 1, 'y'); INSERT INTO host VALUES ('eu', 'a')`, tables: "items:region,id"}.run(t)
		require.Equal(t, []string{"a"}, column(t, db, "SELECT item FROM host"))
	})
	t.Run("records that follow are put back", func(t *testing.T) {
		overPostgres{schema: items + `CREATE TABLE kids (id int PRIMARY KEY, region text, code text, FOREIGN KEY (region, code) REFERENCES items_eu (region, code) ON UPDATE CASCADE)`,
			saved: `INSERT INTO items VALUES ('eu', 'a', 1, 'x'), ('eu', 'b', 2, 'y'); INSERT INTO kids VALUES (1, 'eu', 'x')`,
			found: `INSERT INTO items VALUES ('eu', 'a', 1, 'y'), ('eu', 'b', 2, 'x'); INSERT INTO kids VALUES (1, 'eu', 'x')`, tables: "items:region,id kids"}.works(t)
	})
	t.Run("a unique index of the partition alone", func(t *testing.T) {
		overPostgres{schema: items + `ALTER TABLE items DROP CONSTRAINT items_region_code_key; CREATE UNIQUE INDEX ON items_eu (code); CREATE TABLE kids (id int PRIMARY KEY, region text, item text, FOREIGN KEY (region, item) REFERENCES items ON DELETE CASCADE)`,
			saved: `INSERT INTO items VALUES ('eu', 'a', 1, 'x'), ('eu', 'b', 2, 'y')`, found: `INSERT INTO items VALUES ('eu', 'a', 1, 'y'), ('eu', 'b', 2, 'x')`, tables: "items:region,id kids"}.works(t)
	})
	t.Run("records that stay keep theirs", func(t *testing.T) {
		overPostgres{schema: items + `CREATE TABLE kids (id int PRIMARY KEY, region text, item text, FOREIGN KEY (region, item) REFERENCES items_eu (region, id) ON DELETE CASCADE)`,
			saved: `INSERT INTO items VALUES ('eu', 'b', 1, 'x'); INSERT INTO kids VALUES (1, 'eu', 'b')`,
			found: `INSERT INTO items VALUES ('eu', 'a', 1, 'x'); INSERT INTO kids VALUES (1, 'eu', 'a')`, tables: "items:region,id kids"}.works(t)
	})
}

func TestPostgresAReferenceThatCannotBeCutFirst(t *testing.T) {
	const ring = `CREATE TABLE a (id int PRIMARY KEY, b int); CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a%s); ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b;`
	t.Run("because of a check", func(t *testing.T) {
		overPostgres{schema: strings.Replace(ring, "%s", ", c int, CHECK (num_nonnulls(a, c) = 1)", 1), found: `INSERT INTO a VALUES (1, 1); INSERT INTO b VALUES (1, 1)`, tables: "a b"}.works(t)
	})
	t.Run("because of a trigger", func(t *testing.T) {
		overPostgres{schema: strings.Replace(ring, "%s", "", 1) + `CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'rows of b never change'; END $$;
			CREATE TRIGGER f BEFORE UPDATE ON b FOR EACH ROW EXECUTE FUNCTION f()`, found: `INSERT INTO a VALUES (1, 1); INSERT INTO b VALUES (1, 1)`, tables: "a b"}.works(t)
	})
}

func TestPostgresRowsThatReferToACodeStayWhenItsRecordHasANewKey(t *testing.T) {
	for _, action := range []string{"", "ON DELETE CASCADE", "ON DELETE SET NULL", "ON DELETE RESTRICT", "ON DELETE CASCADE ON UPDATE CASCADE", "ON UPDATE SET NULL"} {
		for _, of := range []string{"", " c"} {
			t.Run(action+of, func(t *testing.T) {
				c := overPostgres{schema: `CREATE TABLE p (id int PRIMARY KEY, code text NOT NULL UNIQUE, buddy int REFERENCES p);
					CREATE TABLE c (id int PRIMARY KEY, code text REFERENCES p (code) ` + action + `)`, saved: `INSERT INTO p VALUES (3, 'a', 4), (4, 'b', 3), (5, 'c', 5)`,
					found: `INSERT INTO p VALUES (1, 'a', 2), (2, 'b', 1), (5, 'c', 1); INSERT INTO c VALUES (1, 'a'), (2, 'a'), (3, 'b')`, tables: "p" + of}
				if of != "" {
					c.saved += `; INSERT INTO c VALUES (1, 'a'), (2, 'a'), (3, 'b')`
				}
				require.Equal(t, []string{"a", "a", "b"}, column(t, c.works(t), "SELECT code FROM c ORDER BY id"))
			})
		}
		t.Run(action+" while rows refer to the old key", func(t *testing.T) {
			db, same, err := overPostgres{schema: `CREATE TABLE p (id int PRIMARY KEY, code text NOT NULL UNIQUE);
				CREATE TABLE c (id int PRIMARY KEY, code text REFERENCES p (code) ` + action + `, p int REFERENCES p)`, saved: `INSERT INTO p VALUES (3, 'a')`,
				found: `INSERT INTO p VALUES (1, 'a'); INSERT INTO c VALUES (1, 'a', NULL), (2, NULL, 1)`, tables: "p"}.run(t)
			require.ErrorIs(t, err, backup.ErrDangling)
			require.ErrorContains(t, err, `the record "3" has the value of "1"`)
			require.False(t, same)
			require.Equal(t, []string{"a"}, column(t, db, "SELECT code FROM c WHERE id = 1"))
		})
	}
}

func TestPostgresListsAndCirclesOfOneTable(t *testing.T) {
	const n = 1000
	for name, rows := range map[string]string{"list": "SELECT (i * 7919) % 10007, (greatest(i - 1, 0) * 7919) % 10007", "circle": "SELECT (i * 7919) % 10007, ((i + 1) % 1000 * 7919) % 10007"} {
		rows = fmt.Sprintf("INSERT INTO items %s FROM generate_series(0, %d) AS i", rows, n-1)
		for _, null := range []string{"", " NOT NULL"} {
			for _, action := range []string{" ON DELETE RESTRICT", " ON DELETE CASCADE"} {
				schema := `CREATE TABLE items (id int PRIMARY KEY, prev int` + null + ` REFERENCES items` + action + `); CREATE INDEX ON items (prev);
					CREATE TABLE kids (id int PRIMARY KEY, item int NOT NULL REFERENCES items)`
				t.Run(name+null+action, func(t *testing.T) {
					start := time.Now()
					overPostgres{schema: schema, saved: rows, tables: "items kids"}.works(t)
					overPostgres{schema: schema, found: rows + `; INSERT INTO kids SELECT id, id FROM items`, tables: "items kids"}.works(t)
					require.Less(t, time.Since(start), 10*time.Second)
				})
			}
		}
	}
	t.Run("what a row that stays needs stays too", func(t *testing.T) {
		db, _, err := overPostgres{schema: `CREATE TABLE items (id int PRIMARY KEY, prev int NOT NULL REFERENCES items ON DELETE CASCADE); CREATE TABLE kids (id int PRIMARY KEY, item int NOT NULL REFERENCES items)`,
			saved: `INSERT INTO kids VALUES (1, 2)`, found: `INSERT INTO items VALUES (1, 4), (2, 1), (3, 2), (4, 3); INSERT INTO kids VALUES (1, 2)`, tables: "items kids"}.run(t)
		require.ErrorIs(t, err, backup.ErrDangling)
		require.Len(t, column(t, db, "SELECT id::text FROM items"), 4)
	})
}

func TestPostgresARowThatATriggerKeepsDoesNotWait(t *testing.T) {
	for _, tables := range []string{"items", "items kids"} {
		db, _, err := overPostgres{schema: `CREATE TABLE items (id text PRIMARY KEY, gone bool NOT NULL DEFAULT false); CREATE TABLE kids (id text PRIMARY KEY, item text REFERENCES items);
			CREATE FUNCTION soft() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE items SET gone = true WHERE id = OLD.id; RETURN NULL; END $$;
			CREATE TRIGGER soft BEFORE DELETE ON items FOR EACH ROW EXECUTE FUNCTION soft()`, saved: `INSERT INTO items VALUES ('a')`, found: `INSERT INTO items VALUES ('a'), ('b')`, tables: tables}.run(t)
		require.NoError(t, err)
		require.Equal(t, []string{"a", "b"}, column(t, db, "SELECT id FROM items ORDER BY id"))
	}
}

func TestPostgresCirclesOfTwoTablesSayWhatHelps(t *testing.T) {
	schema := `CREATE TABLE a (id int PRIMARY KEY, b int NOT NULL); CREATE TABLE b (id int PRIMARY KEY, a int NOT NULL REFERENCES a); ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b`
	const rows = `INSERT INTO a VALUES (1, 1); INSERT INTO b VALUES (1, 1)`
	for _, c := range []overPostgres{{schema: schema, saved: rows, tables: "a b"}, {schema: schema, found: rows, tables: "a b"}} {
		_, _, err := c.run(t)
		require.ErrorContains(t, err, "DEFERRABLE")
		c.schema += " DEFERRABLE"
		c.works(t)
	}
}

func TestPostgresOnlyWhatFollowsAChangeIsKeptInMemory(t *testing.T) {
	db, _ := newPostgres(t, `CREATE TABLE p (id int PRIMARY KEY, code text NOT NULL UNIQUE, name text); CREATE TABLE c (id int PRIMARY KEY, code text REFERENCES p (code) ON UPDATE CASCADE, body text);
		INSERT INTO p VALUES (1, 'a', 'old'); INSERT INTO c SELECT n, 'a', repeat('x', 1000) FROM generate_series(1, 10000) n`)
	s := pg(db, sqlstore.Table{Collection: "p"}, sqlstore.Table{Collection: "c"})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	require.NoError(t, put(s, "p", record("1", `{"id":1,"code":"a","name":"new"}`)))
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(4<<20))
}

func TestPostgresRowsOfATableThatCannotBeReadStayToo(t *testing.T) {
	for _, grant := range []string{"", "; GRANT SELECT ON c TO pg_monitor", "; GRANT SELECT ON c TO pg_monitor; ALTER TABLE c ENABLE ROW LEVEL SECURITY"} {
		db, _ := newPostgres(t, `CREATE TABLE p (id int PRIMARY KEY, code text NOT NULL UNIQUE); CREATE TABLE c (id int PRIMARY KEY, code text REFERENCES p (code) ON DELETE CASCADE);
			INSERT INTO p VALUES (1, 'a'), (2, 'b'); INSERT INTO c VALUES (1, 'a'); GRANT ALL ON p TO pg_monitor`+grant)
		db.SetMaxOpenConns(1)
		exec(t, db, "SET ROLE pg_monitor")
		s := pg(db, sqlstore.Table{Collection: "p"})
		require.NoError(t, s.Update(t.Context(), func(w backup.Writer) error {
			require.NoError(t, w.Delete(t.Context(), "p", []string{"1", "2"}))
			return w.Put(t.Context(), "p", []backup.Record{record("3", `{"id":3,"code":"a"}`)})
		}))
		require.Equal(t, []string{`3 {"id":3,"code":"a"}`}, dump(t, s, "p"))
		exec(t, db, "RESET ROLE")
		require.Equal(t, []string{"a"}, column(t, db, "SELECT code FROM c"))
	}
}
