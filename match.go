package backup

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"slices"

	"github.com/tomo-project/backup/internal/codec"
)

// Which records of the snapshot the host has under another key. match finds them before
// anything is compared. From then on, all goes by key: see rekey.

// match finds the records that arrive under another key, collection by collection, those
// referred to first.
func (c *comparison) match() error {
	c.moves = make(map[string]*moves)
	c.numbers = make(map[string]bool)
	c.blind = make(map[string]bool)
	matched := make(map[string]bool)
	for _, col := range c.orderMatching() {
		m, err := c.newMatching(col, matched)
		if err == nil && m != nil {
			err = m.run()
		}
		if err == errTooMany {
			break
		}
		if err != nil {
			return err
		}
		matched[col.Name] = true
	}
	if err := c.clashes.err(ErrClash); err != nil {
		return fmt.Errorf("%w\nnothing was changed; change one of the two records of each clash, or have clashes skipped", err)
	}
	return c.warnNumbers()
}

// orderMatching puts those collections first that others refer to. In a circle, a collection
// whose key holds a reference comes after the one that this refers to.
func (c *comparison) orderMatching() (order []*collection) {
	done := make(map[string]bool)
	var visit func(col *collection)
	visit = func(col *collection) {
		if done[col.Name] || !slices.Contains(c.cols, col) {
			return
		}
		done[col.Name] = true
		for _, r := range col.refs {
			if col.inKey(r.Pointer) {
				visit(c.byName[r.Collection])
			}
		}
		order = append(order, col)
	}
	for _, col := range c.cols {
		visit(col)
	}
	return order
}

// A matching finds out under which keys the records of one collection arrive. It works with
// hashes of keys and of values. It holds texts only of the records that move.
type matching struct {
	*comparison
	col      *collection
	byUnique bool // the same key is not the same thing

	onlySpared bool      // Replace: of the host's records, those count that must stay
	finders    []*finder // of the Uniques that can be compared
	self       *ref      // the reference to the collection itself that finders have a part of

	// Of each record of the snapshot, in its order.
	keys    []uint64  // the hash of its key
	parents []uint64  // the hash of the key that self refers to; 0 for none
	moved   ordinals  // its key holds a reference, and has changed with it
	held    ordinals  // the host has a record under its key
	left    ordinals  // it is left out, because the host did not take it
	circles ordinals  // its references lead back to it
	meets   []meeting // what becomes of it
	byKey   index
}

// A finder finds records by one Unique.
type finder struct {
	unique            // without the parts of self
	declared unique   // with them
	self     bool     // self has parts
	values   []uint64 // of each record of the snapshot; 0 for none
	byValue  index
	rows     []row // of the host; sorted
	doubtful []row // of records that a merge may change
	covered  []row // of records that have other values in the snapshot, which may be left out
}

// A row says which value a record of the host has.
type row struct{ value, key uint64 }

func compareRows(a, b row) int {
	return cmp.Or(cmp.Compare(a.value, b.value), cmp.Compare(a.key, b.key))
}

// newMatching returns nil if no record of the collection can move or clash.
func (c *comparison) newMatching(col *collection, matched map[string]bool) (*matching, error) {
	m := &matching{comparison: c, col: col, onlySpared: c.sweeps(col)}
	if !c.opts.AsItWas && (!m.onlySpared || c.spared[col.Name] != nil) {
		holds, err := c.holdsRecords(col)
		if err != nil {
			return nil, err
		}
		if err := m.findIdentity(matched); err != nil {
			return nil, err
		}
		if m.byUnique = m.byUnique && holds; !holds {
			m.finders = nil
		}
	}
	if len(m.finders) == 0 && !m.byUnique && !c.rekeys(col) {
		return nil, nil
	}
	return m, nil
}

// findIdentity finds out what tells that two records are the same thing.
func (m *matching) findIdentity(matched map[string]bool) error {
	for i := range m.col.uniques {
		f, err := m.newFinder(m.col.uniques[i], matched)
		if err != nil {
			return err
		}
		if f != nil {
			m.finders = append(m.finders, f)
		}
		m.blind[m.col.Name] = m.blind[m.col.Name] || f == nil && !m.col.uniques[i].holds(m.col.key)
	}
	if m.onlySpared {
		return nil
	}
	numbered, err := m.isNumbered(m.col)
	if err != nil {
		return err
	}
	foreign, err := m.hasForeignKeys(m.col)
	if foreign {
		m.finders, m.self = nil, nil
		m.blind[m.col.Name] = true
	}
	m.byUnique = foreign || numbered && len(m.col.uniques) > 0
	return err
}

