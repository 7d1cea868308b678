package main

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"filippo.io/age"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/agekey"
)

// A keyring holds the keys of this run.
type keyring struct {
	passphrase *lazyKey
	given      bool // a passphrase was given; nobody has to be asked for it

	identities []*identityFile   // of --identity
	openers    []backup.Identity // what opens backups, in the order of trying
	trusted    []ed25519.PublicKey

	recipients *publicKeys   // of --recipient; nil: none were given
	signer     crypto.Signer // nil: nothing is signed
}

// onlyPassphrase tells whether nothing but the passphrase can have opened a backup.
func (k *keyring) onlyPassphrase() bool { return len(k.openers) > 0 && len(k.identities) == 0 }

// keys reads the keys that the flags name. The passphrase is read later, when
// it is needed.
func (c *cli) keys(ctx context.Context) (*keyring, error) {
	k := &keyring{passphrase: c.key(ctx), given: c.passphraseGiven()}
	for i, text := range c.open.trusted {
		key, err := parsePublicKey(text)
		if err != nil {
			return nil, usagef("--trust: key %d is %w", i+1, err)
		}
		k.trusted = append(k.trusted, key)
	}
	var err error
	if c.seal.given() {
		if k.recipients, err = readRecipients(c.seal.recipients, c.seal.recipientFiles); err != nil {
			return nil, err
		}
	}
	if c.seal.sign != "" {
		if k.signer, err = readSigner(c.seal.sign); err != nil {
			return nil, err
		}
	}
	for _, path := range c.open.identities {
		id, err := c.readIdentity(ctx, path)
		if err != nil {
			return nil, fmt.Errorf("identity file %s: %w", path, err)
		}
		k.identities = append(k.identities, id)
	}
	for _, id := range k.identities {
		k.openers = append(k.openers, id)
	}
	if c.hasPassphrase() { // last, since it takes time and perhaps a question
		k.openers = append(k.openers, k.passphrase)
	}
	return k, nil
}

// openOptions returns the options to open a file with these keys.
func (c *cli) openOptions(k *keyring, show func(backup.Progress)) backup.OpenOptions {
	return backup.OpenOptions{
		Identities:   k.openers,
		RequireProof: c.open.requireProof,
		Trusted:      k.trusted,
		Progress:     show,
	}
}

// An identityFile holds the private keys in a file of --identity.
type identityFile struct {
	*agekey.Identity
	path   string
	opened atomic.Bool // it has opened something
}

// Unwrap implements [backup.Identity].
func (f *identityFile) Unwrap(wrapped json.RawMessage) ([]byte, error) {
	key, err := f.Identity.Unwrap(wrapped)
	if err == nil {
		f.opened.Store(true)
	}
	return key, err
}

// Decrypt implements [backup.Decrypter].
func (f *identityFile) Decrypt(r io.Reader) (io.Reader, error) {
	plain, err := f.Identity.Decrypt(r)
	if err == nil {
		f.opened.Store(true)
	}
	return plain, err
}

// readIdentity reads a file of private keys. If the file has a passphrase, it
// asks for that.
func (c *cli) readIdentity(ctx context.Context, path string) (*identityFile, error) {
	text, err := readKeyFile(path)
	if err != nil {
		return nil, err
	}
	id, err := agekey.ParseIdentities(text, func() ([]byte, error) {
		if !c.interactive() {
			return nil, errors.New("it has a passphrase, and there is no terminal to ask for it")
		}
		return c.askSecret(ctx, "Passphrase of "+printable(path)+": ")
	})
	if err != nil {
		return nil, err
	}
	return &identityFile{Identity: id, path: path}, nil
}

// readKeyFile reads a file of keys.
func readKeyFile(path string) ([]byte, error) { return readSmall(path, 1<<20) }

// readSmall reads a file, and refuses one of more than most bytes.
func readSmall(path string, most int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, int64(most)+1))
	if err == nil && len(text) > most {
		err = &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("longer than %d bytes; give the right file", most)}
	}
	return text, err
}

// parsePublicKey reads a key of --trust. Its error completes "key 1 is ".
func parsePublicKey(text string) (ed25519.PublicKey, error) {
	key, err := base64.StdEncoding.Strict().DecodeString(strings.TrimSpace(text))
	if err != nil || len(key) != ed25519.PublicKeySize {
		return nil, errors.New("not the base64 of an Ed25519 public key, which has 32 bytes; tomo key generate --signing prints it")
	}
	return key, nil
}

// readSigner reads the private key of --sign. No error quotes the file.
func readSigner(path string) (crypto.Signer, error) {
	text, err := readKeyFile(path)
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	fail := func(why string) (crypto.Signer, error) { return nil, fmt.Errorf("signing key %s: %s", path, why) }
	block, _ := pem.Decode(text)
	switch {
	case block == nil || !strings.HasSuffix(block.Type, "PRIVATE KEY"):
		return fail("not a private key in PEM; make one with tomo key generate --signing")
	case block.Type == "ENCRYPTED PRIVATE KEY":
		return fail("it has a passphrase, which is not supported; remove that with openssl pkey")
	case block.Type != "PRIVATE KEY":
		return fail("a key of another kind; make one with tomo key generate --signing")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return fail("it is damaged; use a copy")
	}
	signer, ok := key.(ed25519.PrivateKey)
	if !ok {
		return fail("not an Ed25519 key; make one with tomo key generate --signing")
	}
	return signer, nil
}

// opensWith adds to an error which keys open the backup.
func opensWith(err error, keys []string) error {
	return fmt.Errorf("%w\n  %s", err, "it opens with "+keyNames(keys))
}

// lockedFor adds to an error about an encrypted file which kinds of keys open
// it.
func lockedFor(err error, file io.ReadSeeker) error {
	if _, failed := file.Seek(0, io.SeekStart); failed != nil {
		return err
	}
	kinds := &kindsOfKeys{}
	id, failed := agekey.NewIdentity(kinds)
	if failed != nil {
		return err
	}
	id.Decrypt(file)
	if len(kinds.names) == 0 {
		return err
	}
	return opensWith(err, kinds.names)
}

// kindsOfKeys opens nothing. It learns which kinds of keys do.
type kindsOfKeys struct{ names []string }

// Unwrap implements [age.Identity].
func (k *kindsOfKeys) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	for _, s := range stanzas {
		name := ""
		switch s.Type {
		case "scrypt":
			name = passphraseID
		case "X25519":
			name = "an age key"
		case "mlkem768x25519":
			name = "a post-quantum age key"
		case "ssh-ed25519", "ssh-rsa":
			name = "an SSH key"
		}
		if name != "" && !slices.Contains(k.names, name) {
			k.names = append(k.names, name)
		}
	}
	return nil, age.ErrIncorrectIdentity
}
