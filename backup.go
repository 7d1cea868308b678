package backup

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/envelope"
	"github.com/tomo-project/backup/internal/fault"
	"github.com/tomo-project/backup/internal/seal"
)

// BackupOptions say what goes into a backup. The zero value takes every
// collection that is not Optional, without a key.
type BackupOptions struct {
	// Only names the collections to take, optional ones too. Nil takes every
	// collection that is not Optional; an empty list is an error.
	Only []string

	// Include names Optional collections to take beside the others.
	Include []string

	// Recipients are those who can open the secrets, each on its own. An App
	// with secret fields needs at least one, whatever the collections taken,
	// unless the file is encrypted as a whole.
	Recipients []Recipient

	// Compress compresses the file, and Encrypt encrypts it as a whole: on top of
	// the Recipients, or without any instead of them. Both may be zero.
	Compress Compression
	Encrypt  Encrypter

	// Signer, an Ed25519 key, signs the snapshot, so that its reader can tell that
	// it is authentic. Nil: only the passphrase proves that, where there is one
	// among the Recipients (FORMAT.md, "Proof").
	Signer crypto.Signer

	// RequireProof refuses to make a snapshot that a reader with the same
	// RequireProof and Trusted would refuse: it must carry the proof of a passphrase,
	// or a Signer whose key is Trusted must sign it.
	RequireProof bool
	Trusted      []ed25519.PublicKey

	// CreatedAt is the time to write in the snapshot, to the second. Zero means
	// now.
	CreatedAt time.Time

	// Metadata is written to the snapshot as it is, in clear:
	// {"trigger":"manual"}. See MetaTrigger.
	Metadata map[string]string

	// LeaveOutInvalid leaves out a record that does not satisfy its schema, has
	// no key or shares one, instead of failing, and lets references to nothing
	// pass: Manifest.LeftOut and Manifest.Dangling name them, and the snapshot
	// says how many records are missing.
	LeaveOutInvalid bool

	// Limits bound what is written, so that it can be read again. The zero
	// value has the defaults.
	Limits Limits

	// Progress, if not nil, is called now and then.
	Progress func(Progress)
}

// MetaTrigger is the name in Metadata of what made a backup: "manual", "scheduled".
// In a salvaged snapshot it says "salvaged".
const MetaTrigger = "trigger"

// Backup writes a snapshot of the data of src to w. Records are read at one
// point in time, validated, sealed and written as they come, so that the
// memory needed depends on the number of keys and not on the size of the data.
//
// After an error what was written is worthless, and the caller must throw it
// away; a backup is good if and only if Backup returned nil and what w stands
// for was closed and synced without an error.
//
// It returns ErrNoKey, ErrInvalid, ErrDangling or ErrLimit, or the error of
// src, w or ctx. Errors about records are gathered, the first thousand
// of them; each is a *RecordError.
func (a *App) Backup(ctx context.Context, w io.Writer, src DataSource, opts BackupOptions) (Manifest, error) {
	m, err := a.backup(ctx, w, src, opts)
	if err != nil {
		return Manifest{}, fmt.Errorf("backup of %s: %w", a.Name, err)
	}
	return m, nil
}

func (a *App) backup(ctx context.Context, w io.Writer, src DataSource, opts BackupOptions) (Manifest, error) {
	c, err := a.compile()
	if err != nil {
		return Manifest{}, err
	}
	collections, err := c.choose(opts)
	if err != nil {
		return Manifest{}, err
	}
	if len(opts.Recipients) == 0 && opts.Encrypt == nil && slices.ContainsFunc(c.collections, func(col *collection) bool { return len(col.secrets) > 0 }) {
		return Manifest{}, fmt.Errorf("%w: %s has secret fields, which are never written in clear: give a passphrase or another recipient", ErrNoKey, a.Name)
	}
	if s, ok := src.(*Snapshot); ok {
		if err := c.checkSource(s); err != nil {
			return Manifest{}, err
		}
	}
	b, err := c.newBackup(ctx, src, collections, opts)
	if err != nil {
		return Manifest{}, err
	}
	if err := b.checkProvable(); err != nil {
		return Manifest{}, err
	}
	file, err := envelope.NewWriter(w, string(opts.Compress), opts.Encrypt)
	if err != nil {
		return Manifest{}, err
	}
	b.out = codec.NewWriter(file)
	m, err := b.write(src, collections)
	if err != nil {
		file.Close() // for what it holds: the file is worthless
		return Manifest{}, err
	}
	if err := file.Close(); err != nil {
		return Manifest{}, fault.Advise(fmt.Errorf("write: %w", err))
	}
	return m, nil
}

