//go:build !race

package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/sqlstore"
)

// related are the methods of a Writer of a database that a restore makes use of.
type related interface {
	backup.Writer
	Settle(ctx context.Context) error
	Effects(ctx context.Context, collection string) ([]string, error)
	Parents(ctx context.Context, collection string) ([]string, error)
	AllowDangling(allow bool)
}

// look calls f with a Writer, and changes nothing.
func look(t *testing.T, s sqlstore.Store, f func(w related)) {
	t.Helper()
	looked := errors.New("only looked")
	require.ErrorIs(t, s.Update(t.Context(), func(w backup.Writer) error {
		f(w.(related))
		return looked
	}), looked)
}

// recordErrors returns the errors about records in err.
func recordErrors(err error) (found []*backup.RecordError) {
	switch e := err.(type) {
	case *backup.RecordError:
		return []*backup.RecordError{e}
	case interface{ Unwrap() []error }:
		for _, err := range e.Unwrap() {
			found = append(found, recordErrors(err)...)
		}
	case interface{ Unwrap() error }:
		return recordErrors(e.Unwrap())
	}
	return found
}

// dangles checks that err names records, in the form "collection key pointer", and
// returns what it says about the first.
func dangles(t *testing.T, err error, records ...string) string {
	t.Helper()
	require.ErrorIs(t, err, backup.ErrDangling)
	var named []string
	text := ""
	for _, e := range recordErrors(err) {
		require.ErrorIs(t, e, backup.ErrDangling)
		require.Equal(t, int64(-1), e.Offset)
		named = append(named, fmt.Sprint(e.Collection, " ", e.Key, " ", e.Pointer))
		if text == "" {
			text = e.Error()
		}
	}
	slices.Sort(named)
	require.Equal(t, records, named, "%v", err)
	return text
}

// A testBed is a database that the same test runs on.
type testBed struct {
	name     string
	open     func(t *testing.T, schema string) *sql.DB
	store    func(db *sql.DB, tables ...sqlstore.Table) sqlstore.Store
	unforced string // before a statement that breaks references
}

var testBeds = []testBed{
	{"SQLite", func(t *testing.T, schema string) *sql.DB { return open(t, schema) }, store, ""},
	{"PostgreSQL", func(t *testing.T, schema string) *sql.DB { db, _ := newPostgres(t, schema); return db }, pg, "SET session_replication_role = replica; "},
	{"MariaDB", func(t *testing.T, schema string) *sql.DB { db, _ := newMariaDB(t, schema); return db }, my, "SET foreign_key_checks=0; "},
}

func onEachDatabase(t *testing.T, test func(t *testing.T, on testBed)) {
	for _, on := range testBeds {
		t.Run(on.name, func(t *testing.T) { test(t, on) })
	}
}

// relatedSchema has children before their parents in the order of names.
const relatedSchema = `CREATE TABLE z_parent (id int PRIMARY KEY, code varchar(9) NOT NULL UNIQUE, a int NOT NULL, b int NOT NULL, UNIQUE (a, b));
	CREATE TABLE m_middle (id int PRIMARY KEY, x int, y int, self int, CONSTRAINT by_two FOREIGN KEY (x, y) REFERENCES z_parent (a, b), FOREIGN KEY (self) REFERENCES m_middle (id));
	CREATE TABLE a_child (id int PRIMARY KEY, code varchar(9) NOT NULL, middle int, other int, CONSTRAINT by_code FOREIGN KEY (code) REFERENCES z_parent (code), FOREIGN KEY (middle) REFERENCES m_middle (id), FOREIGN KEY (other) REFERENCES m_middle (id));
	CREATE TABLE hidden (id int PRIMARY KEY, middle int, FOREIGN KEY (middle) REFERENCES m_middle (id))`

func relatedTables() []sqlstore.Table {
	return []sqlstore.Table{{Collection: "kids", Name: "a_child"}, {Collection: "middles", Name: "m_middle"}, {Collection: "parents", Name: "z_parent"}}
}

