package manager

import (
	"context"
	"slices"
	"time"

	"github.com/tomo-project/backup/schedule"
)

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

	uncopied *Backup // there is one already, without the copy of the database
}

func (d dueBackup) after(now time.Time) bool { return d.at.IsZero() || d.at.After(now) }

// due derives from the backups that exist when the next scheduled one is to be
// made.
func (m *Manager) due(backups []Backup, now time.Time) dueBackup {
	i := slices.IndexFunc(backups, func(b Backup) bool {
		// One from the future was made by a clock that was wrong, unless it is only
		// that of another replica which goes before ours.
		slot := slotOf(b)
		return b.Trigger == TriggerScheduled && !b.Database && !b.Damaged && m.genuine(b) &&
			(!b.CreatedAt.After(now) || !slot.IsZero() && !slot.After(now))
	})
	if i < 0 {
		return dueBackup{at: now, slot: latestSlot(m.Schedule, now.AddDate(0, -2, 0), now)}
	}
	last := backups[i]
	next := nextSlot(m.Schedule, last)
	switch {
	case !next.IsZero() && !next.After(now):
		return dueBackup{at: next, slot: latestSlot(m.Schedule, served(last), now)}
	case !next.IsZero() && last.good() < max(1, m.MinCopies):
		return dueBackup{at: now, slot: next, short: &last}
	}
	if copied := m.copiedWith(backups, last); m.Database != nil && copied == nil {
		return dueBackup{at: now, slot: slotOf(last), uncopied: &last}
	} else if m.Database != nil && copied.good() < max(1, m.MinCopies) {
		return dueBackup{at: now, slot: next, short: copied}
	}
	return dueBackup{at: next, slot: next}
}

// copiedWith returns the copy of the database that was made with a scheduled backup
// or after it, nil if there is none.
func (m *Manager) copiedWith(backups []Backup, last Backup) *Backup {
	slot := slotOf(last)
	i := slices.IndexFunc(backups, func(b Backup) bool {
		return b.Database && b.Trigger == TriggerScheduled && !b.Damaged && m.genuine(b) &&
			(!b.CreatedAt.Before(last.CreatedAt) || !slot.IsZero() && slot.Equal(slotOf(b)))
	})
	if i < 0 {
		return nil
	}
	return &backups[i]
}

// slotOf returns the time of the schedule that a backup was made for, zero if it
// does not say.
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

// served returns the time up to which a backup serves: it may have been made a
// little before its slot, by a clock that was set back.
func served(b Backup) time.Time {
	if slot := slotOf(b); slot.After(b.CreatedAt) && slot.Sub(b.CreatedAt) < time.Hour {
		return slot
	}
	return b.CreatedAt
}

// nextSlot returns the time of the schedule that follows a backup, leaving one
// out that a late backup serves as well.
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

// after returns the next time of a schedule. One that does not go on has none.
func after(s schedule.Schedule, t time.Time) time.Time {
	if next := s.Next(t); next.After(t) {
		return next
	}
	return time.Time{}
}

// latestSlot returns the last time of the schedule after one time and not after
// another, zero if there is none.
func latestSlot(s schedule.Schedule, from, now time.Time) time.Time {
	if recent := now.AddDate(0, -2, 0); from.Before(recent) {
		// Long ago there may be many of them.
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
