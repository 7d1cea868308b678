package joined

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/tomo-project/backup"
)

func unknown(collection string) error {
	return fmt.Errorf("joined: unknown collection %q", collection)
}

// A reader reads collections in the part that has them.
type reader struct {
	of    map[string]int
	parts []backup.Reader
}

// Records implements [backup.Reader].
func (r reader) Records(ctx context.Context, collection string) iter.Seq2[backup.Record, error] {
	i, ok := r.of[collection]
	if !ok {
		return func(yield func(backup.Record, error) bool) { yield(backup.Record{}, unknown(collection)) }
	}
	return r.parts[i].Records(ctx, collection)
}

// Normalize lets the part of the collection set records to the form that it shows.
func (r reader) Normalize(ctx context.Context, collection string, records []backup.Record) error {
	i, ok := r.of[collection]
	if !ok {
		return unknown(collection)
	}
	return normalize(ctx, r.parts[i], collection, records)
}

func normalize(ctx context.Context, part any, collection string, records []backup.Record) error {
	if n, ok := part.(normalizer); ok {
		return n.Normalize(ctx, collection, records)
	}
	return nil
}

// Optional methods of a Writer.
type (
	normalizer interface {
		Normalize(ctx context.Context, collection string, records []backup.Record) error
	}
	settler interface {
		Settle(ctx context.Context) error
	}
	effector interface {
		Effects(ctx context.Context, collection string) ([]string, error)
	}
	parented interface {
		Parents(ctx context.Context, collection string) ([]string, error)
	}
	tolerant interface{ AllowDangling(allow bool) }
	numberer interface {
		NewKeys(ctx context.Context, collection string, n int) ([]string, error)
	}
)

// A writer changes collections in the part that has them.
type writer struct {
	of      map[string]int
	parts   []backup.Writer
	failed  error // the first failure; nothing is committed after it
	settled bool  // nothing has changed since all parts have settled
}

// A readingWriter is a writer whose parts are all Readers.
type readingWriter struct {
	*writer
	reader reader
}

// whole returns w with the methods that all parts have.
func (w *writer) whole() backup.Writer {
	r := reader{of: w.of}
	for _, part := range w.parts {
		if reads, ok := part.(backup.Reader); ok {
			r.parts = append(r.parts, reads)
		}
	}
	if len(r.parts) < len(w.parts) {
		return w
	}
	return readingWriter{w, r}
}

// Records implements [backup.Reader] with what the transaction sees.
func (w readingWriter) Records(ctx context.Context, collection string) iter.Seq2[backup.Record, error] {
	return watch(w.writer, w.reader.Records(ctx, collection))
}

func (w *writer) fail(err error) error {
	if w.failed == nil {
		w.failed = err
	}
	return err
}

// watch passes a sequence on, and notes its failure.
func watch[T any](w *writer, seq iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for v, err := range seq {
			if err != nil {
				_ = w.fail(err)
			}
			if !yield(v, err) {
				return
			}
		}
	}
}

func (w *writer) part(collection string) (backup.Writer, error) {
	i, ok := w.of[collection]
	if !ok {
		return nil, w.fail(unknown(collection))
	}
	return w.parts[i], nil
}

// Keys implements [backup.Writer].
func (w *writer) Keys(ctx context.Context, collection string) iter.Seq2[string, error] {
	part, err := w.part(collection)
	if err != nil {
		return func(yield func(string, error) bool) { yield("", err) }
	}
	return watch(w, part.Keys(ctx, collection))
}

// Lookup implements [backup.Writer].
func (w *writer) Lookup(ctx context.Context, collection string, keys []string) ([]backup.Record, error) {
	part, err := w.part(collection)
	if err != nil {
		return nil, err
	}
	found, err := part.Lookup(ctx, collection, keys)
	return found, w.fail(err)
}

// Put implements [backup.Writer].
func (w *writer) Put(ctx context.Context, collection string, records []backup.Record) error {
	part, err := w.part(collection)
	if err != nil {
		return err
	}
	w.settled = false
	return w.fail(part.Put(ctx, collection, records))
}

// Delete implements [backup.Writer].
func (w *writer) Delete(ctx context.Context, collection string, keys []string) error {
	part, err := w.part(collection)
	if err != nil {
		return err
	}
	w.settled = false
	return w.fail(part.Delete(ctx, collection, keys))
}

// Settle settles every part. It fails if another call has failed.
func (w *writer) Settle(ctx context.Context) error {
	if w.failed != nil || w.settled {
		return w.failed
	}
	for _, part := range w.parts {
		if s, ok := part.(settler); ok {
			if err := s.Settle(ctx); err != nil {
				return w.fail(err)
			}
		}
	}
	w.settled = true
	return nil
}

// Effects returns those that the part of the collection names.
func (w *writer) Effects(ctx context.Context, collection string) ([]string, error) {
	part, err := w.part(collection)
	if err != nil {
		return nil, err
	}
	if e, ok := part.(effector); ok {
		effects, err := e.Effects(ctx, collection)
		return effects, w.fail(err)
	}
	return nil, nil
}

// Parents returns those that the part of the collection names.
func (w *writer) Parents(ctx context.Context, collection string) ([]string, error) {
	part, err := w.part(collection)
	if err != nil {
		return nil, err
	}
	if p, ok := part.(parented); ok {
		parents, err := p.Parents(ctx, collection)
		return parents, w.fail(err)
	}
	return nil, nil
}

// Normalize lets the part of the collection set records to the form that it shows.
func (w *writer) Normalize(ctx context.Context, collection string, records []backup.Record) error {
	part, err := w.part(collection)
	if err != nil {
		return err
	}
	if err := normalize(ctx, part, collection, records); err != nil {
		return w.fail(err)
	}
	return nil
}

// NewKeys returns those of the part of the collection. A part that numbers no keys says so,
// and goes on.
func (w *writer) NewKeys(ctx context.Context, collection string, n int) ([]string, error) {
	part, err := w.part(collection)
	if err != nil {
		return nil, err
	}
	numbers, ok := part.(numberer)
	if !ok {
		return nil, fmt.Errorf("joined: the store of the collection %q numbers no keys: %w", collection, errors.ErrUnsupported)
	}
	keys, err := numbers.NewKeys(ctx, collection, n)
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return nil, w.fail(err)
	}
	return keys, err
}

// AllowDangling tells every part that can allow it.
func (w *writer) AllowDangling(allow bool) {
	for _, part := range w.parts {
		if t, ok := part.(tolerant); ok {
			t.AllowDangling(allow)
		}
	}
}
