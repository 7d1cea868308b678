package backup

import (
	"context"
	"fmt"
	"time"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/fault"
	"github.com/tomo-project/backup/internal/keyset"
)

// Drill proves that a snapshot restores (guide, "Backup Verification"). It restores
// the snapshot into scratch, reads all of it back as a restore and as a backup would,
// and compares that with the snapshot, record by record. The Duration of the Report
// is that of the restore, without the comparison.
//
// The scratch store must be empty. Drill refuses one that has a record of any
// collection of the App, with ErrInvalid: it could be the host's own, by mistake.
//
// The errors are those of Restore. A record that comes back different is ErrInvalid.
func (a *App) Drill(ctx context.Context, s *Snapshot, scratch Store, opts RestoreOptions) (Report, error) {
	report, err := a.drill(ctx, s, scratch, opts)
	if err != nil {
		return Report{}, fmt.Errorf("drill: %w", err)
	}
	return report, nil
}

func (a *App) drill(ctx context.Context, s *Snapshot, scratch Store, opts RestoreOptions) (Report, error) {
	if err := fault.Missing("the Store", scratch); err != nil {
		return Report{}, err
	}
	start := time.Now()
	in, err := a.prepareToRestore(ctx, s, opts)
	if err != nil {
		return Report{}, err
	}
	defer in.forget()
	report, err := in.transact(ctx, onlyEmpty{scratch, a.Collections}, in.restoring)
	if err != nil {
		return Report{}, err
	}
	report.Duration = time.Since(start)

	// The store must show exactly what the snapshot has, both to a restore, which
	// then finds nothing to change, and to a backup.
	in.opts.Strategy, in.opts.Strategies = Replace, nil
	_, err = in.transact(ctx, scratch, func(w Writer) *comparison {
		return &comparison{incoming: in, host: w, each: func(e entry) error {
			return different(e.collection, e.key, string(e.action))
		}}
	})
	if err != nil {
		return Report{}, err
	}
	err = scratch.View(ctx, func(r Reader) error {
		if err := fault.Missing("the Reader of the Store", r); err != nil {
			return err
		}
		for _, col := range in.collections {
			if err := in.compareView(ctx, r, col); err != nil {
				return err
			}
		}
		return nil
	})
	return report, err
}

// different is the error about a record that did not come back as it was restored.
func different(collection, key, how string) error {
	return &RecordError{Collection: collection, Key: key, Offset: -1, Err: fmt.Errorf("%w: it came back from the store otherwise than it was restored (%s)", ErrInvalid, how)}
}

// compareView compares the records that a reader shows with those of the snapshot.
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
	err := in.eachBatch(ctx, col, func(b *batch) error {
		if err := in.normalize(ctx, r, col, b); err != nil {
			return err
		}
		for i := range b.items {
			r := &b.items[i]
			if records++; !shown.Has(of(r.key, r.value)) {
				return different(col.Name, r.key, "a backup of the store would not have it so")
			}
		}
		return nil
	})
	if err == nil && records != shown.Len() {
		err = fmt.Errorf("%w: %d records of %s were restored, and the store shows %d", ErrInvalid, records, col.Name, shown.Len())
	}
	return err
}

// onlyEmpty is a Sink that refuses to change a store that is not empty.
type onlyEmpty struct {
	Sink
	collections []Collection
}

func (s onlyEmpty) Update(ctx context.Context, write func(Writer) error) error {
	return s.Sink.Update(ctx, func(w Writer) error {
		for _, col := range s.collections {
			for key, err := range w.Keys(ctx, col.Name) {
				if err == nil {
					err = fmt.Errorf("%w: the scratch store has records already (%q in %s): it must be empty, and never the host's own", ErrInvalid, fault.Shorten(key), col.Name)
				}
				return err
			}
		}
		return write(w)
	})
}
