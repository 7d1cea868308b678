package envelope

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/tomo-project/backup/internal/fault"
)

// A Decrypter returns a reader of what was encrypted, as backup.Decrypter does.
type Decrypter interface {
	Decrypt(r io.Reader) (io.Reader, error)
}

// Options say how a file is opened.
type Options struct {
	// Most is how many bytes the document may have.
	Most int64

	// Keys are tried in turn to decrypt the file. Others says that there are also keys
	// that only open secrets.
	Keys   []Decrypter
	Others bool

	// Damaged, if not nil, is called when the file turns out to be damaged. The content
	// then ends there. Nil: the damage is an error of Read.
	Damaged func(error)
}

// Keys returns the identities that decrypt files.
func Keys[T any](identities []T) []Decrypter {
	var keys []Decrypter
	for _, id := range identities {
		if d, ok := any(id).(Decrypter); ok {
			keys = append(keys, d)
		}
	}
	return keys
}

// A Reader reads the content of a file: a snapshot, or a copy of a database.
type Reader struct {
	Kind Kind

	r     io.Reader
	close func()
}

// NewReader decrypts and decompresses a file, as far as its first bytes ask for that.
// It returns a *LockedError if no key opens the file.
func NewReader(ctx context.Context, file io.Reader, opts Options) (*Reader, error) {
	// The limit is that of the document. An armored file is larger by a third, and an
	// encrypted one by some bytes for each chunk.
	in := &encoded{r: file, left: MostStored(opts.Most)}
	buffered := bufio.NewReader(in)
	head, err := buffered.Peek(SniffBytes)
	if err != nil && err != io.EOF {
		return nil, in.cause(err)
	}
	if err := CheckAge(head); err != nil {
		return nil, err
	}
	out := &Reader{r: buffered}
	if Sniff(head).Encrypted {
		out.Kind.Encrypted = true
		decrypted, err := decrypt(ctx, buffered, opts)
		if err != nil {
			return nil, in.cause(err)
		}
		buffered = bufio.NewReader(&decoded{r: decrypted, in: in, how: "decrypted", damaged: opts.Damaged})
		if head, err = buffered.Peek(SniffBytes); err != nil && err != io.EOF {
			return nil, err
		}
		out.r = buffered
	}
	switch out.Kind.Compressed = Sniff(head).Compressed; out.Kind.Compressed {
	case Gzip:
		decompressed, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, in.damage("decompressed", err)
		}
		out.r = &decoded{r: decompressed, in: in, how: "decompressed", damaged: opts.Damaged}
	case Zstd:
		// No usual level of compression needs a window of more than 8 MiB.
		decompressed, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			return nil, in.damage("decompressed", err)
		}
		out.r, out.close = &decoded{r: decompressed, in: in, how: "decompressed", damaged: opts.Damaged}, decompressed.Close
	}
	return out, nil
}

// Read implements io.Reader. Its errors are fault.ErrDamaged, fault.ErrLimit, or those
// of reading the file.
func (r *Reader) Read(p []byte) (int, error) { return r.r.Read(p) }

// Close releases the memory of decompression. It does not close the file.
func (r *Reader) Close() error {
	if r.close != nil {
		r.close()
		r.close = nil
	}
	return nil
}

// decrypt opens a file with the first key that fits.
func decrypt(ctx context.Context, r io.Reader, opts Options) (io.Reader, error) {
	if len(opts.Keys) == 0 && !opts.Others {
		return nil, &LockedError{fmt.Errorf("%w: the file is encrypted as a whole, and no key was given to open it", fault.ErrNoKey)}
	}
	again := &rewinder{r: r}
	var wrong []error
	for _, key := range opts.Keys {
		if err := ctx.Err(); err != nil {
			return nil, err // a Decrypt may take seconds
		}
		again.at = 0
		decrypted, err := key.Decrypt(again)
		if err == nil {
			again.done = true
			return decrypted, nil
		}
		if !errors.Is(err, fault.ErrWrongKey) {
			return nil, err
		}
		wrong = append(wrong, err)
	}
	switch len(wrong) {
	case 0:
		return nil, &LockedError{fmt.Errorf("%w: the file is encrypted as a whole, and the given keys open only sealed secrets; give the key that it was encrypted for", fault.ErrNoKey)}
	case 1:
		return nil, &LockedError{wrong[0]}
	}
	return nil, &LockedError{fmt.Errorf("%w: none of the keys that were given opens the file: %w", fault.ErrWrongKey, errors.Join(wrong...))}
}

// A LockedError says that no given key decrypts a file. Errors about the keys of sealed
// secrets are other errors.
type LockedError struct{ Err error }

// Error returns what Err says.
func (e *LockedError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *LockedError) Unwrap() error { return e.Err }

// maxHeader is the limit on the header of an encrypted file, which says who can open
// it.
const maxHeader = 1 << 20

// MostStored returns the largest size of a file that a document of at most most bytes can
// have: in Base64 it grows by a third, and the header and the line breaks add a little.
func MostStored(most int64) int64 { return most/3*4 + most/100 + 2*maxHeader }

// A rewinder can read the header of a file again, for the next key to try.
type rewinder struct {
	r    io.Reader
	head []byte
	at   int
	done bool // no key needs the header any more
}

// Read implements io.Reader.
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
	if len(r.head) > maxHeader {
		return 0, fmt.Errorf("%w: the header of the encrypted file has more than %d bytes", fault.ErrLimit, maxHeader)
	}
	n, err := r.r.Read(p)
	r.head = append(r.head, p[:n]...)
	r.at += n
	return n, err
}

// An encoded reads a file as it is stored, and remembers the error of reading it. That
// error explains those of the decoders behind it.
type encoded struct {
	r    io.Reader
	left int64 // bytes that the file may still have
	err  error
}

// Read implements io.Reader.
func (e *encoded) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	if e.left -= int64(n); e.left < 0 && (err == nil || err == io.EOF) {
		n, err = 0, fmt.Errorf("%w: the file is larger than the limit (Limits.TotalBytes)", fault.ErrLimit)
	}
	if err != nil && err != io.EOF {
		e.err = err
	}
	return n, err
}

// cause returns the error of reading the file, if there was one, or else err.
func (e *encoded) cause(err error) error {
	if e.err != nil {
		return e.err
	}
	return err
}

// damage returns the error of reading the file, if there was one. Otherwise the error
// of a decoder says that the file is damaged, or exceeds a limit.
func (e *encoded) damage(how string, err error) error {
	switch {
	case e.err != nil:
		return e.err
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return fmt.Errorf("%w: it cannot be %s: it needs a window of more than 8 MiB, as zstd makes with --ultra or --long, or it is damaged; run zstd -d --long=31 on it, and use the result", fault.ErrLimit, how)
	case errors.Is(err, fault.ErrDamaged), errors.Is(err, fault.ErrLimit):
		return err
	}
	return fmt.Errorf("%w: it cannot be %s: %w; try another copy or an older backup", fault.ErrDamaged, how, err)
}

// A decoded reads what a decoder makes of the file.
type decoded struct {
	r       io.Reader
	in      *encoded
	how     string
	damaged func(error) // see Options.Damaged
}

// Read implements io.Reader.
func (d *decoded) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	if err != nil && err != io.EOF {
		err = d.in.damage(d.how, err)
		if d.damaged != nil && errors.Is(err, fault.ErrDamaged) {
			d.damaged(err)
			err = io.EOF
		}
	}
	return n, err
}
