package backuphttp

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
	"github.com/tomo-project/backup/schedule"
)

// A keeper is the Automation of a test host.
type keeper struct {
	h    *host
	made manager.Manager // its Managers are copies of this one

	mu    sync.Mutex
	s     Settings
	saved int
	err   error         // of Save
	slow  time.Duration // of Manager
}

func (k *keeper) Settings(context.Context) (Settings, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.s, nil
}

func (k *keeper) set(s Settings, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.s, k.err = s, err
}

func (k *keeper) Save(_ context.Context, s Settings) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err != nil {
		return k.err
	}
	k.s = s
	k.saved++
	return nil
}

func (k *keeper) Manager(_ context.Context, s Settings) (*manager.Manager, error) {
	time.Sleep(k.slow)
	m := &manager.Manager{
		App: k.made.App, Source: k.made.Source, Sink: k.made.Sink, Locations: k.made.Locations, Recipients: k.made.Recipients,
		Identities: k.made.Identities, Logger: k.made.Logger, AfterRestore: k.made.AfterRestore, OnEvent: k.made.OnEvent,
	}
	for _, l := range s.Locations {
		if !filepath.IsAbs(l) {
			return nil, errors.New(l + " is not the absolute path of a folder")
		}
		m.Locations = append(m.Locations, location.Dir(l))
	}
	return m, nil
}

// withSettings gives a host an Automation instead of its Manager.
func withSettings(s Settings, change func(h *host, m *manager.Manager)) (*keeper, func(h *host, m *manager.Manager, o *Options)) {
	k := &keeper{s: s}
	return k, func(h *host, m *manager.Manager, o *Options) {
		if change != nil {
			change(h, m)
		}
		k.h = h
		k.made.App, k.made.Source, k.made.Sink, k.made.Locations, k.made.Recipients = m.App, m.Source, m.Sink, m.Locations, m.Recipients
		k.made.Identities, k.made.Logger, k.made.AfterRestore, k.made.OnEvent = m.Identities, m.Logger, m.AfterRestore, m.OnEvent
		o.Manager, o.Automation = nil, k
	}
}

// form returns Settings as a program sends them.
func form(change func(s *Settings)) Settings {
	s := Settings{Enabled: true, Schedule: "daily", Time: "02:30", Zone: "UTC", Locations: []string{}}
	if change != nil {
		change(&s)
	}
	return s
}

func TestSettingsTakeEffectWithoutARestart(t *testing.T) {
	k, change := withSettings(Settings{}, nil)
	h := newHost(t, change)
	o := h.seen()
	require.True(t, o.Automated.Editable)
	require.Nil(t, o.Automated.Next)
	require.Len(t, o.Automated.Days, 30)
	folder := t.TempDir()

	want := form(func(s *Settings) { s.KeepLast = 3; s.Locations = []string{folder} })
	var got Settings
	h.do(200, "PUT", "settings", want).into(t, &got)
	require.Equal(t, want, got)
	require.Equal(t, want, k.s)
	for o = h.seen(); o.Automated.LastRun == nil; o = h.seen() { // the first backup is made at once
		time.Sleep(time.Millisecond)
	}
	require.Empty(t, o.Automated.LastRun.Error)
	require.Equal(t, "scheduled", o.Automated.LastRun.Made.Trigger)
	require.Equal(t, o.Backups[0].Name, o.Automated.LastRun.Made.Name)
	require.Len(t, o.Backups[0].Copies, 2)
	require.Equal(t, []string{string(h.dir), folder}, o.Automated.Locations)
	require.Equal(t, "made", o.Automated.Days[29].State)
	require.True(t, o.Automated.Next.After(time.Now()))
	require.Equal(t, backup.Retention{Last: 3, Location: time.UTC}, h.now().Retention)

	h.do(200, "PUT", "settings", form(func(s *Settings) { s.Enabled = false }))
	require.Nil(t, h.seen().Automated.Next)
	require.Nil(t, h.now().Schedule)
	h.made()
}

