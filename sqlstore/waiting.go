package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/tomo-project/backup"
)

// Some databases check foreign keys, and carry out their actions, at each statement. For
// them, a change that would break a reference for the moment waits until the end of the
// transaction:
//
//   - A row is not deleted while a row of a declared table refers to it. The foreign key
//     could refuse that, or delete rows that a later record is for.
//   - A reference to a row that is not there yet is NULL until then, if it can be NULL.

// stepwise is the interface that the dialect of such a database implements too.
type stepwise interface {
	// dangles tells whether a statement was refused because a row that it refers to is
	// not there.
	dangles(err error) bool
	// update returns the statement that sets columns in a number of rows. Its arguments
	// are the key and the values of each row.
	update(t *table, set []*column, rows int) string
}

// waiting holds what waits in a table.
type waiting struct {
	deletes    map[string]bool  // by key
	references map[string][]any // by key: the values for the columns of table.loose
}

func (w *writer) wait(t *table) *waiting {
	if w.waiting == nil {
		w.waiting = map[*table]*waiting{}
	}
	if w.waiting[t] == nil {
		w.waiting[t] = &waiting{map[string]bool{}, map[string][]any{}}
	}
	return w.waiting[t]
}

// goes tells whether the row under a key waits to be deleted.
func (w *writer) goes(t *table, key string) bool {
	return w.waiting[t] != nil && w.waiting[t].deletes[key]
}

// overwritten forgets what waits for a row.
func (w *writer) overwritten(t *table, key string) {
	w.forget(t, key)
	if wait := w.waiting[t]; wait != nil {
		delete(wait.deletes, key)
		delete(wait.references, key)
	}
}

// Records implements [backup.Reader] with what the transaction sees.
func (w *writer) Records(ctx context.Context, collection string) iter.Seq2[backup.Record, error] {
	return func(yield func(backup.Record, error) bool) {
		t, err := w.table(collection)
		if err == nil {
			err = w.settleReferences(ctx, []*table{t}, nil)
		}
		if err != nil {
			yield(backup.Record{}, w.fail(err))
			return
		}
		for r, err := range w.view.Records(ctx, collection) {
			if err == nil && w.goes(t, r.Key) {
				continue
			}
			if !yield(r, w.fail(err)) {
				return
			}
		}
	}
}

// remove deletes the rows with the given keys, now or later.
func (w *writer) remove(ctx context.Context, t *table, keys []string) error {
	return w.removeUnless(ctx, t, keys, t.unless)
}

func (w *writer) removeUnless(ctx context.Context, t *table, keys []string, unless string) error {
	err := w.in(ctx, t, keys, "DELETE FROM "+t.name, unless, func(s *sql.Stmt, args []any) error {
		_, err := s.ExecContext(ctx, args...)
		return err
	})
	if err == nil && t.unless != "" {
		for _, key := range keys {
			w.overwritten(t, key)
		}
		err = w.in(ctx, t, keys, "SELECT "+t.selectedKey+" FROM "+t.name, "", func(s *sql.Stmt, args []any) error {
			rows, err := s.QueryContext(ctx, args...)
			if err != nil {
				return err
			}
			defer rows.Close()
			row := newKey(t)
			for rows.Next() {
				if err := rows.Scan(row.dest...); err != nil {
					return err
				}
				key, err := row.key(w.dialect)
				if err != nil {
					return err
				}
				w.wait(t).deletes[key] = true
			}
			return rows.Err()
		})
	}
	if err != nil {
		return fmt.Errorf("delete records of %s: %w", t.collection, explain(w.dialect, contextError(ctx, err)))
	}
	return nil
}

// Settle carries out what waits, and checks what the commit would: see [backup.Writer].
func (w *writer) Settle(ctx context.Context) error {
	if w.failed != nil {
		return w.failed
	}
	if !w.touched || w.settled {
		return nil
	}
	err := w.fail(w.settle(ctx))
	w.settled = err == nil
	return err
}

func (w *writer) settle(ctx context.Context) error {
	if err := w.putBack(ctx); err != nil {
		return err
	}
	if err := w.settleReferences(ctx, w.all, nil); err != nil {
		return err
	}
	if err := w.settleDeletes(ctx); err != nil {
		return err
	}
	return contextError(ctx, w.tx.settle(ctx, w.dangle))
}

