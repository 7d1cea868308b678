package manager

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/envelope"
	"github.com/tomo-project/backup/internal/seal"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/schedule"
)

// A Manager is what a server runs: it keeps the backups of an App at its
// Locations, makes them on a Schedule, applies Retention, restores with a way
// back, and proves that backups restore (guide, "Automated Backups" to
// "Disaster Recovery"). A struct literal with App, Source, Sink and Locations
// will do. It must not be copied or changed once it is used, and may be used by
// several goroutines.
//
// # One at a time
//
// Create, CopyDatabase, Restore, Apply, Undo, Prune, Delete, Rewrap and Accept change something, and one
// of them runs at a time: in this Manager, and among all processes that share one
// of its Locations. Another one returns at once an error that wraps ErrBusy and
// says who is at it since when. A process that was killed holds nobody up: a
// folder is freed by the system, and at a Location that is no [location.Locker] a hold
// ends by itself after ten minutes (clocks must agree to within some minutes).
// List, Next, Open, OpenWith, OpenFile, ExtractDatabase, Verify, Plan, PlanUndo, Drill, Rehearse and Probe
// never wait and hold nobody up.
//
// # Several locations
//
// A backup is made at the first Location that takes it and copied from there to
// the others side by side. What was stored is read back before it counts. A
// Location that is down stops nothing, nor one that does not answer when it is
// asked for its lock, its list or a file: it counts as down after a minute. What
// it lacks, or has only damaged, is filled in by a later Create or Run, as far as
// Retention would keep it there. A Put that never ends does hold its operation
// up.
//
// The Locations are those of one installation. Another one that keeps backups of
// the same App there would take them for its own.
//
// # Files
//
// Beside the backups the Manager keeps small files there, with the name of a
// backup and one of these endings: ".manifest", of a compressed or encrypted one and of a copy of the database,
// what List shows and the digest of the file, in clear; and empty ones:
// ".accepted", a person has accepted what it has lost; ".restored", the restore
// before which it was made took place; ".drilled", it has passed a drill;
// ".rehearsed", a person has opened it with their key. And while it holds a Location that is no Locker, files
// that end with ".lease". All other files are left alone.
type Manager struct {
	App    *backup.App
	Source backup.DataSource // what is backed up
	Sink   backup.Sink       // what is restored to; usually the same store

	// Locations are where backups are kept, the fastest first: "Multiple
	// locations" of the guide. Their names (see [location.Location]) must differ. What a
	// restore replaces is stored at the first while the host's transaction is
	// open.
	Locations []location.Location

	// MinCopies is how many Locations must have a backup for it to count as
	// made. With fewer, Create returns an error, although the copies that it
	// could make are kept. 0 means 1.
	MinCopies int

	// Recipients are those who can open the secrets of the backups made here,
	// and Identities open them. Both are the same for a passphrase.
	Recipients []backup.Recipient
	Identities []backup.Identity

	// Compress and Encrypt are how files are stored, and Signer signs what is in
	// them: as in [backup.BackupOptions]. Without a key to open what is encrypted, backups
	// are made, listed, copied, checked against their digest and pruned all the
	// same; for the rest it takes one of the Identities.
	Compress backup.Compression
	Encrypt  backup.Encrypter
	Signer   crypto.Signer

	// RequireProof refuses backups that are not proven authentic, by a passphrase
	// or by a key in Trusted, and refuses to make such: for Locations that others
	// can write to. See [backup.OpenOptions]. Restore too then needs a passphrase among the
	// Recipients or a Signer whose key is Trusted, since the way back must be
	// provable; Undo opens all backups that are newer; and Prune reads all that it
	// keeps, and deletes only where it can prove them: of encrypted backups that takes
	// one of the Identities.
	RequireProof bool
	Trusted      []ed25519.PublicKey

	// Database, if not nil, is the host's database, of which CopyDatabase stores a
	// copy as a whole beside the backups (guide, "Database Backup"). Run does so with
	// each scheduled backup, and Retention applies to the copies among themselves.
	// If the App has Secrets it takes Encrypt, or DatabaseInClear: that the host keeps
	// them in its database in such a way that a copy may lie about. A copy cannot be
	// proven authentic: with RequireProof there must be none.
	Database        Database
	DatabaseInClear bool

	// Schedule says when Run makes a backup, and Scheduled what it takes.
	Schedule  schedule.Schedule
	Scheduled Selection

	// Jitter delays each scheduled backup by a random time of up to this, so
	// that many installs do not load a shared Location all at once.
	Jitter time.Duration

	// Retention says which scheduled backups Prune keeps; manual ones are kept
	// unless it is told otherwise.
	Retention backup.Retention

	// KeepBeforeRestore is how many of the snapshots that a restore makes before
	// it changes anything are kept. 0 means 5, and all of them if Retention has
	// no rules.
	KeepBeforeRestore int

	// AfterRestore, if not nil, is called when a restore has changed something, so
	// that the host restarts or drops what it had in memory: for it, time went back.
	// What it returns is in Report.AfterRestore; the restore stands either way.
	AfterRestore func(ctx context.Context, r backup.Report) error

	// Drills prove that backups restore. The zero value makes none.
	Drills Drills

	// Rehearsals says how often Run asks, with an Event, for somebody to prove with
	// Rehearse that their key opens the backups: after the first scheduled backup at
	// each of its times, and after each one until it was done. Nil means never.
	Rehearsals schedule.Schedule

	// Limits bound what is written and accepted. The zero value has the defaults.
	Limits backup.Limits

	// TempDir is for copies of backups that cannot be read in place. Empty means
	// os.TempDir.
	TempDir string

	// OnEvent, if not nil, is told what happens, in the goroutine in which it
	// happens, sometimes of several at a time. It must not block.
	OnEvent func(Event)

	// Logger, if not nil, gets the same, but for progress.
	Logger *slog.Logger

	checked sync.Once
	wrong   error // what check found

	mu     sync.Mutex
	holder string // of this Manager; empty: nobody
	seen   map[seenFile]seenManifest
}

