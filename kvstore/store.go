// Package kvstore backs up and restores collections that a host keeps in a
// key-value store such as bbolt, Badger or Pebble. The host implements [DB] in
// a few lines: how a transaction of its store gets, puts, deletes and scans.
// The folder examples/bbolt of this repository does so for bbolt. A [Store]
// does the rest:
//
//	store := kvstore.Store{
//		DB: boltDB{db},
//		Buckets: []kvstore.Bucket{
//			{Collection: "servers"},
//			{Collection: "settings", Name: "config"},
//		},
//	}
//
// # Keys and values
//
// An entry of a bucket is a record. The key of the entry, as text, is the key
// of the record. The value is JSON. In a List collection the value must also
// contain the key, or its parts, as members. If keys or values are stored in
// another form (numbers of 8 bytes, protobuf, encrypted), a [Codec] of the
// bucket converts them. A record that would not survive the conversion and back
// is refused.
//
// Records come in the order of the stored keys.
//
// # What the stores need
//
// A restore is one transaction, and so is the trial of a plan.
//
//   - bbolt: open it with an InitialMmapSize that it will never outgrow. Otherwise a
//     writer that needs more waits until a backup has ended.
//   - Badger limits a transaction to 15 % of Options.MemTableSize: with the default of
//     64 MiB to 10 MB, and to 104,857 changes. What is more fails with "Txn is too big",
//     in a plan already. Set 700 bytes for each record that a restore may write or
//     delete, plus 7 times the bytes of keys and values. Update begins again after
//     ErrConflict.
//   - Pebble has no transactions, but batches that are one step: the host and Update
//     take turns with a lock. A batch is in memory, and has at most 4 GiB.
//
// This repository has a DB for Badger and one for Pebble, to be copied:
// internal/integration/badger_store_test.go and
// internal/integration/pebble_store_test.go.
package kvstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/fault"
)

// A DB is a key-value store, as a [Store] needs it. Both methods call their
// function with a transaction, and return the error of the function.
//
//   - View calls read once. Its transaction shows one point in time of all
//     buckets, while others go on writing.
//   - Update commits if and only if write returns nil. It returns nil only if
//     the commit succeeded. If write returns an error or panics, it rolls back.
//     It may call write again with a new transaction, if the store needs that.
//     If the commit fails and Update knows that nothing was changed, its error
//     wraps [backup.ErrRolledBack]. Without that, a restore is uncertain.
type DB interface {
	View(ctx context.Context, read func(Tx) error) error
	Update(ctx context.Context, write func(WriteTx) error) error
}

// A Tx is a transaction of a [DB]. A bucket is what keeps kinds of data apart
// in the store: a bucket, a prefix or a column family. A bucket that does not
// exist is empty.
//
// What Get returns, and what Scan passes to each, belongs to the transaction.
// It is valid until the next call of a method, or until each returns. The
// caller does not change it.
type Tx interface {
	// Get returns the value of key. ok is false if there is none.
	Get(bucket string, key []byte) (value []byte, ok bool, err error)

	// Scan calls each for every entry of the bucket, in the byte order of the
	// keys. It stops at the first error of each, and returns it.
	Scan(bucket string, each func(key, value []byte) error) error
}

// A WriteTx is a transaction that changes a [DB]. It sees its own changes. Put
// and Delete are never called during a Scan.
type WriteTx interface {
	Tx

	// Put inserts or overwrites an entry. It makes the bucket if that does not
	// exist. It may keep the memory of key and value. Neither of them is nil, but
	// each may be empty. If the transaction cannot hold more, the error says what to
	// set: it is the error of the plan.
	Put(bucket string, key, value []byte) error

	// Delete removes an entry. It is no error if there is no such entry.
	Delete(bucket string, key []byte) error
}

// A Store is a [backup.DataSource] and a [backup.Sink] over the buckets of a
// key-value store. It has no state of its own, and is as safe for concurrent
// use as its DB. A collection without a Bucket is an error.
type Store struct {
	DB      DB
	Buckets []Bucket
}

// A Bucket says which bucket holds a collection, and in which form.
type Bucket struct {
	// Collection is the name of the collection.
	Collection string

	// Name is the name of the bucket. Empty means the name of the collection.
	Name string

	// Key converts between the text of a key and its stored form. The zero
	// value stores the text unchanged; then a stored key that is not UTF-8 is
	// an error.
	Key Codec

	// Value converts between the JSON of a value and its stored form. The zero
	// value stores the JSON unchanged.
	Value Codec
}

// A Codec converts between a key or value of a record and its stored form. Set
// both functions or none. They must be pure. They must not keep or change their
// argument, nor quote it in their errors: it may be secret.
//
// Each Put decodes what it has encoded. If the key is not the same, or the
// value not equal, that is an error and the transaction is rolled back. Values
// are equal if they differ only in white space, the order of members and the
// form of numbers.
type Codec struct {
	Encode func(plain []byte) (stored []byte, err error)
	Decode func(stored []byte) (plain []byte, err error)
}

var (
	_ backup.DataSource = Store{}
	_ backup.Sink       = Store{}
)

// View calls read with a Reader, in one View of the DB.
func (s Store) View(ctx context.Context, read func(backup.Reader) error) error {
	buckets, err := s.buckets(ctx)
	if err = cmp.Or(err, fault.Missing("the function read", read)); err != nil {
		return err
	}
	return s.DB.View(ctx, func(tx Tx) error {
		if err := fault.Missing("the Tx of the DB", tx); err != nil {
			return err
		}
		v := &view{tx: tx, buckets: buckets}
		defer v.end()
		return read(v)
	})
}

// Update calls write with a Writer, in one Update of the DB. It calls write
// again if the DB calls its function again.
func (s Store) Update(ctx context.Context, write func(backup.Writer) error) error {
	buckets, err := s.buckets(ctx)
	if err = cmp.Or(err, fault.Missing("the function write", write)); err != nil {
		return err
	}
	return s.DB.Update(ctx, func(tx WriteTx) error {
		if err := fault.Missing("the WriteTx of the DB", tx); err != nil {
			return err
		}
		w := &writer{view: view{tx: tx, buckets: buckets}, tx: tx}
		defer w.end()
		if err := write(w); err != nil {
			return err
		}
		// A call that failed may have changed a part.
		return fault.RolledBack(cmp.Or(w.failed, ctx.Err()))
	})
}

// buckets checks the declaration. It returns the Buckets by collection.
func (s Store) buckets(ctx context.Context) (map[string]Bucket, error) {
	if fault.IsNil(s.DB) {
		return nil, errors.New("kvstore: a Store needs a DB")
	}
	buckets := make(map[string]Bucket, len(s.Buckets))
	for _, b := range s.Buckets {
		if b.Name == "" {
			b.Name = b.Collection
		}
		_, taken := buckets[b.Collection]
		switch {
		case b.Collection == "":
			return nil, errors.New("kvstore: a Bucket without Collection")
		case taken:
			return nil, fmt.Errorf("kvstore: two buckets of the collection %q", b.Collection)
		case !b.Key.whole() || !b.Value.whole():
			return nil, fmt.Errorf("kvstore: collection %q: a Codec needs both Encode and Decode, or none", b.Collection)
		}
		buckets[b.Collection] = b
	}
	return buckets, ctx.Err()
}
