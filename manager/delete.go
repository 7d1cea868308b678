package manager

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/tomo-project/backup/internal/fault"
)

// Delete deletes every copy of a backup with its note and marks. It does not ask whether
// another good backup is left. If a Location is down, a copy may be left there, and a
// later Create or Run copies it to the others again; the error says so. If the backup is
// Rekeyed, the next backup that takes a key is from then on. The error wraps
// fs.ErrNotExist if no Location has the backup. It may be [location.ErrBusy].
func (m *Manager) Delete(ctx context.Context, name string) error {
	o, ctx, release, err := m.hold(ctx, "delete")
	if err != nil {
		return err
	}
	defer release()
	o.emit(ctx, Event{Kind: EventStarted, Backup: name})
	return o.done(ctx, Event{Backup: name}, o.deleteBackup(ctx, name))
}

func (o *operation) deleteBackup(ctx context.Context, name string) error {
	c, err := o.listHeld(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, down := range o.down {
		errs = append(errs, fmt.Errorf("%s: a copy may be left there, and come back: %w", down.Location, down.Err))
	}
	b := find(c.backups, name)
	if b == nil {
		return errors.Join(append(errs, fmt.Errorf("no location has %s: %w", fault.Shorten(name), fs.ErrNotExist))...)
	}
	if err := o.passOnRekeyed(ctx, c, *b); err != nil {
		return errors.Join(append(errs, fmt.Errorf("keep pruning held up: %w", err))...)
	}
	var gone []Pruned
	for _, s := range o.sites {
		if b.at(s) == nil {
			continue
		}
		if err := s.drop(ctx, b.named); err != nil {
			errs = append(errs, fmt.Errorf("%s: delete %s: %w", s.name, name, err))
			continue
		}
		gone = append(gone, Pruned{Location: s.name, Deleted: []string{name}})
	}
	o.tidy(ctx, c, gone)
	return errors.Join(errs...)
}
