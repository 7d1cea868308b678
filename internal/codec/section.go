package codec

import (
	"errors"
	"hash/maphash"
	"io"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// A Section is the place of a collection in a snapshot.
type Section struct {
	Name       string
	IsMap      bool
	Start, End int64 // byte offsets of its value
	Count      int64

	compact bool
	seed    maphash.Seed
	parts   []part
}

// A part is how much of a section Records reads at a time: some records, with
// the text between them. Its sum tells whether the file has changed since.
type part struct {
	end int64 // the part begins where the last one ends
	sum uint64
}

// partBytes is the approximate size of a part that has more than one record.
const partBytes = 64 << 10

// Records calls f for the records of a section. f gets the name of a record in
// a map, the compact value and the offset of the value. Name and value are
// valid until f returns. Records reads the text again, and checks each part
// against its sum before f sees any of it. So f gets only what Scan has
// checked.
func (sec *Section) Records(r io.ReaderAt, f func(name string, value []byte, offset int64) error) error {
	var buf, spare []byte
	start := sec.Start
	for _, part := range sec.parts {
		buf = slices.Grow(buf[:0], int(part.end-start))[:part.end-start]
		if n, err := r.ReadAt(buf, start); n < len(buf) && err != io.EOF {
			return err
		} else if n < len(buf) || maphash.Bytes(sec.seed, buf) != part.sum {
			return &Error{Kind: ErrSyntax, Offset: start, Collection: sec.Name, Err: errors.New("the file was changed while it was read")}
		}
		i := 0
		if start == sec.Start {
			i = 1 // after the bracket
		}
		for {
			if i = skipBetween(buf, i); i == len(buf) || buf[i] == ']' || buf[i] == '}' {
				break
			}
			var name string
			if sec.IsMap {
				end := skipString(buf, i)
				name = string(unquote(buf[i:end]))
				i = skipBetween(buf, end)
			}
			end := skipValue(buf, i)
			v := buf[i:end:end]
			if !sec.compact {
				var err error
				if spare, err = jsontext.AppendFormat(spare[:0], v, options...); err != nil {
					return err
				}
				v = spare
			}
			if err := f(name, v, start+int64(i)); err != nil {
				return err
			}
			i = end
		}
		start = part.end
	}
	return nil
}

// skipBetween returns the index behind the white space and punctuation between
// two items.
func skipBetween(b []byte, i int) int {
	for i < len(b) && (b[i] == ',' || b[i] == ':' || b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}
