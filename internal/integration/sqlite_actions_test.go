//go:build !race

package integration

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/sqlstore"
)

// actionsSchema has rows that hang on records: sessions and watches are in no
// collection.
func actionsSchema(action string) string {
	return `CREATE TABLE servers (id TEXT PRIMARY KEY, name TEXT UNIQUE);
		CREATE TABLE apps (id TEXT PRIMARY KEY, server TEXT REFERENCES servers ON DELETE ` + action + `, seen TEXT DEFAULT 'never', note TEXT);
		CREATE TABLE sessions (id INTEGER PRIMARY KEY, app TEXT REFERENCES apps ON DELETE CASCADE);
		CREATE TABLE tokens (id INTEGER PRIMARY KEY, session INTEGER REFERENCES sessions ON DELETE CASCADE);
		CREATE TABLE watches (id INTEGER PRIMARY KEY, server TEXT REFERENCES servers ON DELETE SET NULL);
		CREATE TABLE unrelated (id INTEGER PRIMARY KEY, v TEXT);
		INSERT INTO unrelated VALUES (1, 'stays')`
}

func actionsApp() *backup.App {
	return &backup.App{Name: "actions", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{
		{Name: "servers", Key: "/id"}, {Name: "apps", Key: "/id", Refs: []backup.Ref{{Pointer: "/server", Collection: "servers"}}},
	}}
}

func texts(t *testing.T, s sqlstore.Store, query string) []string { return column(t, s.DB, query) }

// TestSQLiteActionsLeaveRecordsAlone: the app moves from a server that goes to one
// that takes its name. What hangs on the app stays, and so does what only the
// host has of it.
func TestSQLiteActionsLeaveRecordsAlone(t *testing.T) {
	for _, action := range []string{"CASCADE", "SET NULL", "SET DEFAULT", "RESTRICT", "NO ACTION"} {
		for _, strategy := range []backup.Strategy{backup.Replace, backup.Merge} {
			for _, how := range []string{"Restore", "Plan.Apply"} {
				for _, pragma := range []string{"", "&_pragma=foreign_keys(1)"} {
					t.Run(fmt.Sprint(action, " ", strategy, " ", how, pragma), func(t *testing.T) {
						tables := []sqlstore.Table{{Collection: "servers"}, {Collection: "apps", Exclude: []string{"seen"}, Columns: []sqlstore.Column{{Name: "note", OmitNull: true}}}}
						from := store(open(t, actionsSchema(action)), tables...)
						to := store(openFile(t, t.TempDir()+"/test.db", pragma, actionsSchema(action)), tables...)
						exec(t, from.DB, "INSERT INTO servers VALUES ('s2', 'nas'); INSERT INTO apps VALUES ('a1', 's2', 'then', NULL)")
						exec(t, to.DB, `INSERT INTO servers VALUES ('s1', 'nas'); INSERT INTO apps VALUES ('a1', 's1', 'today', 'mine'), ('a2', NULL, 'today', NULL);
							INSERT INTO sessions VALUES (1, 'a1'), (2, 'a2'); INSERT INTO tokens VALUES (1, 1), (2, 2); INSERT INTO watches VALUES (1, 's1')`)
						var file bytes.Buffer
						_, err := actionsApp().Backup(t.Context(), &file, from, backup.BackupOptions{})
						require.NoError(t, err)
						s, err := backup.OpenSnapshot(t.Context(), bytes.NewReader(file.Bytes()), backup.OpenOptions{})
						require.NoError(t, err)
						defer s.Close()
						opts := backup.RestoreOptions{Strategy: strategy, Strategies: map[string]backup.Strategy{"servers": backup.Replace}}
						if how == "Restore" {
							_, err = actionsApp().Restore(t.Context(), s, to, opts)
						} else {
							plan, e := actionsApp().Plan(t.Context(), s, to, opts)
							require.NoError(t, e)
							defer plan.Close()
							require.Equal(t, []string{"s1"}, texts(t, to, "SELECT id FROM servers"), "a plan changes nothing")
							_, err = plan.Apply(t.Context())
						}
						require.NoError(t, err)
						require.Equal(t, []string{"s2"}, texts(t, to, "SELECT id FROM servers"))
						note, left := "", []string{"1"}
						if strategy == backup.Merge {
							note, left = "mine", []string{"1", "2"}
						}
						require.Equal(t, []string{"s2 today " + note}, texts(t, to, "SELECT server || ' ' || seen || ' ' || coalesce(note, '') FROM apps WHERE id = 'a1'"))
						require.Equal(t, left, texts(t, to, "SELECT id FROM sessions ORDER BY id"), "of the app that only the host had")
						require.Equal(t, left, texts(t, to, "SELECT id FROM tokens ORDER BY id"), "and what hangs on that")
						require.Equal(t, []string{"none"}, texts(t, to, "SELECT coalesce(server, 'none') FROM watches"))
						require.Equal(t, []string{"stays"}, texts(t, to, "SELECT v FROM unrelated"))
					})
				}
			}
		}
	}
}

