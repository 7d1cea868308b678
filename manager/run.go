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

// Run makes a backup at each time of Schedule, with a copy of the Database if there is one,
// until ctx is done. After each backup it makes a drill if Drills.Schedule says so, and
// prunes. It returns the error of ctx, or at once an error if the Manager cannot work.
//
// Run remembers nothing. It derives what is due from the scheduled backups that exist. So a
// machine that was off makes one backup for all that it missed, soon after Run begins. If
// there is no scheduled backup at all, Run makes the first at once. A backup that is made
// late counts for the next time of the Schedule too, if less than a quarter of the time
// between the two is left. Several processes that share a Location make one scheduled
// backup for each time together.
//
// A failed backup is tried again after one minute. The pause doubles with each failure up
// to an hour, and is up to a quarter longer at random. No failure ends Run, and nothing is
// pruned after a failed backup or drill. OnEvent and Logger are told of each backup that
// was made, missed or has failed, and at the start if the newest backup is sealed with
// another key ([Manager.CheckKeys]). Then no Run of this Manager prunes. They are not told of a first [location.ErrBusy], since another
// process may be making the same backup.
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
	m.askKeys(ctx)
	var pause time.Duration // after a failure
	busy := false           // and that failure was ErrBusy
	var last time.Time      // the slot of the last backup that was made here
	for {
		due := m.wake(ctx)
		if due.at.After(time.Now()) { // what has failed is no longer due
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
		default: // a failure, or a backup that was made and is not listed
			busy = errors.Is(err, location.ErrBusy)
			pause = min(max(2*pause, time.Minute), time.Hour)
			// Two processes that got in each other's way must not do so again.
			wait = pause + rand.N(pause/4)
		}
		if err := sleepUntil(ctx, time.Now().Add(wait)); err != nil && err != errAgain {
			return err
		}
	}
}

// wake returns what is due next, as far as the locations that can be asked tell.
func (m *Manager) wake(ctx context.Context) dueBackup {
	now := time.Now()
	backups, _ := m.List(ctx)
	due := m.due(backups, now)
	switch {
	case due.at.IsZero(): // never, unless somebody changes the backups
		due.at = now.Add(2 * longestWait)
	case due.after(now) && m.Jitter > 0:
		due.at = due.at.Add(rand.N(m.Jitter))
	}
	return due
}

const (
	// longestSleep is the longest sleep without a look at the clock. The clock may be set,
	// and goes on while the machine sleeps.
	longestSleep = 10 * time.Minute

	// longestWait is the longest time without a look at the backups.
	longestWait = 24 * time.Hour
)

// errAgain: what is due may have changed during a sleep.
var errAgain = errors.New("look again")

// sleepUntil sleeps until t. It returns errAgain if the clock is set meanwhile, or after
// longestWait.
func sleepUntil(ctx context.Context, t time.Time) error {
	for start := time.Now(); ; {
		now := time.Now()
		d := min(t.Round(0).Sub(now.Round(0)), longestSleep)
		if d <= 0 {
			return ctx.Err()
		}
		// passed is by the monotonic clock, which nobody sets, and shown by the wall clock.
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

// errNotDue: another process was faster, or the clock was set back.
var errNotDue = errors.New("no scheduled backup is due")

// runOnce makes the scheduled backup that is due. It looks once more whether one is due when
// nobody else can make it any more. It returns the slot that the backup was for.
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

// lateness is how late a backup may begin without having been missed.
const lateness = time.Minute

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
		b = *due.made
		short := *due.short
		if short.Copies = o.fill(ctx, c, short); short.Name == b.Name {
			b = short
		}
		err = o.enough(short)
	case due.made != nil:
		b = *due.made
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
	if comes(o.zoned(o.Rehearsals), c.latest(markRehearsed, now, c.mine), now) {
		o.emit(ctx, Event{Kind: EventRehearsal, Backup: b.Name})
	}
	if comes(o.zoned(o.Drills.Schedule), c.latest(markDrilled, now, c.mine), b.CreatedAt) {
		if err := o.drillMarked(ctx, c, b); err != nil {
			return b, due.slot, fmt.Errorf("drill: %w", err)
		}
	}
	if _, err := o.prune(ctx, PruneOptions{}); err != nil {
		o.emit(ctx, Event{Kind: EventFailed, Err: fmt.Errorf("prune: %w", err)})
	}
	return b, due.slot, nil
}

// copyBeside copies the database, if there is one, for the slot of a scheduled backup.
func (o *operation) copyBeside(ctx context.Context, b Backup) error {
	if o.Database == nil {
		return nil
	}
	if _, err := o.copyDatabase(ctx, b.Manifest.Metadata); err != nil {
		return fmt.Errorf("copy the database: %w", err)
	}
	return nil
}

// drillMarked puts a backup to a drill. If the backup passes, it gets a mark, and the marks of
// earlier drills are deleted.
func (o *operation) drillMarked(ctx context.Context, c *catalog, b Backup) error {
	if _, err := o.drill(ctx, b.Name); err != nil {
		return err
	}
	if err := o.mark(ctx, b, markDrilled); err != nil {
		return err
	}
	for name := range c.marked[markDrilled] {
		if !c.mine(name) {
			continue
		}
		for _, s := range o.sites {
			if err := s.remove(ctx, name+string(markDrilled)); err != nil {
				o.failed(ctx, s, name, fmt.Errorf("delete the mark of an earlier drill: %w", err))
			}
		}
	}
	return nil
}
