package integration

import (
	"context"
	"database/sql"
	"database/sql/driver"
)

// A witnessed database is one of which every prepared statement that is executed is
// seen, and every other query.
type witnessed struct {
	db         *sql.DB // for the driver and its connections
	statements []statement
	queries    []string
}

type statement struct {
	query string
	args  []any
}

func (w *witnessed) Driver() driver.Driver { return w.db.Driver() }

// Connect takes a connection out of db for good.
func (w *witnessed) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := w.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	var under driver.Conn
	err = conn.Raw(func(c any) error { under = c.(driver.Conn); return nil })
	return witnessedConn{under, conn, w}, err
}

type witnessedConn struct {
	driver.Conn
	pooled *sql.Conn
	w      *witnessed
}

func (c witnessedConn) Close() error { return c.pooled.Close() }

func (c witnessedConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	s, err := c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, query)
	return witnessedStmt{s, query, c.w}, err
}

func (c witnessedConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c.w.queries = append(c.w.queries, query)
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
}

func (c witnessedConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
}

func (c witnessedConn) CheckNamedValue(v *driver.NamedValue) error {
	if checker, ok := c.Conn.(driver.NamedValueChecker); ok {
		return checker.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

type witnessedStmt struct {
	driver.Stmt
	query string
	w     *witnessed
}

func (s witnessedStmt) see(args []driver.NamedValue) {
	var values []any
	for _, a := range args {
		values = append(values, a.Value)
	}
	s.w.statements = append(s.w.statements, statement{s.query, values})
}

func (s witnessedStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	s.see(args)
	return s.Stmt.(driver.StmtQueryContext).QueryContext(ctx, args)
}

func (s witnessedStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	s.see(args)
	return s.Stmt.(driver.StmtExecContext).ExecContext(ctx, args)
}

// plan returns what the database says about how it would execute a statement, a
