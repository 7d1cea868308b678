// Package filestore backs up and restores collections that a host keeps as JSON
// files in a folder, and files of any kind, such as those that users have uploaded. A
// [Store] declares which collection is in which file, or in which folder with a
// file for each record.
//
//	store := filestore.Store{
//		Path: "/var/lib/notes/data",
//		Collections: []filestore.Collection{
//			{Name: "servers"},                                    // servers/a1.json, servers/b2.json
//			{Name: "settings", Layout: filestore.Object},         // settings.json: {"theme":"dark"}
//			{Name: "users", Layout: filestore.Array, Key: "/id"}, // users.json: [{"id":1}]
//			{Name: "uploads", Layout: filestore.Tree},            // uploads/2024/cat.png
//		},
//	}
//
// # What the host must do
//
// The host locks the folder ([Store.Lock]) for each change of its data. How it
// writes the files is then its own matter. A change that it makes without the
// lock may be half in a backup, and may be lost if a restore is running.
//
// No database that is open may be in the folder, since an Update puts another
// folder in its place. If uploads are beside a database, let Path be the folder
// of the uploads, and give their Tree the Path ".".
//
// It must be possible to rename the folder: it is no mount point, and nothing
// is mounted in it. If a volume is mounted at /data, keep the files in
// /data/store. A plan of a restore finds out whether that is so, and fails. The
// folder above must be writable and have room for the changes.
// The lock, ".NAME.filestore.lock", is in it and stays there.
// ".NAME.filestore.spool", ".NAME.filestore.new" and ".NAME.filestore.old" are
// there only while they are needed. If a killed process leaves some of them,
// the next process that takes the lock removes them.
//
// # What is promised
//
// A View is one point in time. It takes the lock, copies the files of all
// collections into one file without a name, and releases the lock before
// anything is read from that file. So the host waits only as long as reading
// its files takes. A backup needs as much free disk space as the files use.
//
// An Update holds the lock to its end. It prepares a second folder beside the
// first: it writes what is changed, and links everything else. When all of it
// is on the disk, the two folders change places in one step. Whatever fails or
// dies, and when, the folder is as it was or as it should become. A program
// that opens a file through the path of the folder finds the old or the new
// file. A program that opens several files without the lock may find old and
// new ones. Very rarely it may find none: if it is just then on its way from
// the folder to the file, and the old folder is removed. A process that has the
// folder itself open, or as its working folder, stays in the old folder.
//
// Both take time for each file. With ten thousand files, a View holds the lock
// for less than half a second, and an Update needs the same time for all that
// it does not change. A file with a whole collection is read into memory.
//
// Linux, on local file systems, and macOS can exchange two folders in one step.
// Elsewhere Update fails and changes nothing, unless [Store.AllowGap] is set.
// Systems without flock, such as Windows, are not supported: every call fails
// with an error that wraps errors.ErrUnsupported.
//
// # What else is in the folder
//
// Files that belong to no collection stay as they are, also links and sockets.
// Folders are made anew, with the same name, mode, owner and content; they lose
// their extended attributes and access lists. Where the file system has no hard
// links, files are copied.
//
// A changed file gets the mode and the owner of the file that it replaces. A
// new file gets mode 0600, a new folder 0700, and both get the owner of the
// folder. A link in place of a file or folder of a collection is not followed:
// it is an error. A file that cannot be read as its collection needs it is an
// error too. Nothing is restored over it until somebody repairs it or moves it
// away.
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
	"github.com/tomo-project/backup/internal/fault"
)

// A Store is a [backup.DataSource] and a [backup.Sink] over the files in a
// folder. It has no state of its own, and is safe for concurrent use, also by
// several processes. A collection that is not declared is an error.
type Store struct {
	// Path is the path of the folder. It may lead through symbolic links. If
	// the folder is missing, View and Update do not make it: they return an
	// error that wraps fs.ErrNotExist.
	Path string

	Collections []Collection

	// AllowGap lets Update exchange the folders in two steps, where the system
	// cannot do it in one. For a moment between the steps there is no folder.
	// If the process dies in that moment, the next View, Update or Lock puts
	// the old folder back. So a host that sets AllowGap must take the lock
	// before it checks whether there is a folder, and before it makes one.
	AllowGap bool

	step func(name string) error // called before the important steps; only tests set it
}

// A Collection says where in the folder a collection is, and in which form. If
// the file or folder does not exist, the collection has no records.
type Collection struct {
	// Name is the name of the collection.
	Name string

	// Layout says how the records are kept in files. The zero value is Files.
	Layout Layout

	// Path is the path of the file or folder, with slashes, inside the folder
	// of the Store. Empty means Name, followed by Ext if it is a file. "." is the
	// folder of the Store itself, for a Tree that is the only collection.
	Path string

	// Ext is the ending of the names of files. Empty means ".json". In a folder
	// of records, files with another ending, or with a dot at the beginning,
	// are not records.
	Ext string

	// Names says how a key becomes the name of a file in the layout Files.
	Names Names

	// Key is the JSON Pointer of the identity in a record, "/id", or several,
	// separated by commas, as in [backup.Collection]. An Array needs it. In
	// other layouts it may be empty. If it is set, a record whose identity is
	// not its key is an error; so is a file that somebody has copied under
	// another name.
	Key string

	// Encode makes the content of a file from a JSON text, and Decode does the
	// reverse, for example for YAML or for indented JSON. Set both or none.
	// They must be pure. They must not keep their argument, nor quote it in
	// their errors: it may be secret. Before anything is changed, the encoded
	// text is decoded again, and it is an error if the value is not equal.
	// Values are equal if they differ only in white space, the order of members
	// and the form of numbers.
	Encode func(json []byte) (file []byte, err error)
	Decode func(file []byte) (json []byte, err error)
}

