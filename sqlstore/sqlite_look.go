package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A stored says what the values of a column of SQLite are.
type stored struct {
	null, integer, real, text, blob bool
	infinite                        bool // one of its reals is
}

// look finds out what the columns of a table hold, by one pass over all rows. The error
// joins one for each column that cannot be backed up. What is declared depends on no row,
// since a host may describe a new database too, to restore into it.
func (tx *sqliteTx) look(ctx context.Context, t *table) error {
	var errs []error
	// A query has at most 2000 results.
	for columns := range slices.Chunk(t.columns, 300) {
		if err := tx.lookAt(ctx, t, columns); err != nil {
			return err
		}
	}
	for _, c := range t.columns {
		held := c.lite.held
		if c.key && c.wraps && c.Kind == Text && strings.Contains(c.declared, "BLOB") {
			c.Kind, c.looked = Hex, true
		}
		if err := c.misfit(held); err != nil {
			errs = append(errs, fmt.Errorf("sqlstore: collection %q in table %q: column %q: %w", t.collection, t.plain, c.Name, err))
		}
	}
	return errors.Join(errs...)
}

// lookAt fills in what columns hold.
func (tx *sqliteTx) lookAt(ctx context.Context, t *table, columns []*column) error {
	var exprs []string
	var into []any
	for _, c := range columns {
		held := &c.lite.held
		is := "coalesce(max(typeof(" + c.quoted + ")='"
		exprs = append(exprs, is+"null'),0)", is+"integer'),0)", is+"real'),0)", is+"text'),0)", is+"blob'),0)",
			is+"real' AND "+c.quoted+" IN (9e999,-9e999)),0)")
		into = append(into, &held.null, &held.integer, &held.real, &held.text, &held.blob, &held.infinite)
	}
	return tx.conn.QueryRowContext(ctx, "SELECT "+strings.Join(exprs, ",")+" FROM "+t.name).Scan(into...)
}

// misfit returns an error if the column holds what a backup cannot have.
func (c *column) misfit(held stored) error {
	switch {
	case c.key && held.null:
		return fmt.Errorf("%w, and rows have none: delete them, or give them one", errNull)
	case held.infinite:
		return errors.New("the column holds a number that JSON does not have (infinite): leave it out with Table.Exclude")
	case c.key && (held.real || held.blob && c.Kind == Integer):
		return errors.New("the key of a row is neither text nor an integer")
	}
	only := func(integer, real, text, blob bool) error {
		switch {
		case held.integer && !integer:
			return holds("an integer", c)
		case held.real && !real:
			return holds("a real", c)
		case held.text && !text:
			return holds("text", c)
		case held.blob && !blob:
			return holds("a blob", c)
		}
		return nil
	}
	switch {
	case c.wraps && (c.key && c.Kind == Text || c.Kind == Hex):
		return only(false, false, true, true)
	case c.key && c.Kind == Integer:
		return only(true, false, false, false)
	case c.wraps:
		return nil
	case c.Kind == Text:
		return only(false, false, true, false)
	case c.Kind == Integer:
		return only(true, false, false, false)
	case c.Kind == Real:
		return only(true, true, false, false)
	case c.Kind == JSON:
		return only(c.lite.affinity == numeric, c.lite.affinity == numeric, true, false)
	case c.Kind == JSONBytes, c.Kind == Blob, c.Kind == Hex:
		return only(false, false, false, true)
	}
	return only(true, true, true, false)
}
