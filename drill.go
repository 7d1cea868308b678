package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/keyset"
)

// A DrillReport says that a backup restores, and how well.
type DrillReport struct {
	Backup  string        `json:"backup"`
	Records int64         `json:"records"`     // that were restored and read back, all equal
	Age     time.Duration `json:"age_ns"`      // of the data when the drill began: what would have been lost (guide, "Recovery Point Objectives")
	Took    time.Duration `json:"took_ns"`     // from the first byte read to the commit (guide, "Recovery Time Objectives")
	Total   time.Duration `json:"duration_ns"` // with the comparison and the host's assertions
	Report  Report        `json:"report"`      // of the restore into the scratch store
}

// Drill proves that a backup restores (guide, "Backup Verification"): it restores
// it into a store made by Scratch, reads all of it back as a restore and as a
// backup would, compares it record by record with the backup, and runs
// CheckDrill. A scratch store that has a record of any collection of the App is
// refused: the host's own, by mistake. An empty name means the newest backup that
// is not known to be damaged.
func (m *Manager) Drill(ctx context.Context, name string) (DrillReport, error) {
	o, err := m.begin(ctx, "drill")
	if err != nil {
		return DrillReport{}, err
	}
	o.emit(ctx, Event{Kind: EventStarted, Backup: name})
	report, err := o.drill(ctx, name)
	return report, o.done(ctx, Event{Backup: report.Backup}, err)
}

func (o *operation) drill(ctx context.Context, name string) (report DrillReport, err error) {
	if o.Scratch == nil {
		return report, fmt.Errorf("%w: the Manager has no Scratch store to restore into", errors.ErrUnsupported)
	}
	if name == "" {
		c, err := o.list(ctx)
		if c == nil {
			return report, err
		}
		i := slices.IndexFunc(c.backups, func(b Backup) bool {
			return !b.Damaged && !b.Database && (b.Manifest == nil || b.Manifest.Salvaged == nil)
		})
		if i < 0 {
			return report, errors.Join(fmt.Errorf("there is no backup to try: %w", fs.ErrNotExist), err)
		}
		name = c.backups[i].Name
	}
	start := time.Now()
	s, _, err := o.open(ctx, name)
	if err != nil {
		return report, fmt.Errorf("%s: %w", name, err)
	}
	defer s.Close()
	report = DrillReport{Backup: name, Age: start.Sub(s.manifest.CreatedAt)}

	scratch, remove, err := o.Scratch(ctx)
	if err != nil {
		return report, fmt.Errorf("make a scratch store: %w", err)
	}
	if remove != nil {
		defer func() {
			if failed := remove(); failed != nil {
				err = errors.Join(err, fmt.Errorf("remove the scratch store: %w", failed))
			}
		}()
	}
	if err := o.tryOut(ctx, s, scratch, start, &report); err != nil {
		return report, fmt.Errorf("%s did not pass: %w", name, err)
	}
	report.Total = time.Since(start)
	o.emit(ctx, Event{Kind: EventDrill, Backup: name, Drill: &report})
	return report, nil
}

// tryOut restores into an empty store and compares.
func (o *operation) tryOut(ctx context.Context, s *Snapshot, scratch Store, start time.Time, report *DrillReport) error {
	in, err := o.App.prepare(ctx, s, RestoreOptions{AllowDangling: true, Progress: o.progress(ctx, nil)})
	if err != nil {
		return err
	}
	report.Report, err = in.run(ctx, onlyEmpty{scratch, o.App.Collections}, in.writing)
	if err != nil {
		return err
	}
	report.Took = time.Since(start)
	report.Report.Duration = report.Took

	// The store must show just what the backup has: where a restore looks, which
	// finds nothing to change then, and where a backup does.
	in.opts.Strategy = Replace
	again, err := in.run(ctx, scratch, func(w Writer) *comparison {
		return &comparison{incoming: in, host: w, each: func(c Change) error {
			return otherwise(c.Collection, c.Key, c.Action.String())
		}}
	})
	if err != nil {
		return err
	}
	err = scratch.View(ctx, func(r Reader) error {
		for _, col := range in.collections {
			if err := in.compareView(ctx, r, col); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, c := range again.Collections {
		report.Records += c.Unchanged
	}
	if o.CheckDrill != nil {
		if err := o.CheckDrill(ctx, scratch); err != nil {
			return fmt.Errorf("the host's own check: %w", err)
		}
	}
	return nil
}

func otherwise(collection, key, how string) error {
	return &RecordError{Collection: collection, Key: key, Offset: -1, Err: fmt.Errorf("%w: it came back from the store otherwise than it was restored (%s)", ErrInvalid, how)}
}

// compareView holds the records that a reader shows against those of the
// snapshot.
func (in *incoming) compareView(ctx context.Context, r Reader, col *collection) error {
	shown := keyset.New()
	var buf []byte
	of := func(key string, value []byte) string {
		buf = codec.Canonical(append(append(buf[:0], codec.Quote(key)...), ':'), value)
		return string(buf)
	}
	for rec, err := range r.Records(ctx, col.Name) {
		if err != nil {
			return fmt.Errorf("read back %s: %w", col.Name, err)
		}
		record := item{key: rec.Key, offset: -1}
		if record.value, err = codec.Compact(nil, rec.Value, hostLimits); err == nil {
			record.key, err = col.identity(&record)
		}
		if err != nil {
			return &RecordError{Collection: col.Name, Key: rec.Key, Offset: -1, Err: fmt.Errorf("read back: %w", err)}
		}
		shown.Add(of(record.key, record.value))
	}
	var records int
	err := in.records(ctx, col, func(b *batch) error {
		for i := range b.items {
			r := &b.items[i]
			if records++; !shown.Has(of(r.key, r.value)) {
				return otherwise(col.Name, r.key, "a backup of the store would not have it so")
			}
		}
		return nil
	})
	if err == nil && records != shown.Len() {
		err = fmt.Errorf("%w: restored were %d records of %s, and the store shows %d", ErrInvalid, records, col.Name, shown.Len())
	}
	return err
}

// onlyEmpty is a Sink that lets nothing change that is there already.
type onlyEmpty struct {
	Sink
	collections []Collection
}

func (s onlyEmpty) Update(ctx context.Context, write func(Writer) error) error {
	return s.Sink.Update(ctx, func(w Writer) error {
		for _, col := range s.collections {
			for key, err := range w.Keys(ctx, col.Name) {
				if err == nil {
					err = fmt.Errorf("%w: the scratch store has records already (%q in %s): it must be empty, and never the host's own", ErrInvalid, shorten(key), col.Name)
				}
				return err
			}
		}
		return write(w)
	})
}
