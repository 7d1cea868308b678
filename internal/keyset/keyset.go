// Package keyset holds the keys of a collection in little memory.
package keyset

import (
	"hash/maphash"
)

// A Set is a set of strings that keeps 128 bits of each: less than 32 bytes a
// key whatever its length. The bits are drawn with seeds of the process, so
// that nobody can make two keys of the same bits, and a million keys have a
// chance of 1 in 10^27 that two are taken for one. The zero Set is not usable.
type Set struct {
	seeds *[2]maphash.Seed
	m     map[[2]uint64]struct{}
}

// New returns an empty Set.
func New() *Set {
	return &Set{
		seeds: &[2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
		m:     make(map[[2]uint64]struct{}),
	}
}

func (s *Set) digest(key string) [2]uint64 {
	a, b := maphash.String(s.seeds[0], key), maphash.String(s.seeds[1], key)
	return [2]uint64{a, b}
}

// Add adds key and tells whether it is new.
func (s *Set) Add(key string) bool {
	n := len(s.m)
	s.m[s.digest(key)] = struct{}{}
	return len(s.m) > n
}

// Has tells whether key is in the set.
func (s *Set) Has(key string) bool {
	_, ok := s.m[s.digest(key)]
	return ok
}

// Len returns the number of keys.
func (s *Set) Len() int { return len(s.m) }
