package backup

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/fault"
)

// The kinds of failure that a caller may want to tell apart, to be tested with
// [errors.Is]. Standard errors keep their meaning: fs.ErrNotExist, fs.ErrExist,
// context.Canceled. The message of each error says what happened, where, and
// what to do next; no message holds a secret or the value of a record.
var (
	// ErrDamaged: the snapshot is not what was written: truncated, altered, not
	// JSON, or with a digest that does not match.
	ErrDamaged = fault.ErrDamaged

	// ErrFormat: the document is not a snapshot of a format that this library
	// reads.
	ErrFormat = errors.New("not a snapshot of format " + FormatVersion)

	// ErrForeign: the snapshot belongs to another application.
	ErrForeign = errors.New("snapshot of another application")

	// ErrTooNew: the snapshot was made by a newer format, schema version or
	// application version than this one.
	ErrTooNew = errors.New("snapshot is too new")

	// ErrNoKey: there are secrets, and no key was given to seal or open them.
	ErrNoKey = fault.ErrNoKey

	// ErrWrongKey: none of the given keys opens the snapshot.
	ErrWrongKey = fault.ErrWrongKey

	// ErrUnauthentic: the snapshot was altered or made by somebody without the
	// key, or it carries no proof where one is required. That is no accident.
	ErrUnauthentic = errors.New("snapshot is not authentic")

	// ErrInvalid: records do not satisfy their schema, lack a key, share one,
	// or belong to a collection that the App does not declare.
	ErrInvalid = fault.ErrInvalid

	// ErrDangling: a reference would point to a record that does not exist.
	ErrDangling = errors.New("dangling reference")

	// ErrLimit: a limit on depth, size or count was exceeded.
	ErrLimit = fault.ErrLimit

	// ErrStale: the host has changed since the plan was made.
	ErrStale = errors.New("plan is stale")

	// ErrSalvaged: the snapshot was saved from a damaged file, so that Replace
	// would delete what could not be saved.
	ErrSalvaged = errors.New("snapshot is salvaged")

	// ErrUncertain: the Sink failed after all changes of a restore were made, and
	// did not say that it rolled them back. So they may have taken effect or not.
	ErrUncertain = errors.New("it is uncertain whether the restore took place")

	// ErrRolledBack: a [Sink] wraps it in an error of Update to say that nothing was
	// changed for certain, although write had returned nil. Without it such a failure
	// is ErrUncertain: the connection may have been lost after the commit.
	ErrRolledBack = errors.New("rolled back")
)

// A RecordError says which record is the matter.
type RecordError struct {
	Collection string
	Key        string // empty if the record has none or it is not known
	Pointer    string // JSON Pointer inside the record, or several as declared; empty for the record as a whole
	Offset     int64  // byte offset of the record in the snapshot, -1 if it does not come from one
	Err        error  // what is wrong
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
	b.WriteString(": " + fault.Shorten(e.Err.Error()))
	return b.String()
}

// MarshalJSON returns the members collection, key, pointer, offset and error, the
// text of Err; what is empty or not known is absent.
func (e *RecordError) MarshalJSON() ([]byte, error) {
	out := struct {
		Collection string `json:"collection"`
		Key        string `json:"key,omitempty"`
		Pointer    string `json:"pointer,omitempty"`
		Offset     *int64 `json:"offset,omitempty"`
		Error      string `json:"error"`
	}{Collection: e.Collection, Key: e.Key, Pointer: e.Pointer, Error: e.Err.Error()}
	if e.Offset >= 0 {
		out.Offset = &e.Offset
	}
	return json.Marshal(out)
}

// Unwrap returns what is wrong with the record.
func (e *RecordError) Unwrap() error { return e.Err }

// fromCodec gives an error of the codec the kind that callers know.
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
