package schedule_test

import (
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/tomo-project/backup/schedule"

	"github.com/stretchr/testify/require"
)

const (
	hour   = time.Hour
	minute = time.Minute
)

func TestScheduleRunsAt(t *testing.T) {
	berlin := zone(t, "Europe/Berlin")
	newYork := zone(t, "America/New_York")
	lordHowe := zone(t, "Australia/Lord_Howe")
	santiago := zone(t, "America/Santiago")
	apia := zone(t, "Pacific/Apia")
	kwajalein := zone(t, "Pacific/Kwajalein")
	casablanca := zone(t, "Africa/Casablanca")
	troll := zone(t, "Antarctica/Troll")
	kathmandu := zone(t, "Asia/Kathmandu")

	for _, c := range []struct {
		name     string
		schedule schedule.Schedule
		after    string
		want     []string // the runs that follow one another
	}{
		{"zero hourly is the full hour in UTC", schedule.Hourly{}, "2024-01-15T10:30:00Z", []string{"2024-01-15T11:00:00Z", "2024-01-15T12:00:00Z"}},
		{"zero daily is midnight in UTC", schedule.Daily{}, "2024-01-15T10:30:00Z", []string{"2024-01-16T00:00:00Z", "2024-01-17T00:00:00Z"}},
		{"zero weekly is Sunday at midnight in UTC", schedule.Weekly{}, "2024-01-15T10:30:00Z", []string{"2024-01-21T00:00:00Z", "2024-01-28T00:00:00Z"}},
		{"zero monthly is the 1st at midnight in UTC", schedule.Monthly{}, "2024-01-15T10:30:00Z", []string{"2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"}},

		{"hourly later in this hour", schedule.Hourly{Minute: 45}, "2024-01-15T10:30:00Z", []string{"2024-01-15T10:45:00Z", "2024-01-15T11:45:00Z"}},
		{"hourly by the clock of a zone that is quarters of an hour off", schedule.Hourly{Location: kathmandu}, "2024-01-15T10:30:00Z", []string{"2024-01-15T17:00:00+05:45", "2024-01-15T18:00:00+05:45"}},
		{"daily later today", schedule.Daily{At: 11 * hour}, "2024-01-15T10:30:00Z", []string{"2024-01-15T11:00:00Z", "2024-01-16T11:00:00Z"}},
		{"daily over a year's end", schedule.Daily{At: 3 * hour}, "2024-12-30T12:00:00Z", []string{"2024-12-31T03:00:00Z", "2025-01-01T03:00:00Z"}},
		{"daily to the nanosecond", schedule.Daily{At: 3*hour + 4*minute + 5*time.Second + 6}, "2024-01-15T03:04:05.000000005Z", []string{"2024-01-15T03:04:05.000000006Z", "2024-01-16T03:04:05.000000006Z"}},
		{"weekly later this week", schedule.Weekly{Day: time.Saturday, At: 22 * hour}, "2024-01-15T10:30:00Z", []string{"2024-01-20T22:00:00Z", "2024-01-27T22:00:00Z"}},
		{"weekly later on the day", schedule.Weekly{Day: time.Monday, At: 22 * hour}, "2024-01-15T10:30:00Z", []string{"2024-01-15T22:00:00Z", "2024-01-22T22:00:00Z"}},
		{"weekly earlier on the day", schedule.Weekly{Day: time.Monday, At: 2 * hour}, "2024-01-15T10:30:00Z", []string{"2024-01-22T02:00:00Z"}},
		{"monthly on the 15th", schedule.Monthly{Day: 15, At: 11 * hour}, "2024-01-15T10:30:00Z", []string{"2024-01-15T11:00:00Z", "2024-02-15T11:00:00Z"}},
		{"monthly on the last day", schedule.Monthly{Day: 31}, "2023-12-31T10:00:00Z", []string{"2024-01-31T00:00:00Z", "2024-02-29T00:00:00Z", "2024-03-31T00:00:00Z", "2024-04-30T00:00:00Z"}},
		{"monthly on the 30th", schedule.Monthly{Day: 30}, "2023-01-29T10:00:00Z", []string{"2023-01-30T00:00:00Z", "2023-02-28T00:00:00Z", "2023-03-30T00:00:00Z"}},
		{"monthly on the 29th of a leap year", schedule.Monthly{Day: 29}, "2024-02-01T00:00:00Z", []string{"2024-02-29T00:00:00Z", "2024-03-29T00:00:00Z"}},
		{"monthly on the 29th of 2100, no leap year", schedule.Monthly{Day: 29}, "2100-02-01T00:00:00Z", []string{"2100-02-28T00:00:00Z", "2100-03-29T00:00:00Z"}},
		{"monthly on the 31st asked on the 31st", schedule.Monthly{Day: 30}, "2024-01-31T10:00:00Z", []string{"2024-02-29T00:00:00Z"}},

		{"the day is that of the zone", schedule.Weekly{Day: time.Tuesday, Location: berlin}, "2024-01-15T22:00:00Z", []string{"2024-01-16T00:00:00+01:00"}},
		{"the zone of after makes no difference", schedule.Daily{At: 3 * hour, Location: berlin}, "2024-01-15T18:00:00-08:00", []string{"2024-01-17T03:00:00+01:00"}},

		{"hourly below the range", schedule.Hourly{Minute: -5}, "2024-01-15T10:30:00Z", []string{"2024-01-15T11:00:00Z"}},
		{"hourly above the range", schedule.Hourly{Minute: 60}, "2024-01-15T10:30:00Z", []string{"2024-01-15T10:59:00Z", "2024-01-15T11:59:00Z"}},
		{"daily below the range", schedule.Daily{At: math.MinInt64}, "2024-01-15T10:30:00Z", []string{"2024-01-16T00:00:00Z"}},
		{"daily above the range", schedule.Daily{At: 24 * hour}, "2024-01-15T10:30:00Z", []string{"2024-01-15T23:59:59.999999999Z", "2024-01-16T23:59:59.999999999Z"}},
		{"weekly below the range", schedule.Weekly{Day: -1}, "2024-01-15T10:30:00Z", []string{"2024-01-21T00:00:00Z"}},
		{"weekly above the range", schedule.Weekly{Day: math.MaxInt}, "2024-01-15T10:30:00Z", []string{"2024-01-20T00:00:00Z"}},
		{"monthly below the range", schedule.Monthly{Day: -1}, "2024-01-15T10:30:00Z", []string{"2024-02-01T00:00:00Z"}},
		{"monthly above the range", schedule.Monthly{Day: math.MaxInt}, "2024-01-15T10:30:00Z", []string{"2024-01-31T00:00:00Z", "2024-02-29T00:00:00Z"}},

		{"Berlin skips 02:30", schedule.Daily{At: 2*hour + 30*minute, Location: berlin}, "2024-03-30T12:00:00+01:00", []string{"2024-03-31T03:00:00+02:00", "2024-04-01T02:30:00+02:00"}},
		{"Berlin skips 02:00", schedule.Daily{At: 2 * hour, Location: berlin}, "2024-03-30T12:00:00+01:00", []string{"2024-03-31T03:00:00+02:00", "2024-04-01T02:00:00+02:00"}},
		{"Berlin does not skip 03:00", schedule.Daily{At: 3 * hour, Location: berlin}, "2024-03-30T12:00:00+01:00", []string{"2024-03-31T03:00:00+02:00", "2024-04-01T03:00:00+02:00"}},
		{"Berlin repeats 02:30", schedule.Daily{At: 2*hour + 30*minute, Location: berlin}, "2024-10-26T12:00:00+02:00", []string{"2024-10-27T02:30:00+02:00", "2024-10-28T02:30:00+01:00"}},
		{"Berlin repeats 02:00", schedule.Daily{At: 2 * hour, Location: berlin}, "2024-10-26T12:00:00+02:00", []string{"2024-10-27T02:00:00+02:00", "2024-10-28T02:00:00+01:00"}},
		{"Berlin does not repeat 03:00", schedule.Daily{At: 3 * hour, Location: berlin}, "2024-10-26T12:00:00+02:00", []string{"2024-10-27T03:00:00+01:00", "2024-10-28T03:00:00+01:00"}},
		{"Berlin repeats 02:30, asked before the second", schedule.Daily{At: 2*hour + 30*minute, Location: berlin}, "2024-10-27T02:15:00+01:00", []string{"2024-10-28T02:30:00+01:00"}},
		{"Berlin skips the time of a week", schedule.Weekly{Day: time.Sunday, At: 2*hour + 30*minute, Location: berlin}, "2024-03-30T12:00:00+01:00", []string{"2024-03-31T03:00:00+02:00", "2024-04-07T02:30:00+02:00"}},
		{"Berlin skips the time of a month", schedule.Monthly{Day: 31, At: 2*hour + 30*minute, Location: berlin}, "2024-03-30T12:00:00+01:00", []string{"2024-03-31T03:00:00+02:00", "2024-04-30T02:30:00+02:00"}},
		{"Berlin skips a minute of an hour", schedule.Hourly{Minute: 30, Location: berlin}, "2024-03-31T01:00:00+01:00", []string{"2024-03-31T01:30:00+01:00", "2024-03-31T03:30:00+02:00"}},
		{"Berlin repeats an hour", schedule.Hourly{Minute: 30, Location: berlin}, "2024-10-27T01:00:00+02:00", []string{"2024-10-27T01:30:00+02:00", "2024-10-27T02:30:00+02:00", "2024-10-27T02:30:00+01:00", "2024-10-27T03:30:00+01:00"}},
		{"Berlin repeats a full hour", schedule.Hourly{Location: berlin}, "2024-10-27T01:30:00+02:00", []string{"2024-10-27T02:00:00+02:00", "2024-10-27T02:00:00+01:00", "2024-10-27T03:00:00+01:00"}},

		{"New York skips 02:30", schedule.Daily{At: 2*hour + 30*minute, Location: newYork}, "2024-03-09T12:00:00-05:00", []string{"2024-03-10T03:00:00-04:00", "2024-03-11T02:30:00-04:00"}},
		{"New York repeats 01:30", schedule.Daily{At: 1*hour + 30*minute, Location: newYork}, "2024-11-02T12:00:00-04:00", []string{"2024-11-03T01:30:00-04:00", "2024-11-04T01:30:00-05:00"}},
		{"New York repeats 01:30 in a year known by rule only", schedule.Daily{At: 1*hour + 30*minute, Location: newYork}, "2345-11-03T12:00:00-04:00", []string{"2345-11-04T01:30:00-04:00", "2345-11-05T01:30:00-05:00"}},

		{"Lord Howe skips half an hour", schedule.Daily{At: 2*hour + 15*minute, Location: lordHowe}, "2024-10-05T12:00:00+10:30", []string{"2024-10-06T02:30:00+11:00", "2024-10-07T02:15:00+11:00"}},
		{"Lord Howe repeats half an hour", schedule.Daily{At: 1*hour + 45*minute, Location: lordHowe}, "2024-04-06T12:00:00+11:00", []string{"2024-04-07T01:45:00+11:00", "2024-04-08T01:45:00+10:30"}},
		{"Lord Howe skips a minute of an hour", schedule.Hourly{Minute: 15, Location: lordHowe}, "2024-10-06T01:00:00+10:30", []string{"2024-10-06T01:15:00+10:30", "2024-10-06T03:15:00+11:00"}},
		{"Lord Howe repeats a minute of an hour", schedule.Hourly{Minute: 45, Location: lordHowe}, "2024-04-07T01:00:00+11:00", []string{"2024-04-07T01:45:00+11:00", "2024-04-07T01:45:00+10:30", "2024-04-07T02:45:00+10:30"}},
		{"Lord Howe keeps a minute of an hour", schedule.Hourly{Minute: 15, Location: lordHowe}, "2024-04-07T01:00:00+11:00", []string{"2024-04-07T01:15:00+11:00", "2024-04-07T02:15:00+10:30"}},

		{"Santiago skips midnight", schedule.Daily{Location: santiago}, "2024-09-07T12:00:00-04:00", []string{"2024-09-08T01:00:00-03:00", "2024-09-09T00:00:00-03:00"}},
		{"Santiago repeats the hour before midnight", schedule.Daily{At: 23*hour + 30*minute, Location: santiago}, "2024-04-06T12:00:00-03:00", []string{"2024-04-06T23:30:00-03:00", "2024-04-07T23:30:00-04:00"}},
		{"Santiago comes to midnight an hour late", schedule.Daily{Location: santiago}, "2024-04-06T12:00:00-03:00", []string{"2024-04-07T00:00:00-04:00", "2024-04-08T00:00:00-04:00"}},
		{"Beirut skips midnight", schedule.Daily{At: 30 * minute, Location: zone(t, "Asia/Beirut")}, "2024-03-30T12:00:00+02:00", []string{"2024-03-31T01:00:00+03:00", "2024-04-01T00:30:00+03:00"}},
		{"Cairo skips midnight", schedule.Weekly{Day: time.Friday, Location: zone(t, "Africa/Cairo")}, "2024-04-25T12:00:00+02:00", []string{"2024-04-26T01:00:00+03:00", "2024-05-03T00:00:00+03:00"}},
		{"Scoresbysund skips the hour before midnight", schedule.Daily{At: 23*hour + 30*minute, Location: zone(t, "America/Scoresbysund")}, "2025-03-28T12:00:00-02:00", []string{"2025-03-28T23:30:00-02:00", "2025-03-30T00:00:00-01:00", "2025-03-30T23:30:00-01:00"}},
		{"Casablanca sets the clock back for Ramadan", schedule.Daily{At: 2*hour + 30*minute, Location: casablanca}, "2024-03-09T12:00:00+01:00", []string{"2024-03-10T02:30:00+01:00", "2024-03-11T02:30:00Z"}},
		{"Casablanca sets the clock forward after Ramadan", schedule.Daily{At: 2*hour + 30*minute, Location: casablanca}, "2024-04-13T12:00:00Z", []string{"2024-04-14T03:00:00+01:00", "2024-04-15T02:30:00+01:00"}},
		{"Troll skips two hours", schedule.Daily{At: 1*hour + 30*minute, Location: troll}, "2024-03-30T12:00:00Z", []string{"2024-03-31T03:00:00+02:00", "2024-04-01T01:30:00+02:00"}},
		{"Troll repeats two hours", schedule.Hourly{Location: troll}, "2024-10-27T01:30:00+02:00", []string{"2024-10-27T02:00:00+02:00", "2024-10-27T01:00:00Z", "2024-10-27T02:00:00Z", "2024-10-27T03:00:00Z"}},

		{"Apia has no 30 December", schedule.Daily{At: 3 * hour, Location: apia}, "2011-12-28T12:00:00-10:00", []string{"2011-12-29T03:00:00-10:00", "2011-12-31T00:00:00+14:00", "2011-12-31T03:00:00+14:00", "2012-01-01T03:00:00+14:00"}},
		{"Apia has no 30 December, at midnight", schedule.Daily{Location: apia}, "2011-12-28T12:00:00-10:00", []string{"2011-12-29T00:00:00-10:00", "2011-12-31T00:00:00+14:00", "2012-01-01T00:00:00+14:00"}},
		{"Apia has no Friday", schedule.Weekly{Day: time.Friday, At: 3 * hour, Location: apia}, "2011-12-28T12:00:00-10:00", []string{"2011-12-31T00:00:00+14:00", "2012-01-06T03:00:00+14:00"}},
		{"Apia has no 30th", schedule.Monthly{Day: 30, At: 3 * hour, Location: apia}, "2011-12-28T12:00:00-10:00", []string{"2011-12-31T00:00:00+14:00", "2012-01-30T03:00:00+14:00"}},
		{"Apia has all hours", schedule.Hourly{Location: apia}, "2011-12-29T22:30:00-10:00", []string{"2011-12-29T23:00:00-10:00", "2011-12-31T00:00:00+14:00", "2011-12-31T01:00:00+14:00"}},
		{"Kwajalein has no 21 August", schedule.Daily{At: 3 * hour, Location: kwajalein}, "1993-08-19T12:00:00-12:00", []string{"1993-08-20T03:00:00-12:00", "1993-08-22T00:00:00+12:00", "1993-08-22T03:00:00+12:00", "1993-08-23T03:00:00+12:00"}},
		{"Kwajalein repeats 30 September", schedule.Daily{At: 12 * hour, Location: kwajalein}, "1969-09-29T18:00:00+11:00", []string{"1969-09-30T12:00:00+11:00", "1969-10-01T12:00:00-12:00"}},

		{"the zero Time", schedule.Daily{At: 3 * hour}, "0001-01-01T00:00:00Z", []string{"0001-01-01T03:00:00Z", "0001-01-02T03:00:00Z"}},
		{"the zero Time in a zone without changes", schedule.Daily{At: 3 * hour, Location: time.FixedZone("", 5*60*60)}, "0001-01-01T00:00:00Z", []string{"0001-01-02T03:00:00+05:00", "0001-01-03T03:00:00+05:00"}},
		{"the last day", schedule.Daily{At: 3 * hour}, "9999-12-30T12:00:00Z", []string{"9999-12-31T03:00:00Z"}},
		{"the last hour", schedule.Hourly{Minute: 59}, "9999-12-31T23:00:00Z", []string{"9999-12-31T23:59:00Z"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			after, err := time.Parse(time.RFC3339, c.after)
			require.NoError(t, err)
			var got []string
			for range c.want {
				next := c.schedule.Next(after)
				require.Equal(t, next, c.schedule.Next(next.Add(-1)), "a moment before the run")
				got = append(got, next.Format(time.RFC3339Nano))
				after = next
			}
			require.Equal(t, c.want, got)
		})
	}
}

