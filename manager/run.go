package manager

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/location"
)

// Run makes backups when Schedule says, drills when Drills.Schedule says, and
// prunes after each success, until ctx is done; it returns the error of ctx, or at
// once an error if the Manager cannot work.
//
// What is due it derives from the scheduled backups that exist, and remembers
// nothing. So a machine that was off makes up for what it missed, once, soon
// after Run begins, and with no scheduled backup at all makes the first one at
// once. A backup made late counts for the next time of the Schedule too if that
// is close: nearer than a quarter of the way from one to the next. Several
// processes that share a Location make one scheduled backup for a time, not
// several.
//
// A failed backup is tried again after a pause of one minute, which doubles up
// to an hour, and neither it nor anything else ends Run. Nothing is pruned after
// a failure. Whether made, missed or failed, OnEvent and Logger are told, but
// for a first ErrBusy: another process may be at the same backup.
func (m *Manager) Run(ctx context.Context) error {
	if err := m.check(); err != nil {
		return err
	}
	if m.Schedule == nil {
		return errors.New("manager: Run needs a Schedule")
	}
	if m.Drills.Schedule != nil && m.Drills.Scratch == nil {
		return errors.New("manager: Drills.Schedule needs Drills.Scratch")
	}
	var pause time.Duration // after a failure
	busy := false           // and that was the first ErrBusy
	var last time.Time      // what the last backup that was made here was for
	for {
		due := m.wake(ctx)
		if due.at.After(time.Now()) { // another time than the one that failed
			pause, busy = 0, false
		}
		if err := sleepUntil(ctx, due.at); err == errAgain {
			continue
		} else if err != nil {
			return err
		}
		wait := time.Duration(0)
		switch slot, err := m.runOnce(ctx, pause > 0, busy); {
		case err == nil && slot.After(last):
			last, pause, busy = slot, 0, false
		case errors.Is(err, errNotDue):
			pause, busy, wait = 0, false, time.Minute
		default: // a failure, or the backup that was made does not show
			busy = errors.Is(err, location.ErrBusy)
			pause = min(max(2*pause, time.Minute), time.Hour)
			// Two that got in each other's way must not do so again.
			wait = pause + rand.N(pause/4)
		}
		if err := sleepUntil(ctx, time.Now().Add(wait)); err != nil && err != errAgain {
			return err
		}
	}
}

// How long to sleep without a look at the clock, which may be set and which goes
// on while the machine sleeps, and without a look at the backups.
const (
	longestSleep = 10 * time.Minute
	longestWait  = 24 * time.Hour
)

// errAgain ends a sleep that was for a time which may not be right any more.
var errAgain = errors.New("look again")

