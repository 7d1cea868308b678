package backup

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"runtime"
	"slices"
	"sync"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/envelope"
	"github.com/tomo-project/backup/internal/fault"
)

// A Change is what happens to one record.
type Change struct {
	Collection string `json:"collection"`
	Key        string `json:"key"`
	Action     Action `json:"action"`

	// From is the key of the record in the snapshot, if the host has it under another.
	From string `json:"from,omitempty"`

	// With is the key of the host's record that a skipped record clashes with.
	With string `json:"with,omitempty"`

	// Label is what people call the record: see [Collection].Label. It is that of the record
	// as it becomes, or of a record that goes away.
	Label string `json:"label,omitempty"`

	// Fields are the places in which the two sides differ. If only one side has the
	// record, they are its members.
	Fields []FieldChange `json:"fields,omitempty"`
}

// A FieldChange is a place in which the host's record differs from the record that
// it becomes, or, with Skip, from the snapshot's. Secrets are masked: a secret that
// changes reads "(secret)" on both sides.
type FieldChange struct {
	Pointer string          `json:"pointer"`          // JSON Pointer; empty for the whole record
	Before  json.RawMessage `json:"before,omitempty"` // nil: the host has no such member
	After   json.RawMessage `json:"after,omitempty"`  // nil: the member goes away
}

// Action is what happens to a record. A record that stays as it is has no Change,
// except with Skip.
type Action string

const (
	Add    Action = "add"    // only the snapshot has the record
	Update Action = "update" // both have it, and the host's changes
	Skip   Action = "skip"   // both have it and differ, or it clashes, and the host's stays
	Delete Action = "delete" // only the host has it
)

// Changes yields the changes of the plan, deletions first. They are those of the time
// when the plan was made: Changes asks neither the Sink nor the Snapshot, and Apply finds
// out whether they are still right. Several goroutines may call it.
func (p *Plan) Changes(ctx context.Context) iter.Seq2[Change, error] { return p.ChangesFrom(ctx, 0) }

// ChangesFrom yields the changes as Changes does, without the first skip. To skip many
// costs as much as to skip none, so that a page far behind comes as soon as the first.
func (p *Plan) ChangesFrom(ctx context.Context, skip int) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		err := p.given()
		if err == nil {
			defer runtime.KeepAlive(p) // what keeps the changes goes with the plan
			err = p.changes.each(ctx, skip, func(e entry) error {
				if !yield(p.in.byName[e.collection].change(e), nil) {
					return errStop
				}
				return nil
			})
		}
		if err != nil && err != errStop {
			yield(Change{}, fmt.Errorf("plan: %w", err))
		}
	}
}

// DropChanges removes what the plan keeps for Changes, which takes room in the TempDir of
// the Snapshot if there are many. The plan can still be applied, and Changes yields an
// error that wraps fs.ErrClosed. It is for whoever makes several plans of one Snapshot;
// Close does the same.
func (p *Plan) DropChanges() error {
	if p == nil || p.in == nil {
		return p.given()
	}
	return p.changes.drop()
}

// An entry is a change as it is kept.
type entry struct {
	collection, key, with string
	from                  string // the key in the snapshot, if that is another
	action                Action
	before, after         []byte // the values of the record; nil: none
}

// change shows an entry to people.
func (col *collection) change(e entry) Change {
	c := Change{Collection: e.collection, Key: e.key, From: e.from, Action: e.action, With: e.with}
	value := e.after
	if value == nil {
		value = e.before
	}
	c.Label = fault.Shorten(col.called(e.key, value))
	view := func(value []byte) []byte {
		if value == nil { // so that the other side is shown member by member
			return []byte("{}")
		}
		return col.view(e.key, value)
	}
	if e.before == nil || e.after == nil {
		c.Fields = make([]FieldChange, 0, 8)
	}
	codec.Diff(view(e.before), view(e.after), col.secrets, []byte(`"(secret)"`), func(pointer string, before, after []byte) {
		// Whoever keeps a small field must not keep the whole record with it.
		c.Fields = append(c.Fields, FieldChange{col.inside(e.key, pointer), bytes.Clone(before), bytes.Clone(after)})
	})
	return c
}

// The changes of a plan stay in memory up to changesInMemory. Every changesApart-th has
// its place noted.
const (
	changesInMemory = 256 << 10
	changesApart    = 32
)

