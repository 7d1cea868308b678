package integration

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup/internal/integration/servers"
	"github.com/tomo-project/backup/sqlstore"
)

// services are what tests have started, to be stopped when all are over.
var services struct {
	sync.Mutex
	stop []func()
}

func stopServices() {
	services.Lock()
	defer services.Unlock()
	for _, stop := range services.stop {
		stop()
	}
}

// startService starts a server for all tests, in memory: a new database is 7 MB.
func startService(start func(parents ...string) (string, func(), error)) (string, error) {
	server, stop, err := start("/dev/shm")
	services.Lock()
	defer services.Unlock()
	services.stop = append(services.stop, stop)
	return server, err
}

// missing skips a test for want of a server, or fails it if there must be one.
func missing(t testing.TB, err error) {
	t.Helper()
	if os.Getenv("BACKUP_REQUIRE_SERVICES") == "1" {
		t.Fatalf("BACKUP_REQUIRE_SERVICES=1: %v", err)
	}
	t.Skip(err)
}

// postgresServer returns the URL of a server that all tests share.
var postgresServer = sync.OnceValues(func() (string, error) { return startService(servers.Postgres) })

var postgresDatabases atomic.Int64

// newPostgres returns a new database with the given schema, and its URL.
func newPostgres(t testing.TB, schema string) (*sql.DB, string) {
	t.Helper()
	server, err := postgresServer()
	if err != nil {
		missing(t, err)
	}
	admin, err := sql.Open("pgx", server)
	require.NoError(t, err)
	defer admin.Close()
	name := fmt.Sprintf("tomo_%d_%d", os.Getpid(), postgresDatabases.Add(1))
	exec(t, admin, "CREATE DATABASE "+name)
	u, err := url.Parse(server)
	require.NoError(t, err)
	u.Path = "/" + name
	db, err := sql.Open("pgx", u.String())
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, db.Close())
		admin, err := sql.Open("pgx", server)
		require.NoError(t, err)
		defer admin.Close()
		exec(t, admin, "DROP DATABASE "+name+" WITH (FORCE)")
	})
	exec(t, db, schema)
	return db, u.String()
}

func pg(db *sql.DB, tables ...sqlstore.Table) sqlstore.Store {
	return sqlstore.Store{DB: db, Dialect: sqlstore.PostgreSQL, Wire: wire(sqlstore.PostgreSQL), Tables: tables}
}

// column returns the texts of the first column of a query.
func column(t testing.TB, db *sql.DB, query string, args ...any) (texts []string) {
	t.Helper()
	rows, err := db.QueryContext(context.Background(), query, args...)
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var text string
		require.NoError(t, rows.Scan(&text))
		texts = append(texts, text)
	}
	require.NoError(t, rows.Err())
	return texts
}

// eventually waits until a query returns true.
func eventually(t testing.TB, db *sql.DB, query string, args ...any) {
	t.Helper()
	require.Eventually(t, func() bool {
		var yes bool
		require.NoError(t, db.QueryRow(query, args...).Scan(&yes))
		return yes
	}, 20*time.Second, 5*time.Millisecond)
}
