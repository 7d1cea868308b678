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
// The page is HTML, CSS and a little JavaScript, built into the binary of the host.
// It loads nothing from other servers, and it works without JavaScript.
//
// # What runs where
//
// A restore must not end because somebody closes a tab. So what a person starts on
// the page runs in [Handler.Run], one thing at a time. Run also makes the scheduled
// backups. While Run does not run, the page shows the backups and starts nothing.
//
// # Security
//
// The Handler calls Authorize before it does anything else with a request, and there
// is no default for it. Only POST, PUT and DELETE change something, and not when a
// page of another origin sends them ([http.CrossOriginProtection]). No other page can
// frame a response, no response runs a script from elsewhere, and no cache keeps one.
// The size of uploads is limited, and so is the rate at which keys can be tried. At a
// time there are at most 4 uploads, 16 downloads and 64 streams of events, 4 of them of
// one client (Options.Client). A client that sends or reads nothing for half a minute is cut off, and so
// is a file that after an hour has come or gone at less than 32 KiB a second. The host's
// http.Server needs a ReadHeaderTimeout against clients that send no whole request. The
// Handler keeps a key that a person types in memory while the person looks into the
// backup. It never puts the key into a response or a log line.
//
// A person who may [View] sees the names of the locations ([location.Location]) and the
// library's errors. Errors of the host's own code go to the Logger only, except those
// of Automation.Manager.
//
// # API
//
// Below api/, programs find all that the page does, in JSON. The document
// api/openapi.json describes it; reading it takes [View]. A monitor asks api/health.
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

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/fault"
	"github.com/tomo-project/backup/manager"
)

// Options say what the page shows and who may use it. They need an Authorize, and
// either a Manager or an Automation.
type Options struct {
	// Manager keeps the backups. It must not have been used before. New sets its
	// OnEvent to a function that also calls the former one.
	Manager *manager.Manager

	// Automation, if not nil, lets people change schedule, retention and locations on
	// the page, and makes the Manager for what they have set. If it is nil, the page
	// shows those of Manager, and nobody can change them.
	Automation Automation

	// Authorize returns nil if the sender of a request may do something. The Handler
	// calls it for every request before anything else, again to decide which buttons a
	// page shows, and again and again while it sends events: Authorize should look the
	// session up each time. r is the request as it was sent. If the error wraps
	// ErrLogin, the answer is 401, or a redirect to Login when a person asks for a page
	// and Login is set. For any other error the answer is 403. The text of the error is
	// not shown.
	Authorize func(r *http.Request, a Action) error

	// Client tells clients apart, so that none takes all places for streams of events. It
	// returns what Authorize goes by: the name of the user, or the value of the cookie of
	// the session, and never a header that the sender chooses. If Client is nil or returns
	// "", clients are told apart by their address. Behind a proxy all have the same.
	Client func(r *http.Request) string

	// Path is where the page is mounted, such as "/settings/backup/". If it is empty,
	// the pattern of the http.ServeMux says where.
	Path string

	// Login is the URL of the host's page where people log in. Home is the URL to
	// which "Back" leads. Each may be empty: then there is no such page.
	Login, Home string

	// Identities makes keys of the text that a person has typed or pasted in to open a
	// backup. If it is nil, the text is a passphrase, an age key file, or an SSH private
	// key that has no passphrase.
	Identities func(text []byte) ([]backup.Identity, error)

	// MaxUpload is the largest size of an uploaded backup, in bytes. 0 means 4 GiB. A
	// file that is too large for the Limits of the Manager is refused as well.
	MaxUpload int64

	// TempDir is the folder for uploaded backups, in files that nobody else can open.
	// An upload is deleted when nobody has used it for an hour. At most 8 are kept, of
	// at most twice MaxUpload bytes together: the one that was unused for the longest
	// time makes room. Empty means os.TempDir.
	TempDir string

	// Title is the name of the host for people, such as "Tomo". Empty means App.Name.
	Title string

	// Logger, if not nil, gets the errors that the browser is not shown.
	Logger *slog.Logger
}

