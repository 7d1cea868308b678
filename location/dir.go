package location

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

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

// A folder is an open folder: an os.Root, or one that fails in a test. Names are
// elements of a path.
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

// syncFolder lets pass that a file system has nothing to sync in a folder.
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

// put writes a temporary file, syncs it and gives it its name, and syncs the
// folder.
func (d dir) put(ctx context.Context, name string, r io.Reader) error {
	f, err := d.checked(ctx, "put", name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := free(f, name); err != nil { // before r is asked to do its work
		return d.failed("put", name, err)
	}
	removeDead(f)
	t, err := newTemporary(f)
	if err != nil {
		return d.failed("put", name, err)
	}
	defer t.discard()

	in := &source{ctx: ctx, r: r}
	_, err = io.CopyBuffer(struct{ io.Writer }{t}, in, make([]byte, 256<<10))
	if in.err != nil {
		return fmt.Errorf("put %s: %w", filepath.Join(d.path, name), in.err)
	}
	if err == nil && t.info.Mode().Perm() != 0o600 {
		// A umask has taken away even from that. File systems without modes fail.
		_ = t.Chmod(0o600)
	}
	if err == nil {
		err = t.Sync()
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return d.failed("put", name, err)
	}

	err = publish(ctx, f, t, name)
	if err == nil {
		t.unname() // one sync is for both names
		err = f.Sync()
	}
	if err == nil {
		err = t.Close() // not before, as this gives up its lock
	}
	if err == nil {
		return nil
	}
	err = d.failed("put", name, err)
	ours, unknown := t.has(name)
	if unknown != nil || ours && f.Remove(name) != nil {
		return fmt.Errorf("%w; the file may be there all the same", err)
	}
	return err
}

// free returns nil if the name is free, whatever it may be the name of.
func free(f folder, name string) error {
	_, err := f.Lstat(name)
	switch {
	case err == nil:
		return fmt.Errorf("the name is taken: %w", fs.ErrExist)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return err
}

// A source is a reader that ends with a context, and remembers why it ended.
type source struct {
	ctx context.Context
	r   io.Reader
	err error // nil at the end of r
}

func (s *source) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		s.err = err
		return 0, err
	}
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

const tempPrefix, tempSuffix = ".backup-", ".tmp"

// A temporary is a file that is locked while its writer lives, where there are
// locks.
type temporary struct {
	folderFile
	folder folder
	name   string // empty once it has no name of its own any more
	info   fs.FileInfo
}

// newTemporary makes one under a name of its own.
func newTemporary(f folder) (t *temporary, err error) {
	for range 100 {
		t, err = makeTemporary(f, tempPrefix+rand.Text()+tempSuffix)
		if !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	return t, err
}

// makeTemporary returns an error that wraps fs.ErrExist if the name is taken or
// if removeDead has taken the file for one of a dead writer before it was
// locked.
func makeTemporary(f folder, name string) (*temporary, error) {
	opened, err := f.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	t := &temporary{folderFile: opened, folder: f, name: name}
	ours := true
	if t.info, err = opened.Stat(); err == nil {
		err = lockFile(opened)
		switch {
		case err == nil:
			ours, err = t.has(name)
		case err == errHeld:
			ours, err = false, nil
		case errors.Is(err, errors.ErrUnsupported):
			err = nil
		}
	}
	if !ours && err == nil {
		opened.Close()
		return nil, fmt.Errorf("%s was taken for a leftover: %w", name, fs.ErrExist)
	}
	if err != nil {
		t.discard()
		return nil, err
	}
	return t, nil
}

// has tells whether name is one of t's names.
func (t *temporary) has(name string) (bool, error) {
	info, err := t.folder.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(info, t.info), err
}

// unname takes the name of its own from t. What remains after a failure is
// removed as that of a dead writer.
func (t *temporary) unname() {
	if t.name != "" {
		_ = t.folder.Remove(t.name)
	}
	t.name = ""
}

// discard removes t. It is locked until it is gone.
func (t *temporary) discard() {
	t.unname()
	t.Close()
}

// removeDead removes what processes have left that were killed in a Put. What
// cannot be removed stays: that is not the matter of the Put that finds it.
func removeDead(f folder) {
	names, err := f.Names()
	if err != nil {
		return
	}
	for _, name := range names {
		if strings.HasPrefix(name, tempPrefix) && strings.HasSuffix(name, tempSuffix) {
			removeIfDead(f, name)
		}
	}
}

func removeIfDead(f folder, name string) {
	opened, info, err := openRegular(f, name, os.O_RDWR) // NFS locks what may be written
	if err != nil {
		return
	}
	defer opened.Close()
	dead := false
	switch err := lockFile(opened); {
	case err == nil:
		// It may have lost its name to another meanwhile. While it is locked that
		// does not happen.
		dead, _ = (&temporary{folder: f, info: info}).has(name)
	case errors.Is(err, errors.ErrUnsupported):
		dead = time.Since(info.ModTime()) > 24*time.Hour
	}
	if dead {
		_ = f.Remove(name)
	}
}

// publish gives t a name that is free.
func publish(ctx context.Context, f folder, t *temporary, name string) error {
	err := f.Link(t.name, name)
	if err == nil {
		return nil
	}
	if done, _ := t.has(name); done { // NFS can report failure of what it has done
		return nil
	}
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("the name is taken: %w", fs.ErrExist)
	}
	// File systems of external drives have no links, and say so in many ways.
	// Renaming overwrites. Only who has made a certain file may do it, which goes
	// away as all temporary files do.
	var mark *temporary
	for range 200 {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := free(f, name); err != nil {
			return err
		}
		mark, err = makeTemporary(f, tempPrefix+name+tempSuffix)
		if !errors.Is(err, fs.ErrExist) {
			break
		}
		err = fmt.Errorf("another Put is about to take the name: %w", fs.ErrExist)
		time.Sleep(5 * time.Millisecond)
		removeDead(f)
	}
	if err != nil {
		return err
	}
	defer mark.discard()
	if err := free(f, name); err != nil {
		return err
	}
	if err := f.Rename(t.name, name); err != nil {
		return err
	}
	t.name = ""
	return nil
}

// openRegular opens a file that is not a link, a folder or a device. Those,
// which may lead out of the folder or make their reader wait, are no files of
// a Location.
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
