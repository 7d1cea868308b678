package backuphttp

import (
	"time"

	"github.com/tomo-project/backup/manager"

	"github.com/tomo-project/backup"
)

// What people see, whether they come by the page (page.go) or by the API (api.go).
// What they do are the methods of Handler in overview.go, backups.go, look.go, plan.go,
// apply.go, salvage.go and settings.go. Each checks its input, and its error says what
// to do next; classify maps errors to those of HTTP.

// An overview is all that the first page shows.
type overview struct {
	App         string           `json:"app"`
	Version     string           `json:"version"`
	Collections []collectionInfo `json:"collections"`           // as declared
	Backups     []backupInfo     `json:"backups"`               // newest first
	Unreachable []string         `json:"unreachable,omitempty"` // locations that could not be asked, and why
	Running     bool             `json:"running"`               // Run runs: something can be started
	Job         *job             `json:"job,omitempty"`
	Last        *job             `json:"last,omitempty"` // the last job that ended
	Undo        string           `json:"undo,omitempty"` // the backup that Undo would restore
	Good        string           `json:"good,omitempty"` // the newest backup that nothing is known against
	Shrunk      bool             `json:"shrunk,omitempty"`
	Automated   automated        `json:"automated"`
}

type collectionInfo struct {
	Name     string `json:"name"`
	Label    string `json:"label"` // for people: "Servers"
	Optional bool   `json:"optional,omitempty"`
	Secrets  bool   `json:"secrets,omitempty"` // has fields that are sealed
}

type backupInfo struct {
	manager.Backup
	Verified  *time.Time `json:"verified,omitempty"`   // read by this process, and whole
	NeedsKey  bool       `json:"needs_key,omitempty"`  // the Manager's own Identities are not enough, or nothing is known
	CanDelete bool       `json:"can_delete,omitempty"` // false: it is the only good one, and takes a second word
}

type automated struct {
	Settings  Settings   `json:"settings"` // with a schedule "hourly" or "other" if they are not editable
	Editable  bool       `json:"editable"`
	Next      *time.Time `json:"next,omitempty"`
	Late      bool       `json:"late,omitempty"`
	LastRun   *job       `json:"last_run,omitempty"` // the last scheduled backup of this process
	Locations []string   `json:"locations"`
	Days      []dayInfo  `json:"days"` // the last 30, oldest first
}

// A dayInfo is a day in the zone of the schedule.
type dayInfo struct {
	Date   string `json:"date"`  // "2024-01-15"
	State  string `json:"state"` // "none" (nothing was due), "made", "manual", "missed", "failed", "damaged", "due" (today, later)
	Detail string `json:"detail"`
}

// A job is what runs, or ran, in Run.
type job struct {
	ID       string           `json:"id"`
	Kind     string           `json:"kind"` // "create", "verify", "restore", "undo", "prune", "salvage", "scheduled"
	Backup   string           `json:"backup,omitempty"`
	Started  time.Time        `json:"started"`
	Ended    *time.Time       `json:"ended,omitempty"`
	Progress *backup.Progress `json:"progress,omitempty"`
	Error    string           `json:"error,omitempty"` // a scheduled backup that was made may have one: it could not prune
	Code     string           `json:"code,omitempty"`  // of Error, for programs

	Made     *manager.Backup       `json:"made,omitempty"`     // of create and scheduled
	Verified []manager.Verified    `json:"verified,omitempty"` // of verify
	Report   *backup.Report        `json:"report,omitempty"`   // of restore and undo
	Pruned   []manager.Pruned      `json:"pruned,omitempty"`
	Salvage  *backup.SalvageReport `json:"salvage,omitempty"`
	Restore  string                `json:"restore,omitempty"` // of salvage: the restore that holds what was saved
}

// A restore is a backup that somebody looks into, from a location or uploaded. It
// is forgotten after an hour.
type restoreInfo struct {
	ID          string           `json:"id"`
	Name        string           `json:"name"`
	Uploaded    bool             `json:"uploaded,omitempty"`
	Undo        bool             `json:"undo,omitempty"` // it is the way back of the last restore
	Manifest    *backup.Manifest `json:"manifest,omitempty"`
	Verified    *backup.Report   `json:"verified,omitempty"`    // what reading all of it has found
	State       string           `json:"state"`                 // "ok", "locked" (takes a key), "damaged", "refused" (foreign, too new, not a backup)
	Problem     string           `json:"problem,omitempty"`     // if it is ok: what has to be allowed in the plan
	Salvage     bool             `json:"salvage,omitempty"`     // it may be worth while
	Older       string           `json:"older,omitempty"`       // if a stored one is damaged: the next older one that nothing is known against
	Keys        []string         `json:"keys,omitempty"`        // names of the keys that open it
	Collections []collectionInfo `json:"collections,omitempty"` // in it, with Records of the Manifest
	Plan        *planInfo        `json:"plan,omitempty"`
}

// A planInput is what somebody chooses.
type planInput struct {
	Full     bool     `json:"full"` // Replace all; Only and Strategy do not matter
	Only     []string `json:"only"`
	Strategy string   `json:"strategy"` // "skip-duplicates", "merge", "replace"
	Dangling bool     `json:"allow_dangling"`
	LeaveOut bool     `json:"leave_out_invalid"`
	NewerApp bool     `json:"allow_newer_app"`
	Unknown  bool     `json:"allow_unknown"`
	Salvaged bool     `json:"allow_salvaged"`
}

// A planInfo is what a restore would do.
type planInfo struct {
	ID      string        `json:"id"` // of this plan: what is applied is what was shown
	Input   planInput     `json:"input"`
	Report  backup.Report `json:"report"`
	Confirm string        `json:"confirm,omitempty"` // the word to type: the name of the app, where records are deleted or all is replaced
	Changes int64         `json:"changes"`           // records that are added, updated or deleted
	Stale   bool          `json:"stale,omitempty"`   // it is known not to fit any more: only a new one helps
}