// newFinder returns nil for a Unique that cannot be compared. It holds the key itself, or a
// reference that may mean another record here: to a collection that is matched later,
// because the two refer to each other, or to one that is numbered and is not restored.
func (m *matching) newFinder(u unique, matched map[string]bool) (*finder, error) {
	f := &finder{unique: u, declared: u}
	if u.holds(m.col.key) {
		return nil, nil
	}
	for i := range m.col.refs {
		r := &m.col.refs[i]
		if !u.overlaps(r.key) || matched[r.Collection] {
			continue
		}
		target := m.byName[r.Collection]
		switch {
		case target == m.col && u.holds(r.key) && (m.self == nil || m.self == r):
			m.self, f.self = r, true
			f.unique = u.without(r.key)
		case slices.Contains(m.cols, target):
			return nil, nil
		default:
			if numbered, err := m.isNumbered(target); numbered || err != nil {
				return nil, err
			}
		}
	}
	return f, nil
}

func (c *comparison) holdsRecords(col *collection) (bool, error) {
	for _, err := range c.host.Keys(c.ctx, col.Name) {
		if err != nil {
			return false, fmt.Errorf("read the keys of %s from the host: %w", col.Name, err)
		}
		return true, nil
	}
	return false, nil
}

func (m *matching) run() error {
	if err := m.readSnapshot(); err != nil {
		return err
	}
	if len(m.finders) > 0 || m.byUnique {
		if err := m.readHost(); err != nil {
			return err
		}
		if err := m.resolveDoubtful(); err != nil {
			return err
		}
	}
	moves := m.decideAll()
	m.blind[m.col.Name] = m.blind[m.col.Name] || m.isBlind()
	if !moves {
		return nil
	}
	return m.settleKeys()
}

// isBlind tells whether records of the collection may come to share what is unique, although
// no clash is found. A Unique matches nothing in a circle, and a merge makes values that
// neither side has.
func (m *matching) isBlind() bool {
	if len(m.moved) > 0 || len(m.circles) > 0 || m.strategy(m.col) == Merge && m.col.Merge != nil {
		return true
	}
	return m.strategy(m.col) == Merge && slices.ContainsFunc(m.finders, func(f *finder) bool {
		return len(f.declared.parts) > 1 && len(f.byValue.order) < len(f.values)
	})
}

// readSnapshot takes the hashes of all records of the snapshot.
func (m *matching) readSnapshot() error {
	n := m.seen.keys[m.col.Name].Len()
	m.keys = make([]uint64, 0, n)
	if m.self != nil {
		m.parents = make([]uint64, 0, n)
	}
	for _, f := range m.finders {
		f.values = make([]uint64, 0, n)
	}
	err := m.eachBatch(m.ctx, m.col, func(b *batch) error {
		for i := range b.items {
			r := &b.items[i]
			if r.from != "" {
				m.moved = m.moved.add(int64(len(m.keys)))
			}
			if m.rejected[m.col.Name][r.source()] != nil {
				m.left = m.left.add(int64(len(m.keys)))
			}
			m.keys = append(m.keys, m.hashKey(r.key))
			if m.self != nil {
				m.parents = append(m.parents, m.hashParent(r.value))
			}
			for _, f := range m.finders {
				f.values = append(f.values, f.hash(m.col.seed, r.value))
			}
		}
		return m.ctx.Err()
	})
	if err != nil {
		return err
	}
	if len(m.moved) > 0 { // the references to the collection itself have the keys from before
		m.finders = slices.DeleteFunc(m.finders, func(f *finder) bool { return f.self })
		m.self, m.parents = nil, nil
	}
	m.byKey = newIndex(m.keys)
	for _, f := range m.finders {
		f.byValue = newIndex(f.values)
	}
	return nil
}

func (m *matching) hashKey(key string) uint64 { return max(1, maphash.String(m.col.seed, key)) }

// hashParent returns the hash of the key that self refers to, or 0.
func (m *matching) hashParent(value []byte) uint64 {
	if key, ok := referredBy(m.self, value); ok {
		return m.hashKey(key)
	}
	return 0
}

// referredBy returns the key that a reference without a wildcard refers to.
func referredBy(r *ref, value []byte) (key string, ok bool) {
	if len(r.key) > 1 {
		key, ok, _ = r.key.Reference(value)
		return key, ok
	}
	part := codec.Get(value, r.key[0])
	if part == nil || string(part) == "null" {
		return "", false
	}
	key, err := codec.Identity(part)
	return key, err == nil
}

// hostValue returns the hash of the value that a record of the host has, or 0. open is that
// of the parts that no reference to the collection itself holds.
func (m *matching) hostValue(f *finder, value []byte) (whole, open uint64) {
	open = f.hash(m.col.seed, value)
	if !f.self || open == 0 {
		return open, open
	}
	parent := m.hashParent(value)
	if parent == 0 {
		return 0, 0
	}
	return combine(m.col.seed, parent, open), open
}

