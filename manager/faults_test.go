package manager_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
	"github.com/tomo-project/backup/schedule"
)

// A stuckLock is a location with a lock that cannot be given back.
type stuckLock struct{ *shelf }

func (stuckLock) Lock(context.Context, string, string) (func() error, error) {
	return func() error { return errDown }, nil
}

func TestTheHostIsToldOfAHoldThatCannotBeGivenBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, events := small(stuckLock{newShelf("disk")})
		mustCreate(t, m)
		failed := events.of(manager.EventFailed)
		require.Len(t, failed, 1)
		require.ErrorIs(t, failed[0].Err, errDown)
		require.ErrorContains(t, failed[0].Err, "give back the hold")
		require.Equal(t, "disk", failed[0].Location)
	})
}

// A stuckDelete is a location that never answers when it is to delete one file.
type stuckDelete struct {
	*shelf
	name string
	over chan struct{}
}

func (l stuckDelete) Delete(ctx context.Context, name string) error {
	if name == l.name {
		<-l.over
	}
	return l.shelf.Delete(ctx, name)
}

func TestALocationThatKeepsAnExpiredHoldStopsNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		disk := stuckDelete{newShelf("disk"), "homelab-" + strings.Repeat("k", 26) + ".lease", make(chan struct{})}
		defer close(disk.over)
		expired := `{"holder":"somebody","until":"1999-12-31T00:00:00Z"}`
		require.NoError(t, disk.Put(t.Context(), disk.name, strings.NewReader(expired)))
		cloud := newShelf("cloud")
		m, _ := small(disk, cloud)
		made := mustCreate(t, m)
		require.Equal(t, []string{made.Name}, cloud.names(t))
		require.Error(t, made.Copies[0].Err)
		require.Less(t, time.Since(made.CreatedAt), 5*time.Minute)
	})
}

func TestWhatWasNotCopiedAnywhereDoesNotExist(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, _, _ := withDatabase(newShelf("disk"))
		m.Database = nil
		err := m.ExtractDatabase(t.Context(), "homelab-db-2000-01-01T00-00-00.db", io.Discard)
		require.ErrorIs(t, err, fs.ErrNotExist)
		require.NotErrorIs(t, err, errors.ErrUnsupported)
	})
}

func TestADrillThatIsLateTakesTheBackupAndNotTheCopyBesideIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		disk, drive := newShelf("disk"), newShelf("drive")
		m, _, events := withDatabase(disk, drive)
		m.Schedule, m.MinCopies = schedule.Daily{}, 2
		m.Drills.Schedule = schedule.Daily{}
		m.Drills.Scratch = scratch(backuptest.MapStore{"users": {}}, new(int))
		drive.set(nil, func(name string, r io.Reader) error {
			if strings.Contains(name, "-db-") {
				return errDown
			}
			return drive.Location.Put(t.Context(), name, r)
		})
		stop := running(t, m)
		time.Sleep(time.Minute / 2)
		require.Empty(t, events.of(manager.EventDrill), "the copy of the database is missing")
		drive.set(nil, nil)
		time.Sleep(2 * time.Hour)
		stop()
		drills := events.of(manager.EventDrill)
		require.Len(t, drills, 1)
		require.Equal(t, "homelab-backup-2000-01-01T00-00-00.json", drills[0].Backup)
		require.Contains(t, disk.all(t), drills[0].Backup+".drilled")
	})
}

// An unlisted location refuses List once it is told to.
type unlisted struct {
	*shelf
	refuses *atomic.Bool
}

func (l unlisted) List(ctx context.Context) ([]location.File, error) {
	if l.refuses.Load() {
		return nil, errDown
	}
	return l.shelf.List(ctx)
}

func TestAMarkThatIsNowhereIsAnError(t *testing.T) {
	bubble(t, func(t *testing.T) {
		disk, drive := unlisted{newShelf("disk"), new(atomic.Bool)}, newShelf("drive")
		m, host, _ := managed()
		m.Locations = []location.Location{disk, drive}
		host["servers"] = servers(214)
		mustCreate(t, m)
		for _, name := range []string{"servers", "applications", "settings"} {
			host[name] = map[string]string{}
		}
		time.Sleep(time.Hour)
		shrunk := mustCreate(t, m)
		require.NoError(t, m.Accept(t.Context(), shrunk.Name))

		// Only the disk has the new backup, and it cannot be used any more.
		drive.set(nil, func(name string, r io.Reader) error {
			if _, ok := m.App.ParseBackupName(name); ok {
				disk.refuses.Store(true)
				return errDown
			}
			return drive.Location.Put(t.Context(), name, r)
		})
		again, err := m.Rewrap(t.Context(), shrunk.Name, manager.RewrapOptions{})
		require.ErrorContains(t, err, "no location that can be used has a good copy of "+again.Name)
	})
}

func TestAnotherBackupOfOneNameIsComparedWithAGoodCopy(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b, c := newShelf("a"), newShelf("b"), newShelf("c")
		m, _ := small(a, b)
		made := mustCreate(t, m)
		a.alter(t, made.Name, func(s string) string { return s[:len(s)/2] })
		other, _ := small(c)
		other.Source = backuptest.MapStore{"users": {"2": `{"id":2}`}}
		var file bytes.Buffer
		_, err := other.App.Backup(t.Context(), &file, other.Source, backup.BackupOptions{CreatedAt: made.CreatedAt})
		require.NoError(t, err)
		require.NoError(t, c.Put(t.Context(), made.Name, &file))

		all, _ := small(a, b, c)
		copies := mustList(t, all)[0].Copies
		require.ErrorIs(t, copies[0].Err, backup.ErrDamaged)
		require.NoError(t, copies[1].Err)
		require.EqualError(t, copies[2].Err, "it is another backup than "+made.Name+" at b, under the same name")
	})
}

func TestRetentionThatWasNotAppliedIsNotToldAsApplied(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, _, events := managed(newShelf("disk"))
		m.Retention = backup.Retention{Last: 1}
		daysOf(t, m, "scheduled", "scheduled")
		m.Identities = []backup.Identity{testKey("another")}
		_, err := m.Prune(t.Context(), manager.PruneOptions{})
		require.ErrorIs(t, err, backup.ErrWrongKey)
		require.Empty(t, events.of(manager.EventPruned))
	})
}
