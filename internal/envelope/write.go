package envelope

import (
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/tomo-project/backup/internal/fault"
)

// An Encrypter returns a writer that encrypts to w, as backup.Encrypter does.
type Encrypter interface {
	Encrypt(w io.Writer) (io.WriteCloser, error)
}

// NewWriter returns a writer that compresses, then encrypts, and writes to w. An empty
// compress does not compress, and a nil Encrypter does not encrypt. Close completes
// the file and does not close w.
func NewWriter(w io.Writer, compress string, e Encrypter) (io.WriteCloser, error) {
	if err := CheckCompression(compress); err != nil {
		return nil, err
	}
	var out layers
	if e != nil {
		checked := &ageOnly{w: w}
		encrypted, err := e.Encrypt(checked)
		if err != nil {
			return nil, fmt.Errorf("encrypt the file: %w", err)
		}
		out, w = append(out, checked, encrypted), encrypted
	}
	switch compress {
	case Gzip:
		compressed := gzip.NewWriter(w)
		out = append(out, compressed)
	case Zstd:
		// With a concurrency of 1 the encoder starts no goroutine.
		compressed, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		out = append(out, compressed)
	}
	if len(out) == 0 {
		return nopCloser{w}, nil
	}
	return out, nil
}

// layers are writers, each of which writes to the one before it.
type layers []io.WriteCloser

func (l layers) Write(p []byte) (int, error) { return l[len(l)-1].Write(p) }

func (l layers) Close() error {
	for i := len(l) - 1; i >= 0; i-- {
		if err := l[i].Close(); err != nil {
			return err
		}
	}
	return nil
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// An ageOnly refuses a file that no reader would recognize as an encrypted one.
type ageOnly struct {
	w    io.Writer
	head []byte
	seen bool // the file begins as an age file
}

var errNotAge = fmt.Errorf("%w: what the Encrypter writes is no age file", fault.ErrInvalid)

// Close implements io.Closer.
func (a *ageOnly) Close() error {
	if !a.seen {
		return errNotAge
	}
	return nil
}

// Write implements io.Writer.
func (a *ageOnly) Write(p []byte) (int, error) {
	if a.seen {
		return a.w.Write(p)
	}
	if a.head = append(a.head, p...); len(a.head) < SniffBytes {
		return len(p), nil
	}
	if !Sniff(a.head).Encrypted || CheckAge(a.head) != nil {
		return 0, errNotAge
	}
	head := a.head
	a.head, a.seen = nil, true
	if _, err := a.w.Write(head); err != nil {
		return 0, err
	}
	return len(p), nil
}

// KeyIDs names the keys that open the files of an Encrypter, if it says so.
func KeyIDs(e any) []string {
	if named, ok := e.(interface{ KeyIDs() []string }); ok {
		return named.KeyIDs()
	}
	return nil
}
