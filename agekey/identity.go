package agekey

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/armor"

	"github.com/tomo-project/backup"
)

// An Identity is one or several private keys of age. It opens what is sealed for
// one of them, as a [backup.Identity], and what is encrypted, as a
// [backup.Decrypter]. Printing or logging it shows the public halves only.
//
// The zero value has no key and fails with ErrNoKey.
type Identity struct {
	// A closure keeps the keys also from printers that go around methods and
	// unexported fields, by reflection; the keys of age print themselves in full.
	reveal func() []privateKey
}

// privateKey is a private key with its public half, as far as it is known.
type privateKey struct {
	age.Identity
	public age.Recipient // may be nil
	id     string        // may be empty
}

// NewIdentity returns the Identity of these keys. It returns ErrNoKey if there are
// none. Of an [age.ScryptIdentity] no more work is asked than 2^20, whatever it
// allows itself.
func NewIdentity(identities ...age.Identity) (*Identity, error) {
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
	if len(keys) == 0 || slices.ContainsFunc(keys, func(k privateKey) bool { return k.Identity == nil }) {
		return nil, fmt.Errorf("%w: there is no private key; give the one that age-keygen made", backup.ErrNoKey)
	}
	return &Identity{func() []privateKey { return keys }}, nil
}

// Unwrap implements [backup.Identity]. It returns ErrNoKey if there is no key or
// its passphrase is not right, ErrWrongKey if wrapped is of another type or was
// made for other keys, ErrDamaged if it is malformed or altered, and ErrLimit if
// opening it would take too much time or memory. An error of a key itself, such as
// that of the function that asks for its passphrase, comes as it is.
func (i *Identity) Unwrap(wrapped json.RawMessage) ([]byte, error) {
	keys, err := i.keys()
	if err != nil {
		return nil, err
	}
	damaged := func(err error) ([]byte, error) {
		return nil, fmt.Errorf("%w: wrapped key: %.200s; use another backup", backup.ErrDamaged, err)
	}
	file, ids, err := parseWrapped(wrapped)
	switch {
	case err == errOtherType:
		return nil, fmt.Errorf("%w: the snapshot is not sealed for an age key; open it with the key that it was sealed for", backup.ErrWrongKey)
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

// Decrypt implements [backup.Decrypter] for age files, binary ones and those that
// are armored as text. Its errors are those of Unwrap, or that of r; a failure
// that is found later comes from the reader, ErrDamaged if the file was altered or
// ends too early.
//
// What the reader has returned is what was encrypted, but it is all of it only
// when the reader has come to io.EOF.
func (i *Identity) Decrypt(r io.Reader) (io.Reader, error) {
	keys, err := i.keys()
	if err != nil {
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

// KeyIDs returns the ids of the keys that are known, as [Recipient.KeyIDs] does.
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

// Recipient returns the public halves of the keys. It fails if one of them is not
// known, as that of a plugin, or if there is none, as to a passphrase, and with
// the errors of [NewRecipient].
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
			return nil, fmt.Errorf("the public half of private key %d of %d is not known; give the recipients on their own", n+1, len(keys))
		}
		recipients, ids = append(recipients, k.public), append(ids, k.id)
	}
	return newRecipient(recipients, ids)
}

// String returns a text that stands for the keys and shows their public halves.
func (i Identity) String() string {
	ids := i.KeyIDs()
	if len(ids) == 0 {
		return "(private key)"
	}
	return "(private key of " + strings.Join(ids, ", ") + ")"
}

// GoString returns what String does.
func (i Identity) GoString() string { return i.String() }

// Format prints what String returns, whatever the verb.
func (i Identity) Format(f fmt.State, _ rune) { io.WriteString(f, i.String()) }

// LogValue returns what String does.
func (i Identity) LogValue() slog.Value { return slog.StringValue(i.String()) }

// MarshalText returns what String does, for JSON and the like.
func (i Identity) MarshalText() ([]byte, error) { return []byte(i.String()), nil }

func (i *Identity) keys() ([]privateKey, error) {
	if i == nil || i.reveal == nil {
		return nil, fmt.Errorf("%w: the Identity has no private key; make it with NewIdentity or ParseIdentities", backup.ErrNoKey)
	}
	return i.reveal(), nil
}

// open returns a reader of what the age file holds. ids says what opens it, if
// that is written anywhere.
func open(file io.Reader, keys []privateKey, ids []string) (io.Reader, error) {
	o := &opener{keys: keys}
	plain, err := age.Decrypt(file, o)
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
		return nil, fmt.Errorf("%w: it is encrypted for %s; what was given (%s) does not open it, give a private key of one of those", backup.ErrWrongKey, list(ids), given)
	}
	return nil, fmt.Errorf("%w: %.200s; use another backup", backup.ErrDamaged, err)
}

// opener is what age asks to open one file. It tries the keys in turn, and keeps
// the errors that age does not tell apart.
type opener struct {
	keys  []privateKey
	kinds []string // of the keys that the file is for
	err   error    // of a key
}

func (o *opener) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	for _, s := range stanzas {
		if kind := kindOf(s.Type); kind != "" && !slices.Contains(o.kinds, kind) {
			o.kinds = append(o.kinds, kind)
		}
	}
	for _, k := range o.keys {
		var fileKey []byte
		var err error
		if _, ok := k.Identity.(*age.ScryptIdentity); ok {
			err = checkWork(stanzas)
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

// kindOf says which keys a stanza is for, empty if it is for none.
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
		return "" // there to be ignored
	}
	return "a key of type " + stanzaType
}

// checkWork returns ErrLimit if it takes too much to try a passphrase.
func checkWork(stanzas []*age.Stanza) error {
	for _, s := range stanzas {
		if s.Type != "scrypt" || len(s.Args) != 2 {
			continue
		}
		work, err := strconv.ParseUint(s.Args[1], 10, 64)
		if work > maxWork || errors.Is(err, strconv.ErrRange) {
			return fmt.Errorf("%w: to try a passphrase takes scrypt with a work factor of %.20s, the most is %d; make sure that the file is yours, or use another", backup.ErrLimit, s.Args[1], maxWork)
		}
	}
	return nil
}

// fromKey gives an error of a key a kind. Those of keys that this package does not
// know are their own: that a token is not there does not make a file damaged.
func fromKey(id age.Identity, err error) error {
	switch id.(type) {
	case *lockedFile, *lockedKey:
		return err
	case *age.X25519Identity, *age.HybridIdentity, *age.ScryptIdentity, *agessh.Ed25519Identity, *agessh.RSAIdentity:
		switch {
		case errors.Is(err, backup.ErrLimit):
			return err
		case strings.HasPrefix(err.Error(), "scrypt work factor too large"): // than the identity itself allows
			return fmt.Errorf("%w: %.200s", backup.ErrLimit, err)
		}
		return fmt.Errorf("%w: %.200s; use another backup", backup.ErrDamaged, err)
	}
	return fmt.Errorf("private key: %w", err)
}

// plaintext reads what was encrypted and gives its errors their kinds.
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

// source keeps the error of a reader, which is not always visible in what age
// makes of it.
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

// explain returns err, or if it calls damaged what could not be read the reason.
func (s *source) explain(err error) error {
	if s.err != nil && errors.Is(err, backup.ErrDamaged) {
		return fmt.Errorf("read the encrypted file: %w", s.err)
	}
	return err
}

// shortLines fails at a line that is longer than any in an armored file, of which
// package armor would read a whole one into memory.
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
