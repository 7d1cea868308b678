package manager_test

import (
	"context"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
	"github.com/tomo-project/backup/schedule"
)

// A bubble begins on 1 January 2000. So bubbles that share a folder are a machine whose
// clock is set forward or back between two starts.

// notesIn is a Manager of some notes in a folder.
func notesIn(dir string, store backuptest.MapStore) *manager.Manager {
	return &manager.Manager{
		App:       &backup.App{Name: "notes", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{{Name: "notes", Key: "/id"}}},
		Source:    store,
		Sink:      store,
		Locations: []location.Location{location.Dir(dir)},
		Schedule:  schedule.Daily{},
		Retention: backup.Retention{Last: 3},
		Drills: manager.Drills{Scratch: func(context.Context) (backup.Store, func() error, error) {
			return notes(), nil, nil
		}},
		Installation: "a1",
		NoReadme:     true,
	}
}

func notes(ids ...string) backuptest.MapStore {
	records := map[string]string{}
	for _, id := range ids {
		records[id] = `{"id":"` + id + `"}`
	}
	return backuptest.MapStore{"notes": records}
}

func idsOf(store backuptest.MapStore) []string { return slices.Sorted(maps.Keys(store["notes"])) }

const oneDay = 24 * time.Hour

// restoredTo restores a backup of some other notes into a store.
func restoredTo(t *testing.T, dir string, store backuptest.MapStore, ids ...string) {
	made := mustCreate(t, notesIn(dir, notes(ids...)))
	m := notesIn(dir, store)
	s, err := m.Open(t.Context(), made.Name)
	require.NoError(t, err)
	defer s.Close()
	_, err = m.Restore(t.Context(), s, backup.RestoreOptions{Strategy: backup.Replace})
	require.NoError(t, err)
	require.Equal(t, ids, idsOf(store))
}

// The last restore was made while the clock was behind, or ahead.
func TestUndoIsOfTheLastRestoreWhateverTheClockSaid(t *testing.T) {
	for name, days := range map[string][3]time.Duration{
		"behind": {19, 9, 28},
		"ahead":  {19, 365, 20},
	} {
		t.Run(name, func(t *testing.T) {
			dir, store := t.TempDir(), notes("v1")
			bubble(t, func(t *testing.T) {
				time.Sleep(days[0] * oneDay)
				restoredTo(t, dir, store, "v2")
			})
			store["notes"] = notes("v3")["notes"] // the work of some days
			bubble(t, func(t *testing.T) {
				time.Sleep(days[1] * oneDay)
				restoredTo(t, dir, store, "wrong backup")
			})
			bubble(t, func(t *testing.T) {
				time.Sleep(days[2] * oneDay) // the clock is right again
				_, err := notesIn(dir, store).Undo(t.Context())
				require.NoError(t, err)
				require.Equal(t, []string{"v3"}, idsOf(store))
			})
		})
	}
}

// Backups that were made before there were serials, while the clock was right, are older.
func TestTheListIsInTheOrderOfEvents(t *testing.T) {
	dir := t.TempDir()
	var want []string
	create := func(after time.Duration, installation string) {
		bubble(t, func(t *testing.T) {
			time.Sleep(after)
			m := notesIn(dir, notes("a"))
			m.Installation = installation
			want = append([]string{mustCreate(t, m).Name}, want...)
		})
	}
	create(5*oneDay, "")
	create(6*oneDay, "")
	for _, d := range []time.Duration{10, 0, 1, 11, 4000, 12, 13} {
		create(d*oneDay, "a1")
	}
	bubble(t, func(t *testing.T) {
		time.Sleep(14 * oneDay)
		m := notesIn(dir, notes("a"))
		require.Equal(t, want, namesOf(mustList(t, m)))
		drill, err := m.Drill(t.Context(), "")
		require.NoError(t, err)
		require.Equal(t, want[0], drill.Backup)

		// Retention keeps the last that were made, and what is dated in the future.
		pruned, err := m.Prune(t.Context(), manager.PruneOptions{Manual: true})
		require.NoError(t, err)
		require.Len(t, pruned[0].Deleted, 5)
		require.Equal(t, []string{want[0], want[1], want[2], want[3]}, namesOf(mustList(t, m)))
	})
}