func TestSettingsThatCannotWorkAreNotSaved(t *testing.T) {
	k, change := withSettings(Settings{}, nil)
	h := newHost(t, change)
	for want, wrong := range map[string]func(s *Settings){
		"hourly":               func(s *Settings) { s.Schedule = "hourly" },
		"no schedule":          func(s *Settings) { s.Schedule = "" },
		"day of the week":      func(s *Settings) { s.Schedule = "weekly"; s.Weekday = "someday" },
		"time of day":          func(s *Settings) { s.Time = "25:00" },
		"such as 02:30":        func(s *Settings) { s.Time = "2:30" },
		"time zone":            func(s *Settings) { s.Zone = "Europe/Atlantis" },
		"../../etc/passwd":     func(s *Settings) { s.Zone = "../../etc/passwd" },
		"-1 backups":           func(s *Settings) { s.KeepLast = -1 },
		"-2 days":              func(s *Settings) { s.KeepDays = -2 },
		"at most 20":           func(s *Settings) { s.Locations = make([]string, 21) },
		"location 1 is empty":  func(s *Settings) { s.Locations = []string{" "} },
		"control characters":   func(s *Settings) { s.Locations = []string{"/a\n/b"} },
		"is there twice":       func(s *Settings) { s.Locations = []string{"/a", "/b", "/a"} },
		"the absolute path":    func(s *Settings) { s.Locations = []string{"usb"} },
		"two Locations are ca": func(s *Settings) { s.Locations = []string{string(h.dir)} },
	} {
		got := h.do(422, "PUT", "settings", form(wrong))
		require.Equal(t, "invalid", got.code(t))
		require.Contains(t, got.text, want)
		h.do(422, "POST", "settings/preview", form(wrong))
	}
	require.Zero(t, k.saved)
	require.Nil(t, h.now().Schedule)

	k.set(Settings{}, errors.New("database /var/lib/x.db is locked"))
	got := h.do(500, "PUT", "settings", form(nil))
	require.NotContains(t, got.text, "x.db")
	require.Contains(t, h.log.String(), "x.db")
	require.Nil(t, h.now().Schedule, "the former settings stay in effect")
}

func TestSettingsOfTheHostAreShownAndNotChanged(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	for _, c := range []struct {
		schedule schedule.Schedule
		want     Settings
	}{
		{nil, Settings{}},
		{schedule.Daily{At: 150 * time.Minute, Location: berlin}, Settings{Enabled: true, Schedule: "daily", Time: "02:30", Zone: "Europe/Berlin"}},
		{schedule.Weekly{Day: time.Friday}, Settings{Enabled: true, Schedule: "weekly", Weekday: "friday", Time: "00:00", Zone: "UTC"}},
		{schedule.Monthly{Location: time.Local}, Settings{Enabled: true, Schedule: "monthly", Time: "00:00"}},
		{schedule.Hourly{Minute: 7}, Settings{Enabled: true, Schedule: "hourly", Time: "00:07", Zone: "UTC"}},
		{never{}, Settings{Enabled: true, Schedule: "other"}},
	} {
		c.want.KeepLast, c.want.KeepDays, c.want.Locations = 7, 30, []string{"/x"}
		require.Equal(t, c.want, settingsOf(&manager.Manager{
			Schedule: c.schedule, Retention: backup.Retention{Last: 7, Within: 30 * 24 * time.Hour}, Locations: []location.Location{location.Dir("/x")},
		}))
	}
	h := newHost(t, nil)
	require.False(t, h.seen().Automated.Editable)
	require.Equal(t, "fixed", h.do(422, "PUT", "settings", form(nil)).code(t))
	var tried struct {
		Locations []struct{ Location, Error string }
	}
	h.do(200, "POST", "settings/probe", form(nil)).into(t, &tried)
	require.Len(t, tried.Locations, 1)
	require.Empty(t, tried.Locations[0].Error)
}

type never struct{}

func (never) Next(time.Time) time.Time { return time.Time{} }

