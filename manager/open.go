package manager

import (
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

// Open opens a backup for reading, restoring or looking at it: the first copy
// that is whole, with the Identities of the Manager. The caller closes it; until then
// ctx must not be done, since a Location may go on reading with it. The
// name must be that of a backup of the App; the error wraps fs.ErrNotExist if no
// Location has it.
func (m *Manager) Open(ctx context.Context, name string) (*backup.Snapshot, error) {
	o, err := m.begin(ctx, "open")
	if err != nil {
		return nil, err
	}
	s, _, err := o.open(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return s, nil
}

// OpenWith is Open with these Identities instead of those of the Manager: with what
// a person has typed in.
func (m *Manager) OpenWith(ctx context.Context, name string, identities ...backup.Identity) (*backup.Snapshot, error) {
	o, err := m.begin(ctx, "open")
	if err != nil {
		return nil, err
	}
	opts := m.keys()
	opts.Identities = identities
	s, _, err := o.openWith(ctx, name, opts)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return s, nil
}

func (o *operation) open(ctx context.Context, name string) (*backup.Snapshot, *site, error) {
	return o.openWith(ctx, name, o.keys())
}

func (o *operation) openWith(ctx context.Context, name string, opts backup.OpenOptions) (*backup.Snapshot, *site, error) {
	named, ok := filename.Parse(o.App.Name, name)
	switch {
	case !ok:
		return nil, nil, fmt.Errorf("not the name of a backup of %s: %w", o.App.Name, fs.ErrNotExist)
	case named.Database:
		return nil, nil, errIsDatabase
	}
	var errs, missing []error
	for _, p := range o.sites {
		s, err := o.openAt(ctx, p, named, opts)
		if err == nil {
			return s, p, nil
		}
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		if errors.Is(err, fs.ErrNotExist) {
			// It may be the folder that is missing, which says nothing of the file.
			if _, err := p.files(ctx); err == nil {
				missing = append(missing, fmt.Errorf("%s: %w", p.name, fs.ErrNotExist))
				continue
			}
			err = fmt.Errorf("cannot be asked: %v", err)
		}
		o.learn(p, name, err)
		errs = append(errs, fmt.Errorf("%s: %w", p.name, err))
	}
	if len(errs) == 0 {
		errs = missing
	}
	return nil, nil, errors.Join(errs...)
}

// openAt opens a backup at a location. Of opts only the keys count, and what
// proof they ask for.
func (o *operation) openAt(ctx context.Context, p *site, name filename.Name, opts backup.OpenOptions) (*backup.Snapshot, error) {
	opts.Name, opts.Limits, opts.TempDir, opts.Progress = name.String(), o.Limits, o.TempDir, o.progress(ctx, nil)
	s, err := within(ctx, func(_ context.Context, alive func()) (*backup.Snapshot, error) {
		// Not with the context of the question, which ends with the answer.
		r, err := p.Open(ctx, name.String())
		if err != nil {
			return nil, err
		}
		r = lively(r, alive)
		opts.Identities, opts.CloseReader = patient(opts.Identities, alive), true
		s, err := backup.OpenSnapshot(ctx, r, opts)
		if err != nil {
			r.Close()
			return nil, err
		}
		return s, nil
	}, func(s *backup.Snapshot) { s.Close() })
	if err == nil && name.Encrypted && !s.Manifest().Encrypted {
		s.Close()
		return nil, fmt.Errorf("%w: its name says that it is encrypted, and it is not: it was put there in the place of another", backup.ErrUnauthentic)
	}
	if _, ok := errors.AsType[*envelope.LockedError](err); ok {
		n, unknown := within(ctx, func(ctx context.Context, alive func()) (note, error) { return o.readNote(ctx, p, name, alive) }, nil)
		if unknown == nil && len(n.Manifest.Keys) > 0 {
			err = fmt.Errorf("%w; it takes %s", err, seal.NameKeys(n.Manifest.Keys))
		}
	}
	return s, err
}

// keys are the OpenOptions of a Manager's own keys.
func (m *Manager) keys() backup.OpenOptions {
	return backup.OpenOptions{Identities: m.Identities, RequireProof: m.RequireProof, Trusted: m.Trusted}
}

// What a person does with the files of backups, beside restoring them: take one
// away, delete one, try whether a location takes any.

// OpenFile opens the file of a backup as it is stored, to be downloaded or copied
// to somewhere else: the first copy that nothing is known against. What is in it is
// not looked at. The caller closes it. The error wraps fs.ErrNotExist if no Location
// has the backup.
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
	for _, p := range o.sites {
		copied := b.at(p)
		if copied == nil {
			continue
		}
		err := copied.Err
		if err == nil {
			var r io.ReadCloser
			if r, err = p.openFile(ctx, name); err == nil {
				return r, nil
			}
		}
		errs = append(errs, fmt.Errorf("%s: %w", p.name, err))
	}
	return nil, errors.Join(errs...)
}
