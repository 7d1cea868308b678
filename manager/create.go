package manager

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"time"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/envelope"
	"github.com/tomo-project/backup/internal/filename"
)

// Create makes a backup and stores it at all Locations: guide, "Create Backup".
// The Recipients, Compress, Encrypt, Signer and Limits of opts are those of the
// Manager where they are not set; the trigger in its Metadata is "manual" where there is none. Then it fills
// in what Locations lack of older backups; a failure of that is an Event only.
//
// The Copies of the result name each Location, with the reason where the backup
// is not there. It returns ErrBusy, the errors of [backup.App.Backup], and an error if
// there are fewer copies than MinCopies.
func (m *Manager) Create(ctx context.Context, opts backup.BackupOptions) (Backup, error) {
	o, ctx, release, err := m.hold(ctx, "create")
	if err != nil {
		return Backup{}, err
	}
	defer release()
	o.emit(ctx, Event{Kind: EventStarted})
	metadata := map[string]string{backup.MetaTrigger: TriggerManual}
	maps.Copy(metadata, opts.Metadata)
	opts.Metadata = metadata
	b, err := o.create(ctx, opts)
	return b, o.done(ctx, Event{Backup: b.Name, Manifest: b.Manifest}, err)
}

// create makes a backup, copies it, and fills in what is missing elsewhere.
func (o *operation) create(ctx context.Context, opts backup.BackupOptions) (Backup, error) {
	if o.Source == nil {
		return Backup{}, errors.New("the Manager has no Source to back up")
	}
	opts.Progress = o.progress(ctx, opts.Progress)
	b, first, err := o.store(ctx, o.Source, opts)
	if err != nil {
		return Backup{}, err
	}
	b = o.spread(ctx, b, first)
	c, err := o.listHeld(ctx)
	if ctx.Err() != nil {
		return b, ctx.Err()
	}
	if err != nil { // it was told of, and the backup is made
		return b, o.enough(b)
	}
	if listed := find(c.backups, b.Name); listed != nil {
		b.Shrunk = listed.Shrunk
	}
	if len(b.Shrunk) > 0 {
		o.emit(ctx, Event{Kind: EventShrunk, Backup: b.Name, Text: shrinks(b.Shrunk)})
	}
	c.forget(b.Name) // it was copied just now, as far as that goes
	o.fill(ctx, c, b)
	return b, o.enough(b)
}

// enough returns an error if there are fewer copies of a backup than MinCopies.
func (o *operation) enough(b Backup) error {
	n, min := b.good(), max(1, o.MinCopies)
	if n >= min {
		return nil
	}
	errs := []error{fmt.Errorf("%s is at %d of %d locations, and %d are needed", b.Name, n, len(o.Locations), min)}
	for _, c := range b.Copies {
		if c.Err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", c.Location, c.Err))
		}
	}
	return errors.Join(errs...)
}

// How a backup gets to the locations: made at the first that takes it, read back,
// copied to the others, and filled in later where it is missing.

// store makes a backup of src at the first location that takes it.
func (o *operation) store(ctx context.Context, src backup.DataSource, opts backup.BackupOptions) (Backup, *site, error) {
	if opts.Recipients == nil {
		opts.Recipients = o.Recipients
	}
	if opts.Encrypt == nil {
		opts.Encrypt = o.Encrypt
	}
	if opts.Compress == "" {
		opts.Compress = o.Compress
	}
	if opts.Signer == nil {
		opts.Signer = o.Signer
	}
	if opts.Limits == (backup.Limits{}) {
		opts.Limits = o.Limits
	}
	if opts.CreatedAt.IsZero() {
		opts.CreatedAt = time.Now()
	}
	opts.RequireProof, opts.Trusted = o.RequireProof, o.Trusted
	return o.place(ctx, opts.CreatedAt, envelope.Kind{Compressed: string(opts.Compress), Encrypted: opts.Encrypt != nil}, func(ctx context.Context, w io.Writer) (backup.Manifest, error) {
		return o.App.Backup(ctx, w, src, opts)
	})
}

// A maker writes what is to be stored. Its error is not one of the location.
type maker func(ctx context.Context, w io.Writer) (backup.Manifest, error)

