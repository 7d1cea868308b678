package backuphttp

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/manager"
	"github.com/tomo-project/backup/schedule"
)

// A history is what the Handler knows of the past of the schedule.
type history struct {
	backups   []manager.Backup
	schedule  schedule.Schedule // nil: there is no schedule
	zone      *time.Location    // of the Manager
	retention backup.Retention
	failures  []failure
	since     time.Time // when this schedule was set; zero: not known
	busy      bool      // a scheduled backup is being made
}

// stripDays is the number of days that the page shows.
const stripDays = 30

// metaSlot is the metadata that says for which time of the schedule a backup was made.
const metaSlot = "scheduled_for"

// days returns the last days until now in the time zone of the schedule, oldest first.
// It depends on nothing but the history.
//
// A day on which the schedule had a time is "made" if there is a good scheduled backup
// of that day, or for that time, however late. It is "failed" if every try of that day
// failed, and else "missed". A day is not "missed" if it is before the first scheduled
// backup, if it is before the schedule was set, or if retention would have deleted its
// backup by now.
func (h history) days(now time.Time) []dayInfo {
	// A copy of the database is no backup, and the schedule of another installation is not
	// this one.
	h.backups = slices.DeleteFunc(slices.Clone(h.backups), func(b manager.Backup) bool { return b.Database || b.Foreign })
	zone := h.hostZone()
	if h.schedule != nil {
		zone = zoneOfSchedule(h.schedule, zone)
	}
	var dates []time.Time // at noon: no change of the clock takes noon away
	for i := stripDays - 1; i >= 0; i-- {
		y, m, d := now.In(zone).Date()
		noon := time.Date(y, m, d-i, 12, 0, 0, 0, zone)
		// If the zone has left a day out, time.Date returns another day.
		if len(dates) == 0 || noon.Format(time.DateOnly) != dates[len(dates)-1].Format(time.DateOnly) {
			dates = append(dates, noon)
		}
	}
	var scheduled []manager.Backup
	first := time.Time{}
	for _, b := range h.backups {
		if b.Trigger == manager.TriggerScheduled && !b.CreatedAt.After(now.Add(time.Minute)) {
			scheduled = append(scheduled, b)
			if first.IsZero() || b.CreatedAt.Before(first) {
				first = b.CreatedAt
			}
		}
	}
	list := make([]dayInfo, 0, len(dates))
	for _, noon := range dates {
		list = append(list, h.day(noon, now, first, scheduled))
	}
	return list
}

// slotOf returns the time of the schedule that a backup was made for. If the backup does
// not say, it returns the time when it was made.
func slotOf(b manager.Backup) time.Time {
	if b.Manifest != nil {
		if slot, err := time.Parse(time.RFC3339Nano, b.Manifest.Metadata[metaSlot]); err == nil {
			return slot
		}
	}
	return b.CreatedAt
}

// day returns what became of the day of noon. scheduled are the scheduled backups, and
// first is the time of the first of them.
func (h history) day(noon, now, first time.Time, scheduled []manager.Backup) dayInfo {
	zone := noon.Location()
	date := noon.Format(time.DateOnly)
	on := func(t time.Time) bool { return t.In(zone).Format(time.DateOnly) == date }
	clock := func(t time.Time) string {
		if on(t) {
			return t.In(zone).Format("15:04")
		}
		return t.In(zone).Format("2 January, 15:04")
	}
	info := func(state, format string, args ...any) dayInfo {
		return dayInfo{Date: date, State: state, Detail: fmt.Sprintf(format, args...)}
	}

	slot := h.slot(noon, on)
	var damaged, manual *manager.Backup
	for _, b := range scheduled {
		// The first backup may be for a time before the schedule was set.
		if !on(b.CreatedAt) && (slot.IsZero() || slot.Before(first) || !h.serves(b, slot)) {
			continue
		}
		if !b.Damaged {
			return info("made", "made %s%s", clock(b.CreatedAt), part(b))
		}
		damaged = &b
	}
	if damaged != nil {
		return info("damaged", "made %s, and damaged since", clock(damaged.CreatedAt))
	}
	for _, b := range h.backups {
		if b.Trigger == manager.TriggerManual && on(b.CreatedAt) && (manual == nil || manual.Damaged || manual.Partial && !b.Damaged) {
			manual = &b
		}
	}
	also := ""
	if manual != nil && !manual.Damaged {
		also = "; one was made by hand " + clock(manual.CreatedAt) + part(*manual)
	}
	for _, f := range slices.Backward(h.failures) {
		if on(f.at) {
			return info("failed", "failed %s: %s%s", clock(f.at), brief(f.text), also)
		}
	}
	switch {
	case slot.IsZero():
	case slot.After(now):
		return info("due", "due %s%s", clock(slot), also)
	case on(now) && (h.busy || now.Sub(slot) < time.Hour):
		return info("due", "due since %s%s", clock(slot), also)
	case first.IsZero() || slot.Before(first) || slot.Before(h.since):
	case h.pruned(slot, now, scheduled):
		return info("none", "no backup of this day is kept%s", also)
	default:
		return info("missed", "was due %s%s", clock(slot), also)
	}
	switch {
	case manual == nil:
		return info("none", "nothing was due")
	case manual.Damaged:
		return info("damaged", "made by hand %s, and damaged since", clock(manual.CreatedAt))
	}
	return info("manual", "made by hand %s%s", clock(manual.CreatedAt), part(*manual))
}

// part says what a backup holds if it does not hold everything.
func part(b manager.Backup) string {
	if !b.Partial {
		return ""
	}
	return " (" + b.Holds + ")"
}

func (h history) hostZone() *time.Location { return cmp.Or(h.zone, time.Local) }

// next asks the schedule in the zone in which Manager.Run asks it.
func (h history) next(t time.Time) time.Time { return h.schedule.Next(t.In(h.hostZone())) }

// slot returns the first time of the schedule on a day, or zero if it has none.
func (h history) slot(noon time.Time, on func(time.Time) bool) time.Time {
	if h.schedule == nil {
		return time.Time{}
	}
	// It looks at some hours more than the day has: a change of the clock moves the ends
	// of a day.
	for t, end := noon.Add(-16*time.Hour), noon.Add(16*time.Hour); ; {
		next := h.next(t)
		if !next.After(t) || next.After(end) {
			return time.Time{}
		}
		if on(next) {
			return next
		}
		t = next
	}
}

// serves tells whether a scheduled backup counts for a time of the schedule. It does if
// it was made for that time, or so late for the time before that Manager.Run makes no
// other backup for that time.
func (h history) serves(b manager.Backup, slot time.Time) bool {
	of := slotOf(b)
	if of.Equal(slot) {
		return true
	}
	return !b.CreatedAt.After(slot) && slot.Sub(b.CreatedAt) < slot.Sub(of)/4 && h.next(of).Equal(slot)
}

// pruned tells whether retention would have deleted a backup made at slot by now.
func (h history) pruned(slot, now time.Time, scheduled []manager.Backup) bool {
	const name = "imagined"
	dated := []backup.Dated{{Name: name, CreatedAt: slot}}
	for _, b := range scheduled {
		dated = append(dated, b.Dated())
	}
	decisions := h.retention.Decide(dated, now)
	return slices.ContainsFunc(decisions, func(d backup.Decision) bool { return d.Name == name && !d.Keep })
}
