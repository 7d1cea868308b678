package sqlstore

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A serverError is an error of PostgreSQL.
type serverError struct{ code, text string }

func (e serverError) Error() string    { return "ERROR: " + e.text + " (SQLSTATE " + e.code + ")" }
func (e serverError) SQLState() string { return e.code }

func TestErrorsAroundPostgreSQLSayWhatToDo(t *testing.T) {
	for _, c := range []struct {
		err  serverError
		want string
	}{
		{serverError{"42P05", `prepared statement "stmtcache_1" already exists`}, "default_query_exec_mode=exec"},
		{serverError{"26000", `prepared statement "stmtcache_1" does not exist`}, "default_query_exec_mode=exec"},
		{serverError{"0A000", "cannot set transaction read-write mode during recovery"}, "A restore needs the primary server"},
		{serverError{"25006", "cannot execute INSERT in a read-only transaction"}, "A restore needs the primary server"},
		{serverError{"40001", "canceling statement due to conflict with recovery"}, "hot_standby_feedback"},
		{serverError{"40001", "could not serialize access due to concurrent update"}, "set Store.Retries"},
	} {
		err := explain(PostgreSQL, c.err)
		require.ErrorContains(t, err, c.want)
		require.ErrorIs(t, err, c.err)
	}
	other := serverError{"0A000", "cannot do that"}
	require.Equal(t, other, explain(PostgreSQL, other))
}
