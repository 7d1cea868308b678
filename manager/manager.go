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
	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/envelope"
	"github.com/tomo-project/backup/internal/fault"
	"github.com/tomo-project/backup/internal/seal"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/schedule"
)

// A Manager keeps the backups of an App (guide, "Automated Backups" to "Disaster
// Recovery"). A struct literal with App, Source, Sink and Locations will do. A Manager must
// not be copied or changed once it is used. Several goroutines may use it.
//
// The documentation of this package says which methods run one at a time ("One at a time"),
// what happens at several Locations ("Several locations"), and which files are there beside
// the backups ("Files").
type Manager struct {
	App    *backup.App
	Source backup.DataSource // what is backed up
	Sink   backup.Sink       // what is restored to; usually the same store

	// Locations are where backups are kept, the fastest first (guide, "Multiple
	// locations"). Their names must differ (see [location.Location]). What a restore
	// replaces is stored at the first of them while the host's transaction is open.
	Locations []location.Location

	// DataPath is a file or folder of the host's data. With it, Status can tell whether a copy
	// is on another disk (see [location.OnDisk]). Empty: nobody can tell.
	DataPath string

	// MinCopies is how many Locations must have a backup for it to count as made. With
	// fewer, Create returns an error, but keeps the copies that it could make. 0 means 1.
	MinCopies int

	// Recipients are those who can open the secrets of the backups made here, and
	// Identities open them. A passphrase is both.
	Recipients []backup.Recipient
	Identities []backup.Identity

	// Compress and Encrypt are how files are stored, and Signer signs their contents, as in
	// [backup.BackupOptions]. Encrypted backups are made, listed, copied, checked against
	// their digests and pruned without a key. Everything else needs one of the Identities
	// that opens them.
	Compress backup.Compression
	Encrypt  backup.Encrypter
	Signer   crypto.Signer

	// RequireProof is for Locations that others can write to. Backups that are not proven
	// authentic, by a passphrase or by a key in Trusted, are refused and not made (see
	// [backup.OpenOptions]). Then Restore needs a passphrase among the Recipients or a Signer
	// whose key is in Trusted, since the way back must be provable. Undo opens every newer
	// backup. Prune reads all that it keeps at a Location, and deletes nothing there unless
	// all of it is proven or known to be bad; for encrypted backups that needs one of the
	// Identities.
	RequireProof bool
	Trusted      []ed25519.PublicKey

	// Database is the host's database. If it is not nil, CopyDatabase stores a copy of it as
	// a whole beside the backups (guide, "Database Backup"). Run does so with each scheduled
	// backup, and Retention applies to the copies by themselves.
	//
	// If the App has Secrets, the copies need Encrypt, or DatabaseInClear. DatabaseInClear
	// says that the host keeps its secrets safe inside the database, so that the copy may be
	// stored in clear. Nothing can prove a copy authentic, so Database must be nil with
	// RequireProof.
	Database        Database
	DatabaseInClear bool

	// Schedule says when Run makes a backup, and Scheduled what is in it.
	Schedule  schedule.Schedule
	Scheduled Selection

	// TimeZone is the zone in which Schedule, Drills.Schedule and Rehearsals are asked. A
	// schedule with a zone of its own, such as [schedule.Daily], goes by that. Nil means
	// time.Local.
	TimeZone *time.Location

	// Jitter is the longest random delay of a scheduled backup. It keeps many installations
	// from using a shared server at the same moment.
	Jitter time.Duration

	// Retention says which scheduled backups Prune keeps. Manual backups are kept, unless
	// PruneOptions say otherwise.
	Retention backup.Retention

	// KeepBeforeRestore is how many of the backups from before a restore are kept. 0 means
	// 5, or all of them if Retention has no rules.
	KeepBeforeRestore int

	// Own names records, by collection, that say how this installation works, such as
	// where and when it makes backups. Restore, Plan and Undo leave them as they are
	// here, unless told otherwise, and say which differ ([backup.RestoreOptions]). A new
	// installation, with no record in these collections yet, takes those of the backup.
	Own map[string][]string

	// AfterRestore, if not nil, is called when a restore has changed something. The host
	// restarts then, or drops what it has in memory. The text of its error is in
	// Report.AfterRestore, shortened, and the restore stands. People see that text and
	// logs keep it: it must not hold values of records.
	AfterRestore func(ctx context.Context, r backup.Report) error

	// Drills prove that backups restore. The zero value makes no drills.
	Drills Drills

	// Rehearsals says how often a person should prove with Rehearse that their key opens the
	// backups. Run asks for it with an Event after the first scheduled backup at each of
	// these times, and after each further backup until it was done. Nil means never.
	Rehearsals schedule.Schedule

	// Installation is the id of this installation of the App: 1 to 64 letters, digits,
	// dots, dashes and underscores, such as 16 random bytes in hexadecimal digits. The host
	// chooses it at its first start and keeps it where no restore changes it: never in what
	// is backed up. With it, every backup has an origin (FORMAT.md, "Origin"): the id and a
	// serial, which tell what was made later even if the clock was set. Empty: backups have
	// no origin, and those of other installations count as one's own.
	//
	// A serial is one more than the highest that the Locations have of this Installation
	// and that this Manager has handed out. Two backups have the same serial if they were
	// made at Locations that did not know of each other, at a Location that is no Locker by
	// processes whose clocks do not agree, or after the backup with the highest serial was
	// deleted. Then their times decide. While no Location has a serial, a backup gets an
	// origin only if all Locations can be asked, since one of them may have a higher serial.
	// A serial that is more than a million above the next lower one does not count: the
	// backup goes by its time, and an Event names the file, which somebody else has made.
	Installation string

	// NoReadme keeps no README. Otherwise each Location that gets a backup also gets a
	// small text file, which says to whoever finds it what the backups are and how to open
	// them without this software (see "Files" in the documentation of this package). A
	// README that is there stays.
	NoReadme bool

	// Limits bound what is written and accepted. The zero value has the defaults.
	Limits backup.Limits

	// TempDir is the folder for copies of backups that cannot be read in place. Empty means
	// os.TempDir.
	TempDir string

	// OnEvent, if not nil, is told what happens. It is called where it happens, sometimes by
	// several goroutines at a time, and must not block.
	OnEvent func(Event)

	// Logger, if not nil, gets the same as OnEvent, except for progress.
	Logger *slog.Logger

	checked sync.Once
	wrong   error // what check has found

	mu     sync.Mutex
	holder string                          // who holds this Manager; empty: nobody
	seen   map[string]map[string]*seenFile // by the names of the location and of the file
	serial int64                           // the highest that was handed out here

	memo    *memo                                     // of the last Create; nil: the next one lists the backups
	lessons int                                       // how often something was found out about a file that was listed
	changed []func(context.Context) ([]string, error) // by the index of the Location, for who holds this Manager; nil: nobody watches it

	rekeys bool // the newest backup is sealed with another key, and the next one gets a mark
}

