package manager_test

import (
	"context"
	"errors"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/internal/testtime"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
	"github.com/tomo-project/backup/schedule"
)

// small returns a Manager of a host of one record, and its events.
func small(locations ...location.Location) (*manager.Manager, *eventLog) {
	m, _, events := managed()
	m.Locations = locations
	m.App = &backup.App{Name: "homelab", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{list("users")}}
	m.Source = backuptest.MapStore{"users": {"1": `{"id":1}`}}
	m.Recipients, m.Identities = nil, nil
	return m, events
}

// running runs Run until stop is called, or to the end of the test.
func running(t testing.TB, m *manager.Manager) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- m.Run(ctx) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			require.ErrorIs(t, <-done, context.Canceled)
		}
	}
	return stop
}

// timesAt is times of a shelf whose Location is another's.
func timesAt(s *shelf) []string {
	location := s.Location
	switch l := location.(type) {
	case unlistable:
		location = l.Location
	case forgetful:
		location = l.Location
	}
	return times(&shelf{Location: location})
}

// times returns when scheduled backups were made, oldest first.
func times(s *shelf) []string {
	var at []string
	files, _ := s.Location.List(context.Background())
	for _, f := range files {
		name := f.Name
		if !strings.HasSuffix(name, ".json") {
			continue
		}
		at = append(at, strings.TrimSuffix(strings.TrimPrefix(name, "homelab-backup-"), ".json"))
	}
	slices.Sort(at)
	return at
}

func clock(text string) time.Time {
	t, err := time.Parse(time.DateTime, text)
	if err != nil {
		panic(err)
	}
	return t
}

func until(text string) { time.Sleep(time.Until(clock(text))); synctest.Wait() }

func TestScheduledBackupsAreMadeOnTimeAndPruned(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := newShelf("a"), newShelf("b")
		m, events := small(a, b)
		m.Schedule = schedule.Daily{At: 3 * time.Hour}
		m.Retention = backup.Retention{Last: 3}
		stop := running(t, m)
		defer stop()
		until("2000-01-05 12:00:00")
		want := []string{"2000-01-03T03-00-00", "2000-01-04T03-00-00", "2000-01-05T03-00-00"}
		require.Equal(t, want, times(a))
		require.Equal(t, want, times(b))
		for _, e := range events.of(manager.EventStored) {
			require.Equal(t, "scheduled", e.Manifest.Metadata["trigger"])
		}
		require.Empty(t, events.of(manager.EventFailed))
		require.Empty(t, events.of(manager.EventMissed))
		require.Len(t, events.of(manager.EventDone), 5, "the first one is made at once, and counts for the time that is close")
	})
}

func TestAMachineThatWasOffMakesUpForItOnce(t *testing.T) {
	for name, c := range map[string]struct {
		off, on string
		want    []string
	}{
		"for a while":      {"2000-01-03 12:00:00", "2000-01-03 20:00:00", []string{"2000-01-03T03-00-00", "2000-01-04T03-00-00"}},
		"over one":         {"2000-01-03 12:00:00", "2000-01-04 09:30:00", []string{"2000-01-03T03-00-00", "2000-01-04T09-30-00", "2000-01-05T03-00-00"}},
		"over many":        {"2000-01-03 12:00:00", "2000-01-14 09:30:00", []string{"2000-01-03T03-00-00", "2000-01-14T09-30-00", "2000-01-15T03-00-00"}},
		"close to a slot":  {"2000-01-03 12:00:00", "2000-01-05 01:00:00", []string{"2000-01-03T03-00-00", "2000-01-05T01-00-00", "2000-01-06T03-00-00"}},
		"to the very slot": {"2000-01-03 12:00:00", "2000-01-05 03:00:00", []string{"2000-01-03T03-00-00", "2000-01-05T03-00-00", "2000-01-06T03-00-00"}},
		"for years":        {"2000-01-03 12:00:00", "2009-06-01 09:30:00", []string{"2000-01-03T03-00-00", "2009-06-01T09-30-00", "2009-06-02T03-00-00"}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				a := newShelf("a")
				m, events := small(a)
				m.Schedule = schedule.Daily{At: 3 * time.Hour}
				until("2000-01-02 12:00:00")
				stop := running(t, m)
				until(c.off)
				stop()
				require.Equal(t, "2000-01-03T03-00-00", times(a)[len(times(a))-1])
				until(c.on)
				stop = running(t, m)
				defer stop()
				time.Sleep(27*time.Hour + time.Minute)
				synctest.Wait()
				got := times(a)[slices.Index(times(a), "2000-01-03T03-00-00"):]
				require.Equal(t, c.want, got[:len(c.want)])
				missed := events.of(manager.EventMissed)
				if name == "for a while" {
					require.Empty(t, missed)
					return
				}
				require.Len(t, missed, 1)
				require.Equal(t, clock("2000-01-04 03:00:00").UTC().Format(time.RFC3339), missed[0].Text)
			})
		})
	}
}

