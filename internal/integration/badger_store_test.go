package integration

import (
	"context"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/kvstore"
)

// badgerDB makes a Badger database a kvstore.DB. A bucket is a prefix, "notes\x00".
type badgerDB struct{ *badger.DB }

func (db badgerDB) View(_ context.Context, read func(kvstore.Tx) error) error {
	return db.DB.View(func(tx *badger.Txn) error { return read(badgerTx{tx, db.DB}) })
}

// Update begins again after a conflict with another writer. Badger reports that at the
// commit, and has then changed nothing.
func (db badgerDB) Update(ctx context.Context, write func(kvstore.WriteTx) error) error {
	for {
		err := db.DB.Update(func(tx *badger.Txn) error { return write(badgerTx{tx, db.DB}) })
		if !errors.Is(err, badger.ErrConflict) {
			return err
		}
		if over := ctx.Err(); over != nil {
			return fmt.Errorf("%w: %w: %w", backup.ErrRolledBack, over, err)
		}
	}
}

type badgerTx struct {
	*badger.Txn
	db *badger.DB
}

func inBucket(bucket string, key []byte) []byte { return append([]byte(bucket+"\x00"), key...) }

func (tx badgerTx) Get(bucket string, key []byte) ([]byte, bool, error) {
	item, err := tx.Txn.Get(inBucket(bucket, key))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	value, err := item.ValueCopy(nil)
	return value, err == nil, err
}

func (tx badgerTx) Scan(bucket string, each func(key, value []byte) error) error {
	prefix := inBucket(bucket, nil)
	options := badger.DefaultIteratorOptions
	options.Prefix = prefix
	it := tx.NewIterator(options)
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		key := it.Item().Key()[len(prefix):]
		if err := it.Item().Value(func(value []byte) error { return each(key, value) }); err != nil {
			return err
		}
	}
	return nil
}

func (tx badgerTx) Put(bucket string, key, value []byte) error {
	return tx.explain(tx.Set(inBucket(bucket, key), value))
}

func (tx badgerTx) Delete(bucket string, key []byte) error {
	return tx.explain(tx.Txn.Delete(inBucket(bucket, key)))
}

// explain says what to set if the changes do not fit in one transaction.
func (tx badgerTx) explain(err error) error {
	if errors.Is(err, badger.ErrTxnTooBig) {
		err = fmt.Errorf("%w: with MemTableSize %d a transaction has at most %d changes and %d bytes; open the database with a MemTableSize of 700 bytes for each record that is written or deleted plus 7 times the bytes of keys and values",
			err, tx.db.Opts().MemTableSize, tx.db.MaxBatchCount(), tx.db.MaxBatchSize())
	}
	return err
}
