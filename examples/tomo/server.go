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

// A server is tomo serve. It goes on after a restore, with what was restored: the page
// for backups reads its settings again, who is logged in stays as far as the users do,
// and all else is read for each request. The guide's "Application will restart" needs
// no more than that.
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
	patience time.Duration // with what runs when the server is stopped
	bodyTime time.Duration // for a request to be there as a whole; uploads take longer
	proxy    bool          // a reverse proxy says who sends a request, and how
	name     string        // that this machine is called in --addr
	busy     operations
}

// build makes what answers.
func (s *server) build(ctx context.Context) (err error) {
	if err := s.reload(ctx); err != nil {
		return err
	}
	s.page, err = backuphttp.New(backuphttp.Options{
		Automation: automation{s},
		Authorize:  s.accounts.Authorize,
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

// reload takes over what the database says of sessions.
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

// run answers requests and makes the scheduled backups until ctx is done.
func (s *server) run(ctx context.Context) error {
	streams, endStreams := context.WithCancel(context.Background())
	defer endStreams()
	httpd := &http.Server{
		Handler:           s.handler(streams),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		// Downloads and streams of events take as long as they take, so there is no
		// WriteTimeout; forms have a time of their own.
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	defer httpd.Close()
	served := make(chan error, 1)
	go func() { served <- httpd.Serve(s.listener) }()
	// Cancelled by those below and not by ctx: what runs may end first.
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
		return fmt.Errorf("backups cannot be made any more: %w", err)
	}
}

// stop takes no more requests, and lets what runs end before it ends it.
func (s *server) stop(httpd *http.Server, stopPage, endStreams func()) {
	s.log.Info("stopping: what runs has some seconds to end; a second signal ends it at once")
	soon, cancel := context.WithTimeout(context.Background(), s.patience)
	defer cancel()
	down := make(chan error, 1)
	go func() { down <- httpd.Shutdown(soon) }()
	if s.busy.wait(soon) != nil {
		s.log.Warn("what was running is cancelled, and leaves nothing half done")
	}
	stopPage()
	endStreams()
	if <-down != nil {
		s.log.Warn("requests that did not end were cut off")
	}
	s.log.Info("stopped; what is due is made up for at the next start")
}

// handler is what every request goes through. Streams of events end with streams.
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
			// Also for who refuses a request, or does not look at what is sent with it:
			// the server reads that before it answers. Who takes uploads moves it on, and
			// at the end of the body the server takes it off. An error means that there
			// is no deadline to set, as in a test.
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.bodyTime))
		}
		if !s.calledRightly(r) {
			http.Error(w, "Tomo listens on this machine only, and is not called "+strconv.Quote(r.Host)+": open it as localhost. Behind a reverse proxy, start tomo serve with --proxy.", http.StatusMisdirectedRequest)
			return
		}
		pages.ServeHTTP(w, r)
	})
}

// calledRightly tells whether a request is for this machine by name. On a listener
// that others do not reach, a page of another site could reach it all the same, under a
// name of its own that leads here: it would be of the same origin then. Behind a proxy
// others reach it anyway.
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

// afterRestore is Manager.AfterRestore. The page for backups reads its settings again
// by itself, when the restore is over. The restore stands whatever fails here.
func (s *server) afterRestore(ctx context.Context, _ backup.Report) error {
	s.log.Info("going on with what was restored")
	if err := s.reload(ctx); err != nil { // each request is held against the users all the same
		s.log.Error("the settings of sessions are as before the restore", "error", err.Error())
	}
	ok, err := s.accounts.HasAdmin(ctx)
	if err == nil && !ok {
		s.log.Warn(nobody)
		err = errors.New(nobody)
	}
	return err
}

// operations knows what is changing something, from the events of the Manager.
type operations struct {
	mu      sync.Mutex
	running map[string]bool
	idle    chan struct{} // closed when nothing runs any more; nil: nothing does
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

// wait returns when nothing runs, or the error of ctx.
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
