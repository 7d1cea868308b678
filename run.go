package backup

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Run makes backups when Schedule says, drills when DrillSchedule says, and
// prunes after each success, until ctx is done; it returns the error of ctx, or at once an error if the
// Manager cannot work. It starts no goroutine that outlives it.
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
	if m.DrillSchedule != nil && m.Scratch == nil {
		return errors.New("manager: a DrillSchedule needs Scratch")
	}
	var pause time.Duration // after a failure
	busy := false           // and that was the first ErrBusy
	for {
		at := m.wake(ctx)
		if at.After(time.Now()) { // another time than the one that failed
			pause, busy = 0, false
		}
		if err := sleepUntil(ctx, at); err != nil {
			return err
		}
		wait := time.Duration(0)
		switch err := m.runOnce(ctx, pause > 0, busy); {
		case err == nil:
			pause, busy = 0, false
		case errors.Is(err, errNotDue):
			pause, busy, wait = 0, false, time.Minute
		default:
			busy = errors.Is(err, ErrBusy)
			pause = min(max(2*pause, time.Minute), time.Hour)
			// Two that got in each other's way must not do so again.
			wait = pause + rand.N(pause/4)
		}
		if err := sleepUntil(ctx, time.Now().Add(wait)); err != nil {
			return err
		}
	}
}

// A clock may be set, and stand still while the machine sleeps, so a long wait
// looks at it now and then.
const longestSleep = 10 * time.Minute

