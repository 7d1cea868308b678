// Package schedule says when backups are due: every hour, day, week or month, at a
// time of a clock in a time zone.
//
//	at3 := schedule.Daily{At: 3 * time.Hour, Location: berlin}
//	next := at3.Next(time.Now())
//
// It only computes times. It has no clock, waits for nothing and knows nothing about
// backups: a manager.Manager waits for the time and makes the backup. Each type says
// what it does when a clock is set forward or back.
package schedule

import (
	"cmp"
	"errors"
	"fmt"
	"time"
)

// A Schedule says when a backup is due. [Hourly], [Daily], [Weekly] and [Monthly] are
// schedules. Cron libraries have types with the same method, which are schedules too.
type Schedule interface {
	// Next returns the first due time strictly after after, or the zero Time if
	// there is none. It depends on nothing else, and asks no clock. Called with the
	// time of the last backup, it says when the next one is due. That time lies in
	// the past if the machine was off then. A manager.Manager asks all its schedules in
	// one zone, its TimeZone: after is a time in that zone, so that a schedule without a
	// zone of its own, such as a parsed cron expression, means the clock of the host.
	Next(after time.Time) time.Time
}

// Hourly is the [Schedule] of every hour, at Minute. The zero value is the full hour
// in UTC.
//
// A backup is due whenever the local clock comes to show that minute. Where the clock
// is changed:
//
//   - A minute that is skipped has no run. The next run is that of the next hour,
//     less than two hours after the one before.
//   - An hour that is repeated counts as two hours and has two runs, as with
//     backup.Retention. Where the clock is set back by only half an hour, the two
//     runs can be half an hour apart.
type Hourly struct {
	// Minute is from 0 to 59. Next uses the nearest of these for any other value.
	Minute int

	// Location is the time zone whose hours these are. Nil means UTC.
	Location *time.Location
}

// Validate returns an error if Minute is out of its range.
func (h Hourly) Validate() error {
	if h.Minute < 0 || h.Minute > 59 {
		return fmt.Errorf("schedule: Minute is %d: use 0 to 59", h.Minute)
	}
	return nil
}

// Next implements [Schedule]. The result is in Location. After the year 9999 it is the
// zero Time, and before the year 1 the search begins with that year.
func (h Hourly) Next(after time.Time) time.Time {
	minute := time.Duration(min(max(h.Minute, 0), 59)) * time.Minute
	return inCalendar(after, func(after time.Time) time.Time {
		t := after.Add(1).In(cmp.Or(h.Location, time.UTC))
		for {
			wall := wallClock(t)
			next := wall.Truncate(time.Hour).Add(minute)
			if next.Before(wall) {
				next = next.Add(time.Hour)
			}
			at, end := t.Add(next.Sub(wall)), steadyUntil(t)
			if at.Before(end) {
				return at
			}
			t = end
		}
	})
}

// Daily is the [Schedule] of every day, at the time At. The zero value is midnight in
// UTC.
//
// A backup is due once for each day of the calendar, at the first moment at which the
// local clock shows At of that day or later. Where the clock is changed:
//
//   - A time that is skipped has its run at the first moment after the gap. That may
//     be on the next day, which still has its own run.
//   - A time that is repeated has one run, the first time.
//   - A day that the zone leaves out (Pacific/Apia, 30 December 2011) has its run at
//     the first moment of the next day, which still has its own run. If both are due
//     at the same moment, they are one run.
type Daily struct {
	// At is the time of day that the clock shows, as a duration since midnight on
	// that clock. 3*time.Hour is 03:00, even on a day on which that is not three
	// hours after midnight. It is at least 0 and below 24 hours. Next uses the
	// nearest of these for any other value.
	At time.Duration

	// Location is the time zone of the clock and the calendar. Nil means UTC.
	Location *time.Location
}

// Validate returns an error if At is out of its range.
func (d Daily) Validate() error {
	return validateTimeOfDay(d.At)
}

func validateTimeOfDay(at time.Duration) error {
	if at < 0 || at >= 24*time.Hour {
		return fmt.Errorf("schedule: At is %v: use a time of day, from 0 to below 24h", at)
	}
	return nil
}

// Next implements [Schedule]. The result is in Location. After the year 9999 it is the
// zero Time, and before the year 1 the search begins with that year.
func (d Daily) Next(after time.Time) time.Time {
	return nextDay(after, d.At, d.Location, func(today time.Time, i int) time.Time {
		return today.AddDate(0, 0, i)
	})
}

// Weekly is the [Schedule] of one day a week. The zero value is Sunday at midnight in
// UTC. Where the clock is changed it works like [Daily].
type Weekly struct {
	// Day is from Sunday to Saturday. Next uses the nearest of these for any other
	// value.
	Day time.Weekday

	// At and Location are as in [Daily].
	At       time.Duration
	Location *time.Location
}

