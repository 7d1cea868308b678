package location

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"
)

// tellingFileSystems are the numbers of the file systems whose changes all pass through
// this kernel, which tells of them: ext2 to ext4, XFS, Btrfs, F2FS and tmpfs. A server of
// files, another machine or a layer below can change what any other file system shows.
var tellingFileSystems = []uint32{0xef53, 0x58465342, 0x9123683e, 0xf2f52010, 0x01021994}

const (
	watchedEvents = syscall.IN_CREATE | syscall.IN_DELETE | syscall.IN_MOVED_FROM | syscall.IN_MOVED_TO |
		syscall.IN_MODIFY | syscall.IN_CLOSE_WRITE | syscall.IN_ATTRIB | syscall.IN_ONLYDIR
	lastEvents = syscall.IN_Q_OVERFLOW | syscall.IN_UNMOUNT | syscall.IN_IGNORED // the watch tells no more
)

// mostWatches is how many watches a process has at a time. The kernel gives a user 128 for
// all programs, and the host may need some to watch its own files.
const mostWatches = 64

var watches atomic.Int32

var errWatchEnded = errors.New("too much has changed, or the folder is gone")

// Watch implements [Watcher] with inotify. It does so for folders on ext2 to ext4, XFS,
// Btrfs, F2FS and tmpfs, at most 64 at a time. It does not notice what is written into a file
// by another name that the file has outside of the folder.
func (d Dir) Watch(ctx context.Context) (changed func(context.Context) ([]string, error), err error) {
	dir := d.dir()
	f, err := dir.openFolder(ctx, "watch", "")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var system syscall.Statfs_t
	if err := syscall.Statfs(dir.path, &system); err != nil {
		return nil, dir.failed("watch", "", err)
	}
	if !slices.Contains(tellingFileSystems, uint32(system.Type)) {
		return nil, dir.failed("watch", "", fmt.Errorf("%w: changes on this file system may go unnoticed", errors.ErrUnsupported))
	}
	w, err := newWatch(dir)
	if err != nil {
		return nil, dir.failed("watch", "", err)
	}
	return w.changed, nil
}

// A watch tells what changes in a folder. It ends when it is collected as garbage. Until then,
// watches that nobody needs any more count too.
type watch struct {
	dir    dir
	folder os.FileInfo
	events *os.File
}

func newWatch(d dir) (*watch, error) {
	if watches.Add(1) > mostWatches {
		watches.Add(-1)
		return nil, fmt.Errorf("%w: this process watches %d folders already", errors.ErrUnsupported, mostWatches)
	}
	fd, err := syscall.InotifyInit1(syscall.IN_CLOEXEC | syscall.IN_NONBLOCK)
	if err != nil { // there are too many
		watches.Add(-1)
		return nil, fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	w := &watch{dir: d, events: os.NewFile(uintptr(fd), "inotify")}
	runtime.AddCleanup(w, endWatch, w.events)
	before, err := os.Stat(d.path)
	if err == nil {
		_, err = syscall.InotifyAddWatch(fd, d.path, watchedEvents)
	}
	if err == nil {
		w.folder, err = os.Stat(d.path)
	}
	if err == nil && !os.SameFile(before, w.folder) {
		err = errWatchEnded
	}
	if err != nil {
		endWatch(w.events)
		return nil, err
	}
	return w, nil
}

func endWatch(events *os.File) {
	if events.Close() == nil { // which it is once
		watches.Add(-1)
	}
}

func (w *watch) changed(ctx context.Context) ([]string, error) {
	names, err := w.read(ctx)
	if err == nil {
		var now os.FileInfo
		if now, err = os.Stat(w.dir.path); err == nil && !os.SameFile(now, w.folder) {
			err = errors.New("it is another folder now")
		}
	}
	if err != nil {
		endWatch(w.events)
		return nil, w.dir.failed("watch", "", err)
	}
	return names, nil
}

// read reads the events that have come, and waits for none.
func (w *watch) read(ctx context.Context) ([]string, error) {
	conn, err := w.events.SyscallConn()
	if err != nil {
		return nil, err
	}
	found := make(map[string]bool)
	buf := make([]byte, 64<<10)
	for range 100 { // whoever changes files all the time must not keep it
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		var n int
		var failed error
		if err := conn.Read(func(fd uintptr) bool {
			n, failed = syscall.Read(int(fd), buf)
			return true
		}); err != nil {
			return nil, err
		}
		switch {
		case failed == syscall.EAGAIN:
			return slices.Collect(maps.Keys(found)), nil
		case failed == syscall.EINTR:
			continue
		case failed != nil:
			return nil, failed
		}
		if !readEvents(buf[:n], found) {
			break
		}
	}
	return nil, errWatchEnded
}

// readEvents adds the names of the files that events are about. It returns false if an
// event says that others are missing.
func readEvents(events []byte, names map[string]bool) bool {
	for len(events) >= syscall.SizeofInotifyEvent {
		mask := binary.NativeEndian.Uint32(events[4:])
		end := syscall.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(events[12:]))
		if mask&lastEvents != 0 || end > len(events) {
			return false
		}
		name, _, _ := bytes.Cut(events[syscall.SizeofInotifyEvent:end], []byte{0})
		if CheckName(string(name)) == nil { // no other name is in a list
			names[string(name)] = true
		}
		events = events[end:]
	}
	return true
}
