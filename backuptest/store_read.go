package backuptest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tomo-project/backup"
)

func (h *harness) viewCallsReadOnce() error {
	calls := 0
	err := h.store.View(h.ctx, func(backup.Reader) error { calls++; return errProbe })
	if calls != 1 {
		return fmt.Errorf("View called read %d times", calls)
	}
	if !errors.Is(err, errProbe) {
		return fmt.Errorf("read returned an error, but View returned %v", err)
	}
	if err := h.store.View(h.ctx, func(backup.Reader) error { return nil }); err != nil {
		return fmt.Errorf("read returned nil, but View returned %w", err)
	}
	ctx, cancel := context.WithCancel(h.ctx)
	cancel()
	err = h.store.View(ctx, func(r backup.Reader) error {
		for _, err := range r.Records(ctx, h.Collections[0]) {
			if err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	if err == nil {
		return errors.New("the context was done before the call of View, but View returned nil")
	}
	return nil
}

func (h *harness) emptyCollections() error {
	if err := h.expect(state{}); err != nil {
		return fmt.Errorf("new must return an empty store: %w", err)
	}
	return h.update(func(w backup.Writer) error {
		for _, c := range h.Collections {
			if err := h.keysAre(w, c, nil); err != nil {
				return err
			}
		}
		return nil
	})
}

func (h *harness) roundTrip() error {
	for revision := range 2 {
		if err := h.fill(0, 50, revision); err != nil {
			return err
		}
		if err := h.expect(h.want(0, 50, revision)); err != nil {
			return err
		}
	}
	return nil
}

func (h *harness) order() error {
	if err := h.fill(0, 60, 0); err != nil {
		return err
	}
	first, err := h.state()
	if err != nil {
		return err
	}
	again, err := h.state()
	if err != nil {
		return err
	}
	if err := sameOrder(first, again); err != nil {
		return fmt.Errorf("two reads of the same data: %w", err)
	}
	// A history of other changes ends with the same data.
	other := h.another()
	err = other.update(func(w backup.Writer) error {
		for i := 59; i >= 0; i-- {
			if err := other.putAll(w, i, i+1, 1); err != nil {
				return err
			}
		}
		if err := other.deleteAll(w, 20, 40); err != nil {
			return err
		}
		return other.putAll(w, 0, 60, 0)
	})
	if err != nil {
		return err
	}
	second, err := other.state()
	if err != nil {
		return err
	}
	if err := sameOrder(first, second); err != nil {
		return fmt.Errorf("two stores that reached the same data in different ways: %w", err)
	}
	return nil
}

func sameOrder(a, b state) error {
	for c := range a {
		if len(a[c]) != len(b[c]) {
			return fmt.Errorf("%s: first %d records, then %d", c, len(a[c]), len(b[c]))
		}
		for i := range a[c] {
			if !bytes.Equal(a[c][i].Value, b[c][i].Value) {
				return fmt.Errorf("%s: record number %d was first %s, then %s", c, i, a[c][i].Value, b[c][i].Value)
			}
		}
	}
	return nil
}

func (h *harness) abandon() error {
	if err := h.fill(0, 40, 0); err != nil {
		return err
	}
	return h.store.View(h.ctx, func(r backup.Reader) error {
		for _, c := range h.Collections {
			seq := r.Records(h.ctx, c)
			for _, stop := range []int{1, 20, 40} {
				n := 0
				for _, err := range seq {
					if err != nil {
						return fmt.Errorf("%s: %w", c, err)
					}
					if n++; n == stop {
						break
					}
				}
			}
			n := 0
			for _, err := range seq {
				if err != nil {
					return fmt.Errorf("%s: the sequence that was started again: %w", c, err)
				}
				n++
			}
			if n != 40 {
				return fmt.Errorf("%s has 40 records, but the sequence that was started again yields %d", c, n)
			}
		}
		got, err := h.read(r)
		if err != nil {
			return err
		}
		return h.compare(got, h.want(0, 40, 0))
	})
}

var errContinued = errors.New("Records continues after an error")

func (h *harness) unknownCollection() error {
	err := h.store.View(h.ctx, func(r backup.Reader) error {
		var seen error
		for rec, err := range r.Records(h.ctx, h.Unknown) {
			switch {
			case seen != nil:
				return errContinued
			case err == nil:
				return errors.New("Records yields a record without an error")
			case rec.Key != "" || rec.Value != nil:
				return errors.New("Records yields a record together with the error")
			}
			seen = err
		}
		if seen == nil {
			return errors.New("Records yields nothing, not even an error")
		}
		return nil
	})
	if err != nil {
		return err
	}
	sample := h.Record(h.Collections[0], 0, 0)
	calls := map[string]func(backup.Writer) error{
		"Put": func(w backup.Writer) error {
			return w.Put(h.ctx, h.Unknown, []backup.Record{sample})
		},
		"Delete": func(w backup.Writer) error {
			return w.Delete(h.ctx, h.Unknown, []string{sample.Key})
		},
		"Lookup": func(w backup.Writer) error {
			_, err := w.Lookup(h.ctx, h.Unknown, []string{sample.Key})
			return err
		},
		"Keys": func(w backup.Writer) error {
			_, err := collect(w, h.ctx, h.Unknown)
			return err
		},
		"Records of the Writer": func(w backup.Writer) error {
			if r, ok := w.(backup.Reader); ok {
				for _, err := range r.Records(h.ctx, h.Unknown) {
					return err
				}
				return nil
			}
			return errProbe
		},
		"Effects": func(w backup.Writer) error {
			if e, ok := w.(effector); ok {
				_, err := e.Effects(h.ctx, h.Unknown)
				return err
			}
			return errProbe
		},
		"Parents": func(w backup.Writer) error {
			if p, ok := w.(parenter); ok {
				_, err := p.Parents(h.ctx, h.Unknown)
				return err
			}
			return errProbe
		},
		"NewKeys": func(w backup.Writer) error {
			if k, ok := w.(numberer); ok {
				_, err := k.NewKeys(h.ctx, h.Unknown, 0)
				return err
			}
			return errProbe
		},
	}
	for name, call := range calls {
		var got error
		// A caller returns the error too: in some databases a transaction cannot
		// continue after a failed statement.
		_ = h.store.Update(h.ctx, func(w backup.Writer) error { got = call(w); return errors.Join(got, errProbe) })
		if got == nil {
			return fmt.Errorf("%s returns nil", name)
		}
	}
	return nil
}

func (h *harness) cancelRead() error {
	if err := h.fill(0, many, 0); err != nil {
		return err
	}
	c := h.Collections[0]
	ctx, cancel := context.WithCancel(h.ctx)
	defer cancel()
	n, continued := 0, false
	var got error
	_ = h.store.View(ctx, func(r backup.Reader) error {
		for _, err := range r.Records(ctx, c) {
			if continued = got != nil; continued {
				return got
			}
			if got = err; err != nil {
				continue
			}
			if n++; n == 5 {
				cancel()
				// Database drivers notice the end of a context in another goroutine.
				time.Sleep(10 * time.Millisecond)
			}
		}
		return got
	})
	if n == many || got == nil {
		return fmt.Errorf("the context was cancelled at record 5 of %d, but Records yielded %d records and the error %v", many, n, got)
	}
	if continued {
		return errContinued
	}
	ctx, cancel = context.WithCancel(h.ctx)
	defer cancel()
	n, got = 0, nil
	_ = h.store.Update(ctx, func(w backup.Writer) error {
		for _, err := range w.Keys(ctx, c) {
			if got = err; err != nil {
				break
			}
			if n++; n == 5 {
				cancel()
				time.Sleep(10 * time.Millisecond)
			}
		}
		return errors.Join(got, errProbe)
	})
	if n == many && got == nil {
		return fmt.Errorf("the context was cancelled at key 5 of %d, but Keys yielded all keys and no error", many)
	}
	return nil
}