func sleepUntil(ctx context.Context, t time.Time) error {
	for {
		d := min(time.Until(t.Round(0)), longestSleep)
		if d <= 0 {
			return ctx.Err()
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

// wake returns when there will be something to do, as far as the locations that
// can be asked tell.
func (m *Manager) wake(ctx context.Context) time.Time {
	now := time.Now()
	backups, _ := m.List(ctx)
	due := m.due(backups, now)
	switch {
	case due.at.IsZero(): // but somebody may change what there is
		return now.Add(24 * time.Hour)
	case due.after(now) && m.Jitter > 0:
		return due.at.Add(rand.N(m.Jitter))
	}
	return due.at
}

// Next returns when Run makes the next scheduled backup, without Jitter, as far as
// the backups that exist tell: now or in the past if it is due or late, and the
// zero Time if there is no Schedule or it never comes. With an error, which names
// the Locations that could not be asked, it is what the others tell.
func (m *Manager) Next(ctx context.Context) (time.Time, error) {
	if err := m.check(); err != nil || m.Schedule == nil {
		return time.Time{}, err
	}
	backups, err := m.List(ctx)
	return m.due(backups, time.Now()).at, err
}

// A dueBackup is the next scheduled backup.
type dueBackup struct {
	at    time.Time // when to begin: in the past if it is late; zero: never
	slot  time.Time // the time of the Schedule that it is for; zero: none that is known
	short *Backup   // there is one already, with too few copies
}

func (d dueBackup) after(now time.Time) bool { return d.at.IsZero() || d.at.After(now) }

// due derives from the backups that exist when the next scheduled one is to be
// made.
func (m *Manager) due(backups []Backup, now time.Time) dueBackup {
	i := slices.IndexFunc(backups, func(b Backup) bool {
		// One from the future was made by a clock that was wrong.
		return b.Trigger == TriggerScheduled && !b.Damaged && !b.CreatedAt.After(now)
	})
	if i < 0 {
		return dueBackup{at: now, slot: latestSlot(m.Schedule, now.AddDate(0, -2, 0), now)}
	}
	last := backups[i]
	next := nextSlot(m.Schedule, last)
	switch {
	case next.IsZero() || next.After(now) && m.whole(last) >= max(1, m.MinCopies):
		return dueBackup{at: next, slot: next}
	case next.After(now):
		return dueBackup{at: now, slot: next, short: &last}
	}
	return dueBackup{at: next, slot: latestSlot(m.Schedule, last.CreatedAt, now)}
}

// whole counts the copies of a backup that nothing is known against.
func (m *Manager) whole(b Backup) int {
	n := 0
	for _, c := range b.Copies {
		if c.Err == nil {
			n++
		}
	}
	return n
}

// nextSlot returns the time of the schedule that follows a backup, leaving one
// out that a late backup serves as well.
func nextSlot(s Schedule, last Backup) time.Time {
	next := s.Next(last.CreatedAt)
	slot, err := time.Parse(time.RFC3339, last.Manifest.Metadata[metaSlot])
	if err != nil || slot.After(last.CreatedAt) || next.IsZero() {
		return next
	}
	if after := s.Next(slot); after.Equal(next) && next.Sub(last.CreatedAt) < next.Sub(slot)/4 {
		return s.Next(next)
	}
	return next
}

// latestSlot returns the last time of the schedule after one time and not after
// another, zero if there is none.
func latestSlot(s Schedule, after, now time.Time) time.Time {
	if recent := now.AddDate(0, -2, 0); after.Before(recent) {
		// Long ago there may be many of them.
		if slot := s.Next(recent); !slot.IsZero() && !slot.After(now) {
			after = recent
		}
	}
	var slot time.Time
	for next := s.Next(after); !next.IsZero() && !next.After(now); next = s.Next(next) {
		slot = next
	}
	return slot
}

// lateness is how long after its time a backup begins without having been
// missed.
const lateness = time.Minute

// runOnce makes the scheduled backup that is due, if there still is one when
// nobody else can make it.
func (m *Manager) runOnce(ctx context.Context, again, busy bool) error {
	o, held, release, err := m.hold(ctx, "run")
	if err != nil {
		if ctx.Err() == nil && (busy || !errors.Is(err, ErrBusy)) {
			m.emit(ctx, Event{Kind: EventFailed, Operation: "run", Err: err})
		}
		return err
	}
	defer release()
	b, err := o.scheduled(held, again)
	if err == errNotDue {
		return err
	}
	return o.done(held, Event{Backup: b.Name, Manifest: b.Manifest}, err)
}

// errNotDue: somebody else was faster, or the clock was set back.
var errNotDue = errors.New("no scheduled backup is due")

func (o *operation) scheduled(ctx context.Context, again bool) (b Backup, err error) {
	now := time.Now()
	backups, _ := o.list(ctx) // what cannot be listed is filled in or fails below
	due := o.due(backups, now)
	if due.after(now) {
		return Backup{}, errNotDue
	}
	o.emit(ctx, Event{Kind: EventStarted})
	if due.short != nil {
		b = *due.short
		if from := b.source(o.sites); from != nil {
			b.Copies = o.spread(ctx, b, from)
		}
		err = o.enough(b)
	} else {
		if !again && !due.slot.IsZero() && now.Sub(due.at) > o.Jitter+lateness {
			o.emit(ctx, Event{Kind: EventMissed, Slot: due.at})
		}
		opts := o.Scheduled
		opts.Recipients, opts.Limits, opts.CreatedAt = nil, Limits{}, time.Time{}
		opts.Metadata = map[string]string{metaTrigger: TriggerScheduled}
		if !due.slot.IsZero() {
			opts.Metadata[metaSlot] = due.slot.UTC().Format(time.RFC3339)
		}
		b, err = o.create(ctx, opts)
	}
	if err != nil {
		return b, err
	}
	if o.drillDue(backups, b) {
		if _, err := o.drill(ctx, b.Name); err != nil {
			return b, fmt.Errorf("drill: %w", err)
		}
	}
	if _, err := o.prune(ctx, PruneOptions{}); err != nil {
		o.emit(ctx, Event{Kind: EventFailed, Err: fmt.Errorf("prune: %w", err)})
	}
	return b, nil
}

// drillDue tells whether a time of the DrillSchedule lies between the scheduled
// backup before and this one.
func (m *Manager) drillDue(before []Backup, b Backup) bool {
	if m.DrillSchedule == nil {
		return false
	}
	i := slices.IndexFunc(before, func(old Backup) bool {
		return old.Trigger == TriggerScheduled && !old.Damaged && newestFirst(b, old) < 0
	})
	if i < 0 {
		return true
	}
	next := m.DrillSchedule.Next(before[i].CreatedAt)
	return !next.IsZero() && !next.After(b.CreatedAt)
}
