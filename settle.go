package backup

import (
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/fault"
)

// What a restore has written is read back before the commit. A host can have rules of
// its own: a trigger that sets a date or keeps a counter, a foreign key that acts. So
// the restore puts right what has come out otherwise, some times over, and names the
// rest in the report.

// mostRounds is how often a restore puts right what the host makes otherwise.
const mostRounds = 3

// A fate is what becomes of a record of the snapshot.
type fate uint64

const (
	unchanged fate = iota
	skipped
	added
	updated

	fates fate = 3 // the bits of a fate
)

// count returns the number in the report that a fate belongs to.
func (r *CollectionReport) count(f fate) *int64 {
	return []*int64{&r.Unchanged, &r.Skipped, &r.Added, &r.Updated}[f]
}

// expected is what a collection holds after the restore.
type expected struct {
	seed maphash.Seed
	each []uint64 // of each record of the snapshot, in its order: the hash of the value, with the fate in the lowest bits
	sum  uint64   // of the hashes of all of these records, with their keys
	keys []string // of these records, unless there are many
	many bool

	// others has the hashes of the records that only the host has and that stay, if
	// something could change them.
	others map[string]uint64
}

// fewKeys is how many records are read back by their keys. More are read in a row.
const fewKeys = 4096

func (c *comparison) newExpected(col *collection) *expected {
	n := c.seen.keys[col.Name].Len()
	e := &expected{seed: maphash.MakeSeed(), many: n > fewKeys || c.strategy(col) == Replace}
	if c.write {
		e.each = make([]uint64, 0, n)
	}
	return e
}

// add takes the outcome of the next record of the snapshot.
func (e *expected) add(o outcome) {
	h := e.hash(o.value)
	e.each = append(e.each, h|uint64(o.fate))
	if o.value != nil {
		e.sum += e.keyed(o.key, h)
	}
	if !e.many {
		e.keys = append(e.keys, o.key)
	}
}

// hash returns the hash of a value, without the bits of a fate. It is 0 for no value.
func (e *expected) hash(value []byte) uint64 {
	if value == nil {
		return 0
	}
	return codec.Hash(e.seed, value) &^ uint64(fates)
}

// keyed returns the hash of a record.
func (e *expected) keyed(key string, hash uint64) uint64 {
	return maphash.Comparable(e.seed, struct {
		key  string
		hash uint64
	}{key, hash})
}

// change makes the changes that have not been made while comparing, and settles them.
func (c *comparison) change() error {
	if !c.early {
		if err := c.changeAll(); err != nil {
			return err
		}
	}
	for round := 0; ; round++ {
		if err := c.settle(round > 0); err != nil {
			return err
		}
		differ, err := c.readBack()
		if err != nil || len(differ) == 0 {
			return err
		}
		changed := false
		for _, col := range differ {
			if round < mostRounds {
				one, err := c.putRight(col)
				if err != nil {
					return err
				}
				changed = changed || one
			}
		}
		if !changed {
			return c.nameAll(differ)
		}
	}
}

