package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/fault"
	"github.com/tomo-project/backup/internal/seal"
	"github.com/tomo-project/backup/internal/stream"
)

// An outline is what is left of a damaged file without its records. All offsets are
// those of the beginnings of lines.
type outline struct {
	members   map[string][]byte // the intact members around the data, compact
	at        map[string]int64  // offsets of these
	data      int64             // offset of the line that begins the data, -1 if it is lost
	headerEnd int64             // offset at which the header is over at the latest
	frame     map[int64]bool    // offsets of all members that were found; false: damaged ones, after the data
	openings  []opening         // the first one of each name
	counts    map[string]int64  // of the integrity line, nil if that is lost
	proven    bool              // the digest fits
	badKeys   int               // number of wrapped keys that were left out as damaged
}

// An opening is a line that begins a collection. newPlacement finds out which.
type opening struct {
	offset  int64
	name    string
	isMap   bool
	shard   *shard
	damaged bool     // the shard has another name, or another bracket
	hidden  []*shard // placement.hidden after it
}

var (
	openingLine  = regexp.MustCompile(`^"([a-z][a-z0-9_]{0,63})":([\[{])$`)
	sumLine      = regexp.MustCompile(`^"(?:integrity":|[^"]{0,99}":\{"sha256":"[^"]*","records":\{)`)
	formatNumber = regexp.MustCompile(`^"[0-9]+[.][0-9]+"$`)
	headerNames  = []string{"format", "created_at", "application", "application_version", "schema_version", "origin", "partial", "metadata", "encryption", "salvaged"}
	tailNames    = []string{"left_out", "proof", "integrity"}
	headerLine   = regexp.MustCompile(`^(\{"version|"` + strings.Join(headerNames, `|"`) + `)":`)
)

// readOutline reads the file to its end.
func (s *salvage) readOutline(r io.Reader) (*outline, error) {
	in, size, err := s.file.input(s.ctx, r, OpenOptions{Identities: s.opts.Identities, TempDir: s.opts.TempDir, damaged: func(err error) {
		s.warn("only the beginning of the file could be read: %v", err)
	}})
	if err != nil {
		return nil, err
	}
	if s.file.envelope.Encrypted && s.opts.Encrypt == nil {
		return nil, fmt.Errorf("%w: the file is encrypted as a whole, and what is saved of it would be in clear; say for whom to encrypt it", ErrNoKey)
	}
	s.size = size
	o := &outliner{
		outline: &outline{members: make(map[string][]byte), at: make(map[string]int64), frame: make(map[int64]bool), data: -1, headerEnd: -1},
		opened:  make(map[string]bool),
	}
	limited := &stream.Reader{R: in, Most: s.limits.TotalBytes, TooMuch: fmt.Errorf("%w: the file is larger than the limit (Limits.TotalBytes)", ErrLimit)}
	err = s.eachLine("read", limited, func(l codec.Line) error {
		s.size = max(s.size, l.End)
		o.takeLine(l)
		return nil
	})
	if err != nil {
		return nil, fromCodec(err)
	}
	return o.finish(s.size), nil
}

// An outliner makes an outline of the lines of a file.
type outliner struct {
	*outline
	opened       map[string]bool // names of collections
	end          []int64         // offsets of lines that may be the members after the data: only brackets follow them
	brackets     int             // lines with a bracket since the last of these
	afterBracket bool            // the line before is a bracket
}

// takeLine adds one line to the outline.
func (o *outliner) takeLine(l codec.Line) {
	line := bytes.TrimRight(l.Text, " \t\r")
	text := codec.Trim(line)
	switch {
	case l.Cut || len(text) == 0:
		return
	case isBracket(text):
		o.afterBracket = true
		if o.brackets++; o.brackets > 1 {
			o.end = nil
		}
		return
	case text[0] != '"' && text[0] != '{':
		return
	case sumLine.Match(line) && len(text) == len(line),
		o.afterBracket && bytes.HasPrefix(text, []byte(`"left_out":`)),
		(o.afterBracket || len(o.end) > 0) && bytes.HasPrefix(text, []byte(`"proof":`)):
		o.takeTail(l, text)
		return
	}
	o.end, o.afterBracket = nil, false
	switch {
	case l.Ended && string(line) == `"data":{` && o.data < 0 && len(o.openings) == 0:
		o.data = l.Offset
	case l.Ended && openingLine.Match(line):
		o.takeOpening(l, openingLine.FindSubmatch(line))
	case o.headerEnd >= 0:
	case headerLine.Match(text):
		name, value, err := codec.HeaderMember(bytes.TrimPrefix(text, []byte("{")))
		if err == nil && name == "encryption" {
			value, o.badKeys = withoutBadKeys(value)
		}
		if err == nil && wellFormed(name, value) && o.members[name] == nil {
			o.members[name], o.at[name] = value, l.Offset
		}
		if o.members["partial"] == nil && bytes.HasPrefix(text, []byte(`"partial":`)) {
			// Damaged or not, nothing but true can have stood there.
			o.members["partial"] = []byte("true")
		}
		return
	case text[0] == '"', text[len(text)-1] != '}':
		return
	}
	if o.headerEnd < 0 {
		o.headerEnd = l.Offset
	}
}

