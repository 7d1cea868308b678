package backup

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"slices"
	"strings"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/fault"
	"github.com/tomo-project/backup/internal/keyset"
	"github.com/tomo-project/backup/internal/stream"
)

// A placement finds out which lines are records, and of which collection each is.
type placement struct {
	*salvage
	*outline
	shards  []*shard // those that the file has or may have had, in the order of writing
	byName  map[string]*shard
	missing []*shard // declared ones whose opening line is lost

	// Where the placement is in the file.
	current *shard   // the collection that the next line is of, nil if that is not known
	hidden  []*shard // missing ones that may come before the next of openings
	left    *shard   // the collection before current, if current was taken for begun by the looks of a record
	unsure  bool     // something was lost since current began
	begun   *shard   // the collection that the line before began, if it did
	ended   bool     // the line before ended a collection

	// What tellsApart has found for the last record of a collection with so many, since
	// that may be large and each line may ask.
	apart     map[*shard]bool
	apartFrom *shard
	apartAt   int64

	lost LostRange // the last one, which the next line may extend
	buf  []byte
}

// newPlacement makes the shards. It decides for each opening which collection that
// begins, and which others may follow.
func (s *salvage) newPlacement(o *outline) *placement {
	p := &placement{salvage: s, outline: o, byName: make(map[string]*shard)}
	if s.file.manifest.SchemaVersion == s.SchemaVersion {
		for i, col := range s.order {
			p.newShard(&shard{name: col.Name, isMap: col.Shape == Map, order: i, col: col, key: col.key})
		}
	}
	p.openings = slices.Insert(p.openings, 0, opening{offset: -1}) // stands for the beginning of the file
	for i := range p.openings[1:] {
		o := &p.openings[i+1]
		o.shard = p.byName[o.name]
		if _, counted := p.counts[o.name]; counted && o.shard == nil {
			o.shard = p.newShard(&shard{name: o.name, isMap: o.isMap, order: -1})
		}
		if o.shard != nil {
			o.shard.opened = true
			o.damaged = o.shard.isMap != o.isMap
		}
	}
	strange := p.counts == nil // there may be collections that are not declared
	for name := range p.counts {
		strange = strange || p.byName[name] == nil
	}
	for _, sh := range p.shards {
		if _, counted := p.counts[sh.name]; !sh.opened && (counted || strange && !sh.col.Optional) {
			p.missing = append(p.missing, sh)
		}
	}
	for i := range p.openings {
		o := &p.openings[i]
		if o.shard != nil || i == 0 {
			continue
		}
		// The name is not known. If a collection is missing here, its name is damaged.
		likely := slices.DeleteFunc(p.between(i), func(sh *shard) bool { return sh.isMap != o.isMap })
		switch {
		case len(likely) == 1:
			o.shard, o.damaged = likely[0], true
			o.shard.opened = true
		case len(likely) == 0 && strange:
			o.shard = p.newShard(&shard{name: o.name, isMap: o.isMap, order: -1, opened: true})
		}
	}
	p.openings = slices.DeleteFunc(p.openings, func(o opening) bool { return o.shard == nil && o.offset >= 0 })
	for i := range p.openings {
		p.openings[i].hidden = p.between(i)
	}
	p.hidden, p.openings = p.openings[0].hidden, p.openings[1:]
	return p
}

// newShard adds a shard, and finds out where its secrets are.
func (p *placement) newShard(sh *shard) *shard {
	listed := false
	if e := p.file.encryption; e != nil {
		if key, secrets, err := places(e.Fields[sh.name], sh.isMap); err == nil && len(secrets) > 0 {
			listed = true
			sh.sealed = secrets
			if sh.col == nil {
				sh.key = key
			}
			sh.open, _ = p.file.opener(&codec.Section{Name: sh.name, IsMap: sh.isMap})
		}
	}
	switch {
	case listed:
	case sh.col != nil:
		sh.sealed, sh.strip = sh.col.secrets, len(sh.col.secrets) > 0
	default:
		sh.strip = p.file.encryption == nil // it is not known where the secrets are
	}
	sh.keys = keyset.New()
	p.byName[sh.name] = sh
	p.shards = append(p.shards, sh)
	return sh
}

// between returns the missing collections that come between openings[i] and the next
// one, in the order of writing.
func (p *placement) between(i int) (found []*shard) {
	from, to := -1, len(p.order)
	for k, o := range p.openings {
		switch {
		case o.shard == nil || o.shard.order < 0:
		case k <= i:
			from = o.shard.order
		default:
			to = min(to, o.shard.order)
		}
	}
	for _, sh := range p.missing {
		if !sh.opened && from < sh.order && sh.order < to {
			found = append(found, sh)
		}
	}
	return found
}

// placeAll reads the file again.
func (p *placement) placeAll() error {
	err := p.eachLine("check", stream.WithContext(p.ctx, io.NewSectionReader(p.file.r, 0, p.size)), p.takeLine)
	p.flushLost()
	return err
}

