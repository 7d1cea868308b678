package location

import (
	"cmp"
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

// A Dir is the path of a folder that keeps backups: a [Location].
//
// A relative path starts at the working directory at the time of each call. The zero
// value is no folder, and every call fails with fs.ErrInvalid. The path of the folder
// may lead through symbolic links. Inside of it a Dir handles regular files only: it
// neither lists nor opens nor deletes a link, a folder or a device, so nothing leads
// out of the folder. Only their owner can read its files (mode 0600). What a process of
// root makes belongs to the owner of the folder.
//
// [Dir.Make] makes the folder, and no other method does. Otherwise, while a drive is
// not mounted, a folder on the system's own disk would take its place, and would look
// like a backup until that disk dies. For the same reason use a folder on a drive
// and not its mount point, which is there without the drive.
//
// Files whose names begin with a dot are Dir's own: ".backup-*.tmp" during a Put, and
// ".NAME.lock". If a process is killed during a Put, the next Put removes its
// temporary file: at once where locks of the file system show that the process is
// dead, and after a day elsewhere. Where more than eight Puts ran at a time, that may be
// left to the next Put that runs with as many.
//
// Where the system has flock (Linux, macOS, the BSDs, illumos), a Dir also is a
// [Locker]. If several machines share the folder, its network file system must pass
// these locks on to the server, as NFS 4 does. On Linux a Dir is a [Watcher].
//
// Every error names the full path and wraps its cause: fs.ErrInvalid for a name that
// [CheckName] refuses, fs.ErrExist, fs.ErrNotExist (also for a missing folder),
// fs.ErrPermission, syscall.ENOSPC, the error of the context.
type Dir string

// String returns the path.
func (d Dir) String() string { return string(d) }

// Make makes the folder and the missing folders above it, for the owner only (mode
// 0700). If the folder exists, Make leaves it as it is and returns nil.
func (d Dir) Make() error { return d.dir().make() }

// Put implements [Location]. It notices that ctx is done only between two reads of r.
// If the file was written but may not survive a loss of power, Put removes it and
// returns an error.
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

// SameDisk implements [OnDisk] where the system numbers its file systems (not on Windows).
// It goes by them: two partitions of one disk count as two disks. The path may not exist
// yet; then the nearest folder above it counts.
func (d Dir) SameDisk(ctx context.Context, path string) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	here, err := os.Stat(string(d))
	if err != nil {
		return false, err
	}
	if path, err = filepath.Abs(path); err != nil {
		return false, err
	}
	there, err := os.Stat(path)
	for errors.Is(err, fs.ErrNotExist) && filepath.Dir(path) != path {
		path = filepath.Dir(path)
		there, err = os.Stat(path)
	}
	if err != nil {
		return false, err
	}
	return sameDevice(here, there)
}

func (d Dir) dir() dir { return dir{string(d), openRoot} }

// A dir is a Dir with the way to open its folder, which tests replace.
type dir struct {
	path string
	open func(path string) (folder, error)
}

// openFolder opens the folder for an operation. An empty name stands for the folder
// as a whole.
func (d dir) openFolder(ctx context.Context, op, name string) (folder, error) {
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

// openFor checks the name of a file, and opens the folder.
func (d dir) openFor(ctx context.Context, op, name string) (folder, error) {
	if err := CheckName(name); err != nil {
		return nil, fmt.Errorf("%s in %s: %w", op, d.path, err)
	}
	return d.openFolder(ctx, op, name)
}

// failed adds to an error of the file system the whole path, of which it has only a
// part, and what to do next.
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
		return fmt.Errorf("%s %s: the folder is missing: %w; check that the drive is mounted, or make the folder", op, d.path, err)
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
		if err := settleMade(p); err != nil {
			return fmt.Errorf("make the folder of backups: %w", fault.Advise(err))
		}
	}
	return nil
}

// settleMade gives a new folder to the owner of the folder that it is in, and makes it
// survive a loss of power.
func settleMade(path string) error {
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer root.Close()
	if info, err := root.Stat("."); err == nil {
		if made, err := root.Open(filepath.Base(path)); err == nil { // a link leads nowhere else
			giveToOwner(made, info)
			made.Close()
		}
	}
	return rootFolder{root}.Sync()
}

func (d dir) openFile(ctx context.Context, name string) (io.ReadCloser, error) {
	f, err := d.openFor(ctx, "open", name)
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
	f, err := d.openFolder(ctx, "list", "")
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
	var broken error // of the first file that the file system tells nothing about
	known := false
	for _, name := range names {
		if CheckName(name) != nil {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, d.failed("list", "", err)
		}
		info, err := f.Lstat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist): // it was deleted meanwhile
		case err != nil: // whoever opens the file finds out the same
			broken = cmp.Or(broken, d.failed("list", name, err))
			files = append(files, File{Name: name, Bytes: -1})
		case info.Mode().IsRegular():
			files = append(files, File{Name: name, Bytes: info.Size(), ModTime: info.ModTime()})
			known = true
		default:
			known = true
		}
	}
	if broken != nil && !known {
		return nil, broken
	}
	return files, nil
}

func (d dir) delete(ctx context.Context, name string) error {
	f, err := d.openFor(ctx, "delete", name)
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
