package onepass

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// A nameSet finds out whether the names of an object differ. The names are at the end of
// walk.names.
type nameSet struct {
	first int    // the index of the first name
	bits  uint64 // one for each name; many names have the same
	twice bool   // a name is there twice
	look  bool   // it may be; differ finds out
}

// few is the number of names up to which each is compared with each.
const few = 12

// add adds a name to the set.
func (s *nameSet) add(w *walk, name span) {
	text := w.bytes(name)
	bit := uint64(1) << (hash(text) >> 58)
	if before := w.names[s.first:]; s.bits&bit != 0 && len(before) > few {
		s.look = true
	} else if s.bits&bit != 0 {
		for _, other := range before {
			s.twice = s.twice || bytes.Equal(text, w.bytes(other))
		}
	}
	s.bits |= bit
	w.names = append(w.names, name)
}

// hash tells most names of an object apart by its highest bits.
func hash(name []byte) uint64 {
	const prime = 0x9e3779b97f4a7c15
	h := uint64(len(name))
	for ; len(name) >= 8; name = name[8:] {
		h = (h ^ binary.LittleEndian.Uint64(name)) * prime
	}
	rest := uint64(0)
	for _, c := range name {
		rest = rest<<8 | uint64(c)
	}
	return (h ^ rest) * prime
}

// differ tells whether all names differ. It may change their order.
func (s *nameSet) differ(w *walk) bool {
	if s.twice || !s.look {
		return !s.twice
	}
	names := w.names[s.first:]
	slices.SortFunc(names, func(a, b span) int { return bytes.Compare(w.bytes(a), w.bytes(b)) })
	for i := range names[1:] {
		if bytes.Equal(w.bytes(names[i]), w.bytes(names[i+1])) {
			return false
		}
	}
	return true
}
