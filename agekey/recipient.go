package agekey

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"golang.org/x/crypto/ssh"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/fault"
	"github.com/tomo-project/backup/internal/seal"
)

// A Recipient is one or several public keys of age. It seals secrets as a
// [backup.Recipient], and encrypts whole files as a [backup.Encrypter]. Each of
// the private keys opens the result; the Recipient itself cannot.
//
// The zero value has no key and fails with ErrNoKey.
type Recipient struct {
	ids []string
	// A key may hold a passphrase. A closure hides it even from printers that
	// use reflection, which bypass methods and unexported fields.
	reveal func() []age.Recipient

	refused error // why nothing is encrypted with the passphrase; nil: nothing is wrong with it
}

var errNoPublicKey = fmt.Errorf("%w: there is no public key; give at least one age recipient, as age-keygen prints it", backup.ErrNoKey)

// NewRecipient returns the Recipient of these keys, 64 at most. It tries each
// key, so that a key that cannot encrypt is found now and not at the first
// backup. It returns ErrNoKey if there are no keys. It returns an error if the
// keys cannot be combined: age does not combine post-quantum keys with others,
// nor a passphrase with anything. Secrets can still be sealed for both kinds,
// with one Recipient for each; a whole file cannot be encrypted for both.
func NewRecipient(recipients ...age.Recipient) (*Recipient, error) {
	if slices.ContainsFunc(recipients, func(r age.Recipient) bool { return fault.IsNil(r) }) {
		return nil, errNoPublicKey
	}
	ids := make([]string, len(recipients))
	for i, r := range recipients {
		ids[i] = recipientID(r)
	}
	return newRecipient(recipients, ids)
}

func newRecipient(recipients []age.Recipient, ids []string) (*Recipient, error) {
	if len(recipients) == 0 {
		return nil, errNoPublicKey
	}
	if len(recipients) > seal.MaxAgeIDs {
		return nil, fmt.Errorf("%d public keys, the most is %d; use fewer", len(recipients), seal.MaxAgeIDs)
	}
	recipients = slices.Clone(recipients)
	r := &Recipient{ids: ids, reveal: func() []age.Recipient { return recipients }}
	isPassphrase := func(r age.Recipient) bool { _, ok := r.(*age.ScryptRecipient); return ok }
	const apart = "give each its own Recipient to seal secrets for both; a whole file cannot be encrypted for both"
	if slices.ContainsFunc(recipients, isPassphrase) {
		if len(recipients) > 1 {
			return nil, errors.New("age does not encrypt for a passphrase and something else at once; " + apart)
		}
		return r, nil // a try takes a second, and could find nothing more
	}
	for i, single := range recipients {
		if _, err := encrypt(nil, single); err != nil {
			return nil, fmt.Errorf("the key %s cannot encrypt: %.200s; use another", list(ids[i:i+1]), err)
		}
	}
	file, err := encrypt(make([]byte, dataKeySize), recipients...)
	if err != nil {
		return nil, fmt.Errorf("the keys cannot be combined: %.200s; %s", err, apart)
	}
	if len(file) > seal.MaxAgeFile {
		return nil, fmt.Errorf("the key of a snapshot, wrapped for %d keys, has %d bytes, the most is %d; use fewer keys", len(recipients), len(file), seal.MaxAgeFile)
	}
	return r, nil
}

// ParseRecipients returns the Recipient of the public keys in text, the content
// of a recipients file of age: one key a line, "age1…", "ssh-ed25519 AAAA…" or
// "ssh-rsa AAAA…". Empty lines and lines that begin with # are ignored. The
// error is ErrNoKey if there is no key, an error of [NewRecipient], or else
// names the line. It does not quote the line, which may be a private key by
// mistake.
func ParseRecipients(text string) (*Recipient, error) {
	if isPrivate(strings.TrimSpace(text)) {
		return nil, fmt.Errorf("line 1 is %s", errPrivate)
	}
	var (
		recipients []age.Recipient
		ids        []string
	)
	for n, line := range keyLines(text) {
		r, id, err := parseRecipient(line)
		if err != nil {
			return nil, fmt.Errorf("line %d is %w", n, err)
		}
		recipients, ids = append(recipients, r), append(ids, id)
	}
	return newRecipient(recipients, ids)
}

var errPrivate = errors.New(`a private key, where a public key belongs; put the public half there, which "age-keygen -y" prints and ssh-keygen keeps in the file with the ending .pub, and the private one out of reach`)

