package backuptest

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/tomo-project/backup"
)

// uniques is the number of records with a unique value, and of such values.
const uniques = 10

// An ends is an end state of a collection with unique values: number → value.
type ends map[int]int

// moves are pairs of end states. Each way from one to the other passes through a
// state with a clash if the records are put in a wrong order, or in any order.
var moves = []struct {
	name     string
	from, to ends
}{
	{"a chain: the first is deleted and the others move up", ends{1: 1, 2: 2, 3: 3, 4: 4}, ends{2: 1, 3: 2, 4: 3}},
	{"two records exchange their values", ends{1: 1, 2: 2, 3: 3}, ends{1: 2, 2: 1, 3: 3}},
	{"three records pass their values on in a ring", ends{1: 1, 2: 2, 3: 3}, ends{1: 2, 2: 3, 3: 1}},
	{"a value comes under a new key", ends{1: 1, 3: 3}, ends{2: 1, 3: 3}},
}

// eachUnique calls check for each collection with unique values, on a new store that
// has records in the collections before it.
func (h *harness) eachUnique(check func(h *harness, collection string) error) error {
	if h.WithUnique == nil {
		return nil
	}
	for i, c := range h.Collections {
		if h.WithUnique(c, 0, 0).Key == "" {
			continue
		}
		h := h.another()
		before := *h
		before.Collections = h.Collections[:i]
		if err := before.fill(0, uniques, 0); err != nil {
			return err
		}
		if err := check(h, c); err != nil {
			return fmt.Errorf("%s: %w", c, err)
		}
	}
	return nil
}

func (h *harness) uniqueAtCommit() error {
	return h.eachUnique(func(h *harness, c string) error {
		var now ends
		for _, move := range moves {
			for _, order := range orders {
				for _, next := range []ends{move.from, move.to, move.from} {
					if err := h.become(c, now, next, order); err != nil {
						return fmt.Errorf("%s, %s, from %v to %v: %w", move.name, order.name, now, next, err)
					}
					now = next
				}
			}
		}
		return nil
	})
}

// An order is a way to put records.
type order struct {
	name    string
	reverse bool
	size    int // records in a call of Put
}

var orders = []order{
	{"put at once in the order of keys", false, uniques},
	{"put at once in reverse order", true, uniques},
	{"put one by one in the order of keys", false, 1},
	{"put one by one in reverse order", true, 1},
}

// become makes an end state of another in one Update, and checks it.
func (h *harness) become(collection string, now, next ends, o order) error {
	if err := h.update(func(w backup.Writer) error { return h.turn(w, collection, now, next, o) }); err != nil {
		return err
	}
	return h.expect(h.withEnds(collection, next))
}

// turn deletes first and puts afterwards, as a restore does. Collections after this one
// lose and get the records that may refer to what is deleted and put.
func (h *harness) turn(w backup.Writer, collection string, now, next ends, o order) error {
	after := h.Collections[slices.Index(h.Collections, collection)+1:]
	var gone, come []int
	var puts []backup.Record
	for _, n := range slices.Sorted(maps.Keys(now)) {
		if _, stays := next[n]; !stays {
			gone = append(gone, n)
		}
	}
	for _, n := range slices.Sorted(maps.Keys(next)) {
		value, stays := now[n]
		if !stays {
			come = append(come, n)
		}
		if !stays || value != next[n] {
			puts = append(puts, h.WithUnique(collection, n, next[n]))
		}
	}
	if o.reverse {
		slices.Reverse(puts)
	}
	for _, c := range slices.Backward(after) {
		if err := w.Delete(h.ctx, c, keysOf(h.numbered(c, gone))); err != nil {
			return fmt.Errorf("Delete from %s: %w", c, err)
		}
	}
	if err := w.Delete(h.ctx, collection, keysOf(h.numbered(collection, gone))); err != nil {
		return fmt.Errorf("Delete: %w", err)
	}
	for batch := range slices.Chunk(puts, o.size) {
		if err := w.Put(h.ctx, collection, batch); err != nil {
			return fmt.Errorf("Put: %w", err)
		}
	}
	for _, c := range after {
		if err := w.Put(h.ctx, c, h.numbered(c, come)); err != nil {
			return fmt.Errorf("Put into %s: %w", c, err)
		}
	}
	return nil
}

