package backuphttp

import (
	"time"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/manager"
)

// What the page (page.go) and the API (api.go) show. What people can do are the methods
// of Handler in overview.go, backups.go, look.go, upload.go, plan.go, apply.go,
// salvage.go and settings.go. Each checks its input, and its error says what to do
// next. The page and the API make HTTP statuses of these errors with classify.

// An overview is the content of the first page.
type overview struct {
	App         string           `json:"app"`
	Version     string           `json:"version"`
	Collections []collectionInfo `json:"collections"`           // as declared
	Status      manager.Status   `json:"status"`                // how well the data is protected
	Backups     []backupInfo     `json:"backups"`               // newest first
	Unreachable []string         `json:"unreachable,omitempty"` // locations that cannot be read, and why
	Running     bool             `json:"running"`               // Run runs: something can be started
	Job         *job             `json:"job,omitempty"`         // the job that runs
	Last        *job             `json:"last,omitempty"`        // the last job that ended
	Undo        string           `json:"undo,omitempty"`        // the backup that Undo would restore
	Good        string           `json:"good,omitempty"`        // the newest full backup without a known problem
	Shrunk      bool             `json:"shrunk,omitempty"`
	Rekeyed     bool             `json:"rekeyed,omitempty"`
	OtherKey    string           `json:"other_key,omitempty"` // what a person should know about a key that has changed
	Automated   automated        `json:"automated"`
}

type collectionInfo struct {
	Name     string `json:"name"`
	Label    string `json:"label"` // for people: "Servers"
	Optional bool   `json:"optional,omitempty"`
	Secrets  bool   `json:"secrets,omitempty"` // it has secret fields, which are sealed
}

type backupInfo struct {
	manager.Backup
	Verified  *time.Time `json:"verified,omitempty"`   // when it was last read to its end and found whole, as far as is known
	NeedsKey  bool       `json:"needs_key,omitempty"`  // the Identities of the Manager do not open it, or nobody knows
	CanDelete bool       `json:"can_delete,omitempty"` // false: it is the only good backup, so a person has to type a word
}

type automated struct {
	Settings  Settings   `json:"settings"` // the schedule may be "hourly" or "other" if Editable is false
	Editable  bool       `json:"editable"`
	Next      *time.Time `json:"next,omitempty"`
	Late      bool       `json:"late,omitempty"`
	LastRun   *job       `json:"last_run,omitempty"` // the last scheduled backup of this process; Status.Scheduled outlives it
	Locations []string   `json:"locations"`
	Days      []dayInfo  `json:"days"` // the last 30 days, oldest first
}

// A dayInfo says what became of a day in the time zone of the schedule.
type dayInfo struct {
	Date   string `json:"date"`  // "2024-01-15"
	State  string `json:"state"` // "none" (nothing was due, or kept), "made", "manual", "missed", "failed", "damaged", "due" (still to come)
	Detail string `json:"detail"`
}

// A job is something that Run does, or has done, and that people can watch.
type job struct {
	ID       string           `json:"id"`
	Kind     string           `json:"kind"` // "create", "verify", "restore", "undo", "prune", "salvage", "scheduled"
	Backup   string           `json:"backup,omitempty"`
	Started  time.Time        `json:"started"`
	Ended    *time.Time       `json:"ended,omitempty"`
	Progress *backup.Progress `json:"progress,omitempty"`
	Error    string           `json:"error,omitempty"` // also of a scheduled backup that was made, if pruning failed
	Code     string           `json:"code,omitempty"`  // of Error, for programs

	Made     *manager.Backup       `json:"made,omitempty"`     // of create and scheduled
	Verified []manager.Verified    `json:"verified,omitempty"` // of verify
	Report   *backup.Report        `json:"report,omitempty"`   // of restore and undo
	Pruned   []manager.Pruned      `json:"pruned,omitempty"`
	Salvage  *backup.SalvageReport `json:"salvage,omitempty"`
	Restore  string                `json:"restore,omitempty"` // of salvage: the restore that holds what was saved
}

// A restoreInfo is a backup that a person looks into: a stored or an uploaded one. It is
// forgotten when nobody has used it for an hour.
type restoreInfo struct {
	ID          string           `json:"id"`
	Name        string           `json:"name"`
	Uploaded    bool             `json:"uploaded,omitempty"`
	Undo        bool             `json:"undo,omitempty"` // it takes back the last restore
	Manifest    *backup.Manifest `json:"manifest,omitempty"`
	Holds       string           `json:"holds,omitempty"` // what the backup holds, in words
	Partial     bool             `json:"partial,omitempty"`
	Verdict     string           `json:"verdict,omitempty"`     // what the check has found, in words to follow the name
	Verified    *backup.Report   `json:"verified,omitempty"`    // what a check of the whole backup has found
	State       string           `json:"state"`                 // "ok", "locked" (it needs a key), "damaged", "refused" (foreign, too new, not a backup)
	Problem     string           `json:"problem,omitempty"`     // if State is "ok": what the plan has to allow
	Salvage     bool             `json:"salvage,omitempty"`     // something in it may be saved
	Older       string           `json:"older,omitempty"`       // for a damaged stored backup: the next older backup without a known problem
	Keys        []string         `json:"keys,omitempty"`        // the names of the keys that open it
	Collections []collectionInfo `json:"collections,omitempty"` // what it has; the Manifest has the numbers of records
	Own         bool             `json:"own,omitempty"`         // some records stay as they are here, unless a plan takes them too
	Plan        *planInfo        `json:"plan,omitempty"`
}

// A planInput is what a person chooses to restore, and how.
type planInput struct {
	Full     bool     `json:"full"` // replace everything; Only and Strategy do not matter
	Only     []string `json:"only"`
	Strategy string   `json:"strategy"` // "skip-duplicates", "merge", "replace"
	Dangling bool     `json:"allow_dangling"`
	Clashes  bool     `json:"skip_clashes"`
	LeaveOut bool     `json:"leave_out_invalid"`
	NewerApp bool     `json:"allow_newer_app"`
	Unknown  bool     `json:"allow_unknown"`
	Salvaged bool     `json:"allow_salvaged"`
	TakeOwn  bool     `json:"take_own"`
	Untried  bool     `json:"untried"` // compare only, and try nothing
}

// A planInfo is what a restore would do.
type planInfo struct {
	ID      string        `json:"id"` // of this plan: only the plan that was shown can be applied
	Input   planInput     `json:"input"`
	Report  backup.Report `json:"report"`
	Confirm string        `json:"confirm,omitempty"` // the word to type: the name of the app, if data may be lost
	Changes int64         `json:"changes"`           // how many records the restore changes, or the host by itself
	Stale   bool          `json:"stale,omitempty"`   // the data or the settings have changed: make a new plan
}