func TestScheduleEndsAtAnyInput(t *testing.T) {
	for _, schedule := range allSchedules(zone(t, "America/New_York"), 1, hour) {
		first := schedule.Next(time.Time{})
		require.Equal(t, 1, first.UTC().Year())
		for _, before := range []time.Time{time.Date(-400, 1, 1, 0, 0, 0, 0, time.UTC), time.Unix(math.MinInt64, 0), time.Unix(-1<<62, 0)} {
			require.Equal(t, first, schedule.Next(before), "%T after %d", schedule, before.Unix())
		}
		for _, late := range []time.Time{time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), time.Unix(math.MaxInt64-62135596800, 0), time.Unix(1<<62, 0), time.Unix(1<<40, 0), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)} {
			require.Zero(t, schedule.Next(late), "%T after %d", schedule, late.Unix())
		}
	}
}

// The standard library's bounds of a zone are wrong on these days.
func TestScheduleOnTheLastDayOfALeapYearKnownByRuleOnly(t *testing.T) {
	for _, name := range scheduleZones {
		loc := zone(t, name)
		for year := 2040; year <= 2400; year += 40 {
			noon := time.Date(year, 12, 31, 12, 0, 0, 0, loc)
			require.Equal(t, noon.Add(30*minute), schedule.Hourly{Minute: 30, Location: loc}.Next(noon))
			require.Equal(t, noon.Add(hour), schedule.Daily{At: 13 * hour, Location: loc}.Next(noon))
		}
	}
}

