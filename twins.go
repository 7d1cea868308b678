package backup

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/fault"
)

// What becomes of the records of one collection, by what the matching has found.

// A meeting is what becomes of a record of the snapshot.
type meeting struct {
	how  how
	by   uint8  // the finder that found the twin
	twin uint64 // the hash of the key of the twin
}

type how uint8

const (
	undecided how = iota
	onWay         // it waits for the record that it refers to
	stays         // under its key
	isTwin        // it is a record that the host has under another key, or under the same
	isNew         // it gets a fresh key
	unclear       // the host has a record under its key, and no Unique tells whether it is the same

	// The clashes.
	hasTwo      // of two records of the host, each may be the record
	hasBoth     // one record of the host has its key, and another its value
	isShared    // its twin is another record of the snapshot as well
	isSpared    // its twin must stay as it is
	keyConflict // with its reference its key has become that of another record
)

// mostMatchings is how often the records are matched anew, because other twins change values.
const mostMatchings = 8

// decideAll decides what becomes of each record. It tells whether one may move or clash.
func (m *matching) decideAll() bool {
	for n := 0; ; n++ {
		m.decideEach()
		m.refuseConflicts()
		m.refuseShared()
		if n == mostMatchings || !m.uncover() && !m.dropChanged() {
			break
		}
	}
	for i, met := range m.meets {
		if m.moved.has(int64(i)) || met.how != stays && !(met.how == isTwin && met.twin == m.keys[i]) {
			return true
		}
	}
	return false
}

func (m *matching) decideEach() {
	m.meets, m.circles = make([]meeting, len(m.keys)), nil
	var above []int
	for i := range m.meets {
		// What a record refers to comes first.
		j := i
		for ; j >= 0 && m.meets[j].how == undecided; j = m.parent(j) {
			m.meets[j].how = onWay
			above = append(above, j)
		}
		if j >= 0 && m.meets[j].how == onWay {
			for _, k := range above[slices.Index(above, j):] {
				m.circles = m.circles.add(int64(k))
			}
		}
		for _, k := range slices.Backward(above) {
			m.meets[k] = m.decide(k)
		}
		above = above[:0]
	}
}

// parent returns the record that a record refers to, or -1.
func (m *matching) parent(i int) int {
	if m.self == nil || m.parents[i] == 0 {
		return -1
	}
	return m.byKey.first(m.parents[i])
}

// decide decides what becomes of a record. Its parent is decided.
func (m *matching) decide(i int) meeting {
	found, known := m.sightings(i)
	held := m.held.has(int64(m.byKey.first(m.keys[i])))
	switch {
	case m.byUnique && !known && held:
		return meeting{how: unclear}
	case len(found) == 0 && m.byUnique && held:
		return meeting{how: isNew}
	case len(found) == 0:
		return meeting{how: stays}
	case m.onlySpared:
		return meeting{how: isSpared}
	case !m.byUnique && held && m.strategy(m.col) == SkipDuplicates:
		return meeting{how: stays}
	case !m.byUnique && held:
		return meeting{how: hasBoth}
	case len(found) > 1:
		return meeting{how: hasTwo}
	}
	return meeting{isTwin, found[0].by, found[0].key}
}

// A sighting is a record of the host that has a value of a record of the snapshot.
type sighting struct {
	key uint64
	by  uint8
}

// sightings returns the first two different records of the host that have a value of a
// record. known tells whether the record has a value that could be looked for.
func (m *matching) sightings(i int) (found []sighting, known bool) {
	for by, f := range m.finders {
		if !m.hasAll(f, i) || f.self && m.circles.has(int64(i)) {
			continue
		}
		known = true
		value, somewhere := m.valueThere(f, i)
		if !somewhere {
			continue
		}
		at, _ := slices.BinarySearchFunc(f.rows, row{value, 0}, compareRows)
		for ; at < len(f.rows) && f.rows[at].value == value && len(found) < 2; at++ {
			key := f.rows[at].key
			own := !m.byUnique && key == m.keys[i]
			if key != dead && !own && (len(found) == 0 || found[0].key != key) {
				found = append(found, sighting{key, uint8(by)})
			}
		}
	}
	return found, known
}

// valueThere returns the hash of the value that a record has with the references of the host,
// and whether the host may have that.
func (m *matching) valueThere(f *finder, i int) (value uint64, somewhere bool) {
	if !f.self {
		return f.values[i], true
	}
	parent, somewhere := m.arrivalOfParent(i)
	return combine(m.col.seed, parent, f.values[i]), somewhere
}

// arrivalOfParent returns the hash of the key under which the parent of a record arrives, and
// whether the host may have that.
func (m *matching) arrivalOfParent(i int) (hash uint64, somewhere bool) {
	j := m.parent(i)
	if j < 0 {
		return m.parents[i], true
	}
	switch met := m.meets[j]; {
	case met.how == isTwin:
		return met.twin, true
	case met.how == isNew, met.how == hasTwo && m.byUnique:
		return 0, false
	}
	return m.parents[i], true
}

