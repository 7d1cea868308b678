package backuptest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tomo-project/backup"
)

func (h *harness) commits() error {
	if err := h.fill(0, 10, 0); err != nil {
		return err
	}
	if err := h.expect(h.want(0, 10, 0)); err != nil {
		return err
	}
	if err := h.update(func(w backup.Writer) error { return h.deleteAll(w, 5, 10) }); err != nil {
		return err
	}
	return h.expect(h.want(0, 5, 0))
}

// change overwrites, deletes and adds records after fill(0, 10, 0).
func (h *harness) change(w backup.Writer) error {
	return errors.Join(h.putAll(w, 0, 3, 1), h.deleteAll(w, 3, 6), h.putAll(w, 10, 20, 0))
}

// changed returns the state after change.
func (h *harness) changed() state {
	s := state{}
	for _, c := range h.Collections {
		s[c] = append(h.records(c, 0, 3, 1), h.records(c, 6, 20, 0)...)
	}
	return s
}

// unchanged checks that the store is as fill(0, 10, 0) left it, and still works.
func (h *harness) unchanged() error {
	if err := h.expect(h.want(0, 10, 0)); err != nil {
		return fmt.Errorf("Update changed the data: %w", err)
	}
	if err := h.fill(10, 12, 0); err != nil {
		return fmt.Errorf("the next Update fails: %w", err)
	}
	return h.expect(h.want(0, 12, 0))
}

func (h *harness) rollsBackOnError() error {
	if err := h.fill(0, 10, 0); err != nil {
		return err
	}
	err := h.update(func(w backup.Writer) error { return errors.Join(h.change(w), errProbe) })
	if !errors.Is(err, errProbe) {
		return fmt.Errorf("write returned an error, but Update returned %v", err)
	}
	return h.unchanged()
}

func (h *harness) rollsBackOnPanic() error {
	if err := h.fill(0, 10, 0); err != nil {
		return err
	}
	err := guarded(func() error {
		return h.update(func(w backup.Writer) error {
			if err := h.change(w); err != nil {
				return err
			}
			panic("write panics")
		})
	})
	if err == nil {
		return errors.New("write panicked, but Update returned nil")
	}
	done := make(chan error, 1)
	go func() { done <- h.unchanged() }()
	select {
	case err := <-done:
		return err
	case <-time.After(10 * patience):
		return fmt.Errorf("after the panic the store has blocked for %v", 10*patience)
	}
}

func (h *harness) rollsBackOnCancel() error {
	if err := h.fill(0, 10, 0); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(h.ctx)
	defer cancel()
	err := h.store.Update(ctx, func(w backup.Writer) error {
		err := h.change(w)
		cancel()
		return err
	})
	if err == nil {
		return errors.New("the context was cancelled during write, but Update returned nil")
	}
	if err := h.expect(h.want(0, 10, 0)); err != nil {
		return fmt.Errorf("the context was cancelled during write, but Update changed the data: %w", err)
	}
	if err := h.store.Update(ctx, h.change); err == nil {
		return errors.New("the context was cancelled before the call of Update, but Update returned nil")
	}
	return h.unchanged()
}
