package codec

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"hash"
	"hash/maphash"
	"io"
	"slices"
)

// A tap stands between the input and the decoder. The decoder reads ahead, but
// a digest must end at an exact byte. So the tap keeps what it has delivered
// until advance says how much has been parsed. The tap also ends the input
// where a single value becomes too large.
type tap struct {
	source
	n       int64 // bytes that were delivered
	max     int64 // of the whole document
	limit   int64 // of what may be read now
	err     error // the first error of r, or a limit that was reached
	pending []byte
	whole   hash.Hash
	part    *maphash.Hash // of the current collection
}

func newTap(r io.Reader, max int64, buffer int) *tap {
	return &tap{source: source{in: bufio.NewReaderSize(r, buffer)}, max: max, whole: sha256.New()}
}

// allow lets the decoder read up to the offset, including what it reads ahead.
func (t *tap) allow(offset int64) { t.limit = min(offset, t.max) }

func (t *tap) Read(p []byte) (int, error) {
	if t.n >= t.limit {
		t.err = fmt.Errorf("%w: a value of the document is too large (Limits.RecordBytes), or all of it (Limits.TotalBytes)", ErrLimit)
		// A document of exactly the allowed size is at its end here.
		if n, err := t.source.Read(p[:1]); n == 0 && err == io.EOF {
			t.err = nil
			return 0, io.EOF
		}
		return 0, t.err
	}
	n, err := t.source.Read(p[:min(int64(len(p)), t.limit-t.n)])
	t.n += int64(n)
	t.pending = append(t.pending, p[:n]...)
	if err != nil && err != io.EOF {
		t.err = err
	}
	return n, err
}

// advance adds all bytes before the offset to the digests.
func (t *tap) advance(offset int64) {
	k := len(t.pending) - int(t.n-offset)
	t.whole.Write(t.pending[:k])
	if t.part != nil {
		t.part.Write(t.pending[:k])
	}
	t.pending = append(t.pending[:0], t.pending[k:]...)
}

// ahead returns the bytes from the offset on that were delivered.
func (t *tap) ahead(offset int64) []byte { return t.pending[len(t.pending)-int(t.n-offset):] }

// peek returns the next n bytes from the offset on, or fewer if the input ends.
func (t *tap) peek(offset int64, n int) []byte {
	b := t.ahead(offset)
	if have := len(b); have < n {
		b, _ = t.fill(slices.Clone(b), n)
		t.back(b[have:])
	}
	return b
}

// take takes the bytes that were delivered and not parsed, and appends them to
// dst. The next byte is the one at the offset.
func (t *tap) take(dst []byte, offset int64) []byte {
	t.advance(offset)
	t.n = offset
	dst = append(dst, t.pending...)
	t.pending = t.pending[:0]
	return dst
}

// A source is the input. It can take back what was read too far.
type source struct {
	in    *bufio.Reader
	ahead []byte // read, and taken back from index at
	at    int
	err   error // of in, told behind what was taken back
}

func (s *source) Read(p []byte) (int, error) {
	if s.at < len(s.ahead) {
		n := copy(p, s.ahead[s.at:])
		s.at += n
		return n, nil
	}
	if s.err != nil {
		return 0, s.err
	}
	return s.in.Read(p)
}

// fill appends bytes of the input to b until it has size bytes, or the input
// ends. It tells whether it has them. An error stays for Read.
func (s *source) fill(b []byte, size int) ([]byte, bool) {
	b = slices.Grow(b, max(0, size-len(b)))
	for empty := 0; len(b) < size; {
		n, err := s.Read(b[len(b):size])
		b = b[:len(b)+n]
		if n > 0 {
			empty = 0
		} else if empty++; err == nil && empty == maxEmptyReads {
			err = io.ErrNoProgress
		}
		if err != nil {
			s.err = err
			return b, false
		}
	}
	return b, true
}

// maxEmptyReads is how many reads in a row may give nothing, as in package bufio.
const maxEmptyReads = 100

// back takes back bytes that were read last.
func (s *source) back(b []byte) {
	if s.at < len(b) {
		s.ahead, s.at = append(slices.Clone(b), s.ahead[s.at:]...), 0
		return
	}
	s.at -= len(b)
	copy(s.ahead[s.at:], b)
}
