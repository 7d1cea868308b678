package backup

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/fault"
	"github.com/tomo-project/backup/internal/onepass"
	"github.com/tomo-project/backup/internal/seal"
	"github.com/tomo-project/backup/internal/validate"
)

// The checks of records against the declaration. Most records are valid, and one pass
// over their text tells that. Of all others examine says what is wrong.

// A note is what is known of an item by itself, whatever records stand before it.
type note struct {
	err   error  // it is not JSON within the limits
	wrong int    // how many problems it has; admit names them
	left  bool   // it is left out
	sum   uint64 // of the value, for Diff

	// sure says that one pass found nothing wrong. Then key is the key, and the references
	// are pad.links[first:last]. Otherwise examine has set item.key.
	sure        bool
	key         []byte
	first, last int
	sealed      []byte // the value with its secrets sealed; nil if there is nothing to seal

	value int // the index in pad.values of the first of its unique values, if it is valid
}

// A link is a reference to a record.
type link struct {
	ref int // the index of the ref of the collection
	key []byte
}

// A pad is the memory that the check of a batch writes to.
type pad struct {
	links []link
	text  []byte // what keys and links lie in, if they do not lie in their records
	spare []byte // compact values
	seals []byte // sealed values

	values []uint64 // the hashes of the unique values of the records: see unique.hash

	// Of one record.
	view  []byte
	marks []onepass.Mark
	at    []int // by place: the index of its last mark, plus one
}

func (p *pad) reset() {
	clear(p.links)
	p.links, p.marks, p.values = p.links[:0], p.marks[:0], p.values[:0]
	p.text, p.spare, p.seals, p.view = emptied(p.text), emptied(p.spare), emptied(p.seals), emptied(p.view)
}

// A place is what a pointer of a collection is for.
type place struct {
	ref  int  // the index of the ref, or -1 for a secret or the key
	part bool // it is one of several pointers of the ref
}

// setPass sets the pass over a record and the places that it looks for: the secrets, then
// those of the key, then those of the references.
func (col *collection) setPass() {
	var pointers [][]string
	add := func(p codec.Pointer, to place) {
		pointers = append(pointers, p)
		col.places = append(col.places, to)
	}
	for _, p := range col.secrets {
		add(p, place{ref: -1})
	}
	for _, p := range col.key {
		add(p, place{ref: -1})
	}
	for i := range col.refs {
		r := &col.refs[i]
		r.place = len(pointers)
		for _, p := range r.key {
			add(p, place{i, len(r.key) > 1})
		}
	}
	var rule *onepass.Rule
	if col.schema != nil {
		rule = col.schema.Rule()
	}
	col.pass = onepass.New(rule, pointers)
}

// check writes down what is known of each record. With a box it seals the secrets of
// valid records.
func (b *batch) check(l codec.Limits, compact bool, box *seal.Box) {
	b.notes = append(b.notes, make([]note, len(b.items)-len(b.notes))...)
	for i := range b.items {
		r, n := &b.items[i], &b.notes[i]
		if n.err != nil {
			continue
		}
		if n.sure = b.glance(r, n, l); !n.sure {
			if !compact {
				start := len(b.pad.spare)
				if b.pad.spare, n.err = codec.Compact(b.pad.spare, r.value, l); n.err != nil {
					continue
				}
				r.value = b.pad.spare[start:len(b.pad.spare):len(b.pad.spare)]
			}
			if n.wrong = b.col.examine(r, 0).total; n.wrong == 0 {
				b.pad.text = append(b.pad.text, r.key...)
				n.key = b.pad.text[len(b.pad.text)-len(r.key):]
			}
		}
		if n.wrong > 0 {
			continue
		}
		n.value = len(b.pad.values)
		for _, u := range b.col.uniques {
			b.pad.values = append(b.pad.values, u.hash(b.col.seed, r.value))
		}
		if box != nil && len(b.col.secrets) > 0 {
			b.seal(r, n, box)
		}
	}
}

// keyOf returns the key of an item that was checked. It returns false for a record without
// one.
func (b *batch) keyOf(i int) (string, bool) {
	if b.notes[i].sure {
		return string(b.notes[i].key), true
	}
	key, err := b.col.identity(&b.items[i])
	return key, err == nil
}

// glance reads a record once. It tells whether that was enough to know that the record
// is valid, its key, and its references.
func (b *batch) glance(r *item, n *note, l codec.Limits) bool {
	col, view, limits := b.col, r.value, onepass.Limits{Depth: l.Depth, Values: l.Values}
	switch {
	case col.pass == nil, len(view) == 0, len(view) > l.RecordBytes:
		return false
	case col.Shape != Map:
		if view[0] != '{' {
			return false
		}
	case r.key == "", len(r.key) > codec.MaxKey, !utf8.ValidString(r.key):
		return false
	default:
		b.pad.view = appendMember(b.pad.view[:0], r.key, r.value)
		view = b.pad.view
		limits.Depth, limits.Values = limits.Depth+1, limits.Values+1
	}
	var ok bool
	if b.pad.marks, ok = col.pass.Read(view, limits, b.pad.marks[:0]); !ok {
		return false
	}
	if col.Shape == Map && !codec.IsOne(r.value) {
		return false // it would be several members
	}
	n.first = len(b.pad.links)
	ok = b.readMarks(r, n, view)
	n.last = len(b.pad.links)
	return ok
}

