package filestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// A folder is the locked folder of a Store. All work goes through the folder
// above it, where the new folder is prepared. System names are relative to that
// parent; paths of files are relative to the folder.
type folder struct {
	collections []*collection
	path        string // with links resolved
	parent      *os.Root
	base        string // its name in parent
	allowGap    bool
	step        func(name string) error

	lock  *os.File // nil when it is unlocked
	info  fs.FileInfo
	spool *spool
}

func (f *folder) name(what string) string { return "." + f.base + ".filestore." + what }

// in returns the name, in parent, of a path in the folder.
func (f *folder) in(path string) string { return filepath.Join(f.base, filepath.FromSlash(path)) }

// failed adds the whole path to an error of the system, which has only a part
// of it, and what to do next.
func (f *folder) failed(op, path string, err error) error {
	full := filepath.Join(f.path, filepath.FromSlash(path))
	return fmt.Errorf("filestore: %s %s: %w", op, full, explain(err))
}

// explain takes the partial path out of an error of the system, and adds what
// to do next.
func explain(err error) error {
	switch e := err.(type) {
	case *fs.PathError:
		err = e.Err
	case *os.LinkError:
		err = e.Err
	}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
		return fmt.Errorf("%w; check disk space", err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w; check permissions, also those of the folder above", err)
	}
	return err
}

// at is called with the name of an important step, before the step.
func (f *folder) at(step string) error {
	if f.step == nil {
		return nil
	}
	return f.step(step)
}

// open locks the folder and repairs what a killed process has left.
func (s Store) open(ctx context.Context) (_ *folder, err error) {
	if s.Path == "" {
		return nil, fmt.Errorf("filestore: %w: the path of the folder is empty", fs.ErrInvalid)
	}
	f := &folder{allowGap: s.AllowGap, step: s.step}
	if f.collections, err = s.compile(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if f.path, err = resolve(s.Path); err != nil {
		return nil, fmt.Errorf("filestore: open %s: %w", s.Path, explain(err))
	}
	f.base = filepath.Base(f.path)
	if f.path == filepath.Dir(f.path) {
		return nil, fmt.Errorf("filestore: %w: there is no folder above %s; keep the files in a folder of their own", fs.ErrInvalid, f.path)
	}
	if f.parent, err = os.OpenRoot(filepath.Dir(f.path)); err != nil {
		return nil, f.failed("open", "", err)
	}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	if err := f.exists(); err != nil { // before a lock is made beside a folder that is missing
		return nil, f.failed("open", "", err)
	}
	if err := f.lockFolder(ctx); err != nil {
		return nil, err
	}
	if err := f.recover(); err != nil {
		return nil, err
	}
	if f.info, err = f.parent.Lstat(f.base); err != nil {
		return nil, f.failed("open", "", err)
	}
	if !f.info.IsDir() {
		return nil, f.failed("open", "", syscall.ENOTDIR)
	}
	return f, nil
}

// resolve follows the links of a path, also if their target is missing.
func resolve(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	for range 40 {
		real, err := filepath.EvalSymlinks(path)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return real, err
		}
		parent, err := filepath.EvalSymlinks(filepath.Dir(path))
		if err != nil {
			return "", err
		}
		path = filepath.Join(parent, filepath.Base(path))
		target, err := os.Readlink(path)
		if err != nil {
			return path, nil
		}
		if path = target; !filepath.IsAbs(target) {
			path = filepath.Join(parent, target)
		}
	}
	return "", syscall.ELOOP
}

