package manager

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/fault"
)

// A Plan is what Restore or Undo would do to the host as it is now. [Manager.Apply] does
// it. The caller closes the Plan.
type Plan struct {
	plan     *backup.Plan
	app      *backup.App
	snapshot *backup.Snapshot
	progress func(backup.Progress) // of the caller
	warnings []string              // of the Manager
	takesOwn bool                  // it restores the records of Own
}

// Report says what Apply would do.
func (p *Plan) Report() backup.Report {
	if p.given() != nil {
		return backup.Report{}
	}
	r := p.plan.Report()
	r.Warnings = slices.Concat(p.warnings, r.Warnings)
	return r
}

// Changes yields the changes as [backup.Plan.Changes] does.
func (p *Plan) Changes(ctx context.Context) iter.Seq2[backup.Change, error] {
	return p.ChangesFrom(ctx, 0)
}

// ChangesFrom yields the changes but the first skip, as [backup.Plan.ChangesFrom] does.
func (p *Plan) ChangesFrom(ctx context.Context, skip int) iter.Seq2[backup.Change, error] {
	if err := p.given(); err != nil {
		return func(yield func(backup.Change, error) bool) { yield(backup.Change{}, err) }
	}
	return p.plan.ChangesFrom(ctx, skip)
}

// DropChanges removes what the plan keeps for Changes, as [backup.Plan.DropChanges] does.
func (p *Plan) DropChanges() error {
	if err := p.given(); err != nil {
		return err
	}
	return p.plan.DropChanges()
}

// Close removes what the plan keeps, and closes its Snapshot, whether the caller has
// opened it or PlanUndo.
func (p *Plan) Close() error {
	if err := p.given(); err != nil {
		return err
	}
	return p.plan.Close()
}

// given returns an error unless the plan was made by a Manager.
func (p *Plan) given() error {
	if p == nil || p.plan == nil {
		return fmt.Errorf("%w: the Plan is empty: get it from a Manager", backup.ErrInvalid)
	}
	return nil
}

// Plan says what Restore would do to the host as it is now, as [backup.App.Plan] does: it
// tries the restore in a transaction of the Sink and rolls back, unless opts.Untried is
// set. Nothing is stored for that, and opts.Before is not called. The snapshot comes from
// Open or from [backup.OpenSnapshot].
func (m *Manager) Plan(ctx context.Context, snapshot *backup.Snapshot, opts backup.RestoreOptions) (*Plan, error) {
	o, err := m.begin(ctx, "plan")
	if err == nil {
		err = m.checkSink()
	}
	if err != nil {
		return nil, err
	}
	if err := m.checkProof(snapshot); err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	if opts, err = m.options(ctx, opts); err != nil {
		return nil, fmt.Errorf("plan: %w", fault.Other(err))
	}
	p, err := o.plan(ctx, snapshot, opts)
	return p, fault.Other(err) // the host misses something, and no Location
}

// plan makes a plan. While it is made, its progress is that of the operation.
func (o *operation) plan(ctx context.Context, snapshot *backup.Snapshot, opts backup.RestoreOptions) (*Plan, error) {
	p := &Plan{app: o.App, snapshot: snapshot, progress: opts.Progress, takesOwn: takesOwn(opts), warnings: o.ofOthers(snapshot)}
	opts.Progress = o.progress(ctx, opts.Progress)
	var err error
	if p.plan, err = o.App.Plan(ctx, snapshot, heldSink{o.Sink}, opts); err != nil {
		return nil, err
	}
	return p, nil
}

// checkProof returns ErrUnauthentic for a snapshot that is not proven authentic, if that is
// required. The caller may have opened the snapshot without requiring it.
func (m *Manager) checkProof(snapshot *backup.Snapshot) error {
	if err := fault.Missing("the Snapshot", snapshot); err != nil {
		return err
	}
	if !m.RequireProof || snapshot.Proven(m.Trusted) {
		return nil
	}
	return fmt.Errorf("%w: a proof is required, and this snapshot is not proven: open it with the passphrase, or with the Trusted keys of the Manager", backup.ErrUnauthentic)
}

// ofOthers warns of a snapshot of another installation.
func (m *Manager) ofOthers(snapshot *backup.Snapshot) []string {
	from := snapshot.Manifest()
	if !m.foreign(&from) {
		return nil
	}
	return []string{fmt.Sprintf("the backup is of another installation, %s, and not of this one, %s", from.Installation, m.Installation)}
}

