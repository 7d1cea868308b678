package manager_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/internal/testtime"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
)

// A countedDir counts how often it is listed.
type countedDir struct {
	location.Dir
	lists  int
	before func(name string) error // called before a Put, if not nil
}

func (d *countedDir) List(ctx context.Context) ([]location.File, error) {
	d.lists++
	return d.Dir.List(ctx)
}

func (d *countedDir) Put(ctx context.Context, name string, r io.Reader) error {
	if d.before != nil {
		if err := d.before(name); err != nil {
			return err
		}
	}
	return d.Dir.Put(ctx, name, r)
}

func (d *countedDir) path(name string) string { return filepath.Join(string(d.Dir), name) }

// settled returns a Manager with folders that each have three backups of it, so that it
// needs no list for the next one. The times are those of the test.
func settled(t *testing.T, folders int, adapt func(*manager.Manager)) (m *manager.Manager, dirs []*countedDir, host backuptest.MapStore, made []manager.Backup) {
	t.Helper()
	m, host, _ = managed()
	m.Installation, m.NoReadme = "home", false
	for range folders {
		d := &countedDir{Dir: location.Dir(testtime.MemoryDir(t))}
		if _, err := d.Watch(t.Context()); errors.Is(err, errors.ErrUnsupported) {
			t.Skip(err)
		}
		dirs, m.Locations = append(dirs, d), append(m.Locations, d)
	}
	if adapt != nil {
		adapt(m)
	}
	for i := range 3 {
		b, err := m.Create(t.Context(), backup.BackupOptions{CreatedAt: time.Now().Add(-2000*time.Hour + time.Duration(i)*time.Second)})
		require.NoError(t, err)
		made = append(made, b)
	}
	requireLists(t, dirs, 1)
	return m, dirs, host, made
}

func requireLists(t testing.TB, dirs []*countedDir, n int) {
	t.Helper()
	for _, d := range dirs {
		require.Equal(t, n, d.lists, "lists of %s", d)
		d.lists = 0
	}
}

func TestACreateListsNothingWhereNobodyHasChangedAFile(t *testing.T) {
	for _, folders := range []int{1, 2} {
		for name, adapt := range map[string]func(*manager.Manager){
			"plain":           nil,
			"compressed":      func(m *manager.Manager) { m.Compress = backup.Zstd },
			"no README":       func(m *manager.Manager) { m.NoReadme = true },
			"no installation": func(m *manager.Manager) { m.Installation = "" },
			"a retention":     func(m *manager.Manager) { m.Retention = backup.Retention{Last: 1} },
		} {
			t.Run(fmt.Sprint(name, ", ", folders), func(t *testing.T) {
				m, dirs, _, made := settled(t, folders, adapt)
				for range 3 {
					made = append(made, mustCreate(t, m))
				}
				requireLists(t, dirs, 0)
				list := mustList(t, m)
				require.Len(t, list, len(made))
				for i, b := range made {
					found := list[len(list)-1-i]
					require.Equal(t, b.Name, found.Name)
					require.Len(t, found.Copies, folders)
					if m.Installation != "" {
						require.EqualValues(t, i+1, b.Manifest.Serial)
					}
				}
			})
		}
	}
}

