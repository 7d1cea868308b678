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
)

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
