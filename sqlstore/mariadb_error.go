package sqlstore

import (
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/tomo-project/backup"
)

// mariadbNumber returns the number that the server gave to an error. The driver writes it
// as "Error 1062 (23000): …".
func mariadbNumber(err error) int {
	switch e := err.(type) {
	case nil:
		return 0
	case interface{ Unwrap() []error }:
		for _, err := range e.Unwrap() {
			if n := mariadbNumber(err); n > 0 {
				return n
			}
		}
		return 0
	case interface{ Unwrap() error }:
		return mariadbNumber(e.Unwrap())
	}
	text, ok := strings.CutPrefix(err.Error(), "Error ")
	if !ok {
		return 0
	}
	text, _, _ = strings.Cut(text, ":")
	text, _, _ = strings.Cut(text, " ")
	n, _ := strconv.Atoi(text)
	return n
}

// refused: the errors of a COMMIT that say that the transaction was rolled back, for a
// conflict, a constraint, or a server that only reads.
func (d mariadb) refused(err error) bool {
	switch mariadbNumber(err) {
	case 1022, 1048, 1062, 1169, 1216, 1217, 1290, 1451, 1452, 1586, 1792, 1836, 4025:
		return true
	}
	return d.conflict(err)
}

func (mariadb) lost(err error) bool {
	switch mariadbNumber(err) {
	case 1053, 1153, 1158, 1159, 1160, 1161, 1927, 2006, 2013:
		return true
	case 0:
		return networkFailed(err) || errors.Is(err, sql.ErrConnDone) || strings.Contains(err.Error(), "invalid connection")
	}
	return false
}

// conflict: the server rolls the transaction back after a deadlock. If it is so set, it
// also does after it has waited for a lock.
func (mariadb) conflict(err error) bool {
	switch mariadbNumber(err) {
	case 1020, 1205, 1206, 1213, 3572:
		return true
	}
	return false
}

func (mariadb) clashes(err error) bool {
	switch mariadbNumber(err) {
	case 1062, 1169, 1586:
		return true
	case 1690:
		return strings.Contains(err.Error(), mariadbOther)
	}
	return false
}

const mariadbKeyAdvice = "keys compare byte by byte in VARBINARY, or with COLLATE utf8mb4_nopad_bin"

func (mariadb) explain(err error) error {
	number := mariadbNumber(err)
	if number == 1153 || strings.Contains(err.Error(), "packet for query is too large") {
		return fmt.Errorf("%w; raise max_allowed_packet", err)
	}
	switch number {
	case 1062, 1169, 1586:
		// The text quotes the value.
		_, key, _ := strings.Cut(err.Error(), "' for key ")
		return veiled{fmt.Sprintf("%v: another row has the same value in the unique key %s (Error %d)", backup.ErrClash, key, number), []error{backup.ErrClash, err}}
	case 1690:
		if (mariadb{}).clashes(err) {
			return veiled{fmt.Sprintf("%v: another record has the value of a unique column, or a key that its collation takes for the same (%s)", backup.ErrClash, mariadbKeyAdvice), []error{backup.ErrClash, err}}
		}
		return mariadbInvalid(number, err)
	case 1048, 1264, 1265, 1292, 1366, 1367, 1406, 1411, 1416, 3140, 3141:
		return mariadbInvalid(number, err)
	case 1021, 1114, 1041, 1037:
		return fmt.Errorf("%w; check disk space", err)
	case 1044, 1045, 1142, 1143, 1227:
		return fmt.Errorf("%w; check what is granted to the user of the connection", err)
	case 1290, 1792, 1836, 3100:
		return fmt.Errorf("%w; is it a replica?", err)
	case 1412:
		return fmt.Errorf("%w; the table was altered meanwhile: try again", err)
	case 1317, 1969, 3024:
		return fmt.Errorf("%w; the statement was ended from outside", err)
	case 1216, 1217, 1451, 1452:
		if !errors.Is(err, backup.ErrDangling) {
			return fmt.Errorf("%w: %w", backup.ErrDangling, err)
		}
	}
	return err
}

// mariadbInvalid returns an error that hides the text of err, which may quote the value.
func mariadbInvalid(number int, err error) error {
	column := ""
	if _, after, ok := strings.Cut(err.Error(), "olumn '"); ok && number != 1366 && number != 1292 {
		column, _, _ = strings.Cut(after, "'")
		column = fmt.Sprintf(" %q", column)
	}
	return veiled{fmt.Sprintf("%v: the column%s cannot hold the value (Error %d)", backup.ErrInvalid, column, number), []error{backup.ErrInvalid, err}}
}
