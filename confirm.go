package backup

import (
	"fmt"
	"hash/maphash"
	"maps"
	"slices"

	"github.com/tomo-project/backup/internal/codec"
)

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

	// absent has the keys of records that are left out and that the host does not have.
	absent map[string]bool

	// others has the hashes of the records that only the host has and that stay, if
	// something could change them.
	others map[string]uint64
}

// fewKeys is how many records are read back by their keys. More are read in a row.
const fewKeys = 4096

func (c *comparison) newExpected(col *collection) *expected {
	n := c.seen.keys[col.Name].Len()
	e := &expected{seed: maphash.MakeSeed(), many: n > fewKeys || c.sweeps(col)}
	if c.write {
		e.each = make([]uint64, 0, n)
	}
	return e
}

// add takes the outcome of the next record of the snapshot.
func (e *expected) add(o outcome) {
	h := e.hash(o.value)
	e.each = append(e.each, h|uint64(o.fate))
	if o.apart {
		return
	}
	if o.value != nil {
		e.sum += e.keyed(o.key, h)
	} else {
		if e.absent == nil {
			e.absent = make(map[string]bool)
		}
		e.absent[o.key] = true
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

// watched returns the collections to restore, and then the others of the snapshot, which
// must stay as they are. Those that are Optional may be large. Of others, nobody knows
// whether the store has them.
func (c *comparison) watched() []*collection {
	all := slices.Clone(c.cols)
	for _, col := range c.compiled.collections {
		if !col.Optional && c.snapshot.section(col.Name) != nil && !slices.Contains(c.cols, col) {
			all = append(all, col)
		}
	}
	return all
}

// rememberOthers remembers what must stay as it is.
func (c *comparison) rememberOthers(col *collection) error {
	e := c.expected[col.Name]
	if e == nil {
		e = &expected{seed: maphash.MakeSeed()}
		c.expected[col.Name] = e
	}
	if c.replaces(col) {
		return c.rememberSpared(col)
	}
	e.others = make(map[string]uint64)
	return c.eachRecord(col, func(r item) {
		if !c.comes(col, r.key) && !c.deleted[col.Name][r.key] {
			e.others[r.key] = e.hash(r.value)
		}
	})
}

// rememberSpared remembers the records of the host that Replace lets stay.
func (c *comparison) rememberSpared(col *collection) error {
	if !c.sparesSome(col) {
		return nil
	}
	var keys []string
	for key, err := range c.host.Keys(c.ctx, col.Name) {
		if err != nil {
			return fmt.Errorf("read the keys of %s from the host: %w", col.Name, err)
		}
		if (c.stays[col.Name][key] || c.spares(col.Name, key)) && !c.comes(col, key) {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	e := c.expected[col.Name]
	e.others = make(map[string]uint64, len(keys))
	for keys := range slices.Chunk(keys, batchSize) {
		found, err := c.lookupHeld(col, keys)
		if err != nil {
			return err
		}
		for key, value := range found {
			if value != nil {
				e.others[key] = e.hash(value)
			}
		}
	}
	return nil
}

// sparesSome tells whether Replace lets records stay that only the host may have.
func (c *comparison) sparesSome(col *collection) bool {
	return c.spared[col.Name] != nil || len(c.stays[col.Name]) > 0
}

// replaces tells whether a collection will hold nothing but what the snapshot has.
func (c *comparison) replaces(col *collection) bool {
	return slices.Contains(c.cols, col) && c.sweeps(col)
}

// comes tells whether the snapshot has a record that is restored under a key.
func (c *comparison) comes(col *collection, key string) bool {
	return slices.Contains(c.cols, col) && c.arrives(col.Name, key) && !c.expected[col.Name].absent[key]
}

// readBack returns the collections that do not hold what they should.
func (c *comparison) readBack(first bool) (differ []*collection, err error) {
	if first {
		c.count, c.bytes = 0, 0
	}
	for _, col := range c.cols {
		same, err := c.holdsExpected(col)
		if err != nil {
			return nil, err
		}
		if !same {
			differ = append(differ, col)
		}
		if first {
			c.progress("confirm", col)
		}
	}
	return differ, nil
}

func (c *comparison) holdsExpected(col *collection) (bool, error) {
	e := c.expected[col.Name]
	var sum uint64
	same, others := true, 0
	err := c.eachHeld(col, func(key string, value []byte) {
		c.bytes += int64(len(value))
		c.count++
		h := e.hash(value)
		switch other, known := e.others[key]; {
		case c.comes(col, key):
			sum += e.keyed(key, h)
		case known:
			others++
			same = same && h == other
		default:
			same = same && !c.isExtra(col, key)
		}
	})
	return same && sum == e.sum && others == len(e.others), err
}

// eachHeld calls f for each record that the host holds now, as far as something is
// expected of it. Other records of the host may be such that they cannot even be read.
func (c *comparison) eachHeld(col *collection, f func(key string, value []byte)) error {
	e := c.expected[col.Name]
	if e.others != nil || c.empty[col.Name] || c.sweeps(col) && !c.sparesSome(col) {
		return c.eachRecord(col, func(r item) { f(r.key, r.value) })
	}
	var keys []string
	if !e.many {
		keys = slices.AppendSeq(slices.Clone(e.keys), maps.Keys(c.deleted[col.Name]))
	} else {
		for key, err := range c.host.Keys(c.ctx, col.Name) {
			switch {
			case err != nil:
				return fmt.Errorf("read the keys of %s from the host: %w", col.Name, err)
			case c.comes(col, key):
				keys = append(keys, key)
			case c.isExtra(col, key):
				f(key, nil)
			}
		}
	}
	for keys := range slices.Chunk(keys, batchSize) {
		found, err := c.lookupHeld(col, keys)
		if err != nil {
			return err
		}
		for key, value := range found {
			if value != nil {
				f(key, value)
			}
		}
	}
	return nil
}

// eachRecord calls f for each record that the host holds now. The value is valid until
// f returns.
func (c *comparison) eachRecord(col *collection, f func(item)) error {
	return heldSource{c.host}.View(c.ctx, func(reader Reader) error {
		var buf []byte
		for r, err := range reader.Records(c.ctx, col.Name) {
			held := item{key: r.Key, offset: -1}
			if err == nil {
				buf, err = codec.Compact(buf[:0], r.Value, hostLimits)
			}
			if err != nil {
				return fmt.Errorf("read %s from the host: %w", col.Name, &RecordError{Collection: col.Name, Key: r.Key, Offset: -1, Err: err})
			}
			held.value = buf
			if key, err := col.identity(&held); err == nil {
				held.key = key
			}
			f(held)
		}
		return nil
	})
}

// lookupHeld is lookup for records that the restore itself may have put.
func (c *comparison) lookupHeld(col *collection, keys []string) (map[string][]byte, error) {
	c.empty[col.Name] = false
	return c.lookup(col, keys)
}

// isExtra tells whether a restore should not have left a record under a key.
func (c *comparison) isExtra(col *collection, key string) bool {
	if c.comes(col, key) || c.spares(col.Name, key) || c.stays[col.Name][key] {
		return false
	}
	e := c.expected[col.Name]
	_, other := e.others[key]
	return c.deleted[col.Name][key] || !other && (c.replaces(col) || e.others != nil)
}

// eachFate calls f for the records of the snapshot, with the fates of each batch.
func (c *comparison) eachFate(col *collection, f func(b *batch, fates []fate) error) error {
	each := c.expected[col.Name].each
	return c.eachBatch(c.ctx, col, func(b *batch) error {
		if len(b.items) > len(each) {
			return moreThanBefore(col)
		}
		of := make([]fate, len(b.items))
		for i := range of {
			of[i] = fate(each[i]) & fates
		}
		each = each[len(b.items):]
		return f(b, of)
	})
}

func moreThanBefore(col *collection) error {
	return fmt.Errorf("%w: the migrators gave %s more records than before: a Migrator must give the same whenever it is asked", ErrInvalid, col.Name)
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
			if r.apart || e.hash(now) == want {
				continue
			}
			var right []byte
			if c.strategy(col) != Replace && fates[i] != added && fates[i] != updated {
				f(r, fates[i], now, nil) // it is the host's
				continue
			}
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
