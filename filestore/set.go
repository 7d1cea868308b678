package filestore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/codec"
)

// A set knows the records of a collection, and where the value of each is.
type set struct {
	*collection
	folder  *folder
	root    *os.Root // the folder of the records in the layouts Files and Tree; nil if it does not exist
	entries map[string]entry
	order   []string        // the order of the keys in the file, in the layouts Object and Array
	changed map[string]bool // the keys that were put or deleted
	err     error           // the collection cannot be read
}

// An entry is the place of a value.
type entry struct {
	inFile bool  // in its own file, and not in the spool
	place  place // in the spool: the content of a file in the layouts Files and Tree, otherwise the compact value
}

func (s *set) about(key string, err error) error {
	return &backup.RecordError{Collection: s.Name, Key: key, Offset: -1, Err: err}
}

// load finds the records of a collection.
func (f *folder) load(ctx context.Context, c *collection) (*set, error) {
	s := &set{collection: c, folder: f, entries: map[string]entry{}, changed: map[string]bool{}}
	if c.Layout.apart() {
		return s, s.list(ctx)
	}
	return s, s.parse(ctx)
}

// enter opens a folder inside the folder. It follows no links.
func (f *folder) enter(dir string) (*os.Root, error) {
	root, err := f.parent.OpenRoot(f.base)
	if err != nil {
		return nil, f.failed("open", "", err)
	}
	if dir == "." {
		return root, nil
	}
	at := ""
	for element := range strings.SplitSeq(dir, "/") {
		at = path.Join(at, element)
		info, err := root.Lstat(element)
		if err == nil && !info.IsDir() {
			err = fmt.Errorf("%w: not a folder", fs.ErrInvalid)
		}
		var next *os.Root
		if err == nil {
			next, err = root.OpenRoot(element)
		}
		root.Close()
		if err != nil {
			return nil, f.failed("open", at, err)
		}
		root = next
	}
	return root, nil
}