// exists returns an error if there is no folder, unless the folder was being
// exchanged.
func (f *folder) exists() (err error) {
	for _, name := range []string{f.base, f.name("old"), f.base} { // the folder may come back meanwhile
		if _, err = f.parent.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return err
}

// lockFolder waits for the lock.
func (f *folder) lockFolder(ctx context.Context) error {
	name := f.name("lock")
	where := filepath.Join(filepath.Dir(f.path), name)
	for wait := time.Millisecond / 4; ; wait = min(2*wait, 4*time.Millisecond) {
		held, err := f.tryLock(name)
		if err != nil {
			return fmt.Errorf("filestore: lock %s: %w", where, explain(err))
		}
		if held != nil {
			f.lock = held
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("filestore: wait for the lock %s: %w", where, ctx.Err())
		case <-time.After(wait):
		}
	}
}

// tryLock returns nil if another process holds the lock.
func (f *folder) tryLock(name string) (*os.File, error) {
	opened, err := f.parent.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		// The user of the host may differ from the user of the restore.
		if info, err := f.parent.Lstat(f.base); err == nil {
			_ = adopt(f.parent, name, info)
		}
	}
	if errors.Is(err, fs.ErrExist) {
		opened, _, err = openRegular(f.parent, name, os.O_RDWR)
	}
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) { // it was removed meanwhile
			return nil, nil
		}
		return nil, err
	}
	ok, err := flock(opened)
	if ok && err == nil {
		// If the file has lost its name, its lock keeps nobody out.
		var here, there fs.FileInfo
		if here, err = opened.Stat(); err == nil {
			there, err = f.parent.Lstat(name)
		}
		ok = err == nil && os.SameFile(here, there)
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if !ok || err != nil {
		opened.Close()
		return nil, err
	}
	return opened, nil
}

// unlock releases the lock. Afterwards only the spool may be used.
func (f *folder) unlock() error {
	if f.lock == nil {
		return nil
	}
	// A child process that is being started holds a copy of the file for a
	// moment. So closing alone may not release the lock.
	err := errors.Join(funlock(f.lock), f.lock.Close())
	f.lock = nil
	return err
}

func (f *folder) close() error {
	err := f.unlock()
	if f.spool != nil {
		f.spool.file.Close()
	}
	if f.parent != nil {
		f.parent.Close()
	}
	return err
}

// openRegular opens a file, and refuses links, folders and devices.
func openRegular(root *os.Root, name string, flag int) (*os.File, fs.FileInfo, error) {
	before, err := root.Lstat(name)
	if err != nil {
		return nil, nil, err
	}
	if !before.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%w: not a regular file", fs.ErrInvalid)
	}
	opened, err := root.OpenFile(name, flag|openNonblock, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := opened.Stat()
	if err == nil && !os.SameFile(before, info) {
		err = errors.New("replaced while it was opened; only the holder of the lock may do that")
	}
	if err != nil {
		opened.Close()
		return nil, nil, err
	}
	return opened, info, nil
}

func readRegular(root *os.Root, name string) ([]byte, error) {
	opened, info, err := openRegular(root, name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	content := make([]byte, 0, info.Size()+1)
	for {
		n, err := opened.Read(content[len(content):cap(content)])
		content = content[:len(content)+n]
		if err == io.EOF {
			return content, nil
		}
		if err != nil {
			return nil, err
		}
		if len(content) == cap(content) {
			content = append(content, 0)[:len(content)]
		}
	}
}

// names lists the names in a folder.
func names(root *os.Root, name string) ([]string, error) {
	opened, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	return opened.Readdirnames(-1)
}

// syncFolder makes the names in a folder survive a loss of power. It ignores
// the error of a file system that cannot sync folders.
func syncFolder(opened *os.File) error {
	err := opened.Sync()
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EINVAL) {
		return nil
	}
	return err
}

// A spool is a file without a name. It keeps values until they are needed.
type spool struct {
	file *os.File
	size int64
}

// A place is where in the spool a value is.
type place struct {
	offset int64
	length int
}

func (f *folder) put(content []byte) (place, error) {
	if f.spool == nil {
		name := f.name("spool")
		file, err := f.parent.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err == nil {
			if err = f.parent.Remove(name); err != nil {
				file.Close()
			}
		}
		if err != nil {
			return place{}, fmt.Errorf("put aside beside %s: %w", f.path, explain(err))
		}
		f.spool = &spool{file: file}
	}
	at := place{f.spool.size, len(content)}
	n, err := f.spool.file.Write(content)
	f.spool.size += int64(n)
	if err != nil {
		return place{}, fmt.Errorf("put aside beside %s: %w", f.path, explain(err))
	}
	return at, nil
}

func (f *folder) get(at place) ([]byte, error) {
	content := make([]byte, at.length)
	if _, err := f.spool.file.ReadAt(content, at.offset); err != nil {
		return nil, fmt.Errorf("read what was put aside: %w", explain(err))
	}
	return content, nil
}