// place stores a backup at the first location that takes it. The Copies of the
// result are that one, and those that did not take it.
func (o *operation) place(ctx context.Context, at time.Time, e envelope.Kind, produce maker) (Backup, *site, error) {
	var copies []Copy
	var errs []error
	for _, c := range o.down {
		errs = append(errs, fmt.Errorf("%s: %w", c.Location, c.Err))
	}
	for _, p := range o.sites {
		b, err := o.placeAt(ctx, p, at, e, produce)
		if err == nil {
			o.emit(ctx, Event{Kind: EventStored, Backup: b.Name, Location: p.name, Manifest: b.Manifest})
			b.Copies = append(copies, Copy{Location: p.name})
			return b, p, nil
		}
		var put *putError
		if ctx.Err() != nil || !errors.As(err, &put) {
			return Backup{}, nil, err
		}
		errs = append(errs, fmt.Errorf("%s: %w", p.name, put.err))
		copies = append(copies, o.failed(ctx, p, b.Name, put.err))
	}
	return Backup{}, nil, fmt.Errorf("no location took the backup: %w", errors.Join(errs...))
}

// A putError is a failure of the location, as against one of the backup.
type putError struct{ err error }

func (e *putError) Error() string { return e.err.Error() }

func (e *putError) Unwrap() error { return e.err }

// placeAt stores a backup at one location, under the first name that is free, and
// reads it back.
func (o *operation) placeAt(ctx context.Context, p *site, at time.Time, e envelope.Kind, produce maker) (Backup, error) {
	taken, err := o.taken(ctx)
	if err != nil {
		return Backup{}, err
	}
	for n := 1; ; n++ {
		name := filename.New(o.App.Name, at, n, e)
		if taken[name.Stem] {
			continue
		}
		b, err := o.write(ctx, p, name, produce)
		var put *putError
		if errors.As(err, &put) && errors.Is(err, fs.ErrExist) && n < 1000 && ctx.Err() == nil {
			continue // somebody who does not ask for the hold
		}
		if err == nil {
			if err = cmp.Or(o.readBack(ctx, p, b), o.putNote(ctx, p, b)); err != nil {
				err = &putError{errors.Join(err, p.drop(ctx, name))}
			}
		}
		return b, err
	}
}

// taken returns the names, without their endings, that are in use anywhere: a
// backup has one name at all locations.
func (o *operation) taken(ctx context.Context) (map[string]bool, error) {
	names := make(map[string]bool)
	for _, p := range o.sites {
		files, _ := p.files(ctx) // one that is down has no say
		for _, f := range files {
			if parsed, ok := filename.Parse(o.App.Name, f.Name); ok {
				names[parsed.Stem] = true
			}
		}
	}
	return names, ctx.Err()
}

// write streams a backup into a location.
func (o *operation) write(ctx context.Context, p *site, name filename.Name, produce maker) (Backup, error) {
	pr, pw := io.Pipe()
	put := make(chan error, 1)
	go func() {
		err := p.Put(ctx, name.String(), pr)
		stopped := err
		if err == nil {
			stopped = errors.New("it took no more before the end")
		}
		pr.CloseWithError(&putError{stopped})
		put <- err
	}()
	// A host that panics in its Source must not leave the location waiting.
	defer pw.CloseWithError(errors.New("the backup was abandoned"))
	sum := &digester{h: sha256.New()}
	manifest, err := produce(ctx, io.MultiWriter(pw, sum))
	pw.CloseWithError(err)
	failed := <-put
	switch {
	case err != nil:
		return backupOf(name, nil), err
	case failed != nil:
		return backupOf(name, nil), &putError{failed}
	}
	b := backupOf(name, &manifest)
	b.Bytes, b.sha256 = sum.n, sum.String()
	return b, nil
}

// A digester takes the digest of what is written to it.
type digester struct {
	h hash.Hash
	n int64
}

func (d *digester) Write(p []byte) (int, error) {
	d.n += int64(len(p))
	return d.h.Write(p)
}

func (d *digester) String() string { return hex.EncodeToString(d.h.Sum(nil)) }

// readBack holds what a location stored against what was written.
func (o *operation) readBack(ctx context.Context, p *site, b Backup) error {
	if err := o.stored(ctx, p, b); err != nil {
		return fmt.Errorf("read back what was stored: %w", err)
	}
	return nil
}

func (o *operation) stored(ctx context.Context, p *site, b Backup) error {
	if b.sha256 != "" {
		size, sum, err := p.digest(ctx, b.Name)
		if err != nil {
			return err
		}
		return note{Bytes: b.Bytes, SHA256: b.sha256}.check(size, sum)
	}
	// The digest of a plain file is in it.
	s, err := o.openAt(ctx, p, b.named, backup.OpenOptions{})
	if err != nil {
		return err
	}
	defer s.Close()
	m := s.Manifest()
	return note{Bytes: b.Manifest.Bytes, SHA256: b.Manifest.SHA256}.check(m.Bytes, m.SHA256)
}
