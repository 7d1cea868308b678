package backup

import (
	"cmp"
	"context"
	"fmt"
	"maps"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/envelope"
	"github.com/tomo-project/backup/internal/fault"
)

// A side is one of the two states that Diff compares: a snapshot, or a host.
type side struct {
	name string    // for errors
	in   *incoming // nil: a host
	host Reader

	records map[string]int64 // of a snapshot, by collection, also of those that are not declared
}

// openSide calls use with what src has.
func (a *App) openSide(ctx context.Context, which string, src DataSource, use func(*side) error) error {
	if err := fault.Missing(which+" DataSource", src); err != nil {
		return err
	}
	s, ok := src.(*Snapshot)
	if !ok {
		return src.View(ctx, func(r Reader) error {
			if err := fault.Missing("the Reader of "+which+" DataSource", r); err != nil {
				return err
			}
			return use(&side{name: "the host", host: r})
		})
	}
	in, err := a.newIncoming(s, RestoreOptions{AllowNewerApp: true, AllowUnknown: true})
	if err != nil {
		return err
	}
	defer in.forget()
	opened := &side{name: cmp.Or(s.name, which+" snapshot"), in: in, records: make(map[string]int64)}
	if err := opened.prepare(ctx); err != nil {
		return opened.failed(err)
	}
	return use(opened)
}

// failed says of which side an error is.
func (s *side) failed(err error) error { return fmt.Errorf("%s: %w", fault.Shorten(s.name), err) }

// prepare finds out which collections a snapshot has. It migrates all of an older one.
func (s *side) prepare(ctx context.Context) error {
	in := s.in
	if err := in.checkOrigin(); err != nil {
		return err
	}
	for i := range in.snapshot.sections {
		sec := &in.snapshot.sections[i]
		var err error
		if in.migrates() {
			err = in.checkUnlocked(sec)
		} else {
			_, err = in.readable(sec) // of a collection that is not declared, nothing is read
			s.records[sec.Name] = in.snapshot.manifest.Records[sec.Name]
		}
		if err != nil {
			return err
		}
	}
	if in.migrates() {
		return s.migrate(ctx)
	}
	return nil
}

// migrate migrates the records of a snapshot, and keeps them.
func (s *side) migrate(ctx context.Context) error {
	in := s.in
	file, err := envelope.NewSpool(in.snapshot.tempDir)
	if err != nil {
		return err
	}
	in.kept = &kept{file: file, chunks: make(map[string][]chunk)}
	batches := make(map[string]*batch)
	m := in.newMigrating(ctx, in.snapshot.limits)
	for i := range in.snapshot.sections {
		sec := &in.snapshot.sections[i]
		if in.byName[sec.Name] != nil {
			s.records[sec.Name] += 0 // it may be empty
		}
		err := in.produce(sec, m, func(col *collection, r item) error {
			s.records[col.Name]++
			b := batches[col.Name]
			if b == nil {
				b = &batch{col: col}
				batches[col.Name] = b
			}
			if b.addItem(r); b.full() {
				return s.keep(b)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, b := range batches {
		if err := s.keep(b); err != nil {
			return err
		}
	}
	maps.Copy(s.records, in.unknowns)
	return nil
}

// keep keeps a batch of migrated records.
func (s *side) keep(b *batch) error {
	b.identify(nil)
	for i := range b.notes {
		if err := b.notes[i].err; err != nil {
			return err
		}
		b.notes[i].key = []byte(b.items[i].key)
	}
	err := s.in.kept.keep(b)
	b.reset()
	return err
}

// has tells whether a side has a collection.
func (s *side) has(name string) bool {
	_, found := s.records[name]
	return found || s.in == nil
}

// migrates tells whether the records of a side were migrated.
func (s *side) migrates() bool { return s.in != nil && s.in.migrates() }

// tempDir is the folder for what a difference keeps.
func (s *side) tempDir() string {
	if s.in == nil {
		return ""
	}
	return s.in.snapshot.tempDir
}

// each calls f for the records of a collection, with their keys, and with the hashes of
// their values if hash is not nil. The value is valid until f returns.
func (s *side) each(ctx context.Context, col *collection, hash func([]byte) uint64, f func(*item, uint64) error) error {
	st := &stages{work: func(b *batch) { b.identify(hash) }, done: func(b *batch) error {
		for i := range b.items {
			if err := b.notes[i].err; err != nil {
				return err
			}
			if err := f(&b.items[i], b.notes[i].sum); err != nil {
				return err
			}
		}
		return ctx.Err()
	}}
	defer st.stop()
	read := s.readSnapshot
	switch {
	case s.in == nil:
		read = s.readHost
	case s.in.kept != nil:
		read = s.readKept
	}
	err := read(ctx, col, st)
	if err == nil || err == errStop || err == errAll {
		return err
	}
	return s.failed(err)
}

// readSnapshot takes the records of a snapshot through the stages.
func (s *side) readSnapshot(ctx context.Context, col *collection, st *stages) error {
	sec := s.in.snapshot.section(col.Name)
	looks := s.in.looksForSecrets(col, sec)
	return s.in.snapshot.eachPart(ctx, sec, col, func(b *batch) {
		if looks {
			b.findUnlisted()
		}
		st.work(b)
	}, st.done)
}

// readKept takes the records that were migrated through the stages.
func (s *side) readKept(ctx context.Context, col *collection, st *stages) error {
	b := st.batch(col)
	err := s.in.kept.each(ctx, col.Name, func(r item) (err error) {
		b.addItem(r)
		b, err = st.next(b)
		return err
	})
	return st.last(b, err)
}

// readHost takes the records of a host through the stages.
func (s *side) readHost(ctx context.Context, col *collection, st *stages) error {
	b := st.batch(col)
	for r, err := range s.host.Records(ctx, col.Name) {
		if err == nil {
			b.add(r, hostLimits)
			b, err = st.next(b)
		} else {
			err = fmt.Errorf("read %s: %w", col.Name, aboutRecord(col.Name, r.Key, err))
		}
		if err != nil {
			return st.last(nil, err)
		}
	}
	return st.last(b, nil)
}

// next puts a batch through the stages if it is full, and returns the batch for the next
// record.
func (s *stages) next(b *batch) (*batch, error) {
	if !b.full() {
		return b, nil
	}
	if err := s.put(b, false); err != nil {
		return nil, err
	}
	return s.batch(b.col), nil
}

// last puts the last batch through the stages, unless there was an error, and waits for all.
func (s *stages) last(b *batch, err error) error {
	if err == nil {
		err = s.put(b, true)
	}
	return cmp.Or(s.wait(0), err)
}

// identify sets the keys of the records of a batch, and the hashes of their values if hash
// is not nil. It makes the values of a host compact.
func (b *batch) identify(hash func([]byte) uint64) {
	b.notes = append(b.notes, make([]note, len(b.items)-len(b.notes))...)
	for i := range b.items {
		r, n := &b.items[i], &b.notes[i]
		if r.offset < 0 && n.err == nil {
			start := len(b.pad.spare)
			if b.pad.spare, n.err = codec.Compact(b.pad.spare, r.value, hostLimits); n.err == nil {
				r.value = b.pad.spare[start:len(b.pad.spare):len(b.pad.spare)]
			}
		}
		if n.err == nil {
			r.key, n.err = b.col.identity(r)
		}
		if n.err != nil {
			n.err = b.col.problem(r, b.col.Key, fmt.Errorf("%w: %w", ErrInvalid, n.err))
			continue
		}
		if hash != nil {
			n.sum = hash(r.value)
		}
	}
}
