package backup

import (
	"context"
	"crypto"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/envelope"
	"github.com/tomo-project/backup/internal/fault"
	"github.com/tomo-project/backup/internal/seal"
	"github.com/tomo-project/backup/internal/stream"
)

// RewrapOptions say who can open what Rewrap writes. Each field is as in
// [BackupOptions].
type RewrapOptions struct {
	Recipients []Recipient
	Compress   Compression
	Encrypt    Encrypter
	Signer     crypto.Signer

	// TempDir is where the document is kept, encrypted, until it is checked. Empty
	// means os.TempDir.
	TempDir string
}

// Rewrap writes a snapshot for other recipients to w: after a change of keys, or for
// one more person who is to be able to open it. All of the document stays as it is,
// but who can open it, and the proof. Sealed values are copied as they are, so their
// key stays the same, and s must have been opened with an Identity. A snapshot that
// was encrypted as a whole needs Encrypt.
//
// The proof is made anew if s was proven authentic when it was opened; what was
// signed needs a Signer for that. A snapshot that nothing has proven gets no
// passphrase: whoever made it knows its key, and could make more that passes for
// proven by that passphrase.
//
// Everything is written to a temporary file and checked to its last secret before w
// gets the first byte. After an error what w got is worthless. Rewrap returns
// ErrNoKey without a key to open or to seal, ErrUnauthentic if a proof would be lost
// or made up, ErrDamaged, or the error of w or ctx.
func (a *App) Rewrap(ctx context.Context, w io.Writer, s *Snapshot, opts RewrapOptions) (Manifest, error) {
	m, err := a.rewrap(ctx, w, s, opts)
	if err != nil {
		return Manifest{}, fmt.Errorf("rewrap: %w", err)
	}
	return m, nil
}

func (a *App) rewrap(ctx context.Context, w io.Writer, s *Snapshot, opts RewrapOptions) (Manifest, error) {
	c, err := a.compile()
	if err != nil {
		return Manifest{}, err
	}
	temp, err := envelope.NewSpool(opts.TempDir)
	if err != nil {
		return Manifest{}, fault.Advise(fmt.Errorf("make a temporary copy: %w", err))
	}
	defer temp.Close()
	m, err := c.rewrite(ctx, temp, s, opts)
	if err != nil {
		return Manifest{}, err
	}
	if err := checkRewritten(ctx, temp, m, s, opts.TempDir); err != nil {
		return Manifest{}, fmt.Errorf("what was made of it does not open: %w", err)
	}
	file, err := envelope.NewWriter(w, string(m.Compressed), opts.Encrypt)
	if err != nil {
		return Manifest{}, err
	}
	if _, err := io.Copy(file, stream.WithContext(ctx, io.NewSectionReader(temp, 0, m.Bytes))); err != nil {
		file.Close() // for what it holds: the file is worthless
		return Manifest{}, err
	}
	return m, file.Close()
}

