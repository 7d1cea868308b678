package backup

import (
	"bufio"
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// What is in a file, and how a snapshot is put into one: as it is, compressed, encrypted as a whole,
// or first the one and then the other (FORMAT.md, "Compressed and encrypted
// files"). Whoever reads one need not be told: it shows in how the file begins.

// Compression is how a snapshot is compressed. The zero value does not.
type Compression string

const (
	Gzip Compression = "gzip" // read by every tool
	Zstd Compression = "zstd" // several times faster, and smaller
)

// check refuses what is no compression.
func (c Compression) check() error {
	if c != "" && c != Gzip && c != Zstd {
		return fmt.Errorf("%w: no compression is called %q, only %s and %s", ErrInvalid, shorten(string(c)), Gzip, Zstd)
	}
	return nil
}

// An Encrypter encrypts whole files, so that nothing in them can be read without
// a key (FORMAT.md, "Compressed and encrypted files"). What it writes must be an
// age file, as that of package agekey does: the reader knows no other.
//
// One that has a method KeyIDs() []string says with it which keys open the file;
// this is kept in clear beside an encrypted backup, for people.
type Encrypter interface {
	// Encrypt returns a writer that encrypts to w. What is written is complete
	// when its Close has returned nil; Close does not close w.
	Encrypt(w io.Writer) (io.WriteCloser, error)
}

// A Decrypter is an [Identity] that opens what an [Encrypter] has encrypted.
type Decrypter interface {
	Identity

	// Decrypt returns a reader of what was encrypted. It returns ErrWrongKey if
	// the file was encrypted for others, ErrDamaged if it is malformed, ErrLimit
	// if opening it would take too much time or memory, or the error of r. The
	// reader fails if the file was altered or ends too early; its errors wrap
	// that of r.
	Decrypt(r io.Reader) (io.Reader, error)
}

// An envelope is what is around a snapshot in a file, or around a copy of a
// database.
type envelope struct {
	Compressed Compression
	Encrypted  bool
	Database   bool
}

// The endings of names of files, and how such files begin.
const (
	endingJSON     = ".json"
	endingDatabase = ".db"
	endingAge      = ".age"
)

var (
	compressions = []struct {
		Compression
		ending, magic string
	}{{Gzip, ".gz", "\x1f\x8b"}, {Zstd, ".zst", "\x28\xb5\x2f\xfd"}}

	ageMagic = []string{"age-encryption.org/v1\n", "-----BEGIN AGE ENCRYPTED FILE-----"}
)

// ending is what a name has behind its time: ".json.zst.age".
func (e envelope) ending() string {
	text := endingJSON
	if e.Database {
		text = endingDatabase
	}
	for _, c := range compressions {
		if c.Compression == e.Compressed {
			text += c.ending
		}
	}
	if e.Encrypted {
		text += endingAge
	}
	return text
}

// plain tells whether there is none: the file is a snapshot as it is.
func (e envelope) plain() bool { return e == envelope{} }

// open returns a writer of a snapshot into such a file. Its Close completes what
// is written to w and does not close that.
func (c Compression) open(w io.Writer, encrypter Encrypter) (io.WriteCloser, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	var out layers
	if encrypter != nil {
		checked := &ageOnly{w: w}
		encrypted, err := encrypter.Encrypt(checked)
		if err != nil {
			return nil, fmt.Errorf("encrypt the file: %w", err)
		}
		out, w = append(out, checked, encrypted), encrypted
	}
	switch c {
	case Gzip:
		compressed := gzip.NewWriter(w)
		out, w = append(out, compressed), compressed
	case Zstd:
		// One at a time: this library starts no goroutines unasked.
		compressed, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		out, w = append(out, compressed), compressed
	}
	if len(out) == 0 {
		return nopCloser{w}, nil
	}
	return out, nil
}

// layers are writers, each into the one before it.
type layers []io.WriteCloser

func (l layers) Write(p []byte) (int, error) { return l[len(l)-1].Write(p) }

func (l layers) Close() error {
	for i := len(l) - 1; i >= 0; i-- {
		if err := l[i].Close(); err != nil {
			return err
		}
	}
	return nil
}

// An ageOnly writer refuses what no reader would know for an encrypted file.
type ageOnly struct {
	w    io.Writer
	head []byte
	seen bool // it begins as it should
}

var errNotAge = fmt.Errorf("%w: what the Encrypter writes is no age file", ErrInvalid)

// Close implements io.Closer.
func (a *ageOnly) Close() error {
	if !a.seen {
		return errNotAge
	}
	return nil
}

func (a *ageOnly) Write(p []byte) (int, error) {
	if !a.seen {
		if a.head = append(a.head, p...); len(a.head) < sniffBytes {
			return len(p), nil
		}
		if !sniff(a.head).Encrypted {
			return 0, errNotAge
		}
		head := a.head
		a.head, a.seen = nil, true
		if _, err := a.w.Write(head); err != nil {
			return 0, err
		}
		return len(p), nil
	}
	return a.w.Write(p)
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// sniffBytes is how much of a file tells what is around the snapshot.
const sniffBytes = 64

// sniff tells what a file is by how it begins.
func sniff(head []byte) envelope {
	for _, c := range compressions {
		if bytes.HasPrefix(head, []byte(c.magic)) {
			return envelope{Compressed: c.Compression}
		}
	}
	for _, magic := range ageMagic {
		if bytes.HasPrefix(head, []byte(magic)) {
			return envelope{Encrypted: true}
		}
	}
	return envelope{}
}

// unwrap takes what is around a snapshot off a file: first what it is encrypted
// with, then what it is compressed with.
func (s *Snapshot) unwrap(ctx context.Context, r io.Reader, opts OpenOptions) (io.Reader, error) {
	// The limit is the document's. An armored file has a third more, and each chunk
	// of an encrypted one a bit.
	in := &encoded{r: r, left: s.limits.TotalBytes/3*4 + s.limits.TotalBytes/100 + 2*maxEnvelopeHeader}
	buffered := bufio.NewReader(in)
	head, err := buffered.Peek(sniffBytes)
	if err != nil && err != io.EOF {
		return nil, in.cause(err)
	}
	r = buffered
	if sniff(head).Encrypted {
		s.envelope.Encrypted = true
		decrypted, err := s.decrypt(ctx, r, opts.Identities)
		if err != nil {
			return nil, in.cause(err)
		}
		buffered = bufio.NewReader(&decoded{decrypted, in, "decrypted", opts.damaged})
		if head, err = buffered.Peek(sniffBytes); err != nil && err != io.EOF {
			return nil, err
		}
		r = buffered
	}
	switch s.envelope.Compressed = sniff(head).Compressed; s.envelope.Compressed {
	case Gzip:
		decompressed, err := gzip.NewReader(r)
		if err != nil {
			return nil, in.damage("decompressed", err)
		}
		return &decoded{decompressed, in, "decompressed", opts.damaged}, nil
	case Zstd:
		// What a window of 8 MiB cannot hold no usual level makes.
		decompressed, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			return nil, in.damage("decompressed", err)
		}
		s.release = decompressed.Close
		return &decoded{decompressed, in, "decompressed", opts.damaged}, nil
	}
	return r, nil
}

// decrypt opens a file with the first identity that fits.
func (s *Snapshot) decrypt(ctx context.Context, r io.Reader, identities []Identity) (io.Reader, error) {
	if len(identities) == 0 {
		return nil, fileLocked{fmt.Errorf("%w: the file is encrypted as a whole, and no key was given to open it", ErrNoKey)}
	}
	again := &rewinder{r: r}
	var wrong []error
	for _, id := range identities {
		if err := ctx.Err(); err != nil {
			return nil, err // each may take seconds
		}
		d, ok := id.(Decrypter)
		if !ok {
			continue
		}
		again.at = 0
		decrypted, err := d.Decrypt(again)
		if err == nil {
			again.done = true
			return decrypted, nil
		}
		if !errors.Is(err, ErrWrongKey) {
			return nil, err
		}
		wrong = append(wrong, err)
	}
	switch len(wrong) {
	case 0:
		return nil, fileLocked{fmt.Errorf("%w: the file is encrypted as a whole, and what was given opens sealed secrets only; give the key that it was encrypted for", ErrNoKey)}
	case 1:
		return nil, fileLocked{wrong[0]}
	}
	return nil, fileLocked{fmt.Errorf("%w: none of the keys that were given opens the file: %w", ErrWrongKey, errors.Join(wrong...))}
}

// A fileLocked error is about the key of a file, as against that of the secrets in
// it.
type fileLocked struct{ error }

func (e fileLocked) Unwrap() error { return e.error }

// A rewinder reads the beginning of a file again, for the next key to try.
type rewinder struct {
	r    io.Reader
	head []byte
	at   int
	done bool // no more
}

// maxEnvelopeHeader is more than what says who opens an encrypted file can need.
const maxEnvelopeHeader = 1 << 20

func (r *rewinder) Read(p []byte) (int, error) {
	if r.at < len(r.head) {
		n := copy(p, r.head[r.at:])
		r.at += n
		return n, nil
	}
	if r.done {
		r.head, r.at = nil, 0
		return r.r.Read(p)
	}
	if len(r.head) > maxEnvelopeHeader {
		return 0, fmt.Errorf("%w: what says who opens the file has more than %d bytes", ErrLimit, maxEnvelopeHeader)
	}
	n, err := r.r.Read(p)
	r.head = append(r.head, p[:n]...)
	r.at += n
	return n, err
}

// An encoded reader reads a file, and remembers what is the file's own fault.
type encoded struct {
	r    io.Reader
	left int64
	err  error
}

func (e *encoded) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	if e.left -= int64(n); e.left < 0 && (err == nil || err == io.EOF) {
		n, err = 0, fmt.Errorf("%w: the file is larger than the limit", ErrLimit)
	}
	if err != nil && err != io.EOF {
		e.err = err
	}
	return n, err
}

