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

// A Verified is what Verify or Rehearse has found out about one copy of a backup.
type Verified struct {
	Location string
	Backup   string          // its name; empty: Rehearse had no backup to try there
	Manifest backup.Manifest // zero if Err is set and the copy could not be opened
	Report   backup.Report   // the counts, and warnings about what could not be checked
	Verdict  string          // what was found, in words to follow the name ([backup.App.Verdict]); empty if Err is set
	Partial  bool            // the backup is partial ([backup.App.Partial]), as the verdict says
	Err      error           // what is wrong with the copy; nil: nothing
}

// MarshalJSON returns the members location and backup, and then manifest, report and
// verdict, or the member error in their place if Err is set.
func (v Verified) MarshalJSON() ([]byte, error) {
	out := struct {
		Location string           `json:"location"`
		Backup   string           `json:"backup,omitempty"`
		Manifest *backup.Manifest `json:"manifest,omitempty"`
		Report   *backup.Report   `json:"report,omitempty"`
		Verdict  string           `json:"verdict,omitempty"`
		Error    string           `json:"error,omitempty"`
	}{Location: v.Location, Backup: v.Backup, Verdict: v.Verdict, Error: errorText(v.Err)}
	if v.Err == nil {
		out.Manifest, out.Report = &v.Manifest, &v.Report
	}
	return json.Marshal(out)
}

// Verify reads every copy of a backup to its end and checks all that a restore checks:
// the digest, strict JSON, schemas, keys, references, and that the Identities open it
// (guide, "Backup Verification").
//
// Without Identities it opens no sealed secrets and checks no records of such a backup.
// Of an encrypted backup it then checks the file against the digest in its note. Of a copy
// of the database it checks the digest in the note, and Database checks the rest. What
// could not be checked is a warning in the Report.
//
// The result has an entry for each Location that has a copy or that cannot be asked. The
// error joins what is wrong with the copies, and wraps fs.ErrNotExist if there is no copy.
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
	for _, s := range o.sites {
		v := Verified{Location: s.name, Backup: name}
		files, err := s.files(ctx)
		if v.Err = err; err == nil {
			if !slices.ContainsFunc(files, func(f location.File) bool { return f.Name == name }) {
				continue
			}
			copies++
			if v.Manifest, v.Report, v.Err = o.verify(ctx, s, named, backup.RestoreOptions{}); v.Err == nil {
				v.Verdict, v.Partial = o.App.Verdict(v.Manifest, v.Report), o.App.Partial(v.Manifest)
			}
			o.learnKey(s, name, v.Err)
			o.noteVerified(ctx, s, name, v.Manifest, v.Err)
		}
		if ctx.Err() != nil {
			return found, ctx.Err()
		}
		if v.Err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.name, v.Err))
		}
		found = append(found, v)
	}
	if copies == 0 {
		errs = append(errs, fmt.Errorf("no location has %s: %w", name, fs.ErrNotExist))
	}
	return found, errors.Join(errs...)
}

// verify reads a copy of a backup to its end and remembers what it has found.
func (o *operation) verify(ctx context.Context, s *site, name filename.Name, opts backup.RestoreOptions) (m backup.Manifest, report backup.Report, err error) {
	if name.Database {
		return o.verifyDatabase(ctx, s, name)
	}
	snapshot, err := o.openAt(ctx, s, name, o.keys())
	if errors.Is(err, backup.ErrNoKey) && len(o.Identities) == 0 {
		return o.verifyLocked(ctx, s, name)
	}
	if err != nil {
		o.learn(s, name.String(), err)
		return m, report, err
	}
	defer snapshot.Close()
	opts.Progress = o.progress(ctx, nil)
	report, err = o.App.Verify(ctx, snapshot, opts)
	if errors.Is(err, backup.ErrNoKey) && len(o.Identities) == 0 {
		report, err = unopened(snapshot, report, "its secrets were not opened and its records not checked"), nil
	}
	o.learn(s, name.String(), err)
	return snapshot.Manifest(), report, err
}

// verifyLocked checks a backup without its key: an encrypted backup against the digest in
// its note, and a backup that only a passphrase proves against its own digest.
func (o *operation) verifyLocked(ctx context.Context, s *site, name filename.Name) (backup.Manifest, backup.Report, error) {
	if !name.Encrypted {
		snapshot, err := o.openAt(ctx, s, name, backup.OpenOptions{})
		if err != nil {
			o.learn(s, name.String(), err)
			return backup.Manifest{}, backup.Report{}, err
		}
		defer snapshot.Close()
		report, err := o.App.Verify(ctx, snapshot, backup.RestoreOptions{Progress: o.progress(ctx, nil)})
		if err == nil || errors.Is(err, backup.ErrNoKey) {
			report, err = unopened(snapshot, report, "whether it is authentic was not checked, nor were its records"), nil
		}
		o.learn(s, name.String(), err)
		return snapshot.Manifest(), report, err
	}
	n, err := o.askNote(ctx, s, name)
	if err != nil {
		return backup.Manifest{}, backup.Report{}, fmt.Errorf("%w: it is encrypted, and nothing beside it tells its digest (%w); give its key to verify it", backup.ErrNoKey, err)
	}
	err = n.checkFile(ctx, s, name)
	o.learn(s, name.String(), err)
	if err != nil {
		return backup.Manifest{}, backup.Report{}, err
	}
	return n.Manifest, backup.Report{Warnings: []string{"it is encrypted, and what is in it was not checked, because no key was given: it is whole, as far as the digest beside it tells"}}, nil
}

// unopened returns the Report about a backup that was checked without its key. what says
// what was not checked.
func unopened(s *backup.Snapshot, report backup.Report, what string) backup.Report {
	whole := "it is whole, as far as its digest tells"
	if s.Manifest().SHA256 == "" {
		whole = "it can be read to its end"
	}
	text := what + ", because no key was given: " + whole
	return backup.Report{Warnings: append([]string{text}, report.Warnings...)}
}