// takeTail takes a line that may be a member after the data.
func (o *outliner) takeTail(l codec.Line, text []byte) {
	o.end, o.brackets, o.afterBracket = append(o.end[:min(len(o.end), 2)], l.Offset), 0, false
	if name, value, err := codec.HeaderMember(text); err == nil && slices.Contains(tailNames, name) && wellFormed(name, value) {
		o.members[name], o.at[name] = value, l.Offset
	}
}

// takeOpening takes a line that opens a collection.
func (o *outliner) takeOpening(l codec.Line, match [][]byte) {
	if name := string(match[1]); !o.opened[name] && len(o.openings) < codec.MaxCollections {
		o.opened[name] = true
		o.openings = append(o.openings, opening{offset: l.Offset, name: name, isMap: match[2][0] == '{'})
	}
}

// finish decides which lines are members.
func (o *outliner) finish(size int64) *outline {
	for _, name := range tailNames {
		if offset, found := o.at[name]; found && !slices.Contains(o.end, offset) {
			delete(o.members, name) // the line is a record of a map
			delete(o.at, name)
		}
	}
	if _, intact := o.at["partial"]; !intact && o.data < 0 {
		delete(o.members, "partial") // the line may be a record of a map
	}
	for _, offset := range o.end {
		o.frame[offset] = false
	}
	for _, offset := range o.at {
		o.frame[offset] = true
	}
	if o.data >= 0 {
		o.frame[o.data] = true
	}
	if o.headerEnd < 0 {
		o.headerEnd = size
	}
	return o.outline
}

func isBracket(text []byte) bool { return string(text) == "]" || string(text) == "}" }

// drop counts a member as lost although its line is well-formed.
func (o *outline) drop(name string) {
	if offset, found := o.at[name]; found {
		o.frame[offset] = false
	}
	delete(o.members, name)
	delete(o.at, name)
}

// digest says what the digest of the file tells, as [Salvaged] has it.
func (o *outline) digest() string {
	switch {
	case o.counts == nil:
		return salvagedLost
	case o.proven:
		return digestFits
	}
	return digestDiffers
}

// isFrame tells whether a line is what is left of a member around the data. name is
// that of the line, read as the member of an object.
func (o *outline) isFrame(offset int64, name string) bool {
	_, found := o.frame[offset]
	return found || offset < o.data || offset < o.headerEnd && slices.Contains(headerNames, name)
}

// withoutBadKeys takes the damaged wrapped keys out of the member "encryption", since one
// of the others may open everything. It returns how many it took out.
func withoutBadKeys(value []byte) ([]byte, int) {
	var e encryption
	if codec.Unmarshal(value, &e) != nil {
		return value, 0
	}
	n := len(e.Keys)
	e.Keys = slices.DeleteFunc(e.Keys, func(k json.RawMessage) bool {
		_, err := seal.CheckWrapped(k)
		return errors.Is(err, seal.ErrMalformed)
	})
	if len(e.Keys) == n {
		return value, 0
	}
	again, err := codec.Marshal(&e)
	if err != nil {
		return value, 0
	}
	return again, n - len(e.Keys)
}

// wellFormed tells whether a member around the data can have a value.
func wellFormed(name string, value []byte) bool {
	doc := codec.Document{Members: map[string][]byte{
		"version":             []byte(`"` + FormatVersion + `"`),
		"created_at":          []byte(`"2000-01-01T00:00:00Z"`),
		"application_version": []byte(`"1"`),
		"data":                {},
	}}
	doc.Members[name] = value
	var s Snapshot
	if s.readHeader(&doc) != nil {
		return false
	}
	switch name {
	case "version":
		return formatNumber.Match(value)
	case "application":
		return validAppName.MatchString(s.manifest.Application)
	case "integrity":
		sum, err := readIntegrity(value)
		for _, n := range sum.Records {
			if n < 0 {
				return false
			}
		}
		return err == nil && codec.IsDigest(sum.SHA256) && len(sum.Records) <= codec.MaxCollections
	case "encryption":
		return len(s.encryption.Keys) > 0
	}
	return true
}

