// Package envelope is what is around a snapshot, or a copy of a database, in a file:
// nothing, compression, encryption of the whole file, or compression inside of
// encryption (FORMAT.md, "Compressed and encrypted files"). How a file begins tells
// which.
package envelope

import (
	"bytes"
	"fmt"

	"github.com/tomo-project/backup/internal/fault"
)

// A Kind says what is in a file, and what is around it.
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
	// Compressions are the ways to compress, with the endings of their files and the
	// bytes that these begin with.
	Compressions = []struct{ Name, Ending, Magic string }{{Gzip, ".gz", "\x1f\x8b"}, {Zstd, ".zst", "\x28\xb5\x2f\xfd"}}

	ageMagic = []string{"age-encryption.org/v1\n", "-----BEGIN AGE ENCRYPTED FILE-----"}
)

// Plain tells whether nothing is around it: the file is a snapshot as it is.
func (k Kind) Plain() bool { return k == Kind{} }

// CheckCompression refuses a text that names no way to compress.
func CheckCompression(name string) error {
	if name != "" && name != Gzip && name != Zstd {
		return fmt.Errorf("%w: no compression is called %q, only %s and %s", fault.ErrInvalid, fault.Shorten(name), Gzip, Zstd)
	}
	return nil
}

// SniffBytes is how much of a file Sniff looks at.
const SniffBytes = 64

// Sniff tells what is around the content of a file by its first bytes.
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
	return Kind{}
}