// checkSink returns an error if the Manager cannot restore.
func (m *Manager) checkSink() error {
	if err := m.check(); err != nil {
		return err
	}
	if m.Sink == nil {
		return errors.New("manager: there is no Sink to restore to")
	}
	return nil
}

// Restore is [backup.App.Restore] into the Sink with a way back. Before anything changes,
// it stores what the collections concerned hold as a backup with the trigger "before
// restore". Report.UndoneBy names that backup, and Undo restores it. If no Location takes
// the backup, there is no restore. If the restore changes nothing, the backup is deleted.
//
// The backup is made inside the transaction of the restore, so it has exactly what the
// restore replaces, whatever else writes to the host. Until a Location has it, others may
// have to wait before they can write to the host. It has whole collections, also if
// opts.Records restricts the restore. Undo then touches only the records that were restored,
// unless they are so many that their keys have more than 64 KiB.
//
// Records of the host that are not valid cannot be in that backup. They do not stop the
// restore, since it may be the cure. A warning in the Report names them.
//
// What the host makes otherwise by itself, with a trigger for example, is Altered or Extra
// in the Report. Such a restore is done, and Undo can take it back.
//
// After an error the host is as it was, unless the error wraps [backup.ErrUncertain]: the
// commit failed, and may have taken effect all the same. The error is [location.ErrBusy], one of
// [backup.App.Restore], or says that no Location took the backup.
func (m *Manager) Restore(ctx context.Context, snapshot *backup.Snapshot, opts backup.RestoreOptions) (backup.Report, error) {
	return m.change(ctx, "restore", func(ctx context.Context, o *operation) (backup.Report, error) {
		if err := m.checkProof(snapshot); err != nil {
			return backup.Report{}, err
		}
		opts, err := m.options(ctx, opts)
		if err != nil {
			return backup.Report{}, fault.Other(err)
		}
		opts.Progress = o.progress(ctx, opts.Progress)
		report, err := o.keepBack(ctx, takesOwn(opts), opts.Before, func(before beforeFunc) (backup.Report, error) {
			opts.Before = before
			return o.App.Restore(ctx, snapshot, heldSink{o.Sink}, opts)
		})
		if err == nil {
			report.Warnings = slices.Concat(o.ofOthers(snapshot), report.Warnings)
		}
		return report, err
	})
}

// Apply carries out a plan, with a way back as Restore does. If the host has changed since
// where that matters to the plan, Apply returns [backup.ErrStale] and does nothing. Another
// Manager may have made the plan, with other keys for example, but only of the same *App.
func (m *Manager) Apply(ctx context.Context, p *Plan) (backup.Report, error) {
	if err := cmp.Or(m.check(), p.given()); err != nil {
		return backup.Report{}, err
	}
	if p.app != m.App {
		return backup.Report{}, fmt.Errorf("%w: the plan is of another App than the App of the Manager", backup.ErrForeign)
	}
	return m.change(ctx, "restore", func(ctx context.Context, o *operation) (backup.Report, error) {
		if err := m.checkProof(p.snapshot); err != nil {
			return backup.Report{}, err
		}
		plan := *p.plan // a copy, since its progress is now that of this operation
		plan.Progress = o.progress(ctx, p.progress)
		report, err := o.keepBack(ctx, p.takesOwn, plan.Before, func(before beforeFunc) (backup.Report, error) {
			plan.Before = before
			return plan.Apply(ctx)
		})
		report.Warnings = slices.Concat(p.warnings, report.Warnings)
		return report, err
	})
}

// change runs an operation that changes the host, and then AfterRestore.
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
	if m.AfterRestore != nil && report.Changed() {
		// Nothing is held any more, so the host may make a backup now.
		if err := m.AfterRestore(ctx, report); err != nil {
			report.AfterRestore = fault.Shorten(err.Error())
		}
	}
	report.Duration = time.Since(o.start)
	return report, o.done(ctx, Event{Backup: report.UndoneBy, Text: lacking(report)}, nil)
}

