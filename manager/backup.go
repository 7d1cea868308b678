package manager

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/envelope"
	"github.com/tomo-project/backup/internal/filename"
)

// A Backup is a snapshot stored under a name at one Location or several. The
// first five fields are what [backup.Retention] goes by.
type Backup struct {
	// Name is the name at the location, unique there.
	Name string `json:"name"`

	// CreatedAt is the time that the snapshot shows. Zero means not known.
	CreatedAt time.Time `json:"created_at"`

	// Bytes is the size of the file at the location.
	Bytes int64 `json:"bytes"`

	// Trigger says what made the backup: "manual", "scheduled", "before
	// restore". Empty means not known.
	Trigger string `json:"trigger,omitempty"`

	// Database: it is no snapshot but a copy of the host's database as a whole
	// ([Manager.CopyDatabase]).
	Database bool `json:"database,omitempty"`

	// Damaged: the backup is known not to verify, or cannot be read, any copy of
	// it. One that has not been verified counts as good.
	Damaged bool `json:"damaged,omitempty"`

	// Manifest is what the snapshot says of itself, with the counts of records; for
	// one that is compressed or encrypted, what the file beside it says. Nil means
	// that it cannot be read, or that it is encrypted and nothing beside it tells.
	Manifest *backup.Manifest `json:"manifest,omitempty"`

	// Copies say where the backup is, and is whole, in the order of the
	// Manager's Locations.
	Copies []Copy `json:"copies,omitempty"`

	// Shrunk says what the backup has lost most of against the one before, unless
	// that was accepted ([Manager.Accept]).
	Shrunk []Shrink `json:"shrunk,omitempty"`

	named  filename.Name // Name in its parts
	sha256 string        // of the file, where a note beside it tells
}

// Dated is what retention goes by.
func (b Backup) Dated() backup.Dated {
	return backup.Dated{Name: b.Name, CreatedAt: b.CreatedAt, Damaged: b.Damaged}
}

// Usable tells whether the data can be restored from a backup, as far as is known: it is
// a snapshot that nothing is known against. A salvaged one does not count, since records
// may be missing in it, nor one from the future, whose clock was wrong.
func (b Backup) Usable(now time.Time) bool {
	const skew = time.Hour // between the clocks of two machines
	salvaged := b.Manifest != nil && b.Manifest.Salvaged != nil
	return !b.Damaged && !b.Database && !salvaged && !b.CreatedAt.After(now.Add(skew))
}

// newestFirst orders backups, as [backup.Dated.Compare] does.
func newestFirst(a, b Backup) int { return a.Dated().Compare(b.Dated()) }

// backupOf returns what a manifest says of a backup; it may be nil.
func backupOf(name filename.Name, m *backup.Manifest) Backup {
	b := Backup{Name: name.String(), CreatedAt: name.At, Database: name.Database, Manifest: m, named: name}
	if m != nil {
		b.CreatedAt, b.Bytes, b.Trigger = m.CreatedAt, m.Bytes, m.Metadata[backup.MetaTrigger]
	}
	return b
}

// A Copy is what is known of a backup at one Location.
type Copy struct {
	Location string

	// Err says why the backup is not there, or not whole. Nil: it is there, and
	// nothing is known against it.
	Err error
}

// MarshalJSON returns the members location and error, which is absent if nil.
func (c Copy) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Location string `json:"location"`
		Error    string `json:"error,omitempty"`
	}{c.Location, errorText(c.Err)})
}

// good counts the copies that nothing is known against.
func (b *Backup) good() int {
	n := 0
	for _, c := range b.Copies {
		if c.Err == nil {
			n++
		}
	}
	return n
}

// damagedAt tells whether the copy at a site is known to be damaged, by whomever.
func (b *Backup) damagedAt(p *site) bool {
	c := b.at(p)
	return c != nil && (errors.Is(c.Err, backup.ErrDamaged) || errors.Is(c.Err, backup.ErrUnauthentic))
}

// at returns what is known of the backup at a site, nil if it is not there.
func (b *Backup) at(p *site) *Copy {
	for i := range b.Copies {
		if b.Copies[i].Location == p.name {
			return &b.Copies[i]
		}
	}
	return nil
}

// source returns the first site with a copy that seems whole.
func (b *Backup) source(sites []*site) *site {
	for _, p := range sites {
		if c := b.at(p); c != nil && c.Err == nil {
			return p
		}
	}
	return nil
}

// kindOf says what a manifest says is around the backup in its file.
func kindOf(m *backup.Manifest) envelope.Kind {
	return envelope.Kind{Compressed: string(m.Compressed), Encrypted: m.Encrypted, Database: m.Database}
}