func TestParentsOfCollectionsAreAllThatForeignKeysLeadTo(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, on testBed) {
		s := on.store(on.open(t, relatedSchema), relatedTables()...)
		look(t, s, func(w related) {
			for collection, want := range map[string][]string{"kids": {"middles", "parents"}, "middles": {"parents"}, "parents": nil} {
				parents, err := w.Parents(t.Context(), collection)
				require.NoError(t, err)
				require.Equal(t, want, parents)
			}
			_, err := w.Parents(t.Context(), "hidden")
			require.ErrorContains(t, err, "hidden")
		})
		// In their order, records go into an empty database.
		require.NoError(t, s.Update(t.Context(), func(w backup.Writer) error {
			require.NoError(t, put1(t, w, "parents", record("1", `{"id":1,"code":"x","a":1,"b":2}`)))
			require.NoError(t, put1(t, w, "middles", record("5", `{"id":5,"x":1,"y":2,"self":5}`)))
			require.NoError(t, put1(t, w, "kids", record("9", `{"id":9,"code":"x","middle":5,"other":null}`)))
			// To ask after a change forgets nothing.
			_, err := w.(related).Parents(t.Context(), "kids")
			return err
		}))
		require.ErrorIs(t, s.Update(t.Context(), func(w backup.Writer) error {
			_, err := w.(related).Parents(t.Context(), "kids")
			require.NoError(t, err)
			return w.Delete(t.Context(), "parents", []string{"1"})
		}), backup.ErrDangling)
	})
}

func TestDanglingRecordsAreNamedWithAllThatIsKnown(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, on testBed) {
		deferrable := map[string]string{"": relatedSchema}
		if on.name == "PostgreSQL" {
			deferrable[" DEFERRABLE"] = `CREATE TABLE z_parent (id int PRIMARY KEY, code varchar(9) NOT NULL UNIQUE, a int NOT NULL, b int NOT NULL, UNIQUE (a, b));
				CREATE TABLE m_middle (id int PRIMARY KEY, x int, y int, self int REFERENCES m_middle DEFERRABLE, CONSTRAINT by_two FOREIGN KEY (x, y) REFERENCES z_parent (a, b) DEFERRABLE);
				CREATE TABLE a_child (id int PRIMARY KEY, code varchar(9) NOT NULL, middle int REFERENCES m_middle DEFERRABLE, other int, CONSTRAINT by_code FOREIGN KEY (code) REFERENCES z_parent (code) DEFERRABLE);
				CREATE TABLE hidden (id int PRIMARY KEY, middle int REFERENCES m_middle DEFERRABLE)`
		}
		for name, schema := range deferrable {
			t.Run("keys"+name, func(t *testing.T) {
				db := on.open(t, schema)
				exec(t, db, "INSERT INTO z_parent VALUES (1, 'x', 1, 2); INSERT INTO m_middle VALUES (5, 1, 2, 5), (6, NULL, NULL, NULL); INSERT INTO a_child VALUES (9, 'x', 5, NULL); INSERT INTO hidden VALUES (1, 6)")
				s := on.store(db, relatedTables()...)
				err := put(s, "kids", record("1", `{"id":1,"code":"x","middle":77,"other":null}`), record("2", `{"id":2,"code":"x","middle":5,"other":null}`), record("3", `{"id":3,"code":"x","middle":78,"other":null}`))
				text := dangles(t, err, "kids 1 /middle", "kids 3 /middle")
				require.Contains(t, text, `kids "1" /middle: dangling reference: the foreign key `)
				require.Contains(t, text, `leads to no row of table "m_middle": restore that row too, `)
				text = dangles(t, put(s, "kids", record("1", `{"id":1,"code":"y","middle":null,"other":null}`)), "kids 1 /code")
				if on.name != "SQLite" {
					require.Contains(t, text, `the foreign key "by_code" (code)`)
				}
				dangles(t, put(s, "middles", record("1", `{"id":1,"x":1,"y":1,"self":null}`), record("2", `{"id":2,"x":null,"y":1,"self":null}`)), "middles 1 ")
				// What stays refers to what goes.
				err = s.Update(t.Context(), func(w backup.Writer) error { return w.Delete(t.Context(), "middles", []string{"5"}) })
				dangles(t, err, "kids 9 /middle")
				// Rows of tables that are not declared are not records.
				err = s.Update(t.Context(), func(w backup.Writer) error { return w.Delete(t.Context(), "middles", []string{"6"}) })
				require.Empty(t, recordErrors(err))
				require.ErrorIs(t, err, backup.ErrDangling)
				require.ErrorContains(t, err, "hidden")
				require.Equal(t, []string{"9"}, column(t, db, "SELECT id FROM a_child"))
				require.Len(t, dump(t, s, "middles"), 2)
			})
		}
	})
}

