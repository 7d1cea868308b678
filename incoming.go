package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/mod/semver"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/seal"
)

// incoming is a snapshot that can be restored: all of it was read, opened, migrated
// and validated once. It is read again for the restore.
type incoming struct {
	*compiled
	snapshot    *Snapshot
	opts        RestoreOptions
	collections []*collection // to restore, in the order of restore
	seen        *seen
	from        map[string][]string                // collection → sections of the snapshot that its records come from
	invalid     map[string]map[int64]bool          // collection → ordinals of the records that are left out
	spared      map[string]map[string]bool         // collection → keys of these: the host's records stay
	rejected    map[string]map[string]*RecordError // collection → keys of records that the host does not take
	own         map[string]map[string][]byte       // collection → keys of Own: the values of the snapshot, nil for none
	leftOut     problems
	warnings    []string
}

// prepare checks all that can be checked without the host. Beside ErrNoKey it returns
// what it knows, with its warnings.
func (a *App) prepare(ctx context.Context, s *Snapshot, opts RestoreOptions) (*incoming, error) {
	c, err := a.compile()
	if err != nil {
		return nil, err
	}
	if err := s.given(); err != nil {
		return nil, err
	}
	in := &incoming{
		compiled: c,
		snapshot: s,
		opts:     opts,
		from:     make(map[string][]string),
		invalid:  make(map[string]map[int64]bool),
		spared:   make(map[string]map[string]bool),
		rejected: make(map[string]map[string]*RecordError),
		leftOut:  problems{tolerate: opts.LeaveOutInvalid},
	}
	if err := in.checkOrigin(); err != nil {
		return nil, err
	}
	if err := in.checkNames(); err != nil {
		return nil, err
	}
	in.nameOwn()
	if err := in.readAll(ctx); errors.Is(err, ErrNoKey) {
		return in, cmp.Or(in.checkSalvaged(), err)
	} else if err != nil {
		return nil, err
	}
	if err := in.checkSalvaged(); err != nil {
		return nil, err
	}
	return in, nil
}

// checkOrigin refuses snapshots that this App must not restore.
func (in *incoming) checkOrigin() error {
	m := in.snapshot.manifest
	if m.Application == "" {
		in.warn("the snapshot does not say which application it is of")
	} else if m.Application != in.Name {
		return fmt.Errorf("%w: it is of %s, this is %s", ErrForeign, codec.Quote(m.Application), in.Name)
	}
	if m.SHA256 == "" {
		in.warn("the snapshot has no integrity information: damage cannot be noticed")
	}
	if in.snapshot.lacksProof() {
		in.warn("the snapshot was made for a passphrase and lacks the proof that such a snapshot has: somebody may have altered it and taken the proof away; use another copy unless you know where it comes from")
	}
	for _, name := range slices.Sorted(maps.Keys(m.Missing)) {
		in.warn(fmt.Sprintf("%s is incomplete in the snapshot: invalid records left out of it: %d", name, m.Missing[name]))
	}
	if m.SchemaVersion > in.SchemaVersion {
		return fmt.Errorf("%w: it has schema version %d, %s %s has %d; install %s or newer to restore it",
			ErrTooNew, m.SchemaVersion, in.Name, in.Version, in.SchemaVersion, m.ApplicationVersion)
	}
	if semver.Compare("v"+m.ApplicationVersion, "v"+in.Version) > 0 {
		if !in.opts.AllowNewerApp {
			return fmt.Errorf("%w: it was made by %s %s, this is %s; install %[3]s or newer, or allow it explicitly",
				ErrTooNew, in.Name, m.ApplicationVersion, in.Version)
		}
		in.warn(fmt.Sprintf("the snapshot was made by %s, which is newer than %s", m.ApplicationVersion, in.Version))
	}
	return nil
}

func (in *incoming) warn(text string) { in.warnings = append(in.warnings, text) }

// warnOnce is warn for what shows in many records.
func (in *incoming) warnOnce(text string) {
	if !slices.Contains(in.warnings, text) {
		in.warn(text)
	}
}

