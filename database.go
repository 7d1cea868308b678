package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"time"
)

// A Database is what the host keeps its data in, to be copied as a whole (guide,
// "Database Backup"): what no collection covers is in the copy too, and it takes
// this version of the host to read it. sqlstore.SQLiteFile is one.
type Database interface {
	// Copy writes the database to w as it is at one point in time. The host goes on
	// reading and writing meanwhile.
	Copy(ctx context.Context, w io.Writer) error

	// Check reads a copy to its end and returns an error that wraps ErrDamaged
	// if it is not whole, and one that wraps ErrForeign if it is of something else.
	Check(ctx context.Context, r io.Reader) error
}

// errIsDatabase refuses to take a copy of a database for a snapshot.
var errIsDatabase = fmt.Errorf("%w: it is a copy of the database and no snapshot; extract it, and put it in the place of the database while the application is stopped", ErrInvalid)

// checkDatabase refuses to store what must not lie about.
func (m *Manager) checkDatabase() error {
	if m.RequireProof {
		return errors.New("a copy of the Database cannot be proven authentic, and RequireProof is set")
	}
	if m.Encrypt != nil || m.DatabaseInClear || m.App == nil {
		return nil
	}
	for _, col := range m.App.Collections {
		if len(col.Secrets) > 0 {
			return fmt.Errorf("%w: %s has secret fields, and a copy of the Database would have them as the host keeps them: set Encrypt, or DatabaseInClear if that may be", ErrNoKey, m.App.Name)
		}
	}
	return nil
}

// CopyDatabase stores a copy of the Database at all Locations, as Create does with
// a backup: compressed and encrypted as the Manager says, read back, listed beside
// the backups, verified by Verify. Its trigger is "manual".
func (m *Manager) CopyDatabase(ctx context.Context) (Backup, error) {
	o, ctx, release, err := m.hold(ctx, "copy database")
	if err != nil {
		return Backup{}, err
	}
	defer release()
	o.emit(ctx, Event{Kind: EventStarted})
	b, err := o.copyDatabase(ctx, map[string]string{metaTrigger: TriggerManual})
	return b, o.done(ctx, Event{Backup: b.Name, Manifest: b.Manifest}, err)
}

func (o *operation) copyDatabase(ctx context.Context, metadata map[string]string) (Backup, error) {
	if o.Database == nil {
		return Backup{}, errors.New("the Manager has no Database to copy")
	}
	now := time.Now()
	e := envelope{o.Compress, o.Encrypt != nil, true}
	b, first, err := o.place(ctx, now, e, func(ctx context.Context, w io.Writer) (Manifest, error) {
		return o.writeDatabase(ctx, w, Manifest{
			CreatedAt:          now.UTC().Truncate(time.Second),
			Application:        o.App.Name,
			ApplicationVersion: o.App.Version,
			SchemaVersion:      o.App.SchemaVersion,
			Metadata:           maps.Clone(metadata),
			Records:            map[string]int64{},
			Compressed:         e.Compressed,
			Encrypted:          e.Encrypted,
			Database:           true,
		})
	})
	if err != nil {
		return b, err
	}
	b = o.spread(ctx, b, first)
	return b, o.enough(b)
}

func (o *operation) writeDatabase(ctx context.Context, w io.Writer, m Manifest) (Manifest, error) {
	if o.Encrypt != nil {
		m.Keys = idsOf(o.Encrypt)
	}
	file, err := o.Compress.open(w, o.Encrypt)
	if err != nil {
		return m, err
	}
	out := &boundedWriter{w: file, most: o.Limits.codec().TotalBytes}
	if err := o.Database.Copy(ctx, out); err != nil {
		file.Close() // for what it holds: the file is worthless
		return m, err
	}
	if err := file.Close(); err != nil {
		return m, advise(fmt.Errorf("write: %w", err))
	}
	m.Bytes = out.n
	return m, ctx.Err()
}

// A boundedWriter fails beyond what would be read again.
type boundedWriter struct {
	w       io.Writer
	n, most int64
}

func (b *boundedWriter) Write(p []byte) (int, error) {
	if b.n+int64(len(p)) > b.most {
		return 0, fmt.Errorf("%w: the database has more than %d bytes; set Limits.TotalBytes of the Manager", ErrLimit, b.most)
	}
	n, err := b.w.Write(p)
	b.n += int64(n)
	return n, err
}

// ExtractDatabase writes what is in a copy of the database to w, decrypted with the
// Identities of the Manager and decompressed: the first copy that is whole. After an
// error what was written is worthless. To restore it, stop the application, put the
// file in the place of its database, and take away what lies beside that one (of
// SQLite the files that end with "-wal" and "-shm").
func (m *Manager) ExtractDatabase(ctx context.Context, name string, w io.Writer) error {
	o, err := m.begin(ctx, "extract")
	if err != nil {
		return err
	}
	o.emit(ctx, Event{Kind: EventStarted, Backup: name})
	return o.done(ctx, Event{Backup: name}, o.extractDatabase(ctx, name, w))
}

