package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/fault"
)

// Walk calls f for the records of a snapshot as a restore takes them: migrated to the
// SchemaVersion of the App, with their secrets open, each with its key. It does not check
// them against their schemas, and leaves out records without a key. The records of a
// collection come in the order of the snapshot. A Record is valid until f returns.
//
// Of opts, only Only, Records, AllowNewerApp and AllowUnknown count. Only the secrets of
// the records that these name are opened, unless the snapshot is migrated. A collection or
// a key that the snapshot does not have is no error.
//
// If f returns [fs.SkipAll], Walk ends and returns nil. It returns any other error of f as
// it is. Its own errors are ErrForeign, ErrTooNew, ErrNoKey, ErrInvalid, ErrDamaged,
// ErrLimit, and those of a migrator or of ctx.
func (a *App) Walk(ctx context.Context, s *Snapshot, opts RestoreOptions, f func(collection string, r Record) error) error {
	if err := fault.Missing("the function f", f); err != nil {
		return fmt.Errorf("read records: %w", err)
	}
	var of error // f
	err := a.walk(ctx, s, opts, func(col *collection, r item) error {
		of = f(col.Name, Record{r.key, r.value})
		return of
	})
	switch {
	case of == fs.SkipAll:
		return nil
	case of != nil:
		return of
	case err != nil:
		return fmt.Errorf("read records: %w", err)
	}
	return nil
}

func (a *App) walk(ctx context.Context, s *Snapshot, opts RestoreOptions, f func(*collection, item) error) error {
	keys := make(map[string]map[string]bool, len(opts.Records))
	for name, list := range opts.Records {
		keys[name] = make(map[string]bool, len(list))
		for _, key := range list {
			keys[name][key] = true
		}
		opts.Only = append(slices.Clip(opts.Only), name)
	}
	named := opts.Records != nil
	if named && len(keys) == 0 {
		return nil
	}
	in, err := a.newIncoming(s, RestoreOptions{Only: opts.Only, AllowNewerApp: opts.AllowNewerApp, AllowUnknown: opts.AllowUnknown})
	if err == nil {
		err = in.checkNames()
	}
	if err == nil {
		err = in.checkOrigin()
	}
	if err != nil {
		return err
	}
	// take sets the key of a record. It tells whether f wants the record.
	take := func(col *collection, r *item) bool {
		var err error
		r.key, err = col.identity(r)
		return err == nil && (!named || keys[col.Name][r.key])
	}
	migrating := in.newMigrating(ctx, s.limits)
	for i := range s.sections {
		sec := &s.sections[i]
		if in.migrates() {
			err = in.produce(sec, migrating, func(col *collection, r item) error {
				if !take(col, &r) {
					return nil
				}
				return f(col, r)
			})
		} else {
			err = in.walkSection(ctx, sec, take, f)
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// walkSection is walk for a section that needs no migration.
func (in *incoming) walkSection(ctx context.Context, sec *codec.Section, take func(*collection, *item) bool, f func(*collection, item) error) error {
	col, err := in.readable(sec)
	if col == nil || err != nil {
		return err
	}
	looks := in.looksForSecrets(col, sec)
	return in.snapshot.eachPicked(ctx, sec, col, func(r *item) bool { return take(col, r) }, func(*batch) {}, func(b *batch) error {
		for _, r := range b.items {
			if looks {
				if _, err := col.findUnlisted(r); err != nil {
					return err
				}
			}
			if err := f(col, r); err != nil {
				return err
			}
		}
		return nil
	})
}

// Change shows two states of one record to people: Add if before is nil, Delete if after is
// nil, and otherwise Update, without Fields if the two are equal. Secrets are masked. Both
// are records of the App as it is today, such as [App.Walk] reads them.
func (a *App) Change(collection string, before, after *Record) (Change, error) {
	c, err := a.compile()
	if err != nil {
		return Change{}, err
	}
	col := c.byName[collection]
	switch {
	case col == nil:
		return Change{}, fmt.Errorf("%w: %s has no collection %s, only %s", ErrInvalid, a.Name, codec.Quote(fault.Shorten(collection)), c.names())
	case before == nil && after == nil:
		return Change{}, fmt.Errorf("%w: a change needs a record before or after it", ErrInvalid)
	}
	e := entry{collection: collection, action: Update}
	compact := func(r *Record) []byte {
		if r == nil || err != nil {
			return nil
		}
		var value []byte
		if value, err = codec.Compact(nil, r.Value, hostLimits); err != nil {
			err = &RecordError{Collection: collection, Key: r.Key, Offset: -1, Err: errors.Join(ErrInvalid, err)}
		}
		e.key = r.Key
		return value
	}
	e.before, e.after = compact(before), compact(after)
	switch {
	case err != nil:
		return Change{}, err
	case before == nil:
		e.action = Add
	case after == nil:
		e.action = Delete
	}
	return col.change(e), nil
}