// A drill or a rehearsal while the clock was years ahead does not put off those to come.
func TestMarksOfTheFutureDoNotRule(t *testing.T) {
	for _, ahead := range []bool{false, true} {
		dir := t.TempDir()
		if ahead {
			bubble(t, func(t *testing.T) {
				time.Sleep(3650 * oneDay)
				m := notesIn(dir, notes("a", "b"))
				m.Drills.Schedule = schedule.Weekly{}
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				require.ErrorIs(t, m.Run(ctx), context.DeadlineExceeded)
			})
			// And another mark, whose backup is long gone.
			require.NoError(t, os.WriteFile(dir+"/notes-backup-2036-01-01T00-00-00.json.rehearsed", nil, 0o600))
			require.NoError(t, os.WriteFile(dir+"/notes-backup-2036-01-01T00-00-00.json.drilled", nil, 0o600))
		}
		bubble(t, func(t *testing.T) {
			var events eventLog
			m := notesIn(dir, notes("a", "b"))
			m.OnEvent = events.add
			m.Drills.Schedule, m.Rehearsals = schedule.Weekly{}, schedule.Weekly{}
			ctx, cancel := context.WithTimeout(t.Context(), 30*oneDay)
			defer cancel()
			require.ErrorIs(t, m.Run(ctx), context.DeadlineExceeded)
			require.Len(t, events.of(manager.EventDrill), 6, "ahead: %v", ahead)
			require.Len(t, events.of(manager.EventRehearsal), 30)
			marks, err := os.ReadDir(dir)
			require.NoError(t, err)
			for _, file := range marks {
				require.NotContains(t, file.Name(), "2036")
			}
		})
	}
}

// A loss that was accepted while the clock was ahead does not accept later losses.
func TestAnAcceptedLossOfTheFutureIsThatOfItsBackup(t *testing.T) {
	for name, deleted := range map[string]bool{"its backup is there": false, "its backup is gone": true} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			bubble(t, func(t *testing.T) {
				time.Sleep(3650 * oneDay)
				mustCreate(t, notesIn(dir, notes("a", "b", "c")))
				time.Sleep(time.Hour)
				m := notesIn(dir, notes())
				b := mustCreate(t, m)
				require.NoError(t, m.Accept(t.Context(), b.Name))
			})
			bubble(t, func(t *testing.T) {
				time.Sleep(time.Hour)
				m := notesIn(dir, notes("a", "b", "c", "d"))
				first := mustCreate(t, m)
				require.Empty(t, first.Shrunk)
				if deleted {
					for _, b := range mustList(t, m)[1:] {
						require.NoError(t, m.Delete(t.Context(), b.Name))
					}
					entries, err := os.ReadDir(dir)
					require.NoError(t, err)
					require.Len(t, entries, 2, "the lock and the backup: its mark does not stay either")
				}
				time.Sleep(oneDay)
				m = notesIn(dir, notes()) // all is lost
				lost := mustCreate(t, m)
				require.NotEmpty(t, lost.Shrunk)
				require.NotEmpty(t, mustList(t, m)[0].Shrunk)
				require.Equal(t, lost.Name, mustList(t, m)[0].Name)
			})
		})
	}
}

// A loss that was accepted while the clock was behind stays accepted.
func TestALossThatWasAcceptedByAClockThatWasBehindStaysAccepted(t *testing.T) {
	dir := t.TempDir()
	bubble(t, func(t *testing.T) {
		time.Sleep(20 * oneDay)
		mustCreate(t, notesIn(dir, notes("a", "b", "c")))
	})
	bubble(t, func(t *testing.T) {
		m := notesIn(dir, notes())
		require.NoError(t, m.Accept(t.Context(), mustCreate(t, m).Name))
	})
	bubble(t, func(t *testing.T) {
		time.Sleep(21 * oneDay)
		m := notesIn(dir, notes())
		require.Empty(t, mustCreate(t, m).Shrunk)
		for _, b := range mustList(t, m) {
			require.Empty(t, b.Shrunk)
		}
	})
}
