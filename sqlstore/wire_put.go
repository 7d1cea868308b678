package sqlstore

import (
	"bytes"
	"context"
	"fmt"

	"github.com/tomo-project/backup"
)

// Over a Wire, COPY writes records in a fraction of the time of an INSERT with arguments. It
// pays for many records at once. So Put collects records in a parcel, over several calls. The
// server stores a parcel while the next one is filled. Everything else that needs the
// connection waits for the parcels: see deliver. What COPY refuses is inserted.

const (
	parcelFew   = 8         // records that are not worth a COPY
	parcelBytes = 256 << 10 // data of the copies of one parcel, roughly
)

// A parcel is records of a table that are stored together.
type parcel struct {
	t       *table
	records []backup.Record // their memory is the parcel's
	keys    map[string]bool // of the records
	data    map[*put][]byte // of a COPY for each combination of columns
	bytes   int             // of data

	cancel  func()        // ends the copying
	arrived chan struct{} // closed when the server has answered
	alive   bool          // the transaction goes on
	err     error
}

// putLater stores records, perhaps after it has returned.
func (w *writer) putLater(ctx context.Context, t *table, records []backup.Record) error {
	copies, err := w.copies(ctx, t, len(records))
	if err == nil && !copies {
		err = w.deliver(ctx)
	}
	if err != nil {
		return err
	}
	return w.putRows(ctx, t, records, copies)
}

// pack adds a record to the parcel. It returns false if the record must be inserted.
func (w *writer) pack(ctx context.Context, p *put, r backup.Record, values []any) (packed bool, err error) {
	if len(r.Value) >= parcelBytes {
		return false, nil // parcels would take too much memory
	}
	f := w.filling
	if f == nil {
		f = &parcel{t: p.t, keys: map[string]bool{}, data: map[*put][]byte{}}
	}
	before := len(f.data[p])
	data, ok := p.appendCopy(f.data[p], values)
	if !ok {
		return false, nil
	}
	w.filling, f.data[p] = f, data
	f.records = append(f.records, backup.Record{Key: r.Key, Value: bytes.Clone(r.Value)})
	f.keys[r.Key] = true
	if f.bytes += len(data) - before; f.bytes >= parcelBytes {
		err = w.send(ctx)
	}
	return true, err
}

// send hands the parcel to the server, after the one before it has arrived. The context of a
// Put may end with the Put, and the parcel goes on.
func (w *writer) send(ctx context.Context) error {
	p := w.filling
	w.filling = nil
	if err := w.arrive(ctx); err != nil || p == nil {
		return err
	}
	if len(p.records) < parcelFew {
		return w.put(ctx, p.t, p.records)
	}
	copying, cancel := context.WithCancel(w.ctx)
	p.cancel, p.arrived = cancel, make(chan struct{})
	w.sent = p
	go func() {
		defer close(p.arrived)
		defer cancel()
		p.alive, p.err = w.tx.attempt(copying, func() error { return w.copyParcel(copying, p) })
	}()
	return nil
}

// arrive waits for the parcel that was sent. If the server refuses it, arrive inserts its
// records.
func (w *writer) arrive(ctx context.Context) error {
	p := w.sent
	if p == nil {
		return nil
	}
	goOn := context.AfterFunc(ctx, p.cancel)
	<-p.arrived
	goOn()
	w.sent = nil
	switch {
	case p.err == nil:
		p.t.crowded = false
		return nil
	case !p.alive || ctx.Err() != nil:
		return fmt.Errorf("write records of %s: %w", p.t.collection, contextError(ctx, p.err))
	}
	p.t.pg.copy.refused()
	return w.put(ctx, p.t, p.records)
}

// deliver stores all records that were put. The connection is free then.
func (w *writer) deliver(ctx context.Context) error {
	if err := w.send(ctx); err != nil {
		return err
	}
	return w.arrive(ctx)
}

// deliverOf stores the records that were put under one of the keys, or in another table. The
// connection is free then.
func (w *writer) deliverOf(ctx context.Context, t *table, keys []string) error {
	if w.filling != nil {
		if w.filling.t != t {
			return w.deliver(ctx)
		}
		for _, key := range keys {
			if w.filling.keys[key] {
				return w.deliver(ctx)
			}
		}
	}
	return w.arrive(ctx)
}

// abandon ends what is on its way.
func (w *writer) abandon() {
	if w.sent != nil {
		<-w.sent.arrived
	}
	w.filling, w.sent = nil, nil
}
