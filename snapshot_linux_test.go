package backup_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
)

// openFiles returns the permissions of the files of this process that were made
// in dir, with a name or without.
func openFiles(t *testing.T, dir string) []os.FileMode {
	fds, err := filepath.Glob("/proc/self/fd/*")
	require.NoError(t, err)
	var modes []os.FileMode
	for _, fd := range fds {
		if name, err := os.Readlink(fd); err == nil && strings.HasPrefix(name, dir) {
			info, err := os.Stat(fd)
			require.NoError(t, err)
			modes = append(modes, info.Mode().Perm())
		}
	}
	return modes
}

func TestTheTemporaryCopyIsPrivateAndClosed(t *testing.T) {
	dir := t.TempDir()
	file := crowd(t)
	seen := false
	in := bytes.NewReader(file)
	s, err := backup.OpenSnapshot(t.Context(), readerFunc(func(p []byte) (int, error) {
		seen = true
		require.Equal(t, []os.FileMode{0o600}, openFiles(t, dir))
		return in.Read(p)
	}), backup.OpenOptions{TempDir: dir})
	require.NoError(t, err)
	require.True(t, seen)
	require.NotEmpty(t, openFiles(t, dir))
	require.NoError(t, s.Close())
	require.Empty(t, openFiles(t, dir))

	_, err = backup.OpenSnapshot(t.Context(), struct{ io.Reader }{bytes.NewReader(file[:len(file)-1])}, backup.OpenOptions{TempDir: dir})
	require.ErrorIs(t, err, backup.ErrDamaged)
	require.Empty(t, openFiles(t, dir))
}

func TestAFullDiskForTheTemporaryCopyIsNamed(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skip("no small file system to fill:", err)
	}
	defer syscall.Unmount(dir, 0)
	_, err := restored(t, struct{ io.Reader }{bytes.NewReader(crowd(t))}, backup.OpenOptions{TempDir: dir}, backup.RestoreOptions{})
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.ErrorContains(t, err, "temporary copy")
	require.ErrorContains(t, err, "check disk space")
	require.Nil(t, kindOf(err))
	found, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, found)
}
