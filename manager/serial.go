package manager

import (
	"context"
	"fmt"

	"github.com/tomo-project/backup/internal/codec"
)

// origin returns the Installation, and the serial of the next backup: one more than the
// highest that this Manager has handed out, or that a backup of the Installation has at a
// location that can be asked. Nobody else hands out serials while the locations are held.
//
// It returns none if no backup tells a serial and not all locations could be asked. The
// first serial would then be a guess, and an earlier backup may have a higher serial.
func (o *operation) origin(ctx context.Context) (installation string, serial int64, err error) {
	if o.Installation == "" {
		return "", 0, nil
	}
	c, err := o.catalog(ctx)
	if err != nil {
		return "", 0, err
	}
	highest, last := c.highest(o.Installation)
	o.mu.Lock()
	serial = max(highest, o.serial)
	all := len(o.down) == 0 && len(c.errs) == 0
	if serial > 0 || all {
		o.serial = min(serial+1, codec.MaxSerial)
	}
	o.mu.Unlock()
	switch {
	case serial == 0 && !all:
		return "", 0, nil
	case serial == codec.MaxSerial && last != nil:
		// The order of the backups from now on is that of their times.
		o.emit(ctx, Event{Kind: EventFailed, Backup: last.Name, Location: last.Copies[0].Location, Err: fmt.Errorf(
			"its serial is %d, the highest there can be, so every new backup gets the same; delete it if this application has not made it", serial)})
	}
	return o.Installation, min(serial+1, codec.MaxSerial), nil
}

// highest returns the highest serial of an installation that a copy of a backup tells,
// and that copy. A damaged copy counts too: a gap does no harm, and a serial that is used
// twice does.
func (c *catalog) highest(installation string) (serial int64, of *Backup) {
	for _, backups := range c.at {
		for i, b := range backups {
			if m := b.Manifest; m != nil && m.Installation == installation && m.Serial > serial {
				serial, of = m.Serial, &backups[i]
			}
		}
	}
	return serial, of
}
