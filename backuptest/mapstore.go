package backuptest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"reflect"
	"slices"
	"sync"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/fault"
)

// A MapStore is a store in memory: collection → key → JSON value. It is the reference
// implementation of [backup.DataSource] and [backup.Sink]. A test writes it as a
// literal and compares it as a value:
//
//	store := backuptest.MapStore{
//		"servers":  {"a1": `{"id":"a1","name":"nas"}`},
//		"settings": {},
//	}
//
// It knows the collections that are members of the map, also empty collections. The
// name of another collection is an error. Records come in the byte order of their
// keys.
//
// A MapStore is as strict as the rules allow. It overwrites memory that it has lent as
// soon as the loan is over. A caller that breaks a rule of [backup.Writer] gets an
// error.
//
// Several goroutines may call View and Update. A transaction works on a copy of the
// state when it began. If another transaction commits meanwhile, Update calls write
// again. The map itself may be read while no Update runs. Update replaces the map of a
// collection and never changes it, so a map that a test has taken out of the store
// stays as it was.
type MapStore map[string]map[string]string

// mapStores guards the members of every MapStore, because a plain map has no room for
// a lock. Only copying and swapping maps hold it, never code of the caller.
var mapStores sync.RWMutex

func (s MapStore) snapshot() MapStore {
	mapStores.RLock()
	defer mapStores.RUnlock()
	return maps.Clone(s)
}

// Clone returns a copy of s that later Updates of s do not change.
func (s MapStore) Clone() MapStore { return s.snapshot() }

var errOver = errors.New("used after its function returned")

// View implements [backup.DataSource].
func (s MapStore) View(ctx context.Context, read func(backup.Reader) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := fault.Missing("the function read", read); err != nil {
		return err
	}
	r := &mapReader{data: s.snapshot()}
	defer func() { r.over = true }()
	return read(r)
}

type mapReader struct {
	data MapStore
	over bool
}

func (r *mapReader) Records(ctx context.Context, collection string) iter.Seq2[backup.Record, error] {
	return func(yield func(backup.Record, error) bool) {
		records, err := r.data.collection(ctx, collection)
		if err != nil {
			yield(backup.Record{}, err)
			return
		}
		var lent []byte
		defer func() { scribble(lent) }()
		for _, key := range slices.Sorted(maps.Keys(records)) {
			err := ctx.Err()
			if r.over {
				err = fmt.Errorf("reader: %w", errOver)
			}
			if err != nil {
				yield(backup.Record{}, err)
				return
			}
			scribble(lent)
			lent = append(lent[:0], records[key]...)
			if !yield(backup.Record{Key: key, Value: lent}, nil) {
				return
			}
		}
	}
}

func (s MapStore) collection(ctx context.Context, name string) (map[string]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	records, ok := s[name]
	if !ok {
		return nil, fmt.Errorf("unknown collection %q", name)
	}
	return records, nil
}

// scribble overwrites memory, so that a caller who kept it against the rules notices.
func scribble(b []byte) {
	for i := range b {
		b[i] = '#'
	}
}

// Update implements [backup.Sink].
func (s MapStore) Update(ctx context.Context, write func(backup.Writer) error) error {
	if err := fault.Missing("the function write", write); err != nil {
		return err
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		before := s.snapshot()
		w := &mapWriter{data: maps.Clone(before), changed: map[string]bool{}}
		if err := w.run(write); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%w: %w", backup.ErrRolledBack, err)
		}
		if s.commit(before, w) {
			return nil
		}
	}
}

// commit puts the changes of w into s. It returns false, and changes nothing, if s has
// changed since before.
func (s MapStore) commit(before MapStore, w *mapWriter) bool {
	if len(w.changed) == 0 {
		return true
	}
	mapStores.Lock()
	defer mapStores.Unlock()
	for name, records := range s {
		if reflect.ValueOf(records).Pointer() != reflect.ValueOf(before[name]).Pointer() {
			return false
		}
	}
	for name := range w.changed {
		s[name] = w.data[name]
	}
	return true
}

type mapWriter struct {
	data    MapStore
	changed map[string]bool // the collections of data that are copies of the writer
	lent    []backup.Record
	loops   int   // the number of sequences that run
	failed  error // what has ended the transaction before its time
	over    bool
}

func (w *mapWriter) run(write func(backup.Writer) error) error {
	defer func() { w.over = true; w.takeBack() }()
	return write(w)
}

func (w *mapWriter) takeBack() {
	for _, r := range w.lent {
		scribble(r.Value)
	}
	w.lent = nil
}

// ready ends earlier loans of memory, and refuses a call that breaks the rules.
func (w *mapWriter) ready() error {
	if w.over {
		return fmt.Errorf("writer: %w", errOver)
	}
	if w.loops > 0 {
		return errors.New("writer: called inside a loop over Keys or Records; end the loop first")
	}
	w.takeBack()
	return w.failed
}

// begin is the first step of every method that names a collection.
func (w *mapWriter) begin(ctx context.Context, collection string) (map[string]string, error) {
	if err := w.ready(); err != nil {
		return nil, err
	}
	return w.data.collection(ctx, collection)
}

// own returns the collection as a map that w may change.
func (w *mapWriter) own(collection string) map[string]string {
	if !w.changed[collection] {
		records := make(map[string]string, len(w.data[collection]))
		maps.Copy(records, w.data[collection])
		w.data[collection], w.changed[collection] = records, true
	}
	return w.data[collection]
}

func (w *mapWriter) Keys(ctx context.Context, collection string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		records, err := w.begin(ctx, collection)
		if err != nil {
			yield("", err)
			return
		}
		w.loops++
		defer func() { w.loops-- }()
		for key := range records {
			if err := ctx.Err(); err != nil {
				yield("", err)
				return
			}
			if !yield(key, nil) {
				return
			}
		}
	}
}

func (w *mapWriter) Lookup(ctx context.Context, collection string, keys []string) ([]backup.Record, error) {
	records, err := w.begin(ctx, collection)
	if err != nil {
		return nil, err
	}
	seen := make(map[string]bool, len(keys))
	for _, key := range keys {
		if seen[key] {
			return nil, fmt.Errorf("lookup: the key %q is asked for twice", key)
		}
		seen[key] = true
		if value, ok := records[key]; ok {
			w.lent = append(w.lent, backup.Record{Key: key, Value: json.RawMessage(value)})
		}
	}
	return slices.Clone(w.lent), nil
}

func (w *mapWriter) Put(ctx context.Context, collection string, records []backup.Record) error {
	if _, err := w.begin(ctx, collection); err != nil {
		return err
	}
	if err := checkPut(records); err != nil {
		return err
	}
	for _, r := range records {
		w.own(collection)[r.Key] = string(r.Value)
	}
	return nil
}

func checkPut(records []backup.Record) error {
	seen := make(map[string]bool, len(records))
	for _, r := range records {
		switch {
		case r.Key == "":
			return errors.New("put: a record has no key")
		case seen[r.Key]:
			return fmt.Errorf("put: two records with the key %q", r.Key)
		case !json.Valid(r.Value):
			return fmt.Errorf("put: the value of %q is not JSON", r.Key)
		}
		seen[r.Key] = true
	}
	return nil
}

func (w *mapWriter) Delete(ctx context.Context, collection string, keys []string) error {
	records, err := w.begin(ctx, collection)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if _, ok := records[key]; ok {
			delete(w.own(collection), key)
		}
	}
	return nil
}
