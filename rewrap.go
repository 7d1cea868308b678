package backup

import (
	"cmp"
	"context"
	"crypto"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/envelope"
	"github.com/tomo-project/backup/internal/seal"
	"github.com/tomo-project/backup/internal/stream"
)

// RewrapOptions say who can open the snapshot that Rewrap writes. The zero value is
// enough for no snapshot: see [App.Rewrap]. Recipients, Compress, Encrypt and Signer
// are as in [BackupOptions].
type RewrapOptions struct {
	Recipients []Recipient
	Compress   Compression
	Encrypt    Encrypter
	Signer     crypto.Signer

	// TempDir is the folder where the document is kept, encrypted, until it is
	// checked. Empty means os.TempDir.
	TempDir string
}

// Rewrap writes a snapshot to w again, with other keys: after a change of keys, or
// so that one more person can open it. The document stays the same but for the
// wrapped keys and the proof. Sealed values are copied as they are, so the data key
// stays the same: who has an old copy and an old key can still open that copy.
//
// A snapshot with sealed secrets needs Recipients, and must have been opened with an
// Identity. A snapshot whose file was encrypted as a whole needs Encrypt.
//
// The new snapshot carries a proof if s did and was proven authentic when it was
// opened. For that, a signed snapshot needs a Signer. One that a passphrase proves
// needs a passphrase among the Recipients, or, if only passphrases open it, a
// Signer. A snapshot that nothing has proven cannot be wrapped for a passphrase:
// whoever made it knows its data key, and could make another one that this
// passphrase seems to prove.
//
// Rewrap writes everything to a temporary file, and opens and checks that, before w
// gets the first byte. After an error the bytes written to w are worthless. It
// returns ErrNoKey if a key is missing to open, seal or encrypt, ErrUnauthentic if a
// proof would be lost or made up, ErrDamaged, ErrLimit, ErrInvalid, or the error of
// a key, w or ctx.
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
	if err := cmp.Or(s.given(), opts.given(w)); err != nil {
		return Manifest{}, err
	}
	temp, err := envelope.NewSpool(opts.TempDir)
	if err != nil {
		return Manifest{}, err
	}
	defer temp.Close()
	m, err := c.rewrite(ctx, temp, s, opts)
	if err != nil {
		return Manifest{}, err
	}
	if err := checkRewritten(ctx, temp, m, s, opts.TempDir); err != nil {
		return Manifest{}, fmt.Errorf("the new snapshot does not open: %w", err)
	}
	file, err := envelope.NewWriter(w, string(m.Compressed), opts.Encrypt)
	if err != nil {
		return Manifest{}, err
	}
	if _, err := io.Copy(file, stream.WithContext(ctx, io.NewSectionReader(temp, 0, m.Bytes))); err != nil {
		file.Close() // to release its memory; the file is worthless
		return Manifest{}, err
	}
	return m, file.Close()
}

// rewrite writes a snapshot with other wrapped keys.
func (c *compiled) rewrite(ctx context.Context, w io.Writer, old *Snapshot, opts RewrapOptions) (Manifest, error) {
	sw := &snapshotWriter{
		compiled: c,
		ctx:      ctx,
		opts:     BackupOptions{Signer: opts.Signer},
		limits:   old.limits,
		problems: problems{tolerate: true, count: old.manifest.Missing},
		seen:     newSeen(nil),
		manifest: old.Manifest(),
		out:      codec.NewWriter(w),
	}
	if err := sw.rewrapKeys(old, opts); err != nil {
		return Manifest{}, err
	}
	if err := sw.keepProof(old); err != nil {
		return Manifest{}, err
	}
	m := &sw.manifest
	m.Compressed, m.Encrypted, m.Authentic, m.Keys = opts.Compress, opts.Encrypt != nil, "", nil
	if sw.encryption != nil {
		m.Keys = keyIDs(sw.encryption.Keys)
	}
	if opts.Encrypt != nil {
		m.Keys = envelope.KeyIDs(opts.Encrypt)
	}
	if err := sw.writeHeader(); err != nil {
		return Manifest{}, err
	}
	sealed := *old
	sealed.box = nil // so that the records keep their sealed values
	for i := range sealed.sections {
		sec := &sealed.sections[i]
		if err := sw.out.BeginCollection(sec.Name, sec.IsMap); err != nil {
			return Manifest{}, err
		}
		err := sealed.eachRecord(ctx, sec, func(r item) error { return sw.out.Record(r.key, r.value) })
		if err != nil {
			return Manifest{}, err
		}
		if err := sw.out.EndCollection(); err != nil {
			return Manifest{}, err
		}
	}
	return sw.writeEnd()
}

