package backuptest

import (
	"fmt"

	"github.com/tomo-project/backup"
)

// oddKeys are keys that a store easily takes for something else, or confuses.
var oddKeys = []string{
	"a", "A", "a ", " a", "a b", "1", "01", "1.0", "1e0", "null", "true", "*", "%", "_", "a%", "a_",
	"'", "''", `"`, "`", `\`, `\\`, `\n`, "\n", "\t", "'; DROP TABLE servers; --", "?", "$1", ":a",
	".", "..", "../a", "/", "a/b", "~", "~0", "~1", "#", "&amp;", "<a>", "{}", "[]", "a,b", "a=b", `["a","b"]`, `["a", "b"]`, `"a","b"`,
	"é", "e\u0301", "ß", "ss", "ı", "İ", "日本語", "🚀", "👩‍🚀", "\u200b", "\u2028", "\ufeff", "\u202e", "\x7f", "\U0010ffff",
}

func (h *harness) oddKeys() error {
	if h.WithKey == nil {
		return nil
	}
	return h.toldApart(func(collection string) (records []backup.Record) {
		for _, key := range oddKeys {
			if r := h.WithKey(collection, key); r.Key != "" {
				records = append(records, r)
			}
		}
		return records
	})
}

func (h *harness) oddParts() error {
	if h.WithParts == nil {
		return nil
	}
	return h.toldApart(func(collection string) []backup.Record {
		records, _ := h.withParts(collection) // Fixture.check has ruled out an error
		return records
	})
}

// toldApart checks that a store puts, finds, lists and deletes each of these records
// without touching another. Their keys differ.
func (h *harness) toldApart(records func(collection string) []backup.Record) error {
	want := state{}
	err := h.update(func(w backup.Writer) error {
		clear(want)
		for _, c := range h.Collections {
			want[c] = records(c)
			for _, r := range want[c] {
				if err := w.Put(h.ctx, c, []backup.Record{r}); err != nil {
					return fmt.Errorf("%s: Put of the key %q: %w", c, r.Key, err)
				}
			}
			if err := h.lookupIs(w, c, keysOf(want[c]), want[c]); err != nil {
				return err
			}
			if err := h.keysAre(w, c, want[c]); err != nil {
				return err
			}
			for _, r := range want[c] {
				if err := h.lookupIs(w, c, []string{r.Key}, []backup.Record{r}); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := h.expect(want); err != nil {
		return err
	}
	rest := state{}
	err = h.update(func(w backup.Writer) error {
		clear(rest)
		for _, c := range h.Collections {
			for i, r := range want[c] {
				if i%2 == 1 {
					rest[c] = append(rest[c], r)
				} else if err := w.Delete(h.ctx, c, []string{r.Key}); err != nil {
					return fmt.Errorf("%s: Delete of the key %q: %w", c, r.Key, err)
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return h.expect(rest)
}
