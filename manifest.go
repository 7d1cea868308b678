package backup

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/mod/semver"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/fault"
)

// FormatVersion is the version of the snapshot format that this library writes. It
// reads no other.
const FormatVersion = "1.0"

// FormatAddress is where the text of the format stands, FORMAT.md. Each snapshot names
// it, so that somebody who finds the file without this software can read it.
const FormatAddress = "https://github.com/tomo-project/backup/blob/main/schema/FORMAT.md"

// Limits bound what is read from a snapshot and written to one (FORMAT.md,
// "Limits"). A field that is zero or negative means the default.
type Limits struct {
	Depth       int   // levels of nesting inside a record; default 100, at most 9,000
	Values      int   // members, elements and nested values of a record; default 100,000
	RecordBytes int   // bytes of one record; default 16 MiB, at most 2 GiB
	Records     int64 // records of all collections together; default 10 million
	TotalBytes  int64 // bytes of the whole snapshot; default 16 GiB

	// KeyBytes bounds the bytes of the keys in all Map collections together. Each
	// key counts as at least 32 bytes. The default is 64 MiB: 2 million short keys.
	KeyBytes int64
}

func (l Limits) codec() codec.Limits {
	d := codec.Defaults
	// Higher values than these the codec cannot handle, or they could overflow.
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
	if l.KeyBytes > 0 {
		d.KeyBytes = min(l.KeyBytes, 1<<60)
	}
	return d
}

// A Manifest says what a snapshot holds. Reading it takes no App, and no key unless
// the file is encrypted as a whole.
type Manifest struct {
	// Version is the version of the format, "1.0".
	Version string `json:"version"`

	// Format is the address of the text that describes the format, as the snapshot
	// names it. Empty: it does not. Nothing reads what stands there.
	Format string `json:"format,omitempty"`

	// CreatedAt is the point in time that the data shows.
	CreatedAt time.Time `json:"created_at"`

	// Application is the name of the App. Empty: the snapshot does not say.
	Application        string `json:"application,omitempty"`
	ApplicationVersion string `json:"application_version"`

	// SchemaVersion is 1 where the snapshot does not say.
	SchemaVersion int `json:"schema_version"`

	// Installation is the id of the installation that made the snapshot, and Serial
	// counts the backups of that installation, from 1. A higher serial was made
	// later, whatever CreatedAt says: clocks jump. Empty and 0: the snapshot does not
	// say.
	Installation string `json:"installation,omitempty"`
	Serial       int64  `json:"serial,omitempty"`

	// Partial says that the snapshot was made without a collection that is not
	// Optional. It cannot stand for a full one: restoring it brings back less than
	// there was.
	Partial bool `json:"partial,omitempty"`

	Metadata map[string]string `json:"metadata,omitempty"`

	// Records counts the records of each collection. Nil: not known.
	Records map[string]int64 `json:"records"`

	// Bytes is the size of the document, before compression and encryption. 0: not
	// known.
	Bytes int64 `json:"bytes"`

	// Compressed says how the file is compressed, and Encrypted whether it is
	// encrypted as a whole.
	Compressed Compression `json:"compressed,omitempty"`
	Encrypted  bool        `json:"encrypted,omitempty"`

	// SHA256 is the digest of the document, in hexadecimal digits. Empty: the
	// document has none, or it was not read.
	SHA256 string `json:"sha256,omitempty"`

	// Database marks a copy of the host's database, which is no snapshot and has no
	// Version and no Records. Only a manager.Manager makes such copies.
	Database bool `json:"database,omitempty"`

	// Sealed says that the snapshot has secret fields, and that they are sealed.
	Sealed bool `json:"sealed"`

	// Keys names the keys that open the secrets, each of them alone. In the Manifest
	// that an encrypted file is made with, it names those that open the file.
	// Nothing proves that the names are right.
	Keys []string `json:"keys,omitempty"`

	// Authentic says what proved the snapshot authentic when it was opened:
	// "passphrase", or "ed25519 KEY" with the public key in base64. Empty: nothing
	// did.
	Authentic string `json:"authentic,omitempty"`

	// Salvaged is nil unless the snapshot was saved from a damaged file.
	Salvaged *Salvaged `json:"salvaged,omitempty"`

	// Missing counts the records that were left out as invalid, by collection.
	Missing map[string]int64 `json:"missing,omitempty"`

	// LeftOut names these records, and Dangling the references to records that do
	// not exist: the first thousand each. Only [App.Backup] sets them.
	LeftOut  []*RecordError `json:"left_out,omitempty"`
	Dangling []*RecordError `json:"dangling,omitempty"`
}

