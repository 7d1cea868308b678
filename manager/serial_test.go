package manager_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
	"github.com/tomo-project/backup/schedule"
)

// serials are those of a list, newest first.
func serials(list []manager.Backup) []int64 {
	numbers := []int64{}
	for _, b := range list {
		numbers = append(numbers, b.Manifest.Serial)
	}
	return numbers
}

// again is a Manager as after a new start of the host.
func again(m *manager.Manager) *manager.Manager {
	fresh := whoHolds(m, m.Identities...)
	fresh.Installation = m.Installation
	return fresh
}

func TestEveryBackupSaysWhichOfItsInstallationItIs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		disk, drive := newShelf("disk"), newShelf("drive")
		m, host, _ := managed(disk, drive)
		m.Installation, m.Compress = "a1", backup.Gzip
		m.Database, m.DatabaseInClear = &textDatabase{text: "all of it."}, true
		m.Schedule = schedule.Daily{}

		b, err := m.Create(t.Context(), backup.BackupOptions{Installation: "forged", Serial: 77})
		require.NoError(t, err)
		require.Equal(t, "a1", b.Manifest.Installation)
		require.Equal(t, int64(1), b.Manifest.Serial)
		time.Sleep(time.Minute)

		host["servers"]["s1"] = `{"id":"s1","name":"renamed"}`
		s, err := m.Open(t.Context(), b.Name)
		require.NoError(t, err)
		defer s.Close()
		require.Equal(t, int64(1), s.Manifest().Serial)
		report, err := m.Restore(t.Context(), s, backup.RestoreOptions{Strategy: backup.Replace})
		require.NoError(t, err)
		time.Sleep(time.Minute)
		undone, err := m.Undo(t.Context())
		require.NoError(t, err)
		time.Sleep(time.Minute)
		copied, err := m.CopyDatabase(t.Context())
		require.NoError(t, err)
		require.Equal(t, "a1", copied.Manifest.Installation)
		time.Sleep(time.Minute)
		stop := running(t, m)
		time.Sleep(time.Minute)
		stop()
		time.Sleep(time.Minute)
		rewrapped, err := m.Rewrap(t.Context(), b.Name, manager.RewrapOptions{})
		require.NoError(t, err)
		require.Equal(t, int64(1), rewrapped.Manifest.Serial, "another key is no other backup")

		list := mustList(t, again(m))
		bySerial := map[int64]string{}
		for _, b := range list {
			require.Equal(t, "a1", b.Manifest.Installation, b.Name)
			if b.Name != rewrapped.Name {
				require.Empty(t, bySerial[b.Manifest.Serial])
				bySerial[b.Manifest.Serial] = b.Name
			}
		}
		require.Equal(t, report.UndoneBy, bySerial[2])
		require.Equal(t, undone.UndoneBy, bySerial[3])
		require.Equal(t, copied.Name, bySerial[4])
		require.Len(t, bySerial, 6, "and the scheduled backup with its copy of the database")
		require.Equal(t, int64(7), mustCreate(t, again(m)).Manifest.Serial, "also after a new start")

		m.Installation = ""
		without, err := m.Create(t.Context(), backup.BackupOptions{Installation: "forged", Serial: 77})
		require.NoError(t, err)
		require.Empty(t, without.Manifest.Installation)
	})
}

// A serial is one more than the highest at any location, whatever the clock says, and is
// never handed out twice by one Manager.
func TestSerialsOnlyRise(t *testing.T) {
	bubble(t, func(t *testing.T) {
		disk, drive := newShelf("disk"), newShelf("drive")
		m, _, events := managed(disk, drive)
		m.Installation = "a1"
		first := mustCreate(t, m)
		drive.set(errDown, nil)
		time.Sleep(time.Minute)
		require.Equal(t, int64(2), mustCreate(t, m).Manifest.Serial, "the drive is not needed to count on")
		drive.set(nil, nil)
		disk.set(errDown, nil)
		time.Sleep(time.Minute)
		require.Equal(t, int64(3), mustCreate(t, m).Manifest.Serial, "which the drive alone does not know")
		disk.set(nil, nil)

		time.Sleep(time.Minute)
		old, err := again(m).Create(t.Context(), backup.BackupOptions{CreatedAt: first.CreatedAt.Add(-time.Hour)})
		require.NoError(t, err)
		require.Equal(t, int64(4), old.Manifest.Serial, "the clock was set back, and the next is later all the same")

		// The newest is deleted: the Manager that has made it does not forget.
		fresh := again(m)
		last := mustCreate(t, fresh)
		require.Equal(t, int64(5), last.Manifest.Serial)
		require.NoError(t, fresh.Delete(t.Context(), last.Name))
		require.Equal(t, int64(6), mustCreate(t, fresh).Manifest.Serial)
		require.NotEmpty(t, events.of(manager.EventFailed))
	})
}