// cause returns the error of reading the file, if that is what went wrong.
func (e *encoded) cause(err error) error {
	if e.err != nil {
		return e.err
	}
	return err
}

// damage returns what went wrong in taking off what is around the snapshot.
func (e *encoded) damage(how string, err error) error {
	switch {
	case e.err != nil:
		return e.err
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return fmt.Errorf("%w: it cannot be %s: %w", ErrLimit, how, err)
	case errors.Is(err, ErrDamaged), errors.Is(err, ErrLimit):
		return err
	}
	return fmt.Errorf("%w: it cannot be %s: %w; try another copy or an older backup", ErrDamaged, how, err)
}

// A decoded reader reads what was in the file.
type decoded struct {
	r       io.Reader
	in      *encoded
	how     string
	damaged func(error) // see OpenOptions
}

func (d *decoded) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	if err != nil && err != io.EOF {
		err = d.in.damage(d.how, err)
		if d.damaged != nil && errors.Is(err, ErrDamaged) {
			d.damaged(err)
			err = io.EOF
		}
	}
	return n, err
}

// A spool is a temporary copy of a snapshot. It is encrypted under a key that
// nobody else has, so that nothing of what was sealed in a file stays on a disk.
type spool struct {
	f      *os.File
	block  cipher.Block
	stream cipher.Stream // of what is written
	buf    []byte
}

