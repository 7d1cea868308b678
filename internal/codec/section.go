package codec

import (
	"bytes"
	"errors"
	"hash/maphash"
	"io"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// A Section is the place of a collection in a snapshot.
type Section struct {
	Name       string
	IsMap      bool
	Start, End int64 // byte offsets of its value
	Count      int64

	compact bool
	seed    maphash.Seed
	parts   []part
}

// A part is how much of a section is read at a time: some records, with the text
// between them. Its sum tells whether the file has changed since.
type part struct {
	end   int64 // the part begins where the last one ends
	sum   uint64
	lines bool // each record has a line, as the Writer writes it
}

// partBytes is the approximate size of a part that has more than one record.
const partBytes = 64 << 10

// Records calls f for the records of a section. f gets the name of a record in
// a map, the compact value and the offset of the value. Name and value are
// valid until f returns. Records reads the text again, and checks each part
// against its sum before f sees any of it. So f gets only what Scan has
// checked.
func (sec *Section) Records(r io.ReaderAt, f func(name string, value []byte, offset int64) error) error {
	var p Part
	for i := range sec.parts {
		if err := p.Load(sec, i, r); err != nil {
			return err
		}
		if err := p.Split(); err != nil {
			return err
		}
		for _, rec := range p.Records {
			if err := f(rec.Name, rec.Value, rec.Offset); err != nil {
				return err
			}
		}
	}
	return nil
}

// Parts returns the number of parts of a section, for [Part.Load]. The parts in
// their order hold the records of the section in theirs.
func (sec *Section) Parts() int { return len(sec.parts) }

// A Part is some records of a section. Several goroutines can read several
// parts at a time. The zero Part is ready for use, and a Part can be used again
// to save memory.
type Part struct {
	Records []RawRecord // what Split has found; valid until the next Load

	sec   *Section
	part  part
	start int64
	text  []byte
	spare []byte // compact values that do not stand in the text
}

// A RawRecord is a record as it stands in a snapshot.
type RawRecord struct {
	Name   string // of a record in a map
	Value  []byte // compact
	Offset int64  // of the value in the snapshot
}

// Load reads part i of a section again. The next call is Split.
func (p *Part) Load(sec *Section, i int, r io.ReaderAt) error {
	p.Records = p.Records[:0]
	p.sec, p.part, p.start = sec, sec.parts[i], sec.Start
	if i > 0 {
		p.start = sec.parts[i-1].end
	}
	n := int(p.part.end - p.start)
	p.text = slices.Grow(p.text[:0], n)[:n]
	if n, err := r.ReadAt(p.text, p.start); n < len(p.text) {
		if err != io.EOF {
			return err
		}
		return p.changed()
	}
	return nil
}

// Size returns how many bytes Load has read.
func (p *Part) Size() int { return len(p.text) }

func (p *Part) changed() error {
	return &Error{Kind: ErrSyntax, Offset: p.start, Collection: p.sec.Name, Err: errors.New("the file was changed while it was read")}
}

// Split checks the text that Load has read against its sum, and finds the
// records in it. So Records has only what Scan has checked.
func (p *Part) Split() error {
	if maphash.Bytes(p.sec.seed, p.text) != p.part.sum {
		return p.changed()
	}
	i := 0
	if p.start == p.sec.Start {
		i = 1 // after the bracket
	}
	p.spare = p.spare[:0]
	for {
		if i = skipBetween(p.text, i); i == len(p.text) || p.text[i] == ']' || p.text[i] == '}' {
			return nil
		}
		var rec RawRecord
		if p.sec.IsMap {
			end := skipString(p.text, i)
			rec.Name = string(unquote(p.text[i:end]))
			i = skipBetween(p.text, end)
		}
		rec.Offset = p.start + int64(i)
		end := p.endOfValue(i)
		rec.Value = p.text[i:end:end]
		if !p.sec.compact {
			begin := len(p.spare)
			var err error
			if p.spare, err = jsontext.AppendFormat(p.spare, rec.Value, options...); err != nil {
				return err
			}
			rec.Value = p.spare[begin:len(p.spare):len(p.spare)]
		}
		p.Records = append(p.Records, rec)
		i = end
	}
}

// endOfValue returns the index behind the value that begins at index i of the
// text.
func (p *Part) endOfValue(i int) int {
	if !p.part.lines {
		return skipValue(p.text, i)
	}
	n := bytes.IndexByte(p.text[i:], '\n')
	if n < 0 {
		return len(p.text)
	}
	return i + n - 1 // before the comma
}

// skipBetween returns the index behind the white space and punctuation between
// two items.
func skipBetween(b []byte, i int) int {
	for i < len(b) && (b[i] == ',' || b[i] == ':' || b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}
