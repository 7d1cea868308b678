package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/testtime"
	"github.com/tomo-project/backup/sqlstore"
	"github.com/tomo-project/backup/tomo"
)

func TestMariaDBBackupIsOnePointInTimeWhileEightWritersTransfer(t *testing.T) {
	db, _ := newMariaDB(t, `CREATE TABLE savings (id int PRIMARY KEY, cents int NOT NULL); CREATE TABLE checking (id int PRIMARY KEY, cents int NOT NULL);
		INSERT INTO savings SELECT seq, 1000 FROM seq_1_to_500; INSERT INTO checking SELECT * FROM savings`)
	s := my(db, sqlstore.Table{Collection: "savings"}, sqlstore.Table{Collection: "checking"})
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
				_, e1 := tx.Exec("UPDATE savings SET cents = cents - ? WHERE id = ?", amount, id)
				_, e2 := tx.Exec("UPDATE checking SET cents = cents + ? WHERE id = ?", amount, id)
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

func TestMariaDBUpdateKeepsOtherWritersOut(t *testing.T) {
	db, _ := newMariaDB(t, `CREATE TABLE a (id int PRIMARY KEY, n int NOT NULL, KEY (n)); INSERT INTO a VALUES (1, 0); CREATE TABLE other (id int PRIMARY KEY); CREATE TABLE bare (id int UNIQUE NOT NULL, n int UNIQUE); INSERT INTO bare VALUES (5, 5)`)
	s := my(db, sqlstore.Table{Collection: "a"})
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
				_, e := db.Exec("UPDATE a SET n = n + 1 WHERE id = 1")
				if err := errors.Join(err, e); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	require.Equal(t, []string{`1 {"id":1,"n":240}`}, dump(t, s, "a"))
	s.Tables = append(s.Tables, sqlstore.Table{Collection: "bare", Key: "id"})
	require.NoError(t, s.Update(ctx, func(backup.Writer) error {
		require.Len(t, dump(t, s, "a"), 1, "reading goes on")
		require.Equal(t, []string{"240"}, column(t, db, "SELECT n FROM a"))
		exec(t, db, "INSERT INTO other VALUES (1)")
		for _, change := range []string{"INSERT INTO a VALUES (0, 0)", "INSERT INTO a VALUES (99, 999)", "UPDATE a SET n = 3", "DELETE FROM a", "INSERT INTO bare VALUES (1, 1)", "INSERT INTO bare VALUES (9, NULL)", "DELETE FROM bare"} {
			_, err := db.Exec("SET STATEMENT innodb_lock_wait_timeout=0 FOR " + change)
			require.ErrorContains(t, err, "1205", change)
		}
		return nil
	}))
}

func TestMariaDBConnectionCutInTheMiddleOfARestoreChangesNothing(t *testing.T) {
	db, _ := newMariaDB(t, benchSchemaMariaDB)
	s := my(db, sqlstore.Table{Collection: "servers"})
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
					exec(t, db, "KILL "+column(t, db, "SELECT IS_USED_LOCK(CONCAT('sqlstore.', MD5(DATABASE())))")[0])
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

func TestMariaDBDeadlockIsReturnedAndRetriedByChoice(t *testing.T) {
	db, _ := newMariaDB(t, `CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY); CREATE TABLE big (id int PRIMARY KEY); INSERT INTO a VALUES (100); INSERT INTO b VALUES (100); INSERT INTO big SELECT seq FROM seq_1_to_1000`)
	s := my(db, sqlstore.Table{Collection: "a"}, sqlstore.Table{Collection: "b"})
	for _, retries := range []int{0, 1} {
		s.Retries = 5 * retries // the host may be in the way again
		// The host locks b, and wants a when the store waits for b. It has changed
		// more, so that it is not the victim.
		host, err := db.Begin()
		require.NoError(t, err)
		_, err = host.Exec("UPDATE big SET id = -id")
		require.NoError(t, err)
		_, err = host.Exec(fmt.Sprintf("INSERT INTO b VALUES (%d)", retries))
		require.NoError(t, err)
		done := make(chan error)
		go func() { done <- put(s, "a", record("1", `{"id":1}`)) }()
		eventually(t, db, "SELECT COUNT(*) > 0 FROM information_schema.PROCESSLIST WHERE DB = DATABASE() AND INFO LIKE '%`b` FORCE%' AND ID <> CONNECTION_ID()")
		time.Sleep(200 * time.Millisecond) // for it to wait
		_, err = host.Exec(fmt.Sprintf("INSERT INTO a VALUES (%d)", 10+retries))
		require.NoError(t, err)
		require.NoError(t, host.Commit())
		if err = <-done; retries > 0 {
			require.NoError(t, err)
			continue
		}
		var e *mysql.MySQLError
		require.ErrorAs(t, err, &e)
		require.EqualValues(t, 1213, e.Number)
		require.ErrorContains(t, err, "set Store.Retries")
		require.Equal(t, []string{"10", "100"}, column(t, db, "SELECT id FROM a"))
	}
	require.Equal(t, []string{"1", "10", "11", "100"}, column(t, db, "SELECT id FROM a"))
}

func TestMariaDBDeadlockInTheMiddleLeavesNothing(t *testing.T) {
	db, _ := newMariaDB(t, `CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE log (id int AUTO_INCREMENT PRIMARY KEY); CREATE TABLE x (id int PRIMARY KEY, n int); INSERT INTO x VALUES (1, 0), (2, 0);
		CREATE TRIGGER fail AFTER INSERT ON a FOR EACH ROW BEGIN IF NEW.id % 3 = 0 THEN SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213; END IF; END`)
	s := my(db, sqlstore.Table{Collection: "a"})
	ctx := t.Context()
	calls := 0
	s.Retries = 2
	err := s.Update(ctx, func(w backup.Writer) error {
		calls++
		if err := put1(t, w, "a", record("1", `{"id":1}`)); err != nil {
			return err
		}
		_ = put1(t, w, "a", record("3", `{"id":3}`))
		_ = put1(t, w, "a", record("4", `{"id":4}`))
		return nil
	})
	var e *mysql.MySQLError
	require.ErrorAs(t, err, &e)
	require.Equal(t, 3, calls)
	require.Empty(t, dump(t, s, "a"))
	failure := errors.New("failure")
	calls = 0
	require.ErrorIs(t, s.Update(ctx, func(backup.Writer) error { calls++; return failure }), failure)
	require.Equal(t, 1, calls, "nothing else is retried")
}

func TestMariaDBRollbackLeavesTheDatabaseAndTheConnectionAsTheyWere(t *testing.T) {
	testtime.NotForRace(t)
	db, _ := newMariaDB(t, `CREATE TABLE servers (id varchar(9) PRIMARY KEY, parent varchar(9) REFERENCES servers (id)); INSERT INTO servers VALUES ('s1', NULL), ('s2', 's1')`)
	db.SetMaxOpenConns(1)
	exec(t, db, "SET time_zone = '-03:30'; SET foreign_key_checks = 1; SET sql_mode = ''")
	s := my(db, sqlstore.Table{Collection: "servers"})
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
			require.Equal(t, []string{"-03:30 1 1 "}, column(t, db, "SELECT concat_ws(' ', @@time_zone, @@foreign_key_checks + 0, @@autocommit + 0, @@sql_mode)"))
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
	require.Equal(t, []string{"1 1"}, column(t, db, "SELECT concat_ws(' ', @@foreign_key_checks + 0, @@autocommit + 0)"))
	require.NoError(t, s.Update(t.Context(), func(w backup.Writer) error { return change(t.Context(), w) }))
	_, err := db.Exec("INSERT INTO servers VALUES ('x', 'nowhere')")
	require.ErrorContains(t, err, "foreign key constraint fails")
}

func TestMariaDBErrorsSayWhatToDo(t *testing.T) {
	testtime.NotForRace(t)
	db, config := newMariaDB(t, `CREATE TABLE a (id int PRIMARY KEY, v longblob, j json); CREATE TABLE c (id int PRIMARY KEY, a int REFERENCES a (id));
		CREATE OR REPLACE USER tomo_reader@'%' IDENTIFIED BY ''`)
	exec(t, db, "GRANT SELECT ON "+config.DBName+".* TO tomo_reader@'%'")
	t.Cleanup(func() { exec(t, db, "DROP USER tomo_reader@'%'") })
	limited := config.Clone()
	limited.User, limited.Passwd = "tomo_reader", ""
	s := my(openMariaDB(t, limited), sqlstore.Table{Collection: "a"})
	require.Empty(t, dump(t, s, "a"), "to read takes no more than SELECT")
	require.ErrorContains(t, put(s, "a", record("7", `{"id":7}`)), "check what is granted")
	exec(t, db, "GRANT SELECT, INSERT, UPDATE, DELETE ON "+config.DBName+".a TO tomo_reader@'%'")
	require.NoError(t, put(s, "a", record("7", `{"id":7,"j":[1]}`)), "no more is needed")
	require.Equal(t, []string{`7 {"id":7,"v":null,"j":[1]}`}, dump(t, s, "a"))
	exec(t, db, "INSERT INTO c VALUES (1, 7)")
	require.ErrorIs(t, s.Update(t.Context(), func(w backup.Writer) error { return w.Delete(t.Context(), "a", []string{"7"}) }), backup.ErrDangling)

	tx, err := db.Begin()
	require.NoError(t, err)
	_, err = tx.Exec("INSERT INTO a (id) VALUES (99)")
	require.NoError(t, err)
	waits := config.Clone()
	waits.Params = map[string]string{"innodb_lock_wait_timeout": "1"}
	require.NoError(t, waits.Apply())
	s = my(openMariaDB(t, waits), sqlstore.Table{Collection: "a"})
	require.ErrorContains(t, put(s, "a", record("9", `{"id":9}`)), "another transaction was in the way")
	require.NoError(t, tx.Rollback())
	require.NoError(t, s.Update(t.Context(), func(backup.Writer) error {
		require.ErrorContains(t, put(s, "a", record("9", `{"id":9}`)), "another store")
		return nil
	}))

	gone := config.Clone()
	gone.Addr = t.TempDir() + "/nowhere"
	require.ErrorContains(t, put(my(openMariaDB(t, gone), sqlstore.Table{Collection: "a"}), "a"), "connect to the database")
}

func TestMariaDBStatementsFitIntoAPacket(t *testing.T) {
	testtime.NotForRace(t)
	db, config := newMariaDB(t, `CREATE TABLE a (id int PRIMARY KEY, v longblob, t longtext)`)
	old := column(t, db, "SELECT @@GLOBAL.max_allowed_packet")[0]
	exec(t, db, "SET GLOBAL max_allowed_packet = 1048576")
	defer exec(t, db, "SET GLOBAL max_allowed_packet = "+old)
	fresh := openMariaDB(t, config)
	s := my(fresh, sqlstore.Table{Collection: "a"})
	var records []backup.Record
	for i := range 100 {
		records = append(records, record(fmt.Sprint(i), fmt.Sprintf(`{"id":%d,"v":"%s","t":"%s"}`, i, strings.Repeat("AAAA", 10_000), strings.Repeat("é", 40_000))))
	}
	records = append(records, record("100", fmt.Sprintf(`{"id":100,"v":null,"t":"%s"}`, strings.Repeat("x", 700_000))))
	require.NoError(t, put(s, "a", records...))
	got := dump(t, s, "a")
	require.Len(t, got, 101)
	for i, r := range records {
		require.Equal(t, r.Key+" "+string(r.Value), got[i])
	}
	err := put(s, "a", record("1000", `{"id":1000}`), record("1001", fmt.Sprintf(`{"id":1001,"t":"%s"}`, strings.Repeat("x", 2_000_000))))
	require.ErrorContains(t, err, `a "1001": `)
	require.ErrorContains(t, err, "raise max_allowed_packet")
	require.Len(t, dump(t, s, "a"), 101)
}

const benchSchemaMariaDB = `CREATE TABLE servers (id varchar(64) PRIMARY KEY, name text NOT NULL, host text NOT NULL, port integer NOT NULL DEFAULT 22, enabled boolean NOT NULL,
	` + "`load`" + ` double, labels json, note text, created_at text NOT NULL)`

func TestMariaDBMemoryDoesNotDependOnTheData(t *testing.T) {
	testtime.NotForRace(t)
	n := testtime.Pick(t, 100_000, 300_000)
	from, _ := newMariaDB(t, benchSchemaMariaDB)
	to, _ := newMariaDB(t, benchSchemaMariaDB)
	exec(t, from, fmt.Sprintf(`INSERT INTO servers SELECT concat('srv-', lpad(seq, 8, '0')), concat('server number ', seq), concat('host-', seq, '.lab.example.org'), 1024 + seq %% 60000, seq %% 2 = 0, seq / 7e0,
		concat('{"rack":', seq %% 40, ',"tags":["nas","backup"]}'), 'A note of some words, as people write.', '2024-01-15 10:30:00' FROM seq_1_to_%d`, n))
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
	_, err = app.Backup(t.Context(), file, my(from, sqlstore.Table{Collection: "servers"}), backup.BackupOptions{Progress: watch})
	require.NoError(t, err)
	_, err = file.Seek(0, 0)
	require.NoError(t, err)
	s, err := backup.OpenSnapshot(t.Context(), file, backup.OpenOptions{Progress: watch})
	require.NoError(t, err)
	defer s.Close()
	report, err := app.Restore(t.Context(), s, my(to, sqlstore.Table{Collection: "servers"}), backup.RestoreOptions{Strategy: backup.Replace, Progress: watch})
	require.NoError(t, err)
	require.EqualValues(t, n, report.Collections[0].Added)
	sum := "SELECT BIT_XOR(CONV(LEFT(MD5(CONCAT_WS('|', id, name, host, port, enabled, `load`, labels, note, created_at)), 16), 16, 10)) FROM servers"
	require.Equal(t, column(t, from, sum), column(t, to, sum))
	info, err := file.Stat()
	require.NoError(t, err)
	t.Logf("%d MB in the file, %d MB of memory, %v", info.Size()>>20, (most-start.HeapAlloc)>>20, report.Duration)
	require.Less(t, most-start.HeapAlloc, uint64(info.Size())*2/3)
}

func TestMariaDBTomoMovesFromSQLiteAndBack(t *testing.T) {
	testtime.NotForRace(t)
	schema, err := os.ReadFile("../../examples/tomo/schema.sql")
	require.NoError(t, err)
	// key is a keyword there, text has no room for a key, and INTEGER is too small
	// for any number.
	const key = "VARCHAR(191) COLLATE utf8mb4_nopad_bin"
	maria := strings.NewReplacer("key   TEXT PRIMARY KEY", "`key` "+key+" PRIMARY KEY", "INTEGER", "BIGINT", " DEFERRABLE INITIALLY DEFERRED", "", "BOOLEAN NOT NULL DEFAULT TRUE", "BOOLEAN NOT NULL DEFAULT 1").Replace(string(schema))
	maria = regexp.MustCompile(`TEXT( NOT NULL)? REFERENCES`).ReplaceAllString(maria, key+"$1 REFERENCES")
	maria = regexp.MustCompile(`TEXT( NOT NULL)? UNIQUE`).ReplaceAllString(maria, key+"$1 UNIQUE")
	maria = strings.ReplaceAll(strings.ReplaceAll(maria, "TEXT PRIMARY KEY", key+" PRIMARY KEY"), "TEXT", "LONGTEXT")
	db, _ := newMariaDB(t, strings.TrimSuffix(strings.TrimSpace(maria), ";"))
	h := newHost(t, 500)
	lite := tomoStore(h.open(t))
	mariadb := tomoStore(db)
	mariadb.Dialect = sqlstore.MariaDB

	seal := backup.BackupOptions{Recipients: []backup.Recipient{plainKey{}}}
	move := func(from backup.DataSource, to backup.Sink) {
		var file bytes.Buffer
		_, err := tomoApp.Backup(t.Context(), &file, from, seal)
		require.NoError(t, err)
		s, err := backup.OpenSnapshot(t.Context(), bytes.NewReader(file.Bytes()), backup.OpenOptions{Identities: []backup.Identity{plainKey{}}})
		require.NoError(t, err)
		defer s.Close()
		_, err = tomoApp.Restore(t.Context(), s, to, backup.RestoreOptions{Strategy: backup.Replace})
		require.NoError(t, err)
	}
	move(lite, mariadb)
	other := newHost(t, 3)
	move(mariadb, tomoStore(other.open(t)))
	for _, c := range tomo.App("2.1.0").Collections {
		want := dump(t, lite, c.Name)
		if c.Optional {
			want = nil // not in a backup unless it is named
		}
		require.Equal(t, want, dump(t, mariadb, c.Name), c.Name)
		if !c.Optional {
			require.Equal(t, want, dump(t, tomoStore(other.open(t)), c.Name), c.Name)
		}
	}
}
