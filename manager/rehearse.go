package manager

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/filename"
)

// Rehearse proves that the key a person holds opens the backups, before the day on
// which it has to: at each Location it opens the newest backup that is not known
// to be damaged, with these Identities only and not those of the Manager, and
// checks all that Verify checks, so that every secret was opened. A wrong key is
// told before the data is read. The result has an entry for each Location; the
// error joins theirs. A backup that takes no key proves nothing and is an error.
//
// That it went well everywhere is noted beside the newest backup, for
// [Manager.Rehearsals].
func (m *Manager) Rehearse(ctx context.Context, identities ...backup.Identity) ([]Verified, error) {
	o, err := m.begin(ctx, "rehearse")
	if err != nil {
		return nil, err
	}
	o.emit(ctx, Event{Kind: EventStarted})
	found, err := o.rehearse(ctx, identities)
	return found, o.done(ctx, Event{}, err)
}

func (o *operation) rehearse(ctx context.Context, identities []backup.Identity) ([]Verified, error) {
	if len(identities) == 0 {
		return nil, fmt.Errorf("%w: give the key that is to be tried", backup.ErrNoKey)
	}
	c, _ := o.list(ctx) // whose errors are those of the locations
	if c == nil {
		return nil, ctx.Err()
	}
	var found []Verified
	var errs []error
	var newest Backup
	for _, p := range o.sites {
		v := Verified{Location: p.name, Err: c.errs[p.name]}
		there := slices.DeleteFunc(slices.Clone(c.at[p.name]), func(b Backup) bool { return !b.Usable(o.start) })
		slices.SortFunc(there, newestFirst)
		switch {
		case v.Err != nil:
		case len(there) == 0:
			v.Err = fmt.Errorf("there is no backup to try the key on: %w", fs.ErrNotExist)
		default:
			v.Backup = there[0].Name
			v.Manifest, v.Report, v.Err = o.rehearseAt(ctx, p, there[0].named, identities)
			if newestFirst(there[0], newest) < 0 {
				newest = there[0]
			}
		}
		if ctx.Err() != nil {
			return found, ctx.Err()
		}
		if v.Err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p.name, v.Err))
		}
		found = append(found, v)
	}
	if len(errs) > 0 {
		return found, errors.Join(errs...)
	}
	newest = *find(c.backups, newest.Name) // with all its copies
	if err := o.mark(ctx, newest, markRehearsed); err != nil {
		return found, fmt.Errorf("the key opens every backup that was tried, but that could not be noted: %w", err)
	}
	return found, nil
}

func (o *operation) rehearseAt(ctx context.Context, p *site, name filename.Name, identities []backup.Identity) (backup.Manifest, backup.Report, error) {
	opts := o.keys()
	opts.Identities = identities
	s, err := o.openAt(ctx, p, name, opts)
	if err != nil {
		return backup.Manifest{}, backup.Report{}, fmt.Errorf("%s: %w", name, err)
	}
	defer s.Close()
	if m := s.Manifest(); len(m.Keys) == 0 && !m.Encrypted {
		return backup.Manifest{}, backup.Report{}, fmt.Errorf("%w: nothing in %s takes a key, so it proves nothing about one", backup.ErrNoKey, name)
	}
	report, err := o.App.Verify(ctx, s, backup.RestoreOptions{AllowDangling: true, Progress: o.progress(ctx, nil)})
	if err != nil {
		return backup.Manifest{}, backup.Report{}, fmt.Errorf("%s: %w", name, err)
	}
	return s.Manifest(), report, nil
}

// rehearsalDue tells whether a time of Rehearsals has come since a
// person last proved that their key opens the backups.
func (m *Manager) rehearsalDue(c *catalog, now time.Time) bool {
	if m.Rehearsals == nil {
		return false
	}
	last := c.latest(markRehearsed)
	next := after(m.Rehearsals, last)
	return last.IsZero() || !next.IsZero() && !next.After(now)
}
