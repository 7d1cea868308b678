package manager_test

import (
	"io/fs"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/manager"
	"github.com/tomo-project/backup/schedule"
)

// createOnly makes a backup of some collections.
func createOnly(t testing.TB, m *manager.Manager, trigger string, only ...string) manager.Backup {
	t.Helper()
	b, err := m.Create(t.Context(), backup.BackupOptions{Only: only, Metadata: map[string]string{"trigger": trigger}})
	require.NoError(t, err)
	time.Sleep(time.Hour)
	return b
}

// allBut returns the names of all collections of a full backup but one.
func allBut(name string) (names []string) {
	for _, c := range homelab().Collections {
		if c.Name != name && !c.Optional {
			names = append(names, c.Name)
		}
	}
	return names
}

func TestAPartialBackupNeverStandsForAFullOne(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, _, _ := managed(newShelf("a"))
		removed := 0
		m.Drills.Scratch = scratch(emptyHost(), &removed)
		part := createOnly(t, m, "manual", "users")
		require.Equal(t, "Users only", part.Holds)
		_, err := m.Drill(t.Context(), "")
		require.ErrorIs(t, err, fs.ErrNotExist)
		require.ErrorContains(t, err, "none that is full")

		full := mustCreate(t, m)
		time.Sleep(time.Hour)
		createOnly(t, m, "manual", allBut("users")...)
		part = createOnly(t, m, "manual", "users")
		back := createOnly(t, m, "before restore", allBut("")...)
		list := mustList(t, m)
		var holds []string
		var good []bool
		for _, b := range list {
			holds, good = append(holds, b.Holds), append(good, b.Good(time.Now()))
		}
		require.Equal(t, []string{"Before a restore: full", "Users only", "All but users", "Full", "Users only"}, holds)
		require.Equal(t, []bool{false, false, false, true, false}, good)

		m.Drills.Scratch = scratch(emptyHost(), &removed)
		report, err := m.Drill(t.Context(), "")
		require.NoError(t, err)
		require.Equal(t, full.Name, report.Backup)
		require.Equal(t, 4*time.Hour, report.Age)

		m.Drills.Scratch = scratch(emptyHost(), &removed)
		report, err = m.Drill(t.Context(), part.Name)
		require.NoError(t, err)
		require.Zero(t, report.Age, "more than this would be lost")
		require.Equal(t, "Users only", report.Holds)

		found, err := m.Verify(t.Context(), part.Name)
		require.NoError(t, err)
		require.Equal(t, "is whole and can be restored; it is partial: users only", found[0].Verdict)
		found, err = m.Verify(t.Context(), back.Name)
		require.NoError(t, err)
		require.Equal(t, "is whole and can be restored", found[0].Verdict)
	})
}

func TestPartialBackupsTogetherDoNotPushOutTheFullOne(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, _, _ := managed(newShelf("a"))
		m.Retention = backup.Retention{Last: 1}
		createOnly(t, m, "scheduled", allBut("")...)
		full := createOnly(t, m, "scheduled", allBut("")...)
		createOnly(t, m, "manual", allBut("users")...)
		createOnly(t, m, "scheduled", "users")
		pruned := mustPrune(t, m, manager.PruneOptions{Manual: true})
		require.Len(t, pruned[0].Deleted, 1)
		require.Contains(t, pruned[0].Proven, full.Name)
		require.True(t, slices.ContainsFunc(mustList(t, m), func(b manager.Backup) bool { return b.Name == full.Name }))
	})
}

func TestToAcceptALossInAPartialBackupSaysNothingOfTheRest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, host, _ := managed(newShelf("a"))
		host["users"] = map[string]string{"1": `{"id":1}`, "2": `{"id":2}`}
		mustCreate(t, m)
		time.Sleep(time.Hour)
		clear(host["applications"])
		part := createOnly(t, m, "manual", "applications")
		require.Equal(t, "applications", part.Shrunk[0].Collection)
		require.NoError(t, m.Accept(t.Context(), part.Name))
		require.Empty(t, mustList(t, m)[0].Shrunk)

		clear(host["users"])
		b := mustCreate(t, m)
		require.Len(t, b.Shrunk, 1)
		require.Equal(t, "users", b.Shrunk[0].Collection)
		require.Equal(t, b.Shrunk, mustList(t, m)[0].Shrunk)
		require.False(t, mustList(t, m)[0].Good(time.Now()))
		require.NoError(t, m.Accept(t.Context(), b.Name))
		require.Empty(t, mustList(t, m)[0].Shrunk)
	})
}

func TestAPartialBackupIsNotTheScheduledOne(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, _, _ := managed(newShelf("a"))
		m.Schedule = schedule.Daily{}
		createOnly(t, m, "scheduled", "users")
		next, err := m.Next(t.Context())
		require.NoError(t, err)
		require.False(t, next.After(time.Now()), "the full one is due")
		m.Scheduled.Only = []string{"users"} // then it is what the host wants
		next, err = m.Next(t.Context())
		require.NoError(t, err)
		require.True(t, next.After(time.Now()))
	})
}

func TestABackupFromBeforePartialWasWrittenGoesByItsCollections(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newShelf("a")
		m, _, _ := managed(a)
		a.files()["homelab-backup-1999-02-01T00-00-00.json"] = document(homelab(), homelab().SchemaVersion, `{"users":[]}`)
		b := mustList(t, m)[0]
		require.True(t, b.Partial)
		require.Equal(t, "Users only", b.Holds)
	})
}
