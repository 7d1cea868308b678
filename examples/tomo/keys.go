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
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/agekey"
)

// paths is the value of a flag that names a file each time that it is given.
type paths []string

// Set implements pflag.Value, as the next two methods do.
func (p *paths) Set(path string) error {
	if path == "" {
		return errors.New("the path is empty")
	}
	*p = append(*p, path)
	return nil
}

func (p *paths) String() string { return "" }
func (p *paths) Type() string   { return "file" }

// compression is the value of --compress.
type compression backup.Compression

// Set implements pflag.Value, as the next two methods do.
func (c *compression) Set(name string) error {
	*c = compression(name)
	if name != string(backup.Gzip) && name != string(backup.Zstd) {
		return fmt.Errorf("want %s or %s", backup.Gzip, backup.Zstd)
	}
	return nil
}

func (c *compression) String() string { return string(*c) }
func (c *compression) Type() string   { return "string" }

// openFlags say what opens the backups that are there, and what has to prove them.
type openFlags struct {
	identities   paths    // --identity
	trusted      []string // --trust
	requireProof bool     // --require-proof
}

// sealFlags say who can open what is stored, and how it is stored. What is read
// from the flags with keys is checked later and never quoted: somebody may give a
// private key by mistake, and pflag would print it.
type sealFlags struct {
	recipients     []string    // --recipient
	recipientFiles paths       // --recipients-file
	sign           string      // --sign
	encrypt        bool        // --encrypt
	compress       compression // --compress
}

// given tells whether there are public keys to seal for.
func (f sealFlags) given() bool { return len(f.recipients)+len(f.recipientFiles) > 0 }

// identityFlags adds the flags that say what opens backups.
func (c *cli) identityFlags(cmd *cobra.Command) {
	c.passphraseFlag(cmd)
	cmd.Flags().Var(&c.open.identities, "identity", "`FILE` with a private key that opens backups, of age or SSH; may be repeated")
}

// openFlags adds the flags of a command that opens backups, and can tell whether
// they are authentic.
func (c *cli) openFlags(cmd *cobra.Command) {
	c.identityFlags(cmd)
	cmd.Flags().StringArrayVar(&c.open.trusted, "trust", nil, "public `KEY` whose signature proves that a backup is authentic; may be repeated")
	cmd.Flags().BoolVar(&c.open.requireProof, "require-proof", false, "refuse a backup that neither the passphrase nor a --trust key proves")
}

// recipientFlags adds the flags that say for whom something is sealed, and who
// signs it.
func (c *cli) recipientFlags(cmd *cobra.Command, what string) {
	cmd.Flags().StringArrayVar(&c.seal.recipients, "recipient", nil, "public `KEY` to seal "+what+" for: age1…, age1pq1… or 'ssh-ed25519 …'; may be repeated")
	cmd.Flags().Var(&c.seal.recipientFiles, "recipients-file", "`FILE` of such keys, one a line; may be repeated")
	cmd.Flags().Var((*pathFlag)(&c.seal.sign), "sign", "`FILE` with the key to sign "+what+" with (tomo key generate --signing)")
}

// pathFlag is the value of a flag that names one file.
type pathFlag string

// Set implements pflag.Value, as the next two methods do.
func (f *pathFlag) Set(path string) error {
	if path == "" {
		return errors.New("the path is empty")
	}
	*f = pathFlag(path)
	return nil
}

func (f *pathFlag) String() string { return string(*f) }
func (f *pathFlag) Type() string   { return "file" }

// sealFlags adds the flags of a command that makes backups.
func (c *cli) sealFlags(cmd *cobra.Command) {
	c.recipientFlags(cmd, "it")
	cmd.Flags().BoolVar(&c.seal.encrypt, "encrypt", false, "encrypt the whole file, and not only the secrets in it")
	cmd.Flags().Var(&c.seal.compress, "compress", "compress the file: `gzip|zstd`")
}

// A keyring holds the keys of this run.
type keyring struct {
	passphrase *lazyKey
	given      bool // a passphrase, and not only somebody who could be asked

	identities []*identityFile   // of --identity
	openers    []backup.Identity // what opens backups, in the order in which it is tried
	trusted    []ed25519.PublicKey

	recipients *publicKeys   // of --recipient; nil: none were given
	signer     crypto.Signer // nil: nothing is signed
}

// keys reads the keys that the flags name. The passphrase is left until it turns
// out to be needed.
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
	if c.hasPassphrase() { // which takes time, and perhaps a question
		k.openers = append(k.openers, k.passphrase)
	}
	return k, nil
}

// openOptions is how a file is opened with these keys.
func (c *cli) openOptions(k *keyring, show func(backup.Progress)) backup.OpenOptions {
	return backup.OpenOptions{
		Identities:   k.openers,
		RequireProof: c.open.requireProof,
		Trusted:      k.trusted,
		Progress:     show,
	}
}

// An identityFile is the private keys in a file of --identity.
type identityFile struct {
	*agekey.Identity
	path   string
	opened atomic.Bool // something
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

// readIdentity reads a file of private keys. One with a passphrase of its own has
// it asked for at the prompt.
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

const maxKeyFile = 1 << 20

// readKeyFile reads a small file.
func readKeyFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err == nil && len(text) > maxKeyFile {
		err = fmt.Errorf("longer than %d bytes, so it is no file of keys", maxKeyFile)
	}
	return text, err
}

// publicKeys are the keys of --recipient. What one age file is encrypted for are
// either post-quantum keys or others, so each kind has a Recipient of its own.
type publicKeys struct{ kinds []*agekey.Recipient }