func TestScheduleOfACronLibraryPlugsInAsItIs(t *testing.T) {
	type cronSchedule interface{ Next(time.Time) time.Time } // as robfig/cron declares it
	var schedule schedule.Schedule = cronSchedule(everyTenMinutes{})
	require.Equal(t, epoch.Add(10*minute), schedule.Next(epoch))
}

type everyTenMinutes struct{}

func (everyTenMinutes) Next(t time.Time) time.Time { return t.Truncate(10 * minute).Add(10 * minute) }

func TestScheduleOfTheMonotonicClockIsThatOfTheWallClock(t *testing.T) {
	now := time.Now()
	for _, schedule := range allSchedules(time.Local, 1, hour) {
		require.Equal(t, schedule.Next(now.Round(0)), schedule.Next(now))
	}
}

func TestSchedulesAreComparable(t *testing.T) {
	for i, a := range allSchedules(time.UTC, 1, hour) {
		for j, b := range allSchedules(time.UTC, 1, hour) {
			require.Equal(t, i == j, a == b)
		}
	}
}

func TestScheduleValidateNamesEachFieldOutOfRange(t *testing.T) {
	for _, valid := range []interface{ Validate() error }{
		schedule.Hourly{}, schedule.Hourly{Minute: 59},
		schedule.Daily{}, schedule.Daily{At: 24*hour - 1},
		schedule.Weekly{}, schedule.Weekly{Day: time.Saturday, At: hour},
		schedule.Monthly{}, schedule.Monthly{Day: 31, At: hour},
	} {
		require.NoError(t, valid.Validate(), "%+v", valid)
	}
	for _, c := range []struct {
		schedule interface{ Validate() error }
		parts    []string
	}{
		{schedule.Hourly{Minute: -1}, []string{"Minute is -1"}},
		{schedule.Hourly{Minute: 60}, []string{"Minute is 60"}},
		{schedule.Daily{At: -1}, []string{"At is -1ns"}},
		{schedule.Daily{At: 24 * hour}, []string{"At is 24h0m0s"}},
		{schedule.Weekly{Day: -1, At: -hour}, []string{"Day is -1", "At is -1h0m0s"}},
		{schedule.Weekly{Day: 7}, []string{"Day is 7"}},
		{schedule.Monthly{Day: -1, At: -hour}, []string{"Day is -1", "At is -1h0m0s"}},
		{schedule.Monthly{Day: 32}, []string{"Day is 32"}},
	} {
		for _, part := range c.parts {
			require.ErrorContains(t, c.schedule.Validate(), part, "%+v", c.schedule)
		}
	}
}

