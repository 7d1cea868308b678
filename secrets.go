package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/fault"
	"github.com/tomo-project/backup/internal/onepass"
	"github.com/tomo-project/backup/internal/seal"
)

// encryption is the member "encryption" (FORMAT.md, "Sealing"): where the secrets
// are, and the data key, wrapped for each recipient.
type encryption struct {
	Cipher string                 `json:"cipher"`
	ID     string                 `json:"id"`
	Fields map[string]seal.Fields `json:"fields"`
	Keys   []json.RawMessage      `json:"keys"`
	Check  string                 `json:"check"`
}

const (
	cipherName   = "xchacha20-poly1305"
	sealedMember = "$sealed"

	// minSealed is the size of the smallest sealed value: nonce, one byte and tag.
	minSealed = 24 + 1 + 16

	// maxPointers is how many pointers a collection may have for its keys and secrets,
	// and maxAllPointers how many all collections may have. Each is compared with each
	// of its collection, and with each member of a record.
	maxPointers    = 1000
	maxAllPointers = 10_000
)

// seal makes the member "encryption" for some collections, and the box that seals
// their secrets. Without recipients it returns nil for both. It returns both even if
// there are no secrets, since the data key also proves that the snapshot is
// authentic.
func (c *compiled) seal(collections []*collection, recipients []Recipient) (*encryption, *seal.Box, error) {
	if len(recipients) == 0 {
		return nil, nil, nil
	}
	fields := make(map[string]seal.Fields)
	for _, col := range collections {
		if len(col.secrets) > 0 {
			fields[col.Name] = seal.Fields{Key: col.Key, Secrets: col.Secrets}
		}
	}
	key := seal.NewKey()
	e := &encryption{Cipher: cipherName, ID: seal.NewID(), Fields: fields}
	var err error
	if e.Keys, err = wrapFor(key, recipients); err != nil {
		return nil, nil, err
	}
	box, err := seal.NewBox(key, e.ID)
	if err != nil {
		return nil, nil, err
	}
	e.Check = box.Check(c.Name, c.SchemaVersion, fields)
	return e, box, nil
}

// checkSource refuses to back up a snapshot whose secrets would come out in clear,
// or sealed twice.
func (c *compiled) checkSource(s *Snapshot) error {
	e, m := s.encryption, s.manifest
	if e == nil || len(e.Fields) == 0 {
		return nil
	}
	if s.box == nil {
		return fmt.Errorf("%w: the snapshot to back up was opened without its key; open it with one of its identities", ErrNoKey)
	}
	if m.Application != "" && m.Application != c.Name || m.SchemaVersion != c.SchemaVersion {
		return fmt.Errorf("%w: a snapshot of %s with schema version %d can be backed up by that application at that version only; restore it first", ErrForeign, codec.Quote(m.Application), m.SchemaVersion)
	}
	for name, fields := range e.Fields {
		col := c.byName[name]
		if col == nil {
			continue // a collection that is not declared is not taken
		}
		for _, secret := range fields.Secrets {
			if !slices.Contains(col.Secrets, secret) {
				return fmt.Errorf("%w: %s of %s is secret in the snapshot to back up, and %s does not declare it as such", ErrInvalid, secret, name, c.Name)
			}
		}
	}
	return nil
}

// sealMarked appends the view of a record to dst, with its secrets sealed. marks are the
// places of the secrets in the view, in the order of the text, with their index among the
// secrets of the collection. With nil, sealMarked looks for them.
func (col *collection) sealMarked(dst []byte, box *seal.Box, key string, view []byte, marks []onepass.Mark) []byte {
	start, last := len(dst), 0
	sealAt := func(pointer string, start, end int) error {
		dst = append(dst, view[last:start]...)
		dst = append(dst, `{"`+sealedMember+`":"`...)
		dst = box.Seal(dst, view[start:end], col.Name, key, pointer)
		dst = append(dst, `"}`...)
		last = end
		return nil
	}
	found := marks != nil
	for _, m := range marks {
		var pointer string
		if pointer, found = col.secretAt(view, m); !found {
			dst, last = dst[:start], 0
			break
		}
		sealAt(pointer, m.Start, m.End)
	}
	if !found {
		codec.Find(view, col.secrets, sealAt)
	}
	return append(dst, view[last:]...)
}

