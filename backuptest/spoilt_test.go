package backuptest

import (
	"bytes"
	"context"
	"iter"

	"github.com/tomo-project/backup"
)

// A spoilt store is a MapStore with another reader, writer or method.
type spoilt struct {
	MapStore
	reader func(backup.Reader) backup.Reader
	writer func(backup.Writer) backup.Writer
	view   func(context.Context, func(backup.Reader) error) error
	update func(context.Context, func(backup.Writer) error) error
}

func (s *spoilt) View(ctx context.Context, read func(backup.Reader) error) error {
	if s.view != nil {
		return s.view(ctx, read)
	}
	return s.MapStore.View(ctx, func(r backup.Reader) error {
		if s.reader != nil {
			r = s.reader(r)
		}
		return read(r)
	})
}

func (s *spoilt) Update(ctx context.Context, write func(backup.Writer) error) error {
	if s.update != nil {
		return s.update(ctx, write)
	}
	return s.MapStore.Update(ctx, func(w backup.Writer) error {
		if s.writer != nil {
			w = s.writer(w)
		}
		return write(w)
	})
}

// direct returns a Writer that writes at once, outside of the transaction.
func (s *spoilt) direct(w backup.Writer) backup.Writer {
	return writer{Writer: w, put: func(ctx context.Context, c string, records []backup.Record) error {
		return s.MapStore.Update(ctx, func(w backup.Writer) error { return w.Put(ctx, c, records) })
	}, delete: func(ctx context.Context, c string, keys []string) error {
		return s.MapStore.Update(ctx, func(w backup.Writer) error { return w.Delete(ctx, c, keys) })
	}}
}

type reader func(ctx context.Context, collection string) iter.Seq2[backup.Record, error]

func (r reader) Records(ctx context.Context, collection string) iter.Seq2[backup.Record, error] {
	return r(ctx, collection)
}

// A writer is a Writer with other methods. A nil function leaves its method alone.
type writer struct {
	backup.Writer
	keys   func(ctx context.Context, collection string) iter.Seq2[string, error]
	lookup func(ctx context.Context, collection string, keys []string) ([]backup.Record, error)
	put    func(ctx context.Context, collection string, records []backup.Record) error
	delete func(ctx context.Context, collection string, keys []string) error
}

func (w writer) Keys(ctx context.Context, c string) iter.Seq2[string, error] {
	if w.keys != nil {
		return w.keys(ctx, c)
	}
	return w.Writer.Keys(ctx, c)
}

func (w writer) Lookup(ctx context.Context, c string, keys []string) ([]backup.Record, error) {
	if w.lookup != nil {
		return w.lookup(ctx, c, keys)
	}
	return w.Writer.Lookup(ctx, c, keys)
}

func (w writer) Put(ctx context.Context, c string, records []backup.Record) error {
	if w.put != nil {
		return w.put(ctx, c, records)
	}
	return w.Writer.Put(ctx, c, records)
}

func (w writer) Delete(ctx context.Context, c string, keys []string) error {
	if w.delete != nil {
		return w.delete(ctx, c, keys)
	}
	return w.Writer.Delete(ctx, c, keys)
}

// gather returns the records of a sequence.
func gather(seq iter.Seq2[backup.Record, error]) []backup.Record {
	var rs []backup.Record
	for r, err := range seq {
		if err == nil {
			rs = append(rs, backup.Record{Key: r.Key, Value: bytes.Clone(r.Value)})
		}
	}
	return rs
}

// yieldAll returns a sequence of records without an error.
func yieldAll(rs []backup.Record) iter.Seq2[backup.Record, error] {
	return func(yield func(backup.Record, error) bool) {
		for _, r := range rs {
			if !yield(r, nil) {
				return
			}
		}
	}
}