// newBackup prepares a backup, with all that can be told before the data is read.
func (c *compiled) newBackup(ctx context.Context, src DataSource, collections []*collection, opts BackupOptions) (*backup, error) {
	created := opts.CreatedAt
	if created.IsZero() {
		created = time.Now()
	}
	b := &backup{
		compiled: c,
		ctx:      ctx,
		opts:     opts,
		limits:   opts.Limits.codec(),
		problems: problems{tolerate: opts.LeaveOutInvalid},
		seen:     newSeen(collections),
		manifest: Manifest{
			Version:            FormatVersion,
			CreatedAt:          created.UTC().Truncate(time.Second),
			Application:        c.Name,
			ApplicationVersion: c.Version,
			SchemaVersion:      c.SchemaVersion,
			Metadata:           maps.Clone(opts.Metadata),
			Records:            make(map[string]int64),
			Compressed:         opts.Compress,
			Encrypted:          opts.Encrypt != nil,
		},
	}
	if s, ok := src.(*Snapshot); ok {
		b.manifest.Salvaged = s.Manifest().Salvaged // a copy lacks what its source lacks
	}
	if year := b.manifest.CreatedAt.Year(); year < 0 || year > 9999 {
		return nil, fmt.Errorf("%w: CreatedAt is in the year %d, which a snapshot cannot say", ErrInvalid, year)
	}
	if err := checkDepth(collections, b.limits.Depth); err != nil {
		return nil, err
	}
	var err error
	if b.encryption, b.box, err = c.seal(collections, opts.Recipients); err != nil {
		return nil, err
	}
	if e := b.encryption; e != nil {
		b.manifest.Sealed, b.manifest.Keys = len(e.Fields) > 0, keyIDs(e.Keys)
	}
	if opts.Encrypt != nil { // whose key comes first
		b.manifest.Keys = envelope.KeyIDs(opts.Encrypt)
	}
	return b, nil
}

// checkProvable refuses a backup without a proof where one is required, and a signer
// that cannot sign.
func (b *backup) checkProvable() error {
	proven := b.encryption != nil && slices.ContainsFunc(b.encryption.Keys, byPassphrase)
	if b.opts.Signer != nil {
		key, err := seal.PublicKey(b.opts.Signer)
		if err != nil {
			return err
		}
		proven = proven || slices.ContainsFunc(b.opts.Trusted, func(t ed25519.PublicKey) bool { return t.Equal(key) })
	}
	if b.opts.RequireProof && !proven {
		return fmt.Errorf("%w: a proof is required of backups, and this one would carry none that counts: give a Signer whose key is Trusted, or a Passphrase of this package among the Recipients", ErrUnauthentic)
	}
	return nil
}

// write writes the snapshot of what src shows.
func (b *backup) write(src DataSource, collections []*collection) (Manifest, error) {
	if err := b.header(); err != nil {
		return Manifest{}, err
	}
	reads := 0
	var inside error // whatever View makes of it
	err := src.View(b.ctx, func(r Reader) error {
		if reads++; reads > 1 {
			inside = errors.New("the DataSource showed its data twice: its View called read again")
			return inside
		}
		for _, col := range collections {
			if inside = b.collection(r, col); inside != nil {
				break
			}
		}
		return inside
	})
	switch {
	case errors.Is(inside, errTooMany):
		return Manifest{}, b.problems.err(ErrInvalid)
	case inside != nil:
		return Manifest{}, inside
	case err != nil:
		return Manifest{}, fmt.Errorf("the host gave no view of its data: %w", err)
	case reads == 0:
		return Manifest{}, errors.New("the DataSource showed no data: its View returned without calling read")
	}
	return b.end()
}

var errEmptyOnly = fmt.Errorf("%w: Only is an empty list: name collections, or leave it nil for all of them", ErrInvalid)

// choose returns the collections that the options name.
func (c *compiled) choose(opts BackupOptions) ([]*collection, error) {
	if opts.Only != nil && len(opts.Only) == 0 {
		return nil, errEmptyOnly
	}
	for _, name := range slices.Concat(opts.Only, opts.Include) {
		if c.byName[name] == nil {
			return nil, fmt.Errorf("%w: %s has no collection %q, only %s", ErrInvalid, c.Name, name, c.names())
		}
	}
	var chosen []*collection
	for _, col := range c.order {
		wanted := !col.Optional
		if opts.Only != nil {
			wanted = slices.Contains(opts.Only, col.Name)
		}
		if wanted || slices.Contains(opts.Include, col.Name) {
			chosen = append(chosen, col)
		}
	}
	return chosen, nil
}

// checkDepth refuses secrets that would not fit within the limit on depth: a
// sealed value is an object where there was a string.
func checkDepth(collections []*collection, limit int) error {
	for _, col := range collections {
		for i, secret := range col.secrets {
			depth := len(secret)
			if col.Shape != Map {
				depth++
			}
			if depth > limit {
				return fmt.Errorf("%w: the Secret %s of %s is nested deeper than %d levels when it is sealed", ErrLimit, col.Secrets[i], col.Name, limit)
			}
		}
	}
	return nil
}

// A backup is one run of App.Backup.
type backup struct {
	*compiled
	ctx        context.Context
	opts       BackupOptions
	limits     codec.Limits
	encryption *encryption
	box        *seal.Box // nil: nothing to seal
	out        *codec.Writer
	problems   problems
	seen       *seen
	manifest   Manifest
	records    int64
}