// allSchedules returns one of each type. n is its minute or day.
func allSchedules(loc *time.Location, n int, at time.Duration) []schedule.Schedule {
	return []schedule.Schedule{
		schedule.Hourly{Minute: n, Location: loc},
		schedule.Daily{At: at, Location: loc},
		schedule.Weekly{Day: time.Weekday(n), At: at, Location: loc},
		schedule.Monthly{Day: n, At: at, Location: loc},
	}
}

var scheduleZones = []string{
	"Europe/Berlin", "Europe/Lisbon", "Europe/Dublin", "America/New_York", "America/St_Johns", "America/Santiago",
	"America/Scoresbysund", "Asia/Beirut", "Africa/Cairo", "Africa/Casablanca", "Australia/Lord_Howe",
	"Pacific/Apia", "Antarctica/Troll",
}

// A clockTable is what the clock of a zone shows in each minute from 1999 to
// 2101. It is read off the clock, hour by hour, and minute by minute where the
// clock is changed.
type clockTable struct {
	start   int           // minutes since 1970
	offset  []int         // in minutes, of each hour; changed if the clock is changed in it
	offsets map[int][]int // of each minute of such an hour
}

const changed = math.MaxInt

func newClockTable(loc *time.Location) clockTable {
	offset := func(minute int) int {
		_, seconds := timeOf(minute).In(loc).Zone()
		return seconds / 60
	}
	c := clockTable{start: minutesOf(time.Date(1999, 12, 1, 0, 0, 0, 0, time.UTC)), offsets: map[int][]int{}}
	end := minutesOf(time.Date(2101, 2, 1, 0, 0, 0, 0, time.UTC))
	this := offset(c.start)
	for m := c.start; m < end; m += 60 {
		next := offset(m + 60)
		if this != next {
			for i := range 60 {
				c.offsets[len(c.offset)] = append(c.offsets[len(c.offset)], offset(m+i))
			}
			this = changed
		}
		c.offset = append(c.offset, this)
		this = next
	}
	return c
}

