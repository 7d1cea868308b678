package backuptest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/fault"
)

// A Call is a kind of call at which a [Faulty] or a [FaultyLocation] can fail.
type Call string

const (
	CallView    Call = "view"    // DataSource.View, before anything is read
	CallRecords Call = "records" // before each record of a sequence, and before its end
	CallUpdate  Call = "update"  // Sink.Update, before write is called
	CallKeys    Call = "keys"    // before each key of a sequence, and before its end
	CallLookup  Call = "lookup"
	CallPut     Call = "put"
	CallDelete  Call = "delete"
	CallSettle  Call = "settle" // of a Writer that has it
	CallCommit  Call = "commit" // after write has returned nil; an error rolls the transaction back
)

// Calls are the calls that every store has, for table tests. CallSettle is not among
// them.
var Calls = []Call{CallView, CallRecords, CallUpdate, CallKeys, CallLookup, CallPut, CallDelete, CallCommit}

// A Faulty is a store that passes its calls on to another store, and fails at one of
// them: the Nth call of the kind On. Before this call it runs Do, if Do is set. Then
// the call returns Err. If Err is nil, the call goes on as usual: use this to cancel
// a context or to inspect something in the middle of an operation.
//
//	source := &backuptest.Faulty{Source: store, On: backuptest.CallRecords, Nth: 3, Err: io.ErrUnexpectedEOF}
//
// To test a failure at every call, count Nth up until Reached returns false.
type Faulty struct {
	Source backup.DataSource // what View reads
	Sink   backup.Sink       // what Update changes

	On  Call
	Nth int // from 1; 0 never fails
	Err error
	Do  func()

	count atomic.Int64
}

// Reached reports whether the Nth call of the kind On was made.
func (f *Faulty) Reached() bool { return f.Nth > 0 && f.count.Load() >= int64(f.Nth) }

// Count returns how many calls of the kind On were made.
func (f *Faulty) Count() int { return int(f.count.Load()) }

func (f *Faulty) at(call Call) error {
	if call != f.On || f.count.Add(1) != int64(f.Nth) {
		return nil
	}
	if f.Do != nil {
		f.Do()
	}
	return f.Err
}

// View implements [backup.DataSource].
func (f *Faulty) View(ctx context.Context, read func(backup.Reader) error) error {
	if f == nil {
		return fault.Missing("the Faulty", f)
	}
	if err := cmp.Or(fault.Missing("the Source of the Faulty", f.Source), fault.Missing("the function read", read)); err != nil {
		return err
	}
	if err := f.at(CallView); err != nil {
		return err
	}
	return f.Source.View(ctx, func(r backup.Reader) error { return read(faultyReader{f, r}) })
}

type faultyReader struct {
	f *Faulty
	r backup.Reader
}

func (r faultyReader) Records(ctx context.Context, collection string) iter.Seq2[backup.Record, error] {
	return steps(r.f, CallRecords, r.r.Records(ctx, collection))
}

// steps passes a sequence on until f is to fail at one of its steps.
func steps[T any](f *Faulty, call Call, seq iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		for v, err := range seq {
			if fault := f.at(call); fault != nil {
				yield(none, fault)
				return
			}
			if !yield(v, err) {
				return
			}
		}
		if fault := f.at(call); fault != nil {
			yield(none, fault)
		}
	}
}

// Update implements [backup.Sink].
func (f *Faulty) Update(ctx context.Context, write func(backup.Writer) error) error {
	if f == nil {
		return fault.Missing("the Faulty", f)
	}
	if err := cmp.Or(fault.Missing("the Sink of the Faulty", f.Sink), fault.Missing("the function write", write)); err != nil {
		return err
	}
	if err := f.at(CallUpdate); err != nil {
		return err
	}
	return f.Sink.Update(ctx, func(w backup.Writer) error {
		var faulty backup.Writer = faultyWriter{f, w}
		if r, ok := w.(backup.Reader); ok {
			faulty = faultyReadingWriter{faultyWriter{f, w}, faultyReader{f, r}}
		}
		if err := write(faulty); err != nil {
			return err
		}
		return f.at(CallCommit)
	})
}

// A faultyReadingWriter passes on a Writer that is a Reader.
type faultyReadingWriter struct {
	faultyWriter
	faultyReader
}

type faultyWriter struct {
	f *Faulty
	w backup.Writer
}

func (w faultyWriter) Keys(ctx context.Context, collection string) iter.Seq2[string, error] {
	return steps(w.f, CallKeys, w.w.Keys(ctx, collection))
}

func (w faultyWriter) Lookup(ctx context.Context, collection string, keys []string) ([]backup.Record, error) {
	if err := w.f.at(CallLookup); err != nil {
		return nil, err
	}
	return w.w.Lookup(ctx, collection, keys)
}

func (w faultyWriter) Put(ctx context.Context, collection string, records []backup.Record) error {
	if err := w.f.at(CallPut); err != nil {
		return err
	}
	return w.w.Put(ctx, collection, records)
}

func (w faultyWriter) Delete(ctx context.Context, collection string, keys []string) error {
	if err := w.f.at(CallDelete); err != nil {
		return err
	}
	return w.w.Delete(ctx, collection, keys)
}

// Where the Writer does not have an optional method, nothing is what it would do. An
// unknown collection is an error all the same.

func (w faultyWriter) Settle(ctx context.Context) error {
	s, ok := w.w.(settler)
	if !ok {
		return nil
	}
	if err := w.f.at(CallSettle); err != nil {
		return err
	}
	return s.Settle(ctx)
}

func (w faultyWriter) Effects(ctx context.Context, collection string) ([]string, error) {
	if e, ok := w.w.(effector); ok {
		return e.Effects(ctx, collection)
	}
	_, err := w.w.Lookup(ctx, collection, nil)
	return nil, err
}

func (w faultyWriter) Parents(ctx context.Context, collection string) ([]string, error) {
	if p, ok := w.w.(parenter); ok {
		return p.Parents(ctx, collection)
	}
	_, err := w.w.Lookup(ctx, collection, nil)
	return nil, err
}

func (w faultyWriter) Normalize(ctx context.Context, collection string, records []backup.Record) error {
	if n, ok := w.w.(normalizer); ok {
		return n.Normalize(ctx, collection, records)
	}
	return nil
}

func (w faultyWriter) NewKeys(ctx context.Context, collection string, n int) ([]string, error) {
	if k, ok := w.w.(numberer); ok {
		return k.NewKeys(ctx, collection, n)
	}
	if _, err := w.w.Lookup(ctx, collection, nil); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("the store numbers no keys: %w", errors.ErrUnsupported)
}

func (w faultyWriter) AllowDangling(allow bool) {
	if d, ok := w.w.(dangler); ok {
		d.AllowDangling(allow)
	}
}
