package manager_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
)

// change makes the host another one.
func change(host backuptest.MapStore) {
	host["servers"] = map[string]string{
		"s1": `{"id":"s1","name":"renamed","password":"other-pass"}`,
		"s3": `{"id":"s3","name":"new"}`,
	}
	host["applications"] = map[string]string{"a3": `{"id":"a3","name":"fresh","server_id":"s3"}`}
	host["settings"] = map[string]string{"theme": `"light"`}
	host["users"] = map[string]string{}
}

func open(t testing.TB, m *manager.Manager, name string) *backup.Snapshot {
	t.Helper()
	s, err := m.Open(t.Context(), name)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

func TestARestoreCanBeUndoneAndTheUndoToo(t *testing.T) {
	for name, opts := range map[string]backup.RestoreOptions{
		"full":      {Strategy: backup.Replace},
		"merge":     {Strategy: backup.Merge},
		"add":       {},
		"selective": {Only: []string{"settings", "servers"}, Strategy: backup.Merge},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				a, b := newShelf("a"), newShelf("b")
				m, host, events := managed(a, b)
				made := mustCreate(t, m)
				change(host)
				before := host.Clone()

				report, err := m.Restore(t.Context(), open(t, m, made.Name), opts)
				require.NoError(t, err)
				after := host.Clone()
				require.NotEqual(t, before, after)
				list := mustList(t, m)
				require.Len(t, list, 2)
				require.Equal(t, list[0].Name, report.UndoneBy)
				require.Equal(t, manager.TriggerBeforeRestore, list[0].Trigger)
				require.Len(t, list[0].Copies, 2, "at all locations")
				require.Empty(t, report.Warnings)
				require.Len(t, events.of(manager.EventDone), 2)

				time.Sleep(time.Minute)
				report, err = m.Undo(t.Context())
				require.NoError(t, err)
				require.Equal(t, before, host.Clone())
				require.NotEmpty(t, report.UndoneBy)

				time.Sleep(time.Minute)
				_, err = m.Undo(t.Context())
				require.NoError(t, err)
				require.Equal(t, after, host.Clone(), "undone")

				time.Sleep(time.Minute)
				_, err = m.Undo(t.Context())
				require.NoError(t, err)
				require.Equal(t, before, host.Clone(), "and done again")
			})
		})
	}
}

func TestAnUndoCanBeLookedAtFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, host, _ := managed(newShelf("a"))
		made := mustCreate(t, m)
		_, err := m.PlanUndo(t.Context())
		require.ErrorIs(t, err, fs.ErrNotExist)
		change(host)
		before := host.Clone()
		report, err := m.Restore(t.Context(), open(t, m, made.Name), backup.RestoreOptions{Strategy: backup.Replace})
		require.NoError(t, err)
		require.Equal(t, made.Name, report.Backup)

		plan, err := m.PlanUndo(t.Context())
		require.NoError(t, err)
		require.Equal(t, report.UndoneBy, plan.Report().Backup)
		require.Equal(t, homelabStore(), exceptLogs(host), "nothing has changed")
		users := host["users"]
		host["users"] = map[string]string{"8": `{"id":8}`}
		_, err = m.Apply(t.Context(), plan)
		require.ErrorIs(t, err, backup.ErrStale)
		host["users"] = users
		undone, err := m.Apply(t.Context(), plan)
		require.NoError(t, err)
		require.NoError(t, plan.Close())
		require.Equal(t, before, host.Clone())
		require.Equal(t, plan.Report().Collections, undone.Collections)
	})
}

func TestUndoTouchesOnlyWhatTheRestoreTouched(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, host, _ := managed(newShelf("a"))
		made := mustCreate(t, m)
		change(host)
		report, err := m.Restore(t.Context(), open(t, m, made.Name), backup.RestoreOptions{Only: []string{"settings"}, Strategy: backup.Replace, AllowDangling: true})
		require.NoError(t, err)
		require.Equal(t, []string{"settings"}, open(t, m, report.UndoneBy).Collections())
		host["users"] = map[string]string{"8": `{"id":8,"name":"since then"}`}
		_, err = m.Undo(t.Context())
		require.NoError(t, err)
		require.Equal(t, map[string]string{"theme": `"light"`}, host["settings"])
		require.Len(t, host["users"], 1, "what came after the restore stays")
	})
}

func TestAPlanIsAppliedWithAWayBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newShelf("a")
		m, host, _ := managed(a)
		made := mustCreate(t, m)
		change(host)
		before := host.Clone()
		plan, err := m.Plan(t.Context(), open(t, m, made.Name), backup.RestoreOptions{Strategy: backup.Replace})
		require.NoError(t, err)
		require.Equal(t, before, host.Clone())
		require.Len(t, a.names(t), 1)

		host["users"] = map[string]string{"8": `{"id":8}`}
		changed := host.Clone()
		_, err = m.Apply(t.Context(), plan)
		require.ErrorIs(t, err, backup.ErrStale)
		require.Equal(t, changed, host.Clone())
		require.Len(t, a.names(t), 1, "nothing came of it, so there is nothing to undo")

		host["users"] = map[string]string{}
		report, err := m.Apply(t.Context(), plan)
		require.NoError(t, err)
		require.Equal(t, homelabStore(), exceptLogs(host))
		require.NotEmpty(t, report.UndoneBy)
		_, err = m.Undo(t.Context())
		require.NoError(t, err)
		require.Equal(t, before, host.Clone())
	})
}

func exceptLogs(s backuptest.MapStore) backuptest.MapStore {
	s = s.Clone()
	s["logs"] = homelabStore()["logs"]
	return s
}

func TestARestoreThatChangesNothingLeavesNothingToUndo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newShelf("a")
		m, host, _ := managed(a)
		made := mustCreate(t, m)
		change(host)
		before := host.Clone()
		s := open(t, m, made.Name)
		_, err := m.Restore(t.Context(), s, backup.RestoreOptions{Strategy: backup.Replace})
		require.NoError(t, err)
		report, err := m.Restore(t.Context(), s, backup.RestoreOptions{Strategy: backup.Replace})
		require.NoError(t, err)
		require.Empty(t, report.UndoneBy)
		require.Len(t, a.names(t), 2)
		_, err = m.Undo(t.Context())
		require.NoError(t, err)
		require.Equal(t, before, host.Clone(), "the restore before that is undone")
	})
}

func TestAPanicOfTheHostLeavesNothingHeldAndNothingBehind(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newShelf("a")
		m, host, _ := managed(a)
		made := mustCreate(t, m)
		change(host)
		m.Sink = &backuptest.Faulty{Source: host, Sink: host, On: backuptest.CallPut, Nth: 1, Do: func() { panic("a bug") }}
		s := open(t, m, made.Name)
		require.PanicsWithValue(t, "a bug", func() {
			m.Restore(t.Context(), s, backup.RestoreOptions{Strategy: backup.Replace})
		})
		require.Equal(t, []string{made.Name}, a.all(t))
		m.Sink = host
		_, err := m.Restore(t.Context(), s, backup.RestoreOptions{Strategy: backup.Replace})
		require.NoError(t, err, "free again")
	})
}

func TestUndoIsOfTheLastRestoreThatTookPlace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newShelf("a")
		m, host, _ := managed(a)
		made := mustCreate(t, m)
		change(host)
		before := host.Clone()
		s := open(t, m, made.Name)
		_, err := m.Restore(t.Context(), s, backup.RestoreOptions{Strategy: backup.Replace})
		require.NoError(t, err)

		// A later one is killed before the commit.
		time.Sleep(time.Hour)
		b, err := m.Create(t.Context(), backup.BackupOptions{Metadata: map[string]string{"trigger": "before restore"}})
		require.NoError(t, err)
		plan, err := m.PlanUndo(t.Context())
		require.NoError(t, err)
		require.NotEqual(t, b.Name, plan.Report().Backup)
		require.NoError(t, plan.Close())

		// It cannot be told whether it took place once the host has gone on.
		users := host["users"]
		host["users"] = map[string]string{"8": `{"id":8}`}
		plan, err = m.PlanUndo(t.Context())
		require.NoError(t, err)
		require.Equal(t, b.Name, plan.Report().Backup)
		require.Contains(t, plan.Report().Warnings[0], "may not have taken place")
		require.NoError(t, plan.Close())
		host["users"] = users

		_, err = m.Undo(t.Context())
		require.NoError(t, err)
		require.Equal(t, before, host.Clone())
	})
}

