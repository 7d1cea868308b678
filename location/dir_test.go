package location

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A faultyFolder is a folder whose operations, and those of its files, can fail.
type faultyFolder struct {
	folder
	at func(op string) mishap // op is the name of the method
}

// A mishap is how an operation fails.
type mishap struct {
	err   error
	after bool // not before the operation is done but after it
	short bool // a Write writes less than it is given and returns no error
}

func (f faultyFolder) OpenFile(name string, flag int, perm fs.FileMode) (opened folderFile, err error) {
	err = f.at("OpenFile").around(func() error {
		opened, err = f.folder.OpenFile(name, flag, perm)
		return err
	})
	if err != nil {
		if opened != nil {
			opened.Close()
		}
		return nil, err
	}
	return faultyFolderFile{opened, f.at}, nil
}

// around does an operation or not.
func (f mishap) around(operation func() error) error {
	if f.err != nil && !f.after {
		return f.err
	}
	if err := operation(); err != nil {
		return err
	}
	return f.err
}

func (f faultyFolder) Lstat(name string) (info fs.FileInfo, err error) {
	err = f.at("Lstat").around(func() error { info, err = f.folder.Lstat(name); return err })
	return info, err
}

func (f faultyFolder) Link(old, new string) error {
	return f.at("Link").around(func() error { return f.folder.Link(old, new) })
}

func (f faultyFolder) Rename(old, new string) error {
	return f.at("Rename").around(func() error { return f.folder.Rename(old, new) })
}

func (f faultyFolder) Remove(name string) error {
	return f.at("Remove").around(func() error { return f.folder.Remove(name) })
}

func (f faultyFolder) Names() (names []string, err error) {
	err = f.at("Names").around(func() error { names, err = f.folder.Names(); return err })
	return names, err
}

func (f faultyFolder) Sync() error { return f.at("Sync").around(f.folder.Sync) }

type faultyFolderFile struct {
	folderFile
	at func(op string) mishap
}

func (f faultyFolderFile) Write(p []byte) (n int, err error) {
	mishap := f.at("Write")
	if mishap.err == nil {
		return f.folderFile.Write(p)
	}
	n, err = f.folderFile.Write(p[:len(p)/2])
	if err == nil && !mishap.short {
		err = mishap.err
	}
	return n, err
}

func (f faultyFolderFile) Stat() (info fs.FileInfo, err error) {
	err = f.at("Stat").around(func() error { info, err = f.folderFile.Stat(); return err })
	return info, err
}

func (f faultyFolderFile) Chmod(mode fs.FileMode) error {
	return f.at("Chmod").around(func() error { return f.folderFile.Chmod(mode) })
}

func (f faultyFolderFile) Truncate(size int64) error {
	return f.at("Truncate").around(func() error { return f.folderFile.Truncate(size) })
}

func (f faultyFolderFile) Sync() error { return f.at("Sync").around(f.folderFile.Sync) }

func (f faultyFolderFile) Close() error {
	mishap := f.at("Close") // closes all the same, as close(2) does
	return errors.Join(f.folderFile.Close(), mishap.err)
}

func (f faultyFolderFile) SyscallConn() (syscall.RawConn, error) {
	if mishap := f.at("SyscallConn"); mishap.err != nil {
		return nil, mishap.err
	}
	return f.folderFile.SyscallConn()
}

// faultyDir is a Dir on a file system with faults.
func faultyDir(path string, at func(op string) mishap) dir {
	return dir{path, func(path string) (folder, error) {
		if mishap := at("OpenRoot"); mishap.err != nil {
			return nil, mishap.err
		}
		f, err := openRoot(path)
		if err != nil {
			return nil, err
		}
		return faultyFolder{f, at}, nil
	}}
}

// A SeamDir is a dir as a Location, also for the tests outside of the package.
type SeamDir struct{ dir }

func (s SeamDir) Put(ctx context.Context, name string, r io.Reader) error {
	return s.put(ctx, name, r)
}

func (s SeamDir) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	return s.openFile(ctx, name)
}

func (s SeamDir) List(ctx context.Context) ([]File, error) { return s.list(ctx) }

func (s SeamDir) Delete(ctx context.Context, name string) error { return s.delete(ctx, name) }

