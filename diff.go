package backup

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"iter"
	"maps"
	"slices"
	"strconv"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/keyset"
)

// Diff says what changed between two states of the data: record by record, and field by
// field. Each of the two is a [Snapshot], or a host as it is now. Records are compared by
// their keys, as values of today's schema version with their secrets open. So a record that
// only was migrated, or sealed again, has not changed. Nothing is held against a schema.
//
// The collections come in the order of the App. In each come the added records first, in
// the order of to, and then the others, in the order of from. Action is Add, Update or
// Delete, and the Before of a field is that of from.
//
// A collection that only one of the two has is not compared: after a partial backup,
// nothing is known of the rest. Its only Change has the Action Skip and no Key. The Before or
// After of its only field is how many records the one that has it holds, or null where
// that is not known. So it is with a collection of a snapshot that the App does not declare.
//
// Diff reads from twice, and keeps about 20 bytes of memory for each of its records. Values
// that differ are kept in an encrypted temporary file, in the TempDir of the Snapshot. A
// host shows its data until the caller has seen all changes or stops: the caller must not
// write to it meanwhile.
//
// Diff yields at most one error, and nothing after it: ErrForeign, ErrTooNew if the schema
// version is, ErrNoKey, ErrDamaged, ErrLimit, ErrInvalid for records that have no key or
// share one, or the error of a migrator, of a host or of ctx. The first three come before
// any change. Records of to that share a key which from does not have are each added.
func (a *App) Diff(ctx context.Context, from, to DataSource) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		stopped := false
		err := a.diff(ctx, from, to, func(c Change) error {
			if stopped = !yield(c, nil); stopped {
				return errStop
			}
			return nil
		})
		if err != nil && !stopped {
			yield(Change{}, fmt.Errorf("diff: %w", err))
		}
	}
}

func (a *App) diff(ctx context.Context, from, to DataSource, tell func(Change) error) error {
	c, err := a.compile()
	if err != nil {
		return err
	}
	return a.openSide(ctx, "the first", from, func(from *side) error {
		return a.openSide(ctx, "the second", to, func(to *side) error {
			d := difference{compiled: c, ctx: ctx, from: from, to: to, tell: tell}
			return d.collections()
		})
	})
}

// A difference compares two sides.
type difference struct {
	*compiled
	ctx      context.Context
	from, to *side
	tell     func(Change) error

	// Of the collection that is compared.
	col    *collection
	hash   func(value []byte) uint64
	held   *keyset.Map // what is known of each record of from
	differ *changeLog  // the records of to that differ
	left   int         // how many records of from changed or went
}

// collections compares all collections.
func (d *difference) collections() error {
	for _, col := range d.compiled.collections {
		var err error
		switch old, now := d.from.has(col.Name), d.to.has(col.Name); {
		case old && now:
			err = d.compare(col)
		case old || now:
			err = d.skip(col.Name)
		}
		if err != nil {
			return err
		}
	}
	unknown := make(map[string]int64)
	maps.Copy(unknown, d.from.records)
	maps.Copy(unknown, d.to.records)
	for _, name := range slices.Sorted(maps.Keys(unknown)) {
		if d.byName[name] == nil {
			if err := d.skip(name); err != nil {
				return err
			}
		}
	}
	return d.ctx.Err()
}

// skip tells of a collection that is not compared.
func (d *difference) skip(name string) error {
	return d.tell(Change{Collection: name, Action: Skip, Fields: []FieldChange{{Before: d.size(d.from, name), After: d.size(d.to, name)}}})
}

// size returns how many records a side has in a collection, as JSON: null if it is not
// known, and nil if the side has no such collection.
func (d *difference) size(s *side, name string) []byte {
	if n, known := s.records[name]; known {
		return strconv.AppendInt(nil, n, 10)
	}
	if s.in == nil && d.byName[name] != nil {
		return []byte("null")
	}
	return nil
}

// What the map of a difference keeps for each record of from: at first the hash of its
// value, and then what the record has become. The two highest bits tell which.
const (
	kindBits = 62
	same     = 1 << kindBits // to has it, and it is equal
	differs  = 2 << kindBits // to has it, and the rest is the place of its change in the log
	restMask = 1<<kindBits - 1
)

