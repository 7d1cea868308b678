package filestore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
)

const mountVariable = "FILESTORE_TEST_MOUNT"

// mounting runs a test that mounts file systems, which only a child sees. That
// has to be root.
func mounting(t *testing.T, test func(t *testing.T)) {
	if os.Getenv(mountVariable) != "" {
		require.NoError(t, syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""))
		test(t)
		return
	}
	if os.Getuid() != 0 {
		t.Skip("this needs to mount a tmpfs, as root")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+regexp.QuoteMeta(t.Name())+"$", "-test.v")
	cmd.Env = append(os.Environ(), mountVariable+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: "+t.Name())
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "_test.go:") {
			t.Log(strings.TrimSpace(line))
		}
	}
}

const page = 4096

func mount(t *testing.T, dir string, pages int) {
	t.Helper()
	require.NoError(t, syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", pages*page)))
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
}

func TestOnADiskThatIsFullTheFolderStaysAsItWas(t *testing.T) {
	mounting(t, func(t *testing.T) {
		disk := t.TempDir()
		mount(t, disk, 256) // 1 MB
		var s syscall.Statfs_t
		leave := func(pages int) {
			require.NoError(t, syscall.Statfs(disk, &s))
			size := (int(s.Blocks-s.Bfree) + pages) * page
			require.NoError(t, syscall.Mount("", disk, "", syscall.MS_REMOUNT, fmt.Sprintf("size=%d", size)))
		}
		store := Store{Path: filepath.Join(disk, "data"), Collections: collections}
		require.NoError(t, os.Mkdir(store.Path, 0o700))
		lay(t, store, map[string]string{"uploads/picture.png": "left alone"})
		require.NoError(t, store.Update(t.Context(), func(w backup.Writer) error { return bring(w, 0) }))
		before := tree(t, store.Path)

		failed, pages := 0, 0
		for ; ; pages++ {
			leave(pages)
			err := store.Update(t.Context(), func(w backup.Writer) error { return bring(w, 1) })
			if err == nil {
				break
			}
			failed++
			if pages%4 == 0 {
				require.ErrorIs(t, store.Update(t.Context(), tried(t)), syscall.ENOSPC, "a plan is told too")
			}
			require.ErrorIs(t, err, syscall.ENOSPC)
			require.ErrorContains(t, err, "check disk space")
			require.Equal(t, before, tree(t, store.Path))
			require.Empty(t, beside(t, store))
		}
		n, err := stateOf(store.Path)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		require.Empty(t, beside(t, store))
		require.Greater(t, failed, 10)
		t.Logf("%d pages were enough", pages)

		leave(0)
		_, _, err = read(store, "servers")
		require.ErrorIs(t, err, syscall.ENOSPC, "a View needs room too")
		require.ErrorContains(t, err, "check disk space")
	})
}

// tried makes the changes of bring and settles, as a plan does.
func tried(t *testing.T) func(backup.Writer) error {
	return func(w backup.Writer) error { return errors.Join(bring(w, 1), settle(t, w), errTrial) }
}

func TestAMountPointIsLeftAlone(t *testing.T) {
	mounting(t, func(t *testing.T) {
		for _, at := range []string{"data", "data/a b", "data/deep/down"} {
			s := Store{Path: filepath.Join(t.TempDir(), "data"), Collections: collections}
			point := filepath.Join(filepath.Dir(s.Path), at)
			require.NoError(t, os.MkdirAll(point, 0o700))
			mount(t, point, 16)
			require.NoError(t, os.WriteFile(filepath.Join(point, "x"), []byte("there"), 0o600))
			bound := filepath.Join(t.TempDir(), "data")
			require.NoError(t, os.MkdirAll(filepath.Join(bound, "uploads"), 0o700))
			require.NoError(t, syscall.Mount(t.TempDir(), filepath.Join(bound, "uploads"), "", syscall.MS_BIND, ""))
			for _, s := range []Store{s, {Path: bound, Collections: collections}} {
				before := tree(t, s.Path)
				for _, err := range []error{put(s, "servers", record("a", `{"id":"a"}`)), trial(t, s, "servers", record("a", `{"id":"a"}`))} {
					require.ErrorIs(t, err, errors.ErrUnsupported)
					require.ErrorContains(t, err, "is a mount point")
				}
				require.Equal(t, before, tree(t, s.Path))
				require.Empty(t, beside(t, s))
				_, _, err := read(s, "servers")
				require.NoError(t, err, "reading needs no swap")
			}
			require.NoError(t, syscall.Unmount(filepath.Join(bound, "uploads"), 0))
		}
	})
}

// Who restores as root for a host that is another user leaves it files that it
// can read.
func TestWhatIsNewBelongsToTheOwnerOfTheFolder(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("this needs root")
	}
	s := newStore(t)
	lay(t, s, map[string]string{"servers/a.json": `{"id":"a"}`, "settings.json": `{}`})
	require.NoError(t, errors.Join(os.Chown(s.Path, 1234, 2345), os.Chown(filepath.Join(s.Path, "servers"), 1235, 2346), os.Chown(filepath.Join(s.Path, "settings.json"), 1236, 2347)))
	require.NoError(t, s.Update(t.Context(), func(w backup.Writer) error { return bring(w, 0) }))
	require.NoError(t, put(s, "users", record("u", `{"id":"u"}`)))
	for name, want := range map[string]uint32{
		"": 1234, "servers": 1235, "servers/s1.json": 1234, "settings.json": 1236, "deep": 1234, "deep/people.json": 1234, "../.data.filestore.lock": 1234,
	} {
		info, err := os.Stat(filepath.Join(s.Path, name))
		require.NoError(t, err)
		owner := info.Sys().(*syscall.Stat_t)
		require.Equal(t, want, owner.Uid, name)
		require.Equal(t, want+1111, owner.Gid, name)
	}
}

