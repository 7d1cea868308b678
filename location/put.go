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
	"strings"
	"time"

	"github.com/tomo-project/backup/internal/fault"
)

// put writes a temporary file, syncs it, gives it its name, and syncs the folder.
func (d dir) put(ctx context.Context, name string, r io.Reader) error {
	if fault.IsNil(r) {
		return fmt.Errorf("put %s: %w: the io.Reader is nil", filepath.Join(d.path, name), fs.ErrInvalid)
	}
	f, err := d.openFor(ctx, "put", name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := checkFree(f, name); err != nil { // before r is read, which may take long
		return d.failed("put", name, err)
	}
	t, err := newTemporary(f)
	if err != nil {
		return d.failed("put", name, err)
	}
	defer t.discard()

	in := &input{ctx: ctx, r: r}
	_, err = io.CopyBuffer(struct{ io.Writer }{t}, in, make([]byte, 256<<10))
	if in.err != nil {
		return fmt.Errorf("put %s: %w", filepath.Join(d.path, name), in.err)
	}
	if err == nil && t.info.Mode().Perm() != 0o600 {
		// The umask has removed some of these bits. On a file system without modes
		// Chmod fails.
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
		t.unname() // before the sync, which covers both names
		err = f.Sync()
	}
	if err == nil {
		err = t.Close() // last, since it gives up the lock
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

// checkFree returns nil if nothing has the name: no file, folder or link.
func checkFree(f folder, name string) error {
	_, err := f.Lstat(name)
	switch {
	case err == nil:
		return fmt.Errorf("the name is taken: %w", fs.ErrExist)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return err
}

// An input is the reader of a Put. It ends when ctx is done, and keeps its error apart
// from those of writing.
type input struct {
	ctx context.Context
	r   io.Reader
	err error // nil at the end of r
}

func (in *input) Read(p []byte) (int, error) {
	if err := in.ctx.Err(); err != nil {
		in.err = err
		return 0, err
	}
	n, err := in.r.Read(p)
	if err != nil && err != io.EOF {
		in.err = err
	}
	return n, err
}

const tempPrefix, tempSuffix = ".backup-", ".tmp"

// commonTemps is how many names of temporary files are always the same. A Put looks at
// these for what dead writers have left, and needs no list of the folder, which may be
// large.
const commonTemps = 8

// commonTemp returns one of these names. No mark has it (see publish), since no file has a
// name that begins with a dot.
func commonTemp(i int) string { return fmt.Sprintf("%s.%d%s", tempPrefix, i, tempSuffix) }

// A temporary is a temporary file. Where there are locks, it is locked while its
// writer lives.
type temporary struct {
	folderFile
	folder folder
	name   string // empty once the file has lost its temporary name
	info   fs.FileInfo
	locked bool
}

// newTemporary makes a temporary file, and removes those of dead writers. Its name is
// random if the common names are taken, or if there are no locks: then another Put may
// remove the file and give its name to a file of its own.
func newTemporary(f folder) (t *temporary, err error) {
	for i := range commonTemps {
		removeIfDead(f, commonTemp(i))
	}
	for i := range commonTemps {
		if t, err = makeTemporary(f, commonTemp(i)); err == nil && t.locked {
			return t, nil
		} else if err == nil {
			t.discard()
			break
		} else if !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	removeDead(f)
	for range 100 {
		t, err = makeTemporary(f, tempPrefix+rand.Text()+tempSuffix)
		if !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	return t, err
}

// makeTemporary makes a temporary file. It returns an error that wraps fs.ErrExist if
// the name is taken. It also does if another Put has removed the file before it was
// locked, as that of a dead writer.
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
			t.locked = true
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

// has tells whether name is a name of the file.
func (t *temporary) has(name string) (bool, error) {
	info, err := t.folder.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(info, t.info), err
}

// unname removes the temporary name. If that fails, a later Put removes it as that of
// a dead writer.
func (t *temporary) unname() {
	if t.name != "" {
		_ = t.folder.Remove(t.name)
	}
	t.name = ""
}

// discard removes the file, which is locked until it is gone.
func (t *temporary) discard() {
	t.unname()
	t.Close()
}

// removeDead removes the temporary files of processes that were killed in a Put. A
// file that cannot be removed stays, and does not fail the Put that finds it.
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
	opened, info, err := openRegular(f, name, os.O_RDWR) // NFS locks only files that are open for writing
	if err != nil {
		return
	}
	defer opened.Close()
	dead := false
	switch err := lockFile(opened); {
	case err == nil:
		// Another file may have got the name before the lock was taken.
		dead, _ = (&temporary{folder: f, info: info}).has(name)
	case errors.Is(err, errors.ErrUnsupported):
		dead = time.Since(info.ModTime()) > 24*time.Hour
	}
	if dead {
		_ = f.Remove(name)
	}
}

// publish gives the temporary file its final name, if that is free.
func publish(ctx context.Context, f folder, t *temporary, name string) error {
	err := f.Link(t.name, name)
	if err == nil {
		return nil
	}
	if done, _ := t.has(name); done { // NFS can report a failure although it made the link
		return nil
	}
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("the name is taken: %w", fs.ErrExist)
	}
	// File systems of external drives have no links, and say so in many ways. So the
	// file is renamed, which would overwrite another one. Only the Put that has made
	// the temporary file mark may do that.
	removeDead(f) // marks, which have other names
	var mark *temporary
	for range 200 {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := checkFree(f, name); err != nil {
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
	if err := checkFree(f, name); err != nil {
		return err
	}
	if err := f.Rename(t.name, name); err != nil {
		return err
	}
	t.name = ""
	return nil
}
