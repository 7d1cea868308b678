package codec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"maps"
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

// Equal tells whether two compact values are the same. The order of members
// does not matter. Numbers are compared exactly and by value.
func Equal(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	if same, sure := equalText(a, b); sure {
		return same
	}
	return equal(Decode(a), Decode(b))
}

// equalText is Equal for values whose members have one order. Where it is not sure, the
// values must be decoded, which takes longer.
func equalText(a, b []byte) (same, sure bool) {
	switch {
	case kind(a) != kind(b):
		return false, true
	case a[0] == '{' || a[0] == '[':
		return equalParts(a, b)
	case a[0] == '"':
		return bytes.Equal(unquote(a), unquote(b)), true
	case kind(a) == '0':
		return equalNumber(string(a), string(b)), true
	}
	return bytes.Equal(a, b), true
}

// kind returns a byte that is the same for values of one kind.
func kind(v []byte) byte {
	if v[0] == '-' || '0' <= v[0] && v[0] <= '9' {
		return '0'
	}
	return v[0]
}

// equalParts is equalText for two objects or two arrays.
func equalParts(a, b []byte) (same, sure bool) {
	i, j := 1, 1
	for a[i] != '}' && a[i] != ']' && b[j] != '}' && b[j] != ']' {
		if a[0] == '{' {
			nameA, nameB := skipString(a, i), skipString(b, j)
			if !bytes.Equal(a[i:nameA], b[j:nameB]) {
				return false, false // another order, or another way to write the name
			}
			i, j = nameA+1, nameB+1
		}
		endA, endB := skipValue(a, i), skipValue(b, j)
		if v, w := a[i:endA], b[j:endB]; !bytes.Equal(v, w) {
			if same, sure := equalText(v, w); !same || !sure {
				return same, sure
			}
		}
		if i, j = endA, endB; a[i] == ',' {
			i++
		}
		if b[j] == ',' {
			j++
		}
	}
	return i == len(a)-1 && j == len(b)-1, true
}

func equal(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for name, v := range a {
			if w, ok := b[name]; !ok || !equal(v, w) {
				return false
			}
		}
		return true
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if !equal(a[i], b[i]) {
				return false
			}
		}
		return true
	case json.Number:
		b, ok := b.(json.Number)
		return ok && equalNumber(string(a), string(b))
	default:
		return a == b
	}
}

func equalNumber(a, b string) bool { return a == b || decimalOf(a) == decimalOf(b) }

// A decimal is the number ±0.digits × 10^exp. Its digits neither begin nor end
// with a zero.
type decimal struct {
	negative bool
	digits   string
	exp      int
}

