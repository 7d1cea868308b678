// Package filestore backs up and restores collections that a host keeps as JSON
// files in a folder. A [Store] is a declaration: which collection is in which
// file, or in which folder with a file for each record.
//
//	store := filestore.Store{
//		Path: "/var/lib/notes/data",
//		Collections: []filestore.Collection{
//			{Name: "servers"},                                    // servers/a1.json, servers/b2.json
//			{Name: "settings", Layout: filestore.Object},         // settings.json: {"theme":"dark"}
//			{Name: "users", Layout: filestore.Array, Key: "/id"}, // users.json: [{"id":1}]
//		},
//	}
//
// # What the host must do
//
// The host changes its files with the lock of the folder held ([Store.Lock]), as
// long as one change of its data takes. How it writes them then is its own
// matter. What it writes without the lock may be half in a backup, and may be
// lost if a restore is under way.
//
// The folder must be one that can be renamed: no mount point, and nothing is
// mounted in it. Where a volume is mounted at /data, keep the files in /data/store. The
// folder above it must be writable, and have room for what is changed: beside the
// folder lie the lock, ".NAME.filestore.lock", which stays, and for as long as
// they are needed ".NAME.filestore.spool", ".NAME.filestore.new" and
// ".NAME.filestore.old". What a killed process has left of them is removed by the
// next to hold the lock.
//
// # What is promised
//
// A View is one point in time: it takes the lock, copies the files
// of all collections into one that has no name, and lets go of the lock before
// anything is read from it. So the host stands still for as long as it takes to
// read its files, and a backup needs as much disk as they do.
//
// An Update holds the lock to its end. It prepares a second folder beside the
// first: what is changed is written, all else is linked. When all of it is on the
// disk, the two change places in one step. Whatever fails or dies when, the
// folder is as it was or as it shall be. Who opens a file through the path of
// the folder finds the old or the new one; who opens several without the lock may
// find some of each, and who is just then on the way from the folder to the file
// may, very rarely, find none: the old folder is removed. A process that has the
// folder itself open, or as its working folder, is left there too.
//
// Both take time for each file: for ten thousand, a View holds the lock for less
// than half a second, and an Update needs as long again for what it does not
// change. A file that holds a whole collection is read into memory.
//
// That one step is there on Linux, on local file systems, and on macOS. Elsewhere
// Update fails and changes nothing, unless [Store.AllowGap] is set. Systems
// without flock, as Windows, are not supported: every call fails with an error
// that wraps errors.ErrUnsupported.
//
// # What else is in the folder
//
// Files that belong to no collection stay as they are, links and sockets too.
// Folders are new folders with the same name, mode, owner and content; their
// extended attributes and access lists are lost. Where the file system has no
// hard links, files are copied.
//
// A changed file has the mode and the owner of the one that it takes the place
// of. A new one has mode 0600, a new folder 0700, and the owner of the folder.
// Links that stand for a file or a folder of a collection are not followed: they
// are an error. So is a file that cannot be read as what it should be; nothing is
// restored over it before it was repaired or moved away.
package filestore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/codec"
)

// A Store is a [backup.DataSource] and a [backup.Sink] over the files in a folder.
// It has no state of its own and is safe for concurrent use, also by several
// processes. A collection that is not declared is an error.
type Store struct {
	// Path is the path of the folder. It may lead through symbolic links. A folder
	// that is missing is an error that wraps fs.ErrNotExist: neither View nor Update
	// makes one.
	Path string

	Collections []Collection

	// AllowGap lets Update swap the folders in two steps where the system cannot do
	// it in one. For a moment between them there is no folder, and if the process
	// dies then, there is none until the next View, Update or Lock, which puts the
	// old one back. So a host that sets it must take the lock before it looks
	// whether there is a folder, let alone makes one.
	AllowGap bool

	step func(name string) error // called before what matters; nil but in tests
}

// A Collection says where a collection is in the folder, and how. A file or
// folder that is not there is a collection without records.
type Collection struct {
	// Name is the name of the collection.
	Name string

	// Layout is how records are kept in files. The zero value is Files.
	Layout Layout

	// Path is the path of the file or folder, inside of the folder of the Store and
	// with slashes. Empty means Name, for a file with Ext behind it.
	Path string

	// Ext is what the names of files end with. Empty means ".json". In a folder of
	// records, files with another end or with a dot at the beginning are not
	// records.
	Ext string

	// Names says how keys become names of files in the layout Files.
	Names Names

	// Key is the JSON Pointer of the identity in a record, "/id", or several with
	// commas between them, as in [backup.Collection]. An Array needs it. In other layouts it may be empty; if
	// it is set, a record whose identity is not its key, as that of a file which
	// somebody has copied, is an error.
	Key string

	// Encode makes of a JSON text what is to be in a file, and Decode does the
	// reverse: for YAML, say, or for JSON that is indented. Both are set, or none.
	// They must be pure, must not keep what they are given, and must not put it
	// into their errors: it may be secret. What was encoded is decoded again before
	// anything is changed, and if it is not equal, that is an error. Equal is JSON
	// but for white space, the order of members and the form of a number.
	Encode func(json []byte) (file []byte, err error)
	Decode func(file []byte) (json []byte, err error)
}

// Layout is how the records of a collection are kept in files.
type Layout int

const (
	// Files is a folder with one file for each record, named by its key. In a List
	// collection the record has the key as a member too.
	Files Layout = iota

	// Object is one file with a JSON object, one member for each record, named by
	// its key. In a List collection the record has the key as a member too.
	Object

	// Array is one file with a JSON array of objects, in no order that matters.
	// Records that are new come last.
	Array
)

