package onepass

import (
	"bytes"
	"slices"
)

// A nameSet finds out whether the names of an object differ. The names are at the end of
// walk.names.
type nameSet struct {
	first int    // the index of the first name
	bits  uint64 // one for each name; many names have the same
	again bool   // a bit was there already
}

// few is the number of names up to which each is compared with each.
const few = 12

// add adds a name to the set.
func (s *nameSet) add(w *walk, name span) {
	w.names = append(w.names, name)
	hash := uint64(14695981039346656037)
	for _, c := range w.bytes(name) {
		hash = (hash ^ uint64(c)) * 1099511628211
	}
	bit := uint64(1) << (hash >> 58)
	s.again = s.again || s.bits&bit != 0
	s.bits |= bit
}

// differ tells whether all names differ. It may change their order.
func (s *nameSet) differ(w *walk) bool {
	if !s.again {
		return true
	}
	names := w.names[s.first:]
	if len(names) <= few {
		for i := range names {
			for j := range i {
				if bytes.Equal(w.bytes(names[i]), w.bytes(names[j])) {
					return false
				}
			}
		}
		return true
	}
	slices.SortFunc(names, func(a, b span) int { return bytes.Compare(w.bytes(a), w.bytes(b)) })
	for i := range names[1:] {
		if bytes.Equal(w.bytes(names[i]), w.bytes(names[i+1])) {
			return false
		}
	}
	return true
}
