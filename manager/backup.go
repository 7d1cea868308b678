package manager

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/envelope"
	"github.com/tomo-project/backup/internal/filename"
)

// A Backup is what a Manager knows of a snapshot, or of a copy of the database, that
// is stored under one name at one Location or several.
type Backup struct {
	// Name is the name of the file. No two backups at a Location share it.
	Name string `json:"name"`

	// CreatedAt is the time that the snapshot shows. If the snapshot cannot be read,
	// it is the time in the name.
	CreatedAt time.Time `json:"created_at"`

	// Bytes is the size of the file at the Location.
	Bytes int64 `json:"bytes"`

	// Trigger says what made the backup: [TriggerManual], [TriggerScheduled],
	// [TriggerBeforeRestore], or what the caller of Create has put into the Metadata.
	// Empty means not known.
	Trigger string `json:"trigger,omitempty"`

	// Database is set for a copy of the host's database ([Manager.CopyDatabase]), which
	// is not a snapshot.
	Database bool `json:"database,omitempty"`

	// Holds says in words what the backup holds, as [backup.App.Holds] does: "Full",
	// "Servers only". Empty: not known, since there is no Manifest.
	Holds string `json:"holds,omitempty"`

	// Partial is set if the backup lacks a collection that is not Optional
	// ([backup.App.Partial]). It never stands for a full one.
	Partial bool `json:"partial,omitempty"`

	// Damaged is set if every copy is known to be damaged, or cannot be read. A backup
	// that has not been verified counts as good.
	Damaged bool `json:"damaged,omitempty"`

	// OtherKey is set if this Manager has tried its Identities on a copy, and none of them
	// opens it (see [Manager.CheckKeys] and [Manager.Verify]). Then nobody here can tell
	// whether the backup is good.
	OtherKey bool `json:"other_key,omitempty"`

	// InClear is set if the secrets in the backup, if it has any, stand in clear: it has
	// records of a collection for which the App declares secrets, and it is neither sealed
	// nor encrypted.
	InClear bool `json:"in_clear,omitempty"`

	// Manifest is what the snapshot says of itself, with the counts of its records. For
	// a compressed or encrypted backup it is what the note beside the file says. Nil
	// means that neither can be read.
	Manifest *backup.Manifest `json:"manifest,omitempty"`

	// Copies say where the backup is, and whether it is whole there, in the order of
	// the Manager's Locations.
	Copies []Copy `json:"copies,omitempty"`

	// Foreign is set for a backup of another installation of the App, as the Installation in
	// its Manifest tells. It is restored only by its name. Retention, Undo, the Schedule,
	// drills, rehearsals and the guard against backups that have shrunk leave it out, and it
	// is not copied to other Locations. A backup without an Installation is not foreign: it
	// was made before there was one.
	Foreign bool `json:"foreign,omitempty"`

	// Shrunk says of which collections the backup has lost most of the records, unless
	// a person has accepted that ([Manager.Accept]).
	Shrunk []Shrink `json:"shrunk,omitempty"`

	// Rekeyed is set if the backup is sealed with another key than those before it (see
	// [Manager.CheckKeys]), and nobody has accepted that ([Manager.Accept]) or opened a
	// backup with their key since ([Manager.Rehearse]).
	Rekeyed bool `json:"rekeyed,omitempty"`

	// VerifiedAt is when a copy was last opened, read to its end and found good, by Verify or
	// Drill of any process. Nil: not known. It says nothing about a copy that is damaged since.
	VerifiedAt *time.Time `json:"verified_at,omitempty"`

	named  filename.Name // Name in its parts
	sha256 string        // of the file, if its note says so

	tooHigh bool // the serial is not believed: see serial.go
	coming  bool // it is not made yet, see makeRoom
	opened  bool // one of the Identities opens a copy
}

// newBackup returns a Backup with what a manifest says of it. The manifest may be nil.
func (m *Manager) newBackup(name filename.Name, manifest *backup.Manifest) Backup {
	b := Backup{Name: name.String(), CreatedAt: name.At, Database: name.Database, Manifest: manifest, named: name}
	if manifest != nil {
		b.CreatedAt, b.Bytes, b.Trigger = manifest.CreatedAt, manifest.Bytes, manifest.Metadata[backup.MetaTrigger]
		b.Holds, b.Partial = m.App.Holds(*manifest), m.App.Partial(*manifest)
	}
	return b
}

// Dated returns what [backup.Retention] goes by. A backup that is sealed with another key
// does not count as a good one.
func (b Backup) Dated() backup.Dated {
	d := backup.Dated{Name: b.Name, CreatedAt: b.CreatedAt, Damaged: b.Damaged || b.OtherKey}
	if b.serial() > 0 {
		d.Installation, d.Serial = b.Manifest.Installation, b.Manifest.Serial
	}
	return d
}

