package agekey

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/armor"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/envelope"
	"github.com/tomo-project/backup/internal/fault"
	"github.com/tomo-project/backup/internal/seal"
)

// An Identity is one or several private keys of age. As a [backup.Identity] it
// opens secrets that were sealed for one of the keys. As a [backup.Decrypter]
// it opens files that were encrypted for one of them. When it is printed or
// logged, only the public halves are shown.
//
// The zero value has no key and fails with ErrNoKey.
type Identity struct {
	// The keys of age print themselves in full. A closure hides them even from
	// printers that use reflection, which bypass methods and unexported fields.
	reveal func() []privateKey
}

// A privateKey is a private key and, if known, its public half.
type privateKey struct {
	age.Identity
	public age.Recipient // or nil
	id     string        // or empty

	otherForm bool // of a passphrase that is among the keys too
}

var errNoPrivateKey = fmt.Errorf("%w: there is no private key; give the private key that age-keygen made", backup.ErrNoKey)

// NewIdentity returns the Identity of these keys. It returns ErrNoKey if there
// are none, or one of them is nil. For an [age.ScryptIdentity] the work factor is limited to 20 (2^20
// rounds), even if its own limit is higher.
func NewIdentity(identities ...age.Identity) (*Identity, error) {
	if slices.ContainsFunc(identities, func(id age.Identity) bool { return fault.IsNil(id) }) {
		return nil, errNoPrivateKey
	}
	keys := make([]privateKey, len(identities))
	for i, id := range identities {
		keys[i].Identity = id
		switch id := id.(type) {
		case *age.X25519Identity:
			keys[i].public = id.Recipient()
		case *age.HybridIdentity:
			keys[i].public = id.Recipient()
		case *agessh.Ed25519Identity:
			keys[i].public = id.Recipient()
		case *agessh.RSAIdentity:
			keys[i].public = id.Recipient()
		case *agessh.EncryptedSSHIdentity:
			keys[i].public = id.Recipient()
		case *age.ScryptIdentity:
			keys[i].id = "passphrase"
		}
		if keys[i].public != nil {
			keys[i].id = recipientID(keys[i].public)
		}
	}
	return newIdentity(keys)
}

func newIdentity(keys []privateKey) (*Identity, error) {
	if len(keys) == 0 {
		return nil, errNoPrivateKey
	}
	return &Identity{func() []privateKey { return keys }}, nil
}

// Unwrap implements [backup.Identity]. It returns ErrNoKey if there is no key
// or the passphrase of a key is wrong, ErrWrongKey if wrapped is of another
// type or for other keys, ErrDamaged if wrapped is malformed or altered,
// ErrTooNew if it is of a later version of age, and ErrLimit if opening it takes
// too much time or memory. Other errors of a key
// are returned unchanged, such as the error of the function that asks for its
// passphrase.
func (i *Identity) Unwrap(wrapped json.RawMessage) ([]byte, error) {
	keys, err := i.keys()
	if err != nil {
		return nil, err
	}
	damaged := func(err error) ([]byte, error) {
		return nil, fmt.Errorf("%w: wrapped key: %.200s; use another backup", backup.ErrDamaged, err)
	}
	file, ids, err := seal.ParseAge(wrapped)
	switch {
	case errors.Is(err, seal.ErrOtherType):
		return nil, seal.Untried(fmt.Errorf("%w: the snapshot is not sealed for an age key; open it with the key that it was sealed for", backup.ErrWrongKey))
	case err != nil:
		return damaged(err)
	}
	plain, err := open(bytes.NewReader(file), keys, ids)
	if err != nil {
		return nil, err
	}
	key, err := io.ReadAll(plain)
	if err != nil {
		return damaged(err)
	}
	if len(key) != dataKeySize {
		return damaged(fmt.Errorf("the key has %d bytes and not %d", len(key), dataKeySize))
	}
	return key, nil
}

// Decrypt implements [backup.Decrypter] for age files, binary or armored as
// text. Its errors are those of Unwrap, and those of r. Later failures come
// from the reader: ErrDamaged if the file was altered or ends too early.
//
// The reader returns only what was encrypted, but all of it only at io.EOF.
func (i *Identity) Decrypt(r io.Reader) (io.Reader, error) {
	keys, err := i.keys()
	if err != nil {
		return nil, err
	}
	if err := fault.Missing("the io.Reader", r); err != nil {
		return nil, err
	}
	src := &source{r: r}
	in := bufio.NewReader(src)
	var file io.Reader = in
	if start, _ := in.Peek(len(armor.Header)); string(start) == armor.Header {
		file = armor.NewReader(&shortLines{r: in})
	}
	plain, err := open(file, keys, nil)
	if err != nil {
		return nil, src.explain(err)
	}
	return &plaintext{r: plain, src: src}, nil
}

