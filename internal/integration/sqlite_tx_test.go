package integration

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/testtime"
	"github.com/tomo-project/backup/sqlstore"
)

func TestSQLiteViewIsOnePointInTimeWhileAWriterTransfers(t *testing.T) {
	db := openFile(t, t.TempDir()+"/test.db", "&_pragma=busy_timeout(10000)", `CREATE TABLE a (id INTEGER PRIMARY KEY, cents INTEGER); CREATE TABLE b (id INTEGER PRIMARY KEY, cents INTEGER);
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 300) INSERT INTO a SELECT i, 100 FROM n;
		INSERT INTO b SELECT * FROM a`)
	s := store(db, sqlstore.Table{Collection: "a"}, sqlstore.Table{Collection: "b"})
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for w := range 3 {
		group.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				tx, err := db.Begin()
				if err != nil {
					t.Error(err)
					return
				}
				id := (i*7+w)%300 + 1
				_, e1 := tx.Exec("UPDATE a SET cents = cents - ? WHERE id = ?", i%50, id)
				_, e2 := tx.Exec("UPDATE b SET cents = cents + ? WHERE id = ?", i%50, id)
				if err := errors.Join(e1, e2, tx.Commit()); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	seen := map[int]bool{}
	for range 30 {
		sum, first := 0, 0
		err := s.View(ctx, func(r backup.Reader) error {
			// The state is that of the beginning, not of the first look at a table.
			var before int
			require.NoError(t, db.QueryRow("SELECT total_changes()").Scan(&before))
			time.Sleep(2 * time.Millisecond)
			for _, c := range []string{"a", "b"} {
				for rec, err := range r.Records(ctx, c) {
					if err != nil {
						return err
					}
					var id, cents int
					_, err := fmt.Sscanf(string(rec.Value), `{"id":%d,"cents":%d}`, &id, &cents)
					require.NoError(t, err)
					sum += cents
					if c == "a" {
						first += cents
					}
				}
			}
			return nil
		})
		require.NoError(t, err)
		require.Equal(t, 2*300*100, sum)
		seen[first] = true
	}
	stop()
	group.Wait()
	require.Greater(t, len(seen), 1, "the writers did nothing meanwhile")
}

func TestSQLiteViewIsPinnedWhenItBegins(t *testing.T) {
	db := open(t, `CREATE TABLE a (id INTEGER PRIMARY KEY)`)
	s := store(db, sqlstore.Table{Collection: "a"})
	require.NoError(t, s.View(t.Context(), func(r backup.Reader) error {
		exec(t, db, "INSERT INTO a VALUES (1)")
		for rec, err := range r.Records(t.Context(), "a") {
			t.Errorf("sees %v %v", rec, err)
		}
		return nil
	}))
}

func TestSQLiteSequencesOfAViewMayBeNested(t *testing.T) {
	db := open(t, `CREATE TABLE a (id INTEGER PRIMARY KEY); CREATE TABLE b (id INTEGER PRIMARY KEY); INSERT INTO a VALUES (1), (2); INSERT INTO b VALUES (3), (4)`)
	s := store(db, sqlstore.Table{Collection: "a"}, sqlstore.Table{Collection: "b"})
	var got []string
	require.NoError(t, s.View(t.Context(), func(r backup.Reader) error {
		for a, err := range r.Records(t.Context(), "a") {
			require.NoError(t, err)
			for b, err := range r.Records(t.Context(), "b") {
				require.NoError(t, err)
				got = append(got, a.Key+b.Key)
			}
		}
		return nil
	}))
	require.Equal(t, []string{"13", "14", "23", "24"}, got)
}

const treeSchema = `CREATE TABLE servers (id TEXT PRIMARY KEY, parent TEXT REFERENCES servers);
	CREATE TABLE apps (id TEXT PRIMARY KEY, server TEXT NOT NULL REFERENCES servers(id));
	CREATE TABLE host_only (app TEXT REFERENCES apps(id));
	INSERT INTO servers VALUES ('s1', NULL), ('s2', 's1');
	INSERT INTO apps VALUES ('a1', 's1'), ('a2', 's2')`

func TestSQLiteRollbackLeavesTheDatabaseAndTheConnectionAsTheyWere(t *testing.T) {
	testtime.NotForRace(t)
	change := func(ctx context.Context, w backup.Writer) error {
		return errors.Join(
			w.Put(ctx, "servers", []backup.Record{record("s3", `{"id":"s3"}`), record("s1", `{"id":"s1","parent":"s3"}`)}),
			w.Delete(ctx, "apps", []string{"a1"}))
	}
	failure := errors.New("failure")
	for _, pragma := range []string{"", "&_pragma=foreign_keys(1)"} {
		for name, run := range map[string]func(t *testing.T, s sqlstore.Store){
			"error": func(t *testing.T, s sqlstore.Store) {
				err := s.Update(t.Context(), func(w backup.Writer) error { return errors.Join(change(t.Context(), w), failure) })
				require.ErrorIs(t, err, failure)
			},
			"panic": func(t *testing.T, s sqlstore.Store) {
				require.PanicsWithValue(t, "oops", func() {
					_ = s.Update(t.Context(), func(w backup.Writer) error { require.NoError(t, change(t.Context(), w)); panic("oops") })
				})
			},
			"cancelled before the commit": func(t *testing.T, s sqlstore.Store) {
				ctx, cancel := context.WithCancel(t.Context())
				err := s.Update(ctx, func(w backup.Writer) error { defer cancel(); return change(ctx, w) })
				require.ErrorIs(t, err, context.Canceled)
			},
			"cancelled in a statement": func(t *testing.T, s sqlstore.Store) {
				ctx, cancel := context.WithCancel(t.Context())
				err := s.Update(ctx, func(w backup.Writer) error {
					require.NoError(t, change(ctx, w))
					cancel()
					return w.Put(ctx, "servers", []backup.Record{record("s4", `{"id":"s4"}`)})
				})
				require.ErrorIs(t, err, context.Canceled)
			},
			"refused by the database": func(t *testing.T, s sqlstore.Store) {
				err := s.Update(t.Context(), func(w backup.Writer) error {
					require.NoError(t, change(t.Context(), w))
					return w.Put(t.Context(), "apps", []backup.Record{record("a9", `{"id":"a9"}`)})
				})
				require.ErrorContains(t, err, `apps "a9": `)
			},
			"refused at the commit": func(t *testing.T, s sqlstore.Store) {
				err := s.Update(t.Context(), func(w backup.Writer) error { return w.Delete(t.Context(), "servers", []string{"s1"}) })
				require.ErrorIs(t, err, backup.ErrDangling)
			},
		} {
			t.Run(name+", "+pragma, func(t *testing.T) {
				db := openFile(t, t.TempDir()+"/test.db", pragma, treeSchema)
				db.SetMaxOpenConns(1)
				s := store(db, sqlstore.Table{Collection: "servers"}, sqlstore.Table{Collection: "apps"})
				before := append(dump(t, s, "servers"), dump(t, s, "apps")...)
				run(t, s)
				require.Equal(t, before, append(dump(t, s, "servers"), dump(t, s, "apps")...))
				var enforced, deferred bool
				require.NoError(t, db.QueryRow("PRAGMA foreign_keys").Scan(&enforced))
				require.NoError(t, db.QueryRow("PRAGMA defer_foreign_keys").Scan(&deferred))
				require.Equal(t, pragma != "", enforced, "as the host has it")
				require.False(t, deferred)
				require.NoError(t, s.Update(t.Context(), func(w backup.Writer) error { return change(t.Context(), w) }))
				require.NoError(t, db.QueryRow("PRAGMA foreign_keys").Scan(&enforced))
				require.Equal(t, pragma != "", enforced)
			})
		}
	}
}

func TestSQLiteReferencesMayComeInAnyOrder(t *testing.T) {
	testtime.NotForRace(t)
	db := open(t, treeSchema)
	s := store(db, sqlstore.Table{Collection: "servers"}, sqlstore.Table{Collection: "apps"})
	ctx := t.Context()
	require.NoError(t, s.Update(ctx, func(w backup.Writer) error {
		require.NoError(t, w.Delete(ctx, "servers", []string{"s1", "s2"}))
		require.NoError(t, w.Put(ctx, "apps", []backup.Record{record("a3", `{"id":"a3","server":"s9"}`)}))
		require.NoError(t, w.Put(ctx, "servers", []backup.Record{record("s9", `{"id":"s9","parent":"s8"}`), record("s8", `{"id":"s8"}`)}))
		return w.Delete(ctx, "apps", []string{"a1", "a2"})
	}))
	require.Equal(t, []string{`a3 {"id":"a3","server":"s9"}`}, dump(t, s, "apps"))
}

func TestSQLiteDanglingReferenceIsRefusedAtTheCommitAndNamed(t *testing.T) {
	testtime.NotForRace(t)
	for _, pragma := range []string{"", "&_pragma=foreign_keys(1)"} {
		db := openFile(t, t.TempDir()+"/test.db", pragma, treeSchema)
		s := store(db, sqlstore.Table{Collection: "servers"}, sqlstore.Table{Collection: "apps"})
		err := put(s, "apps", record("a3", `{"id":"a3","server":"nowhere"}`), record("a4", `{"id":"a4","server":"s1"}`))
		require.ErrorIs(t, err, backup.ErrDangling)
		require.ErrorContains(t, err, `table "apps": "a3" refers by server to nothing in "servers"`)
		require.NotContains(t, err.Error(), "a4")
		require.Len(t, dump(t, s, "apps"), 2)
		// A table that is not declared is protected too.
		exec(t, db, "INSERT INTO host_only VALUES ('a1')")
		err = s.Update(t.Context(), func(w backup.Writer) error { return w.Delete(t.Context(), "apps", []string{"a1"}) })
		require.ErrorContains(t, err, `table "host_only": row 1 refers by app to nothing in "apps"`)
	}
}

func TestSQLiteReferencesThatDangledBeforeAreNoObstacleAndNoExcuse(t *testing.T) {
	testtime.NotForRace(t)
	db := open(t, treeSchema+`; INSERT INTO apps VALUES ('old', 'gone'), ('older', 'gone')`)
	s := store(db, sqlstore.Table{Collection: "servers"}, sqlstore.Table{Collection: "apps"})
	require.NoError(t, put(s, "servers", record("s5", `{"id":"s5"}`)))
	err := s.Update(t.Context(), func(w backup.Writer) error {
		// SQLite counts one more and one less.
		return errors.Join(put1(t, w, "apps", record("new", `{"id":"new","server":"nowhere"}`)), w.Delete(t.Context(), "apps", []string{"old"}))
	})
	require.ErrorIs(t, err, backup.ErrDangling)
	require.ErrorContains(t, err, `"new"`)
	require.NotContains(t, err.Error(), "old")
	require.Len(t, dump(t, s, "apps"), 4)
}

func put1(t *testing.T, w backup.Writer, collection string, r backup.Record) error {
	return w.Put(t.Context(), collection, []backup.Record{r})
}

func TestSQLiteLockedDatabaseIsAClearErrorAtOnce(t *testing.T) {
	path := t.TempDir() + "/test.db"
	db := openFile(t, path, "", treeSchema)
	other, err := db.Conn(t.Context())
	require.NoError(t, err)
	defer other.Close()
	_, err = other.ExecContext(t.Context(), "BEGIN IMMEDIATE")
	require.NoError(t, err)
	s := store(db, sqlstore.Table{Collection: "servers"})
	start := time.Now()
	err = put(s, "servers", record("x", `{"id":"x"}`))
	require.ErrorContains(t, err, "another connection is writing")
	require.ErrorContains(t, err, "busy_timeout")
	require.Less(t, time.Since(start), time.Second)
	require.Len(t, dump(t, s, "servers"), 2, "reading goes on")

	patient := openFile(t, path, "&_pragma=busy_timeout(60000)", "SELECT 1")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err = store(patient, sqlstore.Table{Collection: "servers"}).Update(ctx, func(backup.Writer) error { return nil })
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(start), 10*time.Second)
	_, err = other.ExecContext(t.Context(), "ROLLBACK")
	require.NoError(t, err)
	require.NoError(t, put(s, "servers", record("x", `{"id":"x"}`)))
}