func (p *placement) takeLine(l codec.Line) error {
	begun, ended := p.begun, p.ended
	p.begun, p.ended = nil, false
	text := codec.Trim(l.Text)
	switch {
	case len(p.openings) > 0 && p.openings[0].offset == l.Offset:
		o := p.openings[0]
		p.openings = p.openings[1:]
		p.begin(o.shard, o.hidden)
		if p.begun = o.shard; o.damaged {
			p.lose(l, o.shard.name, "", "the line that begins the collection is damaged")
			p.unsure = false
		}
	case p.frame[l.Offset]:
		p.begin(nil, p.hidden)
	case l.Cut:
		p.loseText(l, fmt.Sprintf("longer than the limit on a record, %d bytes (Limits.RecordBytes)", p.limits.RecordBytes))
	case isBracket(text):
		p.ended = true
		switch {
		case ended: // this bracket ends the data
			p.begin(nil, nil)
		case p.current != nil && p.current.isMap == (text[0] == '}'):
			p.current.empty = begun != nil && begun.n == 0
			p.begin(nil, p.hidden)
		}
	case l.Ended && openingLine.Match(text):
		if sh := p.byName[string(openingLine.FindSubmatch(text)[1])]; sh != nil && sh.opened {
			p.begin(sh, nil)
		} else {
			p.lose(l, "", "", "a line that begins a collection, where none can begin")
		}
	default:
		return p.takeRecord(l, text)
	}
	return nil
}

// begin says that the next lines are of a collection, or of a hidden one.
func (p *placement) begin(sh *shard, hidden []*shard) {
	p.current, p.hidden, p.left, p.unsure = sh, hidden, nil, false
	if p.collection = ""; sh != nil {
		p.collection = sh.name
	}
}

// takeRecord finds the collection of a line, if that is a record.
func (p *placement) takeRecord(l codec.Line, text []byte) error {
	r, isMap, err := p.parse(l, text, &p.buf)
	if p.isFrame(l.Offset, r.key) {
		reason := "a damaged line of the end"
		if l.Offset < p.headerEnd {
			reason = "a damaged line of the header"
		}
		p.lose(l, "", "", reason)
		return nil
	}
	if err != nil {
		p.loseText(l, err.Error())
		return nil
	}
	c, err := p.place(r, isMap)
	if err != nil {
		p.loseText(l, err.Error())
		return nil
	}
	if p.records++; p.records > p.limits.Records {
		return fmt.Errorf("%w: more than %d records (Limits.Records)", ErrLimit, p.limits.Records)
	}
	if isMap {
		if err := p.limits.AddKey(&p.keyBytes, len(r.key)); err != nil {
			return err
		}
	}
	sh := c.shard
	if c.key != "" {
		sh.keys.Add(c.key)
	}
	if c.stripped {
		sh.stripped++
	}
	sh.guessed = sh.guessed || p.unsure && (!sh.opened || len(p.hidden) > 0)
	sh.add(spot{l.Offset, uint32(len(text)), uint32(maphash.Bytes(p.seed, text))})
	return nil
}

// place finds the collection of a record.
func (p *placement) place(r item, isMap bool) (c candidate, err error) {
	full := false
	err = errors.New("no collection is known that it could be of")
	if p.current != nil {
		count, counted := p.counts[p.current.name]
		full = counted && p.current.n >= count
		if c, err = p.current.fits(r, isMap); err == nil && !full {
			return p.orBefore(c, r, isMap)
		}
		if back, ok := p.goBack(r, isMap); ok {
			return back, nil
		}
	}
	var fitting []candidate
	var names []string
	next := 0 // index in hidden after the one that fits
	for i, sh := range p.hidden {
		other, otherErr := sh.fits(r, isMap)
		switch {
		case otherErr == nil && !full && !other.proven && !p.tellsApart(sh):
		case otherErr == nil:
			fitting, names, next = append(fitting, other), append(names, sh.name), i+1
		case err != nil && other.stripped:
			err = otherErr
		}
	}
	switch {
	case len(fitting) == 1:
		left := p.current
		p.begin(fitting[0].shard, p.hidden[next:])
		if p.unsure = true; !full { // the counts do not say that it is over
			p.left = left
		}
		return fitting[0], nil
	case len(fitting) > 1 && err != nil:
		return c, fmt.Errorf("it could be of %s: the line that begins its collection is lost", strings.Join(names, " or "))
	}
	return c, err
}

