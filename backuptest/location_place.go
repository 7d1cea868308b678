package backuptest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"

	"github.com/tomo-project/backup/location"
)

// A place is a location under test.
type place struct {
	location.Location
	ctx context.Context
}

// noise returns n random bytes, always the same for a seed.
func noise(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

func (p *place) put(name string, content []byte) error {
	if err := p.Put(p.ctx, name, bytes.NewReader(content)); err != nil {
		return fmt.Errorf("Put of %q with %d bytes: %w", name, len(content), err)
	}
	return nil
}

// holds checks that the file called name has the content want.
func (p *place) holds(name string, want []byte) error {
	f, err := p.Open(p.ctx, name)
	if err != nil {
		return fmt.Errorf("Open of %q: %w", name, err)
	}
	got := make([]byte, len(want)+1)
	n, err := io.ReadFull(f, got)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("reading %q: %w", name, err)
	}
	if !bytes.Equal(got[:n], want) {
		return fmt.Errorf("the content of %q (%d bytes or more) is not the content that was Put (%d bytes)", name, n, len(want))
	}
	return nil
}

// lacks checks that neither Open nor List shows a file called name.
func (p *place) lacks(name string) error {
	f, err := p.Open(p.ctx, name)
	if err == nil {
		return errors.Join(fmt.Errorf("Open of %q, which does not exist, returned nil", name), f.Close())
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("Open of %q, which does not exist, returned %w", name, err)
	}
	files, err := p.List(p.ctx)
	if err != nil {
		return fmt.Errorf("List: %w", err)
	}
	if slices.ContainsFunc(files, func(f location.File) bool { return f.Name == name }) {
		return fmt.Errorf("List shows %q, which does not exist", name)
	}
	return nil
}

// listed checks that List returns exactly the names want, in this order.
func (p *place) listed(want ...string) error {
	files, err := p.List(p.ctx)
	if err != nil {
		return fmt.Errorf("List: %w", err)
	}
	var got []string
	for _, f := range files {
		got = append(got, f.Name)
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("List returned %d files, want %d: got %.200q, want %.200q", len(got), len(want), got, want)
	}
	return nil
}
