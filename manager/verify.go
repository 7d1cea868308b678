package manager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/fault"
	"github.com/tomo-project/backup/internal/filename"
	"github.com/tomo-project/backup/location"
)

// A Verified is what Verify or Rehearse found out about one copy of a backup.
type Verified struct {
	Location string
	Backup   string // its name
	Manifest backup.Manifest
	Report   backup.Report // the counts, and warnings about what could not be checked
	Err      error         // what is wrong with the copy; nil: nothing
}

// MarshalJSON returns the members location, backup, manifest, report and error; the
// last stands in the place of the two before it.
func (v Verified) MarshalJSON() ([]byte, error) {
	out := struct {
		Location string           `json:"location"`
		Backup   string           `json:"backup,omitempty"`
		Manifest *backup.Manifest `json:"manifest,omitempty"`
		Report   *backup.Report   `json:"report,omitempty"`
		Error    string           `json:"error,omitempty"`
	}{Location: v.Location, Backup: v.Backup, Error: errorText(v.Err)}
	if v.Err == nil {
		out.Manifest, out.Report = &v.Manifest, &v.Report
	}
	return json.Marshal(out)
}

// Verify reads every copy of a backup to its end and checks all that a restore
// would: the digest, strict JSON, schemas, keys, references, and that the
// Identities open it (guide, "Backup Verification"). Without Identities sealed
// secrets are not opened, and of what is encrypted as a whole the file is held
// against the digest beside it, with a warning. Of a copy of the database Verify
// checks the digest beside it, and has Database check it. The result has an entry for each
// Location that has a copy, and for each that cannot be asked; the error joins
// theirs, and wraps fs.ErrNotExist if there is no copy.
func (m *Manager) Verify(ctx context.Context, name string) ([]Verified, error) {
	o, err := m.begin(ctx, "verify")
	if err != nil {
		return nil, err
	}
	o.emit(ctx, Event{Kind: EventStarted, Backup: name})
	found, err := o.verifyAll(ctx, name)
	return found, o.done(ctx, Event{Backup: name}, err)
}

func (o *operation) verifyAll(ctx context.Context, name string) ([]Verified, error) {
	named, ok := filename.Parse(o.App.Name, name)
	if !ok {
		return nil, fmt.Errorf("%q is not the name of a backup of %s: %w", fault.Shorten(name), o.App.Name, fs.ErrNotExist)
	}
	var found []Verified
	var errs []error
	copies := 0
	for _, p := range o.sites {
		v := Verified{Location: p.name, Backup: name}
		files, err := p.files(ctx)
		if v.Err = err; err == nil {
			if !slices.ContainsFunc(files, func(f location.File) bool { return f.Name == name }) {
				continue
			}
			copies++
			v.Manifest, v.Report, v.Err = o.verify(ctx, p, named, backup.RestoreOptions{})
		}
		if ctx.Err() != nil {
			return found, ctx.Err()
		}
		if v.Err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p.name, v.Err))
		}
		found = append(found, v)
	}
	if copies == 0 {
		errs = append(errs, fmt.Errorf("no location has %s: %w", name, fs.ErrNotExist))
	}
	return found, errors.Join(errs...)
}

// verify reads a copy of a backup to its end and remembers what it found.
func (o *operation) verify(ctx context.Context, p *site, name filename.Name, opts backup.RestoreOptions) (backup.Manifest, backup.Report, error) {
	if name.Database {
		return o.verifyDatabase(ctx, p, name)
	}
	s, err := o.openAt(ctx, p, name, o.keys())
	if errors.Is(err, backup.ErrNoKey) && len(o.Identities) == 0 {
		return o.verifyLocked(ctx, p, name)
	}
	if err != nil {
		o.learn(p, name.String(), err)
		return backup.Manifest{}, backup.Report{}, err
	}
	defer s.Close()
	opts.Progress = o.progress(ctx, nil)
	report, err := o.App.Verify(ctx, s, opts)
	if errors.Is(err, backup.ErrNoKey) && len(o.Identities) == 0 {
		report, err = backup.Report{Warnings: []string{"its secrets were not opened and its records not checked, because no key was given: it is whole, as far as its digest tells"}}, nil
	}
	if err == nil || errors.Is(err, backup.ErrDamaged) {
		o.learn(p, name.String(), err)
	}
	return s.Manifest(), report, err
}

// verifyLocked checks a backup for which there is no key: an encrypted one
// against the digest in the note beside it, and one that only a passphrase proves
// against its own.
func (o *operation) verifyLocked(ctx context.Context, p *site, name filename.Name) (backup.Manifest, backup.Report, error) {
	if !name.Encrypted {
		s, err := o.openAt(ctx, p, name, backup.OpenOptions{})
		if err != nil {
			o.learn(p, name.String(), err)
			return backup.Manifest{}, backup.Report{}, err
		}
		defer s.Close()
		return s.Manifest(), backup.Report{Warnings: []string{"whether it is authentic was not checked, nor were its records, because no key was given: it is whole, as far as its digest tells"}}, nil
	}
	n, err := within(ctx, func(ctx context.Context, alive func()) (note, error) { return o.readNote(ctx, p, name, alive) }, nil)
	if err != nil {
		return backup.Manifest{}, backup.Report{}, fmt.Errorf("%w: it is encrypted, and nothing beside it tells its digest (%w); give its key to verify it", backup.ErrNoKey, err)
	}
	size, sum, err := p.digest(ctx, name.String())
	if err == nil {
		err = n.check(size, sum)
	}
	if err == nil || errors.Is(err, backup.ErrDamaged) {
		o.learn(p, name.String(), err)
	}
	if err != nil {
		return backup.Manifest{}, backup.Report{}, err
	}
	return n.Manifest, backup.Report{Warnings: []string{"it is encrypted, and what is in it was not checked, because no key was given: it is whole, as far as the digest beside it tells"}}, nil
}
