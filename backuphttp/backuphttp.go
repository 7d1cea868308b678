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
package backuphttp

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/tomo-project/backup"
)

// Options say what the page shows and who may use it. Authorize is required, and
// either Manager or Automation.
type Options struct {
	// Manager keeps the backups. New sets its OnEvent, which goes on to call what was
	// there; it must not have been used before.
	Manager *backup.Manager

	// Automation, if not nil, has people change schedule, retention and locations on
	// the page, and makes the Manager that belongs to what they have set. Nil: they
	// are shown as they are in Manager.
	Automation Automation

	// Authorize says whether who sent a request may do something: nil if they may. It
	// is asked for every request before anything else is done. An error that wraps
	// ErrLogin is answered with 401, or where a person asks for a page and there is
	// a Login, with the way to it; any other with 403. Its text is not shown.
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

	// TempDir is where uploads are kept meanwhile, for an hour at the most. Empty
	// means os.TempDir.
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

// Settings are what people set under "Automated Backups" of the guide.
type Settings struct {
	Enabled  bool   `json:"enabled"`
	Schedule string `json:"schedule"` // "daily", "weekly" or "monthly"
	Weekday  string `json:"weekday"`  // of a weekly one: "sunday"
	Time     string `json:"time"`     // of day: "02:30"
	Zone     string `json:"zone"`     // of Time: "Europe/Berlin"; empty: that of the server

	// KeepLast and KeepDays are the retention: rules add up, and if both are 0 all
	// are kept.
	KeepLast int `json:"keep_last"`
	KeepDays int `json:"keep_days"`

	// Locations are where backups are kept, in the words of the host: absolute
	// paths of folders, usually. Empty means its default.
	Locations []string `json:"locations"`
}

// An Automation keeps Settings and makes of them what the library runs.
type Automation interface {
	// Settings returns what was saved, or the host's defaults.
	Settings(ctx context.Context) (Settings, error)

	// Save keeps s, for which Manager has returned no error before.
	Save(ctx context.Context, s Settings) error

	// Manager returns a new Manager for s, with Locations; Schedule and Retention are
	// set by the Handler ([Settings.Apply]). Its error is shown to who has set s: it
	// says what is wrong with it.
	Manager(ctx context.Context, s Settings) (*backup.Manager, error)
}

// A Handler is the page. Make one with New.
type Handler struct {
	opts Options
}

// New returns the page. It returns an error if Options lack what is required, and
// that of Automation.
func New(opts Options) (*Handler, error) { return &Handler{opts: opts}, nil }

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {}

// Run makes scheduled backups and does what people start on the page until ctx is
// done, and returns its error when what was running has ended. A change of the
// settings takes effect at once. It must run once at a time.
func (h *Handler) Run(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
