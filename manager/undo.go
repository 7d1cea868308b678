package manager

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/fault"
)

// PlanUndo says what Undo would do, for a person to agree to and for Apply. As Plan
// does, it tries that and rolls back. The caller closes the Plan. Until then ctx must not
// be done, as with Open. The error wraps fs.ErrNotExist if there is nothing to undo.
func (m *Manager) PlanUndo(ctx context.Context) (*Plan, error) {
	o, err := m.begin(ctx, "plan")
	if err == nil {
		err = m.checkSink()
	}
	if err != nil {
		return nil, err
	}
	back, err := o.findUndo(ctx)
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	p, err := o.plan(ctx, back.snapshot, back.options())
	if err != nil {
		back.snapshot.Close()
		return nil, fmt.Errorf("plan: %s: %w", back.name, fault.Other(bare(err)))
	}
	p.warnings = slices.Concat(back.warnings, p.warnings)
	return p, nil
}

// Undo takes the last restore back: it restores the newest backup with the trigger "before
// restore" and replaces the collections in it, or after a restore of single records these
// records. Undo is a restore too, so a second Undo
// brings back what the first took away. PlanUndo says what Undo would do.
//
// The records of Own come back only if the restore took them. Records of the host that
// were not valid are not in that backup, and stay. References
// that pointed to nothing before the restore may do so again. If a record that was added
// since refers to a record that would be deleted, the error wraps [backup.ErrDangling].
// The error wraps fs.ErrNotExist if there is nothing to undo. The other errors are those
// of Restore.
func (m *Manager) Undo(ctx context.Context) (backup.Report, error) {
	return m.change(ctx, "undo", func(ctx context.Context, o *operation) (backup.Report, error) {
		back, err := o.findUndo(ctx)
		if err != nil {
			return backup.Report{}, err
		}
		defer back.snapshot.Close()
		opts := back.options()
		opts.Progress = o.progress(ctx, nil)
		report, err := o.keepBack(ctx, takesOwn(opts), nil, func(before beforeFunc) (backup.Report, error) {
			opts.Before = before
			return o.App.Restore(ctx, back.snapshot, heldSink{o.Sink}, opts)
		})
		if err != nil {
			return report, fmt.Errorf("%s: %w", back.name, err)
		}
		report.Warnings = slices.Concat(back.warnings, report.Warnings)
		return report, nil
	})
}

// An undo is an open backup from before a restore.
type undo struct {
	name     string
	snapshot *backup.Snapshot
	warnings []string
	own      map[string][]string // of the Manager
	records  map[string][]string // that the restore took; nil: whole collections
}

func (u *undo) warn(format string, args ...any) {
	u.warnings = append(u.warnings, fmt.Sprintf(format, args...))
}

// options leaves the records of Own as they are, unless the restore has taken them. After a
// restore of single records it leaves all others.
func (u *undo) options() backup.RestoreOptions {
	return backup.RestoreOptions{
		Strategy: backup.Replace, AsItWas: true, Records: u.records,
		Own: u.own, TakeOwn: u.snapshot.Manifest().Metadata[metaOwn] == ownTaken,
	}
}

// findUndo opens the newest backup from before a restore.
func (o *operation) findUndo(ctx context.Context) (*undo, error) {
	c, unasked := o.list(ctx)
	if c == nil {
		return nil, unasked
	}
	backups := slices.Clone(c.backups)
	for i := 0; i < len(backups); i++ {
		b := backups[i]
		candidate, err := o.mayUndo(ctx, &b)
		if err != nil {
			return nil, err
		}
		if backups[i].Manifest == nil && b.serial() > 0 { // it has another place than its name tells
			backups[i] = b
			newestFirst(backups)
			i = -1
			continue
		}
		if !candidate {
			continue
		}
		back, err := o.openUndo(ctx, b, c.has(markRestored, b.Name))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", b.Name, err)
		}
		if back == nil {
			continue
		}
		for _, c := range o.down {
			back.warn("%s could not be asked for a newer backup from before a restore: %v", c.Location, c.Err)
		}
		if unasked != nil {
			back.warn("some locations could not be asked for a newer backup from before a restore: %v", unasked)
		}
		return back, nil
	}
	if unasked != nil {
		return nil, fault.Other(fmt.Errorf("the locations that could be asked have no backup from before a restore: %w", unasked))
	}
	return nil, fault.Retell(fs.ErrNotExist, "there is no backup from before a restore, so nothing to undo")
}

// mayUndo tells whether a backup is from before a restore. It returns an error if nobody
// can tell: the backup may be the newest from before a restore, and an older one must not
// be taken instead.
func (o *operation) mayUndo(ctx context.Context, b *Backup) (bool, error) {
	if b.Database || b.Foreign {
		return false, nil
	}
	beforeRestore := b.Trigger == TriggerBeforeRestore
	noteLost := !b.Damaged && (b.Manifest == nil || beforeRestore && b.noDigest())
	noteMayLie := o.RequireProof && o.genuine(*b) && !beforeRestore
	if noteLost || noteMayLie {
		snapshot, err := o.open(ctx, b.Name)
		if err != nil {
			return false, fmt.Errorf("%s may be from before a later restore, and cannot be opened; restore the backup that you want by its name: %w", b.Name, err)
		}
		manifest := snapshot.Manifest()
		snapshot.Close()
		b.Manifest, b.Trigger, b.CreatedAt = &manifest, manifest.Metadata[backup.MetaTrigger], manifest.CreatedAt
		b.Foreign = o.foreign(&manifest)
	}
	switch {
	case b.Manifest == nil:
		return false, fmt.Errorf("%s may be from before a later restore, and cannot be read; try again, or restore the backup that you want by its name: %w", b.Name, b.Copies[0].Err)
	case b.Foreign || b.Trigger != TriggerBeforeRestore || !o.genuine(*b):
		return false, nil
	case b.serial() == 0 && b.CreatedAt.After(time.Now().Add(time.Minute)):
		return false, fmt.Errorf("%w: %s is from before a restore by a clock that was ahead, so it cannot be told which restore was the last; restore the backup that you want by its name", backup.ErrInvalid, b.Name)
	}
	return true, nil
}

// openUndo opens a backup from before a restore. It returns nil if the backup is not what
// its note says, or if that restore changed nothing.
func (o *operation) openUndo(ctx context.Context, b Backup, restored bool) (_ *undo, err error) {
	snapshot, err := o.open(ctx, b.Name)
	if err != nil {
		return nil, err
	}
	back := &undo{name: b.Name, snapshot: snapshot, own: o.Own}
	taken := false
	defer func() {
		if !taken {
			snapshot.Close()
		}
	}()
	m := snapshot.Manifest()
	if m.Metadata[backup.MetaTrigger] != TriggerBeforeRestore || !m.CreatedAt.Equal(b.CreatedAt) || m.Serial != b.serial() {
		return nil, nil
	}
	if back.records, err = recordsOf(m); err != nil {
		return nil, err
	}
	if !restored {
		// The process was killed during that restore. If the host is as it was before, the
		// restore changed nothing.
		opts := back.options()
		opts.Progress, opts.Untried = o.progress(ctx, nil), true
		plan, err := o.App.Plan(ctx, snapshot, heldSink{o.Sink}, opts)
		if err != nil {
			return nil, fault.Other(bare(err))
		}
		if !plan.Report().Changed() {
			return nil, nil
		}
		back.warn("the restore before which %s was made did not finish, so it may not have taken place", b.Name)
	}
	taken = true
	return back, nil
}