func TestACreateNoticesWhatHasChangedSinceTheLast(t *testing.T) {
	ctx := t.Context()
	type state struct {
		m    *manager.Manager
		dirs []*countedDir
		made []manager.Backup
	}
	for name, change := range map[string]func(t *testing.T, s state){
		"a backup is deleted by hand": func(t *testing.T, s state) { require.NoError(t, os.Remove(s.dirs[0].path(s.made[0].Name))) },
		"a backup is altered in place": func(t *testing.T, s state) {
			require.NoError(t, os.Truncate(s.dirs[0].path(s.made[0].Name), 100))
		},
		"a backup has another time": func(t *testing.T, s state) {
			require.NoError(t, os.Chtimes(s.dirs[0].path(s.made[0].Name), time.Now(), time.Unix(1, 0)))
		},
		"another file appears": func(t *testing.T, s state) {
			require.NoError(t, os.WriteFile(s.dirs[0].path("x"), nil, 0o600))
		},
		"Delete": func(t *testing.T, s state) { require.NoError(t, s.m.Delete(ctx, s.made[0].Name)) },
		"Prune": func(t *testing.T, s state) {
			_, err := s.m.Create(ctx, backup.BackupOptions{Metadata: map[string]string{"trigger": "scheduled"}})
			require.NoError(t, err)
			_, err = s.m.Prune(ctx, manager.PruneOptions{Manual: true})
			require.NoError(t, err)
		},
		"a restore": func(t *testing.T, s state) {
			snapshot, err := s.m.Open(ctx, s.made[0].Name)
			require.NoError(t, err)
			defer snapshot.Close()
			_, err = s.m.Restore(ctx, snapshot, backup.RestoreOptions{Strategy: backup.Replace})
			require.NoError(t, err)
		},
		"a verification finds out something": func(t *testing.T, s state) {
			_, err := s.m.Verify(ctx, s.made[0].Name)
			require.NoError(t, err)
		},
		"a folder is put in the place of another": func(t *testing.T, s state) {
			require.NoError(t, os.Rename(string(s.dirs[0].Dir), s.dirs[0].String()+"-x"))
			require.NoError(t, os.CopyFS(string(s.dirs[0].Dir), os.DirFS(s.dirs[0].String()+"-x")))
		},
		"the clock is set back": func(t *testing.T, s state) {
			_, err := s.m.Create(ctx, backup.BackupOptions{CreatedAt: time.Now().Add(oneDay)})
			require.NoError(t, err)
			requireLists(t, s.dirs, 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, dirs, _, made := settled(t, 2, func(m *manager.Manager) { m.Retention = backup.Retention{Last: 2} })
			change(t, state{m, dirs, made})
			for _, d := range dirs {
				d.lists = 0
			}
			next := mustCreate(t, m)
			requireLists(t, dirs, 1)
			require.Len(t, next.Copies, 2)
		})
	}
}

func TestASecondProcessGetsNoSerialTwice(t *testing.T) {
	m, dirs, host, _ := settled(t, 1, nil)
	other, _, _ := managed()
	other.Installation, other.Source, other.Locations = m.Installation, host, m.Locations
	for serial := int64(4); serial < 12; serial++ {
		by := []*manager.Manager{m, other}[serial/2%2]
		require.Equal(t, serial, mustCreate(t, by).Manifest.Serial)
	}
	requireLists(t, dirs, 3)
}

func TestABackupFromElsewhereCountsForTheNextSerial(t *testing.T) {
	m, dirs, _, _ := settled(t, 1, nil)
	elsewhere, from, _, _ := settled(t, 1, nil)
	b := mustCreate(t, elsewhere)
	for range 3 {
		b = mustCreate(t, elsewhere)
	}
	text, err := os.ReadFile(from[0].path(b.Name))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(dirs[0].path(b.Name), text, 0o600))
	require.Equal(t, b.Manifest.Serial+1, mustCreate(t, m).Manifest.Serial)
}

func TestWhatIsChangedDuringACreateIsNoticedByTheNext(t *testing.T) {
	m, dirs, _, made := settled(t, 1, nil)
	dirs[0].before = func(string) error {
		dirs[0].before = nil
		return os.Remove(dirs[0].path(made[0].Name))
	}
	mustCreate(t, m)
	requireLists(t, dirs, 0)
	mustCreate(t, m)
	requireLists(t, dirs, 1)
	mustCreate(t, m)
	requireLists(t, dirs, 0)
}

