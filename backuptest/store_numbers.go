package backuptest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tomo-project/backup"
)

// An optional method of a Writer.
type numberer interface {
	NewKeys(ctx context.Context, collection string, n int) ([]string, error)
}

// errNumbersNone ends an Update of a store that numbers no keys.
var errNumbersNone = errors.New("the store numbers no keys")

// newKeys returns n keys for new records, or errNumbersNone.
func (h *harness) newKeys(w backup.Writer, collection string, n int) ([]string, error) {
	numbers, ok := w.(numberer)
	if !ok {
		return nil, errNumbersNone
	}
	keys, err := numbers.NewKeys(h.ctx, collection, n)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return keys, errNumbersNone
	case err != nil:
		return nil, fmt.Errorf("NewKeys of %s for %d records: %w", collection, n, err)
	case len(keys) != n:
		return nil, fmt.Errorf("NewKeys of %s for %d records returned %d keys", collection, n, len(keys))
	}
	return keys, nil
}

// eachNumbered calls check for each collection whose keys the store numbers, on a new store
// that has records.
func (h *harness) eachNumbered(check func(h *harness, collection string) error) error {
	for _, c := range h.Collections {
		h := h.another()
		if err := h.fill(0, 10, 0); err != nil {
			return err
		}
		err := h.update(func(w backup.Writer) error { _, err := h.newKeys(w, c, 0); return err })
		if err == nil {
			err = check(h, c)
		}
		if err != nil && !errors.Is(err, errNumbersNone) {
			return fmt.Errorf("%s: %w", c, err)
		}
	}
	return nil
}

// saysItNumbersNone checks that a store that does not number keys says so at once, and that
// the transaction then goes on.
func (h *harness) saysItNumbersNone() error {
	for _, c := range h.Collections {
		h := h.another()
		if err := h.fill(0, 10, 0); err != nil {
			return err
		}
		err := h.update(func(w backup.Writer) error {
			_, none := h.newKeys(w, c, 0)
			if none != nil && !errors.Is(none, errNumbersNone) {
				return none
			}
			keys, err := h.newKeys(w, c, 1)
			switch {
			case none == nil && errors.Is(err, errNumbersNone):
				return errors.New("NewKeys is supported for 0 records and unsupported for 1")
			case none != nil && !errors.Is(err, errNumbersNone):
				return fmt.Errorf("NewKeys is unsupported for 0 records, and not for 1: %v", err)
			case err != nil && len(keys) > 0:
				return errors.New("NewKeys is unsupported, and returns keys")
			}
			return h.change(w)
		})
		if err == nil {
			err = h.expect(h.changed())
		}
		if err != nil {
			return fmt.Errorf("%s: %w", c, err)
		}
	}
	return nil
}

func (h *harness) freshKeys() error {
	return h.eachNumbered(func(h *harness, c string) error {
		return h.update(func(w backup.Writer) error {
			var given []string
			for _, n := range []int{0, 1, 3, 200} {
				keys, err := h.newKeys(w, c, n)
				if err != nil {
					return err
				}
				for _, key := range keys {
					if key == "" || slices.Contains(given, key) {
						return fmt.Errorf("NewKeys returned the key %q, which is empty or was returned before", key)
					}
					given = append(given, key)
				}
				if err := h.lookupIs(w, c, keys, nil); err != nil { // the others may be there: the suite puts records too
					return fmt.Errorf("a key that NewKeys has returned: %w", err)
				}
				if n == 1 {
					if err := h.putUnder(w, c, keys); err != nil {
						return err
					}
					if err := w.Delete(h.ctx, c, keys); err != nil {
						return err
					}
					if err := h.putAll(w, 10, 20, 0); err != nil {
						return err
					}
				}
			}
			// What has a key now is there for the next transaction.
			return h.putUnder(w, c, given)
		})
	})
}

// putUnder puts records under these keys, if the Fixture can make them.
func (h *harness) putUnder(w backup.Writer, collection string, keys []string) error {
	for _, key := range keys {
		if h.WithKey == nil {
			return nil
		}
		r := h.WithKey(collection, key)
		if r.Key == "" {
			return nil
		}
		if err := w.Put(h.ctx, collection, []backup.Record{r}); err != nil {
			return fmt.Errorf("Put of a record under the key %q, which NewKeys has returned: %w", key, err)
		}
	}
	return nil
}

func (h *harness) putAndSettle(w backup.Writer, collection string, keys []string) error {
	if err := h.putUnder(w, collection, keys); err != nil {
		return err
	}
	return h.settle(w)
}

func (h *harness) keysLeaveNoTrace() error {
	return h.eachNumbered(func(h *harness, c string) error {
		var first []string
		for try := range 4 {
			var keys []string
			err := h.update(func(w backup.Writer) error {
				keys = nil
				for _, n := range []int{0, 2, 1} {
					more, err := h.newKeys(w, c, n)
					if err != nil {
						return err
					}
					keys = append(keys, more...)
				}
				if try%2 == 1 {
					return nil // a commit without a change
				}
				if err := h.putAndSettle(w, c, keys); err != nil {
					return err
				}
				return errProbe
			})
			switch {
			case err != nil && !errors.Is(err, errProbe):
				return err
			case first == nil:
				first = keys
			case !slices.Equal(keys, first):
				return fmt.Errorf("NewKeys returned %q, and in an earlier transaction on the same data %q", keys, first)
			}
			if err := h.expect(h.want(0, 10, 0)); err != nil {
				return fmt.Errorf("the data has changed: %w", err)
			}
		}
		if h.WithKey == nil || h.WithKey(c, first[0]).Key == "" {
			return nil
		}
		return h.update(func(w backup.Writer) error {
			if err := h.putUnder(w, c, first); err != nil {
				return err
			}
			next, err := h.newKeys(w, c, 3)
			if err == nil && slices.ContainsFunc(next, func(key string) bool { return slices.Contains(first, key) }) {
				err = fmt.Errorf("NewKeys returned %q, although %q have records", next, first)
			}
			return err
		})
	})
}