// secretAt returns the pointer to a secret without Any. ok is false if that takes more
// than a look at the name before the secret.
func (col *collection) secretAt(view []byte, m onepass.Mark) (pointer string, ok bool) {
	pointer = col.Secrets[m.Place]
	switch tokens := col.secrets[m.Place]; slices.Index(tokens, codec.Any) {
	case -1:
		return pointer, true
	case len(tokens) - 1:
		name, ok := nameBefore(view, m.Start)
		return strings.TrimSuffix(pointer, codec.Any) + codec.Escape(string(name)), ok
	}
	return "", false
}

// nameBefore returns the name of the member whose value begins at an index of a compact
// text. ok is false for an element of an array, and for a name with escapes.
func nameBefore(text []byte, at int) (name []byte, ok bool) {
	text, ok = bytes.CutSuffix(text[:at], []byte(`":`))
	// A quotation mark in a name has a backslash before it.
	name = text[bytes.LastIndexByte(text, '"')+1:]
	escaped := bytes.HasSuffix(text[:len(text)-len(name)], []byte(`\"`)) || bytes.IndexByte(name, '\\') >= 0
	return name, ok && !escaped
}

// check checks the member "encryption" as far as that takes neither a key nor the data.
func (e *encryption) check() error {
	if e == nil {
		return nil
	}
	if e.Cipher != cipherName {
		return fmt.Errorf("%w: its secrets are sealed with the cipher %s, this build knows %s", ErrFormat, codec.Quote(e.Cipher), cipherName)
	}
	if len(e.Keys) > maxKeys {
		return fmt.Errorf("%w: %d wrapped keys, the most is %d", ErrLimit, len(e.Keys), maxKeys)
	}
	if e.ID == "" || e.Check == "" || e.Fields == nil || e.Keys == nil {
		return fmt.Errorf(`%w: member "encryption" lacks a part`, ErrFormat)
	}
	pointers := 0
	for name, fields := range e.Fields {
		n := len(fields.Secrets) + strings.Count(fields.Key, ",")
		if pointers += n; n > maxPointers || pointers > maxAllPointers {
			return fmt.Errorf(`%w: member "encryption" has more than %d pointers for %s, or more than %d for all collections`, ErrLimit, maxPointers, codec.Quote(fault.Shorten(name)), maxAllPointers)
		}
	}
	for name, fields := range e.Fields {
		if err := checkFields(name, fields, fields.Key == ""); err != nil {
			return err
		}
	}
	if err := checkBase64(e.ID, seal.IDSize); err != nil {
		return fmt.Errorf(`%w: member "encryption", id: %w`, ErrDamaged, err)
	}
	if err := checkBase64(e.Check, sha256.Size); err != nil {
		return fmt.Errorf(`%w: member "encryption", check: %w`, ErrDamaged, err)
	}
	if len(e.Keys) == 0 {
		return errNoWrappedKey
	}
	return checkKeys(e.Keys)
}

var errNoWrappedKey = fmt.Errorf(`%w: member "encryption" has no wrapped key, so nothing opens the secrets`, ErrFormat)

// checkFields checks what the member "encryption" says of a collection.
func checkFields(name string, fields seal.Fields, isMap bool) error {
	_, secrets, err := places(fields, isMap)
	if err == nil && len(secrets) == 0 {
		err = errors.New("it lists no secrets")
	}
	if err != nil {
		return fmt.Errorf(`%w: member "encryption", %s: %w`, ErrFormat, codec.Quote(name), err)
	}
	return nil
}

// checkBase64 checks that a text is the base64 of so many bytes.
func checkBase64(text string, size int) error {
	b, err := codec.DecodeBase64(nil, []byte(text))
	if err == nil && len(b) != size {
		err = fmt.Errorf("it has %d bytes and not %d", len(b), size)
	}
	return err
}

