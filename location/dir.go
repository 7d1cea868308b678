package location

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/tomo-project/backup/internal/fault"
)

// A Dir is the path of a folder that keeps backups, a [Location]:
//
//	nas := backup.Dir("/mnt/nas/backups")
//
// A relative path is meant from the working directory at the time of each call;
// the zero value is no folder, and every call fails. The path may lead through
// symbolic links, but none leads out of the folder: what is in it and is not a
// regular file is neither listed nor opened nor deleted. Files are for their
// owner only (mode 0600).
//
// No method but [Dir.Make] makes the folder. A drive that is not mounted would
// otherwise be replaced by a folder on the system's own disk, which looks like a
// backup until that disk dies. For the same reason let a Dir be a folder on a
// drive and not the mount point, which is there without the drive.
//
// Files whose names begin with a dot are Dir's own: ".backup-*.tmp" while
// something is being Put, and ".NAME.lock". What a process that was killed in
// the middle has left of the former is removed by the next Put: at once where
// the file system tells that its writer is dead, else after a day.
//
// Where the system has flock (Linux, macOS, the BSDs, illumos) a Dir also is a
// [Locker]. If several machines share the folder, its network file system has to
// pass these locks on to the server, as NFS 4 does.
//
// Every error has the full path and wraps its cause: fs.ErrInvalid for a name
// that [CheckName] refuses, fs.ErrExist, fs.ErrNotExist (a missing folder too),
// fs.ErrPermission, syscall.ENOSPC, the error of the context.
type Dir string

// String returns the path.
func (d Dir) String() string { return string(d) }

// Make makes the folder and what is missing above it, for the owner only (mode
// 0700). If it exists, Make leaves it as it is and returns nil.
func (d Dir) Make() error { return d.dir().make() }

// Put implements [Location]. While it waits for r it does not notice that ctx is
// done. If the file was written but cannot be made to survive a loss of power,
// Put removes it and returns an error.
func (d Dir) Put(ctx context.Context, name string, r io.Reader) error {
	return d.dir().put(ctx, name, r)
}

// Open implements [Location]. It returns an *os.File, open for reading.
func (d Dir) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	return d.dir().openFile(ctx, name)
}

// List implements [Location].
func (d Dir) List(ctx context.Context) ([]File, error) { return d.dir().list(ctx) }

// Delete implements [Location].
func (d Dir) Delete(ctx context.Context, name string) error { return d.dir().delete(ctx, name) }

func (d Dir) dir() dir { return dir{string(d), openRoot} }

// A dir is a Dir with the file system that it is on.
type dir struct {
	path string
	open func(path string) (folder, error)
}

// enter opens every method: it checks its arguments and opens the folder. An
// empty name stands for the folder as a whole.
func (d dir) enter(ctx context.Context, op, name string) (folder, error) {
	if d.path == "" {
		return nil, fmt.Errorf("%s: %w: the path of the folder of backups is empty", op, fs.ErrInvalid)
	}
	if err := ctx.Err(); err != nil {
		return nil, d.failed(op, name, err)
	}
	info, err := os.Stat(d.path) // opening a FIFO would wait for a writer
	if err != nil {
		return nil, d.failed(op, name, err)
	}
	if !info.IsDir() {
		return nil, d.failed(op, name, syscall.ENOTDIR)
	}
	f, err := d.open(d.path)
	if err != nil {
		return nil, d.failed(op, name, err)
	}
	return f, nil
}

// checked is enter for what has a name.
func (d dir) checked(ctx context.Context, op, name string) (folder, error) {
	if err := CheckName(name); err != nil {
		return nil, fmt.Errorf("%s in %s: %w", op, d.path, err)
	}
	return d.enter(ctx, op, name)
}

// failed puts the whole path before an error of the file system, which knows
// but a part of it, and what to do after it.
func (d dir) failed(op, name string, err error) error {
	switch e := err.(type) {
	case *fs.PathError:
		err = e.Err
	case *os.LinkError:
		err = e.Err
	}
	path := filepath.Join(d.path, name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && d.missing():
		return fmt.Errorf("%s %s: the folder is missing: %w; check that the drive is mounted, or make the folder", op, path, err)
	case errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%s %s: the path of the folder leads to something else: %w; check the path", op, path, err)
	case errors.Is(err, fs.ErrPermission) && (op == "open" || op == "list"):
		return fmt.Errorf("%s %s: %w; check read permissions", op, path, err)
	case errors.Is(err, syscall.EIO):
		return fmt.Errorf("%s %s: %w; check the drive", op, path, err)
	}
	return fmt.Errorf("%s %s: %w", op, path, fault.Advise(err))
}

func (d dir) missing() bool {
	_, err := os.Stat(d.path)
	return errors.Is(err, fs.ErrNotExist)
}

func (d dir) make() error {
	if d.path == "" {
		return fmt.Errorf("make: %w: the path of the folder of backups is empty", fs.ErrInvalid)
	}
	var missing []string
	for p := filepath.Clean(d.path); ; p = filepath.Dir(p) {
		if _, err := os.Stat(p); !errors.Is(err, fs.ErrNotExist) || p == filepath.Dir(p) {
			break
		}
		missing = append(missing, p)
	}
	if err := os.MkdirAll(d.path, 0o700); err != nil {
		return fmt.Errorf("make the folder of backups: %w", fault.Advise(err))
	}
	for _, p := range slices.Backward(missing) {
		parent, err := os.Open(filepath.Dir(p))
		if err != nil {
			return fmt.Errorf("make the folder of backups: %w", fault.Advise(err))
		}
		err = errors.Join(syncFolder(parent), parent.Close())
		if err != nil {
			return fmt.Errorf("make the folder of backups: %w", fault.Advise(err))
		}
	}
	return nil
}

func (d dir) openFile(ctx context.Context, name string) (io.ReadCloser, error) {
	f, err := d.checked(ctx, "open", name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	opened, _, err := openRegular(f, name, os.O_RDONLY)
	if err != nil {
		return nil, d.failed("open", name, err)
	}
	return opened, nil
}

func (d dir) list(ctx context.Context) ([]File, error) {
	f, err := d.enter(ctx, "list", "")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Names()
	if err != nil {
		return nil, d.failed("list", "", err)
	}
	slices.Sort(names)
	var files []File
	for _, name := range names {
		if CheckName(name) != nil {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, d.failed("list", "", err)
		}
		info, err := f.Lstat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist): // deleted meanwhile
		case err != nil:
			return nil, d.failed("list", name, err)
		case info.Mode().IsRegular():
			files = append(files, File{Name: name, Bytes: info.Size(), ModTime: info.ModTime()})
		}
	}
	return files, nil
}

func (d dir) delete(ctx context.Context, name string) error {
	f, err := d.checked(ctx, "delete", name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Lstat(name)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("not a regular file: %w", fs.ErrNotExist)
	}
	if err == nil {
		err = f.Remove(name)
	}
	if err != nil {
		return d.failed("delete", name, err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("%w; the file is deleted, but may come back after a loss of power", d.failed("delete", name, err))
	}
	return nil
}
