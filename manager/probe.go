package manager

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/location"
)

// Probe tries each Location: it stores a small file there, reads it back and deletes
// it. The result has a Copy for each, with what went wrong (guide, "Verify write
// permissions"). The files are called "tomo-probe-….tmp".
func (m *Manager) Probe(ctx context.Context) ([]Copy, error) {
	o, err := m.begin(ctx, "probe")
	if err != nil {
		return nil, err
	}
	found := make([]Copy, len(o.sites))
	var wait sync.WaitGroup
	for i, p := range o.sites {
		wait.Go(func() { found[i] = Copy{p.name, o.probe(ctx, p)} })
	}
	wait.Wait()
	return found, ctx.Err()
}

// probeName is that of the file of a Probe, as rand.Text has it.
var probeName = regexp.MustCompile(`^[a-z0-9-]+-probe-[a-z2-7]{26}\.tmp$`)

// removeProbes takes away what probes have left that were killed.
func (o *operation) removeProbes(ctx context.Context, p *site) {
	files, _ := p.files(ctx)
	for _, f := range files {
		if probeName.MatchString(f.Name) && strings.HasPrefix(f.Name, o.App.Name+"-probe-") && !f.ModTime.IsZero() && time.Since(f.ModTime) > time.Hour {
			p.remove(ctx, f.Name)
		}
	}
}

func (o *operation) probe(ctx context.Context, p *site) error {
	text := []byte(rand.Text())
	name := o.App.Name + "-probe-" + strings.ToLower(rand.Text()) + ".tmp"
	_, err := within(ctx, func(ctx context.Context, alive func()) (struct{}, error) {
		return struct{}{}, p.Put(ctx, name, bytes.NewReader(text))
	}, nil)
	if err != nil {
		p.remove(ctx, name) // it may be there all the same
		return fmt.Errorf("store a file: %w", err)
	}
	back, err := within(ctx, func(ctx context.Context, alive func()) ([]byte, error) {
		r, err := p.Open(ctx, name)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return io.ReadAll(io.LimitReader(lively(r, alive), 1<<10))
	}, nil)
	if err == nil && !bytes.Equal(text, back) {
		err = fmt.Errorf("%w: it is not what was stored", backup.ErrDamaged)
	}
	if err != nil {
		err = fmt.Errorf("read the file back: %w", err)
	}
	if err == nil {
		var files []location.File
		if files, err = p.files(ctx); err == nil && !slices.ContainsFunc(files, func(f location.File) bool { return f.Name == name }) {
			err = errors.New("the list of files lacks the one that was stored")
		}
	}
	o.removeProbes(ctx, p)
	if gone := p.remove(ctx, name); gone != nil {
		err = errors.Join(err, fmt.Errorf("delete the file: %w", gone))
	}
	return err
}
