// Package seal encrypts the secret fields of a snapshot and wraps its key. It
// is the only package that knows golang.org/x/crypto. Every byte layout here is
// normative (FORMAT.md, "Sealing"). testdata/vectors.py computes the same bytes
// in another language.
//
// Each snapshot has a random key of its own. Three keys are derived from it.
// The first seals the values and binds each to its place. The second
// authenticates the part of the header that says what is sealed. The third
// authenticates the whole document. The snapshot stores its key wrapped, once
// for every recipient.
package seal

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/tomo-project/backup/internal/codec"
)

// The kinds of failure. No message holds a key, a passphrase or a value.
var (
	// ErrMalformed: the text does not have the specified form.
	ErrMalformed = errors.New("malformed")

	// ErrAltered: a sealed value or the header was changed, or was sealed with
	// another key, or a value was moved to another place.
	ErrAltered = errors.New("altered after it was sealed")

	// ErrOtherType: the wrapped key is not for a passphrase.
	ErrOtherType = errors.New("key of another type")

	// ErrWrongKey: the passphrase does not open the wrapped key, or the wrapped
	// key was altered. The two look the same.
	ErrWrongKey = errors.New("passphrase does not match")

	// ErrLimits: unwrapping the key takes more work than is allowed, or so
	// little that the passphrase is not safe.
	ErrLimits = errors.New("cost out of bounds")
)

const (
	keySize = chacha20poly1305.KeySize // of all keys here
	IDSize  = 16                       // of the id of a snapshot

	infoValues = "tomo-project/backup 1.0 values"
	infoHeader = "tomo-project/backup 1.0 header"
	infoProof  = "tomo-project/backup 1.0 proof"
	adValue    = "tomo-project/backup 1.0"
)

// NewKey returns a new random key for one snapshot.
func NewKey() []byte { return random(keySize) }

// NewID returns a new random id for one snapshot, as base64 text.
func NewID() string { return base64.StdEncoding.EncodeToString(random(IDSize)) }

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never returns an error
	return b
}

// A Box seals and opens the values of one snapshot. It is safe for concurrent
// use.
type Box struct {
	id        string
	values    cipher.AEAD
	headerKey []byte
	proofKey  []byte
	nonces    nonces
	scratch   sync.Pool // of *scratch
}

// A scratch is what one call needs. It holds nothing secret: ciphertext and additional data.
type scratch struct{ raw, ad []byte }

// nonces are drawn many at a time. A system call for each would cost as much as the cipher.
type nonces struct {
	mu    sync.Mutex
	left  []byte // drawn and not used yet
	drawn [64 * chacha20poly1305.NonceSizeX]byte
}

// next appends a nonce to dst that no other call gets.
func (n *nonces) next(dst []byte) []byte {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.left) == 0 {
		n.left = n.drawn[:]
		rand.Read(n.left) // never returns an error
	}
	nonce := n.left[:chacha20poly1305.NonceSizeX]
	n.left = n.left[chacha20poly1305.NonceSizeX:]
	return append(dst, nonce...)
}

// NewBox returns the Box of the snapshot with this key and id. It returns
// ErrMalformed if NewKey or NewID cannot have made them.
func NewBox(key []byte, id string) (*Box, error) {
	if len(key) != keySize {
		return nil, fmt.Errorf("%w: the key of the snapshot has %d bytes and not %d", ErrMalformed, len(key), keySize)
	}
	salt, err := decode(nil, []byte(id))
	if err != nil {
		return nil, fmt.Errorf("id: %w", err)
	}
	if len(salt) != IDSize {
		return nil, fmt.Errorf("%w: the id has %d bytes and not %d", ErrMalformed, len(salt), IDSize)
	}
	valueKey, err := hkdf.Key(sha256.New, key, salt, infoValues, keySize)
	if err != nil {
		return nil, fmt.Errorf("derive the key of the values: %w", err)
	}
	headerKey, err := hkdf.Key(sha256.New, key, salt, infoHeader, keySize)
	if err != nil {
		return nil, fmt.Errorf("derive the key of the header: %w", err)
	}
	proofKey, err := hkdf.Key(sha256.New, key, salt, infoProof, keySize)
	if err != nil {
		return nil, fmt.Errorf("derive the key of the proof: %w", err)
	}
	values, err := chacha20poly1305.NewX(valueKey)
	if err != nil {
		return nil, fmt.Errorf("key of the values: %w", err)
	}
	return &Box{
		id:        id,
		values:    values,
		headerKey: headerKey,
		proofKey:  proofKey,
		scratch:   sync.Pool{New: func() any { return new(scratch) }},
	}, nil
}

