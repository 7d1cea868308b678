package backup

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"time"
)

// Plan says what Restore would do with a snapshot, which Open opened or
// [OpenSnapshot] did, to the host as it is now. See [App.Plan].
func (m *Manager) Plan(ctx context.Context, s *Snapshot, opts RestoreOptions) (*Plan, error) {
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
	asked := opts.Progress
	opts.Progress = o.progress(ctx, asked)
	p, err := m.App.Plan(ctx, s, m.Sink, opts)
	if err == nil {
		p.asked = asked
	}
	return p, err
}

// checkProof refuses a snapshot, whoever opened it, that is not proven authentic
// where that is required.
func (m *Manager) checkProof(s *Snapshot) error {
	by := s.manifest.Authentic
	key, signed := strings.CutPrefix(by, provenByEd25519)
	trusted := func(t ed25519.PublicKey) bool { return encodeBase64(t) == key }
	if !m.RequireProof || by != "" && (!signed || slices.ContainsFunc(m.Trusted, trusted)) {
		return nil
	}
	return fmt.Errorf("%w: a proof is required, and nothing has proven it: open it with the passphrase, or with the Trusted keys of the Manager", ErrUnauthentic)
}

// PlanUndo says what Undo would do: for a person to agree to, and for Apply. The
// Backup in its Report is the one that would be restored. The caller closes the
// plan; until then ctx must not be done, as with Open.
func (m *Manager) PlanUndo(ctx context.Context) (*Plan, error) {
	o, err := m.begin(ctx, "plan")
	if err == nil {
		err = m.checkSink()
	}
	if err != nil {
		return nil, err
	}
	in, err := o.prepareUndo(ctx)
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	p, err := newPlan(ctx, in, m.Sink, o.start)
	if err != nil {
		in.snapshot.Close()
		return nil, err
	}
	return p, nil
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

// Restore is [App.Restore] into the Sink with a way back: what the collections
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
// and may have taken effect all the same. Beside the errors of [App.Restore] it
// returns ErrBusy, and that of a Location if none takes the backup.
func (m *Manager) Restore(ctx context.Context, s *Snapshot, opts RestoreOptions) (Report, error) {
	return m.change(ctx, "restore", func(ctx context.Context, o *operation) (Report, error) {
		if err := m.checkProof(s); err != nil {
			return Report{}, err
		}
		opts.Progress = o.progress(ctx, opts.Progress)
		in, err := o.App.prepare(ctx, s, opts)
		if err != nil {
			return Report{}, err
		}
		return o.run(ctx, in, in.writing)
	})
}

// Apply is [Plan.Apply] with a way back, for a plan of the method Plan. See
// Restore.
func (m *Manager) Apply(ctx context.Context, p *Plan) (Report, error) {
	if p.in.App != m.App {
		return Report{}, fmt.Errorf("%w: the plan is of another App than that of the Manager", ErrForeign)
	}
	return m.change(ctx, "restore", func(ctx context.Context, o *operation) (Report, error) {
		if err := m.checkProof(p.in.snapshot); err != nil {
			return Report{}, err
		}
		// What it reports now belongs to this operation.
		in, now := *p.in, *p
		in.opts.Progress, now.in = o.progress(ctx, p.asked), &in
		return o.run(ctx, &in, now.writing)
	})
}

// Undo restores the newest backup with the trigger "before restore", replacing
// the collections in it, and so takes the last restore back. As a restore of its
// own it can itself be undone: a second Undo brings back what the first one took
// away. What it would do PlanUndo tells. Records of the host that are not valid,
// and so are not in that backup, stay. References that pointed to nothing then do
// so again; one of a record that came later, to a record that goes, is
// ErrDangling. It returns an error that wraps fs.ErrNotExist if there is nothing
// to undo.
func (m *Manager) Undo(ctx context.Context) (Report, error) {
	return m.change(ctx, "undo", func(ctx context.Context, o *operation) (Report, error) {
		in, err := o.prepareUndo(ctx)
		if err != nil {
			return Report{}, err
		}
		defer in.snapshot.Close()
		return o.run(ctx, in, in.writing)
	})
}

// prepareUndo opens the newest backup from before a restore.
func (o *operation) prepareUndo(ctx context.Context) (*incoming, error) {
	c, listErr := o.list(ctx)
	if c == nil {
		return nil, listErr
	}
	for _, b := range c.backups {
		if b.Database {
			continue
		}
		// Encrypted, and its note is lost; or what it says of itself has to be proven,
		// so that nobody hides the last one by saying that it is none.
		if b.Manifest == nil && !b.Damaged || o.RequireProof && o.genuine(b) && b.Trigger != TriggerBeforeRestore {
			s, _, err := o.open(ctx, b.Name)
			if err != nil {
				return nil, fmt.Errorf("%s may be from before a later restore, and cannot be opened; restore the backup that you want by its name: %w", b.Name, err)
			}
			manifest := s.Manifest()
			s.Close()
			b.Manifest, b.Trigger, b.CreatedAt = &manifest, manifest.Metadata[metaTrigger], manifest.CreatedAt
		}
		switch {
		case b.Manifest == nil:
			return nil, fmt.Errorf("%s may be from before a later restore, and cannot be read; try again, or restore the backup that you want by its name: %w", b.Name, b.Copies[0].Err)
		case b.Trigger != TriggerBeforeRestore || !o.genuine(b):
			continue
		case b.CreatedAt.After(time.Now().Add(time.Minute)):
			return nil, fmt.Errorf("%w: %s is from before a restore by a clock that was ahead, so which one is the last cannot be told; restore the backup that you want by its name", ErrInvalid, b.Name)
		}
		in, err := o.prepareBack(ctx, b.Name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", b.Name, err)
		}
		if is := in.snapshot.manifest; is.Metadata[metaTrigger] != TriggerBeforeRestore || !is.CreatedAt.Equal(b.CreatedAt) {
			in.snapshot.Close() // what stands beside it is not its own
			continue
		}
		if !c.marked[markRestored][b.Name] {
			// The process was killed in that restore. If the host is as it was before,
			// nothing came of it.
			report, err := in.run(ctx, o.Sink, func(w Writer) *comparison { return &comparison{incoming: in, host: w} })
			if err != nil || !report.changes() {
				in.snapshot.Close()
				if err != nil {
					return nil, fmt.Errorf("%s: %w", b.Name, err)
				}
				continue
			}
			in.warn(fmt.Sprintf("the restore before which %s was made did not come to its end, so it may not have taken place", b.Name))
		}
		for _, c := range o.down {
			in.warn(fmt.Sprintf("%s could not be asked for a newer backup from before a restore: %v", c.Location, c.Err))
		}
		if listErr != nil {
			in.warn(fmt.Sprintf("not all could be asked for a newer backup from before a restore: %v", listErr))
		}
		return in, nil
	}
	return nil, errors.Join(fmt.Errorf("there is no backup from before a restore, so nothing to undo: %w", fs.ErrNotExist), listErr)
}

// prepareBack opens a backup from before a restore.
func (o *operation) prepareBack(ctx context.Context, name string) (*incoming, error) {
	s, _, err := o.open(ctx, name)
	if err != nil {
		return nil, err
	}
	in, err := o.App.prepare(ctx, s, RestoreOptions{Strategy: Replace, Progress: o.progress(ctx, nil)})
	if err != nil {
		s.Close()
		return nil, err
	}
	in.asItWas = true
	return in, nil
}

// change runs an operation on the host and tells it of the result.
func (m *Manager) change(ctx context.Context, name string, do func(context.Context, *operation) (Report, error)) (Report, error) {
	if err := m.checkSink(); err != nil {
		return Report{}, err
	}
	o, report, err := m.holding(ctx, name, do)
	if o == nil {
		return Report{}, err
	}
	if err != nil {
		return Report{}, o.done(ctx, Event{}, err)
	}
	if m.AfterRestore != nil && report.changes() {
		// It may want to make a backup, so nothing is held any more.
		if err := m.AfterRestore(ctx, report); err != nil {
			report.AfterRestore = err.Error()
		}
	}
	report.Duration = time.Since(o.start)
	return report, o.done(ctx, Event{Report: &report, Backup: report.UndoneBy}, nil)
}

// holding runs the part of change during which all is held. The operation is nil
// if it was not to be had.
func (m *Manager) holding(ctx context.Context, name string, do func(context.Context, *operation) (Report, error)) (*operation, Report, error) {
	o, held, release, err := m.hold(ctx, name)
	if err != nil {
		return nil, Report{}, err
	}
	defer release()
	o.emit(ctx, Event{Kind: EventStarted})
	report, err := do(held, o)
	return o, report, lost(held, err)
}

// changes tells whether a restore changed anything, or would.
func (r Report) changes() bool {
	return slices.ContainsFunc(r.Collections, func(c CollectionReport) bool { return c.Added+c.Updated+c.Deleted > 0 })
}

// run makes a comparison that writes, with a way back.
func (o *operation) run(ctx context.Context, in *incoming, start func(Writer) *comparison) (Report, error) {
	var names []string
	for _, col := range in.collections {
		names = append(names, col.Name)
	}
	if len(names) == 0 { // nothing that could change
		return in.run(ctx, o.Sink, start)
	}
	back := &wayBack{Sink: o.Sink, operation: o, collections: names}
	ended := false
	defer func() {
		if !ended { // the host panics, and rolls back
			back.drop(ctx)
		}
	}()
	report, err := in.run(ctx, back, start)
	ended = true
	if back.err != nil {
		return Report{}, fmt.Errorf("nothing was changed, because what is there could not be stored first: %w", back.err)
	}
	if err != nil {
		if back.written { // the failure of a commit may come after it took effect
			return Report{}, fmt.Errorf("%w: %w\nwhat was there before is kept as %s", ErrUncertain, err, back.saved.Name)
		}
		back.drop(ctx)
		return Report{}, err
	}
	if !report.changes() {
		back.drop(ctx)
		return report, nil
	}
	if err := o.mark(ctx, back.saved, markRestored); err != nil {
		report.Warnings = append(report.Warnings, fmt.Sprintf("%s: that the restore took place could not be noted there: %v", back.saved.Name, err))
	}
	report.UndoneBy = back.saved.Name
	for _, left := range back.saved.Manifest.LeftOut {
		report.Warnings = append(report.Warnings, "not valid before the restore, and not in "+back.saved.Name+": "+left.Error())
	}
	back.saved = o.spread(ctx, back.saved, back.at)
	for _, c := range back.saved.Copies {
		if c.Err != nil {
			report.Warnings = append(report.Warnings, fmt.Sprintf("%s is not at %s: %v", back.saved.Name, c.Location, c.Err))
		}
	}
	o.mark(ctx, back.saved, markRestored) // beside the other copies too
	return report, nil
}

// A wayBack is a Sink that stores what is there before it lets anything change.
type wayBack struct {
	Sink
	*operation
	collections []string

	saved   Backup
	at      *site
	err     error // there is no way back
	written bool  // all changes were made, and only the commit was left
}

func (b *wayBack) Update(ctx context.Context, write func(Writer) error) error {
	return b.Sink.Update(ctx, func(w Writer) error {
		b.written = false
		b.drop(ctx) // of a transaction that starts over
		b.saved, b.at, b.err = b.store(ctx, writerSource{w}, BackupOptions{
			Only:            b.collections,
			Metadata:        map[string]string{metaTrigger: TriggerBeforeRestore},
			LeaveOutInvalid: true,
		})
		if b.err != nil {
			return b.err
		}
		if err := write(w); err != nil {
			return err
		}
		b.written = true
		return nil
	})
}

// drop takes the snapshot away that nothing came of.
func (b *wayBack) drop(ctx context.Context) {
	if b.at == nil {
		return
	}
	if err := b.at.drop(ctx, b.saved.Name); err != nil {
		b.failed(ctx, b.at, b.saved.Name, fmt.Errorf("take away what was stored before a restore that changed nothing: %w", err))
	}
	b.saved, b.at = Backup{}, nil
}

// A writerSource reads what a transaction sees.
type writerSource struct{ Writer }

func (s writerSource) View(_ context.Context, read func(Reader) error) error {
	if r, ok := s.Writer.(Reader); ok {
		return read(r)
	}
	return read(s)
}

func (s writerSource) Records(ctx context.Context, collection string) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		var keys []string
		for key, err := range s.Keys(ctx, collection) {
			if err != nil {
				yield(Record{}, err)
				return
			}
			keys = append(keys, key)
		}
		slices.Sort(keys)
		for keys := range slices.Chunk(keys, batchSize) {
			found, err := s.Lookup(ctx, collection, keys)
			if err == nil && len(found) != len(keys) {
				err = fmt.Errorf("of %d records that have a key, %d were found", len(keys), len(found))
			}
			if err != nil {
				yield(Record{}, err)
				return
			}
			slices.SortFunc(found, func(a, b Record) int { return strings.Compare(a.Key, b.Key) })
			for _, r := range found {
				if !yield(r, nil) {
					return
				}
			}
		}
	}
}
