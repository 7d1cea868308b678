//go:build !race

package integration

import (
	"crypto/sha256"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/testtime"
	"github.com/tomo-project/backup/location"
)

// namespaceVariable tells a child that it may mount.
const namespaceVariable = "TOMO_INTEGRATION_NAMESPACE"

// onSmallDisks runs a test that mounts file systems. They are seen by a child
// only, which is root, or a user who may play root for itself.
func onSmallDisks(t *testing.T, test func(t *testing.T)) {
	if os.Getenv(namespaceVariable) != "" {
		// Nothing is to be seen of it outside.
		require.NoError(t, syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""))
		test(t)
		return
	}
	t.Parallel()
	cmd := osexec.Command(os.Args[0], "-test.run=^"+regexp.QuoteMeta(t.Name())+"$", "-test.v")
	cmd.Env = append(os.Environ(), namespaceVariable+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWNS | syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		}
	}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "this needs to mount a tmpfs, as root or in a user namespace of its own:\n%s", out)
	require.Contains(t, string(out), "--- PASS: "+t.Name())
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "_test.go:") {
			t.Log(strings.TrimSpace(line))
		}
	}
}

const page = 4096

// A smallDisk is a file system in memory.
type smallDisk string

func mountDisk(t *testing.T, dir string, pages int) smallDisk {
	t.Helper()
	require.NoError(t, syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", pages*page)))
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	return smallDisk(dir)
}

// leave makes the disk so small that only some pages are free.
func (d smallDisk) leave(t *testing.T, pages int) {
	t.Helper()
	var s syscall.Statfs_t
	require.NoError(t, syscall.Statfs(string(d), &s))
	size := (int(s.Blocks-s.Bfree) + pages) * page
	require.NoError(t, syscall.Mount("", string(d), "", syscall.MS_REMOUNT, fmt.Sprintf("size=%d", size)))
	require.NoError(t, syscall.Statfs(string(d), &s))
	require.EqualValues(t, pages, s.Bfree)
}

// onGrowingDisk runs a test with the folder a on a disk with 0 pages left, 1, 2
// and so on, until the test says that this is enough.
func onGrowingDisk(t *testing.T, n int, test func(t *testing.T, h host, disk smallDisk) (enough bool)) {
	t.Helper()
	from := newHost(t, n)
	create(t, from.manager(from.open(t)), backup.BackupOptions{})
	content := template(t, from)
	pages := 0
	for enough := false; !enough; pages++ {
		t.Run(fmt.Sprintf("%d pages", pages), func(t *testing.T) {
			h := host{testtime.MemoryDir(t)}
			require.NoError(t, os.WriteFile(h.database(), content, 0o600))
			disk := furnishDisk(t, h, from)
			disk.leave(t, pages)
			enough = test(t, h, disk)
		})
		if t.Failed() {
			return
		}
	}
	require.Greater(t, pages, 5, "the disk was never full")
	t.Logf("%d pages were enough", pages-1)
}

// template returns the file of a database that nobody else uses.
func template(t *testing.T, h host) []byte {
	t.Helper()
	db, err := openTomo(h.database())
	require.NoError(t, err)
	exec(t, db, "PRAGMA wal_checkpoint(TRUNCATE)")
	content, err := os.ReadFile(h.database())
	require.NoError(t, err)
	require.NoError(t, db.Close())
	return content
}

// furnishDisk makes the folders of h, a on a disk of its own, with what is in
// those of another host.
func furnishDisk(t *testing.T, h, from host) smallDisk {
	t.Helper()
	for _, d := range h.folders() {
		require.NoError(t, d.Make())
	}
	disk := mountDisk(t, string(h.folder("a")), 1<<14)
	for _, folder := range []string{"a", "b"} {
		for _, name := range filesIn(t, filepath.Join(from.dir, folder)) {
			content, err := os.ReadFile(filepath.Join(from.dir, folder, name))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(h.dir, folder, name), content, 0o600))
		}
	}
	return disk
}

// places are the ways to have a folder on the small disk: alone, or with another
// one that has room.
func places(h host) map[string][]location.Location {
	return map[string][]location.Location{
		"alone":  {h.folder("a")},
		"first":  {h.folder("a"), h.folder("b")},
		"second": {h.folder("b"), h.folder("a")},
	}
}

func requireFull(t *testing.T, err error) {
	t.Helper()
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.ErrorContains(t, err, "check disk space")
}

func TestABackupToADiskThatFillsUpIsThereWholeOrNotAtAll(t *testing.T) {
	onSmallDisks(t, func(t *testing.T) {
		for place := range places(host{}) {
			t.Run(place, func(t *testing.T) {
				onGrowingDisk(t, 40, func(t *testing.T, h host, _ smallDisk) bool {
					m := h.quickManager(h.open(t))
					m.Locations = places(h)[place]
					before := h.shelves(t)
					b, err := m.Create(t.Context(), backup.BackupOptions{})
					news := h.whole(t, m, before, nil)
					require.Empty(t, h.leftovers(t))
					if place == "alone" && err != nil {
						requireFull(t, err)
						require.Empty(t, news)
						return false
					}
					require.NoError(t, err)
					require.Equal(t, []string{b.Name}, news)
					enough := true
					for _, c := range b.Copies {
						if c.Err != nil {
							require.Equal(t, string(h.folder("a")), c.Location)
							requireFull(t, c.Err)
							enough = false
						}
						require.Equal(t, c.Err == nil, h.has(t, c.Location, b.Name))
					}
					require.Len(t, b.Copies, len(m.Locations))
					return enough
				})
			})
		}
	})
}

