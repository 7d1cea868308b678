package integration

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/testtime"
	"github.com/tomo-project/backup/sqlstore"
	"github.com/tomo-project/backup/tomo"
)

func TestPostgresBackupIsOnePointInTimeWhileEightWritersTransfer(t *testing.T) {
	db, _ := newPostgres(t, `CREATE TABLE savings (id int PRIMARY KEY, cents int NOT NULL); CREATE TABLE checking (id int PRIMARY KEY, cents int NOT NULL);
		INSERT INTO savings SELECT i, 1000 FROM generate_series(1, 500) i; INSERT INTO checking SELECT * FROM savings`)
	s := pg(db, sqlstore.Table{Collection: "savings"}, sqlstore.Table{Collection: "checking"})
	app := &backup.App{Name: "bank", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{{Name: "savings", Key: "/id"}, {Name: "checking", Key: "/id"}}}
	ctx, stop := context.WithCancel(t.Context())
	var transfers atomic.Int64
	var group sync.WaitGroup
	for w := range 8 {
		random := rand.New(rand.NewPCG(uint64(w), 0))
		group.Go(func() {
			for ctx.Err() == nil {
				tx, err := db.Begin()
				if err != nil {
					t.Error(err)
					return
				}
				amount, id := random.IntN(50), random.IntN(500)+1
				_, e1 := tx.Exec("UPDATE savings SET cents = cents - $1 WHERE id = $2", amount, id)
				_, e2 := tx.Exec("UPDATE checking SET cents = cents + $1 WHERE id = $2", amount, id)
				if err := errors.Join(e1, e2, tx.Commit()); err != nil {
					t.Error(err)
					return
				}
				transfers.Add(1)
			}
		})
	}
	seen := map[int]bool{}
	for range 15 {
		var file bytes.Buffer
		_, err := app.Backup(t.Context(), &file, s, backup.BackupOptions{})
		require.NoError(t, err)
		sum, savings, n := 0, 0, 0
		checking := false
		for line := range strings.Lines(file.String()) {
			checking = checking || strings.HasPrefix(line, `"checking"`)
			var id, cents int
			if _, err := fmt.Sscanf(line, `{"id":%d,"cents":%d}`, &id, &cents); err == nil {
				n++
				sum += cents
				if !checking {
					savings += cents
				}
			}
		}
		require.Equal(t, 1000, n)
		require.Equal(t, 2*500*1000, sum)
		seen[savings] = true
	}
	stop()
	group.Wait()
	require.Greater(t, len(seen), 5, "the writers did nothing meanwhile")
	t.Logf("%d transfers", transfers.Load())
}

