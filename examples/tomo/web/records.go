package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tomo-project/backup"
)

// A tx is a transaction that reads and changes records. Secrets are in clear in
// it: the Store encrypts and decrypts them.
type tx interface {
	backup.Reader
	backup.Writer
}

// change runs a transaction, and commits it if write returns nil.
func change(ctx context.Context, store backup.Store, write func(tx) error) error {
	return store.Update(ctx, func(w backup.Writer) error {
		t, ok := w.(tx)
		if !ok {
			return fmt.Errorf("the store cannot read in a transaction: %w", errors.ErrUnsupported)
		}
		return write(t)
	})
}

// all returns the records of a collection.
func all[T any](ctx context.Context, r backup.Reader, collection string) (found []T, err error) {
	for record, err := range r.Records(ctx, collection) {
		if err != nil {
			return nil, err
		}
		var v T
		if err := json.Unmarshal(record.Value, &v); err != nil {
			return nil, fmt.Errorf("%s %q: %w", collection, record.Key, err)
		}
		found = append(found, v)
	}
	return found, nil
}

// An object is a record with all its members, including those that are unknown
// here.
type object map[string]json.RawMessage

// lookup returns the record with a key, or errGone.
func lookup(ctx context.Context, t tx, collection, key string) (object, error) {
	found, err := t.Lookup(ctx, collection, []string{key})
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, errGone
	}
	var o object
	if err := json.Unmarshal(found[0].Value, &o); err != nil {
		return nil, fmt.Errorf("%s %q: %w", collection, key, err)
	}
	return o, nil
}

// has tells whether a member is there and not empty.
func (o object) has(name string) bool {
	v := string(o[name])
	return v != "" && v != "null" && v != `""`
}

// set sets a member. An empty text becomes null.
func (o object) set(name string, value any) {
	if value == "" {
		value = nil
	}
	o[name] = marshal(value)
}

func (o object) put(ctx context.Context, t tx, collection, key string) error {
	return t.Put(ctx, collection, []backup.Record{{Key: key, Value: marshal(o)}})
}

// marshal leaves < > & unescaped, which json.Marshal does not.
func marshal(v any) json.RawMessage {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic("web: " + err.Error()) // only texts, numbers, lists of texts and values that were read get here
	}
	return b.Bytes()
}
