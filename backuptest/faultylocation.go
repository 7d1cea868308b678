package backuptest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/tomo-project/backup/internal/fault"
	"github.com/tomo-project/backup/location"
)

// The calls of a [location.Location] and a [location.Locker]. CallPut and CallDelete are
// calls of a location too: CallPut is the call of Put, before it reads anything.
const (
	CallPutRead Call = "put read" // before each KiB that Put reads, and before the end
	CallOpen    Call = "open"
	CallRead    Call = "read" // before each KiB of an opened file, before its end, and before each ReadAt
	CallList    Call = "list"
	CallLock    Call = "lock"
)

// LocationCalls are all calls of a location, for table tests.
var LocationCalls = []Call{CallPut, CallPutRead, CallOpen, CallRead, CallList, CallDelete, CallLock}

// A FaultyLocation passes its calls on to another location, and fails at one of them:
// the Nth call of the kind On, or every call of this kind. Before such a call it runs
// Do, if Do is set. Then the call returns Err. If Err is nil, the call goes on as
// usual. In this example, down fails at every List, and half breaks a Put off after
// 10 KiB:
//
//	down := &backuptest.FaultyLocation{Location: place, On: backuptest.CallList, Nth: -1, Err: syscall.EIO}
//	half := &backuptest.FaultyLocation{Location: place, On: backuptest.CallPutRead, Nth: 11, Err: io.ErrUnexpectedEOF}
//
// Open returns an io.ReaderAt and io.Seeker if Open of the other location does. Lock
// returns an error that wraps errors.ErrUnsupported if the other location is not a
// [location.Locker].
type FaultyLocation struct {
	Location location.Location

	On  Call
	Nth int // from 1; 0 never fails; -1 fails at every call
	Err error
	Do  func()

	count atomic.Int64
}

// Reached reports whether a call was made at which f was to fail.
func (f *FaultyLocation) Reached() bool {
	return f.Nth < 0 && f.count.Load() > 0 || f.Nth > 0 && f.count.Load() >= int64(f.Nth)
}

// Count returns how many calls of the kind On were made.
func (f *FaultyLocation) Count() int { return int(f.count.Load()) }

func (f *FaultyLocation) at(call Call) error {
	if f == nil {
		return fault.Missing("the FaultyLocation", f)
	}
	if err := fault.Missing("the Location of the FaultyLocation", f.Location); err != nil {
		return err
	}
	if call != f.On || f.count.Add(1) != int64(f.Nth) && f.Nth >= 0 {
		return nil
	}
	if f.Do != nil {
		f.Do()
	}
	return f.Err
}

// Put implements [location.Location].
func (f *FaultyLocation) Put(ctx context.Context, name string, r io.Reader) error {
	if err := f.at(CallPut); err != nil {
		return err
	}
	if f.On == CallPutRead {
		r = &faultyReads{f: f, call: CallPutRead, r: r}
	}
	return f.Location.Put(ctx, name, r)
}

// Open implements [location.Location].
func (f *FaultyLocation) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	if err := f.at(CallOpen); err != nil {
		return nil, err
	}
	opened, err := f.Location.Open(ctx, name)
	if err != nil || f.On != CallRead {
		return opened, err
	}
	file := faultyFile{&faultyReads{f: f, call: CallRead, r: opened}, opened}
	if seekable, ok := opened.(seekable); ok {
		return faultySeekable{file, faultyReadAt{f, seekable}, seekable}, nil
	}
	return file, nil
}

// List implements [location.Location].
func (f *FaultyLocation) List(ctx context.Context) ([]location.File, error) {
	if err := f.at(CallList); err != nil {
		return nil, err
	}
	return f.Location.List(ctx)
}

// Delete implements [location.Location].
func (f *FaultyLocation) Delete(ctx context.Context, name string) error {
	if err := f.at(CallDelete); err != nil {
		return err
	}
	return f.Location.Delete(ctx, name)
}

// Lock implements [location.Locker].
func (f *FaultyLocation) Lock(ctx context.Context, name, holder string) (unlock func() error, err error) {
	if err := f.at(CallLock); err != nil {
		return nil, err
	}
	locker, ok := f.Location.(location.Locker)
	if !ok {
		return nil, fmt.Errorf("lock %s: %w: the location is not a Locker", name, errors.ErrUnsupported)
	}
	return locker.Lock(ctx, name, holder)
}

type seekable interface {
	io.ReaderAt
	io.Seeker
}

type faultyFile struct {
	io.Reader
	io.Closer
}

type faultySeekable struct {
	faultyFile
	io.ReaderAt
	io.Seeker
}

// A faultyReads passes Read on and counts a call for each KiB and for the end.
type faultyReads struct {
	f        *FaultyLocation
	call     Call
	r        io.Reader
	at, next int // bytes read, and where the next KiB begins
}

func (r *faultyReads) Read(p []byte) (int, error) {
	if r.at == r.next {
		r.next += 1 << 10
		if err := r.f.at(r.call); err != nil {
			return 0, err
		}
	}
	n, err := r.r.Read(p[:min(len(p), r.next-r.at)])
	r.at += n
	if err == io.EOF && n > 0 {
		return n, nil
	}
	if err == io.EOF {
		if fault := r.f.at(r.call); fault != nil {
			return 0, fault
		}
	}
	return n, err
}

type faultyReadAt struct {
	f *FaultyLocation
	r io.ReaderAt
}

func (r faultyReadAt) ReadAt(p []byte, offset int64) (int, error) {
	if err := r.f.at(CallRead); err != nil {
		return 0, err
	}
	return r.r.ReadAt(p, offset)
}