func TestPostgresUpdateKeepsOtherWritersOut(t *testing.T) {
	db, _ := newPostgres(t, `CREATE TABLE a (id int PRIMARY KEY, n int NOT NULL); INSERT INTO a VALUES (1, 0); CREATE TABLE other (id int PRIMARY KEY)`)
	s := pg(db, sqlstore.Table{Collection: "a"})
	ctx := t.Context()
	var group sync.WaitGroup
	for range 6 {
		group.Go(func() {
			for range 20 {
				// What is looked up has not changed when it is put.
				err := s.Update(ctx, func(w backup.Writer) error {
					found, err := w.Lookup(ctx, "a", []string{"1"})
					if err != nil {
						return err
					}
					var id, n int
					if _, err := fmt.Sscanf(string(found[0].Value), `{"id":%d,"n":%d}`, &id, &n); err != nil {
						return err
					}
					return w.Put(ctx, "a", []backup.Record{record("1", fmt.Sprintf(`{"id":1,"n":%d}`, n+1))})
				})
				_, e := db.Exec("UPDATE a SET n = n + 1")
				if err := errors.Join(err, e); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	require.Equal(t, []string{`1 {"id":1,"n":240}`}, dump(t, s, "a"))
	require.NoError(t, s.Update(ctx, func(backup.Writer) error {
		require.Len(t, dump(t, s, "a"), 1, "reading goes on")
		exec(t, db, "INSERT INTO other VALUES (1)")
		return nil
	}))
}

func TestPostgresConnectionCutInTheMiddleOfARestoreChangesNothing(t *testing.T) {
	db, _ := newPostgres(t, benchSchemaPostgres)
	s := pg(db, sqlstore.Table{Collection: "servers"})
	require.NoError(t, putAll(t.Context(), s, benchRecords(1000)))
	before := dump(t, s, "servers")
	app := &backup.App{Name: "bench", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{{Name: "servers", Key: "/id"}}}
	records := benchRecords(5000)[500:]
	var file bytes.Buffer
	_, err := app.Backup(t.Context(), &file, slice(records), backup.BackupOptions{})
	require.NoError(t, err)
	snapshot, err := backup.OpenSnapshot(t.Context(), bytes.NewReader(file.Bytes()), backup.OpenOptions{})
	require.NoError(t, err)
	defer snapshot.Close()
	for when, at := range map[string]int64{"at once": 1, "later": 2600, "before the commit": 4500} {
		t.Run(when, func(t *testing.T) {
			cut := false
			_, err = app.Restore(t.Context(), snapshot, s, backup.RestoreOptions{Strategy: backup.Replace, Progress: func(p backup.Progress) {
				if p.Phase == "restore" && p.Records >= at && !cut {
					cut = true
					exec(t, db, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle' AND pid <> pg_backend_pid()")
				}
			}})
			require.True(t, cut)
			require.ErrorContains(t, err, "the connection to the database was lost")
			require.Equal(t, before, dump(t, s, "servers"))
		})
	}
	_, err = app.Restore(t.Context(), snapshot, s, backup.RestoreOptions{Strategy: backup.Replace})
	require.NoError(t, err)
	require.Len(t, dump(t, s, "servers"), 4500)
}

// A slice is a source of records.
type slice []backup.Record

func (s slice) View(_ context.Context, read func(backup.Reader) error) error { return read(s) }

func (s slice) Records(context.Context, string) iter.Seq2[backup.Record, error] {
	return func(yield func(backup.Record, error) bool) {
		for _, r := range s {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func TestPostgresSerializationFailureIsReturnedAndRetriedByChoice(t *testing.T) {
	db, _ := newPostgres(t, `CREATE TABLE a (id int PRIMARY KEY); CREATE SEQUENCE failures;
		CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF nextval('failures') % 3 <> 0 THEN RAISE EXCEPTION 'made up' USING ERRCODE = '40001'; END IF; RETURN NEW; END $$;
		CREATE TRIGGER fail BEFORE INSERT ON a FOR EACH ROW EXECUTE FUNCTION fail()`)
	s := pg(db, sqlstore.Table{Collection: "a"})
	ctx := t.Context()
	calls := 0
	try := func() error {
		calls = 0
		return s.Update(ctx, func(w backup.Writer) error { calls++; return put1(t, w, "a", record("1", `{"id":1}`)) })
	}
	err := try()
	var e *pgconn.PgError
	require.ErrorAs(t, err, &e)
	require.Equal(t, "40001", e.Code)
	require.ErrorContains(t, err, "set Store.Retries")
	require.Equal(t, 1, calls)
	exec(t, db, "ALTER SEQUENCE failures RESTART")
	s.Retries = 1
	require.ErrorAs(t, try(), &e)
	require.Equal(t, 2, calls)
	exec(t, db, "ALTER SEQUENCE failures RESTART")
	s.Retries = 5
	require.NoError(t, try())
	require.Equal(t, 3, calls)
	require.Len(t, dump(t, s, "a"), 1)

	failure := errors.New("failure")
	calls = 0
	require.ErrorIs(t, s.Update(ctx, func(backup.Writer) error { calls++; return failure }), failure)
	require.Equal(t, 1, calls, "nothing else is retried")
}

func TestPostgresDeadlockIsRetriedByChoice(t *testing.T) {
	db, _ := newPostgres(t, `CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)`)
	s := pg(db, sqlstore.Table{Collection: "a"}, sqlstore.Table{Collection: "b"})
	for _, retries := range []int{0, 1} {
		s.Retries = retries
		// The host locks b, and wants a when the store waits for b.
		host, err := db.Begin()
		require.NoError(t, err)
		_, err = host.Exec(fmt.Sprintf("SET LOCAL deadlock_timeout = '30s'; INSERT INTO b VALUES (%d)", retries))
		require.NoError(t, err)
		done := make(chan error)
		go func() { done <- put(s, "a", record("1", `{"id":1}`)) }()
		eventually(t, db, "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'b'::regclass)")
		_, err = host.Exec(fmt.Sprintf("INSERT INTO a VALUES (%d)", 10+retries))
		require.NoError(t, err)
		require.NoError(t, host.Commit())
		if err = <-done; retries > 0 {
			require.NoError(t, err)
			continue
		}
		var e *pgconn.PgError
		require.ErrorAs(t, err, &e)
		require.Equal(t, "40P01", e.Code)
	}
}

func TestPostgresRollbackLeavesTheDatabaseAndTheConnectionAsTheyWere(t *testing.T) {
	testtime.NotForRace(t)
	db, _ := newPostgres(t, `CREATE TABLE servers (id text PRIMARY KEY, parent text REFERENCES servers); INSERT INTO servers VALUES ('s1', NULL), ('s2', 's1')`)
	db.SetMaxOpenConns(1)
	exec(t, db, "SET TimeZone = 'America/St_Johns'")
	s := pg(db, sqlstore.Table{Collection: "servers"})
	before := dump(t, s, "servers")
	change := func(ctx context.Context, w backup.Writer) error {
		return errors.Join(put1(t, w, "servers", record("s3", `{"id":"s3"}`)), w.Delete(ctx, "servers", []string{"s2"}))
	}
	failure := errors.New("failure")
	for name, run := range map[string]func(t *testing.T){
		"error": func(t *testing.T) {
			err := s.Update(t.Context(), func(w backup.Writer) error { return errors.Join(change(t.Context(), w), failure) })
			require.ErrorIs(t, err, failure)
		},
		"panic": func(t *testing.T) {
			require.PanicsWithValue(t, "oops", func() {
				_ = s.Update(t.Context(), func(w backup.Writer) error { require.NoError(t, change(t.Context(), w)); panic("oops") })
			})
		},
		"cancelled before the commit": func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			err := s.Update(ctx, func(w backup.Writer) error { defer cancel(); return change(ctx, w) })
			require.ErrorIs(t, err, context.Canceled)
		},
		"refused by the database": func(t *testing.T) {
			err := s.Update(t.Context(), func(w backup.Writer) error {
				require.NoError(t, change(t.Context(), w))
				return put1(t, w, "servers", record("s9", `{"id":"s9","parent":"nowhere"}`))
			})
			require.ErrorIs(t, err, backup.ErrDangling)
		},
		"error of a read that is not returned": func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			err := s.Update(t.Context(), func(w backup.Writer) error {
				require.NoError(t, change(t.Context(), w))
				for range w.(backup.Reader).Records(ctx, "servers") {
				}
				return nil
			})
			require.ErrorIs(t, err, context.Canceled)
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t)
			require.Equal(t, before, dump(t, s, "servers"))
		})
	}
	// A connection is closed when a query on it is cancelled.
	ctx, cancel := context.WithCancel(t.Context())
	require.ErrorIs(t, s.Update(ctx, func(w backup.Writer) error {
		require.NoError(t, change(ctx, w))
		cancel()
		return w.Put(ctx, "servers", []backup.Record{record("s4", `{"id":"s4"}`)})
	}), context.Canceled)
	require.Equal(t, before, dump(t, s, "servers"))
	require.NoError(t, s.Update(t.Context(), func(w backup.Writer) error { return change(t.Context(), w) }))
}

func TestPostgresErrorsSayWhatToDo(t *testing.T) {
	testtime.NotForRace(t)
	db, u := newPostgres(t, `CREATE TABLE a (id serial PRIMARY KEY); CREATE TABLE b (id text PRIMARY KEY); ALTER TABLE b ENABLE ROW LEVEL SECURITY;
		DROP ROLE IF EXISTS tomo_reader; CREATE ROLE tomo_reader LOGIN; GRANT SELECT, INSERT, UPDATE, DELETE ON a, b TO tomo_reader`)
	t.Cleanup(func() { exec(t, db, "DROP OWNED BY tomo_reader; DROP ROLE tomo_reader") })
	reader, err := sql.Open("pgx", strings.Replace(u, "postgres@", "tomo_reader@", 1))
	require.NoError(t, err)
	defer reader.Close()
	s := pg(reader, sqlstore.Table{Collection: "a"}, sqlstore.Table{Collection: "b"})

	_, err = tryDump(s, "b")
	require.ErrorContains(t, err, "row-level security", "rows that cannot be seen would be missing")
	require.ErrorContains(t, err, "check what is granted")
	err = put(s, "a", record("7", `{"id":7}`))
	require.ErrorContains(t, err, "set a sequence")
	require.ErrorContains(t, err, "check what is granted")
	exec(t, db, "GRANT SELECT, UPDATE ON SEQUENCE a_id_seq TO tomo_reader")
	require.NoError(t, put(s, "a", record("7", `{"id":7}`)), "no more is needed")

	exec(t, db, "ALTER ROLE tomo_reader SET default_transaction_read_only = on; ALTER ROLE tomo_reader SET lock_timeout = '50ms'")
	again, err := sql.Open("pgx", strings.Replace(u, "postgres@", "tomo_reader@", 1))
	require.NoError(t, err)
	defer again.Close()
	s.DB = again
	require.NoError(t, put(s, "a", record("8", `{"id":8}`)))
	tx, err := db.Begin()
	require.NoError(t, err)
	_, err = tx.Exec("INSERT INTO a VALUES (99)")
	require.NoError(t, err)
	require.ErrorContains(t, put(s, "a", record("9", `{"id":9}`)), "another transaction was in the way")
	require.NoError(t, tx.Rollback())

	gone, err := sql.Open("pgx", "postgres://postgres@/nowhere?host="+url.QueryEscape(t.TempDir()))
	require.NoError(t, err)
	defer gone.Close()
	require.ErrorContains(t, put(pg(gone, sqlstore.Table{Collection: "a"}), "a"), "connect to the database")
}

const benchSchemaPostgres = `CREATE TABLE servers (id text PRIMARY KEY, name text NOT NULL, host text NOT NULL, port integer NOT NULL DEFAULT 22, enabled boolean NOT NULL,
	load double precision, labels jsonb, note text, created_at text NOT NULL)`

func TestPostgresMemoryDoesNotDependOnTheData(t *testing.T) {
	testtime.NotForRace(t)
	n := testtime.Pick(t, 100_000, 300_000)
	from, _ := newPostgres(t, benchSchemaPostgres)
	to, _ := newPostgres(t, benchSchemaPostgres)
	exec(t, from, fmt.Sprintf(`INSERT INTO servers SELECT 'srv-'||lpad(i::text, 8, '0'), 'server number '||i, 'host-'||i||'.lab.example.org', 1024 + i %% 60000, i %% 2 = 0, i / 7.0,
		jsonb_build_object('rack', i %% 40, 'tags', jsonb_build_array('nas', 'backup')), 'A note of some words, as people write.', '2024-01-15 10:30:00' FROM generate_series(1, %d) i`, n))
	app := &backup.App{Name: "bench", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{{Name: "servers", Key: "/id"}}}
	file, err := os.Create(t.TempDir() + "/backup.json")
	require.NoError(t, err)
	defer file.Close()
	var most uint64
	watch := func(backup.Progress) {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		most = max(most, m.HeapAlloc)
	}
	runtime.GC()
	var start runtime.MemStats
	runtime.ReadMemStats(&start)
	_, err = app.Backup(t.Context(), file, pg(from, sqlstore.Table{Collection: "servers"}), backup.BackupOptions{Progress: watch})
	require.NoError(t, err)
	_, err = file.Seek(0, 0)
	require.NoError(t, err)
	s, err := backup.OpenSnapshot(t.Context(), file, backup.OpenOptions{Progress: watch})
	require.NoError(t, err)
	defer s.Close()
	report, err := app.Restore(t.Context(), s, pg(to, sqlstore.Table{Collection: "servers"}), backup.RestoreOptions{Strategy: backup.Replace, Progress: watch})
	require.NoError(t, err)
	require.EqualValues(t, n, report.Collections[0].Added)
	sum := "SELECT md5(string_agg(s::text, '' ORDER BY id)) FROM servers s"
	require.Equal(t, column(t, from, sum), column(t, to, sum))
	info, err := file.Stat()
	require.NoError(t, err)
	t.Logf("%d MB in the file, %d MB of memory, %v", info.Size()>>20, (most-start.HeapAlloc)>>20, report.Duration)
	require.Less(t, most-start.HeapAlloc, uint64(info.Size())*2/3)
}

func TestPostgresTomoMovesFromSQLiteAndBack(t *testing.T) {
	testtime.NotForRace(t)
	schema, err := os.ReadFile("../../examples/tomo/schema.sql")
	require.NoError(t, err)
	// user is a keyword there, and INTEGER too small for any number.
	db, _ := newPostgres(t, strings.NewReplacer("user  ", `"user" `, "INTEGER", "BIGINT").Replace(string(schema)))
	h := newHost(t, 500)
	lite := tomoStore(h.open(t))
	post := tomoStore(db)
	post.Dialect = sqlstore.PostgreSQL

	seal := backup.BackupOptions{Recipients: []backup.Recipient{plainKey{}}}
	move := func(from backup.DataSource, to backup.Sink) string {
		var file bytes.Buffer
		_, err := tomoApp.Backup(t.Context(), &file, from, seal)
		require.NoError(t, err)
		s, err := backup.OpenSnapshot(t.Context(), bytes.NewReader(file.Bytes()), backup.OpenOptions{Identities: []backup.Identity{plainKey{}}})
		require.NoError(t, err)
		defer s.Close()
		_, err = tomoApp.Restore(t.Context(), s, to, backup.RestoreOptions{Strategy: backup.Replace})
		require.NoError(t, err)
		return file.String()
	}
	move(lite, post)
	other := newHost(t, 3)
	move(post, tomoStore(other.open(t)))
	for _, c := range tomo.App("2.1.0").Collections {
		want := dump(t, lite, c.Name)
		if c.Optional {
			want = nil // not in a backup unless it is named
		}
		if c.Name != "settings" {
			require.Equal(t, want, dump(t, post, c.Name), c.Name)
		}
		if !c.Optional {
			require.Equal(t, dump(t, lite, c.Name), dump(t, tomoStore(other.open(t)), c.Name), c.Name)
		}
	}
}