// ErrLogin is what Authorize returns if nobody is logged in.
var ErrLogin = errors.New("backuphttp: nobody is logged in")

// An Action is something that a person or a program wants to do.
type Action string

const (
	View      Action = "view"      // see the backups and the settings
	Create    Action = "create"    // make a backup, verify a backup
	Download  Action = "download"  // get the file of a backup: all data but sealed secrets
	Restore   Action = "restore"   // upload, look into a backup, plan, restore, undo, salvage
	Delete    Action = "delete"    // delete a backup, prune, accept a loss
	Configure Action = "configure" // change settings

	// Health is learning in one word how well the data is protected, and nothing else. A
	// host may allow it to a monitor that does not log in.
	Health Action = "health"
)

// A Handler is the page. Make one with New.
type Handler struct {
	opts     Options
	api      http.Handler
	page     http.Handler
	people   *pages // what page serves
	guard    http.CrossOriginProtection
	tries    tries
	patience time.Duration // how long a client may send or read nothing
	moment   time.Duration // how long the answer to the start of a job waits for its end
	pause    time.Duration // between two events: a job may change often
	beat     time.Duration // between two signs of life among the events
	life     time.Duration // of a stream of events
	trust    time.Duration // how long a stream relies on an answer of Authorize
	opening  chan struct{} // has an element while a backup is being opened

	uploads, downloads, streams *room

	mu        sync.Mutex
	manager   *manager.Manager
	set       Settings  // the manager was made of them; empty without an Automation
	since     time.Time // when the schedule was set; zero: not by this process
	running   *running  // nil: Run does not run
	busy      string    // what runs alone in Run; empty: nothing
	current   *task     // the same, if it is a job
	scheduled *task     // the scheduled backup that is being made
	tasks     []*task   // the last jobs, newest last
	version   int64     // grows with each change of a task
	watchers  map[chan struct{}]bool
	verdicts  map[string]verdict // by the name of the backup
	failures  []failure          // of scheduled backups
	otherKey  string             // what Run has said of a key that has changed; empty: nothing
	restores  map[string]*restore
	health    health
	spooled   int64 // bytes in temporary files
}

// New returns the page. It returns an error if Options lack something, and the error
// of the Automation if that fails.
func New(opts Options) (*Handler, error) {
	h := &Handler{
		opts:     opts,
		patience: 30 * time.Second,
		moment:   time.Second,
		pause:    200 * time.Millisecond,
		beat:     15 * time.Second,
		life:     10 * time.Minute,
		trust:    time.Second,
		opening:  make(chan struct{}, 1),

		uploads:   newRoom(mostUploads, mostUploads),
		downloads: newRoom(mostDownloads, mostDownloads),
		streams:   newRoom(mostStreams, streamsOfClient),

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

// given returns an error unless the Handler was made by New.
func (h *Handler) given() error {
	if h == nil || h.api == nil {
		return fmt.Errorf("backuphttp: %w: the Handler is empty: make it with New", backup.ErrInvalid)
	}
	return nil
}

func (h *Handler) init() error {
	o := &h.opts
	switch {
	case o.Automation != nil && fault.IsNil(o.Automation):
		return fault.Missing("Automation", o.Automation)
	case o.Authorize == nil:
		return errors.New("Options have no Authorize: say who may do what")
	case (o.Manager == nil) == (o.Automation == nil):
		return errors.New("Options need either a Manager or an Automation")
	case o.Path != "" && !strings.HasPrefix(o.Path, "/"):
		return fmt.Errorf("the Path %q does not begin with a slash", o.Path)
	case o.MaxUpload < 0:
		return fmt.Errorf("MaxUpload is %d: it must not be negative", o.MaxUpload)
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

// adopt puts a Manager into use, with the settings that it was made of.
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
	h.manager, h.set, h.otherKey = m, s, ""
}

// now returns the Manager that is in use.
func (h *Handler) now() *manager.Manager {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.manager
}

// title returns the name of the host for people.
func (h *Handler) title() string { return cmp.Or(h.opts.Title, h.now().App.Name) }
