package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"github.com/tomo-project/backup/location"
)

// tempPattern is the pattern for the names of files that are being written.
// They begin with a dot and do not end with .json, so that nobody takes them
// for backups.
const tempPattern = ".tomo-*.tmp"

// publish writes a file at path completely or not at all: it writes and syncs a
// temporary file beside it, and then renames that. Unless force is set, it
// returns an error that wraps fs.ErrExist if the name is taken. It makes no
// folder: while a drive is not mounted, its folder is missing too.
func publish(ctx context.Context, path string, force bool, write func(*os.File) error) (err error) {
	if err := checkTarget(path, force); err != nil {
		return err
	}
	dir := filepath.Dir(path)
	temp, err := os.CreateTemp(dir, tempPattern) // a new file with mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		temp.Close()
		if removed := os.Remove(temp.Name()); removed != nil && !errors.Is(removed, fs.ErrNotExist) {
			err = errors.Join(err, removed)
		}
	}()
	giveToOwner(temp)
	if err := write(temp); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := temp.Sync(); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := temp.Close(); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if force {
		err = os.Rename(temp.Name(), path)
	} else {
		err = nameExclusively(ctx, temp.Name(), path)
	}
	if err != nil {
		return err
	}
	return syncDir(dir)
}

// checkTarget checks, before any work is done, whether path can be written.
func checkTarget(path string, force bool) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Stat(filepath.Dir(path)); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("write %s: the folder is missing: %w; check that the drive is mounted, or make the folder", path, fs.ErrNotExist)
		}
		return nil
	case err != nil:
		return err
	case !force:
		return taken(path)
	case !info.Mode().IsRegular():
		return fmt.Errorf("write %s: not a regular file; --force replaces only regular files", path)
	}
	return nil
}

func taken(path string) error {
	return &fs.PathError{Op: "write", Path: path, Err: fs.ErrExist}
}

// nameExclusively gives the file temp the name path, unless the name is taken.
func nameExclusively(ctx context.Context, temp, path string) error {
	err := os.Link(temp, path)
	if err == nil {
		return nil
	}
	if errors.Is(err, fs.ErrExist) {
		return taken(path)
	}
	// Some file systems of external drives have no links, and renaming
	// overwrites. There a lock keeps others from taking the name between the
	// check and the renaming. The lock ends with its process.
	if locker, ok := any(location.Dir(filepath.Dir(path))).(location.Locker); ok {
		unlock, err := locker.Lock(ctx, "tomo-output", "process "+strconv.Itoa(os.Getpid()))
		if err != nil && !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
		if err == nil {
			defer unlock()
		}
	}
	if err := checkTarget(path, false); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

// syncDir makes the names in dir survive a loss of power.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" { // it is impossible there, and not needed
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
