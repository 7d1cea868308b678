package backup_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

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

// peak returns how much memory of objects, also of dead ones, there is at most while
// run runs, above what there was before.
func peak(run func()) uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	read := func() uint64 {
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	runtime.GC()
	before, most := read(), uint64(0)
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
				most = max(most, read())
			}
		}
	}()
	run()
	close(done)
	<-stopped
	return most - min(most, before)
}

// Somebody without any key can have a server read such a file. Compressed, some of
// these are 1,000 times smaller.
func TestTheMemoryForAHostileFileIsBounded(t *testing.T) {
	testtime.NotForRace(t)
	endless := func(begin, each string) io.Reader {
		r, w := io.Pipe()
		go func() {
			buffered := bufio.NewWriterSize(w, 64<<10)
			buffered.WriteString(plainHead + begin)
			for i := 0; ; i++ {
				if _, err := fmt.Fprintf(buffered, each, i); err != nil {
					return
				}
			}
		}()
		t.Cleanup(func() { r.Close() })
		return r
	}
	long := strings.Repeat("k", 4000)
	keyBytes := testtime.Pick(t, 16<<20, 64<<20) // 64 MiB is the default
	for name, c := range map[string]struct {
		file io.Reader
		most uint64
	}{
		"long keys in a map":              {endless(`"data":{"settings":{`, `"`+long+`%d":0,`), 16 << 20},
		"long keys in an unknown map":     {endless(`"data":{"other":{`, `"`+long+`%d":0,`), 16 << 20},
		"short keys in a map":             {endless(`"data":{"settings":{`, `"%d":0,`), uint64(2 * keyBytes)},
		"names in a record":               {endless(`"data":{"users":[{"id":1`, `,"%x":0`), 128 << 20},
		"empty objects in a record":       {endless(`"data":{"users":[{"id":1,"x":[`, `{"%x":0},`), 128 << 20},
		"nested objects in a record":      {endless(`"data":{"users":[`, `{"%x":`), 128 << 20},
		"names in a member of the header": {endless(`"metadata":{`, `"%d":"",`), 32 << 20},
		"members of the header":           {endless(``, `"%d":"",`), 16 << 20},
		"collections":                     {endless(`"data":{`, `"c%d":[],`), 16 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			var err error
			took := peak(func() {
				_, err = backup.OpenSnapshot(t.Context(), c.file, backup.OpenOptions{Limits: backup.Limits{KeyBytes: int64(keyBytes)}, TempDir: testtime.MemoryDir(t)})
			})
			require.Error(t, err)
			t.Logf("%d MiB: %v", took>>20, err)
			require.Less(t, took, c.most)
		})
	}
}
