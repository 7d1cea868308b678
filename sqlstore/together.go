package sqlstore

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tomo-project/backup"
)

// Rows of one table may refer to each other, in a long list or in a circle. The database
// checks that at the end of a statement.

// togetherDeleter is the interface of a transaction that deletes such rows in a statement.
type togetherDeleter interface {
	// deleteTogether returns the statement that deletes the rows with the keys that its
	// argument lists as JSON, but not those that other rows still need. It returns their
	// keys. It is empty if no row of the table can refer to another one.
	deleteTogether(t *table) string
}

// removeTogether deletes rows that wait for each other.
func (w *writer) removeTogether(ctx context.Context, t *table) error {
	d, ok := w.tx.(togetherDeleter)
	if !ok {
		return nil
	}
	keys, query := w.waiting[t].notTaken(), d.deleteTogether(t)
	if len(keys) == 0 || query == "" {
		return nil
	}
	list := make([][]any, 0, len(keys))
	for _, key := range keys {
		if args, _, err := t.keyArgs(w.dialect, nil, key); err == nil {
			list = append(list, args)
		}
	}
	text, err := json.Marshal(list)
	if err != nil {
		return err
	}
	var gone []string
	alive, err := w.tx.attempt(ctx, func() error {
		rows, err := w.conn.QueryContext(ctx, query, string(text))
		if err != nil {
			return err
		}
		return w.keysIn(t, rows, func(key string) { gone = append(gone, key) })
	})
	if !alive || ctx.Err() != nil {
		return fmt.Errorf("delete records of %s: %w", t.collection, explain(w.dialect, contextError(ctx, err)))
	}
	if err == nil {
		for _, key := range gone {
			delete(w.waiting[t].deletes, key)
		}
	}
	return nil
}

// toItself returns the foreign keys by which a row must refer to another one of its table
// when it is put.
func (w *writer) toItself(ctx context.Context, t *table) (found []*reference, err error) {
	if _, ok := w.dialect.(stepwise); !ok {
		return nil, nil
	}
	refs, err := w.tx.references(ctx, w.all)
	for _, r := range refs {
		loose := func(c *column) bool { return slices.Contains(r.columns, c.Name) }
		if r.table == t && r.parent == t && !r.period && !slices.ContainsFunc(t.loose, loose) {
			found = append(found, r)
		}
	}
	return found, err
}

// parentsFirst returns the keys of rows that wait in such an order that a row comes after
// those of its table that it refers to.
func (w *writer) parentsFirst(ctx context.Context, t *table, rows map[string][]byte) ([]string, error) {
	keys := slices.Sorted(maps.Keys(rows))
	refs, err := w.toItself(ctx, t)
	if err != nil || len(refs) == 0 {
		return keys, err
	}
	values := map[string][]any{}
	for _, key := range keys {
		of, seen := make([]any, len(t.columns)), make([]bool, len(t.columns))
		if c, err := w.bind(t, backup.Record{Key: key, Value: rows[key]}, of, seen); err != nil {
			return nil, t.fail(key, c, err)
		}
		values[key] = of
	}
	parents := map[string][]string{} // by key
	for _, r := range refs {
		at := map[string]string{}
		for _, key := range keys {
			at[t.textOf(r.parentColumns, values[key])] = key
		}
		for _, key := range keys {
			if parent, ok := at[t.textOf(r.columns, values[key])]; ok {
				parents[key] = append(parents[key], parent)
			}
		}
	}
	return after(keys, parents), nil
}

// after returns keys in such an order that each comes after its parents, except in a circle.
func after(keys []string, parents map[string][]string) []string {
	order, seen := make([]string, 0, len(keys)), map[string]bool{}
	for _, key := range keys {
		if seen[key] {
			continue
		}
		seen[key] = true
		for path := []string{key}; len(path) > 0; { // a list may be too long for recursion
			last := path[len(path)-1]
			if left := parents[last]; len(left) > 0 {
				parents[last] = left[1:]
				if !seen[left[0]] {
					seen[left[0]] = true
					path = append(path, left[0])
				}
				continue
			}
			order, path = append(order, last), path[:len(path)-1]
		}
	}
	return order
}

// putTogether puts all rows that wait in one statement, if they may refer to each other and
// fit into one.
func (w *writer) putTogether(ctx context.Context, t *table) error {
	if refs, err := w.toItself(ctx, t); err != nil || len(refs) == 0 || len(w.waiting[t].rows) < 2 {
		return err
	}
	set, args, err := w.allBound(t)
	if err != nil || set == nil {
		return err
	}
	rows := w.waiting[t].rows
	alive, err := w.tx.attempt(ctx, func() error {
		_, err := w.conn.ExecContext(ctx, w.dialect.upsert(t, set, len(rows)), args...)
		return err
	})
	switch {
	case err == nil:
		clear(rows)
	case !alive || ctx.Err() != nil:
		return fmt.Errorf("write records of %s: %w", t.collection, explain(w.dialect, contextError(ctx, err)))
	}
	return nil
}

// allBound returns the arguments of all rows that wait in a table. It returns no columns if
// the rows do not fit into one statement.
func (w *writer) allBound(t *table) (set []*column, args []any, err error) {
	rows := w.waiting[t].rows
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		p, values, err := w.bound(t, backup.Record{Key: key, Value: rows[key]})
		if err != nil {
			return nil, nil, err
		}
		if set == nil {
			set = p.columns()
		}
		if args = append(args, values...); !slices.Equal(set, p.columns()) || len(args) > w.dialect.maxArgs() {
			return nil, nil, nil
		}
	}
	return set, args, nil
}

// textOf returns a text that is the same for rows with the same values in columns.
func (t *table) textOf(columns []string, values []any) string {
	var b strings.Builder
	for _, name := range columns {
		if i := findColumn(t.columns, name); i >= 0 {
			fmt.Fprintf(&b, "%q,", fmt.Sprint(values[i]))
		}
	}
	return b.String()
}
