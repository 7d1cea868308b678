// Command bbolt is a host that keeps notes in a bbolt database. It backs them
// up to a file, loses some and gets them back. The file db.go has what is
// special about bbolt.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/kvstore"
)

var app = &backup.App{
	Name:          "notes",
	Version:       "1.0.0",
	SchemaVersion: 1,
	Collections: []backup.Collection{
		{Name: "notes", Key: "/id", Schema: []byte(`{"required":["id","text"],"properties":{"text":{"type":"string"}}}`)},
		{Name: "settings", Shape: backup.Map},
	},
}

func open(path string) (*bolt.DB, error) {
	return bolt.Open(path, 0o600, &bolt.Options{InitialMmapSize: 1 << 30})
}

func storeOf(db *bolt.DB) kvstore.Store {
	return kvstore.Store{
		DB:      boltDB{db},
		Buckets: []kvstore.Bucket{{Collection: "notes"}, {Collection: "settings"}},
	}
}

func main() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "bbolt-")
	check(err)
	defer os.RemoveAll(dir)
	db, err := open(filepath.Join(dir, "notes.db"))
	check(err)
	defer db.Close()
	set(db, "notes", "1", `{"id":"1","text":"buy milk"}`)
	set(db, "notes", "2", `{"id":"2","text":"call Ada"}`)
	set(db, "settings", "theme", `"dark"`)
	host := storeOf(db)

	file, err := os.Create(filepath.Join(dir, "notes.json"))
	check(err)
	manifest, err := app.Backup(ctx, file, host, backup.BackupOptions{})
	check(err)
	check(file.Sync())
	check(file.Close())
	fmt.Println("backed up:", manifest.Records)

	check(db.Update(func(tx *bolt.Tx) error { return tx.Bucket([]byte("notes")).Delete([]byte("1")) }))
	set(db, "notes", "2", `{"id":"2","text":"call nobody"}`)
	fmt.Println("damaged:  ", get(db, "notes", "2"))

	file, err = os.Open(file.Name())
	check(err)
	defer file.Close()
	snapshot, err := backup.OpenSnapshot(ctx, file, backup.OpenOptions{})
	check(err)
	defer snapshot.Close()
	report, err := app.Restore(ctx, snapshot, host, backup.RestoreOptions{Strategy: backup.Replace})
	check(err)
	for _, c := range report.Collections {
		fmt.Printf("restored:  %s: %d added, %d updated, %d unchanged\n", c.Name, c.Added, c.Updated, c.Unchanged)
	}
	fmt.Println("notes:    ", get(db, "notes", "1"), get(db, "notes", "2"))
}

// set and get are the host's own access to its data.
func set(db *bolt.DB, bucket, key, value string) {
	check(db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte(bucket))
		if err != nil {
			return err
		}
		return b.Put([]byte(key), []byte(value))
	}))
}

func get(db *bolt.DB, bucket, key string) (value string) {
	check(db.View(func(tx *bolt.Tx) error {
		value = string(tx.Bucket([]byte(bucket)).Get([]byte(key)))
		return nil
	}))
	return value
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
