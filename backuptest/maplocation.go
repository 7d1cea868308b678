package backuptest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/tomo-project/backup/internal/fault"
	"github.com/tomo-project/backup/internal/stream"
	"github.com/tomo-project/backup/location"
)

// A MapLocation is a location in memory: name → content. It is the reference
// implementation of [location.Location]. A test writes it as a literal and compares it
// as a value:
//
//	place := backuptest.MapLocation{"tomo-backup-2024-01-15T10-30-00.json": text}
//
// Its files have no ModTime. An opened file is an io.ReaderAt and io.Seeker too. A
// MapLocation is not a [location.Locker]. A nil MapLocation is empty, and its Put fails.
//
// Several goroutines may call its methods. The map itself may be read and changed
// while no method runs.
type MapLocation map[string]string

// mapLocations guards every MapLocation, because a plain map has no room for a lock.
// Nothing holds it while code of the caller runs.
var mapLocations sync.RWMutex

// checkCall returns an error if ctx is done or name is not allowed.
func checkCall(ctx context.Context, call Call, name string) error {
	err := ctx.Err()
	if err == nil {
		err = location.CheckName(name)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", call, err)
	}
	return nil
}

// Put implements [location.Location].
func (l MapLocation) Put(ctx context.Context, name string, r io.Reader) error {
	if err := checkCall(ctx, CallPut, name); err != nil {
		return err
	}
	if l == nil {
		return errors.New("put into a nil MapLocation: make the map first")
	}
	if err := fault.Missing("the io.Reader", r); err != nil {
		return err
	}
	var content strings.Builder
	if _, err := io.Copy(&content, stream.WithContext(ctx, r)); err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	mapLocations.Lock()
	defer mapLocations.Unlock()
	if _, taken := l[name]; taken {
		return fmt.Errorf("put %s: %w", name, fs.ErrExist)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	l[name] = content.String()
	return nil
}

// Open implements [location.Location].
func (l MapLocation) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	if err := checkCall(ctx, CallOpen, name); err != nil {
		return nil, err
	}
	mapLocations.RLock()
	defer mapLocations.RUnlock()
	content, ok := l[name]
	if !ok {
		return nil, fmt.Errorf("open %s: %w", name, fs.ErrNotExist)
	}
	return &mapFile{io.NewSectionReader(strings.NewReader(content), 0, int64(len(content))), false}, nil
}

type mapFile struct {
	section *io.SectionReader
	closed  bool
}

func (f *mapFile) Read(p []byte) (int, error) {
	if f.closed {
		return 0, fs.ErrClosed
	}
	return f.section.Read(p)
}

func (f *mapFile) ReadAt(p []byte, offset int64) (int, error) {
	if f.closed {
		return 0, fs.ErrClosed
	}
	return f.section.ReadAt(p, offset)
}

func (f *mapFile) Seek(offset int64, whence int) (int64, error) {
	if f.closed {
		return 0, fs.ErrClosed
	}
	return f.section.Seek(offset, whence)
}

func (f *mapFile) Close() error {
	if f.closed {
		return fs.ErrClosed
	}
	f.closed = true
	return nil
}

// List implements [location.Location].
func (l MapLocation) List(ctx context.Context) ([]location.File, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("list: %w", err)
	}
	mapLocations.RLock()
	defer mapLocations.RUnlock()
	var files []location.File
	for _, name := range slices.Sorted(maps.Keys(l)) {
		files = append(files, location.File{Name: name, Bytes: int64(len(l[name]))})
	}
	return files, nil
}

// Delete implements [location.Location].
func (l MapLocation) Delete(ctx context.Context, name string) error {
	if err := checkCall(ctx, CallDelete, name); err != nil {
		return err
	}
	mapLocations.Lock()
	defer mapLocations.Unlock()
	if _, ok := l[name]; !ok {
		return fmt.Errorf("delete %s: %w", name, fs.ErrNotExist)
	}
	delete(l, name)
	return nil
}
