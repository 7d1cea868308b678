package backup_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
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

// A hostile snapshot of the host's own application refers to records that are not there.
func TestTheMemoryForReferencesIsBounded(t *testing.T) {
	testtime.NotForRace(t)
	app := &backup.App{Name: "homelab", Version: "2.1.0", SchemaVersion: 1, Collections: []backup.Collection{
		{Name: "users", Key: "/id", Refs: []backup.Ref{{Pointer: "/boss", Collection: "users"}, {Pointer: "/friends/*", Collection: "users"}}}}}
	const users = 100_000
	// The boss of each user comes later, and that of the last is boss.
	file := func(boss, more string) string {
		var text strings.Builder
		text.WriteString(plainHead + `"data":{"users":[`)
		for i := range users - 1 {
			fmt.Fprintf(&text, `{"id":%d,"boss":%d%s},`, i, users-1-i/2, more)
		}
		fmt.Fprintf(&text, `{"id":%d,"boss":%s}]}}`, users-1, boss)
		return text.String()
	}
	verify := func(t *testing.T, text string, opts backup.RestoreOptions) (report backup.Report, err error) {
		s, err := backup.OpenSnapshot(t.Context(), strings.NewReader(text), backup.OpenOptions{})
		require.NoError(t, err)
		defer s.Close()
		defer debug.SetGCPercent(debug.SetGCPercent(25)) // text is large, and garbage may be as large
		took := peak(func() { report, err = app.Verify(t.Context(), s, opts) })
		t.Logf("%d MiB", took>>20)
		require.Less(t, took, uint64(64<<20))
		return report, err
	}
	t.Run("all there", func(t *testing.T) {
		_, err := verify(t, file("0", ""), backup.RestoreOptions{})
		require.NoError(t, err)
	})
	t.Run("one not there", func(t *testing.T) {
		_, err := verify(t, file(`"nobody"`, ""), backup.RestoreOptions{})
		require.ErrorIs(t, err, backup.ErrDangling)
		require.ErrorContains(t, err, fmt.Sprintf(`users "%d" /boss (byte `, users-1))
		require.ErrorContains(t, err, `there is no "nobody" in users`)
	})
	t.Run("many not there", func(t *testing.T) {
		text := file("0", `,"friends":["a","b","c","d","e"]`)
		_, err := verify(t, text, backup.RestoreOptions{})
		require.ErrorIs(t, err, backup.ErrDangling)
		report, err := verify(t, text, backup.RestoreOptions{AllowDangling: true})
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("and %d more", 5*(users-1)-1000), report.Warnings[len(report.Warnings)-1])
	})
	t.Run("long keys", func(t *testing.T) {
		long := strings.Repeat("k", 1<<20)
		var text strings.Builder
		text.WriteString(plainHead + `"data":{"users":[`)
		for i := range 40 {
			fmt.Fprintf(&text, `{"id":"%s%d"},{"id":%d,"friends":{"%[1]s":"%[1]s"}},`, long, i, i)
		}
		text.WriteString(`{"id":"last"}]}}`)
		_, err := verify(t, text.String(), backup.RestoreOptions{LeaveOutInvalid: true, AllowDangling: true})
		require.NoError(t, err)
	})
}

// A snapshot may be made so that there is much to say about it.
func TestTheMemoryForInvalidRecordsIsBounded(t *testing.T) {
	testtime.NotForRace(t)
	app := benchApp(`{"properties":{"mail":{"format":"email"},"tags":{"items":{"type":"string"}},"more":{"additionalProperties":{"items":{"type":"string"}}}}}`)
	ones := func(n int) string { return strings.Repeat("1,", n-1) + "1" }
	many := testtime.Pick(t, 200_000, 1_000_000)
	long := strings.Repeat("m", 1<<17)
	for _, c := range []struct {
		name    string
		records int
		each    string // with the place of the key
		most    uint64
	}{
		{"many records", many, `{"id":"a key that is as long as a UUID %07d","mail":"nobody"}`, 64 << 20},
		{"many problems in some records", 16, `{"id":"%d","tags":[` + ones(99_990) + `]}`, 80 << 20},
		{"many problems in many records", 1000, `{"id":"%d","tags":[` + ones(2_000) + `]}`, 12 << 20},
		{"long values", 1000, `{"id":"%d","mail":"` + long + `"}`, 128 << 20},
		{"a long name with many values", 1000, `{"id":"%d","more":{"` + long + `":[` + ones(1_000) + `]}}`, 64 << 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			var text bytes.Buffer
			text.WriteString(plainHead[:strings.Index(plainHead, `"application"`)] + `"application":"bench","application_version":"1.0.0","data":{"servers":[`)
			for i := range c.records {
				if i > 0 {
					text.WriteByte(',')
				}
				fmt.Fprintf(&text, c.each, i)
			}
			text.WriteString(`]}}`)
			s, err := backup.OpenSnapshot(t.Context(), bytes.NewReader(text.Bytes()), backup.OpenOptions{})
			require.NoError(t, err)
			defer s.Close()
			defer debug.SetGCPercent(debug.SetGCPercent(25)) // text is large, and garbage may be as large
			for name, run := range map[string]func(opts backup.RestoreOptions) (backup.Report, error){
				"verify": func(opts backup.RestoreOptions) (backup.Report, error) { return app.Verify(t.Context(), s, opts) },
				"restore": func(opts backup.RestoreOptions) (backup.Report, error) {
					opts.Strategy = backup.Replace
					return app.Restore(t.Context(), s, abyss{}, opts)
				},
			} {
				var report backup.Report
				took := peak(func() { report, err = run(backup.RestoreOptions{LeaveOutInvalid: true}) })
				t.Logf("%s: %d MiB", name, took>>20)
				require.NoError(t, err)
				require.Equal(t, 1000, len(report.LeftOut))
				require.Less(t, took, c.most)
			}
		})
	}
}
