package manager

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"time"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/envelope"
	"github.com/tomo-project/backup/internal/fault"
	"github.com/tomo-project/backup/internal/filename"
)

// Create makes a backup and stores it at all Locations (guide, "Create Backup"). What
// opts does not set of Recipients, Compress, Encrypt, Signer and Limits is taken from the
// Manager. RequireProof, Trusted, Installation and Serial are always those of the Manager.
// Without a trigger in opts.Metadata the trigger is "manual". Then Create copies older
// backups to Locations that lack them; if that fails, it is an Event and no error.
// Where a disk is full, Create first deletes what Retention would delete there once the
// backup is made, as Prune does.
//
// The Copies of the result name each Location, and say why the backup is not there. The
// error is [location.ErrBusy], an error of [backup.App.Backup], or says that there are fewer copies
// than MinCopies. In the last case the copies that could be made are kept.
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
	return b, o.done(ctx, Event{Backup: b.Name, Manifest: b.Manifest}, fault.Other(err))
}

// create makes a backup, copies it to all locations, and fills in what they lack.
func (o *operation) create(ctx context.Context, opts backup.BackupOptions) (Backup, error) {
	if o.Source == nil {
		return Backup{}, errors.New("the Manager has no Source to back up")
	}
	opts.Progress = o.progress(ctx, opts.Progress)
	if opts.CreatedAt.IsZero() {
		opts.CreatedAt = time.Now()
	}
	o.goByMemo(ctx, opts.CreatedAt)
	c, err := o.catalog(ctx)
	if err != nil {
		return Backup{}, err
	}
	b, first, err := o.store(ctx, o.Source, opts)
	if err != nil {
		return Backup{}, err
	}
	b = o.spread(ctx, b, first)
	if ctx.Err() != nil {
		return b, ctx.Err()
	}
	if !o.setAside(ctx, c) { // the host was told, and the backup is made
		return b, o.enough(b)
	}
	o.markRekeyed(ctx, &b)
	if b.Shrunk = c.lostIn(b); len(b.Shrunk) > 0 {
		o.emit(ctx, Event{Kind: EventShrunk, Backup: b.Name, Text: shrinks(b.Shrunk)})
	}
	o.asked = nil // what room is made for next must know of this backup
	o.fill(ctx, c, b)
	o.memorize(ctx, c, b)
	return b, o.enough(b)
}

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
	var err error
	if opts.Installation, opts.Serial, err = o.origin(ctx); err != nil {
		return Backup{}, nil, err
	}
	o.askKeysAgain(ctx)
	kind := envelope.Kind{Compressed: string(opts.Compress), Encrypted: opts.Encrypt != nil}
	trigger := opts.Metadata[backup.MetaTrigger]
	if len(opts.Only) > 0 { // it takes the place of no full backup
		trigger = ""
	}
	b, first, err := o.place(ctx, opts.CreatedAt, kind, trigger, func(ctx context.Context, w io.Writer) (backup.Manifest, error) {
		return o.App.Backup(ctx, w, src, opts)
	})
	if err == nil && o.isRekeying() && takesKey(b) { // at once: a process that is killed later must not lose it
		b.Rekeyed = first.putMark(ctx, b.Name, markRekeyed) == nil
	}
	return b, first, err
}

// A maker writes a backup to w. Its errors are not those of the location.
type maker func(ctx context.Context, w io.Writer) (backup.Manifest, error)

// A putError is an error of the location and not of the backup.
type putError struct{ err error }

func (e *putError) Error() string { return e.err.Error() }

func (e *putError) Unwrap() error { return e.err }