func TestUndoDoesNotGuessWhichIsTheLast(t *testing.T) {
	for name, c := range map[string]struct {
		file func(string) (string, string)
		want string
	}{
		"unreadable": {func(text string) (string, string) { return "homelab-backup-2000-01-05T00-00-00.json", text[50:] }, "cannot be read"},
		"of a clock that was ahead": {func(text string) (string, string) {
			return "homelab-backup-2040-01-01T00-00-00.json", strings.NewReplacer(`"created_at":"2000-01-01T00`, `"created_at":"2040-01-01T00`, "manual", "before restore").Replace(text)
		}, "clock that was ahead"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				a := newShelf("a")
				m, host, _ := managed(a)
				made := mustCreate(t, m)
				change(host)
				_, err := m.Restore(t.Context(), open(t, m, made.Name), backup.RestoreOptions{Strategy: backup.Replace})
				require.NoError(t, err)
				file, text := c.file(a.files()[made.Name])
				a.files()[file] = text
				_, err = m.Undo(t.Context())
				require.ErrorContains(t, err, c.want)
				require.ErrorContains(t, err, file)
				require.ErrorContains(t, err, "by its name")
				require.Equal(t, homelabStore(), exceptLogs(host))
			})
		})
	}
}

func TestUndoLeavesRecordsAloneThatCouldNotBeStored(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, host, _ := managed(newShelf("a"))
		made := mustCreate(t, m)
		host["servers"] = map[string]string{"s9": `{"id":"s9","name":""}`}
		host["settings"] = map[string]string{"home_server": `"s9"`}
		host["applications"] = map[string]string{}
		before := host.Clone()
		_, err := m.Restore(t.Context(), open(t, m, made.Name), backup.RestoreOptions{Strategy: backup.Merge})
		require.NoError(t, err)
		require.Len(t, host["servers"], 3)
		_, err = m.Undo(t.Context())
		require.NoError(t, err)
		require.Equal(t, before, host.Clone())
	})
}

func TestUndoPutsBackReferencesToNothingAndMakesNoNewOnes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, host, _ := managed(newShelf("a"))
		host["settings"]["home_server"] = `"s2"`
		made := mustCreate(t, m)
		host["settings"]["home_server"] = `"gone"`
		before := host.Clone()
		_, err := m.Restore(t.Context(), open(t, m, made.Name), backup.RestoreOptions{Only: []string{"settings"}, Strategy: backup.Replace})
		require.NoError(t, err)
		_, err = m.Undo(t.Context())
		require.NoError(t, err)
		require.Equal(t, before, host.Clone())

		host["settings"]["home_server"] = `"s2"`
		host["servers"] = map[string]string{"s2": host["servers"]["s2"]}
		_, err = m.Restore(t.Context(), open(t, m, made.Name), backup.RestoreOptions{Only: []string{"servers"}})
		require.NoError(t, err)
		host["applications"]["a9"] = `{"id":"a9","name":"later","server_id":"s1"}`
		now := host.Clone()
		_, err = m.Undo(t.Context())
		require.ErrorIs(t, err, backup.ErrDangling)
		require.ErrorContains(t, err, `applications "a9" /server_id`)
		require.Equal(t, now, host.Clone())
	})
}

func TestThereIsNothingToUndo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, _, _ := managed(newShelf("a"))
		mustCreate(t, m)
		_, err := m.Undo(t.Context())
		require.ErrorIs(t, err, fs.ErrNotExist)
		require.ErrorContains(t, err, "no backup from before a restore")
	})
}