// Clone returns a copy that shares no map or slice with m.
func (m Manifest) Clone() Manifest {
	m.Metadata, m.Records, m.Missing = maps.Clone(m.Metadata), maps.Clone(m.Records), maps.Clone(m.Missing)
	m.Keys, m.LeftOut, m.Dangling = slices.Clone(m.Keys), slices.Clone(m.LeftOut), slices.Clone(m.Dangling)
	if m.Salvaged != nil {
		mark := *m.Salvaged
		mark.Records, mark.LostCollections = maps.Clone(mark.Records), slices.Clone(mark.LostCollections)
		m.Salvaged = &mark
	}
	return m
}

// Progress tells how far a long operation is.
type Progress struct {
	// Phase is what is being done: "backup" is writing a snapshot, "key" is deriving a
	// key from a passphrase, which may take seconds, "read" is reading one to its end, "trace" is following its references, "check" is checking its records, "compare" is
	// comparing them with the host's, "restore" is changing the host, "try" is doing
	// so for a plan, and "confirm" is reading back what was changed.
	Phase string `json:"phase"`

	// Collection is being worked on. Empty between collections.
	Collection string `json:"collection"`

	// Records are done in this phase so far, of all collections together.
	Records int64 `json:"records"`

	// Bytes of the snapshot were written or read in this phase so far, and Total is
	// its size. 0: not known. In the phase "key" they are instead the memory that all
	// derivations go over, each pass counted.
	Bytes int64 `json:"bytes"`
	Total int64 `json:"total"`
}

// checkFormat refuses every version of the format but FormatVersion.
func checkFormat(value []byte) error {
	var version string
	if err := codec.Unmarshal(value, &version); err != nil {
		return fmt.Errorf(`%w: member "version" is not a string`, ErrFormat)
	}
	if version == FormatVersion {
		return nil
	}
	has := fmt.Sprintf("it has format %s, this build reads format %s", codec.Quote(fault.Shorten(version)), FormatVersion)
	err := fmt.Errorf("%w: %s", ErrFormat, has)
	if v := "v" + version; semver.IsValid(v) && semver.Compare(v, "v"+FormatVersion) > 0 {
		err = fault.Retell(fmt.Errorf("%w: %w", ErrTooNew, err), fmt.Sprintf("%v: %s; use a newer build of the application", ErrTooNew, has))
	}
	return err
}

// integrity is the last member of a snapshot.
type integrity struct {
	SHA256  string           `json:"sha256"`
	Records map[string]int64 `json:"records"`
}

// origin is the member that says which installation made a snapshot.
type origin struct {
	Installation string `json:"installation"`
	Serial       int64  `json:"serial"`
}

// maxAddress is the size of the largest member "format" in bytes.
const maxAddress = 1024

// dateTime is stricter than time.Parse, which accepts single digits, commas, and
// offsets of 24 hours or 60 minutes.
var dateTime = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

// hasYear tells whether a time can be written in UTC with a year of four digits. JSON
// can hold no other.
func hasYear(t time.Time) bool {
	year := t.UTC().Year()
	return 0 <= year && year <= 9999
}