// rewrapKeys wraps the data key of a snapshot for the new recipients.
func (sw *snapshotWriter) rewrapKeys(old *Snapshot, opts RewrapOptions) error {
	switch e := old.encryption; {
	case old.envelope.Encrypted && opts.Encrypt == nil:
		return fmt.Errorf("%w: the snapshot is encrypted as a whole, and the new one would not be: say for whom to encrypt it", ErrNoKey)
	case e == nil && opts.Encrypt == nil:
		return fmt.Errorf("%w: nothing in it is sealed, so there is no key to wrap anew; encrypt the file as a whole", ErrNoKey)
	case e == nil: // any secrets are in clear inside of the encrypted file
		return nil
	case old.box == nil:
		return fmt.Errorf("%w: giving it other keys takes one that opens it: %s", ErrNoKey, seal.NameKeys(keyIDs(e.Keys)))
	case len(opts.Recipients) == 0:
		return fmt.Errorf("%w: its secrets are sealed, and there is no recipient to seal them for", ErrNoKey)
	default:
		again := *e
		var err error
		if again.Keys, err = wrapFor(old.key, opts.Recipients); err != nil {
			return err
		}
		sw.encryption, sw.box = &again, old.box
		return nil
	}
}

// keepProof makes the new snapshot carry a proof if and only if the old one was
// proven, and no weaker proof than that one. It must not vouch for anything that
// was not proven.
func (sw *snapshotWriter) keepProof(old *Snapshot) error {
	bySignature := old.proof != nil && old.proof.Ed25519 != nil
	takesPassphrase := sw.encryption != nil && slices.ContainsFunc(sw.encryption.Keys, byPassphrase)
	// People without the passphrase know the data key too, and could make the MAC.
	others := old.encryption != nil && slices.ContainsFunc(old.encryption.Keys, func(k json.RawMessage) bool { return !byPassphrase(k) })
	switch authentic := old.manifest.Authentic; {
	case takesPassphrase && !old.byPassphrase && authentic == "":
		return fmt.Errorf("%w: whoever made it knows its data key, so a passphrase must not seem to prove it: leave the passphrase out, or restore the snapshot and make a new backup", ErrUnauthentic)
	case old.proof == nil:
		sw.box, sw.opts.Signer = nil, nil
	case authentic == provenByPassphrase && !bySignature && others:
		if sw.opts.Signer = nil; !takesPassphrase {
			return fmt.Errorf("%w: a passphrase proves that it is authentic, which would be lost: keep a passphrase among the recipients", ErrUnauthentic)
		}
	case authentic == "":
		return fmt.Errorf("%w: it carries a proof that was not checked: open it with the passphrase, or trust the key that it is signed with", ErrUnauthentic)
	case bySignature && sw.opts.Signer == nil:
		return fmt.Errorf("%w: it is signed, and its signature would be lost: give a signer", ErrUnauthentic)
	case sw.opts.Signer == nil && !takesPassphrase:
		return fmt.Errorf("%w: a passphrase proves that it is authentic, which would be lost: keep a passphrase among the recipients, or give a signer", ErrUnauthentic)
	}
	return nil
}

// checkRewritten reads the new snapshot to its last secret, with the data key.
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
		if err := s.eachRecord(ctx, &s.sections[i], func(item) error { return nil }); err != nil {
			return err
		}
	}
	return nil
}

// A knownKey is the data key itself, as an Identity.
type knownKey []byte

func (k knownKey) Unwrap(json.RawMessage) ([]byte, error) { return k, nil }