func (w *writer) settleDeletes(ctx context.Context) error {
	cut := false
	for {
		left, changed := []string(nil), false
		for _, t := range w.all {
			if w.waiting[t] == nil || len(w.waiting[t].deletes) == 0 {
				continue
			}
			keys := slices.Sorted(maps.Keys(w.waiting[t].deletes))
			err := w.remove(ctx, t, keys)
			if err == nil && cut && t.unlessAtLast != t.unless {
				err = w.removeAtLast(ctx, t)
			}
			if err != nil {
				return err
			}
			n := len(w.waiting[t].deletes)
			changed = changed || n < len(keys)
			if n > 0 {
				left = append(left, fmt.Sprintf("table %q: %s (from %s)", t.plain, some(slices.Sorted(maps.Keys(w.waiting[t].deletes))), strings.Join(t.referrers, ", ")))
			}
		}
		switch {
		case len(left) == 0:
			return nil
		case changed:
		case cut:
			return w.staying(ctx, left)
		default:
			// The rows may refer to each other.
			cut = true
			if err := w.cut(ctx); err != nil {
				return err
			}
		}
	}
}

// cut removes the references from the rows that wait to be deleted.
func (w *writer) cut(ctx context.Context) error {
	for _, t := range w.all {
		if w.waiting[t] == nil || len(t.loose) == 0 {
			continue
		}
		var set []string
		for _, c := range t.loose {
			set = append(set, c.quoted+" = NULL")
		}
		keys := slices.Sorted(maps.Keys(w.waiting[t].deletes))
		err := w.in(ctx, t, keys, "UPDATE "+t.name+" SET "+strings.Join(set, ", "), "", func(s *sql.Stmt, args []any) error {
			_, err := s.ExecContext(ctx, args...)
			return err
		})
		if err != nil {
			return fmt.Errorf("delete records of %s: %w", t.collection, explain(w.dialect, contextError(ctx, err)))
		}
	}
	return nil
}

// withoutReferences returns the arguments of rows with NULL for the references that can
// wait, and these references by key.
func (p *put) withoutReferences(args []any, keys []string) (without []any, later map[string][]any) {
	var at []int // the places of the loose columns among those that are set
	for _, c := range p.t.loose {
		at = append(at, slices.IndexFunc(p.set, func(i int) bool { return p.t.columns[i] == c }))
	}
	without, later = slices.Clone(args), map[string][]any{}
	for row, key := range keys {
		values, any := make([]any, len(at)), false
		for i, column := range at {
			if column < 0 {
				continue
			}
			cell := &without[row*len(p.set)+column]
			values[i], any = *cell, any || *cell != nil
			*cell = nil
		}
		if any {
			later[key] = values
		}
	}
	return without, later
}

func (w *writer) refersLater(t *table, later map[string][]any) {
	maps.Copy(w.wait(t).references, later)
}

// settleReferences writes the references that wait in tables. If keys are given, it does
// so only if one of them has such a reference.
func (w *writer) settleReferences(ctx context.Context, tables []*table, keys []string) error {
	refused := dangling{advice: whereRefused}
	for _, t := range tables {
		if w.waiting[t] == nil || len(w.waiting[t].references) == 0 {
			continue
		}
		wait := w.waiting[t].references
		if keys != nil && !slices.ContainsFunc(keys, func(key string) bool { return wait[key] != nil }) {
			continue
		}
		for keys := range slices.Chunk(slices.Sorted(maps.Keys(wait)), putRows) {
			if err := w.referAll(ctx, t, keys, &refused); err != nil {
				return err
			}
		}
		clear(wait)
	}
	return refused.err()
}

// referAll writes references that wait. It collects those that lead to nothing.
func (w *writer) referAll(ctx context.Context, t *table, keys []string, refused *dangling) error {
	alive, err := w.refer(ctx, t, keys)
	some := false
	for i := 0; err != nil && alive && i < len(keys); i++ {
		going, one := w.refer(ctx, t, keys[i:i+1])
		if one == nil {
			continue
		}
		r := w.refusedBy(t, one)
		if !going || r == nil {
			return t.fail(keys[i], t.loose[0], explain(w.dialect, one))
		}
		refused.addRecord(r, keys[i])
		some = true
	}
	if err != nil && !some {
		return fmt.Errorf("write records of %s: %w", t.collection, explain(w.dialect, contextError(ctx, err)))
	}
	return nil
}

func (w *writer) refer(ctx context.Context, t *table, keys []string) (alive bool, err error) {
	var args []any
	for _, key := range keys {
		if args, _, err = t.keyArgs(w.dialect, args, key); err != nil {
			return false, err
		}
		args = append(args, w.waiting[t].references[key]...)
	}
	return w.tx.attempt(ctx, func() error {
		s, err := w.stmt(ctx, w.dialect.(stepwise).update(t, t.loose, len(keys)))
		if err == nil {
			_, err = s.ExecContext(ctx, args...)
		}
		return err
	})
}
