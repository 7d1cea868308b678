package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/keyset"
	"github.com/tomo-project/backup/internal/seal"
)

// What is left of the frame of a damaged file: its header, the lines that begin
// and end collections, and its last line.

var (
	openingLine  = regexp.MustCompile(`^"([a-z][a-z0-9_]{0,63})":([\[{])$`)
	digestText   = regexp.MustCompile(`^[0-9a-f]{64}$`)
	formatNumber = regexp.MustCompile(`^"[0-9]+[.][0-9]+"$`)
	headerNames  = []string{"created_at", "application", "application_version", "schema_version", "metadata", "encryption", "salvaged"}
	headerLine   = regexp.MustCompile(`^"(` + strings.Join(headerNames, "|") + `)":`)
)

// outline reads the file to its end and takes note of all but the records.
func (s *salvage) outline(r io.Reader) error {
	in, size, err := s.file.source(s.ctx, r, s.opts.TempDir)
	if err != nil {
		return err
	}
	s.size = size
	after := make(map[string]int) // brackets behind the lines at the end
	endHeader := func(offset int64) {
		if s.headerEnd < 0 {
			s.headerEnd = offset
		}
	}
	err = s.each("read", &capped{in, s.limits.TotalBytes}, func(l codec.Line) error {
		s.size = max(s.size, l.End)
		if l.Cut || len(l.Text) == 0 {
			return nil
		}
		text := bytes.TrimRight(l.Text, " \t\r")
		switch item := codec.Trim(text); {
		case len(item) == 0:
		case s.headerEnd < 0 && bytes.HasPrefix(item, []byte(`{"version":`)):
			if name, value, err := codec.HeaderMember(item[1:]); err == nil && formatNumber.Match(value) {
				s.member(name, value, l.Offset)
			}
		case string(item) == "]" || string(item) == "}":
			after["integrity"]++
			after["left_out"]++
		case s.data < 0 && len(s.openings) == 0 && string(text) == `"data":{`:
			s.data = l.Offset
			s.lines[l.Offset] = true
			endHeader(l.Offset)
		case item[0] == '{' && item[len(item)-1] == '}':
			endHeader(l.Offset)
		case item[0] != '"':
		case openingLine.Match(text):
			after["integrity"]++
			after["left_out"]++
			endHeader(l.Offset)
			m := openingLine.FindSubmatch(text)
			name := string(m[1])
			same := func(o opening) bool { return o.name == name }
			if len(s.openings) < codec.MaxCollections && !slices.ContainsFunc(s.openings, same) {
				s.openings = append(s.openings, opening{offset: l.Offset, name: name, isMap: m[2][0] == '{'})
			}
		case bytes.HasPrefix(item, []byte(`"integrity":`)), bytes.HasPrefix(item, []byte(`"left_out":`)):
			name, value, err := codec.HeaderMember(item)
			if err == nil && wellFormed(name, value) {
				s.doc.Members[name], s.at[name] = value, l.Offset
				after[name] = 0
			}
		case s.headerEnd < 0 && headerLine.Match(item):
			if name, value, err := codec.HeaderMember(item); err == nil && wellFormed(name, value) {
				s.member(name, value, l.Offset)
			}
		}
		return nil
	})
	if err != nil {
		return fromCodec(err)
	}
	if s.headerEnd < 0 {
		s.headerEnd = s.size
	}
	// A record of a map may have the name of a line at the end of the file. Only
	// the end itself follows that.
	for _, name := range []string{"integrity", "left_out"} {
		if _, found := s.at[name]; !found {
			continue
		}
		if after[name] > 1 {
			delete(s.doc.Members, name)
			delete(s.at, name)
			continue
		}
		s.lines[s.at[name]] = true
	}
	return nil
}

// member takes a member of the header, the first of its name.
func (s *salvage) member(name string, value []byte, offset int64) {
	if s.doc.Members[name] == nil {
		s.doc.Members[name], s.at[name] = value, offset
		s.lines[offset] = true
	}
}

// drop takes a member of the header for lost although its line is well-formed.
func (s *salvage) drop(name string) {
	delete(s.doc.Members, name)
	delete(s.lines, s.at[name])
	delete(s.at, name)
}