// What makes a backup, in its metadata: "trigger".
const (
	TriggerManual        = "manual"
	TriggerScheduled     = "scheduled"
	TriggerBeforeRestore = "before restore"
)

// metaSlot is the name in Metadata of the time of the Schedule that a scheduled backup
// was made for.
const metaSlot = "scheduled_for"

// A Selection says what a scheduled backup takes. The fields are those of
// [backup.BackupOptions].
type Selection struct {
	Only            []string
	Include         []string
	LeaveOutInvalid bool
}

// Drills say how a Manager proves that backups restore.
type Drills struct {
	// Scratch makes an empty store to restore into, and what removes it again. It must
	// not be the host's own. Without it there are no drills.
	Scratch func(ctx context.Context) (store backup.Store, remove func() error, err error)

	// Check, if not nil, holds the host's own assertions against the data that a drill
	// has restored.
	Check func(ctx context.Context, restored backup.DataSource) error

	// Schedule says how often Run puts a new backup to a drill: the first scheduled
	// one after each of its times, and the following ones until one passes. Until then
	// Run prunes nothing. Nil means never.
	Schedule schedule.Schedule
}

// Validate returns an error that says all that is wrong with the Manager, without
// asking a Location: no App, two Locations of one name, a rule that is out of its
// range. All methods check the same first.
func (m *Manager) Validate() error { return m.check() }

// check refuses a Manager that cannot work, before anything is done. Since a
// Manager is not changed once it is used, it is checked once.
func (m *Manager) check() error {
	m.checked.Do(func() { m.wrong = m.examine() })
	return m.wrong
}

func (m *Manager) examine() error {
	var errs []error
	switch {
	case m.App == nil:
		return errors.New("manager: App is nil")
	case len(m.Locations) == 0:
		errs = append(errs, errors.New("no Locations: there is nowhere to keep backups"))
	case m.MinCopies < 0 || m.MinCopies > len(m.Locations):
		errs = append(errs, fmt.Errorf("MinCopies is %d, and there are %d Locations", m.MinCopies, len(m.Locations)))
	}
	names := make(map[string]bool)
	for _, p := range m.sites() {
		if p.Location == nil {
			errs = append(errs, fmt.Errorf("%s is nil", p.name))
		} else if names[p.name] {
			errs = append(errs, fmt.Errorf("two Locations are called %s", p.name))
		}
		names[p.name] = true
	}
	if m.KeepBeforeRestore < 0 {
		errs = append(errs, fmt.Errorf("KeepBeforeRestore is %d", m.KeepBeforeRestore))
	}
	errs = append(errs, m.App.Validate(), m.Retention.Validate(), envelope.CheckCompression(string(m.Compress)))
	if m.Signer != nil {
		_, err := seal.PublicKey(m.Signer)
		errs = append(errs, err)
	}
	if m.Database != nil {
		errs = append(errs, m.checkDatabase())
	}
	for _, s := range []schedule.Schedule{m.Schedule, m.Drills.Schedule, m.Rehearsals} {
		if v, ok := s.(interface{ Validate() error }); ok {
			errs = append(errs, v.Validate())
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("manager: %w", err)
	}
	return nil
}
