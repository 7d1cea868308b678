package servers

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	_ "github.com/go-sql-driver/mysql"
)

// MariaDBVariable is the environment variable with the DSN of a server that is
// used instead of a new one. Its user must be allowed to create databases and
// users.
const MariaDBVariable = "BACKUP_TEST_MARIADB"

// MariaDB starts a MariaDB server that does not sync each commit. Its data is
// in a new folder in the first of parents where that is possible, or else in
// the folder of temporary files. stop, which is never nil, stops the server.
func MariaDB(parents ...string) (dsn string, stop func(), err error) {
	if dsn := os.Getenv(MariaDBVariable); dsn != "" {
		return dsn, func() {}, nil
	}
	server, err := exec.LookPath("mariadbd")
	if err != nil {
		server, err = exec.LookPath("/usr/sbin/mariadbd")
	}
	install, e := exec.LookPath("mariadb-install-db")
	if err = errors.Join(err, e); err != nil {
		return "", func() {}, fmt.Errorf("no MariaDB: %w; install it (apt-get install mariadb-server), or set %s to the DSN of a server", err, MariaDBVariable)
	}
	stop, err = inDir(parents, "my-", "mysql", func(dir string) (func(), error) {
		data, socket := filepath.Join(dir, "data"), filepath.Join(dir, "s.sock")
		args := []string{"--no-defaults", "--datadir=" + data, "--tmpdir=" + data} // a server that starts clears its tmpdir
		if os.Getuid() == 0 {
			args = append(args, "--user=mysql")
		}
		if out, err := exec.Command(install, append(args[:len(args):len(args)], "--auth-root-authentication-method=normal", "--skip-test-db")...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("mariadb-install-db: %w\n%s", err, out)
		}
		log, err := os.Create(filepath.Join(dir, "server.log"))
		if err != nil {
			return nil, err
		}
		defer log.Close()
		cmd := exec.Command(server, append(args, "--socket="+socket, "--pid-file="+filepath.Join(dir, "pid"), "--skip-networking", "--character-set-server=utf8mb4",
			"--innodb-flush-log-at-trx-commit=0", "--innodb-log-file-size=32M", "--max-connections=200")...)
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		ended := make(chan struct{})
		go func() { _ = cmd.Wait(); close(ended) }()
		end := func() {
			_ = cmd.Process.Signal(os.Interrupt)
			_ = cmd.Process.Kill()
			<-ended
		}
		dsn = "root@unix(" + socket + ")/"
		if err := awaitMariaDB(dsn, ended); err != nil {
			text, _ := os.ReadFile(log.Name())
			end()
			return nil, fmt.Errorf("mariadbd: %w\n%s", err, text)
		}
		return end, nil
	})
	if err != nil {
		return "", func() {}, err
	}
	return dsn, stop, nil
}

// awaitMariaDB waits until the server answers, for a minute at most.
func awaitMariaDB(dsn string, ended <-chan struct{}) error {
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if err = db.Ping(); err == nil {
			return nil
		}
		select {
		case <-ended:
			return err
		default:
			if time.Since(start) > time.Minute {
				return err
			}
		}
	}
}