func TestWithoutAWayBackThereIsNoRestore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := newShelf("a"), newShelf("b")
		m, host, _ := managed(a, b)
		made := mustCreate(t, m)
		change(host)
		before := host.Clone()
		s := open(t, m, made.Name)
		full := func(name string) error {
			if strings.HasSuffix(name, ".lease") {
				return nil
			}
			return errDown
		}
		for _, shelf := range []*shelf{a, b} {
			location := shelf.Location
			shelf.Location = failingPut{location, full}
			defer func() { shelf.Location = location }()
		}
		_, err := m.Restore(t.Context(), s, backup.RestoreOptions{Strategy: backup.Replace})
		require.ErrorIs(t, err, errDown)
		require.ErrorContains(t, err, "nothing was changed")
		require.Equal(t, before, host.Clone())

		b.Location = b.Location.(failingPut).Location
		report, err := m.Restore(t.Context(), s, backup.RestoreOptions{Strategy: backup.Replace})
		require.NoError(t, err, "one location will do")
		require.Equal(t, homelabStore(), exceptLogs(host))
		require.NotEmpty(t, report.UndoneBy)
	})
}

// A failingPut is a location that refuses some files.
type failingPut struct {
	location.Location
	refuse func(name string) error
}

func (l failingPut) Put(ctx context.Context, name string, r io.Reader) error {
	if err := l.refuse(name); err != nil {
		return err
	}
	return l.Location.Put(ctx, name, r)
}

func TestARestoreThatFailsAnywhereLeavesTheHostAsItWas(t *testing.T) {
	for _, call := range backuptest.Calls {
		t.Run(string(call), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				a := newShelf("a")
				m, host, events := managed(a)
				made := mustCreate(t, m)
				change(host)
				before := host.Clone()
				s := open(t, m, made.Name)
				for nth := 1; ; nth++ {
					faulty := &backuptest.Faulty{Source: host, Sink: host, On: call, Nth: nth, Err: errDown}
					m.Sink = faulty
					_, err := m.Restore(t.Context(), s, backup.RestoreOptions{Strategy: backup.Replace})
					if !faulty.Reached() {
						require.NoError(t, err)
						require.True(t, nth > 1 || call == backuptest.CallView || call == backuptest.CallRecords, "the fault was never reached")
						break
					}
					require.ErrorIs(t, err, errDown)
					require.Equal(t, before, host.Clone())
					require.NotEmpty(t, events.of(manager.EventFailed))
					if call == backuptest.CallCommit { // it may have taken place for all we know
						require.ErrorContains(t, err, "what was there before is kept as homelab-backup-")
						continue
					}
					require.Len(t, a.names(t), 1, "nothing came of it")
				}
			})
		})
	}
}

func TestWhatTheHostWritesMeanwhileIsInTheWayBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newShelf("a")
		m, host, _ := managed(a)
		made := mustCreate(t, m)
		change(host)
		// The host writes just before the transaction begins, and in the middle of
		// it, so that it has to start over.
		times := 0
		write := func() {
			times++
			require.NoError(t, host.Update(t.Context(), func(w backup.Writer) error {
				return w.Put(t.Context(), "users", []backup.Record{{Key: "9", Value: []byte(`{"id":9,"name":"last moment ` + string('0'+rune(times)) + `"}`)}})
			}))
		}
		faulty := &backuptest.Faulty{Source: host, Sink: host, On: backuptest.CallPut, Nth: 2, Do: write}
		m.Sink = sinkFunc(func(ctx context.Context, f func(backup.Writer) error) error {
			write()
			return faulty.Update(ctx, f)
		})
		report, err := m.Restore(t.Context(), open(t, m, made.Name), backup.RestoreOptions{Strategy: backup.Replace})
		require.NoError(t, err)
		require.Equal(t, 2, times)
		require.NotContains(t, host["users"], "9")
		require.Len(t, a.names(t), 2, "the first attempt left nothing")
		m.Sink = host
		_, err = m.Undo(t.Context())
		require.NoError(t, err)
		require.Equal(t, `{"id":9,"name":"last moment 2"}`, host["users"]["9"], report.UndoneBy)
	})
}

func TestInvalidRecordsDoNotStandInTheWayOfARestore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, host, _ := managed(newShelf("a"))
		made := mustCreate(t, m)
		host["servers"] = map[string]string{"s1": `{"id":"s1","name":""}`, "s2": `{"id":"s2","name":"pi"}`}
		report, err := m.Restore(t.Context(), open(t, m, made.Name), backup.RestoreOptions{Strategy: backup.Replace})
		require.NoError(t, err)
		require.Equal(t, homelabStore(), exceptLogs(host))
		require.Len(t, report.Warnings, 1)
		require.Contains(t, report.Warnings[0], `servers "s1" /name`)
		require.Contains(t, report.Warnings[0], "not valid before the restore")
	})
}

func TestTheHostIsToldThatTimeWentBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, host, _ := managed(newShelf("a"))
		made := mustCreate(t, m)
		change(host)
		var told []backup.Report
		m.AfterRestore = func(ctx context.Context, r backup.Report) error {
			told = append(told, r)
			_, err := m.Create(ctx, backup.BackupOptions{})
			require.NoError(t, err, "nothing is held any more")
			return errors.New("restart in 5 s")
		}
		report, err := m.Restore(t.Context(), open(t, m, made.Name), backup.RestoreOptions{Strategy: backup.Replace})
		require.NoError(t, err)
		require.Equal(t, "restart in 5 s", report.AfterRestore)
		require.Len(t, told, 1)
		require.Equal(t, report.UndoneBy, told[0].UndoneBy)
		require.Equal(t, report.Collections, told[0].Collections)

		_, err = m.Restore(t.Context(), open(t, m, made.Name), backup.RestoreOptions{Strategy: backup.Replace})
		require.NoError(t, err)
		require.Len(t, told, 1, "nothing to tell of a restore that changed nothing")
		m.Sink = &backuptest.Faulty{Source: host, Sink: host, On: backuptest.CallCommit, Nth: 1, Err: errDown}
		_, err = m.Undo(t.Context())
		require.Error(t, err)
		require.Len(t, told, 1, "nor of one that failed")
	})
}

func TestAWriterThatReadsIsReadInOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := newShelf("a"), newShelf("b")
		for _, s := range []*shelf{a, b} {
			m, host, _ := managed(s)
			made := mustCreate(t, m)
			change(host)
			if s == b {
				m.Sink = readingSink{host}
			}
			time.Sleep(time.Second)
			_, err := m.Restore(t.Context(), open(t, m, made.Name), backup.RestoreOptions{Strategy: backup.Replace})
			require.NoError(t, err)
		}
		records := func(s *shelf) (lines []string) {
			for _, line := range strings.Split(s.files()[s.names(t)[1]], "\n") {
				if !strings.Contains(line, "$sealed") && !strings.Contains(line, "sha256") && !strings.Contains(line, "encryption") {
					lines = append(lines, strings.Replace(line, "00:00:02Z", "00:00:01Z", 1))
				}
			}
			return lines
		}
		require.Equal(t, records(a), records(b))
	})
}

// A readingSink has Writers that are Readers.
type readingSink struct{ backuptest.MapStore }

func (s readingSink) Update(ctx context.Context, write func(backup.Writer) error) error {
	return s.MapStore.Update(ctx, func(w backup.Writer) error {
		return s.View(ctx, func(r backup.Reader) error { return write(readingWriter{w, r}) })
	})
}

type readingWriter struct {
	backup.Writer
	backup.Reader
}

func TestAPlanThatIsAppliedTellsOfItsProgressAsARestore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, host, _ := managed(newShelf("disk"))
		made := mustCreate(t, m)
		delete(host["settings"], "theme")
		var mu sync.Mutex
		told, asked := map[string]bool{}, 0
		m2, _, _ := managed()
		m2.Locations, m2.Source, m2.Sink = m.Locations, host, host
		m2.OnEvent = func(e manager.Event) {
			if e.Kind == manager.EventProgress {
				mu.Lock()
				defer mu.Unlock()
				told[e.Operation+" "+e.Progress.Phase] = true
			}
		}
		plan, err := m2.Plan(t.Context(), open(t, m2, made.Name), backup.RestoreOptions{Strategy: backup.Replace, Progress: func(backup.Progress) { asked++ }})
		require.NoError(t, err)
		defer plan.Close()
		require.NotZero(t, asked)
		told, asked = map[string]bool{}, 0
		_, err = m2.Apply(t.Context(), plan)
		require.NoError(t, err)
		require.NotZero(t, asked)
		require.Contains(t, told, "restore restore")
		for what := range told {
			require.NotContains(t, what, "plan ")
		}
	})
}
