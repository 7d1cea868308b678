package backup

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/tomo-project/backup/internal/codec"
)

// RewrapOptions say who can open a backup from now on. The zero value takes the
// keys of the Manager.
type RewrapOptions struct {
	// Recipients are those who can open the secrets. Nil means those of the
	// Manager.
	Recipients []Recipient

	// Encrypt encrypts the new file as a whole. Nil means that of the Manager. A
	// backup that was encrypted as a whole needs it.
	Encrypt Encrypter

	// Delete deletes the old backup at each Location that has the new one; where it
	// stays is an error. It needs one of the Identities to open the new one, to be
	// sure that somebody can, and as many copies as MinCopies. Without it both stay,
	// whoever could open the old one still can, and retention counts both.
	Delete bool
}

// Rewrap gives a stored backup new recipients: after a change of keys, or for one
// more person who is to be able to open it. The result is another backup, of the
// same time and with a name of its own, in which everything stands as it stood
// but who opens it, and the proof. That is made anew if the old one was proven
// authentic, for which what was signed needs the Signer of the Manager; otherwise
// there is none. Sealed values are copied as they are. So their key stays the same,
// and a passphrase cannot be given to what nothing has proven: who made that knows
// the key, and could make more that passes for proven by the passphrase.
//
// Copies of the database cannot be given other keys: make a new one, and keep the old
// key as long as the old ones.
//
// It takes one of the Identities. What is written is checked to the last secret
// before it is stored, and read back afterwards; that the new recipients can open it
// is tried if one of the Identities can. It returns ErrNoKey without a key,
// ErrUnauthentic if a proof would be lost or made up, and the errors of Open and
// Create.
func (m *Manager) Rewrap(ctx context.Context, name string, opts RewrapOptions) (Backup, error) {
	o, ctx, release, err := m.hold(ctx, "rewrap")
	if err != nil {
		return Backup{}, err
	}
	defer release()
	o.emit(ctx, Event{Kind: EventStarted, Backup: name})
	b, err := o.rewrap(ctx, name, opts)
	return b, o.done(ctx, Event{Backup: b.Name, Manifest: b.Manifest}, err)
}

func (o *operation) rewrap(ctx context.Context, name string, opts RewrapOptions) (Backup, error) {
	if opts.Recipients == nil {
		opts.Recipients = o.Recipients
	}
	if opts.Encrypt == nil {
		opts.Encrypt = o.Encrypt
	}
	keys := o.keys()
	keys.proofFirst = true
	old, from, err := o.openWith(ctx, name, keys)
	if err != nil {
		return Backup{}, fmt.Errorf("%s: %w", name, err)
	}
	defer old.Close()
	// All of it is written to a temporary copy and checked there: what is stored
	// can be opened by who holds the new keys only.
	temp, err := newSpool(o.TempDir)
	if err != nil {
		return Backup{}, advise(fmt.Errorf("make a temporary copy: %w", err))
	}
	defer temp.Close()
	m, err := o.rewrite(ctx, temp, old, opts)
	if err != nil {
		return Backup{}, fmt.Errorf("%s: %w", name, err)
	}
	if err := o.checkRewritten(ctx, temp, m, old); err != nil {
		return Backup{}, fmt.Errorf("%s: what was made of it does not open: %w", name, err)
	}
	b, first, err := o.place(ctx, m.CreatedAt, m.envelope(), func(ctx context.Context, w io.Writer) (Manifest, error) {
		file, err := m.Compressed.open(w, opts.Encrypt)
		if err != nil {
			return Manifest{}, err
		}
		if _, err := io.Copy(file, ctxReader{ctx, io.NewSectionReader(temp, 0, m.Bytes)}); err != nil {
			return Manifest{}, err
		}
		return m, file.Close()
	})
	if err != nil {
		return Backup{}, err
	}
	if err := o.tryNewKeys(ctx, first, b.Name, opts.Delete); err != nil {
		return Backup{}, errors.Join(fmt.Errorf("%s: %w", name, err), first.drop(ctx, b.Name))
	}
	b = o.spread(ctx, b, first)
	c, err := o.listHeld(ctx)
	if err != nil {
		return b, err
	}
	for _, kind := range []mark{markAccepted, markRestored} { // the others are about its keys
		if c.marked[kind][name] {
			if err := o.mark(ctx, b, kind); err != nil {
				return b, err
			}
		}
	}
	err = o.enough(b)
	if opts.Delete && err == nil {
		err = o.replaced(ctx, c, name, from, b)
	}
	return b, err
}

