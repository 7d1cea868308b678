// Package kvstore backs up and restores collections that a host keeps in a
// key-value store: bbolt, Badger, Pebble and their like. The host says in a few
// lines how a transaction of its store gets, puts, deletes and scans ([DB]);
// examples/bbolt of this repository does it for bbolt. A [Store] does the rest:
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
// An entry of a bucket is a record: its key, as text, is that of the record, and
// its value is JSON. In a List collection the value must have the key, or the parts
// of it, as members too. Where keys or values are stored in another form (numbers of 8 bytes,
// protobuf, encrypted) a [Codec] of the bucket converts them. What a Codec would
// change on the way to the store and back is refused.
//
// Records come in the order of the stored keys.
package kvstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/tomo-project/backup"
)

// A DB is a key-value store as a [Store] sees it. Both methods call their
// function on a transaction and return the error that it returns.
//
//   - View calls read once, on a transaction that shows one point in time of all
//     buckets while others go on writing.
//   - Update commits if and only if write returns nil, and returns nil only if
//     that succeeded. If write returns an error or panics, it rolls back. It may
//     call write again, on a fresh transaction, where the store asks for that.
type DB interface {
	View(ctx context.Context, read func(Tx) error) error
	Update(ctx context.Context, write func(WriteTx) error) error
}

// A Tx is a transaction of a [DB]. Buckets are what the store has to tell kinds
// of data apart: buckets, prefixes, column families. One that is not there is
// empty.
//
// What Get returns and each is given is the transaction's: it is valid until the
// next call of a method, or until each returns, and is not changed.
type Tx interface {
	// Get returns the value under key, and whether there is one.
	Get(bucket string, key []byte) (value []byte, ok bool, err error)

	// Scan calls each for every entry of the bucket, in the byte order of keys.
	// It ends with the first error that each returns, and returns it.
	Scan(bucket string, each func(key, value []byte) error) error
}

// A WriteTx is a transaction that changes a [DB] and sees its own changes. Put
// and Delete are never called while a Scan is under way.
type WriteTx interface {
	Tx

	// Put inserts or overwrites an entry, in a new bucket if it is not there. It
	// may keep the memory of key and value.
	Put(bucket string, key, value []byte) error

	// Delete removes an entry. One that is not there is no error.
	Delete(bucket string, key []byte) error
}

// A Store is a [backup.DataSource] and a [backup.Sink] over the buckets of a
// key-value store. It has no state of its own and is as safe for concurrent use
// as its DB. A collection that is in none of Buckets is an error.
type Store struct {
	DB      DB
	Buckets []Bucket
}

// A Bucket says which bucket holds a collection, and how.
type Bucket struct {
	// Collection is the name of the collection.
	Collection string

	// Name is the name of the bucket. Empty means that of the collection.
	Name string

	// Key converts between the text of a key and its stored form. The zero value
	// stores the text as it is; keys that are not UTF-8 are an error then.
	Key Codec

	// Value converts between the JSON of a value and its stored form. The zero
	// value stores the JSON as it is.
	Value Codec
}

// A Codec converts between what a record has and what is stored. Both functions
// are set, or none. They must be pure, must not keep or change what they are
// given, and must not put it into their errors: it may be secret.
//
// Each Put decodes what it has encoded. A key that comes back as another, or a
// value that is not equal, is an error, and the transaction is rolled back. Equal
// is JSON but for white space, the order of members and the form of a number.
type Codec struct {
	Encode func(plain []byte) (stored []byte, err error)
	Decode func(stored []byte) (plain []byte, err error)
}

var (
	_ backup.DataSource = Store{}
	_ backup.Sink       = Store{}
)

// View calls read with a Reader on one View of the DB.
func (s Store) View(ctx context.Context, read func(backup.Reader) error) error {
	buckets, err := s.buckets(ctx)
	if err != nil {
		return err
	}
	return s.DB.View(ctx, func(tx Tx) error {
		v := &view{tx: tx, buckets: buckets}
		defer v.end()
		return read(v)
	})
}

// Update calls write with a Writer on an Update of the DB, once for each time
// that the DB calls its own function.
func (s Store) Update(ctx context.Context, write func(backup.Writer) error) error {
	buckets, err := s.buckets(ctx)
	if err != nil {
		return err
	}
	return s.DB.Update(ctx, func(tx WriteTx) error {
		w := &writer{view: view{tx: tx, buckets: buckets}, tx: tx}
		defer w.end()
		if err := write(w); err != nil {
			return err
		}
		// What has failed may have been done in part.
		if w.failed != nil {
			return rolledBack(w.failed)
		}
		return rolledBack(ctx.Err())
	})
}

// rolledBack says of an error that nothing was changed.
func rolledBack(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", backup.ErrRolledBack, err)
}

// buckets returns them by collection.
func (s Store) buckets(ctx context.Context) (map[string]Bucket, error) {
	if s.DB == nil {
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
