package sqlstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

var errNoKey = errors.New("there is no primary key, and no index on columns that are UNIQUE and NOT NULL: give the table such columns, or leave it out with Store.Exclude")

// keyed describes a table without a primary key by columns that are UNIQUE and NOT NULL. It
// returns the declaration with that key.
func (d *description) keyed(ctx context.Context, tx transaction, declared Table) (*table, Table, error) {
	keys, err := uniqueKeys(ctx, tx, declared)
	if err != nil {
		return nil, declared, fmt.Errorf("sqlstore: collection %q in table %q: %w", declared.Collection, tableName(declared), explain(d.Dialect, contextError(ctx, err)))
	}
	err = fmt.Errorf("sqlstore: collection %q in table %q: %w", declared.Collection, tableName(declared), errNoKey)
	for i, key := range keys {
		with := declared
		with.Key = key
		t, failed := d.Store.describe(ctx, tx, with)
		switch {
		case failed == nil && t.keyIsSecret(t.keyColumns()) == nil:
			return t, with, nil
		case failed == nil:
			failed = t.keyIsSecret(t.keyColumns())
		}
		if i == 0 {
			err = failed
		}
	}
	return nil, declared, err
}

// uniqueKeys returns what Table.Key could be: the columns of each unique index in which
// there is no NULL. A key of few columns comes first, and then one at the front of the
// table.
func uniqueKeys(ctx context.Context, tx transaction, declared Table) (keys []string, err error) {
	t, err := tx.find(ctx, tableName(declared))
	if err != nil {
		return nil, err
	}
	columns, err := tx.columns(ctx, t)
	if err != nil {
		return nil, err
	}
	_, indexes, err := tx.keys(ctx, t, columns)
	if err != nil {
		return nil, err
	}
	var candidates [][]int
	for _, names := range indexes {
		if at := columnsOfKey(columns, names, declared.Exclude); len(at) > 0 {
			candidates = append(candidates, at)
		}
	}
	slices.SortFunc(candidates, func(a, b []int) int { return cmp.Or(len(a)-len(b), slices.Compare(a, b)) })
	for _, at := range candidates {
		var names []string
		for _, i := range at {
			names = append(names, columns[i].Name)
		}
		keys = append(keys, strings.Join(names, ","))
	}
	return keys, nil
}

// columnsOfKey returns the indexes of columns that can be a key together, or nil.
func columnsOfKey(columns []*column, names, exclude []string) (at []int) {
	for _, name := range names {
		i := slices.IndexFunc(columns, func(c *column) bool { return c.Name == name })
		switch {
		case i < 0, columns[i].nullable:
			return nil
		case len(names) > 1 && strings.Contains(name, ","):
			return nil
		case slices.ContainsFunc(exclude, func(e string) bool { return findColumn(columns, e) == i }):
			return nil
		}
		at = append(at, i)
	}
	return at
}