// Seal encrypts plain, the JSON of the value at pointer in a record, and
// appends the text to dst. The text is base64 and needs no escaping in JSON.
// Every call gives another text.
func (b *Box) Seal(dst, plain []byte, collection, recordKey, pointer string) []byte {
	s := b.scratch.Get().(*scratch)
	defer b.scratch.Put(s)
	s.ad = b.appendPlace(s.ad[:0], collection, recordKey, pointer)
	nonce := b.nonces.next(slices.Grow(s.raw[:0], chacha20poly1305.NonceSizeX+len(plain)+chacha20poly1305.Overhead))
	s.raw = b.values.Seal(nonce, nonce, plain, s.ad)
	return base64.StdEncoding.AppendEncode(dst, s.raw)
}

// Open decrypts a text that Seal made, and appends the JSON to dst. The error
// is ErrMalformed or ErrAltered.
func (b *Box) Open(dst, text []byte, collection, recordKey, pointer string) ([]byte, error) {
	s := b.scratch.Get().(*scratch)
	defer b.scratch.Put(s)
	raw, err := decode(s.raw[:0], text)
	if err != nil {
		return nil, fmt.Errorf("sealed value: %w", err)
	}
	s.raw = raw
	n := b.values.NonceSize()
	if len(raw) < n+b.values.Overhead() {
		return nil, fmt.Errorf("%w: sealed value of %d bytes is too short", ErrMalformed, len(raw))
	}
	s.ad = b.appendPlace(s.ad[:0], collection, recordKey, pointer)
	plain, err := b.values.Open(dst, raw[:n], raw[n:], s.ad)
	if err != nil {
		return nil, fmt.Errorf("sealed value: %w", ErrAltered)
	}
	return plain, nil
}

func (b *Box) appendPlace(dst []byte, collection, recordKey, pointer string) []byte {
	return appendFrame(dst, adValue, b.id, collection, recordKey, pointer)
}

// Fields says what is sealed in a collection. It is in the header of a
// snapshot.
type Fields struct {
	Key     string   `json:"key,omitempty"` // JSON Pointer of the identity; empty for a map
	Secrets []string `json:"secrets"`       // JSON Pointers, as declared
}

// Check returns the text that authenticates what the header says about the
// application and the sealed fields. Without it, somebody could take a field
// off the list, and its sealed value would count as data.
func (b *Box) Check(application string, schemaVersion int, fields map[string]Fields) string {
	return base64.StdEncoding.EncodeToString(b.mac(application, schemaVersion, fields))
}

// VerifyCheck compares check, in constant time, with the result of Check. The
// error is ErrMalformed or ErrAltered.
func (b *Box) VerifyCheck(check, application string, schemaVersion int, fields map[string]Fields) error {
	sum, err := decode(nil, []byte(check))
	if err != nil {
		return fmt.Errorf("check of the header: %w", err)
	}
	if !hmac.Equal(sum, b.mac(application, schemaVersion, fields)) {
		return fmt.Errorf("header: %w", ErrAltered)
	}
	return nil
}

func (b *Box) mac(application string, schemaVersion int, fields map[string]Fields) []byte {
	frame := appendFrame(nil, application, strconv.Itoa(schemaVersion))
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		f := fields[name]
		frame = appendFrame(frame, name, f.Key, strconv.Itoa(len(f.Secrets)))
		frame = appendFrame(frame, f.Secrets...)
	}
	h := hmac.New(sha256.New, b.headerKey)
	h.Write(frame)
	return h.Sum(nil)
}

// ProofMessage returns the message that a proof authenticates: a digest, framed
// so that it differs from every other message that is signed or authenticated
// here.
func ProofMessage(digest []byte) []byte {
	return appendFrame(nil, infoProof, string(digest))
}

// Prove returns the text that authenticates the document with this digest.
func (b *Box) Prove(digest []byte) string {
	return base64.StdEncoding.EncodeToString(b.proof(digest))
}

// VerifyProof compares proof, in constant time, with the result of Prove. The
// error is ErrMalformed or ErrAltered.
func (b *Box) VerifyProof(proof string, digest []byte) error {
	sum, err := decode(nil, []byte(proof))
	if err != nil {
		return err
	}
	if !hmac.Equal(sum, b.proof(digest)) {
		return ErrAltered
	}
	return nil
}

func (b *Box) proof(digest []byte) []byte {
	h := hmac.New(sha256.New, b.proofKey)
	h.Write(ProofMessage(digest))
	return h.Sum(nil)
}

// appendFrame appends the length of each part and the part itself, so that no
// two lists of parts give the same bytes.
func appendFrame(dst []byte, parts ...string) []byte {
	for _, p := range parts {
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(p)))
		dst = append(dst, p...)
	}
	return dst
}

// decode appends the decoded bytes of a base64 text to dst.
func decode(dst, text []byte) ([]byte, error) {
	out, err := codec.DecodeBase64(dst, text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return out, nil
}
