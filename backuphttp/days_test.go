package backuphttp

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/manager"
	"github.com/tomo-project/backup/schedule"
)

// strip returns the states of the last days, one letter a day: the first letter of the
// state, a dot for "none" and M for "manual".
func strip(list []dayInfo) (letters string) {
	for _, d := range list {
		switch d.State {
		case "none":
			letters += "."
		case "missed":
			letters += "!"
		case "damaged":
			letters += "x"
		case "manual":
			letters += "h"
		default:
			letters += d.State[:1] // made, failed, due
		}
	}
	return letters
}

func scheduled(made time.Time, slot time.Time) manager.Backup {
	b := manager.Backup{Name: "b-" + made.Format(time.RFC3339Nano), CreatedAt: made, Trigger: manager.TriggerScheduled, Manifest: &backup.Manifest{}}
	if !slot.IsZero() {
		b.Manifest.Metadata = map[string]string{metaSlot: slot.UTC().Format(time.RFC3339Nano)}
	}
	return b
}

func TestTheStripShowsEachDay(t *testing.T) {
	at := func(day, hour, minute int) time.Time { return time.Date(2024, 3, day, hour, minute, 0, 0, time.UTC) }
	onTime := func(days ...int) (list []manager.Backup) {
		for _, d := range days {
			list = append(list, scheduled(at(d, 2, 30), at(d, 2, 30)))
		}
		return list
	}
	daily := schedule.Daily{At: 150 * time.Minute}
	now := at(30, 12, 0) // so the strip begins on the 1st
	manual := manager.Backup{Name: "m", CreatedAt: at(22, 9, 0), Trigger: manager.TriggerManual}
	broken := scheduled(at(26, 2, 30), at(26, 2, 30))
	broken.Damaged = true
	for _, c := range []struct {
		name string
		h    history
		now  time.Time
		want string // the last ten days; the days before are all "none"
	}{
		{"nothing", history{}, now, ".........."},
		{"not begun", history{schedule: daily}, at(30, 1, 0), ".........d"},
		{"just begun", history{schedule: daily}, now, ".........."},
		{"begun with a backup", history{schedule: daily, backups: []manager.Backup{scheduled(at(30, 0, 10), at(29, 2, 30))}}, now, ".........m"},
		{"all made", history{schedule: daily, backups: onTime(21, 22, 23, 24, 25, 26, 27, 28, 29, 30)}, now, "mmmmmmmmmm"},
		{"from the first on", history{schedule: daily, backups: onTime(24, 25, 26, 27, 28, 29, 30)}, now, "...mmmmmmm"},
		{"missed", history{schedule: daily, backups: onTime(21, 22, 25, 26, 27, 28)}, now, "mm!!mmmm!!"},
		{"due later", history{schedule: daily, backups: onTime(27, 28, 29)}, at(30, 2, 0), "......mmmd"},
		{"due just now", history{schedule: daily, backups: onTime(27, 28, 29)}, at(30, 2, 40), "......mmmd"},
		{"being made", history{schedule: daily, backups: onTime(27, 28), busy: true}, now, "......mm!d"},
		{"a machine that was off", history{schedule: daily, backups: append(onTime(24), scheduled(at(28, 8, 0), at(28, 2, 30)))}, at(28, 9, 0), ".....m!!!m"},
		{"made late, for the day before", history{schedule: daily, backups: append(onTime(27), scheduled(at(29, 0, 40), at(28, 2, 30)))}, at(29, 12, 0), ".......mmm"},
		{"late in the evening, for the next too", history{schedule: schedule.Daily{At: 30 * time.Minute}, backups: []manager.Backup{
			scheduled(at(28, 23, 0), at(28, 0, 30)), scheduled(at(30, 0, 30), at(30, 0, 30))}}, now, ".......mmm"},
		{"failed", history{schedule: daily, backups: onTime(25, 26, 27, 29, 30), failures: []failure{{at(28, 2, 30), "no space", nil}, {at(29, 2, 30), "no space", nil}}}, now, "....mmmfmm"},
		{"by hand", history{schedule: daily, backups: append(onTime(26, 27, 28, 29, 30), manual)}, now, ".h...mmmmm"},
		{"by hand is not by schedule", history{schedule: daily, backups: append(onTime(21, 23, 24, 25, 26, 27, 28, 29, 30), manual)}, now, "m!mmmmmmmm"},
		{"damaged", history{schedule: daily, backups: append(onTime(25, 27, 28, 29, 30), broken)}, now, "....mxmmmm"},
		{"set today", history{schedule: daily, backups: onTime(20), since: at(30, 11, 0)}, now, ".........."},
		{"retention keeps no more", history{schedule: schedule.Daily{At: 150 * time.Minute}, retention: backup.Retention{Last: 1, Weekly: 2},
			backups: onTime(24, 30)}, now, "...m.....m"},
		{"weekly", history{schedule: schedule.Weekly{Day: time.Sunday, At: 150 * time.Minute}, backups: onTime(10, 24)}, now, "...m......"},
		{"weekly, made up for", history{schedule: schedule.Weekly{Day: time.Sunday, At: 150 * time.Minute}, backups: append(onTime(10), scheduled(at(26, 7, 0), at(24, 2, 30)))}, now, "...m.m...."},
		{"another time of day before", history{schedule: schedule.Daily{At: 5 * time.Hour}, backups: onTime(26, 27, 28, 29, 30)}, now, ".....mmmmm"},
		{"hourly", history{schedule: schedule.Hourly{}, backups: []manager.Backup{scheduled(at(28, 7, 0), at(28, 7, 0)), scheduled(at(30, 7, 0), at(30, 7, 0))}}, now, ".......m!m"},
		{"a schedule without an end", history{schedule: never{}, backups: onTime(29)}, now, "........m."},
	} {
		t.Run(c.name, func(t *testing.T) {
			days := c.h.days(c.now)
			require.Len(t, days, stripDays)
			require.Equal(t, c.now.Format(time.DateOnly), days[stripDays-1].Date)
			got := strip(days)
			require.Equal(t, c.want, got[20:], days[20:])
			for _, d := range days {
				require.NotEmpty(t, d.Detail)
			}
		})
	}
	h := history{schedule: daily, backups: append(onTime(24), scheduled(at(28, 8, 0), at(28, 2, 30)))}
	require.Equal(t, dayInfo{"2024-03-28", "made", "made 08:00"}, h.days(at(28, 9, 0))[29])
	require.Equal(t, dayInfo{"2024-03-27", "missed", "was due 02:30"}, h.days(at(28, 9, 0))[28])
}

