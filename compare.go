package backup

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"maps"
	"math"
	"slices"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/fault"
)

// A comparison goes once through all records of the snapshot and of the host. It
// says what becomes of each record, and makes the changes if write is set. First it
// deletes, children before parents, so that a new record can take the place of a
// deleted one. Then come the snapshot's records, parents before children.
type comparison struct {
	*incoming
	ctx    context.Context
	host   Writer
	write  bool                    // make the changes
	digest hash.Hash               // of all changes, if not nil
	each   func(Change) error      // called for all changes, if not nil
	finish func(*comparison) error // called at the end, if not nil; its error ends the transaction
	report Report

	deleted  map[string]map[string]bool // collection → keys
	empty    map[string]bool            // collection → the host has no records
	unfit    problems                   // records that are invalid after merging
	dangling problems
	done     int64 // records compared, for Progress
	bytes    int64 // of their values
}

func (c *comparison) carryOut() error {
	c.deleted = make(map[string]map[string]bool)
	c.empty = make(map[string]bool)
	c.dangling.tolerate = c.opts.AllowDangling
	if err := c.compare(); err != nil && !errors.Is(err, errTooMany) {
		return err
	}
	if err := c.verdict(); err != nil {
		return err
	}
	if c.finish != nil {
		if err := c.finish(c); err != nil {
			return err
		}
	}
	return c.ctx.Err()
}

func (c *comparison) compare() error {
	for _, col := range c.collections {
		if err := c.findSurplus(col); err != nil {
			return err
		}
	}
	if err := c.checkLeftBehind(); err != nil {
		return err
	}
	reports := make(map[string]*CollectionReport)
	for i := len(c.collections) - 1; i >= 0; i-- {
		col := c.collections[i]
		r := &CollectionReport{Name: col.Name, Strategy: c.strategy(col)}
		reports[col.Name] = r
		if err := c.deleteSurplus(col, r); err != nil {
			return err
		}
	}
	for _, col := range c.collections {
		r := reports[col.Name]
		if err := c.eachBatch(c.ctx, col, func(b *batch) error { return c.compareBatch(col, b, r) }); err != nil {
			return err
		}
		c.report.Collections = append(c.report.Collections, *r)
	}
	return nil
}

// findSurplus finds the records that Replace deletes: those that only the host has.
func (c *comparison) findSurplus(col *collection) error {
	c.empty[col.Name] = true
	replace := c.strategy(col) == Replace
	for key, err := range c.host.Keys(c.ctx, col.Name) {
		if err != nil {
			return fmt.Errorf("read the keys of %s from the host: %w", col.Name, err)
		}
		c.empty[col.Name] = false
		if !replace {
			break
		}
		if !c.seen.keys[col.Name].Has(key) && !c.spared[col.Name][key] {
			if c.deleted[col.Name] == nil {
				c.deleted[col.Name] = make(map[string]bool)
			}
			c.deleted[col.Name][key] = true
		}
	}
	if c.opts.AsItWas && c.snapshot.manifest.Missing[col.Name] > 0 {
		return c.spareInvalid(col)
	}
	return nil
}

// spareInvalid keeps the host's invalid records from deletion. They may have been
// there when the snapshot was made, which left them out.
func (c *comparison) spareInvalid(col *collection) error {
	for keys := range slices.Chunk(slices.Sorted(maps.Keys(c.deleted[col.Name])), batchSize) {
		found, err := c.lookup(col, keys)
		if err != nil {
			return err
		}
		for _, key := range keys {
			if value := found[key]; value != nil && len(col.examine(&item{key, value, -1})) > 0 {
				delete(c.deleted[col.Name], key)
			}
		}
	}
	return nil
}