// sleepUntil sleeps until t, unless the clock is set meanwhile or it is long.
func sleepUntil(ctx context.Context, t time.Time) error {
	for start := time.Now(); ; {
		now := time.Now()
		d := min(t.Round(0).Sub(now.Round(0)), longestSleep)
		if d <= 0 {
			return ctx.Err()
		}
		// Durations between times of one process are those of a clock that is not set.
		passed, shown := now.Sub(start), now.Round(0).Sub(start.Round(0))
		if passed > longestWait || (passed-shown).Abs() > time.Minute {
			return errAgain
		}
		timer := time.NewTimer(d)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

// wake returns what is due next, as far as the locations that can be asked tell.
func (m *Manager) wake(ctx context.Context) dueBackup {
	now := time.Now()
	backups, _ := m.List(ctx)
	due := m.due(backups, now)
	switch {
	case due.at.IsZero(): // never, unless somebody changes what there is
		due.at = now.Add(2 * longestWait)
	case due.after(now) && m.Jitter > 0:
		due.at = due.at.Add(rand.N(m.Jitter))
	}
	return due
}

// lateness is how long after its time a backup begins without having been
// missed.
const lateness = time.Minute

// runOnce makes the scheduled backup that is due, if there still is one when
// nobody else can make it. It returns the time of the Schedule that it was for.
func (m *Manager) runOnce(ctx context.Context, again, busy bool) (time.Time, error) {
	o, held, release, err := m.hold(ctx, "run")
	if err != nil {
		if ctx.Err() == nil && (busy || !errors.Is(err, location.ErrBusy)) {
			m.emit(ctx, Event{Kind: EventFailed, Operation: "run", Err: err})
		}
		return time.Time{}, err
	}
	defer release()
	b, slot, err := o.scheduled(held, again)
	if err == errNotDue {
		return slot, err
	}
	return slot, o.done(held, Event{Backup: b.Name, Manifest: b.Manifest}, err)
}

// errNotDue: somebody else was faster, or the clock was set back.
var errNotDue = errors.New("no scheduled backup is due")

func (o *operation) scheduled(ctx context.Context, again bool) (b Backup, slot time.Time, err error) {
	c, err := o.listHeld(ctx)
	if err != nil {
		return Backup{}, slot, err
	}
	now := time.Now()
	due := o.due(c.backups, now)
	if due.after(now) {
		return Backup{}, slot, errNotDue
	}
	o.emit(ctx, Event{Kind: EventStarted})
	switch {
	case due.short != nil:
		b = *due.short
		b.Copies = o.fill(ctx, c, b)
		err = o.enough(b)
	case due.uncopied != nil:
		b = *due.uncopied
		err = o.copyBeside(ctx, b)
	default:
		if !again && !due.slot.IsZero() && now.Sub(due.at) > o.Jitter+lateness {
			o.emit(ctx, Event{Kind: EventMissed, Text: due.at.UTC().Format(time.RFC3339)})
		}
		opts := backup.BackupOptions{
			Only:            o.Scheduled.Only,
			Include:         o.Scheduled.Include,
			LeaveOutInvalid: o.Scheduled.LeaveOutInvalid,
			Metadata:        map[string]string{backup.MetaTrigger: TriggerScheduled},
		}
		if !due.slot.IsZero() {
			opts.Metadata[metaSlot] = due.slot.UTC().Format(time.RFC3339Nano)
		}
		if b, err = o.create(ctx, opts); err == nil {
			err = o.copyBeside(ctx, b)
		}
	}
	if err != nil {
		return b, due.slot, err
	}
	if o.rehearsalDue(c, now) {
		o.emit(ctx, Event{Kind: EventRehearsal, Backup: b.Name})
	}
	if o.drillDue(c, b) {
		if err := o.drilled(ctx, c, b); err != nil {
			return b, due.slot, fmt.Errorf("drill: %w", err)
		}
	}
	if _, err := o.prune(ctx, PruneOptions{}); err != nil {
		o.emit(ctx, Event{Kind: EventFailed, Err: fmt.Errorf("prune: %w", err)})
	}
	return b, due.slot, nil
}

// copyBeside copies the database, if there is one, for what a scheduled backup was
// made for.
func (o *operation) copyBeside(ctx context.Context, b Backup) error {
	if o.Database == nil {
		return nil
	}
	if _, err := o.copyDatabase(ctx, b.Manifest.Metadata); err != nil {
		return fmt.Errorf("copy the database: %w", err)
	}
	return nil
}

// drillDue tells whether a time of Drills.Schedule lies between the last
// scheduled backup that passed a drill and this one.
func (m *Manager) drillDue(c *catalog, b Backup) bool {
	if m.Drills.Schedule == nil {
		return false
	}
	last := c.latest(markDrilled)
	next := after(m.Drills.Schedule, last)
	return last.IsZero() || !next.IsZero() && !next.After(b.CreatedAt)
}

// drilled puts a backup to a drill, and if it passes leaves a mark in the place
// of those before it.
func (o *operation) drilled(ctx context.Context, c *catalog, b Backup) error {
	if _, err := o.drill(ctx, b.Name); err != nil {
		return err
	}
	if err := o.mark(ctx, b, markDrilled); err != nil {
		return err
	}
	for name := range c.marked[markDrilled] {
		for _, p := range o.sites {
			if err := p.remove(ctx, name+string(markDrilled)); err != nil {
				o.failed(ctx, p, name, fmt.Errorf("delete the mark of an earlier drill: %w", err))
			}
		}
	}
	return nil
}
