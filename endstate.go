package backup

import "slices"

// Which values of the host's records count, once it is known what becomes of the records of the
// snapshot. The end state of the restore decides.

// uncover has the values of the host's records count again that stay as they are, because the
// snapshot's record is left out. A record that wants such a value is left out too. uncover
// tells whether there were such values.
func (m *matching) uncover() (found bool) {
	places := make(map[uint64][]int32) // key of the host → its covered rows, of all finders
	for _, f := range m.finders {
		for at, r := range f.covered {
			places[r.key] = append(places[r.key], int32(at))
		}
	}
	if len(places) == 0 {
		return false
	}
	var todo []int32
	var met ordinals
	for i := range m.meets {
		if m.meets[i].how > unclear || m.left.has(int64(i)) {
			todo, met = append(todo, int32(i)), met.add(int64(i))
		}
	}
	for len(todo) > 0 {
		key := m.keys[todo[len(todo)-1]]
		todo = todo[:len(todo)-1]
		for _, f := range m.finders {
			for _, at := range places[key] {
				if int(at) >= len(f.covered) || f.covered[at].key != key {
					continue
				}
				found = true
				f.rows = append(f.rows, f.covered[at])
				for _, j := range m.having(f, f.covered[at].value) {
					if !met.has(int64(j)) {
						todo, met = append(todo, j), met.add(int64(j))
					}
				}
				f.covered[at].key = dead
			}
		}
	}
	for _, f := range m.finders {
		f.covered = slices.DeleteFunc(f.covered, func(at row) bool { return at.key == dead })
		slices.SortFunc(f.rows, compareRows)
	}
	return found
}

// having returns the records of the snapshot that have a value.
func (m *matching) having(f *finder, value uint64) []int32 {
	if f.byValue.hashes == nil {
		f.byValue = newIndex(f.values)
	}
	return f.byValue.all(value)
}

// dropChanged forgets the values of the host's records that their twins change, if there are
// clashes. It tells whether there were such values: then a clash may be over. Where that
// makes a twin of the record that clashed, it goes on with that: values may move along a
// chain.
func (m *matching) dropChanged() (dropped bool) {
	if m.strategy(m.col) == SkipDuplicates || m.col.Merge != nil || !slices.ContainsFunc(m.meets, func(met meeting) bool { return met.how > unclear }) {
		return false
	}
	var todo []int
	taken := make(map[uint64]bool)
	for i, met := range m.meets {
		if met.how == isTwin {
			todo, taken[met.twin] = append(todo, i), true
		}
	}
	places := make(map[uint64][]int32) // key of the host → its rows, of all finders
	for _, f := range m.finders {
		for at, r := range f.rows {
			places[r.key] = append(places[r.key], int32(at))
		}
	}
	for len(todo) > 0 {
		i := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, f := range m.finders {
			for _, value := range m.dropRows(f, i, places[m.meets[i].twin]) {
				dropped = true
				for _, j := range m.having(f, value) {
					if m.meets[j].how != hasTwo {
						continue
					}
					if met := m.decide(int(j)); met.how == isTwin && !taken[met.twin] {
						m.meets[j], taken[met.twin] = met, true
						todo = append(todo, int(j))
					}
				}
			}
		}
	}
	for _, f := range m.finders {
		f.rows = slices.DeleteFunc(f.rows, func(at row) bool { return at.key == dead })
	}
	return dropped
}

// dead is no hash of a key: the row does not count any more.
const dead = 0

// dropRows makes those of some rows dead that have another value of the twin of a record than
// the record has. It returns these values. What a Unique shares with the key stays.
func (m *matching) dropRows(f *finder, i int, places []int32) (values []uint64) {
	if !m.hasAll(f, i) || f.declared.overlaps(m.col.key) {
		return nil
	}
	value, _ := m.valueThere(f, i)
	for _, at := range places {
		if int(at) < len(f.rows) && f.rows[at].key == m.meets[i].twin && f.rows[at].value != value {
			f.rows[at].key = dead
			values = append(values, f.rows[at].value)
		}
	}
	return values
}