// readHost takes the hashes of those records of the host that a record of the snapshot
// may be.
func (m *matching) readHost() error {
	err := m.eachRecord(m.col, func(r item) {
		key := m.hashKey(r.key)
		also := m.byKey.first(key)
		if also >= 0 {
			m.held = m.held.add(int64(also))
		}
		for _, f := range m.finders {
			whole, open := m.hostValue(f, r.value)
			if whole == 0 || !m.maybe(f, key, open) || m.onlySpared && !m.spares(m.col.Name, r.key) {
				continue
			}
			switch at := (row{whole, key}); {
			case m.byUnique || also < 0 || m.strategy(m.col) == SkipDuplicates:
				f.rows = append(f.rows, at)
			case m.strategy(m.col) == Merge && (m.col.Merge != nil || !m.hasAll(f, also)):
				f.doubtful = append(f.doubtful, at)
			case m.opts.SkipClashes:
				f.covered = append(f.covered, at)
			}
			// Otherwise the snapshot gives the record another value.
		}
	})
	for _, f := range m.finders {
		f.byValue = index{} // its memory is not needed any more
		slices.SortFunc(f.rows, compareRows)
	}
	return err
}

// hasAll tells whether a record of the snapshot has all parts of a Unique.
func (m *matching) hasAll(f *finder, i int) bool {
	return f.values[i] != 0 && (!f.self || m.parents[i] != 0)
}

// maybe tells whether a record of the snapshot may be the record of the host with a value.
func (m *matching) maybe(f *finder, key, open uint64) bool {
	i := f.byValue.first(open)
	return i >= 0 && (f.self || m.byUnique || m.keys[i] != key || f.byValue.repeats(open))
}

// resolveDoubtful finds out which of the doubtful rows are still right once the snapshot is
// merged into the host.
func (m *matching) resolveDoubtful() error {
	doubtful := make(map[uint64]bool)
	for _, f := range m.finders {
		for _, at := range f.doubtful {
			doubtful[at.key] = true
		}
	}
	if len(doubtful) == 0 {
		return nil
	}
	stays := make(map[*finder]map[row]bool)
	for _, f := range m.finders {
		stays[f] = make(map[row]bool)
	}
	err := m.eachBatch(m.ctx, m.col, func(b *batch) error {
		var in []*item
		var keys []string
		for i := range b.items {
			if r := &b.items[i]; doubtful[m.hashKey(r.key)] {
				in, keys = append(in, r), append(keys, r.key)
			}
		}
		held, err := m.lookup(m.col, keys)
		if err != nil {
			return err
		}
		for _, r := range in {
			if held[r.key] == nil {
				continue
			}
			merged, found := m.col.merge(r, held[r.key], m.snapshot.limits)
			for _, f := range m.finders {
				if whole, _ := m.hostValue(f, merged); found.total == 0 && whole != 0 {
					stays[f][row{whole, m.hashKey(r.key)}] = true
				}
			}
		}
		return nil
	})
	for _, f := range m.finders {
		for _, at := range f.doubtful {
			if stays[f][at] {
				f.rows = append(f.rows, at)
			} else if m.opts.SkipClashes {
				f.covered = append(f.covered, at)
			}
		}
		f.doubtful = nil
		slices.SortFunc(f.rows, compareRows)
	}
	return err
}

// An index finds hashes in a list.
type index struct {
	hashes []uint64
	order  []int32 // of the hashes but 0, by value
}

func newIndex(hashes []uint64) index {
	x := index{hashes, make([]int32, 0, len(hashes))}
	for i, h := range hashes {
		if h != 0 {
			x.order = append(x.order, int32(i))
		}
	}
	slices.SortFunc(x.order, func(i, j int32) int { return cmp.Or(cmp.Compare(hashes[i], hashes[j]), cmp.Compare(i, j)) })
	return x
}

// first returns the first place of a hash, or -1.
func (x index) first(h uint64) int {
	if at := x.search(h); x.is(at, h) {
		return int(x.order[at])
	}
	return -1
}

// all returns all places of a hash.
func (x index) all(h uint64) []int32 {
	at := x.search(h)
	end := at
	for x.is(end, h) {
		end++
	}
	return x.order[at:end]
}

// repeats tells whether the list has a hash at several places.
func (x index) repeats(h uint64) bool { return x.is(x.search(h)+1, h) }

func (x index) is(at int, h uint64) bool { return at < len(x.order) && x.hashes[x.order[at]] == h }

func (x index) search(h uint64) int {
	at, _ := slices.BinarySearchFunc(x.order, h, func(i int32, h uint64) int { return cmp.Compare(x.hashes[i], h) })
	return at
}
