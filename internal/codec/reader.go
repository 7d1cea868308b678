package codec

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/maphash"
	"io"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// A Document is what Scan found in a snapshot.
type Document struct {
	Members     map[string][]byte // the top-level members but for "data", compact
	Collections []Section         // in the order of the text
	Bytes       int64
	SHA256      string // of what stands before the integrity line; empty if there is none
	Proven      []byte // SHA-256 of what stands before the member "proof"; nil if there is none
}

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

// A part of a section is what Records reads at once: some records, with what
// stands between them. Its sum tells whether the file was changed since.
type part struct {
	end int64 // it begins where the one before ends
	sum uint64
}

// partBytes is about how large a part is, if it holds more than one record.
const partBytes = 64 << 10

// Hooks let the caller of Scan take part in it.
type Hooks struct {
	// Version is given the first member before anything else is read.
	Version func(value []byte) error

	// Header, if not nil, is given the members before the data, which are not
	// proven to be whole yet, before any of it is read.
	Header func(members map[string][]byte) error

	// Progress is called now and then; it returns an error to stop.
	Progress func(collection string, records, bytes int64) error
}

// Scan reads a whole snapshot and checks all that can be told without knowing
// its application: that it is strict JSON in the layout of the format, within
// limits. The digest is computed and not compared.
func Scan(r io.Reader, l Limits, hooks Hooks) (*Document, error) {
	s := &scanner{limits: l, hooks: hooks, doc: &Document{Members: map[string][]byte{}}}
	s.in = &tap{r: bufio.NewReaderSize(r, 256<<10), max: l.TotalBytes, whole: sha256.New()}
	s.dec = jsontext.NewDecoder(s.in, strict...)
	if err := s.document(); err != nil {
		return nil, s.wrap(err)
	}
	return s.doc, nil
}

type scanner struct {
	limits     Limits
	hooks      Hooks
	in         *tap
	dec        *jsontext.Decoder
	doc        *Document
	collection string
	records    int64
	peek       bool // stop at the data
}

// wrap gives an error its kind and place.
func (s *scanner) wrap(err error) error {
	if s.in.err != nil && !errors.Is(s.in.err, ErrLimit) {
		return s.in.err
	}
	e := &Error{Kind: ErrSyntax, Offset: s.dec.InputOffset(), Collection: s.collection, Err: err}
	if syntactic, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		e.Offset, e.Err = syntactic.ByteOffset, syntactic.Err
	}
	switch {
	case s.in.err != nil:
		e.Kind, e.Err = ErrLimit, s.in.err
	case errors.Is(err, ErrLimit), isTooDeep(e.Err):
		e.Kind = ErrLimit
	case errors.Is(err, ErrLayout):
		e.Kind = ErrLayout
	case errors.Is(err, errHook):
		return errors.Unwrap(err)
	case e.Err == io.EOF, errors.Is(e.Err, io.ErrUnexpectedEOF):
		e.Err = fmt.Errorf("the document ends too early: %w", io.ErrUnexpectedEOF)
		if s.in.n == 0 {
			e.Err = fmt.Errorf("the file is empty: %w", io.ErrUnexpectedEOF)
		}
		e.Offset = s.in.n
	}
	return e
}

var errHook = errors.New("stopped by the caller")

type hookError struct{ err error }

func (e hookError) Error() string        { return e.err.Error() }
func (e hookError) Is(target error) bool { return target == errHook }
func (e hookError) Unwrap() error        { return e.err }

// A layoutError is an error of kind ErrLayout that speaks for itself.
type layoutError string

func (e layoutError) Error() string        { return string(e) }
func (e layoutError) Is(target error) bool { return target == ErrLayout }

func (s *scanner) document() error {
	s.in.allow(HeaderBytes)
	if kind := s.dec.PeekKind(); kind != '{' && kind != 0 {
		return layoutError("the document is not an object")
	}
	if _, err := s.dec.ReadToken(); err != nil {
		return err
	}
	for first := true; s.dec.PeekKind() == '"'; first = false {
		name, err := s.name()
		if err != nil {
			return err
		}
		if first != (name == "version") {
			return layoutError(`its first member is not "version"`)
		}
		switch {
		case s.doc.Members["integrity"] != nil:
			return layoutError(`a member follows "integrity", which must be the last`)
		case s.doc.Members["proof"] != nil && name != "integrity":
			return layoutError(`a member other than "integrity" follows "proof", which would not cover it`)
		case name == "proof" && s.doc.Members["data"] == nil:
			return layoutError(`"proof" stands before "data", which it would not cover`)
		}
		if len(s.doc.Members) == maxMembers {
			return layoutError("it has more members than any snapshot")
		}
		if name == "data" {
			if s.peek {
				s.doc.Members["data"] = []byte{}
				return errPeeked
			}
			if s.hooks.Header != nil {
				if err := s.hooks.Header(s.doc.Members); err != nil {
					return hookError{err}
				}
			}
			if err := s.data(); err != nil {
				return err
			}
			continue
		}
		switch name {
		case "proof":
			if s.doc.Proven, err = s.before(name); err != nil {
				return err
			}
		case "integrity":
			digest, err := s.before(name)
			if err != nil {
				return err
			}
			s.doc.SHA256 = hex.EncodeToString(digest)
		}
		value, err := s.value(HeaderBytes)
		if err != nil {
			return err
		}
		if first {
			if err := s.hooks.Version(value); err != nil {
				return hookError{err}
			}
		}
		s.doc.Members[name] = value
		s.in.advance(s.dec.InputOffset())
	}
	if _, err := s.dec.ReadToken(); err != nil {
		return err
	}
	return s.end()
}

