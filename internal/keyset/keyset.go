// Package keyset holds the keys of a collection in little memory.
package keyset

import "hash/maphash"

// A Set is a set of strings. It keeps 64 bits of each: 11 to 22 bytes a key,
// however long the key is. The bits depend on a seed that each Set draws, so
// nobody can prepare two keys with the same bits. By chance, in 1 of 37 million
// sets of a million keys, two keys look the same. The next Set tells them
// apart. Call New: the zero Set is not usable.
type Set struct {
	seed   maphash.Seed
	shards [shards]shard
	zero   bool // the set has the key whose bits are 0, the mark of an empty slot
	n      int
}

// A shard is an open hash table of the keys with the same lowest bits. There
// are many shards, so that one that grows takes little memory beside the
// others. Go's own map takes twice as much.
type shard struct {
	slots []uint64
	n     int
}

const shards = 256

// New returns an empty Set.
func New() *Set { return &Set{seed: maphash.MakeSeed()} }

// Add adds key and tells whether it is new.
func (s *Set) Add(key string) bool { return s.add(maphash.String(s.seed, key)) }

// AddBytes is Add for a key in a buffer.
func (s *Set) AddBytes(key []byte) bool { return s.add(maphash.Bytes(s.seed, key)) }

// AddHash is Add for a key of which the caller has 64 bits, by a seed of its own. A Set
// has either keys or hashes.
func (s *Set) AddHash(h uint64) bool { return s.add(h) }

func (s *Set) add(h uint64) bool {
	added := !s.zero
	if h == 0 {
		s.zero = true
	} else {
		added = s.shards[h%shards].add(h)
	}
	if added {
		s.n++
	}
	return added
}

// Has tells whether key is in the set.
func (s *Set) Has(key string) bool { return s.has(maphash.String(s.seed, key)) }

// HasBytes is Has for a key in a buffer.
func (s *Set) HasBytes(key []byte) bool { return s.has(maphash.Bytes(s.seed, key)) }

// HasHash is Has for what AddHash adds.
func (s *Set) HasHash(h uint64) bool { return s.has(h) }

func (s *Set) has(h uint64) bool {
	if h == 0 {
		return s.zero
	}
	sh := &s.shards[h%shards]
	return sh.n > 0 && sh.slots[sh.find(h)] == h
}

// Len returns the number of keys.
func (s *Set) Len() int { return s.n }

func (sh *shard) add(h uint64) bool {
	if sh.n >= len(sh.slots)/4*3 {
		old := sh.slots
		sh.slots = make([]uint64, max(8, len(old)+len(old)/2))
		for _, h := range old {
			if h != 0 {
				sh.slots[sh.find(h)] = h
			}
		}
	}
	i := sh.find(h)
	if sh.slots[i] == h {
		return false
	}
	sh.slots[i] = h
	sh.n++
	return true
}

// find returns the slot of h, or the empty slot where h belongs.
func (sh *shard) find(h uint64) int {
	i := int(h / shards % uint64(len(sh.slots)))
	for sh.slots[i] != 0 && sh.slots[i] != h {
		if i++; i == len(sh.slots) {
			i = 0
		}
	}
	return i
}