func TestWhatIsAppliedIsWhatIsSet(t *testing.T) {
	for _, s := range []Settings{
		form(nil),
		form(func(s *Settings) { s.Schedule, s.Weekday = "weekly", "sunday" }),
		form(func(s *Settings) { s.Schedule, s.KeepDays, s.Zone = "monthly", 90, "America/New_York" }),
		form(func(s *Settings) { s.Zone = "" }),
	} {
		m := &manager.Manager{}
		require.NoError(t, s.Apply(m))
		require.Equal(t, s, settingsOf(m))
	}
	require.Error(t, form(func(s *Settings) { s.KeepLast = -1 }).Apply(&manager.Manager{}))
}

func TestALocationThatDoesNotWorkIsSavedOnPurposeOnly(t *testing.T) {
	k, change := withSettings(Settings{}, nil) // so that no scheduled backup is made meanwhile
	h := newHost(t, change)
	file := t.TempDir() + "/file"
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	bad := form(func(s *Settings) { s.Enabled, s.Locations = false, []string{file} })
	got := h.do(422, "PUT", "settings", bad)
	require.Equal(t, "location", got.code(t))
	require.Contains(t, got.text, file)
	require.Zero(t, k.saved)
	h.do(200, "PUT", "settings?force=1", bad)
	require.Equal(t, 1, k.saved)
	bad.KeepLast++
	h.do(200, "PUT", "settings", bad)
	require.Equal(t, 2, k.saved, "the locations have not changed")
}

func TestLocationsAreTriedBeforeTheyAreSaved(t *testing.T) {
	k, change := withSettings(Settings{}, nil)
	h := newHost(t, change)
	var tried struct {
		Locations []struct{ Location, Error string }
	}
	missing := filepath.Join(t.TempDir(), "usb")
	// The other settings need not be right yet.
	h.do(200, "POST", "settings/probe", form(func(s *Settings) { s.Time = "soon"; s.Locations = []string{missing} })).into(t, &tried)
	require.Empty(t, tried.Locations[0].Error)
	require.Equal(t, missing, tried.Locations[1].Location)
	require.Contains(t, tried.Locations[1].Error, missing)
	require.Zero(t, k.saved)
	require.Empty(t, backupsIn(t, h))
	h.do(422, "POST", "settings/probe", form(func(s *Settings) { s.Locations = []string{"usb"} }))
}

func TestWhatRetentionWouldDeleteIsShownBefore(t *testing.T) {
	_, change := withSettings(Settings{}, nil)
	h := newHost(t, change)
	for day := range 4 {
		_, err := h.now().Create(t.Context(), backup.BackupOptions{CreatedAt: time.Date(2024, 1, 15+day, 2, 30, 0, 0, time.UTC), Metadata: map[string]string{"trigger": "scheduled"}})
		require.NoError(t, err)
	}
	var preview struct {
		Pruned []struct {
			Decisions []struct {
				Name    string
				Keep    bool
				Reasons []string
			}
		}
		Problem string
	}
	h.do(200, "POST", "settings/preview", form(func(s *Settings) { s.KeepLast = 2 })).into(t, &preview)
	require.Empty(t, preview.Problem)
	decisions := preview.Pruned[0].Decisions
	require.Len(t, decisions, 4)
	require.True(t, decisions[1].Keep)
	require.False(t, decisions[2].Keep)
	require.Equal(t, []string{"not among the last 2"}, decisions[2].Reasons)
	require.Len(t, h.seen().Backups, 4)

	h.store["servers"], h.store["stack_services"] = map[string]string{}, map[string]string{}
	h.made()
	h.do(200, "POST", "settings/preview", form(func(s *Settings) { s.KeepLast = 2 })).into(t, &preview)
	require.Contains(t, preview.Problem, "shrunk")
}

func TestSettingsDoNotChangeInTheMiddleOfABackup(t *testing.T) {
	var g *gate
	k, change := withSettings(form(nil), func(h *host, m *manager.Manager) { g = slowSource(h, m) })
	h := newHost(t, change)
	<-g.reached // the first scheduled backup is made at once
	o := h.seen()
	require.Equal(t, "scheduled", o.Job.Kind)
	require.Equal(t, "due", o.Automated.Days[29].State)
	require.Equal(t, "busy", h.do(409, "PUT", "settings", form(func(s *Settings) { s.KeepLast = 1 })).code(t))
	require.Equal(t, "busy", h.do(409, "POST", "backups", obj{}).code(t))
	require.Zero(t, k.saved)
	g.open()
	j := h.wait(o.Job.ID)
	require.Empty(t, j.Error)
	require.Equal(t, "scheduled", j.Made.Trigger)
	h.do(200, "PUT", "settings", form(func(s *Settings) { s.KeepLast = 1 }))
	require.Len(t, h.seen().Backups, 1)
}