// changeAll makes all changes. It is for a host whose own doing must not get into the
// comparison.
func (c *comparison) changeAll() error {
	for _, col := range c.cols {
		if err := c.rememberOthers(col); err != nil {
			return err
		}
	}
	for _, col := range slices.Backward(c.cols) {
		for keys := range slices.Chunk(slices.Sorted(maps.Keys(c.deleted[col.Name])), batchSize) {
			if err := c.delete(col, keys); err != nil {
				return err
			}
		}
	}
	c.done, c.bytes = 0, 0
	for _, col := range c.cols {
		err := c.eachFate(col, func(b *batch, fates []fate) error {
			var updates []string
			for i, r := range b.items {
				if fates[i] == updated {
					updates = append(updates, r.key)
				}
				c.bytes += int64(len(r.value))
			}
			var existing map[string][]byte
			if c.strategy(col) == Merge {
				var err error
				if existing, err = c.lookup(col, updates); err != nil {
					return err
				}
			}
			var puts []Record
			for i := range b.items {
				if r := &b.items[i]; fates[i] == added || fates[i] == updated {
					puts = append(puts, Record{r.key, c.wanted(col, r, existing[r.key])})
				}
			}
			c.done += int64(len(b.items))
			c.progress(c.phase(), col)
			return c.put(col, puts)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// rememberOthers remembers what must stay as it is.
func (c *comparison) rememberOthers(col *collection) error {
	e := c.expected[col.Name]
	if c.strategy(col) == Replace {
		return nil
	}
	e.others = make(map[string]uint64)
	return c.eachHeld(col, func(r item) error {
		if !c.seen.keys[col.Name].Has(r.key) {
			e.others[r.key] = e.hash(r.value)
		}
		return nil
	})
}

// eachFate calls f for the records of the snapshot, with the fates of each batch.
func (c *comparison) eachFate(col *collection, f func(b *batch, fates []fate) error) error {
	each := c.expected[col.Name].each
	return c.eachBatch(c.ctx, col, func(b *batch) error {
		of := make([]fate, len(b.items))
		for i := range of {
			of[i] = fate(each[i]) & fates
		}
		each = each[len(b.items):]
		return f(b, of)
	})
}

// wanted returns what a record of the snapshot is to be in the host.
func (c *comparison) wanted(col *collection, r *item, existing []byte) []byte {
	if c.strategy(col) == Merge && existing != nil {
		if merged, found := col.merge(r, existing, c.snapshot.limits); len(found) == 0 {
			return merged
		}
	}
	return r.value
}

// settle deletes what the host has made by itself where Replace was asked for, and lets
// the host settle.
func (c *comparison) settle(again bool) error {
	if again || !c.early {
		for _, col := range slices.Backward(c.cols) {
			if c.strategy(col) != Replace {
				continue
			}
			extra, err := c.extra(col)
			if err != nil {
				return err
			}
			for keys := range slices.Chunk(extra, batchSize) {
				if err := c.delete(col, keys); err != nil {
					return err
				}
			}
		}
	}
	if s, ok := c.host.(settler); ok {
		if err := s.Settle(c.ctx); err != nil {
			return fault.Advise(fmt.Errorf("the host does not take the changes: %w", err))
		}
	}
	return nil
}

// extra returns the keys that Replace should not have left in a collection.
func (c *comparison) extra(col *collection) (keys []string, err error) {
	for key, err := range c.host.Keys(c.ctx, col.Name) {
		if err != nil {
			return nil, fmt.Errorf("read the keys of %s from the host: %w", col.Name, err)
		}
		if c.isExtra(col, key) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys, nil
}

// isExtra tells whether a restore should not have left a record under a key.
func (c *comparison) isExtra(col *collection, key string) bool {
	if c.seen.keys[col.Name].Has(key) || c.spared[col.Name][key] || c.stays[col.Name][key] {
		return false
	}
	e := c.expected[col.Name]
	_, other := e.others[key]
	return !other && (c.strategy(col) == Replace || e.others != nil)
}

// readBack returns the collections that do not hold what they should.
func (c *comparison) readBack() (differ []*collection, err error) {
	c.done, c.bytes = 0, 0
	for _, col := range c.cols {
		same, err := c.holdsExpected(col)
		if err != nil {
			return nil, err
		}
		if !same {
			differ = append(differ, col)
		}
		c.progress("confirm", col)
	}
	return differ, nil
}

func (c *comparison) holdsExpected(col *collection) (bool, error) {
	e := c.expected[col.Name]
	var sum uint64
	same, others := true, 0
	take := func(key string, value []byte) {
		c.bytes += int64(len(value))
		if c.done++; c.done%fewKeys == 0 {
			c.progress("confirm", col)
		}
		h := e.hash(value)
		switch other, known := e.others[key]; {
		case c.seen.keys[col.Name].Has(key):
			sum += e.keyed(key, h)
		case known:
			others++
			same = same && h == other
		default:
			same = same && !c.isExtra(col, key)
		}
	}
	if !e.many && e.others == nil {
		for keys := range slices.Chunk(e.keys, batchSize) {
			found, err := c.lookupHeld(col, keys)
			if err != nil {
				return false, err
			}
			for key, value := range found {
				if value != nil {
					take(key, value)
				}
			}
		}
		return sum == e.sum, nil
	}
	err := c.eachHeld(col, func(r item) error { take(r.key, r.value); return nil })
	return same && sum == e.sum && others == len(e.others), err
}

// lookupHeld is lookup for records that the restore itself may have put.
func (c *comparison) lookupHeld(col *collection, keys []string) (map[string][]byte, error) {
	c.empty[col.Name] = false
	return c.lookup(col, keys)
}

// eachHeld calls f for each record that the host holds now. The value is valid until f
// returns.
func (c *comparison) eachHeld(col *collection, f func(item) error) error {
	return heldSource{c.host}.View(c.ctx, func(reader Reader) error {
		var buf []byte
		for r, err := range reader.Records(c.ctx, col.Name) {
			held := item{key: r.Key, offset: -1}
			if err == nil {
				buf, err = codec.Compact(buf[:0], r.Value, hostLimits)
			}
			if err == nil {
				held.value = buf
				held.key, err = col.identity(&held)
			}
			if err != nil {
				return fmt.Errorf("read %s from the host: %w", col.Name, &RecordError{Collection: col.Name, Key: r.Key, Offset: -1, Err: err})
			}
			if err := f(held); err != nil {
				return err
			}
		}
		return nil
	})
}

// eachOff calls f for each record of the snapshot that the host does not hold as it
// should. now is what it holds, and right is what has to be put, or nil if that cannot
// be told any more.
func (c *comparison) eachOff(col *collection, f func(r *item, of fate, now, right []byte)) error {
	e := c.expected[col.Name]
	n := 0
	return c.eachFate(col, func(b *batch, fates []fate) error {
		held, err := c.lookupHeld(col, b.keys())
		if err != nil {
			return err
		}
		for i := range b.items {
			r := &b.items[i]
			want, now := e.each[n+i]&^uint64(3), held[r.key]
			if e.hash(now) == want {
				continue
			}
			var right []byte
			for _, value := range [][]byte{r.value, c.wanted(col, r, now)} {
				if e.hash(value) == want {
					right = value
				}
			}
			f(r, fates[i], now, right)
		}
		n += len(b.items)
		return nil
	})
}

// putRight puts the records that have come out otherwise. It tells whether there was
// something to do.
func (c *comparison) putRight(col *collection) (changed bool, err error) {
	if c.strategy(col) == Replace {
		extra, err := c.extra(col)
		if err != nil {
			return false, err
		}
		changed = len(extra) > 0 // settle deletes them
	}
	var puts []Record
	flush := func() {
		if err == nil {
			err = c.put(col, puts)
		}
		puts = puts[:0]
	}
	read := c.eachOff(col, func(r *item, _ fate, _, right []byte) {
		if right == nil {
			return
		}
		changed = true
		if puts = append(puts, Record{r.key, slices.Clone(right)}); len(puts) == batchSize {
			flush()
		}
	})
	flush()
	if err == nil {
		err = read
	}
	return changed, err
}

// nameAll puts into the report what could not be put right.
func (c *comparison) nameAll(differ []*collection) error {
	for _, col := range differ {
		report := c.reports[col.Name]
		err := c.eachOff(col, func(r *item, of fate, _, _ []byte) {
			*report.count(of)--
			if report.Altered++; len(report.AlteredKeys) < 100 {
				report.AlteredKeys = append(report.AlteredKeys, r.key)
			}
		})
		if err != nil {
			return err
		}
		if err := c.nameOthers(col); err != nil {
			return err
		}
		c.warnAltered(report)
	}
	return nil
}

// nameOthers names the records that only the host has and that it has not left alone.
func (c *comparison) nameOthers(col *collection) error {
	e, report := c.expected[col.Name], c.reports[col.Name]
	left := maps.Clone(e.others)
	err := c.eachHeld(col, func(r item) error {
		switch h, known := e.others[r.key]; {
		case known:
			if delete(left, r.key); h != e.hash(r.value) {
				report.addExtra(r.key)
			}
		case c.isExtra(col, r.key):
			if c.deleted[col.Name][r.key] {
				report.Deleted--
			}
			report.addExtra(r.key)
		}
		return nil
	})
	for _, key := range slices.Sorted(maps.Keys(left)) {
		report.addExtra(key)
	}
	return err
}

func (r *CollectionReport) addExtra(key string) {
	if r.Extra++; len(r.ExtraKeys) < 100 {
		r.ExtraKeys = append(r.ExtraKeys, key)
	}
}

// warnAltered says in words what a report counts as Altered and Extra.
func (c *comparison) warnAltered(r *CollectionReport) {
	because := "; the host does that by itself"
	if len(c.effects) > 0 {
		because += ", probably by " + strings.Join(c.effects[:min(len(c.effects), 10)], ", ")
	}
	warn := func(n int64, what string, keys []string) {
		if n > 0 {
			c.report.Warnings = append(c.report.Warnings, fmt.Sprintf("%s: %s (%d): %s%s", r.Name, what, n, quoteSome(keys), because))
		}
	}
	warn(r.Altered, "records that did not stay as the restore wrote or found them", r.AlteredKeys)
	warn(r.Extra, "other records that the host made, changed, removed or kept", r.ExtraKeys)
}

// quoteSome lists the first of many keys.
func quoteSome(keys []string) string {
	var texts []string
	for i, key := range keys {
		if i == 10 {
			texts = append(texts, "…")
			break
		}
		texts = append(texts, strconv.Quote(fault.Shorten(key)))
	}
	return strings.Join(texts, ", ")
}
