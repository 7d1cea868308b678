package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/tomo-project/backup/internal/codec"
)

// What is left of the records of a damaged file, and which collections they are of.

// classify reads the file again and finds the records.
func (s *salvage) classify() error {
	digest := sha256.New()
	left := int64(0)
	if offset, found := s.at["integrity"]; found {
		left = offset
	}
	in := ctxReader{s.ctx, io.NewSectionReader(s.file.r, 0, s.size)}
	var begun *shard // by the line before
	buf := make([]byte, 0, 4096)
	err := s.each("check", io.TeeReader(in, writerFunc(func(p []byte) {
		n := min(left, int64(len(p)))
		digest.Write(p[:n])
		left -= n
	})), func(l codec.Line) error {
		before := begun
		begun = nil
		switch text := codec.Trim(l.Text); {
		case s.next < len(s.openings) && s.openings[s.next].offset == l.Offset:
			o := s.openings[s.next]
			s.next++
			begun = s.begin(s.byName[o.name])
			if o.damaged {
				s.lose(l, o.name, "", "the line that begins the collection is damaged")
				s.unsure = false
			}
		case s.lines[l.Offset]:
			s.end()
		case l.Offset < s.data:
			s.lose(l, "", "", "a damaged line of the header")
		case l.Cut:
			s.loseRecord(l, fmt.Sprintf("longer than the limit on a record, %d bytes", s.limits.RecordBytes))
		case string(text) == "]" || string(text) == "}":
			if before != nil && before.n == 0 && (text[0] == '}') == before.isMap {
				before.empty = true
			}
			s.end()
		case openingLine.Match(bytes.TrimRight(l.Text, " \t\r")):
			if sh := s.byName[string(openingLine.FindSubmatch(text)[1])]; sh != nil && sh.opened {
				s.begin(sh)
			} else {
				s.lose(l, "", "", "a line that begins a collection, where none can begin")
			}
		default:
			var err error
			buf, err = s.record(l, text, buf[:0])
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.flush()
	s.report.Kept = make(map[string]int64)
	s.judge(hex.EncodeToString(digest.Sum(nil)))
	return nil
}

type writerFunc func(p []byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}

// begin goes on in a collection whose beginning was found.
func (s *salvage) begin(sh *shard) *shard {
	s.current, s.closed, s.unsure = sh, nil, false
	if sh.order >= 0 {
		s.place = sh.order + 1
	}
	return sh
}

// end leaves the current collection.
func (s *salvage) end() {
	if s.current != nil {
		s.closed, s.current = s.current, nil
	}
}

// others returns the collections whose beginning is lost and that come between
// the last one that was found and the next.
func (s *salvage) others() []*shard {
	end := len(s.order)
	for _, o := range s.openings[min(s.next, len(s.openings)):] {
		if sh := s.byName[o.name]; sh.order >= 0 {
			end = sh.order
			break
		}
	}
	var found []*shard
	for _, sh := range s.shards {
		if sh.order < s.place || sh.order >= end || sh.opened || sh == s.current {
			continue
		}
		if !s.mayHave(sh) {
			continue
		}
		found = append(found, sh)
	}
	return found
}

// ofFrame tells whether a line that could be a record of a map is what is left
// of one of the header, where the line that ends the header is lost, or of the
// end.
func (s *salvage) ofFrame(l codec.Line, r item) bool {
	if similar(r.key, "integrity") && (s.current == nil || bytes.HasPrefix(r.value, []byte(`{"sha256":`))) {
		return true
	}
	if s.current != nil || s.data >= 0 || l.Offset >= s.headerEnd {
		return s.current == nil && similar(r.key, "left_out")
	}
	for member, offset := range s.at {
		if member != "integrity" && member != "left_out" && offset > l.Offset {
			return true
		}
	}
	return slices.ContainsFunc(headerNames, func(member string) bool { return similar(r.key, member) })
}

// mayHave tells whether the file can have had the collection, by its counts. If
// one of their names is damaged, only what is always there may have.
func (s *salvage) mayHave(sh *shard) bool {
	if _, counted := s.counts[sh.name]; counted || s.counts == nil {
		return true
	}
	return !s.whole && (!sh.col.Optional || slices.ContainsFunc(slices.Collect(maps.Keys(s.counts)), func(name string) bool { return similar(name, sh.name) }))
}

// A candidate is a record in a collection that it may be of.
type candidate struct {
	shard   *shard
	key     string
	keyed   bool
	secrets bool // it lost some
}

// record takes a line for a record, if it is one.
func (s *salvage) record(l codec.Line, text, buf []byte) ([]byte, error) {
	r, isMap, buf, err := s.parse(l, text, buf)
	if err != nil {
		s.loseRecord(l, err.Error())
		return buf, nil
	}
	if isMap && s.ofFrame(l, r) {
		s.lose(l, "", "", "a damaged line of the header, or of the end")
		return buf, nil
	}
	try := func(sh *shard) (candidate, error) {
		if sh.isMap != isMap {
			return candidate{}, fmt.Errorf("not of the shape of %s", sh.name)
		}
		return s.fits(sh, r)
	}
	var c candidate
	var likely *shard // what a record that is lost was of
	err = errors.New("no collection is known that it could be of")
	if s.current != nil {
		c, err = try(s.current)
	}
	// What is more than the file had of a collection may be of the next one.
	full := false
	if s.current != nil {
		n, counted := s.counts[s.current.name]
		full = counted && s.current.n >= n
	}
	if err != nil || full {
		var fitting, bare []candidate
		var bareErr error
		for _, sh := range s.others() {
			if _, counted := s.counts[sh.name]; err == errDuplicate && !counted && sh.col.Optional {
				continue // nothing says that the file had it
			}
			other, err := try(sh)
			switch {
			case err == nil:
				fitting = append(fitting, other)
			case other.secrets:
				bare, bareErr = append(bare, other), err
			}
		}
		switch {
		case len(fitting) == 1:
			c, err = fitting[0], nil
			s.current, s.closed, s.unsure, s.place = c.shard, nil, true, c.shard.order
		case err == nil:
		case len(fitting) > 1:
			var names []string
			for _, c := range fitting {
				names = append(names, c.shard.name)
			}
			err = fmt.Errorf("it could be of %s: the line that begins its collection is lost", strings.Join(names, " or "))
		case s.current == nil && s.closed != nil:
			c, err = try(s.closed) // the line that ended it was none
		}
		if err != nil && len(fitting) == 0 && len(bare) == 1 {
			likely, err = bare[0].shard, bareErr
		}
	}
	if err != nil {
		name, key := "", ""
		if likely == nil {
			likely = s.known()
		}
		if sh := likely; sh != nil && sh.isMap == isMap {
			name, key = sh.name, s.keyOf(sh, r)
			sh.gone++
		}
		s.lose(l, name, key, err.Error())
		return buf, nil
	}
	if s.total++; s.total > s.limits.Records {
		return buf, fmt.Errorf("%w: more than %d records", ErrLimit, s.limits.Records)
	}
	sh := c.shard
	if c.keyed {
		sh.keys.Add(c.key)
	}
	if c.secrets {
		if s.report.SecretsLost == nil {
			s.report.SecretsLost = make(map[string]int64)
		}
		s.report.SecretsLost[sh.name]++
	}
	if s.unsure && (!sh.opened || len(s.others()) > 0) {
		if s.guessed == nil {
			s.guessed = make(map[string]bool)
		}
		s.guessed[sh.name] = true
	}
	sh.add(spot{l.Offset, uint32(len(text)), uint32(maphash.Bytes(s.seed, text))})
	return buf, nil
}

// known returns the collection that a damaged line is of, or nil.
func (s *salvage) known() *shard {
	if s.unsure && len(s.others()) > 0 {
		return nil
	}
	return s.current
}

var (
	errNotJSON  = errors.New("not well-formed JSON")
	errUnending = errors.New("the file ends within it")

	errDuplicate = errors.New("a record before it has the same key")
)

// parse reads the line of a record. Its error never quotes the line.
func (s *salvage) parse(l codec.Line, text, buf []byte) (r item, isMap bool, out []byte, err error) {
	r.offset = l.Offset
	switch {
	case len(text) > 0 && text[0] == '{':
		r.value, err = codec.Compact(buf, text, s.limits)
		out = r.value
	case len(text) > 0 && text[0] == '"':
		isMap = true
		r.key, r.value, out, err = codec.Member(buf, text, s.limits)
	default:
		return r, false, buf, errNotJSON
	}
	switch {
	case errors.Is(err, codec.ErrLimit):
	case err != nil:
		err = errNotJSON
	case isMap && !l.Ended && len(text) == len(l.Text) && bytes.IndexByte([]byte("-0123456789"), r.value[0]) >= 0:
		err = errUnending // the number may have had more digits
	}
	return r, isMap, out, err
}

// keyOf returns the key of an intact line that is lost.
func (s *salvage) keyOf(sh *shard, r item) string {
	if sh.isMap {
		return r.key
	}
	if len(sh.key) == 0 {
		return ""
	}
	key, _ := codec.Identity(codec.Get(r.value, sh.key))
	return key
}

// bare returns a record without the secrets that nothing opens any more.
func (sh *shard) bare(r item) (_ item, changed bool, err error) {
	view := r.value
	if sh.isMap {
		view = viewMember(r.key, r.value, nil)
	}
	rest := codec.Prune(view, sh.sealed, isSealed)
	if len(rest) == len(view) {
		return r, false, nil
	}
	if sh.isMap {
		if string(rest) == "{}" {
			return r, true, errors.New("a sealed secret, and what says how to open it is lost")
		}
		rest = unviewMember(r.key, rest)
	}
	r.value = rest
	return r, true, nil
}

func isSealed(value []byte) bool {
	_, ok := codec.OnlyMember(value, sealedMember)
	return ok
}

// The least that a sealed value has: nonce, one byte and tag.
const minSealed = 24 + 1 + 16

// fits tells whether a record can be one of a collection.
func (s *salvage) fits(sh *shard, r item) (candidate, error) {
	c := candidate{shard: sh}
	var err error
	view := func() []byte {
		if sh.isMap {
			return viewMember(r.key, r.value, nil)
		}
		return r.value
	}
	switch {
	case sh.strip:
		if r, c.secrets, err = sh.bare(r); err != nil {
			return c, err
		}
	case sh.open != nil:
		opened, err := sh.open(r)
		if err != nil {
			if record, ok := errors.AsType[*RecordError](err); ok {
				err = record.Err
			}
			return c, err
		}
		r = opened
	case len(sh.sealed) > 0:
		err := codec.Find(view(), sh.sealed, func(_ string, start, end int) error {
			text, ok := codec.OnlyMember(view()[start:end], sealedMember)
			if !ok {
				return errors.New("a secret is not sealed")
			}
			if raw, ok := decodeBase64(text); !ok || len(raw) < minSealed {
				return errors.New("a sealed secret is malformed")
			}
			return nil
		})
		if err != nil {
			return c, err
		}
	}
	switch {
	case sh.col != nil:
		if err := sh.examine(&r); err != nil {
			if c.secrets {
				err = fmt.Errorf("without its secrets, which nothing opens any more: %w", err)
			}
			return c, err
		}
		c.key, c.keyed = r.key, true
	case sh.isMap:
		c.key, c.keyed = r.key, true
	case len(sh.key) > 0:
		if c.key, err = codec.Identity(codec.Get(r.value, sh.key)); err == nil {
			c.keyed = true
		}
	}
	if c.keyed && sh.keys.Has(c.key) {
		return c, errDuplicate
	}
	return c, nil
}

// trials are what is put in the place of sealed values to find out whether the
// rest of a record satisfies the schema. The first are the sealed values.
var trials = []string{"", `"x"`, `"xxxxxxxxxxxxxxxx"`, `""`, `null`, `0`, `true`, `{}`, `[]`}

// examine holds a record against the declaration and sets its key. The schema
// is not held against secrets that are still sealed.
func (sh *shard) examine(r *item) error {
	col := sh.col
	var sealedAt []string
	view := col.view(r.key, r.value, nil)
	places := sh.sealed
	if sh.open == nil && !sh.strip {
		for _, secrets := range [][]codec.Pointer{sh.sealed, col.secrets} {
			codec.Find(view, secrets, func(pointer string, start, end int) error {
				if isSealed(view[start:end]) && !slices.Contains(sealedAt, pointer) {
					sealedAt = append(sealedAt, pointer)
				}
				return nil
			})
		}
		if len(places) == 0 {
			places = col.secrets
		}
	}
	if len(sealedAt) == 0 {
		return firstProblem(col.examine(r))
	}
	key, err := col.identity(r)
	if err != nil {
		return err
	}
	r.key = key
	col.eachRef(view, func(_, _, pointer string, bad error) {
		if bad != nil && err == nil {
			err = fmt.Errorf("%s: %w", pointer, bad)
		}
	})
	if err != nil || col.schema == nil {
		return err
	}
	var first error
	for _, trial := range trials {
		v := view
		if trial != "" {
			v, _ = codec.Rewrite(view, places, func(_ string, value []byte) ([]byte, error) {
				if isSealed(value) {
					return []byte(trial), nil
				}
				return value, nil
			})
		}
		var found error
		for _, p := range col.schema.Validate(codec.Decode(v)) {
			inside := func(at string) bool { return p.Pointer == at || strings.HasPrefix(p.Pointer, at+"/") }
			if !slices.ContainsFunc(sealedAt, inside) {
				found = fmt.Errorf("%s: %s", shorten(p.Pointer), p.Message)
				break
			}
		}
		if found == nil {
			return nil
		}
		if first == nil {
			first = found
		}
	}
	return first
}

func firstProblem(found []*RecordError) error {
	if len(found) == 0 {
		return nil
	}
	if p := found[0]; p.Pointer != "" {
		return fmt.Errorf("%s: %w", shorten(p.Pointer), p.Err)
	}
	return found[0].Err
}

// loseRecord takes note of a line that is no record.
func (s *salvage) loseRecord(l codec.Line, reason string) {
	name, key := "", ""
	if sh := s.known(); sh != nil {
		name = sh.name
		sh.gone++
		if sh.isMap {
			key = codec.GlimpseName(l.Text)
		} else if len(sh.key) > 0 {
			key = codec.Glimpse(l.Text, sh.key)
		}
	}
	s.lose(l, name, key, reason)
}

// lose takes note of a line that nothing is made of.
func (s *salvage) lose(l codec.Line, collection, key, reason string) {
	s.unsure = true
	s.report.LostBytes += l.End - l.Offset
	if p := s.lost; p != nil && p.To == l.Offset && p.Collection == collection && p.Key == "" && key == "" && p.Reason == reason {
		p.To = l.End
		return
	}
	s.flush()
	s.lost = &LostRange{l.Offset, l.End, collection, key, shorten(reason)}
}

func (s *salvage) flush() {
	if s.lost == nil {
		return
	}
	if s.report.Ranges++; len(s.report.Lost) < maxProblems {
		s.report.Lost = append(s.report.Lost, *s.lost)
	}
	s.lost = nil
}
