package manager_test

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/manager"
)

// holds lets a shelf have room for n backups. Leases need none.
func (s *shelf) holds(t *testing.T, n int) {
	s.set(nil, func(name string, r io.Reader) error {
		there := slices.DeleteFunc(s.names(t), func(name string) bool { return !strings.HasSuffix(name, ".json") })
		if strings.HasSuffix(name, ".json") && len(there) >= n {
			return fmt.Errorf("put %s: %w", name, syscall.ENOSPC)
		}
		return s.Location.Put(t.Context(), name, r)
	})
}

func TestAFullDiskIsFreedOfWhatRetentionWouldDelete(t *testing.T) {
	scheduled := backup.BackupOptions{Metadata: map[string]string{"trigger": "scheduled"}}
	bubble(t, func(t *testing.T) {
		disk := newShelf("disk")
		m, _, events := managed(disk)
		names := daysOf(t, m, repeat("scheduled", 3)...)
		disk.holds(t, 3)
		_, err := m.Create(t.Context(), scheduled)
		require.ErrorIs(t, err, syscall.ENOSPC, "everything is kept")
		require.Equal(t, names, disk.names(t))

		m.Retention = backup.Retention{Last: 3}
		b, err := m.Create(t.Context(), scheduled)
		require.NoError(t, err)
		require.Equal(t, append(names[1:], b.Name), disk.names(t))
		require.Len(t, events.of(manager.EventPruned), 1)
	})
}

func TestTheNewestGoodBackupStaysOnAFullDisk(t *testing.T) {
	scheduled := backup.BackupOptions{Metadata: map[string]string{"trigger": "scheduled"}}
	bubble(t, func(t *testing.T) {
		disk := newShelf("disk")
		m, _, _ := managed(disk)
		m.Retention = backup.Retention{Last: 1}
		names := daysOf(t, m, repeat("scheduled", 2)...)
		disk.holds(t, 0)
		for range 2 {
			_, err := m.Create(t.Context(), scheduled)
			require.ErrorIs(t, err, syscall.ENOSPC)
			require.Equal(t, names[1:], disk.names(t))
		}
	})
}

// fits lets a shelf have room for n files of any kind.
func (s *shelf) fits(t *testing.T, n int) {
	s.set(nil, func(name string, r io.Reader) error {
		if len(s.all(t)) >= n {
			return fmt.Errorf("put %s: %w", name, syscall.ENOSPC)
		}
		return s.Location.Put(t.Context(), name, r)
	})
}

func TestAFurtherFullDiskIsFreedOfWhatRetentionWouldDelete(t *testing.T) {
	scheduled := backup.BackupOptions{Metadata: map[string]string{"trigger": "scheduled"}}
	bubble(t, func(t *testing.T) {
		disk, drive := newShelf("disk"), newShelf("drive")
		m, host, events := managed(disk, drive)
		for i := range 3 { // so that the last one of the test has shrunk
			host["users"][fmt.Sprint(100+i)] = fmt.Sprintf(`{"id":%d,"name":"u%[1]d"}`, 100+i)
		}
		names := daysOf(t, m, repeat("scheduled", 3)...)
		drive.holds(t, 3)
		b, err := m.Create(t.Context(), scheduled)
		require.NoError(t, err, "everything is kept, and one copy is enough")
		require.ErrorIs(t, b.Copies[1].Err, syscall.ENOSPC)
		require.Equal(t, names, drive.names(t))
		require.NoError(t, m.Delete(t.Context(), b.Name))

		m.Retention, events.list = backup.Retention{Last: 3}, nil
		time.Sleep(time.Minute)
		b, err = m.Create(t.Context(), scheduled)
		require.NoError(t, err)
		require.NoError(t, b.Copies[1].Err)
		require.Equal(t, append(names[1:], b.Name), drive.names(t))
		require.Equal(t, append(names[:3:3], b.Name), disk.names(t), "there is room")
		require.Empty(t, events.of(manager.EventFailed))

		// What is filled in later gets room too.
		drive.set(errDown, nil)
		time.Sleep(time.Minute)
		_, err = m.Create(t.Context(), scheduled)
		require.NoError(t, err)
		drive.holds(t, 3)
		time.Sleep(time.Minute)
		events.list = nil
		last, err := m.Create(t.Context(), scheduled)
		require.NoError(t, err)
		require.NoError(t, last.Copies[1].Err)
		require.Empty(t, events.of(manager.EventFailed))
		require.Len(t, drive.names(t), 3)

		// A backup that has lost data costs no older backup.
		clear(host["users"])
		time.Sleep(time.Minute)
		before := drive.names(t)
		b, err = m.Create(t.Context(), scheduled)
		require.NoError(t, err)
		require.NotEmpty(t, b.Shrunk)
		require.ErrorIs(t, b.Copies[1].Err, syscall.ENOSPC)
		require.Equal(t, before, drive.names(t))
	})
}

func TestAFullDiskWithoutLocksIsHeldAndFreed(t *testing.T) {
	scheduled := backup.BackupOptions{Metadata: map[string]string{"trigger": "scheduled"}}
	bubble(t, func(t *testing.T) {
		disk := newShelf("disk")
		m, events := explaining(disk)
		m.Retention = backup.Retention{Last: 3}
		names := daysOf(t, m, repeat("scheduled", 3)...)
		disk.fits(t, 4) // these, and the README
		b, err := m.Create(t.Context(), scheduled)
		require.NoError(t, err)
		require.Equal(t, append(names[1:], b.Name), disk.all(t))
		require.Len(t, events.of(manager.EventPruned), 1)

		// A README that a person has changed stays.
		disk.set(nil, nil)
		disk.files()[readmeName] = "Ask Maria."
		disk.fits(t, 4)
		_, err = m.Create(t.Context(), scheduled)
		require.ErrorIs(t, err, syscall.ENOSPC)
		require.Equal(t, "Ask Maria.", disk.files()[readmeName])
	})
}

// An older backup that is filled in makes no room at the cost of others, while the backup
// that was just made has lost data.
func TestNoRoomIsMadeForOlderBackupsWhileTheNewOneHasShrunk(t *testing.T) {
	bubble(t, func(t *testing.T) {
		disk, drive := newShelf("disk"), newShelf("drive")
		m, host, _ := managed(disk, drive)
		m.Retention = backup.Retention{Last: 3}
		for i := range 10 {
			host["users"][fmt.Sprint(100+i)] = fmt.Sprintf(`{"id":%d,"name":"u%[1]d"}`, 100+i)
		}
		names := daysOf(t, m, repeat("scheduled", 3)...)
		drive.set(errDown, nil)
		scheduled(t, m)
		time.Sleep(time.Hour)
		drive.set(nil, nil)
		clear(host["users"])
		drive.holds(t, 4) // the new backup, and no more
		b := scheduled(t, m)
		require.NotEmpty(t, b.Shrunk)
		require.NoError(t, b.Copies[1].Err)
		require.Equal(t, append(names, b.Name), drive.names(t))
	})
}
