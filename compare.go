package backup

import (
	"cmp"
	"context"
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
// says what becomes of each record. If write is set, it makes the changes: first it
// deletes, children before parents, so that a new record can take the place of a
// deleted one. Then come the snapshot's records, parents before children. At the end
// it reads back what came of them: see settle.
type comparison struct {
	*incoming
	ctx    context.Context
	host   Writer
	write  bool                    // make the changes
	trial  bool                    // they are rolled back
	digest hash.Hash               // of all changes, if not nil
	each   func(entry) error       // called for all changes, if not nil
	finish func(*comparison) error // called when all is compared, if not nil; its error ends the transaction
	done   func(*comparison) error // called at the end, if not nil; its error ends the transaction
	report Report

	cols     []*collection              // to restore, in the order of restore
	effects  []string                   // what changes records by itself, for people
	early    bool                       // write while comparing
	deleted  map[string]map[string]bool // collection → keys
	stays    map[string]map[string]bool // collection → keys that only the host has, and that Replace lets stay
	moves    map[string]*moves          // collection → the records that arrive under another key
	numbers  map[string]bool            // collection → the same key need not be the same thing
	blind    map[string]bool            // collection → match cannot tell all clashes
	empty    map[string]bool            // collection → the host has no records
	reports  map[string]*CollectionReport
	expected map[string]*expected
	clashes  problems
	unfit    problems // records that are invalid after merging, or with the keys of the host
	dangling problems
	count    int64 // records compared, for Progress
	bytes    int64 // of their values
}

func (c *comparison) carryOut() error {
	c.deleted = make(map[string]map[string]bool)
	c.stays = make(map[string]map[string]bool)
	c.empty = make(map[string]bool)
	c.reports = make(map[string]*CollectionReport)
	c.expected = make(map[string]*expected)
	c.dangling.tolerate = c.opts.AllowDangling
	if err := c.meetHost(); err != nil {
		return err
	}
	if err := c.match(); err != nil {
		return err
	}
	if err := c.leaveReferrers(); err != nil {
		return err
	}
	if err := c.callBefore(); err != nil {
		return err
	}
	c.report = c.incoming.report() // it names all that is left out
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
	if c.write {
		if err := c.change(); err != nil {
			return err
		}
	}
	for _, col := range c.cols {
		c.report.Collections = append(c.report.Collections, *c.reports[col.Name])
	}
	if c.done != nil {
		if err := c.done(c); err != nil {
			return err
		}
	}
	return c.ctx.Err()
}

func (c *comparison) compare() error {
	for _, col := range c.cols {
		c.reports[col.Name] = &CollectionReport{Name: col.Name, Strategy: c.strategy(col)}
		c.expected[col.Name] = c.newExpected(col)
		if err := c.findSurplus(col); err != nil {
			return err
		}
	}
	if err := c.checkLeftBehind(); err != nil {
		return err
	}
	if err := c.tellOwn(); err != nil {
		return err
	}
	for _, col := range slices.Backward(c.cols) {
		if err := c.compareSurplus(col); err != nil {
			return err
		}
	}
	for _, col := range c.cols {
		if err := c.eachBatch(c.ctx, col, func(b *batch) error { return c.compareBatch(col, b) }); err != nil {
			return err
		}
	}
	return nil
}

// findSurplus finds the records that Replace deletes: those that only the host has.
func (c *comparison) findSurplus(col *collection) error {
	c.empty[col.Name] = true
	for key, err := range c.host.Keys(c.ctx, col.Name) {
		if err != nil {
			return fmt.Errorf("read the keys of %s from the host: %w", col.Name, err)
		}
		c.empty[col.Name] = false
		if !c.sweeps(col) {
			break
		}
		if !c.arrives(col.Name, key) && !c.spares(col.Name, key) {
			c.surplus(col, key)
		}
	}
	if err := c.findGone(col); err != nil {
		return err
	}
	if c.opts.AsItWas && c.snapshot.manifest.Missing[col.Name] > 0 {
		return c.spareInvalid(col)
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

// compareSurplus says what is deleted from a collection.
func (c *comparison) compareSurplus(col *collection) error {
	keys := slices.Sorted(maps.Keys(c.deleted[col.Name]))
	for keys := range slices.Chunk(keys, batchSize) {
		found := map[string][]byte(nil)
		if c.digest != nil {
			var err error
			if found, err = c.lookup(col, keys); err != nil {
				return err
			}
		}
		for _, key := range keys {
			if err := c.noteChange(entry{collection: col.Name, key: key, action: Delete, before: found[key]}); err != nil {
				return err
			}
		}
		if c.early && !c.refused() {
			if err := c.delete(col, keys); err != nil {
				return err
			}
		}
		c.reports[col.Name].Deleted += int64(len(keys))
	}
	return nil
}

func (c *comparison) delete(col *collection, keys []string) error {
	var held map[string][]byte
	if len(col.secrets) > 0 {
		var err error
		if held, err = c.lookupHeld(col, keys); err != nil {
			return err
		}
	}
	if err := c.host.Delete(c.ctx, col.Name, keys); err != nil {
		return fault.Advise(fmt.Errorf("delete %d records of %s from the host: %w", len(keys), col.Name, c.veil(err, col, held)))
	}
	return nil
}

func (c *comparison) put(col *collection, records []Record) error {
	if len(records) == 0 {
		return nil
	}
	if err := c.host.Put(c.ctx, col.Name, records); err != nil {
		return fault.Advise(fmt.Errorf("put %d records of %s into the host: %w", len(records), col.Name, c.veil(err, nil, nil)))
	}
	return nil
}

// refused tells whether the restore is known to fail. The comparison then goes on
// only to name all the reasons.
func (c *comparison) refused() bool { return c.unfit.fatal() || c.dangling.fatal() }

// compareBatch compares some records of the snapshot with the host's.
func (c *comparison) compareBatch(col *collection, b *batch) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	existing, err := c.lookup(col, b.keys())
	if err != nil {
		return err
	}
	after := make([]outcome, len(b.items))
	var puts []Record
	for i := range b.items {
		r := &b.items[i]
		c.bytes += int64(len(r.value))
		here := existing[r.key]
		if r.apart {
			here = nil
		}
		if after[i], err = c.compareRecord(col, r, here); err != nil {
			return err
		}
		if after[i].put() {
			puts = append(puts, Record{r.key, after[i].value})
		}
		if c.write {
			c.expected[col.Name].add(after[i])
		}
	}
	if err := c.checkRewritten(col, b, after); err != nil {
		return err
	}
	if !c.opts.AsItWas {
		if err := cmp.Or(c.checkRefs(col, after), c.checkForeignRefs(col, b, after)); err != nil {
			return err
		}
	}
	if c.early && !c.refused() {
		if err := c.put(col, puts); err != nil {
			return err
		}
	}
	c.count += int64(len(b.items))
	if c.early {
		c.progress(c.phase(), col)
	} else {
		c.progress("compare", col)
	}
	return nil
}

// phase names what is done while the host is changed.
func (c *comparison) phase() string {
	if c.trial {
		return "try"
	}
	return "restore"
}

func (c *comparison) progress(phase string, col *collection) {
	if c.opts.Progress != nil {
		total := c.snapshot.manifest.Bytes
		c.opts.Progress(Progress{Phase: phase, Collection: col.Name, Records: c.count, Bytes: min(c.bytes, total), Total: total})
	}
}

// An outcome is what a record of the host will be.
type outcome struct {
	key    string
	value  []byte // nil: no record
	offset int64  // of the record in the snapshot, or -1
	fate   fate
	apart  bool // as in item
}

func (o outcome) put() bool { return o.fate == added || o.fate == updated }

// compareRecord decides what becomes of one record of the snapshot, and counts it.
func (c *comparison) compareRecord(col *collection, r *item, existing []byte) (outcome, error) {
	if err := c.checkTwin(col, r, existing); err != nil {
		return outcome{}, err
	}
	after, with, err := c.decide(col, r, existing)
	if err != nil {
		return after, err
	}
	report := c.reports[col.Name]
	report.Records++
	*report.count(after.fate)++
	key, from := r.key, r.from
	switch there := existing != nil || after.put(); {
	case from != "" && !r.apart && there:
		report.addRekeyed(from, key)
		c.noteKeys(col, r)
	case from != "" && !there: // it is left out, and has no other key
		key, from = from, ""
	}
	change := entry{collection: col.Name, key: key, from: from, before: existing, after: after.value}
	switch after.fate {
	case added:
		change.action = Add
	case updated:
		change.action = Update
	case skipped:
		if len(report.Conflicts) < 100 {
			report.Conflicts = append(report.Conflicts, key)
		}
		change.action, change.with, change.after = Skip, with, r.value
		if err := c.noteOther(col, with); err != nil {
			return after, err
		}
	default:
		return after, nil
	}
	return after, c.noteChange(change)
}

// decide returns what becomes of one record of the snapshot. If it clashes, with is the
// key of the host's record that it clashes with.
func (c *comparison) decide(col *collection, r *item, existing []byte) (after outcome, with string, err error) {
	stays := outcome{r.key, existing, -1, unchanged, r.apart}
	put := outcome{r.key, r.value, r.offset, updated, false}
	if clash := c.rejected[col.Name][r.source()]; clash != nil {
		stays.fate = skipped
		return stays, clash.With, nil
	}
	if existing == nil {
		put.fate = added
		return put, "", nil
	}
	if codec.Equal(existing, r.value) {
		return stays, "", nil
	}
	switch c.strategy(col) {
	case SkipDuplicates:
		stays.fate = skipped
		return stays, "", nil
	case Merge:
		var found findings
		if put.value, found = col.merge(r, existing, c.snapshot.limits); found.total > 0 {
			return stays, "", c.unfit.addAll(col.Name, found)
		}
		if codec.Equal(existing, put.value) {
			return stays, "", nil
		}
	}
	return put, "", nil
}

// merge makes one record of two, and checks it against the declaration.
func (col *collection) merge(r *item, existing []byte, l codec.Limits) ([]byte, findings) {
	fail := func(err error) findings {
		return findings{[]*RecordError{{Collection: col.Name, Key: r.key, Offset: r.offset, Err: fmt.Errorf("merge: %w", err)}}, 1}
	}
	merged := item{key: r.key, offset: r.offset}
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
	var found findings
	var n note
	if one := (batch{col: col}); one.glance(&merged, &n, l) {
		merged.key = string(n.key)
	} else {
		found = col.examine(&merged, maxProblems)
	}
	if found.total == 0 && merged.key != r.key {
		return nil, fail(fmt.Errorf("the key has become %q", merged.key))
	}
	for _, p := range found.list {
		p.Key, p.Err = r.key, fmt.Errorf("after merging: %w", p.Err)
	}
	return merged.value, found
}

// noteOther adds the host's record that another clashes with to the digest: once it is
// gone, or another, the plan is stale.
func (c *comparison) noteOther(col *collection, key string) error {
	if c.digest == nil || key == "" {
		return nil
	}
	found, err := c.lookup(col, []string{key})
	if err == nil {
		c.addToDigest([]byte(col.Name), []byte(key), found[key])
	}
	return err
}

// noteKeys adds the keys of a record to the digest, whether it changes or not.
func (c *comparison) noteKeys(col *collection, r *item) {
	if c.digest != nil {
		c.addToDigest([]byte(col.Name), []byte(r.from), []byte(r.key))
	}
}

// addToDigest adds texts, each with its length before it.
func (c *comparison) addToDigest(parts ...[]byte) { c.digest.Write(appendFrame(nil, parts...)) }

// noteChange adds a change to the digest, and calls each.
func (c *comparison) noteChange(e entry) error {
	if c.digest != nil {
		c.addToDigest([]byte(e.collection), []byte(e.key), []byte(e.action), e.before, e.after)
	}
	if c.each == nil {
		return nil
	}
	return c.each(e)
}

// verdict returns an error if something speaks against the restore. What is
// tolerated it adds to the warnings.
func (c *comparison) verdict() error {
	if err := c.unfit.err(ErrInvalid); err != nil {
		return fmt.Errorf("%w\nnothing was changed; correct these records in %s, or restore with another strategy", err, c.Name)
	}
	if err := c.dangling.err(ErrDangling); err != nil {
		advice := "restore the collections referred to as well"
		if c.picks != nil {
			advice = "restore the records referred to as well (WithReferences)"
		}
		return fmt.Errorf("%w\nnothing was changed; %s, or allow dangling references", err, advice)
	}
	c.report.Warnings = append(c.report.Warnings, c.dangling.warnings()...)
	return nil
}