// tryNewKeys opens what was stored with the Identities, if one of them fits.
func (o *operation) tryNewKeys(ctx context.Context, p *site, name string, must bool) error {
	keys := o.keys()
	keys.RequireProof = false
	s, err := o.openAt(ctx, p, name, keys)
	if err == nil {
		err = cmp.Or(readAll(ctx, s), s.Close())
	}
	if (errors.Is(err, ErrWrongKey) || errors.Is(err, ErrNoKey)) && !must {
		return nil
	}
	if err != nil {
		return fmt.Errorf("what was made of it was not opened with the new keys, so nothing was changed: %w", err)
	}
	return nil
}

// replaced deletes a backup wherever the one that was made of it is.
func (o *operation) replaced(ctx context.Context, c *catalog, name string, from *site, by Backup) error {
	old := find(c.backups, name)
	if old == nil {
		return nil
	}
	_, opened, err := from.digest(ctx, name)
	if err != nil {
		return fmt.Errorf("%s stays: %w", name, err)
	}
	var errs []error
	for _, down := range o.down {
		errs = append(errs, fmt.Errorf("%s: %s may still be there: %w", down.Location, name, down.Err))
	}
	for _, p := range o.sites {
		if old.at(p) == nil {
			continue
		}
		if at := by.at(p); at == nil || at.Err != nil {
			errs = append(errs, fmt.Errorf("%s: %s stays there, because the new one is not there", p.name, name))
			continue
		}
		_, sum, err := p.digest(ctx, name)
		if err == nil && sum != opened {
			err = errors.New("it is not the one that was opened, so it stays")
		}
		if err == nil {
			err = p.drop(ctx, name)
		}
		for _, kind := range marks {
			if c.marked[kind][name] && err == nil {
				err = p.remove(ctx, name+string(kind))
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: delete %s: %w", p.name, name, err))
		}
	}
	return errors.Join(errs...)
}

// rewrite writes a snapshot with other wrapped keys.
func (o *operation) rewrite(ctx context.Context, w io.Writer, old *Snapshot, opts RewrapOptions) (Manifest, error) {
	c, err := o.App.compile()
	if err != nil {
		return Manifest{}, err
	}
	b := &backup{
		compiled: c,
		ctx:      ctx,
		opts:     BackupOptions{Signer: o.Signer},
		limits:   old.limits,
		problems: problems{tolerate: true, count: old.manifest.Missing},
		seen:     newSeen(nil),
		manifest: old.Manifest(),
		out:      codec.NewWriter(w),
	}
	m := &b.manifest
	m.Compressed, m.Encrypted, m.Authentic = cmp.Or(o.Compress, m.Compressed), opts.Encrypt != nil, ""
	switch e := old.encryption; {
	case old.envelope.Encrypted && opts.Encrypt == nil:
		return Manifest{}, fmt.Errorf("%w: it is encrypted as a whole, and what is made of it would not be: say for whom", ErrNoKey)
	case e == nil && opts.Encrypt == nil:
		return Manifest{}, fmt.Errorf("%w: nothing in it is sealed, so there is no key to wrap anew; encrypt the file as a whole", ErrNoKey)
	case e == nil: // secrets, if it has any, are in clear inside of the encrypted file
	case old.box == nil:
		return Manifest{}, fmt.Errorf("%w: to give it another key takes one that opens it: %s", ErrNoKey, alternatives(keyIDs(e.Keys)))
	case len(opts.Recipients) == 0:
		return Manifest{}, fmt.Errorf("%w: its secrets are sealed, and there is no recipient to seal them for", ErrNoKey)
	default:
		again := *e
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
		m.Keys = idsOf(opts.Encrypt)
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
func (o *operation) checkRewritten(ctx context.Context, temp *spool, m Manifest, old *Snapshot) error {
	opts := OpenOptions{Limits: o.Limits, TempDir: o.TempDir}
	if old.key != nil {
		opts.Identities = []Identity{knownKey(old.key)}
	}
	s, err := OpenSnapshot(ctx, io.NewSectionReader(temp, 0, m.Bytes), opts)
	if err != nil {
		return err
	}
	defer s.Close()
	return readAll(ctx, s)
}

// readAll reads every record, and opens its secrets.
func readAll(ctx context.Context, s *Snapshot) error {
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