// rewrite writes a snapshot with other wrapped keys.
func (c *compiled) rewrite(ctx context.Context, w io.Writer, old *Snapshot, opts RewrapOptions) (Manifest, error) {
	b := &backup{
		compiled: c,
		ctx:      ctx,
		opts:     BackupOptions{Signer: opts.Signer},
		limits:   old.limits,
		problems: problems{tolerate: true, count: old.manifest.Missing},
		seen:     newSeen(nil),
		manifest: old.Manifest(),
		out:      codec.NewWriter(w),
	}
	m := &b.manifest
	m.Compressed, m.Encrypted, m.Authentic = opts.Compress, opts.Encrypt != nil, ""
	switch e := old.encryption; {
	case old.envelope.Encrypted && opts.Encrypt == nil:
		return Manifest{}, fmt.Errorf("%w: it is encrypted as a whole, and what is made of it would not be: say for whom", ErrNoKey)
	case e == nil && opts.Encrypt == nil:
		return Manifest{}, fmt.Errorf("%w: nothing in it is sealed, so there is no key to wrap anew; encrypt the file as a whole", ErrNoKey)
	case e == nil: // secrets, if it has any, are in clear inside of the encrypted file
	case old.box == nil:
		return Manifest{}, fmt.Errorf("%w: to give it another key takes one that opens it: %s", ErrNoKey, seal.NameKeys(keyIDs(e.Keys)))
	case len(opts.Recipients) == 0:
		return Manifest{}, fmt.Errorf("%w: its secrets are sealed, and there is no recipient to seal them for", ErrNoKey)
	default:
		again := *e
		var err error
		if again.Keys, err = wrapFor(old.key, opts.Recipients); err != nil {
			return Manifest{}, err
		}
		b.encryption, b.box = &again, old.box
	}
	if err := b.provenAs(old); err != nil {
		return Manifest{}, err
	}
	m.Keys = nil
	if b.encryption != nil {
		m.Keys = keyIDs(b.encryption.Keys)
	}
	if opts.Encrypt != nil {
		m.Keys = envelope.KeyIDs(opts.Encrypt)
	}
	if err := b.header(); err != nil {
		return Manifest{}, err
	}
	sealed := *old
	sealed.box = nil // as they stand
	for i := range sealed.sections {
		sec := &sealed.sections[i]
		if err := b.out.BeginCollection(sec.Name, sec.IsMap); err != nil {
			return Manifest{}, err
		}
		err := sealed.records(ctx, sec, func(r item) error { return b.out.Record(r.key, r.value) })
		if err != nil {
			return Manifest{}, err
		}
		if err := b.out.EndCollection(); err != nil {
			return Manifest{}, err
		}
	}
	return b.end()
}

// provenAs sees to it that what is made of a snapshot carries a proof if and only
// if that was proven itself, and by no less: nobody vouches for anything here.
func (b *backup) provenAs(old *Snapshot) error {
	bySignature := old.proof != nil && old.proof.Ed25519 != nil
	takesPassphrase := b.encryption != nil && slices.ContainsFunc(b.encryption.Keys, byPassphrase)
	// Others than those with the passphrase know the key, and could make the MAC.
	others := old.encryption != nil && slices.ContainsFunc(old.encryption.Keys, func(k json.RawMessage) bool { return !byPassphrase(k) })
	switch authentic := old.manifest.Authentic; {
	case takesPassphrase && !old.byPassphrase && authentic == "":
		return fmt.Errorf("%w: whoever made it knows its key, so a passphrase must not seem to prove it: leave the passphrase away, or restore it and make a new backup", ErrUnauthentic)
	case old.proof == nil:
		b.box, b.opts.Signer = nil, nil
	case authentic == provenByPassphrase && !bySignature && others:
		if b.opts.Signer = nil; !takesPassphrase {
			return fmt.Errorf("%w: a passphrase proves that it is authentic, which would be lost: keep a passphrase among the recipients", ErrUnauthentic)
		}
	case authentic == "":
		return fmt.Errorf("%w: it carries a proof that was not checked: open it with the passphrase, or trust the key that it is signed with", ErrUnauthentic)
	case bySignature && b.opts.Signer == nil:
		return fmt.Errorf("%w: it is signed, and its signature would be lost: give a signer", ErrUnauthentic)
	case b.opts.Signer == nil && !takesPassphrase:
		return fmt.Errorf("%w: a passphrase proves that it is authentic, which would be lost: keep a passphrase among the recipients, or give a signer", ErrUnauthentic)
	}
	return nil
}

// checkRewritten reads what was made of a snapshot to its last secret, with the key
// that is known.
func checkRewritten(ctx context.Context, temp *envelope.Spool, m Manifest, old *Snapshot, tempDir string) error {
	opts := OpenOptions{TempDir: tempDir}
	if old.key != nil {
		opts.Identities = []Identity{knownKey(old.key)}
	}
	s := &Snapshot{limits: old.limits}
	defer s.Close()
	if err := s.open(ctx, io.NewSectionReader(temp, 0, m.Bytes), opts); err != nil {
		return err
	}
	for i := range s.sections {
		if err := s.records(ctx, &s.sections[i], func(item) error { return nil }); err != nil {
			return err
		}
	}
	return nil
}

// A knownKey is an Identity that needs no wrapped key.
type knownKey []byte

func (k knownKey) Unwrap(json.RawMessage) ([]byte, error) { return k, nil }