func TestACopyThatIsMissingIsFilledInByTheNextCreate(t *testing.T) {
	for name, breaks := range map[string]func(t *testing.T, m *manager.Manager, path, name string){
		"it was deleted": func(t *testing.T, m *manager.Manager, path, _ string) { require.NoError(t, os.Remove(path)) },
		"it is damaged":  func(t *testing.T, m *manager.Manager, path, _ string) { require.NoError(t, os.Truncate(path, 100)) },
		"a verification has found it damaged": func(t *testing.T, m *manager.Manager, path, name string) {
			_, err := m.Verify(t.Context(), name)
			require.Error(t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			var m *manager.Manager
			m, dirs, _, made := settled(t, 2, nil)
			path := dirs[1].path(made[0].Name)
			whole, err := os.ReadFile(path)
			require.NoError(t, err)
			if strings.HasPrefix(name, "a verification") { // of what the list does not look at
				text := strings.Replace(string(whole), `"name"`, `"nam_"`, 1)
				require.NotEqual(t, string(whole), text)
				require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
				mustCreate(t, m)
				mustCreate(t, m)
				for _, d := range dirs {
					d.lists = 0
				}
				mustCreate(t, m)
				requireLists(t, dirs, 0)
			}
			breaks(t, m, path, made[0].Name)
			mustCreate(t, m)
			again, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, string(whole), string(again))
			for range 2 {
				mustCreate(t, m)
			}
			for _, d := range dirs {
				d.lists = 0
			}
			mustCreate(t, m)
			requireLists(t, dirs, 0)
		})
	}
}

func TestACopyThatCouldNotBeMadeIsMadeByALaterCreate(t *testing.T) {
	m, dirs, _, _ := settled(t, 2, nil)
	b, failing := manager.Backup{}, true
	dirs[1].before = func(name string) error {
		if failing && (b.Name == "" || b.Name == name) {
			return errDown
		}
		return nil
	}
	b = mustCreate(t, m)
	for range 2 {
		require.NoFileExists(t, dirs[1].path(b.Name))
		mustCreate(t, m)
	}
	failing = false
	mustCreate(t, m)
	require.FileExists(t, dirs[1].path(b.Name))
}

func TestACopyThatWasFoundDamagedIsReplacedAlthoughNoFileHasChanged(t *testing.T) {
	m, dirs, _, made := settled(t, 2, nil)
	path := dirs[0].path(made[0].Name)
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	text := strings.Replace(string(whole), `"name"`, `"nam_"`, 1)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	for range 3 {
		mustCreate(t, m)
	}
	for _, d := range dirs {
		d.lists = 0
	}
	mustCreate(t, m)
	requireLists(t, dirs, 0)

	snapshot, err := m.Open(t.Context(), made[0].Name)
	require.NoError(t, err, "from the other location")
	require.NoError(t, snapshot.Close())
	mustCreate(t, m)
	again, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(whole), string(again))
}

func TestABackupThatEachCreateTellsOfIsToldOfEachTime(t *testing.T) {
	events := &eventLog{}
	m, dirs, _, _ := settled(t, 1, func(m *manager.Manager) { m.OnEvent = events.add })
	var file bytes.Buffer
	at := time.Now().Add(-3000 * time.Hour)
	_, err := m.App.Backup(t.Context(), &file, m.Source, backup.BackupOptions{CreatedAt: at, Installation: m.Installation, Serial: 1 << 40, Recipients: sealed})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(dirs[0].path(m.App.BackupName(at)), file.Bytes(), 0o600))
	for n := range 4 {
		require.Len(t, events.of(manager.EventFailed), n)
		mustCreate(t, m)
	}
}

func TestTwoBackupsOfASecondHaveTwoNamesWhateverTheirEndings(t *testing.T) {
	m, dirs, _, _ := settled(t, 1, nil)
	at := time.Now().Add(-time.Hour).Truncate(time.Second)
	for i, compress := range []backup.Compression{"", backup.Zstd, "", backup.Gzip} {
		b, err := m.Create(t.Context(), backup.BackupOptions{CreatedAt: at.Add(time.Duration(i) * time.Millisecond), Compress: compress})
		require.NoError(t, err)
		stem, _, _ := strings.Cut(b.Name, ".")
		require.Equal(t, i > 0, strings.HasSuffix(stem, fmt.Sprint("-", i+1)), b.Name)
	}
	require.Less(t, dirs[0].lists, 4)
}

