package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"math/big"
)

// A numbering says which numbers a database would give to the next rows of a table.
type numbering struct {
	next *big.Int
	step *big.Int // negative if it counts down
	last *big.Int // the last that there is
}

// newNumbering returns a numbering. The texts are those of integers, which the database has
// written.
func newNumbering(next, step, last string) (*numbering, error) {
	n := &numbering{}
	for _, v := range []struct {
		to   **big.Int
		text string
	}{{&n.next, next}, {&n.step, step}, {&n.last, last}} {
		number, ok := new(big.Int).SetString(v.text, 10)
		if !ok {
			return nil, fmt.Errorf("the database numbers rows by %q, which is no integer", v.text)
		}
		*v.to = number
	}
	if n.step.Sign() == 0 {
		n.step.SetInt64(1)
	}
	return n, nil
}

// pass makes the next number come after one that a row has, if that has the form of a
// number. The numbers stay in step: one server of several may have the odd ones.
func (n *numbering) pass(text string) {
	number, ok := new(big.Int).SetString(text, 10)
	if !ok {
		return
	}
	ahead := number.Sub(number, n.next)
	if ahead.Sign() != 0 && ahead.Sign() != n.step.Sign() {
		return
	}
	steps := ahead.Quo(ahead, n.step)
	steps.Add(steps, big.NewInt(1))
	n.next.Add(n.next, steps.Mul(steps, n.step))
}

// shorten makes the numbers end at one that the column can hold.
func (n *numbering) shorten(least, most *big.Int) {
	switch {
	case n.step.Sign() > 0 && most.Cmp(n.last) < 0:
		n.last = most
	case n.step.Sign() < 0 && least.Cmp(n.last) > 0:
		n.last = least
	}
}

// take returns the next numbers, or false if there are not so many.
func (n *numbering) take(many int) (keys []string, ok bool) {
	keys = make([]string, 0, many)
	for range many {
		if past := new(big.Int).Sub(n.next, n.last); past.Sign() == n.step.Sign() {
			return nil, false
		}
		keys = append(keys, n.next.String())
		n.next.Add(n.next, n.step)
	}
	return keys, true
}

// integersOf returns the smallest and the largest integer of so many bits.
func integersOf(bits uint, unsigned bool) (least, most *big.Int) {
	one := big.NewInt(1)
	if unsigned {
		return new(big.Int), new(big.Int).Sub(new(big.Int).Lsh(one, bits), one)
	}
	most = new(big.Int).Sub(new(big.Int).Lsh(one, bits-1), one)
	return new(big.Int).Not(most), most
}

// A reserver is a transaction that must keep others from the numbers of new records, up to
// the last of them. The others would get them before they wait for the end of it.
type reserver interface {
	reserve(ctx context.Context, t *table, last string) error
}

// NewKeys returns n keys for new records, if the database numbers the records of a
// collection: see [backup.Writer]. It takes them from the keys that are there and from what
// the database has given already, and leaves both as they are. They differ from those of the
// calls before.
func (w *writer) NewKeys(ctx context.Context, collection string, n int) ([]string, error) {
	t, err := w.table(collection)
	if err != nil {
		return nil, err
	}
	if w.failed != nil {
		return nil, w.failed
	}
	var now *numbering
	if len(t.keys) == 1 && t.value < 0 {
		now, err = w.tx.numbers(ctx, t)
	}
	switch {
	case err != nil:
		return nil, w.fail(fmt.Errorf("sqlstore: look for the next number of table %q: %w", t.plain, contextError(ctx, err)))
	case now == nil:
		return nil, fmt.Errorf("sqlstore: the database does not number the keys of the collection %q in table %q: %w", collection, t.plain, errors.ErrUnsupported)
	}
	if before := w.numbers[t]; before != nil {
		now.pass(before.Sub(before, now.step).String())
	}
	for key := range w.rowsThatWait(t) {
		now.pass(key)
	}
	keys, ok := now.take(n)
	if !ok {
		return nil, w.fail(fmt.Errorf("sqlstore: collection %q: %d new records need a number in the column %q of table %q, and fewer than that are left: the numbers end at %v; let the column hold larger numbers, or restore fewer records",
			collection, n, t.keyColumns()[0].Name, t.plain, now.last))
	}
	if r, ok := w.tx.(reserver); ok && n > 0 {
		if err := r.reserve(ctx, t, keys[n-1]); err != nil {
			return nil, w.fail(fmt.Errorf("sqlstore: keep the numbers of new records of table %q from others: %w", t.plain, contextError(ctx, err)))
		}
	}
	if w.numbers == nil {
		w.numbers = map[*table]*big.Int{}
	}
	w.numbers[t] = now.next
	return keys, nil
}