// refuseConflicts finds records whose keys have become the same with their references.
func (m *matching) refuseConflicts() {
	if len(m.moved) == 0 {
		return
	}
	for i := range m.meets {
		if m.moved.has(int64(i)) && m.byKey.repeats(m.keys[i]) {
			m.meets[i].how = keyConflict
		}
	}
}

// refuseShared finds records of the host that are the twin of several records, or that have
// the key of another record.
func (m *matching) refuseShared() {
	var twins []int32
	for i, met := range m.meets {
		if met.how == isTwin {
			twins = append(twins, int32(i))
		}
	}
	slices.SortFunc(twins, func(i, j int32) int { return cmp.Compare(m.meets[i].twin, m.meets[j].twin) })
	for len(twins) > 0 {
		twin, n := m.meets[twins[0]].twin, 1
		for n < len(twins) && m.meets[twins[n]].twin == twin {
			n++
		}
		if n > 1 || !m.byUnique && m.byKey.first(twin) >= 0 {
			for _, i := range twins[:n] {
				m.meets[i].how = isShared
			}
		}
		twins = twins[n:]
	}
}

// settleKeys finds the texts of the keys, compares what the hashes say are twins, and
// remembers which records move.
func (m *matching) settleKeys() error {
	texts, err := m.hostKeys()
	if err != nil {
		return err
	}
	fresh, err := m.freshKeys()
	if err != nil {
		return err
	}
	out, n := newMoves(), 0
	err = m.eachBatch(m.ctx, m.col, func(b *batch) error {
		if n+len(b.items) > len(m.meets) {
			return moreThanBefore(m.col)
		}
		held, err := m.lookupMet(b, n, texts)
		if err != nil {
			return err
		}
		for i := range b.items {
			r := &b.items[i]
			to := r.key
			switch how := m.confirm(r, n+i, texts, held); {
			case how == isNew:
				to, fresh = fresh[0], fresh[1:]
			case how == isTwin:
				to = texts[m.meets[n+i].twin]
			case how > unclear:
				found, _ := m.sightings(n + i)
				if to, err = m.clash(r, found, how, texts); err != nil {
					return err
				}
			}
			if source := r.source(); to != source {
				out.add(source, to)
			}
		}
		n += len(b.items)
		return m.ctx.Err()
	})
	if err != nil {
		return err
	}
	m.moves[m.col.Name] = out
	if err := m.compareUnclear(out); err != nil {
		return err
	}
	if len(out.to) == 0 {
		delete(m.moves, m.col.Name)
	}
	return nil
}

// compareUnclear compares the records of which no Unique tells whether they are those of the
// host, now that the references in them are known. Those that differ clash.
func (m *matching) compareUnclear(out *moves) error {
	if !slices.ContainsFunc(m.meets, func(met meeting) bool { return met.how == unclear }) {
		return nil
	}
	n := 0
	return m.eachBatch(m.ctx, m.col, func(b *batch) error {
		if n+len(b.items) > len(m.meets) {
			return moreThanBefore(m.col)
		}
		var in []*item
		var keys []string
		for i := range b.items {
			if m.meets[n+i].how == unclear {
				in, keys = append(in, &b.items[i]), append(keys, b.items[i].key)
			}
		}
		n += len(b.items)
		held, err := m.lookup(m.col, keys)
		if err != nil {
			return err
		}
		for _, r := range in {
			if here := held[r.key]; here != nil && codec.Equal(here, r.value) {
				continue
			}
			if _, err := m.clash(r, nil, unclear, nil); err != nil {
				return err
			}
			out.add(r.source(), nowhere)
		}
		return m.ctx.Err()
	})
}

// hostKeys returns the texts of the keys of the host's records that records of the snapshot
// have met, by their hashes.
func (m *matching) hostKeys() (map[uint64]string, error) {
	texts := make(map[uint64]string)
	for i, met := range m.meets {
		switch met.how {
		case isTwin:
			texts[met.twin] = ""
		case hasTwo, hasBoth, isShared, isSpared:
			found, _ := m.sightings(i)
			for _, s := range found {
				texts[s.key] = ""
			}
		}
	}
	if len(texts) == 0 {
		return texts, nil
	}
	for key, err := range m.host.Keys(m.ctx, m.col.Name) {
		if err != nil {
			return nil, fmt.Errorf("read the keys of %s from the host: %w", m.col.Name, err)
		}
		hash := m.hashKey(key)
		if _, wanted := texts[hash]; wanted {
			texts[hash] = key
		}
	}
	return texts, nil
}

// mostFresh is how many keys the store is asked for at a time.
const mostFresh = 1 << 16

// freshKeys returns keys that neither the host nor the snapshot has, for all new records.
func (m *matching) freshKeys() (keys []string, err error) {
	n, asked := 0, 0
	for _, met := range m.meets {
		if met.how == isNew {
			n++
		}
	}
	given := make(map[string]bool)
	for ask := n; len(keys) < n; ask *= 2 {
		ask = min(ask, mostFresh)
		more, err := m.newKeys(ask, given)
		if err != nil {
			return nil, fmt.Errorf("ask the host for %d new keys of %s: %w", ask, m.col.Name, err)
		}
		for _, key := range more {
			if len(keys) < n && !m.seen.keys[m.col.Name].Has(key) && !m.spares(m.col.Name, key) {
				keys = append(keys, key)
			}
		}
		if asked += ask; asked > 2*(n+m.seen.keys[m.col.Name].Len())+2*mostFresh {
			return nil, fmt.Errorf("ask the host for %d new keys of %s: it returned keys of the snapshot only", ask, m.col.Name)
		}
	}
	return keys, nil
}

