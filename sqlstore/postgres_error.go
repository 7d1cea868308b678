package sqlstore

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/tomo-project/backup"
)

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
