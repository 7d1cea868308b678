package manager

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/tomo-project/backup"
)

// A Plan is what Restore or Undo would do to the host as it is now. Apply does it.
// The caller closes it.
type Plan struct {
	plan     *backup.Plan
	app      *backup.App
	snapshot *backup.Snapshot
	progress func(backup.Progress) // of the caller
	warnings []string              // of Undo
}

// Report says what Apply would do. The Backup in it is the one that would be restored.
func (p *Plan) Report() backup.Report {
	r := p.plan.Report()
	r.Warnings = slices.Concat(p.warnings, r.Warnings)
	return r
}

// Changes yields the changes, as [backup.Plan.Changes] does.
func (p *Plan) Changes(ctx context.Context) iter.Seq2[backup.Change, error] {
	return p.plan.Changes(ctx)
}

// Close closes the Snapshot of the plan, whoever opened it.
func (p *Plan) Close() error { return p.plan.Close() }

// Plan says what Restore would do with a snapshot, which Open opened or
// [backup.OpenSnapshot] did, to the host as it is now. See [backup.App.Plan].
func (m *Manager) Plan(ctx context.Context, s *backup.Snapshot, opts backup.RestoreOptions) (*Plan, error) {
	o, err := m.begin(ctx, "plan")
	if err == nil {
		err = m.checkSink()
	}
	if err != nil {
		return nil, err
	}
	if err := m.checkProof(s); err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	return o.plan(ctx, s, opts)
}

// plan makes a plan that reports to the operation.
func (o *operation) plan(ctx context.Context, s *backup.Snapshot, opts backup.RestoreOptions) (*Plan, error) {
	p := &Plan{app: o.App, snapshot: s, progress: opts.Progress}
	opts.Progress = o.progress(ctx, opts.Progress)
	var err error
	if p.plan, err = o.App.Plan(ctx, s, o.Sink, opts); err != nil {
		return nil, err
	}
	return p, nil
}

// checkProof refuses a snapshot, whoever opened it, that is not proven authentic
// where that is required.
func (m *Manager) checkProof(s *backup.Snapshot) error {
	if !m.RequireProof || s.Proven(m.Trusted) {
		return nil
	}
	return fmt.Errorf("%w: a proof is required, and nothing has proven it: open it with the passphrase, or with the Trusted keys of the Manager", backup.ErrUnauthentic)
}

func (m *Manager) checkSink() error {
	if err := m.check(); err != nil {
		return err
	}
	if m.Sink == nil {
		return errors.New("manager: it has no Sink to restore to")
	}
	return nil
}

// Restore is [backup.App.Restore] into the Sink with a way back: what the collections
// concerned hold is stored as a backup with the trigger "before restore" before
// anything changes. It is taken inside the transaction that changes them, so
// that it is just what the restore replaces, whatever else writes to the host;
// until it is stored at one Location, others may have to wait to write.
// Report.UndoneBy names it, and Undo restores it. Without one there is no
// restore; one that changes nothing has none.
//
// Records of the host that are not valid cannot be in that backup. They do not
// stop the restore, which may be the remedy; a warning in the Report names them.
//
// After an error the host is as it was, but for ErrUncertain: its commit failed,
// and may have taken effect all the same. Beside the errors of [backup.App.Restore] it
// returns ErrBusy, and that of a Location if none takes the backup.
func (m *Manager) Restore(ctx context.Context, s *backup.Snapshot, opts backup.RestoreOptions) (backup.Report, error) {
	return m.change(ctx, "restore", func(ctx context.Context, o *operation) (backup.Report, error) {
		if err := m.checkProof(s); err != nil {
			return backup.Report{}, err
		}
		opts.Progress = o.progress(ctx, opts.Progress)
		return o.keepBack(ctx, opts.Before, func(before beforeFunc) (backup.Report, error) {
			opts.Before = before
			return o.App.Restore(ctx, s, o.Sink, opts)
		})
	})
}

// Apply carries a plan out with a way back, as Restore does, or returns [backup.ErrStale] and
// does nothing if the host has changed since the plan was made where that matters.
// The Manager may be another one than that which made the plan, with other keys for
// what it stores, but must be of the same App.
func (m *Manager) Apply(ctx context.Context, p *Plan) (backup.Report, error) {
	if p.app != m.App {
		return backup.Report{}, fmt.Errorf("%w: the plan is of another App than that of the Manager", backup.ErrForeign)
	}
	return m.change(ctx, "restore", func(ctx context.Context, o *operation) (backup.Report, error) {
		if err := m.checkProof(p.snapshot); err != nil {
			return backup.Report{}, err
		}
		plan := *p.plan // what it reports now belongs to this operation
		plan.Progress = o.progress(ctx, p.progress)
		report, err := o.keepBack(ctx, plan.Before, func(before beforeFunc) (backup.Report, error) {
			plan.Before = before
			return plan.Apply(ctx)
		})
		report.Warnings = slices.Concat(p.warnings, report.Warnings)
		return report, err
	})
}

