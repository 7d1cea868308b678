package manager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/fault"
)

// A RecordState is what one backup tells of one record (see [Manager.History]).
type RecordState struct {
	Backup    string    `json:"backup"` // its name
	CreatedAt time.Time `json:"created_at"`
	Serial    int64     `json:"serial,omitempty"` // 0: it has none
	Trigger   string    `json:"trigger,omitempty"`

	Presence Presence `json:"presence"`

	// Label is what people called the record ([backup.App.LabelOf]).
	Label string `json:"label,omitempty"`

	// Then is what happened to the record after this backup, until the next newer backup
	// that tells of it: Add if only the newer backup has the record, Delete if only this one
	// has it, and Update with the fields that differ. Nil: it stayed as it was, or no newer
	// backup tells of it. Secrets are masked.
	Then *backup.Change `json:"then,omitempty"`

	// Err says why the backup tells nothing of the record: Presence is Silent or Unread.
	Err error `json:"-"`
}

// Presence says whether a backup has a record.
type Presence string

const (
	Present Presence = "present" // it has the record
	Absent  Presence = "absent"  // it has the record's collection, and not the record
	Silent  Presence = "silent"  // it does not have the collection, or not all of it
	Unread  Presence = "unread"  // it cannot be read: damaged, sealed with another key, too new
)

// tells tells whether the backup says if the record was there.
func (p Presence) tells() bool { return p == Present || p == Absent }

// MarshalJSON returns the members of the struct, and the member error unless Err is nil.
func (s RecordState) MarshalJSON() ([]byte, error) {
	type plain RecordState
	return json.Marshal(struct {
		plain
		Error string `json:"error,omitempty"`
	}{plain(s), errorText(s.Err)})
}

// newState returns a RecordState with what is known of a backup.
func (b *Backup) newState() RecordState {
	return RecordState{Backup: b.Name, CreatedAt: b.CreatedAt, Serial: b.serial(), Trigger: b.Trigger}
}

// History tells what the backups say of one record, from the newest backup back: whether
// they have it, and what has changed. Records of older backups are migrated before they are
// compared. Each backup is read once, at the first Location that has it whole, when the
// caller asks for it: whoever has seen enough stops, and no more is opened.
//
// A backup without the record's collection is Silent, and so is a backup that was salvaged
// or lacks invalid records, unless it has the record. A backup that cannot be read is
// Unread. Neither ends the history. Copies of the database and backups of other
// installations are left out; a Manager with the Installation of another tells of those.
//
// If a Location cannot be asked, the last element is an error that names it. The error
// wraps ErrInvalid if the App has no such collection. History keeps two states of the
// record in memory, and their secrets are open there.
func (m *Manager) History(ctx context.Context, collection, key string) iter.Seq2[RecordState, error] {
	return func(yield func(RecordState, error) bool) {
		err := m.history(ctx, collection, key, func(s RecordState) bool { return yield(s, nil) })
		if err != nil && err != errStop {
			yield(RecordState{}, fmt.Errorf("history: %w", err))
		}
	}
}

// errStop: the caller has seen enough.
var errStop = errors.New("stop")

func (m *Manager) history(ctx context.Context, collection, key string, yield func(RecordState) bool) error {
	o, err := m.begin(ctx, "history")
	if err != nil {
		return err
	}
	if err := o.checkCollections(collection); err != nil {
		return err
	}
	if key == "" {
		return fmt.Errorf("%w: the key of the record is empty", backup.ErrInvalid)
	}
	c, unasked := o.list(ctx)
	if c == nil {
		return unasked
	}
	h := history{operation: o, collection: collection, key: key}
	for i := range c.backups {
		b := &c.backups[i]
		if b.Foreign || b.Database {
			continue
		}
		state, err := h.next(ctx, b)
		if err != nil {
			return err
		}
		if !yield(state) {
			return errStop
		}
	}
	return unasked
}

// checkCollections refuses names of collections that the App does not declare.
func (m *Manager) checkCollections(names ...string) error {
	var known []string
	for _, c := range m.App.Collections {
		known = append(known, c.Name)
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return fmt.Errorf("%w: %s has no collection %q, only %s", backup.ErrInvalid, m.App.Name, fault.Shorten(name), strings.Join(known, ", "))
		}
	}
	return nil
}

// A history goes back from the newest backup.
type history struct {
	*operation
	collection, key string

	newer *backup.Record // in the last backup that told of it; nil: that has no such record
	told  bool           // a backup has told of it
}

