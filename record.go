package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/fault"
	"github.com/tomo-project/backup/internal/keyset"
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

// seen remembers the keys of all records so far, and the references to keys that
// had not come yet.
type seen struct {
	keys map[string]*keyset.Set // of the collections that take part

	open    []openRef
	bytes   int  // that open takes, about
	swept   int  // bytes after open was swept last
	bounded bool // open is given up when it takes more than maxOpenBytes
	over    bool // open was given up
}

// maxOpenBytes is how much memory the references in a snapshot may take that have not
// come yet. If they take more, the snapshot is read again when all keys are known.
const maxOpenBytes = 8 << 20

type openRef struct {
	from        *collection
	key         string
	offset      int64
	pointer     string
	target, ref string
}

func newSeen(collections []*collection) *seen {
	s := &seen{keys: make(map[string]*keyset.Set)}
	for _, col := range collections {
		s.keys[col.Name] = keyset.New()
	}
	return s
}

// addRefs remembers the references of a record to collections that take part.
func (s *seen) addRefs(col *collection, r *item) {
	view := col.view(r.key, r.value)
	col.eachRef(view, func(target, ref, pointer string, err error) {
		if keys := s.keys[target]; err == nil && keys != nil && !keys.Has(ref) && !s.over {
			s.add(openRef{col, r.key, r.offset, col.inside(r.key, pointer), target, ref})
		}
	})
}

// add adds a reference. From time to time it drops those whose target has come since.
func (s *seen) add(o openRef) {
	s.open = append(s.open, o)
	if s.bytes += o.bytes(); s.bytes < maxOpenBytes || s.bytes < 2*s.swept {
		return
	}
	s.bytes = 0
	s.open = slices.DeleteFunc(s.open, func(o openRef) bool {
		came := s.keys[o.target].Has(o.ref)
		if !came {
			s.bytes += o.bytes()
		}
		return came
	})
	if s.swept = s.bytes; s.bounded && s.bytes > maxOpenBytes/2 {
		s.open, s.over = nil, true
	}
}

// bytes returns about how much memory a reference takes.
func (o openRef) bytes() int { return 128 + len(o.key) + len(o.pointer) + len(o.ref) }

// dangling returns the references whose target never came.
func (s *seen) dangling(tolerate bool) *problems {
	p := &problems{tolerate: tolerate}
	for _, o := range s.open {
		if keys := s.keys[o.target]; keys == nil || keys.Has(o.ref) {
			continue
		}
		if p.add(o.problem()) != nil {
			break
		}
	}
	return p
}

// dangling returns the references in the snapshot that point to no record there.
func (in *incoming) dangling(ctx context.Context) (*problems, error) {
	if !in.seen.over {
		return in.seen.dangling(in.opts.AllowDangling), nil
	}
	p := &problems{tolerate: in.opts.AllowDangling}
	for _, col := range in.collections {
		if len(col.refs) == 0 {
			continue
		}
		err := in.eachBatch(ctx, col, func(b *batch) (err error) {
			for i := range b.items {
				r := &b.items[i]
				col.eachRef(col.view(r.key, r.value), func(target, ref, pointer string, wrong error) {
					keys := in.seen.keys[target]
					if err != nil || wrong != nil || keys == nil || keys.Has(ref) {
						return
					}
					err = p.add(openRef{col, r.key, r.offset, col.inside(r.key, pointer), target, ref}.problem())
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err == errTooMany {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (o openRef) problem() *RecordError {
	return &RecordError{Collection: o.from.Name, Key: o.key, Pointer: cut(o.pointer), Offset: o.offset,
		Err: fmt.Errorf("there is no %q in %s", fault.Shorten(o.ref), o.target)}
}
