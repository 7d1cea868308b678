package manager

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/envelope"
	"github.com/tomo-project/backup/internal/fault"
	"github.com/tomo-project/backup/internal/filename"
	"github.com/tomo-project/backup/internal/seal"
)

// Open opens the first whole copy of a backup with the Identities of the Manager, for
// reading it or restoring it. The caller closes the Snapshot. Until then ctx must not be
// done, since the Location may read with it. The error wraps fs.ErrNotExist if name is not
// the name of a backup of the App, or if no Location has it.
func (m *Manager) Open(ctx context.Context, name string) (*backup.Snapshot, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	return m.openFor(ctx, name, m.keys())
}

// OpenWith is Open with these Identities instead of those of the Manager, such as a key
// that a person has typed in.
func (m *Manager) OpenWith(ctx context.Context, name string, identities ...backup.Identity) (*backup.Snapshot, error) {
	if err := cmp.Or(m.check(), fault.MissingIn("identities", identities)); err != nil {
		return nil, err
	}
	opts := m.keys()
	opts.Identities = identities
	return m.openFor(ctx, name, opts)
}

// keys are the OpenOptions with the Manager's own keys.
func (m *Manager) keys() backup.OpenOptions {
	return backup.OpenOptions{Identities: m.Identities, RequireProof: m.RequireProof, Trusted: m.Trusted}
}

func (m *Manager) openFor(ctx context.Context, name string, opts backup.OpenOptions) (*backup.Snapshot, error) {
	o, err := m.begin(ctx, "open")
	if err != nil {
		return nil, err
	}
	snapshot, _, err := o.openWith(ctx, name, opts)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", fault.Shorten(name), err)
	}
	return snapshot, nil
}

func (o *operation) open(ctx context.Context, name string) (*backup.Snapshot, error) {
	snapshot, _, err := o.openWith(ctx, name, o.keys())
	return snapshot, err
}

// openWith opens the first whole copy of a backup, and says at which site it is.
func (o *operation) openWith(ctx context.Context, name string, opts backup.OpenOptions) (*backup.Snapshot, *site, error) {
	named, ok := filename.Parse(o.App.Name, name)
	switch {
	case !ok:
		return nil, nil, fmt.Errorf("not the name of a backup of %s: %w", o.App.Name, fs.ErrNotExist)
	case named.Database:
		return nil, nil, errIsDatabase
	}
	var errs, missing []error
	for _, s := range o.sites {
		snapshot, err := o.openAt(ctx, s, named, opts)
		if err == nil {
			return snapshot, s, nil
		}
		if errors.Is(err, fs.ErrNotExist) {
			_, unasked := s.files(ctx)
			if unasked == nil {
				missing = append(missing, fmt.Errorf("%s: %w", s.name, fs.ErrNotExist))
				continue
			}
			// The folder may be missing too, which must not pass for a missing file.
			err = fmt.Errorf("cannot be asked: %v", unasked)
		}
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		o.learn(s, name, err)
		errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
	}
	if len(errs) == 0 {
		errs = missing
	}
	return nil, nil, errors.Join(errs...)
}

// openAt opens a backup at a site. Of opts only the keys and the required proof count.
func (o *operation) openAt(ctx context.Context, s *site, name filename.Name, opts backup.OpenOptions) (*backup.Snapshot, error) {
	opts.Name, opts.Limits, opts.TempDir, opts.Progress = name.String(), o.Limits, o.TempDir, o.progress(ctx, nil)
	snapshot, err := within(ctx, func(_ context.Context, alive func()) (*backup.Snapshot, error) {
		// With ctx and not with the context of this question, which ends with the answer.
		r, err := s.Open(ctx, name.String())
		if err != nil {
			return nil, err
		}
		r = lively(r, alive)
		opts.Identities, opts.CloseReader = patient(opts.Identities, alive), true
		snapshot, err := backup.OpenSnapshot(ctx, r, opts)
		if err != nil {
			r.Close()
			return nil, fault.Other(err) // the file is there
		}
		return snapshot, nil
	}, func(snapshot *backup.Snapshot) { snapshot.Close() })
	if err == nil && name.Encrypted && !snapshot.Manifest().Encrypted {
		snapshot.Close()
		return nil, fmt.Errorf("%w: its name says that it is encrypted, but it is not: somebody has put it in the place of another backup", backup.ErrUnauthentic)
	}
	if _, ok := errors.AsType[*envelope.LockedError](err); ok {
		if n, unknown := o.askNote(ctx, s, name); unknown == nil && len(n.Manifest.Keys) > 0 {
			err = fmt.Errorf("%w; it takes %s", err, seal.NameKeys(n.Manifest.Keys))
		}
	}
	return snapshot, err
}

// OpenFile opens the file of a backup as it is stored, to download it or to copy it
// elsewhere. It takes the first copy that is not known to be damaged, and does not look
// into it. The caller closes the file. The error wraps fs.ErrNotExist if no Location has
// the backup.
func (m *Manager) OpenFile(ctx context.Context, name string) (io.ReadCloser, error) {
	o, err := m.begin(ctx, "open")
	if err != nil {
		return nil, err
	}
	r, err := o.openFile(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", fault.Shorten(name), err)
	}
	return r, nil
}

func (o *operation) openFile(ctx context.Context, name string) (io.ReadCloser, error) {
	c, unasked := o.list(ctx)
	if c == nil {
		return nil, unasked
	}
	b := find(c.backups, name)
	if b == nil {
		return nil, errors.Join(fmt.Errorf("no location has it: %w", fs.ErrNotExist), unasked)
	}
	var errs []error
	for _, s := range o.sites {
		found := b.at(s)
		if found == nil {
			continue
		}
		err := found.Err
		if err == nil {
			var r io.ReadCloser
			if r, err = s.open(ctx, name); err == nil {
				return r, nil
			}
		}
		errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
	}
	return nil, errors.Join(errs...)
}
