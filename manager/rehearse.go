package manager

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/fault"
	"github.com/tomo-project/backup/internal/filename"
)

// Rehearse proves that the key that a person holds opens the backups, before the day when
// it must. At each Location it opens the newest backup that is [Backup.Usable], a Partial
// one only if there is no other, with these Identities and not those of the Manager. It
// checks all that Verify checks, so it opens
// every secret. A wrong key fails before the data is read.
//
// The result has an entry for each Location, and the error joins theirs. A backup that
// needs no key is an error, since it proves nothing. If all went well, Rehearse puts a
// mark beside the newest backup, for [Manager.Rehearsals]. A backup that is Rekeyed then
// holds Prune up no longer.
func (m *Manager) Rehearse(ctx context.Context, identities ...backup.Identity) ([]Verified, error) {
	o, err := m.begin(ctx, "rehearse")
	if err = cmp.Or(err, fault.MissingIn("identities", identities)); err != nil {
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
	c, _ := o.list(ctx) // the errors of the locations are in c.errs
	if c == nil {
		return nil, ctx.Err()
	}
	var found []Verified
	var errs []error
	var tried []string
	for _, s := range o.sites {
		v := Verified{Location: s.name, Err: c.errs[s.name]}
		there := slices.DeleteFunc(slices.Clone(c.at[s.name]), func(b Backup) bool {
			b.OtherKey = false // the person's key is another
			return !b.Usable(o.start)
		})
		newestFirst(there)
		switch {
		case v.Err != nil:
		case len(there) == 0:
			v.Err = fault.Retell(fs.ErrNotExist, "there is no backup to try the key on")
		default:
			// A partial backup may have no secrets for the key to open.
			b := there[max(0, slices.IndexFunc(there, func(b Backup) bool { return !b.Partial }))]
			v.Backup = b.Name
			tried = append(tried, v.Backup)
			if v.Manifest, v.Report, v.Err = o.rehearseAt(ctx, s, b.named, identities); v.Err == nil {
				v.Verdict, v.Partial = o.App.Verdict(v.Manifest, v.Report), o.App.Partial(v.Manifest)
			}
		}
		if ctx.Err() != nil {
			return found, ctx.Err()
		}
		if v.Err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.name, v.Err))
		}
		found = append(found, v)
	}
	if len(errs) > 0 {
		return found, errors.Join(errs...)
	}
	i := slices.IndexFunc(c.backups, func(b Backup) bool { return slices.Contains(tried, b.Name) })
	if err := cmp.Or(o.mark(ctx, c.backups[i], markRehearsed), o.acceptKeys(ctx, c.backups[i:])); err != nil {
		return found, fmt.Errorf("the key opens every backup that was tried, but that could not be noted: %w", err)
	}
	return found, nil
}

func (o *operation) rehearseAt(ctx context.Context, s *site, name filename.Name, identities []backup.Identity) (backup.Manifest, backup.Report, error) {
	fail := func(err error) (backup.Manifest, backup.Report, error) {
		return backup.Manifest{}, backup.Report{}, fmt.Errorf("%s: %w", name, err)
	}
	opts := o.keys()
	opts.Identities = identities
	snapshot, err := o.openAt(ctx, s, name, opts)
	if err != nil {
		return fail(err)
	}
	defer snapshot.Close()
	m := snapshot.Manifest()
	if len(m.Keys) == 0 && !m.Encrypted {
		return fail(fmt.Errorf("%w: nothing in it needs a key, so it proves nothing about a key", backup.ErrNoKey))
	}
	report, err := o.App.Verify(ctx, snapshot, backup.RestoreOptions{AllowDangling: true, Progress: o.progress(ctx, nil)})
	if err != nil {
		return fail(err)
	}
	return m, report, nil
}
