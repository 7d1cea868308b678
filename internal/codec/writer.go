package codec

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
)

// A Writer writes a snapshot: the header's members, then the collections with a
// record a line, then the integrity line. The first error of the writer
// underneath stays and is returned by every later call.
type Writer struct {
	buf   *bufio.Writer
	hash  hash.Hash
	bytes int64
	close byte // of the open collection: ']' or '}'
	first bool // nothing has been written where the next item goes
}

// NewWriter returns a Writer that has begun the document.
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

// separate ends the item before with a comma and begins a line.
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

// BeginCollection begins a collection, an object if isMap, else an array.
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

// Record writes a compact value; key names it in a map.
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

// Bytes returns how much has been handed to the writer underneath.
func (w *Writer) Bytes() int64 { return w.bytes }

// EndData ends the member "data".
func (w *Writer) EndData() error {
	if !w.first {
		w.buf.WriteByte('\n')
	}
	w.first = false
	return w.buf.WriteByte('}')
}

// Sum returns the SHA-256 of what stands before the next member.
func (w *Writer) Sum() ([]byte, error) {
	w.separate()
	w.first = true
	if err := w.buf.Flush(); err != nil {
		return nil, err
	}
	return w.hash.Sum(nil), nil
}

// End writes the integrity line that line makes from the digest and ends the
// document. It returns the digest.
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
