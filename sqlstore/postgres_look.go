package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// look names all columns that hold numbers which JSON does not have. A backup would stop at
// the first of them.
func (tx *postgresTx) look(ctx context.Context, t *table) error {
	var numbers []*column
	var exprs []string
	for _, c := range t.columns {
		if c.Kind == Real && (c.pg.family == floats || c.pg.family == decimals) {
			numbers = append(numbers, c)
			exprs = append(exprs, "coalesce(bool_or("+c.quoted+"::text IN ('NaN', 'Infinity', '-Infinity')), false)")
		}
	}
	if len(numbers) == 0 {
		return nil
	}
	found := make([]bool, len(numbers))
	into := make([]any, len(numbers))
	for i := range found {
		into[i] = &found[i]
	}
	if err := tx.conn.QueryRowContext(ctx, "SELECT "+strings.Join(exprs, ", ")+" FROM "+t.name).Scan(into...); err != nil {
		return fmt.Errorf("sqlstore: collection %q in table %q: look at its numbers: %w", t.collection, t.plain, err)
	}
	var errs []error
	for i, c := range numbers {
		if found[i] {
			errs = append(errs, fmt.Errorf("sqlstore: collection %q in table %q: column %q: the column holds a number that JSON does not have (infinite, or not a number): take it for Text in Table.Columns", t.collection, t.plain, c.Name))
		}
	}
	return errors.Join(errs...)
}
