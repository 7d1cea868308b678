package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
)

// A Dialect is what is particular to a database.
type Dialect interface {
	// begin starts a transaction on conn. It sees one point in time from now on, or
	// keeps other writers out. A transaction that comes with an error is rolled back.
	begin(ctx context.Context, conn *sql.Conn, write bool) (transaction, error)

	dialectStatements
	dialectValues
	dialectErrors

	// settle works out what a column holds, and how it is read and written. The
	// column is number i of its table.
	settle(c *column, i int) error

	// orderBy returns the expression that sorts rows by a column of the key.
	orderBy(t *table, c *column) string

	// uniqueIndex says what else a unique index on a key must be, for an error.
	uniqueIndex() string

	// jsonType returns the JSON Schema of what append writes for a column, NULL aside.
	jsonType(c *column) jsonType
}

// dialectStatements are the statements whose text differs.
type dialectStatements interface {
	// match returns the condition that the key is one of n. Their values are the
	// arguments.
	match(t *table, n int) string

	// upsert returns the statement that inserts rows with the columns set, or
	// overwrites the whole of those that exist.
	upsert(t *table, set []*column, rows int) string

	// maxArgs is the largest number of arguments of a statement.
	maxArgs() int
}

// dialectValues turn values into JSON and back. They fail rather than change a value.
type dialectValues interface {
	// append appends the JSON of a value that was read. It never sees NULL, nor the
	// bytes of a Blob or JSONBytes column.
	append(dst []byte, c *column, v any) ([]byte, error)

	// These return what is stored for a JSON value: for null where it stands for
	// NULL, for a boolean in a Bool column, for a number in a column that is neither
	// Text nor Blob, for a text outside of JSON columns, for the bytes of a Blob, and
	// for any JSON in a JSON column.
	bindNull(c *column) (any, error)
	bindBool(c *column, v bool) any
	bindNumber(c *column, json string) (any, error)
	bindText(c *column, s string) (any, error)
	bindBytes(c *column, b []byte) (any, error)
	bindJSON(c *column, json string) (any, error)

	// keyText returns the text of a key that was read. keyArg returns what is stored
	// for a text, and false if no row can have it.
	keyText(c *column, v any) (string, error)
	keyArg(c *column, key string) (any, bool)
}

// dialectErrors tell errors of the database apart.
type dialectErrors interface {
	// explain adds to an error what to do next, and takes values out of it. It
	// returns an error that it knows nothing about as it is.
	explain(err error) error

	// conflict tells whether an error comes from what others do at the same time.
	// The same transaction may succeed the next time.
	conflict(err error) bool

	// lost tells whether there is no connection any more.
	lost(err error) bool

	// refused tells whether a COMMIT that failed with this error changed nothing for
	// certain. Nobody knows that if the server did not answer, or if the disk failed.
	refused(err error) bool
}

// A transaction ends exactly once, by commit or by rollback.
type transaction interface {
	// find looks a table up by the name in a Table. In a transaction that writes it
	// keeps other writers out of the table.
	find(ctx context.Context, name string) (*table, error)
	// columns returns the columns of a table in their order, without generated ones.
	columns(ctx context.Context, t *table) ([]*column, error)
	// keys returns the columns of the primary key, and those of each unique index
	// that compares keys byte by byte.
	keys(ctx context.Context, t *table, columns []*column) (primary []string, unique [][]string, err error)
	// complete adds what depends on the columns that are in records. all are those of
	// the table.
	complete(ctx context.Context, t *table, all []*column) error

	// others returns the names of the tables of the database that are neither among
	// the given ones nor excluded, sorted, as Table.Name has them.
	others(ctx context.Context, tables []*table, exclude []string) ([]string, error)
	// references returns the foreign keys of the given tables. Those of other tables
	// may be among them.
	references(ctx context.Context, tables []*table) ([]*reference, error)

	// touch is called before the first change of any of the tables.
	touch(ctx context.Context, tables []*table) error
	// attempt does something of which nothing is left if it fails. It tells whether
	// the transaction goes on: the database ends it itself where it must.
	attempt(ctx context.Context, do func() error) (alive bool, err error)
	// settle does what is left to do before the commit of a transaction that writes.
	settle(ctx context.Context) error
	commit(ctx context.Context) error
	rollback()
}

// A session is the connection that a transaction has.
type session struct {
	conn *sql.Conn
}

func (s session) exec(ctx context.Context, statement string) error {
	_, err := s.conn.ExecContext(ctx, statement)
	return err
}

// discard keeps the connection from being used again.
func (s session) discard() {
	_ = s.conn.Raw(func(any) error { return driver.ErrBadConn })
}

// each calls f with every row of a query.
func (s session) each(ctx context.Context, query string, args []any, f func(*sql.Rows) error) error {
	return eachRow(ctx, s.conn, query, args, f)
}

func eachRow(ctx context.Context, db interface {
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
}, query string, args []any, f func(*sql.Rows) error) error {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := f(rows); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return rows.Close()
}

// contextError returns the error of a context that is done rather than what the
// database says about it.
func contextError(ctx context.Context, err error) error {
	if c := ctx.Err(); c != nil {
		return c
	}
	return err
}

// explain adds to an error of the database what to do next, once.
func explain(d Dialect, err error) error {
	var done explained
	if err == nil || errors.As(err, &done) {
		return err
	}
	if e := d.explain(err); e != err {
		return explained{e}
	}
	switch {
	case d.lost(err):
		return explained{fmt.Errorf("%w; the connection to the database was lost: what was not committed is undone", err)}
	case d.conflict(err):
		return explained{fmt.Errorf("%w; another transaction was in the way: try again, or set Store.Retries", err)}
	}
	return err
}

type explained struct{ error }

func (e explained) Unwrap() error { return e.error }

// A veiled error has another text than the errors in it, whose texts quote values.
type veiled struct {
	text string
	errs []error
}

func (e veiled) Error() string   { return e.text }
func (e veiled) Unwrap() []error { return e.errs }