// change runs an operation on the host and tells it of the result.
func (m *Manager) change(ctx context.Context, name string, do func(context.Context, *operation) (backup.Report, error)) (backup.Report, error) {
	if err := m.checkSink(); err != nil {
		return backup.Report{}, err
	}
	o, report, err := m.holding(ctx, name, do)
	if o == nil {
		return backup.Report{}, err
	}
	if err != nil {
		return backup.Report{}, o.done(ctx, Event{}, err)
	}
	if m.AfterRestore != nil && changes(report) {
		// It may want to make a backup, so nothing is held any more.
		if err := m.AfterRestore(ctx, report); err != nil {
			report.AfterRestore = err.Error()
		}
	}
	report.Duration = time.Since(o.start)
	return report, o.done(ctx, Event{Backup: report.UndoneBy}, nil)
}

// holding runs the part of change during which all is held. The operation is nil
// if it was not to be had.
func (m *Manager) holding(ctx context.Context, name string, do func(context.Context, *operation) (backup.Report, error)) (*operation, backup.Report, error) {
	o, held, release, err := m.hold(ctx, name)
	if err != nil {
		return nil, backup.Report{}, err
	}
	defer release()
	o.emit(ctx, Event{Kind: EventStarted})
	report, err := do(held, o)
	return o, report, lost(held, err)
}

// changes tells whether a restore changed anything, or would.
func changes(r backup.Report) bool {
	return slices.ContainsFunc(r.Collections, func(c backup.CollectionReport) bool { return c.Added+c.Updated+c.Deleted > 0 })
}

// bare takes the verb off an error of App: the operation puts its own in that place.
func bare(err error) error {
	if inner := errors.Unwrap(err); inner != nil {
		return inner
	}
	return err
}

// A beforeFunc is RestoreOptions.Before.
type beforeFunc = func(ctx context.Context, held backup.DataSource, collections []string) error

// keepBack runs a restore that stores what is there as a backup before it changes
// anything, and makes that the way back. What the caller wants to do before comes
// after that.
func (o *operation) keepBack(ctx context.Context, also beforeFunc, restore func(beforeFunc) (backup.Report, error)) (backup.Report, error) {
	back := &wayBack{operation: o, also: also}
	ended := false
	defer func() {
		if !ended { // the host panics, and rolls back
			back.drop(ctx)
		}
	}()
	report, err := restore(back.store)
	ended = true
	switch {
	case back.err != nil:
		return backup.Report{}, fmt.Errorf("nothing was changed, because what is there could not be stored first: %w", back.err)
	case errors.Is(err, backup.ErrUncertain):
		return backup.Report{}, fmt.Errorf("%w\nwhat was there before is kept as %s", bare(err), back.saved.Name)
	case err != nil:
		back.drop(ctx)
		return backup.Report{}, bare(err)
	case !changes(report):
		back.drop(ctx)
		return report, nil
	}
	back.finish(ctx, &report)
	return report, nil
}

// A wayBack is the backup of what a restore is about to replace.
type wayBack struct {
	*operation
	also beforeFunc

	saved Backup
	at    *site
	err   error // there is no way back
}

// store is RestoreOptions.Before.
func (b *wayBack) store(ctx context.Context, held backup.DataSource, collections []string) error {
	b.drop(ctx) // of a transaction that starts over
	b.saved, b.at, b.err = b.operation.store(ctx, held, backup.BackupOptions{
		Only:            collections,
		Metadata:        map[string]string{backup.MetaTrigger: TriggerBeforeRestore},
		LeaveOutInvalid: true,
	})
	if b.err != nil || b.also == nil {
		return b.err
	}
	return b.also(ctx, held, collections)
}

// finish notes that the restore took place, and copies the way back to the other
// locations.
func (b *wayBack) finish(ctx context.Context, report *backup.Report) {
	warn := func(format string, args ...any) {
		report.Warnings = append(report.Warnings, fmt.Sprintf(format, args...))
	}
	if err := b.mark(ctx, b.saved, markRestored); err != nil {
		warn("%s: that the restore took place could not be noted there: %v", b.saved.Name, err)
	}
	report.UndoneBy = b.saved.Name
	for _, left := range b.saved.Manifest.LeftOut {
		warn("not valid before the restore, and not in %s: %s", b.saved.Name, left.Error())
	}
	b.saved = b.spread(ctx, b.saved, b.at)
	for _, c := range b.saved.Copies {
		if c.Err != nil {
			warn("%s is not at %s: %v", b.saved.Name, c.Location, c.Err)
		}
	}
	b.mark(ctx, b.saved, markRestored) // beside the other copies too
}

// drop takes the snapshot away that nothing came of.
func (b *wayBack) drop(ctx context.Context) {
	if b.at == nil {
		return
	}
	if err := b.at.drop(ctx, b.saved.named); err != nil {
		b.failed(ctx, b.at, b.saved.Name, fmt.Errorf("take away what was stored before a restore that changed nothing: %w", err))
	}
	b.saved, b.at = Backup{}, nil
}