// place stores a backup at the first location that takes it. The Copies of the result
// are that copy, and the locations that did not take it. Where the disk is full, place
// makes room for a backup with this trigger, and tries again.
func (o *operation) place(ctx context.Context, at time.Time, kind envelope.Kind, trigger string, produce maker) (Backup, *site, error) {
	var copies []Copy
	errs := o.downErrors()
	for _, s := range o.sites {
		b, err := o.placeAt(ctx, s, at, kind, produce)
		if fullAt(err) && o.makeRoom(ctx, s, o.toBeMade(filename.New(o.App.Name, at, 1, kind), trigger)) {
			b, err = o.placeAt(ctx, s, at, kind, produce)
		}
		if err == nil {
			o.emit(ctx, Event{Kind: EventStored, Backup: b.Name, Location: s.name, Manifest: b.Manifest})
			b.Copies = append(copies, Copy{Location: s.name})
			return b, s, nil
		}
		var put *putError
		if ctx.Err() != nil || !errors.As(err, &put) {
			return Backup{}, nil, err
		}
		errs = append(errs, fmt.Errorf("%s: %w", s.name, put.err))
		copies = append(copies, o.failed(ctx, s, b.Name, put.err))
		o.asked = nil // its name may be taken now
	}
	return Backup{}, nil, fmt.Errorf("no location took the backup: %w", errors.Join(errs...))
}

// placeAt stores a backup at one location under the first free name.
func (o *operation) placeAt(ctx context.Context, s *site, at time.Time, kind envelope.Kind, produce maker) (Backup, error) {
	c, err := o.catalog(ctx)
	if err != nil {
		return Backup{}, err
	}
	for n := 1; ; n++ {
		name := filename.New(o.App.Name, at, n, kind)
		if c.stems[name.Stem] { // a backup has the same name everywhere
			continue
		}
		b, err := o.storeAt(ctx, s, name, produce)
		var put *putError
		if errors.As(err, &put) && errors.Is(err, fs.ErrExist) && n < 1000 && ctx.Err() == nil {
			continue // somebody has put a file there without holding the location
		}
		return b, err
	}
}

// storeAt stores a backup under a name, reads it back, and puts its note beside it.
func (o *operation) storeAt(ctx context.Context, s *site, name filename.Name, produce maker) (Backup, error) {
	if err := s.beginWriting(ctx, name, o.Installation); err != nil {
		return o.newBackup(name, nil), &putError{err}
	}
	b, err := o.write(ctx, s, name, produce)
	if err == nil {
		if err = o.readBack(ctx, s, b); err == nil {
			err = o.putNote(ctx, s, b)
		}
		if err != nil {
			return b, &putError{errors.Join(err, s.undoWriting(ctx, name))}
		}
	}
	s.endWriting(ctx, name)
	return b, err
}

// write streams a backup into a location.
func (o *operation) write(ctx context.Context, s *site, name filename.Name, produce maker) (Backup, error) {
	pr, pw := io.Pipe()
	put := make(chan error, 1)
	go func() {
		err := s.Put(ctx, name.String(), pr)
		stopped := err
		if err == nil {
			stopped = errors.New("the location stopped reading before the end")
		}
		pr.CloseWithError(&putError{stopped})
		put <- err
	}()
	// A host that panics in its Source must not leave the location waiting.
	defer pw.CloseWithError(errors.New("the backup was abandoned"))
	d := newDigester()
	manifest, err := produce(ctx, io.MultiWriter(pw, d))
	pw.CloseWithError(err)
	failed := <-put
	switch {
	case err != nil:
		return o.newBackup(name, nil), err
	case failed != nil:
		return o.newBackup(name, nil), &putError{failed}
	}
	b := o.newBackup(name, &manifest)
	b.Bytes, b.sha256 = d.bytes, d.contents().sha256
	return b, nil
}

// readBack checks that a location has stored what was written.
func (o *operation) readBack(ctx context.Context, s *site, b Backup) error {
	check := func() error {
		if b.sha256 != "" {
			c, err := s.digest(ctx, b.Name)
			return cmp.Or(err, c.check(b.contents()))
		}
		snapshot, err := o.openAt(ctx, s, b.named, backup.OpenOptions{})
		if err != nil {
			return err
		}
		defer snapshot.Close()
		found := snapshot.Manifest()
		return contents{found.Bytes, found.SHA256}.check(contents{b.Manifest.Bytes, b.Manifest.SHA256})
	}
	if err := check(); err != nil {
		return fmt.Errorf("read back what was stored: %w", err)
	}
	return nil
}

// enough returns an error if a backup has fewer copies than MinCopies.
func (o *operation) enough(b Backup) error {
	n, min := b.good(), o.minCopies()
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
