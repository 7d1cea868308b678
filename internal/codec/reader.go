package codec

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tomo-project/backup/internal/keyset"
)

// A Document is the result of Scan.
type Document struct {
	Members     map[string][]byte // the top-level members without "data", compact
	Collections []Section         // in the order of the text
	Bytes       int64
	SHA256      string // of all that comes before the integrity line; empty if there is no such line
	Proven      []byte // SHA-256 of all that comes before the member "proof"; nil if there is no such member
}

// Hooks are calls that Scan makes on its way.
type Hooks struct {
	// Version gets the first member before anything else is read.
	Version func(value []byte) error

	// Header, if not nil, gets the members before "data", before any record is
	// read. Nothing has been checked against the digest yet.
	Header func(members map[string][]byte) error

	// Again reads the text again, once Scan has read all of it. Scan uses it to
	// tell two names in a map apart that look the same (keyset.Set). If it is nil,
	// Scan takes them for the same.
	Again io.ReaderAt

	// Progress is called from time to time. Scan stops with its error.
	Progress func(collection string, records, bytes int64) error
}

// Scan reads a whole snapshot and checks everything that does not depend on the
// application: strict JSON, the layout of the format, and the limits. It
// computes the digest but does not compare it.
func Scan(r io.Reader, l Limits, hooks Hooks) (*Document, error) {
	return newScanner(r, l, hooks, blockBytes).scan()
}

type scanner struct {
	limits     Limits
	hooks      Hooks
	in         *tap
	dec        *jsontext.Decoder
	base       int64 // the offset at which dec has begun, see resume
	lane       *lane // nil: none
	doc        *Document
	collection string
	records    int64
	keyBytes   int64
	suspects   []suspect
	peek       bool // stop before the data
}

// newScanner returns a scanner with a lane that has blocks of a size. The size 0
// means that there is no lane.
func newScanner(r io.Reader, l Limits, hooks Hooks, size int) *scanner {
	s := &scanner{limits: l, hooks: hooks, doc: &Document{Members: map[string][]byte{}}}
	s.in = newTap(r, l.TotalBytes, 64<<10)
	s.dec = jsontext.NewDecoder(s.in, options...)
	if size > 0 {
		s.lane = newLane(s, size)
	}
	return s
}

func (s *scanner) scan() (*Document, error) {
	if err := s.document(); err != nil {
		return nil, s.wrap(err)
	}
	if err := s.lookAgain(); err != nil {
		return nil, err
	}
	return s.doc, nil
}

// offset is that of what dec reads next.
func (s *scanner) offset() int64 { return s.base + s.dec.InputOffset() }

// wrap gives an error its kind and place.
func (s *scanner) wrap(err error) error {
	if s.in.err != nil && !errors.Is(s.in.err, ErrLimit) {
		return s.in.err
	}
	e := &Error{Kind: ErrSyntax, Offset: s.offset(), Collection: s.collection, Err: err}
	if syntactic, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		e.Offset, e.Err = s.base+syntactic.ByteOffset, plain(err)
	}
	if own, ok := errors.AsType[*syntaxError](err); ok {
		e.Offset = own.at
	}
	if twice, ok := errors.AsType[*duplicate](err); ok {
		e.Offset = twice.at
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
	case isEnd(e.Err):
		e.Err = fmt.Errorf("the document ends too early: %w", io.ErrUnexpectedEOF)
		if s.in.n == 0 {
			e.Err = fmt.Errorf("the file is empty: %w", io.ErrUnexpectedEOF)
		}
		e.Offset = s.in.n
	}
	return e
}

// isEnd tells whether the text ended where more was expected.
func isEnd(err error) bool { return err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) }

var errHook = errors.New("stopped by the caller")

type hookError struct{ err error }

func (e hookError) Error() string        { return e.err.Error() }
func (e hookError) Is(target error) bool { return target == errHook }
func (e hookError) Unwrap() error        { return e.err }

// A layoutError is an error of kind ErrLayout whose text needs no prefix.
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
		name, at, err := s.name()
		if err != nil {
			return err
		}
		if s.doc.Members[name] != nil {
			return &duplicate{name, at, true}
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
		s.in.advance(s.offset())
	}
	if _, err := s.dec.ReadToken(); err != nil {
		return err
	}
	return s.end()
}

// before returns the digest of all that comes before a member whose name was
// just read. It refuses a name with an escape: otherwise one document could be
// written in two ways.
func (s *scanner) before(name string) ([]byte, error) {
	at := s.offset() - int64(len(name)+2)
	s.in.advance(at)
	if !bytes.HasPrefix(s.in.pending, Quote(name)) {
		return nil, &syntaxError{at, fmt.Sprintf("the name %q is written with an escape", name)}
	}
	return s.in.whole.Sum(nil), nil
}

// end checks that nothing follows the document. A document with an integrity
// line is fixed to the byte, so it can end in only one way.
func (s *scanner) end() error {
	s.in.allow(s.offset() + HeaderBytes)
	end := s.offset()
	if _, err := s.dec.ReadToken(); err == nil || err != io.EOF {
		if s.in.err != nil {
			return err
		}
		return &syntaxError{end, "something follows the end of the document"}
	}
	if s.doc.SHA256 != "" && string(s.in.pending) != lastLines {
		return &syntaxError{end, cmp.Or(MendEnd(string(s.in.pending)), `the line of "integrity" and the line "}" behind it are not as they were written`)}
	}
	s.doc.Bytes = s.in.n
	return nil
}

