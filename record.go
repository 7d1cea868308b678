package backup

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/fault"
)

// What backup and restore share: records in batches, and their checks against the
// declaration.

// An item is a record on its way through the library.
type item struct {
	key    string
	value  []byte // compact
	offset int64  // of the record in the snapshot, or -1
}

// A batch is a number of items whose values share one buffer.
type batch struct {
	items []item
	buf   []byte
}

// A batch is full with batchSize records or batchBytes bytes. A single record may
// be larger.
const (
	batchSize  = 256
	batchBytes = 1 << 20
)

// add takes a copy of a record of the host, and checks that it is JSON within the
// limits.
func (b *batch) add(r Record, l codec.Limits) error {
	start := len(b.buf)
	buf, err := codec.Compact(b.buf, r.Value, l)
	if err != nil {
		return err
	}
	b.buf = buf
	b.items = append(b.items, item{r.Key, buf[start:len(buf):len(buf)], -1})
	return nil
}

// addItem takes a copy of an item that is compact JSON already.
func (b *batch) addItem(r item) {
	start := len(b.buf)
	b.buf = append(b.buf, r.value...)
	b.items = append(b.items, item{r.key, b.buf[start:len(b.buf):len(b.buf)], r.offset})
}

func (b *batch) keys() []string {
	keys := make([]string, len(b.items))
	for i, r := range b.items {
		keys[i] = r.key
	}
	return keys
}

func (b *batch) full() bool { return len(b.items) >= batchSize || len(b.buf) >= batchBytes }

// keep drops the items for which f returns false.
func (b *batch) keep(f func(*item) (bool, error)) error {
	kept := b.items[:0]
	for _, r := range b.items {
		ok, err := f(&r)
		if err != nil {
			return err
		}
		if ok {
			kept = append(kept, r)
		}
	}
	b.items = kept
	return nil
}

func (b *batch) reset() {
	b.items = b.items[:0]
	if b.buf = b.buf[:0]; cap(b.buf) > 4*batchBytes {
		b.buf = nil
	}
}

// inspect examines a record. If nothing is wrong it remembers the key and the
// references in seen.
func (col *collection) inspect(r *item, seen *seen) []*RecordError {
	if found := col.examine(r); len(found) > 0 {
		return found
	}
	if !seen.keys[col.Name].Add(r.key) {
		return []*RecordError{col.problem(r, "", errors.New("another record has the same key"))}
	}
	seen.addRefs(col, r)
	return nil
}

// examine checks a record against the declaration of its collection, and sets its
// key.
func (col *collection) examine(r *item) []*RecordError {
	key, err := col.identity(r)
	if err != nil {
		return []*RecordError{col.problem(r, col.Key, err)}
	}
	r.key = key
	view := col.view(r.key, r.value)
	var found []*RecordError
	if col.schema != nil {
		for _, p := range col.schema.Validate(codec.Decode(view)) {
			found = append(found, col.problem(r, p.Pointer, errors.New(fault.Shorten(p.Message))))
		}
	}
	col.eachRef(view, func(_, _, pointer string, err error) {
		if err != nil {
			found = append(found, col.problem(r, pointer, err))
		}
	})
	return found
}

// identity returns the key of a record. In a List it derives the key from the
// value.
func (col *collection) identity(r *item) (key string, err error) {
	key = r.key
	switch {
	case col.Shape != Map && r.value[0] != '{':
		err = errors.New("the record is not an object")
	case col.Shape != Map:
		key, err = col.key.Of(r.value)
	case key == "":
		err = errors.New("the key is empty")
	case !utf8.ValidString(key):
		err = errors.New("the key is not UTF-8")
	}
	if err == nil && len(key) > codec.MaxKey {
		err = fmt.Errorf("%w: the key has %d bytes, the most is %d", ErrLimit, len(key), codec.MaxKey)
	}
	if err != nil {
		return "", err
	}
	return key, nil
}

// eachRef calls f for every reference of a record. The error says that the value of
// the reference cannot be a key.
func (col *collection) eachRef(view []byte, f func(target, key, pointer string, err error)) {
	for _, r := range col.refs {
		if len(r.key) > 1 {
			if key, ok, err := r.key.Reference(view); ok || err != nil {
				f(r.Collection, key, r.Pointer, r.describe(err))
			}
			continue
		}
		codec.Find(view, r.key, func(pointer string, start, end int) error {
			if string(view[start:end]) == "null" {
				return nil
			}
			key, err := codec.Identity(view[start:end])
			f(r.Collection, key, pointer, r.describe(err))
			return nil
		})
	}
}

// describe says which reference an error is about. It returns nil for nil.
func (r *ref) describe(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("reference to %s: %w", r.Collection, err)
}

// problem makes an error of what is wrong at a pointer into the view of a record. Many
// problems are kept, so a pointer that is longer than any key is cut.
func (col *collection) problem(r *item, pointer string, err error) *RecordError {
	return &RecordError{Collection: col.Name, Key: r.key, Pointer: cut(col.inside(r.key, pointer)), Offset: r.offset, Err: err}
}

func cut(pointer string) string {
	if len(pointer) > codec.MaxKey {
		return fault.Shorten(pointer)
	}
	return pointer
}
