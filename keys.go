package backup

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/tomo-project/backup/internal/seal"
)

// A Recipient can seal: it wraps the key of a snapshot so that only the holder
// of a matching [Identity] gets it back. Here there is the passphrase, which is
// both; package agekey has public keys, which can seal and not open.
type Recipient interface {
	// Wrap returns key wrapped for the recipient, a JSON object whose member
	// "type" names the method (FORMAT.md, "Wrapped keys"), and whose member "ids"
	// may name the keys that open it. It is stored in the snapshot in clear. A
	// backup calls it once.
	Wrap(key []byte) (json.RawMessage, error)
}

// An Identity can open what a matching [Recipient] has sealed.
type Identity interface {
	// Unwrap returns the key of a snapshot from one of its wrapped keys. It
	// returns ErrWrongKey if wrapped is of a type that it does not handle or
	// was made for another identity. Another error ends the attempt. It is
	// called for each wrapped key of the snapshot, until one opens.
	Unwrap(wrapped json.RawMessage) (key []byte, err error)
}

// Compression is how a snapshot is compressed. The zero value does not.
type Compression string

const (
	Gzip Compression = "gzip" // read by every tool
	Zstd Compression = "zstd" // several times faster, and smaller
)

// An Encrypter encrypts whole files, so that nothing in them can be read without
// a key (FORMAT.md, "Compressed and encrypted files"). What it writes must be an
// age file, as that of package agekey does: the reader knows no other.
//
// One that has a method KeyIDs() []string says with it which keys open the file;
// this is kept in clear beside an encrypted backup, for people.
type Encrypter interface {
	// Encrypt returns a writer that encrypts to w. What is written is complete
	// when its Close has returned nil; Close does not close w.
	Encrypt(w io.Writer) (io.WriteCloser, error)
}

// A Decrypter is an [Identity] that opens what an [Encrypter] has encrypted.
type Decrypter interface {
	Identity

	// Decrypt returns a reader of what was encrypted. It returns ErrWrongKey if
	// the file was encrypted for others, ErrDamaged if it is malformed, ErrLimit
	// if opening it would take too much time or memory, or the error of r. The
	// reader fails if the file was altered or ends too early; its errors wrap
	// that of r.
	Decrypt(r io.Reader) (io.Reader, error)
}

// A PassphraseKey seals and opens with a passphrase: it is a [Recipient] and an
// [Identity]. Whoever knows the passphrase opens the snapshot, on any machine;
// nobody opens it without. It also proves where the snapshot comes from
// (FORMAT.md, "Proof"). Printing or logging it never shows the passphrase.
//
// The key that wraps is derived with Argon2id (FORMAT.md, "Sealing"), which
// takes 64 MiB of memory and a part of a second for each snapshot.
//
// The zero value has no passphrase and fails with ErrNoKey.
type PassphraseKey struct {
	// A closure keeps the passphrase also from printers that go around methods
	// and unexported fields, by reflection.
	reveal func() []byte
}

// Passphrase returns the key for a passphrase, of which it keeps a copy. The
// bytes are taken as they are: trim the line break of one read from a file.
func Passphrase(passphrase []byte) *PassphraseKey {
	passphrase = bytes.Clone(passphrase)
	return &PassphraseKey{reveal: func() []byte { return passphrase }}
}

// Wrap implements [Recipient]. It returns ErrNoKey if the passphrase is empty.
func (k PassphraseKey) Wrap(key []byte) (json.RawMessage, error) {
	passphrase, err := k.passphrase()
	if err != nil {
		return nil, err
	}
	wrapped, err := seal.WrapPassphrase(passphrase, key)
	if err != nil {
		return nil, fmt.Errorf("seal with a passphrase: %w", err)
	}
	return wrapped, nil
}

// Unwrap implements [Identity]. It returns ErrNoKey if the passphrase is empty,
// ErrWrongKey if it is another one than the snapshot was sealed with or if
// something else than a passphrase opens wrapped, ErrDamaged if wrapped is
// malformed, and ErrLimit if opening it would take too much time or memory.
func (k PassphraseKey) Unwrap(wrapped json.RawMessage) ([]byte, error) {
	passphrase, err := k.passphrase()
	if err != nil {
		return nil, err
	}
	key, err := seal.UnwrapPassphrase(passphrase, wrapped)
	switch {
	case err == nil:
		return key, nil
	case errors.Is(err, seal.ErrOtherType):
		return nil, fmt.Errorf("%w: the snapshot is not sealed with a passphrase; open it with the key that it was sealed for", ErrWrongKey)
	case errors.Is(err, seal.ErrWrongKey):
		return nil, fmt.Errorf("%w: this passphrase does not open the snapshot; use the one that was set when the backup was made", ErrWrongKey)
	case errors.Is(err, seal.ErrLimits):
		return nil, fmt.Errorf("%w: %w; this library does not make such snapshots: make sure that this one is yours, or use another backup", ErrLimit, err)
	default:
		return nil, fmt.Errorf("%w: %w; use another backup", ErrDamaged, err)
	}
}

func (k PassphraseKey) passphrase() ([]byte, error) {
	if k.reveal == nil || len(k.reveal()) == 0 {
		return nil, fmt.Errorf("%w: the passphrase is empty; set one and keep it apart from the backups, for nobody can open them without it", ErrNoKey)
	}
	return k.reveal(), nil
}

// String returns a text that stands for the key and does not show it.
func (PassphraseKey) String() string { return "(passphrase)" }

// Format prints what String returns, whatever the verb.
func (k PassphraseKey) Format(f fmt.State, _ rune) { io.WriteString(f, k.String()) }

// LogValue returns what String does.
func (k PassphraseKey) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalText returns what String does, for JSON and the like.
func (k PassphraseKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }
