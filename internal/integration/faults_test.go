package integration

import (
	"fmt"
	"os"
	"slices"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/internal/testtime"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
)

// A faultyFolder is a folder of backups that fails once.
type faultyFolder struct {
	*backuptest.FaultyLocation
	name string
}

func (f faultyFolder) String() string { return f.name }

func TestALocationThatFailsAtAnyMomentDoesNoHarm(t *testing.T) {
	for _, what := range []string{"create", "prune", "restore", "undo"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			from, names, kept := pruneHost(t, 2)
			db := from.open(t)
			m := from.manager(db)
			original := names[len(names)-1]
			undone := func() { // something to undo that differs from all before
				_, err := m.Restore(t.Context(), openBackup(t, m, original), backup.RestoreOptions{Strategy: backup.Replace})
				require.NoError(t, err)
			}
			target := state(t, db)
			change(t, db)
			start := state(t, db)
			if what == "undo" {
				undone()
				exec(t, db, "DELETE FROM settings")
				target = state(t, db)
				undone()
				start = state(t, db)
				require.NotEqual(t, start, target)
			}
			exec(t, db, "PRAGMA wal_checkpoint(TRUNCATE)")
			content, err := os.ReadFile(from.database())
			require.NoError(t, err)

			for _, place := range testtime.Pick(t, []string{"first", "alone"}, []string{"second", "first", "alone"}) {
				for _, call := range backuptest.LocationCalls {
					reached := 0
					for nth := 1; ; nth++ {
						again := false
						t.Run(fmt.Sprintf("%s at %s %d", place, call, nth), func(t *testing.T) {
							h := host{testtime.MemoryDir(t)}
							require.NoError(t, os.WriteFile(h.database(), content, 0o600))
							h.furnish(t, from)
							again = atFault(t, h, what, place, call, nth, original, kept, start, target)
						})
						if !again || t.Failed() {
							break
						}
						reached++
					}
					if t.Failed() {
						return
					}
					t.Logf("%s at %s: %d", place, call, reached)
				}
			}
		})
	}
}

// atFault does something with one fault in it, and tells whether it was met.
func atFault(t *testing.T, h host, what, place string, call backuptest.Call, nth int, original string, kept []string, start, target string) bool {
	db := h.open(t)
	healthy, m := h.quickManager(db), h.quickManager(db)
	faulty := faultyFolder{&backuptest.FaultyLocation{Location: h.folder("a"), On: call, Nth: nth, Err: syscall.EIO}, string(h.folder("a"))}
	m.Locations = map[string][]location.Location{
		"first":  {faulty, h.folder("b")},
		"second": {h.folder("b"), faulty},
		"alone":  {faulty},
	}[place]
	before := h.shelves(t)
	var err error
	switch what {
	case "create":
		var b manager.Backup
		b, err = m.Create(t.Context(), backup.BackupOptions{})
		news := h.whole(t, healthy, before, nil)
		if err != nil {
			require.Empty(t, news)
			break
		}
		require.Equal(t, []string{b.Name}, news)
		require.Len(t, b.Copies, len(m.Locations))
		for _, c := range b.Copies {
			require.Equal(t, c.Err == nil, slices.Contains(namesIn(t, c.Location), b.Name), "%v", c)
			if c.Err != nil {
				require.ErrorIs(t, c.Err, syscall.EIO)
				if c.Location != faulty.name {
					require.ErrorContains(t, c.Err, "copy from "+faulty.name)
				}
			}
		}
	case "prune":
		_, err = m.Prune(t.Context(), manager.PruneOptions{})
		require.Empty(t, h.whole(t, healthy, before, func(name string) bool { return !slices.Contains(kept, name) }))
		if place != "alone" {
			require.Equal(t, kept, backupsIn(t, string(h.folder("b"))))
		}
		_, again := healthy.Prune(t.Context(), manager.PruneOptions{})
		require.NoError(t, again)
		require.Equal(t, kept, backupsIn(t, string(h.folder("a"))))
	case "restore", "undo":
		var report backup.Report
		if what == "restore" {
			report, err = m.Restore(t.Context(), openBackup(t, healthy, original), backup.RestoreOptions{Strategy: backup.Replace})
		} else {
			report, err = m.Undo(t.Context())
		}
		news := h.whole(t, healthy, before, nil)
		if err != nil {
			is(t, state(t, db), start)
			require.Empty(t, news)
			break
		}
		is(t, state(t, db), target)
		require.Equal(t, []string{report.UndoneBy}, news)
		_, again := healthy.Undo(t.Context())
		require.NoError(t, again)
		is(t, state(t, db), start)
	}
	require.Empty(t, h.leftovers(t))
	if err != nil {
		require.ErrorIs(t, err, syscall.EIO)
		midway := what == "undo" && call == backuptest.CallRead // it has begun with one copy
		require.True(t, place == "alone" || what == "prune" || midway, "the other location is well: %v", err)
	}
	return faulty.Reached()
}
