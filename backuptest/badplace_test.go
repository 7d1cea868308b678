package backuptest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/tomo-project/backup/location"
)

// A lockable location is a MapLocation with locks.
type lockable struct {
	MapLocation
	mutex   *sync.Mutex
	holders map[string]string
}

func newLockable() lockable {
	return lockable{MapLocation{}, new(sync.Mutex), map[string]string{}}
}

func (l lockable) Lock(ctx context.Context, name, holder string) (func() error, error) {
	if err := checkCall(ctx, CallLock, name); err != nil {
		return nil, err
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if other, held := l.holders[name]; held {
		return nil, fmt.Errorf("%w: held by %s", location.ErrBusy, other)
	}
	l.holders[name] = holder
	return func() error {
		l.mutex.Lock()
		defer l.mutex.Unlock()
		delete(l.holders, name)
		return nil
	}, nil
}

// A badPlace is a location whose methods a test replaces.
type badPlace struct {
	lockable
	put    func(ctx context.Context, name string, r io.Reader) error
	open   func(ctx context.Context, name string) (io.ReadCloser, error)
	list   func(ctx context.Context) ([]location.File, error)
	delete func(ctx context.Context, name string) error
	lock   func(ctx context.Context, name, holder string) (func() error, error)
	told   []string // what a Watch says has changed; nil: the place is no Watcher
}

func (b *badPlace) Put(ctx context.Context, name string, r io.Reader) error {
	return b.put(ctx, name, r)
}

func (b *badPlace) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	return b.open(ctx, name)
}

func (b *badPlace) List(ctx context.Context) ([]location.File, error) { return b.list(ctx) }

func (b *badPlace) Delete(ctx context.Context, name string) error { return b.delete(ctx, name) }

func (b *badPlace) Lock(ctx context.Context, name, holder string) (func() error, error) {
	return b.lock(ctx, name, holder)
}

// set writes a file without the methods of the location.
func (b *badPlace) set(name, content string) {
	mapLocations.Lock()
	defer mapLocations.Unlock()
	b.MapLocation[name] = content
}

// clear removes a file without the methods of the location.
func (b *badPlace) clear(name string) {
	mapLocations.Lock()
	defer mapLocations.Unlock()
	delete(b.MapLocation, name)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

type readToTheEnd struct{ io.ReadCloser }

func (r *readToTheEnd) Close() error {
	n, err := r.Read(make([]byte, 1))
	if n > 0 {
		err = io.ErrUnexpectedEOF
	}
	if err == io.EOF {
		err = nil
	}
	return errors.Join(r.ReadCloser.Close(), err)
}

type movingReadAt struct{ *mapFile }

func (m movingReadAt) ReadAt(p []byte, offset int64) (int, error) {
	if _, err := m.Seek(offset, io.SeekStart); err != nil {
		return 0, err
	}
	n, err := io.ReadFull(m, p)
	if err == io.ErrUnexpectedEOF {
		err = io.EOF
	}
	return n, err
}

func (b *badPlace) Watch(context.Context) (func(context.Context) ([]string, error), error) {
	if b.told == nil {
		return nil, errors.ErrUnsupported
	}
	return func(context.Context) ([]string, error) { return b.told, nil }, nil
}
