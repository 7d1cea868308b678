package manager

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/keyset"
)

// FindOptions say where [Manager.Find] looks. The zero value looks in all collections.
type FindOptions struct {
	Collections []string       // nil: all
	Searched    func(b Backup) // if not nil, called with each backup that was searched to its end
}

// A Found is a record that [Manager.Find] has found, or a backup that it could not search.
type Found struct {
	// Backup is the newest of the searched backups in which the record has the text.
	Backup    string    `json:"backup"`
	CreatedAt time.Time `json:"created_at"`
	Serial    int64     `json:"serial,omitempty"` // 0: it has none

	Collection string `json:"collection,omitempty"`
	Key        string `json:"key,omitempty"`
	Label      string `json:"label,omitempty"`   // what people call it ([backup.App.LabelOf])
	Pointer    string `json:"pointer,omitempty"` // JSON Pointer of a place with the text; empty: the key has it

	// Newest says that the backup is the newest that was searched: the record was not lost
	// before.
	Newest bool `json:"newest,omitempty"`

	// Err says why the backup could not be searched. Then nothing is known of a record, and
	// the backup before it on that day is searched in its place.
	Err error `json:"-"`
}

// MarshalJSON returns the members of the struct, and the member error unless Err is nil.
func (f Found) MarshalJSON() ([]byte, error) {
	type plain Found
	return json.Marshal(struct {
		plain
		Error string `json:"error,omitempty"`
	}{plain(f), errorText(f.Err)})
}

// Find looks for the records that have a text in their key, or in any string that is no
// secret, whatever the case of its letters. It looks in the newest full backup of each day
// of the Manager's TimeZone, from the newest back, and yields each record once: as it was
// when it was last seen with the text. A backup is opened only when the caller asks for more.
//
// Partial and salvaged backups are not searched, nor copies of the database and backups of
// other installations; a Manager with the Installation of another searches those.
// [Manager.History] looks into all backups for one record. If a
// Location cannot be asked, the last element is an error that names it. Memory: some bytes
// for each record that is found.
func (m *Manager) Find(ctx context.Context, text string, opts FindOptions) iter.Seq2[Found, error] {
	return func(yield func(Found, error) bool) {
		err := m.find(ctx, text, opts, func(f Found) bool { return yield(f, nil) })
		if err != nil && err != errStop {
			yield(Found{}, fmt.Errorf("find: %w", err))
		}
	}
}

func (m *Manager) find(ctx context.Context, text string, opts FindOptions, yield func(Found) bool) error {
	o, err := m.begin(ctx, "find")
	if err != nil {
		return err
	}
	if err := o.checkCollections(opts.Collections...); err != nil {
		return err
	}
	if strings.TrimSpace(text) == "" {
		return fmt.Errorf("%w: the text to look for is empty", backup.ErrInvalid)
	}
	c, unasked := o.list(ctx)
	if c == nil {
		return unasked
	}
	f := &finder{operation: o, needle: newNeedle(o.App, text), opts: opts, found: keyset.New(), yield: yield}
	zone := cmp.Or(o.TimeZone, time.Local)
	searched := make(map[string]bool) // by day
	for i := range c.backups {
		b := &c.backups[i]
		day := b.CreatedAt.In(zone).Format(time.DateOnly)
		if searched[day] || b.Foreign || b.Database || b.Manifest != nil && !o.full(*b.Manifest) {
			continue
		}
		switch full, err := f.look(ctx, b); {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == errStop:
			return err
		case err == nil:
			searched[day] = full
		case !yield(Found{Backup: b.Name, CreatedAt: b.CreatedAt, Serial: b.serial(), Err: err}):
			return errStop
		}
	}
	return unasked
}

// full tells whether a backup has all that there was.
func (m *Manager) full(in backup.Manifest) bool { return in.Salvaged == nil && !m.App.Partial(in) }

// A finder goes back from the newest backup.
type finder struct {
	*operation
	needle *needle
	opts   FindOptions
	found  *keyset.Set // the collections and keys of the records
	newest string      // the name of the newest backup that was searched
	yield  func(Found) bool
}

// look searches a backup, if it is full.
func (f *finder) look(ctx context.Context, b *Backup) (full bool, err error) {
	s, err := f.openWhole(ctx, b)
	if err != nil {
		return false, err
	}
	defer s.Close()
	m := s.Manifest()
	if !f.full(m) { // only the file itself tells
		return false, nil
	}
	f.newest = cmp.Or(f.newest, b.Name)
	opts := backup.RestoreOptions{Only: f.opts.Collections, AllowUnknown: true}
	err = f.App.Walk(ctx, s, opts, func(collection string, r backup.Record) error {
		pointer, ok := f.needle.in(collection, r)
		if !ok || !f.found.Add(backup.JoinKey(collection, r.Key)) {
			return nil
		}
		if !f.yield(Found{
			Backup: b.Name, CreatedAt: m.CreatedAt, Serial: b.serial(),
			Collection: collection, Key: r.Key, Label: f.App.LabelOf(collection, r), Pointer: pointer,
			Newest: b.Name == f.newest,
		}) {
			return errStop
		}
		return nil
	})
	switch {
	case err != nil && f.newest == b.Name:
		f.newest = ""
	case err == nil && f.opts.Searched != nil:
		f.opts.Searched(*b)
	}
	return err == nil, err
}

// A needle is a text that is looked for in records.
type needle struct {
	text    string                     // in lower case
	secrets map[string][]codec.Pointer // by collection
	maps    map[string]bool            // the collections that are a Map
}

func newNeedle(app *backup.App, text string) *needle {
	n := &needle{strings.ToLower(text), make(map[string][]codec.Pointer), make(map[string]bool)}
	for _, c := range app.Collections {
		n.maps[c.Name] = c.Shape == backup.Map
		for _, s := range c.Secrets {
			if p, err := codec.ParsePointer(s); err == nil { // the App is valid
				n.secrets[c.Name] = append(n.secrets[c.Name], p)
			}
		}
	}
	return n
}

// in looks for the text in a record, and returns the pointer to a string that has it, or ""
// for the key.
func (n *needle) in(collection string, r backup.Record) (pointer string, ok bool) {
	if n.within(r.Key) {
		return "", true
	}
	// A string without an escape stands in the record as it is.
	if !n.within(string(r.Value)) && bytes.IndexByte(r.Value, '\\') < 0 {
		return "", false
	}
	view, at := r.Value, ""
	if n.maps[collection] {
		at = "/" + codec.Escape(r.Key)
		view = slices.Concat([]byte("{"), codec.Quote(r.Key), []byte(":"), view, []byte("}"))
	}
	view, _ = codec.Rewrite(view, n.secrets[collection], func(string, []byte) ([]byte, error) { return []byte("null"), nil })
	pointer, ok = n.inValue("", codec.Decode(view))
	return strings.TrimPrefix(pointer, at), ok
}

func (n *needle) within(text string) bool { return strings.Contains(strings.ToLower(text), n.text) }

// inValue looks for the text in the strings of a value.
func (n *needle) inValue(at string, value any) (pointer string, ok bool) {
	switch value := value.(type) {
	case string:
		return at, n.within(value)
	case []any:
		for i, v := range value {
			if pointer, ok := n.inValue(at+"/"+strconv.Itoa(i), v); ok {
				return pointer, true
			}
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			if pointer, ok := n.inValue(at+"/"+codec.Escape(name), value[name]); ok {
				return pointer, true
			}
		}
	}
	return "", false
}
