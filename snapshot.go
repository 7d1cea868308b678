package backup

import (
	"bufio"
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"iter"
	"regexp"
	"sync/atomic"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/envelope"
	"github.com/tomo-project/backup/internal/fault"
	"github.com/tomo-project/backup/internal/seal"
	"github.com/tomo-project/backup/internal/stream"
)

// OpenOptions say how a snapshot is opened. The zero value is enough for a snapshot
// without secrets.
type OpenOptions struct {
	// Identities are tried to open the secrets, and those that are a [Decrypter] to
	// decrypt the file. Of several wrapped keys the cheapest is tried first, with each
	// Identity in turn. Without any, a snapshot with sealed secrets can still be looked
	// at. Its collections without secrets can be restored if it needs no migration.
	Identities []Identity

	// Limits bound what is accepted. The zero value has the defaults.
	Limits Limits

	// RequireProof refuses a snapshot that is not proven authentic, by a passphrase
	// that opened it or by a signature of a key in Trusted (FORMAT.md, "Proof").
	// Without it, everybody who could write to the place of the file may have made
	// the snapshot.
	RequireProof bool

	// Trusted are the keys whose signature proves that a snapshot is authentic.
	Trusted []ed25519.PublicKey

	// PreferProof tries a passphrase before other keys, since it also proves where
	// the snapshot comes from. RequireProof implies it.
	PreferProof bool

	// TempDir is the folder of the temporary file that is kept until Close if the
	// input cannot seek, or is compressed or encrypted, and of the one that is kept
	// until the end of a restore if it opens secrets or migrates. Both are encrypted.
	// Empty means os.TempDir.
	TempDir string

	// Name is what a Report calls the snapshot: the name of its file.
	Name string

	// CloseReader makes [Snapshot.Close] close the reader too.
	CloseReader bool

	// Progress, if not nil, is called now and then.
	Progress func(Progress)

	// damaged, if not nil, is called when a compressed or encrypted file turns out
	// to be damaged, which then ends there. Nil: the damage is an error.
	damaged func(error)
}

// A Snapshot is an open snapshot that was read to its end and found whole. It is a
// [DataSource] of its records as they were written: not migrated and not validated.
// Their secrets are open if an Identity was given, and sealed otherwise. Several
// goroutines may use it.
type Snapshot struct {
	manifest   Manifest
	sections   []codec.Section
	limits     codec.Limits
	envelope   envelope.Kind
	encryption *encryption
	box        *seal.Box // nil: no secrets, or no Identity for them
	key        []byte    // the data key, of box

	byPassphrase bool // a passphrase unwrapped key
	proofFirst   bool // see OpenOptions.PreferProof
	proof        *proof

	r       io.ReaderAt
	temp    *envelope.Spool // is r, if the input could not be read in place
	release func()          // releases the reader of the envelope, if not nil
	closer  io.Closer       // the reader, if Close closes it
	name    string          // see OpenOptions.Name
	tempDir string          // see OpenOptions.TempDir
	closed  int32           // 1 after Close
}

// OpenSnapshot reads a snapshot to its end and checks all that can be checked
// without its App: the version of the format, strict JSON, limits, the digest, the
// counts, that one of the Identities opens the secrets, and the proof. It tells a wrong
// key from a damaged wrapped key, if the snapshot has a digest. It recognizes a
// compressed or encrypted file by its first bytes.
//
// A file, and any other reader that is an io.Seeker and io.ReaderAt, is read in
// place, from its current position. It must stay open and unchanged until Close; a
// change is noticed and refused. Other input is copied to an encrypted temporary
// file, and so is a compressed or encrypted file. After an error r is not closed.
//
// OpenSnapshot returns ErrFormat, ErrTooNew, ErrDamaged, ErrLimit, ErrNoKey,
// ErrWrongKey, ErrUnauthentic, ErrInvalid for a database of SQLite, or the error of
// an Identity, r or ctx.
func OpenSnapshot(ctx context.Context, r io.Reader, opts OpenOptions) (*Snapshot, error) {
	if err := opts.given(r); err != nil {
		return nil, fmt.Errorf("open snapshot: %w", err)
	}
	s := &Snapshot{limits: opts.Limits.codec(), proofFirst: opts.RequireProof || opts.PreferProof, name: opts.Name, tempDir: opts.TempDir}
	if err := s.open(ctx, r, opts); err != nil {
		s.Close()
		return nil, fmt.Errorf("open snapshot: %w", err)
	}
	if c, ok := r.(io.Closer); ok && opts.CloseReader {
		s.closer = c
	}
	return s, nil
}