func TestNextTellsWhenTheNextBackupIsDue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := newShelf("a"), newShelf("b")
		m, _ := small(a, b)
		next := func() string {
			at, err := m.Next(t.Context())
			require.NoError(t, err)
			return at.UTC().Format(time.DateTime)
		}
		require.Equal(t, "0001-01-01 00:00:00", next(), "no schedule")
		m.Schedule = schedule.Daily{At: 3 * time.Hour}
		until("2000-01-01 12:00:00")
		require.Equal(t, "2000-01-01 12:00:00", next(), "without any backup it is due")
		stop := running(t, m)
		defer stop()
		synctest.Wait()
		require.Equal(t, "2000-01-02 03:00:00", next())
		b.set(errDown, nil)
		at, err := m.Next(t.Context())
		require.ErrorIs(t, err, errDown)
		require.Equal(t, clock("2000-01-02 03:00:00"), at)
		m.Schedule = never{}
		b.set(nil, nil)
		require.Equal(t, "0001-01-01 00:00:00", next())
	})
}

type never struct{}

func (never) Next(time.Time) time.Time { return time.Time{} }

func TestAScheduleThatNeverComesDoesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newShelf("a")
		m, events := small(a)
		m.Schedule = never{}
		stop := running(t, m)
		defer stop()
		until("2000-02-01 00:00:00")
		require.Len(t, times(a), 1, "but for the first one")
		require.Less(t, len(events.list), 10)
	})
}

func TestNoScheduleAndNoLocationMakesBackupsWithoutAPause(t *testing.T) {
	for name, c := range map[string]struct {
		schedule schedule.Schedule
		shelf    func(*shelf)
		most     int
	}{
		"a list that fails": {schedule.Daily{}, func(s *shelf) { s.Location = unlistable{s.Location} }, 0},
		"a list that lags":  {schedule.Daily{}, func(s *shelf) { s.Location = forgetful{s.Location} }, 40},
		"fractions":         {schedule.Daily{At: 3*time.Hour + time.Second/2}, func(*shelf) {}, 1},
		"standing still":    {still{}, func(*shelf) {}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				a := newShelf("a")
				c.shelf(a)
				m, _ := small(lockable{a})
				m.Schedule = c.schedule
				until("2000-01-01 12:00:00")
				stop := running(t, m)
				defer stop()
				until("2000-01-02 02:00:00")
				require.LessOrEqual(t, len(timesAt(a)), c.most)
				if name == "fractions" {
					until("2000-01-02 12:00:00")
					require.Len(t, timesAt(a), 2)
				}
			})
		})
	}
}

func TestClocksThatDisagreeMakeNoSecondBackup(t *testing.T) {
	for name, stamp := range map[string]string{"set back": "2000-01-02 02:59:58", "ahead": "2000-01-02 03:00:07"} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				a := newShelf("a")
				m, _ := small(a)
				until("2000-01-01 12:00:00")
				_, err := m.Create(t.Context(), backup.BackupOptions{CreatedAt: clock(stamp), Metadata: map[string]string{"trigger": "scheduled", "scheduled_for": "2000-01-02T03:00:00Z"}})
				require.NoError(t, err)
				until("2000-01-02 03:00:00")
				m.Schedule = schedule.Daily{At: 3 * time.Hour}
				stop := running(t, m)
				defer stop()
				until("2000-01-03 12:00:00")
				require.Len(t, times(a), 2)
				require.Equal(t, "2000-01-03T03-00-00", times(a)[1])
			})
		})
	}
}

