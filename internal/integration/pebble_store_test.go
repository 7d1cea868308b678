package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/kvstore"
)

// pebbleDB makes a Pebble database a kvstore.DB. A bucket is a prefix, "notes\x00".
// Pebble has no transactions: a batch sees its own changes and is written in one step, but
// it also sees what others write meanwhile, and overwrites it. So the host holds the lock
// for each of its own changes.
type pebbleDB struct {
	*pebble.DB
	writing *sync.Mutex
}

func (db pebbleDB) View(_ context.Context, read func(kvstore.Tx) error) error {
	snapshot := db.NewSnapshot()
	defer snapshot.Close()
	return read(pebbleTx{Reader: snapshot})
}

func (db pebbleDB) Update(ctx context.Context, write func(kvstore.WriteTx) error) error {
	db.writing.Lock()
	defer db.writing.Unlock()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", backup.ErrRolledBack, err)
	}
	batch := db.NewIndexedBatch()
	defer batch.Close()
	if err := write(pebbleTx{batch, batch}); err != nil {
		return err
	}
	return batch.Commit(pebble.Sync)
}

type pebbleTx struct {
	pebble.Reader
	batch *pebble.Batch // nil in a View
}

func (tx pebbleTx) Get(bucket string, key []byte) ([]byte, bool, error) {
	value, closer, err := tx.Reader.Get(inBucket(bucket, key))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	value = bytes.Clone(value)
	return value, true, closer.Close()
}

func (tx pebbleTx) Scan(bucket string, each func(key, value []byte) error) error {
	prefix := inBucket(bucket, nil)
	it, err := tx.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: []byte(bucket + "\x01")})
	if err != nil {
		return err
	}
	for it.First(); it.Valid(); it.Next() {
		if err := each(it.Key()[len(prefix):], it.Value()); err != nil {
			return errors.Join(err, it.Close())
		}
	}
	return it.Close() // also with the error of an iteration that ended early
}

func (tx pebbleTx) Put(bucket string, key, value []byte) error {
	return tx.batch.Set(inBucket(bucket, key), value, nil)
}

func (tx pebbleTx) Delete(bucket string, key []byte) error {
	return tx.batch.Delete(inBucket(bucket, key), nil)
}