// Lock returns errors.ErrUnsupported where Dir has none.
func (s SeamDir) Lock(ctx context.Context, name, holder string) (func() error, error) {
	locker, ok := any(s.dir).(interface {
		lock(ctx context.Context, name, holder string) (func() error, error)
	})
	if !ok {
		return nil, errors.ErrUnsupported
	}
	return locker.lock(ctx, name, holder)
}

// DirWithout is a Dir on a file system where operations (methods of folder and
// folderFile; the locks are SyscallConn) always fail.
func DirWithout(path string, err error, ops ...string) SeamDir {
	return SeamDir{faultyDir(path, func(op string) mishap {
		for _, o := range ops {
			if o == op {
				return mishap{err: err}
			}
		}
		return mishap{}
	})}
}

// DirWithHook is a Dir that calls before each operation.
func DirWithHook(path string, hook func(op string)) SeamDir {
	return SeamDir{faultyDir(path, func(op string) mishap { hook(op); return mishap{} })}
}

// namesInside returns what is in a folder, hidden or not.
func namesInside(t testing.TB, path string) []string {
	found, err := os.ReadDir(path)
	require.NoError(t, err)
	names := []string{}
	for _, e := range found {
		names = append(names, e.Name())
	}
	return names
}

var faultyContent = bytes.Repeat([]byte("0123456789abcdef"), 40_000) // some writes

func TestWhateverFailsInPutAFileIsWholeOrNotThere(t *testing.T) {
	for _, links := range []bool{true, false} {
		for _, kind := range []mishap{
			{err: syscall.ENOSPC}, {err: syscall.EIO}, {err: syscall.EIO, after: true}, {err: io.ErrShortWrite, short: true},
		} {
			for _, forever := range []bool{false, true} {
				name := fmt.Sprintf("links %t, %v, after %t, forever %t", links, kind.err, kind.after, forever)
				t.Run(name, func(t *testing.T) { failEverywhere(t, links, kind, forever) })
			}
		}
	}
}

func failEverywhere(t *testing.T, links bool, kind mishap, forever bool) {
	path := t.TempDir()
	failed := 0
	for nth := 1; ; nth++ {
		count := 0
		d := faultyDir(path, func(op string) mishap {
			if op == "Link" && !links {
				return mishap{err: syscall.EPERM}
			}
			if kind.short && op != "Write" {
				return mishap{}
			}
			if count++; count == nth || forever && count > nth {
				return kind
			}
			return mishap{}
		})
		err := d.put(t.Context(), "a", bytes.NewReader(faultyContent))
		got, missing := os.ReadFile(filepath.Join(path, "a"))
		switch {
		case err == nil:
			require.NoError(t, missing, nth)
			require.True(t, bytes.Equal(faultyContent, got), nth)
		case missing == nil:
			require.True(t, forever, "there in spite of an error: %d: %v", nth, err)
			require.ErrorContains(t, err, "the file may be there all the same")
			require.True(t, bytes.Equal(faultyContent, got), nth)
		default:
			failed++
			require.ErrorIs(t, missing, fs.ErrNotExist)
		}
		if err != nil {
			require.ErrorIs(t, err, kind.err, nth)
			require.ErrorContains(t, err, filepath.Join(path, "a"))
		}
		for _, left := range namesInside(t, path) {
			require.True(t, left == "a" || strings.HasPrefix(left, tempPrefix) && strings.HasSuffix(left, tempSuffix), left)
		}

		later := DirWithout(path, nil)
		if !links {
			later = DirWithout(path, syscall.EPERM, "Link")
		}
		require.NoError(t, later.Put(t.Context(), "b", strings.NewReader("later")), nth)
		if missing == nil {
			require.Equal(t, []string{"a", "b"}, namesInside(t, path), nth)
			require.NoError(t, Dir(path).Delete(t.Context(), "a"))
		}
		require.NoError(t, Dir(path).Delete(t.Context(), "b"))
		require.Empty(t, namesInside(t, path), nth)
		if count < nth {
			require.NoError(t, err)
			break
		}
	}
	require.NotZero(t, failed)
}