func (h host) has(t *testing.T, folder, name string) bool {
	_, err := os.Lstat(filepath.Join(folder, name))
	if err != nil {
		require.ErrorIs(t, err, os.ErrNotExist)
	}
	return err == nil
}

func TestWithoutRoomForTheWayBackThereIsNoRestore(t *testing.T) {
	onSmallDisks(t, func(t *testing.T) {
		for place := range places(host{}) {
			t.Run(place, func(t *testing.T) {
				onGrowingDisk(t, 40, func(t *testing.T, h host, _ smallDisk) bool {
					db := h.open(t)
					m := h.quickManager(db)
					m.Locations = places(h)[place]
					target := state(t, db)
					change(t, db)
					start := state(t, db)
					before := h.shelves(t)
					list, err := m.List(t.Context())
					require.NoError(t, err)
					report, err := m.Restore(t.Context(), openBackup(t, m, list[0].Name), backup.RestoreOptions{Strategy: backup.Replace})
					news := h.whole(t, m, before, nil)
					require.Empty(t, h.leftovers(t))
					if place == "alone" && err != nil {
						requireFull(t, err)
						require.ErrorContains(t, err, "nothing was changed")
						require.Empty(t, news)
						is(t, state(t, db), start)
						return false
					}
					require.NoError(t, err)
					is(t, state(t, db), target)
					require.Equal(t, []string{report.UndoneBy}, news)
					if h.has(t, string(h.folder("a")), report.UndoneBy) {
						require.Empty(t, report.Warnings)
						return true
					}
					require.Len(t, report.Warnings, 1)
					require.Contains(t, report.Warnings[0], report.UndoneBy+" is not at "+string(h.folder("a")))
					require.Contains(t, report.Warnings[0], "check disk space")
					_, err = m.Undo(t.Context())
					require.NoError(t, err)
					is(t, state(t, db), start)
					return false
				})
			})
		}
	})
}

func TestARestoreToADatabaseWhoseDiskFillsUpChangesAllOrNothing(t *testing.T) {
	onSmallDisks(t, func(t *testing.T) {
		for _, what := range []string{"restore", "undo"} {
			t.Run(what, func(t *testing.T) {
				from := newHost(t, 40)
				db := from.open(t)
				m := from.manager(db)
				made := create(t, m, backup.BackupOptions{})
				if what == "undo" {
					exec(t, db, "DELETE FROM applications; DELETE FROM preferences; DELETE FROM users; DELETE FROM servers")
					_, err := m.Restore(t.Context(), openBackup(t, m, made.Name), backup.RestoreOptions{Strategy: backup.Replace})
					require.NoError(t, err)
				}
				exec(t, db, "DELETE FROM logs; DELETE FROM applications; DELETE FROM preferences; UPDATE servers SET host = 'moved.example.org'; VACUUM")
				start := state(t, db)
				content := template(t, from)

				pages, failed := 0, 0
				for enough := false; !enough; pages++ {
					t.Run(fmt.Sprintf("%d pages", pages), func(t *testing.T) {
						h := host{testtime.MemoryDir(t)}
						for _, folder := range []string{"a", "b"} {
							require.NoError(t, os.Mkdir(filepath.Join(h.dir, folder), 0o700))
						}
						h.furnish(t, from)
						disk := filepath.Join(h.dir, "disk")
						require.NoError(t, os.Mkdir(disk, 0o700))
						small := mountDisk(t, disk, 1<<14)
						require.NoError(t, os.WriteFile(filepath.Join(disk, "tomo.db"), content, 0o600))
						db, err := openTomo(filepath.Join(disk, "tomo.db"))
						require.NoError(t, err)
						m := h.quickManager(db)
						is(t, state(t, db), start) // also makes the files of the WAL
						small.leave(t, pages)

						before := h.shelves(t)
						var report backup.Report
						if what == "restore" {
							report, err = m.Restore(t.Context(), openBackup(t, m, made.Name), backup.RestoreOptions{Strategy: backup.Replace})
						} else {
							report, err = m.Undo(t.Context())
						}
						news := h.whole(t, m, before, nil)
						require.Empty(t, h.leftovers(t))
						if err != nil {
							failed++
							require.ErrorContains(t, err, "check disk space")
							is(t, state(t, db), start)
							for _, name := range news {
								require.ErrorContains(t, err, "what was there before is kept as "+name)
							}
						} else {
							enough = true
							require.Equal(t, []string{report.UndoneBy}, news)
							require.NotEqual(t, start, state(t, db))
						}
						after := sha256.Sum256([]byte(state(t, db)))
						// Without the room of a checkpoint too the data is there.
						require.NoError(t, db.Close())
						db, err = openTomo(filepath.Join(disk, "tomo.db"))
						require.NoError(t, err)
						require.Equal(t, after, sha256.Sum256([]byte(state(t, db))))
						require.NoError(t, db.Close())
					})
					if t.Failed() {
						return
					}
				}
				t.Logf("%d pages were enough to %s", pages-1, what)
				require.Greater(t, failed, 5)
			})
		}
	})
}
