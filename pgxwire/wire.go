// Package pgxwire lets package sqlstore read and write PostgreSQL past database/sql, over
// the connections of the driver pgx. That takes a fraction of the time:
//
//	import (
//		_ "github.com/jackc/pgx/v5/stdlib"
//
//		"github.com/tomo-project/backup/pgxwire"
//		"github.com/tomo-project/backup/sqlstore"
//	)
//
//	db, err := sql.Open("pgx", url)
//	store := sqlstore.Store{DB: db, Dialect: sqlstore.PostgreSQL, Wire: pgxwire.Wire{}}
//
// It is a module of its own, so that a host without PostgreSQL does not get pgx.
package pgxwire

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/tomo-project/backup/sqlstore"
)

// Wire is the [sqlstore.Wire] of pgx. It has no state.
type Wire struct{}

var _ sqlstore.Wire = Wire{}

// Query implements [sqlstore.Wire]. It works in any mode of pgx and behind PgBouncer,
// since it prepares nothing.
func (Wire) Query(ctx context.Context, driver any, query string, args ...[]byte) (sqlstore.WireRows, error) {
	conn, err := connection(driver)
	switch {
	case err != nil:
		return nil, err
	case len(args) > 0:
		return &rows{result: conn.ExecParams(ctx, query, args, nil, nil, nil)}, nil
	}
	// Without arguments the simple protocol is enough.
	all := conn.Exec(ctx, query)
	if !all.NextResult() {
		return nil, cmp.Or(all.Close(), errors.New("pgxwire: the query has no result"))
	}
	return &rows{all.ResultReader(), all}, nil
}

// Copy implements [sqlstore.Wire].
func (Wire) Copy(ctx context.Context, driver any, statement string, data io.Reader) error {
	conn, err := connection(driver)
	if err != nil {
		return err
	}
	_, err = conn.CopyFrom(ctx, data, statement)
	return err
}

func connection(driver any) (*pgconn.PgConn, error) {
	conn, ok := driver.(*stdlib.Conn)
	if !ok || conn == nil {
		return nil, fmt.Errorf("pgxwire: the connection is a %T: open the database with github.com/jackc/pgx/v5/stdlib, or leave Store.Wire empty", driver)
	}
	return conn.Conn().PgConn(), nil
}

type rows struct {
	result *pgconn.ResultReader
	all    *pgconn.MultiResultReader // nil after a query with arguments
}

func (r *rows) Next() bool       { return r.result.NextRow() }
func (r *rows) Values() [][]byte { return r.result.Values() }

func (r *rows) Close() error {
	_, err := r.result.Close()
	if r.all != nil {
		err = cmp.Or(err, r.all.Close())
	}
	return err
}
