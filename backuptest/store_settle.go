package backuptest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tomo-project/backup"
)

// Optional methods of a Writer.
type (
	settler interface {
		Settle(ctx context.Context) error
	}
	effector interface {
		Effects(ctx context.Context, collection string) ([]string, error)
	}
	parenter interface {
		Parents(ctx context.Context, collection string) ([]string, error)
	}
	normalizer interface {
		Normalize(ctx context.Context, collection string, records []backup.Record) error
	}
)

// settle calls Settle if w has it.
func (h *harness) settle(w backup.Writer) error {
	if s, ok := w.(settler); ok {
		if err := s.Settle(h.ctx); err != nil {
			return fmt.Errorf("Settle: %w", err)
		}
	}
	return nil
}

func (h *harness) readsItsTransaction() error {
	if err := h.fill(0, 10, 0); err != nil {
		return err
	}
	var seen state
	err := h.update(func(w backup.Writer) (err error) {
		seen = nil
		r, ok := w.(backup.Reader)
		if !ok {
			return nil
		}
		if err := h.change(w); err != nil {
			return err
		}
		for range r.Records(h.ctx, h.Collections[0]) {
			break
		}
		seen, err = h.read(r)
		return err
	})
	if err != nil || seen == nil {
		return err
	}
	if err := h.compare(seen, h.changed()); err != nil {
		return fmt.Errorf("Records of the Writer: %w", err)
	}
	after, err := h.state()
	if err != nil {
		return err
	}
	if err := sameOrder(seen, after); err != nil {
		return fmt.Errorf("Records of the Writer and Records after the commit: %w", err)
	}
	return nil
}

func (h *harness) settles() error {
	if err := h.fill(0, 10, 0); err != nil {
		return err
	}
	has := false
	err := h.update(func(w backup.Writer) error {
		_, has = w.(settler)
		return errors.Join(
			h.settle(w),
			h.change(w), h.settle(w), h.settle(w),
			h.putAll(w, 0, 6, 0), h.deleteAll(w, 10, 20), h.settle(w),
			h.change(w), h.settle(w))
	})
	if err != nil || !has {
		return err
	}
	if err := h.expect(h.changed()); err != nil {
		return err
	}
	if err := h.eachUnique((*harness).settlesUnique); err != nil {
		return err
	}
	return h.eachDangling(func(h *harness, c string, r backup.Record) error {
		return h.settleRefuses(func(w backup.Writer) error { return w.Put(h.ctx, c, []backup.Record{r}) },
			func(err error) error { return namesDangling(err, c, r.Key) }, h.want(0, 10, 0))
	})
}

func (h *harness) settlesUnique(c string) error {
	first, second, third := ends{1: 1, 2: 2, 3: 3}, ends{1: 2, 2: 1, 3: 3}, ends{1: 3, 2: 1, 3: 2}
	one := orders[2]
	if err := h.become(c, nil, first, one); err != nil {
		return err
	}
	err := h.update(func(w backup.Writer) error {
		return errors.Join(
			h.turn(w, c, first, second, one), h.settle(w),
			h.turn(w, c, second, first, one), h.settle(w),
			h.turn(w, c, first, third, one), h.settle(w))
	})
	if err != nil {
		return fmt.Errorf("unique values move again after a Settle: %w", err)
	}
	if err := h.expect(h.withEnds(c, third)); err != nil {
		return err
	}
	clash := ends{1: 3, 2: 3, 3: 2}
	return h.settleRefuses(func(w backup.Writer) error { return h.turn(w, c, third, clash, one) },
		func(err error) error { return h.namesClash(err, c, [2]int{1, 2}) }, h.withEnds(c, third))
}

// settleRefuses checks that Settle refuses what write does, unless write fails already.
// The commit must refuse it too, and the store stay as it is.
func (h *harness) settleRefuses(write func(backup.Writer) error, names func(error) error, is state) error {
	var told error
	err := h.update(func(w backup.Writer) error {
		if told = write(w); told != nil {
			return told
		}
		told = h.settle(w)
		return nil
	})
	if err := names(told); err != nil {
		return fmt.Errorf("Settle: %w", err)
	}
	if err == nil {
		return errors.New("Settle failed, but Update returns nil")
	}
	if err := h.expect(is); err != nil {
		return fmt.Errorf("Settle failed, but the data has changed: %w", err)
	}
	return nil
}

func (h *harness) triesOnly() error {
	if err := h.fill(0, 10, 0); err != nil {
		return err
	}
	for range 2 {
		err := h.update(func(w backup.Writer) error { return errors.Join(h.change(w), h.settle(w), errProbe) })
		if !errors.Is(err, errProbe) {
			return fmt.Errorf("write returned an error after Settle, but Update returned %v", err)
		}
		if err := h.expect(h.want(0, 10, 0)); err != nil {
			return fmt.Errorf("an Update whose write returned an error changed the data: %w", err)
		}
	}
	if err := h.update(h.change); err != nil {
		return fmt.Errorf("the same Update without the error: %w", err)
	}
	if err := h.expect(h.changed()); err != nil {
		return err
	}
	return h.eachUnique(func(h *harness, c string) error {
		from, to := moves[0].from, moves[0].to
		for _, order := range orders {
			if err := h.become(c, nil, from, order); err != nil {
				return err
			}
			err := h.update(func(w backup.Writer) error {
				return errors.Join(h.turn(w, c, from, to, order), h.settle(w), errProbe)
			})
			if !errors.Is(err, errProbe) {
				return fmt.Errorf("write returned an error after Settle, but Update returned %v", err)
			}
			if err := h.expect(h.withEnds(c, from)); err != nil {
				return fmt.Errorf("an Update whose write returned an error changed the data: %w", err)
			}
			if err := h.become(c, from, to, order); err != nil {
				return fmt.Errorf("the same Update without the error: %w", err)
			}
			if err := h.become(c, to, nil, order); err != nil {
				return err
			}
		}
		return nil
	})
}

func (h *harness) effectsAndParents() error {
	return h.update(func(w backup.Writer) error {
		for i, c := range h.Collections {
			if e, ok := w.(effector); ok {
				names, err := e.Effects(h.ctx, c)
				if err != nil {
					return fmt.Errorf("Effects of %s: %w", c, err)
				}
				if slices.Contains(names, "") {
					return fmt.Errorf("Effects of %s: an effect has no name", c)
				}
			}
			if p, ok := w.(parenter); ok {
				parents, err := p.Parents(h.ctx, c)
				if err != nil {
					return fmt.Errorf("Parents of %s: %w", c, err)
				}
				for _, parent := range parents {
					if slices.Contains(h.Collections[i:], parent) {
						return fmt.Errorf("Parents of %s: %s is to be put before, but the Fixture has it later", c, parent)
					}
				}
			}
		}
		return nil
	})
}
