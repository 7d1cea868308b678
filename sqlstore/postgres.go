package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/tomo-project/backup"
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
	refused := true
	if err == nil {
		// A context that is done from here on does not matter: a driver could
		// report it for a commit that has happened.
		if err = tx.exec(context.WithoutCancel(ctx), "COMMIT"); err == nil {
			return nil
		}
		if refused = state(err) != "" && !lost(err); !refused {
			err = explained{fmt.Errorf("%w; the connection to the database was lost, and whether everything or nothing was changed is not known", err)}
		}
	}
	tx.rollback()
	if err = fmt.Errorf("sqlstore: commit: %w", explain(PostgreSQL, err)); refused {
		err = rolledBack(err)
	}
	return err
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

// state returns the SQLSTATE of an error, which drivers tell alike.
func state(err error) string {
	var e interface{ SQLState() string }
	if errors.As(err, &e) {
		return e.SQLState()
	}
	return ""
}

// lost tells whether there is no connection any more.
func lost(err error) bool {
	code := state(err)
	var network *net.OpError
	return strings.HasPrefix(code, "08") || strings.HasPrefix(code, "57P") ||
		code == "" && (errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &network))
}

func (postgres) conflict(err error) bool { return strings.HasPrefix(state(err), "40") }

func (postgres) dangles(err error) bool { return state(err) == "23503" }

// misfit begins the error of a value that its column would change: behind it are
// the name of the column and a line end.
const misfit = "the column would change the value of "

func (d postgres) explain(err error) error {
	code := state(err)
	switch {
	case lost(err):
		return fmt.Errorf("%w; the connection to the database was lost: what was not committed is undone", err)
	case d.conflict(err), code == "55P03":
		return fmt.Errorf("%w; another transaction was in the way: try again, or set Store.Retries", err)
	case code == "23505":
		return fmt.Errorf("%w; records that exchange a unique value can be restored at once only if the constraint is DEFERRABLE", err)
	case code == "23503" && !errors.Is(err, backup.ErrDangling):
		return fmt.Errorf("%w: %w", backup.ErrDangling, err)
	case strings.HasPrefix(code, "22") && strings.Contains(err.Error(), misfit):
		_, name, _ := strings.Cut(err.Error(), misfit)
		name, _, _ = strings.Cut(name, "\n")
		return refused{fmt.Sprintf("%v: %s%q", backup.ErrInvalid, misfit, name), err}
	case strings.HasPrefix(code, "22"):
		return refused{fmt.Sprintf("%v: the column cannot hold the value (SQLSTATE %s)", backup.ErrInvalid, code), err}
	case code == "53100":
		return fmt.Errorf("%w; check disk space", err)
	case code == "42501":
		return fmt.Errorf("%w; check what is granted to the user of the connection", err)
	case code == "25006":
		return fmt.Errorf("%w; is it a standby?", err)
	}
	return err
}

// refused is an error of PostgreSQL without its text, which quotes the value.
type refused struct {
	text string
	err  error
}

func (e refused) Error() string   { return e.text }
func (e refused) Unwrap() []error { return []error{backup.ErrInvalid, e.err} }
