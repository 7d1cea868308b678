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

// Probe tries each Location: it stores a small file there, reads it back, looks for it in
// the list of files, and deletes it (guide, "Verify write permissions"). The result has a
// Copy for each Location that says what went wrong. The error is that of ctx, or says why
// the Manager cannot work.
//
// The files have the name of the App, "-probe-", 26 random letters and digits, and
// ".tmp". Probe also deletes such files that are more than an hour old: a process that was
// killed has left them.
func (m *Manager) Probe(ctx context.Context) ([]Copy, error) {
	o, err := m.begin(ctx, "probe")
	if err != nil {
		return nil, err
	}
	found := make([]Copy, len(o.sites))
	var wait sync.WaitGroup
	for i, s := range o.sites {
		wait.Go(func() { found[i] = Copy{s.name, o.probe(ctx, s)} })
	}
	wait.Wait()
	return found, ctx.Err()
}

func (o *operation) probe(ctx context.Context, s *site) error {
	text := []byte(rand.Text())
	name := o.App.Name + "-probe-" + strings.ToLower(rand.Text()) + ".tmp"
	_, err := within(ctx, func(ctx context.Context, _ func()) (struct{}, error) {
		return struct{}{}, s.Put(ctx, name, bytes.NewReader(text))
	}, nil)
	if err != nil {
		s.remove(ctx, name) // it may be there all the same
		return fmt.Errorf("store a file: %w", err)
	}
	err = s.tryFile(ctx, name, text)
	o.removeProbes(ctx, s)
	if gone := s.remove(ctx, name); gone != nil {
		err = errors.Join(err, fmt.Errorf("delete the file: %w", gone))
	}
	return err
}

// tryFile reads a file back and looks for it in the list.
func (s *site) tryFile(ctx context.Context, name string, text []byte) error {
	back, err := within(ctx, func(ctx context.Context, alive func()) ([]byte, error) {
		r, err := s.Open(ctx, name)
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
		return fmt.Errorf("read the file back: %w", err)
	}
	files, err := s.files(ctx)
	if err == nil && !slices.ContainsFunc(files, func(f location.File) bool { return f.Name == name }) {
		err = errors.New("the list of files lacks the file that was stored")
	}
	return err
}

var probeName = regexp.MustCompile(`^[a-z0-9-]+-probe-[a-z2-7]{26}\.tmp$`) // the letters of rand.Text

// removeProbes deletes what probes have left that were killed.
func (o *operation) removeProbes(ctx context.Context, s *site) {
	files, _ := s.files(ctx)
	for _, f := range files {
		if probeName.MatchString(f.Name) && strings.HasPrefix(f.Name, o.App.Name+"-probe-") && !f.ModTime.IsZero() && time.Since(f.ModTime) > time.Hour {
			s.remove(ctx, f.Name)
		}
	}
}
