package integration

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup/sqlstore"
)

// mariaVariable names a server to use instead of starting one: its user must be
// allowed to create databases and users.
const mariaVariable = "BACKUP_TEST_MARIADB"

// mariaServer returns the DSN of a server that all tests share.
var mariaServer = sync.OnceValues(func() (string, error) {
	if dsn := os.Getenv(mariaVariable); dsn != "" {
		return dsn, nil
	}
	server, err := osexec.LookPath("mariadbd")
	if err != nil {
		server, err = osexec.LookPath("/usr/sbin/mariadbd")
	}
	install, e := osexec.LookPath("mariadb-install-db")
	if err = errors.Join(err, e); err != nil {
		return "", fmt.Errorf("no MariaDB: %w; install it (apt-get install mariadb-server), or set %s to the DSN of a server", err, mariaVariable)
	}
	dir, err := os.MkdirTemp("/dev/shm", "my-")
	if err != nil {
		dir, err = os.MkdirTemp("", "my-")
	}
	if err != nil {
		return "", err
	}
	data, socket := filepath.Join(dir, "data"), filepath.Join(dir, "s.sock")
	args := []string{"--no-defaults", "--datadir=" + data}
	if os.Getuid() == 0 { // which it refuses to run as
		account, err := user.Lookup("mysql")
		if err != nil {
			return "", err
		}
		uid, _ := strconv.Atoi(account.Uid)
		gid, _ := strconv.Atoi(account.Gid)
		if err := os.Chown(dir, uid, gid); err != nil {
			return "", err
		}
		args = append(args, "--user=mysql")
	}
	if out, err := osexec.Command(install, append(args[:len(args):len(args)], "--auth-root-authentication-method=normal", "--skip-test-db")...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("mariadb-install-db: %w\n%s", err, out)
	}
	log, err := os.Create(filepath.Join(dir, "server.log"))
	if err != nil {
		return "", err
	}
	defer log.Close()
	cmd := osexec.Command(server, append(args, "--socket="+socket, "--pid-file="+filepath.Join(dir, "pid"), "--skip-networking", "--character-set-server=utf8mb4",
		"--innodb-flush-log-at-trx-commit=0", "--innodb-log-file-size=32M", "--max-connections=200")...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return "", err
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	services.Lock()
	services.stop = append(services.stop, func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Process.Kill()
		<-ended
		_ = os.RemoveAll(dir)
	})
	services.Unlock()
	dsn := "root@unix(" + socket + ")/"
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		return "", err
	}
	defer db.Close()
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if err = db.Ping(); err == nil {
			return dsn, nil
		}
		select {
		case <-ended:
		default:
			if time.Since(start) < time.Minute {
				continue
			}
		}
		text, _ := os.ReadFile(log.Name())
		return "", fmt.Errorf("mariadbd: %w\n%s", err, text)
	}
})

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
