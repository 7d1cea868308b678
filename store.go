package backup

import (
	"context"
	"encoding/json"
	"iter"

	"github.com/tomo-project/backup/internal/codec"
)

// A Record is one item of a collection.
type Record struct {
	// Key is the identity of the record as text, unique in its collection. In a
	// [Map] collection it is the name of the member. In a [List] collection the
	// library derives it from the value at [Collection].Key, and ignores what a
	// DataSource puts here.
	Key string

	// Value is the JSON value of the record: an object in a List collection, any
	// value in a Map collection. Only insignificant white space is removed: numbers
	// are not rounded, and strings are not rewritten.
	Value json.RawMessage
}

// JoinKey returns the identity of a record whose Key has several pointers: the JSON
// array of the texts of the parts, written in the one form that the format allows
// (FORMAT.md, "Keys of records"). A store that makes keys itself needs it.
func JoinKey(parts ...string) string { return codec.JoinKey(parts) }

// SplitKey is the inverse of JoinKey: it returns the n parts of an identity, and
// whether key is an identity of n parts.
func SplitKey(key string, n int) (parts []string, ok bool) { return codec.SplitKey(key, n) }

// A DataSource reads the host's data, of which a backup is made.
//
// View calls read once, with a Reader that shows all collections at one point in
// time, even while the host goes on writing. The Reader is used by one goroutine at
// a time, and not after read has returned. View returns the error that read
// returns, or its own if it could not give a consistent view.
type DataSource interface {
	View(ctx context.Context, read func(Reader) error) error
}

// A Reader iterates over the records of a collection.
//
//   - It yields every record once. The order depends on the data alone, so that the
//     same data gives the same bytes.
//   - It yields an error with a zero Record, or with the Key of the record that the
//     error is about, for example a record whose secret the host cannot decrypt. A
//     backup then names that record. After an error the sequence ends.
//   - It yields secrets in clear, however the host stores them. The backup seals
//     them for its own recipients.
//   - The caller may stop at any record and start the sequence again.
//   - A Record is valid until the caller asks for the next one: a store may reuse
//     the memory of its Value.
//   - The sequence ends with an error soon after ctx is done.
//   - A collection that the store does not know is an error. A collection without
//     records is an empty sequence.
type Reader interface {
	Records(ctx context.Context, collection string) iter.Seq2[Record, error]
}

// A Sink changes the host's data: a restore writes to it.
//
// Update calls write with a Writer on one transaction. If write returns nil,
// Update commits the transaction, and returns nil only if that succeeded. If write
// returns an error or panics, or ctx is done before the commit, Update leaves the
// host as it was; it returns the error.
//
// A Sink whose transactions may have to be repeated, after a serialization failure
// for example, may call write again with a fresh transaction. Each call of write
// starts from the beginning. If Update fails after write has returned nil, and knows
// that nothing was changed, its error wraps [ErrRolledBack].
//
// Records come with their secrets in clear, opened with the key of the backup. A
// host that encrypts secrets in its store does so with a key of its own. That need
// not be the key of the host that was backed up, so credentials work on a new
// machine.
//
// A restore deletes first and puts afterwards, so that a new record can take the
// place of a deleted one. A store that enforces references or uniqueness must do so
// for the state at the commit, and not for each step: two records may exchange the
// values of a unique field, or move along a chain of them.
//
// The library also uses Update to try, as [App.Plan] does, and only to look. It then
// returns an error of its own from write, so that the transaction is rolled back.
type Sink interface {
	Update(ctx context.Context, write func(Writer) error) error
}

// A Writer reads and changes the records of a Sink inside a transaction, and sees
// its own changes. It is used by one goroutine at a time, and not after write has
// returned. The library calls none of its methods while it iterates over Keys or
// Records. After an error of any method it calls no other, so the transaction may be
// dead.
//
// Keys are exact text: "a", "A" and "a " are three records. The batches of Lookup,
// Put and Delete may be empty. A collection that the store does not know is an
// error.
//
// A Writer may also be a [Reader] that shows what its transaction sees. The library
// then reads through that, instead of looking up records by their keys, which is
// slower. It may also have some of these methods:
//
//   - Settle(ctx context.Context) error carries out and checks in the transaction all
//     that its commit would. So a plan finds out what the commit would refuse. The
//     library calls it after changes, and may make more changes and call it again.
//     The error joins a [RecordError] for each record that must not stay as it is.
//     They wrap [ErrClash] or [ErrDangling].
//   - Effects(ctx context.Context, collection string) ([]string, error) names what
//     changes records by itself when the collection changes: triggers, and actions of
//     foreign keys. Without the method there is nothing of that kind.
//   - Parents(ctx context.Context, collection string) ([]string, error) returns
//     collections that should be put before this one, beside those in its Refs.
//   - NewKeys(ctx context.Context, collection string, n int) ([]string, error) returns n
//     keys for new records of a collection whose keys the store numbers: keys that no record
//     has or had, as far as it can tell. Each call in a transaction returns others than the
//     calls before. The store keeps no trace of them: in another transaction on the same data
//     they are the same. The error wraps errors.ErrUnsupported, also for n = 0, if the
//     store does not number the keys; that error alone does not end the transaction.
//     [App.Restore] says what it is for.
//   - AllowDangling(allow bool) says whether the commit may leave references dangling.
//     A store that cannot do that refuses the records, as without the method.
//   - Normalize(ctx context.Context, collection string, records []Record) error is for a
//     store that shows some values in another form than they were put in, such as a
//     number with fewer digits that is the same number to it. It sets the Value of each
//     record to the compact form that the store would show, and leaves alone what Put
//     would refuse. It may add members that Put would fill with a constant, or that should
//     stay as the host has them; Merge takes no notice of these. So a restore finds no
//     change where there is none. The memory of the values is not the store's to change.
//     A Reader may have this method too.
//
// A Writer that wraps another must pass these methods on. Otherwise a plan may say yes
// to what the restore then refuses.
type Writer interface {
	// Keys yields the key of every record of the collection once, in any order.
	// After an error the sequence ends.
	Keys(ctx context.Context, collection string) iter.Seq2[string, error]

	// Lookup returns the records that exist under keys, in any order, and leaves
	// out keys that have no record. The library asks for some hundreds at a time,
	// each key once. It uses the records until its next call of a method. Their Key
	// is set, in List collections too.
	Lookup(ctx context.Context, collection string, keys []string) ([]Record, error)

	// Put inserts each record, or replaces the whole record that has its key. Key
	// is set and unique among records. Put must not keep the memory of records
	// after it has returned.
	Put(ctx context.Context, collection string, records []Record) error

	// Delete removes the records under keys. A key without a record is not an
	// error.
	Delete(ctx context.Context, collection string, keys []string) error
}

// A Store is a DataSource and a Sink: all that a host plugs in.
type Store interface {
	DataSource
	Sink
}

// These are what a Writer may have beside its methods: see [Writer].
type (
	settler interface {
		Settle(ctx context.Context) error
	}
	effector interface {
		Effects(ctx context.Context, collection string) ([]string, error)
	}
	parented interface {
		Parents(ctx context.Context, collection string) ([]string, error)
	}
	tolerant interface{ AllowDangling(allow bool) }
	numberer interface {
		NewKeys(ctx context.Context, collection string, n int) ([]string, error)
	}
)
