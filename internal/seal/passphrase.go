package seal

import (
	"crypto/cipher"
	"encoding/base64"
	jsonv1 "encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"strconv"

	"github.com/go-json-experiment/json"
	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/chacha20poly1305"
)

// TypePassphrase is the type of a key that was wrapped with a passphrase.
const TypePassphrase = "argon2id"

const (
	saltSize = 16
	adKey    = "tomo-project/backup 1.0 key"
)

// muchMemory is what a derivation takes at least that gives its memory back.
const muchMemory = 16 << 20

// cost is the work that one try of a passphrase takes.
type cost struct{ time, memory, threads uint64 } // memory in KiB

var (
	usualCost = cost{time: 3, memory: 64 << 10, threads: 4} // RFC 9106, section 4, second choice
	leastCost = cost{time: 1, memory: 8 << 10, threads: 1}
	mostCost  = cost{time: 16, memory: 1 << 20, threads: 16}
)

// What keys are derived at.
var (
	written    = usualCost
	scryptWork = UsualScrypt
)

// ScryptWork returns the work factor at which package agekey encrypts for a
// passphrase.
func ScryptWork() int { return scryptWork }

// Cheap lowers the cost of new keys of passphrases in this process: to the least
// that UnwrapPassphrase accepts, and for scrypt to next to nothing. Only package
// sealtest calls it, so no program contains it: a test there looks for other
// callers.
func Cheap() { written, scryptWork = leastCost, 2 }

// passphraseKey is a wrapped key in a snapshot. A nil member is absent.
type passphraseKey struct {
	Type    *string `json:"type"`
	Salt    *string `json:"salt"`
	Time    *uint64 `json:"time"`
	Memory  *uint64 `json:"memory"`
	Threads *uint64 `json:"threads"`
	Wrapped *string `json:"wrapped"`
}

// WrapPassphrase wraps key, which NewKey made, with a passphrase.
func WrapPassphrase(passphrase, key []byte) (jsonv1.RawMessage, error) {
	return wrapPassphrase(passphrase, key, written)
}

func wrapPassphrase(passphrase, key []byte, c cost) (jsonv1.RawMessage, error) {
	if len(key) != keySize {
		return nil, fmt.Errorf("%w: the key of the snapshot has %d bytes and not %d", ErrMalformed, len(key), keySize)
	}
	salt := random(saltSize)
	aead, err := c.aead(passphrase, salt)
	if err != nil {
		return nil, err
	}
	nonce := random(aead.NonceSize())
	return json.Marshal(passphraseKey{
		Type:    new(TypePassphrase),
		Salt:    new(base64.StdEncoding.EncodeToString(salt)),
		Time:    &c.time,
		Memory:  &c.memory,
		Threads: &c.threads,
		Wrapped: new(base64.StdEncoding.EncodeToString(aead.Seal(nonce, nonce, key, []byte(adKey)))),
	})
}

// UnwrapPassphrase returns the key that WrapPassphrase wrapped. The error is
// ErrOtherType if wrapped is not for a passphrase, or ErrWrongKey, ErrLimits or
// ErrMalformed. All but ErrWrongKey come before any costly work.
func UnwrapPassphrase(passphrase []byte, wrapped jsonv1.RawMessage) ([]byte, error) {
	c, salt, sealed, err := parsePassphrase(wrapped)
	if err != nil {
		return nil, err
	}
	aead, err := c.aead(passphrase, salt)
	if err != nil {
		return nil, err
	}
	n := aead.NonceSize()
	key, err := aead.Open(nil, sealed[:n], sealed[n:], []byte(adKey))
	if err != nil {
		return nil, ErrWrongKey
	}
	return key, nil
}

func parsePassphrase(wrapped []byte) (c cost, salt, sealed []byte, err error) {
	fail := func(err error) (cost, []byte, []byte, error) {
		return cost{}, nil, nil, fmt.Errorf("wrapped key: %w", err)
	}
	kind, err := parseType(wrapped)
	if err != nil {
		return fail(err)
	}
	if kind != TypePassphrase {
		return fail(ErrOtherType)
	}
	var k passphraseKey
	if err := json.Unmarshal(wrapped, &k, json.RejectUnknownMembers(true)); err != nil {
		if errors.Is(err, strconv.ErrRange) { // a number beyond 64 bits
			return fail(fmt.Errorf("%w: a number beyond 64 bits", ErrLimits))
		}
		return fail(malformed(err))
	}
	if k.Salt == nil || k.Time == nil || k.Memory == nil || k.Threads == nil || k.Wrapped == nil {
		return fail(fmt.Errorf(`%w: "salt", "time", "memory", "threads" and "wrapped" are required`, ErrMalformed))
	}
	if salt, err = decode(nil, []byte(*k.Salt)); err != nil {
		return fail(fmt.Errorf("salt: %w", err))
	}
	if len(salt) != saltSize {
		return fail(fmt.Errorf("%w: salt of %d bytes and not %d", ErrMalformed, len(salt), saltSize))
	}
	if sealed, err = decode(nil, []byte(*k.Wrapped)); err != nil {
		return fail(fmt.Errorf("wrapped: %w", err))
	}
	const size = chacha20poly1305.NonceSizeX + keySize + chacha20poly1305.Overhead
	if len(sealed) != size {
		return fail(fmt.Errorf("%w: wrapped has %d bytes and not %d", ErrMalformed, len(sealed), size))
	}
	c = cost{*k.Time, *k.Memory, *k.Threads}
	if err := c.check(); err != nil {
		return fail(err)
	}
	return c, salt, sealed, nil
}

// check returns ErrLimits if deriving a key takes too much time or memory, or
// so little that the passphrase is easily guessed.
func (c cost) check() error {
	for _, p := range []struct {
		name            string
		is, least, most uint64
	}{
		{"time", c.time, leastCost.time, mostCost.time},
		{"memory", c.memory, leastCost.memory, mostCost.memory},
		{"threads", c.threads, leastCost.threads, mostCost.threads},
	} {
		if p.is < p.least || p.is > p.most {
			return fmt.Errorf("%w: argon2id %s is %d, not in %d to %d", ErrLimits, p.name, p.is, p.least, p.most)
		}
	}
	return nil
}

// aead derives the wrapping key. c has passed check, so the conversions are
// exact.
func (c cost) aead(passphrase, salt []byte) (cipher.AEAD, error) {
	key := argon2.IDKey(passphrase, salt, uint32(c.time), uint32(c.memory), uint8(c.threads), keySize)
	GiveBack(int64(c.memory) << 10)
	return chacha20poly1305.NewX(key)
}

// GiveBack returns the memory of a derivation to the system, if that took much. Otherwise
// the garbage collector counts it as in use until its next run, and lets the heap grow to
// twice as much before that. A collection takes far less than such a derivation, and no
// setting of the process changes.
func GiveBack(memory int64) {
	if memory >= muchMemory {
		debug.FreeOSMemory()
	}
}