func TestAFileIsSyncedBeforeItHasItsNameAndTheFolderAfter(t *testing.T) {
	for _, noLinks := range []error{nil, syscall.EPERM} {
		var ops []string
		d := faultyDir(t.TempDir(), func(op string) mishap {
			switch op {
			case "Link":
				if noLinks == nil {
					ops = append(ops, "name")
				}
				return mishap{err: noLinks}
			case "Rename":
				ops = append(ops, "name")
			case "Write", "Sync":
				ops = append(ops, op)
			}
			return mishap{}
		})
		require.NoError(t, d.put(t.Context(), "a", strings.NewReader("content")))
		require.Equal(t, []string{"Write", "Sync", "name", "Sync"}, ops)
	}
}

func TestAFileThatCannotBeClosedIsWithdrawn(t *testing.T) {
	path := t.TempDir()
	err := DirWithout(path, syscall.EIO, "Close").Put(t.Context(), "a", strings.NewReader("content"))
	require.ErrorIs(t, err, syscall.EIO)
	require.Empty(t, namesInside(t, path))
}

func TestAPutThatIsCancelledAtTheEndStoresNothing(t *testing.T) {
	path := t.TempDir()
	for _, op := range []string{"Write", "Sync"} {
		ctx, cancel := context.WithCancel(t.Context())
		d := DirWithHook(path, func(done string) {
			if done == op {
				cancel()
			}
		})
		require.ErrorIs(t, d.Put(ctx, "a", strings.NewReader("content")), context.Canceled, op)
		require.Empty(t, namesInside(t, path))
	}
}

// What has no links is renamed, which overwrites.
func TestANameThatIsTakenAtTheLastMomentIsNotOverwritten(t *testing.T) {
	path := t.TempDir()
	opened := 0
	d := DirWithHook(path, func(op string) {
		if op != "OpenFile" {
			return
		}
		if opened++; opened == 2 { // after the name was looked for
			require.NoError(t, os.WriteFile(filepath.Join(path, "a"), []byte("precious"), 0o600))
		}
	})
	with := d.open
	d.open = func(path string) (folder, error) {
		f, err := with(path)
		return linkless{f}, err
	}
	require.ErrorIs(t, d.Put(t.Context(), "a", strings.NewReader("content")), fs.ErrExist)
	got, err := os.ReadFile(filepath.Join(path, "a"))
	require.NoError(t, err)
	require.Equal(t, "precious", string(got))
	require.Equal(t, []string{"a"}, namesInside(t, path))
}

func TestALeftoverWhoseNameIsAnothersMeanwhileIsNotRemoved(t *testing.T) {
	path := t.TempDir()
	file := filepath.Join(path, ".backup-.1.tmp")
	require.NoError(t, os.WriteFile(file, []byte("dead"), 0o600))
	locks := 0
	d := DirWithHook(path, func(op string) {
		if op != "SyscallConn" {
			return
		}
		if locks++; locks == 1 { // of what was opened as a leftover
			require.NoError(t, os.Remove(file))
			require.NoError(t, os.WriteFile(file, []byte("of another"), 0o600))
		}
	})
	require.NoError(t, d.Put(t.Context(), "b", strings.NewReader("content")))
	require.Equal(t, []string{".backup-.1.tmp", "b"}, namesInside(t, path))
}

func TestWhateverFailsInTheOtherCallsIsReported(t *testing.T) {
	for name, call := range map[string]func(SeamDir) error{
		"open": func(d SeamDir) error {
			f, err := d.Open(t.Context(), "a")
			if err == nil {
				err = f.(folderFile).(faultyFolderFile).folderFile.Close()
			}
			return err
		},
		"list":   func(d SeamDir) error { _, err := d.List(t.Context()); return err },
		"delete": func(d SeamDir) error { return d.Delete(t.Context(), "a") },
	} {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir()
			for nth := 1; ; nth++ {
				if err := Dir(path).Put(t.Context(), "a", strings.NewReader("content")); !errors.Is(err, fs.ErrExist) {
					require.NoError(t, err)
				}
				count := 0
				err := call(SeamDir{faultyDir(path, func(string) mishap {
					if count++; count == nth {
						return mishap{err: syscall.EIO}
					}
					return mishap{}
				})})
				if count < nth {
					require.NoError(t, err)
					return
				}
				require.ErrorIs(t, err, syscall.EIO)
				require.ErrorContains(t, err, path)
				require.ErrorContains(t, err, "check the drive")
			}
		})
	}
}

