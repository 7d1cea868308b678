package manager

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/location"

	"github.com/tomo-project/backup/internal/fault"
)

// What a person does with the files of backups, beside restoring them: take one
// away, delete one, try whether a location takes any.

// OpenFile opens the file of a backup as it is stored, to be downloaded or copied
// to somewhere else: the first copy that nothing is known against. What is in it is
// not looked at. The caller closes it. The error wraps fs.ErrNotExist if no Location
// has the backup.
func (m *Manager) OpenFile(ctx context.Context, name string) (io.ReadCloser, error) {
	o, err := m.begin(ctx, "open")
	if err != nil {
		return nil, err
	}
	r, err := o.openFile(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", fault.Shorten(name), err)
	}
	return r, nil
}

func (o *operation) openFile(ctx context.Context, name string) (io.ReadCloser, error) {
	c, unasked := o.list(ctx)
	if c == nil {
		return nil, unasked
	}
	b := find(c.backups, name)
	if b == nil {
		return nil, errors.Join(fmt.Errorf("no location has it: %w", fs.ErrNotExist), unasked)
	}
	var errs []error
	for _, p := range o.sites {
		copied := b.at(p)
		if copied == nil {
			continue
		}
		err := copied.Err
		if err == nil {
			var r io.ReadCloser
			if r, err = p.openFile(ctx, name); err == nil {
				return r, nil
			}
		}
		errs = append(errs, fmt.Errorf("%s: %w", p.name, err))
	}
	return nil, errors.Join(errs...)
}

// Delete deletes every copy of a backup, and what stands beside it. It asks nothing:
// whoever calls it knows whether another good one is left. Where a Location is down
// a copy may be left, which is then copied to the others again; the error says so.
// It wraps fs.ErrNotExist if no Location has the backup. It may return ErrBusy.
func (m *Manager) Delete(ctx context.Context, name string) error {
	o, ctx, release, err := m.hold(ctx, "delete")
	if err != nil {
		return err
	}
	defer release()
	o.emit(ctx, Event{Kind: EventStarted, Backup: name})
	return o.done(ctx, Event{Backup: name}, o.deleteBackup(ctx, name))
}

func (o *operation) deleteBackup(ctx context.Context, name string) error {
	c, unasked := o.listHeld(ctx)
	if c == nil {
		return unasked
	}
	var errs []error
	for _, c := range o.down {
		errs = append(errs, fmt.Errorf("%s: a copy may be left there, and come back: %w", c.Location, c.Err))
	}
	if unasked != nil {
		errs = append(errs, fmt.Errorf("a copy may be left, and come back: %w", unasked))
	}
	b := find(c.backups, name)
	if b == nil {
		return errors.Join(append(errs, fmt.Errorf("no location has %s: %w", fault.Shorten(name), fs.ErrNotExist))...)
	}
	var gone []Pruned
	for _, p := range o.sites {
		if b.at(p) == nil {
			continue
		}
		if err := p.drop(ctx, name); err != nil {
			errs = append(errs, fmt.Errorf("%s: delete %s: %w", p.name, name, err))
			continue
		}
		gone = append(gone, Pruned{Location: p.name, Deleted: []string{name}})
	}
	o.tidy(ctx, c, gone)
	return errors.Join(errs...)
}

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
