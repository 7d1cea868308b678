package backup_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
)

// crew has many records, some of which are not valid, and references in both directions.
type crew struct {
	records  int
	readFail int // the record before which reading fails; 0: none
	read     func(i int)
}

func (c crew) View(ctx context.Context, read func(backup.Reader) error) error { return read(c) }

func (c crew) Records(_ context.Context, collection string) iter.Seq2[backup.Record, error] {
	return func(yield func(backup.Record, error) bool) {
		for i := range c.records {
			if c.read != nil {
				c.read(i)
			}
			r := backup.Record{Value: fmt.Appendf(nil, `{"id":%d,"name":"member %d","boss":%d,"port":%d}`, i, i, (i*7919)%c.records, i%70_000)}
			switch {
			case i%50 == 49:
				r.Value = fmt.Appendf(nil, `{ "id": "\u006d%d", "boss": null }`, i)
			case i > 0 && i == c.readFail:
				yield(backup.Record{}, io.ErrUnexpectedEOF)
				return
			case i%1000 == 998:
				r.Value = []byte(`{"id":` + fmt.Sprint(i-1) + `}`) // the key of another
			case i%1500 == 1400:
				r.Value = []byte(`{"id":1,`)
			case i%1700 == 1600:
				r.Value = fmt.Appendf(nil, `{"id":%d,"boss":"nobody %[1]d"}`, i)
			}
			if !yield(r, nil) {
				return
			}
		}
	}
}

func crewApp() *backup.App {
	return &backup.App{Name: "crew", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{{
		Name: "members", Key: "/id", Refs: []backup.Ref{{Pointer: "/boss", Collection: "members"}},
		Schema: []byte(`{"properties":{"port":{"type":"integer","maximum":65535}}}`),
	}}}
}

// eachWay runs a test with one processor, and with several.
func eachWay(t *testing.T, test func(t *testing.T)) {
	for _, n := range []int{1, 4} {
		t.Run(fmt.Sprintf("%d processors", n), func(t *testing.T) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(n))
			before := runtime.NumGoroutine()
			test(t)
			for end := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before && time.Now().Before(end); {
				runtime.Gosched()
			}
			require.LessOrEqual(t, runtime.NumGoroutine(), before, "no goroutine outlives its call")
		})
	}
}

func TestABackupIsTheSameWithOneProcessorAndWithSeveral(t *testing.T) {
	var files []string
	var told []string
	var refused []string
	eachWay(t, func(t *testing.T) {
		var file bytes.Buffer
		var progress []backup.Progress
		m, err := crewApp().Backup(t.Context(), &file, crew{records: 30_000}, backup.BackupOptions{CreatedAt: at, LeaveOutInvalid: true,
			Progress: func(p backup.Progress) { progress = append(progress, p) }})
		require.NoError(t, err)
		require.Greater(t, len(progress), 100)
		files = append(files, file.String()+fmt.Sprint(m))
		told = append(told, fmt.Sprint(progress))
		_, err = crewApp().Backup(t.Context(), io.Discard, crew{records: 10_000}, backup.BackupOptions{CreatedAt: at})
		require.ErrorIs(t, err, backup.ErrInvalid)
		refused = append(refused, err.Error())

		s, err := backup.OpenSnapshot(t.Context(), bytes.NewReader(file.Bytes()), backup.OpenOptions{})
		require.NoError(t, err)
		progress = nil
		report, err := crewApp().Verify(t.Context(), s, backup.RestoreOptions{AllowDangling: true, Progress: func(p backup.Progress) { progress = append(progress, p) }})
		require.NoError(t, err)
		report.Duration = 0
		files[len(files)-1] += fmt.Sprint(report)
		told[len(told)-1] += fmt.Sprint(progress)
		require.NoError(t, s.Close())
	})
	require.Equal(t, files[0], files[1])
	require.Equal(t, told[0], told[1])
	require.Equal(t, refused[0], refused[1])
}

// A wall is a Writer that takes so many bytes, and then calls end.
type wall struct {
	left int
	end  func() error
}