// numbered returns the samples with these numbers.
func (h *harness) numbered(collection string, numbers []int) (records []backup.Record) {
	for _, n := range numbers {
		records = append(records, h.records(collection, n, n+1, 0)...)
	}
	return records
}

// withEnds returns the state of a store of eachUnique after become.
func (h *harness) withEnds(collection string, next ends) state {
	i := slices.Index(h.Collections, collection)
	want := h.want(0, uniques, 0)
	want[collection] = nil
	numbers := slices.Sorted(maps.Keys(next))
	for _, n := range numbers {
		want[collection] = append(want[collection], h.WithUnique(collection, n, next[n]))
	}
	for _, c := range h.Collections[i+1:] {
		want[c] = h.numbered(c, numbers)
	}
	return want
}

// clashes are end states that cannot be, and the two numbers that clash in each.
var clashes = []struct {
	name string
	from ends
	to   ends
	pair [2]int
}{
	{"a new record has the value of another", ends{1: 1, 2: 2, 3: 3}, ends{1: 1, 2: 2, 3: 3, 4: 1}, [2]int{1, 4}},
	{"a record changes to the value of another", ends{1: 1, 2: 2, 3: 3}, ends{1: 1, 2: 2, 3: 2}, [2]int{2, 3}},
	{"two new records have one value", ends{1: 1}, ends{1: 1, 4: 4, 5: 4}, [2]int{4, 5}},
	{"a chain ends at a value that is taken", ends{1: 1, 2: 2, 3: 3}, ends{1: 2, 2: 3, 3: 3}, [2]int{2, 3}},
}

func (h *harness) clash() error {
	return h.eachUnique(func(h *harness, c string) error {
		var now ends
		for _, clash := range clashes {
			for _, order := range orders {
				if err := h.become(c, now, clash.from, order); err != nil {
					return err
				}
				now = clash.from
				err := h.update(func(w backup.Writer) error { return h.turn(w, c, now, clash.to, order) })
				if err := h.namesClash(err, c, clash.pair); err != nil {
					return fmt.Errorf("%s, %s: Update: %w", clash.name, order.name, err)
				}
				if err := h.expect(h.withEnds(c, now)); err != nil {
					return fmt.Errorf("%s: Update failed, but changed the data: %w", clash.name, err)
				}
			}
		}
		return nil
	})
}

// namesClash checks that err says of the two records, and of no others, that they
// clash. Either of them may be the Key, and the other is With.
func (h *harness) namesClash(err error, collection string, pair [2]int) error {
	a, b := h.WithUnique(collection, pair[0], 0).Key, h.WithUnique(collection, pair[1], 0).Key
	if !errors.Is(err, backup.ErrClash) {
		return fmt.Errorf("the records %q and %q have one unique value, so an error must wrap backup.ErrClash, but it is: %w", a, b, orNil(err))
	}
	named := false
	for _, e := range recordErrors(err) {
		if !errors.Is(e, backup.ErrClash) {
			continue
		}
		named = e.Collection == collection && (e.Key == a && e.With == b || e.Key == b && e.With == a)
		if !named {
			return fmt.Errorf("a RecordError names %q and %q of %s, but the records %q and %q of %s clash: %w", e.Key, e.With, e.Collection, a, b, collection, err)
		}
	}
	if !named {
		return fmt.Errorf("the error holds no RecordError with the records %q and %q that clash: %w", a, b, err)
	}
	return nil
}

func orNil(err error) error {
	if err == nil {
		return errors.New("nil")
	}
	return err
}

// recordErrors returns all errors about records in the tree of err.
func recordErrors(err error) (found []*backup.RecordError) {
	if e, ok := err.(*backup.RecordError); ok {
		found = append(found, e)
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		found = append(found, recordErrors(e.Unwrap())...)
	case interface{ Unwrap() []error }:
		for _, err := range e.Unwrap() {
			found = append(found, recordErrors(err)...)
		}
	}
	return found
}
