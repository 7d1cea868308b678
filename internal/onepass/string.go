package onepass

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

type stringCheck struct {
	min, max int
	pattern  *pattern // nil: none
	format   *Format  // nil: none
	quick    func(text []byte) bool
}

func newStringCheck(r *StringRule) *stringCheck {
	if r == nil {
		return nil
	}
	c := &stringCheck{min: r.MinLength, max: r.MaxLength, pattern: r.Pattern.ready(), format: r.Format}
	if c.format != nil {
		c.quick = quick[c.format.Name]
	}
	return c
}

// string reads the string that begins at an index.
func (w *walk) string(at int, c *check) int {
	end, escaped := scanString(w.text, at)
	if end < 0 {
		return unknown
	}
	if c.text == nil && c.enums == nil {
		return end
	}
	text := w.text[at+1 : end-1]
	if escaped {
		text = w.bytes(w.unquote(span{at, end}.inner()))
	}
	for i := range c.enums {
		if !c.enums[i].hasString(text) {
			return no
		}
	}
	if c.text != nil && !c.text.accepts(text) {
		return no
	}
	return end
}

func (c *stringCheck) accepts(text []byte) bool {
	// A code point has one to four bytes.
	if c.max != -1 && len(text) > c.max && utf8.RuneCount(text) > c.max {
		return false
	}
	if c.min != -1 && len(text)/4 < c.min && utf8.RuneCount(text) < c.min {
		return false
	}
	if c.pattern != nil && !c.pattern.match(text) {
		return false
	}
	if c.format != nil && (c.quick == nil || !c.quick(text)) {
		return c.format.Valid(string(text))
	}
	return true
}

// Eight bytes at once.
const (
	lowBits  = 0x0101010101010101
	highBits = 0x8080808080808080
)

// scanString returns the index behind the string that begins at b[i], or -1 if it is not
// a string of strict JSON. It also tells whether the string has escapes.
func scanString(b []byte, i int) (end int, escaped bool) {
	for i++; ; {
		for i+8 <= len(b) {
			x := binary.LittleEndian.Uint64(b[i:])
			quotes, slashes := x^(lowBits*'"'), x^(lowBits*'\\')
			// The lowest of the high bits that are set here is at the first byte that is
			// special: a quote, a backslash, below a space, or not ASCII.
			special := ((quotes - lowBits) | (slashes - lowBits) | (x - lowBits*' ') | x) & highBits
			if special != 0 {
				i += bits.TrailingZeros64(special) / 8
				break
			}
			i += 8
		}
		if i >= len(b) {
			return -1, escaped
		}
		switch c := b[i]; {
		case c == '"':
			return i + 1, escaped
		case c == '\\':
			escaped = true
			_, n := escape(b[i:])
			if n == 0 {
				return -1, escaped
			}
			i += n
		case c < ' ':
			return -1, escaped
		case c < utf8.RuneSelf:
			i++
		default:
			r, n := utf8.DecodeRune(b[i:])
			if r == utf8.RuneError && n <= 1 {
				return -1, escaped
			}
			i += n
		}
	}
}

// escape decodes the escape at the begin of b, and returns its length, or 0 if JSON does
// not know it. A surrogate must have its other half.
func escape(b []byte) (rune, int) {
	if len(b) < 2 {
		return 0, 0
	}
	switch c := b[1]; c {
	case '"', '\\', '/':
		return rune(c), 2
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	}
	r, ok := hex4(b)
	if !ok {
		return 0, 0
	}
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	low, ok := hex4(b[6:])
	if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
		return 0, 0
	}
	return r, 12
}

// hex4 returns the number in an escape of the form \u12ab.
func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	for _, c := range b[2:6] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// unquote keeps the text of a literal, which is well-formed and given without its quotes.
func (w *walk) unquote(s span) span {
	start := len(w.unquoted)
	for b := w.bytes(s); len(b) > 0; {
		if b[0] != '\\' {
			w.unquoted = append(w.unquoted, b[0])
			b = b[1:]
			continue
		}
		r, n := escape(b)
		w.unquoted = utf8.AppendRune(w.unquoted, r)
		b = b[n:]
	}
	return span{^start, len(w.unquoted)}
}