// wellFormed tells whether value can be that of a member around the data.
func wellFormed(name string, value []byte) bool {
	doc := codec.Document{Members: map[string][]byte{
		"version":             []byte(`"` + FormatVersion + `"`),
		"created_at":          []byte(`"2000-01-01T00:00:00Z"`),
		"application_version": []byte(`"1"`),
		"data":                {},
	}}
	doc.Members[name] = value
	var s Snapshot
	if s.header(&doc) != nil {
		return false
	}
	switch name {
	case "application":
		return validAppName.MatchString(s.manifest.Application)
	case "integrity":
		return digestText.MatchString(s.manifest.SHA256)
	case "encryption":
		e := s.encryption
		if s.unlock(context.Background(), nil) != nil || len(e.Keys) == 0 {
			return false
		}
		_, err := seal.NewBox(make([]byte, 32), e.ID)
		check, ok := decodeBase64([]byte(e.Check))
		return err == nil && ok && len(check) == sha256.Size
	}
	return true
}

// decodeBase64 accepts the one text that encoding the bytes gives.
func decodeBase64(text []byte) ([]byte, bool) {
	raw, err := base64.StdEncoding.Strict().AppendDecode(nil, text)
	return raw, err == nil && base64.StdEncoding.EncodedLen(len(raw)) == len(text)
}

// header replaces what is lost of the header, and opens the secrets.
func (s *salvage) header() error {
	members := s.doc.Members
	members["data"] = []byte{}
	if value, found := members["version"]; !found {
		members["version"] = []byte(`"` + FormatVersion + `"`)
		s.warn("the version of the format is lost; it was taken for %s", FormatVersion)
	} else if err := checkFormat(value); err != nil {
		return err
	}
	made, named := s.ParseBackupName(s.opts.Name)
	if value, found := members["application"]; found && string(value) != string(codec.Quote(s.Name)) {
		if !named {
			return fmt.Errorf("%w: it is of %s, this is %s; if that is the damage, name the file as the backup that it was", ErrForeign, value, s.Name)
		}
		s.drop("application")
	}
	if members["application"] == nil {
		members["application"] = codec.Quote(s.Name)
		if named {
			s.warn("the name of the application is lost; by the name of the file it is %s", s.Name)
		} else {
			s.warn("the name of the application is lost; the file was taken for one of %s", s.Name)
		}
	}
	if members["created_at"] == nil {
		if named {
			s.warn("the time of the snapshot is lost; it was taken from the name of the file")
		} else {
			made = time.Now().UTC()
			s.warn("the time of the snapshot is lost; it was taken for made now")
		}
		members["created_at"] = codec.Quote(made.Format(time.RFC3339))
	}
	if members["application_version"] == nil {
		members["application_version"] = codec.Quote(s.Version)
		s.warn("the version of the application is lost; it was taken for %s", s.Version)
	}
	if members["schema_version"] == nil {
		members["schema_version"] = fmt.Append(nil, s.SchemaVersion)
		s.warn("the schema version is lost; it was taken for %d", s.SchemaVersion)
	}
	doc := codec.Document{Members: maps.Clone(members)}
	delete(doc.Members, "integrity")
	if err := s.file.header(&doc); err != nil {
		return err
	}
	if value, found := members["integrity"]; found {
		var sum integrity
		if err := codec.Unmarshal(value, &sum); err != nil {
			return err
		}
		s.counts = sum.Records
		if s.counts == nil {
			s.counts = map[string]int64{}
		}
		s.file.manifest.SHA256 = sum.SHA256
	}
	return s.unlock()
}

// unlock opens the secrets if there is a key for them.
func (s *salvage) unlock() error {
	e, m := s.file.encryption, &s.file.manifest
	if e == nil || len(s.opts.Identities) == 0 {
		return nil
	}
	key, err := unwrap(s.ctx, e.Keys, s.opts.Identities)
	if err != nil {
		return fmt.Errorf("%w; without a key the sealed values are copied as they are", err)
	}
	box, err := seal.NewBox(key, e.ID)
	if err == nil {
		// It also tells which schema version it was, if that is lost.
		for v := range s.SchemaVersion + 1 {
			if v == 0 {
				v = m.SchemaVersion
			}
			if err = box.VerifyCheck(e.Check, m.Application, v, e.Fields); err == nil {
				if v != m.SchemaVersion {
					s.warn("the schema version was found out to be %d by what says how to open the secrets", v)
					if _, found := s.at["schema_version"]; found {
						s.drop("schema_version")
					}
					m.SchemaVersion = v
				}
				s.file.box = box
				return nil
			}
		}
	}
	s.warn("what says how to open the secrets is damaged: the key fits, and the rest does not")
	s.file.encryption = nil
	s.drop("encryption")
	return nil
}

