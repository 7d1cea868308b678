package codec

import (
	"bytes"
	"errors"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// Peek reads both ends of a snapshot, but not the data between them. It returns
// the members before "data" and, if the end is as the Writer writes it, the
// members after it. ended tells whether it is. The members are checked as in
// Scan. Only Scan can tell whether the rest is intact.
func Peek(r io.ReaderAt, size int64, version func(value []byte) error) (members map[string][]byte, ended bool, err error) {
	s := &scanner{hooks: Hooks{Version: version}, doc: &Document{Members: map[string][]byte{}}, peek: true}
	s.in = newTap(io.NewSectionReader(r, 0, size), size, 4<<10)
	s.dec = jsontext.NewDecoder(s.in, options...)
	if err := s.document(); !errors.Is(err, errPeeked) {
		if err == nil {
			err = layoutError(`it has no member "data"`)
		}
		return nil, false, s.wrap(err)
	}
	ended, err = s.tail(r, size)
	return s.doc.Members, ended, err
}

// errPeeked stops document before the data.
var errPeeked = errors.New("peeked")

// tail reads the members after the data. It tells whether the end is as written
// and "integrity" is the last line.
func (s *scanner) tail(r io.ReaderAt, size int64) (bool, error) {
	// There are up to three lines of members, and a line before them that ends
	// a collection.
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
		if len(lines) < 4 { // the first line may be cut off
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

// line adds a member that has a line of its own, if it is as written.
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