// parseRecipient returns an error that completes "line 1 is " and does not
// quote the line.
func parseRecipient(line string) (r age.Recipient, id string, err error) {
	switch {
	case isPrivate(line):
		return nil, "", errPrivate
	case strings.HasPrefix(line, "age1pq1"):
		r, err = age.ParseHybridRecipient(line)
	case strings.HasPrefix(line, "age1") && strings.Count(line, "1") > 1:
		return nil, "", errors.New("a key of an age plugin; give it to NewRecipient")
	case strings.HasPrefix(line, "age1"):
		r, err = age.ParseX25519Recipient(line)
	default:
		return parseSSHRecipient(line)
	}
	if err != nil {
		return nil, "", errors.New("not a whole age public key; copy it again")
	}
	return r, recipientID(r), nil
}

func parseSSHRecipient(line string) (r age.Recipient, id string, err error) {
	key, _, options, rest, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil || len(options) > 0 || len(rest) > 0 {
		return nil, "", errors.New("not a public key of age or SSH; it must begin with age1, ssh-ed25519 or ssh-rsa")
	}
	return fromSSHPublic(key)
}

// fromSSHPublic returns an error that completes "line 1 is ".
func fromSSHPublic(key ssh.PublicKey) (r age.Recipient, id string, err error) {
	switch key.Type() {
	case ssh.KeyAlgoED25519:
		r, err = agessh.NewEd25519Recipient(key)
	case ssh.KeyAlgoRSA:
		r, err = agessh.NewRSARecipient(key)
	default:
		return nil, "", fmt.Errorf("an SSH key of type %s; age knows ssh-ed25519 and ssh-rsa", key.Type())
	}
	if err != nil {
		return nil, "", fmt.Errorf("an SSH key that age does not take: %.200s", err)
	}
	return r, sshID(key), nil
}

// Wrap implements [backup.Recipient]. It puts key, which has 32 bytes, into an
// age file (FORMAT.md, "Wrapped keys"). It returns ErrNoKey if the Recipient
// has no key.
func (r *Recipient) Wrap(key []byte) (json.RawMessage, error) {
	recipients, err := r.recipients()
	if err != nil {
		return nil, err
	}
	if len(key) != dataKeySize {
		return nil, fmt.Errorf("seal for age keys: the key of the snapshot has %d bytes and not %d", len(key), dataKeySize)
	}
	file, err := encrypt(key, recipients...)
	if err == nil && len(file) > seal.MaxAgeFile {
		err = fmt.Errorf("the wrapped key has %d bytes, the most is %d", len(file), seal.MaxAgeFile)
	}
	if err != nil {
		return nil, fmt.Errorf("seal for age keys: %w", err)
	}
	return seal.WrapAge(file, r.ids)
}

// Encrypt implements [backup.Encrypter]. What is written becomes a binary age
// file on w. It returns ErrNoKey if the Recipient has no key, and the errors of
// w.
func (r *Recipient) Encrypt(w io.Writer) (io.WriteCloser, error) {
	recipients, err := r.recipients()
	if err != nil {
		return nil, err
	}
	if err := fault.Missing("the io.Writer", w); err != nil {
		return nil, err
	}
	out, err := encryptTo(w, recipients)
	if err != nil {
		return nil, fmt.Errorf("encrypt for age keys: %w", err)
	}
	return out, nil
}

// KeyIDs returns the text by which people know each key. For an age key it is
// the key itself, of a long one the first 32 characters. For an SSH key it is
// what ssh-keygen -l prints, such as "ssh-ed25519 SHA256:…", or only the type
// if the key came from [NewRecipient]. For a passphrase it is "passphrase".
func (r *Recipient) KeyIDs() []string {
	if r == nil {
		return nil
	}
	return slices.Clone(r.ids)
}

// String returns the ids of the keys.
func (r Recipient) String() string { return strings.Join(r.ids, ", ") }

// MarshalText returns the same as String, for JSON and other encodings.
func (r Recipient) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

func (r *Recipient) recipients() ([]age.Recipient, error) {
	if r == nil || r.reveal == nil {
		return nil, fmt.Errorf("%w: the Recipient has no public key; make it with NewRecipient or ParseRecipients", backup.ErrNoKey)
	}
	return r.reveal(), r.refused
}

func encrypt(plain []byte, recipients ...age.Recipient) ([]byte, error) {
	var file bytes.Buffer
	w, err := encryptTo(&file, recipients)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return file.Bytes(), nil
}

// encryptTo is age.Encrypt. It does not keep the memory that a passphrase takes.
func encryptTo(w io.Writer, recipients []age.Recipient) (io.WriteCloser, error) {
	for _, r := range recipients {
		if _, ok := r.(*age.ScryptRecipient); ok {
			defer seal.GiveBack(1 << 10 << seal.ScryptWork())
		}
	}
	return age.Encrypt(w, recipients...)
}