func minutesOf(t time.Time) int { return int(t.Unix() / 60) }

func timeOf(minute int) time.Time { return time.Unix(int64(minute)*60, 0) }

func (c clockTable) shown(minute int) int {
	hour, m := (minute-c.start)/60, (minute-c.start)%60
	if c.offset[hour] == changed {
		return minute + c.offsets[hour][m]
	}
	return minute + c.offset[hour]
}

// runs returns the minutes in which the clock first shows each of walls or
// later. Minutes come once: two walls may share one.
func (c clockTable) runs(walls []int) []int {
	var runs []int
	m := c.start
	for _, wall := range walls {
		for c.shown(m) < wall {
			hour := (m - c.start) / 60
			if m == c.start+hour*60 && c.offset[hour] != changed && c.shown(m+59) < wall {
				m += 60
			} else {
				m++
			}
		}
		runs = append(runs, m)
	}
	return slices.Compact(runs)
}

// wallsOf returns at of each day of 2000 to 2100 that is one of the days.
func wallsOf(at time.Duration, is func(date time.Time) bool) []int {
	var walls []int
	for date := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC); date.Year() <= 2100; date = date.AddDate(0, 0, 1) {
		if is(date) {
			walls = append(walls, minutesOf(date.Add(at)))
		}
	}
	return walls
}