// The triggers say what has made a backup. They are in its metadata under "trigger".
const (
	TriggerManual        = "manual"
	TriggerScheduled     = "scheduled"
	TriggerBeforeRestore = "before restore"
)

// metaSlot is the name in the metadata of a scheduled backup of the time of the Schedule
// that it was made for.
const metaSlot = "scheduled_for"

// A Selection says what is in a scheduled backup. The fields are those of
// [backup.BackupOptions].
type Selection struct {
	Only            []string
	Include         []string
	LeaveOutInvalid bool
}

// Drills say how a Manager proves that backups restore.
type Drills struct {
	// Scratch makes an empty store to restore into. It must not be the host's own store.
	// remove, if not nil, is called when the drill has ended. Without Scratch there are no
	// drills.
	Scratch func(ctx context.Context) (store backup.Store, remove func() error, err error)

	// Check, if not nil, checks what a drill has restored with the host's own assertions.
	// The texts of its errors and of those of Scratch and remove are shortened and
	// printed: they must not hold values of records.
	Check func(ctx context.Context, restored backup.DataSource) error

	// Schedule says how often Run makes a drill. The first scheduled backup after each of
	// its times is put to a drill, and the following ones until one passes. Until then Run
	// prunes nothing. Nil means never.
	Schedule schedule.Schedule
}

// Validate returns an error that says all that is wrong with the Manager, such as two
// Locations of one name. It does not ask the Locations. All methods check the same first.
func (m *Manager) Validate() error { return m.check() }

// check is Validate. A Manager is not changed once it is used, so it is checked once.
func (m *Manager) check() error {
	if m == nil {
		return fault.Missing("the Manager", m)
	}
	m.checked.Do(func() { m.wrong = m.examine() })
	return m.wrong
}

func (m *Manager) examine() error {
	var errs []error
	switch {
	case m.App == nil:
		return fmt.Errorf("manager: %w", fault.Missing("App", m.App))
	case len(m.Locations) == 0:
		errs = append(errs, errors.New("no Locations: there is nowhere to keep backups"))
	case m.MinCopies < 0 || m.MinCopies > len(m.Locations):
		errs = append(errs, fmt.Errorf("MinCopies is %d, and there are %d Locations", m.MinCopies, len(m.Locations)))
	}
	names := make(map[string]bool)
	for _, s := range m.sites() {
		if fault.IsNil(s.Location) {
			errs = append(errs, fault.Missing(s.name, s.Location))
		} else if names[s.name] {
			errs = append(errs, fmt.Errorf("two Locations are called %s: give each Location another name", s.name))
		}
		names[s.name] = true
	}
	if m.KeepBeforeRestore < 0 {
		errs = append(errs, fmt.Errorf("KeepBeforeRestore is %d: use a positive number, or 0 for the default", m.KeepBeforeRestore))
	}
	if m.Installation != "" {
		errs = append(errs, codec.CheckInstallation(m.Installation))
	}
	errs = append(errs, m.given(), m.App.Validate(), m.Retention.Validate(), envelope.CheckCompression(string(m.Compress)))
	if !fault.IsNil(m.Signer) {
		_, err := seal.PublicKey(m.Signer)
		errs = append(errs, err)
	}
	if !fault.IsNil(m.Database) {
		errs = append(errs, m.checkDatabase())
	}
	for _, s := range []schedule.Schedule{m.Schedule, m.Drills.Schedule, m.Rehearsals} {
		if v, ok := s.(interface{ Validate() error }); ok && !fault.IsNil(s) {
			errs = append(errs, v.Validate())
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("manager: %w", err)
	}
	return nil
}

// given returns an error if one of the keys is nil. A field that may be nil must not hold
// a pointer, slice or function that is nil: it says that there is something.
func (m *Manager) given() error {
	errs := []error{fault.MissingIn("Recipients", m.Recipients), fault.MissingIn("Identities", m.Identities), seal.CheckTrusted(m.Trusted)}
	for _, field := range []struct {
		name  string
		value any
	}{
		{"Source", m.Source}, {"Sink", m.Sink}, {"Encrypt", m.Encrypt}, {"Signer", m.Signer}, {"Database", m.Database},
		{"Schedule", m.Schedule}, {"Drills.Schedule", m.Drills.Schedule}, {"Rehearsals", m.Rehearsals},
	} {
		if field.value != nil {
			errs = append(errs, fault.Missing(field.name, field.value))
		}
	}
	return errors.Join(errs...)
}

// minCopies is MinCopies with its default.
func (m *Manager) minCopies() int { return max(1, m.MinCopies) }
