package backup

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/envelope"
	"github.com/tomo-project/backup/internal/fault"
	"github.com/tomo-project/backup/internal/seal"
	"github.com/tomo-project/backup/internal/stream"
)

// OpenOptions say how a snapshot is opened. The zero value will do for one
// without secrets.
type OpenOptions struct {
	// Identities are tried in turn to open the secrets. Without any, a snapshot
	// with secrets can be looked at, and collections without secrets be restored
	// if it needs no migration.
	Identities []Identity

	// Limits bound what is accepted. The zero value has the defaults.
	Limits Limits

	// RequireProof refuses a snapshot that is not proven authentic: by a
	// passphrase that opened it, or by a signature of a key in Trusted (FORMAT.md,
	// "Proof"). Without it, whoever can write to where the file was can have
	// written it.
	RequireProof bool

	// Trusted are the keys whose signature proves that a snapshot is authentic.
	Trusted []ed25519.PublicKey

	// TempDir is where what cannot be read in place is kept until Close,
	// encrypted: input that cannot seek, or that is compressed or encrypted. Empty
	// means os.TempDir.
	TempDir string

	// Progress, if not nil, is called now and then.
	Progress func(Progress)

	// PreferProof tries a passphrase before other keys, since it also proves where
	// the snapshot comes from. RequireProof implies it.
	PreferProof bool

	// Name is what reports call the snapshot: the name of its file.
	Name string

	// CloseReader has Close close the reader too.
	CloseReader bool

	// damaged is told that a compressed or encrypted file is damaged, which then
	// ends there. Nil: that is an error.
	damaged func(error)
}

// A Snapshot is one that has been read to its end and found whole. It is a
// [DataSource] of the records as they stand in it, not migrated and not
// validated; its secrets are open if an Identity was given, and stay sealed
// otherwise. It may be used by several goroutines.
type Snapshot struct {
	manifest   Manifest
	sections   []codec.Section
	limits     codec.Limits
	envelope   envelope.Kind
	encryption *encryption
	box        *seal.Box // nil: no secrets, or no Identity for them
	key        []byte    // of box

	byPassphrase bool // key was wrapped with the passphrase that opened it
	proofFirst   bool // of several keys take the one that also proves
	proof        *proof

	r       io.ReaderAt
	temp    *envelope.Spool // r, if it is ours
	release func()          // what takes the envelope off, if it has to be released
	under   io.Closer       // the reader, if Close closes it
	name    string          // see OpenOptions
}

// OpenSnapshot reads a snapshot to its end and checks all that can be told
// without its App: the version of the format, strict JSON, limits, the digest,
// the counts, that one of the Identities opens the secrets, and the proof. A
// wrong key is told before the data is read. A file that is compressed or
// encrypted as a whole is known by how it begins.
//
// What r cannot seek in is copied to a private temporary file first. A file is
// read where it is, from its current position, and must stay open and unchanged
// until Close; a change is noticed and refused. After an error the reader is not
// closed.
//
// It returns ErrFormat, ErrTooNew, ErrDamaged, ErrLimit, ErrNoKey, ErrWrongKey or
// ErrUnauthentic, or the error of r.
func OpenSnapshot(ctx context.Context, r io.Reader, opts OpenOptions) (*Snapshot, error) {
	s := &Snapshot{limits: opts.Limits.codec(), proofFirst: opts.RequireProof || opts.PreferProof, name: opts.Name}
	if err := s.open(ctx, r, opts); err != nil {
		s.Close()
		return nil, fmt.Errorf("open snapshot: %w", err)
	}
	if c, ok := r.(io.Closer); ok && opts.CloseReader {
		s.under = c
	}
	return s, nil
}

// sqliteMagic begins a database of SQLite, which is easily taken for a backup of its
// data.
const sqliteMagic = "SQLite format 3\x00"

func (s *Snapshot) open(ctx context.Context, r io.Reader, opts OpenOptions) error {
	in, size, err := s.source(ctx, r, opts)
	if err != nil {
		return err
	}
	buffered := bufio.NewReader(in)
	if head, _ := buffered.Peek(len(sqliteMagic)); string(head) == sqliteMagic {
		return fmt.Errorf("%w: it is a database of SQLite and no snapshot", ErrInvalid)
	}
	doc, err := codec.Scan(buffered, s.limits, codec.Hooks{
		Version: checkFormat,
		Header:  func(members map[string][]byte) error { return s.unlockEarly(ctx, members, opts.Identities) },
		Progress: func(collection string, records, bytes int64) error {
			if opts.Progress != nil {
				opts.Progress(Progress{"read", collection, records, bytes, size})
			}
			return ctx.Err()
		},
	})
	if s.release != nil {
		s.release()
		s.release = nil
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return fromCodec(err)
	}
	s.sections = doc.Collections
	if err := s.header(doc); err != nil {
		return err
	}
	if err := s.unlock(ctx, opts.Identities); err != nil {
		return err
	}
	return s.authenticate(doc, opts)
}

