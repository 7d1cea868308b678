package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuphttp"
	"github.com/tomo-project/backup/examples/tomo/web"
	"github.com/tomo-project/backup/manager"
)

// A server is the command tomo serve. It goes on after a restore, with the
// restored data: the page for backups reads its settings again, sessions stay
// as far as their users do, and everything else is read for each request. That
// is all that "Application will restart" in the guide needs.
type server struct {
	cli      *cli
	log      *slog.Logger
	listener net.Listener
	keys     *keyring
	db       *database
	accounts *web.Accounts
	closers  []func() error

	page     *backuphttp.Handler
	pages    http.Handler
	patience time.Duration // how long running operations may take after the server is stopped
	bodyTime time.Duration // how long a request may take to arrive; uploads may take longer
	proxy    bool          // a reverse proxy sets who sends a request, and whether it came by TLS
	name     string        // the name of this machine in --addr
	busy     operations
}

// build makes the handlers.
func (s *server) build(ctx context.Context) (err error) {
	if err := s.reload(ctx); err != nil {
		return err
	}
	s.page, err = backuphttp.New(backuphttp.Options{
		Automation: automation{s},
		Authorize:  s.accounts.Authorize,
		Client:     s.accounts.Client,
		Path:       web.BackupsPath,
		Login:      web.LoginPath + "?next=" + url.QueryEscape(web.BackupsPath),
		Home:       "/",
		Title:      "Tomo",
		Logger:     s.log,
	})
	if err != nil {
		return err
	}
	s.pages = web.New(web.Options{
		Accounts: s.accounts,
		Backups:  s.page,
		Version:  version,
		Busy: func(err error) bool {
			code := sqliteCode(err)
			return code == sqlite3.SQLITE_BUSY || code == sqlite3.SQLITE_LOCKED
		},
		Logger: s.log,
	})
	return nil
}

// reload takes over the settings and the users of sessions from the database.
func (s *server) reload(ctx context.Context) error {
	settings, err := readSettings(ctx, s.db)
	if err != nil {
		return err
	}
	timeout, err := settings.sessionTimeout()
	if err != nil {
		s.log.Warn("going on with the default", "error", err.Error())
	}
	return s.accounts.Reload(ctx, timeout)
}

// run answers requests and makes the scheduled backups, until ctx is done.
func (s *server) run(ctx context.Context) error {
	streams, endStreams := context.WithCancel(context.Background())
	defer endStreams()
	httpd := &http.Server{
		Handler:           s.handler(streams),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		// There is no WriteTimeout, because downloads and streams of events
		// take as long as they need. Forms have a limit of their own.
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	defer httpd.Close()
	served := make(chan error, 1)
	go func() { served <- httpd.Serve(s.listener) }()
	// ctx does not cancel it: running operations may end first.
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- s.page.Run(running) }()
	stop := func() {
		cancel()
		<-ended
	}
	select {
	case <-ctx.Done():
		s.stop(httpd, stop, endStreams)
		return nil
	case err := <-served:
		stop()
		return err
	case err := <-ended:
		return fmt.Errorf("the automatic backups have ended: %w", err)
	}
}

// stop accepts no more requests. Then it waits for running operations, and ends
// them if they take too long.
func (s *server) stop(httpd *http.Server, stopPage, endStreams func()) {
	s.log.Info("stopping: running operations have some seconds to end; a second signal ends them at once")
	soon, cancel := context.WithTimeout(context.Background(), s.patience)
	defer cancel()
	down := make(chan error, 1)
	go func() { down <- httpd.Shutdown(soon) }()
	if s.busy.wait(soon) != nil {
		s.log.Warn("what was running is cancelled; nothing is left half done")
	}
	stopPage()
	endStreams()
	if <-down != nil {
		s.log.Warn("requests that did not end were cut off")
	}
	s.log.Info("stopped; missed backups are made up for at the next start")
}

// handler wraps every request. Streams of events end with streams.
func (s *server) handler(streams context.Context) http.Handler {
	pages := http.NewCrossOriginProtection().Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.Header.Get("Accept"), "text/event-stream") {
			ctx, cancel := context.WithCancel(r.Context())
			defer cancel()
			defer context.AfterFunc(streams, cancel)()
			r = r.WithContext(ctx)
		}
		s.pages.ServeHTTP(w, r)
	}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body != nil && r.Body != http.NoBody {
			// The deadline also holds where a request is refused, or its body
			// is not read: the server reads the body before it answers. A
			// handler of uploads extends the deadline, and the server removes
			// it at the end of the body. An error means that no deadline can be
			// set, as in a test.
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.bodyTime))
		}
		if !s.calledRightly(r) {
			http.Error(w, "Tomo listens on this machine only, and is not called "+strconv.Quote(r.Host)+": open it as localhost. Behind a reverse proxy, start tomo serve with --proxy.", http.StatusMisdirectedRequest)
			return
		}
		pages.ServeHTTP(w, r)
	})
}

// calledRightly tells whether a request calls this machine by its own name. If
// the listener is not open to others, a page of another site could still reach
// it, under a name of that site that leads here. The page would then have the
// same origin. Behind a proxy others reach it anyway.
func (s *server) calledRightly(r *http.Request) bool {
	local, ok := s.listener.Addr().(*net.TCPAddr)
	if s.proxy || !ok || !local.IP.IsLoopback() {
		return true
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	_, err := netip.ParseAddr(host)
	return err == nil || strings.EqualFold(host, "localhost") || s.name != "" && strings.EqualFold(host, s.name)
}

// afterRestore is Manager.AfterRestore. When the restore is over, the page for
// backups reads its settings again by itself. Whatever fails here, the restore
// stands.
func (s *server) afterRestore(ctx context.Context, _ backup.Report) error {
	s.log.Info("going on with what was restored")
	if err := s.reload(ctx); err != nil { // each request is checked against the users anyway
		s.log.Error("the settings of sessions are those from before the restore", "error", err.Error())
	}
	ok, err := s.accounts.HasAdmin(ctx)
	if err == nil && !ok {
		s.log.Warn(nobody)
		err = errors.New(nobody)
	}
	return err
}

// operations knows from the events of the Manager whether something is being
// changed.
type operations struct {
	mu      sync.Mutex
	running map[string]bool
	idle    chan struct{} // closed when nothing is running any more; nil if nothing is running
}

// note is Manager.OnEvent.
func (o *operations) note(e manager.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case e.Kind == manager.EventStarted:
		if o.running == nil {
			o.running = map[string]bool{}
		}
		o.running[e.Operation] = true
		if o.idle == nil {
			o.idle = make(chan struct{})
		}
	case e.Kind == manager.EventDone, e.Kind == manager.EventFailed && e.Location == "":
		delete(o.running, e.Operation)
		if len(o.running) == 0 && o.idle != nil {
			close(o.idle)
			o.idle = nil
		}
	}
}

// wait returns when nothing is running, or with the error of ctx.
func (o *operations) wait(ctx context.Context) error {
	for {
		o.mu.Lock()
		idle := o.idle
		o.mu.Unlock()
		if idle == nil {
			return nil
		}
		select {
		case <-idle:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
