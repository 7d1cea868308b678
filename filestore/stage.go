package filestore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/tomo-project/backup"
)

// A stage is the new folder that will replace the present one.
type stage struct {
	*folder
	ctx     context.Context
	name    string          // in parent
	changed map[string]bool // paths of files that are not taken over
	dirs    []dir           // the folders of the stage; each comes after the one that contains it
}

type dir struct {
	path string
	like fs.FileInfo // the folder that it replaces; nil if it is new
}

func (s *stage) to(path string) string { return filepath.Join(s.name, filepath.FromSlash(path)) }

// writes returns the functions that write the files which sets change. It also
// notes the paths of those files.
func (s *stage) writes(sets map[string]*set) (all []func() error, err error) {
	for _, c := range s.collections {
		set := sets[c.Name]
		if set == nil || len(set.changed) == 0 {
			continue
		}
		if !c.Layout.apart() {
			s.changed[c.Path] = true
			all = append(all, func() error {
				content, err := set.whole()
				if err != nil {
					return s.failed("write", c.Path, err)
				}
				return s.write(c.Path, content)
			})
			continue
		}
		if err := set.checkTree(); err != nil {
			return nil, err
		}
		for _, key := range slices.Sorted(maps.Keys(set.changed)) {
			name, err := c.FileName(key)
			if err != nil {
				return nil, err
			}
			s.changed[name] = true
			e, ok := set.entries[key]
			if !ok {
				continue
			}
			all = append(all, func() error {
				content, err := s.get(e.place)
				if err != nil {
					return err
				}
				if err = s.write(name, content); errors.Is(err, fs.ErrExist) {
					err = set.about(key, fmt.Errorf("%w: %w", backup.ErrClash, err))
				}
				return err
			})
		}
	}
	return all, nil
}

// make makes a folder in the stage.
func (s *stage) make(path string, like fs.FileInfo) error {
	if err := s.parent.Mkdir(s.to(path), 0o700); err != nil {
		return err
	}
	s.dirs = append(s.dirs, dir{path, like})
	return nil
}

// take makes a folder in the stage, with the content of the present one, but
// without the files that are changed.
func (s *stage) take(dir string, info fs.FileInfo) error {
	if err := s.make(dir, info); err != nil {
		return s.failed("prepare", dir, err)
	}
	all, err := names(s.parent, s.in(dir))
	if err != nil {
		return s.failed("list", dir, err)
	}
	for _, name := range all {
		if err := s.ctx.Err(); err != nil {
			return err
		}
		at := path.Join(dir, name)
		if s.changed[at] {
			continue
		}
		info, err := s.parent.Lstat(s.in(at))
		switch {
		case err != nil:
			return s.failed("take over", at, err)
		case !sameDevice(info, s.info):
			return s.failed("take over", at, fmt.Errorf("%w: it is on another file system", errors.ErrUnsupported))
		case info.IsDir():
			err = s.take(at, info)
		default:
			err = s.link(at, info)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// link takes over a file that is not a folder.
func (s *stage) link(at string, info fs.FileInfo) error {
	err := s.at("link")
	if err == nil {
		err = s.parent.Link(s.in(at), s.to(at))
	}
	if err == nil {
		return nil
	}
	// File systems without links return various errors. Those with links refuse
	// to link the files of other users.
	switch {
	case errors.Is(err, fs.ErrExist): // two names that are the same to the file system
	case info.Mode().IsRegular():
		err = s.duplicate(at, info)
	case info.Mode()&fs.ModeSymlink != 0:
		var target string
		if target, err = s.parent.Readlink(s.in(at)); err == nil {
			if err = s.parent.Symlink(target, s.to(at)); err == nil {
				err = adopt(s.parent, s.to(at), info)
			}
		}
	}
	if err != nil {
		return s.failed("take over", at, err)
	}
	return nil
}

func (s *stage) duplicate(at string, info fs.FileInfo) error {
	from, _, err := openRegular(s.parent, s.in(at), os.O_RDONLY)
	if err != nil {
		return err
	}
	defer from.Close()
	if err := s.create(at, from, info, info.Mode()); err != nil {
		return err
	}
	return s.parent.Chtimes(s.to(at), info.ModTime(), info.ModTime())
}

// create makes a file in the stage, gives it its owner and mode, and syncs it.
func (s *stage) create(at string, from io.Reader, owner fs.FileInfo, mode fs.FileMode) error {
	file, err := s.parent.OpenFile(s.to(at), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := io.Copy(file, from); err != nil {
		return err
	}
	if err := adopt(s.parent, s.to(at), owner); err != nil {
		return err
	}
	if info, err := file.Stat(); err != nil || info.Mode() != mode {
		if err := file.Chmod(mode); err != nil && !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	if err := s.at("sync"); err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

// write makes a changed or new file, and the folders that it needs.
func (s *stage) write(at string, content []byte) error {
	for i, c := range at {
		if c != '/' {
			continue
		}
		_, err := s.parent.Lstat(s.to(at[:i]))
		if errors.Is(err, fs.ErrNotExist) {
			err = s.make(at[:i], nil)
		}
		if err != nil {
			return s.failed("prepare", at[:i], err)
		}
	}
	owner, mode := s.info, fs.FileMode(0o600)
	info, err := s.parent.Lstat(s.in(at))
	switch {
	case err == nil && info.Mode().IsRegular():
		owner, mode = info, info.Mode()
	case err == nil, errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		// In a Tree, a file may come where a folder was, and the reverse.
	default:
		return s.failed("write", at, err)
	}
	err = s.create(at, bytes.NewReader(content), owner, mode)
	if errors.Is(err, fs.ErrExist) {
		err = fmt.Errorf("%w: this file system takes its name for that of another record; use Escaped names", err)
	}
	if err != nil {
		return s.failed("write", at, err)
	}
	return nil
}

// finish gives the folders of the stage their owners and modes, the inner ones
// first, and makes their names survive a loss of power.
func (s *stage) finish() error {
	for _, d := range slices.Backward(s.dirs) {
		if err := s.finishDir(d); err != nil {
			return s.failed("prepare", d.path, err)
		}
	}
	return nil
}

func (s *stage) finishDir(d dir) error {
	name := s.to(d.path)
	opened, err := s.parent.Open(name) // before a mode that may forbid it
	if err != nil {
		return err
	}
	defer opened.Close()
	if d.like == nil {
		err = adopt(s.parent, name, s.info)
	} else if err = adopt(s.parent, name, d.like); err == nil {
		err = s.parent.Chmod(name, d.like.Mode())
	}
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	if err := s.at("sync"); err != nil {
		return err
	}
	return syncFolder(opened)
}
