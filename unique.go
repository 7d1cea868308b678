package backup

import (
	"bytes"
	"hash/maphash"
	"slices"
	"strings"

	"github.com/tomo-project/backup/internal/codec"
)

// maxUniques is how many Uniques a collection may have.
const maxUniques = 16

// A unique is one of the Uniques of a collection. No two records have the same value: the
// parts together.
type unique struct {
	declared string // without "fold:"
	parts    codec.Key
	fold     bool // the letters a to z count as A to Z
	inPart   bool // there are more parts, which are compared apart
}

// compileUniques checks the Uniques of a collection, and makes them ready for use.
func (col *collection) compileUniques(fail func(format string, args ...any)) {
	if col.Shape == Map && len(col.Unique) > 0 {
		fail("Unique %s: a record of a Map is known by its member name alone", col.Unique[0])
		return
	}
	if len(col.Unique) > maxUniques {
		fail("%d Uniques, the most is %d", len(col.Unique), maxUniques)
		return
	}
	for _, declared := range col.Unique {
		u := unique{}
		u.declared, u.fold = strings.CutPrefix(declared, "fold:")
		var err error
		switch u.parts, err = codec.ParseKey(u.declared); {
		case err != nil:
			fail("Unique: %w", err)
		case len(u.parts) == 0:
			fail("Unique %q is empty: want a JSON Pointer such as /name", declared)
		case u.parts.HasAny():
			fail("Unique %s has a wildcard", declared)
		case slices.ContainsFunc(col.uniques, u.same):
			fail("Unique %s is declared twice", declared)
		}
		for i, secret := range col.secrets {
			for _, part := range u.parts {
				if part.Overlaps(secret) && len(part) != len(secret) {
					fail("Unique %s and Secret %s overlap: name the whole secret in both, or no part of it", declared, col.Secrets[i])
				}
			}
		}
		col.uniques = append(col.uniques, u)
	}
}

// same tells whether two Uniques have the same parts.
func (u unique) same(other unique) bool { return u.holds(other.parts) && other.holds(u.parts) }

// holds tells whether all pointers of a key are among the parts.
func (u unique) holds(key codec.Key) bool {
	return !slices.ContainsFunc(key, func(p codec.Pointer) bool { return !contains(u.parts, p) })
}

// overlaps tells whether a part contains a pointer of a key, or is in it.
func (u unique) overlaps(key codec.Key) bool {
	return slices.ContainsFunc(u.parts, func(p codec.Pointer) bool { return slices.ContainsFunc(key, p.Overlaps) })
}

// without returns the Unique without the parts that a key has too.
func (u unique) without(key codec.Key) unique {
	u.inPart = true
	u.parts = slices.DeleteFunc(slices.Clone(u.parts), func(p codec.Pointer) bool { return contains(key, p) })
	return u
}

func contains(key codec.Key, p codec.Pointer) bool {
	return slices.ContainsFunc(key, func(q codec.Pointer) bool { return slices.Equal(p, q) })
}

// hash returns 64 bits of the value that a record has. It is 0 if the record has none,
// because a part is absent or null, or all are empty texts: many applications write these
// for what is not set, and their unique index leaves them out.
func (u unique) hash(seed maphash.Seed, value []byte) uint64 {
	sum, empty := uint64(len(u.parts)), !u.inPart
	for _, p := range u.parts {
		part := codec.Get(value, p)
		if part == nil || string(part) == "null" {
			return 0
		}
		empty = empty && string(part) == `""`
		sum = combine(seed, sum, codec.Hash(seed, u.folded(part)))
	}
	if empty {
		return 0
	}
	return max(sum, 1)
}

// equal tells whether two records have the same value.
func (u unique) equal(a, b []byte) bool {
	return !slices.ContainsFunc(u.parts, func(p codec.Pointer) bool {
		v, w := codec.Get(a, p), codec.Get(b, p)
		return v == nil || w == nil || string(v) == "null" || !codec.Equal(u.folded(v), u.folded(w))
	})
}

// folded returns a part in the form in which it is compared.
func (u unique) folded(part []byte) []byte {
	if !u.fold || part[0] != '"' {
		return part
	}
	if bytes.IndexByte(part, '\\') >= 0 { // write it in the one form that has no upper-case escapes
		text, _ := codec.Identity(part)
		part = codec.Quote(text)
	}
	return bytes.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, part)
}

// combine returns bits that depend on both arguments and on their order.
func combine(seed maphash.Seed, a, b uint64) uint64 {
	return maphash.Comparable(seed, [2]uint64{a, b})
}
