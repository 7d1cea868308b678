// Package envelope compresses and encrypts files, and does the reverse. A snapshot, or
// a copy of a database, is stored as it is, compressed, encrypted as a whole, or
// compressed and then encrypted (FORMAT.md, "Compressed and encrypted files"). The
// first bytes of a file tell which.
package envelope

import (
	"bytes"
	"fmt"
	"regexp"

	"github.com/tomo-project/backup/internal/fault"
)

// A Kind says what is in a file, and how the file is stored. The zero value is a plain
// snapshot.
type Kind struct {
	Compressed string // Gzip, Zstd, or empty
	Encrypted  bool   // as a whole
	Database   bool   // it is a copy of a database and no snapshot
}

// The ways to compress.
const (
	Gzip = "gzip"
	Zstd = "zstd"
)

var (
	// Compressions are the ways to compress, with the endings of the names of such
	// files, and their first bytes.
	Compressions = []struct{ Name, Ending, Magic string }{{Gzip, ".gz", "\x1f\x8b"}, {Zstd, ".zst", "\x28\xb5\x2f\xfd"}}

	ageMagic = []string{"age-encryption.org/v1\n", "-----BEGIN AGE ENCRYPTED FILE-----"}
)

// Plain tells whether the file is a plain snapshot.
func (k Kind) Plain() bool { return k == Kind{} }

// CheckCompression refuses a text that names no way to compress.
func CheckCompression(name string) error {
	if name != "" && name != Gzip && name != Zstd {
		return fmt.Errorf("%w: no compression is called %q, only %s and %s", fault.ErrInvalid, fault.Shorten(name), Gzip, Zstd)
	}
	return nil
}

// laterAge is how an age file of a later version begins.
var laterAge = regexp.MustCompile(`^age-encryption\.org/v([2-9]|[1-9][0-9]+)\n`)

// CheckAge refuses an age file of a later version, by its first bytes. The error is
// fault.ErrTooNew. It is fault.ErrDamaged too, since damage can look the same.
func CheckAge(head []byte) error {
	if m := laterAge.FindSubmatch(head); m != nil {
		return &tooNewAge{version: string(m[1])}
	}
	return nil
}

type tooNewAge struct{ version string }

func (e *tooNewAge) Error() string {
	return fmt.Sprintf("%v: it is an age file of version %s, this build reads version 1; use a newer build of the application", fault.ErrTooNew, e.version)
}

func (e *tooNewAge) Is(target error) bool {
	return target == fault.ErrTooNew || target == fault.ErrDamaged
}

// SniffBytes is how much of a file Sniff looks at.
const SniffBytes = 64

// Sniff tells by the first bytes of a file how it is stored.
func Sniff(head []byte) Kind {
	for _, c := range Compressions {
		if bytes.HasPrefix(head, []byte(c.Magic)) {
			return Kind{Compressed: c.Name}
		}
	}
	for _, magic := range ageMagic {
		if bytes.HasPrefix(head, []byte(magic)) {
			return Kind{Encrypted: true}
		}
	}
	return Kind{Encrypted: laterAge.Match(head)}
}
