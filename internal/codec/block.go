package codec

import (
	"bytes"
	"hash/maphash"
)

// A block is some lines of records, in the lane. Its text begins behind a record,
// or behind the bracket of the section, and ends behind a record.
type block struct {
	isMap  bool
	limits Limits
	seed   maphash.Seed
	text   []byte
	ends   []int // behind each record, before its comma

	// What check has found:
	checked  chan struct{}
	fine     int      // the number of records before the first that is not fine
	names    [][]byte // of the records of a map
	sum      uint64   // of the text
	panicked any
	compact  []byte
}

func (b *block) begin(sec *Section, l Limits) {
	b.isMap, b.seed, b.limits = sec.IsMap, sec.seed, l
	b.limits.Depth = min(l.Depth, MaxDepth)
}

// release gives memory back, if there is more than most.
func (b *block) release(most int) {
	if cap(b.text) > most {
		b.text, b.compact = nil, nil
	}
	clear(b.names)
}

// split finds the lines in a text. closed tells whether the last of them is
// followed by something else.
func (b *block) split(text []byte, opening byte) (closed bool) {
	b.ends = b.ends[:0]
	b.text = text
	for i := b.start(0); i < len(text); {
		if text[i] != opening {
			return true
		}
		n := bytes.IndexByte(text[i:], '\n')
		if n < 0 {
			return false
		}
		if i += n; text[i-1] != ',' {
			b.ends = append(b.ends, i)
			return true
		}
		b.ends = append(b.ends, i-1)
		i++
	}
	return false
}

// start returns where record i begins.
func (b *block) start(i int) int {
	switch {
	case i > 0:
		return b.ends[i-1] + len(",\n")
	case len(b.text) > 0 && b.text[0] == ',':
		return len(",\n")
	}
	return len("\n")
}

// check checks the records and then tells so.
func (b *block) check() {
	defer func() {
		b.panicked = recover()
		b.checked <- struct{}{}
	}()
	b.fine, b.names = 0, b.names[:0]
	for i, end := range b.ends {
		if !b.record(b.text[b.start(i):end]) {
			break
		}
		b.fine++
	}
	b.sum = maphash.Bytes(b.seed, b.text)
}

// record tells whether a line without its comma is a record that the decoder
// would take, and compact.
func (b *block) record(line []byte) bool {
	if b.isMap {
		end := endOfName(line)
		if end < 0 || !b.value(line[:end]) {
			return false
		}
		name := unquote(line[:end])
		if len(name) > MaxKey {
			return false
		}
		b.names = append(b.names, name)
		line = line[end+1:]
	}
	return len(line) <= b.limits.RecordBytes && b.value(line)
}

// endOfName returns the index of the colon behind the name with which a line
// begins, or -1 if there is none. The text may be anything.
func endOfName(line []byte) int {
	for i := 1; i < len(line)-1; i++ {
		switch line[i] {
		case '\\':
			i++
		case '"':
			if line[i+1] == ':' {
				return i + 1
			}
			return -1
		}
	}
	return -1
}

// value tells whether a text is one strict and compact value within the limits.
func (b *block) value(text []byte) bool {
	if isWritten(text, b.limits) {
		return true
	}
	out, err := Reformat(b.compact[:0], text, b.limits)
	b.compact = out[:0]
	return err == nil && bytes.Equal(out, text)
}
