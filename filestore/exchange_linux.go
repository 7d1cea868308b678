package filestore

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// exchange exchanges two folders inside parent in one step. The error wraps
// errors.ErrUnsupported if the file system cannot do that.
func exchange(parent *os.File, a, b string) error {
	err := unix.Renameat2(int(parent.Fd()), a, int(parent.Fd()), b, unix.RENAME_EXCHANGE)
	if errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	return err
}

// mountedAt returns the path of a mount point at or below path, or "".
func mountedAt(path string) (string, error) {
	table, err := os.Open("/proc/self/mountinfo")
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer table.Close()
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	lines := bufio.NewScanner(table)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 {
			continue
		}
		if at := unescape.Replace(fields[4]); at == path || strings.HasPrefix(at, path+"/") {
			return at, nil
		}
	}
	return "", lines.Err()
}