// Without any serial to go on from, a location that does not answer may have a higher one.
func TestTheFirstSerialIsNoGuess(t *testing.T) {
	bubble(t, func(t *testing.T) {
		disk, drive := newShelf("disk"), newShelf("drive")
		m, _, _ := managed(disk, drive)
		m.Installation = "a1"
		drive.set(errDown, nil)
		require.Empty(t, mustCreate(t, m).Manifest.Installation)
		drive.set(nil, nil)
		time.Sleep(time.Minute)
		require.Equal(t, int64(1), mustCreate(t, m).Manifest.Serial)

		time.Sleep(time.Minute)
		refuses := new(atomic.Bool)
		m = again(m)
		m.Locations = []location.Location{unlocked{unlisted{disk, refuses}}}
		refuses.Store(true)
		require.Empty(t, mustCreate(t, m).Manifest.Installation, "the backup is made, and nobody knows its serial")
		refuses.Store(false)
		time.Sleep(time.Minute)
		require.Equal(t, int64(2), mustCreate(t, m).Manifest.Serial)
		refuses.Store(true)
		time.Sleep(time.Minute)
		require.Equal(t, int64(3), mustCreate(t, m).Manifest.Serial, "from memory")
	})
}

// An unlocked location needs no list of files to be locked.
type unlocked struct{ unlisted }

func (unlocked) Lock(context.Context, string, string) (func() error, error) {
	return func() error { return nil }, nil
}

var originMember = regexp.MustCompile(`"origin":\{[^}]*\},\n`)

// reserial gives a stored backup another origin, with the digest that fits.
func reserial(t testing.TB, s *shelf, name, origin string) {
	s.alter(t, name, func(text string) string {
		require.Regexp(t, originMember, text)
		return resummed(t, originMember.ReplaceAllString(text, `"origin":`+origin+",\n"))
	})
}

func TestTheBackupsOfOthersDoNotCount(t *testing.T) {
	bubble(t, func(t *testing.T) {
		disk := newShelf("disk")
		m, _, _ := managed(disk)
		m.Installation = "a1"
		b := mustCreate(t, m)
		reserial(t, disk, b.Name, `{"installation":"other","serial":500}`)
		time.Sleep(time.Minute)
		require.Equal(t, int64(1), mustCreate(t, again(m)).Manifest.Serial, "of another installation")

		disk.files()["homelab-backup-2000-01-02T00-00-00.json"] = "{"
		disk.files()["homelab-backup-2000-01-02T00-00-00.json.gz.manifest"] = `{"bytes":1,"manifest":{"installation":"a1","serial":900}}`
		require.Equal(t, int64(2), mustCreate(t, again(m)).Manifest.Serial, "what cannot be read")

		// What is damaged was made all the same, if it tells its serial.
		b = mustCreate(t, again(m))
		require.Equal(t, int64(3), b.Manifest.Serial)
		disk.alter(t, b.Name, func(text string) string { return strings.Replace(text, "nas", "nbs", 1) })
		require.Equal(t, int64(4), mustCreate(t, again(m)).Manifest.Serial)
	})
}

// A file with a serial near the highest that there can be, made by whoever can write to
// the location, uses up no serials.
func TestAFileWithTheHighestSerialStopsNothing(t *testing.T) {
	const highest = 1<<53 - 1
	for _, serial := range []int64{highest, highest - 1, 2 << 20} {
		bubble(t, func(t *testing.T) {
			disk := newShelf("disk")
			m, _, _ := managed(disk)
			m.Installation = "a1"
			mustCreate(t, m)
			time.Sleep(time.Minute)
			evil := mustCreate(t, m)
			reserial(t, disk, evil.Name, fmt.Sprintf(`{"installation":"a1","serial":%d}`, serial))
			var events eventLog
			fresh := again(m)
			fresh.OnEvent = events.add
			for i := range 3 {
				time.Sleep(time.Minute)
				require.Equal(t, int64(i+2), mustCreate(t, fresh).Manifest.Serial)
				require.Equal(t, int64(i+2), mustList(t, again(m))[0].Manifest.Serial, "the newest")
			}
			warned := events.of(manager.EventFailed)
			require.Len(t, warned, 3)
			for _, e := range warned {
				require.Equal(t, evil.Name, e.Backup)
				require.Equal(t, "disk", e.Location)
				require.ErrorContains(t, e.Err, "far above those of the other backups")
			}
			require.NoError(t, fresh.Delete(t.Context(), evil.Name))
			time.Sleep(time.Minute)
			require.Equal(t, int64(5), mustCreate(t, fresh).Manifest.Serial)
			time.Sleep(time.Minute)
			require.Equal(t, int64(6), mustCreate(t, again(m)).Manifest.Serial)
			require.Len(t, events.of(manager.EventFailed), 3)
		})
	}
}

