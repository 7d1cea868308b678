package backup_test

import (
	"context"
	"io"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/testtime"
)

// An abyss is a host without records that forgets what is put into it.
type abyss struct{}

func (abyss) Update(ctx context.Context, write func(backup.Writer) error) error {
	return write(abyss{})
}

func (abyss) Keys(context.Context, string) iter.Seq2[string, error] {
	return func(func(string, error) bool) {}
}

func (abyss) Lookup(context.Context, string, []string) ([]backup.Record, error) { return nil, nil }
func (abyss) Put(context.Context, string, []backup.Record) error                { return nil }
func (abyss) Delete(context.Context, string, []string) error                    { return nil }

func TestMemoryDependsOnTheNumberOfKeysAndNotOnTheData(t *testing.T) {
	testtime.NotForRace(t)
	records := testtime.Pick(t, 60_000, 200_000) // of about 250 bytes: 15 or 50 MB
	app := benchApp("")
	ctx := t.Context()
	live := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "snapshot.json"))
	require.NoError(t, err)
	defer file.Close()

	var snapshot *backup.Snapshot
	for _, step := range []struct {
		name string
		run  func(func(backup.Progress)) error
	}{
		{"backup", func(progress func(backup.Progress)) error {
			_, err := app.Backup(ctx, file, generated(records), backup.BackupOptions{Progress: progress})
			return err
		}},
		{"open", func(progress func(backup.Progress)) (err error) {
			if _, err := file.Seek(0, io.SeekStart); err != nil {
				return err
			}
			snapshot, err = backup.OpenSnapshot(ctx, file, backup.OpenOptions{Progress: progress})
			return err
		}},
		{"verify", func(progress func(backup.Progress)) error {
			_, err := app.Verify(ctx, snapshot, backup.RestoreOptions{Progress: progress})
			return err
		}},
		{"plan", func(progress func(backup.Progress)) error {
			p, err := app.Plan(ctx, snapshot, abyss{}, backup.RestoreOptions{Progress: progress})
			if err != nil {
				return err
			}
			for _, err := range p.Changes(ctx) {
				if err != nil {
					return err
				}
			}
			return nil
		}},
		{"restore", func(progress func(backup.Progress)) error {
			_, err := app.Restore(ctx, snapshot, abyss{}, backup.RestoreOptions{Strategy: backup.Replace, Progress: progress})
			return err
		}},
	} {
		before, most, calls := live(), uint64(0), 0
		require.NoError(t, step.run(func(backup.Progress) {
			if calls++; calls%100 == 0 {
				most = max(most, live())
			}
		}), step.name)
		require.Greater(t, calls, 100, step.name)
		require.Less(t, most-min(most, before), uint64(12<<20), "%s: the keys alone may be held", step.name)
	}
	require.NoError(t, snapshot.Close())
}
