package backup

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/fault"
)

// The kinds of failure that a caller may want to tell apart, with [errors.Is].
// Standard errors keep their meaning: fs.ErrNotExist, fs.ErrExist,
// context.Canceled. The message of each error says what happened, where, and what
// to do next. No message holds a secret or the value of a record.
var (
	// ErrDamaged: the snapshot is not what was written. It is truncated, altered or
	// not JSON, or its digest does not match.
	ErrDamaged = fault.ErrDamaged

	// ErrFormat: the document is not a snapshot in a format that this library
	// reads.
	ErrFormat = errors.New("not a snapshot of format " + FormatVersion)

	// ErrForeign: the snapshot belongs to another application.
	ErrForeign = errors.New("snapshot of another application")

	// ErrTooNew: the snapshot has a newer format, schema version or application
	// version than this build of the application, or is encrypted with a later
	// version of age.
	ErrTooNew = fault.ErrTooNew

	// ErrNoKey: a key is needed, to seal or open secrets or a whole file, and none
	// was given that could do it.
	ErrNoKey = fault.ErrNoKey

	// ErrWrongKey: none of the given keys opens the snapshot.
	ErrWrongKey = fault.ErrWrongKey

	// ErrUnauthentic: somebody without the key has altered or made the snapshot, or
	// a proof is required and the snapshot carries none that counts. Unlike
	// ErrDamaged, this does not happen by accident.
	ErrUnauthentic = errors.New("snapshot is not authentic")

	// ErrInvalid: records do not satisfy their schema, have no key or share one, or
	// belong to a collection that the App does not declare. Options that contradict
	// the App or each other are ErrInvalid too.
	ErrInvalid = fault.ErrInvalid

	// ErrDangling: a reference would point to a record that does not exist.
	ErrDangling = errors.New("dangling reference")

	// ErrClash: the host does not take a record beside another record that stays,
	// because a value must be unique. [RecordError].With names the other record.
	ErrClash = errors.New("clash over a unique value")

	// ErrLimit: a limit on depth, size or count was exceeded.
	ErrLimit = fault.ErrLimit

	// ErrStale: the host has changed since the plan was made.
	ErrStale = errors.New("plan is stale")

	// ErrSalvaged: the snapshot was saved from a damaged file, so Replace would
	// delete records that could not be saved.
	ErrSalvaged = errors.New("snapshot is salvaged")

	// ErrUncertain: the Sink failed after all changes of a restore were made, and
	// did not say that it rolled them back. They may or may not have taken effect.
	ErrUncertain = errors.New("it is uncertain whether the restore took place")

	// ErrRolledBack: a [Sink] wraps it in an error of Update to say that nothing was
	// changed, although write had returned nil. Without it such a failure is
	// ErrUncertain, since the connection may have been lost after the commit.
	ErrRolledBack = fault.ErrRolledBack
)

// A RecordError is an error about one record.
type RecordError struct {
	Collection string
	Key        string // empty if the record has none, or it is not known

	// Pointer is the JSON Pointer of the place inside the record, or the pointers of
	// a Key or Ref as they are declared. Empty stands for the whole record.
	Pointer string

	Offset int64 // byte offset of the record in the snapshot, -1 if it does not come from one
	Err    error // what is wrong

	// With is the key of the record that this one clashes with, in the same
	// collection, if Err is ErrClash. Empty if the host cannot tell it.
	With string
}

// Error returns "servers "a1" /port (byte 1234): …".
func (e *RecordError) Error() string {
	var b strings.Builder
	b.WriteString(e.Collection)
	if e.Key != "" {
		fmt.Fprintf(&b, " %q", fault.Shorten(e.Key))
	}
	if e.Pointer != "" {
		b.WriteString(" " + fault.Shorten(e.Pointer))
	}
	if e.Offset >= 0 {
		fmt.Fprintf(&b, " (byte %d)", e.Offset)
	}
	if e.With != "" {
		fmt.Fprintf(&b, " clashes with %q", fault.Shorten(e.With))
	}
	b.WriteString(": " + fault.Shorten(e.Err.Error()))
	return b.String()
}

// MarshalJSON returns an object with the members collection, key, pointer, offset,
// with and error, which is the text of Err. Key, pointer, offset and with are absent
// where they are empty or not known.
func (e *RecordError) MarshalJSON() ([]byte, error) {
	out := struct {
		Collection string `json:"collection"`
		Key        string `json:"key,omitempty"`
		Pointer    string `json:"pointer,omitempty"`
		Offset     *int64 `json:"offset,omitempty"`
		With       string `json:"with,omitempty"`
		Error      string `json:"error"`
	}{Collection: e.Collection, Key: e.Key, Pointer: e.Pointer, With: e.With, Error: e.Err.Error()}
	if e.Offset >= 0 {
		out.Offset = &e.Offset
	}
	return json.Marshal(out)
}

// Unwrap returns Err.
func (e *RecordError) Unwrap() error { return e.Err }

// fromCodec gives an error of package codec the kind that callers know.
func fromCodec(err error) error {
	var kind error
	switch {
	case errors.Is(err, codec.ErrSyntax):
		kind = ErrDamaged
	case errors.Is(err, codec.ErrLayout):
		kind = ErrFormat
	default:
		return err
	}
	return fmt.Errorf("%w: %w", kind, err)
}
