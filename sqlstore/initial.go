package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
)

// constant matches the defaults that are the same for each row: a number, a text, true or
// false. PostgreSQL writes the type of a text behind it.
var constant = regexp.MustCompile(`^(?i)([-+]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[-+]?[0-9]+)?|'([^']|'')*'(::[a-z0-9_ ."]+(\([0-9, ]+\))?[a-z ]*(\[\])*)?|true|false)$`)

// initialize finds out what Put stores for a column whose member a record lacks, as far as
// that is NULL or a constant. A column that leaves NULL out of records has nothing to add.
func (v *view) initialize(ctx context.Context, t *table) error {
	if t.initial != nil || t.value >= 0 {
		return nil
	}
	t.initial = make([][]byte, len(t.columns))
	for i, c := range t.columns {
		switch {
		case c.key || c.OmitNull:
		case c.def == "":
			if c.nullable {
				t.initial[i] = []byte("null")
			}
		default:
			value, err := v.initial(ctx, t, c)
			if err != nil {
				return fmt.Errorf("sqlstore: table %q: look up the default of column %q: %w", t.plain, c.Name, explain(v.dialect, contextError(ctx, err)))
			}
			t.initial[i] = value
		}
	}
	return nil
}

// initial returns the JSON of the default of a column, or nil if it is not known.
func (v *view) initial(ctx context.Context, t *table, c *column) (json []byte, err error) {
	query := v.dialect.initial(t, c)
	if query == "" {
		return nil, nil
	}
	var value any
	alive, err := v.tx.attempt(ctx, func() error {
		err := v.conn.QueryRowContext(ctx, query).Scan(&value)
		if errors.Is(err, sql.ErrNoRows) {
			value, err = nil, nil
		}
		return err
	})
	switch {
	case !alive || ctx.Err() != nil:
		return nil, err
	case err != nil || value == nil:
		return nil, nil
	}
	if json, err = appendValue(v.dialect, nil, c, value); err != nil {
		return nil, nil
	}
	return json, nil
}