// readRecipients reads public keys from flags and files.
func readRecipients(keys []string, files []string) (*publicKeys, error) {
	var classic, postQuantum []string
	add := func(text string, wrong func(line int, err error) error) error {
		n := 0
		for line := range strings.Lines(text) {
			n++
			line = strings.TrimSpace(line)
			if line == "" || line[0] == '#' {
				continue
			}
			if _, err := agekey.ParseRecipients(line); err != nil {
				return wrong(n, err)
			}
			if strings.HasPrefix(line, "age1pq1") {
				postQuantum = append(postQuantum, line)
			} else {
				classic = append(classic, line)
			}
		}
		return nil
	}
	// agekey says "line 1 is …" of each.
	what := func(err error) string { return strings.TrimPrefix(err.Error(), "line 1 is ") }
	for i, key := range keys {
		err := add(key, func(_ int, err error) error { return usagef("--recipient: key %d is %s", i+1, what(err)) })
		if err != nil {
			return nil, err
		}
	}
	for _, path := range files {
		text, err := readKeyFile(path)
		if err == nil {
			err = add(string(text), func(line int, err error) error { return fmt.Errorf("line %d is %s", line, what(err)) })
		}
		if err != nil {
			return nil, fmt.Errorf("recipients file %s: %w", path, err)
		}
	}
	if len(classic)+len(postQuantum) == 0 {
		return nil, usagef("--recipient: no public key given")
	}
	found := &publicKeys{}
	for _, kind := range [][]string{classic, postQuantum} {
		if len(kind) == 0 {
			continue
		}
		r, err := agekey.ParseRecipients(strings.Join(kind, "\n"))
		if err != nil {
			return nil, fmt.Errorf("recipients: %w", err)
		}
		found.kinds = append(found.kinds, r)
	}
	return found, nil
}

// whole returns what encrypts a whole file for all of the keys.
func (p *publicKeys) whole() (backup.Encrypter, error) {
	if len(p.kinds) > 1 {
		return nil, usagef("a whole file cannot be encrypted for post-quantum keys (age1pq1…) and others together: give recipients of one kind; without encryption of the whole file the secrets can be sealed for both")
	}
	return p.kinds[0], nil
}

// A sealing says who can open what is stored.
type sealing struct {
	recipients []backup.Recipient
	encrypt    backup.Encrypter // nil: the file is not encrypted as a whole
}

// sealing returns who can open what this run stores: those of --recipient, and who
// has the passphrase if one was given; without --recipient who has the passphrase.
// It is found now, so that nobody is asked for it in the middle of the work.
func (k *keyring) sealing(whole bool) (s sealing, err error) {
	if k.recipients == nil {
		return k.withPassphrase(whole)
	}
	for _, r := range k.recipients.kinds {
		s.recipients = append(s.recipients, r)
	}
	if k.given {
		if err := k.passphrase.get(true); err != nil {
			return s, err
		}
		s.recipients = append(s.recipients, k.passphrase)
	}
	if whole {
		s.encrypt, err = k.recipients.whole()
	}
	return s, err
}

func (k *keyring) withPassphrase(whole bool) (s sealing, err error) {
	if err := k.passphrase.get(true); err != nil {
		return s, err
	}
	s.recipients = []backup.Recipient{k.passphrase}
	if whole {
		s.encrypt, _, err = k.passphrase.age()
	}
	return s, err
}

// wayBack returns who can open what a restore replaces: those of --recipient, or
// who has the passphrase if one was given or asked for, or who has the private
// keys that opened the backup, so that a key in a file is enough to restore.
func (k *keyring) wayBack(whole bool) (s sealing, err error) {
	if k.recipients != nil || k.given || k.passphrase.known() || len(k.identities) == 0 {
		return k.sealing(whole)
	}
	ids := k.identities // if nothing had to be opened
	for _, id := range k.identities {
		if id.opened.Load() {
			ids = []*identityFile{id}
			break
		}
	}
	for _, id := range ids {
		r, err := id.Recipient()
		if err != nil {
			return s, fmt.Errorf("what is replaced cannot be sealed for the keys in %s, so say for whom with --recipient: %w", id.path, err)
		}
		s.recipients = append(s.recipients, r)
		if whole && s.encrypt == nil {
			s.encrypt = r
		}
	}
	return s, nil
}

// names says who that is, for a person.
func (s sealing) names() []string {
	var names []string
	add := func(of any) {
		switch of := of.(type) {
		case *lazyKey:
			names = append(names, passphraseID)
		case interface{ KeyIDs() []string }:
			names = append(names, of.KeyIDs()...)
		}
	}
	if s.encrypt != nil {
		add(s.encrypt)
		return names
	}
	for _, r := range s.recipients {
		add(r)
	}
	return names
}

// passphraseID stands for the passphrase in [backup.Manifest].Keys.
const passphraseID = "passphrase"

// keyNames puts the names of keys in a line.
func keyNames(ids []string) string {
	const most = 8
	var names []string
	for i, id := range ids {
		if i == most {
			names = append(names, count(int64(len(ids)-most))+" more")
			break
		}
		if id == passphraseID {
			id = "the passphrase"
		}
		names = append(names, printable(shortened(id, 120)))
	}
	return strings.Join(names, ", ")
}

// parsePublicKey reads a key of --trust. The error goes on from "key 1 is ".
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
		return fail("it has a passphrase, which is not supported; take it off with openssl pkey")
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

// lockedFor adds to the error about a file that is encrypted as a whole what kind
// of keys opens it.
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

// kindsOfKeys opens nothing, and learns what does.
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
