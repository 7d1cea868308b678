package backup

import (
	"context"
	"fmt"
	"time"

	"github.com/tomo-project/backup/internal/fault"
)

// RestoreOptions say what a restore takes from a snapshot and how it treats
// what the host has. The zero value adds what is missing and changes nothing
// that is there.
type RestoreOptions struct {
	// Only names the collections to restore (guide, "Selective Restore"), as
	// the App declares them, after migration. Nil means all that the snapshot
	// has; an empty list is an error.
	Only []string

	// Strategy is used for the collections that Strategies does not name. A
	// full restore of the guide is Replace and Only nil.
	Strategy   Strategy
	Strategies map[string]Strategy

	// AllowNewerApp accepts a snapshot of a newer version of the application
	// whose schema version is not newer.
	AllowNewerApp bool

	// AllowUnknown leaves out collections that the App does not declare, with a
	// warning, instead of refusing the snapshot.
	AllowUnknown bool

	// AllowDangling lets references point to nothing, with a warning.
	AllowDangling bool

	// AllowSalvaged lets Replace delete what only the host has although the
	// snapshot was saved from a damaged file, and lacks records that it once had.
	AllowSalvaged bool

	// LeaveOutInvalid leaves out records that are not valid, instead of
	// refusing the snapshot, and names them in Report.LeftOut. The record that
	// the host has under such a key stays, with any strategy. An error of a
	// migrator still ends the restore.
	LeaveOutInvalid bool

	// AsItWas is for a snapshot of what a restore has replaced, as Before gets it.
	// The host's records that are not valid stay, since they could not be in the
	// snapshot. A reference that pointed to nothing then may do so again.
	AsItWas bool

	// Before, if not nil, is called in the transaction before anything changes,
	// with what the host holds at that moment and the names of the collections that
	// are restored. An error ends the restore. A Sink that begins its transaction
	// anew has it called again. Without any collection it is not called.
	Before func(ctx context.Context, held DataSource, collections []string) error

	// Progress, if not nil, is called now and then.
	Progress func(Progress)
}

// Strategy is what happens to records that exist on both sides (guide, "Restore
// Options"). Records that only the snapshot has are always added. The zero value is
// SkipDuplicates.
type Strategy string

const (
	// SkipDuplicates keeps the host's record, and reports a conflict where it
	// differs.
	SkipDuplicates Strategy = "skip-duplicates"

	// Merge merges objects member by member, recursively; elsewhere the
	// snapshot wins. A member that only the host has stays.
	Merge Strategy = "merge"

	// Replace takes the snapshot's record, and deletes what only the host has,
	// in the collections that are restored.
	Replace Strategy = "replace"
)

// Validate returns an error unless s is one of the strategies, or empty.
func (s Strategy) Validate() error {
	switch s {
	case "", SkipDuplicates, Merge, Replace:
		return nil
	}
	return fmt.Errorf("%w: unknown strategy %q: want %s, %s or %s", ErrInvalid, fault.Shorten(string(s)), SkipDuplicates, Merge, Replace)
}

// A Report says what a restore did, or would do.
type Report struct {
	Backup             string             `json:"backup,omitempty"` // the name of what was restored, if a [manager.Manager] opened it
	CreatedAt          time.Time          `json:"created_at"`       // of the snapshot, as the next two
	ApplicationVersion string             `json:"application_version"`
	SchemaVersion      int                `json:"schema_version"`
	Collections        []CollectionReport `json:"collections"` // in the order of restore
	LeftOut            []*RecordError     `json:"left_out,omitempty"`
	Warnings           []string           `json:"warnings,omitempty"`
	Duration           time.Duration      `json:"duration_ns"`

	// UndoneBy names the backup of what was there before, and AfterRestore is what
	// the host made of it. Both come from a [manager.Manager] only.
	UndoneBy     string `json:"undone_by,omitempty"`
	AfterRestore string `json:"after_restore,omitempty"`
}

// A CollectionReport counts the records of one collection.
type CollectionReport struct {
	Name      string   `json:"name"`
	Strategy  Strategy `json:"strategy"`
	Records   int64    `json:"records"` // in the snapshot, after migration: the sum of the next four
	Added     int64    `json:"added"`
	Updated   int64    `json:"updated"`
	Unchanged int64    `json:"unchanged"`
	Skipped   int64    `json:"skipped"`             // the host's was kept, and it differs
	Deleted   int64    `json:"deleted"`             // of the host
	Conflicts []string `json:"conflicts,omitempty"` // the keys of the skipped, the first hundred
}

// Verify checks all of a snapshot that a restore checks before it looks at the
// host: that it is of this App and not too new, that it can be migrated, that
// its secrets open, and that every record satisfies its schema and has a key of
// its own. It also checks that no reference inside of the snapshot points to
// nothing. The Report has the counts.
//
// The errors are those of Restore.
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

// Restore reads the whole snapshot, migrates, opens and validates all of it,
// and only then changes the host, in one transaction of dst: it restores all or
// nothing. What a restore would do can be seen before with Plan.
//
// It returns ErrForeign, ErrTooNew, ErrNoKey, ErrInvalid, ErrDangling,
// ErrSalvaged, ErrDamaged or ErrLimit, or the error of a migrator, of dst or of
// ctx: then the host is as it was. After ErrUncertain it may not be: dst failed
// when all changes were made, and did not say that it rolled back.
func (a *App) Restore(ctx context.Context, s *Snapshot, dst Sink, opts RestoreOptions) (Report, error) {
	start := time.Now()
	in, err := a.prepare(ctx, s, opts)
	if err != nil {
		return Report{}, fmt.Errorf("restore: %w", err)
	}
	report, err := in.run(ctx, dst, in.writing)
	if err != nil {
		return Report{}, fmt.Errorf("restore: %w", err)
	}
	report.Duration = time.Since(start)
	return report, nil
}
