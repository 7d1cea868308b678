package filestore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// prepare makes the stage for the changes in sets: all of the commit but the exchange
// of the folders. It returns nil if there are no changes.
func (f *folder) prepare(ctx context.Context, sets map[string]*set) (_ *stage, err error) {
	s := &stage{folder: f, ctx: ctx, name: f.name("new"), changed: map[string]bool{}}
	writes, err := s.writes(sets)
	if err != nil || len(s.changed) == 0 {
		return nil, err
	}
	at, err := mountedAt(f.path)
	if err != nil {
		return nil, f.failed("look for mounts in", "", err)
	}
	if at != "" {
		return nil, fmt.Errorf("filestore: %w: %s is a mount point, so that the folder %s cannot be renamed; keep the files in a folder without one", errors.ErrUnsupported, at, f.path)
	}
	defer func() {
		if err != nil {
			_ = f.remove(s.name) // if this fails, the next process with the lock removes it
		}
	}()
	if err := f.tryExchange(s.name); err != nil {
		return nil, err
	}
	if err := s.take("", f.info); err != nil {
		return nil, err
	}
	for _, write := range writes {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := write(); err != nil {
			return nil, err
		}
	}
	if err := s.finish(); err != nil {
		return nil, err
	}
	return s, ctx.Err()
}

// tryExchange exchanges two empty folders where the stage will be, to find out whether
// that is possible here.
func (f *folder) tryExchange(stage string) error {
	if f.allowGap {
		return nil
	}
	parent, err := f.parent.Open(".")
	if err != nil {
		return f.failed("swap", "", err)
	}
	defer parent.Close()
	a, b := filepath.Join(stage, "a"), filepath.Join(stage, "b")
	if err := errors.Join(f.parent.MkdirAll(a, 0o700), f.parent.Mkdir(b, 0o700)); err != nil {
		return f.failed("prepare", "", err)
	}
	if err = f.at("try exchange"); err == nil {
		err = exchange(parent, a, b)
	}
	if err != nil {
		return f.failed("swap", "", cannotExchange(err))
	}
	if err := f.parent.RemoveAll(stage); err != nil {
		return f.failed("prepare", "", err)
	}
	return nil
}

// cannotExchange adds what to do to an error of exchange.
func cannotExchange(err error) error {
	if errors.Is(err, errors.ErrUnsupported) {
		return fmt.Errorf("%w; this system or file system cannot exchange two folders in one step: move the folder, or set AllowGap", err)
	}
	return err
}

// commit puts the stage in the place of the folder. What is then left at the place of
// the stage is removed.
func (s *stage) commit(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.swap(s.name)
}

// errStuck: the new folder is in place, or the old one is under another name.
var errStuck = errors.New("the folder may be changed, and could not be changed back")

// swap exchanges the stage and the folder. It returns nil only if the exchange
// survives a loss of power.
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
			return f.failed("swap", "", cannotExchange(err))
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
	again := swap()
	if again == nil {
		again = syncFolder(parent)
	}
	if again != nil {
		err = fmt.Errorf("%w; %w: %w", err, errStuck, again)
	}
	return f.failed("swap", "", err)
}

// swapWithGap renames the folder, then the stage to its place, then the old
// folder to the place of the stage. If it is killed on the way, recover puts
// things right.
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
	_ = f.parent.Rename(old, stage) // if this fails, the next process with the lock removes it
	return nil
}

// recover repairs what a killed process has left.
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
		return f.failed("recover", "", fmt.Errorf("%w: an Update was killed, and then somebody made a new folder here; the files are in %s: move that back here, or remove it", fs.ErrExist, filepath.Join(filepath.Dir(f.path), old)))
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

// remove removes a folder with its content, even where that is not writable.
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
