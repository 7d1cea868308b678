package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/tomo-project/backup"
)

// A Wire reaches past database/sql to the connection of a driver for PostgreSQL. Package
// pgxwire has one. driver is what [sql.Conn.Raw] gives. An error of the server has a
// method SQLState. A connection is used by one goroutine at a time.
type Wire interface {
	// Query runs a query. The arguments are the texts of $1, $2…. The connection is busy
	// until the rows are closed.
	Query(ctx context.Context, driver any, query string, args ...[]byte) (WireRows, error)

	// Copy runs COPY … FROM STDIN, whose data is the rest of data.
	Copy(ctx context.Context, driver any, statement string, data io.Reader) error
}

// WireRows are the rows of a query.
type WireRows interface {
	// Next goes to the next row. It returns false after the last row, and after a failure,
	// which Close returns.
	Next() bool

	// Values returns the row at hand: for each column the text that the server sends, or nil
	// for NULL. They are valid until the next call of Next or Close.
	Values() [][]byte

	// Close skips the rows that are left. It returns the error that ended the query.
	Close() error
}

// A wireText is the text of a value as the server sends it. It is valid while its row is
// at hand. Its pointer is the value of a cell: it costs no allocation.
type wireText []byte

// A block of records is read at once, so that the connection is asked for seldom.
const (
	wireRecords = 256
	wireBytes   = 64 << 10
)

// A wireReader reads blocks of records.
type wireReader struct {
	rows WireRows
	row  *row
	take take

	keys   []string
	ends   []int
	buf    []byte
	over   bool
	failed error
}

// eachWireRecord is eachRecord without database/sql. yield may use the connection only
// when the rows are over, as with the rows of database/sql.
func (v *view) eachWireRecord(ctx context.Context, query string, args [][]byte, row *row, take take, yield func(backup.Record) bool) error {
	r := &wireReader{row: row, take: take}
	err := v.conn.Raw(func(driver any) (err error) {
		r.rows, err = v.wire.Query(ctx, driver, query, args...)
		return err
	})
	if err != nil {
		return err
	}
	read := func(any) error { r.read(v.dialect); return nil }
	for !r.over {
		if err := v.conn.Raw(read); err != nil {
			return err
		}
		start := 0
		for i, key := range r.keys {
			if !yield(backup.Record{Key: key, Value: r.buf[start:r.ends[i]:r.ends[i]]}) {
				return v.conn.Raw(func(any) error { r.close(); return nil })
			}
			start = r.ends[i]
		}
	}
	return r.failed
}

// read reads the next block.
func (r *wireReader) read(d Dialect) {
	r.keys, r.ends, r.buf = r.keys[:0], r.ends[:0], r.buf[:0]
	for len(r.keys) < wireRecords && len(r.buf) < wireBytes {
		if !r.rows.Next() {
			r.close()
			return
		}
		r.failed = r.row.setTexts(r.rows.Values())
		if r.failed == nil {
			var key string
			before := len(r.buf)
			if key, r.buf, r.failed = r.take(d, r.buf); r.failed == nil {
				r.keys, r.ends = append(r.keys, key), append(r.ends, len(r.buf))
				continue
			}
			r.buf = r.buf[:before]
		}
		r.close()
		return
	}
}

// close ends the query. The first failure counts.
func (r *wireReader) close() {
	r.over = true
	if err := r.rows.Close(); r.failed == nil {
		r.failed = err
	}
}

var errColumns = errors.New("the server returns another number of columns than the query has")

// setTexts fills the cells from the texts of a row.
func (r *row) setTexts(texts [][]byte) error {
	if len(texts) != len(r.cells) {
		return errColumns
	}
	for i, text := range texts {
		switch {
		case text == nil:
			r.cells[i] = nil
		case r.columns[i].pg.family == binaries:
			b, err := wireBytea(text)
			if err != nil {
				return fmt.Errorf("column %q: %w", r.columns[i].Name, err)
			}
			r.cells[i] = b
		default:
			r.texts[i] = text
			r.cells[i] = &r.texts[i]
		}
	}
	return nil
}
