package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"regexp"
	"slices"
	"strconv"
)

// nextval is how the server writes a call of a sequence in the default of a column.
var nextval = regexp.MustCompile("(?i)nextval\\(((?:`(?:[^`]|``)+`\\.)?`(?:[^`]|``)+`)\\)")

// sequencesIn returns the quoted names of the sequences that a default calls.
func sequencesIn(def string) (names []string) {
	for _, call := range nextval.FindAllStringSubmatch(def, -1) {
		if !slices.Contains(names, call[1]) {
			names = append(names, call[1])
		}
	}
	return names
}

// finish sets the sequences that defaults call to continue after the values in the
// tables. A rollback does not undo that. The server never sets a sequence back.
func (tx *mariadbTx) finish(ctx context.Context) error {
	for _, t := range tx.tables {
		if !t.written {
			continue
		}
		for _, c := range t.columns {
			for _, sequence := range c.my.sequences {
				if err := tx.setSequence(ctx, t, c, sequence); err != nil {
					return fmt.Errorf("table %q: set the sequence %s: %w", t.plain, sequence, err)
				}
			}
		}
	}
	return nil
}

func (tx *mariadbTx) setSequence(ctx context.Context, t *table, c *column, sequence string) error {
	var least, most, step int64
	if err := tx.conn.QueryRowContext(ctx, "SELECT minimum_value, maximum_value, increment FROM "+sequence).Scan(&least, &most, &step); err != nil {
		return err
	}
	number, from := c.quoted, t.name
	if c.my.family == texts {
		// The number is the end of the text, if there is no digit before.
		number = "CAST(REGEXP_SUBSTR(" + c.quoted + ", '[0-9]+$') AS SIGNED)"
		from += " WHERE " + c.quoted + " REGEXP '^[^0-9]*[0-9]{1,18}$' AND "
	} else if from += " WHERE "; c.my.family != integers && c.my.family != decimals {
		return nil
	}
	last := "MAX"
	if step < 0 {
		last = "MIN"
	}
	var value sql.NullInt64
	query := fmt.Sprintf("SELECT CAST(%s(%s) AS SIGNED) FROM %s%s BETWEEN %d AND %d", last, number, from, number, least, most)
	if err := tx.conn.QueryRowContext(ctx, query).Scan(&value); err != nil || !value.Valid {
		return err
	}
	return tx.exec(ctx, "DO SETVAL("+sequence+", "+strconv.FormatInt(value.Int64, 10)+")")
}