func TestABackupThatBeginsWhileSettingsAreTriedIsNotStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, change := withSettings(form(nil), func(h *host, m *manager.Manager) {
			m.Source = &backuptest.Faulty{Source: h.store, On: backuptest.CallRecords, Nth: 8, Do: func() { time.Sleep(time.Hour) }} // of the second backup
		})
		h := makeHost(t, change)
		seen := h.states(t)
		time.Sleep(26 * time.Hour) // it is 02:00
		k.mu.Lock()
		k.slow = time.Hour
		k.mu.Unlock()
		require.ErrorIs(t, h.save(t.Context(), form(func(s *Settings) { s.KeepLast = 5 }), false), location.ErrBusy)
		require.Zero(t, k.saved)
		time.Sleep(time.Hour)
		require.Empty(t, seen().Automated.LastRun.Error)
		require.Len(t, seen().Backups, 2)
		h.stop()
	})
}

func TestARestoreMayBringOtherSettings(t *testing.T) {
	var k *keeper
	k, change := withSettings(Settings{}, func(h *host, m *manager.Manager) {
		m.AfterRestore = func(context.Context, backup.Report) error {
			k.set(Settings{KeepLast: 9}, nil)
			return nil
		}
	})
	h := newHost(t, change)
	name := h.made()
	h.store["settings"] = map[string]string{}
	plan := func(collection string) string {
		at := "restores/" + h.do(201, "POST", "restores", obj{"backup": name}).restored(t).ID
		h.do(200, "POST", at+"/plan", obj{"full": false, "only": []string{collection}})
		return at
	}
	first, other := plan("settings"), plan("servers")
	require.Empty(t, h.began(first+"/apply", h.agreed(first, obj{})).Error)
	var s Settings
	h.get("settings").into(t, &s)
	require.Equal(t, 9, s.KeepLast)
	require.Equal(t, 9, h.now().Retention.Last)

	// A plan that the former Manager has made is stale.
	require.Equal(t, "stale", h.do(409, "POST", other+"/apply", h.agreed(other, obj{})).code(t))
	h.do(200, "POST", other+"/plan", obj{"full": false, "only": []string{"servers"}})
	require.Empty(t, h.began(other+"/apply", h.agreed(other, obj{})).Error)
}

// states runs a host in the fake time of the test, and returns a function for the overview.
func (h *host) states(t *testing.T) func() overview {
	h.run()
	return func() overview {
		o, err := h.overview(t.Context())
		require.NoError(t, err)
		return o
	}
}

// A fullDisk is a location that stores nothing at times.
type fullDisk struct {
	location.Dir
	full *atomic.Bool
}

func (d fullDisk) Put(ctx context.Context, name string, r io.Reader) error {
	if d.full.Load() {
		return syscall.ENOSPC
	}
	return d.Dir.Put(ctx, name, r)
}

