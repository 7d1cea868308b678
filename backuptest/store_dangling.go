package backuptest

import (
	"errors"
	"fmt"

	"github.com/tomo-project/backup"
)

type dangler interface{ AllowDangling(allow bool) }

// eachDangling calls check for each collection that has a record that dangles, on a
// new store with ten records in each collection.
func (h *harness) eachDangling(check func(h *harness, collection string, r backup.Record) error) error {
	if h.Dangling == nil {
		return nil
	}
	for _, c := range h.Collections {
		r := h.Dangling(c)
		if r.Key == "" {
			continue
		}
		h := h.another()
		if err := h.fill(0, 10, 0); err != nil {
			return err
		}
		if err := check(h, c, r); err != nil {
			return fmt.Errorf("%s: %w", c, err)
		}
	}
	return nil
}

func (h *harness) danglingReference() error {
	return h.eachDangling(func(h *harness, c string, r backup.Record) error {
		if err := h.refusesDangling(c, r); err != nil {
			return err
		}
		has := false
		put := func(allow ...bool) error {
			return h.update(func(w backup.Writer) error {
				var d dangler
				if d, has = w.(dangler); !has {
					return errProbe
				}
				for _, a := range allow {
					d.AllowDangling(a)
				}
				return w.Put(h.ctx, c, []backup.Record{r})
			})
		}
		err := put(true)
		if !has {
			return nil
		}
		if err != nil { // a store may be unable to allow it
			if err := namesDangling(err, c, r.Key); err != nil {
				return fmt.Errorf("Update after AllowDangling(true): %w", err)
			}
			return h.expect(h.want(0, 10, 0))
		}
		want := h.want(0, 10, 1)
		want[c] = append(want[c], r)
		if err := h.fill(0, 10, 1); err != nil {
			return fmt.Errorf("after an Update with AllowDangling(true): %w", err)
		}
		if err := h.expect(want); err != nil {
			return fmt.Errorf("after an Update with AllowDangling(true): %w", err)
		}
		err = h.update(func(w backup.Writer) error {
			return errors.Join(w.Delete(h.ctx, c, []string{r.Key}), h.putAll(w, 0, 10, 0))
		})
		if err != nil {
			return fmt.Errorf("an Update that deletes the record that dangles: %w", err)
		}
		if err := namesDangling(put(true, false), c, r.Key); err != nil {
			return fmt.Errorf("Update after AllowDangling(false): %w", err)
		}
		if err := h.refusesDangling(c, r); err != nil {
			return fmt.Errorf("AllowDangling(true) was called in an earlier Update: %w", err)
		}
		return nil
	})
}

func (h *harness) refusesDangling(c string, r backup.Record) error {
	err := h.update(func(w backup.Writer) error { return w.Put(h.ctx, c, []backup.Record{r}) })
	if err := namesDangling(err, c, r.Key); err != nil {
		return fmt.Errorf("Update: %w", err)
	}
	if err := h.expect(h.want(0, 10, 0)); err != nil {
		return fmt.Errorf("Update failed, but changed the data: %w", err)
	}
	return nil
}

// namesDangling checks that err says of this record, and of no other, that it dangles.
func namesDangling(err error, collection, key string) error {
	if !errors.Is(err, backup.ErrDangling) {
		return fmt.Errorf("the record %q refers to a record that does not exist, so an error must wrap backup.ErrDangling, but it is: %w", key, orNil(err))
	}
	named := false
	for _, e := range recordErrors(err) {
		if !errors.Is(e, backup.ErrDangling) {
			continue
		}
		if named = e.Collection == collection && e.Key == key; !named {
			return fmt.Errorf("a RecordError names %q of %s, but %q of %s dangles: %w", e.Key, e.Collection, key, collection, err)
		}
	}
	if !named {
		return fmt.Errorf("the error holds no RecordError with the record %q: %w", key, err)
	}
	return nil
}
