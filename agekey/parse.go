package agekey

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/armor"
	"golang.org/x/crypto/ssh"

	"github.com/tomo-project/backup"
)

// ParseIdentities returns the Identity of the private keys in text, the content
// of a file. The file may contain keys of age, one a line, as age-keygen writes
// it; empty lines and lines that begin with # are ignored. It may be such a
// file encrypted with a passphrase, as "age -p" makes it, armored or not. Or it
// may contain one private key of SSH, ed25519 or RSA.
//
// passphrase returns the passphrase of the file, without a line break. It may
// be nil if the file has none. For an encrypted file of age keys it is called
// at once. For an SSH key it is called when there is something to open, and
// again after a wrong passphrase.
//
// The error is ErrNoKey if there is no key, or if the passphrase is wrong or
// cannot be asked for; the error of passphrase; ErrLimit if the passphrase
// takes too much time or memory; or else an error that says what is wrong
// without quoting the text.
func ParseIdentities(text []byte, passphrase func() ([]byte, error)) (*Identity, error) {
	trimmed := bytes.TrimSpace(text)
	var (
		keys []privateKey
		err  error
	)
	switch {
	case bytes.HasPrefix(text, []byte("age-encryption.org/")):
		keys, err = parseEncrypted(bytes.NewReader(text), passphrase)
	case bytes.HasPrefix(trimmed, []byte(armor.Header)):
		keys, err = parseEncrypted(armor.NewReader(bytes.NewReader(trimmed)), passphrase)
	case bytes.HasPrefix(trimmed, []byte("-----BEGIN")):
		keys, err = parsePEM(trimmed, passphrase)
	default:
		keys, err = parseLines(string(text))
	}
	if err != nil {
		return nil, err
	}
	return newIdentity(keys)
}

func parseLines(text string) ([]privateKey, error) {
	var keys []privateKey
	for n, line := range keyLines(text) {
		k, err := parseLine(line)
		if err != nil {
			return nil, fmt.Errorf("line %d is %w", n, err)
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// keyLines returns the lines of a text that contain keys, with their numbers.
func keyLines(text string) iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		n := 0
		for line := range strings.Lines(text) {
			n++
			line = strings.TrimSpace(line)
			if line != "" && line[0] != '#' && !yield(n, line) {
				return
			}
		}
	}
}

// parseLine returns an error that completes "line 1 is " and does not quote the
// line.
func parseLine(line string) (privateKey, error) {
	switch {
	case strings.HasPrefix(line, "AGE-SECRET-KEY-PQ-1"):
		if id, err := age.ParseHybridIdentity(line); err == nil {
			return privateKey{Identity: id, public: id.Recipient(), id: recipientID(id.Recipient())}, nil
		}
	case strings.HasPrefix(line, "AGE-SECRET-KEY-1"):
		if id, err := age.ParseX25519Identity(line); err == nil {
			return privateKey{Identity: id, public: id.Recipient(), id: recipientID(id.Recipient())}, nil
		}
	case strings.HasPrefix(line, "AGE-PLUGIN-"):
		return privateKey{}, errors.New("a key of an age plugin; give it to NewIdentity")
	case !isPrivate(line):
		if _, _, err := parseRecipient(line); err == nil {
			return privateKey{}, errPublic
		}
		return privateKey{}, errors.New("not a private key of age; it must begin with AGE-SECRET-KEY-")
	}
	return privateKey{}, errors.New("not a whole age private key; copy it again")
}

var errPublic = errors.New("a public key, where a private key belongs; give the private half, which age-keygen or ssh-keygen made with it")

// parseEncrypted opens a file of age keys that was encrypted with "age -p".
func parseEncrypted(file io.Reader, passphrase func() ([]byte, error)) ([]privateKey, error) {
	if passphrase == nil {
		return nil, errLocked("the file of private keys")
	}
	const damaged = "the file of private keys is damaged: %.200s; use a copy"
	o := &opener{keys: []privateKey{{Identity: &lockedFile{passphrase}}}}
	plain, err := age.Decrypt(file, o)
	var noMatch *age.NoIdentityMatchError
	switch {
	case o.err != nil:
		return nil, o.err
	case errors.As(err, &noMatch):
		return nil, fmt.Errorf("the file of private keys is not encrypted with a passphrase but for %s; open it with age", list(o.kinds))
	case err != nil:
		return nil, fmt.Errorf(damaged, err)
	}
	text, err := io.ReadAll(plain)
	if err != nil {
		return nil, fmt.Errorf(damaged, err)
	}
	return parseLines(string(text))
}

func errLocked(what string) error {
	return fmt.Errorf("%w: %s is encrypted with a passphrase, and there is no way to ask for it; give ParseIdentities a function that returns it", backup.ErrNoKey, what)
}

func errPassphrase(what string) error {
	return fmt.Errorf("%w: this passphrase does not open %s; give the one that was set for it", backup.ErrNoKey, what)
}

func ask(passphrase func() ([]byte, error), what string) ([]byte, error) {
	text, err := passphrase()
	if err != nil {
		return nil, fmt.Errorf("ask for the passphrase of %s: %w", what, err)
	}
	if len(text) == 0 {
		return nil, errPassphrase(what)
	}
	return text, nil
}

// A lockedFile opens a file with a passphrase, for which it asks.
type lockedFile struct{ passphrase func() ([]byte, error) }

func (l *lockedFile) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	if len(stanzas) != 1 || stanzas[0].Type != "scrypt" {
		return nil, age.ErrIncorrectIdentity
	}
	o := new(opener)
	if err := o.checkWork(stanzas); err != nil {
		return nil, err
	}
	defer o.giveBack()
	const what = "the file of private keys"
	text, err := ask(l.passphrase, what)
	if err != nil {
		return nil, err
	}
	id, err := age.NewScryptIdentity(string(text))
	if err != nil {
		return nil, err
	}
	fileKey, err := id.Unwrap(stanzas)
	if errors.Is(err, age.ErrIncorrectIdentity) {
		return nil, errPassphrase(what)
	}
	return fileKey, err
}

