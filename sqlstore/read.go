package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"

	"github.com/tomo-project/backup"
)

// A view reads the tables in a transaction.
type view struct {
	dialect Dialect
	wire    Wire // nil: database/sql alone
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
	order, err := v.orderOf(ctx, t)
	if err != nil {
		return v.failed(ctx, collection, err)
	}
	query, args := t.query("", order), []any(nil)
	if tx, ok := v.tx.(*sqliteTx); ok {
		if query, args, err = tx.records(ctx, v, t, yield); query == "" {
			return err
		}
	}
	row := newRow(t)
	err = v.eachRecord(ctx, query, args, row, row.record, yield)
	if err != nil && !aboutRecord(err) {
		return v.failed(ctx, collection, err)
	}
	return cmp.Or(err, ctx.Err())
}

// aboutRecord tells whether an error names a record already.
func aboutRecord(err error) bool {
	var record *backup.RecordError
	return errors.As(err, &record)
}

// A take appends the record of the row at hand to a buffer.
type take func(Dialect, []byte) (key string, _ []byte, err error)

// eachRecord calls yield with a record for each row of a query until yield returns false.
func (v *view) eachRecord(ctx context.Context, query string, args []any, row *row, take take, yield func(backup.Record) bool) error {
	if v.wire != nil {
		return v.eachWireRecord(ctx, query, nil, row, take, yield) // only SQLite, which has no wire, has args
	}
	rows, err := v.conn.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	var buf []byte
	for rows.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := row.fill(rows); err != nil {
			return err
		}
		var key string
		if key, buf, err = take(v.dialect, buf[:0]); err != nil {
			return err
		}
		if !yield(backup.Record{Key: key, Value: buf}) {
			return nil
		}
	}
	return rows.Err()
}

// query returns the statement that reads the rows that meet a condition, in an order.
func (t *table) query(where, order string) string {
	return "SELECT " + t.selected + " FROM " + t.name + where + " ORDER BY " + order
}

func (v *view) failed(ctx context.Context, collection string, err error) error {
	return fmt.Errorf("read %s: %w", collection, explain(v.dialect, contextError(ctx, err)))
}

// A row takes the values that are scanned from a row.
type row struct {
	t       *table
	columns []*column // of the cells
	cells   []any
	dest    []any
	texts   []wireText
	raw     []int // which cells are scanned into texts, which costs no allocation
	keys    []int // where the key is among the cells
}

// newRow returns a row for all columns.
func newRow(t *table) *row {
	r := scanned(t, t.columns, t.keys)
	for i, c := range t.columns {
		if c.sentAsText() {
			r.raw = append(r.raw, i)
			r.dest[i] = (*sql.RawBytes)(&r.texts[i])
		}
	}
	return r
}

// newKey returns a row for the columns of the key alone.
func newKey(t *table) *row {
	keys := make([]int, len(t.keys))
	for part := range keys {
		keys[part] = part
	}
	return scanned(t, t.keyColumns(), keys)
}

func scanned(t *table, columns []*column, keys []int) *row {
	n := len(columns)
	r := &row{t: t, columns: columns, cells: make([]any, n), dest: make([]any, n), texts: make([]wireText, n), keys: keys}
	for i := range r.cells {
		r.dest[i] = &r.cells[i]
	}
	return r
}

// fill scans the current row into the cells.
func (r *row) fill(rows *sql.Rows) error {
	if err := rows.Scan(r.dest...); err != nil {
		return err
	}
	for _, i := range r.raw {
		if r.cells[i] = nil; r.texts[i] != nil {
			r.cells[i] = &r.texts[i]
		}
	}
	return nil
}

// scan appends the record of the current row to buf.
func (r *row) scan(d Dialect, rows *sql.Rows, buf []byte) (key string, _ []byte, err error) {
	if err := r.fill(rows); err != nil {
		return "", buf, fmt.Errorf("read %s: %w", r.t.collection, err)
	}
	return r.record(d, buf)
}

// record appends the record of the cells to buf.
func (r *row) record(d Dialect, buf []byte) (key string, _ []byte, err error) {
	t := r.t
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