// tellsApart tells whether a record that fits sh and not the current collection may
// begin sh. It does not if sh takes records of the current one too, by the last of
// them or because it takes anything. Then it is a damaged record of the current one.
func (p *placement) tellsApart(sh *shard) bool {
	switch {
	case p.current == nil:
		return true
	case p.current.n == 0:
		return p.unsure || sh.col != nil && len(sh.col.Schema) > 0
	}
	if p.apartFrom != p.current || p.apartAt != p.current.n {
		p.apart, p.apartFrom, p.apartAt = make(map[*shard]bool), p.current, p.current.n
	}
	apart, known := p.apart[sh]
	if !known {
		last, isMap, err := p.lastRecord(p.current)
		if err == nil {
			_, err = sh.fits(last, isMap)
			apart = err != nil
		}
		p.apart[sh] = apart
	}
	return apart
}

// lastRecord reads the last record of a collection again.
func (p *placement) lastRecord(sh *shard) (r item, isMap bool, err error) {
	page := sh.pages[len(sh.pages)-1]
	at := page[len(page)-1]
	text, buf := make([]byte, at.length), []byte(nil)
	if n, err := p.file.r.ReadAt(text, at.offset); n < len(text) {
		return item{}, false, err
	}
	return p.parse(codec.Line{Ended: true}, text, &buf)
}

// orBefore decides about a record that fits the current collection. If that was taken
// for begun by the looks of a record, the record may be of the collection before.
func (p *placement) orBefore(c candidate, r item, isMap bool) (candidate, error) {
	if p.left == nil || c.proven {
		return c, nil
	}
	before, err := p.left.fits(r, isMap)
	switch {
	case err != nil:
		return c, nil
	case before.proven:
		p.begin(p.left, p.hidden)
		p.unsure = true
		return before, nil
	}
	return c, fmt.Errorf("it could be of %s or %s: the line that begins its collection is lost", p.left.name, p.current.name)
}

// goBack tells whether a record is of the collection before, from which the looks of a
// damaged record have led away.
func (p *placement) goBack(r item, isMap bool) (c candidate, ok bool) {
	if p.left == nil {
		return c, false
	}
	c, err := p.left.fits(r, isMap)
	if err != nil {
		return c, false
	}
	p.begin(p.left, p.hidden)
	p.unsure = true
	return c, true
}

// loseText reports a line that cannot be used, with its collection and key if these
// are known.
func (p *placement) loseText(l codec.Line, reason string) {
	sh := p.current
	if sh == nil || p.unsure && len(p.hidden) > 0 || bytes.HasPrefix(l.Text, []byte(`"`)) && !sh.isMap || bytes.HasPrefix(l.Text, []byte(`{`)) && sh.isMap {
		p.lose(l, "", "", reason)
		return
	}
	if isRecord(l.Text) {
		sh.gone++
	}
	key := ""
	if sh.isMap {
		key = codec.GlimpseName(l.Text)
	} else if len(sh.key) > 0 {
		key = sh.key.Glimpse(l.Text)
	}
	p.lose(l, sh.name, key, reason)
}

// isRecord tells whether a damaged line was a record, and not what begins or ends a
// collection.
func isRecord(line []byte) bool {
	text := codec.Trim(line)
	return len(text) > 0 && (text[0] == '{' || text[0] == '"') && bytes.IndexByte([]byte("[{"), text[len(text)-1]) < 0
}

// lose reports a line that cannot be used.
func (p *placement) lose(l codec.Line, collection, key, reason string) {
	p.unsure = true
	p.report.LostBytes += l.End - l.Offset
	next := LostRange{l.Offset, l.End, collection, key, fault.Shorten(reason)}
	if last := p.lost; last.To == next.From && last.Collection == collection && last.Key == "" && key == "" && last.Reason == next.Reason {
		p.lost.To = next.To
		return
	}
	p.flushLost()
	p.lost = next
}

// flushLost adds the last LostRange to the report.
func (p *placement) flushLost() {
	if p.lost.To == 0 {
		return
	}
	if p.report.Ranges++; len(p.report.Lost) < maxProblems {
		p.report.Lost = append(p.report.Lost, p.lost)
	}
}

var errNotJSON = errors.New("not well-formed JSON")

// parse reads the line of a record into buf. Its error never quotes the line.
func (s *salvage) parse(l codec.Line, text []byte, buf *[]byte) (r item, isMap bool, err error) {
	r.offset = l.Offset
	switch {
	case len(text) > 0 && text[0] == '{':
		*buf, err = codec.Compact((*buf)[:0], text, s.limits)
		r.value = *buf
	case len(text) > 0 && text[0] == '"':
		isMap = true
		r.key, r.value, *buf, err = codec.Member((*buf)[:0], text, s.limits)
	default:
		err = errNotJSON
	}
	switch {
	case errors.Is(err, codec.ErrLimit):
	case err != nil:
		err = errNotJSON
	case isMap && !l.Ended && len(text) == len(l.Text) && bytes.IndexByte([]byte("-0123456789"), r.value[0]) >= 0:
		err = errors.New("the file ends within it") // a number, which may have had more digits
	}
	return r, isMap, err
}