// lookup returns the compact values of the host's records. A key without a record
// has nil.
func (c *comparison) lookup(col *collection, keys []string) (map[string][]byte, error) {
	if c.empty[col.Name] {
		return nil, nil
	}
	found := make(map[string][]byte, len(keys))
	for _, key := range keys {
		found[key] = nil
	}
	for keys := range slices.Chunk(keys, batchSize) {
		records, err := c.host.Lookup(c.ctx, col.Name, keys)
		if err != nil {
			return nil, fmt.Errorf("look up %d records of %s in the host: %w", len(keys), col.Name, err)
		}
		for _, r := range records {
			if _, asked := found[r.Key]; !asked {
				return nil, fmt.Errorf("look up %d records of %s in the host: it returned %q, which was not asked for", len(keys), col.Name, r.Key)
			}
			value, err := codec.Compact(nil, r.Value, hostLimits)
			if err != nil {
				return nil, &RecordError{Collection: col.Name, Key: r.Key, Offset: -1, Err: fmt.Errorf("the host's record: %w", err)}
			}
			found[r.Key] = value
		}
	}
	return found, nil
}

// hostLimits are for the host's own records: what the host could store, it may keep.
var hostLimits = codec.Limits{Depth: codec.MaxDepth, Values: math.MaxInt, RecordBytes: 1 << 30}

// deleteSurplus deletes the surplus of a collection.
func (c *comparison) deleteSurplus(col *collection, report *CollectionReport) error {
	keys := slices.Sorted(maps.Keys(c.deleted[col.Name]))
	for len(keys) > 0 {
		n := min(batchSize, len(keys))
		found := map[string][]byte(nil)
		if c.digest != nil {
			var err error
			if found, err = c.lookup(col, keys[:n]); err != nil {
				return err
			}
		}
		for _, key := range keys[:n] {
			if err := c.noteChange(col, key, Delete, found[key], nil); err != nil {
				return err
			}
		}
		if c.write && !c.refused() {
			if err := c.host.Delete(c.ctx, col.Name, keys[:n]); err != nil {
				return fault.Advise(fmt.Errorf("delete %d records of %s from the host: %w", n, col.Name, err))
			}
		}
		report.Deleted += int64(n)
		keys = keys[n:]
	}
	return nil
}

// refused tells whether the restore is known to fail. The comparison then goes on
// only to name all the reasons.
func (c *comparison) refused() bool { return c.unfit.fatal() || c.dangling.fatal() }

// compareBatch compares some records of the snapshot with the host's.
func (c *comparison) compareBatch(col *collection, b *batch, report *CollectionReport) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	keys := make([]string, len(b.items))
	for i, r := range b.items {
		keys[i] = r.key
	}
	existing, err := c.lookup(col, keys)
	if err != nil {
		return err
	}
	after := make([]outcome, len(b.items))
	var puts []Record
	for i := range b.items {
		r := &b.items[i]
		report.Records++
		c.bytes += int64(len(r.value))
		if after[i], err = c.compareRecord(col, r, existing[r.key], report); err != nil {
			return err
		}
		if after[i].put {
			puts = append(puts, Record{r.key, after[i].value})
		}
	}
	if !c.opts.AsItWas {
		if err := c.checkRefs(col, after); err != nil {
			return err
		}
	}
	if c.write && !c.refused() && len(puts) > 0 {
		if err := c.host.Put(c.ctx, col.Name, puts); err != nil {
			return fault.Advise(fmt.Errorf("put %d records of %s into the host: %w", len(puts), col.Name, err))
		}
	}
	if c.done += int64(len(b.items)); c.opts.Progress != nil {
		p := Progress{Phase: "compare", Collection: col.Name, Records: c.done, Bytes: min(c.bytes, c.snapshot.manifest.Bytes), Total: c.snapshot.manifest.Bytes}
		if c.write {
			p.Phase = "restore"
		}
		c.opts.Progress(p)
	}
	return nil
}

// An outcome is what a record of the host will be.
type outcome struct {
	key    string
	value  []byte
	offset int64 // of the record in the snapshot, or -1
	put    bool  // the record has to be put
}

