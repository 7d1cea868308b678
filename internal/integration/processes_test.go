package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/testtime"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
)

func TestAnotherProcessIsToldWhoIsAtItAndGoesOnAtOnceWhenThatOneIsKilled(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"create", "restore"} {
		t.Run(what, func(t *testing.T) {
			h := newHost(t, 20)
			db := h.open(t)
			m := h.manager(db)
			made := create(t, m, backup.BackupOptions{})
			change(t, db)
			before, shelves := state(t, db), h.shelves(t)
			s := openBackup(t, m, made.Name)

			holder := startProcess(t, what+" and hang", h, made.Name)
			says := fmt.Sprintf("%s is held by %s, process %d on ", h.folder("a"), what, holder.Process.Pid)
			for name, call := range map[string]func() error{
				"create":  func() error { _, err := m.Create(t.Context(), backup.BackupOptions{}); return err },
				"restore": func() error { _, err := m.Restore(t.Context(), s, backup.RestoreOptions{}); return err },
				"undo":    func() error { _, err := m.Undo(t.Context()); return err },
				"prune":   func() error { _, err := m.Prune(t.Context(), manager.PruneOptions{}); return err },
			} {
				start := time.Now()
				err := call()
				require.ErrorIs(t, err, location.ErrBusy, name)
				require.ErrorContains(t, err, says, name)
				require.Less(t, time.Since(start), 5*time.Second, "%s does not wait", name)
			}
			// Who only looks is not held up.
			_, err := m.Verify(t.Context(), made.Name)
			require.NoError(t, err)
			if what == "create" {
				require.NotEmpty(t, h.leftovers(t), "it is in the middle of writing")
			}

			holder.kill()
			_, done := holder.end(t)
			require.False(t, done)
			next := create(t, m, backup.BackupOptions{})
			require.Len(t, next.Copies, 2)
			require.Empty(t, h.leftovers(t))
			is(t, state(t, db), before)
			h.whole(t, m, shelves, nil)
			_, err = m.Restore(t.Context(), s, backup.RestoreOptions{Strategy: backup.Replace})
			require.NoError(t, err)
		})
	}
}

// An undo that was killed before it changed anything has left a snapshot from
// before it, which shows what is there still.
func TestAnUndoThatWasKilledCanBeDoneAgain(t *testing.T) {
	t.Parallel()
	h := newHost(t, 20)
	db := h.open(t)
	m := h.manager(db)
	made := create(t, m, backup.BackupOptions{})
	change(t, db)
	before := state(t, db)
	_, err := m.Restore(t.Context(), openBackup(t, m, made.Name), backup.RestoreOptions{Strategy: backup.Replace})
	require.NoError(t, err)
	restored := state(t, db)

	p := startProcess(t, "undo and hang", h, "")
	p.kill()
	_, done := p.end(t)
	require.False(t, done)
	is(t, state(t, db), restored)

	_, err = m.Undo(t.Context())
	require.NoError(t, err)
	is(t, state(t, db), before)
	_, err = m.Undo(t.Context())
	require.NoError(t, err)
	is(t, state(t, db), restored)
}

func TestProcessesThatShareAFolderMakeOneScheduledBackupATime(t *testing.T) {
	testtime.NotForRace(t) // the detector sees nothing between processes, and slows them below one backup a second
	t.Parallel()
	h := newHost(t, 20)
	m := h.manager(h.open(t))
	m.Retention = backup.Retention{}
	processes := []*process{startProcess(t, "run", h, ""), startProcess(t, "run", h, "")}
	start := time.Now()
	for len(h.shelves(t)) < 2*7 && time.Since(start) < time.Minute {
		time.Sleep(100 * time.Millisecond)
	}
	for _, p := range processes {
		p.kill()
		_, done := p.end(t)
		require.False(t, done)
	}
	took := time.Since(start)
	manual := create(t, m, backup.BackupOptions{}) // fills in what they left
	list, err := m.List(t.Context())
	require.NoError(t, err)
	slots := map[string]string{}
	for _, b := range list {
		if b.Name == manual.Name {
			continue
		}
		require.Equal(t, manager.TriggerScheduled, b.Trigger)
		slot := b.Manifest.Metadata["scheduled_for"]
		at, err := time.Parse(time.RFC3339, slot)
		require.NoError(t, err)
		require.False(t, at.After(b.CreatedAt))
		require.Empty(t, slots[slot], "two backups for one time")
		slots[slot] = b.Name
		require.Len(t, b.Copies, 2)
	}
	h.same(t)
	h.whole(t, m, nil, nil)
	require.Empty(t, h.leftovers(t))
	t.Logf("%d backups in %v", len(slots), took.Round(time.Second/10))
	require.GreaterOrEqual(t, len(slots), 6)
}