func TestAREADMEThatWasDeletedIsMadeAnewByTheNextCreate(t *testing.T) {
	m, dirs, _, _ := settled(t, 1, nil)
	readme := dirs[0].path("homelab-backup-README.txt")
	require.NoError(t, os.Remove(readme))
	mustCreate(t, m)
	require.FileExists(t, readme)
}

func TestALossShowsWithoutAList(t *testing.T) {
	m, dirs, host, _ := settled(t, 1, nil)
	for i := range 30 {
		host["users"][fmt.Sprint(100+i)] = fmt.Sprintf(`{"id":%d,"name":"u%[1]d"}`, 100+i)
	}
	require.Empty(t, mustCreate(t, m).Shrunk)
	for i := range 30 {
		delete(host["users"], fmt.Sprint(100+i))
	}
	for range 2 {
		require.NotEmpty(t, mustCreate(t, m).Shrunk)
	}
	requireLists(t, dirs, 0)
	require.NotEmpty(t, mustList(t, m)[0].Shrunk, "as in a list")
}

func TestAFullDiskIsFreedByANewList(t *testing.T) {
	events := &eventLog{}
	m, dirs, _, _ := settled(t, 1, func(m *manager.Manager) { m.OnEvent = events.add })
	m.Retention = backup.Retention{Last: 2}
	scheduled := func(i int) backup.BackupOptions {
		return backup.BackupOptions{CreatedAt: time.Now().Add(time.Duration(i)*time.Hour - oneDay), Metadata: map[string]string{"trigger": "scheduled"}}
	}
	var made []manager.Backup
	for i := range 4 {
		b, err := m.Create(t.Context(), scheduled(i))
		require.NoError(t, err)
		made = append(made, b)
	}
	requireLists(t, dirs, 0)
	dirs[0].before = func(string) error {
		dirs[0].before = nil
		require.NoError(t, os.Truncate(dirs[0].path(made[3].Name), 100)) // after the look at what has changed
		return syscall.ENOSPC
	}
	_, err := m.Create(t.Context(), scheduled(4))
	require.NoError(t, err)
	requireLists(t, dirs, 2) // before and after it has made room
	require.Len(t, events.of(manager.EventPruned), 1)
	left := mustList(t, m)
	require.Len(t, left, 3+3, "those made by hand, the newest good before the new, the new, and the damaged")
	require.Contains(t, namesOf(left), made[2].Name)
}

// A watchedShelf is a shelf that says what has changed.
type watchedShelf struct {
	*shelf
	changed func(context.Context) ([]string, error)
	lists   int
}

func (s *watchedShelf) Watch(context.Context) (func(context.Context) ([]string, error), error) {
	if s.changed == nil {
		return nil, errors.ErrUnsupported
	}
	return s.changed, nil
}

func (s *watchedShelf) List(ctx context.Context) ([]location.File, error) {
	s.lists++
	return s.shelf.List(ctx)
}

func TestALocationThatDoesNotSayWhatHasChangedIsListed(t *testing.T) {
	for name, changed := range map[string]func(context.Context) ([]string, error){
		"it cannot":          nil,
		"it fails":           func(context.Context) ([]string, error) { return nil, errDown },
		"it does not answer": func(ctx context.Context) ([]string, error) { <-ctx.Done(); return nil, ctx.Err() },
		"it ignores its caller": func(context.Context) ([]string, error) {
			time.Sleep(time.Hour)
			return nil, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := &watchedShelf{shelf: newShelf("disk"), changed: changed}
				m, _, _ := managed()
				m.Locations = []location.Location{s}
				for range 3 {
					mustCreate(t, m)
					time.Sleep(time.Second)
				}
				require.GreaterOrEqual(t, s.lists, 3)
				time.Sleep(2 * time.Hour) // until all that was left behind has ended
			})
		})
	}
}