func TestSQLiteTablesThatAreNotDeclared(t *testing.T) {
	for name, c := range map[string]struct{ schema, want string }{
		"cascade":             {"CREATE TABLE h (id INTEGER PRIMARY KEY, s TEXT REFERENCES servers ON DELETE CASCADE)", ""},
		"set null":            {"CREATE TABLE h (id INTEGER PRIMARY KEY, s TEXT REFERENCES servers ON DELETE SET NULL)", ""},
		"set null, NOT NULL":  {"CREATE TABLE h (id INTEGER PRIMARY KEY, s TEXT NOT NULL REFERENCES servers ON DELETE SET NULL)", "NOT NULL constraint failed"},
		"no action":           {"CREATE TABLE h (id INTEGER PRIMARY KEY, s TEXT REFERENCES servers)", `table "h": row 1 refers by s to nothing in "servers"`},
		"restrict":            {"CREATE TABLE h (id INTEGER PRIMARY KEY, s TEXT REFERENCES servers ON DELETE RESTRICT)", `table "h": row 1`},
		"set default":         {"CREATE TABLE h (id INTEGER PRIMARY KEY, s TEXT DEFAULT 'x' REFERENCES servers ON DELETE SET DEFAULT)", `table "h": row 1`},
		"without a rowid":     {"CREATE TABLE h (id INTEGER PRIMARY KEY, s TEXT REFERENCES servers ON DELETE CASCADE) WITHOUT ROWID", `table "h": a row refers`},
		"a column of records": {"CREATE UNIQUE INDEX n ON servers (name); CREATE TABLE h (id INTEGER PRIMARY KEY, s TEXT REFERENCES servers (name) ON DELETE CASCADE)", `table "h": row 1`},
		"names of the rowid":  {"CREATE TABLE h (id INTEGER PRIMARY KEY, s TEXT REFERENCES servers ON DELETE CASCADE, rowid, _rowid_)", ""},
	} {
		t.Run(name, func(t *testing.T) {
			db := open(t, "CREATE TABLE servers (id TEXT PRIMARY KEY, name TEXT); INSERT INTO servers VALUES ('a', 'a'), ('b', 'b');"+c.schema+"; INSERT INTO h (id, s) VALUES (1, 'a'), (2, 'b')")
			s := store(db, sqlstore.Table{Collection: "servers"})
			err := s.Update(t.Context(), func(w backup.Writer) error { return w.Delete(t.Context(), "servers", []string{"a"}) })
			if c.want != "" {
				require.ErrorContains(t, err, c.want)
				require.Equal(t, []string{"1a", "2b"}, column(t, db, "SELECT id || s FROM h ORDER BY id"))
				require.Len(t, dump(t, s, "servers"), 2)
				return
			}
			require.NoError(t, err)
			require.Subset(t, []string{"1", "2b"}, column(t, db, "SELECT id || coalesce(s, '') FROM h"))
			require.Equal(t, []string{"b"}, column(t, db, "SELECT s FROM h WHERE s IS NOT NULL"))
			// A record that goes and comes back keeps what hangs on it.
			require.NoError(t, s.Update(t.Context(), func(w backup.Writer) error {
				return errors.Join(w.Delete(t.Context(), "servers", []string{"b"}), put1(t, w, "servers", record("b", `{"id":"b","name":"new"}`)))
			}))
			require.Equal(t, []string{"b"}, column(t, db, "SELECT s FROM h WHERE s IS NOT NULL"))
		})
	}
}

