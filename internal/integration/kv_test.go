package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/dgraph-io/badger/v4"
	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/testtime"
	"github.com/tomo-project/backup/kvstore"
)

// quietBadger are the options of a host, for one that says nothing.
func quietBadger(dir string) badger.Options {
	return badger.DefaultOptions(dir).WithLogger(nil).WithSyncWrites(true)
}

// A quietPebble says nothing.
type quietPebble struct{ pebble.Logger }

func (quietPebble) Infof(string, ...any) {}

// kvDatabases open the database in a folder.
var kvDatabases = map[string]func(dir string) (kvstore.DB, io.Closer, error){
	"badger": func(dir string) (kvstore.DB, io.Closer, error) {
		db, err := badger.Open(quietBadger(dir))
		return badgerDB{db}, db, err
	},
	"pebble": func(dir string) (kvstore.DB, io.Closer, error) {
		db, err := pebble.Open(dir, &pebble.Options{Logger: quietPebble{pebble.DefaultLogger}})
		return pebbleDB{db, new(sync.Mutex)}, db, err
	},
}

var kvApp = &backup.App{
	Name: "notes", Version: "1.0.0", SchemaVersion: 1,
	Collections: []backup.Collection{
		{Name: "notes", Key: "/id"},
		{Name: "note", Key: "/id"}, // its bucket is the beginning of another
		{Name: "settings", Shape: backup.Map},
		{Name: "members", Key: "/usr,/grp"},
	},
}

func kvStore(db kvstore.DB) kvstore.Store {
	return kvstore.Store{DB: db, Buckets: []kvstore.Bucket{{Collection: "notes"}, {Collection: "note"}, {Collection: "settings", Name: "config"}, {Collection: "members"}}}
}

func openKV(t *testing.T, name, dir string) kvstore.DB {
	db, closer, err := kvDatabases[name](dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, closer.Close()) })
	return db
}

func TestBadgerAndPebbleKeepTheRulesOfAStore(t *testing.T) {
	for name := range kvDatabases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			backuptest.TestStore(t, func(t *testing.T) backuptest.Store { return kvStore(openKV(t, name, testtime.MemoryDir(t))) }, backuptest.Fixture{
				Collections: []string{"notes", "note", "settings", "members"},
				App:         kvApp,
				Record: func(collection string, number, revision int) backup.Record {
					more := ""
					if revision == 0 {
						more = `,"more":[1.50,9007199254740993,null]`
					}
					if collection == "members" {
						return kvMember(strconv.Itoa(number/10), strconv.Itoa(number%10), more)
					}
					return record(fmt.Sprint("n", number), fmt.Sprintf(`{"id":"n%d"%s}`, number, more))
				},
				WithKey: func(collection, key string) backup.Record {
					if collection == "members" {
						return backup.Record{}
					}
					return record(key, fmt.Sprintf(`{"id":%s}`, quoted(key)))
				},
				WithParts: func(collection, first, second string) backup.Record {
					if collection != "members" {
						return backup.Record{}
					}
					return kvMember(first, second, "")
				},
			})
		})
	}
}

func kvMember(usr, grp, more string) backup.Record {
	return record(codec.JoinKey([]string{usr, grp}), fmt.Sprintf(`{"usr":%s,"grp":%s%s}`, codec.Quote(usr), codec.Quote(grp), more))
}

// A plan finds out that Badger would not take a restore, and says what to set.
func TestAPlanSaysWhatToSetIfARestoreIsTooBigForBadger(t *testing.T) {
	const records = 4000
	dir := t.TempDir()
	source := backuptest.MapStore{"notes": {}, "note": {}, "settings": {}, "members": {}}
	size := 0
	for i := range records {
		key, value := fmt.Sprint("n", i), fmt.Sprintf(`{"id":"n%d","text":%q}`, i, strings.Repeat("x", i%100))
		source["notes"][key] = value
		size += len("notes\x00") + len(key) + len(value)
	}
	var file bytes.Buffer
	_, err := kvApp.Backup(t.Context(), &file, source, backup.BackupOptions{})
	require.NoError(t, err)
	s, err := backup.OpenSnapshot(t.Context(), &file, backup.OpenOptions{})
	require.NoError(t, err)
	defer s.Close()
	open := func(memTable int64) *badger.DB {
		db, err := badger.Open(quietBadger(dir).WithValueThreshold(1 << 10).WithMemTableSize(memTable))
		require.NoError(t, err)
		return db
	}

	db := open(1 << 20)
	_, err = kvApp.Plan(t.Context(), s, kvStore(badgerDB{db}), backup.RestoreOptions{Strategy: backup.Replace})
	require.ErrorIs(t, err, badger.ErrTxnTooBig)
	require.ErrorContains(t, err, "open the database with a MemTableSize of 700 bytes for each record that is written or deleted plus 7 times the bytes of keys and values")
	require.ErrorContains(t, err, "bytes of keys and values in one transaction)")
	require.NoError(t, db.Close())

	db = open(int64(700*records + 7*size))
	defer db.Close()
	for _, options := range []backup.RestoreOptions{{Strategy: backup.Replace}, {Strategy: backup.Merge}} {
		plan, err := kvApp.Plan(t.Context(), s, kvStore(badgerDB{db}), options)
		require.NoError(t, err)
		_, err = plan.Apply(t.Context())
		require.NoError(t, err)
	}
	require.Equal(t, len(source["notes"]), kvCount(t, badgerDB{db}, "notes"))
	for i := range records { // and all of them go again
		delete(source["notes"], fmt.Sprint("n", i))
	}
	file.Reset()
	_, err = kvApp.Backup(t.Context(), &file, source, backup.BackupOptions{})
	require.NoError(t, err)
	none, err := backup.OpenSnapshot(t.Context(), &file, backup.OpenOptions{})
	require.NoError(t, err)
	defer none.Close()
	_, err = kvApp.Restore(t.Context(), none, kvStore(badgerDB{db}), backup.RestoreOptions{Strategy: backup.Replace})
	require.NoError(t, err)
	require.Zero(t, kvCount(t, badgerDB{db}, "notes"))
}

func kvCount(t *testing.T, db kvstore.DB, collection string) (n int) {
	require.NoError(t, kvStore(db).View(t.Context(), func(r backup.Reader) error {
		for _, err := range r.Records(t.Context(), collection) {
			if err != nil {
				return err
			}
			n++
		}
		return nil
	}))
	return n
}

// Badger finds a conflict at the commit: nobody's change is lost.
func TestARestoreIntoBadgerBeginsAgainAfterAConflict(t *testing.T) {
	ctx := t.Context()
	db := openKV(t, "badger", testtime.MemoryDir(t)).(badgerDB)
	runs := 0
	require.NoError(t, kvStore(db).Update(ctx, func(w backup.Writer) error {
		runs++
		found, err := w.Lookup(ctx, "notes", []string{"a"})
		require.NoError(t, err)
		require.Len(t, found, runs-1)
		if runs == 1 {
			require.NoError(t, db.DB.Update(func(tx *badger.Txn) error { return tx.Set(inBucket("notes", []byte("a")), []byte(`{"id":"a"}`)) }))
		}
		return w.Put(ctx, "notes", []backup.Record{record("b", `{"id":"b"}`)})
	}))
	require.Equal(t, 2, runs)
	require.Equal(t, 2, kvCount(t, db, "notes"))
}

const kvKilled = 300

// kvUpdateForever brings a database from each state to the next, until it is killed. In
// state n all records have the number n, and one more is there in odd states.
func kvUpdateForever(name, dir string) error {
	ctx := context.Background()
	db, _, err := kvDatabases[name](dir)
	if err != nil {
		return err
	}
	n, err := kvState(ctx, db)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for {
		n++
		err := kvStore(db).Update(ctx, func(w backup.Writer) error {
			var records []backup.Record
			for i := range kvKilled + n%2 {
				records = append(records, record(fmt.Sprint("n", i), fmt.Sprintf(`{"id":"n%d","n":%d}`, i, n)))
			}
			return errors.Join(
				w.Delete(ctx, "notes", []string{fmt.Sprint("n", kvKilled)}),
				w.Put(ctx, "notes", records),
				w.Put(ctx, "settings", []backup.Record{record("n", fmt.Sprint(n))}))
		})
		if err != nil {
			return err
		}
		fmt.Println("at", n)
	}
}

// kvState tells which state a database is in. It is an error if that is none.
func kvState(ctx context.Context, db kvstore.DB) (n int, err error) {
	return n, kvStore(db).View(ctx, func(r backup.Reader) error {
		for r, err := range r.Records(ctx, "settings") {
			if err != nil {
				return err
			}
			if n, err = strconv.Atoi(string(r.Value)); err != nil {
				return err
			}
		}
		count := 0
		for r, err := range r.Records(ctx, "notes") {
			if err != nil {
				return err
			}
			if count++; !strings.HasSuffix(string(r.Value), fmt.Sprintf(`"n":%d}`, n)) {
				return fmt.Errorf("state %d has the record %s", n, r.Value)
			}
		}
		if n > 0 && count != kvKilled+n%2 {
			return fmt.Errorf("state %d has %d records", n, count)
		}
		return nil
	})
}

func TestAKeyValueStoreThatIsKilledHasTheOldOrTheNewState(t *testing.T) {
	testtime.NotForRace(t)
	for name := range kvDatabases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := host{testtime.MemoryDir(t)}
			at := 0
			for range testtime.Pick(t, 6, 60) {
				p := startProcess(t, "update "+name, h, "")
				time.Sleep(time.Duration(rand.IntN(int(80 * time.Millisecond))))
				p.kill()
				said, err := io.ReadAll(p.out)
				require.NoError(t, err)
				_ = p.Wait()
				require.NotContains(t, string(said), "failed")
				// The last line may have been cut.
				lines := strings.Split(string(said), "\n")
				for _, line := range lines[:len(lines)-1] {
					_, err := fmt.Sscanf(line, "at %d", &at)
					require.NoError(t, err)
				}
				db, closer, err := kvDatabases[name](filepath.Clean(h.dir))
				require.NoError(t, err)
				n, err := kvState(t.Context(), db)
				require.NoError(t, err)
				require.GreaterOrEqual(t, n, at, "what was committed is there")
				require.LessOrEqual(t, n, at+1)
				at = n
				require.NoError(t, closer.Close())
			}
			t.Logf("%d states", at)
			require.Positive(t, at)
		})
	}
}
