package backup

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/keyset"
)

// What backup and restore do with records on their way: items in batches, held
// against the declaration.

// An item is a record on its way through the library.
type item struct {
	key    string
	value  []byte // compact
	offset int64  // in the snapshot, or -1
}

// A batch is a number of items whose values share one buffer.
type batch struct {
	items []item
	buf   []byte
}

// batchSize is how many records go through the stages together, and batchBytes
// how many bytes, unless a single record is larger.
const (
	batchSize  = 256
	batchBytes = 1 << 20
)

// add copies a record that comes from outside, compact and checked.
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

// addItem copies an item that the library has checked before.
func (b *batch) addItem(r item) {
	start := len(b.buf)
	b.buf = append(b.buf, r.value...)
	b.items = append(b.items, item{r.key, b.buf[start:len(b.buf):len(b.buf)], r.offset})
}

func (b *batch) full() bool { return len(b.items) >= batchSize || len(b.buf) >= batchBytes }

func (b *batch) reset() {
	b.items = b.items[:0]
	if b.buf = b.buf[:0]; cap(b.buf) > 4*batchBytes {
		b.buf = nil
	}
}

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

// identity derives the key of a record; in a Map it is the one that it came with.
func (col *collection) identity(r *item) (string, error) {
	switch {
	case col.Shape != Map && r.value[0] != '{':
		return "", errors.New("the record is not an object")
	case col.Shape != Map:
		return col.key.Of(r.value)
	case r.key == "":
		return "", errors.New("the key is empty")
	case !utf8.ValidString(r.key):
		return "", errors.New("the key is not UTF-8")
	case len(r.key) > codec.MaxKey:
		return "", fmt.Errorf("%w: the key has %d bytes, the most is %d", ErrLimit, len(r.key), codec.MaxKey)
	}
	return r.key, nil
}

// inspect examines a record, and if all is well takes note of it in seen.
func (col *collection) inspect(r *item, seen *seen) []*RecordError {
	if found := col.examine(r); len(found) > 0 {
		return found
	}
	if !seen.keys[col.Name].Add(r.key) {
		return []*RecordError{col.problem(r, "", errors.New("another record has the same key"))}
	}
	seen.refer(col, r)
	return nil
}

// examine holds a record against the declaration of its collection and sets its
// key.
func (col *collection) examine(r *item) []*RecordError {
	key, err := col.identity(r)
	if err != nil {
		return []*RecordError{col.problem(r, col.Key, err)}
	}
	r.key = key
	view := col.view(r.key, r.value, nil)
	var found []*RecordError
	if col.schema != nil {
		for _, p := range col.schema.Validate(codec.Decode(view)) {
			found = append(found, col.problem(r, p.Pointer, errors.New(p.Message)))
		}
	}
	col.eachRef(view, func(_, _, pointer string, err error) {
		if err != nil {
			found = append(found, col.problem(r, pointer, err))
		}
	})
	return found
}

// problem says what is wrong at a pointer into the view of a record.
func (col *collection) problem(r *item, pointer string, err error) *RecordError {
	return &RecordError{Collection: col.Name, Key: r.key, Pointer: col.inside(r.key, pointer), Offset: r.offset, Err: err}
}

// eachRef calls f for every reference of a record to another, with an error if
// what stands there is no key.
func (col *collection) eachRef(view []byte, f func(target, key, pointer string, err error)) {
	for _, r := range col.refs {
		if len(r.key) > 1 {
			if key, ok, err := r.key.Reference(view); ok || err != nil {
				f(r.Collection, key, r.Pointer, r.wrong(err))
			}
			continue
		}
		codec.Find(view, r.key, func(pointer string, start, end int) error {
			if string(view[start:end]) == "null" {
				return nil
			}
			key, err := codec.Identity(view[start:end])
			f(r.Collection, key, pointer, r.wrong(err))
			return nil
		})
	}
}

// wrong says that what should refer to a record cannot, if there is an error.
func (r *ref) wrong(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("reference to %s: %w", r.Collection, err)
}

// seen knows the keys of the records that went by, and the references that had
// nothing to point to when they did.
type seen struct {
	keys map[string]*keyset.Set // of the collections that take part
	open []openRef
}

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

// refer takes note of the references of a record. Those to collections that do
// not take part are no concern of it.
func (s *seen) refer(col *collection, r *item) {
	view := col.view(r.key, r.value, nil)
	col.eachRef(view, func(target, ref, pointer string, err error) {
		if keys := s.keys[target]; err == nil && keys != nil && !keys.Has(ref) {
			s.open = append(s.open, openRef{col, r.key, r.offset, col.inside(r.key, pointer), target, ref})
		}
	})
}

// dangling returns the references that still point to nothing.
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

func (o openRef) problem() *RecordError {
	return &RecordError{Collection: o.from.Name, Key: o.key, Pointer: o.pointer, Offset: o.offset,
		Err: fmt.Errorf("there is no %q in %s", o.ref, o.target)}
}

// problems gathers what is wrong with records.
type problems struct {
	tolerate bool             // they are reported and do not fail the whole
	list     []*RecordError   // the first maxProblems
	total    int              // all of them
	count    map[string]int64 // records concerned, by collection
}

// maxProblems is how many problems are named. If they are not tolerated, the
// run stops there.
const maxProblems = 1000

// add takes the problems of one record. Its error says that there is no use in
// going on.
func (p *problems) add(found ...*RecordError) error {
	if len(found) == 0 {
		return nil
	}
	if p.count == nil {
		p.count = make(map[string]int64)
	}
	p.count[found[0].Collection]++
	p.total += len(found)
	p.list = append(p.list, found[:min(len(found), maxProblems-len(p.list))]...)
	if !p.tolerate && len(p.list) == maxProblems {
		return errTooMany
	}
	return nil
}

// errTooMany stops a run; what is reported are the problems.
var errTooMany = errors.New("too many problems")

// warnings returns the problems that are tolerated, and how many are not named.
func (p *problems) warnings() []string {
	var texts []string
	for _, r := range p.list {
		texts = append(texts, r.Error())
	}
	if n := p.total - len(p.list); n > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", n))
	}
	return texts
}

func (p *problems) fatal() bool { return p.total > 0 && !p.tolerate }

// err returns the problems as an error of a kind, nil if there are none or they
// are tolerated.
func (p *problems) err(kind error) error {
	if !p.fatal() {
		return nil
	}
	return &recordErrors{kind, p.list, p.total}
}

// recordErrors is an error about several records.
type recordErrors struct {
	kind  error
	list  []*RecordError
	total int
}

func (e *recordErrors) Error() string {
	const shown = 20
	var b strings.Builder
	b.WriteString(e.kind.Error() + ":")
	for i, r := range e.list {
		if i == shown {
			more := "and"
			if e.total >= maxProblems {
				more = "and at least"
			}
			fmt.Fprintf(&b, "\n  %s %d more", more, e.total-shown)
			break
		}
		b.WriteString("\n  " + r.Error())
	}
	return b.String()
}

func (e *recordErrors) Unwrap() []error {
	errs := []error{e.kind}
	for _, r := range e.list {
		errs = append(errs, r)
	}
	return errs
}
