package backup

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/tomo-project/backup/internal/fault"
)

// RestoreOptions say what a restore takes from a snapshot, and how it treats what
// the host has. The zero value restores all collections of the snapshot: it adds
// the records that the host lacks, and changes none that it has.
type RestoreOptions struct {
	// Only names the collections to restore, as the App declares them today (guide,
	// "Selective Restore"). Nil means all that the snapshot has. An empty list is an
	// error.
	Only []string

	// Strategy is used for the collections that Strategies does not name. A full
	// restore of the guide is Replace with Only nil.
	Strategy   Strategy
	Strategies map[string]Strategy

	// AllowNewerApp accepts a snapshot of a newer version of the application, as
	// long as its schema version is not newer.
	AllowNewerApp bool

	// AllowUnknown leaves out collections that the App does not declare, with a
	// warning. Otherwise they refuse the snapshot.
	AllowUnknown bool

	// AllowDangling allows references to records that will not exist, with a
	// warning.
	AllowDangling bool

	// AllowSalvaged allows Replace from a snapshot that was saved from a damaged
	// file. Replace then deletes what only the host has, although the snapshot lacks
	// records that it once had.
	AllowSalvaged bool

	// LeaveOutInvalid leaves out records that are not valid, and names them in
	// Report.LeftOut. Otherwise they refuse the snapshot. The host's record under
	// such a key stays, with every Strategy. An error of a migrator still ends the
	// restore.
	LeaveOutInvalid bool

	// AsItWas is for a snapshot that Before made, to bring back what a restore has
	// replaced. The host's invalid records stay, since they could not be in that
	// snapshot. References of the snapshot's records may point to nothing, as they
	// may have done then.
	AsItWas bool

	// Before, if not nil, is called in the transaction before anything changes. held
	// shows what the host has at that moment, and collections names what is
	// restored. An error ends the restore, and its text is printed unchanged: it must
	// not hold values of records. If the Sink repeats its transaction,
	// Before is called again. It is not called if there is no collection to restore.
	Before func(ctx context.Context, held DataSource, collections []string) error

	// Progress, if not nil, is called now and then.
	Progress func(Progress)
}

// Strategy is what happens to records that exist on both sides (guide, "Restore
// Options"). Records that only the snapshot has are always added. The zero value is
// SkipDuplicates.
type Strategy string

const (
	// SkipDuplicates keeps the host's record, and reports a conflict where the two
	// differ.
	SkipDuplicates Strategy = "skip-duplicates"

	// Merge merges objects member by member, recursively, and a member that only the
	// host has stays. Elsewhere the snapshot wins. [Collection].Merge can replace
	// this rule.
	Merge Strategy = "merge"

	// Replace takes the snapshot's record. It also deletes the records that only the
	// host has, in the collections that are restored.
	Replace Strategy = "replace"
)

// Validate returns an error that wraps ErrInvalid unless s is empty or one of the
// strategies.
func (s Strategy) Validate() error {
	switch s {
	case "", SkipDuplicates, Merge, Replace:
		return nil
	}
	return fmt.Errorf("%w: unknown strategy %q: want %s, %s or %s", ErrInvalid, fault.Shorten(string(s)), SkipDuplicates, Merge, Replace)
}

// A Report says what a restore did, or would do.
type Report struct {
	// Backup is the name of the snapshot: see [OpenOptions].Name.
	Backup string `json:"backup,omitempty"`

	// These three are of the snapshot.
	CreatedAt          time.Time `json:"created_at"`
	ApplicationVersion string    `json:"application_version"`
	SchemaVersion      int       `json:"schema_version"`

	// Collections are those that were restored, in the order of restore.
	Collections []CollectionReport `json:"collections"`

	// LeftOut names the invalid records that were left out: the first thousand.
	LeftOut  []*RecordError `json:"left_out,omitempty"`
	Warnings []string       `json:"warnings,omitempty"`

	// Duration is how long the operation took. In JSON it is in nanoseconds.
	Duration time.Duration `json:"duration_ns"`

	// UndoneBy names the backup that brings back what was there before.
	// AfterRestore is what the host said when it was told of the restore. Only a
	// manager.Manager sets them.
	UndoneBy     string `json:"undone_by,omitempty"`
	AfterRestore string `json:"after_restore,omitempty"`
}

// Changed tells whether a restore changed anything, or would change it.
func (r Report) Changed() bool {
	return slices.ContainsFunc(r.Collections, func(c CollectionReport) bool { return c.Added+c.Updated+c.Deleted > 0 })
}

// A CollectionReport counts the records of one collection.
type CollectionReport struct {
	Name     string   `json:"name"`
	Strategy Strategy `json:"strategy"`

	// Records are those of the snapshot, after migration. A restore, or a plan of
	// one, has them as the sum of Added, Updated, Unchanged and Skipped.
	Records   int64 `json:"records"`
	Added     int64 `json:"added"`
	Updated   int64 `json:"updated"`
	Unchanged int64 `json:"unchanged"`
	Skipped   int64 `json:"skipped"` // they differ, and the host's were kept

	// Deleted are records that only the host had.
	Deleted int64 `json:"deleted"`

	// Conflicts are the keys of the skipped records: the first hundred.
	Conflicts []string `json:"conflicts,omitempty"`
}