// compare compares a collection that both sides have.
func (d *difference) compare(col *collection) error {
	seed := maphash.MakeSeed()
	d.col, d.held, d.left = col, keyset.NewMap(), 0
	d.hash = func(value []byte) uint64 { return maphash.Bytes(seed, value) & restMask }
	if d.from.migrates() || d.to.migrates() { // the same may well be written otherwise
		d.hash = func(value []byte) uint64 { return codec.Hash(seed, value) & restMask }
	}
	d.differ = &changeLog{dir: cmp.Or(d.from.tempDir(), d.to.tempDir()), failed: "what differs could not be kept"}
	defer d.differ.drop()
	err := d.from.each(d.ctx, col, d.hash, func(r *item, sum uint64) error {
		if !d.held.Add(r.key, sum) {
			return sameKey(col, r)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := d.meet(); err != nil || d.left == 0 {
		return err
	}
	return d.tellChanged()
}

// sameKey is the error about the second record with a key.
func sameKey(col *collection, r *item) error {
	return col.problem(r, "", fmt.Errorf("%w: another record has the same key", ErrInvalid))
}

// meet reads the records of to. It tells of those that from has not, and keeps those that
// differ.
func (d *difference) meet() error {
	equal := 0
	err := d.to.each(d.ctx, d.col, d.hash, func(r *item, sum uint64) error {
		switch at := d.held.At(r.key); {
		case at == nil:
			return d.tell(d.col.change(entry{collection: d.col.Name, key: r.key, action: Add, after: r.value}))
		case *at > restMask:
			return sameKey(d.col, r)
		case *at == sum:
			*at = same
			equal++
		default:
			*at = differs | uint64(d.differ.end())
			d.differ.add(entry{collection: d.col.Name, key: r.key, action: Update, after: r.value})
		}
		return d.differ.err
	})
	d.left = d.held.Len() - equal
	return err
}

// tellChanged reads the records of from again, and tells of those that changed or went.
func (d *difference) tellChanged() error {
	differing := d.differ.cursor()
	err := d.from.each(d.ctx, d.col, nil, func(r *item, _ uint64) error {
		at := d.held.At(r.key)
		switch {
		case at == nil:
			return d.col.problem(r, "", fmt.Errorf("%w: it was not there when %s was read before", ErrInvalid, d.col.Name))
		case *at == same:
			return nil
		}
		gone := entry{collection: d.col.Name, key: r.key, action: Delete, before: r.value}
		var err error
		if *at < same {
			err = d.tell(d.col.change(gone))
		} else {
			err = d.tellChange(gone, differing, int64(*at&restMask))
		}
		if d.left--; d.left == 0 && err == nil {
			return errAll
		}
		return err
	})
	if err == errAll {
		return nil
	}
	return err
}

// errAll ends the reading of a collection of which nothing more is to be told.
var errAll = errors.New("all is told")

// tellChange tells of a record that both sides have, if it differs and is not only written
// otherwise.
func (d *difference) tellChange(gone entry, differing *changeCursor, place int64) error {
	now, err := differing.at(place)
	if err != nil {
		return fmt.Errorf("read what differs: %w", err)
	}
	now.before = gone.before
	if change := d.col.change(now); len(change.Fields) > 0 {
		return d.tell(change)
	}
	return nil
}

// end returns the place that the next change in the log will have.
func (l *changeLog) end() int64 { return l.stored + int64(len(l.tail)) }

// cursor returns a cursor on the changes in the log. Nothing may be added any more.
func (l *changeLog) cursor() *changeCursor {
	all := io.NewSectionReader(l.reader(), 0, l.end())
	return &changeCursor{all, bufio.NewReaderSize(all, 4<<10)}
}

// A changeCursor reads changes of a log at any place. It is fast if they are wanted in
// their order.
type changeCursor struct {
	all *io.SectionReader
	in  *bufio.Reader
}

func (c *changeCursor) at(place int64) (entry, error) {
	now, err := c.all.Seek(0, io.SeekCurrent)
	if err == nil && place != now-int64(c.in.Buffered()) {
		_, err = c.all.Seek(place, io.SeekStart)
		c.in.Reset(c.all)
	}
	if err != nil {
		return entry{}, err
	}
	return changeReader{c.in}.next()
}
