package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tomo-project/backup/examples/tomo/web"
	"github.com/tomo-project/backup/location"
)

func (c *cli) serveCommand() *cobra.Command {
	addr, proxy := "", false
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run Tomo's web interface and its automatic backups",
		Long: `Run Tomo's web interface and its automatic backups, until stopped with Ctrl-C or
SIGTERM. The log goes to standard error.

The command prints its address. If there is no database, it makes one as tomo
init does. If there are no users, it makes the user admin and prints the
password once. For a forgotten password, tomo user password sets a new one.

The backups are under Settings > System. What is set there also holds for the
command line. After a restore Tomo goes on with the restored data, without a
pause. Users who are gone, or have another password now, are logged out.

The passphrase is needed at the start, unless --recipient is given: Tomo has
secrets, and makes no backup of them without a key.

The server speaks HTTP and not HTTPS. Keep it on this machine, or put a reverse
proxy with TLS in front of it and say so with --proxy. Then the server believes
X-Forwarded-For and X-Forwarded-Proto: the proxy must set both, and nobody may
reach the server except through the proxy. Without --proxy, all who come through
a proxy share one limit of logins, and the cookie is not Secure. Without
--proxy, and if only this machine reaches it, the server answers only to
localhost, an IP address and the name in --addr.

When the server is stopped, running operations have some seconds to end. A
second signal ends it at once.`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, _, err := net.SplitHostPort(addr); err != nil {
				return usagef("--addr %q: want a host and a port such as 127.0.0.1:8080", addr)
			}
			return c.serve(cmd.Context(), addr, proxy)
		},
	}
	cmd.Flags().StringVar(&addr, "addr", "127.0.0.1:8080", "`HOST:PORT` to listen on; port 0 means any free port")
	cmd.Flags().BoolVar(&proxy, "proxy", false, "a reverse proxy in front sets X-Forwarded-For and X-Forwarded-Proto")
	c.openFlags(cmd)
	c.sealFlags(cmd)
	return cmd
}

// serve runs the server until ctx is done. That is no error.
func (c *cli) serve(ctx context.Context, addr string, proxy bool) error {
	s, err := c.newServer(ctx, addr, proxy)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.greet(ctx); err != nil {
		return err
	}
	return s.run(ctx)
}

// newServer does everything that can fail before the first request is answered.
// It makes a new database last.
func (c *cli) newServer(ctx context.Context, addr string, proxy bool) (_ *server, err error) {
	path, err := c.databaseFile()
	if err != nil {
		return nil, err
	}
	s := &server{cli: c, log: c.logger(), patience: 10 * time.Second, bodyTime: 30 * time.Second, proxy: proxy}
	if s.name, _, err = net.SplitHostPort(addr); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	unlock, err := lockServer(ctx, path)
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, unlock)
	if s.listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", addr); err != nil {
		return nil, fmt.Errorf("listen on %s: %w; if another program uses the address, stop it or choose another with --addr", addr, err)
	}
	s.closers = append(s.closers, func() error {
		if err := s.listener.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	if s.keys, err = c.keys(ctx); err != nil {
		return nil, err
	}
	if _, err := s.keys.sealing(c.seal.encrypt); err != nil { // now, while somebody can still be asked
		return nil, err
	}
	if !exists(path) {
		if err := c.makeDatabase(ctx, path, 0); err != nil {
			return nil, err
		}
		c.printMade(path)
	}
	if s.db, err = c.openDatabase(ctx); err != nil {
		return nil, err
	}
	s.closers = append(s.closers, s.db.Close)
	first := !exists(installationFile(path))
	if s.db.installation, err = installation(ctx, path); err != nil {
		s.log.Warn("going on without the id of this installation", "error", err.Error())
	}
	if first {
		if err := makeOwnFolder(path); err != nil { // people can choose another folder on the page
			s.log.Warn("no folder for backups", "error", err.Error())
		}
	}
	s.accounts = web.NewAccounts(s.db.store, s.log)
	s.accounts.Proxy = proxy
	return s, s.build(ctx)
}

// lockServer refuses a second server on one database: neither would know what
// the other restores. The lock ends with the process.
func lockServer(ctx context.Context, path string) (unlock func() error, err error) {
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	dir := location.Dir(filepath.Dir(path))
	if err := dir.Make(); err != nil {
		return nil, err
	}
	locker, ok := any(dir).(location.Locker)
	if !ok {
		return func() error { return nil }, nil
	}
	holder := fmt.Sprintf("tomo serve, process %d, since %s", os.Getpid(), moment(time.Now()))
	unlock, err = locker.Lock(ctx, url.QueryEscape(filepath.Base(path))+"-serve", holder)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return func() error { return nil }, nil
	case errors.Is(err, location.ErrBusy):
		return nil, fmt.Errorf("there is a server for the database %s already: %s", path, strings.TrimPrefix(err.Error(), location.ErrBusy.Error()+": "))
	}
	return unlock, err
}

// greet prints the address. If there is no user yet, it also makes one and
// prints the password.
func (s *server) greet(ctx context.Context) error {
	password, err := s.accounts.First(ctx)
	if err != nil {
		return err
	}
	if password != "" {
		_, err := fmt.Fprintf(s.cli.stdout, "Log in as admin with the password %s\nIt is shown only once; change it under Users.\n", password)
		if err != nil {
			return fmt.Errorf("the password of admin could not be printed: %w; set another one with tomo user password admin", err)
		}
	}
	switch ok, err := s.accounts.HasAdmin(ctx); {
	case err != nil:
		return err
	case !ok:
		s.log.Warn(nobody)
	}
	host, port, err := net.SplitHostPort(s.listener.Addr().String())
	if err != nil {
		return err
	}
	ip := net.ParseIP(host)
	if !ip.IsLoopback() && !s.proxy {
		s.log.Warn("others in the network can reach Tomo and read what is sent, even passwords: put a reverse proxy with TLS in front of it")
	}
	if ip.IsUnspecified() {
		host = "localhost"
	}
	_, err = fmt.Fprintf(s.cli.stdout, "Tomo is at http://%s/\n", net.JoinHostPort(host, port))
	return err
}

// nobody is the advice if no admin can log in.
const nobody = "no user can log in as an admin: on the machine where Tomo runs, run tomo user password NAME with the name of an admin, or with a new name"

// close undoes newServer, in reverse order.
func (s *server) close() {
	for len(s.closers) > 0 {
		last := len(s.closers) - 1
		if err := s.closers[last](); err != nil {
			s.log.Error("close", "error", err.Error())
		}
		s.closers = s.closers[:last]
	}
}
