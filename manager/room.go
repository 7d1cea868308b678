package manager

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"syscall"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/filename"
)

// full tells whether there is no room for a file.
func full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// fullAt tells whether a location did not take a backup because it has no room.
func fullAt(err error) bool {
	var put *putError
	return errors.As(err, &put) && full(err)
}

// makeRoom deletes at a site what Retention would delete there anyway once the coming
// backup is there. As in Prune, the newest good backups are proven first. They stay, since
// the coming backup may fail. It returns false if nothing was deleted.
func (o *operation) makeRoom(ctx context.Context, s *site, coming Backup) bool {
	if o.asked != nil && o.asked.brief { // it has no backups to delete
		o.asked = nil
	}
	c, err := o.catalog(ctx)
	if err != nil || c.errs[s.name] != nil || len(c.lostIn(coming)) > 0 || o.heldUp(c) != nil {
		return false
	}
	coming.coming = true
	decisions, _, err := o.proven(ctx, s, append(slices.Clone(c.at[s.name]), coming), PruneOptions{})
	var deleted []string
	if err == nil {
		decisions = slices.DeleteFunc(decisions, func(d Decision) bool { return d.coming })
		deleted, err = o.delete(ctx, s, decisions)
	}
	if err != nil {
		o.failed(ctx, s, "", fmt.Errorf("make room for a backup: %w", err))
	}
	if len(deleted) == 0 {
		return false
	}
	o.asked = nil
	o.emit(ctx, Event{Kind: EventPruned, Location: s.name}, slog.Any("deleted", deleted))
	return true
}

// toBeMade returns what is known of a backup before it is made.
func (o *operation) toBeMade(name filename.Name, trigger string) Backup {
	b := o.newBackup(name, nil)
	b.Trigger = trigger
	b.Manifest = &backup.Manifest{Application: o.App.Name, Installation: o.Installation, CreatedAt: b.CreatedAt, SHA256: "coming"}
	return b
}
