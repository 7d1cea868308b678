package manager_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/envelope"
	"github.com/tomo-project/backup/internal/filename"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
)

// keep puts n backups of a Manager into each of its folders, an hour apart. The newest is
// a day old.
func keep(t testing.TB, m *manager.Manager, n int) {
	newest := time.Now().Truncate(time.Second).Add(-oneDay)
	for i := range n {
		at := newest.Add(-time.Duration(n-i) * time.Hour)
		var file bytes.Buffer
		_, err := m.App.Backup(t.Context(), &file, m.Source, backup.BackupOptions{
			CreatedAt: at, Installation: m.Installation, Serial: int64(i + 1), Metadata: map[string]string{backup.MetaTrigger: manager.TriggerScheduled},
		})
		require.NoError(t, err)
		for _, l := range m.Locations {
			path := filepath.Join(string(l.(location.Dir)), filename.New(m.App.Name, at, 1, envelope.Kind{}).String())
			require.NoError(t, os.WriteFile(path, file.Bytes(), 0o600))
		}
	}
}

// processorTime returns how long the processors have worked for this process.
func processorTime(b *testing.B) time.Duration {
	var used syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// A backup costs the same however many are kept (DESIGN, "Speed"), unless something else was
// changed since the last backup. The Managers work in turns, so that what else the machine
// does weighs on all of them.
func BenchmarkCreateWithManyKept(b *testing.B) {
	benchmarkKept(b, "alone", func(*manager.Manager, string) error { return nil })
	benchmarkKept(b, "deleted", func(m *manager.Manager, name string) error { return m.Delete(b.Context(), name) })
}

func benchmarkKept(b *testing.B, name string, after func(m *manager.Manager, name string) error) {
	for _, folders := range []int{1, 2} {
		b.Run(fmt.Sprintf("%s/folders=%d", name, folders), func(b *testing.B) {
			counts := []int{10, 1000, 10_000}
			took, worked := make([]time.Duration, len(counts)), make([]time.Duration, len(counts))
			managers := make([]*manager.Manager, len(counts))
			create := func(m *manager.Manager) (took, worked time.Duration) {
				start, before := time.Now(), processorTime(b)
				made, err := m.Create(b.Context(), backup.BackupOptions{})
				took, worked = time.Since(start), processorTime(b)-before
				require.NoError(b, err)
				require.NoError(b, after(m, made.Name))
				return took, worked
			}
			for i, n := range counts {
				m := notesIn(b.TempDir(), notes("a", "b", "c"))
				for range folders - 1 {
					m.Locations = append(m.Locations, location.Dir(b.TempDir()))
				}
				managers[i] = m
				keep(b, m, n)
				create(m) // it looks into the files
			}
			for b.Loop() {
				for i, m := range managers {
					t, w := create(m)
					took[i], worked[i] = took[i]+t, worked[i]+w
				}
			}
			for i, n := range counts {
				b.ReportMetric(float64(took[i].Microseconds())/1000/float64(b.N), fmt.Sprintf("ms/%d-kept", n))
				b.ReportMetric(float64(worked[i].Microseconds())/1000/float64(b.N), fmt.Sprintf("cpu-ms/%d-kept", n))
			}
			b.ReportMetric(float64(took[2])/float64(took[0]), "ratio")
			b.ReportMetric(float64(worked[2])/float64(worked[0]), "cpu-ratio")
		})
	}
}
