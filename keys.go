package backup

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/tomo-project/backup/internal/passphrase"
	"github.com/tomo-project/backup/internal/seal"
)

// A Recipient can seal secrets. It wraps the data key of a snapshot, with which the
// secrets are sealed, so that only the holder of a matching [Identity] gets it
// back. A [PassphraseKey] is both. Package agekey has public keys, which can seal
// and not open. The texts of errors of a Recipient, an Identity, an [Encrypter] and a
// [Decrypter] are printed: they must not hold a key.
type Recipient interface {
	// Wrap returns the data key of a snapshot, wrapped for the recipient. The
	// result is a JSON object that is stored in the snapshot in clear. Its member
	// "type" names the method (FORMAT.md, "Wrapped keys"), and its member "ids" may
	// name the keys that open it. A backup calls Wrap once.
	Wrap(key []byte) (json.RawMessage, error)
}

// An Identity can open the secrets that were sealed for a matching [Recipient].
//
// An Identity may have a method OtherForms() []Identity, as [PassphraseKey] has. They are
// tried, within bounds of time and memory, when none of the given keys fits.
type Identity interface {
	// Unwrap returns the data key of a snapshot from one of its wrapped keys. It
	// returns ErrWrongKey if it does not handle the type of wrapped, or if wrapped
	// was made for another identity, and ErrDamaged or ErrLimit if something is wrong
	// with wrapped: then the library tries the next wrapped key. After any other error
	// it tries no more.
	Unwrap(wrapped json.RawMessage) (key []byte, err error)
}

// An Encrypter encrypts whole files, so that nothing in them can be read without a
// key (FORMAT.md, "Compressed and encrypted files"). It must write age files, as
// the Encrypter of package agekey does: [OpenSnapshot] reads no other.
//
// An Encrypter may have a method KeyIDs() []string that names the keys that open
// its files. A manager.Manager keeps these names in clear beside an encrypted
// backup, for people.
type Encrypter interface {
	// Encrypt returns a writer that encrypts to w. The file is complete when its
	// Close has returned nil. Close does not close w.
	Encrypt(w io.Writer) (io.WriteCloser, error)
}

// A Decrypter is an [Identity] that also decrypts files of a matching [Encrypter].
type Decrypter interface {
	Identity

	// Decrypt returns a reader of the decrypted file. It returns ErrWrongKey if the
	// file was encrypted for others, ErrDamaged if it is malformed, ErrTooNew if it
	// is of a later version of age, ErrLimit if
	// opening it would take too much time or memory, or the error of r. The reader
	// fails if the file was altered or ends too early. Its errors wrap those of r.
	Decrypt(r io.Reader) (io.Reader, error)
}

// Compression is how a file is compressed. The zero value means that it is not.
type Compression string

const (
	Gzip Compression = "gzip" // read by every tool
	Zstd Compression = "zstd" // several times faster, and smaller
)

// A PassphraseKey seals and opens secrets with a passphrase: it is a [Recipient]
// and an [Identity]. Whoever knows the passphrase opens the snapshot, on any
// machine, and nobody opens it without. The passphrase also proves where the
// snapshot comes from (FORMAT.md, "Proof"). Printing or logging a PassphraseKey
// never shows the passphrase.
//
// Argon2id derives the key from the passphrase (FORMAT.md, "Wrapped keys"). For
// each snapshot that takes 64 MiB of memory and a fraction of a second.
//
// A passphrase that a person could not type again seals nothing: see
// [PassphraseKey.Validate].
//
// The zero value has no passphrase, and its methods fail with ErrNoKey. Make one
// with [Passphrase].
type PassphraseKey struct {
	// A closure hides the passphrase also from printers that use reflection to
	// get around methods and unexported fields.
	reveal func() []byte
}

// Passphrase returns the key for a passphrase, and keeps a copy of it. It takes the
// bytes as they are, so trim the line break of a passphrase read from a file (FORMAT.md,
// "Passphrases").
func Passphrase(passphrase []byte) *PassphraseKey {
	passphrase = bytes.Clone(passphrase)
	return &PassphraseKey{reveal: func() []byte { return passphrase }}
}

// Validate returns why nothing can be sealed with the passphrase: ErrNoKey if it is
// empty, and ErrInvalid if a person could not type it again (FORMAT.md, "Passphrases"). It
// may open a snapshot all the same.
func (k PassphraseKey) Validate() error {
	text, err := k.passphrase()
	if err != nil {
		return err
	}
	if err := passphrase.Check(text); err != nil {
		return fmt.Errorf("%w: nobody could type this passphrase again, so nothing is sealed with it: %w", ErrInvalid, err)
	}
	return nil
}

// Wrap implements [Recipient]. Its errors are those of Validate.
func (k PassphraseKey) Wrap(key []byte) (json.RawMessage, error) {
	if err := k.Validate(); err != nil {
		return nil, err
	}
	wrapped, err := seal.WrapPassphrase(k.reveal(), key)
	if err != nil {
		return nil, fmt.Errorf("seal with a passphrase: %w", err)
	}
	return wrapped, nil
}

// Unwrap implements [Identity]. It tries the passphrase as it is. It returns ErrNoKey if the passphrase is empty,
// ErrWrongKey if wrapped takes another passphrase or a key of another type,
// ErrDamaged if wrapped is malformed, and ErrLimit if opening it would take too
// much time or memory.
func (k PassphraseKey) Unwrap(wrapped json.RawMessage) ([]byte, error) {
	text, err := k.passphrase()
	if err != nil {
		return nil, err
	}
	key, err := seal.UnwrapPassphrase(text, wrapped)
	switch {
	case err == nil:
		return key, nil
	case errors.Is(err, seal.ErrOtherType):
		return nil, seal.Untried(fmt.Errorf("%w: the snapshot is not sealed with a passphrase; open it with the key that it was sealed for", ErrWrongKey))
	case errors.Is(err, seal.ErrWrongKey):
		return nil, fmt.Errorf("%w: this passphrase does not open the snapshot; use the one that was set when the backup was made", ErrWrongKey)
	case errors.Is(err, seal.ErrLimits):
		return nil, fmt.Errorf("%w: %w; %s", ErrLimit, err, notOurs)
	default:
		return nil, fmt.Errorf("%w: %w; use another backup", ErrDamaged, err)
	}
}

// OtherForms returns the keys for other forms of the passphrase, in which a program may
// have sealed a snapshot: with a line break at the end, with a byte order mark, in UTF-16,
// in another normal form of Unicode (see [Identity]).
func (k PassphraseKey) OtherForms() (keys []Identity) {
	text, err := k.passphrase()
	if err != nil {
		return nil
	}
	for _, form := range passphrase.Others(text) {
		keys = append(keys, Passphrase(form))
	}
	return keys
}

func (k PassphraseKey) passphrase() ([]byte, error) {
	if k.reveal == nil || len(k.reveal()) == 0 {
		return nil, fmt.Errorf("%w: the passphrase is empty; set one and keep it apart from the backups, for nobody can open them without it", ErrNoKey)
	}
	return k.reveal(), nil
}

// String returns a text that stands for the passphrase and does not show it.
func (PassphraseKey) String() string { return "(passphrase)" }

// Format implements [fmt.Formatter]. It prints the text of String for every verb.
func (k PassphraseKey) Format(f fmt.State, _ rune) { io.WriteString(f, k.String()) }

// LogValue implements [slog.LogValuer] with the text of String.
func (k PassphraseKey) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalText implements [encoding.TextMarshaler] with the text of String.
func (k PassphraseKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }
