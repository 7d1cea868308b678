package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/kvstore"
)

func newDB(t *testing.T) *bolt.DB {
	db, err := open(filepath.Join(t.TempDir(), "notes.db"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

func TestABoltDatabaseKeepsTheRulesOfAStore(t *testing.T) {
	backuptest.TestStore(t, func(t *testing.T) backuptest.Store { return storeOf(newDB(t)) }, backuptest.Fixture{
		Collections: []string{"notes", "settings"},
		App:         app,
		Record: func(collection string, number, revision int) backup.Record {
			more := ""
			if revision == 0 {
				more = `,"more":[1.50,9007199254740993,null]`
			}
			if collection == "settings" {
				return record(fmt.Sprint("s", number), fmt.Sprintf(`{"n":%d%s}`, number, more))
			}
			return record(fmt.Sprint("n", number), fmt.Sprintf(`{"id":"n%d","text":"a note"%s}`, number, more))
		},
		WithKey: func(collection, key string) backup.Record {
			quoted, err := json.Marshal(key)
			require.NoError(t, err)
			if collection == "settings" {
				return record(key, string(quoted))
			}
			return record(key, fmt.Sprintf(`{"id":%s,"text":""}`, quoted))
		},
	})
}

func record(key, value string) backup.Record {
	return backup.Record{Key: key, Value: json.RawMessage(value)}
}

// A host that moves a sum from one account to another never has more or less of
// it, and so has none of its backups.
func TestABackupIsOnePointInTimeWhileTheHostGoesOnWriting(t *testing.T) {
	db := newDB(t)
	const accounts, each = 200, 100
	for i := range accounts {
		setAccount(db, map[int]int{i: each})
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	moved := make(chan int, 1)
	go func() {
		n := 0
		for ; ctx.Err() == nil; n++ {
			from, to := n%accounts, (n*7+1)%accounts
			if from != to {
				setAccount(db, map[int]int{from: account(db, from) - 1, to: account(db, to) + 1})
			}
		}
		moved <- n
	}()
	for range 20 {
		var file bytes.Buffer
		_, err := app.Backup(t.Context(), &file, storeOf(db), backup.BackupOptions{})
		require.NoError(t, err)
		require.Equal(t, accounts*each, sum(t, &file))
	}
	stop()
	require.Positive(t, <-moved, "nothing was written meanwhile")
}

func account(db *bolt.DB, i int) int {
	var note struct{ Balance int }
	check(json.Unmarshal([]byte(get(db, "notes", fmt.Sprint(i))), &note))
	return note.Balance
}

func setAccount(db *bolt.DB, balances map[int]int) {
	check(db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte("notes"))
		if err != nil {
			return err
		}
		for i, balance := range balances {
			text := fmt.Sprintf(`{"id":"%d","text":"account","balance":%d}`, i, balance)
			if err := b.Put(fmt.Append(nil, i), []byte(text)); err != nil {
				return err
			}
		}
		return nil
	}))
}

func sum(t *testing.T, file io.Reader) (total int) {
	s, err := backup.OpenSnapshot(t.Context(), file, backup.OpenOptions{})
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, s.View(t.Context(), func(r backup.Reader) error {
		for r, err := range r.Records(t.Context(), "notes") {
			if err != nil {
				return err
			}
			var note struct{ Balance int }
			if err := json.Unmarshal(r.Value, &note); err != nil {
				return err
			}
			total += note.Balance
		}
		return nil
	}))
	return total
}

func TestABucketInsideABucketIsNotLeftOutInSilence(t *testing.T) {
	db := newDB(t)
	require.NoError(t, db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucket([]byte("notes"))
		if err != nil {
			return err
		}
		_, err = b.CreateBucket([]byte("inner"))
		return err
	}))
	_, err := app.Backup(t.Context(), io.Discard, storeOf(db), backup.BackupOptions{})
	require.ErrorContains(t, err, `bucket "notes" has another bucket in it, "inner"`)
}

// A Codec may return nil for what is empty. A restore reads back in its transaction what
// it wrote.
func TestAnEmptyStoredFormIsARecordInItsTransactionToo(t *testing.T) {
	db := newDB(t)
	s := storeOf(db)
	s.Buckets[1].Value = kvstore.Codec{
		Encode: func(plain []byte) ([]byte, error) {
			if string(plain) == "null" {
				return nil, nil
			}
			return plain, nil
		},
		Decode: func(stored []byte) ([]byte, error) {
			if len(stored) == 0 {
				return []byte("null"), nil
			}
			return stored, nil
		},
	}
	var file bytes.Buffer
	_, err := app.Backup(t.Context(), &file, backuptest.MapStore{"notes": {}, "settings": {"theme": "null"}}, backup.BackupOptions{})
	require.NoError(t, err)
	snapshot, err := backup.OpenSnapshot(t.Context(), &file, backup.OpenOptions{})
	require.NoError(t, err)
	defer snapshot.Close()
	for _, added := range []int64{1, 0} {
		report, err := app.Restore(t.Context(), snapshot, s, backup.RestoreOptions{Strategy: backup.Replace})
		require.NoError(t, err)
		require.Empty(t, report.Warnings)
		require.Equal(t, added, report.Collections[1].Added)
	}
}

func TestTheExampleRestoresWhatWasLost(t *testing.T) {
	require.Equal(t, `backed up: map[notes:2 settings:1]
damaged:   {"id":"2","text":"call nobody"}
restored:  notes: 1 added, 1 updated, 0 unchanged
restored:  settings: 0 added, 0 updated, 1 unchanged
notes:     {"id":"1","text":"buy milk"} {"id":"2","text":"call Ada"}
`, output(t, main))
}

// output returns what f prints.
func output(t *testing.T, f func()) string {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	stdout := os.Stdout
	os.Stdout = w
	defer func() { os.Stdout = stdout }()
	printed := make(chan []byte)
	go func() {
		text, _ := io.ReadAll(r)
		printed <- text
	}()
	f()
	require.NoError(t, w.Close())
	return string(<-printed)
}