func newSpool(dir string) (*spool, error) {
	f, err := os.CreateTemp(dir, "backup-snapshot-*")
	if err != nil {
		return nil, err
	}
	// Where a file can go on without its name, a killed process leaves nothing.
	os.Remove(f.Name())
	key := make([]byte, 32)
	rand.Read(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &spool{f: f, block: block, stream: streamAt(block, 0)}, nil
}

// streamAt returns the key stream from an offset on.
func streamAt(block cipher.Block, offset int64) cipher.Stream {
	var counter [aes.BlockSize]byte
	binary.BigEndian.PutUint64(counter[8:], uint64(offset/aes.BlockSize))
	stream := cipher.NewCTR(block, counter[:])
	var skip [aes.BlockSize]byte
	stream.XORKeyStream(skip[:offset%aes.BlockSize], skip[:offset%aes.BlockSize])
	return stream
}

func (s *spool) Write(p []byte) (int, error) {
	s.buf = append(s.buf[:0], p...)
	s.stream.XORKeyStream(s.buf, s.buf)
	n, err := s.f.Write(s.buf)
	if err != nil {
		err = advise(fmt.Errorf("make a temporary copy: %w", err))
	}
	return n, err
}

func (s *spool) ReadAt(p []byte, offset int64) (int, error) {
	n, err := s.f.ReadAt(p, offset)
	if n > 0 {
		streamAt(s.block, offset).XORKeyStream(p[:n], p[:n])
	}
	return n, err
}

func (s *spool) Close() error {
	err := s.f.Close()
	os.Remove(s.f.Name())
	return err
}
