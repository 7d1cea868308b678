package manager

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/tomo-project/backup"

	"github.com/tomo-project/backup/internal/envelope"
	"github.com/tomo-project/backup/internal/filename"
	"github.com/tomo-project/backup/internal/seal"
)

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
		name := filename.Format(o.App.Name, at, n, e)
		if parsed, ok := filename.Parse(o.App.Name, name); ok && taken[parsed.Stem] {
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
func (o *operation) write(ctx context.Context, p *site, name string, produce maker) (Backup, error) {
	pr, pw := io.Pipe()
	put := make(chan error, 1)
	go func() {
		err := p.Put(ctx, name, pr)
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
		return Backup{Name: name}, err
	case failed != nil:
		return Backup{Name: name}, &putError{failed}
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
	if b.sha256 != "" {
		size, sum, err := p.digest(ctx, b.Name)
		if err == nil && (size != b.Bytes || sum != b.sha256) {
			err = fmt.Errorf("%w: the file has %d bytes with SHA-256 %s, written were %d with %s", backup.ErrDamaged, size, sum, b.Bytes, b.sha256)
		}
		if err != nil {
			return fmt.Errorf("read back what was stored: %w", err)
		}
		return nil
	}
	s, err := o.openAt(ctx, p, b.Name, backup.OpenOptions{})
	if err != nil {
		return fmt.Errorf("read back what was stored: %w", err)
	}
	defer s.Close()
	if got, want := s.Manifest(), b.Manifest; got.SHA256 != want.SHA256 || got.Bytes != want.Bytes {
		return fmt.Errorf("read back what was stored: %w: it has %d bytes with SHA-256 %s, written were %d with %s", backup.ErrDamaged, got.Bytes, got.SHA256, want.Bytes, want.SHA256)
	}
	return nil
}

// openAt opens a backup at a location. Of opts only the keys count, and what
// proof they ask for.
func (o *operation) openAt(ctx context.Context, p *site, name string, opts backup.OpenOptions) (*backup.Snapshot, error) {
	opts.Name, opts.Limits, opts.TempDir, opts.Progress = name, o.Limits, o.TempDir, o.progress(ctx, nil)
	s, err := within(ctx, func(_ context.Context, alive func()) (*backup.Snapshot, error) {
		// Not with the context of the question, which ends with the answer.
		r, err := p.Open(ctx, name)
		if err != nil {
			return nil, err
		}
		r = lively(r, alive)
		opts.Identities, opts.CloseReader = patient(opts.Identities, alive), true
		s, err := backup.OpenSnapshot(ctx, r, opts)
		if err != nil {
			r.Close()
			return nil, err
		}
		return s, nil
	}, func(s *backup.Snapshot) { s.Close() })
	named, _ := filename.Parse(o.App.Name, name)
	if err == nil && named.Encrypted && !s.Manifest().Encrypted {
		s.Close()
		return nil, fmt.Errorf("%w: its name says that it is encrypted, and it is not: it was put there in the place of another", backup.ErrUnauthentic)
	}
	if _, ok := errors.AsType[*envelope.LockedError](err); ok {
		n, unknown := within(ctx, func(ctx context.Context, alive func()) (note, error) { return o.readNote(ctx, p, name, alive) }, nil)
		if unknown == nil && len(n.Manifest.Keys) > 0 {
			err = fmt.Errorf("%w; it takes %s", err, seal.NameKeys(n.Manifest.Keys))
		}
	}
	return s, err
}

// keys are the OpenOptions of a Manager's own keys.
func (m *Manager) keys() backup.OpenOptions {
	return backup.OpenOptions{Identities: m.Identities, RequireProof: m.RequireProof, Trusted: m.Trusted}
}

// spread copies a backup to all locations that it has no Copy of, side by side.
// The result has all Copies, in the order of Locations.
func (o *operation) spread(ctx context.Context, b Backup, from *site) Backup {
	var wait sync.WaitGroup
	copies := make([]Copy, len(o.Locations))
	for i, p := range o.Manager.sites() {
		known := b.at(p)
		if known == nil {
			known = (&Backup{Copies: o.down}).at(p)
		}
		if known != nil {
			copies[i] = *known
			continue
		}
		wait.Go(func() {
			if err := o.copy(ctx, b, from, p); err != nil {
				copies[i] = o.failed(ctx, p, b.Name, err)
				return
			}
			copies[i] = Copy{Location: p.name}
		})
	}
	wait.Wait()
	if kindOf(b.Manifest).Plain() {
		b.sha256 = "" // it is not kept
	}
	b.Copies = copies
	return b
}

// copy takes a backup from one location to another and reads it back.
func (o *operation) copy(ctx context.Context, b Backup, from, to *site) error {
	r, err := from.openFile(ctx, b.Name)
	if err != nil {
		return fmt.Errorf("copy from %s: %w", from.name, err)
	}
	defer r.Close()
	sum := &digester{h: sha256.New()}
	if err := to.Put(ctx, b.Name, io.TeeReader(blaming{r, from}, sum)); err != nil {
		return err
	}
	if b.Manifest == nil && b.sha256 == "" { // encrypted, and nothing is known but what is there
		b.Bytes, b.sha256 = sum.n, sum.String()
	}
	if err := o.readBack(ctx, to, b); err != nil {
		err = errors.Join(err, to.drop(ctx, b.Name))
		if source := o.readBack(ctx, from, b); source != nil {
			o.learn(from, b.Name, source)
			err = fmt.Errorf("copy from %s: %w", from.name, source)
		}
		return err
	}
	if err := o.putNote(ctx, to, b); err != nil {
		return errors.Join(err, to.drop(ctx, b.Name))
	}
	o.emit(ctx, Event{Kind: EventStored, Backup: b.Name, Location: to.name, Manifest: b.Manifest})
	return nil
}

// A blaming reader says which location its errors come from.
type blaming struct {
	r    io.Reader
	from *site
}

func (b blaming) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("copy from %s: %w", b.from.name, err)
	}
	return n, err
}

