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
	"github.com/tomo-project/backup/internal/keyset"
)

// incoming is a snapshot that can be restored: all of it was read, opened, migrated
// and validated once. It is read again for the restore.
type incoming struct {
	*compiled
	snapshot    *Snapshot
	opts        RestoreOptions
	collections []*collection // to restore, in the order of restore
	seen        *seen
	kept        *kept                              // nil: the records are read from the snapshot again
	from        map[string][]string                // collection → sections of the snapshot that its records come from
	invalid     map[string]ordinals                // collection → the records that are left out
	spared      map[string]*keyset.Set             // collection → keys of these: the host's records stay
	rejected    map[string]map[string]*RecordError // collection → keys of records that the host does not take
	own         map[string]map[string][]byte       // collection → keys of Own: the values of the snapshot, nil for none
	picks       *picking                           // nil: all records are restored
	leftOut     problems
	unknowns    map[string]int64 // collection that is not declared → how many records its migration made
	warnings    []string
}

// prepare checks all that can be checked without the host. Beside ErrNoKey it returns
// what it knows, with its warnings.
func (a *App) prepare(ctx context.Context, s *Snapshot, opts RestoreOptions) (*incoming, error) {
	in, err := a.newIncoming(s, opts)
	if err != nil {
		return nil, err
	}
	return in.prepare(ctx)
}

// prepareToRestore is prepare for what calls forget at its end.
func (a *App) prepareToRestore(ctx context.Context, s *Snapshot, opts RestoreOptions) (*incoming, error) {
	in, err := a.newIncoming(s, opts)
	if err != nil {
		return nil, err
	}
	in.keepRecords()
	if _, err := in.prepare(ctx); err != nil {
		in.forget()
		return nil, err
	}
	return in, nil
}

func (a *App) newIncoming(s *Snapshot, opts RestoreOptions) (*incoming, error) {
	c, err := a.compile()
	if err != nil {
		return nil, err
	}
	return c.newIncoming(s, opts)
}

func (c *compiled) newIncoming(s *Snapshot, opts RestoreOptions) (*incoming, error) {
	if err := s.given(); err != nil {
		return nil, err
	}
	return &incoming{
		compiled: c,
		snapshot: s,
		opts:     opts,
		from:     make(map[string][]string),
		invalid:  make(map[string]ordinals),
		spared:   make(map[string]*keyset.Set),
		rejected: make(map[string]map[string]*RecordError),
		leftOut:  problems{tolerate: opts.LeaveOutInvalid},
	}, nil
}

func (in *incoming) prepare(ctx context.Context) (*incoming, error) {
	if err := in.checkOrigin(); err != nil {
		return nil, err
	}
	if err := in.checkNames(); err != nil {
		return nil, err
	}
	in.pick()
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
	if err := in.checkPicks(); err != nil {
		return err
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
	if in.picks != nil {
		return in.picks.reach[name]
	}
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
	if in.opts.WithReferences {
		if err := in.follow(ctx); err != nil {
			return err
		}
	}
	reading := reading{incoming: in, batches: make(map[string]*batch), ordinals: make(map[string]int64)}
	if err := reading.readAll(ctx, reading.admit); err != nil && !errors.Is(err, errTooMany) {
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
	if in.picks != nil {
		if err := in.picks.found(in.opts.AsItWas); err != nil {
			return err
		}
	}
	for _, col := range in.order {
		if in.from[col.Name] != nil && in.concerns(col.Name) {
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
	in.seen.values = nil
	return nil
}

// addSource remembers that records of a collection come from a section.
func (in *incoming) addSource(collection, section string) {
	if !slices.Contains(in.from[collection], section) {
		in.from[collection] = append(in.from[collection], section)
	}
}

// leaveOut remembers that a record is left out.
func (in *incoming) leaveOut(collection string, ordinal int64, key string) {
	in.invalid[collection] = in.invalid[collection].add(ordinal)
	in.spare(collection, key)
}

// spare has the host's record under a key stay.
func (in *incoming) spare(collection, key string) {
	if in.spared[collection] == nil {
		in.spared[collection] = keyset.New()
	}
	in.spared[collection].Add(key)
}

// spares tells whether the host's record under a key stays.
func (in *incoming) spares(collection, key string) bool {
	keys := in.spared[collection]
	return keys != nil && keys.Has(key)
}

// ordinals are some of the records of a collection, a bit for each record. All of them may
// be invalid.
type ordinals []uint64

func (o ordinals) add(n int64) ordinals {
	if more := int(n/64) + 1 - len(o); more > 0 {
		o = append(o, make([]uint64, more)...)
	}
	o[n/64] |= 1 << (n % 64)
	return o
}

func (o ordinals) has(n int64) bool { return n/64 < int64(len(o)) && o[n/64]>>(n%64)&1 != 0 }

// checkSalvaged refuses Replace from a salvaged snapshot: it would delete records
// that the snapshot lacks only because they were lost in the damaged file.
func (in *incoming) checkSalvaged() error {
	mark := in.snapshot.manifest.Salvaged
	if mark == nil {
		return nil
	}
	text := "the snapshot was saved from a damaged file. " + mark.Loss()
	for _, col := range in.collections {
		if in.sweeps(col) && !in.opts.AllowSalvaged {
			return fmt.Errorf("%w: %s Replace would delete what was lost from %s too, so nothing was changed: use merge or skip-duplicates, or allow it explicitly", ErrSalvaged, text, col.Name)
		}
	}
	in.warn(text)
	return nil
}

// unknown refuses a collection that is not declared, or warns that it is left out.
func (in *incoming) unknown(name string) error {
	text := fmt.Sprintf("the snapshot has a collection %s, which %s %s does not know", codec.Quote(name), in.Name, in.Version)
	if !in.opts.AllowUnknown {
		return fmt.Errorf("%w: %s; leave it out, or allow unknown collections", ErrInvalid, text)
	}
	in.warnOnce(text + "; it was left out")
	if in.unknowns == nil {
		in.unknowns = make(map[string]int64)
	}
	in.unknowns[name]++
	return nil
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
