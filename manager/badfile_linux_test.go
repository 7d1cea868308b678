package manager_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/testtime"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
)

// An opening is a folder of which some files do not open.
type opening struct {
	location.Dir
	open func(ctx context.Context, name string) error
}

func (l opening) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	if err := l.open(ctx, name); err != nil {
		return nil, err
	}
	return l.Dir.Open(ctx, name)
}

const (
	badName   = "homelab-backup-1999-01-01T00-00-00.json"
	badHeader = `{"version":"1.0","created_at":"1999-01-01T00:00:00Z","application":"homelab","application_version":"1.0.0","schema_version":1,`
)

// checkList lists a folder with three good backups and a bad file. It returns the entry of
// the file, or nil.
func checkList(t *testing.T, m *manager.Manager, good []string, bad string) *manager.Backup {
	t.Helper()
	list, err := m.List(t.Context())
	require.NoError(t, err)
	_, err = json.Marshal(list)
	require.NoError(t, err, "the list can be shown")
	var entry *manager.Backup
	found := 0
	for _, b := range list {
		if b.Name == bad {
			entry = &b
			continue
		}
		require.Contains(t, good, b.Name)
		require.False(t, b.Damaged, "%s: %v", b.Name, b.Copies)
		found++
	}
	require.Equal(t, len(good), found)
	return entry
}

func TestOneBadFileNeverHidesTheOthers(t *testing.T) {
	text := func(text string) func(t *testing.T, path string) {
		return func(t *testing.T, path string) { require.NoError(t, os.WriteFile(path, []byte(text), 0o600)) }
	}
	at := func(created string) func(*testing.T, string) {
		return text(strings.Replace(badHeader, "1999-01-01T00:00:00Z", created, 1) + `"data":{}}`)
	}
	for name, c := range map[string]struct {
		name  string // empty: badName
		make  func(t *testing.T, path string)
		open  error
		shown bool
	}{
		"before the year 0":         {make: at("0000-01-01T00:00:00+23:59"), shown: true},
		"after the year 9999":       {make: at("9999-12-31T23:59:59-01:00"), shown: true},
		"an offset of a day":        {make: at("1999-01-01T00:00:00+24:00"), shown: true},
		"the last year":             {name: "homelab-backup-9999-12-31T23-59-59.json", make: at("9999-12-31T00:00:59-23:59"), shown: true},
		"the first year":            {name: "homelab-backup-0000-01-01T00-00-00.json", make: at("0000-01-01T23:59:00+23:59"), shown: true},
		"empty":                     {make: text(""), shown: true},
		"empty, compressed":         {name: badName + ".zst", make: text(""), shown: true},
		"empty, encrypted":          {name: badName + ".age", make: text(""), shown: true},
		"no JSON":                   {make: text("\x00\xff\x00"), shown: true},
		"null":                      {make: text("null"), shown: true},
		"another format":            {make: text(`{"version":"7.0"}`), shown: true},
		"of another application":    {make: text(strings.Replace(badHeader, "homelab", "other", 1) + `"data":{}}`)},
		"of no application":         {make: text(strings.Replace(badHeader, `"application":"homelab",`, "", 1) + `"data":{}}`), shown: true},
		"salvaged from nothing":     {make: text(badHeader + `"salvaged":{"lost_bytes":-1},"data":{}}`), shown: true},
		"a long key":                {make: text(badHeader + `"data":{"settings":{"` + strings.Repeat("k", 10_000) + `":1}}}`), shown: true},
		"cannot be opened":          {make: text(badHeader + `"data":{}}`), open: fs.ErrPermission, shown: true},
		"cannot be read":            {make: text(badHeader + `"data":{}}`), open: syscall.EIO, shown: true},
		"goes while it is listed":   {make: text(badHeader + `"data":{}}`), open: fs.ErrNotExist},
		"a folder":                  {make: func(t *testing.T, path string) { require.NoError(t, os.Mkdir(path, 0o700)) }},
		"a FIFO":                    {make: func(t *testing.T, path string) { require.NoError(t, syscall.Mkfifo(path, 0o600)) }},
		"a link to nothing":         {make: func(t *testing.T, path string) { require.NoError(t, os.Symlink("nothing", path)) }},
		"a link to itself":          {make: func(t *testing.T, path string) { require.NoError(t, os.Symlink(filepath.Base(path), path)) }},
		"a note without its backup": {name: badName + ".age.manifest", make: text("{}")},
		"changed in a distant year": {make: func(t *testing.T, path string) {
			text(badHeader+`"data":{}}`)(t, path)
			distant := syscall.Timespec{Sec: seconds(syscall.Timespec{}.Sec, time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC))} // os.Chtimes would overflow
			require.NoError(t, syscall.UtimesNano(path, []syscall.Timespec{distant, distant}))
		}, shown: true},
	} {
		t.Run(name, func(t *testing.T) {
			if c.name == "" {
				c.name = badName
			}
			dir := testtime.MemoryDir(t)
			m, _ := small(opening{location.Dir(dir), func(_ context.Context, name string) error {
				if name == c.name && c.open != nil {
					return &fs.PathError{Op: "open", Path: name, Err: c.open}
				}
				return nil
			}})
			var good []string
			for i := range 3 {
				b, err := m.Create(t.Context(), backup.BackupOptions{CreatedAt: time.Date(2024, 1, 15, 10, 30, i, 0, time.UTC)})
				require.NoError(t, err)
				good = append(good, b.Name)
			}
			c.make(t, filepath.Join(dir, c.name))
			for range 2 { // the second time it remembers
				entry := checkList(t, m, good, c.name)
				require.Equal(t, c.shown, entry != nil)
				if c.open != nil && c.shown {
					require.ErrorIs(t, entry.Copies[0].Err, c.open)
				}
			}
		})
	}
}