// newKeys asks the host for new keys, and makes sure that they are new: two records under one
// key would be one. given are those of the calls before.
func (m *matching) newKeys(n int, given map[string]bool) ([]string, error) {
	keys, err := m.host.(numberer).NewKeys(m.ctx, m.col.Name, n)
	if err != nil {
		return nil, err
	}
	if len(keys) != n {
		return nil, fmt.Errorf("it returned %d", len(keys))
	}
	for _, key := range keys {
		if key == nowhere || given[key] {
			return nil, fmt.Errorf("it returned %q, which is empty or was returned before", fault.Shorten(key))
		}
		given[key] = true
	}
	held, err := m.lookup(m.col, keys)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		if held[key] != nil {
			return nil, fmt.Errorf("it returned %q, which has a record", fault.Shorten(key))
		}
	}
	return keys, nil
}

// lookupMet looks up the host's records that records of a batch have met. The first of these
// has the number n.
func (m *matching) lookupMet(b *batch, n int, texts map[uint64]string) (map[string][]byte, error) {
	wanted := make(map[string]bool)
	for i := range b.items {
		if met := m.meets[n+i]; met.how == isTwin {
			wanted[texts[met.twin]] = true
		}
	}
	delete(wanted, nowhere)
	return m.lookup(m.col, slices.Sorted(maps.Keys(wanted)))
}

// confirm returns what becomes of a record, now that the values are there and not only their
// hashes.
func (m *matching) confirm(r *item, i int, texts map[uint64]string, held map[string][]byte) how {
	met := m.meets[i]
	if met.how != isTwin {
		return met.how
	}
	twin := texts[met.twin]
	switch here := held[twin]; {
	case here == nil || !m.sameValue(r, here, m.finders[met.by], texts):
		return hasBoth // two hashes were the same by chance: nothing is guessed
	case m.spares(m.col.Name, twin) && m.strategy(m.col) != SkipDuplicates:
		return isSpared
	}
	return isTwin
}

// sameValue tells whether a record of the snapshot and one of the host have the same value.
func (m *matching) sameValue(r *item, here []byte, f *finder, texts map[uint64]string) bool {
	if !f.equal(r.value, here) {
		return false
	}
	if !f.self {
		return true
	}
	parent, ok := referredBy(m.self, r.value)
	if j := m.byKey.first(m.hashKey(parent)); ok && j >= 0 && m.meets[j].how == isTwin {
		parent = texts[m.meets[j].twin]
	}
	of, also := referredBy(m.self, here)
	return ok && also && parent == of
}

// clash names a record that clashes, or leaves it out. It returns the key under which the
// record arrives.
func (m *matching) clash(r *item, found []sighting, how how, texts map[uint64]string) (to string, err error) {
	quote := func(key string) string { return fmt.Sprintf("%q", fault.Shorten(key)) }
	problem := &RecordError{Collection: m.col.Name, Key: r.source(), Offset: r.offset}
	if len(found) > 0 {
		problem.With, problem.Pointer = texts[found[0].key], m.finders[found[0].by].declared.declared
	}
	switch {
	case how == hasTwo:
		problem.Err = fmt.Errorf("%w: %s of the host has the same %s, but %s the same %s", ErrClash,
			quote(problem.With), problem.Pointer, quote(texts[found[1].key]), m.finders[found[1].by].declared.declared)
	case how == unclear || how == hasBoth && m.byUnique:
		problem.With = r.key
		problem.Err = fmt.Errorf("%w: the host has another record under the key %s, and nothing tells whether it is the same", ErrClash, quote(r.key))
	case how == hasBoth:
		problem.Err = fmt.Errorf("%w: %s of the host has the same key, but %s the same %s", ErrClash, quote(r.key), quote(problem.With), problem.Pointer)
	case how == isShared:
		problem.Err = fmt.Errorf("%w: %s of the host has the same %s, but is another record of the snapshot too", ErrClash, quote(problem.With), problem.Pointer)
	case how == isSpared:
		problem.Err = fmt.Errorf("%w: %s of the host has the same %s, and must stay as it is", ErrClash, quote(problem.With), problem.Pointer)
	default:
		problem.Err = fmt.Errorf("%w: with the references that it has in the host, its key becomes %s, as that of another record", ErrClash, quote(r.key))
	}
	to = r.key
	if m.byUnique || how == keyConflict {
		to = nowhere
	}
	if !m.opts.SkipClashes {
		return to, m.clashes.add(problem)
	}
	if m.rejected[m.col.Name][problem.Key] == nil {
		m.leaveBehind(m.col.Name, problem.Key, problem.With, problem)
	}
	return to, nil
}