// fill copies to each location those backups that others have and it lacks, as
// far as retention would keep them there. A copy that is damaged is replaced: it
// is the other one that is worth keeping. It returns what came of one of them.
func (o *operation) fill(ctx context.Context, c *catalog, concerned Backup) []Copy {
	copies := o.copiesOf(concerned)
	for _, to := range o.sites {
		there := slices.Clone(c.at[to.name])
		lacks := false
		for _, b := range c.backups {
			if lost := find(there, b.Name); lost != nil && !lost.Damaged && lost.sha256 == "" && b.sha256 != "" {
				if err := o.restoreNote(ctx, to, b); err != nil {
					o.failed(ctx, to, b.Name, err)
				}
			}
			if b.source(o.sites) == nil || b.at(to) != nil && !b.damagedAt(to) {
				continue
			}
			there = slices.DeleteFunc(there, func(old Backup) bool { return old.Name == b.Name })
			there = append(there, b)
			lacks = true
		}
		if !lacks {
			continue
		}
		for _, d := range o.decide(there, PruneOptions{}) {
			b := d.Backup
			if !d.Keep || b.at(to) != nil && !b.damagedAt(to) || b.source(o.sites) == nil {
				continue
			}
			err := o.fillIn(ctx, c, b, to)
			if b.Name == concerned.Name {
				for i := range copies {
					if copies[i].Location == to.name {
						copies[i].Err = err
					}
				}
			}
			if err != nil {
				o.failed(ctx, to, d.Name, fmt.Errorf("fill in what is missing: %w", err))
				break // the location, or the way to it, is not well
			}
		}
	}
	return copies
}

// restoreNote puts the note of a backup beside it where somebody was killed between
// the two, if it is its own.
func (o *operation) restoreNote(ctx context.Context, to *site, b Backup) error {
	size, sum, err := to.digest(ctx, b.Name)
	if err == nil && (size != b.Bytes || sum != b.sha256) {
		err = fmt.Errorf("it is another backup than elsewhere under the name %s", b.Name)
	}
	if err != nil {
		return err
	}
	return o.putNote(ctx, to, b)
}

// copiesOf returns a Copy for each location, in their order.
func (o *operation) copiesOf(b Backup) []Copy {
	var copies []Copy
	for _, p := range o.Manager.sites() {
		c := b.at(p)
		if c == nil {
			c = (&Backup{Copies: o.down}).at(p)
		}
		if c == nil {
			c = &Copy{p.name, fmt.Errorf("it has no copy: %w", fs.ErrNotExist)}
		}
		copies = append(copies, *c)
	}
	return copies
}

// fillIn copies a backup with its marks to a location that lacks it, or has it
// damaged.
func (o *operation) fillIn(ctx context.Context, c *catalog, b Backup, to *site) error {
	from := b.source(o.sites)
	if b.damagedAt(to) {
		err := o.readBack(ctx, from, b)
		if err == nil && o.RequireProof {
			_, _, err = o.verify(ctx, from, b.Name, backup.RestoreOptions{AllowDangling: true})
		}
		if err != nil {
			o.learn(from, b.Name, err)
			return fmt.Errorf("copy from %s: %w", from.name, err)
		}
		if err := to.drop(ctx, b.Name); err != nil {
			return err
		}
	}
	if err := o.copy(ctx, b, from, to); err != nil {
		return err
	}
	for _, kind := range marks {
		if c.marked[kind][b.Name] {
			if err := to.Put(ctx, b.Name+string(kind), bytes.NewReader(nil)); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
		}
	}
	return nil
}

// mark puts a mark beside every copy of a backup. One is enough.
func (o *operation) mark(ctx context.Context, b Backup, kind mark) error {
	var errs []error
	put := 0
	for _, p := range o.sites {
		if c := b.at(p); c == nil || c.Err != nil {
			continue
		}
		if err := p.Put(ctx, b.Name+string(kind), bytes.NewReader(nil)); err != nil && !errors.Is(err, fs.ErrExist) {
			errs = append(errs, fmt.Errorf("%s: %w", p.name, err))
			continue
		}
		put++
	}
	if put > 0 {
		return nil
	}
	return errors.Join(errs...)
}