func TestScheduleOfAHundredYearsIsThatOfTheClockReadMinuteByMinute(t *testing.T) {
	for _, name := range scheduleZones {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			loc := zone(t, name)
			clock := newClockTable(loc)
			random := rand.New(rand.NewPCG(2000, 2100))

			for _, at := range []time.Duration{0, 2*hour + 15*minute, 23*hour + 30*minute} {
				everyDay := func(time.Time) bool { return true }
				checkSchedule(t, random, schedule.Daily{At: at, Location: loc}, clock.runs(wallsOf(at, everyDay)))

				weekday := time.Weekday(random.IntN(7))
				onWeekday := func(date time.Time) bool { return date.Weekday() == weekday }
				checkSchedule(t, random, schedule.Weekly{Day: weekday, At: at, Location: loc}, clock.runs(wallsOf(at, onWeekday)))

				n := 28 + random.IntN(4)
				onNth := func(date time.Time) bool {
					return date.Day() == n || date.Day() < n && date.AddDate(0, 0, 1).Day() == 1
				}
				checkSchedule(t, random, schedule.Monthly{Day: n, At: at, Location: loc}, clock.runs(wallsOf(at, onNth)))
			}

			for _, hour := range slices.Sorted(maps.Keys(clock.offsets)) {
				for _, n := range []int{0, 15, 30, 59} {
					var runs []int
					for m := clock.start + (hour-24)*60; m < clock.start+(hour+24)*60; m++ {
						if clock.shown(m)%60 == n {
							runs = append(runs, m)
						}
					}
					checkSchedule(t, random, schedule.Hourly{Minute: n, Location: loc}, runs)
					for i, m := range runs[1:] {
						require.Less(t, m-runs[i], 120, "less than two hours apart")
					}
				}
			}
		})
	}
}