// A changeLog keeps the changes of a plan: the last of them in memory, and those before
// in an encrypted temporary file, since their values may be secrets.
type changeLog struct {
	dir    string // of the temporary file
	failed string // what to say if that cannot be had

	mu     sync.Mutex      // guards what follows
	spool  *envelope.Spool // nil: all are in memory
	stored int64           // the bytes in the spool
	tail   []byte          // the changes after those in the spool
	places []int64         // where the changes number 0, 32, 64 … begin
	count  int
	err    error // why the changes are not kept
}

// add keeps a change. If that fails, each says why, and the plan can be applied all the same.
func (l *changeLog) add(e entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return
	}
	if l.count%changesApart == 0 {
		l.places = append(l.places, l.stored+int64(len(l.tail)))
	}
	l.count++
	l.tail = appendFrame(l.tail, []byte(e.collection), []byte(e.key), []byte(e.from), []byte(e.with), []byte(e.action), e.before, e.after)
	if len(l.tail) < changesInMemory {
		return
	}
	if l.spool == nil {
		l.spool, l.err = envelope.NewSpool(l.dir)
	}
	for part := range slices.Chunk(l.tail, changesInMemory) { // of a record of any size
		if l.err == nil {
			_, l.err = l.spool.Write(part)
		}
	}
	if l.err != nil {
		err := fmt.Errorf("%s: %w", l.failed, l.err)
		l.empty()
		l.err = err
		return
	}
	l.stored += int64(len(l.tail))
	if l.tail = l.tail[:0]; cap(l.tail) > 2*changesInMemory {
		l.tail = nil
	}
}

// appendFrame appends texts, each with its length before it.
func appendFrame(frame []byte, parts ...[]byte) []byte {
	for _, part := range parts {
		frame = binary.AppendUvarint(frame, uint64(len(part)))
		frame = append(frame, part...)
	}
	return frame
}

// each calls f for all changes but the first skip.
func (l *changeLog) each(ctx context.Context, skip int, f func(entry) error) error {
	skip = max(0, skip)
	l.mu.Lock()
	in, count, places, err := l.reader(), l.count, l.places, l.err
	l.mu.Unlock()
	if err != nil || skip >= count {
		return err
	}
	at := skip / changesApart
	r := changeReader{in: bufio.NewReaderSize(io.NewSectionReader(in, places[at], 1<<62), 32<<10)}
	for n := at * changesApart; n < count; n++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		e, err := r.next()
		if err != nil {
			return fmt.Errorf("read the changes: %w", err)
		}
		if n < skip {
			continue
		}
		if err := f(e); err != nil {
			return err
		}
	}
	return nil
}

// reader returns a reader of all that is kept.
func (l *changeLog) reader() io.ReaderAt {
	memory := bytes.NewReader(l.tail)
	if l.spool == nil {
		return memory
	}
	return spooled{l.spool, l.stored, memory}
}

// A spooled reader reads the bytes of a spool and those that follow in memory.
type spooled struct {
	*envelope.Spool
	stored int64
	tail   *bytes.Reader
}

func (s spooled) ReadAt(p []byte, at int64) (int, error) {
	if at >= s.stored {
		return s.tail.ReadAt(p, at-s.stored)
	}
	n, err := s.Spool.ReadAt(p[:min(int64(len(p)), s.stored-at)], at)
	if err == nil && n < len(p) {
		var more int
		more, err = s.tail.ReadAt(p[n:], 0)
		n += more
	}
	return n, err
}

// A changeReader reads one change after the other.
type changeReader struct{ in *bufio.Reader }

func (r changeReader) next() (e entry, err error) {
	part := func() []byte {
		var n uint64
		if err == nil {
			n, err = binary.ReadUvarint(r.in)
		}
		if err != nil || n == 0 {
			return nil
		}
		text := make([]byte, n)
		_, err = io.ReadFull(r.in, text)
		return text
	}
	e.collection, e.key, e.from, e.with, e.action = string(part()), string(part()), string(part()), string(part()), Action(part())
	e.before, e.after = part(), part()
	return e, err
}

// reset forgets all changes: the comparison begins again.
func (l *changeLog) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.empty()
}

// drop forgets all changes for good.
func (l *changeLog) drop() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.empty()
	l.err = fmt.Errorf("the changes of the plan were dropped: %w; make a new plan", fs.ErrClosed)
	return err
}

func (l *changeLog) empty() (err error) {
	if l.spool != nil {
		err = l.spool.Close()
	}
	l.spool, l.stored, l.tail, l.places, l.count, l.err = nil, 0, nil, nil, 0, nil
	return err
}
