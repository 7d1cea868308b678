package codec

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
)

// A Writer writes a snapshot: the members of the header, then the collections
// with one record a line, then the integrity line. After an error of the
// underlying writer, every later call returns that error.
type Writer struct {
	buf   *bufio.Writer
	hash  hash.Hash
	bytes int64
	close byte // of the current collection: ']' or '}'
	first bool // the next item is the first in its place
}

// NewWriter returns a Writer that has written the beginning of the document.
func NewWriter(w io.Writer) *Writer {
	sw := &Writer{hash: sha256.New(), first: true}
	sw.buf = bufio.NewWriterSize(io.MultiWriter(w, sw.hash, (*counter)(&sw.bytes)), 64<<10)
	sw.buf.WriteByte('{')
	return sw
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// separate writes a comma and a line break before every item but the first.
func (w *Writer) separate() {
	if !w.first {
		w.buf.WriteString(",\n")
	}
	w.first = false
}

// Member writes a member of the header.
func (w *Writer) Member(name string, value []byte) error {
	w.separate()
	w.buf.Write(Quote(name))
	w.buf.WriteByte(':')
	_, err := w.buf.Write(value)
	return err
}

// BeginData begins the member "data".
func (w *Writer) BeginData() error {
	w.separate()
	_, err := w.buf.WriteString("\"data\":{\n")
	w.first = true
	return err
}

// BeginCollection begins a collection: an object if isMap, otherwise an array.
func (w *Writer) BeginCollection(name string, isMap bool) error {
	w.separate()
	w.buf.Write(Quote(name))
	open := ":[\n"
	w.close = ']'
	if isMap {
		open, w.close = ":{\n", '}'
	}
	_, err := w.buf.WriteString(open)
	w.first = true
	return err
}

// Record writes a compact value. In a map, key is its name.
func (w *Writer) Record(key string, value []byte) error {
	w.separate()
	if w.close == '}' {
		w.buf.Write(Quote(key))
		w.buf.WriteByte(':')
	}
	_, err := w.buf.Write(value)
	return err
}

// EndCollection ends the collection.
func (w *Writer) EndCollection() error {
	if !w.first {
		w.buf.WriteByte('\n')
	}
	w.first = false
	return w.buf.WriteByte(w.close)
}

// Bytes returns how many bytes the underlying writer has got.
func (w *Writer) Bytes() int64 { return w.bytes }

// EndData ends the member "data".
func (w *Writer) EndData() error {
	if !w.first {
		w.buf.WriteByte('\n')
	}
	w.first = false
	return w.buf.WriteByte('}')
}

// Sum returns the SHA-256 of all that comes before the next member.
func (w *Writer) Sum() ([]byte, error) {
	w.separate()
	w.first = true
	if err := w.buf.Flush(); err != nil {
		return nil, err
	}
	return w.hash.Sum(nil), nil
}

// End writes the integrity line and ends the document. line makes the line from
// the digest, which End returns.
func (w *Writer) End(line func(sha256 string) []byte) (string, error) {
	digest, err := w.Sum()
	if err != nil {
		return "", err
	}
	sum := hex.EncodeToString(digest)
	w.Member("integrity", line(sum))
	w.buf.WriteString("\n}\n")
	return sum, w.buf.Flush()
}