// lacking says how many records are not as in the snapshot after a restore. It returns ""
// if all are.
func lacking(report backup.Report) string {
	var n int64
	for _, c := range report.Collections {
		n += c.Altered + c.Extra
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("not as in the backup, because the host changes them by itself: %d of the records", n)
}

// holding runs do while the Manager and its locations are held. The operation is nil if they
// cannot be had.
func (m *Manager) holding(ctx context.Context, name string, do func(context.Context, *operation) (backup.Report, error)) (*operation, backup.Report, error) {
	o, held, release, err := m.hold(ctx, name)
	if err != nil {
		return nil, backup.Report{}, err
	}
	defer release()
	o.emit(ctx, Event{Kind: EventStarted})
	report, err := do(held, o)
	return o, report, withCause(held, err)
}

// bare takes off the verb that a method of App puts before its errors. The operation puts
// its own verb there.
func bare(err error) error {
	if inner := errors.Unwrap(err); inner != nil {
		return inner
	}
	return err
}

// A beforeFunc is a function as RestoreOptions.Before.
type beforeFunc = func(ctx context.Context, held backup.DataSource, collections []string) error

// keepBack runs a restore with a way back: the backup that the restore has made before it
// changes anything. The caller's own function is called after that.
func (o *operation) keepBack(ctx context.Context, takesOwn bool, also beforeFunc, restore func(beforeFunc) (backup.Report, error)) (backup.Report, error) {
	if _, err := o.catalog(ctx); err != nil { // now, since others may have to wait for the transaction
		return backup.Report{}, err
	}
	back := &wayBack{operation: o, also: also, takesOwn: takesOwn}
	ended := false
	defer func() {
		if !ended { // the host has panicked, and rolls back
			back.drop(ctx)
		}
	}()
	report, err := restore(back.store)
	ended = true
	switch {
	case back.err != nil:
		return backup.Report{}, fmt.Errorf("nothing was changed, because what is there could not be stored first: %w", fault.Other(back.err))
	case errors.Is(err, backup.ErrUncertain):
		return backup.Report{}, fmt.Errorf("%w\nwhat was there before is kept as %s", fault.Other(bare(err)), back.saved.Name)
	case err != nil:
		back.drop(ctx)
		return backup.Report{}, fault.Other(bare(err))
	case !report.Changed():
		back.drop(ctx)
		return report, nil
	}
	back.finish(ctx, &report)
	return report, nil
}

// A wayBack is the backup of what a restore is about to replace.
type wayBack struct {
	*operation
	also     beforeFunc
	takesOwn bool // the restore takes the records of Own

	saved Backup
	at    *site // nil: there is nothing to drop
	err   error // why the backup could not be stored
}

// store is the beforeFunc of the restore.
func (b *wayBack) store(ctx context.Context, held backup.DataSource, collections []string) error {
	b.drop(ctx) // of a transaction that starts over
	metadata := map[string]string{backup.MetaTrigger: TriggerBeforeRestore}
	if b.takesOwn {
		metadata[metaOwn] = ownTaken
	}
	if b.err = addRecords(metadata, held); b.err != nil {
		return b.err
	}
	b.saved, b.at, b.err = b.operation.store(ctx, held, backup.BackupOptions{
		Only:            collections,
		Metadata:        metadata,
		LeaveOutInvalid: true,
	})
	if b.err != nil || b.also == nil {
		return b.err
	}
	return b.also(ctx, held, collections)
}

// finish marks that the restore took place, and copies the backup to the other locations.
func (b *wayBack) finish(ctx context.Context, report *backup.Report) {
	warn := func(format string, args ...any) {
		report.Warnings = append(report.Warnings, fmt.Sprintf(format, args...))
	}
	if err := b.mark(ctx, b.saved, markRestored); err != nil {
		warn("%s: the mark that the restore took place could not be put beside it: %v", b.saved.Name, err)
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
	if b.saved.Rekeyed {
		b.mark(ctx, b.saved, markRekeyed)
	}
}

// drop deletes the backup, since the restore has changed nothing.
func (b *wayBack) drop(ctx context.Context) {
	if b.at == nil {
		return
	}
	if err := b.at.drop(ctx, b.saved.named); err != nil {
		b.failed(ctx, b.at, b.saved.Name, fmt.Errorf("delete the backup from before a restore that changed nothing: %w", err))
	} else if b.saved.Rekeyed {
		b.at.remove(ctx, b.saved.Name+string(markRekeyed)) // if that fails, Prune does it
	}
	b.saved, b.at = Backup{}, nil
}