// unlock unwraps the data key with the first identity that fits, and checks it.
func (s *Snapshot) unlock(ctx context.Context, identities []Identity, progress func(Progress)) error {
	e := s.encryption
	if e == nil {
		return nil
	}
	for i := range s.sections {
		if sec := &s.sections[i]; s.sealed(sec) {
			if err := checkFields(sec.Name, e.Fields[sec.Name], sec.IsMap); err != nil {
				return err
			}
		}
	}
	if len(identities) == 0 {
		return nil
	}
	if s.key == nil {
		if err := s.unwrapKey(ctx, identities, progress); err != nil {
			return err
		}
	}
	box, err := seal.NewBox(s.key, e.ID)
	if err != nil {
		return fmt.Errorf(`%w: member "encryption": %w`, ErrDamaged, err)
	}
	if err := box.VerifyCheck(e.Check, s.manifest.Application, s.manifest.SchemaVersion, e.Fields); err != nil {
		return fmt.Errorf(`%w: the key fits, but the member "application", "schema_version" or "encryption" has been altered: %w`, ErrDamaged, err)
	}
	s.box = box
	return nil
}

// sealed tells whether the snapshot has sealed secrets in the section.
func (s *Snapshot) sealed(sec *codec.Section) bool {
	if s.encryption == nil {
		return false
	}
	_, ok := s.encryption.Fields[sec.Name]
	return ok
}

// locked tells whether the section has secrets that cannot be opened.
func (s *Snapshot) locked(sec *codec.Section) bool { return s.box == nil && s.sealed(sec) }

// findUnlisted looks at the places of secrets in a section that the member "encryption"
// does not list. It tells whether a value stands there in clear. It refuses a sealed
// value: somebody has removed the section from that list, and the sealed value must not
// pass for data.
func (col *collection) findUnlisted(r item) (inClear bool, err error) {
	if len(col.secrets) == 0 {
		return false, nil
	}
	view := col.view(r.key, r.value)
	err = codec.Find(view, col.secrets, func(pointer string, start, end int) error {
		value := view[start:end]
		if _, sealed := codec.OnlyMember(value, sealedMember); sealed {
			return &RecordError{Collection: col.Name, Key: r.key, Pointer: col.inside(r.key, pointer), Offset: r.offset,
				Err: fmt.Errorf("%w: a sealed secret, and the snapshot does not say how to open it", ErrDamaged)}
		}
		inClear = inClear || string(value) != "null"
		return nil
	})
	return inClear, err
}

// findUnlisted looks for secrets that the snapshot does not list in all records of a batch.
func (b *batch) findUnlisted() {
	for i, r := range b.items {
		exposed, err := b.col.findUnlisted(r)
		if err != nil {
			b.items, b.damage = b.items[:i], err
			return
		}
		b.exposed = b.exposed || exposed
	}
}

// opener returns a function that opens the secrets of a record of a section. It is
// nil if the section has no secrets, or there is no key.
func (s *Snapshot) opener(sec *codec.Section) (func(item) (item, error), error) {
	if s.box == nil || !s.sealed(sec) {
		return nil, nil
	}
	p, err := s.sealedPlaces(sec)
	if err != nil {
		return nil, err
	}
	strict, limits := onepass.New(nil, nil), onepass.Limits{Depth: s.limits.Depth, Values: s.limits.Values}
	return func(r item) (item, error) {
		r, view, err := p.view(r)
		if err != nil {
			return r, err
		}
		var out []byte // view up to last, with its secrets open
		last := 0
		err = codec.Find(view, p.secrets, func(pointer string, start, end int) error {
			text, err := p.text(r, pointer, view[start:end])
			if err != nil {
				return err
			}
			out = append(slices.Grow(out, len(view)-last), view[last:start]...)
			last = end
			plain := len(out)
			if out, err = s.box.Open(out, text, sec.Name, r.key, pointer); err != nil {
				return p.fail(r, pointer, fmt.Errorf("the sealed secret does not open: %w", err))
			}
			if _, ok := strict.Read(out[plain:], limits, nil); ok {
				return nil
			}
			value, err := codec.Compact(nil, out[plain:], s.limits)
			if err != nil {
				return p.fail(r, pointer, fmt.Errorf("the opened secret is not JSON: %w", err))
			}
			out = append(out[:plain], value...)
			return nil
		})
		if err != nil || last == 0 {
			return r, err
		}
		if r.value = append(out, view[last:]...); sec.IsMap {
			r.value = unviewMember(r.key, r.value)
		}
		return r, nil
	}, nil
}

