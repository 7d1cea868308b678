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

// state returns the SQLSTATE of an error. All drivers have it under the same method.
func state(err error) string {
	var e interface{ SQLState() string }
	if errors.As(err, &e) {
		return e.SQLState()
	}
	return ""
}

// refused: of a system error or an internal one the server itself may not know what was
// done, and 40003 says so.
func (d postgres) refused(err error) bool {
	code := state(err)
	return code != "" && code != "40003" && !strings.HasPrefix(code, "58") && !strings.HasPrefix(code, "XX") && !d.lost(err)
}

func (postgres) lost(err error) bool {
	code := state(err)
	return strings.HasPrefix(code, "08") || strings.HasPrefix(code, "57P") || code == "" && networkFailed(err)
}

// networkFailed tells whether an error comes from the network and not from the server.
func networkFailed(err error) bool {
	var network *net.OpError
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &network)
}

func (postgres) conflict(err error) bool {
	code := state(err)
	return strings.HasPrefix(code, "40") && code != "40003"
}

// clashes: of a unique index, or of an exclusion constraint.
func (postgres) clashes(err error) bool { return state(err) == "23505" || state(err) == "23P01" }

// dangles: from PostgreSQL 18 on, RESTRICT has a code of its own.
func (postgres) dangles(err error) bool { return state(err) == "23503" || state(err) == "23001" }

// misfit begins the text of the error for a value that its column would change. The name
// of the column and a line end follow it.
const misfit = "the column would change the value of "

// recovers tells whether a standby refused something because it is one. It has no code of
// its own for that.
func recovers(err error) bool { return strings.Contains(err.Error(), "recovery") }

func (postgres) explain(err error) error {
	code := state(err)
	switch {
	case code == "55P03":
		return fmt.Errorf("%w; another transaction was in the way: try again, or set Store.Retries", err)
	case postgres{}.clashes(err):
		return fmt.Errorf("%w: another row has the same value: %w", backup.ErrClash, err)
	case postgres{}.dangles(err) && !errors.Is(err, backup.ErrDangling):
		return fmt.Errorf("%w: %w", backup.ErrDangling, err)
	case strings.HasPrefix(code, "22") && strings.Contains(err.Error(), misfit):
		_, name, _ := strings.Cut(err.Error(), misfit)
		name, _, _ = strings.Cut(name, "\n")
		return veiled{fmt.Sprintf("%v: %s%q", backup.ErrInvalid, misfit, name), []error{backup.ErrInvalid, err}}
	case strings.HasPrefix(code, "22"):
		return veiled{fmt.Sprintf("%v: the column cannot hold the value (SQLSTATE %s)", backup.ErrInvalid, code), []error{backup.ErrInvalid, err}}
	case code == "53100":
		return fmt.Errorf("%w; check disk space", err)
	case code == "42501":
		return fmt.Errorf("%w; check what is granted to the user of the connection", err)
	case code == "42P05" || code == "26000":
		return fmt.Errorf("%w; a pooler in transaction mode, as PgBouncer, mixes up the prepared statements of its clients: add default_query_exec_mode=exec to the URL with which pgx connects", err)
	case code == "25006" || code == "0A000" && recovers(err):
		return fmt.Errorf("%w; is it a standby? A restore needs the primary server", err)
	case code == "40001" && recovers(err):
		return fmt.Errorf("%w; the standby does not keep old rows for as long as a backup reads: set hot_standby_feedback, give it a longer max_standby_streaming_delay, or back up the primary server", err)
	}
	return err
}