func readIntegrity(value []byte) (sum integrity, err error) {
	err = codec.UnmarshalMember(value, &sum)
	return sum, err
}

// repairHeader replaces the members of the header that are lost, and opens the
// secrets.
func (s *salvage) repairHeader(o *outline) error {
	if value, found := o.members["version"]; found {
		if err := checkFormat(value); err != nil {
			return err
		}
	}
	made, named := s.ParseBackupName(s.opts.Name)
	if value, found := o.members["application"]; found && string(value) != string(codec.Quote(s.Name)) {
		if !named {
			return fmt.Errorf("%w: it is of %s, this is %s; if that is the damage, name the file as the backup that it was", ErrForeign, value, s.Name)
		}
		o.drop("application")
	}
	doc := codec.Document{Members: maps.Clone(o.members)}
	doc.Members["data"] = []byte{}
	delete(doc.Members, "integrity")
	if doc.Members["proof"] != nil {
		delete(doc.Members, "proof")
		s.warn("the proof that the file is authentic covers all of it, so what is saved has none")
	}
	replace := func(name string, value []byte, format string, args ...any) {
		if doc.Members[name] == nil {
			doc.Members[name] = value
			s.warn(format, args...)
		}
	}
	replace("version", codec.Quote(FormatVersion), "the version of the format is lost; it was taken for %s", FormatVersion)
	if named {
		replace("application", codec.Quote(s.Name), "the name of the application is lost; by the name of the file it is %s", s.Name)
		replace("created_at", codec.Quote(made.Format(time.RFC3339)), "the time of the snapshot is lost; it was taken from the name of the file")
	}
	replace("application", codec.Quote(s.Name), "the name of the application is lost; the file was taken for one of %s", s.Name)
	replace("created_at", codec.Quote(time.Now().UTC().Format(time.RFC3339)), "the time of the snapshot is lost; it was taken for made now")
	replace("application_version", codec.Quote(s.Version), "the version of the application is lost; it was taken for %s", s.Version)
	replace("schema_version", fmt.Append(nil, s.SchemaVersion), "the schema version is lost; it was taken for %d", s.SchemaVersion)
	if err := s.file.readHeader(&doc); err != nil {
		return err
	}
	if o.badKeys > 0 && s.file.encryption != nil {
		s.warn("wrapped keys that are damaged, and were left out: %d", o.badKeys)
	}
	if value, found := o.members["integrity"]; found {
		sum, err := readIntegrity(value)
		if err != nil {
			return err
		}
		if o.counts = sum.Records; o.counts == nil {
			o.counts = map[string]int64{}
		}
		digest := sha256.New()
		if _, err := io.Copy(digest, stream.WithContext(s.ctx, io.NewSectionReader(s.file.r, 0, o.at["integrity"]))); err != nil {
			return err
		}
		o.proven = sum.SHA256 == hex.EncodeToString(digest.Sum(nil))
	}
	return s.unlock(o)
}

// unlock opens the secrets if there is a key for them. If the schema version is
// damaged, the check value tells what it was.
func (s *salvage) unlock(o *outline) error {
	e, m := s.file.encryption, &s.file.manifest
	if e == nil || len(s.opts.Identities) == 0 {
		return nil
	}
	if err := s.file.unwrapKey(s.ctx, s.opts.Identities, s.opts.Progress); err != nil {
		if errors.Is(err, ErrWrongKey) && !o.proven {
			err = fault.Retell(err, "none of the given keys opens the secrets: the file is damaged, maybe in its wrapped keys, so the key may be the right one")
		}
		return fmt.Errorf("%w; without a key the sealed values are copied as they are", err)
	}
	box, err := seal.NewBox(s.file.key, e.ID)
	fits := func(version int) bool {
		return err == nil && box.VerifyCheck(e.Check, m.Application, version, e.Fields) == nil
	}
	version := m.SchemaVersion
	for v := s.SchemaVersion; v > 0 && !fits(version); v-- {
		version = v
	}
	if !fits(version) {
		s.warn(`the member "encryption" is damaged: the key fits, and the rest does not`)
		s.file.encryption = nil
		o.drop("encryption")
		return nil
	}
	s.file.box = box
	if version != m.SchemaVersion {
		s.warn(`the schema version was damaged; by the member "encryption" it was %d`, version)
		o.drop("schema_version")
		m.SchemaVersion = version
	}
	return nil
}
