package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/fault"
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
	// maxKeys is how many wrapped keys a snapshot may have. Each of them costs the
	// reader a key derivation.
	maxKeys = 16

	// maxKeyIDs is how many names of keys are shown.
	maxKeyIDs = 64

	cipherName   = "xchacha20-poly1305"
	sealedMember = "$sealed"

	// minSealed is the size of the smallest sealed value: nonce, one byte and tag.
	minSealed = 24 + 1 + 16
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

// wrapFor wraps the data key for each of the recipients.
func wrapFor(key []byte, recipients []Recipient) ([]json.RawMessage, error) {
	if len(recipients) > maxKeys {
		return nil, fmt.Errorf("%w: %d recipients, the most is %d", ErrLimit, len(recipients), maxKeys)
	}
	var keys []json.RawMessage
	for _, r := range recipients {
		wrapped, err := r.Wrap(key)
		if err != nil {
			return nil, fmt.Errorf("wrap the key of the snapshot: %w", err)
		}
		if wrapped, err = codec.Compact(nil, wrapped, hostLimits); err != nil || keyType(wrapped) == "" {
			return nil, fmt.Errorf("%w: the Recipient %T returned a wrapped key that is no JSON object with a type", ErrInvalid, r)
		}
		keys = append(keys, wrapped)
	}
	return keys, nil
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

// sealRecord returns the view of a record with its secrets sealed.
func (col *collection) sealRecord(box *seal.Box, key string, view []byte) ([]byte, error) {
	return codec.Rewrite(view, col.secrets, func(pointer string, value []byte) ([]byte, error) {
		out := []byte(`{"` + sealedMember + `":"`)
		out = box.Seal(out, value, col.Name, key, pointer)
		return append(out, `"}`...), nil
	})
}

// checkEncryption checks the member "encryption", as far as that takes no key.
func (s *Snapshot) checkEncryption() error {
	e := s.encryption
	if e.Cipher != cipherName {
		return fmt.Errorf("%w: its secrets are sealed with the cipher %s, this build knows %s", ErrFormat, codec.Quote(e.Cipher), cipherName)
	}
	if len(e.Keys) > maxKeys {
		return fmt.Errorf("%w: %d wrapped keys, the most is %d", ErrLimit, len(e.Keys), maxKeys)
	}
	if e.ID == "" || e.Check == "" || e.Fields == nil {
		return fmt.Errorf(`%w: member "encryption" lacks a part`, ErrFormat)
	}
	return nil
}

// unlock unwraps the data key with the first identity that fits, and checks it.
func (s *Snapshot) unlock(ctx context.Context, identities []Identity) error {
	e := s.encryption
	if e == nil {
		return nil
	}
	if err := s.checkEncryption(); err != nil || len(identities) == 0 {
		return err
	}
	if s.key == nil {
		if err := s.unwrapKey(ctx, identities); err != nil {
			return err
		}
	}
	box, err := seal.NewBox(s.key, e.ID)
	if err != nil {
		return fmt.Errorf(`%w: member "encryption": %w`, ErrDamaged, err)
	}
	if err := box.VerifyCheck(e.Check, s.manifest.Application, s.manifest.SchemaVersion, e.Fields); err != nil {
		return fmt.Errorf(`%w: the key fits, but the member "encryption" has been altered: %w`, ErrDamaged, err)
	}
	s.box = box
	return nil
}

// unwrapKey unwraps the data key.
func (s *Snapshot) unwrapKey(ctx context.Context, identities []Identity) error {
	keys := s.encryption.Keys
	rounds := [][]json.RawMessage{keys}
	if s.proofFirst { // a passphrase also proves the snapshot
		others := slices.DeleteFunc(slices.Clone(keys), byPassphrase)
		rounds = [][]json.RawMessage{slices.DeleteFunc(slices.Clone(keys), func(k json.RawMessage) bool { return !byPassphrase(k) }), others}
	}
	for _, round := range rounds {
		for _, id := range identities {
			for _, wrapped := range round {
				if err := ctx.Err(); err != nil {
					return err // an Unwrap may take seconds
				}
				key, err := id.Unwrap(wrapped)
				if err == nil {
					s.key, s.byPassphrase = key, byPassphrase(wrapped)
					return nil
				}
				if !errors.Is(err, ErrWrongKey) {
					return err
				}
			}
		}
	}
	return fmt.Errorf("%w: none of the given keys opens this snapshot, which takes %s; nothing was changed, try the key that was in use when it was made", ErrWrongKey, seal.NameKeys(keyIDs(keys)))
}

// keyType returns the type of a wrapped key, empty if it has none.
func keyType(wrapped json.RawMessage) (name string) {
	if value := codec.Get(wrapped, codec.Pointer{"type"}); value == nil || codec.Unmarshal(value, &name) != nil {
		return ""
	}
	return name
}

// keyIDs names the keys that open one of the wrapped keys.
func keyIDs(keys []json.RawMessage) []string {
	var ids []string
	add := func(id string) {
		if id = fault.Shorten(id); !slices.Contains(ids, id) && len(ids) < maxKeyIDs {
			ids = append(ids, id)
		}
	}
	for _, wrapped := range keys {
		named := namedKeys(wrapped)
		switch kind := keyType(wrapped); {
		case kind == seal.TypePassphrase:
			add(seal.PassphraseID)
		case kind != "" && len(named) == 0:
			add("a key of type " + kind)
		}
		for _, id := range named {
			add(id)
		}
	}
	return ids
}

// namedKeys returns the names of the keys that a wrapped key says open it. They are
// for people: nothing proves them.
func namedKeys(wrapped json.RawMessage) (ids []string) {
	if value := codec.Get(wrapped, codec.Pointer{"ids"}); value == nil || codec.Unmarshal(value, &ids) != nil {
		return nil
	}
	return ids
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

// refuseSealed refuses a sealed value at the place of a secret, in a section that
// the member "encryption" does not list. Somebody has removed the section from that
// list, and the sealed value must not pass for data.
func (col *collection) refuseSealed(r item) error {
	if len(col.secrets) == 0 {
		return nil
	}
	view := col.view(r.key, r.value)
	return codec.Find(view, col.secrets, func(pointer string, start, end int) error {
		if _, sealed := codec.OnlyMember(view[start:end], sealedMember); sealed {
			return &RecordError{Collection: col.Name, Key: r.key, Pointer: col.inside(r.key, pointer), Offset: r.offset,
				Err: fmt.Errorf("%w: a sealed secret, and the snapshot does not say how to open it", ErrDamaged)}
		}
		return nil
	})
}

// opener returns a function that opens the secrets of a record of a section. It is
// nil if the section has no secrets, or there is no key.
func (s *Snapshot) opener(sec *codec.Section) (func(item) (item, error), error) {
	if s.box == nil || !s.sealed(sec) {
		return nil, nil
	}
	fields := s.encryption.Fields[sec.Name]
	key, secrets, err := places(fields, sec.IsMap)
	if err != nil {
		return nil, fmt.Errorf(`%w: member "encryption", %s: %w`, ErrFormat, codec.Quote(sec.Name), err)
	}
	return func(r item) (item, error) {
		fail := func(pointer string, err error) error {
			if sec.IsMap {
				pointer = insideMember(r.key, pointer)
			}
			return &RecordError{Collection: sec.Name, Key: r.key, Pointer: pointer, Offset: r.offset, Err: fmt.Errorf("%w: %w", ErrDamaged, err)}
		}
		view := r.value
		if sec.IsMap {
			view = viewMember(r.key, r.value)
		} else {
			var err error
			if r.key, err = key.Of(r.value); err != nil {
				return r, fail("", err)
			}
		}
		view, err := codec.Rewrite(view, secrets, func(pointer string, value []byte) ([]byte, error) {
			text, ok := codec.OnlyMember(value, sealedMember)
			if !ok {
				return nil, fail(pointer, errors.New("the secret is not sealed"))
			}
			plain, err := s.box.Open(nil, text, sec.Name, r.key, pointer)
			if err != nil {
				return nil, fail(pointer, fmt.Errorf("the sealed secret does not open: %w", err))
			}
			if plain, err = codec.Compact(nil, plain, s.limits); err != nil {
				return nil, fail(pointer, fmt.Errorf("the opened secret is not JSON: %w", err))
			}
			return plain, nil
		})
		if err != nil {
			return r, err
		}
		if r.value = view; sec.IsMap {
			r.value = unviewMember(r.key, view)
		}
		return r, nil
	}, nil
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