// noDigest tells whether nothing but the whole file tells its digest.
func (b *Backup) noDigest() bool {
	return b.sha256 == "" && (b.Manifest == nil || b.Manifest.SHA256 == "")
}

// newestFirst sorts backups.
func newestFirst(backups []Backup) { backup.SortNewestFirst(backups, Backup.Dated) }

// skew is how far apart the clocks of two machines may be.
const skew = time.Hour

// Usable tells whether the data can be restored from this backup, as far as is known. A
// backup that is sealed with another key is not usable.
// A damaged backup and a copy of the database are not usable. A salvaged backup is not
// usable because records may be missing. A backup without a serial that is dated more than
// an hour after now is not usable: a clock was wrong, so nobody knows when it was made.
// A backup of another installation is not usable, since a person has to choose it.
func (b Backup) Usable(now time.Time) bool {
	salvaged := b.Manifest != nil && b.Manifest.Salvaged != nil
	return !b.Damaged && !b.OtherKey && !b.Database && !b.Foreign && !salvaged && (b.serial() > 0 || !b.CreatedAt.After(now.Add(skew)))
}

// KeyState tells whether a key opens the backup, as far as is known: whether this Manager
// has tried its Identities on a copy, or some process has opened it and read it to its end.
// List tries no key.
func (b Backup) KeyState() KeyState {
	locked := b.named.Encrypted
	if m := b.Manifest; m != nil {
		locked = m.Sealed || m.Encrypted
	}
	switch {
	case !locked:
		return KeyNotNeeded
	case b.OtherKey:
		return KeyWrong
	case b.opened || b.VerifiedAt != nil:
		return KeyOpens
	}
	return KeyUnchecked
}

// serial returns the serial of a backup, or 0 if it has none that is known, or one that
// is too high to be believed.
func (b *Backup) serial() int64 {
	if b.Manifest == nil || b.tooHigh {
		return 0
	}
	return b.Manifest.Serial
}

// Good tells whether a backup can stand for all of the data, as far as is known: to
// recover from, to tell how old the newest data is, as the last good backup. It is Usable,
// what it holds is known, and it is neither Partial, nor Shrunk, nor made to undo a restore.
func (b Backup) Good(now time.Time) bool {
	return b.Usable(now) && b.Manifest != nil && !b.Partial && len(b.Shrunk) == 0 && b.Trigger != TriggerBeforeRestore
}

// A Copy is what is known of a backup at one Location.
type Copy struct {
	Location string

	// Err says why the backup is not there, or is not whole there. Nil means that it is
	// there and that nothing is known to be wrong with it.
	Err error
}

// MarshalJSON returns the member location, and the member error unless Err is nil.
func (c Copy) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Location string `json:"location"`
		Error    string `json:"error,omitempty"`
	}{c.Location, errorText(c.Err)})
}

// errorText is the JSON form of an error: empty for nil.
func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// good returns the number of good copies.
func (b *Backup) good() int {
	n := 0
	for _, c := range b.Copies {
		if c.Err == nil {
			n++
		}
	}
	return n
}

// firstGood returns the first of the sites that has a good copy, or nil.
func (b *Backup) firstGood(sites []*site) *site {
	for _, s := range sites {
		if b.goodAt(s) {
			return s
		}
	}
	return nil
}

// goodAt tells whether a site has a good copy.
func (b *Backup) goodAt(s *site) bool {
	c := b.at(s)
	return c != nil && c.Err == nil
}

// damagedAt tells whether a site has a copy that is known to be damaged, by accident
// or by a person.
func (b *Backup) damagedAt(s *site) bool {
	c := b.at(s)
	return c != nil && (errors.Is(c.Err, backup.ErrDamaged) || errors.Is(c.Err, backup.ErrUnauthentic))
}

// at returns the copy at a site, or nil.
func (b *Backup) at(s *site) *Copy { return copyAt(b.Copies, s) }

func copyAt(copies []Copy, s *site) *Copy {
	for i := range copies {
		if copies[i].Location == s.name {
			return &copies[i]
		}
	}
	return nil
}

// contents are those of the file. The digest is empty if it is not known.
func (b *Backup) contents() contents { return contents{b.Bytes, b.sha256} }

// kindOf returns how the file of a backup is stored, by its manifest.
func kindOf(m *backup.Manifest) envelope.Kind {
	return envelope.Kind{Compressed: string(m.Compressed), Encrypted: m.Encrypted, Database: m.Database}
}
