// Package location says what a place that keeps backups must do, a [Location], and
// has one: a folder, [Dir]. Package s3location has buckets. A host writes a Location
// of its own for any other place, and checks it with backuptest.TestLocation.
//
//	nas := location.Dir("/mnt/nas/backups")
//	err := nas.Make()                                // once, when it is set up
//	err = nas.Put(ctx, "notes.json", file)           // whole or not at all, and never over another file
//	files, err := nas.List(ctx)
//	r, err := nas.Open(ctx, "notes.json")
//
// To this package a backup is a file with a name. It does not know what is in the
// file, whose it is or how long to keep it: package manager knows, and uses
// Locations to store backups.
package location

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tomo-project/backup/internal/fault"
)

// A Location is a place that keeps backups, such as a folder ([Dir]) or a bucket. It
// keeps them as files with names:
//
//   - A name is one element of a path ([CheckName]). A Location refuses any other
//     name before it touches anything.
//   - Put stores a file whole or not at all, whatever fails or dies in the middle.
//     It returns nil only when the file will survive a loss of power. If the name is
//     taken, Put returns an error that wraps fs.ErrExist, and leaves the file that is
//     there alone. If r returns an error, Put returns it and stores nothing. Of
//     several Puts of one name at the same time, one succeeds.
//   - Open returns an error that wraps fs.ErrNotExist if there is no such file. Its
//     result may also be an io.ReaderAt and io.Seeker, as an *os.File is. Then
//     backups are listed without reading them, and restored without a copy.
//   - List returns every file that was Put, and may return others that people have
//     left there, in the order of their names. It never returns what remains of a
//     Put that died.
//   - Delete returns an error that wraps fs.ErrNotExist if there is no such file.
//   - All methods end soon after ctx is done, with its error. Several goroutines and
//     processes may call them at a time.
//
// If a Location has a String method, messages call the Location by that text, which
// must not show a secret. The optional interface [Locker] keeps processes apart, [OnDisk]
// tells whether a Location is on the disk of the data, and [Watcher] what has changed there.
// The suite backuptest.TestLocation checks an implementation.
type Location interface {
	Put(ctx context.Context, name string, r io.Reader) error
	Open(ctx context.Context, name string) (io.ReadCloser, error)
	List(ctx context.Context) ([]File, error)
	Delete(ctx context.Context, name string) error
}

// A File describes a file that a [Location] keeps.
type File struct {
	Name    string
	Bytes   int64     // size as it is stored; negative: the file cannot be looked at
	ModTime time.Time // changes whenever the content does; zero: not known
}

// A Locker is a [Location] that one process at a time can lock. Package manager locks
// any other Location with files that it puts there, which say until when the lock
// holds.
type Locker interface {
	// Lock takes the lock called name, which follows the rules of [CheckName].
	// holder is a text that tells a person who holds the lock and since when. If the
	// lock is taken, Lock returns at once an error that wraps ErrBusy and names its
	// holder. If this Location has no locks after all, the error wraps
	// errors.ErrUnsupported. The lock is free again when unlock was called, or when
	// the process has ended, however it ended. It is never free before, even if the
	// process sleeps for long.
	Lock(ctx context.Context, name, holder string) (unlock func() error, err error)
}

// OnDisk is a [Location] that can tell whether it would be lost together with the data.
type OnDisk interface {
	// SameDisk tells whether the Location is on the disk of a file or folder. An error
	// means that nobody can tell.
	SameDisk(ctx context.Context, path string) (bool, error)
}

// A Watcher is a [Location] that can tell what has changed there without a list of all
// files. Package manager spares itself the list for a backup then.
type Watcher interface {
	// Watch begins to watch the files. changed returns the names of those that were
	// stored, deleted or altered by anybody since Watch began, or since the last call of
	// changed. It may also name files that are as they were. An error says that changes may
	// have been missed; then the watch has ended. It also ends when nothing refers to
	// changed any more. If this Location may miss changes, the error of Watch wraps
	// errors.ErrUnsupported.
	Watch(ctx context.Context) (changed func(ctx context.Context) ([]string, error), err error)
}

// ErrBusy says that somebody else holds the Location, or that another operation is under
// way that changes something.
var ErrBusy = errors.New("busy")

// CheckName returns an error that wraps fs.ErrInvalid unless name can be that of a
// file at every [Location]. Such a name is one element of a path in UTF-8, of 1 to
// 200 bytes, without slashes, backslashes, colons and control characters. It does not
// begin with a dot: those names are kept for the files that a Location needs itself.
func CheckName(name string) error {
	bad := func(r rune) bool { return r == '/' || r == '\\' || r == ':' || unicode.IsControl(r) }
	if name == "" || len(name) > 200 || name[0] == '.' || !utf8.ValidString(name) || strings.ContainsFunc(name, bad) {
		return fmt.Errorf("%w: %q cannot be the name of a backup", fs.ErrInvalid, fault.Shorten(name))
	}
	return nil
}