func TestTheScheduleRunsAndShowsHowItWent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // from midnight of 1 January 2000
		var down atomic.Bool
		_, change := withSettings(form(nil), func(h *host, m *manager.Manager) {
			m.Locations = []location.Location{fullDisk{h.dir, &down}}
		})
		h := makeHost(t, change)
		seen := h.states(t)
		synctest.Wait()
		time.Sleep(time.Second)
		o := seen()
		require.Len(t, o.Backups, 1, "the first backup is made at once")
		require.Equal(t, "made", o.Automated.Days[29].State)
		require.Equal(t, "none", o.Automated.Days[28].State)
		require.Equal(t, time.Date(2000, 1, 2, 2, 30, 0, 0, time.UTC), o.Automated.Next.UTC(), "the first backup counts for half past two as well")

		time.Sleep(27 * time.Hour)
		require.Len(t, seen().Backups, 2)

		// A day on which no location stores the backup.
		down.Store(true)
		time.Sleep(25 * time.Hour)
		o = seen()
		require.Equal(t, "failed", o.Automated.Days[29].State, o.Automated.Days)
		require.Contains(t, o.Automated.Days[29].Detail, "no space")
		require.Contains(t, o.Automated.LastRun.Error, "no space")
		require.True(t, o.Automated.Late)

		down.Store(false)
		time.Sleep(2 * time.Hour)
		o = seen()
		require.Equal(t, "made", o.Automated.Days[29].State)
		require.Empty(t, o.Automated.LastRun.Error)
		h.stop()
	})
}

func TestABackupThatCouldNotPruneIsMadeAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, change := withSettings(form(func(s *Settings) { s.KeepLast = 1 }), nil)
		h := makeHost(t, change)
		seen := h.states(t)
		time.Sleep(24 * time.Hour)
		h.store["servers"], h.store["stack_services"] = map[string]string{}, map[string]string{}
		time.Sleep(24 * time.Hour)
		o := seen()
		require.NotNil(t, o.Automated.LastRun.Made)
		require.Equal(t, "shrunk", o.Automated.LastRun.Code)
		require.Equal(t, "made", o.Automated.Days[28].State)
		require.Equal(t, []manager.Copy{{Location: string(h.dir)}}, o.Automated.LastRun.Made.Copies)
		require.Nil(t, o.Job)
		h.stop()
		require.Empty(t, h.failures)
	})
}

func TestAScheduleThatCannotRunSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := makeHost(t, func(h *host, m *manager.Manager, o *Options) {
			m.Schedule, m.Drills.Schedule = schedule.Daily{}, schedule.Daily{}
		})
		seen := h.states(t)
		synctest.Wait()
		require.Contains(t, seen().Automated.LastRun.Error, "Scratch")
		h.stop()
	})
}

func TestTheHostIsToldOfEventsTooAndStopsDuringTheSchedule(t *testing.T) {
	var g *gate
	told := make(chan manager.Event, 100)
	_, change := withSettings(form(nil), func(h *host, m *manager.Manager) {
		g = slowSource(h, m)
		m.OnEvent = func(e manager.Event) { told <- e }
	})
	h := newHost(t, change)
	<-g.reached
	require.Equal(t, manager.EventStarted, (<-told).Kind)
	go func() {
		for !h.ending() {
			time.Sleep(time.Millisecond)
		}
		g.open()
	}()
	h.stop()
	o := h.seen()
	require.Equal(t, "stopped", o.Automated.LastRun.Code)
	require.Empty(t, o.Backups)
	require.True(t, strings.HasPrefix(o.Automated.Days[29].Detail, "due") || o.Automated.Days[29].State == "none")
	require.Empty(t, h.failures)
}

func TestRunTakesSettingsThatWereSavedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, change := withSettings(Settings{}, nil)
		h := makeHost(t, change)
		h.run()
		h.stop()
		k.set(form(func(s *Settings) { s.KeepLast = 2 }), nil)
		seen := h.states(t)
		synctest.Wait()
		time.Sleep(time.Second)
		require.Len(t, seen().Backups, 1)
		require.Equal(t, 2, h.now().Retention.Last)
		h.stop()
		k.set(Settings{KeepLast: -1}, nil)
		seen = h.states(t)
		require.Equal(t, 2, h.now().Retention.Last, "the former settings stay in effect")
		require.Contains(t, h.log.String(), "read the settings again")
		time.Sleep(48 * time.Hour)
		require.Len(t, seen().Backups, 2)
		h.stop()
	})
}

func TestALocationThatIsDownIsNamed(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "usb")
	h := newHost(t, func(h *host, m *manager.Manager, o *Options) {
		m.Locations = append(m.Locations, location.Dir(missing))
	})
	h.made()
	o := h.seen()
	require.Len(t, o.Unreachable, 1)
	require.True(t, strings.HasPrefix(o.Unreachable[0], missing+": "), o.Unreachable[0])
	require.Len(t, o.Backups, 1)
	h.do(404, "GET", "backups/homelab-backup-2024-01-15T10-30-00.json/file", nil)
}

