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

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/codec"
)

// put puts the value of a record aside, as it will be in its file.
func (s *set) put(r backup.Record) error {
	value, err := codec.Compact(nil, r.Value, everything)
	if err != nil {
		return err
	}
	if err := s.agrees(r.Key, value); err != nil {
		return err
	}
	if s.Layout == Files {
		if _, err := s.FileName(r.Key); err != nil {
			return err
		}
		if value, err = s.encode(append(value, '\n')); err != nil {
			return err
		}
	}
	at, err := s.folder.put(value)
	if err != nil {
		return err
	}
	s.entries[r.Key] = entry{place: at}
	s.changed[r.Key] = true
	return nil
}

// whole returns what is to be in the file that holds all records: a record a line,
// first those that were there, in their order.
func (s *set) whole() ([]byte, error) {
	old := map[string]bool{}
	for _, key := range s.order {
		old[key] = true
	}
	keys := append(slices.Clone(s.order), slices.DeleteFunc(s.sorted(), func(key string) bool { return old[key] })...)
	begin, end := "{", "}\n"
	if s.Layout == Array {
		begin, end = "[", "]\n"
	}
	var b bytes.Buffer
	b.WriteString(begin)
	n := 0
	for _, key := range keys {
		e, ok := s.entries[key]
		if !ok {
			continue
		}
		value, err := s.folder.get(e.place)
		if err != nil {
			return nil, err
		}
		if n++; n > 1 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
		if s.Layout == Object {
			b.Write(codec.Quote(key))
			b.WriteByte(':')
		}
		b.Write(value)
	}
	if n > 0 {
		b.WriteByte('\n')
	}
	b.WriteString(end)
	return s.encode(b.Bytes())
}

// A stage is the folder that is to take the place of the one that is there.
type stage struct {
	*folder
	ctx     context.Context
	name    string          // in parent
	changed map[string]bool // paths of files that are not taken over
	dirs    []dir           // those of the stage, each after the one that it is in
}

type dir struct {
	path string
	like fs.FileInfo // nil: it is new
}

func (s *stage) to(path string) string { return filepath.Join(s.name, filepath.FromSlash(path)) }

