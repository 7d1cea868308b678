//go:build !race

package integration

import (
	"database/sql"
	"net/url"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup/internal/integration/servers"
	"github.com/tomo-project/backup/sqlstore"
)

var pgBouncer = sync.OnceValues(func() (string, error) {
	server, err := postgresServer()
	if err != nil {
		return "", err
	}
	return startService(func(...string) (string, func(), error) { return servers.PgBouncer(server) })
})

// behindPgBouncer returns a new database with a schema, through a pooler in transaction
// mode. The parameters are those of the URL.
func behindPgBouncer(t *testing.T, schema, params string) *sql.DB {
	t.Helper()
	_, direct := newPostgres(t, schema)
	pooled, err := pgBouncer()
	if err != nil {
		missing(t, err)
	}
	from, err := url.Parse(direct)
	require.NoError(t, err)
	u, err := url.Parse(pooled)
	require.NoError(t, err)
	u.Path = from.Path
	db, err := sql.Open("pgx", u.String()+params)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

func TestPgBouncerKeepsTheRulesOfAStore(t *testing.T) {
	postgresRules(t, " DEFERRABLE", func(t *testing.T, schema string) *sql.DB {
		return behindPgBouncer(t, schema, "&default_query_exec_mode=exec")
	})
}

func TestTheErrorBehindPgBouncerNamesTheModeThatWorks(t *testing.T) {
	db := behindPgBouncer(t, "CREATE TABLE things (id int PRIMARY KEY)", "")
	db.SetMaxIdleConns(-1) // each View is another client on the same connection to the server
	s := pg(db, sqlstore.Table{Collection: "things", Name: "public.things"})
	_, err := tryDump(s, "things")
	require.NoError(t, err)
	_, err = tryDump(s, "things")
	require.ErrorContains(t, err, "42P05")
	require.ErrorContains(t, err, "default_query_exec_mode=exec")
}
