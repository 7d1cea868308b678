package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuphttp"
	"github.com/tomo-project/backup/examples/tomo/web"
)

// A server is tomo serve. What it makes of the database it makes anew after a
// restore: guide, "Application will restart". The address stays, who is logged in
// stays as far as the users do, and requests under way end as they began.
type server struct {
	cli      *cli
	log      *slog.Logger
	listener net.Listener
	keys     *keyring
	db       *database
	accounts *web.Accounts
	closers  []func() error

	page     *backuphttp.Handler          // of what was built last
	current  atomic.Pointer[http.Handler] // what answers now
	restored chan struct{}                // a restore has changed the database
	patience time.Duration                // with what runs when the server is stopped
	busy     operations
}

// build makes what is made of the database, and answers with it from now on.
func (s *server) build(ctx context.Context) error {
	settings, err := readSettings(ctx, s.db)
	if err != nil {
		return err
	}
	timeout, err := settings.sessionTimeout()
	if err != nil {
		s.log.Warn("going on with the default", "error", err.Error())
	}
	if err := s.accounts.Reload(ctx, timeout); err != nil {
		return err
	}
	page, err := backuphttp.New(backuphttp.Options{
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
	backups := http.Handler(page)
	if s.page != nil {
		backups = remembering{page, s.page}
	}
	handler := web.New(web.Options{
		Accounts: s.accounts,
		Backups:  backups,
		Version:  version,
		Busy: func(err error) bool {
			code := sqliteCode(err)
			return code == sqlite3.SQLITE_BUSY || code == sqlite3.SQLITE_LOCKED
		},
		Logger: s.log,
	})
	s.page = page
	s.current.Store(&handler)
	return nil
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
	for {
		// Cancelled by those below and not by ctx: what runs may end first.
		running, cancel := context.WithCancel(context.WithoutCancel(ctx))
		ended := make(chan error, 1)
		go func(page *backuphttp.Handler) { ended <- page.Run(running) }(s.page)
		stop := func() {
			cancel()
			<-ended
		}
		select {
		case <-ctx.Done():
			s.stop(httpd, stop, endStreams)
			return nil
		case <-s.restored:
			s.busy.wait(ctx) // so that whoever waits for the restore gets its report
			stop()
			if err := s.build(context.WithoutCancel(ctx)); err != nil {
				return fmt.Errorf("after a restore, which stands, Tomo could not be built anew: %w; start it again", err)
			}
			s.log.Info("restarted after a restore")
		case err := <-served:
			stop()
			return err
		case err := <-ended:
			cancel()
			return fmt.Errorf("backups cannot be made any more: %w", err)
		}
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

// handler answers with what was built last. Streams of events end with streams.
func (s *server) handler(streams context.Context) http.Handler {
	return http.NewCrossOriginProtection().Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.Header.Get("Accept"), "text/event-stream") {
			ctx, cancel := context.WithCancel(r.Context())
			defer cancel()
			defer context.AfterFunc(streams, cancel)()
			r = r.WithContext(ctx)
		}
		(*s.current.Load()).ServeHTTP(w, r)
	}))
}

// afterRestore is Manager.AfterRestore. The restore is not over yet, so that what
// has to follow it follows in run.
func (s *server) afterRestore(ctx context.Context, _ backup.Report) error {
	select {
	case s.restored <- struct{}{}:
	default: // it is to follow already
	}
	ok, err := s.accounts.HasAdmin(ctx)
	if err == nil && !ok {
		s.log.Warn(nobody)
		err = errors.New(nobody)
	}
	return err
}

// remembering is a page for backups that was made anew. What it does not know, such
// as the report of the restore it was made after, the page before it may know.
type remembering struct{ page, before http.Handler }

// ServeHTTP implements [http.Handler].
func (h remembering) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		h.page.ServeHTTP(w, r)
		return
	}
	first := &notFound{ResponseWriter: w}
	h.page.ServeHTTP(first, r)
	if first.is {
		clear(w.Header())
		h.before.ServeHTTP(w, r)
	}
}

// notFound holds an answer back that says that there is nothing.
type notFound struct {
	http.ResponseWriter
	decided, is bool
}

// WriteHeader implements [http.ResponseWriter], as the next two methods do.
func (n *notFound) WriteHeader(status int) {
	if !n.decided && status >= 200 {
		n.decided, n.is = true, status == http.StatusNotFound
	}
	if !n.is {
		n.ResponseWriter.WriteHeader(status)
	}
}

func (n *notFound) Write(p []byte) (int, error) {
	n.decided = true
	if n.is {
		return len(p), nil
	}
	return n.ResponseWriter.Write(p)
}

// Flush implements [http.Flusher].
func (n *notFound) Flush() {
	n.decided = true
	if !n.is {
		http.NewResponseController(n.ResponseWriter).Flush()
	}
}

// Unwrap is for [http.ResponseController].
func (n *notFound) Unwrap() http.ResponseWriter { return n.ResponseWriter }

// operations knows what is changing something, from the events of the Manager.
type operations struct {
	mu      sync.Mutex
	running map[string]bool
	idle    chan struct{} // closed when nothing runs any more; nil: nothing does
}

// note is Manager.OnEvent.
func (o *operations) note(e backup.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case e.Kind == backup.EventStarted:
		if o.running == nil {
			o.running = map[string]bool{}
		}
		o.running[e.Operation] = true
		if o.idle == nil {
			o.idle = make(chan struct{})
		}
	case e.Kind == backup.EventDone, e.Kind == backup.EventFailed && e.Location == "":
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
