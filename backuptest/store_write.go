package backuptest

import (
	"errors"
	"fmt"
	"slices"

	"github.com/tomo-project/backup"
)

func (h *harness) ownChanges() error {
	if err := h.fill(0, 10, 0); err != nil {
		return err
	}
	return h.update(func(w backup.Writer) error {
		if err := h.change(w); err != nil {
			return err
		}
		for c, want := range h.changed() {
			if err := h.keysAre(w, c, want); err != nil {
				return err
			}
			if err := h.lookupIs(w, c, keysOf(h.records(c, 0, 20, 0)), want); err != nil {
				return err
			}
		}
		return nil
	})
}

func (h *harness) keysOnce() error {
	if err := h.fill(0, 30, 0); err != nil {
		return err
	}
	return h.update(func(w backup.Writer) error {
		for _, c := range h.Collections {
			for _, err := range w.Keys(h.ctx, c) {
				if err != nil {
					return err
				}
				break
			}
			if err := h.keysAre(w, c, h.records(c, 0, 30, 0)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (h *harness) lookup() error {
	if err := h.fill(0, 20, 0); err != nil {
		return err
	}
	return h.update(func(w backup.Writer) error {
		for _, c := range h.Collections {
			all := h.records(c, 0, 40, 0)
			if err := h.lookupIs(w, c, keysOf(all), all[:20]); err != nil {
				return err
			}
			if err := h.lookupIs(w, c, keysOf(all[20:]), nil); err != nil {
				return err
			}
			if err := h.lookupIs(w, c, keysOf(all[7:8]), all[7:8]); err != nil {
				return err
			}
		}
		return nil
	})
}

func (h *harness) overwrite() error {
	for _, revision := range []int{0, 1, 0} {
		if err := h.fill(0, 10, revision); err != nil {
			return err
		}
		if err := h.expect(h.want(0, 10, revision)); err != nil {
			return err
		}
	}
	return nil
}

func (h *harness) putKeepsNothing() error {
	err := h.update(func(w backup.Writer) error {
		for _, c := range h.Collections {
			records := h.records(c, 0, 20, 0)
			if err := w.Put(h.ctx, c, records); err != nil {
				return err
			}
			for i := range records {
				scribble(records[i].Value)
				records[i] = backup.Record{}
			}
			if err := h.lookupIs(w, c, keysOf(h.records(c, 0, 20, 0)), h.records(c, 0, 20, 0)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return h.expect(h.want(0, 20, 0))
}

func (h *harness) deletes() error {
	if err := h.fill(0, 10, 0); err != nil {
		return err
	}
	if err := h.update(func(w backup.Writer) error { return h.deleteAll(w, 10, 20) }); err != nil {
		return err
	}
	if err := h.expect(h.want(0, 10, 0)); err != nil {
		return err
	}
	for _, from := range []int{6, 4} {
		if err := h.update(func(w backup.Writer) error { return h.deleteAll(w, from, 10) }); err != nil {
			return err
		}
		if err := h.expect(h.want(0, from, 0)); err != nil {
			return err
		}
	}
	return nil
}

func (h *harness) batches() error {
	err := h.update(func(w backup.Writer) error {
		for _, c := range h.Collections {
			if err := errors.Join(w.Put(h.ctx, c, nil), w.Delete(h.ctx, c, nil)); err != nil {
				return fmt.Errorf("an empty batch: %w", err)
			}
			if err := h.lookupIs(w, c, nil, nil); err != nil {
				return fmt.Errorf("an empty batch: %w", err)
			}
		}
		for _, c := range h.Collections {
			if err := w.Put(h.ctx, c, h.records(c, 0, many, 0)); err != nil {
				return fmt.Errorf("Put of %d records at once: %w", many, err)
			}
		}
		for _, c := range h.Collections {
			half := h.records(c, 500, 1000, 0)
			if err := h.lookupIs(w, c, keysOf(half), half); err != nil {
				return err
			}
		}
		for _, c := range slices.Backward(h.Collections) {
			if err := w.Delete(h.ctx, c, keysOf(h.records(c, 1000, many, 0))); err != nil {
				return fmt.Errorf("Delete of %d keys at once: %w", many-1000, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return h.expect(h.want(0, 1000, 0))
}