// Validate returns an error that names each of Day and At that is out of its
// range.
func (w Weekly) Validate() error {
	var err error
	if w.Day < time.Sunday || w.Day > time.Saturday {
		err = fmt.Errorf("schedule: Day is %d: use 0, for Sunday, to 6", int(w.Day))
	}
	return errors.Join(err, validateTimeOfDay(w.At))
}

// Next implements [Schedule]. The result is in Location. After the year 9999 it is the
// zero Time, and before the year 1 the search begins with that year.
func (w Weekly) Next(after time.Time) time.Time {
	day := min(max(w.Day, time.Sunday), time.Saturday)
	return nextDay(after, w.At, w.Location, func(today time.Time, i int) time.Time {
		ahead := (day - today.Weekday() + 7) % 7
		return today.AddDate(0, 0, int(ahead)+7*i)
	})
}

// Monthly is the [Schedule] of one day a month. The zero value is the 1st at midnight
// in UTC. Where the clock is changed it works like [Daily].
type Monthly struct {
	// Day is the day of the month, from 1 to 31, and 0 is the 1st. In a shorter
	// month the last day takes its place. Next uses the nearest of 1 and 31 for any
	// other value.
	Day int

	// At and Location are as in [Daily].
	At       time.Duration
	Location *time.Location
}

// Validate returns an error that names each of Day and At that is out of its
// range.
func (m Monthly) Validate() error {
	var err error
	if m.Day < 0 || m.Day > 31 {
		err = fmt.Errorf("schedule: Day is %d: use 1 to 31, or 0 for the 1st", m.Day)
	}
	return errors.Join(err, validateTimeOfDay(m.At))
}

// Next implements [Schedule]. The result is in Location. After the year 9999 it is the
// zero Time, and before the year 1 the search begins with that year.
func (m Monthly) Next(after time.Time) time.Time {
	day := min(max(m.Day, 1), 31)
	return nextDay(after, m.At, m.Location, func(today time.Time, i int) time.Time {
		first := today.AddDate(0, i, 1-today.Day())
		last := first.AddDate(0, 1, -1)
		return first.AddDate(0, 0, min(day, last.Day())-1)
	})
}

// nextDay returns the first time after after that is due on one of the days.
// day(today, 0), day(today, 1), ... are these days from today on, in ascending order.
// Days before today do not count: the clock has shown them.
func nextDay(after time.Time, at time.Duration, loc *time.Location, day func(today time.Time, i int) time.Time) time.Time {
	at = min(max(at, 0), 24*time.Hour-1)
	loc = cmp.Or(loc, time.UTC)
	return inCalendar(after, func(after time.Time) time.Time {
		today := wallClock(after.In(loc)).Truncate(24 * time.Hour)
		for i := 0; ; i++ {
			if t := firstShown(day(today, i).Add(at), loc); t.After(after) {
				return t
			}
		}
	})
}

// inCalendar limits next to the years 1 to 9999, which RFC 3339, and so JSON, can
// hold.
func inCalendar(after time.Time, next func(time.Time) time.Time) time.Time {
	end := time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	if after.Before(time.Time{}) {
		after = time.Time{}
	}
	if after.Before(end) {
		if t := next(after); t.Before(end) {
			return t
		}
	}
	return time.Time{}
}

// wallClock returns the time that the clock in the location of t shows, as a time in
// UTC. Local times can be added and subtracted in that form.
func wallClock(t time.Time) time.Time {
	_, offset := t.Zone()
	return t.UTC().Add(time.Duration(offset) * time.Second)
}

// firstShown returns the first moment at which the clock in loc shows wall or later.
// It searches in the order of time, so that it needs no special case for a time that
// is skipped or repeated. time.Date would pick one of the two sides.
func firstShown(wall time.Time, loc *time.Location) time.Time {
	// No clock is ever set by two days, so two days before the clock is before wall.
	t := wall.Add(wall.Sub(wallClock(wall.In(loc)))).Add(-48 * time.Hour).In(loc)
	for {
		at, end := t.Add(wall.Sub(wallClock(t))), steadyUntil(t)
		if at.Before(t) {
			return t
		}
		if at.Before(end) {
			return at
		}
		t = end
	}
}

// steadyUntil returns a time after t until which the clock in the location of t is
// not changed. The clock need not be changed at that time: for the years that are
// known by rule only, ZoneBounds returns the end of the year as a change, and on the
// last day of a leap year the beginning of that day.
func steadyUntil(t time.Time) time.Time {
	if _, end := t.ZoneBounds(); !end.IsZero() && end.After(t) {
		return end
	}
	return t.Truncate(24 * time.Hour).Add(24 * time.Hour)
}