// compareRecord decides what becomes of one record of the snapshot.
func (c *comparison) compareRecord(col *collection, r *item, existing []byte, report *CollectionReport) (outcome, error) {
	stays := outcome{key: r.key, value: existing, offset: -1}
	put := outcome{key: r.key, value: r.value, offset: r.offset, put: true}
	if existing == nil {
		report.Added++
		return put, c.noteChange(col, r.key, Add, nil, r.value)
	}
	if codec.Equal(existing, r.value) {
		report.Unchanged++
		return stays, nil
	}
	switch c.strategy(col) {
	case SkipDuplicates:
		if report.Skipped++; len(report.Conflicts) < 100 {
			report.Conflicts = append(report.Conflicts, r.key)
		}
		return stays, c.noteChange(col, r.key, Skip, existing, r.value)
	case Merge:
		var found []*RecordError
		if put.value, found = col.merge(r, existing, c.snapshot.limits); len(found) > 0 {
			return stays, c.unfit.add(found...)
		}
		if codec.Equal(existing, put.value) {
			report.Unchanged++
			return stays, nil
		}
	}
	report.Updated++
	return put, c.noteChange(col, r.key, Update, existing, put.value)
}

// merge makes one record of two, and checks it against the declaration.
func (col *collection) merge(r *item, existing []byte, l codec.Limits) ([]byte, []*RecordError) {
	fail := func(err error) []*RecordError {
		return []*RecordError{{Collection: col.Name, Key: r.key, Offset: r.offset, Err: fmt.Errorf("merge: %w", err)}}
	}
	merged := item{r.key, nil, r.offset}
	if col.Merge == nil {
		merged.value = codec.Merge(existing, r.value)
	} else {
		out, err := col.Merge(Record{r.key, existing}, Record{r.key, r.value})
		if err != nil {
			return nil, fail(col.hide(err, r.key, existing, r.value))
		}
		if merged.value, err = codec.Compact(nil, out.Value, l); err != nil {
			return nil, fail(err)
		}
		merged.key = out.Key
	}
	found := col.examine(&merged)
	if len(found) == 0 && merged.key != r.key {
		return nil, fail(fmt.Errorf("the key has become %q", merged.key))
	}
	for _, p := range found {
		p.Key, p.Err = r.key, fmt.Errorf("after merging: %w", p.Err)
	}
	return merged.value, found
}

// noteChange adds a change to the digest, and calls each.
func (c *comparison) noteChange(col *collection, key string, action Action, before, after []byte) error {
	if c.digest != nil {
		var frame []byte
		for _, part := range [][]byte{[]byte(col.Name), []byte(key), []byte(action), before, after} {
			frame = binary.AppendUvarint(frame, uint64(len(part)))
			frame = append(frame, part...)
		}
		c.digest.Write(frame)
	}
	if c.each == nil {
		return nil
	}
	change := Change{Collection: col.Name, Key: key, Action: action}
	view := func(value []byte) []byte {
		if value == nil { // so that the other side is shown member by member
			return []byte("{}")
		}
		return col.view(key, value)
	}
	codec.Diff(view(before), view(after), col.secrets, []byte(`"(secret)"`), func(pointer string, before, after []byte) {
		// The memory of the values is used again.
		change.Fields = append(change.Fields, FieldChange{col.inside(key, pointer), bytes.Clone(before), bytes.Clone(after)})
	})
	return c.each(change)
}

// verdict returns an error if something speaks against the restore. What is
// tolerated it adds to the warnings.
func (c *comparison) verdict() error {
	if err := c.unfit.err(ErrInvalid); err != nil {
		return fmt.Errorf("%w\nnothing was changed; correct these records in %s, or restore with another strategy", err, c.Name)
	}
	if err := c.dangling.err(ErrDangling); err != nil {
		return fmt.Errorf("%w\nnothing was changed; restore the collections referred to as well, or allow dangling references", err)
	}
	c.report.Warnings = append(c.report.Warnings, c.dangling.warnings()...)
	return nil
}
