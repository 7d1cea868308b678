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
		return fmt.Errorf("read was called %d times", calls)
	}
	if !errors.Is(err, errProbe) {
		return fmt.Errorf("read returned an error, View returned %v", err)
	}
	if err := h.store.View(h.ctx, func(backup.Reader) error { return nil }); err != nil {
		return fmt.Errorf("read returned nil, View returned %w", err)
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
		return errors.New("the context was done before View was called, and it returned nil")
	}
	return nil
}

func (h *harness) emptyCollections() error {
	if err := h.expect(state{}); err != nil {
		return fmt.Errorf("a new store should be empty: %w", err)
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
	// The same data, come about in another way.
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
		return fmt.Errorf("two stores of the same data with different histories: %w", err)
	}
	return nil
}

func sameOrder(a, b state) error {
	for c := range a {
		if len(a[c]) != len(b[c]) {
			return fmt.Errorf("%s: %d records and then %d", c, len(a[c]), len(b[c]))
		}
		for i := range a[c] {
			if !bytes.Equal(a[c][i].Value, b[c][i].Value) {
				return fmt.Errorf("%s: record number %d was %s and then %s", c, i, a[c][i].Value, b[c][i].Value)
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
					return fmt.Errorf("%s, started again: %w", c, err)
				}
				n++
			}
			if n != 40 {
				return fmt.Errorf("%s has 40 records, the sequence started again yields %d", c, n)
			}
		}
		got, err := h.read(r)
		if err != nil {
			return err
		}
		return h.compare(got, h.want(0, 40, 0))
	})
}

func (h *harness) unknownCollection() error {
	err := h.store.View(h.ctx, func(r backup.Reader) error {
		var seen error
		for rec, err := range r.Records(h.ctx, h.Unknown) {
			switch {
			case seen != nil:
				return errors.New("Records goes on after an error")
			case err == nil:
				return errors.New("Records yields a record of an unknown collection")
			case rec.Key != "" || rec.Value != nil:
				return errors.New("Records yields a record beside an error")
			}
			seen = err
		}
		if seen == nil {
			return errors.New("Records is an empty sequence")
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
	}
	for name, call := range calls {
		var got error
		// The error of the call is returned, as a caller does: some databases
		// refuse to go on in a transaction after a failed statement.
		_ = h.store.Update(h.ctx, func(w backup.Writer) error { got = call(w); return errors.Join(got, errProbe) })
		if got == nil {
			return fmt.Errorf("%s accepts it", name)
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
	n := 0
	var got error
	_ = h.store.View(ctx, func(r backup.Reader) error {
		for _, err := range r.Records(ctx, c) {
			if got != nil {
				return errors.New("goes on")
			}
			if got = err; err != nil {
				continue
			}
			if n++; n == 5 {
				cancel()
				// Databases learn of it in a goroutine of their own.
				time.Sleep(10 * time.Millisecond)
			}
		}
		return got
	})
	if n == many || got == nil {
		return fmt.Errorf("Records: cancelled at record 5 of %d, it yielded %d and the error %v", many, n, got)
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
		return fmt.Errorf("Keys: cancelled at key 5 of %d, it yielded all without an error", many)
	}
	return nil
}
