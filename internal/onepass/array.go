package onepass

import (
	"bytes"
	"slices"
)

// array reads the array that begins at an index.
func (w *walk) array(at int, c *arrayCheck) int {
	if w.depth <= 0 {
		return unknown
	}
	w.depth--
	first := len(w.elements)
	end := w.readElements(at, c, first)
	w.elements = w.elements[:first]
	w.depth++
	return end
}

// readElements reads the elements of an array. It keeps them from w.elements[first] if
// they must differ.
func (w *walk) readElements(at int, c *arrayCheck, first int) int {
	text := w.text
	i, count, contained := at+1, 0, 0
	for i >= len(text) || text[i] != ']' || count > 0 {
		element := c.other
		if count < len(c.first) {
			element = c.first[count]
		}
		count++
		start := i
		if i = w.value(i, element); i < 0 {
			return i
		}
		if i >= len(text) {
			return unknown
		}
		if c.unique {
			w.elements = append(w.elements, span{start, i})
		}
		if c.contains != nil {
			switch w.judge(start, i, c.contains) {
			case yes:
				contained++
			case unknown:
				return unknown
			}
		}
		if text[i] == ']' {
			break
		}
		if text[i] != ',' {
			return unknown
		}
		i++
	}
	if c.min != -1 && count < c.min || c.max != -1 && count > c.max {
		return no
	}
	if c.contains != nil && (c.minContains != -1 && contained < c.minContains || c.maxContains != -1 && contained > c.maxContains) {
		return no
	}
	if c.unique {
		if v := w.differ(w.elements[first:]); v != yes {
			return v
		}
	}
	return i + 1
}

// differ tells whether the elements differ in their values. It may change their order.
func (w *walk) differ(elements []span) int {
	if len(elements) > few {
		return w.manyDiffer(elements)
	}
	said := yes
	for i := range elements {
		for j := range i {
			said = min(said, w.twoDiffer(elements[i], elements[j]))
		}
	}
	return said
}

// manyDiffer is differ for many strings and integers whose texts are their values.
func (w *walk) manyDiffer(elements []span) int {
	for _, e := range elements {
		if !isPlain(w.bytes(e)) {
			return unknown
		}
	}
	slices.SortFunc(elements, func(a, b span) int { return bytes.Compare(w.bytes(a), w.bytes(b)) })
	for i := range elements[1:] {
		if bytes.Equal(w.bytes(elements[i]), w.bytes(elements[i+1])) {
			return no
		}
	}
	return yes
}

// isPlain tells whether no other text than this one has the same value.
func isPlain(b []byte) bool {
	switch kindOf[b[0]] {
	case String:
		return bytes.IndexByte(b, '\\') < 0
	case Number:
		return !bytes.ContainsAny(b, ".eE") && string(b) != "-0"
	}
	return kindOf[b[0]]&(Object|Array) == 0
}

// twoDiffer tells whether two values differ.
func (w *walk) twoDiffer(first, second span) int {
	a, b := w.bytes(first), w.bytes(second)
	kind := kindOf[a[0]]
	same := false
	switch {
	case kind != kindOf[b[0]]:
		return yes
	case bytes.Equal(a, b):
		return no
	case isPlain(a) && isPlain(b):
		return yes
	case kind == Number:
		same = rat(a).Cmp(rat(b)) == 0
	case kind == String:
		kept := len(w.unquoted)
		a, b := w.unquote(first.inner()), w.unquote(second.inner())
		same = bytes.Equal(w.bytes(a), w.bytes(b))
		w.unquoted = w.unquoted[:kept]
	default:
		return unknown
	}
	if same {
		return no
	}
	return yes
}
