package servers

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// PgBouncer starts a PgBouncer in transaction mode before a server that listens on a
// socket. Its URL stands for that of the server. stop, which is never nil, stops it.
func PgBouncer(server string) (pooled string, stop func(), err error) {
	u, err := url.Parse(server)
	if err != nil {
		return "", func() {}, err
	}
	q := u.Query()
	host, port := q.Get("host"), q.Get("port")
	if host == "" {
		host = u.Hostname()
	}
	if port == "" {
		port = u.Port()
	}
	if port == "" {
		port = "5432"
	}
	bouncer, err := exec.LookPath("pgbouncer")
	if err != nil {
		bouncer, err = exec.LookPath("/usr/sbin/pgbouncer")
	}
	if err != nil {
		return "", func() {}, fmt.Errorf("no PgBouncer: %w; install it (apt-get install pgbouncer)", err)
	}
	stop, err = inDir(nil, "pb-", "postgres", func(dir string) (func(), error) {
		config := filepath.Join(dir, "pgbouncer.ini")
		text := "[databases]\n* = host=" + host + " port=" + port + " user=postgres\n[pgbouncer]\nlisten_addr =\nlisten_port = 6432\nunix_socket_dir = " + dir +
			"\nauth_type = any\npool_mode = transaction\nmax_client_conn = 200\ndefault_pool_size = 10\n"
		if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
			return nil, err
		}
		cmd := exec.Command(bouncer, config)
		if os.Getuid() == 0 {
			cmd = exec.Command("runuser", "-u", "postgres", "--", bouncer, config)
		}
		cmd.Dir = dir
		log, err := os.Create(filepath.Join(dir, "server.log"))
		if err != nil {
			return nil, err
		}
		defer log.Close()
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		end := func() {
			_ = cmd.Process.Signal(syscall.SIGTERM) // at once, and runuser hands it on
			_ = cmd.Wait()
		}
		pooled = "postgres://postgres@/postgres?host=" + url.QueryEscape(dir) + "&port=6432"
		if err := awaitPgBouncer(pooled); err != nil {
			text, _ := os.ReadFile(log.Name())
			end()
			return nil, fmt.Errorf("pgbouncer: %w\n%s", err, text)
		}
		return end, nil
	})
	if err != nil {
		return "", func() {}, err
	}
	return pooled, stop, nil
}

// awaitPgBouncer waits until the pooler answers, for a minute at most.
func awaitPgBouncer(pooled string) error {
	db, err := sql.Open("pgx", pooled+"&default_query_exec_mode=simple_protocol")
	if err != nil {
		return err
	}
	defer db.Close()
	for start := time.Now(); time.Since(start) < time.Minute; time.Sleep(20 * time.Millisecond) {
		if err = db.Ping(); err == nil {
			return nil
		}
	}
	return errors.Join(errors.New("it does not answer"), err)
}
