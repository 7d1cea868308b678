package manager

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"time"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/fault"
)

// A DrillReport says that a backup restores, and how fast.
type DrillReport struct {
	Backup string `json:"backup"`

	// Records is how many records were restored and read back, all equal.
	Records int64 `json:"records"`

	// Holds says what the backup holds, as Backup.Holds does.
	Holds string `json:"holds"`

	// Age is the age of the data when the drill began: what a disaster at that moment would
	// have lost (guide, "Recovery Point Objectives"). It is 0, and absent in JSON, for a
	// partial or a salvaged backup: a disaster would have lost more. So it is for a backup
	// that is dated in the future, since nobody can tell then.
	Age time.Duration `json:"age_ns,omitempty"`

	// Took is the time from the first byte read to the commit (guide, "Recovery Time
	// Objectives").
	Took time.Duration `json:"took_ns"`

	// Total is Took with the comparison and Drills.Check.
	Total time.Duration `json:"duration_ns"`

	// Report is that of the restore into the scratch store. Its Duration is Took.
	Report backup.Report `json:"report"`
}

// Drill proves that a backup restores (guide, "Backup Verification"). It restores the
// backup into a store made by Drills.Scratch, compares the store with the backup record
// by record as [backup.App.Drill] does, and calls Drills.Check. A scratch store that has a
// record already is refused, since it may be the host's own by mistake. An empty name
// means the newest backup that is [Backup.Good].
//
// The error wraps errors.ErrUnsupported without Drills.Scratch, and fs.ErrNotExist if there
// is no such backup.
func (m *Manager) Drill(ctx context.Context, name string) (DrillReport, error) {
	o, err := m.begin(ctx, "drill")
	if err != nil {
		return DrillReport{}, err
	}
	o.emit(ctx, Event{Kind: EventStarted, Backup: name})
	report, err := o.drill(ctx, name)
	if err == nil {
		o.noteDrilled(ctx, report.Backup)
	}
	return report, o.done(ctx, Event{Backup: report.Backup}, err)
}

// noteDrilled notes beside the good copies that a backup is verified. It gets no mark of a
// drill: Run makes those of its own schedule.
func (o *operation) noteDrilled(ctx context.Context, name string) {
	c, err := o.catalog(ctx)
	if err != nil {
		return
	}
	if b := find(c.backups, name); b != nil && b.Manifest != nil {
		for _, s := range o.sites {
			if b.goodAt(s) {
				o.noteVerified(ctx, s, name, *b.Manifest, nil)
			}
		}
	}
}

func (o *operation) drill(ctx context.Context, name string) (report DrillReport, err error) {
	if o.Drills.Scratch == nil {
		return report, fmt.Errorf("%w: the Manager has no Drills.Scratch to make a store to restore into", errors.ErrUnsupported)
	}
	if name == "" {
		c, err := o.list(ctx)
		if c == nil {
			return report, err
		}
		b := newestGood(c.backups, o.start)
		if b == nil {
			return report, errors.Join(fault.Retell(fs.ErrNotExist, "there is no backup to try, none that is full and has no known problem; name the backup that you want to try"), err)
		}
		name = b.Name
	}
	start := time.Now()
	snapshot, err := o.open(ctx, name)
	if err != nil {
		return report, fmt.Errorf("%s: %w", name, err)
	}
	defer snapshot.Close()
	defer func() { err = fault.Other(err) }() // the backup is there
	opening := time.Since(start)
	m := snapshot.Manifest()
	report = DrillReport{Backup: name, Holds: o.App.Holds(m)}
	if m.Salvaged == nil && !o.App.Partial(m) {
		report.Age = max(0, start.Sub(m.CreatedAt))
	}

	scratch, remove, err := o.Drills.Scratch(ctx)
	if err != nil {
		return report, fmt.Errorf("make a scratch store: %w", fault.Brief(err))
	}
	if remove != nil {
		defer func() {
			if failed := remove(); failed != nil {
				err = errors.Join(err, fmt.Errorf("remove the scratch store: %w", fault.Brief(failed)))
			}
		}()
	}
	report.Report, err = o.App.Drill(ctx, snapshot, scratch, backup.RestoreOptions{AllowDangling: true, Progress: o.progress(ctx, nil)})
	if err != nil {
		return report, fmt.Errorf("%s did not pass: %w", name, bare(err))
	}
	report.Took = opening + report.Report.Duration
	report.Report.Duration = report.Took
	for _, c := range report.Report.Collections {
		report.Records += c.Added
	}
	if o.Drills.Check != nil {
		if err := o.Drills.Check(ctx, scratch); err != nil {
			return report, fmt.Errorf("%s did not pass: the host's own check: %w", name, fault.Brief(err))
		}
	}
	report.Total = time.Since(start)
	attrs := []slog.Attr{slog.Duration("restored_in", report.Took)}
	if report.Age > 0 {
		attrs = append([]slog.Attr{slog.Duration("age", report.Age)}, attrs...)
	}
	o.emit(ctx, Event{Kind: EventDrill, Backup: name}, attrs...)
	return report, nil
}

// newestGood returns the newest backup that is Good. If there is none, it returns the
// newest of those that are usable and of which nobody knows what they hold, or nil.
func newestGood(backups []Backup, now time.Time) *Backup {
	for _, fits := range []func(Backup) bool{
		func(b Backup) bool { return b.Good(now) },
		func(b Backup) bool { return b.Manifest == nil && b.Usable(now) },
	} {
		if i := slices.IndexFunc(backups, fits); i >= 0 {
			return &backups[i]
		}
	}
	return nil
}