// prepare makes the shards: one for each collection that the file has or may
// have had.
func (s *salvage) prepare() {
	sameVersion := s.file.manifest.SchemaVersion == s.SchemaVersion
	order := make(map[string]int)
	if sameVersion {
		for i, col := range s.order {
			order[col.Name] = i
		}
	}
	s.repair(order)
	if s.counts != nil {
		s.whole = true
		for _, o := range s.openings {
			if _, counted := s.counts[o.name]; !counted {
				s.whole = false
			}
		}
		for name := range s.counts {
			if s.compiled.byName[name] == nil && !s.isOpened(name) {
				s.whole = false
			}
		}
	}
	add := func(sh *shard, declared *collection) {
		e := s.file.encryption
		var fields seal.Fields
		listed := false
		if e != nil {
			fields, listed = e.Fields[sh.name]
		}
		if listed {
			key, secrets, err := places(fields, sh.isMap)
			if err == nil {
				sh.key, sh.sealed = key, secrets
			}
			if s.file.box != nil && err == nil {
				sh.open, _ = s.file.opener(&codec.Section{Name: sh.name, IsMap: sh.isMap})
			}
		} else if declared != nil && sh.isMap == (declared.Shape == Map) {
			sh.sealed, sh.strip = declared.secrets, len(declared.secrets) > 0
		}
		if declared != nil && sameVersion {
			sh.col, sh.key = declared, declared.key
		}
		sh.keys = keyset.New()
		s.byName[sh.name] = sh
		s.shards = append(s.shards, sh)
	}
	if sameVersion {
		for i, col := range s.order {
			add(&shard{name: col.Name, isMap: col.Shape == Map, order: i, opened: s.isOpened(col.Name)}, col)
		}
	}
	for _, o := range s.openings {
		if s.byName[o.name] == nil {
			add(&shard{name: o.name, isMap: o.isMap, order: -1, opened: true}, s.compiled.byName[o.name])
		}
	}
}

func (s *salvage) isOpened(name string) bool {
	return slices.ContainsFunc(s.openings, func(o opening) bool { return o.name == name })
}

// repair finds the lines in which the name or the bracket of a collection is
// damaged. They are lost, but what they were may be known still.
func (s *salvage) repair(order map[string]int) {
	right := func(name string) bool {
		if _, counted := s.counts[name]; counted {
			return true
		}
		_, declared := order[name]
		return declared
	}
	wanted := slices.Sorted(maps.Keys(order))
	for name := range s.counts {
		if _, declared := order[name]; !declared {
			wanted = append(wanted, name)
		}
	}
	for i := range s.openings {
		o := &s.openings[i]
		if !right(o.name) {
			var likely []string
			for _, name := range wanted {
				if !s.isOpened(name) && similar(o.name, name) {
					likely = append(likely, name)
				}
			}
			if len(likely) == 1 {
				o.name, o.damaged = likely[0], true
			}
		}
		if _, declared := order[o.name]; declared {
			if isMap := s.compiled.byName[o.name].Shape == Map; isMap != o.isMap {
				o.isMap, o.damaged = isMap, true
			}
		}
	}
	var kept []opening
	for i, o := range s.openings {
		if !s.stray(i, order) {
			kept = append(kept, o)
		}
	}
	s.openings = kept
}

// stray tells whether the name of an opening is none that the file can have had:
// its counts do not have it, or what the App always has is missing there.
func (s *salvage) stray(i int, order map[string]int) bool {
	name := s.openings[i].name
	if _, declared := order[name]; declared || len(order) == 0 {
		return false
	}
	if s.counts != nil {
		_, counted := s.counts[name]
		return !counted
	}
	first, last := -1, len(s.order)
	for j, o := range s.openings {
		if n, declared := order[o.name]; declared && j < i {
			first = max(first, n)
		} else if declared {
			last = min(last, n)
		}
	}
	for n := first + 1; n < last; n++ {
		if col := s.order[n]; !col.Optional && !s.isOpened(col.Name) {
			return true
		}
	}
	return false
}

// similar tells whether a text may be what damage has made of a name: one or two
// bytes altered, or some removed.
func similar(text, name string) bool {
	alike := func(n int, a, b func(int) byte) (k int) {
		for k < n && a(k) == b(k) {
			k++
		}
		return k
	}
	switch {
	case len(text) == len(name):
		n := 0
		for i := range len(text) {
			if text[i] != name[i] {
				n++
			}
		}
		return n <= 2 && 3*n <= len(text)
	case len(text) < len(name) && 2*len(text) >= len(name):
		begin := alike(len(text), func(i int) byte { return text[i] }, func(i int) byte { return name[i] })
		end := alike(len(text), func(i int) byte { return text[len(text)-1-i] }, func(i int) byte { return name[len(name)-1-i] })
		return begin+end >= len(text)
	}
	return false
}

// headerWhole tells whether no line of the header is lost.
func (s *salvage) headerWhole() bool {
	return s.data >= 0 && (len(s.report.Lost) == 0 || s.report.Lost[0].From >= s.headerEnd)
}
