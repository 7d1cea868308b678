// Package stream has readers and writers that limit others, or end with a context.
package stream

import (
	"context"
	"io"
)

// WithContext returns a reader of r that fails with the error of ctx once ctx is done.
func WithContext(ctx context.Context, r io.Reader) io.Reader { return ctxReader{ctx, r} }

type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (r ctxReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// A Reader counts the bytes that it reads from R. Beyond Most bytes it fails with
// TooMuch.
type Reader struct {
	R       io.Reader
	Most    int64
	TooMuch error

	N int64 // bytes read so far
}

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	n, err := r.R.Read(p)
	if r.N += int64(n); r.N > r.Most && (err == nil || err == io.EOF) {
		return 0, r.TooMuch
	}
	return n, err
}

// A Writer counts the bytes that it writes to W. A write that would go beyond Most
// bytes writes nothing, and fails with TooMuch.
type Writer struct {
	W       io.Writer
	Most    int64
	TooMuch error

	N int64 // bytes written so far
}

// Write implements io.Writer.
func (w *Writer) Write(p []byte) (int, error) {
	if w.N+int64(len(p)) > w.Most {
		return 0, w.TooMuch
	}
	n, err := w.W.Write(p)
	w.N += int64(n)
	return n, err
}
