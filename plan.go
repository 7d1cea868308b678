package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"iter"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/fault"
)

// A Plan is what a restore would do to the host as it is now. It holds on to
// its Snapshot and Sink and takes no memory for the single changes.
type Plan struct {
	// Before and Progress are those of the RestoreOptions. They may be replaced
	// until Apply or Changes is called.
	Before   func(ctx context.Context, held DataSource, collections []string) error
	Progress func(Progress)

	in     *incoming
	dst    Sink
	report Report
	digest [sha256.Size]byte // of all changes, with the values before and after
}

// Plan compares a snapshot with the host and says what Restore would do, without
// doing it. Its errors are those of Restore: what cannot be restored has no
// plan.
func (a *App) Plan(ctx context.Context, s *Snapshot, dst Sink, opts RestoreOptions) (*Plan, error) {
	start := time.Now()
	in, err := a.prepare(ctx, s, opts)
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	p := &Plan{Before: opts.Before, Progress: opts.Progress, in: in, dst: dst}
	p.report, err = in.run(ctx, dst, func(w Writer) *comparison {
		return &comparison{incoming: in, host: w, digest: sha256.New(), finish: p.keepDigest}
	})
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	p.report.Duration = time.Since(start)
	return p, nil
}

// incoming is what the plan restores, with the hooks of now.
func (p *Plan) incoming() *incoming {
	in := *p.in
	in.opts.Before, in.opts.Progress = p.Before, p.Progress
	return &in
}

func (p *Plan) keepDigest(c *comparison) error {
	c.digest.Sum(p.digest[:0])
	return nil
}

// Close closes the Snapshot of the plan, whoever opened it.
func (p *Plan) Close() error { return p.in.snapshot.Close() }

// Report says what Apply would do. Its Duration is how long planning took.
func (p *Plan) Report() Report { return p.report }

// A Change is what happens to one record.
type Change struct {
	Collection string `json:"collection"`
	Key        string `json:"key"`
	Action     Action `json:"action"`

	// Fields are the places in which the two sides differ; of a record that only one
	// has, its members.
	Fields []FieldChange `json:"fields,omitempty"`
}

// A FieldChange is a place in which a record of the host differs from what it
// would become (of a Skip: from the one in the snapshot). Secrets are masked:
// one reads "(secret)" on both sides and has changed nevertheless.
type FieldChange struct {
	Pointer string          `json:"pointer"`          // JSON Pointer; empty for the whole record
	Before  json.RawMessage `json:"before,omitempty"` // nil: the host has no such member
	After   json.RawMessage `json:"after,omitempty"`  // nil: it goes away
}

// Action is what happens to a record. Records that stay as they are have none.
type Action string

const (
	Add    Action = "add"    // only the snapshot has it
	Update Action = "update" // both have it, and the host's changes
	Skip   Action = "skip"   // both have it, they differ, and the host's stays
	Delete Action = "delete" // only the host has it
)

// Changes yields the changes of the plan, what is deleted first. It compares
// anew and ends with ErrStale if the host has changed since the plan was made.
// The Sink is in a transaction while the sequence is iterated.
func (p *Plan) Changes(ctx context.Context) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		yielded, stopped := 0, false
		in := p.incoming()
		_, err := in.run(ctx, p.dst, func(w Writer) *comparison {
			n := 0
			return &comparison{incoming: in, host: w, digest: sha256.New(), finish: p.sameDigest, each: func(c Change) error {
				// A Sink that starts over gets to the same changes again.
				if n++; n > yielded && !stopped {
					yielded, stopped = n, !yield(c, nil)
				}
				if stopped {
					return errStop
				}
				return nil
			}}
		})
		if err != nil && !stopped {
			yield(Change{}, fmt.Errorf("plan: %w", err))
		}
	}
}

// Apply does exactly what the plan says, or returns ErrStale and does nothing
// if the host has changed since the plan was made where that matters. Its other
// errors are those of Restore.
func (p *Plan) Apply(ctx context.Context) (Report, error) {
	start := time.Now()
	in := p.incoming()
	report, err := in.run(ctx, p.dst, func(w Writer) *comparison {
		return &comparison{incoming: in, host: w, write: true, digest: sha256.New(), finish: p.sameDigest}
	})
	if err != nil {
		return Report{}, fmt.Errorf("restore: %w", err)
	}
	report.Duration = time.Since(start)
	return report, nil
}

func (p *Plan) sameDigest(c *comparison) error {
	if [sha256.Size]byte(c.digest.Sum(nil)) != p.digest {
		return fmt.Errorf("%w: the host has changed since; nothing was changed, make a new plan", ErrStale)
	}
	return nil
}

// errLook rolls a transaction back that was only for looking.
var errLook = errors.New("only looking")

