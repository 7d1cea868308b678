package manager

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/tomo-project/backup/schedule"
)

// Next returns when Run makes the next scheduled backup, without Jitter, as far as the
// existing backups tell. That is now or in the past if the backup is due or late. It is
// the zero Time if there is no Schedule, or if no time of it is left. If some Locations
// cannot be asked, Next returns what the others tell, and an error that names them.
func (m *Manager) Next(ctx context.Context) (time.Time, error) {
	if err := m.check(); err != nil || m.Schedule == nil {
		return time.Time{}, err
	}
	backups, err := m.List(ctx)
	return m.due(backups, time.Now()).at, err
}

// A dueBackup is the next scheduled backup. A slot is a time of the Schedule.
type dueBackup struct {
	at   time.Time // when to begin: in the past if it is late; zero: never
	slot time.Time // the slot that it is for; zero: not known

	made  *Backup // set if the backup exists already, and something else is to be done
	short *Backup // made, or the copy of the database beside it, if that has too few copies
}

func (d dueBackup) after(now time.Time) bool { return d.at.IsZero() || d.at.After(now) }

// due derives from the existing backups, newest first, when to make the next scheduled
// backup.
func (m *Manager) due(backups []Backup, now time.Time) dueBackup {
	backups, asked := own(backups), m.zoned(m.Schedule)
	i := slices.IndexFunc(backups, func(b Backup) bool {
		// A wrong clock has made a backup from the future, unless its slot has come: then
		// the clock of another process is only a little ahead of ours.
		slot := slotOf(b)
		return b.Trigger == TriggerScheduled && !b.Database && !b.Damaged && m.genuine(b) && (!b.Partial || m.Scheduled.Only != nil) &&
			(!b.CreatedAt.After(now) || !slot.IsZero() && !slot.After(now))
	})
	if i < 0 {
		return dueBackup{at: now, slot: latestSlot(asked, now.AddDate(0, -2, 0), now)}
	}
	last := backups[i]
	next := nextSlot(asked, last)
	switch {
	case !next.IsZero() && !next.After(now):
		return dueBackup{at: next, slot: latestSlot(asked, served(last), now)}
	case !next.IsZero() && last.good() < m.minCopies():
		return dueBackup{at: now, slot: next, made: &last, short: &last}
	}
	if copied := m.copiedWith(backups, i); m.Database != nil && copied == nil {
		return dueBackup{at: now, slot: slotOf(last), made: &last}
	} else if m.Database != nil && copied.good() < m.minCopies() {
		return dueBackup{at: now, slot: next, made: &last, short: copied}
	}
	return dueBackup{at: next, slot: next}
}

// copiedWith returns the copy of the database that was made with the scheduled backup
// at an index of the list or after it, or nil.
func (m *Manager) copiedWith(backups []Backup, last int) *Backup {
	at, slot := backups[last].CreatedAt, slotOf(backups[last])
	for i := range backups {
		b := &backups[i]
		if b.Database && b.Trigger == TriggerScheduled && !b.Damaged && m.genuine(*b) &&
			(i < last || b.CreatedAt.Equal(at) || !slot.IsZero() && slot.Equal(slotOf(*b))) {
			return b
		}
	}
	return nil
}

// slotOf returns the slot that a backup was made for, or zero if it does not say.
func slotOf(b Backup) time.Time {
	if b.Manifest == nil {
		return time.Time{}
	}
	slot, err := time.Parse(time.RFC3339Nano, b.Manifest.Metadata[metaSlot])
	if err != nil {
		return time.Time{}
	}
	return slot
}

// served returns the time up to which a backup serves. If its clock was set back, that is
// its slot, which may be a little after the time that it shows.
func served(b Backup) time.Time {
	if slot := slotOf(b); slot.After(b.CreatedAt) && slot.Sub(b.CreatedAt) < time.Hour {
		return slot
	}
	return b.CreatedAt
}

// nextSlot returns the slot that follows a backup. It leaves out a slot that a late backup
// serves as well.
func nextSlot(s schedule.Schedule, last Backup) time.Time {
	from := served(last)
	next := after(s, from)
	slot := slotOf(last)
	if slot.IsZero() || slot.After(from) || next.IsZero() {
		return next
	}
	if after(s, slot).Equal(next) && next.Sub(from) < next.Sub(slot)/4 {
		return after(s, next)
	}
	return next
}

// latestSlot returns the last slot after one time and not after another, or zero.
func latestSlot(s schedule.Schedule, from, now time.Time) time.Time {
	if recent := now.AddDate(0, -2, 0); from.Before(recent) {
		// There may be very many slots since then.
		if slot := after(s, recent); !slot.IsZero() && !slot.After(now) {
			from = recent
		}
	}
	var slot time.Time
	for next := after(s, from); !next.IsZero() && !next.After(now); next = after(s, next) {
		slot = next
	}
	return slot
}

// A zonedSchedule is asked in one zone. A Schedule that a cron library has made of an
// expression goes by the zone of the time that it is given.
type zonedSchedule struct {
	schedule.Schedule
	zone *time.Location
}

func (s zonedSchedule) Next(after time.Time) time.Time { return s.Schedule.Next(after.In(s.zone)) }

// zoned returns a schedule that is asked in the zone of the Manager. It may be nil.
func (m *Manager) zoned(s schedule.Schedule) schedule.Schedule {
	if s == nil {
		return nil
	}
	return zonedSchedule{s, cmp.Or(m.TimeZone, time.Local)}
}

// after returns the next slot after t, or zero. A Schedule that returns a time that is not
// after t has no more slots.
func after(s schedule.Schedule, t time.Time) time.Time {
	if next := s.Next(t); next.After(t) {
		return next
	}
	return time.Time{}
}

// comes tells whether a slot lies between the last time and now. Nothing is due without a
// Schedule, and something is if there was no last time.
func comes(s schedule.Schedule, last, now time.Time) bool {
	if s == nil {
		return false
	}
	next := after(s, last)
	return last.IsZero() || !next.IsZero() && !next.After(now)
}