func TestDanglingRecordsAreNamedUnderTheirWholeKeyAndCounted(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, on testBed) {
		without, deferrable := "", ""
		switch on.name {
		case "SQLite":
			without = " WITHOUT ROWID"
		case "PostgreSQL":
			deferrable = " DEFERRABLE"
		}
		db := on.open(t, `CREATE TABLE p (id varchar(9) PRIMARY KEY); CREATE TABLE c (a varchar(9) NOT NULL, b int NOT NULL, p varchar(9), PRIMARY KEY (b, a), FOREIGN KEY (p) REFERENCES p (id)`+deferrable+`)`+without)
		s := on.store(db, sqlstore.Table{Collection: "p"}, sqlstore.Table{Collection: "c", Key: "a,b"})
		key := backup.JoinKey(`q"`, "7")
		err := put(s, "c", record(key, `{"a":"q\"","b":7,"p":"none"}`), record(backup.JoinKey("r", "7"), `{"a":"r","b":7,"p":null}`))
		dangles(t, err, "c "+key+" /p")
		var many []backup.Record
		for i := range 1200 {
			many = append(many, record(backup.JoinKey("a", fmt.Sprint(i)), fmt.Sprintf(`{"a":"a","b":%d,"p":"none"}`, i)))
		}
		err = put(s, "c", many...)
		require.Len(t, recordErrors(err), 1000)
		require.ErrorContains(t, err, "and 1190 more refers by p")
		require.Less(t, len(err.Error()), 2000)
	})
}

func TestRecordsMayDangleWhereTheyAreAllowedTo(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, on testBed) {
		db := on.open(t, relatedSchema+`; CREATE TABLE cascades (id int PRIMARY KEY, middle int, FOREIGN KEY (middle) REFERENCES m_middle (id) ON DELETE CASCADE)`)
		s := on.store(db, relatedTables()...)
		update := func(allow bool, records ...backup.Record) error {
			return s.Update(t.Context(), func(w backup.Writer) error {
				w.(related).AllowDangling(allow)
				if err := w.Put(t.Context(), "kids", records); err != nil {
					return err
				}
				if err := w.(related).Settle(t.Context()); err != nil {
					return err
				}
				return w.(related).Settle(t.Context())
			})
		}
		one, two := record("1", `{"id":1,"code":"gone","middle":77,"other":null}`), record("2", `{"id":2,"code":"gone","middle":78,"other":null}`)
		if on.name == "PostgreSQL" {
			require.ErrorIs(t, update(true, one, two), backup.ErrDangling, "the database enforces foreign keys")
			return
		}
		dangles(t, update(false, one, two), "kids 1 /code", "kids 1 /middle", "kids 2 /code", "kids 2 /middle")
		require.NoError(t, update(true, one, two))
		require.Len(t, dump(t, s, "kids"), 2)
		require.NoError(t, update(false, one), "it dangled before")
		// It does not hold for rows of tables that are not declared, nor after it was taken back.
		exec(t, db, on.unforced+"INSERT INTO m_middle VALUES (5, NULL, NULL, NULL), (6, NULL, NULL, NULL); INSERT INTO hidden VALUES (1, 5); INSERT INTO cascades VALUES (1, 6); INSERT INTO a_child VALUES (3, 'gone', 6, NULL)")
		remove := func(allowed, in bool, keys ...string) error {
			return s.Update(t.Context(), func(w backup.Writer) error {
				w.(related).AllowDangling(allowed)
				require.NoError(t, w.Delete(t.Context(), "middles", keys))
				if err := w.(related).Settle(t.Context()); err != nil {
					return err
				}
				w.(related).AllowDangling(in)
				return nil
			})
		}
		err := remove(true, true, "5", "6")
		require.ErrorIs(t, err, backup.ErrDangling)
		require.ErrorContains(t, err, `table "hidden"`)
		require.Empty(t, recordErrors(err))
		dangles(t, remove(true, false, "6"), "kids 3 /middle")
		require.NoError(t, remove(true, true, "6"))
		require.Empty(t, column(t, db, "SELECT id FROM cascades"), "the action was carried out")
		require.Len(t, dump(t, s, "kids"), 3)
	})
}