// run makes a comparison inside a transaction of dst, which is committed if it
// writes and all goes well.
func (in *incoming) run(ctx context.Context, dst Sink, start func(Writer) *comparison) (Report, error) {
	var report Report
	var inside error
	ran, done := false, false
	err := dst.Update(ctx, func(w Writer) error {
		ran, done = true, false
		c := start(w)
		c.ctx, c.report = ctx, in.report()
		if inside = in.before(c); inside == nil {
			inside = c.run()
		}
		if inside == nil && !c.write {
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
	case err != nil && done && !errors.Is(err, ErrRolledBack):
		return Report{}, fmt.Errorf("%w: the host failed to commit: %w; look at its data, and restore again if it lacks the changes", ErrUncertain, fault.Advise(err))
	case err != nil && done:
		return Report{}, fault.Advise(fmt.Errorf("the host did not take the changes: %w", err))
	case err != nil:
		return Report{}, fault.Advise(fmt.Errorf("the host did not take the changes, and is as it was: %w", err))
	case !ran:
		return Report{}, errors.New("the Sink did nothing: its Update returned without calling write")
	}
	return report, nil
}

// before lets the caller see what the host holds, before anything changes.
func (in *incoming) before(c *comparison) error {
	if !c.write || in.opts.Before == nil || len(in.collections) == 0 {
		return nil
	}
	var names []string
	for _, col := range in.collections {
		names = append(names, col.Name)
	}
	return in.opts.Before(c.ctx, heldSource{c.host}, names)
}

// writing makes the comparison that restores.
func (in *incoming) writing(w Writer) *comparison {
	return &comparison{incoming: in, host: w, write: true}
}

// A comparison goes once through all records of both sides and says, or does,
// what becomes of each. What is deleted goes first, children before parents, so
// that what comes can take its place; then the snapshot's records follow,
// parents before children.
type comparison struct {
	*incoming
	ctx    context.Context
	host   Writer
	write  bool                    // make the changes
	digest hash.Hash               // takes in all changes, if not nil
	each   func(Change) error      // is told of all changes, if not nil
	finish func(*comparison) error // has the last word, if not nil
	report Report

	deleted  map[string]map[string]bool // collection → keys
	empty    map[string]bool            // collection → the host has no records
	unfit    problems                   // records that are invalid after merging
	dangling problems
	done     int64 // records, for Progress
	bytes    int64 // of their values
}

func (c *comparison) run() error {
	c.deleted = make(map[string]map[string]bool)
	c.empty = make(map[string]bool)
	c.dangling.tolerate = c.opts.AllowDangling
	if err := c.compare(); err != nil && !errors.Is(err, errTooMany) {
		return err
	}
	if err := c.settle(); err != nil {
		return err
	}
	if c.finish != nil {
		if err := c.finish(c); err != nil {
			return err
		}
	}
	return c.ctx.Err()
}

// refused tells whether it is known that the restore will fail. It goes on only
// to name all the reasons.
func (c *comparison) refused() bool { return c.unfit.fatal() || c.dangling.fatal() }

func (c *comparison) compare() error {
	for _, col := range c.collections {
		if err := c.surplus(col); err != nil {
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
		if err := c.delete(col, r); err != nil {
			return err
		}
	}
	for _, col := range c.collections {
		r := reports[col.Name]
		if err := c.records(c.ctx, col, func(b *batch) error { return c.batch(col, b, r) }); err != nil {
			return err
		}
		c.report.Collections = append(c.report.Collections, *r)
	}
	return nil
}

// surplus finds out which records only the host has.
func (c *comparison) surplus(col *collection) error {
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

// spareInvalid keeps those of the host's records from deletion that are not
// valid: they could not be in a snapshot of what was there, so that they are not
// in it does not say that they were not there.
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

// checkLeftBehind looks for records that only the host has, that stay, and that
// refer to what is deleted.
func (c *comparison) checkLeftBehind() error {
	for _, col := range c.compiled.collections {
		concerned := false
		for _, r := range col.refs {
			concerned = concerned || len(c.deleted[r.Collection]) > 0
		}
		if !concerned {
			continue
		}
		var staying []string
		for key, err := range c.host.Keys(c.ctx, col.Name) {
			if err != nil {
				return fmt.Errorf("read the keys of %s from the host: %w", col.Name, err)
			}
			// What the snapshot has too is checked when its turn comes.
			incoming := c.seen.keys[col.Name] != nil && c.seen.keys[col.Name].Has(key)
			if !incoming && !c.deleted[col.Name][key] {
				staying = append(staying, key)
			}
		}
		slices.Sort(staying)
		for keys := range slices.Chunk(staying, batchSize) {
			found, err := c.lookup(col, keys)
			if err != nil {
				return err
			}
			var after []outcome
			for _, key := range keys {
				if found[key] != nil {
					after = append(after, outcome{key: key, value: found[key], offset: -1})
				}
			}
			if err := c.checkRefs(col, after); err != nil {
				return err
			}
		}
	}
	return nil
}

// settle returns what speaks against the restore as an error, or as warnings.
func (c *comparison) settle() error {
	if err := c.unfit.err(ErrInvalid); err != nil {
		return fmt.Errorf("%w\nnothing was changed; correct these records in %s, or restore with another strategy", err, c.Name)
	}
	if err := c.dangling.err(ErrDangling); err != nil {
		return fmt.Errorf("%w\nnothing was changed; restore the collections referred to as well, or allow dangling references", err)
	}
	c.report.Warnings = append(c.report.Warnings, c.dangling.warnings()...)
	return nil
}

// lookup returns the compact values of the host's records, nil where there is
// none.
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

// hostLimits are for the host's own records, which it may do with as it likes.
var hostLimits = codec.Limits{Depth: codec.MaxDepth, Values: math.MaxInt, RecordBytes: 1 << 30}

// delete removes the surplus of a collection.
func (c *comparison) delete(col *collection, report *CollectionReport) error {
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
			if err := c.note(col, key, Delete, found[key], nil); err != nil {
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

// batch compares some records of the snapshot with the host's.
func (c *comparison) batch(col *collection, b *batch, report *CollectionReport) error {
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
		if after[i], err = c.record(col, r, existing[r.key], report); err != nil {
			return err
		}
		if after[i].put {
			puts = append(puts, Record{r.key, after[i].value})
		}
	}
	if c.opts.AsItWas {
		// References that pointed to nothing then do so again.
	} else if err := c.checkRefs(col, after); err != nil {
		return err
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
	offset int64 // in the snapshot, or -1
	put    bool  // and is not yet
}

// record decides about one record that the snapshot has.
func (c *comparison) record(col *collection, r *item, existing []byte, report *CollectionReport) (outcome, error) {
	stays := outcome{key: r.key, value: existing, offset: -1}
	put := outcome{key: r.key, value: r.value, offset: r.offset, put: true}
	if existing == nil {
		report.Added++
		return put, c.note(col, r.key, Add, nil, r.value)
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
		return stays, c.note(col, r.key, Skip, existing, r.value)
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
	return put, c.note(col, r.key, Update, existing, put.value)
}

// merge makes one record of two, and holds it against the declaration.
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
			return nil, fail(err)
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

// checkRefs looks for references that will point to nothing when the restore is
// done. Those of records that stay count only if they point to something now.
func (c *comparison) checkRefs(col *collection, after []outcome) error {
	if len(col.refs) == 0 {
		return nil
	}
	type place struct {
		outcome
		pointer, target, ref string
	}
	var open []place
	wanted := make(map[string]map[string]bool) // target → keys to look up in the host
	for _, r := range after {
		if !r.put && len(c.deleted) == 0 {
			continue
		}
		col.eachRef(col.view(r.key, r.value, nil), func(target, ref, pointer string, err error) {
			gone := c.deleted[target][ref]
			known := c.seen.keys[target] != nil && c.seen.keys[target].Has(ref)
			if err != nil || !gone && (known || !r.put) {
				return
			}
			open = append(open, place{r, col.inside(r.key, pointer), target, ref})
			if !gone {
				if wanted[target] == nil {
					wanted[target] = make(map[string]bool)
				}
				wanted[target][ref] = true
			}
		})
	}
	exists := make(map[string]map[string][]byte)
	for target, keys := range wanted {
		found, err := c.lookup(c.byName[target], slices.Sorted(maps.Keys(keys)))
		if err != nil {
			return err
		}
		exists[target] = found
	}
	for _, p := range open {
		if exists[p.target][p.ref] != nil {
			continue
		}
		err := fmt.Errorf("refers to %q of %s, which would not exist", p.ref, p.target)
		if c.deleted[p.target][p.ref] {
			err = fmt.Errorf("refers to %q of %s, which is not in the snapshot and would be deleted", p.ref, p.target)
		}
		if err := c.dangling.add(&RecordError{Collection: col.Name, Key: p.key, Pointer: p.pointer, Offset: p.offset, Err: err}); err != nil {
			return err
		}
	}
	return nil
}

// note takes a change into the digest and tells of it.
func (c *comparison) note(col *collection, key string, action Action, before, after []byte) error {
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
		if value == nil { // the other side is told member by member
			return []byte("{}")
		}
		return col.view(key, value, nil)
	}
	codec.Diff(view(before), view(after), col.secrets, []byte(`"(secret)"`), func(pointer string, before, after []byte) {
		// The values share memory that is used again.
		change.Fields = append(change.Fields, FieldChange{col.inside(key, pointer), bytes.Clone(before), bytes.Clone(after)})
	})
	return c.each(change)
}
