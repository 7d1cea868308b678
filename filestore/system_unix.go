//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package filestore

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// openNonblock keeps open from waiting for the writer of a FIFO.
const openNonblock = syscall.O_NONBLOCK

// flock locks a file until it is closed, at the latest by the end of the
// process. It returns false if another open file, in this or another process,
// has the lock.
func flock(file *os.File) (bool, error) {
	err := control(file, syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

func funlock(file *os.File) error { return control(file, syscall.LOCK_UN) }

func control(file *os.File, how int) error {
	conn, err := file.SyscallConn()
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
	return errors.Join(err, locked)
}

// adopt gives a file the owner and group of another file.
func adopt(root *os.Root, name string, like fs.FileInfo) error {
	info, err := root.Lstat(name)
	if err != nil {
		return err
	}
	mine, theirs := info.Sys().(*syscall.Stat_t), like.Sys().(*syscall.Stat_t)
	if mine.Uid == theirs.Uid && mine.Gid == theirs.Gid {
		return nil
	}
	return root.Lchown(name, int(theirs.Uid), int(theirs.Gid))
}

// sameDevice tells whether two files are on one file system.
func sameDevice(a, b fs.FileInfo) bool {
	return a.Sys().(*syscall.Stat_t).Dev == b.Sys().(*syscall.Stat_t).Dev
}