// Verify checks all of a snapshot that a restore checks before it looks at the
// host: that it is of this App and not too new, that it can be migrated, that its
// secrets open, and that every record satisfies its schema and has a key of its own.
// It also checks that every reference inside of the snapshot has a record to point
// to. The Report has the number of records of each collection.
//
// Verify returns ErrDangling for such a reference. Its other errors are those that
// Restore returns before it looks at the host.
func (a *App) Verify(ctx context.Context, s *Snapshot, opts RestoreOptions) (Report, error) {
	start := time.Now()
	in, err := a.prepare(ctx, s, opts)
	if err == nil {
		dangling := in.seen.dangling(opts.AllowDangling)
		err = dangling.err(ErrDangling)
		in.warnings = append(in.warnings, dangling.warnings()...)
	}
	if err != nil {
		return Report{}, fmt.Errorf("verify: %w", err)
	}
	report := in.report()
	for _, col := range in.collections {
		report.Collections = append(report.Collections, CollectionReport{Name: col.Name, Strategy: in.strategy(col), Records: int64(in.seen.keys[col.Name].Len())})
	}
	report.Duration = time.Since(start)
	return report, nil
}

// Restore restores a snapshot into dst. It first reads the whole snapshot, and
// opens, migrates and validates all of it. Only then does it change the host, in one
// transaction: it makes all changes or none. [App.Plan] shows them before.
//
// Restore returns ErrForeign, ErrTooNew, ErrNoKey, ErrInvalid, ErrDangling,
// ErrSalvaged, ErrDamaged, ErrFormat or ErrLimit, or the error of a migrator, of
// Before, of dst or of ctx. With each of these the host is as it was. Only after
// ErrUncertain it may not be: dst failed when all changes were made, and did not say
// that it rolled them back.
func (a *App) Restore(ctx context.Context, s *Snapshot, dst Sink, opts RestoreOptions) (Report, error) {
	if err := fault.Missing("the Sink", dst); err != nil {
		return Report{}, fmt.Errorf("restore: %w", err)
	}
	start := time.Now()
	in, err := a.prepare(ctx, s, opts)
	if err != nil {
		return Report{}, fmt.Errorf("restore: %w", err)
	}
	report, err := in.transact(ctx, dst, in.restoring)
	if err != nil {
		return Report{}, fmt.Errorf("restore: %w", err)
	}
	report.Duration = time.Since(start)
	return report, nil
}

// errLook rolls back a transaction that was only for looking.
var errLook = errors.New("only looking")

// transact makes a comparison inside a transaction of dst. It commits the transaction
// if the comparison writes and succeeds.
func (in *incoming) transact(ctx context.Context, dst Sink, start func(Writer) *comparison) (Report, error) {
	var report Report
	var inside error
	ran, done := false, false
	err := dst.Update(ctx, func(w Writer) error {
		ran, done = true, false
		if inside = fault.Missing("the Writer of the Sink", w); inside != nil {
			return inside
		}
		c := start(w)
		c.ctx, c.report = ctx, in.report()
		if inside = in.callBefore(c); inside == nil {
			inside = c.carryOut()
		}
		if inside == nil && !c.write {
			inside = errLook
		}
		report, done = c.report, inside == nil
		return inside
	})
	switch {
	case inside == errLook:
		return report, nil
	case inside != nil:
		return Report{}, inside
	case err != nil && done && report.Changed() && !errors.Is(err, ErrRolledBack):
		return Report{}, fmt.Errorf("%w: the host failed to commit: %w; look at its data, and restore again if it lacks the changes", ErrUncertain, fault.Advise(err))
	case err != nil && done && report.Changed():
		return Report{}, fault.Advise(fmt.Errorf("the host did not take the changes: %w", err))
	case err != nil:
		return Report{}, fault.Advise(fmt.Errorf("the host did not take the changes, and is as it was: %w", err))
	case !ran:
		return Report{}, errors.New("the Sink did nothing: its Update returned without calling write")
	}
	return report, nil
}

// restoring returns the comparison that restores.
func (in *incoming) restoring(w Writer) *comparison {
	return &comparison{incoming: in, host: w, write: true}
}

// callBefore calls RestoreOptions.Before for a comparison that writes.
func (in *incoming) callBefore(c *comparison) error {
	if !c.write || in.opts.Before == nil || len(in.collections) == 0 {
		return nil
	}
	var names []string
	for _, col := range in.collections {
		names = append(names, col.Name)
	}
	return in.opts.Before(c.ctx, heldSource{c.host}, names)
}

// A heldSource reads what the host holds, as its transaction sees it.
type heldSource struct{ Writer }

func (s heldSource) View(_ context.Context, read func(Reader) error) error {
	if r, ok := s.Writer.(Reader); ok {
		return read(r)
	}
	return read(s)
}

func (s heldSource) Records(ctx context.Context, collection string) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		var keys []string
		for key, err := range s.Keys(ctx, collection) {
			if err != nil {
				yield(Record{}, err)
				return
			}
			keys = append(keys, key)
		}
		slices.Sort(keys)
		for keys := range slices.Chunk(keys, batchSize) {
			found, err := s.Lookup(ctx, collection, keys)
			if err == nil && len(found) != len(keys) {
				err = fmt.Errorf("of %d records that have a key, %d were found", len(keys), len(found))
			}
			if err != nil {
				yield(Record{}, err)
				return
			}
			slices.SortFunc(found, func(a, b Record) int { return strings.Compare(a.Key, b.Key) })
			for _, r := range found {
				if !yield(r, nil) {
					return
				}
			}
		}
	}
}
