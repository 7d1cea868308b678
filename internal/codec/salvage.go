package codec

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// A damaged snapshot is read line by line. In a snapshot as the Writer writes
// it, each record, each member of the header and each bracket around the
// records has a line of its own.

// A Line is one line of a file that may be damaged.
type Line struct {
	Text        []byte // without its line break; valid until the next line
	Offset, End int64  // End is after the line break
	Ended       bool   // there is a line break
	Cut         bool   // the line is longer than the limit; Text is its beginning
}

// Lines calls f for each line of r. It keeps no more than limit bytes of a line
// in memory.
func Lines(r io.Reader, limit int, f func(Line) error) error {
	in := bufio.NewReaderSize(r, 256<<10)
	var long []byte
	for offset := int64(0); ; {
		text, err := in.ReadSlice('\n')
		n := int64(len(text))
		if err == bufio.ErrBufferFull {
			long = append(long[:0], text[:min(len(text), limit+1)]...)
			for err == bufio.ErrBufferFull {
				text, err = in.ReadSlice('\n')
				n += int64(len(text))
				long = append(long, text[:min(len(text), limit+1-len(long))]...)
			}
			text = long
		}
		if err != nil && err != io.EOF {
			return err
		}
		if n == 0 {
			return nil
		}
		l := Line{Offset: offset, End: offset + n, Ended: err == nil}
		length := n
		if l.Ended {
			length--
		}
		l.Cut = length > int64(limit)
		l.Text = text[:min(length, int64(limit))]
		if err := f(l); err != nil {
			return err
		}
		offset = l.End
	}
}

// Trim removes what may follow a record on its line: a comma, and white space
// from a conversion of line ends.
func Trim(text []byte) []byte {
	text = bytes.TrimRight(text, " \t\r")
	return bytes.TrimRight(bytes.TrimSuffix(text, []byte(",")), " \t\r")
}

// Member reads text as the one member of an object. It appends the compact
// object to dst, and returns the name and the value, which is a part of out.
func Member(dst, text []byte, l Limits) (name string, value, out []byte, err error) {
	in := make([]byte, 0, len(text)+2)
	in = append(append(append(in, '{'), text...), '}')
	start := len(dst)
	if out, err = compact(dst, in); err != nil {
		return "", nil, dst, err
	}
	n := 0
	eachMember(out[start:], func(member []byte, s, e int) bool {
		name, value = string(member), out[start+s:start+e]
		n++
		return true
	})
	switch {
	case n != 1:
		err = fmt.Errorf("%w: not one member of an object", ErrSyntax)
	case len(name) > MaxKey:
		err = tooLong(MaxKey)
	case len(value) > l.RecordBytes:
		err = recordTooLong(l)
	default:
		_, err = checkValue(value, l)
	}
	return name, value, out, err
}

// HeaderMember is Member for a line outside of the records.
func HeaderMember(text []byte) (name string, value []byte, err error) {
	if len(text) > HeaderBytes+maxName {
		return "", nil, tooLong(HeaderBytes)
	}
	l := header
	l.RecordBytes = HeaderBytes
	name, value, _, err = Member(nil, text, l)
	return name, value, err
}

// glimpseBytes is how far into a damaged line its key is searched.
const glimpseBytes = 64 << 10

// glimpse is Key.Glimpse for one pointer.
func glimpse(text []byte, key Pointer) string {
	d := jsontext.NewDecoder(bytes.NewReader(text[:min(len(text), glimpseBytes)]), options...)
	for _, token := range key {
		if d.PeekKind() != '{' {
			return ""
		}
		if _, err := d.ReadToken(); err != nil {
			return ""
		}
		for {
			name, err := d.ReadToken()
			if err != nil || name.Kind() != '"' {
				return ""
			}
			if name.String() == token {
				break
			}
			if d.SkipValue() != nil {
				return ""
			}
		}
	}
	v, err := d.ReadValue()
	// A number at the end of the text may have been longer.
	if err != nil || v[0] != '"' && d.InputOffset() == int64(len(text)) {
		return ""
	}
	id, err := Identity(v)
	if err != nil || len(id) > MaxKey || !utf8.ValidString(id) {
		return ""
	}
	return id
}

// GlimpseName returns the name of a damaged member. text is the intact
// beginning of the member.
func GlimpseName(text []byte) string {
	text = text[:min(len(text), glimpseBytes)]
	d := jsontext.NewDecoder(bytes.NewReader(text), options...)
	if d.PeekKind() != '"' {
		return ""
	}
	v, err := d.ReadValue()
	if end := d.InputOffset(); err != nil || end >= int64(len(text)) || text[end] != ':' {
		return ""
	}
	name := string(unquote(v))
	if len(name) > MaxKey {
		return ""
	}
	return name
}

// Everywhere makes Prune look at all members and elements at any depth.
var Everywhere []Pointer

// Prune returns the compact value v without some members and elements: those
// that one of the pointers names and for which drop returns true.
func Prune(v []byte, ps []Pointer, drop func(value []byte) bool) []byte {
	return prune(make([]byte, 0, len(v)), v, ps, ps == nil, drop)
}

func prune(out, v []byte, ps []Pointer, everywhere bool, drop func([]byte) bool) []byte {
	begin := len(out)
	item := func(prefix []byte, token string, value []byte) {
		rest := descend(ps, token)
		named := everywhere || slices.ContainsFunc(rest, func(p Pointer) bool { return len(p) == 0 })
		if named && drop(value) {
			return
		}
		if len(out) > begin+1 {
			out = append(out, ',')
		}
		out = prune(append(out, prefix...), value, rest, everywhere, drop)
	}
	switch {
	case len(ps) == 0 && !everywhere:
	case v[0] == '{':
		out = append(out, '{')
		last := 1
		eachMember(v, func(name []byte, start, end int) bool {
			item(v[last:start], string(name), v[start:end])
			last = end + 1
			return true
		})
		return append(out, '}')
	case v[0] == '[':
		out = append(out, '[')
		eachElement(v, func(index, start, end int) bool {
			item(nil, strconv.Itoa(index), v[start:end])
			return true
		})
		return append(out, ']')
	}
	return append(out, v...)
}