func TestSQLiteConflictClausesHaveNoEffect(t *testing.T) {
	for _, clause := range []string{"IGNORE", "REPLACE", "FAIL", "ABORT", "ROLLBACK"} {
		t.Run(clause, func(t *testing.T) {
			db := open(t, fmt.Sprintf(`CREATE TABLE u (id TEXT PRIMARY KEY ON CONFLICT %[1]s, name TEXT UNIQUE ON CONFLICT %[1]s, n INTEGER NOT NULL ON CONFLICT %[1]s DEFAULT 7);
				INSERT INTO u VALUES ('a', 'x', 1), ('b', 'y', 2)`, clause))
			s := store(db, sqlstore.Table{Collection: "u"})
			before := dump(t, s, "u")
			for want, r := range map[string]backup.Record{
				`u "c" clashes with "b": clash over a unique value: UNIQUE (name)`: record("c", `{"id":"c","name":"y","n":3}`),
				`u "c": constraint failed: NOT NULL constraint failed`:             record("c", `{"id":"c","name":"z","n":null}`),
			} {
				err := put(s, "u", record("d", `{"id":"d","name":"d","n":4}`), r)
				require.ErrorContains(t, err, want)
				require.Equal(t, before, dump(t, s, "u"), "no row is dropped for it")
			}
			require.NoError(t, put(s, "u", record("a", `{"id":"a","name":"new","n":3}`)))
			require.Equal(t, []string{`a {"id":"a","name":"new","n":3}`, before[1]}, dump(t, s, "u"))
		})
	}
}

func TestSQLiteAfterAFailureNothingIsChangedAnyMore(t *testing.T) {
	db := open(t, `CREATE TABLE u (id TEXT PRIMARY KEY, n INTEGER NOT NULL); INSERT INTO u VALUES ('a', 1)`)
	s := store(db, sqlstore.Table{Collection: "u"})
	ctx := t.Context()
	fails := map[string]func(w backup.Writer) error{
		"Put refused by the database": func(w backup.Writer) error { return put1(t, w, "u", record("b", `{"id":"b","n":null}`)) },
		"Put refused by the store":    func(w backup.Writer) error { return put1(t, w, "u", record("b", `{"id":"b","m":1}`)) },
		"Put of the unknown":          func(w backup.Writer) error { return put1(t, w, "x", record("b", `{"id":"b"}`)) },
		"Delete of the unknown":       func(w backup.Writer) error { return w.Delete(ctx, "x", []string{"a"}) },
		"Put that SQLite undoes": func(w backup.Writer) error {
			exec(t, db, "PRAGMA user_version") // the pool has other connections
			return put1(t, w, "u", record("roll", `{"id":"roll","n":1}`))
		},
	}
	exec(t, db, `CREATE TRIGGER roll BEFORE INSERT ON u WHEN NEW.id = 'roll' BEGIN SELECT RAISE(ROLLBACK, 'rolled back'); END`)
	for name, fail := range fails {
		t.Run(name, func(t *testing.T) {
			err := s.Update(ctx, func(w backup.Writer) error {
				require.NoError(t, put1(t, w, "u", record("first", `{"id":"first","n":1}`)))
				first := fail(w)
				require.Error(t, first)
				// A caller that goes on all the same does no harm.
				require.ErrorIs(t, put1(t, w, "u", record("c", `{"id":"c","n":1}`)), first)
				require.ErrorIs(t, w.Delete(ctx, "u", []string{"a"}), first)
				return nil
			})
			require.Error(t, err)
			require.Equal(t, []string{`a {"id":"a","n":1}`}, dump(t, s, "u"))
		})
	}
}
