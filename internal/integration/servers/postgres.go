package servers

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// PostgresVariable is the environment variable with the URL of a server that is
// used instead of a new one. Its user must be allowed to create databases.
const PostgresVariable = "BACKUP_TEST_POSTGRES"

// PostgresBinVariable is the environment variable with the folder of the commands of
// the PostgreSQL that is started, for a version that is not installed.
const PostgresBinVariable = "BACKUP_TEST_POSTGRES_BIN"

// Postgres starts a PostgreSQL server that syncs nothing. Its data is in a new
// folder in the first of parents where that is possible, or else in the folder
// of temporary files. stop, which is never nil, stops the server.
func Postgres(parents ...string) (server string, stop func(), err error) {
	if server := os.Getenv(PostgresVariable); server != "" {
		return server, func() {}, nil
	}
	bin, err := PostgresBinaries()
	if err != nil {
		return "", func() {}, fmt.Errorf("no PostgreSQL: %w; install it (apt-get install postgresql), or set %s to the URL of a server", err, PostgresVariable)
	}
	stop, err = inDir(parents, "pg-", "postgres", func(dir string) (_ func(), err error) {
		s := pgServer{bin, dir}
		if err := s.run("initdb", "-D", s.data(), "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-locale", "--no-sync"); err != nil {
			return nil, err
		}
		server, err = s.start("")
		return s.stop, err
	})
	if err != nil {
		return "", func() {}, err
	}
	return server, stop, nil
}

// PostgresStandby starts a hot standby of a server that listens on a socket, as Postgres
// starts that server. The standby waits for no query before it replays a change.
func PostgresStandby(primary string, parents ...string) (server string, stop func(), err error) {
	bin, err := PostgresBinaries()
	if err != nil {
		return "", func() {}, fmt.Errorf("no PostgreSQL: %w; install it (apt-get install postgresql)", err)
	}
	stop, err = inDir(parents, "pg-", "postgres", func(dir string) (_ func(), err error) {
		s := pgServer{bin, dir}
		if err := s.run("pg_basebackup", "-d", primary, "-D", s.data(), "-R", "-X", "stream", "-c", "fast", "--no-sync"); err != nil {
			return nil, err
		}
		server, err = s.start(" -c hot_standby=on -c max_standby_streaming_delay=0")
		return s.stop, err
	})
	if err != nil {
		return "", func() {}, err
	}
	return server, stop, nil
}

// A pgServer is a server with its data in a folder.
type pgServer struct{ bin, dir string }

func (s pgServer) data() string { return filepath.Join(s.dir, "data") }

// run runs a command, which refuses to be root.
func (s pgServer) run(name string, args ...string) error {
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	if os.Getuid() == 0 {
		cmd = exec.Command("runuser", append([]string{"-u", "postgres", "--", cmd.Path}, args...)...)
	}
	cmd.Dir = s.dir
	log, err := os.Create(filepath.Join(s.dir, name+".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log // a pipe would stay open as long as the server
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(log.Name())
		return fmt.Errorf("%s: %w\n%s", name, err, text)
	}
	return nil
}

func (s pgServer) stop() { _ = s.run("pg_ctl", "-D", s.data(), "-m", "fast", "stop") }

// start starts the server with more options, and returns its URL.
func (s pgServer) start(more string) (server string, err error) {
	options := "-c listen_addresses= -c unix_socket_directories=" + s.dir + " -c fsync=off -c full_page_writes=off -c max_connections=100" + more
	if err := s.run("pg_ctl", "-D", s.data(), "-w", "-l", filepath.Join(s.dir, "server.log"), "-o", options, "start"); err != nil {
		s.stop()
		return "", err
	}
	return "postgres://postgres@/postgres?host=" + url.QueryEscape(s.dir), nil
}

// PostgresBinaries returns the folder of initdb, pg_dump and the other
// commands.
func PostgresBinaries() (string, error) {
	if bin := os.Getenv(PostgresBinVariable); bin != "" {
		return bin, nil
	}
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
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