// sqliteMagic is the beginning of a database of SQLite. People take such a file for a
// backup of its data.
const sqliteMagic = "SQLite format 3\x00"

// skippable is how a skippable frame of Zstandard begins. pzstd writes such a frame
// first. A reader would have to read on to tell what the file is, so it is refused.
var skippable = regexp.MustCompile(`^[\x50-\x5f]\x2a\x4d\x18`)

// notSnapshot refuses a document that begins as another kind of file.
func notSnapshot(head []byte) error {
	switch {
	case string(head) == sqliteMagic:
		return fmt.Errorf("%w: it is a SQLite database and no snapshot; if it is a copy of the host's, put it in the place of the database while the application is stopped", ErrInvalid)
	case skippable.Match(head):
		return fmt.Errorf("%w: it begins with a skippable frame of Zstandard, as pzstd writes it; expand it with zstd -d, and open the result", ErrDamaged)
	}
	return nil
}

func (s *Snapshot) open(ctx context.Context, r io.Reader, opts OpenOptions) error {
	in, size, err := s.input(ctx, r, opts)
	if err != nil {
		return err
	}
	buffered := bufio.NewReader(in)
	head, _ := buffered.Peek(len(sqliteMagic))
	if err := notSnapshot(head); err != nil {
		return err
	}
	var noFit error // no key fits, but the wrapped keys may be damaged
	doc, err := codec.Scan(buffered, s.limits, codec.Hooks{
		Version: checkFormat,
		Again:   s.r,
		Header: func(members map[string][]byte) error {
			err := s.unlockEarly(ctx, members, opts)
			if errors.Is(err, ErrWrongKey) {
				noFit, err = err, nil
			}
			return err
		},
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
	err = s.readHeader(doc)
	switch {
	case noFit != nil && (err == nil || err == errNoWrappedKey):
		return noFit
	case noFit != nil && errors.Is(err, ErrDamaged):
		return fmt.Errorf("%w; none of the given keys opens the snapshot, so the damage may be in a wrapped key, and the key may be the right one", err)
	case err != nil:
		return err
	}
	if err := s.unlock(ctx, opts.Identities, opts.Progress); err != nil {
		return err
	}
	if err := s.authenticate(doc, opts); err != nil {
		return err
	}
	return s.checkSealed(ctx)
}

// unlockEarly unwraps the data key before the data is read, if the member
// "encryption" stands before that. So what a key costs is refused early. Whether a key is
// wrong is told when the digest fits: a damaged wrapped key looks the same. The rest of
// the header is read later, since members may follow the data.
func (s *Snapshot) unlockEarly(ctx context.Context, members map[string][]byte, opts OpenOptions) error {
	if members["encryption"] == nil || len(opts.Identities) == 0 {
		return nil
	}
	if codec.Unmarshal(members["encryption"], &s.encryption) != nil {
		return nil // open finds the same later, with all else that is wrong
	}
	if err := s.encryption.check(); err != nil && err != errNoWrappedKey {
		return nil // as above
	}
	return s.unwrapKey(ctx, opts.Identities, opts.Progress)
}

// input sets s.r, which can be read at any place once the returned reader was read
// to its end. It also returns the size of the document, 0 if that is not known.
func (s *Snapshot) input(ctx context.Context, r io.Reader, opts OpenOptions) (io.Reader, int64, error) {
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
		return nil, 0, err
	}
	s.r, s.temp = temp, temp
	plain, err := s.openEnvelope(ctx, stream.WithContext(ctx, r), opts)
	if err != nil {
		return nil, 0, err
	}
	// The copy is made while the document is checked, so that a bad one is refused
	// before all of it was copied.
	return io.TeeReader(plain, s.temp), 0, nil
}

// openEnvelope decrypts and decompresses the file.
func (s *Snapshot) openEnvelope(ctx context.Context, r io.Reader, opts OpenOptions) (io.Reader, error) {
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

// A readSeekerAt can be read at any place, as a file can.
type readSeekerAt interface {
	io.Reader
	io.ReaderAt
	io.Seeker
}

// Manifest returns what the snapshot says about itself.
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

// View implements [DataSource] on the records of the snapshot.
func (s *Snapshot) View(ctx context.Context, read func(Reader) error) error {
	if err := s.given(); err != nil {
		return err
	}
	if err := fault.Missing("the function read", read); err != nil {
		return err
	}
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
		err := s.eachRecord(ctx, sec, func(r item) error {
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

// eachRecord calls f for the records of a section, with their secrets open if there
// is a key. In a List it derives the key of a record only if secrets are opened.
func (s *Snapshot) eachRecord(ctx context.Context, sec *codec.Section, f func(item) error) error {
	return s.eachPart(ctx, sec, nil, func(*batch) {}, func(b *batch) error {
		for _, r := range b.items {
			if err := f(r); err != nil {
				return err
			}
		}
		return nil
	})
}

// eachPart takes the records of a section in batches of any size through work, in any
// order and in other goroutines, and then through done. The secrets are open as in
// eachRecord.
func (s *Snapshot) eachPart(ctx context.Context, sec *codec.Section, col *collection, work func(*batch), done func(*batch) error) error {
	return s.eachPicked(ctx, sec, col, nil, work, done)
}

// eachPicked is eachPart for the records that pick, if not nil, wants. It opens no secrets
// of the others. Several goroutines call pick.
func (s *Snapshot) eachPicked(ctx context.Context, sec *codec.Section, col *collection, pick func(*item) bool, work func(*batch), done func(*batch) error) error {
	open, err := s.opener(sec)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	stages := &stages{
		work: func(b *batch) {
			b.damage = fromCodec(b.readPart(pick, open))
			work(b)
		},
		done: func(b *batch) error { return cmp.Or(done(b), b.damage, ctx.Err()) },
	}
	defer stages.stop()
	for i := range sec.Parts() {
		b := stages.batch(col)
		if err := b.part.Load(sec, i, s.r); err != nil {
			return cmp.Or(stages.wait(0), fromCodec(err))
		}
		if err := stages.put(b, sec.Parts() == 1); err != nil {
			return err
		}
	}
	return stages.wait(0)
}

// readPart makes items of the records of a part of a section that pick, if not nil, wants.
// It ends with the first secret that does not open.
func (b *batch) readPart(pick func(*item) bool, open func(item) (item, error)) error {
	if err := b.part.Split(); err != nil {
		return err
	}
	for _, rec := range b.part.Records {
		r := item{key: rec.Name, value: rec.Value, offset: rec.Offset}
		if pick != nil && !pick(&r) {
			continue
		}
		if open != nil {
			var err error
			if r, err = open(r); err != nil {
				return err
			}
		}
		b.items = append(b.items, r)
	}
	return nil
}

// Close removes the temporary file, if there is one. It closes the reader that was
// given to OpenSnapshot only if [OpenOptions].CloseReader was set. A closed
// Snapshot keeps its Manifest. Reading it is an error that wraps fs.ErrClosed.
func (s *Snapshot) Close() error {
	if s == nil {
		return fault.Missing("the Snapshot", s)
	}
	atomic.StoreInt32(&s.closed, 1)
	var errs []error
	if s.closer != nil {
		errs = append(errs, s.closer.Close())
	}
	if s.temp != nil {
		errs = append(errs, s.temp.Close())
	}
	if s.release != nil {
		s.release()
	}
	return errors.Join(errs...)
}
