package location_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup/location"
)

// watched returns a folder with the file "old", and what tells of its changes.
func watched(t *testing.T, dir string) (path string, changed func() ([]string, error)) {
	t.Helper()
	path = filepath.Join(dir, "folder")
	require.NoError(t, location.Dir(path).Make())
	require.NoError(t, os.WriteFile(filepath.Join(path, "old"), []byte("old"), 0o600))
	tell, err := location.Dir(path).Watch(t.Context())
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	require.NoError(t, err)
	return path, func() ([]string, error) {
		names, err := tell(t.Context())
		slices.Sort(names)
		return names, err
	}
}

func TestAWatchTellsOfEveryChangeOfTheList(t *testing.T) {
	for name, c := range map[string]struct {
		change func(path string) error
		told   []string
	}{
		"nothing":          {func(string) error { return nil }, nil},
		"a file is stored": {func(path string) error { return os.WriteFile(filepath.Join(path, "new"), nil, 0o600) }, []string{"new"}},
		"a file is Put": {func(path string) error {
			return location.Dir(path).Put(t.Context(), "new", strings.NewReader("new"))
		}, []string{"new"}},
		"a file is deleted": {func(path string) error { return os.Remove(filepath.Join(path, "old")) }, []string{"old"}},
		"a file is renamed": {func(path string) error { return os.Rename(filepath.Join(path, "old"), filepath.Join(path, "new")) }, []string{"new", "old"}},
		"a file is moved in from elsewhere": {func(path string) error {
			return errors.Join(os.WriteFile(path+"-x", nil, 0o600), os.Rename(path+"-x", filepath.Join(path, "new")))
		}, []string{"new"}},
		"a file is written to, and stays open": {func(path string) error {
			f, err := os.OpenFile(filepath.Join(path, "old"), os.O_WRONLY, 0)
			if err == nil {
				t.Cleanup(func() { f.Close() })
				_, err = f.WriteString("new")
			}
			return err
		}, []string{"old"}},
		"a file is cut":          {func(path string) error { return os.Truncate(filepath.Join(path, "old"), 1) }, []string{"old"}},
		"a file may not be read": {func(path string) error { return os.Chmod(filepath.Join(path, "old"), 0) }, []string{"old"}},
		"a file gets the time of a copy": {func(path string) error {
			return exec.Command("touch", "-d", "2001-01-01", filepath.Join(path, "old")).Run()
		}, []string{"old"}},
		"a file is put over another": {func(path string) error {
			return errors.Join(os.WriteFile(path+"-x", nil, 0o600), os.Rename(path+"-x", filepath.Join(path, "old")))
		}, []string{"old"}},
		"a link appears":  {func(path string) error { return os.Symlink("old", filepath.Join(path, "new")) }, []string{"new"}},
		"a file is read":  {func(path string) error { _, err := os.ReadFile(filepath.Join(path, "old")); return err }, nil},
		"a list is made":  {func(path string) error { _, err := location.Dir(path).List(t.Context()); return err }, nil},
		"a file of a Dir": {func(path string) error { return os.WriteFile(filepath.Join(path, ".backup-x.tmp"), nil, 0o600) }, nil},
		"a lock is taken": {func(path string) error {
			unlock, err := location.Dir(path).Lock(t.Context(), "app", "holder")
			return errors.Join(err, unlock())
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			for _, dir := range []string{t.TempDir(), memoryDir(t)} {
				path, changed := watched(t, dir)
				require.NoError(t, c.change(path))
				names, err := changed()
				require.NoError(t, err)
				require.Equal(t, c.told, names)
				names, err = changed()
				require.NoError(t, err)
				require.Empty(t, names, "it is told once")
			}
		})
	}
}

