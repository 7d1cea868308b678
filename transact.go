package backup

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/tomo-project/backup/internal/fault"
)

// errLook rolls back a transaction that was only for looking, or for trying.
var errLook = errors.New("only looking")

// transact makes a comparison inside a transaction of dst. It commits the transaction
// if the comparison writes and succeeds. If the host does not take some records that
// the options let it leave out, transact begins again without them. It then tries until
// the host takes the rest, and only then restores.
func (in *incoming) transact(ctx context.Context, dst Sink, start func(Writer) *comparison) (Report, error) {
	trying, wasTrial := false, false
	for {
		var last *comparison
		report, err := in.attempt(ctx, dst, func(w Writer) *comparison {
			c := start(w)
			last = c
			wasTrial = c.trial || !c.write
			c.trial = c.trial || trying
			return c
		})
		switch {
		case err == nil && trying && !wasTrial:
			trying = false
		case err == nil || last == nil || !in.reject(last, err):
			return report, err
		default:
			trying = true
		}
	}
}

func (in *incoming) attempt(ctx context.Context, dst Sink, start func(Writer) *comparison) (Report, error) {
	var report Report
	var inside error
	ran, done := false, false
	err := dst.Update(ctx, func(w Writer) error {
		ran, done = true, false
		if inside = fault.Missing("the Writer of the Sink", w); inside != nil {
			return inside
		}
		c := start(w)
		c.ctx, c.incoming, c.report = ctx, in.fork(), in.report()
		if inside = c.carryOut(); inside == nil && (!c.write || c.trial) {
			inside = errLook
		}
		report, done = c.report, inside == nil
		return inside
	})
	switch {
	case inside == errLook:
		return report, nil
	case inside != nil:
		return Report{}, inside
	case err != nil && done && report.Changed() && !errors.Is(err, ErrRolledBack):
		return Report{}, fmt.Errorf("%w: the host failed to commit: %w; look at its data, and restore again if it lacks the changes", ErrUncertain, fault.Advise(err))
	case err != nil && done && report.Changed():
		return Report{}, fault.Advise(fmt.Errorf("the host did not take the changes: %w", err))
	case err != nil:
		return Report{}, fault.Advise(fmt.Errorf("the host did not take the changes, and is as it was: %w", err))
	case !ran:
		return Report{}, errors.New("the Sink did nothing: its Update returned without calling write")
	}
	return report, nil
}

// restoring returns the comparison that restores.
func (in *incoming) restoring(w Writer) *comparison {
	return &comparison{incoming: in, host: w, write: true}
}

// callBefore calls RestoreOptions.Before for a comparison that writes.
func (c *comparison) callBefore() error {
	if !c.write || c.trial || c.opts.Before == nil || len(c.collections) == 0 {
		return nil
	}
	var names []string
	for _, col := range c.collections {
		names = append(names, col.Name)
	}
	return c.opts.Before(c.ctx, c.held(), names)
}

// reject takes the records that the host refused out of the snapshot, if the options
// allow that. It tells whether it found a record to take out. Of two records of the
// snapshot that clash, one goes only if no other clash is known: it may be over then. The
// error has the keys of the host, as the comparison c does.
func (in *incoming) reject(c *comparison, err error) bool {
	if errors.Is(err, ErrUncertain) {
		return false
	}
	all := recordsIn(err)
	now := make(map[[2]string]bool) // collection and key
	for _, both := range []bool{false, true} {
		for _, r := range all {
			clash := errors.Is(r, ErrClash)
			if !(clash && in.opts.SkipClashes || !clash && errors.Is(r, ErrDangling) && (in.opts.AllowDangling || in.opts.AsItWas)) {
				continue
			}
			if now[[2]string{r.Collection, r.Key}] || now[[2]string{r.Collection, r.With}] {
				continue
			}
			key, with := r.Key, r.With
			if !c.brings(r.Collection, key) {
				key, with = with, key
			}
			if c.brings(r.Collection, key) && c.brings(r.Collection, with) == both {
				source, _ := c.source(r.Collection, key)
				in.leaveBehind(r.Collection, source, with, r)
				now[[2]string{r.Collection, key}] = true
			}
		}
		if len(now) > 0 {
			return true
		}
	}
	return false
}

// fork returns a copy for one comparison, which may leave out more records.
func (in *incoming) fork() *incoming {
	fork := *in
	fork.warnings = slices.Clone(in.warnings)
	fork.rejected = make(map[string]map[string]*RecordError)
	for name, records := range in.rejected {
		fork.rejected[name] = maps.Clone(records)
	}
	return &fork
}

// leaveBehind takes a record out of the snapshot.
func (in *incoming) leaveBehind(collection, key, with string, r *RecordError) {
	if in.rejected[collection] == nil {
		in.rejected[collection] = make(map[string]*RecordError)
	}
	in.rejected[collection][key] = &RecordError{Collection: collection, Key: key, Pointer: r.Pointer, Offset: r.Offset, With: with, Err: r.Err}
}

// recordsIn returns the errors about records that an error is made of.
func recordsIn(err error) (found []*RecordError) {
	switch e := err.(type) {
	case *RecordError:
		return []*RecordError{e}
	case interface{ Unwrap() error }:
		return recordsIn(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, err := range e.Unwrap() {
			found = append(found, recordsIn(err)...)
		}
	}
	return found
}

// A heldSource reads what the host holds, as its transaction sees it.
type heldSource struct{ Writer }

func (s heldSource) View(_ context.Context, read func(Reader) error) error {
	if r, ok := s.Writer.(Reader); ok {
		return read(r)
	}
	return read(s)
}

func (s heldSource) Records(ctx context.Context, collection string) iter.Seq2[Record, error] {
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
