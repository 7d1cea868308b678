package backup

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"time"

	"golang.org/x/mod/semver"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/fault"
)

// FormatVersion is the version of the snapshot format, the one that is written
// and the only one that is read.
const FormatVersion = "1.0"

// Limits bound what is accepted from a snapshot and put into one. Zero means
// the default (FORMAT.md, "Limits").
type Limits struct {
	Depth       int   // nesting inside a record; default 100, at most 9,000
	Values      int   // members, elements and nested values that a record is made of; default 100,000
	RecordBytes int   // one record; default 16 MiB, at most 2 GiB
	Records     int64 // all records together; default 10 million
	TotalBytes  int64 // the whole snapshot; default 16 GiB
}

func (l Limits) codec() codec.Limits {
	d := codec.Defaults
	// The most that can be set is what the codec can do, and does not overflow.
	if l.Depth > 0 {
		d.Depth = min(l.Depth, codec.MaxDepth)
	}
	if l.Values > 0 {
		d.Values = l.Values
	}
	if l.RecordBytes > 0 {
		d.RecordBytes = min(l.RecordBytes, math.MaxInt32)
	}
	if l.Records > 0 {
		d.Records = l.Records
	}
	if l.TotalBytes > 0 {
		d.TotalBytes = min(l.TotalBytes, 1<<60)
	}
	return d
}

// A Manifest says what a snapshot holds. It can be had without a key and
// without the App that made it. That of a copy of a database has no Version, and
// no Records.
type Manifest struct {
	Version            string            `json:"version"` // of the format, "1.0"
	CreatedAt          time.Time         `json:"created_at"`
	Application        string            `json:"application,omitempty"` // empty: the snapshot does not say
	ApplicationVersion string            `json:"application_version"`
	SchemaVersion      int               `json:"schema_version"` // 1 where the snapshot does not say
	Metadata           map[string]string `json:"metadata,omitempty"`
	Records            map[string]int64  `json:"records"`              // by collection
	Bytes              int64             `json:"bytes"`                // of the document, whatever is around it in the file
	Compressed         Compression       `json:"compressed,omitempty"` // how the file is compressed
	Encrypted          bool              `json:"encrypted,omitempty"`  // the file is encrypted as a whole
	SHA256             string            `json:"sha256,omitempty"`     // empty: the snapshot has no integrity information, or it is encrypted and was not opened
	Database           bool              `json:"database,omitempty"`   // it is no snapshot but a copy of the host's database ([manager.Manager.CopyDatabase])
	Sealed             bool              `json:"sealed"`               // it has secrets, and they are sealed
	Keys               []string          `json:"keys,omitempty"`       // any of them opens it, as far as it names them, which nothing proves; of an encrypted file that was not opened, those of the file
	Authentic          string            `json:"authentic,omitempty"`  // by what it was proven authentic when it was opened, "passphrase" or "ed25519 KEY"; empty: by nothing
	Salvaged           *Salvaged         `json:"salvaged,omitempty"`   // nil: it was not saved from a damaged file
	Missing            map[string]int64  `json:"missing,omitempty"`    // records left out as invalid, by collection
	LeftOut            []*RecordError    `json:"left_out,omitempty"`   // these records, from [App.Backup] only
	Dangling           []*RecordError    `json:"dangling,omitempty"`   // references to nothing, from [App.Backup] only
}

// Clone returns a copy that shares no map or slice with m.
func (m Manifest) Clone() Manifest {
	m.Metadata, m.Records, m.Missing, m.Keys = maps.Clone(m.Metadata), maps.Clone(m.Records), maps.Clone(m.Missing), slices.Clone(m.Keys)
	if m.Salvaged != nil {
		m.Salvaged = &Salvaged{m.Salvaged.LostBytes, maps.Clone(m.Salvaged.Records)}
	}
	return m
}