// readHeader reads the members around the data into the manifest.
func (s *Snapshot) readHeader(doc *codec.Document) error {
	m := Manifest{Version: FormatVersion, SchemaVersion: 1, Bytes: doc.Bytes, Records: make(map[string]int64)}
	for _, sec := range doc.Collections {
		m.Records[sec.Name] = sec.Count
	}
	s.encryption, s.proof = nil, nil // unlockEarly may have set encryption
	var created string
	var sum integrity
	var from *origin
	wrong := readMembers(doc.Members, []member{
		{"version", true, nil},
		{"format", false, &m.Format},
		{"created_at", true, &created},
		{"application", false, &m.Application},
		{"application_version", true, &m.ApplicationVersion},
		{"schema_version", false, &m.SchemaVersion},
		{"origin", false, &from},
		{"partial", false, &m.Partial},
		{"metadata", false, &m.Metadata},
		{"encryption", false, &s.encryption},
		{"salvaged", false, &m.Salvaged},
		{"data", true, nil},
		{"left_out", false, &m.Missing},
		{"proof", false, &s.proof},
		{"integrity", false, &sum},
	})
	if doc.SHA256 != "" && sum.SHA256 != doc.SHA256 && string(doc.Members["integrity"]) != "null" {
		// Anything else that is wrong comes from the damage.
		return fmt.Errorf("%w: its SHA-256 is %s, but its integrity line says %q; try another copy or an older backup", ErrDamaged, doc.SHA256, sum.SHA256)
	}
	if wrong != nil {
		return wrong
	}
	if doc.SHA256 != "" && !maps.Equal(sum.Records, m.Records) {
		return fmt.Errorf("%w: its integrity line does not count the records that are there (%s); try another copy or an older backup", ErrDamaged, countsApart(sum.Records, m.Records))
	}
	t, err := time.Parse(time.RFC3339, created)
	if err != nil || !dateTime.MatchString(created) {
		return fmt.Errorf(`%w: member "created_at" is not a time of RFC 3339`, ErrFormat)
	}
	if from != nil {
		if err := codec.CheckOrigin(from.Installation, from.Serial); err != nil {
			return fmt.Errorf(`%w: member "origin": %w`, ErrFormat, err)
		}
		m.Installation, m.Serial = from.Installation, from.Serial
	}
	if !hasYear(t) {
		return fmt.Errorf(`%w: member "created_at" is in UTC before the year 0 or after the year 9999`, ErrFormat)
	}
	if err := checkMembers(doc.Members, &m, s.proof); err != nil {
		return err
	}
	if err := s.encryption.check(); err != nil {
		return err
	}
	m.Compressed, m.Encrypted = Compression(s.envelope.Compressed), s.envelope.Encrypted
	m.CreatedAt = t.UTC()
	m.SHA256 = sum.SHA256
	if len(m.Metadata) == 0 {
		m.Metadata = nil // "{}" says no more than no member
	}
	if e := s.encryption; e != nil {
		m.Sealed = len(e.Fields) > 0
		m.Keys = keyIDs(e.Keys)
	}
	s.manifest = m
	return nil
}

// countsApart says where two counts of records differ.
func countsApart(said, are map[string]int64) string {
	all := maps.Clone(are)
	maps.Copy(all, said)
	var apart []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		n, counted := said[name]
		m, found := are[name]
		name = fault.Shorten(name)
		switch {
		case n == m && counted == found:
			continue
		case !counted:
			apart = append(apart, fmt.Sprintf("%s is not counted, and has %d", name, m))
		case !found:
			apart = append(apart, fmt.Sprintf("%s: %d counted, and it is not there", name, n))
		default:
			apart = append(apart, fmt.Sprintf("%s: %d counted, %d are there", name, n, m))
		}
		if len(apart) == 5 {
			break
		}
	}
	return strings.Join(apart, "; ")
}

// A member describes one of the members around the data.
type member struct {
	name     string
	required bool
	value    any // pointer to where its value goes; nil: it is read elsewhere
}

// readMembers reads the known members. Its error names all that are missing,
// unknown or of the wrong type.
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
			err := codec.UnmarshalMember(value, m.value)
			if m.name == "schema_version" && errors.Is(err, codec.ErrTooLarge) {
				errs = append(errs, fmt.Errorf("%w: it has schema version %s; install a newer version of the application", ErrTooNew, fault.Shorten(string(value))))
			} else if err != nil {
				errs = append(errs, fmt.Errorf("%w: member %q: %w", ErrFormat, m.name, err))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(unknown)) {
		errs = append(errs, fmt.Errorf("%w: unknown member %s", ErrFormat, codec.Quote(name)))
	}
	return errors.Join(errs...)
}

