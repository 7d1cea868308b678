package location

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"syscall"
)

// A folder is an open folder: an os.Root, or one that fails in a test. Each name is
// one element of a path.
type folder interface {
	OpenFile(name string, flag int, perm fs.FileMode) (folderFile, error)
	Lstat(name string) (fs.FileInfo, error)
	Link(old, new string) error
	Rename(old, new string) error
	Remove(name string) error
	Names() ([]string, error)
	Sync() error // makes the names survive a loss of power
	Close() error
}

// A folderFile is a file in a folder: an *os.File.
type folderFile interface {
	io.ReadWriteCloser
	Stat() (fs.FileInfo, error)
	Chmod(mode fs.FileMode) error
	Truncate(size int64) error
	Sync() error
	SyscallConn() (syscall.RawConn, error)
}

type rootFolder struct{ *os.Root }

func openRoot(path string) (folder, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	return rootFolder{root}, nil
}

func (r rootFolder) OpenFile(name string, flag int, perm fs.FileMode) (folderFile, error) {
	f, err := r.Root.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	if flag&os.O_EXCL != 0 {
		if info, err := r.Stat("."); err == nil {
			giveToOwner(f, info)
		}
	}
	return f, nil
}

func (r rootFolder) Names() ([]string, error) {
	f, err := r.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

func (r rootFolder) Sync() error {
	f, err := r.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	return syncFolder(f)
}

// syncFolder syncs a folder. It returns nil where a file system cannot do that.
func syncFolder(f *os.File) error {
	if runtime.GOOS == "windows" || runtime.GOOS == "plan9" {
		return nil
	}
	err := f.Sync()
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EINVAL) {
		return nil
	}
	return err
}

// openRegular opens a regular file. It refuses a link, a folder or a device, which
// may lead out of the folder or make the reader wait.
func openRegular(f folder, name string, flag int) (folderFile, fs.FileInfo, error) {
	before, err := f.Lstat(name)
	if err != nil {
		return nil, nil, err
	}
	if !before.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("not a regular file: %w", fs.ErrNotExist)
	}
	opened, err := f.OpenFile(name, flag|openNonblock, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := opened.Stat()
	if err == nil && !(info.Mode().IsRegular() && os.SameFile(before, info)) {
		err = fmt.Errorf("replaced while it was opened: %w", fs.ErrNotExist)
	}
	if err != nil {
		opened.Close()
		return nil, nil, err
	}
	return opened, info, nil
}
