package integration

import (
	"database/sql"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup/internal/integration/servers"
	"github.com/tomo-project/backup/sqlstore"
)

// mariaServer returns the DSN of a server that all tests share.
var mariaServer = sync.OnceValues(func() (string, error) { return startService(servers.MariaDB) })

var mariaDatabases atomic.Int64

// newMariaDB returns a new database with the given schema, and how to connect to it.
func newMariaDB(t testing.TB, schema string) (*sql.DB, *mysql.Config) {
	t.Helper()
	server, err := mariaServer()
	if err != nil {
		missing(t, err)
	}
	admin, err := sql.Open("mysql", server)
	require.NoError(t, err)
	defer admin.Close()
	name := fmt.Sprintf("tomo_%d_%d", os.Getpid(), mariaDatabases.Add(1))
	exec(t, admin, "CREATE DATABASE "+name)
	config, err := mysql.ParseDSN(server)
	require.NoError(t, err)
	config.DBName = name
	config.MultiStatements = true
	db := openMariaDB(t, config)
	t.Cleanup(func() {
		admin, err := sql.Open("mysql", server)
		require.NoError(t, err)
		defer admin.Close()
		admin.SetMaxOpenConns(1)
		exec(t, admin, "SET lock_wait_timeout = 20") // one connection may be left over by a failure
		exec(t, admin, "DROP DATABASE "+name)
	})
	exec(t, db, "SET sql_mode='STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO'; SET time_zone='+00:00'; SET foreign_key_checks=0; "+schema+"; SET foreign_key_checks=1")
	return db, config
}

// openMariaDB opens a database. It is closed before what was registered earlier is
// cleaned up.
func openMariaDB(t testing.TB, config *mysql.Config) *sql.DB {
	t.Helper()
	db, err := sql.Open("mysql", config.FormatDSN())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

func my(db *sql.DB, tables ...sqlstore.Table) sqlstore.Store {
	return sqlstore.Store{DB: db, Dialect: sqlstore.MariaDB, Tables: tables}
}
