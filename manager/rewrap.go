package manager

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/envelope"
	"github.com/tomo-project/backup/internal/filename"
)

// RewrapBackupOptions say who can open a backup from now on. The zero value takes the
// keys of the Manager.
type RewrapOptions struct {
	// Recipients are those who can open the secrets. Nil means those of the
	// Manager.
	Recipients []backup.Recipient

	// Encrypt encrypts the new file as a whole. Nil means that of the Manager. A
	// backup that was encrypted as a whole needs it.
	Encrypt backup.Encrypter

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
	keys.PreferProof = true
	old, from, err := o.openWith(ctx, name, keys)
	if err != nil {
		return Backup{}, fmt.Errorf("%s: %w", name, err)
	}
	defer old.Close()
	was := old.Manifest()
	compress := cmp.Or(o.Compress, was.Compressed)
	b, first, err := o.place(ctx, was.CreatedAt, envelope.Kind{Compressed: string(compress), Encrypted: opts.Encrypt != nil}, func(ctx context.Context, w io.Writer) (backup.Manifest, error) {
		return o.App.Rewrap(ctx, w, old, backup.RewrapOptions{
			Recipients: opts.Recipients,
			Compress:   compress,
			Encrypt:    opts.Encrypt,
			Signer:     o.Signer,
			TempDir:    o.TempDir,
		})
	})
	if err != nil {
		return Backup{}, fmt.Errorf("%s: %w", name, err)
	}
	if err := o.tryNewKeys(ctx, first, b.named, opts.Delete); err != nil {
		return Backup{}, errors.Join(fmt.Errorf("%s: %w", name, err), first.drop(ctx, b.named))
	}
	b = o.spread(ctx, b, first)
	c, err := o.listHeld(ctx)
	if err != nil {
		return b, err
	}
	for _, kind := range []mark{markAccepted, markRestored} { // the others are about its keys
		if c.has(kind, name) {
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
func (o *operation) tryNewKeys(ctx context.Context, p *site, name filename.Name, must bool) error {
	keys := o.keys()
	keys.RequireProof = false
	s, err := o.openAt(ctx, p, name, keys)
	if err == nil {
		err = cmp.Or(readAll(ctx, s), s.Close())
	}
	if (errors.Is(err, backup.ErrWrongKey) || errors.Is(err, backup.ErrNoKey)) && !must {
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
			err = p.drop(ctx, old.named)
		}
		for _, kind := range marks {
			if c.has(kind, name) && err == nil {
				err = p.remove(ctx, name+string(kind))
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: delete %s: %w", p.name, name, err))
		}
	}
	return errors.Join(errs...)
}

// readAll reads every record, and opens its secrets.
func readAll(ctx context.Context, s *backup.Snapshot) error {
	return s.View(ctx, func(r backup.Reader) error {
		for _, name := range s.Collections() {
			for _, err := range r.Records(ctx, name) {
				if err != nil {
					return err
				}
			}
		}
		return nil
	})
}
