package filestore

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/codec"
)

// walk finds the records in a folder of a Tree.
func (s *set) walk(ctx context.Context, dir string) error {
	all, err := names(s.root, filepath.FromSlash(dir))
	if err != nil {
		return s.folder.failed("list", path.Join(s.Path, dir), err)
	}
	for _, name := range all {
		if err := ctx.Err(); err != nil {
			return err
		}
		key := path.Join(dir, name)
		info, err := s.root.Lstat(filepath.FromSlash(key))
		switch {
		case err != nil:
		case !utf8.ValidString(name):
			err = errors.New("the name is not UTF-8")
		case info.IsDir():
			if err := s.walk(ctx, key); err != nil {
				return err
			}
			continue
		case !info.Mode().IsRegular():
			err = fmt.Errorf("%w: not a regular file", fs.ErrInvalid)
		}
		if err != nil {
			return s.folder.failed("list", path.Join(s.Path, key), err)
		}
		s.entries[key] = entry{inFile: true}
	}
	return nil
}

// checkPath returns an error if no file of a Tree can have the path.
func checkPath(key string) error {
	var err error
	switch {
	case !fs.ValidPath(key) || key == "." || strings.ContainsRune(key, 0):
		err = errors.New("it is not a path inside the folder")
	case slices.ContainsFunc(strings.Split(key, "/"), func(name string) bool { return len(name) > maxName }):
		err = fmt.Errorf("a name in it has more bytes than the limit of file systems, %d", maxName)
	}
	if err != nil {
		return fmt.Errorf("the key cannot be the path of a file: %w: %w", fs.ErrInvalid, err)
	}
	return nil
}

// checkTree returns an error if a record of a Tree would be a file in another file.
func (s *set) checkTree() error {
	if s.Layout != Tree {
		return nil
	}
	for _, key := range slices.Sorted(maps.Keys(s.entries)) {
		for dir := path.Dir(key); dir != "."; dir = path.Dir(dir) {
			if _, file := s.entries[dir]; file {
				err := fmt.Errorf("%w: its folder is the file of another record", backup.ErrClash)
				return &backup.RecordError{Collection: s.Name, Key: key, Offset: -1, Err: err, With: dir}
			}
		}
	}
	return nil
}

// textOf returns the content of a file as a JSON string, in base64.
func textOf(content []byte) ([]byte, error) {
	return append(base64.StdEncoding.AppendEncode([]byte{'"'}, content), '"'), nil
}

// bytesOf does the reverse.
func bytesOf(text []byte) ([]byte, error) {
	var s string
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, errors.New("the value is not a string, which the content of a file must be")
	}
	content, err := codec.DecodeBase64(nil, []byte(s))
	if err != nil {
		return nil, errors.New("the text is not base64")
	}
	return content, nil
}