func (o *operation) extractDatabase(ctx context.Context, name string, w io.Writer) error {
	if named, ok := o.App.parseName(name); !ok || !named.Database {
		return fmt.Errorf("%q is not the name of a copy of the database of %s: %w", shorten(name), o.App.Name, fs.ErrNotExist)
	}
	var errs []error
	for _, p := range o.sites {
		_, err := o.wholeDatabase(ctx, p, name)
		if err == nil {
			// To the end, where some damage shows.
			var wrote int64
			_, err = o.readDatabase(ctx, p, name, func(r io.Reader) error { wrote, err = io.Copy(w, r); return err })
			if err == nil {
				return nil
			}
			if wrote > 0 {
				return fmt.Errorf("%s: %w", p.name, err)
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		o.learn(p, name, err)
		errs = append(errs, fmt.Errorf("%s: %w", p.name, err))
	}
	return errors.Join(errs...)
}

// wholeDatabase holds a copy of a database against the digest in the note beside
// it, if there is one.
func (o *operation) wholeDatabase(ctx context.Context, p *site, name string) (*Manifest, error) {
	n, err := within(ctx, func(ctx context.Context, alive func()) (note, error) { return o.readNote(ctx, p, name, alive) }, nil)
	switch {
	case errors.Is(err, errBadNote), errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	}
	size, sum, err := p.digest(ctx, name)
	if err == nil && (size != n.Bytes || sum != n.SHA256) {
		err = fmt.Errorf("%w: the file has %d bytes with SHA-256 %s, written were %d with %s; try another copy or an older one", ErrDamaged, size, sum, n.Bytes, n.SHA256)
	}
	return &n.Manifest, err
}

// readDatabase has f read what is in a copy of a database, and reads the rest of
// it. It returns how many bytes that were.
func (o *operation) readDatabase(ctx context.Context, p *site, name string, f func(io.Reader) error) (int64, error) {
	r, err := p.openFile(ctx, name)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	s := &Snapshot{limits: o.Limits.codec()}
	in, err := s.unwrap(ctx, ctxReader{ctx, r}, o.keys())
	if err != nil {
		return 0, err
	}
	if s.release != nil {
		defer s.release()
	}
	named, _ := o.App.parseName(name)
	if s.envelope.Database = true; s.envelope != named.envelope {
		return 0, fmt.Errorf("%w: it is compressed or encrypted in another way than its name says", ErrDamaged)
	}
	counted := &countingReader{r: in, most: o.Limits.codec().TotalBytes}
	err = f(counted)
	if err == nil {
		_, err = io.Copy(io.Discard, counted)
	}
	return counted.n, err
}

// A countingReader counts what is read, and fails beyond a limit.
type countingReader struct {
	r       io.Reader
	n, most int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if c.n += int64(n); c.n > c.most {
		return n, fmt.Errorf("%w: it expands to more than %d bytes", ErrLimit, c.most)
	}
	return n, err
}

// verifyDatabase checks a copy of a database: its digest, that it opens, and what
// the Database says of it.
func (o *operation) verifyDatabase(ctx context.Context, p *site, name string) (m Manifest, report Report, err error) {
	known, err := o.wholeDatabase(ctx, p, name)
	if known != nil {
		m = *known
	}
	named, _ := o.App.parseName(name)
	switch {
	case err != nil:
	case o.Database == nil, named.Encrypted && len(o.Identities) == 0:
		why, kind := "no key was given", ErrNoKey
		if o.Database == nil {
			why, kind = "the Manager has no Database", errors.ErrUnsupported
		}
		if known == nil {
			return m, report, fmt.Errorf("%w: nothing beside it tells its digest, and %s, so it cannot be checked", kind, why)
		}
		report.Warnings = append(report.Warnings, "what is in it was not checked, because "+why+": it is whole, as far as the digest beside it tells")
	default:
		var size int64
		size, err = o.readDatabase(ctx, p, name, func(r io.Reader) error { return o.Database.Check(ctx, r) })
		if err == nil && known != nil && size != known.Bytes {
			err = fmt.Errorf("%w: it has %d bytes, and the database had %d", ErrDamaged, size, known.Bytes)
		}
		if err == nil && known == nil {
			report.Warnings = append(report.Warnings, "nothing beside it tells its digest")
			m = Manifest{Application: o.App.Name, CreatedAt: named.at, Compressed: named.Compressed, Encrypted: named.Encrypted, Database: true, Bytes: size}
		}
	}
	if err == nil || errors.Is(err, ErrDamaged) {
		o.learn(p, name, err)
	}
	if err != nil {
		return Manifest{}, Report{}, err
	}
	return m, report, nil
}