// Salvaged marks a snapshot that [App.Salvage] has saved from a damaged file
// (FORMAT.md, "Salvaged snapshots").
type Salvaged struct {
	LostBytes int64            `json:"lost_bytes"`        // of the damaged file, that nothing was made of
	Records   map[string]int64 `json:"records,omitempty"` // known to be lost, by collection
}

// Progress tells how far a long operation is.
type Progress struct {
	Phase      string `json:"phase"`      // "backup", "read", "check", "compare" or "restore"
	Collection string `json:"collection"` // what is being worked on; empty between collections
	Records    int64  `json:"records"`    // done in this phase so far, all collections together
	Bytes      int64  `json:"bytes"`      // bytes of the snapshot written or read in this phase so far; 0 where it is not known
	Total      int64  `json:"total"`      // bytes of the snapshot; 0 where it is not known
}

// checkFormat refuses any version of the format but the one.
func checkFormat(value []byte) error {
	var version string
	if err := codec.Unmarshal(value, &version); err != nil {
		return fmt.Errorf("%w: its version is not a string", ErrFormat)
	}
	if version == FormatVersion {
		return nil
	}
	err := fmt.Errorf("%w: it has format %s, this build reads format %s", ErrFormat, codec.Quote(version), FormatVersion)
	if v := "v" + version; semver.IsValid(v) && semver.Compare(v, "v"+FormatVersion) > 0 {
		err = fmt.Errorf("%w: %w; use a newer build of the application", ErrTooNew, err)
	}
	return err
}

// integrity is the last member of a snapshot.
type integrity struct {
	SHA256  string           `json:"sha256"`
	Records map[string]int64 `json:"records"`
}

