//go:build !race

package integration

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/manager"
)

// BenchmarkList lists 10,000 backups in a folder: with a Manager that knows
// nothing yet, and again.
func BenchmarkList(b *testing.B) {
	const backups = 10_000
	h := newHost(b, 5)
	db := h.open(b)
	m := h.manager(db)
	m.Locations = m.Locations[:1]
	created := time.Date(2020, time.January, 1, 0, 0, 0, 0, time.UTC)
	for i := range backups {
		at := created.Add(time.Duration(i) * time.Hour)
		f, err := os.OpenFile(filepath.Join(string(h.folder("a")), quickApp.BackupName(at)), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		require.NoError(b, err)
		_, err = quickApp.Backup(b.Context(), f, m.Source, backup.BackupOptions{CreatedAt: at, Recipients: m.Recipients, Metadata: map[string]string{"trigger": "scheduled"}})
		require.NoError(b, err)
		require.NoError(b, f.Close())
	}
	list := func(b *testing.B, m *manager.Manager) {
		list, err := m.List(b.Context())
		require.NoError(b, err)
		require.Len(b, list, backups)
		require.False(b, list[backups-1].Damaged)
	}
	report := func(b *testing.B) {
		b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N), "ms/op")
		b.ReportMetric(0, "ns/op")
	}
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			fresh := h.manager(db)
			fresh.Locations = m.Locations
			list(b, fresh)
		}
		report(b)
	})
	b.Run("again", func(b *testing.B) {
		list(b, m)
		for b.Loop() {
			list(b, m)
		}
		report(b)
	})
}