func TestEffectsAreTheTriggersOfACollection(t *testing.T) {
	const tables = `CREATE TABLE notes (id int PRIMARY KEY, n int); CREATE TABLE tags (id int PRIMARY KEY); CREATE TABLE hidden (id int PRIMARY KEY);`
	for name, triggers := range map[string]string{
		"SQLite": `CREATE TRIGGER set_updated_at AFTER UPDATE ON Notes BEGIN SELECT 1; END; CREATE TRIGGER count_it AFTER INSERT ON notes BEGIN SELECT 1; END; CREATE TRIGGER other AFTER INSERT ON hidden BEGIN SELECT 1; END`,
		"PostgreSQL": `CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; CREATE TRIGGER set_updated_at BEFORE UPDATE ON notes FOR EACH ROW EXECUTE FUNCTION f(); CREATE TRIGGER count_it AFTER INSERT ON notes EXECUTE FUNCTION f();
			CREATE TRIGGER off BEFORE UPDATE ON notes FOR EACH ROW EXECUTE FUNCTION f(); ALTER TABLE notes DISABLE TRIGGER off; CREATE TRIGGER replica BEFORE UPDATE ON notes FOR EACH ROW EXECUTE FUNCTION f(); ALTER TABLE notes ENABLE REPLICA TRIGGER replica;
			CREATE TRIGGER emptied BEFORE TRUNCATE ON notes EXECUTE FUNCTION f(); CREATE TRIGGER other AFTER INSERT ON hidden EXECUTE FUNCTION f()`,
		"MariaDB": `CREATE TRIGGER set_updated_at BEFORE UPDATE ON notes FOR EACH ROW SET NEW.n = 1; CREATE TRIGGER count_it BEFORE INSERT ON notes FOR EACH ROW SET NEW.n = 1; CREATE TRIGGER other BEFORE INSERT ON hidden FOR EACH ROW SET NEW.id = 1`,
	} {
		on := testBeds[slices.IndexFunc(testBeds, func(b testBed) bool { return b.name == name })]
		t.Run(name, func(t *testing.T) {
			s := on.store(on.open(t, tables+triggers), sqlstore.Table{Collection: "things", Name: "notes"}, sqlstore.Table{Collection: "tags"})
			look(t, s, func(w related) {
				for range 2 {
					effects, err := w.Effects(t.Context(), "things")
					require.NoError(t, err)
					require.Equal(t, []string{"trigger count_it", "trigger set_updated_at"}, effects)
					effects, err = w.Effects(t.Context(), "tags")
					require.NoError(t, err)
					require.Empty(t, effects)
				}
				_, err := w.Effects(t.Context(), "hidden")
				require.ErrorContains(t, err, "hidden")
			})
		})
	}
}

func TestSQLiteEffectsAreTemporaryTriggersToo(t *testing.T) {
	db := open(t, `CREATE TABLE notes (id int PRIMARY KEY)`)
	db.SetMaxOpenConns(1) // the trigger belongs to the connection
	exec(t, db, `CREATE TEMP TRIGGER mine AFTER INSERT ON main.notes BEGIN SELECT 1; END`)
	look(t, store(db, sqlstore.Table{Collection: "notes"}), func(w related) {
		effects, err := w.Effects(t.Context(), "notes")
		require.NoError(t, err)
		require.Equal(t, []string{"trigger mine"}, effects)
	})
}