// checkNames refuses options that name collections which do not exist.
func (in *incoming) checkNames() error {
	if in.opts.Only != nil && len(in.opts.Only) == 0 {
		return errEmptyOnly
	}
	for _, name := range in.opts.Only {
		if in.byName[name] == nil {
			return fmt.Errorf("%w: %s has no collection %q, only %s", ErrInvalid, in.Name, name, in.names())
		}
	}
	for name := range in.opts.Own {
		if in.byName[name] == nil {
			return fmt.Errorf("%w: own records of %q: %s has only %s", ErrInvalid, name, in.Name, in.names())
		}
	}
	for name, s := range in.opts.Strategies {
		if in.byName[name] == nil {
			return fmt.Errorf("%w: a strategy for %q: %s has only %s", ErrInvalid, name, in.Name, in.names())
		}
		if err := s.Validate(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return in.opts.Strategy.Validate()
}

// wants tells whether the options restore a collection.
func (in *incoming) wants(name string) bool {
	return in.opts.Only == nil || slices.Contains(in.opts.Only, name)
}

func (in *incoming) strategy(col *collection) Strategy {
	if s, ok := in.opts.Strategies[col.Name]; ok {
		return cmp.Or(s, SkipDuplicates)
	}
	return cmp.Or(in.opts.Strategy, SkipDuplicates)
}

// readAll reads and checks all records of the snapshot.
func (in *incoming) readAll(ctx context.Context) error {
	in.seen = newSeen(in.expected())
	in.seen.bounded = true
	reading := reading{incoming: in, batches: make(map[string]*batch), ordinals: make(map[string]int64)}
	if err := reading.checkSections(ctx); err != nil && !errors.Is(err, errTooMany) {
		return err
	}
	if err := in.leftOut.err(ErrInvalid); err != nil {
		return fmt.Errorf("%w\nnothing was changed; try an older backup, or leave the invalid records out", err)
	}
	if in.leftOut.total > len(in.leftOut.list) {
		for _, name := range slices.Sorted(maps.Keys(in.leftOut.count)) {
			in.warn(fmt.Sprintf("%d records of %s are not valid and were left out; not all are named", in.leftOut.count[name], name))
		}
	}
	for _, col := range in.order {
		if in.from[col.Name] != nil {
			in.collections = append(in.collections, col)
		}
	}
	for _, name := range in.opts.Only {
		if in.from[name] == nil {
			return fmt.Errorf("%w: the snapshot has no collection %q, only %s", ErrInvalid, name, strings.Join(in.snapshot.Collections(), ", "))
		}
	}
	for name := range in.seen.keys {
		if in.from[name] == nil {
			delete(in.seen.keys, name)
		}
	}
	return nil
}

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
}

func (r *reading) checkSections(ctx context.Context) error {
	r.stages = &stages{work: r.check, done: r.admit}
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
		return r.admit(b)
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
	err := r.seen.admit(b, func(i int) bool {
		return r.keepsOwn(col.Name, ordinal(i), &b.items[i])
	}, func(i int, found []*RecordError) error {
		r.leaveOut(col.Name, ordinal(i), b.items[i].key)
		return r.leftOut.add(found...)
	})
	for i := range b.notes {
		if !b.notes[i].left {
			r.records++
		}
		r.bytes = max(r.bytes, b.items[i].offset)
	}
	if err == nil && r.opts.Progress != nil {
		r.opts.Progress(Progress{"check", col.Name, r.records, r.bytes, r.snapshot.manifest.Bytes})
	}
	return err
}

// addSource remembers that records of a collection come from a section.
func (in *incoming) addSource(collection, section string) {
	if !slices.Contains(in.from[collection], section) {
		in.from[collection] = append(in.from[collection], section)
	}
}

// leaveOut remembers that a record is left out.
func (in *incoming) leaveOut(collection string, ordinal int64, key string) {
	if in.invalid[collection] == nil {
		in.invalid[collection] = make(map[int64]bool)
	}
	if in.spared[collection] == nil {
		in.spared[collection] = make(map[string]bool)
	}
	in.invalid[collection][ordinal] = true
	in.spared[collection][key] = true
}

// checkSalvaged refuses Replace from a salvaged snapshot: it would delete records
// that the snapshot lacks only because they were lost in the damaged file.
func (in *incoming) checkSalvaged() error {
	mark := in.snapshot.manifest.Salvaged
	if mark == nil {
		return nil
	}
	text := "the snapshot was saved from a damaged file. " + mark.Loss()
	for _, col := range in.collections {
		if in.strategy(col) == Replace && !in.opts.AllowSalvaged {
			return fmt.Errorf("%w: %s Replace would delete what was lost from %s too, so nothing was changed: use merge or skip-duplicates, or allow it explicitly", ErrSalvaged, text, col.Name)
		}
	}
	in.warn(text)
	return nil
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
			return f(col, item{out.Key, value, r.offset})
		})
	})
}

// unknown refuses a collection that is not declared, or warns that it is left out.
func (in *incoming) unknown(name string) error {
	text := fmt.Sprintf("the snapshot has a collection %s, which %s %s does not know", codec.Quote(name), in.Name, in.Version)
	if !in.opts.AllowUnknown {
		return fmt.Errorf("%w: %s; leave it out, or allow unknown collections", ErrInvalid, text)
	}
	in.warnOnce(text + "; it was left out")
	return nil
}

// eachBatch calls f for the valid records of a collection, batch by batch.
func (in *incoming) eachBatch(ctx context.Context, col *collection, f func(*batch) error) error {
	var b batch
	var n int64
	invalid := in.invalid[col.Name]
	take := func(r item) error {
		if n++; invalid[n-1] {
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
	for _, name := range in.from[col.Name] {
		sec := in.snapshot.section(name)
		var err error
		if in.migrates() {
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

// report returns a Report without the collections.
func (in *incoming) report() Report {
	m := in.snapshot.manifest
	leftOut, warnings := slices.Clone(in.leftOut.list), slices.Clone(in.warnings)
	for _, name := range slices.Sorted(maps.Keys(in.rejected)) {
		for _, key := range slices.Sorted(maps.Keys(in.rejected[name])) {
			if len(leftOut) < maxProblems {
				leftOut = append(leftOut, in.rejected[name][key])
			}
		}
		if len(leftOut) == maxProblems {
			warnings = append(warnings, fmt.Sprintf("%d records of %s were left out, because the host does not take them; not all are named", len(in.rejected[name]), name))
		}
	}
	return Report{
		Backup:             in.snapshot.name,
		CreatedAt:          m.CreatedAt,
		ApplicationVersion: m.ApplicationVersion,
		SchemaVersion:      m.SchemaVersion,
		LeftOut:            leftOut,
		Warnings:           warnings,
	}
}
