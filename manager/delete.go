package manager

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/tomo-project/backup/internal/fault"
)

// Delete deletes every copy of a backup, and what stands beside it. It asks nothing:
// whoever calls it knows whether another good one is left. Where a Location is down
// a copy may be left, which is then copied to the others again; the error says so.
// It wraps fs.ErrNotExist if no Location has the backup. It may return ErrBusy.
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
	c, unasked := o.listHeld(ctx)
	if c == nil {
		return unasked
	}
	var errs []error
	for _, c := range o.down {
		errs = append(errs, fmt.Errorf("%s: a copy may be left there, and come back: %w", c.Location, c.Err))
	}
	if unasked != nil {
		errs = append(errs, fmt.Errorf("a copy may be left, and come back: %w", unasked))
	}
	b := find(c.backups, name)
	if b == nil {
		return errors.Join(append(errs, fmt.Errorf("no location has %s: %w", fault.Shorten(name), fs.ErrNotExist))...)
	}
	var gone []Pruned
	for _, p := range o.sites {
		if b.at(p) == nil {
			continue
		}
		if err := p.drop(ctx, b.named); err != nil {
			errs = append(errs, fmt.Errorf("%s: delete %s: %w", p.name, name, err))
			continue
		}
		gone = append(gone, Pruned{Location: p.name, Deleted: []string{name}})
	}
	o.tidy(ctx, c, gone)
	return errors.Join(errs...)
}