func TestRunLooksAgainWhenTheBackupsAreGone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newShelf("a")
		m, _ := small(a)
		m.Schedule = schedule.Monthly{}
		stop := running(t, m)
		defer stop()
		until("2000-01-02 00:00:00")
		for _, name := range a.all(t) {
			require.NoError(t, a.Location.Delete(t.Context(), name))
		}
		until("2000-01-03 12:00:00")
		require.Len(t, times(a), 1)
	})
}

// still is a schedule that breaks the rule.
type still struct{}

func (still) Next(time.Time) time.Time { return clock("2000-01-01 00:00:00") }

type unlistable struct{ location.Location }

func (unlistable) List(context.Context) ([]location.File, error) { return nil, errDown }

// A forgetful location shows nothing of what it has.
type forgetful struct{ location.Location }

func (forgetful) List(context.Context) ([]location.File, error) { return nil, nil }

// lockable holds nobody up, so that a list is not needed for that.
type lockable struct{ *shelf }

func (lockable) Lock(context.Context, string, string) (func() error, error) {
	return func() error { return nil }, nil
}

func TestAnIrregularScheduleIsKeptTo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newShelf("a")
		m, _ := small(a)
		m.Schedule = twice{schedule.Daily{At: 3 * time.Hour}, schedule.Daily{At: 4 * time.Hour}}
		until("2000-01-01 12:00:00")
		stop := running(t, m)
		defer stop()
		until("2000-01-03 12:00:00")
		require.Equal(t, []string{"2000-01-01T12-00-00", "2000-01-02T03-00-00", "2000-01-02T04-00-00", "2000-01-03T03-00-00", "2000-01-03T04-00-00"}, times(a))
	})
}

// twice is what a cron library may have.
type twice [2]schedule.Schedule

func (s twice) Next(after time.Time) time.Time {
	a, b := s[0].Next(after), s[1].Next(after)
	if a.Before(b) {
		return a
	}
	return b
}

func TestAFailedRunIsTriedAgainWithGrowingPausesAndNeverStops(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newShelf("a")
		m, events := small(a)
		m.Schedule = schedule.Daily{At: 3 * time.Hour}
		m.Retention = backup.Retention{Last: 1}
		host := m.Source
		source := &failingSource{DataSource: host}
		m.Source = source
		stop := running(t, m)
		defer stop()
		until("2000-01-01 12:00:00")
		source.down.Store(true)
		until("2000-01-03 02:59:00")
		failures := events.of(manager.EventFailed)
		require.ErrorIs(t, failures[0].Err, errDown)
		require.Equal(t, "2000-01-02T03:00:00Z", failures[0].Time.UTC().Format(time.RFC3339))
		var pauses []time.Duration
		for i := 1; i < len(failures); i++ {
			pauses = append(pauses, failures[i].Time.Sub(failures[i-1].Time))
		}
		want := time.Minute
		for _, p := range pauses {
			require.GreaterOrEqual(t, p, want)
			require.LessOrEqual(t, p, want+want/4)
			want = min(2*want, time.Hour)
		}
		require.Greater(t, len(pauses), 20)
		require.Len(t, times(a), 1, "nothing is pruned after a failure")

		source.down.Store(false)
		until("2000-01-04 12:00:00")
		require.Equal(t, []string{"2000-01-04T03-00-00"}, times(a))
		require.Len(t, events.of(manager.EventFailed), len(failures))
	})
}

type failingSource struct {
	backup.DataSource
	down atomic.Bool
}

func (s *failingSource) View(ctx context.Context, read func(backup.Reader) error) error {
	if s.down.Load() {
		return errDown
	}
	return s.DataSource.View(ctx, read)
}

func TestTooFewCopiesAreFilledInByALaterTryAndNotMadeAnew(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := newShelf("a"), newShelf("b")
		m, events := small(a, b)
		m.Schedule = schedule.Daily{At: 3 * time.Hour}
		m.MinCopies = 2
		b.set(errDown, nil)
		stop := running(t, m)
		defer stop()
		until("2000-01-01 02:00:00")
		require.Len(t, times(a), 1, "one backup, however often it is tried again")
		require.NotEmpty(t, events.of(manager.EventFailed))
		until("2000-01-02 20:00:00")
		require.Len(t, times(a), 2, "the next one has its own time")
		b.set(nil, nil)
		until("2000-01-02 22:00:00")
		require.Len(t, times(a), 2)
		require.Equal(t, times(a), times(b), "what is missing is copied there")
		failures := len(events.of(manager.EventFailed))
		until("2000-01-03 12:00:00")
		require.Len(t, times(b), 3)
		require.Len(t, events.of(manager.EventFailed), failures)
	})
}

