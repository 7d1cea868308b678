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
	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/envelope"
	"github.com/tomo-project/backup/internal/fault"
	"github.com/tomo-project/backup/internal/filename"
	"github.com/tomo-project/backup/internal/stream"
)

// A Database is what the host keeps its data in, to be copied as a whole (guide,
// "Database Backup"). The copy has what no collection covers too, but only this version of
// the host may be able to read it. sqlstore.SQLiteFile is a Database. The texts of its
// errors are printed and logged: they must not hold values of the database.
type Database interface {
	// Copy writes the database to w as it is at one point in time. The host goes on
	// reading and writing meanwhile.
	Copy(ctx context.Context, w io.Writer) error

	// Check reads a copy to its end. Its error wraps [backup.ErrDamaged] if the copy is not
	// whole, [backup.ErrForeign] if it is a copy of something else, and
	// errors.ErrUnsupported if this Database cannot tell. The copy may be made to do harm,
	// by somebody who can write to a Location.
	Check(ctx context.Context, r io.Reader) error
}

// errIsDatabase: a snapshot is needed, and this is a copy of a database.
var errIsDatabase = fmt.Errorf("%w: it is a copy of the database and no snapshot; extract it, and put it in the place of the database while the application is stopped", backup.ErrInvalid)

// checkDatabase returns an error if copies of the Database must not be stored.
func (m *Manager) checkDatabase() error {
	if m.RequireProof {
		return errors.New("a copy of the Database cannot be proven authentic, and RequireProof is set")
	}
	if m.Encrypt != nil || m.DatabaseInClear {
		return nil
	}
	for _, col := range m.App.Collections {
		if len(col.Secrets) > 0 {
			return fmt.Errorf("%w: %s has secret fields, and a copy of the Database would have them as the host keeps them: set Encrypt, or DatabaseInClear if they are safe there", backup.ErrNoKey, m.App.Name)
		}
	}
	return nil
}

// CopyDatabase stores a copy of the Database at all Locations, as Create does with a
// backup. The copy is compressed and encrypted as the Manager says, and read back. List
// shows it and Verify verifies it. Its trigger is "manual".
func (m *Manager) CopyDatabase(ctx context.Context) (Backup, error) {
	o, ctx, release, err := m.hold(ctx, "copy database")
	if err != nil {
		return Backup{}, err
	}
	defer release()
	o.emit(ctx, Event{Kind: EventStarted})
	b, err := o.copyDatabase(ctx, map[string]string{backup.MetaTrigger: TriggerManual})
	return b, o.done(ctx, Event{Backup: b.Name, Manifest: b.Manifest}, fault.Other(err))
}

func (o *operation) copyDatabase(ctx context.Context, metadata map[string]string) (Backup, error) {
	if o.Database == nil {
		return Backup{}, errors.New("the Manager has no Database to copy")
	}
	installation, serial, err := o.origin(ctx)
	if err != nil {
		return Backup{}, err
	}
	now := time.Now()
	kind := envelope.Kind{Compressed: string(o.Compress), Encrypted: o.Encrypt != nil, Database: true}
	b, first, err := o.place(ctx, now, kind, metadata[backup.MetaTrigger], func(ctx context.Context, w io.Writer) (backup.Manifest, error) {
		return o.writeDatabase(ctx, w, backup.Manifest{
			CreatedAt:          now.UTC().Truncate(time.Second),
			Application:        o.App.Name,
			ApplicationVersion: o.App.Version,
			SchemaVersion:      o.App.SchemaVersion,
			Installation:       installation,
			Serial:             serial,
			Metadata:           maps.Clone(metadata),
			Records:            map[string]int64{},
			Compressed:         o.Compress,
			Encrypted:          kind.Encrypted,
			Database:           true,
		})
	})
	if err != nil {
		return b, err
	}
	b = o.spread(ctx, b, first)
	return b, o.enough(b)
}

