package main

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/tomo-project/backup"
)

// vaultPrefix begins what the vault has sealed. A stored value without it is
// that of a Tomo which had no vault.
const vaultPrefix = "vault:v1:"

const masterKeySize = 32

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

// secretFields are the places of the secrets of a collection, as the tokens of
// their JSON Pointers. Those of a Map begin with the key of the record.
type secretFields struct {
	isMap    bool
	pointers [][]string
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

// The tokens of a JSON Pointer (RFC 6901).
var (
	unescape = strings.NewReplacer("~1", "/", "~0", "~")
	escape   = strings.NewReplacer("~", "~0", "/", "~1")
)

// descend returns what is left of the pointers that go through token.
func descend(pointers [][]string, token string) (rest [][]string) {
	for _, p := range pointers {
		if p[0] == token || p[0] == "*" {
			rest = append(rest, p[1:])
		}
	}
	return rest
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

var errNotJSON = errors.New("the value is not JSON") // the error of a decoder would quote a part of it

// rewrite returns the value of a record with each secret replaced by what f makes
// of it. An error is a [*backup.RecordError] that names the place.
func (v *vault) rewrite(collection string, r backup.Record, f func(pointer string, value []byte) ([]byte, error)) ([]byte, error) {
	fields := v.secrets[collection]
	pointers := fields.pointers
	if fields.isMap {
		pointers = descend(pointers, r.Key)
	}
	if len(pointers) == 0 {
		return r.Value, nil
	}
	at := ""
	value, err := bytes.TrimSpace(r.Value), errNotJSON
	if json.Valid(value) {
		value, err = replace(value, pointers, "", func(pointer string, value []byte) ([]byte, error) {
			at = pointer
			return f(pointer, value)
		})
	}
	if err != nil {
		return nil, &backup.RecordError{Collection: collection, Key: r.Key, Pointer: at, Offset: -1, Err: err}
	}
	return value, nil
}

// replace returns value, which is valid JSON, with each place that one of the
// pointers names replaced by what f makes of it; null, which is no secret, stays.
// All other bytes are those of value.
func replace(value []byte, pointers [][]string, at string, f func(pointer string, value []byte) ([]byte, error)) ([]byte, error) {
	if slices.ContainsFunc(pointers, func(p []string) bool { return len(p) == 0 }) {
		if string(value) == "null" {
			return value, nil
		}
		return f(at, value)
	}
	if len(pointers) == 0 || value[0] != '{' && value[0] != '[' {
		return value, nil
	}
	var out []byte
	last := 0 // what is before it is in out
	i := skipSpace(value, 1)
	for n := 0; value[i] != '}' && value[i] != ']'; n++ {
		token := strconv.Itoa(n)
		if value[0] == '{' {
			start := i
			i = skip(value, i)
			if err := json.Unmarshal(value[start:i], &token); err != nil {
				return nil, errNotJSON
			}
			i = skipSpace(value, skipSpace(value, i)+1) // the colon
		}
		start := i
		i = skip(value, i)
		if rest := descend(pointers, token); rest != nil {
			part, err := replace(value[start:i], rest, at+"/"+escape.Replace(token), f)
			if err != nil {
				return nil, err
			}
			out = append(append(out, value[last:start]...), part...)
			last = i
		}
		if i = skipSpace(value, i); value[i] == ',' {
			i = skipSpace(value, i+1)
		}
	}
	if last == 0 {
		return value, nil
	}
	return append(out, value[last:]...), nil
}

func skipSpace(value []byte, i int) int {
	for value[i] == ' ' || value[i] == '\t' || value[i] == '\n' || value[i] == '\r' {
		i++
	}
	return i
}

// skip returns the index behind the part of a value that begins at i.
func skip(value []byte, i int) int {
	for depth := 0; ; {
		switch value[i] {
		case '"':
			for i++; value[i] != '"'; i++ {
				if value[i] == '\\' {
					i++
				}
			}
			i++
		case '{', '[':
			depth++
			i++
		case '}', ']':
			depth--
			i++
		case ',', ':', ' ', '\t', '\n', '\r': // within an object or array
			i++
		default: // a number or a literal
			if n := bytes.IndexAny(value[i:], ",]} \t\n\r"); n >= 0 {
				i += n
			} else {
				i = len(value)
			}
		}
		if depth == 0 {
			return i
		}
	}
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

// key returns the master key. If there is none it is made, if that is asked for.
func (v *vault) key(ctx context.Context, create bool) (cipher.AEAD, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.master != nil {
		return v.master, nil
	}
	key, err := readMasterKey(v.keyFile)
	if errors.Is(err, fs.ErrNotExist) && create {
		// It has its name, and is on the disk, before anything is sealed with it.
		err = publish(ctx, v.keyFile, false, func(f *os.File) error {
			_, err := fmt.Fprintf(f, "%x\n", newMasterKey())
			return err
		})
		if err == nil || errors.Is(err, fs.ErrExist) { // another process was faster
			key, err = readMasterKey(v.keyFile)
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("it is encrypted, and the master key %s is missing: put the file back, or restore a backup into a new database (tomo init)", v.keyFile)
	}
	if err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	v.master = newMaster(key)
	return v.master, nil
}

// useKey takes a key that is in no file, for a store in which nothing is sealed.
func (v *vault) useKey(key []byte) {
	v.keyFile, v.master, v.proven = "(in no file)", newMaster(key), true
}

func newMasterKey() []byte {
	key := make([]byte, masterKeySize)
	rand.Read(key) // never fails
	return key
}

// readMasterKey reads the key as one line of hexadecimal digits.
func readMasterKey(name string) ([]byte, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != masterKeySize { // the error would quote the file
		return nil, fmt.Errorf("%s: not %d bytes in hexadecimal digits: put back the file that belongs to this database", name, masterKeySize)
	}
	return key, nil
}

// newMaster makes the cipher, AES-256-GCM with a random nonce before each
// ciphertext.
func newMaster(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // the size is wrong
	}
	master, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // the block size of AES is right
	}
	return master
}