func TestALockWhoseTextCannotBeWrittenHolds(t *testing.T) {
	path := t.TempDir()
	d := DirWithout(path, syscall.ENOSPC, "Write", "Truncate")
	unlock, err := d.Lock(t.Context(), "a", "holder")
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("no locks on this system")
	}
	require.NoError(t, err)
	_, err = d.Lock(t.Context(), "a", "another")
	require.ErrorIs(t, err, ErrBusy)
	require.EqualError(t, err, "busy: "+path+" is held by another process")
	require.NoError(t, unlock())
}

func TestALockThatTheFileSystemDoesNotHaveIsUnsupported(t *testing.T) {
	for _, cause := range []error{syscall.ENOSYS, errors.ErrUnsupported} {
		_, err := DirWithout(t.TempDir(), cause, "SyscallConn").Lock(t.Context(), "a", "holder")
		require.ErrorIs(t, err, errors.ErrUnsupported)
	}
}

func TestWithoutLocksLeftoversGoAfterADay(t *testing.T) {
	path := t.TempDir()
	for name, age := range map[string]time.Duration{".backup-old.tmp": 25 * time.Hour, ".backup-new.tmp": 23 * time.Hour} {
		file := filepath.Join(path, name)
		require.NoError(t, os.WriteFile(file, []byte("half"), 0o600))
		require.NoError(t, os.Chtimes(file, time.Now(), time.Now().Add(-age)))
	}
	d := DirWithout(path, errors.ErrUnsupported, "SyscallConn", "Link")
	require.NoError(t, d.Put(t.Context(), "a", strings.NewReader("content")))
	require.Equal(t, []string{".backup-new.tmp", "a"}, namesInside(t, path))
}

// A temporary file is made and then locked; in between it looks like one whose
// writer is dead.
func TestAWriterWhoseFileIsTakenForALeftoverStartsOver(t *testing.T) {
	for _, links := range []bool{true, false} {
		path := t.TempDir()
		for nth := 1; nth < 40; nth++ {
			count := 0
			d := DirWithHook(path, func(op string) {
				if count++; count == nth && op != "Write" {
					removeDead(mustOpen(openRoot(path)))
				}
			})
			if !links {
				with := d.open
				d.open = func(path string) (folder, error) {
					f, err := with(path)
					return linkless{f}, err
				}
			}
			name := fmt.Sprint("a", nth)
			require.NoError(t, d.Put(t.Context(), name, strings.NewReader(name)), nth)
			got, err := os.ReadFile(filepath.Join(path, name))
			require.NoError(t, err)
			require.Equal(t, name, string(got))
		}
	}
}

func mustOpen(f folder, err error) folder {
	if err != nil {
		panic(err)
	}
	return f
}

type linkless struct{ folder }

func (linkless) Link(string, string) error { return syscall.EPERM }

func TestAFileThatIsReplacedWhileItIsOpenedIsNotOpened(t *testing.T) {
	path := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(path, "other"), []byte("other"), 0o600))
	for name, put := range map[string]func(file string) error{
		"link":   func(file string) error { return os.Symlink("other", file) },
		"folder": func(file string) error { return os.Mkdir(file, 0o700) },
	} {
		file := filepath.Join(path, name)
		require.NoError(t, os.WriteFile(file, []byte("content"), 0o600))
		d := DirWithHook(path, func(op string) {
			if op == "OpenFile" {
				require.NoError(t, os.Remove(file))
				if err := put(file); err != nil {
					t.Skip("no links here:", err)
				}
			}
		})
		_, err := d.Open(t.Context(), name)
		require.ErrorIs(t, err, fs.ErrNotExist, name)
	}
}

