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

// What is left of a damaged snapshot is read line by line: in the layout as
// written each record, each member of the header and each bracket around the
// records has one of its own.

// A Line is a line of a file that need not be a snapshot any more.
type Line struct {
	Text        []byte // without its line feed; valid until the next line
	Offset, End int64  // End lies behind the line feed
	Ended       bool   // there is a line feed
	Cut         bool   // the line is longer than the limit, and Text is its beginning
}

// Lines calls f for each line of r. Of a line longer than limit no more than
// that is held in memory.
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

// Trim takes off what may follow a record on its line: a comma, and the white
// space that a conversion of line ends leaves.
func Trim(text []byte) []byte {
	text = bytes.TrimRight(text, " \t\r")
	return bytes.TrimRight(bytes.TrimSuffix(text, []byte(",")), " \t\r")
}

// Member appends the one member of an object that text is, compact, to dst and
// returns its name and the part that is its value.
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
		err = tooLong(l.RecordBytes)
	default:
		_, err = checkValue(value, l)
	}
	return name, value, out, err
}

// HeaderMember reads a line outside of the records as Member does.
func HeaderMember(text []byte) (name string, value []byte, err error) {
	if len(text) > HeaderBytes+maxName {
		return "", nil, tooLong(HeaderBytes)
	}
	l := header
	l.RecordBytes = HeaderBytes
	name, value, _, err = Member(nil, text, l)
	return name, value, err
}

// glimpseBytes is how far into a damaged line its key is looked for.
const glimpseBytes = 64 << 10

// glimpse returns the identity at one pointer in such an object.
func glimpse(text []byte, key Pointer) string {
	d := jsontext.NewDecoder(bytes.NewReader(text[:min(len(text), glimpseBytes)]), trusted...)
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
	// A number that ends where the text does may have gone on.
	if err != nil || v[0] != '"' && d.InputOffset() == int64(len(text)) {
		return ""
	}
	id, err := Identity(v)
	if err != nil || len(id) > MaxKey || !utf8.ValidString(id) {
		return ""
	}
	return id
}

// GlimpseName returns the name of the member that text is the beginning of.
func GlimpseName(text []byte) string {
	text = text[:min(len(text), glimpseBytes)]
	d := jsontext.NewDecoder(bytes.NewReader(text), trusted...)
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

// Everywhere has Prune look at all members and elements, at any depth.
var Everywhere []Pointer

// Prune returns the compact value v without the members and elements that one
// of the pointers names and drop agrees to.
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
