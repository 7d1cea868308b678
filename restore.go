package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	// warning. A record whose reference the host does not take is left out, and
	// named in Report.LeftOut.
	AllowDangling bool

	// SkipClashes leaves out records that clash with records of the host over a
	// unique value, and records that refer to those, unless the host has a record under
	// the same key that they can refer to. Report.LeftOut names them. The
	// host's records stay. Otherwise a clash refuses the restore. The restore may itself
	// change what a record clashed with: a second restore then brings the record.
	SkipClashes bool

	// Untried makes [App.Plan] compare only, and try nothing. That is faster, but
	// what the host does not take or makes otherwise shows only when the plan is
	// applied, and clashes that only the host knows of are not skipped. Restore ignores
	// Untried.
	Untried bool

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
	// may have done then. A record that the host does not take so is left out, and
	// named in Report.LeftOut.
	AsItWas bool

	// Own names records, by collection, that say how this installation works, such as
	// where it keeps its backups. They stay as they are here: the snapshot's records
	// under these keys are not restored, and Replace deletes none of them. With TakeOwn
	// they are restored as all others, and so are those that Records names. A warning names
	// each that differs, either way.
	Own     map[string][]string
	TakeOwn bool

	// Installation is the id of the installation that is restored into. If the snapshot is
	// of another one, the same number is not the same thing in both: see [App.Restore].
	// Empty means that it is of this one.
	Installation string

	// Records restricts the restore to some records, by collection: the keys that they have
	// in the snapshot, once migrated. [App.Resolve] finds them by what people call them.
	// Nothing else is touched, also with Replace: other records of the snapshot are neither
	// restored nor held against their schema, and other records of the host stay. A key that
	// the snapshot does not have is an error. With AsItWas it is a record that was not there:
	// Replace deletes it. Nil means all records, and Only must be nil otherwise.
	//
	// With WithReferences, the records that these refer to are restored too, and those that
	// they refer to, as far as the snapshot has them. The Report and the Plan have them as
	// they have the others.
	Records        map[string][]string
	WithReferences bool

	// Before, if not nil, is called in the transaction before anything changes. held
	// shows what the host has at that moment, and collections names what is
	// restored. An error ends the restore, and its text is printed unchanged: it must
	// not hold values of records. If the Sink repeats its transaction, or does not take
	// records that are then left out, Before is called again. It is not called if there
	// is no collection to restore. If Records restricts the restore, held also has the
	// method Restores() map[string][]string. It returns the keys of all records that are
	// restored, by collection, or nil if they are many.
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

	// LeftOut names the records that were left out, because they are invalid or the
	// host does not take them: the first thousand.
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
	return slices.ContainsFunc(r.Collections, func(c CollectionReport) bool { return c.Added+c.Updated+c.Deleted+c.Altered+c.Extra > 0 })
}

// A CollectionReport counts the records of one collection.
type CollectionReport struct {
	Name     string   `json:"name"`
	Strategy Strategy `json:"strategy"`

	// Records are those of the snapshot, after migration. A restore, or a plan of
	// one, has them as the sum of Added, Updated, Unchanged, Skipped and Altered.
	Records   int64 `json:"records"`
	Added     int64 `json:"added"`
	Updated   int64 `json:"updated"`
	Unchanged int64 `json:"unchanged"`
	Skipped   int64 `json:"skipped"` // they differ or clash, and the host's were kept

	// Deleted are records that only the host had.
	Deleted int64 `json:"deleted"`

	// Conflicts are the keys of the skipped records: the first hundred.
	Conflicts []string `json:"conflicts,omitempty"`

	// Rekeyed counts the records that the host has under another key than the snapshot.
	// RekeyedKeys are the two keys of each, the snapshot's first: of the first thousand.
	Rekeyed     int64             `json:"rekeyed,omitempty"`
	RekeyedKeys map[string]string `json:"rekeyed_keys,omitempty"`

	// Altered are records of the snapshot that the host did not leave as the restore
	// wrote or found them: a trigger changed or removed them, or ignored the change.
	// Extra are other records that the host made, changed or removed by itself, or did
	// not let go. Both could not be put right. Warnings name the triggers. The keys are
	// the first hundred.
	Altered     int64    `json:"altered,omitempty"`
	AlteredKeys []string `json:"altered_keys,omitempty"`
	Extra       int64    `json:"extra,omitempty"`
	ExtraKeys   []string `json:"extra_keys,omitempty"`
}

