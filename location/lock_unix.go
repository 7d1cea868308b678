//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package location

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unicode"
)

// openNonblock makes the opening of a FIFO not wait for a writer.
const openNonblock = syscall.O_NONBLOCK

// errHeld: another open file has the lock.
var errHeld = errors.New("held")

// lockFile locks f until f is closed, or the process ends. It returns errHeld at once
// if another open file has the lock, of this or any other process, and an error that
// wraps errors.ErrUnsupported if the file system has no locks.
func lockFile(f folderFile) error {
	err := flock(f, syscall.LOCK_EX|syscall.LOCK_NB)
	switch {
	case errors.Is(err, syscall.EWOULDBLOCK):
		return errHeld
	case errors.Is(err, syscall.ENOLCK):
		return fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	return err
}

func flock(f folderFile, how int) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var locked error
	err = conn.Control(func(fd uintptr) {
		for {
			if locked = syscall.Flock(int(fd), how); locked != syscall.EINTR {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	return locked
}

// Lock implements [Locker] with flock on a hidden file, ".NAME.lock". The file has the
// text of holder while the lock is held, and stays when the lock is free. On a file
// system that has no such locks the error wraps errors.ErrUnsupported.
func (d Dir) Lock(ctx context.Context, name, holder string) (unlock func() error, err error) {
	return d.dir().lock(ctx, name, holder)
}

func (d dir) lock(ctx context.Context, name, holder string) (unlock func() error, err error) {
	f, err := d.openFor(ctx, "lock", name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	hidden := "." + name + ".lock"
	opened, err := openLock(f, hidden)
	if errors.Is(err, fs.ErrPermission) {
		if info, unknown := f.Lstat(hidden); unknown == nil {
			return nil, fmt.Errorf("%w%s", d.failed("lock", hidden, err), whose(info))
		}
	}
	if err != nil {
		return nil, d.failed("lock", hidden, err)
	}
	switch err := lockFile(opened); {
	case err == errHeld:
		defer opened.Close()
		return nil, fmt.Errorf("%w: %s is held by %s", ErrBusy, d.path, readHolder(opened))
	case errors.Is(err, errors.ErrUnsupported):
		opened.Close()
		return nil, fmt.Errorf("lock %s: the file system has no locks: %w", filepath.Join(d.path, hidden), err)
	case err != nil:
		opened.Close()
		return nil, d.failed("lock", hidden, err)
	}
	// Without the text, as on a full disk, the lock holds all the same.
	if opened.Truncate(0) == nil {
		_, _ = io.WriteString(opened, holder)
	}
	return func() error {
		_ = opened.Truncate(0)
		// A process that is being started has a copy of the open file for a moment.
		// Closing the file would not free the lock then.
		return errors.Join(flock(opened, syscall.LOCK_UN), opened.Close())
	}, nil
}

// openLock opens the file of a lock, or makes it. It never follows a link.
func openLock(f folder, hidden string) (folderFile, error) {
	opened, err := f.OpenFile(hidden, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		opened, _, err = openRegular(f, hidden, os.O_RDWR)
	}
	return opened, err
}

// readHolder returns the text in the file of a lock, made safe for an error.
func readHolder(f io.Reader) string {
	text, _ := io.ReadAll(io.LimitReader(f, 200))
	holder := strings.TrimSpace(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(string(text), "")))
	if holder == "" {
		return "another process"
	}
	return holder
}

// sameDevice tells whether two files are on one file system.
func sameDevice(a, b fs.FileInfo) (bool, error) {
	first, ok := a.Sys().(*syscall.Stat_t)
	second, also := b.Sys().(*syscall.Stat_t)
	if !ok || !also {
		return false, errors.ErrUnsupported
	}
	return first.Dev == second.Dev, nil
}