// unlockEarly finds out the data key before the data is read, if it stands before
// that: who has the wrong key should not have to wait. Nothing else is made of the
// header, which may not be all of it.
func (s *Snapshot) unlockEarly(ctx context.Context, members map[string][]byte, identities []Identity) error {
	if members["encryption"] == nil || len(identities) == 0 {
		return nil
	}
	if codec.Unmarshal(members["encryption"], &s.encryption) != nil || s.checkEncryption() != nil {
		return nil // which is told together with what else is wrong
	}
	return s.unwrapKey(ctx, identities)
}

// source makes s.r something to read at any place. It returns what has to be
// read to its end first, and its size, 0 if that is not known.
func (s *Snapshot) source(ctx context.Context, r io.Reader, opts OpenOptions) (io.Reader, int64, error) {
	if at, ok := r.(readSeekerAt); ok {
		if start, err := at.Seek(0, io.SeekCurrent); err == nil {
			end, err := at.Seek(0, io.SeekEnd)
			if err != nil {
				return nil, 0, err
			}
			size := max(0, end-start)
			section := io.NewSectionReader(at, start, size)
			head := make([]byte, envelope.SniffBytes)
			n, err := section.ReadAt(head, 0)
			if err != nil && err != io.EOF {
				return nil, 0, err
			}
			r = section
			if envelope.Sniff(head[:n]).Plain() {
				s.r = section
				return stream.WithContext(ctx, section), size, nil
			}
		}
	}
	temp, err := envelope.NewSpool(opts.TempDir)
	if err != nil {
		return nil, 0, fault.Advise(fmt.Errorf("make a temporary copy: %w", err))
	}
	s.r, s.temp = temp, temp
	plain, err := s.unwrap(ctx, stream.WithContext(ctx, r), opts)
	if err != nil {
		return nil, 0, err
	}
	// What is refused is refused before all of it has been copied.
	return io.TeeReader(plain, s.temp), 0, nil
}

// unwrap takes what is around the snapshot off its file.
func (s *Snapshot) unwrap(ctx context.Context, r io.Reader, opts OpenOptions) (io.Reader, error) {
	keys := envelope.Keys(opts.Identities)
	in, err := envelope.NewReader(ctx, r, envelope.Options{
		Most:    s.limits.TotalBytes,
		Keys:    keys,
		Others:  len(opts.Identities) > len(keys),
		Damaged: opts.damaged,
	})
	if err != nil {
		return nil, err
	}
	s.envelope, s.release = in.Kind, func() { in.Close() }
	return in, nil
}

// A readSeekerAt can be read in places, as a file can.
type readSeekerAt interface {
	io.Reader
	io.ReaderAt
	io.Seeker
}

// Manifest returns what the snapshot says of itself.
func (s *Snapshot) Manifest() Manifest { return s.manifest.Clone() }

// Shape returns the shape of a collection of the snapshot, List if it has none
// of that name.
func (s *Snapshot) Shape(collection string) Shape {
	if sec := s.section(collection); sec != nil && sec.IsMap {
		return Map
	}
	return List
}

// Collections returns the names of the collections in the order of the snapshot.
func (s *Snapshot) Collections() []string {
	var names []string
	for _, sec := range s.sections {
		names = append(names, sec.Name)
	}
	return names
}

// Close removes the temporary copy, if there is one. It closes the reader that was
// given to OpenSnapshot only if OpenOptions.CloseReader says so.
func (s *Snapshot) Close() error {
	var errs []error
	if s.under != nil {
		errs = append(errs, s.under.Close())
	}
	if s.temp != nil {
		errs = append(errs, s.temp.Close())
	}
	if s.release != nil {
		s.release()
	}
	return errors.Join(errs...)
}

// View calls read with a Reader on the records of the snapshot.
func (s *Snapshot) View(ctx context.Context, read func(Reader) error) error {
	return read(snapshotReader{s})
}

type snapshotReader struct{ *Snapshot }

func (s snapshotReader) Records(ctx context.Context, name string) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		sec := s.section(name)
		if sec == nil {
			yield(Record{}, fmt.Errorf("the snapshot has no collection %q", name))
			return
		}
		err := s.records(ctx, sec, func(r item) error {
			if !yield(Record{Key: r.key, Value: r.value}, nil) {
				return errStop
			}
			return nil
		})
		if err != nil && err != errStop {
			yield(Record{}, err)
		}
	}
}

// errStop ends a sequence early; it is never seen outside.
var errStop = errors.New("stop")

func (s *Snapshot) section(name string) *codec.Section {
	for i := range s.sections {
		if s.sections[i].Name == name {
			return &s.sections[i]
		}
	}
	return nil
}

// records calls f for the records of a section, opened if there is a key. In an
// array a record has a key only if it has secrets.
func (s *Snapshot) records(ctx context.Context, sec *codec.Section, f func(item) error) error {
	open, err := s.opener(sec)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	n := 0
	var stopped error // by f: whatever it wraps, it says nothing about the snapshot
	err = sec.Records(s.r, func(name string, value []byte, offset int64) error {
		if n++; n%256 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		r := item{name, value, offset}
		if open != nil {
			var err error
			if r, err = open(r); err != nil {
				return err
			}
		}
		stopped = f(r)
		return stopped
	})
	if stopped != nil {
		return stopped
	}
	return fromCodec(err)
}