// commit makes the changes of sets.
func (f *folder) commit(ctx context.Context, sets map[string]*set) (err error) {
	s := &stage{folder: f, ctx: ctx, name: f.name("new"), changed: map[string]bool{}}
	var write []func() error
	for _, c := range f.collections {
		set := sets[c.Name]
		if set == nil || len(set.changed) == 0 {
			continue
		}
		if c.Layout != Files {
			s.changed[c.Path] = true
			write = append(write, func() error {
				content, err := set.whole()
				if err != nil {
					return f.failed("write", c.Path, err)
				}
				return s.write(c.Path, content)
			})
			continue
		}
		for _, key := range slices.Sorted(maps.Keys(set.changed)) {
			name, err := c.FileName(key)
			if err != nil {
				return err
			}
			s.changed[name] = true
			e, ok := set.entries[key]
			if !ok {
				continue
			}
			write = append(write, func() error {
				content, err := f.get(e.place)
				if err != nil {
					return err
				}
				return s.write(name, content)
			})
		}
	}
	if len(s.changed) == 0 {
		return nil
	}
	at, err := mountedAt(f.path)
	if err != nil {
		return f.failed("look for mounts in", "", err)
	}
	if at != "" {
		return fmt.Errorf("filestore: %w: %s is a mount point, so that the folder %s cannot be renamed; keep the files in a folder without one", errors.ErrUnsupported, at, f.path)
	}
	defer func() {
		if !errors.Is(err, errStuck) {
			_ = f.remove(s.name) // what stays is removed by the next to hold the lock
		}
	}()
	if err := s.take("", f.info); err != nil {
		return err
	}
	for _, write := range write {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := write(); err != nil {
			return err
		}
	}
	if err := s.finish(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return f.swap(s.name)
}

// make makes a folder of the stage.
func (s *stage) make(path string, like fs.FileInfo) error {
	if err := s.parent.Mkdir(s.to(path), 0o700); err != nil {
		return err
	}
	s.dirs = append(s.dirs, dir{path, like})
	return nil
}

// take makes a folder of the stage with what is in that of the same path, but for
// what is changed.
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

// link takes over what is not a folder.
func (s *stage) link(at string, info fs.FileInfo) error {
	err := s.at("link")
	if err == nil {
		err = s.parent.Link(s.in(at), s.to(at))
	}
	if err == nil {
		return nil
	}
	// File systems without links say so in many ways, and one with links refuses
	// them for the files of others.
	switch {
	case errors.Is(err, fs.ErrExist): // of names that are one to the file system
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

// create makes a file of the stage, with the owner of another, and syncs it.
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

// write makes a file that is changed or new, and the folders that it needs.
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
	case err == nil:
		owner, mode = info, info.Mode()
	case !errors.Is(err, fs.ErrNotExist):
		return s.failed("write", at, err)
	}
	err = s.create(at, bytes.NewReader(content), owner, mode)
	if errors.Is(err, fs.ErrExist) {
		err = fmt.Errorf("%w: to this file system its name is that of another record; use Escaped names", err)
	}
	if err != nil {
		return s.failed("write", at, err)
	}
	return nil
}

// finish gives the folders of the stage their owners and modes, those inside of
// others first, and makes their names survive a loss of power.
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
	opened, err := s.parent.Open(name) // which the mode may forbid
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

// errStuck: the folder, or what was there before, may be in the place of the stage.
var errStuck = errors.New("the folder may be changed all the same, and could not be changed back")

// swap puts the stage in the place of the folder. It returns nil only when that
// will survive a loss of power.
func (f *folder) swap(stage string) error {
	parent, err := f.parent.Open(".")
	if err != nil {
		return f.failed("swap", "", err)
	}
	defer parent.Close()
	if err := syncFolder(parent); err != nil {
		return f.failed("swap", "", err)
	}
	swap := func() error { return exchange(parent, f.base, stage) }
	if err = f.at("exchange"); err == nil {
		err = swap()
	}
	if errors.Is(err, errors.ErrUnsupported) {
		if !f.allowGap {
			return f.failed("swap", "", fmt.Errorf("%w; this system or file system cannot exchange two folders in one step: move the folder, or set AllowGap", err))
		}
		swap = func() error { return f.swapWithGap(stage) }
		err = swap()
	}
	if err != nil {
		return f.failed("swap", "", err)
	}
	if err = f.at("exchanged"); err == nil {
		err = syncFolder(parent)
	}
	if err == nil {
		return nil
	}
	if again := swap(); again != nil {
		err = fmt.Errorf("%w; %w: %w", err, errStuck, again)
	}
	return f.failed("swap", "", err)
}

// swapWithGap moves the folder away and the stage to its place, and then the old
// folder to that of the stage. While it is not known to be done, both are beside
// the folder, or one is and there is no folder.
func (f *folder) swapWithGap(stage string) error {
	old := f.name("old")
	if err := f.parent.Rename(f.base, old); err != nil {
		return err
	}
	err := f.at("gap")
	if err == nil {
		err = f.parent.Rename(stage, f.base)
	}
	if err != nil {
		if again := f.parent.Rename(old, f.base); again != nil {
			return fmt.Errorf("%w; it is now %s, %w: %w", err, filepath.Join(filepath.Dir(f.path), old), errStuck, again)
		}
		return err
	}
	_ = f.at("no more gap")
	_ = f.parent.Rename(old, stage) // what stays is removed by the next to hold the lock
	return nil
}

// recover puts right what a killed process has left.
func (f *folder) recover() error {
	has := map[string]bool{}
	for _, name := range []string{f.base, f.name("old"), f.name("new"), f.name("spool")} {
		_, err := f.parent.Lstat(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return f.failed("recover", "", err)
		}
		has[name] = err == nil
	}
	var err error
	switch old := f.name("old"); {
	case has[old] && !has[f.base]: // killed in the gap
		err = f.parent.Rename(old, f.base)
	case has[old] && has[f.name("new")]:
		return f.failed("recover", "", fmt.Errorf("%w: an Update was killed, and then somebody has made this folder anew; the files are in %s: move it back to this place, or remove it", fs.ErrExist, filepath.Join(filepath.Dir(f.path), old)))
	case has[old]: // killed right after the gap
		err = f.parent.Rename(old, f.name("new"))
		has[f.name("new")] = true
	case !has[f.base]:
		return nil
	}
	for _, name := range []string{f.name("new"), f.name("spool")} {
		if err == nil && has[name] {
			err = f.remove(name)
		}
	}
	if err != nil {
		return f.failed("remove what is left of another Update of", "", err)
	}
	return nil
}

// remove removes a folder with all that is in it, also where that may not be
// written.
func (f *folder) remove(name string) error {
	err := f.parent.RemoveAll(name)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	f.permit(name)
	return f.parent.RemoveAll(name)
}

func (f *folder) permit(name string) {
	if f.parent.Chmod(name, 0o700) != nil {
		return
	}
	all, _ := names(f.parent, name)
	for _, inner := range all {
		inner = filepath.Join(name, inner)
		if info, err := f.parent.Lstat(inner); err == nil && info.IsDir() {
			f.permit(inner)
		}
	}
}