// collection takes the records of one collection through the stages.
func (b *backup) collection(r Reader, col *collection) error {
	if err := b.out.BeginCollection(col.Name, col.Shape == Map); err != nil {
		return fault.Advise(fmt.Errorf("write: %w", err))
	}
	b.manifest.Records[col.Name] = 0
	var batch batch
	flush := func() error {
		if err := b.ctx.Err(); err != nil {
			return err
		}
		if err := b.check(col, &batch); err != nil {
			return err
		}
		if err := b.writeBatch(col, &batch); err != nil {
			return err
		}
		batch.reset()
		if b.opts.Progress != nil {
			b.opts.Progress(Progress{Phase: "backup", Collection: col.Name, Records: b.records, Bytes: b.out.Bytes()})
		}
		return nil
	}
	for rec, err := range r.Records(b.ctx, col.Name) {
		if err != nil {
			return fmt.Errorf("read %s from the host: %w", col.Name, aboutRecord(col.Name, rec.Key, err))
		}
		if err := batch.add(rec, b.limits); err != nil {
			if err := b.problems.add(&RecordError{Collection: col.Name, Key: rec.Key, Offset: -1, Err: err}); err != nil {
				return err
			}
			continue
		}
		if batch.full() {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	return fault.Advise(b.out.EndCollection())
}

// aboutRecord makes an error one about a record, if the host says which.
func aboutRecord(collection, key string, err error) error {
	if _, known := errors.AsType[*RecordError](err); known || key == "" {
		return err
	}
	return &RecordError{Collection: collection, Key: key, Offset: -1, Err: err}
}

// check drops the records from the batch that must not be written.
func (b *backup) check(col *collection, batch *batch) error {
	return batch.keep(func(r *item) (bool, error) {
		found := col.inspect(r, b.seen)
		if len(found) > 0 && !b.opts.LeaveOutInvalid {
			b.seen.keys[col.Name].Add(r.key) // so that references to it are no problem of their own
		}
		return len(found) == 0, b.problems.add(found...)
	})
}

// writeBatch seals and writes a batch.
func (b *backup) writeBatch(col *collection, batch *batch) error {
	if b.problems.fatal() {
		return nil // what is written does not count any more
	}
	for i := range batch.items {
		r := &batch.items[i]
		value := r.value
		if b.box != nil && len(col.secrets) > 0 {
			view, err := col.sealRecord(b.box, r.key, col.view(r.key, value, nil))
			if err != nil {
				return err
			}
			value = col.unview(r.key, view)
			if len(value) > b.limits.RecordBytes {
				return &RecordError{Collection: col.Name, Key: r.key, Offset: -1, Err: fmt.Errorf("%w: with its secrets sealed the record has %d bytes, the limit is %d", ErrLimit, len(value), b.limits.RecordBytes)}
			}
		}
		if err := b.out.Record(r.key, value); err != nil {
			return fault.Advise(fmt.Errorf("write: %w", err))
		}
	}
	n := int64(len(batch.items))
	b.manifest.Records[col.Name] += n
	if b.records += n; b.records > b.limits.Records {
		return fmt.Errorf("%w: more than %d records", ErrLimit, b.limits.Records)
	}
	if b.out.Bytes() > b.limits.TotalBytes {
		return fmt.Errorf("%w: more than %d bytes", ErrLimit, b.limits.TotalBytes)
	}
	return nil
}

// end writes what is known only now.
func (b *backup) end() (Manifest, error) {
	if err := b.ctx.Err(); err != nil {
		return Manifest{}, err
	}
	m := b.manifest
	dangling := b.seen.dangling(b.opts.LeaveOutInvalid)
	if err := errors.Join(b.problems.err(ErrInvalid), dangling.err(ErrDangling)); err != nil {
		return Manifest{}, fmt.Errorf("%w\ncorrect this in %s, or have invalid records left out", err, b.Name)
	}
	m.LeftOut, m.Missing, m.Dangling = b.problems.list, b.problems.count, dangling.list
	if err := b.out.EndData(); err != nil {
		return Manifest{}, fault.Advise(fmt.Errorf("write: %w", err))
	}
	if len(m.Missing) > 0 {
		if err := b.member("left_out", m.Missing); err != nil {
			return Manifest{}, err
		}
	}
	digest, err := b.out.Sum()
	if err != nil {
		return Manifest{}, fault.Advise(fmt.Errorf("write: %w", err))
	}
	proof, err := prove(digest, b.encryption, b.box, b.opts.Signer)
	if err != nil {
		return Manifest{}, err
	}
	if proof != nil {
		if err := b.member("proof", proof); err != nil {
			return Manifest{}, err
		}
	}
	sum := integrity{Records: m.Records}
	m.SHA256, err = b.out.End(func(sha256 string) []byte {
		sum.SHA256 = sha256
		line, _ := codec.Marshal(sum)
		return line
	})
	if err != nil {
		return Manifest{}, fault.Advise(fmt.Errorf("write: %w", err))
	}
	if m.Bytes = b.out.Bytes(); m.Bytes > b.limits.TotalBytes {
		return Manifest{}, fmt.Errorf("%w: more than %d bytes", ErrLimit, b.limits.TotalBytes)
	}
	return m, nil
}