// readMarks finds the key and the references of a record by its marks. It returns false
// for a text that has to be read otherwise than as it stands.
func (b *batch) readMarks(r *item, n *note, view []byte) bool {
	col, p := b.col, &b.pad
	p.at = append(p.at[:0], make([]int, len(col.places))...)
	for i, m := range p.marks {
		p.at[m.Place] = i + 1
		to, value := col.places[m.Place], view[m.Start:m.End]
		if to.ref < 0 || to.part || string(value) == "null" {
			continue
		}
		key, ok := plainIdentity(value)
		if !ok || len(key) == 0 {
			return false
		}
		if col.Shape == Map { // the view is written over
			key = p.keep(key)
		}
		p.links = append(p.links, link{to.ref, key})
	}
	for i := range col.refs {
		if ref := &col.refs[i]; len(ref.key) > 1 {
			switch key, all, ok := p.join(view, ref.place, len(ref.key)); {
			case !ok:
				return false
			case all:
				p.links = append(p.links, link{i, key})
			}
		}
	}
	ok := true
	switch first := len(col.secrets); {
	case col.Shape == Map:
		p.text = append(p.text, r.key...)
		n.key = p.text[len(p.text)-len(r.key):]
	case len(col.key) > 1:
		var all bool
		n.key, all, ok = p.join(view, first, len(col.key))
		ok = ok && all
	case p.at[first] == 0:
		ok = false
	default:
		m := p.marks[p.at[first]-1]
		n.key, ok = plainIdentity(view[m.Start:m.End])
	}
	return ok && len(n.key) > 0 && len(n.key) <= codec.MaxKey
}

// plainIdentity is codec.Identity for a value without escapes. The text may be empty.
func plainIdentity(value []byte) (text []byte, ok bool) {
	switch c := value[0]; {
	case c == '"':
		return value[1 : len(value)-1], bytes.IndexByte(value, '\\') < 0
	case c == '-' || '0' <= c && c <= '9':
		return value, !bytes.ContainsAny(value, ".eE")
	}
	return nil, false
}

// keep returns a copy of a text.
func (p *pad) keep(text []byte) []byte {
	start := len(p.text)
	p.text = append(p.text, text...)
	return p.text[start:]
}

// join makes an identity of n places, as codec.JoinKey does. all tells whether each is there
// and not null, and ok whether each can be read as it stands.
func (p *pad) join(view []byte, place, n int) (key []byte, all, ok bool) {
	start := len(p.text)
	for i, at := range p.at[place : place+n] {
		if at == 0 {
			return nil, false, true
		}
		value := view[p.marks[at-1].Start:p.marks[at-1].End]
		if string(value) == "null" {
			return nil, false, true
		}
		text, ok := plainIdentity(value)
		if !ok {
			return nil, false, false
		}
		before := byte(',')
		if i == 0 {
			before = '['
		}
		p.text = append(append(append(p.text, before, '"'), text...), '"')
	}
	p.text = append(p.text, ']')
	return p.text[start:], true, true
}

// seal seals the secrets of a valid record. If the check was sure of it, its marks are still
// there.
func (b *batch) seal(r *item, n *note, box *seal.Box) {
	col, p := b.col, &b.pad
	var marks []onepass.Mark
	if n.sure {
		marks = slices.DeleteFunc(p.marks, func(m onepass.Mark) bool { return m.Place >= len(col.secrets) })
		r.key = string(n.key)
	} else if col.Shape == Map {
		p.view = appendMember(p.view[:0], r.key, r.value)
	}
	view := r.value
	if col.Shape == Map {
		view = p.view
	}
	start := len(p.seals)
	p.seals = col.sealMarked(p.seals, box, r.key, view, marks)
	n.sealed = col.unview(r.key, p.seals[start:len(p.seals):len(p.seals)])
}

// examine checks a record against the declaration of its collection, and sets its
// key. It lists the first most problems.
func (col *collection) examine(r *item, most int) (found findings) {
	add := func(pointer string, err error) {
		if len(found.list) < most {
			found.list = append(found.list, col.problem(r, pointer, err))
		}
	}
	key, err := col.identity(r)
	if err != nil {
		add(col.Key, err)
		found.total = 1
		return found
	}
	r.key = key
	view := col.view(r.key, r.value)
	if col.schema != nil {
		var listed []validate.Problem
		listed, found.total = col.schema.Validate(codec.Decode(view), most)
		for _, p := range listed {
			add(p.Pointer, errors.New(fault.Shorten(p.Message)))
		}
	}
	col.eachRef(view, func(_, _, pointer string, err error) {
		if err != nil {
			add(pointer, err)
			found.total++
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
