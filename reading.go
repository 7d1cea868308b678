package backup

import (
	"cmp"
	"context"
	"fmt"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/seal"
)

// The passes through the records of a snapshot: one to check them all, and those after it.

// expected returns the collections that the snapshot may have records of. For an
// older snapshot only its migration can tell, so that these are all.
func (in *incoming) expected() []*collection {
	var cols []*collection
	for _, col := range in.compiled.collections {
		if in.wants(col.Name) && (in.snapshot.section(col.Name) != nil || in.snapshot.manifest.SchemaVersion < in.SchemaVersion) {
			cols = append(cols, col)
		}
	}
	return cols
}

// A reading is the first pass through a snapshot.
type reading struct {
	*incoming
	stages   *stages
	batches  map[string]*batch // of migrated records, by collection
	ordinals map[string]int64  // number of records so far, by collection
	records  int64             // of all collections
	bytes    int64             // offset up to which the snapshot was read
	take     func(*batch) error
}

// readAll reads the sections that are wanted, and calls take for each batch of records that
// were checked, in their order.
func (r *reading) readAll(ctx context.Context, take func(*batch) error) error {
	r.take = take
	r.stages = &stages{work: r.check, done: take}
	defer r.stages.stop()
	migrating := r.newMigrating(ctx, r.snapshot.limits)
	for i := range r.snapshot.sections {
		sec := &r.snapshot.sections[i]
		if r.byName[sec.Name] != nil && r.wants(sec.Name) {
			r.addSource(sec.Name, sec.Name)
		}
		var err error
		if r.migrates() {
			err = r.checkMigrated(sec, migrating)
		} else {
			err = r.checkSection(ctx, sec)
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// checkSection checks the records of a section that need no migration.
func (r *reading) checkSection(ctx context.Context, sec *codec.Section) error {
	col, err := r.readable(sec)
	if col == nil || err != nil {
		return err
	}
	looks := r.looksForSecrets(col, sec)
	return r.snapshot.eachPart(ctx, sec, col, func(b *batch) {
		if looks {
			b.findUnlisted()
		}
		r.check(b)
	}, func(b *batch) error {
		r.warnExposed(b.col, b.exposed)
		return r.take(b)
	})
}

// checkMigrated migrates the records of a section, and checks what comes out of it.
func (r *reading) checkMigrated(sec *codec.Section, m *migrating) error {
	check := func(b *batch, alone bool) error {
		delete(r.batches, b.col.Name)
		return r.stages.put(b, alone)
	}
	err := r.produce(sec, m, func(col *collection, rec item) error {
		r.addSource(col.Name, sec.Name)
		b := r.batches[col.Name]
		if b == nil {
			b = r.stages.batch(col)
			r.batches[col.Name] = b
		}
		if b.addItem(rec); b.full() {
			return check(b, false)
		}
		return nil
	})
	if err != nil {
		return cmp.Or(r.stages.wait(0), err)
	}
	for _, col := range r.compiled.collections {
		if b := r.batches[col.Name]; b != nil {
			if err := check(b, true); err != nil {
				return err
			}
		}
	}
	return r.stages.wait(0)
}

// check checks the records of a batch.
func (r *reading) check(b *batch) { b.check(r.snapshot.limits, true, nil) }

// admit remembers which records of a batch that was checked are restored, and which are
// left out.
func (r *reading) admit(b *batch) error {
	col := b.col
	first := r.ordinals[col.Name]
	r.ordinals[col.Name] += int64(len(b.items))
	ordinal := func(i int) int64 { return first + int64(i) }
	own := len(r.own[col.Name]) > 0
	err := r.seen.admit(b, &r.leftOut, func(i int) bool {
		if r.picks != nil && !r.picks.takes(b, i) {
			r.invalid[col.Name] = r.invalid[col.Name].add(ordinal(i))
			return true
		}
		if own && b.notes[i].sure {
			b.items[i].key = string(b.notes[i].key)
		}
		return own && r.keepsOwn(col.Name, ordinal(i), &b.items[i])
	}, func(i int) {
		r.leaveOut(col.Name, ordinal(i), b.items[i].key)
	})
	for i := range b.notes {
		if !b.notes[i].left {
			r.records++
			if r.picks != nil {
				r.picks.note(col.Name, string(b.notes[i].key))
			}
		}
		r.bytes = max(r.bytes, b.items[i].offset)
	}
	if r.keeps(col.Name) && r.kept.keep(b) != nil {
		r.forget()
	}
	if err == nil && r.opts.Progress != nil {
		r.opts.Progress(Progress{"check", col.Name, r.records, r.bytes, r.snapshot.manifest.Bytes})
	}
	return err
}

// migrates tells whether the records of the snapshot are of an older schema version.
func (in *incoming) migrates() bool { return in.snapshot.manifest.SchemaVersion < in.SchemaVersion }

// readable returns the collection that the records of a section are of, if they need no
// migration. It returns nil for a section that is left out.
func (in *incoming) readable(sec *codec.Section) (*collection, error) {
	switch col := in.byName[sec.Name]; {
	case !in.wants(sec.Name):
		return nil, nil
	case col == nil:
		return nil, in.unknown(sec.Name)
	case sec.IsMap != (col.Shape == Map):
		return nil, fmt.Errorf("%w: %s has another shape in the snapshot than in %s", ErrInvalid, sec.Name, in.Name)
	default:
		return col, in.checkUnlocked(sec)
	}
}

// checkUnlocked refuses a section with secrets that cannot be opened.
func (in *incoming) checkUnlocked(sec *codec.Section) error {
	if in.snapshot.locked(sec) {
		return fmt.Errorf("%w: the secrets of %s are sealed; it takes %s to open them", ErrNoKey, sec.Name, seal.NameKeys(keyIDs(in.snapshot.encryption.Keys)))
	}
	return nil
}

// looksForSecrets tells whether secrets of a collection may stand in clear in a section.
func (in *incoming) looksForSecrets(col *collection, sec *codec.Section) bool {
	return col != nil && len(col.secrets) > 0 && sec.IsMap == (col.Shape == Map) && !in.snapshot.sealed(sec)
}

// warnExposed warns of secrets that stand in clear.
func (in *incoming) warnExposed(col *collection, exposed bool) {
	if exposed && !in.snapshot.envelope.Encrypted {
		in.warnOnce(fmt.Sprintf("secrets of %s stand in clear in the snapshot: whoever can read its file sees them", col.Name))
	}
}

// produce reads a section of the snapshot, and calls f for each record that comes out
// of it, with its secrets open and migrated. It leaves out collections that are not
// wanted. The value of r is valid until f returns.
func (in *incoming) produce(sec *codec.Section, m *migrating, f func(col *collection, r item) error) error {
	declared := in.byName[sec.Name]
	if err := in.checkUnlocked(sec); err != nil {
		return err
	}
	looks := in.looksForSecrets(declared, sec)
	return in.snapshot.eachRecord(m.ctx, sec, func(r item) error {
		if looks {
			exposed, err := declared.findUnlisted(r)
			if err != nil {
				return err
			}
			in.warnExposed(declared, exposed)
		}
		if !sec.IsMap && declared != nil && declared.Shape != Map {
			r.key, _ = declared.key.Of(r.value)
		}
		m.offset, m.secrets = r.offset, func() secretTexts { return in.secretsIn(sec, r) }
		return m.migrate(in.snapshot.manifest.SchemaVersion, sec.Name, Record{r.key, r.value}, func(name string, out Record) error {
			if !in.wants(name) {
				return nil
			}
			col := in.byName[name]
			if col == nil {
				return in.unknown(name)
			}
			value, err := codec.Compact(nil, out.Value, in.snapshot.limits)
			if err != nil {
				return &RecordError{Collection: name, Key: out.Key, Offset: r.offset, Err: fmt.Errorf("%w after migration: %w", ErrInvalid, err)}
			}
			return f(col, item{key: out.Key, value: value, offset: r.offset})
		})
	})
}

// eachBatch calls f for the valid records of a collection, batch by batch.
func (in *incoming) eachBatch(ctx context.Context, col *collection, f func(*batch) error) error {
	var b batch
	var n int64
	invalid := in.invalid[col.Name]
	if in.keeps(col.Name) {
		invalid = nil // what is kept is valid
	}
	take := func(r item) error {
		if n++; invalid.has(n - 1) {
			return nil
		}
		var err error
		if b.addItem(r); b.full() {
			err = f(&b)
			b.reset()
		}
		return err
	}
	migrating := in.newMigrating(ctx, in.snapshot.limits)
	for i, name := range in.from[col.Name] {
		sec := in.snapshot.section(name)
		var err error
		if in.keeps(col.Name) {
			if i == 0 {
				err = in.kept.each(ctx, col.Name, take)
			}
		} else if in.migrates() {
			err = in.produce(sec, migrating, func(target *collection, r item) error {
				if target != col {
					return nil
				}
				r.key, _ = col.identity(&r) // it had a key when it was checked
				return take(r)
			})
		} else {
			err = in.snapshot.eachPart(ctx, sec, col, func(b *batch) {
				for i := range b.items {
					r := &b.items[i]
					r.key, _ = col.identity(r)
				}
			}, func(b *batch) error {
				for _, r := range b.items {
					if err := take(r); err != nil {
						return err
					}
				}
				return nil
			})
		}
		if err != nil {
			return err
		}
	}
	if len(b.items) == 0 {
		return nil
	}
	return f(&b)
}