func (r *CollectionReport) addRekeyed(from, to string) {
	if r.Rekeyed++; r.Rekeyed > 1000 {
		return
	}
	if r.RekeyedKeys == nil {
		r.RekeyedKeys = make(map[string]string)
	}
	r.RekeyedKeys[from] = to
}

// Verify checks all of a snapshot that a restore checks before it looks at the
// host: that it is of this App and not too new, that it can be migrated, that its
// secrets open, and that every record satisfies its schema and has a key of its own.
// It also checks that every reference inside of the snapshot has a record to point
// to. The Report has the number of records of each collection. With Records, it checks
// these records, and their references only with WithReferences.
//
// Verify returns ErrDangling for such a reference. Its other errors are those that
// Restore returns before it looks at the host. Beside ErrNoKey the Report has the
// warnings about what could be seen without the key.
func (a *App) Verify(ctx context.Context, s *Snapshot, opts RestoreOptions) (Report, error) {
	start := time.Now()
	in, err := a.prepare(ctx, s, opts)
	var dangling *problems
	if err == nil && (in.picks == nil || opts.WithReferences) {
		dangling, err = in.dangling(ctx)
	}
	if err == nil && dangling != nil {
		err = dangling.err(ErrDangling)
		in.warnings = append(in.warnings, dangling.warnings()...)
	}
	if errors.Is(err, ErrNoKey) && in != nil {
		return in.report(), fmt.Errorf("verify: %w", err)
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
// Before the commit, Restore reads back what it restored. What the host has made
// otherwise, by a trigger for example, it puts right. What cannot be put right is
// Altered or Extra in the Report.
//
// A record is known by its key, and by its [Collection].Unique values. The host may have a
// record of the snapshot under another key: its twin, such as the first admin of a new
// server. Then the host's key counts. With SkipDuplicates the twin stays, and with Merge the
// record is merged into it. All references to the record are rewritten, and so are keys that
// hold such a reference. The first Unique with a twin is enough, in the order of
// declaration; if a later one has another twin, that is a clash, as it is with Merge
// if one record of the host has the key and another one the value. A record of
// the host is the twin of one record only. What a merge gives another value is no twin. In
// records that refer to each other in a circle, a Unique that holds such a reference finds
// none. With Replace of whole collections and with AsItWas there are no twins: the
// snapshot's keys count.
//
// A snapshot of another installation may have the same key for something else, where the
// host's store numbers the records ([Writer], NewKeys) and both installations are known:
// [Manifest].Installation and RestoreOptions.Installation. There a record is known by its
// Unique values alone. A record without a twin keeps its key if that is free, and gets a
// fresh one if not. If the host has another record under the key, and the record has no
// value to tell whether it is the same, that is a clash. A collection without a Unique goes
// by key, and a warning says so. CollectionReport.RekeyedKeys has the keys of both sides.
//
// Restore returns ErrForeign, ErrTooNew, ErrNoKey, ErrInvalid, ErrDangling,
// ErrClash, ErrSalvaged, ErrDamaged, ErrFormat or ErrLimit, or the error of a migrator, of
// Before, of dst or of ctx. With each of these the host is as it was. Only after
// ErrUncertain it may not be: dst failed when all changes were made, and did not say
// that it rolled them back.
func (a *App) Restore(ctx context.Context, s *Snapshot, dst Sink, opts RestoreOptions) (Report, error) {
	if err := fault.Missing("the Sink", dst); err != nil {
		return Report{}, fmt.Errorf("restore: %w", err)
	}
	start := time.Now()
	in, err := a.prepareToRestore(ctx, s, opts)
	if err != nil {
		return Report{}, fmt.Errorf("restore: %w", err)
	}
	defer in.forget()
	report, err := in.transact(ctx, dst, in.restoring)
	if err != nil {
		return Report{}, fmt.Errorf("restore: %w", err)
	}
	report.Duration = time.Since(start)
	return report, nil
}