// The lowest serial counts however high it is, since the earlier backups may be pruned.
func TestTheLowestSerialMayBeHigh(t *testing.T) {
	for origin, want := range map[int64]int64{5 << 20: 5<<20 + 1, 1<<53 - 1: 1} {
		bubble(t, func(t *testing.T) {
			disk := newShelf("disk")
			m, _, _ := managed(disk)
			m.Installation = "a1"
			only := mustCreate(t, m)
			reserial(t, disk, only.Name, fmt.Sprintf(`{"installation":"a1","serial":%d}`, origin))
			time.Sleep(time.Minute)
			require.Equal(t, want, mustCreate(t, again(m)).Manifest.Serial)
		})
	}
}

// A note that tells an origin that no backup can have is no note.
func TestANoteWithAnImpossibleOriginIsNoNote(t *testing.T) {
	for _, origin := range []string{`"installation":"a1","serial":9223372036854775807`, `"installation":"a1","serial":-1`, `"installation":"a1"`, `"installation":"<b>","serial":5`} {
		bubble(t, func(t *testing.T) {
			disk := newShelf("disk")
			m, _, _ := managed(disk)
			m.Installation, m.Encrypt = "a1", newPair(t).to
			b := mustCreate(t, m)
			disk.alter(t, b.Name+".manifest", func(text string) string {
				require.Contains(t, text, `"installation":"a1","serial":1`)
				return strings.Replace(text, `"installation":"a1","serial":1`, origin, 1)
			})
			time.Sleep(time.Minute)
			m = again(m)
			m.Encrypt = newPair(t).to
			list := mustList(t, m)
			require.Nil(t, list[0].Manifest, origin)
			require.Equal(t, int64(1), mustCreate(t, m).Manifest.Serial)
		})
	}
}

func TestAnIdOfAnInstallationIsChecked(t *testing.T) {
	for _, id := range []string{"-a", "a b", "ä", strings.Repeat("a", 65), "a\n"} {
		m, _, _ := managed(newShelf("disk"))
		m.Installation = id
		require.ErrorContains(t, m.Validate(), "the id of the installation", "%q", id)
	}
	m, _, _ := managed(newShelf("disk"))
	m.Installation = "0123456789abcdef0123456789abcdef"
	require.NoError(t, m.Validate())
}

// serialFolder names the folder that another process of this test makes backups in.
const serialFolder = "BACKUP_TEST_SERIALS"

// makeBackups is the other process: it makes backups until it has made enough.
func makeBackups(dir string, n int) error {
	m, _, _ := managed()
	m.Locations, m.Installation = []location.Location{location.Dir(dir)}, "a1"
	for n > 0 {
		b, err := m.Create(context.Background(), backup.BackupOptions{})
		switch {
		case errors.Is(err, location.ErrBusy):
			time.Sleep(time.Millisecond)
			continue
		case err != nil:
			return err
		}
		n--
		if err := json.NewEncoder(os.Stdout).Encode(b.Manifest.Serial); err != nil {
			return err
		}
	}
	return nil
}

func TestProcessesThatShareAFolderHandOutEachSerialOnce(t *testing.T) {
	if dir := os.Getenv(serialFolder); dir != "" {
		if err := makeBackups(dir, 10); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	dir := t.TempDir()
	var outputs [2]bytes.Buffer
	var processes []*exec.Cmd
	for i := range outputs {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), serialFolder+"="+dir)
		cmd.Stdout, cmd.Stderr = &outputs[i], os.Stderr
		require.NoError(t, cmd.Start())
		processes = append(processes, cmd)
	}
	var all []int64
	for i, cmd := range processes {
		require.NoError(t, cmd.Wait())
		var mine []int64
		for d := json.NewDecoder(&outputs[i]); ; {
			var serial int64
			if err := d.Decode(&serial); err == io.EOF {
				break
			} else {
				require.NoError(t, err)
			}
			mine = append(mine, serial)
		}
		require.Len(t, mine, 10)
		require.True(t, slices.IsSorted(mine), "%d", mine)
		all = append(all, mine...)
	}
	slices.Sort(all)
	for i, serial := range all {
		require.Equal(t, int64(i+1), serial, "each once, without a gap: %d", all)
	}
	m, _, _ := managed()
	m.Locations = []location.Location{location.Dir(dir)}
	found := serials(mustList(t, m))
	slices.Sort(found)
	require.Equal(t, all, found)
}

// A counted location counts how often it is asked for its files.
type counted struct {
	unlocked
	lists *atomic.Int64
}

func (l counted) List(ctx context.Context) ([]location.File, error) {
	l.lists.Add(1)
	return l.unlocked.List(ctx)
}

// The serial, the name and what is to be filled in come from one list of files.
func TestABackupAsksALocationForItsFilesOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		lists := new(atomic.Int64)
		m, events := explaining()
		m.Locations = []location.Location{counted{unlocked{unlisted{newShelf("disk"), new(atomic.Bool)}}, lists}}
		m.Installation = "a1"
		for range 3 {
			mustCreate(t, m)
			require.Equal(t, int64(1), lists.Swap(0))
			time.Sleep(time.Minute)
		}
		require.Empty(t, events.of(manager.EventFailed))
	})
}
