package manager

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/fault"
	"github.com/tomo-project/backup/internal/filename"
	"github.com/tomo-project/backup/internal/stream"
	"github.com/tomo-project/backup/location"
)

// A site is a Location of a Manager together with its name.
type site struct {
	location.Location
	name string
}

func (m *Manager) sites() []*site {
	sites := make([]*site, len(m.Locations))
	for i, l := range m.Locations {
		s := &site{l, fmt.Sprintf("location %d", i+1)}
		if named, ok := l.(fmt.Stringer); ok && !fault.IsNil(l) {
			s.name = named.String()
		}
		sites[i] = s
	}
	return sites
}

// files lists the files at the site.
func (s *site) files(ctx context.Context) ([]location.File, error) {
	return within(ctx, func(ctx context.Context, _ func()) ([]location.File, error) { return s.List(ctx) }, nil)
}

// open opens a file. The file may be read until ctx is done, and not only until the
// location has answered.
func (s *site) open(ctx context.Context, name string) (io.ReadCloser, error) {
	return within(ctx, func(context.Context, func()) (io.ReadCloser, error) { return s.Open(ctx, name) },
		func(r io.ReadCloser) { r.Close() })
}

// has asks for a file itself, which a list of a moment ago may not show yet.
func (s *site) has(ctx context.Context, name string) (bool, error) {
	_, err := s.head(ctx, name, 1)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// digest reads a file to its end.
func (s *site) digest(ctx context.Context, name string) (contents, error) {
	return within(ctx, func(ctx context.Context, alive func()) (contents, error) {
		r, err := s.Open(ctx, name)
		if err != nil {
			return contents{}, err
		}
		defer r.Close()
		d := newDigester()
		_, err = io.Copy(d, stream.WithContext(ctx, lively(r, alive)))
		return d.contents(), err
	}, nil)
}

// remove deletes a file even if ctx is done. A file that does not exist is no error.
func (s *site) remove(ctx context.Context, name string) error {
	_, err := within(context.WithoutCancel(ctx), func(ctx context.Context, _ func()) (struct{}, error) {
		return struct{}{}, s.Delete(ctx, name)
	}, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// drop deletes a backup, and then its note.
func (s *site) drop(ctx context.Context, name filename.Name) error {
	if err := s.remove(ctx, name.String()); err != nil || name.Plain() {
		return err
	}
	return s.remove(ctx, name.String()+noteEnding)
}

// The contents of a file are its size and its digest, which tell it from other files.
type contents struct {
	bytes  int64
	sha256 string
}

// check returns ErrDamaged if a file does not have the contents that were written.
func (c contents) check(written contents) error {
	if c != written {
		return fmt.Errorf("%w: the file has %d bytes with SHA-256 %s, but %d bytes with %s were written", backup.ErrDamaged, c.bytes, c.sha256, written.bytes, written.sha256)
	}
	return nil
}

// A digester finds out the contents of what is written to it.
type digester struct {
	hash  hash.Hash
	bytes int64
}

func newDigester() *digester { return &digester{hash: sha256.New()} }

func (d *digester) Write(p []byte) (int, error) {
	d.bytes += int64(len(p))
	return d.hash.Write(p)
}

func (d *digester) contents() contents {
	return contents{d.bytes, hex.EncodeToString(d.hash.Sum(nil))}
}
