package backup

import (
	"cmp"
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

// BackupOptions say what goes into a backup. The zero value takes every collection
// that is not Optional, and seals and encrypts nothing: an App with secret fields
// needs Recipients or Encrypt.
type BackupOptions struct {
	// Only names the collections to take, Optional ones too. Nil takes every
	// collection that is not Optional. An empty list is an error.
	Only []string

	// Include names Optional collections to take beside the others.
	Include []string

	// Recipients can open the secrets, each of them alone. An App with secret
	// fields needs at least one, whatever the collections taken, unless Encrypt is
	// set.
	Recipients []Recipient

	// Compress compresses the file. The zero value does not.
	Compress Compression

	// Encrypt encrypts the file as a whole, with or without Recipients for the
	// secrets in it. Nil does not.
	Encrypt Encrypter

	// Signer is an Ed25519 key that signs the snapshot, so that its reader can tell
	// that it is authentic (FORMAT.md, "Proof"). With nil, only a passphrase among
	// the Recipients proves that.
	Signer crypto.Signer

	// RequireProof refuses to make a snapshot that a reader with the same
	// RequireProof and Trusted would refuse. It takes a [PassphraseKey] among the
	// Recipients, or a Signer whose key is in Trusted.
	RequireProof bool
	Trusted      []ed25519.PublicKey

	// CreatedAt is the time to write in the snapshot, to the second. Zero means
	// now.
	CreatedAt time.Time

	// Installation is the id of the installation that makes the backup, one to 64
	// letters, digits, dots, dashes and underscores, and Serial the number of the
	// backup among all of that installation, from 1. The snapshot says both, in clear.
	// Empty and 0 leave them out; one of them alone is an error. A manager.Manager
	// hands out the serials.
	Installation string
	Serial       int64

	// Metadata is written to the snapshot as it is, in clear:
	// {"trigger":"manual"}. See [MetaTrigger].
	Metadata map[string]string

	// LeaveOutInvalid leaves out a record that does not satisfy its schema, has no
	// key or shares one, instead of failing. It also allows references to records
	// that do not exist. Manifest.LeftOut and Manifest.Dangling name them, and the
	// snapshot says how many records are missing.
	LeaveOutInvalid bool

	// Limits bound what is written, so that it can be read again. The zero value
	// has the defaults.
	Limits Limits

	// Progress, if not nil, is called now and then.
	Progress func(Progress)
}

// MetaTrigger is the name in Metadata that says what made a backup: "manual",
// "scheduled". In a salvaged snapshot it is "salvaged".
const MetaTrigger = "trigger"

// Backup writes a snapshot of the data of src to w. It reads the records at one
// point in time, and validates, seals and writes them as they come. So the memory
// that it needs depends on the number of keys and not on the size of the data. Many
// references to records that come later go to an encrypted temporary file.
//
// Backup may write to w from another goroutine than that of its caller, but from one at a
// time, and not after it has returned. It calls src and Progress from that of its caller.
//
// A backup is good only if Backup returned nil, and the file behind w was closed and
// synced without an error. After an error the caller must throw away what was
// written.
//
// Backup returns ErrNoKey, ErrInvalid, ErrDangling, ErrLimit, ErrUnauthentic without
// a proof that is required, ErrForeign if src is a [Snapshot] of another
// application or schema version, or the error of src, w, a key or ctx. Errors about
// records are collected, the first thousand of them. Each is a *[RecordError].
func (a *App) Backup(ctx context.Context, w io.Writer, src DataSource, opts BackupOptions) (Manifest, error) {
	if a == nil {
		return Manifest{}, fmt.Errorf("backup: %w", fault.Missing("the App", a))
	}
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
	if err := opts.given(w, src); err != nil {
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
	sw, err := c.newSnapshotWriter(ctx, src, collections, opts)
	if err != nil {
		return Manifest{}, err
	}
	defer sw.seen.open.close()
	if err := sw.checkProvable(); err != nil {
		return Manifest{}, err
	}
	file, err := envelope.NewWriter(w, string(opts.Compress), opts.Encrypt)
	if err != nil {
		return Manifest{}, err
	}
	sw.out = codec.NewWriter(file)
	m, err := sw.writeSource(src, collections)
	if err != nil {
		file.Close() // to release its memory; the file is worthless
		return Manifest{}, err
	}
	if err := file.Close(); err != nil {
		return Manifest{}, fault.Advise(fmt.Errorf("write: %w", err))
	}
	return m, nil
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

// partial tells whether a collection is missing that a full backup has.
func (c *compiled) partial(taken []*collection) bool {
	return slices.ContainsFunc(c.order, func(col *collection) bool { return !col.Optional && !slices.Contains(taken, col) })
}

// A snapshotWriter writes one snapshot.
type snapshotWriter struct {
	*compiled
	ctx        context.Context
	opts       BackupOptions
	limits     codec.Limits
	encryption *encryption
	box        *seal.Box // nil: there is nothing to seal
	out        *codec.Writer
	problems   problems
	seen       *seen
	manifest   Manifest
	records    int64
	keyBytes   int64
}

// newSnapshotWriter checks all that can be checked before the data is read. The
// caller sets out.
func (c *compiled) newSnapshotWriter(ctx context.Context, src DataSource, collections []*collection, opts BackupOptions) (*snapshotWriter, error) {
	created := opts.CreatedAt
	if created.IsZero() {
		created = time.Now()
	}
	sw := &snapshotWriter{
		compiled: c,
		ctx:      ctx,
		opts:     opts,
		limits:   opts.Limits.codec(),
		problems: problems{tolerate: opts.LeaveOutInvalid},
		seen:     newSeen(collections),
		manifest: Manifest{
			Version:            FormatVersion,
			Format:             FormatAddress,
			CreatedAt:          created.UTC().Truncate(time.Second),
			Application:        c.Name,
			ApplicationVersion: c.Version,
			SchemaVersion:      c.SchemaVersion,
			Installation:       opts.Installation,
			Serial:             opts.Serial,
			Partial:            c.partial(collections),
			Metadata:           maps.Clone(opts.Metadata),
			Records:            make(map[string]int64),
			Compressed:         opts.Compress,
			Encrypted:          opts.Encrypt != nil,
		},
	}
	if s, ok := src.(*Snapshot); ok {
		sw.manifest.Salvaged = s.Manifest().Salvaged // a copy lacks what its source lacks
	}
	if !hasYear(created) {
		return nil, fmt.Errorf("%w: CreatedAt is in the year %d: want 0 to 9999", ErrInvalid, created.UTC().Year())
	}
	if opts.Installation != "" || opts.Serial != 0 {
		if err := codec.CheckOrigin(opts.Installation, opts.Serial); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
	}
	if err := checkDepth(collections, sw.limits.Depth); err != nil {
		return nil, err
	}
	var err error
	if sw.encryption, sw.box, err = c.seal(collections, opts.Recipients); err != nil {
		return nil, err
	}
	if e := sw.encryption; e != nil {
		sw.manifest.Sealed, sw.manifest.Keys = len(e.Fields) > 0, keyIDs(e.Keys)
	}
	if opts.Encrypt != nil { // the key of the file is needed first
		sw.manifest.Keys = envelope.KeyIDs(opts.Encrypt)
	}
	return sw, nil
}

// checkDepth refuses secrets that would exceed the limit on depth once they are
// sealed: a sealed value is an object where there was a string.
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

// checkProvable refuses a backup without a proof where one is required, and a
// Signer that is no Ed25519 key.
func (sw *snapshotWriter) checkProvable() error {
	proven := sw.encryption != nil && slices.ContainsFunc(sw.encryption.Keys, byPassphrase)
	if sw.opts.Signer != nil {
		key, err := seal.PublicKey(sw.opts.Signer)
		if err != nil {
			return err
		}
		proven = proven || slices.ContainsFunc(sw.opts.Trusted, func(t ed25519.PublicKey) bool { return t.Equal(key) })
	}
	if sw.opts.RequireProof && !proven {
		return fmt.Errorf("%w: a proof is required of backups, and this one would carry none that counts: give a Signer whose key is Trusted, or a Passphrase of this package among the Recipients", ErrUnauthentic)
	}
	return nil
}

// writeSource writes the snapshot of what src shows.
func (sw *snapshotWriter) writeSource(src DataSource, collections []*collection) (Manifest, error) {
	if err := sw.writeHeader(); err != nil {
		return Manifest{}, err
	}
	reads := 0
	var inside error // of read, whatever View makes of it
	err := src.View(sw.ctx, func(r Reader) error {
		if reads++; reads > 1 {
			inside = errors.New("the DataSource showed its data twice: its View called read again")
			return inside
		}
		if inside = fault.Missing("the Reader of the DataSource", r); inside != nil {
			return inside
		}
		stages := &stages{
			work:  func(b *batch) { b.check(sw.limits, false, sw.box) },
			write: sw.writeBatch,
			done:  sw.tell,
		}
		defer stages.stop()
		for _, col := range collections {
			if inside = sw.writeCollection(r, col, stages); inside != nil {
				break
			}
		}
		return inside
	})
	switch {
	case errors.Is(inside, errTooMany):
		return Manifest{}, sw.problems.err(ErrInvalid)
	case inside != nil:
		return Manifest{}, inside
	case err != nil:
		return Manifest{}, fmt.Errorf("the host gave no view of its data: %w", err)
	case reads == 0:
		return Manifest{}, errors.New("the DataSource showed no data: its View returned without calling read")
	}
	return sw.writeEnd()
}

// writeCollection reads the records of one collection, checks them and writes them.
func (sw *snapshotWriter) writeCollection(r Reader, col *collection, stages *stages) error {
	if err := sw.out.BeginCollection(col.Name, col.Shape == Map); err != nil {
		return fault.Advise(fmt.Errorf("write: %w", err))
	}
	sw.manifest.Records[col.Name] = 0
	b := stages.batch(col)
	for rec, err := range r.Records(sw.ctx, col.Name) {
		if err != nil {
			err = fmt.Errorf("read %s from the host: %w", col.Name, aboutRecord(col.Name, rec.Key, err))
			return cmp.Or(stages.wait(0), err)
		}
		if b.add(rec, sw.limits); b.full() {
			if err := stages.put(b, false); err != nil {
				return err
			}
			b = stages.batch(col)
		}
	}
	if err := cmp.Or(stages.put(b, true), stages.wait(0)); err != nil {
		return err
	}
	return fault.Advise(sw.out.EndCollection())
}

// aboutRecord makes a RecordError of an error if the host says which record it is
// about.
func aboutRecord(collection, key string, err error) error {
	if _, known := errors.AsType[*RecordError](err); known || key == "" {
		return err
	}
	return &RecordError{Collection: collection, Key: key, Offset: -1, Err: err}
}

// writeBatch writes the records of a batch that has been checked, except those that must
// not be written.
func (sw *snapshotWriter) writeBatch(b *batch) error {
	if err := sw.ctx.Err(); err != nil {
		return err
	}
	for i, n := range b.notes {
		if n.err != nil {
			if err := sw.problems.add(&RecordError{Collection: b.col.Name, Key: b.items[i].key, Offset: -1, Err: n.err}); err != nil {
				return err
			}
		}
	}
	err := sw.seen.admit(b, &sw.problems, nil, func(i int) {
		if !sw.opts.LeaveOutInvalid {
			sw.seen.keys[b.col.Name].Add(b.items[i].key) // so that references to it are no second problem
		}
	})
	if err == nil && !sw.problems.fatal() { // else the file is worthless; the records are only checked
		err = sw.writeRecords(b)
	}
	b.told = Progress{Phase: "backup", Collection: b.col.Name, Records: sw.records, Bytes: sw.out.Bytes()}
	return err
}

// writeRecords writes the records of a batch that are not left out.
func (sw *snapshotWriter) writeRecords(b *batch) error {
	col := b.col
	written := int64(0)
	for i := range b.items {
		r, n := &b.items[i], &b.notes[i]
		if n.left {
			continue
		}
		value := r.value
		if n.sealed != nil {
			if value = n.sealed; len(value) > sw.limits.RecordBytes {
				return &RecordError{Collection: col.Name, Key: r.key, Offset: -1, Err: fmt.Errorf("%w: with its secrets sealed the record has %d bytes, the limit is %d (Limits.RecordBytes)", ErrLimit, len(value), sw.limits.RecordBytes)}
			}
		}
		if col.Shape == Map {
			if err := sw.limits.AddKey(&sw.keyBytes, len(r.key)); err != nil {
				return err
			}
		}
		if err := sw.out.Record(r.key, value); err != nil {
			return fault.Advise(fmt.Errorf("write: %w", err))
		}
		written++
	}
	sw.manifest.Records[col.Name] += written
	if sw.records += written; sw.records > sw.limits.Records {
		return fmt.Errorf("%w: more than %d records (Limits.Records)", ErrLimit, sw.limits.Records)
	}
	if sw.out.Bytes() > sw.limits.TotalBytes {
		return fmt.Errorf("%w: more than %d bytes (Limits.TotalBytes)", ErrLimit, sw.limits.TotalBytes)
	}
	return nil
}

// tell tells the host how far the backup is.
func (sw *snapshotWriter) tell(b *batch) error {
	if err := sw.ctx.Err(); err != nil {
		return err
	}
	if sw.opts.Progress != nil {
		sw.opts.Progress(b.told)
	}
	return nil
}

// writeEnd writes the members that are known only after the data.
func (sw *snapshotWriter) writeEnd() (Manifest, error) {
	if err := sw.ctx.Err(); err != nil {
		return Manifest{}, err
	}
	m := sw.manifest
	dangling, err := sw.seen.dangling(sw.opts.LeaveOutInvalid)
	if err != nil {
		return Manifest{}, err
	}
	if err := errors.Join(sw.problems.err(ErrInvalid), dangling.err(ErrDangling)); err != nil {
		return Manifest{}, fmt.Errorf("%w\ncorrect this in %s, or have invalid records left out", err, sw.Name)
	}
	m.LeftOut, m.Missing, m.Dangling = sw.problems.list, sw.problems.count, dangling.list
	if err := sw.out.EndData(); err != nil {
		return Manifest{}, fault.Advise(fmt.Errorf("write: %w", err))
	}
	if len(m.Missing) > 0 {
		if err := sw.writeMember("left_out", m.Missing); err != nil {
			return Manifest{}, err
		}
	}
	digest, err := sw.out.Sum()
	if err != nil {
		return Manifest{}, fault.Advise(fmt.Errorf("write: %w", err))
	}
	proof, err := prove(digest, sw.encryption, sw.box, sw.opts.Signer)
	if err != nil {
		return Manifest{}, err
	}
	if proof != nil {
		if err := sw.writeMember("proof", proof); err != nil {
			return Manifest{}, err
		}
	}
	sum := integrity{Records: m.Records}
	m.SHA256, err = sw.out.End(func(sha256 string) []byte {
		sum.SHA256 = sha256
		line, _ := codec.Marshal(sum)
		return line
	})
	if err != nil {
		return Manifest{}, fault.Advise(fmt.Errorf("write: %w", err))
	}
	if m.Bytes = sw.out.Bytes(); m.Bytes > sw.limits.TotalBytes {
		return Manifest{}, fmt.Errorf("%w: more than %d bytes (Limits.TotalBytes)", ErrLimit, sw.limits.TotalBytes)
	}
	return m, nil
}