// checkSealed looks, without a key, whether each secret is sealed. With a key, the
// secrets are opened as the records are read.
func (s *Snapshot) checkSealed(ctx context.Context) error {
	if s.box != nil {
		return nil
	}
	for i := range s.sections {
		sec := &s.sections[i]
		if !s.sealed(sec) {
			continue
		}
		p, err := s.sealedPlaces(sec)
		if err != nil {
			return err
		}
		var raw []byte
		err = s.eachRecord(ctx, sec, func(r item) error {
			r, view, err := p.view(r)
			if err != nil {
				return err
			}
			return codec.Find(view, p.secrets, func(pointer string, start, end int) error {
				text, err := p.text(r, pointer, view[start:end])
				if err != nil {
					return err
				}
				if raw, err = codec.DecodeBase64(raw[:0], text); err == nil && len(raw) < minSealed {
					err = errors.New("it is too short")
				}
				if err != nil {
					return p.fail(r, pointer, fmt.Errorf("the sealed secret is malformed: %w", err))
				}
				return nil
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// sealedPlaces are the places of the secrets in a section.
type sealedPlaces struct {
	sec     *codec.Section
	key     codec.Key
	secrets []codec.Pointer
}

func (s *Snapshot) sealedPlaces(sec *codec.Section) (*sealedPlaces, error) {
	key, secrets, err := places(s.encryption.Fields[sec.Name], sec.IsMap)
	if err != nil {
		return nil, fmt.Errorf(`%w: member "encryption", %s: %w`, ErrFormat, codec.Quote(sec.Name), err)
	}
	return &sealedPlaces{sec, key, secrets}, nil
}

// view returns a record with its key, and the object that the pointers are about.
func (p *sealedPlaces) view(r item) (item, []byte, error) {
	if p.sec.IsMap {
		return r, viewMember(r.key, r.value), nil
	}
	key, err := p.key.Of(r.value)
	if err != nil {
		return r, nil, p.fail(r, "", err)
	}
	r.key = key
	return r, r.value, nil
}

// text returns the text of a sealed value.
func (p *sealedPlaces) text(r item, pointer string, value []byte) ([]byte, error) {
	text, ok := codec.OnlyMember(value, sealedMember)
	if !ok {
		return nil, p.fail(r, pointer, errors.New("the secret is not sealed"))
	}
	return text, nil
}

// fail returns the error about a secret of a record.
func (p *sealedPlaces) fail(r item, pointer string, err error) error {
	if p.sec.IsMap {
		pointer = insideMember(r.key, pointer)
	}
	return &RecordError{Collection: p.sec.Name, Key: r.key, Pointer: pointer, Offset: r.offset, Err: fmt.Errorf("%w: %w", ErrDamaged, err)}
}

// places returns the pointers of fields. It allows only those that an App may
// declare, so that a record is still an object with its key once they are opened.
func places(fields seal.Fields, isMap bool) (key codec.Key, secrets []codec.Pointer, err error) {
	if key, err = codec.ParseKey(fields.Key); err != nil {
		return nil, nil, err
	}
	if isMap != (len(key) == 0) {
		return nil, nil, errors.New("a list must have a key, and a map must have none")
	}
	for _, text := range fields.Secrets {
		p, err := codec.ParsePointer(text)
		if err != nil {
			return nil, nil, err
		}
		overlaps := func(q codec.Pointer) bool { return p.Overlaps(q) }
		if len(p) == 0 || !isMap && key.Overlaps(p) || slices.ContainsFunc(secrets, overlaps) {
			return nil, nil, errors.New("a secret is a whole record, or contains the key or another secret")
		}
		secrets = append(secrets, p)
	}
	return key, secrets, nil
}