func TestWhatIsNoFileIsTakenOver(t *testing.T) {
	s := newStore(t)
	require.NoError(t, syscall.Mkfifo(filepath.Join(s.Path, "pipe"), 0o600))
	require.NoError(t, syscall.Mkfifo(filepath.Join(s.Path, "settings.json"), 0o600))
	require.NoError(t, put(s, "servers", record("a", `{"id":"a"}`)))
	info, err := os.Lstat(filepath.Join(s.Path, "pipe"))
	require.NoError(t, err)
	require.Equal(t, fs.ModeNamedPipe, info.Mode().Type())
	_, _, err = read(s, "settings")
	require.ErrorIs(t, err, fs.ErrInvalid, "it is not waited for")
}

const userVariable = "FILESTORE_TEST_USER"

// Root may do what others may not: remove what is in a folder without write
// permission.
func TestAFolderThatMayNotBeWrittenLeavesNothingBehind(t *testing.T) {
	if os.Getuid() == 0 {
		dir := t.TempDir()
		require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
		require.NoError(t, os.Chown(dir, 65534, 65534))
		cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), userVariable+"="+dir)
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), "--- PASS: "+t.Name())
		return
	}
	dir := os.Getenv(userVariable)
	if dir == "" {
		dir = t.TempDir()
	}
	s := Store{Path: filepath.Join(dir, "data"), Collections: collections}
	lay(t, s, map[string]string{"locked/inner/z": "z"})
	for _, name := range []string{"locked/inner", "locked"} {
		require.NoError(t, os.Chmod(filepath.Join(s.Path, name), 0o500))
	}
	before := tree(t, s.Path)
	require.NoError(t, put(s, "settings", record("a", `1`)))
	before["settings.json"] = "-rw------- {\n\"a\":1\n}\n"
	require.Equal(t, before, tree(t, s.Path))
	require.Empty(t, beside(t, s))
	for _, name := range []string{"locked", "locked/inner"} {
		require.NoError(t, os.Chmod(filepath.Join(s.Path, name), 0o700))
	}

	// A folder above that may not be written is an error before anything is.
	require.NoError(t, os.Remove(filepath.Join(dir, ".data.filestore.lock")))
	require.NoError(t, os.Chmod(dir, 0o500))
	err := put(s, "settings", record("a", `2`))
	require.NoError(t, os.Chmod(dir, 0o700))
	require.ErrorIs(t, err, fs.ErrPermission)
	require.ErrorContains(t, err, "check permissions, also those of the folder above")
}