// list finds the records in a folder of files.
func (s *set) list(ctx context.Context) error {
	root, err := s.folder.enter(s.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	s.root = root
	if s.Layout == Tree {
		return s.walk(ctx, ".")
	}
	all, err := names(root, ".")
	if err != nil {
		return s.folder.failed("list", s.Path, err)
	}
	for _, name := range all {
		if err := ctx.Err(); err != nil {
			return err
		}
		stem, ok := strings.CutSuffix(name, s.Ext)
		if !ok || name[0] == '.' {
			continue
		}
		key, err := s.Names.key(stem)
		if err == nil {
			var info fs.FileInfo
			if info, err = root.Lstat(name); err == nil && !info.Mode().IsRegular() {
				err = fmt.Errorf("%w: not a regular file", fs.ErrInvalid)
			}
		}
		if err != nil {
			return s.folder.failed("list", path.Join(s.Path, name), err)
		}
		s.entries[key] = entry{inFile: true}
	}
	return nil
}

// parse finds the records in one file, and puts their values into the spool.
func (s *set) parse(ctx context.Context) error {
	dir, name := path.Split(s.Path)
	root, err := s.folder.enter(path.Clean(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close()
	content, err := readRegular(root, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return s.folder.failed("read", s.Path, err)
	}
	text, err := s.decode(content)
	if want := map[Layout]byte{Object: '{', Array: '['}[s.Layout]; err == nil && text[0] != want {
		err = fmt.Errorf("the text does not begin with %q", want)
	}
	var full error // an error of the disk
	if err == nil {
		err = codec.Find(text, []codec.Pointer{{codec.Any}}, func(pointer string, start, end int) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			token, err := codec.ParsePointer(pointer)
			if err != nil {
				return err
			}
			key := token[0]
			if s.Layout == Array {
				if key, err = s.identity(text[start:end]); err != nil {
					return fmt.Errorf("element %s: %w", token[0], err)
				}
				if _, taken := s.entries[key]; taken {
					return fmt.Errorf("element %s: another has the same key, %q", token[0], key)
				}
			} else if err := s.agrees(key, text[start:end]); err != nil {
				return fmt.Errorf("member %q: %w", key, err)
			}
			var at place
			at, full = s.folder.put(text[start:end])
			s.entries[key] = entry{place: at}
			s.order = append(s.order, key)
			return full
		})
	}
	if full != nil || ctx.Err() != nil {
		return err
	}
	return s.damaged(s.Path, err)
}

// copy copies the content of all files into the spool.
func (s *set) copy(ctx context.Context) error {
	for key, e := range s.entries {
		if !e.inFile {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		content, err := s.content(key)
		if err == nil {
			e.place, err = s.folder.put(content)
		}
		if err != nil {
			return s.about(key, err)
		}
		s.entries[key] = entry{place: e.place}
	}
	return nil
}

func (s *set) close() {
	if s.root != nil {
		s.root.Close()
		s.root = nil
	}
}

// content returns the content of the file of a record.
func (s *set) content(key string) ([]byte, error) {
	name, err := s.nameIn(key)
	if err != nil {
		return nil, err
	}
	content, err := readRegular(s.root, filepath.FromSlash(name))
	if err != nil {
		return nil, s.folder.failed("read", path.Join(s.Path, name), err)
	}
	return content, nil
}

// value returns the compact value of a record, in memory of its own.
func (s *set) value(key string) ([]byte, error) {
	e := s.entries[key]
	var content []byte
	var err error
	if e.inFile {
		content, err = s.content(key)
	} else {
		content, err = s.folder.get(e.place)
	}
	if err != nil || !s.Layout.apart() {
		return content, err
	}
	value, err := s.decode(content)
	if err == nil {
		err = s.agrees(key, value)
	}
	if err != nil {
		file, _ := s.FileName(key)
		return nil, s.damaged(file, err)
	}
	return value, nil
}

// damaged adds what to do about a file that cannot be read. Nothing is restored
// over such a file: a person may still save something from it.
func (s *set) damaged(file string, err error) error {
	if err == nil {
		return nil
	}
	return s.folder.failed("read", file, fmt.Errorf("%w; repair the file, or move it away before a restore", err))
}

// everything: the host's own files have no limits.
var everything = codec.Limits{Depth: codec.MaxDepth, Values: math.MaxInt, RecordBytes: math.MaxInt}

// decode returns the compact JSON of the content of a file.
func (c *collection) decode(content []byte) ([]byte, error) {
	if c.Decode != nil {
		var err error
		if content, err = c.Decode(content); err != nil {
			return nil, fmt.Errorf("decode: %w", err)
		}
	}
	if len(bytes.TrimSpace(content)) == 0 {
		return nil, fmt.Errorf("%w: the file is empty", codec.ErrSyntax)
	}
	return codec.Compact(nil, content, everything)
}

// encode returns the content of a file for a JSON text.
func (c *collection) encode(text []byte) ([]byte, error) {
	if c.Encode == nil {
		return text, nil
	}
	content, err := c.Encode(text)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	content = bytes.Clone(content)
	after, err := c.decode(content)
	if err != nil {
		return nil, fmt.Errorf("what was encoded cannot be read again: %w", err)
	}
	before, err := codec.Compact(nil, text, everything)
	if err != nil {
		return nil, err
	}
	if !codec.Equal(before, after) {
		return nil, errors.New("the functions of the Collection make another value of it")
	}
	return content, nil
}

// identity returns the key that a value contains.
func (c *collection) identity(value []byte) (string, error) {
	key, err := c.key.Of(value)
	if err != nil {
		return "", fmt.Errorf("identity at %s: %w", c.Key, err)
	}
	return key, nil
}

// agrees checks that a value contains the key under which it is kept.
func (c *collection) agrees(key string, value []byte) error {
	if len(c.key) == 0 {
		return nil
	}
	inside, err := c.identity(value)
	if err == nil && inside != key {
		err = fmt.Errorf("the record in it is %q, by %s; that of this place is %q", inside, c.Key, key)
	}
	return err
}

// sorted returns the keys in order.
func (s *set) sorted() []string { return slices.Sorted(maps.Keys(s.entries)) }

// put puts the value of a record into the spool, in the form in which its file
// will have it.
func (s *set) put(r backup.Record) error {
	value, err := codec.Compact(nil, r.Value, everything)
	if err != nil {
		return err
	}
	if err := s.agrees(r.Key, value); err != nil {
		return err
	}
	if s.Layout.apart() {
		if _, err := s.FileName(r.Key); err != nil {
			return err
		}
		if value, err = s.encode(append(value, '\n')); err != nil {
			return err
		}
	}
	at, err := s.folder.put(value)
	if err != nil {
		return err
	}
	s.entries[r.Key] = entry{place: at}
	s.changed[r.Key] = true
	return nil
}

// whole returns the content of the file that holds all records, one record a
// line. Old records come first and keep their order.
func (s *set) whole() ([]byte, error) {
	old := map[string]bool{}
	for _, key := range s.order {
		old[key] = true
	}
	keys := append(slices.Clone(s.order), slices.DeleteFunc(s.sorted(), func(key string) bool { return old[key] })...)
	begin, end := "{", "}\n"
	if s.Layout == Array {
		begin, end = "[", "]\n"
	}
	var b bytes.Buffer
	b.WriteString(begin)
	n := 0
	for _, key := range keys {
		e, ok := s.entries[key]
		if !ok {
			continue
		}
		value, err := s.folder.get(e.place)
		if err != nil {
			return nil, err
		}
		if n++; n > 1 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
		if s.Layout == Object {
			b.Write(codec.Quote(key))
			b.WriteByte(':')
		}
		b.Write(value)
	}
	if n > 0 {
		b.WriteByte('\n')
	}
	b.WriteString(end)
	return s.encode(b.Bytes())
}
