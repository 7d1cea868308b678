package backup

import (
	"context"
	"encoding/json"
	"iter"

	"github.com/tomo-project/backup/internal/codec"
)

// A Record is one item of a collection.
type Record struct {
	// Key is the identity of the record as text, unique in its collection.
	// In a [Map] collection it is the name of the member. In a [List]
	// collection the library derives it from the value at [Collection.Key],
	// and what a store puts here is ignored.
	Key string

	// Value is the JSON value of the record: an object in a List collection,
	// any value in a Map collection. Its bytes are kept as they are, but for
	// insignificant white space: numbers are not rounded and strings not
	// rewritten.
	Value json.RawMessage
}

// JoinKey returns the identity of a record whose Key has several pointers: the JSON
// array of the texts of the parts, written in the one way that the format has
// (FORMAT.md, "Keys of records"). A store needs it where it makes keys itself.
func JoinKey(parts ...string) string { return codec.JoinKey(parts) }

// SplitKey returns the n parts that JoinKey has made an identity of, and whether it is
// one.
func SplitKey(key string, n int) (parts []string, ok bool) { return codec.SplitKey(key, n) }

// A DataSource reads the host's data. It is what a backup is made from.
//
// View calls read once, with a Reader that shows one point in time of all
// collections, also while the host goes on writing. The Reader is used by one
// goroutine at a time and not after read has returned. View returns the error
// that read returns, or its own if it could not give a consistent view.
type DataSource interface {
	View(ctx context.Context, read func(Reader) error) error
}

// A Reader iterates over the records of a collection.
//
//   - Every record is yielded once, in an order that depends on the data alone:
//     the same data gives the same sequence and the same bytes.
//   - After an error the sequence ends. It is yielded with a zero Record, or with
//     the Key of the record that it is about: of one whose secret the host cannot
//     open with its own key, say. A backup names it then.
//   - Secrets are yielded in clear, whatever the host keeps them under; the backup
//     seals them for its own recipients.
//   - A sequence may be abandoned at any record and started again.
//   - A Record is the consumer's only until it asks for the next one: a store
//     may reuse the memory of its Value.
//   - The sequence ends with an error soon after ctx is done.
//   - A collection that the store does not know is an error; one without
//     records is an empty sequence.
type Reader interface {
	Records(ctx context.Context, collection string) iter.Seq2[Record, error]
}

// A Sink changes the host's data. It is what a restore writes to.
//
// Update calls write with a Writer on one transaction: if write returns nil the
// transaction is committed, and Update returns nil only if that succeeded; if
// write returns an error, panics, or ctx is done before the commit, the host is left as
// it was and Update returns that error. A Sink whose transactions may have to be
// repeated (serialization failures) may call write again from a fresh
// transaction; write starts over each time. An Update that fails after write has
// returned nil, and knows that nothing was changed, says so by wrapping
// [ErrRolledBack].
//
// What is put has its secrets in clear, opened with the key of the backup. A host
// that encrypts them at rest does so with a key of its own, which need not be the
// one of the host that was backed up: so credentials work on a new machine.
//
// A restore deletes first and puts afterwards, so that what comes can take the
// place of what goes. A store that enforces references or uniqueness among
// records must do so for the state at the commit, not for each step.
//
// The library uses Update also to look only, as [App.Plan] does: it then makes
// no change and returns an error of its own, so that the transaction is rolled
// back.
type Sink interface {
	Update(ctx context.Context, write func(Writer) error) error
}

// A Writer reads and changes the records of a Sink inside its transaction and
// sees its own changes. It is used by one goroutine at a time and not after
// write has returned. Its methods are never called while a sequence from Keys
// is being iterated.
//
// A Writer that also is a [Reader], and shows there what the transaction sees,
// spares a [manager.Manager] to look up record by record what a restore will replace.
//
// Keys are exact text: "a", "A" and "a " are three records. The batches of
// Lookup, Put and Delete may be empty. A collection that the store does not know
// is an error.
type Writer interface {
	// Keys yields the key of every record of the collection, each once, in any
	// order. After an error the sequence ends.
	Keys(ctx context.Context, collection string) iter.Seq2[string, error]

	// Lookup returns the records that exist under keys, in any order. Keys
	// without a record are left out. The library asks for some hundreds at a
	// time, each key once. The records are the library's until the next call of
	// a method; their Key is set, in List collections too.
	Lookup(ctx context.Context, collection string, keys []string) ([]Record, error)

	// Put inserts each record, or overwrites the whole of the one that has its
	// key. Key is set and unique among records. Put must not keep the memory of
	// records after it has returned.
	Put(ctx context.Context, collection string, records []Record) error

	// Delete removes the records under keys. A key without a record is not an
	// error.
	Delete(ctx context.Context, collection string, keys []string) error
}

// A Store is both halves of what a host plugs in.
type Store interface {
	DataSource
	Sink
}