// A Layout says how the records of a collection are kept in files.
type Layout int

const (
	// Files is a folder with one file for each record. The file is named by the
	// key. In a List collection the record also contains the key as a member.
	Files Layout = iota

	// Object is one file with a JSON object. Each record is a member, named by
	// its key. In a List collection the record also contains the key as a
	// member.
	Object

	// Array is one file with a JSON array of objects. Their order does not
	// matter. New records come last.
	Array

	// Tree is a folder with files of any kind, also in folders below it. The key of a
	// file is its path in the folder, with slashes: "2024/cat.png". Its value is a
	// string, the content in base64, unless Encode and Decode make another. The
	// collection is a Map, and Ext, Names and Key are empty. Every file is a record. A
	// link or socket is an error, and so is a name that is not UTF-8. Empty folders are
	// not in a backup.
	//
	// A file of more than 12 MiB needs a larger [backup.Limits].RecordBytes, and memory
	// for several times its size. A backup of many large files takes as much time and
	// space as all of them.
	Tree
)

// apart tells whether each record is a file of its own.
func (l Layout) apart() bool { return l == Files || l == Tree }

// Names says how a key becomes the name of a file.
type Names int

const (
	// Escaped gives every key a name that any file system can hold. No two
	// names differ only in upper and lower case. Lower-case letters, digits,
	// "-", "_" and dots inside the name stay as they are. Any other byte
	// becomes "%" and two hexadecimal digits; so does the first letter of a
	// name that is a device on Windows. A file whose name belongs to no key is
	// an error. FileName gives the host these names.
	Escaped Names = iota

	// Plain uses keys unchanged. A key with a slash, a zero byte or a dot at
	// its beginning is an error. So are two keys that are the same name to the
	// file system.
	Plain
)

var (
	_ backup.DataSource = Store{}
	_ backup.Sink       = Store{}
)

// FileName returns the path of the file that holds the record with this key.
// The path is relative to the folder of the Store and has slashes:
// "servers/a1.json". In the layouts Object and Array all records have the same
// path. The error wraps fs.ErrInvalid if no file can have the name: it is empty
// or longer than 255 bytes, or Plain or Tree does not allow it.
func (c Collection) FileName(key string) (string, error) {
	d := c.defaults()
	if !d.Layout.apart() {
		return d.Path, nil
	}
	name, err := d.nameIn(key)
	return path.Join(d.Path, name), err
}

// nameIn returns the name of the file for a key, in the folder of the records.
func (c Collection) nameIn(key string) (string, error) {
	if c.Layout == Tree {
		return key, checkPath(key)
	}
	return c.Names.name(key, c.Ext)
}

func (c Collection) defaults() Collection {
	if c.Layout == Tree && c.Encode == nil && c.Decode == nil {
		c.Encode, c.Decode = bytesOf, textOf
	}
	if c.Ext == "" && c.Layout != Tree {
		c.Ext = ".json"
	}
	if c.Path == "" {
		c.Path = c.Name
		if !c.Layout.apart() {
			c.Path += c.Ext
		}
	}
	return c
}

// View calls read with a Reader of the content of the folder at the time of the
// call. If a collection cannot be read, its Records return the error.
func (s Store) View(ctx context.Context, read func(backup.Reader) error) error {
	if err := fault.Missing("the function read", read); err != nil {
		return err
	}
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

// Update calls write once, with a Writer, while the folder is locked. If write
// changes nothing, the folder stays the same.
func (s Store) Update(ctx context.Context, write func(backup.Writer) error) error {
	if err := fault.Missing("the function write", write); err != nil {
		return err
	}
	f, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer f.close()
	w := &writer{view: view{folder: f, sets: map[string]*set{}}}
	defer w.end()
	defer w.discard() // if this fails, the next process with the lock removes the stage
	if err := write(w); err != nil {
		return err
	}
	// A call that failed may have changed a part.
	err = cmp.Or(w.failed, ctx.Err())
	if err == nil {
		err = w.commit(ctx)
	}
	if err != nil && !errors.Is(err, errStuck) {
		err = fault.RolledBack(err)
	}
	return err
}

// Lock waits until nobody else holds the lock of the folder, in this process or
// another, and takes it. It also repairs what a killed process has left. The
// lock is released by unlock, and by the end of the process, however it ends.
// View and Update take the same lock: do not call them while you hold it, for
// they wait until ctx is done.
func (s Store) Lock(ctx context.Context) (unlock func() error, err error) {
	f, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	return f.close, nil
}

// A collection is a Collection with its defaults filled in and its Key parsed.
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
		case c.Layout < Files || c.Layout > Tree:
			err = fmt.Errorf("no Layout is %d", c.Layout)
		case c.Names < Escaped || c.Names > Plain:
			err = fmt.Errorf("no Names are %d", c.Names)
		case key.HasAny():
			err = fmt.Errorf("the Key %s has a wildcard", c.Key)
		case c.Layout == Array && len(key) == 0:
			err = errors.New("an Array needs Key, a JSON Pointer such as /id")
		case (c.Encode == nil) != (c.Decode == nil):
			err = errors.New("it needs both Encode and Decode, or none")
		case !fs.ValidPath(c.Path) || c.Path == "." && c.Layout != Tree || strings.ContainsRune(c.Path, 0):
			err = fmt.Errorf("the Path %q is none inside of the folder", c.Path)
		case c.Layout == Tree:
			if c.Ext != "" || c.Names != Escaped || c.Key != "" {
				err = errors.New("a Tree has no Ext, Names or Key")
			}
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

// inside tells whether path a is b or is inside it, on any file system.
func inside(a, b string) bool {
	a, b = strings.ToLower(a), strings.ToLower(b)
	return a == b || b == "." || strings.HasPrefix(a, b+"/")
}