// lastLines is all that follows the value of "integrity".
const lastLines = "\n}\n"

// MendEnd says what is wrong with all that follows the value of "integrity", and how to
// mend it. Programs that handle text files change ends in two ways, and a person can undo
// both. For any other end the text is empty.
func MendEnd(end string) string {
	switch strings.ReplaceAll(end, "\r\n", "\n") {
	case end:
		if end == strings.TrimSuffix(lastLines, "\n") {
			return "only the line end behind the last line is missing: add it (echo >> FILE), and open the file again"
		}
	case lastLines, strings.TrimSuffix(lastLines, "\n"):
		return `its line ends were converted to those of Windows: convert them back (tr -d '\r' < FILE > NEWFILE), and open the result`
	}
	return ""
}

// No snapshot has more members or collections. Their names are kept in memory,
// so their number and their length are limited.
const (
	MaxCollections = 1000
	maxMembers     = 16
	maxName        = 256
)

// name reads the name of a member outside of the records, and its offset.
func (s *scanner) name() (name string, at int64, err error) {
	s.in.allow(s.offset() + HeaderBytes)
	literal, err := s.dec.ReadValue()
	if err != nil {
		return "", 0, err
	}
	at = s.offset() - int64(len(literal))
	name = string(unquote(literal))
	if len(name) > maxName {
		return "", 0, tooLong(maxName)
	}
	// There may be white space before the value.
	s.in.allow(s.offset() + 2*HeaderBytes)
	return name, at, nil
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
	compact, err := s.check(v, header)
	if err == nil && !compact {
		err = v.Compact()
	}
	return v, err
}

// check is checkValue for the value that was just read.
func (s *scanner) check(v []byte, l Limits) (compact bool, err error) {
	compact, err = checkValue(v, l)
	if twice, ok := errors.AsType[*duplicate](err); ok {
		twice.at += s.offset() - int64(len(v))
	}
	return compact, err
}

func tooLong(max int) error {
	return fmt.Errorf("%w: a value of more than %d bytes", ErrLimit, max)
}

func recordTooLong(l Limits) error {
	return fmt.Errorf("%w: a record of more than %d bytes (Limits.RecordBytes)", ErrLimit, l.RecordBytes)
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
		name, at, err := s.name()
		if err != nil {
			return err
		}
		if slices.ContainsFunc(s.doc.Collections, func(sec Section) bool { return sec.Name == name }) {
			return &duplicate{name, at, true}
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
	sec := Section{Name: name, IsMap: kind == '{', Start: s.offset() - 1, compact: true, seed: maphash.MakeSeed()}
	keys := keyset.New()
	var sum maphash.Hash
	sum.SetSeed(sec.seed)
	s.in.advance(sec.Start)
	s.in.part = &sum
	if s.lane != nil {
		if err := s.lane.records(&sec, keys); err != nil {
			return err
		}
	}
	endPart := func() {
		end := s.offset()
		s.in.advance(end)
		sec.parts = append(sec.parts, part{end: end, sum: sum.Sum64()})
		sum.Reset()
	}
	for more := s.dec.PeekKind(); more != '}' && more != ']'; more = s.dec.PeekKind() {
		s.allowRecord(s.offset())
		if sec.IsMap {
			if err := s.key(keys); err != nil {
				return err
			}
		} else if more != '{' && more != 0 {
			return layoutError("a record is not an object")
		}
		v, err := s.dec.ReadValue()
		if err != nil {
			return err
		}
		if len(v) > s.limits.RecordBytes {
			return recordTooLong(s.limits)
		}
		compact, err := s.check(v, s.limits)
		if err != nil {
			return err
		}
		sec.compact = sec.compact && compact
		sec.Count++
		if s.records++; s.records > s.limits.Records {
			return fmt.Errorf("%w: more than %d records (Limits.Records)", ErrLimit, s.limits.Records)
		}
		if len(s.in.pending) >= partBytes {
			endPart()
			if err := s.hooks.Progress(name, s.records, s.offset()); err != nil {
				return hookError{err}
			}
		}
	}
	if _, err := s.dec.ReadToken(); err != nil {
		return err
	}
	sec.End = s.offset()
	endPart()
	s.in.part = nil
	s.doc.Collections = append(s.doc.Collections, sec)
	return nil
}

// allowRecord lets the decoder read a record that begins behind the offset.
func (s *scanner) allowRecord(offset int64) {
	s.in.allow(offset + int64(s.limits.RecordBytes) + HeaderBytes)
}

// key reads the name of a record in a map. keys are the names so far.
func (s *scanner) key(keys *keyset.Set) error {
	literal, err := s.dec.ReadValue()
	if err != nil {
		return err
	}
	name := unquote(literal)
	if len(name) > MaxKey {
		return tooLong(MaxKey)
	}
	if err := s.limits.AddKey(&s.keyBytes, len(name)); err != nil {
		return err
	}
	return s.addName(keys, name, s.offset()-int64(len(literal)))
}

// addName adds the name of a record in a map, which stands at an offset, to keys.
func (s *scanner) addName(keys *keyset.Set, name []byte, at int64) error {
	if keys.AddBytes(name) {
		return nil
	}
	twice := &duplicate{name: string(name), at: at}
	if s.suspects = append(s.suspects, suspect{len(s.doc.Collections), twice}); s.hooks.Again == nil || len(s.suspects) > maxSuspects {
		return twice
	}
	return nil
}
