package sqlstore

import (
	"context"
	"database/sql"
	"time"
)

// PostgreSQL is the dialect of PostgreSQL from 12 on, tested with the
// database/sql driver of github.com/jackc/pgx/v5.
var PostgreSQL Dialect = postgres{}

type postgres struct{}

// postgresTx is a transaction that was begun with a statement. So it can go on after an
// error, from the savepoint before it.
type postgresTx struct {
	session
	write bool
	saved bool // there is a savepoint

	tables []*table // the declared tables
	refs   []*postgresReference
	found  bool // refs were looked up
}

func (postgres) begin(ctx context.Context, conn *sql.Conn, write bool) (transaction, error) {
	tx := &postgresTx{session: session{conn}, write: write}
	// The first query fixes the state that a backup sees. In a transaction that writes,
	// each statement sees the current state: others cannot change it, since the tables
	// are locked.
	mode := "ISOLATION LEVEL REPEATABLE READ READ ONLY"
	if write {
		mode = "ISOLATION LEVEL READ COMMITTED READ WRITE"
	}
	if err := tx.exec(ctx, "BEGIN "+mode); err != nil {
		return tx, err
	}
	// The text of a value must not depend on the settings of the user. No timeout may end
	// a long transaction, and no policy may hide rows from it.
	return tx, tx.exec(ctx, `SELECT set_config(s[1], s[2], true) FROM (VALUES (ARRAY['TimeZone', 'UTC']), (ARRAY['DateStyle', 'ISO, YMD']),
		(ARRAY['IntervalStyle', 'iso_8601']), (ARRAY['extra_float_digits', '3']), (ARRAY['bytea_output', 'hex']), (ARRAY['xmloption', 'content']),
		(ARRAY['lc_monetary', 'C']), (ARRAY['row_security', 'off']), (ARRAY['statement_timeout', '0']),
		(ARRAY['idle_in_transaction_session_timeout', '0']), (ARRAY['transaction_timeout', '0']), (ARRAY['array_nulls', 'on'])) AS settings(s)
		WHERE current_setting(s[1], true) IS NOT NULL`)
}

// attempt sets a savepoint, since an error without a savepoint ends the transaction.
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

// settle checks deferred constraints. A transaction that has failed fails here too, since
// PostgreSQL treats its COMMIT as a ROLLBACK.
func (tx *postgresTx) settle(ctx context.Context, _ bool) error {
	alive, err := tx.attempt(ctx, func() error { return tx.exec(ctx, "SET CONSTRAINTS ALL IMMEDIATE") })
	switch {
	case err == nil:
		return tx.exec(ctx, "SET CONSTRAINTS ALL DEFERRED") // for the changes that may follow
	case alive && (postgres{}).dangles(err):
		return tx.dangling(ctx, err)
	case alive && (postgres{}).clashes(err):
		return tx.clashing(ctx, err)
	}
	return err
}

func (tx *postgresTx) commit(ctx context.Context) error { return tx.exec(ctx, "COMMIT") }

func (tx *postgresTx) rollback() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second) // the server may be out of reach
	defer cancel()
	if tx.exec(ctx, "ROLLBACK") != nil {
		tx.discard()
	}
}
