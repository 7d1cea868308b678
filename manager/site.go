package manager

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/tomo-project/backup/internal/filename"
	"github.com/tomo-project/backup/location"
)

// A site is a Location of a Manager under its name.
type site struct {
	location.Location
	name string
}

func (m *Manager) sites() []*site {
	sites := make([]*site, len(m.Locations))
	for i, l := range m.Locations {
		p := &site{l, fmt.Sprintf("location %d", i+1)}
		if s, ok := l.(fmt.Stringer); ok {
			p.name = s.String()
		}
		sites[i] = p
	}
	return sites
}

// openFile opens a file at a location.
func (p *site) openFile(ctx context.Context, name string) (io.ReadCloser, error) {
	return within(ctx, func(context.Context, func()) (io.ReadCloser, error) { return p.Open(ctx, name) },
		func(r io.ReadCloser) { r.Close() })
}

// remove takes a file away that must not stay, also when ctx is done.
func (p *site) remove(ctx context.Context, name string) error {
	_, err := within(context.WithoutCancel(ctx), func(ctx context.Context, _ func()) (struct{}, error) {
		return struct{}{}, p.Delete(ctx, name)
	}, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// drop takes a backup away with its note: a backup is gone before its note is.
func (p *site) drop(ctx context.Context, name filename.Name) error {
	if err := p.remove(ctx, name.String()); err != nil || name.Plain() {
		return err
	}
	return p.remove(ctx, name.String()+noteEnding)
}

// files lists what is at a site.
func (p *site) files(ctx context.Context) ([]location.File, error) {
	return within(ctx, func(ctx context.Context, _ func()) ([]location.File, error) { return p.List(ctx) }, nil)
}
