// Package codec reads and writes snapshots as JSON text: the document as a
// whole (writer.go, reader.go, lane.go, peek.go), the values of single records (value.go,
// compare.go, key.go, pointer.go), and what is left of a damaged document
// (salvage.go). It is the only package that knows jsontext. It knows the layout
// of FORMAT.md but not what the members mean.
package codec

import (
	"errors"
	"fmt"
	"regexp"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tomo-project/backup/internal/fault"
)

// The kinds of error of this package, for errors.Is. Any other error comes from
// the underlying reader or writer.
var (
	ErrSyntax = errors.New("not well-formed JSON") // the text is not strict JSON, or it ends early
	ErrLayout = errors.New("not the layout of a snapshot")
	ErrLimit  = fault.ErrLimit
)

// An Error says at which byte of the document something is wrong.
type Error struct {
	Kind       error // ErrSyntax, ErrLayout or ErrLimit
	Offset     int64
	Collection string // empty outside of the records
	Err        error
}

func (e *Error) Error() string {
	where := fmt.Sprintf("at byte %d", e.Offset)
	if e.Collection != "" {
		where += fmt.Sprintf(" in %q", e.Collection)
	}
	return where + ": " + e.Err.Error()
}

func (e *Error) Unwrap() []error { return []error{e.Kind, e.Err} }

// Limits bound what is read.
type Limits struct {
	Depth       int
	Values      int
	RecordBytes int
	Records     int64
	TotalBytes  int64
	KeyBytes    int64 // of the names of records in maps, see AddKey
}

// Defaults are the limits that hold where none is set.
var Defaults = Limits{Depth: 100, Values: 100_000, RecordBytes: 16 << 20, Records: 10_000_000, TotalBytes: 16 << 30, KeyBytes: 64 << 20}

// MaxDepth is the largest useful Limits.Depth. jsontext stops at a depth of
// 10,000, which it counts from the beginning of the document.
const MaxDepth = 9_000

// header holds the limits on a member outside of "data".
var header = Limits{Depth: 32, Values: 100_000}

// field names the field of Limits that holds a limit on records, for an error.
func (l Limits) field(name string) string {
	if l.Depth == header.Depth && l.Values == header.Values {
		return ""
	}
	return " (Limits." + name + ")"
}

// HeaderBytes is the largest size of one member outside of "data".
const HeaderBytes = 1 << 20

// MaxKey is the largest size, in bytes, of the key of a record.
const MaxKey = 4 << 10

// leastKey is how many bytes a name counts at least. A reader needs some memory
// for each name, however short.
const leastKey = 32

// AddKey adds the length of the name of a record in a map to the sum of all
// names. It returns an error if the sum is more than Limits.KeyBytes.
func (l Limits) AddKey(sum *int64, length int) error {
	if *sum += int64(max(leastKey, length)); *sum > l.KeyBytes {
		return fmt.Errorf("%w: the keys of maps have more than %d bytes together, each counted as at least %d (Limits.KeyBytes)", ErrLimit, l.KeyBytes, leastKey)
	}
	return nil
}

// options are how text is read. jsontext refuses invalid UTF-8. Strings keep
// their bytes. This package compares the names itself (names.go).
var options = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.PreserveRawStrings(true)}

var digest = regexp.MustCompile(`^[0-9a-f]{64}$`)

// IsDigest tells whether a text can be that of a SHA-256 digest.
func IsDigest(text string) bool { return digest.MatchString(text) }
