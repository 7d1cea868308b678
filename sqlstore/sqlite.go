package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
)

// SQLite is the dialect of SQLite from 3.37 on, tested with modernc.org/sqlite.
var SQLite Dialect = sqlite{}

type sqlite struct{}

// SQLITE_MAX_VARIABLE_NUMBER is 32766 from 3.32 on.
func (sqlite) maxArgs() int { return 32766 }

// sqliteTx is a transaction that was begun with a statement, since database/sql
// cannot ask for BEGIN IMMEDIATE.
type sqliteTx struct {
	conn     *sql.Conn
	enforced bool              // the connection had foreign keys on, and gets them back
	before   map[violation]int // what dangled when the first change was made, nil without one
	actions  map[foreignKey]string
	tables   []*table
}

func (sqlite) begin(ctx context.Context, conn *sql.Conn, write bool) (_ transaction, err error) {
	tx := &sqliteTx{conn: conn}
	// The first read pins the state that a deferred transaction sees.
	statements := []string{"BEGIN", "SELECT count(*) FROM sqlite_schema"}
	if write {
		statements = []string{"BEGIN IMMEDIATE"}
		// It has no effect inside a transaction.
		if err := conn.QueryRowContext(ctx, "PRAGMA foreign_keys").Scan(&tx.enforced); err != nil {
			return nil, fmt.Errorf("sqlstore: read PRAGMA foreign_keys: %w", contextError(ctx, err))
		}
		if tx.enforced {
			if _, err := conn.ExecContext(ctx, "PRAGMA foreign_keys=OFF"); err != nil {
				tx.release()
				return nil, fmt.Errorf("sqlstore: switch foreign keys off: %w", contextError(ctx, err))
			}
		}
	}
	for _, s := range statements {
		rows, err := conn.QueryContext(ctx, s)
		if err == nil {
			for rows.Next() {
			}
			err = errors.Join(rows.Err(), rows.Close())
		}
		if err != nil {
			tx.rollback()
			return nil, fmt.Errorf("sqlstore: begin a transaction: %w", SQLite.explain(contextError(ctx, err)))
		}
	}
	return tx, nil
}

// attempt: SQLite rolls back when the disk is full, on an I/O error, and when it
// runs out of memory. What follows would be committed statement by statement.
func (tx *sqliteTx) attempt(ctx context.Context, do func() error) (alive bool, err error) {
	if err = do(); err == nil {
		return true, nil
	}
	_, inside := tx.conn.ExecContext(ctx, "BEGIN")
	if inside == nil {
		tx.rollback()
		return false, err
	}
	return strings.Contains(inside.Error(), "within a transaction"), err
}

func (tx *sqliteTx) commit(ctx context.Context) error {
	if tx.before != nil {
		if err := tx.settle(ctx, tx.tables); err != nil {
			tx.rollback()
			return err
		}
	}
	// A context that is done from here on does not matter: a driver could report
	// it for a commit that has happened.
	_, err := tx.conn.ExecContext(context.WithoutCancel(ctx), "COMMIT")
	if err == nil {
		tx.release()
		return nil
	}
	tx.rollback()
	return fmt.Errorf("sqlstore: commit: %w", SQLite.explain(err))
}

func (tx *sqliteTx) rollback() {
	_, err := tx.conn.ExecContext(context.Background(), "ROLLBACK")
	// SQLite ends a transaction itself where a statement was interrupted.
	if err != nil && !strings.Contains(err.Error(), "no transaction is active") {
		tx.discard()
		return
	}
	tx.release()
}

// release leaves the connection as it was before the transaction.
func (tx *sqliteTx) release() {
	if !tx.enforced {
		return
	}
	if _, err := tx.conn.ExecContext(context.Background(), "PRAGMA foreign_keys=ON"); err != nil {
		tx.discard()
	}
}

// discard keeps the connection from being used again.
func (tx *sqliteTx) discard() {
	_ = tx.conn.Raw(func(any) error { return driver.ErrBadConn })
}