func TestABadNoteHidesNothing(t *testing.T) {
	for name, alter := range map[string]func(note string) string{
		"empty":     func(string) string { return "" },
		"no JSON":   func(note string) string { return note[1:] },
		"too large": func(note string) string { return note + strings.Repeat(" ", 1<<20) },
		"an offset of a day": func(note string) string {
			return strings.Replace(note, "2024-01-15T10:30:00Z", "2024-01-16T10:30:00+24:00", 1)
		},
		"before the year 0": func(note string) string {
			return strings.Replace(note, "2024-01-15T10:30:00Z", "0000-01-01T00:00:00+23:59", 1)
		},
		"after the year 9999": func(note string) string {
			return strings.Replace(note, "2024-01-15T10:30:00Z", "9999-12-31T23:59:59-01:00", 1)
		},
		"another offset": func(note string) string {
			return strings.Replace(note, "2024-01-15T10:30:00Z", "2024-01-15T12:30:00+02:00", 1)
		},
		"a long number": func(note string) string {
			return strings.Replace(note, `"bytes":`, `"bytes":9`+strings.Repeat("9", 30), 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := testtime.MemoryDir(t)
			m, _ := small(location.Dir(dir))
			m.Compress = backup.Gzip
			b, err := m.Create(t.Context(), backup.BackupOptions{CreatedAt: time.Date(2024, 1, 15, 10, 30, 0, 0, time.UTC)})
			require.NoError(t, err)
			path := filepath.Join(dir, b.Name+".manifest")
			note, err := os.ReadFile(path)
			require.NoError(t, err)
			altered := alter(string(note))
			require.NotEqual(t, string(note), altered)
			require.NoError(t, os.WriteFile(path, []byte(altered), 0o600))
			fresh, _ := small(location.Dir(dir))
			require.Nil(t, checkList(t, fresh, []string{b.Name}, badName))
			list := mustList(t, fresh)
			require.Equal(t, b.CreatedAt, list[0].CreatedAt)
			require.Equal(t, b.CreatedAt, list[0].Manifest.CreatedAt)
		})
	}
}

// Open of a file that never answers keeps the list waiting for a minute.
func TestAFileThatDoesNotAnswerHidesNoOther(t *testing.T) {
	bubble(t, func(t *testing.T) {
		disk := newShelf("disk")
		m, _ := small(disk)
		var made []manager.Backup
		for range 20 {
			made = append(made, mustCreate(t, m))
			time.Sleep(time.Minute)
		}
		hung := hungFiles{disk, map[string]bool{made[3].Name: true}, make(chan struct{})}
		defer close(hung.over)
		fresh, _ := small(hung)
		list, err := fresh.List(t.Context())
		require.NoError(t, err)
		require.Len(t, list, 20)
		for _, b := range list {
			require.Equal(t, b.Name == made[3].Name, b.Damaged)
		}
		bad := list[len(list)-1-3]
		require.ErrorContains(t, bad.Copies[0].Err, "it does not answer")
		require.Equal(t, made[3].CreatedAt, bad.CreatedAt)

		// A goroutine that was given up may still look into the first map.
		most := hungFiles{disk, map[string]bool{}, hung.over}
		for _, b := range made[3:] {
			most.names[b.Name] = true
		}
		start := time.Now()
		fresh, _ = small(most)
		_, err = fresh.List(t.Context())
		require.ErrorContains(t, err, "disk: it does not answer", "it is not each file")
		require.Less(t, time.Since(start), 5*time.Minute)
	})
}

// hungFiles is a shelf of which some files do not answer.
type hungFiles struct {
	*shelf
	names map[string]bool
	over  chan struct{}
}

func (l hungFiles) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	if l.names[name] {
		<-l.over
		return nil, errors.New("over")
	}
	return l.shelf.Open(ctx, name)
}

// blind is a shelf that cannot tell the size of a file.
type blind struct {
	*shelf
	name string
}

func (l blind) List(ctx context.Context) ([]location.File, error) {
	files, err := l.shelf.List(ctx)
	for i := range files {
		if files[i].Name == l.name {
			files[i] = location.File{Name: l.name, Bytes: -1}
		}
	}
	return files, err
}

func TestAFileWithoutASizeIsNotCalledDamagedByItsNote(t *testing.T) {
	bubble(t, func(t *testing.T) {
		disk := newShelf("disk")
		m, _ := small(disk)
		m.Compress = backup.Gzip
		made := mustCreate(t, m)
		time.Sleep(time.Hour)
		good := mustCreate(t, m)
		fresh, _ := small(blind{disk, made.Name})
		bad := checkList(t, fresh, []string{good.Name}, made.Name)
		require.Error(t, bad.Copies[0].Err)
		require.NotErrorIs(t, bad.Copies[0].Err, backup.ErrDamaged)
		require.Zero(t, bad.Bytes)
	})
}

// seconds has the size that a Timespec has here. 32 bits hold no distant year.
func seconds[T int32 | int64](_ T, t time.Time) T { return T(t.Unix()) }