func decimalOf(number string) decimal {
	var d decimal
	number, d.negative = strings.CutPrefix(number, "-")
	if e := strings.IndexAny(number, "eE"); e >= 0 {
		d.exp, _ = strconv.Atoi(number[e+1:]) // checkNumber has checked that it is short
		number = number[:e]
	}
	whole, fraction, _ := strings.Cut(number, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	d.exp += len(digits) - len(fraction)
	if d.digits = strings.TrimRight(digits, "0"); d.digits == "" {
		return decimal{}
	}
	return d
}

// Canonical appends a form of the compact value v to dst. Two values have the
// same form if and only if they are Equal.
func Canonical(dst, v []byte) []byte { return canonical(dst, Decode(v)) }

func canonical(dst []byte, v any) []byte {
	switch v := v.(type) {
	case map[string]any:
		dst = append(dst, '{')
		for _, name := range slices.Sorted(maps.Keys(v)) {
			dst = append(append(dst, Quote(name)...), ':')
			dst = append(canonical(dst, v[name]), ',')
		}
		return append(dst, '}')
	case []any:
		dst = append(dst, '[')
		for _, e := range v {
			dst = append(canonical(dst, e), ',')
		}
		return append(dst, ']')
	case string:
		return append(dst, Quote(v)...)
	case json.Number:
		d := decimalOf(string(v))
		return fmt.Appendf(dst, "%t %s %d", d.negative, d.digits, d.exp)
	default:
		return fmt.Append(dst, v)
	}
}

// Hash returns 64 bits of a compact value. Two values that are Equal have the same
// bits under one seed.
func Hash(seed maphash.Seed, v []byte) uint64 {
	switch v[0] {
	case '{':
		var sum uint64 // the order does not matter
		eachMember(v, func(name []byte, start, end int) bool {
			sum += mix(maphash.Bytes(seed, name), Hash(seed, v[start:end]))
			return true
		})
		return mix(sum, '{')
	case '[':
		list := uint64('[')
		eachElement(v, func(_, start, end int) bool {
			list = mix(list, Hash(seed, v[start:end]))
			return true
		})
		return list
	case '"':
		return maphash.Bytes(seed, unquote(v)) + 1
	case 't', 'f', 'n':
		return mix(maphash.Bytes(seed, v), uint64(v[0]))
	default:
		return maphash.Comparable(seed, decimalOf(string(v)))
	}
}

// mix returns bits that depend on both arguments and on their order.
func mix(a, b uint64) uint64 {
	high, low := bits.Mul64(a^0x9e3779b97f4a7c15, b+0xd1b54a32d192ed03)
	return high ^ low
}

type member struct {
	name  []byte
	value []byte
	met   bool // the other side of a comparison has it
}

func members(b []byte) []member {
	if len(b) == 2 {
		return nil
	}
	ms := make([]member, 0, 12)
	eachMember(b, func(name []byte, start, end int) bool {
		ms = append(ms, member{name: name, value: b[start:end]})
		return true
	})
	return ms
}

// Merge merges the compact value incoming into existing. Objects are merged
// member by member, recursively; of anything else incoming wins. The members of
// existing keep their order, also those that incoming lacks; new members
// follow.
func Merge(existing, incoming []byte) []byte {
	if existing[0] != '{' || incoming[0] != '{' {
		return incoming
	}
	add := members(incoming)
	from := make(map[string][]byte, len(add))
	for _, m := range add {
		from[string(m.name)] = m.value
	}
	out := []byte{'{'}
	put := func(name, value []byte) {
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(append(AppendQuote(out, string(name)), ':'), value...)
	}
	for _, m := range members(existing) {
		value := m.value
		if v, ok := from[string(m.name)]; ok {
			value = Merge(value, v)
			delete(from, string(m.name))
		}
		put(m.name, value)
	}
	for _, m := range add {
		if v, ok := from[string(m.name)]; ok {
			put(m.name, v)
		}
	}
	return append(out, '}')
}

// Only returns the compact value v without the members that like lacks.
func Only(v, like []byte) []byte {
	if v[0] != '{' || like[0] != '{' {
		return v
	}
	keep := make(map[string]bool)
	for _, m := range members(like) {
		keep[string(m.name)] = true
	}
	all, out := members(v), []byte{'{'}
	if len(all) == len(keep) {
		return v
	}
	for _, m := range all {
		if !keep[string(m.name)] {
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(append(AppendQuote(out, string(m.name)), ':'), m.value...)
	}
	return append(out, '}')
}

// Diff calls f for every difference between two compact values. It compares
// objects member by member, and anything else as a whole. before or after is
// nil where a member is absent. A value at one of the hidden pointers is
// compared like any other, but f gets mask in its place.
func Diff(before, after []byte, hidden []Pointer, mask []byte, f func(pointer string, before, after []byte)) {
	diff("", before, after, hidden, mask, f)
}

func diff(at string, before, after []byte, hidden []Pointer, mask []byte, f func(pointer string, before, after []byte)) {
	if before != nil && after != nil && Equal(before, after) {
		return
	}
	for _, h := range hidden {
		if len(h) > 0 {
			continue
		}
		hide := func(v []byte) []byte {
			if v == nil {
				return nil
			}
			return mask
		}
		f(at, hide(before), hide(after))
		return
	}
	if len(before) == 0 || len(after) == 0 || before[0] != '{' || after[0] != '{' {
		hide := func(v []byte) []byte {
			if v == nil || len(hidden) == 0 {
				return v
			}
			v, _ = Rewrite(v, hidden, func(string, []byte) ([]byte, error) { return mask, nil })
			return v
		}
		f(at, hide(before), hide(after))
		return
	}
	olds, news := members(before), members(after)
	var places map[string]int // of news, once their order is not that of olds
	find := func(i int, name []byte) int {
		if places == nil {
			if i < len(news) && bytes.Equal(news[i].name, name) {
				return i
			}
			places = make(map[string]int, len(news))
			for i, m := range news {
				places[string(m.name)] = i
			}
		}
		if i, found := places[string(name)]; found {
			return i
		}
		return -1
	}
	for i, m := range olds {
		var v []byte
		if n := find(i, m.name); n >= 0 {
			v, news[n].met = news[n].value, true
		}
		if v == nil || !Equal(m.value, v) {
			name := string(m.name)
			diff(at+"/"+Escape(name), m.value, v, descend(hidden, name), mask, f)
		}
	}
	for _, m := range news {
		if !m.met {
			name := string(m.name)
			diff(at+"/"+Escape(name), nil, m.value, descend(hidden, name), mask, f)
		}
	}
}