// checkMembers refuses values that have the right type and that the format does not
// allow all the same.
func checkMembers(members map[string][]byte, m *Manifest, p *proof) error {
	if _, found := members["application"]; found && m.Application == "" {
		return fmt.Errorf(`%w: member "application" is empty`, ErrFormat)
	}
	if _, found := members["format"]; found && (m.Format == "" || len(m.Format) > maxAddress || strings.ContainsFunc(m.Format, unicode.IsControl)) {
		return fmt.Errorf(`%w: member "format" is no address: want 1 to %d bytes without control characters`, ErrFormat, maxAddress)
	}
	if m.Application != "" && !validAppName.MatchString(m.Application) {
		return fmt.Errorf(`%w: member "application" is %s, which no application can be called: %w`, ErrFormat, codec.Quote(m.Application), ErrForeign)
	}
	for name, n := range m.Missing {
		if n < 0 {
			return fmt.Errorf(`%w: member "left_out" counts %d records of %s`, ErrFormat, n, codec.Quote(name))
		}
	}
	if _, found := members["partial"]; found && !m.Partial {
		return fmt.Errorf(`%w: member "partial" is false, which is not written`, ErrFormat)
	}
	if m.SchemaVersion < 1 {
		return fmt.Errorf(`%w: member "schema_version" is %d, the first is 1`, ErrFormat, m.SchemaVersion)
	}
	if !semver.IsValid("v" + m.ApplicationVersion) {
		return fmt.Errorf(`%w: member "application_version" is %q, which is not a semantic version`, ErrFormat, m.ApplicationVersion)
	}
	if value, found := members["salvaged"]; found {
		if err := m.Salvaged.check(value); err != nil {
			return fmt.Errorf(`%w: member "salvaged" %w`, ErrFormat, err)
		}
	}
	if p == nil {
		return nil
	}
	// An empty text must not pass for an absent one.
	noMAC := p.MAC == "" && (p.Ed25519 == nil || codec.Get(members["proof"], codec.Pointer{"mac"}) != nil)
	if noMAC || p.Ed25519 != nil && (p.Ed25519.Key == "" || p.Ed25519.Signature == "") {
		return fmt.Errorf(`%w: member "proof" lacks a part`, ErrFormat)
	}
	return nil
}

// writeHeader writes the members before the data.
func (sw *snapshotWriter) writeHeader() error {
	m := &sw.manifest
	members := []struct {
		name  string
		value any
		omit  bool
	}{
		{"version", m.Version, false},
		{"format", m.Format, m.Format == ""},
		{"created_at", m.CreatedAt.Format(time.RFC3339Nano), false},
		{"application", m.Application, m.Application == ""},
		{"application_version", m.ApplicationVersion, false},
		{"schema_version", m.SchemaVersion, false},
		{"origin", origin{m.Installation, m.Serial}, m.Installation == ""},
		{"partial", m.Partial, !m.Partial},
		{"metadata", m.Metadata, len(m.Metadata) == 0},
		{"encryption", sw.encryption, sw.encryption == nil},
		{"salvaged", m.Salvaged, m.Salvaged == nil},
	}
	for _, member := range members {
		if member.omit {
			continue
		}
		if err := sw.writeMember(member.name, member.value); err != nil {
			return err
		}
	}
	return fault.Advise(sw.out.BeginData())
}

// writeMember writes one of the members around the data.
func (sw *snapshotWriter) writeMember(name string, v any) error {
	value, err := codec.Marshal(v)
	if err != nil {
		return fmt.Errorf("member %q: %w", name, err)
	}
	if len(value) > codec.HeaderBytes {
		return fmt.Errorf("%w: member %q has %d bytes, the most is %d", ErrLimit, name, len(value), codec.HeaderBytes)
	}
	return fault.Advise(sw.out.Member(name, value))
}