// KeyIDs returns the ids of the keys, as [Recipient.KeyIDs] does. It leaves out
// keys whose id is not known.
func (i *Identity) KeyIDs() []string {
	keys, _ := i.keys()
	return keyIDs(keys)
}

func keyIDs(keys []privateKey) []string {
	var ids []string
	for _, k := range keys {
		if k.id != "" {
			ids = append(ids, k.id)
		}
	}
	return ids
}

// Recipient returns the Recipient of the public halves of the keys. It fails if
// a public half is not known, as for a plugin, or does not exist, as for a
// passphrase. It also returns the errors of [NewRecipient].
func (i *Identity) Recipient() (*Recipient, error) {
	keys, err := i.keys()
	if err != nil {
		return nil, err
	}
	var (
		recipients []age.Recipient
		ids        []string
	)
	for n, k := range keys {
		if k.public == nil {
			return nil, fmt.Errorf("the public half of private key %d of %d is not known; give the recipients themselves", n+1, len(keys))
		}
		recipients, ids = append(recipients, k.public), append(ids, k.id)
	}
	return newRecipient(recipients, ids)
}

// String returns the ids of the keys and nothing secret.
func (i Identity) String() string {
	ids := i.KeyIDs()
	if len(ids) == 0 {
		return "(private key)"
	}
	return "(private key of " + strings.Join(ids, ", ") + ")"
}

// Format prints the same as String, for every verb.
func (i Identity) Format(f fmt.State, _ rune) { io.WriteString(f, i.String()) }

// LogValue returns the same as String.
func (i Identity) LogValue() slog.Value { return slog.StringValue(i.String()) }

// MarshalText returns the same as String, for JSON and other encodings.
func (i Identity) MarshalText() ([]byte, error) { return []byte(i.String()), nil }

func (i *Identity) keys() ([]privateKey, error) {
	if i == nil || i.reveal == nil {
		return nil, fmt.Errorf("%w: the Identity has no private key; make it with NewIdentity or ParseIdentities", backup.ErrNoKey)
	}
	return i.reveal(), nil
}

// open returns a reader of the content of an age file. ids are the keys that
// are said to open it, if that is known.
func open(file io.Reader, keys []privateKey, ids []string) (io.Reader, error) {
	in := bufio.NewReader(file)
	if head, _ := in.Peek(envelope.SniffBytes); envelope.CheckAge(head) != nil {
		return nil, envelope.CheckAge(head)
	}
	o := &opener{keys: keys}
	plain, err := age.Decrypt(in, o)
	var noMatch *age.NoIdentityMatchError
	switch {
	case err == nil:
		return plain, nil
	case o.err != nil:
		return nil, o.err
	case errors.As(err, &noMatch):
		if len(ids) == 0 {
			ids = o.kinds
		}
		given := list(keyIDs(keys))
		if given == "" {
			given = "of an unknown kind"
		}
		err := fmt.Errorf("%w: it is encrypted for %s; what was given (%s) does not open it", backup.ErrWrongKey, list(ids), given)
		if o.work == 0 {
			err = seal.Untried(err)
		}
		return nil, err
	}
	return nil, fmt.Errorf("%w: %.200s; use another backup", backup.ErrDamaged, err)
}

// An opener gives age the keys for one file. It tries the keys in turn, and
// remembers the errors that age does not tell apart.
type opener struct {
	keys  []privateKey
	kinds []string // the kinds of keys that the file is for
	work  uint64   // what trying passphrases took so far, in units of scrypt
	forms uint64   // the same for other forms of them
	err   error    // the error of a key
}

func (o *opener) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	defer o.giveBack()
	for _, s := range stanzas {
		if kind := kindOf(s.Type); kind != "" && !slices.Contains(o.kinds, kind) {
			o.kinds = append(o.kinds, kind)
		}
	}
	for _, k := range o.keys {
		var fileKey []byte
		var err error
		if _, ok := k.Identity.(*age.ScryptIdentity); ok {
			if k.otherForm && !o.hasTimeFor(stanzas) {
				continue
			}
			if !k.otherForm {
				err = o.checkWork(stanzas)
			}
		}
		if err == nil {
			fileKey, err = k.Unwrap(stanzas)
		}
		switch {
		case err == nil && fileKey != nil:
			return fileKey, nil
		case err == nil, errors.Is(err, age.ErrIncorrectIdentity):
			continue
		}
		o.err = fromKey(k.Identity, err)
		return nil, o.err
	}
	return nil, age.ErrIncorrectIdentity
}

