package filestore

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// exchange exchanges two folders inside parent in one step. The error wraps
// errors.ErrUnsupported if the file system cannot do that.
func exchange(parent *os.File, a, b string) error {
	err := unix.RenameatxNp(int(parent.Fd()), a, int(parent.Fd()), b, unix.RENAME_SWAP)
	if errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	return err
}

func mountedAt(string) (string, error) { return "", nil }