func TestReplicasMakeOneScheduledBackupATime(t *testing.T) {
	for name, jitter := range map[string]time.Duration{"at once": 0, "with jitter": 20 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				a, b := newShelf("a"), newShelf("b")
				var stops []func()
				var failures []*eventLog
				for range 3 {
					m, events := small(a, b)
					m.Schedule = schedule.Daily{At: 3 * time.Hour}
					m.Jitter = jitter
					stops = append(stops, running(t, m))
					failures = append(failures, events)
				}
				until("2000-02-01 12:00:00")
				for _, stop := range stops {
					stop()
				}
				days := map[string]int{}
				for _, at := range times(a) {
					days[at[:10]]++
				}
				require.Len(t, days, 32)
				late := 0
				for _, at := range times(a)[1:] {
					made, err := time.Parse("2006-01-02T15-04-05", at)
					require.NoError(t, err)
					after := made.Sub(made.Truncate(24 * time.Hour).Add(3 * time.Hour))
					require.GreaterOrEqual(t, after, time.Duration(0))
					require.LessOrEqual(t, after, jitter+2*time.Minute)
					if after > time.Minute {
						late++
					}
				}
				require.Equal(t, jitter > 0, late > 10, "%d late", late)
				for day, n := range days {
					require.Equal(t, 1, n, day)
				}
				for _, events := range failures {
					require.Empty(t, events.of(manager.EventFailed))
					require.Empty(t, events.of(manager.EventMissed))
				}
			})
		})
	}
}

func TestALocationThatIsDownDoesNotKeepTheLoopBusy(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := newShelf("a"), newShelf("b")
		m, events := small(a, b)
		m.Schedule = schedule.Daily{At: 3 * time.Hour}
		b.set(errDown, nil)
		stop := running(t, m)
		until("2000-01-03 12:00:00")
		stop()
		require.Len(t, times(a), 3)
		require.Less(t, len(events.list), 40)
	})
}

func TestDrillsRunWithTheFirstBackupAfterTheirTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newShelf("a")
		m, events := small(a)
		m.Schedule = schedule.Daily{At: 3 * time.Hour}
		m.Drills.Schedule = schedule.Weekly{Day: time.Sunday, At: 12 * time.Hour}
		m.Retention = backup.Retention{Last: 1}
		m.Drills.Scratch = func(context.Context) (backup.Store, func() error, error) {
			return backuptest.MapStore{"users": {}}, nil, nil
		}
		var fails atomic.Bool
		m.Drills.Check = func(context.Context, backup.DataSource) error {
			if fails.Load() {
				return errors.New("nobody could log in")
			}
			return nil
		}
		stop := running(t, m)
		defer stop()
		until("2000-01-20 12:00:00")
		var drilled []string
		for _, e := range events.of(manager.EventDrill) {
			drilled = append(drilled, e.Backup)
		}
		require.Equal(t, []string{
			"homelab-backup-2000-01-01T00-00-00.json", // the very first
			"homelab-backup-2000-01-03T03-00-00.json", // Monday
			"homelab-backup-2000-01-10T03-00-00.json",
			"homelab-backup-2000-01-17T03-00-00.json",
		}, drilled)
		require.Empty(t, events.of(manager.EventFailed))

		fails.Store(true)
		until("2000-01-26 12:00:00")
		require.Len(t, events.of(manager.EventFailed), 3, "each is tried until one passes")
		require.ErrorContains(t, events.of(manager.EventFailed)[0].Err, "nobody could log in")
		require.Len(t, times(a), 4, "nothing is pruned while the newest do not restore")
		fails.Store(false)
		until("2000-01-28 12:00:00")
		require.Len(t, events.of(manager.EventFailed), 3)
		require.Len(t, times(a), 1)
		require.Equal(t, []string{"homelab-backup-2000-01-27T03-00-00.json.drilled", "homelab-backup-2000-01-28T03-00-00.json"}, a.all(t))
	})
}

