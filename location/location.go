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

// A Location keeps backups: a folder ([Dir]), a bucket. It knows nothing of
// snapshots; to it they are files with names.
//
//   - A name is one element of a path ([CheckName]). A Location refuses any
//     other before it touches anything.
//   - Put stores a file whole or not at all, whatever fails or dies when, and
//     returns nil only when it will survive a loss of power. If the name is
//     taken Put returns an error that wraps fs.ErrExist and leaves what is there
//     alone. If r returns an error, Put returns it and stores nothing. Of several
//     Puts of one name at a time one succeeds.
//   - Open returns an error that wraps fs.ErrNotExist if there is no such file.
//     If what it returns also is an io.ReaderAt and io.Seeker, as an *os.File is,
//     backups are listed without reading them and restored without a copy.
//   - List returns every file that was Put, whole ones only, and maybe others
//     that people have left there, in the order of names. What a Put that died
//     has left is no file.
//   - Delete returns an error that wraps fs.ErrNotExist if there is no such file.
//   - All end soon after ctx is done, with its error. They may be called by
//     several goroutines and processes at a time.
//
// A Location that has a String method is called by it in messages; it must not
// show a secret. The optional interface [Locker] keeps processes apart. The
// suite backuptest.TestLocation checks an implementation.
type Location interface {
	Put(ctx context.Context, name string, r io.Reader) error
	Open(ctx context.Context, name string) (io.ReadCloser, error)
	List(ctx context.Context) ([]File, error)
	Delete(ctx context.Context, name string) error
}

// A File is what a [Location] says of something that it keeps.
type File struct {
	Name    string
	Bytes   int64
	ModTime time.Time // changes when the content does; zero: not known
}

// A Locker is a [Location] that can be held by one process at a time. One
// that is no Locker is held with files put there that say until when
// ([manager.Manager], "One at a time").
type Locker interface {
	// Lock takes the lock called name, a name as of a file, for holder, a text
	// that tells a person who it is and since when. If it is taken Lock returns
	// at once an error that wraps ErrBusy and tells by whom; if this Location has
	// no locks after all, one that wraps errors.ErrUnsupported. The lock is free
	// again when unlock was called or the process has ended, however it ended.
	Lock(ctx context.Context, name, holder string) (unlock func() error, err error)
}

// ErrBusy: somebody else holds the Location, or another operation that changes something
// is under way.
var ErrBusy = errors.New("busy")

// CheckName returns an error that wraps fs.ErrInvalid unless name can be that of
// a file at every [Location]: one element of a path in UTF-8, of at most 200
// bytes, without separators, colons or control characters, and not beginning
// with a dot, which is kept for what a Location needs itself.
func CheckName(name string) error {
	bad := func(r rune) bool { return r == '/' || r == '\\' || r == ':' || unicode.IsControl(r) }
	if name == "" || len(name) > 200 || name[0] == '.' || !utf8.ValidString(name) || strings.ContainsFunc(name, bad) {
		return fmt.Errorf("%w: %q cannot be the name of a backup", fs.ErrInvalid, fault.Shorten(name))
	}
	return nil
}
