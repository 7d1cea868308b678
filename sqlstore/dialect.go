package sqlstore

import (
	"context"
	"database/sql"
	"errors"
)

// A Dialect is what is particular to a database.
type Dialect interface {
	// begin starts a transaction on conn that sees one point in time from now
	// on, or keeps other writers out.
	begin(ctx context.Context, conn *sql.Conn, write bool) (transaction, error)

	// match returns the condition that the key is one of n, whose values are the
	// arguments.
	match(t *table, n int) string

	// upsert returns the statement that inserts rows with the columns set, or
	// overwrites the whole of those that exist.
	upsert(t *table, set []*column, rows int) string

	// maxArgs is the largest number of arguments of a statement.
	maxArgs() int

	// append appends the JSON of a value that was read, and bind returns what is
	// to be stored for a JSON value. They fail rather than change a value. The
	// column of a Map is lone: it has no way to leave a value out.
	append(dst []byte, c *column, v any) ([]byte, error)
	bind(c *column, json string) (any, error)

	// keyText is the text of a key that is v, and keyArg what is stored for a text:
	// false if no row can have it.
	keyText(c *column, v any) (string, error)
	keyArg(c *column, key string) (any, bool)

	// explain adds to an error of the database what to do next.
	explain(err error) error

	// conflict tells whether an error comes from what others do at the same time,
	// and the same transaction may succeed the next time.
	conflict(err error) bool
}

// A transaction ends exactly once, by commit or by rollback. If commit fails,
// nothing has been changed, or the error says that this is not known.
type transaction interface {
	// describe looks a table up in the database, and keeps other writers out of it
	// in a transaction that writes.
	describe(ctx context.Context, t Table) (*table, error)

	// others returns the names of the tables of the database that are neither among
	// the given ones nor excluded, as Table.Name has them, links the foreign keys
	// between tables, and members what the columns of a table are in a record.
	others(ctx context.Context, tables []*table, exclude []string) ([]string, error)
	links(ctx context.Context, tables []*table) ([]link, error)
	members(ctx context.Context, t *table) ([]member, error)

	// touch is called before the first change of any of the tables.
	touch(ctx context.Context, tables []*table) error
	// attempt does something of which nothing is left if it fails, and tells
	// whether the transaction goes on: the database ends it itself where it must.
	attempt(ctx context.Context, do func() error) (alive bool, err error)
	commit(ctx context.Context) error
	rollback()
}

// contextError prefers the error of a context that is done to what the database
// says about it.
func contextError(ctx context.Context, err error) error {
	if c := ctx.Err(); c != nil {
		return c
	}
	return err
}

// explain has a dialect explain an error once.
func explain(d Dialect, err error) error {
	var done explained
	if err == nil || errors.As(err, &done) {
		return err
	}
	if e := d.explain(err); e != err {
		return explained{e}
	}
	return err
}

type explained struct{ error }

func (e explained) Unwrap() error { return e.error }