// A hundred years of Run in zones whose clocks are changed in all the ways that
// there are: one backup for each time of the schedule, at that time, and none
// else, over restarts and days off.
func TestAHundredYearsOfBackups(t *testing.T) {
	before := debug.SetGCPercent(400) // little lives long here
	t.Cleanup(func() { debug.SetGCPercent(before) })
	years := testtime.Pick(t, 4, 100)
	for _, c := range []struct {
		zone     string
		schedule func(loc *time.Location) schedule.Schedule
	}{
		{"Europe/Berlin", func(l *time.Location) schedule.Schedule {
			return schedule.Daily{At: 2*time.Hour + 30*time.Minute, Location: l}
		}},
		{"America/New_York", func(l *time.Location) schedule.Schedule { return schedule.Daily{At: 90 * time.Minute, Location: l} }},
		{"Australia/Lord_Howe", func(l *time.Location) schedule.Schedule {
			return schedule.Daily{At: 2*time.Hour + 15*time.Minute, Location: l}
		}},
		{"Africa/Casablanca", func(l *time.Location) schedule.Schedule {
			return schedule.Daily{At: 2*time.Hour + 59*time.Minute, Location: l}
		}},
		{"Pacific/Apia", func(l *time.Location) schedule.Schedule { return schedule.Daily{At: 0, Location: l} }},
	} {
		t.Run(c.zone, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T) { inTheLongRun(t, c.schedule(zone(t, c.zone)), years) })
		})
	}
}

func inTheLongRun(t *testing.T, schedule schedule.Schedule, years int) {
	a := newShelf("a")
	m, events := small(a)
	m.Schedule = schedule
	m.Retention = backup.Retention{Last: 3}
	var mu sync.Mutex
	var made []time.Time
	stored := func() []time.Time {
		mu.Lock()
		defer mu.Unlock()
		return made
	}
	m.OnEvent = func(e manager.Event) {
		switch e.Kind {
		case manager.EventStored:
			mu.Lock()
			made = append(made, e.Manifest.CreatedAt)
			mu.Unlock()
		case manager.EventMissed, manager.EventFailed:
			events.add(e)
		}
	}
	start := time.Now()
	end := start.AddDate(years, 0, 0)
	// after returns what follows a backup that was not made at its time.
	after := func(late time.Time) time.Time {
		next := schedule.Next(late)
		if next.Sub(late) < next.Sub(lastBefore(schedule, late))/4 {
			next = schedule.Next(next)
		}
		return next
	}
	stop := running(t, m)
	synctest.Wait()
	require.Len(t, stored(), 1, "the first one is made at once")
	slot := after(start)
	checked := 1
	for year := 0; time.Now().Before(end); year++ {
		time.Sleep(time.Until(start.AddDate(year+1, 0, 0)))
		synctest.Wait()
		for made := stored(); checked < len(made); checked++ {
			require.Equal(t, slot.Unix(), made[checked].Unix(), "made at %v, due at %v", made[checked], slot)
			slot = schedule.Next(slot)
		}
		require.True(t, slot.After(time.Now()), "nothing was made for %v", slot)
		// A machine that is off and on again makes up for it once, in between.
		stop()
		if year%10 == 9 {
			time.Sleep(72*time.Hour + 7*time.Minute)
			late := time.Now()
			stop = running(t, m)
			synctest.Wait()
			require.Len(t, stored(), checked+1, "%v", late)
			require.Equal(t, late.Unix(), stored()[checked].Unix())
			checked++
			require.Len(t, events.of(manager.EventMissed), (year+1)/10)
			slot = after(late)
			continue
		}
		stop = running(t, m)
	}
	stop()
	require.Greater(t, checked, 364*years)
	require.Empty(t, events.of(manager.EventFailed))
	require.Len(t, a.files(), 3)
}

// lastBefore returns the last time of a daily schedule before t.
func lastBefore(s schedule.Schedule, t time.Time) time.Time {
	last := s.Next(t.Add(-72 * time.Hour))
	for next := s.Next(last); next.Before(t); next = s.Next(next) {
		last = next
	}
	return last
}
