package backup

import (
	"cmp"
	"slices"
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
