package backuptest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/tomo-project/backup"
)

// A harness is a store under test with the data of its Fixture.
type harness struct {
	Fixture
	new   func() Store
	ctx   context.Context
	store Store
}

func newHarness(ctx context.Context, f Fixture, new func() Store) *harness {
	if f.Unknown == "" {
		f.Unknown = "no_such_collection"
	}
	return &harness{Fixture: f, new: new, ctx: ctx, store: new()}
}

// another returns a harness of another, empty store.
func (h *harness) another() *harness { return newHarness(h.ctx, h.Fixture, h.new) }

// records returns the samples of a collection whose number is at least from and less
// than to. All from and to in this suite are such limits.
func (h *harness) records(collection string, from, to, revision int) []backup.Record {
	var rs []backup.Record
	for i := from; i < to; i++ {
		r := h.Record(collection, i, revision)
		rs = append(rs, backup.Record{Key: r.Key, Value: bytes.Clone(r.Value)})
	}
	return rs
}

func keysOf(records []backup.Record) []string {
	var keys []string
	for _, r := range records {
		keys = append(keys, r.Key)
	}
	return keys
}

func (h *harness) putAll(w backup.Writer, from, to, revision int) error {
	for _, c := range h.Collections {
		for batch := range slices.Chunk(h.records(c, from, to, revision), 100) {
			if err := w.Put(h.ctx, c, batch); err != nil {
				return fmt.Errorf("Put into %s: %w", c, err)
			}
		}
	}
	return nil
}

func (h *harness) deleteAll(w backup.Writer, from, to int) error {
	for _, c := range slices.Backward(h.Collections) {
		for batch := range slices.Chunk(h.records(c, from, to, 0), 100) {
			if err := w.Delete(h.ctx, c, keysOf(batch)); err != nil {
				return fmt.Errorf("Delete from %s: %w", c, err)
			}
		}
	}
	return nil
}

func (h *harness) update(write func(backup.Writer) error) error {
	return h.store.Update(h.ctx, write)
}

// fill puts samples into all collections in one transaction.
func (h *harness) fill(from, to, revision int) error {
	if err := h.update(func(w backup.Writer) error { return h.putAll(w, from, to, revision) }); err != nil {
		return fmt.Errorf("an Update that puts %d records into each collection: %w", to-from, err)
	}
	return nil
}

// A state is the content of a store: collection → records in the order of the store.
type state map[string][]backup.Record

// want returns the state of a store that fill has filled.
func (h *harness) want(from, to, revision int) state {
	s := state{}
	for _, c := range h.Collections {
		s[c] = h.records(c, from, to, revision)
	}
	return s
}

func (h *harness) state() (state, error) {
	var s state
	err := h.store.View(h.ctx, func(r backup.Reader) (err error) {
		s, err = h.read(r)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("View: %w", err)
	}
	return s, nil
}

func (h *harness) read(r backup.Reader) (state, error) {
	s := state{}
	for _, c := range h.Collections {
		s[c] = nil
		for rec, err := range r.Records(h.ctx, c) {
			if err != nil {
				return nil, fmt.Errorf("Records of %s: %w", c, err)
			}
			s[c] = append(s[c], backup.Record{Key: rec.Key, Value: bytes.Clone(rec.Value)})
		}
	}
	return s, nil
}

// expect compares the state of the store with want and ignores the order of records.
func (h *harness) expect(want state) error {
	got, err := h.state()
	if err != nil {
		return err
	}
	return h.compare(got, want)
}

// compare compares values only, because a Reader need not set the keys of a List.
func (h *harness) compare(got, want state) error {
	for _, c := range h.Collections {
		if err := compareRecords(got[c], want[c], false); err != nil {
			return fmt.Errorf("%s: %w", c, err)
		}
	}
	return nil
}

// compareRecords ignores the order of records, and their keys unless keys is true.
func compareRecords(got, want []backup.Record, keys bool) error {
	text := func(r backup.Record) string {
		if keys {
			return fmt.Sprintf("the record %q: %s", r.Key, normal(r.Value))
		}
		return normal(r.Value)
	}
	left := map[string]int{}
	for _, r := range want {
		left[text(r)]++
	}
	for _, r := range got {
		left[text(r)]--
	}
	var wrong []string
	for text, n := range left {
		switch {
		case n > 0:
			wrong = append(wrong, "missing "+text)
		case n < 0:
			wrong = append(wrong, "unexpected "+text)
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	slices.Sort(wrong)
	shown := wrong[:min(len(wrong), 4)]
	return fmt.Errorf("got %d records, want %d: %s", len(got), len(want), strings.Join(shown, "; "))
}

// lookupIs checks that Lookup of keys returns exactly want, in any order.
func (h *harness) lookupIs(w backup.Writer, collection string, keys []string, want []backup.Record) error {
	got, err := w.Lookup(h.ctx, collection, keys)
	if err != nil {
		return fmt.Errorf("Lookup in %s: %w", collection, err)
	}
	if err := compareRecords(got, want, true); err != nil {
		return fmt.Errorf("Lookup in %s: %w", collection, err)
	}
	return nil
}

// keysAre checks that Keys yields exactly the keys of want, in any order.
func (h *harness) keysAre(w backup.Writer, collection string, want []backup.Record) error {
	got, err := collect(w, h.ctx, collection)
	if err != nil {
		return err
	}
	slices.Sort(got)
	if keys := slices.Sorted(slices.Values(keysOf(want))); !slices.Equal(got, keys) {
		return fmt.Errorf("Keys of %s: got %.300q, want %.300q", collection, got, keys)
	}
	return nil
}

func collect(w backup.Writer, ctx context.Context, collection string) ([]string, error) {
	var keys []string
	for key, err := range w.Keys(ctx, collection) {
		if err != nil {
			return nil, fmt.Errorf("Keys of %s: %w", collection, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// normal returns the text of a JSON value without white space and with its members
// sorted. Numbers keep their digits.
func normal(value []byte) string {
	d := json.NewDecoder(bytes.NewReader(value))
	d.UseNumber()
	var v any
	if !json.Valid(value) || d.Decode(&v) != nil {
		return fmt.Sprintf("not JSON: %q", value)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Sprintf("not JSON: %q", value)
	}
	return strings.TrimSpace(b.String())
}

func equalJSON(a, b []byte) bool { return normal(a) == normal(b) }
