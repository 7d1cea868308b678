package manager

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/tomo-project/backup/internal/codec"
)

// No honest backup has a serial that is more than serialGap above the next lower one, or
// one of the last serialsLeft that there are. Whoever can write to a location can make a
// file with such a serial, and no serial would be left for the backups to come.
const (
	serialGap   = 1 << 20
	serialsLeft = 1 << 32
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
	o.mu.Lock()
	serial, tooHigh := c.highest(o.Installation, o.serial)
	all := len(o.down) == 0 && len(c.errs) == 0
	next := min(serial+1, codec.MaxSerial)
	if serial > 0 || all {
		o.serial = next
	}
	o.mu.Unlock()
	if len(tooHigh) > 0 {
		of, more := tooHigh[0], ""
		if n := len(tooHigh) - 1; n > 0 {
			more = fmt.Sprintf(" (and %d more files like it)", n)
		}
		o.emit(ctx, Event{Kind: EventFailed, Backup: of.Name, Location: of.Copies[0].Location, Err: fmt.Errorf(
			"its serial is %d, far above those of the other backups, so it goes by its date, and new backups do not go on from it%s; delete it if this application has not made it", of.Manifest.Serial, more)})
	}
	if serial == 0 && !all {
		return "", 0, nil
	}
	return o.Installation, next, nil
}

// doubt marks the backups whose serials are too high. They go by their times, so that
// the backups to come are newer.
func (o *operation) doubt(c *catalog) {
	if o.Installation == "" {
		return
	}
	o.mu.Lock()
	handed := o.serial
	o.mu.Unlock()
	_, tooHigh := c.highest(o.Installation, handed)
	for _, b := range tooHigh {
		b.tooHigh, c.unsure = true, true // each backup tells of it
	}
}

// highest returns the highest serial of an installation that a copy of a backup tells, or
// handed if that is higher, and the copies whose serials it passed over as too high. A
// damaged copy counts too: a gap does no harm, and a serial that is used twice does.
func (c *catalog) highest(installation string, handed int64) (serial int64, tooHigh []*Backup) {
	var own []*Backup
	for _, backups := range c.at {
		for i, b := range backups {
			if m := b.Manifest; m != nil && m.Installation == installation {
				own = append(own, &backups[i])
			}
		}
	}
	slices.SortFunc(own, func(a, b *Backup) int {
		return cmp.Or(cmp.Compare(a.Manifest.Serial, b.Manifest.Serial), cmp.Compare(a.Copies[0].Location, b.Copies[0].Location), cmp.Compare(a.Name, b.Name))
	})
	serial = handed
	for i, b := range own {
		// The lowest has no lower one to be measured by, since earlier backups were pruned.
		most := int64(codec.MaxSerial - serialsLeft)
		if serial > 0 {
			most = min(serial, codec.MaxSerial-serialGap) + serialGap
		}
		if b.Manifest.Serial > most {
			return serial, own[i:]
		}
		serial = max(serial, b.Manifest.Serial)
	}
	return serial, nil
}