// Nothing but the next backup goes by what a Location says of its changes.
func TestALocationThatHidesItsChangesLosesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := &watchedShelf{shelf: newShelf("disk"), changed: func(context.Context) ([]string, error) { return nil, nil }}
		m, _, _ := managed()
		m.Locations, m.Retention = []location.Location{s}, backup.Retention{Last: 1}
		scheduled := backup.BackupOptions{Metadata: map[string]string{"trigger": "scheduled"}}
		var names []string
		for range 4 {
			b, err := m.Create(t.Context(), scheduled)
			require.NoError(t, err)
			names = append(names, b.Name)
			time.Sleep(time.Second)
		}
		s.alter(t, names[3], func(text string) string { return text[:100] })
		s.alter(t, names[2], func(text string) string { return text[:100] })
		_, err := m.Prune(t.Context(), manager.PruneOptions{})
		require.NoError(t, err)
		require.Contains(t, s.names(t), names[1], "the newest good backup")
		require.NotContains(t, s.names(t), names[0])
	})
}

func TestWhereOneLocationDoesNotTellAllAreListed(t *testing.T) {
	dir := &countedDir{Dir: location.Dir(testtime.MemoryDir(t))}
	m, _, _ := managed()
	m.Locations = []location.Location{dir, newShelf("cloud")}
	for range 3 {
		mustCreate(t, m)
	}
	requireLists(t, []*countedDir{dir}, 3)
}

// What a Create says and does without a list is what it says and does with one.
func TestACreateWithoutAListIsLikeOneWithIt(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Log("seed ", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	m, dirs, host, _ := settled(t, 2, func(m *manager.Manager) { m.Retention = backup.Retention{Last: 4} })
	without, serial := 0, int64(3)
	at := time.Now().Add(-1000 * time.Hour)
	for range testtime.Pick(t, 300, 3000) {
		list := mustList(t, m)
		some := list[random.IntN(len(list))]
		switch random.IntN(40) {
		case 0:
			require.NoError(t, os.Remove(dirs[random.IntN(2)].path(list[len(list)-1].Name)))
		case 1:
			if len(list) > 5 {
				require.NoError(t, m.Delete(t.Context(), list[len(list)-1].Name))
			}
		case 2:
			if len(some.Shrunk) > 0 {
				require.NoError(t, m.Accept(t.Context(), some.Name))
			}
		case 3:
			_, err := m.Prune(t.Context(), manager.PruneOptions{Manual: true})
			if err != nil {
				require.ErrorIs(t, err, manager.ErrShrunk)
			}
		case 4, 5, 6, 7, 8, 9:
			for i := range 40 {
				delete(host["users"], fmt.Sprint(1000+i))
			}
			for i := range random.IntN(40) {
				host["users"][fmt.Sprint(1000+i)] = fmt.Sprintf(`{"id":%d,"name":"u%[1]d"}`, 1000+i)
			}
		case 10:
			at = at.Add(-time.Duration(random.IntN(20)) * time.Second)
		}
		for _, d := range dirs {
			d.lists = 0
		}
		opts := backup.BackupOptions{CreatedAt: at}
		if random.IntN(4) == 0 {
			opts.Only = []string{"users"}
		}
		b, err := m.Create(t.Context(), opts)
		require.NoError(t, err)
		if dirs[0].lists == 0 {
			without++
		}
		serial++
		require.Equal(t, serial, b.Manifest.Serial)
		list = mustList(t, m)
		found := list[slices.IndexFunc(list, func(found manager.Backup) bool { return found.Name == b.Name })]
		require.Equal(t, found.Shrunk, b.Shrunk, b.Name)
		for _, b := range list {
			require.Len(t, b.Copies, 2, b.Name)
		}
		at = at.Add(time.Duration(random.IntN(3000)) * time.Millisecond)
	}
	t.Logf("%d without a list", without)
	require.NotZero(t, without)
}
