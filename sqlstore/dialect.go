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
	// begin starts a transaction on conn. A transaction that reads sees the database as
	// it is now. One that writes keeps other writers out. The transaction is never nil:
	// with an error, the caller rolls it back.
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

// dialectStatements are the statements that dialects write differently.
type dialectStatements interface {
	// match returns the condition that the key is one of n keys. Their values are the
	// arguments.
	match(t *table, n int) string

	// upsert returns the statement that inserts rows, whose values are for the columns in
	// set. It overwrites the whole of rows that exist.
	upsert(t *table, set []*column, rows int) string

	// initial returns a query for the default of a column, as c.read reads it. It is empty
	// if the default is not constant. There may be no row.
	initial(t *table, c *column) string

	// setAside returns the start of an UPDATE that sets a column to an expression.
	setAside(t *table, c *column, value string) string
	// standIns returns expressions of values that no other row of a column is likely to
	// have. It may return some that the column does not take.
	standIns(t *table, c *column) []string

	// maxArgs is the largest number of arguments of a statement.
	maxArgs() int
}

// dialectValues turn values into JSON and back. They fail if they would change a value.
type dialectValues interface {
	// append appends the JSON of a value that was read. It never gets NULL, and no bytes
	// of a Blob or JSONBytes column.
	append(dst []byte, c *column, v any) ([]byte, error)

	// fills tells whether a column takes NULL for a value of its own, such as the time.
	fills(c *column) bool

	// These return what is stored for a JSON value.
	bindNull(c *column) (any, error)                // the null that stands for NULL
	bindBool(c *column, v bool) any                 // in a Bool column
	bindNumber(c *column, json string) (any, error) // in a column other than Text and Blob
	bindText(c *column, s string) (any, error)      // in a column other than Integer, Real and Blob
	bindBytes(c *column, b []byte) (any, error)     // in a Blob column
	bindJSON(c *column, json string) (any, error)   // any value in a JSON column

	// realBits returns how many bits the floating-point number has as which a JSON number
	// is stored in a column, or each number of an array. It returns 0 if all digits are
	// stored.
	realBits(c *column, json string) int

	// keyText returns the text of a key that was read. keyArg returns what is stored
	// for a text, and false if no row can have it.
	keyText(c *column, v any) (string, error)
	keyArg(c *column, key string) (any, bool)
}

// dialectErrors tell the errors of the database apart.
type dialectErrors interface {
	// explain adds to an error what to do next, and takes values out of it. It returns an
	// unknown error unchanged.
	explain(err error) error

	// clashes tells whether a row was refused because another row has a value of it that
	// must be unique.
	clashes(err error) bool

	// conflict tells whether an error comes from what others do at the same time. The
	// same transaction may succeed next time.
	conflict(err error) bool

	// lost tells whether an error means that the connection is gone.
	lost(err error) bool

	// refused tells whether a COMMIT that failed with this error changed nothing for
	// certain. Nobody knows that if the server did not answer, or if the disk failed.
	refused(err error) bool
}

// A transaction ends exactly once, by commit or by rollback.
type transaction interface {
	// find looks up the table that has the name in a Table. A transaction that writes
	// then keeps other writers out of the table.
	find(ctx context.Context, name string) (*table, error)
	// columns returns the columns of a table in their order, without generated ones.
	columns(ctx context.Context, t *table) ([]*column, error)
	// keys returns the columns of the primary key, and the columns of each unique index
	// that compares keys byte by byte.
	keys(ctx context.Context, t *table, columns []*column) (primary []string, unique [][]string, err error)
	// complete adds what depends on which columns are in records. all are the columns of
	// the table.
	complete(ctx context.Context, t *table, all []*column) error

	// others returns the names of all other tables of the database that are not excluded,
	// sorted, in the form of Table.Name.
	others(ctx context.Context, tables []*table, exclude []string) ([]string, error)
	// references returns the foreign keys of tables. It may return those of other tables
	// too. tables are the same each time.
	references(ctx context.Context, tables []*table) ([]*reference, error)
	// effects names what changes rows of declared tables by itself when a table changes.
	effects(ctx context.Context, tables []*table) (map[*table][]string, error)

	// uniqueIndexes returns the unique constraints and indexes of a table that hold for all
	// rows in which no part is NULL, as far as it can tell. It may return that of the key.
	uniqueIndexes(ctx context.Context, t *table) ([]uniqueIndex, error)
	// uniqueColumns returns the columns of records on which the unique indexes of a table
	// depend, without the key.
	uniqueColumns(ctx context.Context, t *table) ([]*column, error)
	// checks switches CHECK constraints off and on again, if the database can do that. It
	// switches those of all tables, so it leaves them on if an UPDATE of the table may run a
	// trigger.
	checks(ctx context.Context, t *table, on bool) error
	// replaceable tells how rows of a table can be deleted and inserted anew, if nothing in
	// the database is lost or changed by that.
	replaceable(ctx context.Context, t *table) (replacement, error)
	// clash finds out which row keeps a row of the given values out. Nothing of what it
	// does is left.
	clash(ctx context.Context, c *clash) error

	// numbers returns the numbers that the database would give to the next rows of a table,
	// past the keys of all rows. Its key is one column. numbers returns nil if the database
	// does not number it. Nothing is used up.
	numbers(ctx context.Context, t *table) (*numbering, error)

	// touch is called before the first change of any of the tables.
	touch(ctx context.Context, tables []*table) error
	// attempt calls do. If do fails, nothing of its changes is left. alive tells whether
	// the transaction goes on: the database itself ends it after some errors.
	attempt(ctx context.Context, do func() error) (alive bool, err error)
	// settle carries out and checks what the commit would. More changes may follow. If
	// dangle is set, references of declared tables may dangle where the database allows
	// it.
	settle(ctx context.Context, dangle bool) error
	// finish carries out what a rollback would not take back, right before the commit.
	finish(ctx context.Context) error
	commit(ctx context.Context) error
	rollback()
}

// A session is the connection of a transaction.
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

// contextError returns the error of the context if the context is done, and err
// otherwise.
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

// A veiled error hides the texts of the errors in it, which quote values.
type veiled struct {
	text string
	errs []error
}

func (e veiled) Error() string   { return e.text }
func (e veiled) Unwrap() []error { return e.errs }