func TestWhatTakesAKeyIsKnownByItsName(t *testing.T) {
	key := newKey(t)
	passphrase := backup.Passphrase([]byte("x"))
	of := func(m backup.Manifest) manager.Backup { return manager.Backup{Name: "b.json.age", Manifest: &m} }
	sealed := backup.Manifest{Sealed: true, Keys: key.Recipient.KeyIDs()}
	withPassphrase := backup.Manifest{Sealed: true, Keys: []string{"passphrase"}}
	for _, c := range []struct {
		identities []backup.Identity
		b          manager.Backup
		want       bool
	}{
		{nil, of(backup.Manifest{}), true},
		{nil, of(sealed), false},
		{[]backup.Identity{key.Identity}, of(sealed), true},
		{[]backup.Identity{newKey(t).Identity, passphrase}, of(sealed), false},
		{[]backup.Identity{passphrase}, of(withPassphrase), true},
		{[]backup.Identity{passphrase}, of(backup.Manifest{Encrypted: true, Keys: []string{"passphrase"}}), false},
		{[]backup.Identity{struct{ backup.Identity }{key.Identity}}, of(sealed), true},
		{[]backup.Identity{key.Identity}, manager.Backup{Name: "b.json.age"}, false},
		{nil, manager.Backup{Name: "b.json.age", Damaged: true}, true},
	} {
		require.Equal(t, c.want, opens(c.identities, c.b), c)
	}
}

// A restore that brings other folders does not take away the folder that has the way back.
func TestTheWayBackIsFoundAfterARestoreThatBroughtOtherFolders(t *testing.T) {
	here, there := t.TempDir(), filepath.Join(t.TempDir(), "missing drive")
	var k *keeper
	k, change := withSettings(Settings{Schedule: "daily", Locations: []string{here}}, func(h *host, m *manager.Manager) {
		m.AfterRestore = func(context.Context, backup.Report) error {
			k.set(Settings{Schedule: "daily", Locations: []string{there}}, nil)
			return nil
		}
	})
	h := newHost(t, change)
	name := h.made()
	h.store["servers"]["b2"] = `{"id":"b2","name":"other"}`
	at := "restores/" + h.do(201, "POST", "restores", obj{"backup": name}).restored(h).ID
	h.do(200, "POST", at+"/plan", obj{"full": true})
	in := h.agreed(at, obj{})
	in["confirm"] = "homelab"
	require.Empty(t, h.began(at+"/apply", in).Error)
	require.Equal(t, []string{here, there}, h.seen().Automated.Settings.Locations)
	require.Equal(t, 1, k.saved, "and after a restart")
	require.NotEmpty(t, h.seen().Undo)
	require.NotEmpty(t, h.made(), "its own folder takes backups")
}

func TestThePageOffersToTakeTheRecordsOfThisMachineToo(t *testing.T) {
	h := newHost(t, func(h *host, m *manager.Manager, _ *Options) { m.Own = map[string][]string{"settings": {"theme"}} })
	name := h.made()
	h.store["settings"]["theme"] = `"light"`
	at := h.do(201, "POST", "restores", obj{"backup": name}).restored(h).ID
	resp, err := http.Get(h.url + "restore/" + at)
	require.NoError(t, err)
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Contains(t, string(page), `name="take_own"`)
	plan := h.do(200, "POST", "restores/"+at+"/plan", obj{"full": true}).restored(h).Plan
	require.Contains(t, plan.Report.Warnings, `settings "theme" stays as it is here; in the backup it is another one`)
	require.Zero(t, plan.Changes)
	plan = h.do(200, "POST", "restores/"+at+"/plan", obj{"full": true, "take_own": true}).restored(h).Plan
	require.Contains(t, plan.Report.Warnings, `settings "theme" is another one in the backup: the restore takes that of the backup`)
	require.EqualValues(t, 1, plan.Changes)
}
