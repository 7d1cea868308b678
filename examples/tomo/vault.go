package main

import (
	"bytes"
	"context"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/tomo-project/backup"
)

// vaultPrefix is the beginning of every value that the vault has sealed. A
// stored value without it comes from a Tomo that had no vault.
const vaultPrefix = "vault:v1:"

// A vault keeps the credentials of a store encrypted. The master key is beside
// the database and nowhere else. Readers get the credentials in clear. So a
// backup seals them with the key of the backup, and a restore on another
// machine seals them with the master key of that machine.
//
// It encrypts the Secrets that the App declares, and leaves every other byte of
// a record alone. A sealed value is bound to its place: collection, key of the
// record, field. A value that was moved does not open.
type vault struct {
	store   backup.Store // returns every record with its Key, also in List collections
	secrets map[string]secretFields
	keyFile string // the path of the master key

	mu     sync.Mutex
	master cipher.AEAD // nil until it has been read
	proven bool        // the key fits this store, or nothing in the store is sealed
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
		opening := r.vault.opening(ctx, collection)
		for record, err := range records {
			if err == nil {
				record.Value, err = opening(record)
			}
			if err != nil {
				yield(backup.Record{Key: record.Key}, err) // the key says which record it is
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
	unfit error // why nothing may be sealed, or nil
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
	opening := w.vault.opening(ctx, collection)
	for i, record := range records {
		value, err := opening(record)
		if err != nil {
			return nil, err
		}
		records[i].Value = bytes.Clone(value)
	}
	return records, nil
}

// Put implements [backup.Writer].
func (w vaultWriter) Put(ctx context.Context, collection string, records []backup.Record) error {
	if _, ok := w.vault.secrets[collection]; !ok {
		return w.Writer.Put(ctx, collection, records)
	}
	sealing := w.vault.sealing(ctx, w.unfit, collection)
	sealed := slices.Clone(records)
	for i, record := range records {
		value, err := sealing(record)
		if err != nil {
			return err
		}
		sealed[i].Value = bytes.Clone(value)
	}
	return w.Writer.Put(ctx, collection, sealed)
}

// The optional methods of a Writer are passed on. Without them a plan would not
// find out what the database refuses, nor what its triggers do.

// Settle has the store check what its commit would.
func (w vaultWriter) Settle(ctx context.Context) error {
	if s, ok := w.Writer.(interface{ Settle(context.Context) error }); ok {
		return s.Settle(ctx)
	}
	return nil
}

// Effects names what changes records by itself.
func (w vaultWriter) Effects(ctx context.Context, collection string) ([]string, error) {
	if e, ok := w.Writer.(interface {
		Effects(ctx context.Context, collection string) ([]string, error)
	}); ok {
		return e.Effects(ctx, collection)
	}
	_, err := w.Writer.Lookup(ctx, collection, nil) // an unknown collection is an error
	return nil, err
}

// Parents returns the collections that should be put before this one.
func (w vaultWriter) Parents(ctx context.Context, collection string) ([]string, error) {
	if p, ok := w.Writer.(interface {
		Parents(ctx context.Context, collection string) ([]string, error)
	}); ok {
		return p.Parents(ctx, collection)
	}
	_, err := w.Writer.Lookup(ctx, collection, nil)
	return nil, err
}

// Normalize sets records to the form that the store would show.
func (w vaultWriter) Normalize(ctx context.Context, collection string, records []backup.Record) error {
	if n, ok := w.Writer.(interface {
		Normalize(ctx context.Context, collection string, records []backup.Record) error
	}); ok {
		return n.Normalize(ctx, collection, records)
	}
	return nil
}

// NewKeys returns keys for new records, if the store numbers those of the collection.
func (w vaultWriter) NewKeys(ctx context.Context, collection string, n int) ([]string, error) {
	if k, ok := w.Writer.(interface {
		NewKeys(ctx context.Context, collection string, n int) ([]string, error)
	}); ok {
		return k.NewKeys(ctx, collection, n)
	}
	return nil, fmt.Errorf("%w: the store does not number %s", errors.ErrUnsupported, collection)
}

// AllowDangling says whether references may dangle at the commit.
func (w vaultWriter) AllowDangling(allow bool) {
	if t, ok := w.Writer.(interface{ AllowDangling(allow bool) }); ok {
		t.AllowDangling(allow)
	}
}

// sealing returns a function that returns the value of a record in its stored
// form, valid until the next call.
func (v *vault) sealing(ctx context.Context, unfit error, collection string) func(backup.Record) ([]byte, error) {
	w := &rewriting{collection: collection, fields: v.secrets[collection]}
	var sealed []byte
	w.replace = func(dst []byte, pointer string, secret []byte) ([]byte, error) {
		if unfit != nil {
			return nil, unfit
		}
		if !json.Valid(secret) {
			return nil, errNotJSON
		}
		master, err := v.key(ctx, true)
		if err != nil {
			return nil, err
		}
		sealed = master.Seal(sealed[:0], nil, secret, w.place(pointer))
		dst = append(dst, `"`+vaultPrefix...)
		dst = base64.RawURLEncoding.AppendEncode(dst, sealed)
		return append(dst, '"'), nil
	}
	return w.record
}

// opening returns a function that returns the value of a stored record, with its
// secrets in clear, valid until the next call.
func (v *vault) opening(ctx context.Context, collection string) func(backup.Record) ([]byte, error) {
	w := &rewriting{collection: collection, fields: v.secrets[collection]}
	var sealed []byte
	w.replace = func(dst []byte, pointer string, stored []byte) ([]byte, error) {
		text, ok := sealedText(stored)
		if !ok {
			return append(dst, stored...), nil
		}
		master, err := v.key(ctx, false)
		if err != nil {
			return nil, err
		}
		if sealed, err = base64.RawURLEncoding.AppendDecode(sealed[:0], text); err == nil {
			dst, err = master.Open(dst, nil, sealed, w.place(pointer))
		}
		if err != nil {
			return nil, fmt.Errorf("the master key %s does not open it: put back the key that belongs to this database; if it is there, the value was altered or moved: enter it again", v.keyFile)
		}
		return dst, nil
	}
	return func(r backup.Record) ([]byte, error) {
		if !bytes.Contains(r.Value, []byte(vaultPrefix)) {
			return r.Value, nil
		}
		return w.record(r)
	}
}

// place returns the text to which the secret at a pointer is bound. It quotes
// its parts, so no two places have the same text.
func (w *rewriting) place(pointer string) []byte {
	if len(w.bound) == 0 {
		w.bound = append(w.bound, vaultPrefix...)
		w.bound = strconv.AppendQuote(append(w.bound, ' '), w.collection)
		w.bound = strconv.AppendQuote(append(w.bound, ' '), w.key)
		w.bound = slices.Grow(append(w.bound, ' '), 64) // for pointers
	}
	return strconv.AppendQuote(w.bound, pointer)
}

// sealedText returns the text after the prefix in a stored value. Neither needs
// an escape in JSON.
func sealedText(stored []byte) ([]byte, bool) {
	text, ok := bytes.CutPrefix(stored, []byte(`"`+vaultPrefix))
	return bytes.TrimSuffix(text, []byte(`"`)), ok
}

// prove checks, before anything is sealed, whether the master key fits the
// store. With values of two keys, a database could be read with neither. If the
// key does not fit, unfit is the reason. Records without secrets can still be
// written.
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
			opening := v.opening(ctx, collection)
			for record, err := range r.Records(ctx, collection) {
				if err != nil {
					return err
				}
				value, err := opening(record)
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
