package backup

import (
	"cmp"

	"github.com/tomo-project/backup/internal/codec"
)

// What backup and restore share: records in batches.

// An item is a record on its way through the library.
type item struct {
	key    string
	value  []byte // compact
	offset int64  // of the record in the snapshot, or -1

	// In a comparison, the key is that of the host: see rekey.
	from      string // the key in the snapshot, if that is another
	apart     bool   // the record is left out, and no record of the host has its identity
	rewritten bool   // the value is not that of the snapshot
	torn      bool   // its references share places, and cannot all be right in the host
	strays    []stray
}

// A stray is a reference to a number of another installation that the snapshot does not have.
type stray struct{ pointer, target, ref string }

// source returns the key of the record in the snapshot.
func (r *item) source() string { return cmp.Or(r.from, r.key) }

// A batch is a number of items whose values share one buffer.
type batch struct {
	items []item
	buf   []byte

	// What the stages know of it.
	col     *collection
	part    codec.Part // that the items are from
	damage  error      // why they are not all of the part
	notes   []note     // of the items, once they are checked
	pad     pad
	exposed bool // a secret stands in clear in the snapshot
	told    Progress
	err     error
	crash   *crash
	worked  chan struct{} // the first stage is done
	ready   chan struct{} // all but the last stage are done
}

// A batch is full with batchSize records or batchBytes bytes. A single record may
// be larger.
const (
	batchSize  = 256
	batchBytes = 1 << 20
)

// add takes a copy of a record of the host. A record that is too large to be taken gets
// an error in its note.
func (b *batch) add(r Record, l codec.Limits) {
	start := len(b.buf)
	var n note
	if len(r.Value) > l.RecordBytes {
		_, n.err = codec.Compact(nil, r.Value, l)
	} else {
		b.buf = append(b.buf, r.Value...)
	}
	b.items = append(b.items, item{key: r.Key, value: b.buf[start:len(b.buf):len(b.buf)], offset: -1})
	b.notes = append(b.notes, n)
}

// addItem takes a copy of an item that is compact JSON already.
func (b *batch) addItem(r item) {
	start := len(b.buf)
	b.buf = append(b.buf, r.value...)
	b.items = append(b.items, item{key: r.key, value: b.buf[start:len(b.buf):len(b.buf)], offset: r.offset})
}

// keys returns the keys of the records, without those that are none of the host's.
func (b *batch) keys() []string {
	keys := make([]string, 0, len(b.items))
	for _, r := range b.items {
		if !r.apart {
			keys = append(keys, r.key)
		}
	}
	return keys
}

func (b *batch) full() bool { return len(b.items) >= batchSize || len(b.buf) >= batchBytes }

func (b *batch) reset() {
	clear(b.items)
	clear(b.notes)
	b.items, b.notes, b.damage, b.err, b.crash, b.exposed = b.items[:0], b.notes[:0], nil, nil, nil, false
	b.buf = emptied(b.buf)
	b.pad.reset()
}

// emptied returns a buffer to be used again, unless a large record has made it large.
func emptied(buf []byte) []byte {
	if cap(buf) > 4*batchBytes {
		return nil
	}
	return buf[:0]
}