// parsePEM returns errors that quote neither the text nor an error about it.
func parsePEM(text []byte, passphrase func() ([]byte, error)) ([]privateKey, error) {
	begin, _, _ := bytes.Cut(text, []byte("\n"))
	switch {
	case !isPrivate(string(text)) && bytes.Contains(begin, []byte("PUBLIC KEY-----")):
		return nil, fmt.Errorf("this is %w", errPublic)
	case bytes.Count(text, []byte("-----BEGIN")) > 1:
		return nil, errors.New("there is more than one SSH key; give each alone")
	}
	raw, err := ssh.ParseRawPrivateKey(text)
	if missing := (*ssh.PassphraseMissingError)(nil); errors.As(err, &missing) {
		if missing.PublicKey == nil {
			return nil, errors.New(`the SSH key is encrypted in a format that does not tell its public half; rewrite it with "ssh-keygen -p"`)
		}
		return parseLocked(missing.PublicKey, text, passphrase)
	}
	if err != nil {
		return nil, errors.New("this is no SSH private key that can be read; copy it again, or give one of type ed25519 or RSA")
	}
	k, _, err := fromSSH(raw)
	if err != nil {
		return nil, err
	}
	return []privateKey{k}, nil
}

// fromSSH returns the age key, and its public half, for a key that package ssh
// has parsed.
func fromSSH(raw any) (k privateKey, public ssh.PublicKey, err error) {
	switch raw := raw.(type) {
	case *ed25519.PrivateKey: // in the format of OpenSSH
		return fromSSH(*raw)
	case ed25519.PrivateKey: // in PKCS #8
		var id *agessh.Ed25519Identity
		if id, err = agessh.NewEd25519Identity(raw); err == nil {
			k = privateKey{Identity: id, public: id.Recipient()}
		}
	case *rsa.PrivateKey:
		var id *agessh.RSAIdentity
		if id, err = agessh.NewRSAIdentity(raw); err == nil {
			k = privateKey{Identity: id, public: id.Recipient()}
		}
	default:
		return k, nil, errors.New("this SSH key is of a type that age does not know; give one of type ed25519 or RSA")
	}
	if err != nil {
		return k, nil, errors.New("age does not take this SSH key; give another")
	}
	signer, err := ssh.NewSignerFromKey(raw)
	if err != nil {
		return k, nil, errors.New("age does not take this SSH key; give another")
	}
	k.id = sshID(signer.PublicKey())
	return k, signer.PublicKey(), nil
}

func parseLocked(public ssh.PublicKey, text []byte, passphrase func() ([]byte, error)) ([]privateKey, error) {
	recipient, id, err := fromSSHPublic(public)
	if err != nil {
		return nil, fmt.Errorf("this is %w", err)
	}
	if passphrase == nil {
		return nil, errLocked(id)
	}
	locked := &lockedKey{public: public, text: bytes.Clone(text), passphrase: passphrase}
	return []privateKey{{Identity: locked, public: recipient, id: id}}, nil
}

// A lockedKey is an encrypted SSH key. Package agessh has one too, but that
// loses the error of the function that asks for the passphrase, does not tell a
// wrong passphrase from a malformed file, and is not safe for concurrent use.
type lockedKey struct {
	public     ssh.PublicKey
	text       []byte
	passphrase func() ([]byte, error)

	mu   sync.Mutex
	open age.Identity // nil until it has been needed
}

func (l *lockedKey) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	sum := sha256.Sum256(l.public.Marshal())
	tag := base64.RawStdEncoding.EncodeToString(sum[:4])
	if !slices.ContainsFunc(stanzas, func(s *age.Stanza) bool {
		return s.Type == l.public.Type() && len(s.Args) > 0 && s.Args[0] == tag
	}) {
		return nil, age.ErrIncorrectIdentity
	}
	id, err := l.unlock()
	if err != nil {
		return nil, err
	}
	fileKey, err := id.Unwrap(stanzas)
	if err != nil && !errors.Is(err, age.ErrIncorrectIdentity) {
		err = fromKey(id, err)
	}
	return fileKey, err
}

func (l *lockedKey) unlock() (age.Identity, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open != nil {
		return l.open, nil
	}
	what := sshID(l.public)
	text, err := ask(l.passphrase, what)
	if err != nil {
		return nil, err
	}
	raw, err := ssh.ParseRawPrivateKeyWithPassphrase(l.text, text)
	if errors.Is(err, x509.IncorrectPasswordError) {
		return nil, errPassphrase(what)
	}
	if err != nil {
		return nil, fmt.Errorf("the private key %s cannot be read; use a copy", what)
	}
	k, public, err := fromSSH(raw)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(public.Marshal(), l.public.Marshal()) {
		return nil, fmt.Errorf("the private key %s is damaged: its halves do not belong together; use a copy", what)
	}
	l.open = k.Identity
	return l.open, nil
}
