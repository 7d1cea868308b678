package manager

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"

	"github.com/tomo-project/backup/internal/filename"
	"github.com/tomo-project/backup/location"
)

// writingEnding is what the name of a mark has after the name of a backup that is being
// stored. Only its note tells what is in such a backup. A writer that dies before
// it has put the note leaves a file that retention would keep for ever. The mark holds the
// Installation of its writer: a folder that two installations share by a service that
// copies files has no lock for both.
const writingEnding = ".writing"

// needsNote tells whether nothing but a note tells without a key what is in a file.
func needsNote(name filename.Name) bool { return name.Encrypted || name.Database }

// beginWriting says at a site that a backup is about to be stored there.
func (s *site) beginWriting(ctx context.Context, name filename.Name, installation string) error {
	if !needsNote(name) {
		return nil
	}
	err := s.Put(ctx, name.String()+writingEnding, strings.NewReader(installation))
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// endWriting says that a backup is stored with its note, or gone again. If that fails, the
// next operation that holds the site does it.
func (s *site) endWriting(ctx context.Context, name filename.Name) {
	if needsNote(name) {
		s.remove(ctx, name.String()+writingEnding)
	}
}

// undoWriting deletes a backup that was stored in vain. If that fails, the mark stays and
// says so.
func (s *site) undoWriting(ctx context.Context, name filename.Name) error {
	err := s.drop(ctx, name)
	if err == nil {
		s.endWriting(ctx, name)
	}
	return err
}

// unfinished returns the names of the backups that are being stored, and whether their
// files are there with a note.
func (m *Manager) unfinished(files []location.File) (names []filename.Name, whole func(filename.Name) bool) {
	for _, f := range files {
		if name, ok := strings.CutSuffix(f.Name, writingEnding); ok {
			if named, ours := filename.Parse(m.App.Name, name); ours && needsNote(named) {
				names = append(names, named)
			}
		}
	}
	there := make(map[string]bool)
	if len(names) > 0 { // the folder may be large
		for _, f := range files {
			there[f.Name] = true
		}
	}
	return names, func(name filename.Name) bool { return there[name.String()] && there[name.String()+noteEnding] }
}

// finished returns the files at a site without the backups that are being stored. Who
// holds the site is the only writer: then another writer has died, and what it has left is
// deleted. A file that has a note stays, and so does a file that nobody has begun, or
// another installation.
func (o *operation) finished(ctx context.Context, s *site, files []location.File) []location.File {
	names, whole := o.unfinished(files)
	for _, name := range names {
		kept := whole(name)
		if o.holds {
			var err error
			if kept, err = o.clear(ctx, s, name, kept); err != nil {
				o.failed(ctx, s, name.String(), fmt.Errorf("delete what a killed process has left: %w", err))
			}
		}
		if !kept {
			files = slices.DeleteFunc(files, func(f location.File) bool { return f.Name == name.String() })
		}
	}
	return files
}

// clear deletes the file of a backup that is not whole, and last the mark of its writer. It
// returns whether the file may stay in the list. A list may lag behind, so clear asks for
// the files themselves before it deletes anything.
func (o *operation) clear(ctx context.Context, s *site, name filename.Name, whole bool) (bool, error) {
	writer, err := s.head(ctx, name.String()+writingEnding, 1<<10)
	switch {
	case errors.Is(err, fs.ErrNotExist): // its writer has finished
		return true, nil
	case err != nil:
		return whole, err
	case len(writer) > 0 && o.Installation != "" && string(writer) != o.Installation:
		return whole, nil
	}
	if !whole {
		if whole, err = o.clearFile(ctx, s, name); err != nil {
			return false, err
		}
	}
	return whole, s.remove(ctx, name.String()+writingEnding)
}

// clearFile deletes the file of a backup unless it is whole after all.
func (o *operation) clearFile(ctx context.Context, s *site, name filename.Name) (whole bool, err error) {
	file, err := s.has(ctx, name.String())
	if err != nil {
		return false, err
	}
	note, err := s.has(ctx, name.String()+noteEnding)
	if err != nil || file && note {
		return err == nil, err
	}
	if err := s.drop(ctx, name); err != nil {
		return false, err
	}
	if file && o.Logger != nil {
		o.Logger.LogAttrs(ctx, slog.LevelInfo, "unfinished backup deleted", slog.String("operation", o.name), slog.String("backup", name.String()), slog.String("location", s.name))
	}
	return false, nil
}