// writeDatabase writes the file of a copy, and returns its manifest.
func (o *operation) writeDatabase(ctx context.Context, w io.Writer, m backup.Manifest) (backup.Manifest, error) {
	if o.Encrypt != nil {
		m.Keys = envelope.KeyIDs(o.Encrypt)
	}
	file, err := envelope.NewWriter(w, string(o.Compress), o.Encrypt)
	if err != nil {
		return m, err
	}
	most := o.mostBytes()
	out := &stream.Writer{W: file, Most: most, TooMuch: fmt.Errorf("%w: the database has more than %d bytes; set Limits.TotalBytes of the Manager", backup.ErrLimit, most)}
	if err := o.Database.Copy(ctx, out); err != nil {
		file.Close() // to free what it holds: the file is worthless
		return m, err
	}
	if err := file.Close(); err != nil {
		return m, fault.Advise(fmt.Errorf("write: %w", err))
	}
	m.Bytes = out.N
	return m, ctx.Err()
}

// mostBytes is how large the database may be.
func (m *Manager) mostBytes() int64 {
	if m.Limits.TotalBytes > 0 {
		return min(m.Limits.TotalBytes, 1<<60) // the size of its file is derived, and must not overflow
	}
	return codec.Defaults.TotalBytes
}

// ExtractDatabase writes the database that is in a copy to w, decrypted with the
// Identities of the Manager and decompressed. It takes the first copy that its note shows
// to be whole, or that passes the Check of the Database if it has no note. After an error
// what w got is worthless. The error wraps fs.ErrNotExist if no Location has the copy.
//
// To restore the database, stop the application, put the file in the place of its
// database, and delete the files that belong to the old database. Those of SQLite end with
// "-wal" and "-shm".
func (m *Manager) ExtractDatabase(ctx context.Context, name string, w io.Writer) error {
	o, err := m.begin(ctx, "extract")
	if err = cmp.Or(err, fault.Missing("the io.Writer", w)); err != nil {
		return err
	}
	o.emit(ctx, Event{Kind: EventStarted, Backup: name})
	return o.done(ctx, Event{Backup: name}, o.extractDatabase(ctx, name, w))
}

func (o *operation) extractDatabase(ctx context.Context, name string, w io.Writer) error {
	named, ok := filename.Parse(o.App.Name, name)
	if !ok || !named.Database {
		return fmt.Errorf("%q is not the name of a copy of the database of %s: %w", fault.Shorten(name), o.App.Name, fs.ErrNotExist)
	}
	var errs []error
	for _, s := range o.sites {
		var wrote int64
		err := o.soundDatabase(ctx, s, named)
		if err == nil {
			_, err = o.readDatabase(ctx, s, named, func(r io.Reader) (err error) { wrote, err = io.Copy(w, r); return err })
		}
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		}
		o.learn(s, name, err)
		errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
		if wrote > 0 {
			break // another copy must not follow what w has
		}
	}
	return errors.Join(errs...)
}

// soundDatabase checks a copy before anything of it is given out: by its note, or by the
// Check of the Database if it has none.
func (o *operation) soundDatabase(ctx context.Context, s *site, name filename.Name) error {
	n, err := o.databaseNote(ctx, s, name)
	switch {
	case err != nil:
		return err
	case n == nil && o.Database == nil:
		r, err := s.open(ctx, name.String())
		if err != nil {
			return err
		}
		r.Close()
		return fmt.Errorf("%w: nothing beside it tells its digest, and the Manager has no Database to check it", errors.ErrUnsupported)
	case n == nil:
		_, err = o.readDatabase(ctx, s, name, func(r io.Reader) error { return o.Database.Check(ctx, r) })
		return err
	}
	return n.checkFile(ctx, s, name)
}

// databaseNote returns the note beside a copy, or nil if there is no note of this copy.
func (o *operation) databaseNote(ctx context.Context, s *site, name filename.Name) (*note, error) {
	if o.RequireProof {
		return nil, fmt.Errorf("%w: a proof is required, and nothing can prove a copy of the database", backup.ErrUnauthentic)
	}
	n, err := o.askNote(ctx, s, name)
	if errors.Is(err, errBadNote) || errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return &n, err
}

