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

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/examples/tomo/web"
)

func (c *cli) serveCommand() *cobra.Command {
	addr, proxy := "", false
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run Tomo's web interface and its automatic backups",
		Long: `Run Tomo's web interface and its automatic backups, until it is stopped with
Ctrl-C or SIGTERM. What happens is logged to standard error.

It prints its address. Without a database it makes one as tomo init does, and
without any user the user admin, whose password it prints this once. Whoever
forgets a password gets another one with tomo user password.

Under Settings > System are the backups: what is set there holds for the command
line too. After a restore Tomo goes on with what was restored, without a pause;
whoever is gone from the users, or has another password now, is logged out.

The passphrase is needed at the start, unless --recipient says for whom to seal:
Tomo has secrets, and there is no backup of them without a key.

It speaks HTTP and not HTTPS, so keep it on this machine, or let a reverse proxy
with TLS stand before it, and say so with --proxy: without it all who come through
the proxy are one to the limit of logins, and the cookie is not Secure. With it
Tomo believes X-Forwarded-For and X-Forwarded-Proto, so let nobody reach it but
through the proxy, and have that set both. Without it, where only this machine
reaches Tomo, it answers to localhost, an IP address and the name in --addr.

When it is stopped, what runs has some seconds to end;
a second signal ends it at once.`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, _, err := net.SplitHostPort(addr); err != nil {
				return usagef("--addr %q: want a host and a port such as 127.0.0.1:8080", addr)
			}
			return c.serve(cmd.Context(), addr, proxy)
		},
	}
	cmd.Flags().StringVar(&addr, "addr", "127.0.0.1:8080", "`HOST:PORT` to listen on; port 0 is any that is free")
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
		return nil, fmt.Errorf("listen on %s: %w; if another program is there, stop it or choose another address with --addr", addr, err)
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
	dir := backup.Dir(filepath.Dir(path))
	if err := dir.Make(); err != nil {
		return nil, err
	}
	locker, ok := any(dir).(backup.Locker)
	if !ok {
		return func() error { return nil }, nil
	}
	holder := fmt.Sprintf("tomo serve, process %d, since %s", os.Getpid(), moment(time.Now()))
	unlock, err = locker.Lock(ctx, url.QueryEscape(filepath.Base(path))+"-serve", holder)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return func() error { return nil }, nil
	case errors.Is(err, backup.ErrBusy):
		return nil, fmt.Errorf("there is a server for the database %s already: %s", path, strings.TrimPrefix(err.Error(), backup.ErrBusy.Error()+": "))
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
		_, err := fmt.Fprintf(s.cli.stdout, "Log in as admin with the password %s\nIt is shown this once; change it under Users.\n", password)
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
		s.log.Warn("others in the network can reach Tomo, and read what is sent, passwords too: let a reverse proxy with TLS stand before it")
	}
	if ip.IsUnspecified() {
		host = "localhost"
	}
	_, err = fmt.Fprintf(s.cli.stdout, "Tomo is at http://%s/\n", net.JoinHostPort(host, port))
	return err
}

// nobody is the advice if no admin can log in.
const nobody = "no user can log in as an admin: on the machine that Tomo runs on, run tomo user password NAME with the name of an admin, or with a new one"

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