func (w *wall) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, w.end()
	}
	return len(p), nil
}

var errWall = errors.New("the disk is full")

func TestABackupEndsWhereReadingOrWritingEnds(t *testing.T) {
	const records = 12_000
	opts := backup.BackupOptions{CreatedAt: at, LeaveOutInvalid: true}
	eachWay(t, func(t *testing.T) {
		var read atomic.Int64
		counting := crew{records: records, read: func(i int) { read.Store(int64(i)) }}

		_, err := crewApp().Backup(t.Context(), &wall{100_000, func() error { return errWall }}, counting, opts)
		require.ErrorIs(t, err, errWall)
		require.Less(t, read.Load(), int64(records*3/4), "nothing is read for a file that cannot be written")

		_, err = crewApp().Backup(t.Context(), io.Discard, crew{records: records, readFail: 6_001}, opts)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)

		_, err = crewApp().Backup(t.Context(), &wall{100_000, func() error { return errWall }}, crew{records: records, readFail: 5_900}, opts)
		require.ErrorIs(t, err, errWall, "what is written before the place counts first")

		ctx, cancel := context.WithCancel(t.Context())
		_, err = crewApp().Backup(ctx, io.Discard, crew{records: records, read: func(i int) {
			if read.Store(int64(i)); i == 6_000 {
				cancel()
			}
		}}, opts)
		require.ErrorIs(t, err, context.Canceled)
		require.Less(t, read.Load(), int64(11_000))
	})
}

// What panics or ends its goroutine does so in the goroutine that called.
func TestAPanicOfTheHostReachesTheCaller(t *testing.T) {
	const records = 12_000
	opts := backup.BackupOptions{CreatedAt: at, LeaveOutInvalid: true}
	eachWay(t, func(t *testing.T) {
		require.PanicsWithValue(t, "written", func() {
			crewApp().Backup(t.Context(), &wall{100_000, func() error { panic("written") }}, crew{records: records}, opts)
		})
		require.PanicsWithValue(t, "read", func() {
			crewApp().Backup(t.Context(), io.Discard, crew{records: records, read: func(i int) {
				if i == 6_000 {
					panic("read")
				}
			}}, opts)
		})
		require.PanicsWithValue(t, "told", func() {
			told := opts
			told.Progress = func(p backup.Progress) {
				if p.Records > 6_000 {
					panic("told")
				}
			}
			crewApp().Backup(t.Context(), io.Discard, crew{records: 12_000}, told)
		})
		ended, returned := make(chan struct{}), false
		go func() {
			defer close(ended)
			crewApp().Backup(t.Context(), &wall{100_000, func() error { runtime.Goexit(); return nil }}, crew{records: records}, opts)
			returned = true
		}()
		<-ended
		require.False(t, returned)
	})
}

// Only the goroutine that calls Verify or Restore calls the host.
func TestMigratorsRunInTheGoroutineOfTheCaller(t *testing.T) {
	app := crewApp()
	var file bytes.Buffer
	_, err := app.Backup(t.Context(), &file, crew{records: 10_000}, backup.BackupOptions{CreatedAt: at, LeaveOutInvalid: true})
	require.NoError(t, err)
	eachWay(t, func(t *testing.T) {
		s, err := backup.OpenSnapshot(t.Context(), bytes.NewReader(file.Bytes()), backup.OpenOptions{})
		require.NoError(t, err)
		newer := crewApp()
		newer.SchemaVersion = 2
		records := 0 // the race detector watches it
		newer.Migrators = []backup.Migrator{backup.Migration(1, func(_ context.Context, collection string, r backup.Record, emit func(string, backup.Record) error) error {
			if records++; records == 7_000 {
				panic("migrated")
			}
			return emit(collection, r)
		})}
		require.PanicsWithValue(t, "migrated", func() {
			newer.Verify(t.Context(), s, backup.RestoreOptions{AllowDangling: true})
		})
		require.NoError(t, s.Close())
	})
}