// next returns what the next older backup tells.
func (h *history) next(ctx context.Context, b *Backup) (RecordState, error) {
	state := b.newState()
	record, err := h.read(ctx, b, &state)
	if ctx.Err() != nil {
		return state, ctx.Err()
	}
	if err != nil {
		state.Presence, state.Err = Unread, err
	}
	if state.Presence.tells() {
		if h.told && (record != nil || h.newer != nil) {
			change, err := h.App.Change(h.collection, record, h.newer)
			if err != nil {
				return state, err
			}
			if change.Action != backup.Update || len(change.Fields) > 0 {
				state.Then = &change
			}
		}
		h.newer, h.told = record, true
	}
	return state, nil
}

// read reads the record from a backup, and sets what the backup tells of it.
func (h *history) read(ctx context.Context, b *Backup, state *RecordState) (found *backup.Record, err error) {
	s, err := h.openWhole(ctx, b)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	m := s.Manifest()
	state.CreatedAt, state.Trigger = m.CreatedAt, m.Metadata[backup.MetaTrigger]
	older := m.SchemaVersion < h.App.SchemaVersion
	opts := backup.RestoreOptions{AllowUnknown: true}
	if older { // which of its collections have become this one only its records tell
		opts.Only = []string{h.collection}
	} else {
		opts.Records = map[string][]string{h.collection: {h.key}}
	}
	has := slices.Contains(s.Collections(), h.collection)
	err = h.App.Walk(ctx, s, opts, func(_ string, r backup.Record) error {
		if has = true; r.Key != h.key {
			return nil
		}
		found = &backup.Record{Key: r.Key, Value: slices.Clone(r.Value)}
		return fs.SkipAll
	})
	if err != nil {
		return nil, err
	}
	missing := m.Missing[h.collection]
	if older {
		for _, n := range m.Missing {
			missing = max(missing, n)
		}
	}
	switch state.Presence = Silent; {
	case found != nil:
		state.Presence, state.Label = Present, h.App.LabelOf(h.collection, *found)
	case !has:
		state.Err = fmt.Errorf("it was made without %s", h.collection)
	case m.Salvaged != nil:
		state.Err = errors.New("it was salvaged, and lacks records")
	case missing > 0:
		state.Err = fmt.Errorf("invalid records were left out of it: %d", missing)
	default:
		state.Presence = Absent
	}
	return found, nil
}

// KeyOf returns the key of the record that people call by a name: by its key, or else by its
// [backup.Collection].Label. The newest backup that has such a record decides. Backups that
// cannot be read are passed over, as are those that [Manager.History] leaves out.
//
// The error wraps fs.ErrNotExist if no backup has such a record, and ErrInvalid if several
// records have the label in the backup that decides: it lists their keys.
func (m *Manager) KeyOf(ctx context.Context, collection, name string) (key string, err error) {
	if key, err = m.keyOf(ctx, collection, name); err != nil {
		return "", fmt.Errorf("find the key: %w", err)
	}
	return key, nil
}

func (m *Manager) keyOf(ctx context.Context, collection, name string) (string, error) {
	o, err := m.begin(ctx, "find")
	if err != nil {
		return "", err
	}
	if err := o.checkCollections(collection); err != nil {
		return "", err
	}
	c, unasked := o.list(ctx)
	if c == nil {
		return "", unasked
	}
	for i := range c.backups {
		b := &c.backups[i]
		if b.Foreign || b.Database {
			continue
		}
		s, err := o.openWhole(ctx, b)
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		if err != nil {
			continue
		}
		keys, err := o.App.Resolve(ctx, s, []string{collection + "/" + name})
		s.Close()
		if err == nil {
			return keys[collection][0], nil
		}
		if ctx.Err() != nil || errors.Is(err, backup.ErrInvalid) {
			return "", fmt.Errorf("%s: %w", b.Name, err)
		}
	}
	return "", errors.Join(fault.Retell(fs.ErrNotExist, fmt.Sprintf("no backup that could be read has a record of %s with the key or the label %q", collection, fault.Shorten(name))), unasked)
}

// openWhole opens the first copy of a backup that is not known to be bad.
func (o *operation) openWhole(ctx context.Context, b *Backup) (*backup.Snapshot, error) {
	if b.OtherKey {
		return nil, fmt.Errorf("%w: it is sealed with another key", backup.ErrWrongKey)
	}
	var errs []error
	for _, s := range o.sites {
		c := b.at(s)
		if c == nil {
			continue
		}
		err := c.Err
		if err == nil {
			var snapshot *backup.Snapshot
			if snapshot, err = o.openAt(ctx, s, b.named, o.keys()); err == nil {
				return snapshot, nil
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			o.learn(s, b.Name, err)
		}
		errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
	}
	return nil, errors.Join(errs...)
}