func TestSQLiteInMemoryDatabaseSurvives(t *testing.T) {
	testtime.NotForRace(t)
	db := openFile(t, ":memory:", "", treeSchema)
	db.SetMaxOpenConns(1)
	s := store(db, sqlstore.Table{Collection: "servers"})
	ctx, cancel := context.WithCancel(t.Context())
	err := s.Update(ctx, func(w backup.Writer) error {
		cancel()
		return put1(t, w, "servers", record("x", `{"id":"x"}`))
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Len(t, dump(t, s, "servers"), 2)
}

// A temporary table of the connection hides that of the host from statements that do not
// name the database.
func TestSQLiteATemporaryTableIsNotTheHosts(t *testing.T) {
	for name, pragma := range map[string]string{"foreign keys off": "", "foreign keys on": "&_pragma=foreign_keys(1)"} {
		t.Run(name, func(t *testing.T) {
			db := openFile(t, t.TempDir()+"/test.db", pragma, "")
			db.SetMaxOpenConns(1)
			exec(t, db, `CREATE TABLE servers (id TEXT PRIMARY KEY, name TEXT UNIQUE, parent TEXT REFERENCES servers);
				CREATE TABLE apps (id TEXT PRIMARY KEY, server TEXT NOT NULL REFERENCES servers);
				CREATE TABLE logs (id INTEGER PRIMARY KEY, app TEXT REFERENCES apps ON DELETE CASCADE);
				CREATE TEMP TABLE servers (id INTEGER PRIMARY KEY, other TEXT);
				CREATE TEMP TABLE apps (id TEXT PRIMARY KEY, server TEXT);
				CREATE TEMP TABLE logs (id INTEGER PRIMARY KEY, app TEXT);
				INSERT INTO main.servers VALUES ('s1', 'one', NULL), ('s2', 'two', 's1');
				INSERT INTO main.apps VALUES ('a1', 's1'), ('a2', 's2');
				INSERT INTO main.logs VALUES (1, 'a1'), (2, 'a2');
				INSERT INTO temp.servers VALUES (7, 'seven');
				INSERT INTO temp.apps VALUES ('a7', 's7'), ('a1', 's7');
				INSERT INTO temp.logs VALUES (1, 'a7')`)
			s := store(db, sqlstore.Table{Collection: "servers"}, sqlstore.Table{Collection: "apps"})
			require.Equal(t, []string{`s1 {"id":"s1","name":"one","parent":null}`, `s2 {"id":"s2","name":"two","parent":"s1"}`}, dump(t, s, "servers"))
			ctx := t.Context()
			require.NoError(t, s.Update(ctx, func(w backup.Writer) error {
				return errors.Join(
					w.Delete(ctx, "apps", []string{"a1"}),
					w.Put(ctx, "servers", []backup.Record{record("s1", `{"id":"s1","name":"two","parent":null}`), record("s2", `{"id":"s2","name":"one","parent":"s1"}`)}),
					w.Put(ctx, "apps", []backup.Record{record("a3", `{"id":"a3","server":"s2"}`)}))
			}))
			require.Equal(t, []string{"s1two", "s2one"}, column(t, db, "SELECT id||name FROM main.servers ORDER BY id"))
			require.Equal(t, []string{"a2", "a3"}, column(t, db, "SELECT id FROM main.apps ORDER BY id"))
			require.Equal(t, []string{"2"}, column(t, db, "SELECT id FROM main.logs"), "the foreign key deletes the row of the host")
			require.Equal(t, []string{"7seven", "a1s7", "a7s7", "1a7"}, column(t, db, "SELECT id||other FROM temp.servers UNION ALL SELECT * FROM (SELECT id||server FROM temp.apps ORDER BY id) UNION ALL SELECT id||app FROM temp.logs"))

			var record *backup.RecordError
			err := put(s, "apps", backup.Record{Key: "a7", Value: []byte(`{"id":"a7","server":"7"}`)})
			require.ErrorIs(t, err, backup.ErrDangling, "the server is only in the temporary table")
			require.ErrorAs(t, err, &record)
			require.Equal(t, "a7", record.Key)
			err = put(s, "servers", backup.Record{Key: "s3", Value: []byte(`{"id":"s3","name":"two","parent":null}`)})
			require.ErrorIs(t, err, backup.ErrClash)
			require.ErrorAs(t, err, &record)
			require.Equal(t, "s1", record.With)
		})
	}
}
