package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"iter"

	"github.com/tomo-project/backup"
)

// A view reads the tables in a transaction.
type view struct {
	dialect Dialect
	conn    *sql.Conn
	tx      transaction
	tables  map[string]*table
	all     []*table
	changes int // how often a table was about to change
}

func (v *view) table(collection string) (*table, error) {
	t := v.tables[collection]
	if t == nil {
		return nil, fmt.Errorf("sqlstore: collection %q: %w", collection, errUnknown)
	}
	return t, nil
}

// Records implements [backup.Reader]. Rows come in the order of their keys.
func (v *view) Records(ctx context.Context, collection string) iter.Seq2[backup.Record, error] {
	return func(yield func(backup.Record, error) bool) {
		more := true
		err := v.records(ctx, collection, func(r backup.Record) bool {
			more = yield(r, nil)
			return more
		})
		if err != nil && more {
			yield(backup.Record{}, err)
		}
	}
}

func (v *view) records(ctx context.Context, collection string, yield func(backup.Record) bool) error {
	t, err := v.table(collection)
	if err != nil {
		return err
	}
	query, args := t.query(""), []any(nil)
	if tx, ok := v.tx.(*sqliteTx); ok {
		if query, args, err = tx.records(ctx, v, t, yield); query == "" {
			return err
		}
	}
	rows, err := v.conn.QueryContext(ctx, query, args...)
	if err != nil {
		return v.failed(ctx, collection, err)
	}
	defer rows.Close()
	row := newRow(t)
	var buf []byte
	for rows.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		var key string
		if key, buf, err = row.scan(v.dialect, rows, buf[:0]); err != nil {
			return err
		}
		if !yield(backup.Record{Key: key, Value: buf}) {
			return nil
		}
	}
	if err := rows.Err(); err != nil {
		return v.failed(ctx, collection, err)
	}
	return ctx.Err()
}

// query returns the statement that reads the rows that meet a condition, in the order of
// their keys.
func (t *table) query(where string) string {
	return "SELECT " + t.selected + " FROM " + t.name + where + " ORDER BY " + t.order
}

func (v *view) failed(ctx context.Context, collection string, err error) error {
	return fmt.Errorf("read %s: %w", collection, explain(v.dialect, contextError(ctx, err)))
}

// A row takes the values that are scanned from a row.
type row struct {
	t     *table
	cells []any
	dest  []any
	keys  []int // where the key is among the cells
}

// newRow returns a row for all columns.
func newRow(t *table) *row { return scanned(t, len(t.columns), t.keys) }

// newKey returns a row for the columns of the key alone.
func newKey(t *table) *row {
	keys := make([]int, len(t.keys))
	for part := range keys {
		keys[part] = part
	}
	return scanned(t, len(keys), keys)
}

func scanned(t *table, columns int, keys []int) *row {
	r := &row{t: t, cells: make([]any, columns), dest: make([]any, columns), keys: keys}
	for i := range r.cells {
		r.dest[i] = &r.cells[i]
	}
	return r
}

// scan appends the record of the current row to buf.
func (r *row) scan(d Dialect, rows *sql.Rows, buf []byte) (key string, _ []byte, err error) {
	t := r.t
	if err := rows.Scan(r.dest...); err != nil {
		return "", buf, fmt.Errorf("read %s: %w", t.collection, err)
	}
	if key, err = r.key(d); err != nil {
		return "", buf, err
	}
	if t.value >= 0 {
		c := t.columns[t.value]
		if buf, err = appendValue(d, buf, c, r.cells[t.value]); err != nil {
			return "", buf, t.fail(key, c, err)
		}
		return key, buf, nil
	}
	buf = append(buf, '{')
	for i, c := range t.columns {
		if r.cells[i] == nil && c.OmitNull {
			continue
		}
		if buf[len(buf)-1] != '{' {
			buf = append(buf, ',')
		}
		buf = append(buf, c.prefix...)
		if buf, err = appendValue(d, buf, c, r.cells[i]); err != nil {
			return "", buf, t.fail(key, c, err)
		}
	}
	return key, append(buf, '}'), nil
}
