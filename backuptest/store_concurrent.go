package backuptest

import (
	"errors"
	"fmt"
	"time"

	"github.com/tomo-project/backup"
)

func (h *harness) viewIsOnePoint() error {
	if err := h.fill(0, 300, 0); err != nil {
		return err
	}
	updated := make(chan error, 1)
	started := false
	err := h.store.View(h.ctx, func(r backup.Reader) error {
		// In some databases a View begins with its first read.
		for _, err := range r.Records(h.ctx, h.Collections[0]) {
			if err != nil {
				return err
			}
			break
		}
		started = true
		go func() {
			updated <- h.store.Update(h.ctx, func(w backup.Writer) error {
				if err := h.deleteAll(w, 0, 100); err != nil {
					return err
				}
				return errors.Join(h.putAll(w, 100, 200, 1), h.putAll(w, 300, 310, 0))
			})
		}()
		select {
		case err := <-updated:
			updated <- nil
			if err != nil {
				return fmt.Errorf("an Update during the View: %w", err)
			}
		case <-time.After(patience):
			if !h.Blocking {
				return errors.New("an Update during the View waits until the View ends; if the store cannot avoid this, set Fixture.Blocking")
			}
		}
		got, err := h.read(r)
		if err != nil {
			return err
		}
		if err := h.compare(got, h.want(0, 300, 0)); err != nil {
			return fmt.Errorf("the View must still show the state before the Update: %w", err)
		}
		return nil
	})
	if started {
		select {
		case e := <-updated:
			err = errors.Join(err, e)
		case <-time.After(10 * patience):
			err = errors.Join(err, fmt.Errorf("an Update that waited for the View has not ended %v after the View", 10*patience))
		}
	}
	if err != nil {
		return err
	}
	want := h.want(200, 310, 0)
	for _, c := range h.Collections {
		want[c] = append(want[c], h.records(c, 100, 200, 1)...)
	}
	if err := h.expect(want); err != nil {
		return fmt.Errorf("the next View must show the state after the Update: %w", err)
	}
	return nil
}

func (h *harness) isolation() error {
	if err := h.fill(0, 10, 0); err != nil {
		return err
	}
	type result struct {
		state state
		err   error
	}
	seen := make(chan result, 1)
	looked, waited := false, false
	err := h.store.Update(h.ctx, func(w backup.Writer) error {
		if err := errors.Join(h.putAll(w, 0, 5, 1), h.putAll(w, 10, 15, 0)); err != nil {
			return err
		}
		if looked { // a store may call write again
			return nil
		}
		looked = true
		go func() {
			s, err := h.state()
			seen <- result{s, err}
		}()
		select {
		case r := <-seen:
			seen <- r
		case <-time.After(patience):
			waited = true
		}
		return nil
	})
	if !looked {
		return err
	}
	got := <-seen
	if err := errors.Join(err, got.err); err != nil {
		return err
	}
	if waited {
		return nil // the View began after the Update
	}
	if err := h.compare(got.state, h.want(0, 10, 0)); err != nil {
		return fmt.Errorf("a View during the Update: %w", err)
	}
	return nil
}

func (h *harness) concurrentUpdates() error {
	const writers, batch = 4, 5
	dirty := make([]error, writers)
	errs := race(writers, func(i int) error {
		from := i * batch
		return h.update(func(w backup.Writer) error {
			for _, c := range h.Collections {
				found, err := w.Lookup(h.ctx, c, keysOf(h.records(c, from, from+batch, 0)))
				if err != nil {
					return err
				}
				if len(found) > 0 {
					dirty[i] = fmt.Errorf("%s: write finds records that its own earlier call has put", c)
				}
			}
			return h.putAll(w, from, from+batch, 0)
		})
	})
	if err := errors.Join(dirty...); err != nil {
		return err
	}
	want := state{}
	for i, err := range errs {
		if err != nil {
			continue // a store may refuse an Update, but then none of its records may be there
		}
		for _, c := range h.Collections {
			want[c] = append(want[c], h.records(c, i*batch, (i+1)*batch, 0)...)
		}
	}
	if len(want) == 0 {
		return fmt.Errorf("none of %d Updates at the same time succeeded: %w", writers, errs[0])
	}
	if err := h.expect(want); err != nil {
		return fmt.Errorf("the records differ from those of the Updates that succeeded: %w", err)
	}
	return nil
}
