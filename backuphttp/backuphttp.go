// Package backuphttp is the page "Backup & Restore" that a host mounts in its web
// interface (guide, "From the Web Interface"), with a JSON API beside it.
//
//	page, err := backuphttp.New(backuphttp.Options{
//		Manager:   manager,
//		Authorize: func(r *http.Request, a backuphttp.Action) error { … },
//	})
//	mux.Handle("/settings/backup/", page)
//	go page.Run(ctx)
//
// The page is HTML, CSS and a little JavaScript in the binary of the host. It asks
// no other server for anything, and works without JavaScript.
//
// # What runs where
//
// A restore must not end because somebody closes a tab. So what a person starts on
// the page runs in [Handler.Run], one thing at a time, and Run also makes the
// scheduled backups. Until it is called, and after it has ended, the page shows
// what there is and starts nothing.
//
// # Security
//
// Authorize is asked before anything else is done with a request, and there is no
// default. State changes by POST, PUT and DELETE only, and not for a page of another
// origin ([http.CrossOriginProtection]). Responses may not be framed, run no script
// but their own and are kept by no cache. Uploads are bounded in size and number,
// tries of a key in their rate, and a client that stops sending or reading for half a
// minute is cut off. What is typed in as a key is kept in memory as long as the backup
// that it opens is looked at, and comes back in no response and no log line.
//
// Who may [View] sees the names of the locations ([location.Location]), and what the
// library says of a failure. What the host's own code says goes to the Logger only,
// but for the error of Automation.Manager.
//
// # API
//
// Below api/ is what the page does for programs, in JSON. It is described by
// api/openapi.json, which needs [View].
package backuphttp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/tomo-project/backup/manager"

	"github.com/tomo-project/backup"
)

// Options say what the page shows and who may use it. Authorize is required, and
// either Manager or Automation.
type Options struct {
	// Manager keeps the backups. New sets its OnEvent, which goes on to call what was
	// there; it must not have been used before.
	Manager *manager.Manager

	// Automation, if not nil, has people change schedule, retention and locations on
	// the page, and makes the Manager that belongs to what they have set. Nil: they
	// are shown as they are in Manager.
	Automation Automation

	// Authorize says whether who sent a request may do something: nil if they may. It
	// is asked for every request before anything else is done, and again for what a
	// page shows to those who may. r is as it was sent. An error that wraps ErrLogin is
	// answered with 401, or where a person asks for a page and there is a Login, with
	// the way to it; any other with 403. Its text is not shown.
	Authorize func(r *http.Request, a Action) error

	// Path is where the page is mounted, "/settings/backup/". Empty means what the
	// pattern of the http.ServeMux says.
	Path string

	// Login is the URL of the host's page where people log in, and Home that to
	// which "Back" leads. Empty: there is none.
	Login, Home string

	// Identities returns what a person has typed or pasted in to open a backup, as
	// Identities. Nil: a passphrase, or the text of a key file of age or an SSH
	// private key without a passphrase.
	Identities func(text []byte) ([]backup.Identity, error)

	// MaxUpload is the most bytes that an uploaded backup may have. 0 means 4 GiB.
	MaxUpload int64

	// TempDir is where uploads are kept meanwhile, for an hour without use at the
	// most, in files that nobody else can open. There are at most 8 of them with
	// twice MaxUpload bytes together: the one that was not used for longest makes
	// room. Empty means os.TempDir.
	TempDir string

	// Title is what the page calls the host, "Tomo". Empty means App.Name.
	Title string

	// Logger, if not nil, is told of requests that failed for a reason that the
	// browser is not told.
	Logger *slog.Logger
}

// ErrLogin is for Authorize: nobody is logged in.
var ErrLogin = errors.New("backuphttp: nobody is logged in")

// An Action is what somebody wants to do.
type Action string

const (
	View      Action = "view"      // see what backups and settings there are
	Create    Action = "create"    // make a backup, verify one
	Download  Action = "download"  // get the file of one: all data but sealed secrets
	Restore   Action = "restore"   // upload, look into a backup, plan, restore, undo, salvage
	Delete    Action = "delete"    // delete a backup, prune, accept a loss
	Configure Action = "configure" // change settings
)

// A Handler is the page. Make one with New.
type Handler struct {
	opts     Options
	api      http.Handler
	page     http.Handler
	people   *pages // what page serves
	guard    http.CrossOriginProtection
	tries    tries
	patience time.Duration // with a client that sends or reads nothing
	moment   time.Duration // for which who starts a job waits for its end
	beat     time.Duration // of events
	opening  chan struct{} // has an element while a backup is being opened

	mu        sync.Mutex
	manager   *manager.Manager
	set       Settings  // that it was made of, where there is an Automation
	since     time.Time // when they were saved; zero: not by this process
	running   *running  // nil: Run does not run
	busy      string    // what runs in it, alone; empty: nothing
	current   *task     // the job that it is, unless it is none
	scheduled *task     // the scheduled backup that runs
	tasks     []*task   // the last ones, newest last
	version   int64     // of tasks
	watchers  map[chan struct{}]bool
	verdicts  map[string]verdict // by name of backup
	failures  []failure          // of scheduled backups
	restores  map[string]*restore
	spooled   int64 // bytes in temporary files
}

// New returns the page. It returns an error if Options lack what is required, and
// that of Automation.
func New(opts Options) (*Handler, error) {
	h := &Handler{
		opts:     opts,
		patience: 30 * time.Second,
		moment:   time.Second,
		beat:     eventsBeat,
		opening:  make(chan struct{}, 1),
		watchers: make(map[chan struct{}]bool),
		verdicts: make(map[string]verdict),
		restores: make(map[string]*restore),
	}
	if err := h.init(); err != nil {
		return nil, fmt.Errorf("backuphttp: %w", err)
	}
	h.opts.Authorize = func(r *http.Request, a Action) error { return opts.Authorize(asSent(r), a) }
	h.api = h.routes()
	h.people = h.pages()
	h.page = h.people.handler()
	return h, nil
}

func (h *Handler) init() error {
	o := &h.opts
	switch {
	case o.Authorize == nil:
		return errors.New("no Authorize: say who may do what")
	case (o.Manager == nil) == (o.Automation == nil):
		return errors.New("want either a Manager or an Automation")
	case o.Path != "" && !strings.HasPrefix(o.Path, "/"):
		return fmt.Errorf("the Path %q does not begin with a slash", o.Path)
	case o.MaxUpload < 0:
		return fmt.Errorf("a MaxUpload of %d is less than none", o.MaxUpload)
	}
	if o.MaxUpload == 0 {
		o.MaxUpload = 4 << 30
	}
	if o.Identities == nil {
		o.Identities = identities
	}
	m, s := o.Manager, Settings{}
	if m == nil {
		var err error
		if s, err = o.Automation.Settings(context.Background()); err != nil {
			return err
		}
		if m, err = h.managerOf(context.Background(), s); err != nil {
			return err
		}
	}
	if err := m.Validate(); err != nil {
		return err
	}
	h.adopt(m, s)
	return nil
}

// adopt makes a Manager the one that is shown and used.
func (h *Handler) adopt(m *manager.Manager, s Settings) {
	before := m.OnEvent
	m.OnEvent = func(e manager.Event) {
		h.event(e)
		if before != nil {
			before(e)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.manager, h.set = m, s
}

// now returns the Manager that is in use.
func (h *Handler) now() *manager.Manager {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.manager
}

// title is what the page calls the host.
func (h *Handler) title() string { return cmp.Or(h.opts.Title, h.now().App.Name) }
