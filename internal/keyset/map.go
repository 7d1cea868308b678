package keyset

import "hash/maphash"

// A Map keeps a number for each of its keys. As a Set does, it keeps 64 bits of each key:
// 18 to 21 bytes with the number. Call NewMap: the zero Map is not usable.
type Map struct {
	seed   maphash.Seed
	shards [shards]pairs
	n      int
}

// pairs is a shard of a Map.
type pairs struct {
	slots []pair
	n     int
}

type pair struct{ bits, value uint64 } // bits 0: the slot is empty

// NewMap returns an empty Map.
func NewMap() *Map { return &Map{seed: maphash.MakeSeed()} }

// Add adds a key with its number. It returns false, and changes nothing, if the Map has the
// key.
func (m *Map) Add(key string, value uint64) bool {
	h := m.bits(key)
	p := &m.shards[h%shards]
	p.grow()
	i := p.find(h)
	if p.slots[i].bits == h {
		return false
	}
	p.slots[i] = pair{h, value}
	p.n++
	m.n++
	return true
}

// At returns the place of the number of a key, or nil. It is valid until the next Add.
func (m *Map) At(key string) *uint64 {
	h := m.bits(key)
	p := &m.shards[h%shards]
	if p.n == 0 {
		return nil
	}
	if i := p.find(h); p.slots[i].bits == h {
		return &p.slots[i].value
	}
	return nil
}

// Len returns the number of keys.
func (m *Map) Len() int { return m.n }

func (m *Map) bits(key string) uint64 { return max(1, maphash.String(m.seed, key)) }

// grow makes place for one more.
func (p *pairs) grow() {
	if p.n < len(p.slots)/8*7 {
		return
	}
	old := p.slots
	p.slots = make([]pair, max(8, len(old)+max(8, len(old)/64*8)))
	for _, o := range old {
		if o.bits != 0 {
			p.slots[p.find(o.bits)] = o
		}
	}
}

// find returns the slot of h, or the empty slot where h belongs.
func (p *pairs) find(h uint64) int {
	i := int(h / shards % uint64(len(p.slots)))
	for p.slots[i].bits != 0 && p.slots[i].bits != h {
		if i++; i == len(p.slots) {
			i = 0
		}
	}
	return i
}