// before returns the digest of what stands before a member, whose name was read
// last. With an escape in it there would be two ways to write one document.
func (s *scanner) before(name string) ([]byte, error) {
	at := s.dec.InputOffset() - int64(len(name)+2)
	s.in.advance(at)
	if !bytes.HasPrefix(s.in.pending, Quote(name)) {
		return nil, &jsontext.SyntacticError{ByteOffset: at, Err: fmt.Errorf("the name %q is written with an escape", name)}
	}
	return s.in.whole.Sum(nil), nil
}

// end checks that nothing follows the document. Behind an integrity line, whose
// document is kept to the byte, there is just one way to end.
func (s *scanner) end() error {
	s.in.allow(s.dec.InputOffset() + HeaderBytes)
	end := s.dec.InputOffset()
	if _, err := s.dec.ReadToken(); err == nil || err != io.EOF {
		if s.in.err != nil {
			return err
		}
		return &jsontext.SyntacticError{ByteOffset: end, Err: errors.New("something follows the end of the document")}
	}
	if s.doc.SHA256 != "" && string(s.in.pending) != "\n}\n" {
		return &jsontext.SyntacticError{ByteOffset: end, Err: errors.New("the line of \"integrity\" and the line \"}\" behind it are not as they were written")}
	}
	s.doc.Bytes = s.in.n
	return nil
}

// A document of more members or collections is none of ours. Names are kept in
// memory, so they must not be many, nor long.
const (
	MaxCollections = 1000
	maxMembers     = 16
	maxName        = 256
)

// name reads the name of a member outside of the records.
func (s *scanner) name() (string, error) {
	s.in.allow(s.dec.InputOffset() + HeaderBytes)
	token, err := s.dec.ReadToken()
	if err != nil {
		return "", err
	}
	name := token.String()
	if len(name) > maxName {
		return "", tooLong(maxName)
	}
	// The value may come behind white space of its own.
	s.in.allow(s.dec.InputOffset() + 2*HeaderBytes)
	return name, nil
}

// value reads a value of at most max bytes and returns it compact.
func (s *scanner) value(max int) ([]byte, error) {
	v, err := s.dec.ReadValue()
	if err != nil {
		return nil, err
	}
	if len(v) > max {
		return nil, tooLong(max)
	}
	v = v.Clone()
	compact, err := checkValue(v, header)
	if err == nil && !compact {
		err = v.Compact()
	}
	return v, err
}

func tooLong(max int) error {
	return fmt.Errorf("%w: a value of more than %d bytes", ErrLimit, max)
}

func (s *scanner) data() error {
	if kind := s.dec.PeekKind(); kind != '{' && kind != 0 {
		return layoutError(`"data" is not an object`)
	}
	if _, err := s.dec.ReadToken(); err != nil {
		return err
	}
	s.doc.Members["data"] = []byte{}
	for s.dec.PeekKind() == '"' {
		name, err := s.name()
		if err != nil {
			return err
		}
		if len(s.doc.Collections) == MaxCollections {
			return fmt.Errorf("%w: more than %d collections", ErrLimit, MaxCollections)
		}
		if err := s.section(name); err != nil {
			return err
		}
	}
	s.collection = ""
	_, err := s.dec.ReadToken()
	return err
}