// checkSchedule compares the schedule with the minutes of its runs, from the
// first to the last, run by run and from some times between.
func checkSchedule(t *testing.T, random *rand.Rand, schedule schedule.Schedule, runs []int) {
	t.Helper()
	check := func(after, want time.Time) {
		if got := schedule.Next(after); !got.Equal(want) {
			t.Fatalf("%+v after %v: got %v, want %v", schedule, after.UTC(), got.UTC(), want.UTC())
		}
	}
	for i, run := range runs[1:] {
		check(timeOf(runs[i]), timeOf(run))
	}
	for range 100 {
		i := 1 + random.IntN(len(runs)-1)
		step := timeOf(runs[i]).Sub(timeOf(runs[i-1]))
		check(timeOf(runs[i]).Add(-1-time.Duration(random.Int64N(int64(step)))), timeOf(runs[i]))
	}
}

func FuzzSchedule(f *testing.F) {
	for i, name := range scheduleZones {
		f.Add(uint8(i), i, int64(2*hour+30*minute), int64(1711846800), int64(i), name) // 31 March 2024, 01:00 UTC
		f.Add(uint8(i), 31, int64(0), int64(1325239200), int64(0), name)               // 30 December 2011, 10:00 UTC
		f.Add(uint8(i), -1, int64(math.MaxInt64), int64(-62135596800), int64(-1), name)
		f.Add(uint8(i), 60, int64(24*hour-1), int64(253402300799), int64(999999999), name)
		f.Add(uint8(i), 15, int64(hour), int64(3755332800), int64(1), name) // 31 December 2088
		f.Add(uint8(i), 1, int64(1), int64(-2840140800), int64(1), name)    // 1880
	}
	f.Fuzz(func(t *testing.T, kind uint8, n int, at, seconds, nanoseconds int64, location string) {
		loc, err := time.LoadLocation(location)
		if err != nil {
			t.Skip("no such zone")
		}
		schedules := allSchedules(loc, n, time.Duration(at))
		schedule := schedules[int(kind)%len(schedules)]

		after := time.Unix(seconds, nanoseconds)
		if after.Before(time.Time{}) {
			after = time.Time{}
		}
		next := schedule.Next(after)
		if next.IsZero() {
			require.Greater(t, after.Unix(), time.Date(9999, 11, 28, 0, 0, 0, 0, time.UTC).Unix(), "the end of the calendar is near")
			return
		}
		require.True(t, next.After(after), "%+v after %v: %v", schedule, after, next)
		require.Equal(t, loc, next.Location())
		require.LessOrEqual(t, next.Sub(after), 62*day)
		between := []time.Duration{next.Sub(after) - 1}
		for i := range 16 {
			between = append(between, next.Sub(after)/16*time.Duration(i))
		}
		for _, d := range between {
			require.Equal(t, next, schedule.Next(after.Add(d)), "%+v: a run between %v and %v", schedule, after, next)
		}
		require.NotEqual(t, next, schedule.Next(next), "%+v", schedule)
	})
}

const day = 24 * time.Hour

var epoch = time.Date(2024, 10, 27, 0, 0, 0, 0, time.UTC)

func zone(t testing.TB, name string) *time.Location {
	loc, err := time.LoadLocation(name)
	require.NoError(t, err)
	return loc
}
