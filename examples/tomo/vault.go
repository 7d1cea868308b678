package main

import (
	"bytes"
	"context"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/tomo-project/backup"
)

// vaultPrefix begins what the vault has sealed. A stored value without it is
// that of a Tomo which had no vault.
const vaultPrefix = "vault:v1:"

// A vault keeps the credentials of a store encrypted at rest, with a master key
// that lies beside the database and nowhere else. Whoever reads from it gets
// them in clear: so a backup seals them with its own key, and a restore on
// another machine seals them here with the master key of that machine.
//
// It encrypts what the App declares as Secrets and leaves every other byte of a
// record alone. A sealed value is bound to its place: collection, key of the
// record, field. One that was moved does not open.
type vault struct {
	store   backup.Store // which gives every record its Key, in List collections too
	secrets map[string]secretFields
	keyFile string // of the master key

	mu     sync.Mutex
	master cipher.AEAD // nil: not read yet
	proven bool        // it is the key of this store, or nothing was sealed in it
}

func newVault(store backup.Store, app *backup.App, keyFile string) *vault {
	v := &vault{store: store, secrets: map[string]secretFields{}, keyFile: keyFile}
	for _, collection := range app.Collections {
		fields := secretFields{isMap: collection.Shape == backup.Map}
		for _, secret := range collection.Secrets {
			tokens := strings.Split(secret, "/")[1:]
			for i, token := range tokens {
				tokens[i] = unescape.Replace(token)
			}
			fields.pointers = append(fields.pointers, tokens)
		}
		if fields.pointers != nil {
			v.secrets[collection.Name] = fields
		}
	}
	return v
}

// View implements [backup.DataSource].
func (v *vault) View(ctx context.Context, read func(backup.Reader) error) error {
	return v.store.View(ctx, func(r backup.Reader) error { return read(vaultReader{v, r}) })
}

// Update implements [backup.Sink].
func (v *vault) Update(ctx context.Context, write func(backup.Writer) error) error {
	unfit, err := v.prove(ctx)
	if err != nil {
		return err
	}
	return v.store.Update(ctx, func(w backup.Writer) error {
		vw := vaultWriter{w, v, unfit}
		if r, ok := w.(backup.Reader); ok {
			return write(vaultReadWriter{vw, vaultReader{v, r}})
		}
		return write(vw)
	})
}

type vaultReader struct {
	vault *vault
	under backup.Reader
}

// Records implements [backup.Reader].
func (r vaultReader) Records(ctx context.Context, collection string) iter.Seq2[backup.Record, error] {
	records := r.under.Records(ctx, collection)
	if _, ok := r.vault.secrets[collection]; !ok {
		return records
	}
	return func(yield func(backup.Record, error) bool) {
		for record, err := range records {
			if err == nil {
				record.Value, err = r.vault.open(ctx, collection, record)
			}
			if err != nil {
				yield(backup.Record{Key: record.Key}, err) // the key tells which record it is
				return
			}
			if !yield(record, nil) {
				return
			}
		}
	}
}

type vaultWriter struct {
	backup.Writer
	vault *vault
	unfit error // why nothing may be sealed
}

type vaultReadWriter struct {
	vaultWriter
	vaultReader
}

// Lookup implements [backup.Writer].
func (w vaultWriter) Lookup(ctx context.Context, collection string, keys []string) ([]backup.Record, error) {
	records, err := w.Writer.Lookup(ctx, collection, keys)
	if err != nil {
		return nil, err
	}
	for i, record := range records {
		if records[i].Value, err = w.vault.open(ctx, collection, record); err != nil {
			return nil, err
		}
	}
	return records, nil
}

// Put implements [backup.Writer].
func (w vaultWriter) Put(ctx context.Context, collection string, records []backup.Record) error {
	if _, ok := w.vault.secrets[collection]; !ok {
		return w.Writer.Put(ctx, collection, records)
	}
	sealed := slices.Clone(records)
	for i, record := range records {
		var err error
		if sealed[i].Value, err = w.vault.seal(ctx, w.unfit, collection, record); err != nil {
			return err
		}
	}
	return w.Writer.Put(ctx, collection, sealed)
}

// seal returns the value of a record as it is stored.
func (v *vault) seal(ctx context.Context, unfit error, collection string, r backup.Record) ([]byte, error) {
	return v.rewrite(collection, r, func(pointer string, value []byte) ([]byte, error) {
		if unfit != nil {
			return nil, unfit
		}
		master, err := v.key(ctx, true)
		if err != nil {
			return nil, err
		}
		sealed := master.Seal(nil, nil, value, place(collection, r.Key, pointer))
		return []byte(`"` + vaultPrefix + base64.RawURLEncoding.EncodeToString(sealed) + `"`), nil
	})
}

// open returns the value of a stored record with its secrets in clear.
func (v *vault) open(ctx context.Context, collection string, r backup.Record) ([]byte, error) {
	if !bytes.Contains(r.Value, []byte(vaultPrefix)) {
		return r.Value, nil
	}
	return v.rewrite(collection, r, func(pointer string, value []byte) ([]byte, error) {
		sealed, ok := sealedText(value)
		if !ok {
			return value, nil
		}
		master, err := v.key(ctx, false)
		if err != nil {
			return nil, err
		}
		box, err := base64.RawURLEncoding.DecodeString(sealed)
		if err == nil {
			value, err = master.Open(nil, nil, box, place(collection, r.Key, pointer))
		}
		if err != nil {
			return nil, fmt.Errorf("the master key %s does not open it: put back the key that belongs to this database; if that is there, the value was altered or moved from another place, and has to be entered again", v.keyFile)
		}
		return value, nil
	})
}

// place is what a sealed value is bound to. Quoted, no two places have the same.
func place(collection, key, pointer string) []byte {
	return fmt.Appendf(nil, "%s %q %q %q", vaultPrefix, collection, key, pointer)
}

// sealedText returns what follows the prefix in a stored value.
func sealedText(value []byte) (string, bool) {
	var text string
	if json.Unmarshal(value, &text) != nil {
		return "", false
	}
	return strings.CutPrefix(text, vaultPrefix)
}

// prove finds out whether the master key is that of the store before anything is
// sealed with it: a database with values of two keys could be read with neither.
// unfit is why nothing may be sealed; what has no secrets can be written
// nevertheless.
func (v *vault) prove(ctx context.Context) (unfit, err error) {
	v.mu.Lock()
	proven := v.proven
	v.mu.Unlock()
	if proven {
		return nil, nil
	}
	opened := false
	err = v.store.View(ctx, func(r backup.Reader) error {
		for _, collection := range slices.Sorted(maps.Keys(v.secrets)) {
			for record, err := range r.Records(ctx, collection) {
				if err != nil {
					return err
				}
				value, err := v.open(ctx, collection, record)
				if opened = err == nil && !bytes.Equal(value, record.Value); opened {
					return nil
				}
				if unfit == nil {
					unfit = err
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if unfit != nil && !opened {
		return fmt.Errorf("nothing is sealed beside what does not open: %w", unfit), nil
	}
	v.mu.Lock()
	v.proven = true
	v.mu.Unlock()
	return nil, nil
}
