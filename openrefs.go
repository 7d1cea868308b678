package backup

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/tomo-project/backup/internal/envelope"
	"github.com/tomo-project/backup/internal/fault"
)

// openRefs holds references in the order in which they came, as bytes. With spill, it moves
// them to an encrypted temporary file, so that the memory depends neither on their number
// nor on the length of their texts.
type openRefs struct {
	cols   []*collection // the collections that the references are of and to
	buf    []byte
	file   *envelope.Spool
	blocks []int // the sizes of what was moved to the file
	failed bool  // the file cannot be written: the rest stays in memory
}

// An openRef is a reference to a record that has not come yet.
type openRef struct {
	from        *collection
	key         string
	offset      int64
	pointer     string
	target, ref string
}

// A heldRef is an openRef out of openRefs. Its texts are valid until the next one.
type heldRef struct {
	from, target      *collection
	offset            int64
	key, pointer, ref []byte
}

func (h heldRef) problem() *RecordError {
	return openRef{h.from, string(h.key), h.offset, string(h.pointer), h.target.Name, string(h.ref)}.problem()
}

func (o openRef) problem() *RecordError {
	return &RecordError{Collection: o.from.Name, Key: o.key, Pointer: cut(o.pointer), Offset: o.offset,
		Err: fmt.Errorf("there is no %q in %s", fault.Shorten(o.ref), o.target)}
}

// add adds a reference.
func (s *openRefs) add(o openRef) {
	for _, name := range []string{o.from.Name, o.target} {
		number := slices.IndexFunc(s.cols, func(col *collection) bool { return col.Name == name })
		s.buf = binary.AppendUvarint(s.buf, uint64(number))
	}
	s.buf = binary.AppendVarint(s.buf, o.offset)
	for _, text := range []string{o.key, cut(o.pointer), o.ref} {
		s.buf = append(binary.AppendUvarint(s.buf, uint64(len(text))), text...)
	}
}

// drop drops the references in memory for which came returns true.
func (s *openRefs) drop(came func(heldRef) bool) {
	kept := s.buf[:0]
	s.each(s.buf, func(h heldRef, text []byte) error {
		if !came(h) {
			kept = append(kept, text...)
		}
		return nil
	})
	s.buf = kept
}

// spill moves the references in memory to the file. A backup does not fail because there
// is no place for the file: then they stay.
func (s *openRefs) spill() {
	if s.failed {
		return
	}
	var err error
	if s.file == nil {
		s.file, err = envelope.NewSpool("")
	}
	if err == nil {
		_, err = s.file.Write(s.buf)
	}
	if s.failed = err != nil; !s.failed {
		s.blocks = append(s.blocks, len(s.buf))
		s.buf = s.buf[:0]
	}
}

// all calls f for all references, until it returns an error.
func (s *openRefs) all(f func(heldRef) error) error {
	one := func(h heldRef, _ []byte) error { return f(h) }
	var block []byte
	var offset int64
	for _, size := range s.blocks {
		block = slices.Grow(block[:0], size)[:size]
		if n, err := s.file.ReadAt(block, offset); n < size {
			return fault.Advise(fmt.Errorf("read a temporary file: %w", err))
		}
		offset += int64(size)
		if err := s.each(block, one); err != nil {
			return err
		}
	}
	return s.each(s.buf, one)
}

var errOtherRefs = errors.New("a temporary file of this process was altered")

// each calls f for the references in a text, with the text of each.
func (s *openRefs) each(text []byte, f func(h heldRef, text []byte) error) error {
	for len(text) > 0 {
		rest := text
		number := func() uint64 {
			n, size := binary.Uvarint(rest)
			rest = rest[max(size, 0):]
			return n
		}
		part := func() []byte {
			n := min(number(), uint64(len(rest)))
			b := rest[:n]
			rest = rest[n:]
			return b
		}
		from, target := number(), number()
		offset, size := binary.Varint(rest)
		if from >= uint64(len(s.cols)) || target >= uint64(len(s.cols)) || size <= 0 {
			return errOtherRefs
		}
		rest = rest[size:]
		h := heldRef{s.cols[from], s.cols[target], offset, part(), part(), part()}
		if err := f(h, text[:len(text)-len(rest)]); err != nil {
			return err
		}
		text = rest
	}
	return nil
}

// close removes the file.
func (s *openRefs) close() {
	if s.file != nil {
		s.file.Close()
	}
	s.file, s.blocks, s.buf = nil, nil, nil
}