// readDatabase has f read the database in a copy, and reads what f leaves. Then it checks
// the file against its note, if it has one. It returns the size of the database. It gives
// a location up that stalls.
func (o *operation) readDatabase(ctx context.Context, s *site, name filename.Name, f func(io.Reader) error) (int64, error) {
	n, err := o.databaseNote(ctx, s, name)
	if err != nil {
		return 0, err
	}
	return within(ctx, func(ctx context.Context, alive func()) (int64, error) {
		r, err := s.Open(ctx, name.String())
		if err != nil {
			return 0, err
		}
		defer r.Close()
		d := newDigester()
		file := io.TeeReader(stream.WithContext(ctx, lively(r, alive)), d)
		keys := envelope.Keys(o.Identities)
		in, err := envelope.NewReader(ctx, file, envelope.Options{Most: o.mostBytes(), Keys: keys, Others: len(o.Identities) > len(keys)})
		if err != nil {
			return 0, fault.Other(err) // the file is there
		}
		defer in.Close()
		if in.Kind.Database = true; in.Kind != name.Kind {
			return 0, fmt.Errorf("%w: it is compressed or encrypted in another way than its name says", backup.ErrDamaged)
		}
		most := o.mostBytes()
		counted := &stream.Reader{R: in, Most: most, TooMuch: fmt.Errorf("%w: it expands to more than %d bytes (Limits.TotalBytes)", backup.ErrLimit, most)}
		// When f has read all, it may take its time: the location is no longer asked.
		ended := &atEnd{r: counted, do: func() func() { return keep(alive) }}
		defer ended.stop()
		if err := f(ended); err != nil {
			return counted.N, fault.Other(err)
		}
		if _, err := io.Copy(io.Discard, counted); err != nil {
			return counted.N, err
		}
		if _, err := io.Copy(io.Discard, file); err != nil {
			return counted.N, err
		}
		if n != nil {
			if err := n.check(d.contents()); err != nil {
				return counted.N, err
			}
			if counted.N != n.Manifest.Bytes {
				return counted.N, fmt.Errorf("%w: it has %d bytes, and the database had %d", backup.ErrDamaged, counted.N, n.Manifest.Bytes)
			}
		}
		return counted.N, nil
	}, nil)
}

// An atEnd reader calls do when it comes to its end, and stop ends what do began.
type atEnd struct {
	r     io.Reader
	do    func() (stop func())
	begun func()
}

func (a *atEnd) Read(p []byte) (int, error) {
	n, err := a.r.Read(p)
	if err != nil && a.begun == nil {
		a.begun = a.do()
	}
	return n, err
}

func (a *atEnd) stop() {
	if a.begun != nil {
		a.begun()
	}
}

// verifyDatabase checks a copy of the database: its digest, that it opens, and what the
// Database says of it.
func (o *operation) verifyDatabase(ctx context.Context, s *site, name filename.Name) (backup.Manifest, backup.Report, error) {
	m, report, err := o.examineDatabase(ctx, s, name)
	if err == nil || errors.Is(err, backup.ErrDamaged) { // that it cannot be proven says nothing about it
		o.learn(s, name.String(), err)
	}
	if err != nil {
		return backup.Manifest{}, backup.Report{}, err
	}
	return m, report, nil
}

// examineDatabase returns what the note says of a copy that is good. What could not be
// checked is a warning.
func (o *operation) examineDatabase(ctx context.Context, s *site, name filename.Name) (m backup.Manifest, report backup.Report, err error) {
	n, err := o.databaseNote(ctx, s, name)
	if err != nil {
		return m, report, err
	}
	why, kind := "", error(nil)
	switch {
	case o.Database == nil:
		why, kind = "the Manager has no Database", errors.ErrUnsupported
	case name.Encrypted && len(o.Identities) == 0:
		why, kind = "no key was given", backup.ErrNoKey
	default:
		size, err := o.readDatabase(ctx, s, name, func(r io.Reader) error { return o.Database.Check(ctx, r) })
		if err != nil && !errors.Is(err, errors.ErrUnsupported) {
			return m, report, err
		}
		if err == nil {
			if n == nil {
				report.Warnings = []string{"nothing beside it tells its digest, nor what it was made for"}
				return backup.Manifest{Application: o.App.Name, CreatedAt: name.At, Compressed: backup.Compression(name.Compressed), Encrypted: name.Encrypted, Database: true, Bytes: size}, report, nil
			}
			return n.Manifest, report, nil
		}
		why, kind = err.Error(), err
	}
	if n == nil {
		return m, report, fmt.Errorf("%w: nothing beside it tells its digest, and %s, so it cannot be checked", kind, why)
	}
	report.Warnings = []string{"what is in it was not checked, because " + why + ": it is whole, as far as the digest beside it tells"}
	return n.Manifest, report, n.checkFile(ctx, s, name)
}
