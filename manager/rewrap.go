package manager

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/envelope"
	"github.com/tomo-project/backup/internal/filename"
	"github.com/tomo-project/backup/internal/stream"
)

// RewrapOptions say who can open the new backup. The zero value takes the keys of the
// Manager.
type RewrapOptions struct {
	// Recipients are those who can open the secrets. Nil means those of the Manager.
	Recipients []backup.Recipient

	// Encrypt encrypts the new file as a whole. Nil means that of the Manager. A backup
	// whose file is encrypted needs it.
	Encrypt backup.Encrypter

	// Delete deletes the old backup at each Location that has the new backup. If the old
	// backup stays somewhere, that is an error. One of the Identities must open the new
	// backup, so that it is certain that somebody can, and the new backup must have
	// MinCopies copies. Without Delete both backups stay: everybody who could open the old
	// backup still can, and retention counts both.
	Delete bool
}

// Rewrap makes a new backup of a stored backup for other recipients: after a change of
// keys, or for one more person. The new backup has the same data, the same time and a
// name of its own. [backup.App.Rewrap] says what happens to the sealed values and to the
// proof; a signed backup needs the Signer of the Manager.
//
// One of the Identities must open the old backup. The new backup is checked to its last
// secret before it is stored, and is read back afterwards. If one of the Identities opens
// the new backup too, all of it is read with that. Copies of the database cannot get other
// keys: make a new copy, and keep the old key as long as the old copies.
//
// The error wraps [backup.ErrNoKey] without a key to open the old backup or to seal the new
// one, and [backup.ErrUnauthentic] if a proof would be lost or made up. The other errors
// are those of Open and Create.
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
	// It is made and checked before a location is touched.
	temp, err := envelope.NewSpool(o.TempDir)
	if err != nil {
		return Backup{}, err
	}
	defer temp.Close()
	out := &stream.Writer{W: temp, Most: math.MaxInt64}
	m, err := o.App.Rewrap(ctx, out, old, backup.RewrapOptions{
		Recipients: opts.Recipients,
		Compress:   compress,
		Encrypt:    opts.Encrypt,
		Signer:     o.Signer,
		TempDir:    o.TempDir,
	})
	if err != nil {
		return Backup{}, fmt.Errorf("%s: %w", name, bare(err))
	}
	b, first, err := o.place(ctx, was.CreatedAt, kindOf(&m), "", func(ctx context.Context, w io.Writer) (backup.Manifest, error) {
		_, err := io.Copy(w, stream.WithContext(ctx, io.NewSectionReader(temp, 0, out.N)))
		return m, err
	})
	if err != nil {
		return Backup{}, err
	}
	if err := o.tryNewKeys(ctx, first, b.named, opts.Delete); err != nil {
		return Backup{}, errors.Join(fmt.Errorf("%s: %w", name, err), first.drop(ctx, b.named))
	}
	b = o.spread(ctx, b, first)
	c, err := o.listHeld(ctx)
	if err != nil {
		return b, err
	}
	for _, kind := range []mark{markAccepted, markRestored} { // the other marks are about the old keys
		if c.has(kind, name) {
			if err := o.mark(ctx, b, kind); err != nil {
				return b, err
			}
		}
	}
	err = o.enough(b)
	if opts.Delete && err == nil {
		err = o.deleteReplaced(ctx, c, name, from, b)
	}
	return b, err
}

// tryNewKeys reads the new backup with the Identities. That none of them opens it is an
// error only if one must.
func (o *operation) tryNewKeys(ctx context.Context, s *site, name filename.Name, must bool) error {
	keys := o.keys()
	keys.RequireProof = false
	snapshot, err := o.openAt(ctx, s, name, keys)
	if err == nil {
		err = cmp.Or(readAll(ctx, snapshot), snapshot.Close())
	}
	if (errors.Is(err, backup.ErrWrongKey) || errors.Is(err, backup.ErrNoKey)) && !must {
		return nil
	}
	if err != nil {
		return fmt.Errorf("the new backup does not open with the keys that were given, so nothing was changed: %w", err)
	}
	return nil
}

// deleteReplaced deletes a backup wherever the new backup is, if it is the same as the
// backup that was opened at from.
func (o *operation) deleteReplaced(ctx context.Context, c *catalog, name string, from *site, by Backup) error {
	old := find(c.backups, name)
	if old == nil {
		return nil
	}
	opened, err := from.digest(ctx, name)
	if err != nil {
		return fmt.Errorf("%s stays: %w", name, err)
	}
	var errs []error
	for _, down := range o.down {
		errs = append(errs, fmt.Errorf("%s: %s may still be there: %w", down.Location, name, down.Err))
	}
	for _, s := range o.sites {
		if old.at(s) == nil {
			continue
		}
		if !by.goodAt(s) {
			errs = append(errs, fmt.Errorf("%s: %s stays there, because the new backup is not there", s.name, name))
			continue
		}
		found, err := s.digest(ctx, name)
		if err == nil && found != opened {
			err = errors.New("this is not the one that was opened, so it stays")
		}
		if err == nil {
			err = s.drop(ctx, old.named)
		}
		for _, kind := range marks {
			if c.has(kind, name) && err == nil {
				err = s.remove(ctx, name+string(kind))
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: delete %s: %w", s.name, name, err))
		}
	}
	return errors.Join(errs...)
}

// readAll reads every record and opens its secrets.
func readAll(ctx context.Context, snapshot *backup.Snapshot) error {
	return snapshot.View(ctx, func(r backup.Reader) error {
		for _, name := range snapshot.Collections() {
			for _, err := range r.Records(ctx, name) {
				if err != nil {
					return err
				}
			}
		}
		return nil
	})
}
