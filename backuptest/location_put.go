package backuptest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"testing/iotest"

	"github.com/tomo-project/backup/location"
)

func (p *place) roundTrip() error {
	large, small := noise(1, 5<<20), noise(2, 10_000)
	for _, c := range []struct {
		name    string
		content []byte
		reader  func(io.Reader) io.Reader
	}{
		{"a file of 0 bytes", nil, nil},
		{"a file of 1 byte", small[:1], nil},
		{"a file of 5 MiB", large, nil},
		{"a reader that has no method but Read", small, func(r io.Reader) io.Reader { return struct{ io.Reader }{r} }},
		{"a reader that delivers one byte at a time", small, iotest.OneByteReader},
		{"a reader that delivers half of each request", small, iotest.HalfReader},
		{"a reader that delivers data together with io.EOF", small, iotest.DataErrReader},
		{"a reader that delivers nothing at every other call", small, func(r io.Reader) io.Reader { return &idleReader{r: r} }},
	} {
		var r io.Reader = bytes.NewReader(c.content)
		if c.reader != nil {
			r = c.reader(r)
		}
		if err := p.Put(p.ctx, c.name, r); err != nil {
			return fmt.Errorf("%s: Put: %w", c.name, err)
		}
		if err := p.holds(c.name, c.content); err != nil {
			return err
		}
		files, err := p.List(p.ctx)
		if err != nil {
			return fmt.Errorf("List: %w", err)
		}
		i := slices.IndexFunc(files, func(f location.File) bool { return f.Name == c.name })
		if i < 0 || files[i].Bytes != int64(len(c.content)) {
			return fmt.Errorf("List must show %q with %d bytes, but returned %+v", c.name, len(c.content), files)
		}
	}
	return nil
}

// An idleReader returns no bytes and no error at every other call.
type idleReader struct {
	r    io.Reader
	busy bool
}

func (r *idleReader) Read(p []byte) (int, error) {
	if r.busy = !r.busy; !r.busy {
		return 0, nil
	}
	return r.r.Read(p[:min(len(p), 100)])
}

func (p *place) neverOverwrites() error {
	content := noise(1, 100_000)
	if err := p.put("a", content); err != nil {
		return err
	}
	before, err := p.List(p.ctx)
	if err != nil {
		return err
	}
	for _, other := range [][]byte{nil, noise(2, 10), noise(2, 200_000), content} {
		if err := p.Put(p.ctx, "a", bytes.NewReader(other)); !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("Put of a taken name returned %v", err)
		}
		// A Put that fails must not make the name free either.
		if err := p.Put(p.ctx, "a", iotest.ErrReader(errProbe)); err == nil {
			return errors.New("Put of a taken name, with a reader that fails, returned nil")
		}
		if err := p.holds("a", content); err != nil {
			return err
		}
	}
	after, err := p.List(p.ctx)
	if err != nil {
		return err
	}
	if len(before) != 1 || len(after) != 1 || after[0].Bytes != before[0].Bytes || !after[0].ModTime.Equal(before[0].ModTime) {
		return fmt.Errorf("List must stay the same, but returned first %+v, then %+v", before, after)
	}
	return nil
}

func (p *place) readerFails() error {
	content := noise(1, 2<<20)
	for _, n := range []int{0, 100, 1 << 20, len(content)} {
		r := io.MultiReader(bytes.NewReader(content[:n]), iotest.ErrReader(errProbe))
		if err := p.Put(p.ctx, "a", r); !errors.Is(err, errProbe) {
			return fmt.Errorf("the reader failed after %d bytes, but Put returned %v", n, err)
		}
		if err := p.lacks("a"); err != nil {
			return fmt.Errorf("the reader failed after %d bytes: %w", n, err)
		}
	}
	for _, end := range []error{io.ErrUnexpectedEOF, fmt.Errorf("wrapped: %w", io.EOF)} {
		r := io.MultiReader(bytes.NewReader(content[:1000]), iotest.ErrReader(end))
		if err := p.Put(p.ctx, "a", r); !errors.Is(err, end) {
			return fmt.Errorf("the reader failed with %q, which is not the end of the file, but Put returned %v", end, err)
		}
		if err := p.lacks("a"); err != nil {
			return fmt.Errorf("the reader failed with %q: %w", end, err)
		}
	}
	if err := p.put("a", content); err != nil {
		return fmt.Errorf("after failed Puts of the same name: %w", err)
	}
	if err := p.listed("a"); err != nil {
		return err
	}
	return p.holds("a", content)
}

func (p *place) wholeOrNot() error {
	content := noise(1, 2<<20)
	if err := p.put("z", content[:10]); err != nil {
		return err
	}
	for _, n := range []int{0, 100, 1 << 20, len(content)} {
		var seen error
		look := func() {
			if seen = p.lacks("a"); seen == nil {
				seen = p.listed("z")
			}
			if seen == nil {
				if err := p.Delete(p.ctx, "a"); !errors.Is(err, fs.ErrNotExist) {
					seen = fmt.Errorf("Delete of the unfinished file returned %v", err)
				}
			}
		}
		r := io.MultiReader(bytes.NewReader(content[:n]), &call{look}, bytes.NewReader(content[n:]))
		if err := p.Put(p.ctx, "a", r); err != nil {
			return fmt.Errorf("Put: %w", err)
		}
		if seen != nil {
			return fmt.Errorf("Put had read %d of %d bytes: %w", n, len(content), seen)
		}
		if err := p.listed("a", "z"); err != nil {
			return err
		}
		if err := p.holds("a", content); err != nil {
			return err
		}
		if err := p.Delete(p.ctx, "a"); err != nil {
			return fmt.Errorf("Delete: %w", err)
		}
	}
	return nil
}

// A call is an empty reader that runs do when it is read.
type call struct{ do func() }

func (c *call) Read([]byte) (int, error) {
	c.do()
	return 0, io.EOF
}
