package main

import (
	"context"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/tomo-project/backup/kvstore"
)

// boltDB makes a bbolt database a kvstore.DB. Open the database with an
// InitialMmapSize that it will never outgrow. Otherwise a writer that needs
// more waits for the end of every View, and a View lasts as long as a backup.
type boltDB struct{ *bolt.DB }

func (db boltDB) View(_ context.Context, read func(kvstore.Tx) error) error {
	return db.DB.View(func(tx *bolt.Tx) error { return read(boltTx{tx}) })
}

func (db boltDB) Update(_ context.Context, write func(kvstore.WriteTx) error) error {
	return db.DB.Update(func(tx *bolt.Tx) error { return write(boltTx{tx}) })
}

type boltTx struct{ *bolt.Tx }

func (tx boltTx) Get(bucket string, key []byte) (value []byte, ok bool, err error) {
	if b := tx.Bucket([]byte(bucket)); b != nil {
		value = b.Get(key)
	}
	return value, value != nil, nil
}

func (tx boltTx) Scan(bucket string, each func(key, value []byte) error) error {
	b := tx.Bucket([]byte(bucket))
	if b == nil {
		return nil
	}
	return b.ForEach(func(key, value []byte) error {
		if value == nil {
			return fmt.Errorf("bucket %q has another bucket in it, %q, which would not be in the backup", bucket, key)
		}
		return each(key, value)
	})
}

func (tx boltTx) Put(bucket string, key, value []byte) error {
	b, err := tx.CreateBucketIfNotExists([]byte(bucket))
	if err != nil {
		return err
	}
	return b.Put(key, value)
}

func (tx boltTx) Delete(bucket string, key []byte) error {
	if b := tx.Bucket([]byte(bucket)); b != nil {
		return b.Delete(key)
	}
	return nil
}