// Names says how keys become names of files.
type Names int

const (
	// Escaped gives every key a name that any file system can hold, and that
	// differs from all others in more than upper and lower case. Lower-case
	// letters, digits, "-", "_" and dots inside stay as they are. Any other byte
	// becomes "%" and two hexadecimal digits, and so does the first letter of a
	// name that is a device on Windows. A file in the folder with a name that no key
	// has is an error. FileName does it for the host.
	Escaped Names = iota

	// Plain takes keys as they are. A key with a slash, a zero byte or a dot at its
	// beginning is an error, and so are two that the file system takes for one.
	Plain
)

var (
	_ backup.DataSource = Store{}
	_ backup.Sink       = Store{}
)

// FileName returns where the record with a key is, as a path in the folder of the
// Store, with slashes: "servers/a1.json". In the layouts Object and Array that is
// the same file for all. It returns an error that wraps fs.ErrInvalid if no file
// can have the name: it is empty, longer than 255 bytes or, in Plain, not a name.
func (c Collection) FileName(key string) (string, error) {
	d := c.defaults()
	if d.Layout != Files {
		return d.Path, nil
	}
	name, err := d.Names.name(key, d.Ext)
	return path.Join(d.Path, name), err
}

func (c Collection) defaults() Collection {
	if c.Ext == "" {
		c.Ext = ".json"
	}
	if c.Path == "" {
		c.Path = c.Name
		if c.Layout != Files {
			c.Path += c.Ext
		}
	}
	return c
}

// View calls read with a Reader of what the folder holds when View is called. A
// collection that cannot be read is an error of its Records.
func (s Store) View(ctx context.Context, read func(backup.Reader) error) error {
	f, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer f.close()
	v := &view{sets: map[string]*set{}}
	defer v.end()
	for _, c := range f.collections {
		loaded, err := f.load(ctx, c)
		if err == nil {
			err = loaded.copy(ctx)
		}
		loaded.close()
		if err := ctx.Err(); err != nil {
			return err
		}
		loaded.err = err
		v.sets[c.Name] = loaded
	}
	if err := f.unlock(); err != nil {
		return err
	}
	return read(v)
}

// Update calls write once, with a Writer on a transaction that has the folder
// locked. If that changes nothing, the folder stays the same.
func (s Store) Update(ctx context.Context, write func(backup.Writer) error) error {
	f, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer f.close()
	w := &writer{view: view{folder: f, sets: map[string]*set{}}}
	defer w.end()
	if err := write(w); err != nil {
		return err
	}
	// What has failed may have been done in part.
	if err := cmp.Or(w.failed, ctx.Err()); err != nil {
		return fmt.Errorf("%w: %w", backup.ErrRolledBack, err)
	}
	err = f.commit(ctx, w.sets)
	if err != nil && !errors.Is(err, errStuck) {
		err = fmt.Errorf("%w: %w", backup.ErrRolledBack, err)
	}
	return err
}

// Lock waits until no one else has the folder locked, this process or another,
// and locks it. It also puts right what a killed process has left. The lock is
// free again when unlock is called or the process has ended, however it ended.
// View and Update take the same lock, so whoever holds it and calls them waits
// for as long as ctx lasts.
func (s Store) Lock(ctx context.Context) (unlock func() error, err error) {
	f, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	return f.close, nil
}

// A collection is one with its defaults filled in and its Key parsed.
type collection struct {
	Collection
	key codec.Key
}

// compile checks the declaration.
func (s Store) compile() ([]*collection, error) {
	var cs []*collection
	for _, declared := range s.Collections {
		c := &collection{Collection: declared.defaults()}
		key, err := codec.ParseKey(c.Key)
		c.key = key
		switch {
		case c.Name == "":
			return nil, errors.New("filestore: a Collection without Name")
		case err != nil:
			return nil, fmt.Errorf("filestore: collection %q: Key: %w", c.Name, err)
		case c.Layout < Files || c.Layout > Array:
			err = fmt.Errorf("no Layout is %d", c.Layout)
		case c.Names < Escaped || c.Names > Plain:
			err = fmt.Errorf("no Names are %d", c.Names)
		case key.HasAny():
			err = fmt.Errorf("the Key %s has a wildcard", c.Key)
		case c.Layout == Array && len(key) == 0:
			err = errors.New("an Array needs Key, a JSON Pointer such as /id")
		case (c.Encode == nil) != (c.Decode == nil):
			err = errors.New("it needs both Encode and Decode, or none")
		case !fs.ValidPath(c.Path) || c.Path == "." || strings.ContainsRune(c.Path, 0):
			err = fmt.Errorf("the Path %q is none inside of the folder", c.Path)
		case len(c.Ext) < 2 || c.Ext[0] != '.' || strings.ContainsAny(c.Ext, "/\x00"):
			err = fmt.Errorf("the Ext %q is not a dot and letters", c.Ext)
		}
		if err != nil {
			return nil, fmt.Errorf("filestore: collection %q: %w", c.Name, err)
		}
		for _, other := range cs {
			switch {
			case other.Name == c.Name:
				return nil, fmt.Errorf("filestore: two collections called %q", c.Name)
			case inside(c.Path, other.Path) || inside(other.Path, c.Path):
				return nil, fmt.Errorf("filestore: the collections %q and %q are both in %q", other.Name, c.Name, other.Path)
			}
		}
		cs = append(cs, c)
	}
	return cs, nil
}

// inside tells whether path a is b or lies in it, in the eyes of any file system.
func inside(a, b string) bool {
	a, b = strings.ToLower(a), strings.ToLower(b)
	return a == b || strings.HasPrefix(a, b+"/")
}
