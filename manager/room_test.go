package manager_test

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"
	"testing"

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