func (s *scanner) section(name string) error {
	s.collection = name
	kind := s.dec.PeekKind()
	if kind != '{' && kind != '[' && kind != 0 {
		return layoutError("the collection is neither an array nor an object")
	}
	if _, err := s.dec.ReadToken(); err != nil {
		return err
	}
	sec := Section{Name: name, IsMap: kind == '{', Start: s.dec.InputOffset() - 1, compact: true, seed: maphash.MakeSeed()}
	var sum maphash.Hash
	sum.SetSeed(sec.seed)
	s.in.advance(sec.Start)
	s.in.part = &sum
	endPart := func() {
		end := s.dec.InputOffset()
		s.in.advance(end)
		sec.parts = append(sec.parts, part{end, sum.Sum64()})
		sum.Reset()
	}
	for more := s.dec.PeekKind(); more != '}' && more != ']'; more = s.dec.PeekKind() {
		s.in.allow(s.dec.InputOffset() + int64(s.limits.RecordBytes) + HeaderBytes)
		if sec.IsMap {
			name, err := s.dec.ReadToken()
			if err != nil {
				return err
			}
			if len(name.String()) > MaxKey {
				return tooLong(MaxKey)
			}
		} else if more != '{' && more != 0 {
			return layoutError("a record is not an object")
		}
		v, err := s.dec.ReadValue()
		if err != nil {
			return err
		}
		if len(v) > s.limits.RecordBytes {
			return tooLong(s.limits.RecordBytes)
		}
		compact, err := checkValue(v, s.limits)
		if err != nil {
			return err
		}
		sec.compact = sec.compact && compact
		sec.Count++
		if s.records++; s.records > s.limits.Records {
			return fmt.Errorf("%w: more than %d records", ErrLimit, s.limits.Records)
		}
		if len(s.in.pending) >= partBytes {
			endPart()
			if err := s.hooks.Progress(name, s.records, s.dec.InputOffset()); err != nil {
				return hookError{err}
			}
		}
	}
	if _, err := s.dec.ReadToken(); err != nil {
		return err
	}
	sec.End = s.dec.InputOffset()
	endPart()
	s.in.part = nil
	s.doc.Collections = append(s.doc.Collections, sec)
	return nil
}

// A tap stands between the input and the decoder. The decoder reads ahead, so
// the tap keeps what it has delivered until advance says that it was parsed,
// and only then takes the digests: of stored bytes, up to an exact place. It
// also ends the input where a single value would become too large.
type tap struct {
	r       io.Reader
	n       int64 // bytes delivered
	max     int64 // of the whole document
	limit   int64 // for now
	err     error // the first error of r, or that a limit was reached
	pending []byte
	whole   hash.Hash
	part    *maphash.Hash // of the current collection
}

// allow lets the decoder read up to the offset, and what it reads ahead.
func (t *tap) allow(offset int64) { t.limit = min(offset, t.max) }

func (t *tap) Read(p []byte) (int, error) {
	if t.n >= t.limit {
		t.err = fmt.Errorf("%w: a value of the document, or all of it, is too large", ErrLimit)
		// A document of just the size that is allowed still has to end.
		if n, err := t.r.Read(p[:1]); n == 0 && err == io.EOF {
			t.err = nil
			return 0, io.EOF
		}
		return 0, t.err
	}
	n, err := t.r.Read(p[:min(int64(len(p)), t.limit-t.n)])
	t.n += int64(n)
	t.pending = append(t.pending, p[:n]...)
	if err != nil && err != io.EOF {
		t.err = err
	}
	return n, err
}

// advance takes what stands before the offset into the digests.
func (t *tap) advance(offset int64) {
	k := len(t.pending) - int(t.n-offset)
	t.whole.Write(t.pending[:k])
	if t.part != nil {
		t.part.Write(t.pending[:k])
	}
	t.pending = append(t.pending[:0], t.pending[k:]...)
}

// Records calls f for the records of a section of a document that was scanned:
// the name in a map, the compact value and the offset of the value; both are
// valid until f returns. Nothing is given to f that is not what was scanned: the
// text is held against its sum first, and is then known to be well-formed.
func (sec *Section) Records(r io.ReaderAt, f func(name string, value []byte, offset int64) error) error {
	var buf, spare []byte
	start := sec.Start
	for _, part := range sec.parts {
		buf = slices.Grow(buf[:0], int(part.end-start))[:part.end-start]
		if n, err := r.ReadAt(buf, start); n < len(buf) && err != io.EOF {
			return err
		} else if n < len(buf) || maphash.Bytes(sec.seed, buf) != part.sum {
			return &Error{Kind: ErrSyntax, Offset: start, Collection: sec.Name, Err: errors.New("the file was changed while it was read")}
		}
		i := 0
		if start == sec.Start {
			i = 1 // behind the bracket
		}
		for {
			if i = skipBetween(buf, i); i == len(buf) || buf[i] == ']' || buf[i] == '}' {
				break
			}
			var name string
			if sec.IsMap {
				end := skipString(buf, i)
				name = string(unquote(buf[i:end]))
				i = skipBetween(buf, end)
			}
			end := skipValue(buf, i)
			v := buf[i:end:end]
			if !sec.compact {
				var err error
				if spare, err = jsontext.AppendFormat(spare[:0], v, trusted...); err != nil {
					return err
				}
				v = spare
			}
			if err := f(name, v, start+int64(i)); err != nil {
				return err
			}
			i = end
		}
		start = part.end
	}
	return nil
}

// skipBetween returns the index behind the white space and punctuation between
// two items.
func skipBetween(b []byte, i int) int {
	for i < len(b) && (b[i] == ',' || b[i] == ':' || b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}
