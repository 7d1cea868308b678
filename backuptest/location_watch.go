package backuptest

import (
	"errors"
	"fmt"
	"slices"

	"github.com/tomo-project/backup/location"
)

func (p *place) tellsChanges() error {
	w, ok := p.Location.(location.Watcher)
	if !ok {
		return nil
	}
	if err := p.put("old", []byte("content")); err != nil {
		return err
	}
	changed, err := w.Watch(p.ctx)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("watch the location: %w", err)
	}
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"new", func() error { return p.put("new", []byte("content")) }},
		{"old", func() error { return p.Delete(p.ctx, "old") }},
	} {
		if err := step.do(); err != nil {
			return err
		}
		names, err := changed(p.ctx)
		if err != nil {
			return fmt.Errorf("changed: %w", err)
		}
		if !slices.Contains(names, step.name) {
			return fmt.Errorf("changed names %q, and not %q, which was stored or deleted", names, step.name)
		}
	}
	return nil
}
