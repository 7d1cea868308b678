package testtime

import (
	"os"
	"testing"
)

// MemoryDir returns a folder in memory, where there is such a place, that goes
// with the test. It is for tests that sync often, and not about syncing.
func MemoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "backup-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}