func TestTheStripIsRightWhereClocksAreChanged(t *testing.T) {
	for _, c := range []struct {
		zone   string
		now    string // local
		at     time.Duration
		absent string // a day that the time zone leaves out
	}{
		{"Europe/Berlin", "2024-04-10T12:00", 150 * time.Minute, ""},       // 02:30 is skipped on 31 March
		{"Europe/Berlin", "2024-11-05T12:00", 150 * time.Minute, ""},       // and repeated on 27 October
		{"America/Santiago", "2024-09-20T12:00", 0, ""},                    // midnight is skipped on 8 September
		{"America/Santiago", "2024-04-20T23:30", 23 * time.Hour, ""},       // 23:00 is repeated on 6 April
		{"Australia/Lord_Howe", "2024-10-20T12:00", 130 * time.Minute, ""}, // half an hour
		{"Asia/Kathmandu", "2024-03-01T00:30", 20 * time.Minute, ""},
		{"Pacific/Apia", "2012-01-10T12:00", 150 * time.Minute, "2011-12-30"},
		{"Pacific/Kiritimati", "1995-01-10T12:00", 150 * time.Minute, "1994-12-31"},
	} {
		t.Run(c.zone+" "+c.now, func(t *testing.T) {
			zone, err := time.LoadLocation(c.zone)
			require.NoError(t, err)
			now, err := time.ParseInLocation("2006-01-02T15:04", c.now, zone)
			require.NoError(t, err)
			daily := schedule.Daily{At: c.at, Location: zone}
			h := history{schedule: daily}
			for slot := daily.Next(now.AddDate(0, 0, -40)); !slot.After(now); slot = daily.Next(slot) {
				h.backups = append(h.backups, scheduled(slot.Add(time.Second), slot))
			}
			seen := make(map[string]bool)
			for _, d := range h.days(now.UTC()) {
				require.Equal(t, "made", d.State, d)
				require.False(t, seen[d.Date])
				require.NotEqual(t, c.absent, d.Date)
				seen[d.Date] = true
			}
			want := stripDays
			if c.absent != "" {
				want--
			}
			require.Len(t, seen, want)

			// Without backups, every day but today is missed.
			h.backups = h.backups[:1]
			for i, d := range h.days(now) {
				if i < len(seen)-1 {
					require.Equal(t, "missed", d.State, d)
				}
			}
		})
	}
}

// threeOnTheClock goes by the zone of the time that it is given, as a cron expression does.
type threeOnTheClock struct{}

func (threeOnTheClock) Next(after time.Time) time.Time {
	y, m, d := after.Date()
	for i := 0; ; i++ {
		if t := time.Date(y, m, d+i, 3, 0, 0, 0, after.Location()); t.After(after) {
			return t
		}
	}
}

func TestTheStripAsksTheScheduleInTheZoneOfTheManager(t *testing.T) {
	zone := time.FixedZone("nine hours ahead", 9*3600)
	at := func(day, hour int) time.Time { return time.Date(2024, 3, day, hour, 0, 0, 0, zone) }
	h := history{schedule: threeOnTheClock{}, zone: zone}
	for day := 20; day <= 29; day++ {
		made := at(day, 3)
		if day == 28 { // late, and so for two days
			made = at(28, 23)
		}
		if day != 29 {
			h.backups = append(h.backups, scheduled(made.UTC(), at(day, 3)))
		}
	}
	days := h.days(at(29, 12).UTC())
	require.Equal(t, "2024-03-29", days[stripDays-1].Date)
	require.Equal(t, "mmmmmmmmmm", strip(days)[20:], days[20:])
	s := settingsOf(&manager.Manager{Schedule: threeOnTheClock{}, TimeZone: zone})
	require.Equal(t, "nine hours ahead", s.Zone)
}
