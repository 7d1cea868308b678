package onepass

// What is said about a value. yes is said by the index of its end.
const (
	yes     = 0
	unknown = -1
	no      = -2 // sure only if the value is known to be well-formed
)

// A walk is one reading of a record.
type walk struct {
	text   []byte
	marks  []Mark
	depth  int // how many brackets may still open
	values int // how many values may still come
	again  int // how many bytes may still be read again

	// What is open at a place in the text uses the ends of these.
	seen     []uint64 // bits of the members that were there
	names    []span   // of members that are not known
	elements []span
	unquoted []byte
}

// A span is a part of the text, or if its start is negative, of what was unquoted.
type span struct{ start, end int }

func (w *walk) bytes(s span) []byte {
	if s.start < 0 {
		return w.unquoted[^s.start:s.end]
	}
	return w.text[s.start:s.end]
}

// inner returns the span of a string without its quotes.
func (s span) inner() span { return span{s.start + 1, s.end - 1} }

// maxKept bounds what is kept from record to record.
const maxKept = 64 << 10

func (w *walk) reset() {
	w.text, w.marks = nil, nil
	w.seen, w.names, w.elements = w.seen[:0], w.names[:0], w.elements[:0]
	if w.unquoted = w.unquoted[:0]; cap(w.unquoted) > maxKept {
		w.unquoted = nil
	}
	if cap(w.names) > maxKept/16 {
		w.names = nil
	}
	if cap(w.elements) > maxKept/16 {
		w.elements = nil
	}
}

// kindOf tells kinds of values by their first bytes. It has 0 for other bytes.
var kindOf = func() (kinds [256]Kinds) {
	for c := '0'; c <= '9'; c++ {
		kinds[c] = Number
	}
	kinds['-'], kinds['"'], kinds['{'], kinds['['] = Number, String, Object, Array
	kinds['t'], kinds['f'], kinds['n'] = Boolean, Boolean, Null
	return kinds
}()

// value reads the value that begins at an index of the text, and returns the index behind
// it, or no, or unknown.
func (w *walk) value(at int, c *check) int {
	if at >= len(w.text) || w.values <= 0 {
		return unknown
	}
	w.values--
	kind := kindOf[w.text[at]]
	if c.kinds&kind == 0 {
		return no
	}
	if c.byKind != nil {
		w.values++
		return w.value(at, c.byKind[kindIndex[kind]])
	}
	if c.doubt&kind != 0 {
		return unknown
	}
	mark := len(w.marks)
	for _, p := range c.places {
		w.marks = append(w.marks, Mark{Place: p, Start: at})
	}
	var end int
	switch kind {
	case String:
		end = w.string(at, c)
	case Number:
		end = w.number(at, c)
	case Object:
		end = w.object(at, c.object)
	case Array:
		end = w.array(at, c.array)
	default:
		end = w.literal(at)
	}
	if end < 0 {
		return end
	}
	if c.enums != nil && kind != String && kind != Number {
		for i := range c.enums {
			if v := c.enums[i].literal(w.text[at], kind); v != yes {
				return v
			}
		}
	}
	if c.combined {
		if v := w.combine(at, end, c); v != yes {
			return v
		}
	}
	for i := range c.places {
		w.marks[mark+i].End = end
	}
	return end
}

// kindIndex is the index of a kind in check.byKind.
var kindIndex = [...]uint8{Null: 0, Boolean: 1, Number: 2, String: 3, Array: 4, Object: 5}

// literal reads null, true or false.
func (w *walk) literal(at int) int {
	for _, word := range [...]string{"null", "true", "false"} {
		if rest := w.text[at:]; len(rest) >= len(word) && string(rest[:len(word)]) == word {
			return at + len(word)
		}
	}
	return unknown
}

// combine tells what the other rules about a value say. The value has been read.
func (w *walk) combine(at, end int, c *check) int {
	for _, a := range c.all {
		if v := w.judge(at, end, a); v != yes {
			return v
		}
	}
	if len(c.any) > 0 {
		said := no
		for _, a := range c.any {
			if said = max(said, w.judge(at, end, a)); said == yes {
				break
			}
		}
		if said != yes {
			return said
		}
	}
	if len(c.one) > 0 {
		if v := w.onlyOne(at, end, c.one); v != yes {
			return v
		}
	}
	if c.not != nil {
		switch w.judge(at, end, c.not) {
		case yes:
			return no
		case unknown:
			return unknown
		}
	}
	if c.when != nil {
		switch w.judge(at, end, c.when) {
		case yes:
			return w.judge(at, end, c.then)
		case no:
			return w.judge(at, end, c.els)
		}
		return unknown
	}
	return yes
}

// onlyOne tells whether exactly one check accepts a value.
func (w *walk) onlyOne(at, end int, checks []*check) int {
	accepted := 0
	for _, c := range checks {
		switch w.judge(at, end, c) {
		case yes:
			accepted++
		case unknown:
			return unknown
		}
	}
	if accepted != 1 {
		return no
	}
	return yes
}

// maxAgain is how many times as many bytes as the text has may be read again, and
// leastAgain how many in any case. Values that lie in each other can be read again at each
// level, and the validator may look at much less of them.
const (
	maxAgain   = 64
	leastAgain = 64 << 10
)

// judge tells what a check says about a value that has been read.
func (w *walk) judge(at, end int, c *check) int {
	if c == anything {
		return yes
	}
	if w.again -= end - at; w.again < 0 {
		return unknown
	}
	values, unquoted := w.values, len(w.unquoted)
	w.values = len(w.text) + 1 // they have been counted
	v := w.value(at, c)
	w.values, w.unquoted = values, w.unquoted[:unquoted]
	return min(v, yes)
}

// judgeText is judge for a text of its own.
func judgeText(text string, c *check) int {
	w := walk{text: []byte(text), depth: 1, again: maxAgain*len(text) + leastAgain}
	return w.judge(0, len(text), c)
}
