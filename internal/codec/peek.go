package codec

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// Peek reads the two ends of a snapshot and not what lies between: the members
// before "data", and of one that ends as it is written, the lines behind. It
// returns them like [Document.Members], and whether the end is as written. The
// members are checked as Scan does; if the rest is whole, only Scan can tell.
func Peek(r io.ReaderAt, size int64, version func(value []byte) error) (members map[string][]byte, ended bool, err error) {
	s := &scanner{hooks: Hooks{Version: version}, doc: &Document{Members: map[string][]byte{}}, peek: true}
	s.in = &tap{r: bufio.NewReaderSize(io.NewSectionReader(r, 0, size), 4<<10), max: size, whole: sha256.New()}
	s.dec = jsontext.NewDecoder(s.in, strict...)
	if err := s.document(); !errors.Is(err, errPeeked) {
		if err == nil {
			err = layoutError(`it has no member "data"`)
		}
		return nil, false, s.wrap(err)
	}
	ended, err = s.tail(r, size)
	return s.doc.Members, ended, err
}

// errPeeked ends document at the data.
var errPeeked = errors.New("peeked")

// tail reads the lines behind the data and tells whether the last of them is
// "integrity" and all is as written.
func (s *scanner) tail(r io.ReaderAt, size int64) (bool, error) {
	// Three lines of members, and a line that ends a collection before them.
	for n := int64(4 << 10); ; n *= 8 {
		n = min(n, size)
		buf := make([]byte, n)
		if read, err := r.ReadAt(buf, size-n); int64(read) < n {
			return false, err
		}
		rest, ok := bytes.CutSuffix(buf, []byte("\n}\n"))
		if !ok {
			return false, nil
		}
		lines := bytes.Split(rest, []byte("\n"))
		if len(lines) < 4 { // the first may have been cut
			if n == size || n > 3*HeaderBytes {
				return false, nil
			}
			continue
		}
		last := len(lines) - 1
		if !s.line("integrity", lines[last]) {
			return false, nil
		}
		if s.line("proof", bytes.TrimSuffix(lines[last-1], []byte(","))) {
			last--
		}
		s.line("left_out", bytes.TrimSuffix(lines[last-1], []byte(",")))
		return true, nil
	}
}

// line takes a member that stands on a line of its own, as it was written.
func (s *scanner) line(name string, line []byte) bool {
	if !bytes.HasPrefix(line, []byte(`"`+name+`":`)) || s.doc.Members[name] != nil {
		return false
	}
	_, value, err := HeaderMember(line)
	if err != nil {
		return false
	}
	s.doc.Members[name] = value
	return true
}
