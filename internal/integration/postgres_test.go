package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	osexec "os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

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

// missing skips a test for want of a server, or fails it if there must be one.
func missing(t testing.TB, err error) {
	t.Helper()
	if os.Getenv("BACKUP_REQUIRE_SERVICES") == "1" {
		t.Fatalf("BACKUP_REQUIRE_SERVICES=1: %v", err)
	}
	t.Skip(err)
}

// postgresVariable names a server to use instead of starting one: its user must
// be allowed to create databases.
const postgresVariable = "BACKUP_TEST_POSTGRES"

// postgresServer returns the URL of a server that all tests share.
var postgresServer = sync.OnceValues(func() (string, error) {
	if dsn := os.Getenv(postgresVariable); dsn != "" {
		return dsn, nil
	}
	bin, err := postgresBinaries()
	if err != nil {
		return "", fmt.Errorf("no PostgreSQL: %w; install it (apt-get install postgresql), or set %s to the URL of a server", err, postgresVariable)
	}
	dir, err := os.MkdirTemp("/dev/shm", "pg-") // a new database is 7 MB
	if err != nil {
		dir, err = os.MkdirTemp("", "pg-")
	}
	if err != nil {
		return "", err
	}
	run := func(name string, args ...string) error {
		cmd := osexec.Command(filepath.Join(bin, name), args...)
		if os.Getuid() == 0 { // which it refuses to run as
			cmd = osexec.Command("runuser", append([]string{"-u", "postgres", "--", cmd.Path}, args...)...)
		}
		cmd.Dir = dir
		log, err := os.Create(filepath.Join(dir, name+".log"))
		if err != nil {
			return err
		}
		defer log.Close()
		cmd.Stdout, cmd.Stderr = log, log // a pipe would stay open with the server
		if err := cmd.Run(); err != nil {
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("%s: %w\n%s", name, err, text)
		}
		return nil
	}
	if os.Getuid() == 0 {
		account, err := user.Lookup("postgres")
		if err != nil {
			return "", err
		}
		uid, _ := strconv.Atoi(account.Uid)
		gid, _ := strconv.Atoi(account.Gid)
		if err := os.Chown(dir, uid, gid); err != nil {
			return "", err
		}
	}
	data := filepath.Join(dir, "data")
	if err := run("initdb", "-D", data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-locale", "--no-sync"); err != nil {
		return "", err
	}
	options := "-c listen_addresses= -c unix_socket_directories=" + dir + " -c fsync=off -c full_page_writes=off -c max_connections=100"
	services.Lock()
	services.stop = append(services.stop, func() {
		_ = run("pg_ctl", "-D", data, "-m", "fast", "stop")
		_ = os.RemoveAll(dir)
	})
	services.Unlock()
	if err := run("pg_ctl", "-D", data, "-w", "-l", filepath.Join(dir, "server.log"), "-o", options, "start"); err != nil {
		return "", err
	}
	return "postgres://postgres@/postgres?host=" + url.QueryEscape(dir), nil
})

func postgresBinaries() (string, error) {
	if out, err := osexec.Command("pg_config", "--bindir").Output(); err == nil {
		bin := strings.TrimSpace(string(out))
		if _, err := os.Stat(filepath.Join(bin, "initdb")); err == nil {
			return bin, nil
		}
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", errors.New("its binaries were not found")
	}
	slices.Sort(found)
	return filepath.Dir(found[len(found)-1]), nil
}

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
	return sqlstore.Store{DB: db, Dialect: sqlstore.PostgreSQL, Tables: tables}
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