func TestAWatchEndsWhenTheFolderIsAnotherOrTooMuchHasChanged(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, path string) error{
		"the folder is gone": func(t *testing.T, path string) error { return os.RemoveAll(path) },
		"the folder is made anew": func(t *testing.T, path string) error {
			return errors.Join(os.RemoveAll(path), os.Mkdir(path, 0o700))
		},
		"another folder is in its place": func(t *testing.T, path string) error {
			return errors.Join(os.Rename(path, path+"-x"), os.Mkdir(path, 0o700))
		},
		"a link leads elsewhere": func(t *testing.T, path string) error {
			return errors.Join(os.Rename(path, path+"-x"), os.Mkdir(path+"-y", 0o700), os.Symlink(path+"-y", path))
		},
		"more has changed than the kernel keeps": func(t *testing.T, path string) error {
			var errs []error
			for range 20_000 {
				errs = append(errs, os.Chmod(filepath.Join(path, "old"), 0o600), os.Chmod(filepath.Join(path, "."), 0o700))
			}
			return errors.Join(errs...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			path, changed := watched(t, memoryDir(t))
			require.NoError(t, change(t, path))
			_, err := changed()
			require.ErrorContains(t, err, "watch "+path)
			_, err = changed()
			require.Error(t, err, "it stays ended")
		})
	}
}

// A drive that is not mounted leaves an empty folder in its place.
func TestAWatchEndsWhenADriveIsMountedOrUnmounted(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root mounts")
	}
	mount := func(path string) {
		if out, err := exec.Command("mount", "-t", "tmpfs", "none", path).CombinedOutput(); err != nil {
			t.Skip("cannot mount: ", string(out))
		}
	}
	path := filepath.Join(memoryDir(t), "folder")
	require.NoError(t, os.Mkdir(path, 0o700))
	below, err := location.Dir(path).Watch(t.Context())
	require.NoError(t, err)
	mount(path)
	defer exec.Command("umount", "-l", path).Run()
	_, err = below(t.Context())
	require.ErrorContains(t, err, "another folder")

	above, err := location.Dir(path).Watch(t.Context())
	require.NoError(t, err)
	out, err := exec.Command("umount", path).CombinedOutput()
	require.NoError(t, err, "a watch must not keep a drive busy: %s", out)
	mount(path)
	_, err = above(t.Context())
	require.Error(t, err, "the drive was unmounted, whatever is there now")
}

func TestAWatchIsRefusedWhereChangesMayGoUnnoticed(t *testing.T) {
	_, err := location.Dir("/proc/self").Watch(t.Context())
	require.ErrorIs(t, err, errors.ErrUnsupported)
	_, err = location.Dir(filepath.Join(t.TempDir(), "missing")).Watch(t.Context())
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = location.Dir("").Watch(t.Context())
	require.ErrorIs(t, err, os.ErrInvalid)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = location.Dir(t.TempDir()).Watch(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

func TestAWatchEndsWhenNothingRefersToIt(t *testing.T) {
	dir := memoryDir(t)
	before := watches(t)
	for range 10 {
		if _, err := location.Dir(dir).Watch(t.Context()); err != nil {
			t.Skip(err)
		}
	}
	for range 100 {
		if runtime.GC(); watches(t) <= before {
			return
		}
		runtime.Gosched()
	}
	require.Fail(t, "the watches are still there", "%d, and %d before", watches(t), before)
}

// watches counts the watches of this process.
func watches(t *testing.T) (n int) {
	found, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, e := range found {
		if to, _ := os.Readlink("/proc/self/fd/" + e.Name()); strings.Contains(to, "inotify") {
			n++
		}
	}
	return n
}

// The kernel has few watches, and the host may need some for itself.
func TestAProcessDoesNotUseUpTheWatchesOfItsUser(t *testing.T) {
	dir := memoryDir(t)
	if _, err := location.Dir(dir).Watch(t.Context()); err != nil {
		t.Skip(err)
	}
	hold := func(n int) (held []func(context.Context) ([]string, error)) {
		for range n {
			changed, err := location.Dir(dir).Watch(t.Context())
			if err != nil {
				require.ErrorIs(t, err, errors.ErrUnsupported)
				continue
			}
			held = append(held, changed)
		}
		return held
	}
	end := func(held []func(context.Context) ([]string, error)) {
		require.NoError(t, os.RemoveAll(dir))
		for range 2 { // an error ends a watch, once
			for _, changed := range held {
				_, err := changed(t.Context())
				require.Error(t, err)
			}
		}
		require.NoError(t, os.Mkdir(dir, 0o700))
	}
	held := hold(300)
	require.Less(t, len(held), 100)
	require.Less(t, watches(t), 100)
	end(held)
	again := hold(len(held))
	require.Len(t, again, len(held), "watches that have ended do not count")
	end(again)
}
