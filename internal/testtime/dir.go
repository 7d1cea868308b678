package testtime

import (
	"os"
	"path/filepath"
	"testing"
)

// MemoryDir returns a folder in memory, where there is such a place, that goes
// with the test. It is for tests that sync often, and not about syncing. As with
// TempDir of testing, the folder that it is in is the test's, too.
func MemoryDir(t testing.TB) string {
	t.Helper()
	parent, err := os.MkdirTemp("/dev/shm", "backup-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(parent); err != nil {
			t.Error(err)
		}
	})
	dir := filepath.Join(parent, "001")
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}