// giveBack returns the memory that trying passphrases took to the system.
func (o *opener) giveBack() { seal.GiveBack(int64(o.work+o.forms) << 10) }

// kindOf returns the kind of key that a stanza is for, or "" if it is for none.
func kindOf(stanzaType string) string {
	switch stanzaType {
	case "X25519":
		return "an age key"
	case "mlkem768x25519":
		return "a post-quantum age key"
	case "scrypt":
		return "a passphrase"
	case "ssh-ed25519", "ssh-rsa":
		return "a key of type " + stanzaType
	}
	if strings.HasSuffix(stanzaType, "-grease") {
		return "" // a stanza that readers must ignore
	}
	return "a key of type " + stanzaType
}

// checkWork returns ErrLimit if one try of a passphrase takes too much work, or all
// tries so far and this one do.
func (o *opener) checkWork(stanzas []*age.Stanza) error {
	for _, s := range stanzas {
		if s.Type != "scrypt" || len(s.Args) != 2 {
			continue
		}
		work, err := strconv.ParseUint(s.Args[1], 10, 64)
		if work > seal.MaxScrypt || errors.Is(err, strconv.ErrRange) {
			return fmt.Errorf("%w: trying a passphrase takes scrypt with a work factor of %.20s, the most is %d; make sure that the file is yours, or use another", backup.ErrLimit, s.Args[1], seal.MaxScrypt)
		}
		if o.work += 1 << work; o.work > maxTries<<seal.MaxScrypt {
			return fmt.Errorf("%w: trying all of the given passphrases takes too long at a work factor of %d; give only the passphrase that was in use when the file was made", backup.ErrLimit, work)
		}
	}
	return nil
}

// hasTimeFor tells whether one more form of a passphrase may be tried.
func (o *opener) hasTimeFor(stanzas []*age.Stanza) bool {
	for _, s := range stanzas {
		if s.Type != "scrypt" || len(s.Args) != 2 {
			continue
		}
		work, err := strconv.ParseUint(s.Args[1], 10, 64)
		if err != nil || work > seal.MaxScrypt || o.forms+1<<work > maxForms<<seal.UsualScrypt {
			return false
		}
		o.forms += 1 << work
		runtime.GC() // so that the memory of two tries is never held at once
	}
	return true
}

// fromKey makes an error of a key one of package backup. Errors of keys that
// this package does not know stay unchanged: a missing token, for example, does
// not mean that the file is damaged.
func fromKey(id age.Identity, err error) error {
	switch id.(type) {
	case *lockedFile, *lockedKey:
		return err
	case *age.X25519Identity, *age.HybridIdentity, *age.ScryptIdentity, *agessh.Ed25519Identity, *agessh.RSAIdentity:
		switch {
		case errors.Is(err, backup.ErrLimit):
			return err
		case strings.HasPrefix(err.Error(), "scrypt work factor too large"): // the limit of the identity itself is lower
			return fmt.Errorf("%w: %.200s", backup.ErrLimit, err)
		}
		return fmt.Errorf("%w: %.200s; use another backup", backup.ErrDamaged, err)
	}
	return fmt.Errorf("private key: %w", err)
}

// plaintext reads the decrypted content and makes its errors those of package
// backup.
type plaintext struct {
	r   io.Reader
	src *source
}

func (p *plaintext) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	if err != nil && err != io.EOF {
		err = p.src.explain(fmt.Errorf("%w: the encrypted file was altered or ends too early: %.200s; use another backup", backup.ErrDamaged, err))
	}
	return n, err
}

// source remembers the error of a reader, which age may hide.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(b []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.r.Read(b)
	if err != io.EOF {
		s.err = err
	}
	return n, err
}

// explain returns err. But if err says that the file is damaged, and in truth
// reading it failed, it returns that failure.
func (s *source) explain(err error) error {
	if s.err != nil && errors.Is(err, backup.ErrDamaged) {
		return fmt.Errorf("read the encrypted file: %w", s.err)
	}
	return err
}

// shortLines fails at a line that is longer than any line of an armored file.
// Package armor would read such a line into memory as a whole.
type shortLines struct {
	r      io.Reader
	length int
}

func (s *shortLines) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	for _, c := range b[:n] {
		if s.length++; c == '\n' {
			s.length = 0
		}
		if s.length > 1<<10 {
			return 0, errors.New("line of more than 1024 bytes")
		}
	}
	return n, err
}