func TestEachFailureOfADirSaysWhatAndWhereAndWhatToDo(t *testing.T) {
	base := t.TempDir()
	path := filepath.Join(base, "backups")
	require.NoError(t, os.Mkdir(path, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(path, "a"), []byte("content"), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(path, "folder"), 0o700))
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()

	put := func(ctx context.Context, name string) func(Dir) error {
		return func(d Dir) error { return d.Put(ctx, name, strings.NewReader("")) }
	}
	open := func(name string) func(Dir) error {
		return func(d Dir) error { _, err := d.Open(t.Context(), name); return err }
	}
	list := func(d Dir) error { _, err := d.List(t.Context()); return err }
	drop := func(name string) func(Dir) error {
		return func(d Dir) error { return d.Delete(t.Context(), name) }
	}
	file := func(name string) string { return filepath.Join(path, name) }
	gone := filepath.Join(base, "gone")

	for name, c := range map[string]struct {
		dir  string
		call func(Dir) error
		is   error
		says string
	}{
		"put, name taken":           {path, put(t.Context(), "a"), fs.ErrExist, "put " + file("a") + ": the name is taken: file already exists"},
		"put, name of a folder":     {path, put(t.Context(), "folder"), fs.ErrExist, "put " + file("folder") + ": the name is taken"},
		"put, name invalid":         {path, put(t.Context(), "../a"), fs.ErrInvalid, "put in " + path + `: invalid argument: "../a" cannot be the name of a backup`},
		"put, cancelled":            {path, put(cancelled, "b"), context.Canceled, "put " + file("b") + ": context canceled"},
		"put, folder missing":       {gone, put(t.Context(), "a"), fs.ErrNotExist, "put " + gone + ": the folder is missing: no such file or directory; check that the drive is mounted, or make the folder"},
		"put, path of a file":       {file("a"), put(t.Context(), "b"), syscall.ENOTDIR, "the path of the folder leads to something else"},
		"put, path through a file":  {file("a/b"), put(t.Context(), "b"), syscall.ENOTDIR, "the path of the folder leads to something else"},
		"put, no path":              {"", put(t.Context(), "a"), fs.ErrInvalid, "the path of the folder of backups is empty"},
		"open, missing":             {path, open("b"), fs.ErrNotExist, "open " + file("b") + ": no such file or directory"},
		"open, a folder":            {path, open("folder"), fs.ErrNotExist, "open " + file("folder") + ": not a regular file"},
		"open, folder missing":      {gone, open("a"), fs.ErrNotExist, "check that the drive is mounted, or make the folder"},
		"open, no path":             {"", open("a"), fs.ErrInvalid, "is empty"},
		"list, folder missing":      {gone, list, fs.ErrNotExist, "list " + gone + ": the folder is missing: no such file or directory; check that the drive is mounted, or make the folder"},
		"list, path of a file":      {file("a"), list, syscall.ENOTDIR, "list " + file("a") + ": the path of the folder leads to something else"},
		"list, no path":             {"", list, fs.ErrInvalid, "is empty"},
		"delete, missing":           {path, drop("b"), fs.ErrNotExist, "delete " + file("b") + ": no such file or directory"},
		"delete, a folder":          {path, drop("folder"), fs.ErrNotExist, "delete " + file("folder") + ": not a regular file"},
		"delete, folder missing":    {gone, drop("a"), fs.ErrNotExist, "check that the drive is mounted, or make the folder"},
		"make, no path":             {"", Dir.Make, fs.ErrInvalid, "is empty"},
		"make, path of a file":      {file("a"), Dir.Make, syscall.ENOTDIR, file("a")},
		"make, path through a file": {file("a/b"), Dir.Make, syscall.ENOTDIR, file("a")},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.call(Dir(c.dir))
			require.ErrorIs(t, err, c.is)
			require.ErrorContains(t, err, c.says)
		})
	}
	require.Equal(t, []string{"a", "folder"}, namesInside(t, path))
	require.NoDirExists(t, gone)

	reader := errors.New("the host's database is locked")
	require.ErrorIs(t, Dir(path).Put(t.Context(), "a", errorReader{reader}), fs.ErrExist, "before anything is read")
	err := Dir(path).Put(t.Context(), "b", io.MultiReader(strings.NewReader("x"), errorReader{reader}))
	require.ErrorIs(t, err, reader)
	require.EqualError(t, err, "put "+file("b")+": the host's database is locked")
	err = Dir(path).Put(t.Context(), "b", errorReader{fs.ErrPermission})
	require.EqualError(t, err, "put "+file("b")+": permission denied", "it is not the folder that lacks permissions")
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }

func TestAFolderThatVanishesWhileAFileIsWrittenIsNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "backups")
	require.NoError(t, Dir(path).Make())
	err := Dir(path).Put(t.Context(), "a", removeReader{path})
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, "check that the drive is mounted")
	require.NoDirExists(t, path)
}

type removeReader struct{ path string }

func (r removeReader) Read([]byte) (int, error) {
	if err := os.RemoveAll(r.path); err != nil {
		return 0, err
	}
	return 0, io.EOF
}

func TestAPanicOfTheReaderLeavesNothing(t *testing.T) {
	path := t.TempDir()
	require.Panics(t, func() { _ = Dir(path).Put(t.Context(), "a", struct{ io.Reader }{}) })
	require.Empty(t, namesInside(t, path))
}

func TestOnlyMakeMakesTheFolder(t *testing.T) {
	base := t.TempDir()
	d := Dir(filepath.Join(base, "a", "b", "c"))
	require.Error(t, d.Put(t.Context(), "x", strings.NewReader("")))
	require.Empty(t, namesInside(t, base))
	require.NoError(t, d.Make())
	require.NoError(t, d.Make(), "what exists stays")
	require.NoError(t, d.Put(t.Context(), "x", strings.NewReader("")))
	require.NoError(t, d.Make())
	require.Equal(t, []string{"x"}, namesInside(t, d.String()))
}

func TestARelativePathIsMeantFromTheWorkingDirectory(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, Dir("x/y").Make())
	require.NoError(t, Dir("x/y/").Put(t.Context(), "a", strings.NewReader("content")))
	t.Chdir("x")
	files, err := Dir("y").List(t.Context())
	require.NoError(t, err)
	require.Len(t, files, 1)
	require.Equal(t, int64(7), files[0].Bytes)
	require.WithinDuration(t, time.Now(), files[0].ModTime, time.Hour)
	_, err = Dir("x/y").List(t.Context())
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestAnOpenedFileIsAnOSFile(t *testing.T) {
	d := Dir(t.TempDir())
	require.NoError(t, d.Put(t.Context(), "a", strings.NewReader("content")))
	f, err := d.Open(t.Context(), "a")
	require.NoError(t, err)
	defer f.Close()
	require.IsType(t, &os.File{}, f)
	require.Equal(t, filepath.Join(d.String(), "a"), f.(*os.File).Name())
	_, err = f.(*os.File).Write([]byte("x"))
	require.Error(t, err)
}

func BenchmarkDirList(b *testing.B) {
	d := Dir(b.TempDir())
	for i := range 10_000 {
		require.NoError(b, os.WriteFile(filepath.Join(d.String(), fmt.Sprint("app-backup-", i, ".json")), nil, 0o600))
	}
	for b.Loop() {
		files, err := d.List(b.Context())
		if err != nil || len(files) != 10_000 {
			b.Fatal(len(files), err)
		}
	}
}

// A namelessFolder tells nothing about files with some names, as a broken drive does.
type namelessFolder struct {
	folder
	names string
}

func (f namelessFolder) Lstat(name string) (fs.FileInfo, error) {
	if strings.Contains(f.names, name) {
		return nil, &fs.PathError{Op: "lstat", Path: name, Err: syscall.EIO}
	}
	return f.folder.Lstat(name)
}

func TestAFileOfWhichNothingIsKnownHidesNoOther(t *testing.T) {
	path := t.TempDir()
	for _, name := range []string{"a", "b", "c"} {
		require.NoError(t, os.WriteFile(filepath.Join(path, name), []byte("content"), 0o600))
	}
	broken := func(names string) SeamDir {
		return SeamDir{dir{path, func(path string) (folder, error) {
			f, err := openRoot(path)
			return namelessFolder{f, names}, err
		}}}
	}
	files, err := broken("a").List(t.Context())
	require.NoError(t, err)
	require.Len(t, files, 3)
	require.Equal(t, File{Name: "a", Bytes: -1}, files[0])
	require.EqualValues(t, 7, files[1].Bytes)
	_, err = broken("a").Open(t.Context(), "a")
	require.ErrorIs(t, err, syscall.EIO)
	_, err = broken("abc").List(t.Context())
	require.ErrorIs(t, err, syscall.EIO, "it is not the file")
	require.ErrorContains(t, err, "check the drive")
}