// dateTime is stricter than time.Parse, which takes single digits and commas.
var dateTime = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$`)

// header reads the members around the data into the manifest.
func (s *Snapshot) header(doc *codec.Document) error {
	m := Manifest{Version: FormatVersion, SchemaVersion: 1, Bytes: doc.Bytes, Records: make(map[string]int64)}
	for _, sec := range doc.Collections {
		m.Records[sec.Name] = sec.Count
	}
	s.encryption, s.proof = nil, nil // what was seen of the header early
	var created string
	var sum integrity
	wrong := readMembers(doc.Members, []member{
		{"version", true, nil},
		{"created_at", true, &created},
		{"application", false, &m.Application},
		{"application_version", true, &m.ApplicationVersion},
		{"schema_version", false, &m.SchemaVersion},
		{"metadata", false, &m.Metadata},
		{"encryption", false, &s.encryption},
		{"salvaged", false, &m.Salvaged},
		{"data", true, nil},
		{"left_out", false, &m.Missing},
		{"proof", false, &s.proof},
		{"integrity", false, &sum},
	})
	if doc.SHA256 != "" && sum.SHA256 != doc.SHA256 && string(doc.Members["integrity"]) != "null" {
		// Whatever else is wrong comes from the damage.
		return fmt.Errorf("%w: its SHA-256 is %s, and it says %q; try another copy or an older backup", ErrDamaged, doc.SHA256, sum.SHA256)
	}
	if wrong != nil {
		return wrong
	}
	if doc.SHA256 != "" && !maps.Equal(sum.Records, m.Records) {
		return fmt.Errorf("%w: it says that it has records %v, and has %v; try another copy or an older backup", ErrDamaged, sum.Records, m.Records)
	}
	t, err := time.Parse(time.RFC3339, created)
	if err != nil || !dateTime.MatchString(created) {
		return fmt.Errorf(`%w: member "created_at" is not a time of RFC 3339`, ErrFormat)
	}
	if err := checkMembers(doc.Members, &m, s.proof); err != nil {
		return err
	}
	m.Compressed, m.Encrypted = Compression(s.envelope.Compressed), s.envelope.Encrypted
	m.CreatedAt = t.UTC()
	m.SHA256 = sum.SHA256
	if e := s.encryption; e != nil {
		m.Sealed = len(e.Fields) > 0
		m.Keys = keyIDs(e.Keys)
	}
	s.manifest = m
	return nil
}

// A member is one of those around the data.
type member struct {
	name     string
	required bool
	value    any // where to put it; nil: it is read elsewhere
}

// readMembers reads members, and says all that is missing, unknown or not of its type.
func readMembers(members map[string][]byte, known []member) error {
	var errs []error
	unknown := maps.Clone(members)
	for _, m := range known {
		value, found := members[m.name]
		delete(unknown, m.name)
		switch {
		case !found && m.required:
			errs = append(errs, fmt.Errorf("%w: member %q is missing", ErrFormat, m.name))
		case found && m.value != nil:
			if err := codec.Unmarshal(value, m.value); err != nil {
				errs = append(errs, fmt.Errorf("%w: member %q: %w", ErrFormat, m.name, err))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(unknown)) {
		errs = append(errs, fmt.Errorf("%w: unknown member %s", ErrFormat, codec.Quote(name)))
	}
	return errors.Join(errs...)
}

// checkMembers refuses values that the types of the members allow and the format does
// not.
func checkMembers(members map[string][]byte, m *Manifest, p *proof) error {
	if _, found := members["application"]; found && m.Application == "" {
		return fmt.Errorf(`%w: member "application" is empty`, ErrFormat)
	}
	if m.SchemaVersion < 1 {
		return fmt.Errorf(`%w: member "schema_version" is %d, the first is 1`, ErrFormat, m.SchemaVersion)
	}
	if !semver.IsValid("v" + m.ApplicationVersion) {
		return fmt.Errorf(`%w: member "application_version" is %q, which is not a semantic version`, ErrFormat, m.ApplicationVersion)
	}
	if value, found := members["salvaged"]; found {
		if codec.Get(value, codec.Pointer{"lost_bytes"}) == nil || m.Salvaged.LostBytes < 0 {
			return fmt.Errorf(`%w: member "salvaged" has no "lost_bytes", or less than none`, ErrFormat)
		}
		for name, n := range m.Salvaged.Records {
			if n < 1 {
				return fmt.Errorf(`%w: member "salvaged" counts %d records of %s`, ErrFormat, n, codec.Quote(name))
			}
		}
	}
	if p == nil {
		return nil
	}
	// An empty text would pass for one that is absent.
	noMAC := p.MAC == "" && (p.Ed25519 == nil || codec.Get(members["proof"], codec.Pointer{"mac"}) != nil)
	if noMAC || p.Ed25519 != nil && (p.Ed25519.Key == "" || p.Ed25519.Signature == "") {
		return fmt.Errorf(`%w: member "proof" lacks a part`, ErrFormat)
	}
	return nil
}

func (b *backup) header() error {
	m := &b.manifest
	members := []struct {
		name  string
		value any
		omit  bool
	}{
		{"version", m.Version, false},
		{"created_at", m.CreatedAt.Format(time.RFC3339Nano), false},
		{"application", m.Application, m.Application == ""},
		{"application_version", m.ApplicationVersion, false},
		{"schema_version", m.SchemaVersion, false},
		{"metadata", m.Metadata, len(m.Metadata) == 0},
		{"encryption", b.encryption, b.encryption == nil},
		{"salvaged", m.Salvaged, m.Salvaged == nil},
	}
	for _, member := range members {
		if member.omit {
			continue
		}
		if err := b.member(member.name, member.value); err != nil {
			return err
		}
	}
	return fault.Advise(b.out.BeginData())
}

// member writes a member outside of the data.
func (b *backup) member(name string, v any) error {
	value, err := codec.Marshal(v)
	if err != nil {
		return fmt.Errorf("member %q: %w", name, err)
	}
	if len(value) > codec.HeaderBytes {
		return fmt.Errorf("%w: member %q has %d bytes, the most is %d", ErrLimit, name, len(value), codec.HeaderBytes)
	}
	return fault.Advise(b.out.Member(name, value))
}
