package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"time"
)

// PostgreSQL is the dialect of PostgreSQL from 12 on, tested with the
// database/sql driver of github.com/jackc/pgx/v5.
var PostgreSQL Dialect = postgres{}

type postgres struct{}

// The protocol counts arguments in 16 bits.
func (postgres) maxArgs() int { return 65535 }

// postgresTx is a transaction that was begun with a statement, so that it goes on
// after an error to the savepoint before it.
type postgresTx struct {
	conn   *sql.Conn
	write  bool
	saved  bool // there is a savepoint
	tables []*table
	refs   []reference // of tables and to them
}

func (postgres) begin(ctx context.Context, conn *sql.Conn, write bool) (transaction, error) {
	tx := &postgresTx{conn: conn, write: write}
	// The first query pins the state that is seen. One that writes sees at each
	// statement what is there: its tables are locked.
	mode := "ISOLATION LEVEL REPEATABLE READ READ ONLY"
	if write {
		mode = "ISOLATION LEVEL READ COMMITTED READ WRITE"
	}
	err := tx.exec(ctx, "BEGIN "+mode)
	if err == nil {
		// Text forms that do not depend on who is connected; and what would end
		// a long transaction, or hide rows from it, does not.
		err = tx.exec(ctx, `SELECT set_config(s[1], s[2], true) FROM (VALUES (ARRAY['TimeZone', 'UTC']), (ARRAY['DateStyle', 'ISO, YMD']),
			(ARRAY['IntervalStyle', 'iso_8601']), (ARRAY['extra_float_digits', '3']), (ARRAY['bytea_output', 'hex']), (ARRAY['xmloption', 'content']),
			(ARRAY['lc_monetary', 'C']), (ARRAY['row_security', 'off']), (ARRAY['statement_timeout', '0']),
			(ARRAY['idle_in_transaction_session_timeout', '0'])) AS settings(s)`)
	}
	if err != nil {
		tx.rollback()
		return nil, fmt.Errorf("sqlstore: begin a transaction: %w", explain(PostgreSQL, contextError(ctx, err)))
	}
	return tx, nil
}

func (tx *postgresTx) exec(ctx context.Context, statement string) error {
	_, err := tx.conn.ExecContext(ctx, statement)
	return err
}

func (tx *postgresTx) rollback() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second) // the server may be out of reach
	defer cancel()
	if tx.exec(ctx, "ROLLBACK") != nil {
		// Keep the connection from being used again.
		_ = tx.conn.Raw(func(any) error { return driver.ErrBadConn })
	}
}

func (tx *postgresTx) attempt(ctx context.Context, do func() error) (alive bool, err error) {
	savepoint := "SAVEPOINT sqlstore"
	if tx.saved {
		savepoint = "RELEASE SAVEPOINT sqlstore; " + savepoint
	}
	if err := tx.exec(ctx, savepoint); err != nil {
		return false, err
	}
	tx.saved = true
	if err = do(); err == nil {
		return true, nil
	}
	return tx.exec(ctx, "ROLLBACK TO SAVEPOINT sqlstore") == nil, err
}

func (tx *postgresTx) commit(ctx context.Context) error {
	err := contextError(ctx, tx.settle(ctx))
	if err == nil {
		// A context that is done from here on does not matter: a driver could
		// report it for a commit that has happened.
		if err = tx.exec(context.WithoutCancel(ctx), "COMMIT"); err == nil {
			return nil
		}
		if lost(err) {
			err = explained{fmt.Errorf("%w; the connection to the database was lost, and whether everything or nothing was changed is not known", err)}
		}
	}
	tx.rollback()
	return fmt.Errorf("sqlstore: commit: %w", explain(PostgreSQL, err))
}

// settle checks what is deferred, and sets sequences. A transaction that has
// failed fails here: PostgreSQL takes its COMMIT for a ROLLBACK.
func (tx *postgresTx) settle(ctx context.Context) error {
	alive, err := tx.attempt(ctx, func() error { return tx.exec(ctx, "SET CONSTRAINTS ALL IMMEDIATE") })
	if err != nil && alive && PostgreSQL.(postgres).dangles(err) {
		return tx.dangling(ctx, err)
	}
	for _, t := range tx.tables {
		if err == nil && t.written {
			err = tx.sequences(ctx, t)
		}
	}
	return err
}
