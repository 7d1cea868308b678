package kvstore_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log"
	"maps"
	"slices"
	"strconv"
	"sync"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/kvstore"
)

// A memory is a key-value store: bucket → key → value.
type memory struct {
	mu   sync.Mutex // held by the one who writes
	data map[string]map[string]string
}

func (m *memory) View(_ context.Context, read func(kvstore.Tx) error) error {
	m.mu.Lock()
	data := maps.Clone(m.data) // whose maps are replaced and never changed
	m.mu.Unlock()
	return read(transaction(data))
}

func (m *memory) Update(_ context.Context, write func(kvstore.WriteTx) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	data := map[string]map[string]string{}
	for name, bucket := range m.data {
		data[name] = maps.Clone(bucket)
	}
	if err := write(transaction(data)); err != nil {
		return err
	}
	m.data = data
	return nil
}

type transaction map[string]map[string]string

func (tx transaction) Get(bucket string, key []byte) ([]byte, bool, error) {
	value, ok := tx[bucket][string(key)]
	return []byte(value), ok, nil
}

func (tx transaction) Scan(bucket string, each func(key, value []byte) error) error {
	for _, key := range slices.Sorted(maps.Keys(tx[bucket])) {
		if err := each([]byte(key), []byte(tx[bucket][key])); err != nil {
			return err
		}
	}
	return nil
}

func (tx transaction) Put(bucket string, key, value []byte) error {
	if tx[bucket] == nil {
		tx[bucket] = map[string]string{}
	}
	tx[bucket][string(key)] = string(value)
	return nil
}

func (tx transaction) Delete(bucket string, key []byte) error {
	delete(tx[bucket], string(key))
	return nil
}

func Example() {
	ctx := context.Background()
	app := &backup.App{
		Name: "demo", Version: "1.0.0", SchemaVersion: 1,
		Collections: []backup.Collection{
			{Name: "servers", Key: "/id"},
			{Name: "settings", Shape: backup.Map},
		},
	}
	host := &memory{data: map[string]map[string]string{
		"servers": {"a1": `{"id":"a1","name":"nas"}`, "b2": `{"id":"b2","name":"pi"}`},
		"config":  {"theme": `"dark"`},
	}}
	store := kvstore.Store{
		DB:      host,
		Buckets: []kvstore.Bucket{{Collection: "servers"}, {Collection: "settings", Name: "config"}},
	}

	var file bytes.Buffer
	manifest, err := app.Backup(ctx, &file, store, backup.BackupOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("backed up:", manifest.Records)

	host.data = nil // all is lost
	snapshot, err := backup.OpenSnapshot(ctx, &file, backup.OpenOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer snapshot.Close()
	if _, err := app.Restore(ctx, snapshot, store, backup.RestoreOptions{}); err != nil {
		log.Fatal(err)
	}
	fmt.Println("restored: ", host.data["servers"]["b2"], host.data["config"]["theme"])
	// Output:
	// backed up: map[servers:2 settings:1]
	// restored:  {"id":"b2","name":"pi"} "dark"
}

// Many hosts number their records and store the number in 8 bytes, so that the
// store keeps them in order. In the backup the key is the number.
func ExampleCodec() {
	numbers := kvstore.Codec{
		Encode: func(text []byte) ([]byte, error) {
			n, err := strconv.ParseUint(string(text), 10, 64)
			return binary.BigEndian.AppendUint64(nil, n), err
		},
		Decode: func(stored []byte) ([]byte, error) {
			if len(stored) != 8 {
				return nil, fmt.Errorf("a key of %d bytes", len(stored))
			}
			return strconv.AppendUint(nil, binary.BigEndian.Uint64(stored), 10), nil
		},
	}
	host := &memory{data: map[string]map[string]string{
		"notes": {"\x00\x00\x00\x00\x00\x00\x00\x09": `{"id":9}`, "\x00\x00\x00\x00\x00\x00\x01\x00": `{"id":256}`},
	}}
	store := kvstore.Store{DB: host, Buckets: []kvstore.Bucket{{Collection: "notes", Key: numbers}}}

	ctx := context.Background()
	err := store.View(ctx, func(r backup.Reader) error {
		for record, err := range r.Records(ctx, "notes") {
			if err != nil {
				return err
			}
			fmt.Println(record.Key, string(record.Value))
		}
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// 9 {"id":9}
	// 256 {"id":256}
}
