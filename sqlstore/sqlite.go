package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// SQLite is the dialect of SQLite from 3.37 on, tested with the drivers modernc.org/sqlite,
// github.com/glebarez/go-sqlite, github.com/mattn/go-sqlite3 and
// github.com/ncruces/go-sqlite3.
var SQLite Dialect = sqlite{}

type sqlite struct{}

// sqliteTx is a transaction that was begun with a statement: database/sql cannot ask
// for BEGIN IMMEDIATE.
type sqliteTx struct {
	session
	enforced  bool // the connection had foreign keys on before, and gets them back
	unchecked bool // CHECK constraints are off for the moment

	tables      []*table                      // the declared tables
	before      map[violation]int             // what dangled before the first change; nil without a change
	foreignKeys map[string][]*sqliteReference // by table, as far as they are known
}

func (sqlite) begin(ctx context.Context, conn *sql.Conn, write bool) (transaction, error) {
	tx := &sqliteTx{session: session{conn}}
	if write {
		return tx, tx.beginWrite(ctx)
	}
	err := tx.exec(ctx, "BEGIN")
	if err == nil {
		// The first read pins the state that a deferred transaction sees.
		err = tx.each(ctx, "SELECT count(*) FROM main.sqlite_schema", nil, func(*sql.Rows) error { return nil })
	}
	return tx, err
}

func (tx *sqliteTx) beginWrite(ctx context.Context) error {
	// Foreign keys cannot be switched off inside a transaction.
	if err := tx.conn.QueryRowContext(ctx, "PRAGMA foreign_keys").Scan(&tx.enforced); err != nil {
		return fmt.Errorf("read PRAGMA foreign_keys: %w", err)
	}
	if tx.enforced {
		if err := tx.exec(ctx, "PRAGMA foreign_keys=OFF"); err != nil {
			return fmt.Errorf("switch foreign keys off: %w", err)
		}
	}
	return tx.exec(ctx, "BEGIN IMMEDIATE")
}

// attempt finds out whether SQLite has rolled back: it does so if the disk is full, on an
// I/O error, and if it runs out of memory. Later statements would then be committed one
// by one.
func (tx *sqliteTx) attempt(ctx context.Context, do func() error) (alive bool, err error) {
	if err = do(); err == nil {
		return true, nil
	}
	inside := tx.exec(ctx, "BEGIN")
	if inside == nil {
		tx.rollback()
		return false, err
	}
	return strings.Contains(inside.Error(), "within a transaction"), err
}

func (tx *sqliteTx) commit(ctx context.Context) error {
	err := tx.exec(ctx, "COMMIT")
	if err == nil {
		tx.release()
	}
	return err
}

func (tx *sqliteTx) rollback() {
	err := tx.exec(context.Background(), "ROLLBACK")
	// SQLite itself ends a transaction if a statement was interrupted.
	if err != nil && !strings.Contains(err.Error(), "no transaction is active") {
		tx.discard()
		return
	}
	tx.release()
}

// release leaves the connection as it was before the transaction.
func (tx *sqliteTx) release() {
	if tx.checksOn() != nil || tx.enforced && tx.exec(context.Background(), "PRAGMA foreign_keys=ON") != nil {
		tx.discard()
	}
}
