package s3location

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

const (
	// block is the smallest range that is fetched. What a list of backups needs
	// from one end of a backup fits into it.
	block = 16 << 10

	// held is the longest range that is fetched into memory at once, so that
	// its connection is free again. A longer range is read from the connection.
	held = 256 << 10

	// growth: the next range is this many times what was read in sequence
	// before.
	growth = 4

	maxRuns = 4

	// stall is how long the service may send nothing.
	stall = 30 * time.Second

	tries = 4
)

// Open implements [location.Location]. The result is also an io.ReaderAt and
// io.Seeker, and safe for concurrent use. Reading in sequence takes few,
// growing requests; reading here and there takes as many small ones. If the
// connection is cut, reading goes on with a new one. If the file was replaced
// meanwhile, that is an error.
//
// When ctx ends, a read that is waiting fails. Later reads still work, until
// Close.
func (l *Location) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	key, err := l.key(ctx, "open", name)
	if err != nil {
		return nil, err
	}
	f := &file{l: l, name: name, key: key, ctx: ctx}
	for try := 1; ; try++ {
		if err = f.begin(ctx); !errors.Is(err, errCut) || try == tries {
			break
		}
	}
	if err != nil {
		return nil, l.failed(ctx, "open", name, err)
	}
	f.base, f.stop = context.WithCancelCause(context.WithoutCancel(ctx))
	return f, nil
}

// errCut: a download ended too early.
var errCut = errors.New("the connection was cut")

func cut(err error) error {
	return &failure{fmt.Sprintf("%v (%s); check the network", errCut, shown(err.Error())), []error{errCut, err}}
}

// A file is an open object.
type file struct {
	l         *Location
	name, key string
	etag      *string
	size      int64
	head      []byte // the first block

	ctx  context.Context         // the context of Open
	base context.Context         // the context of the requests
	stop context.CancelCauseFunc // ends base

	mu   sync.Mutex
	pos  int64  // the position of Read
	idle []*run // runs that are not in use; the last was used most recently
}

// begin fetches the first block, and learns the size.
func (f *file) begin(ctx context.Context) error {
	ctx, cancel := limit(ctx, 0)
	defer cancel()
	out, err := f.l.Client.GetObject(ctx, &s3.GetObjectInput{Bucket: &f.l.Bucket, Key: &f.key, Range: aws.String(fmt.Sprintf("bytes=0-%d", block-1))}, partly)
	if status(err) == http.StatusRequestedRangeNotSatisfiable { // an empty file has no first byte
		found, err := f.l.head(ctx, f.key)
		switch {
		case err != nil:
			return err
		case found == nil:
			return fs.ErrNotExist
		case aws.ToInt64(found.ContentLength) > 0:
			return errors.New("the file was replaced while it was opened; open it again")
		}
		f.etag = found.ETag
		return nil
	}
	if err != nil {
		return err
	}
	defer out.Body.Close()
	f.etag, f.size = out.ETag, aws.ToInt64(out.ContentLength)
	if out.ContentRange != nil {
		first, size, err := parseRange(*out.ContentRange)
		if err != nil || first != 0 {
			return fmt.Errorf("the service answers with the range %s: %w", shown(*out.ContentRange), errors.ErrUnsupported)
		}
		f.size = size
	} else if out.ContentLength == nil || f.size > block {
		return errNoRanges
	}
	f.head = make([]byte, min(f.size, block))
	if _, err := io.ReadFull(out.Body, f.head); err != nil {
		return cut(err)
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(out.Body, 1)) // reads the end, so that the connection is free again
	return nil
}

var errNoRanges = fmt.Errorf("the service does not serve ranges: %w", errors.ErrUnsupported)

// partly makes the client expect no checksum: a part of an object has none.
func partly(o *s3.Options) {
	o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
}

// parseRange reads "bytes 0-99/1234".
func parseRange(text string) (first, size int64, err error) {
	rest, ok := strings.CutPrefix(text, "bytes ")
	span, total, found := strings.Cut(rest, "/")
	from, _, dash := strings.Cut(span, "-")
	if !ok || !found || !dash {
		return 0, 0, errors.New("not a range")
	}
	first, err1 := strconv.ParseInt(from, 10, 64)
	size, err2 := strconv.ParseInt(total, 10, 64)
	return first, size, errors.Join(err1, err2)
}

func (f *file) failed(err error) error {
	switch {
	case errors.Is(err, fs.ErrClosed):
		return fmt.Errorf("read s3://%s/%s: %w", f.l.Bucket, f.key, fs.ErrClosed)
	case err == f.ctx.Err():
		return f.l.failed(f.ctx, "read", f.name, err)
	}
	return f.l.failed(f.base, "read", f.name, err)
}

// Read implements io.Reader.
func (f *file) Read(p []byte) (int, error) {
	f.mu.Lock()
	pos := f.pos
	f.mu.Unlock()
	n, err := f.ReadAt(p, pos)
	f.mu.Lock()
	f.pos = pos + int64(n)
	f.mu.Unlock()
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

// Seek implements io.Seeker.
func (f *file) Seek(offset int64, whence int) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch whence {
	case io.SeekCurrent:
		offset += f.pos
	case io.SeekEnd:
		offset += f.size
	case io.SeekStart:
	default:
		return 0, f.failed(fs.ErrInvalid)
	}
	if offset < 0 {
		return 0, f.failed(fmt.Errorf("seek before the beginning: %w", fs.ErrInvalid))
	}
	f.pos = offset
	return offset, nil
}

// ReadAt implements io.ReaderAt.
func (f *file) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, f.failed(fmt.Errorf("read before the beginning: %w", fs.ErrInvalid))
	}
	for n < len(p) {
		at := off + int64(n)
		if f.base.Err() != nil {
			return n, f.failed(fs.ErrClosed)
		}
		if at >= f.size {
			return n, io.EOF
		}
		if at < int64(len(f.head)) {
			n += copy(p[n:], f.head[at:])
			continue
		}
		r := f.take(at)
		m, err := r.read(p[n:], at)
		n += m
		if err != nil {
			r.drop()
			return n, f.failed(err)
		}
		f.keep(r)
	}
	return n, nil
}

// Close implements io.Closer. It ends reads that are under way.
func (f *file) Close() error {
	if f.base.Err() != nil {
		return f.failed(fs.ErrClosed)
	}
	f.stop(fs.ErrClosed)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.idle {
		r.drop()
	}
	f.idle = nil
	return nil
}

// take returns a run that continues at a place, or a new run.
func (f *file) take(at int64) *run {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, slack := range []int64{0, block} {
		for i, r := range f.idle {
			if r.pos <= at && at-r.pos <= slack {
				f.idle = slices.Delete(f.idle, i, i+1)
				return r
			}
		}
	}
	r := &run{f: f, began: at, pos: at}
	if at == int64(len(f.head)) {
		r.began = 0
	}
	return r
}

func (f *file) keep(r *run) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.base.Err() != nil {
		r.drop()
		return
	}
	f.idle = append(f.idle, r)
	if len(f.idle) > maxRuns {
		f.idle[0].drop()
		f.idle = f.idle[1:]
	}
}

// A run reads a part of a file in sequence. Only one goroutine uses it at a
// time.
type run struct {
	f          *file
	began, pos int64

	src    io.Reader // the bytes from pos to end; nil: none
	end    int64
	body   io.Closer
	cancel context.CancelCauseFunc
	ctx    context.Context
}

// read reads some bytes at a place that is at or shortly after pos.
func (r *run) read(p []byte, at int64) (int, error) {
	for r.pos < at {
		if _, err := r.some(make([]byte, min(at-r.pos, block))); err != nil {
			return 0, err
		}
	}
	return r.some(p)
}

func (r *run) some(p []byte) (int, error) {
	for try := 1; ; try++ {
		n, err := r.once(p)
		if n > 0 || err == nil || !errors.Is(err, errCut) || try == tries {
			return n, err
		}
		r.drop()
		select {
		case <-r.f.base.Done():
			return 0, fs.ErrClosed
		case <-time.After(time.Duration(try*try) * 50 * time.Millisecond):
		}
	}
}

// once returns errCut if nothing arrived because the connection was cut.
func (r *run) once(p []byte) (n int, err error) {
	if r.src == nil {
		want := max(int64(len(p)), block, growth*(r.pos-r.began))
		if err := r.fetch(min(want, r.f.size-r.pos)); err != nil {
			return 0, err
		}
	}
	if r.body == nil {
		n, err = r.src.Read(p)
	} else {
		r.guard(func() { n, err = r.src.Read(p[:min(int64(len(p)), r.end-r.pos)]) })
		err = r.cause(err)
	}
	r.pos += int64(n)
	if r.pos == r.end {
		if r.body != nil {
			r.guard(func() { _, _ = r.src.Read(make([]byte, 1)) }) // reads the end, so that the connection is free again
		}
		r.drop()
	}
	if n > 0 {
		err = nil // the next read returns it again
	} else if err == io.EOF {
		err = errCut
	}
	return n, err
}

// fetch requests the next n bytes.
func (r *run) fetch(n int64) error {
	f := r.f
	r.end = r.pos + n
	r.ctx, r.cancel = context.WithCancelCause(f.base)
	var out *s3.GetObjectOutput
	var err error
	r.guard(func() {
		out, err = f.l.Client.GetObject(r.ctx, &s3.GetObjectInput{
			Bucket: &f.l.Bucket, Key: &f.key, IfMatch: f.etag, Range: aws.String(fmt.Sprintf("bytes=%d-%d", r.pos, r.end-1)),
		}, partly)
	})
	if err != nil {
		if r.ctx.Err() != nil {
			err = r.cause(err)
		}
		r.drop()
		return err
	}
	r.src, r.body = out.Body, out.Body
	first, size, err := parseRange(aws.ToString(out.ContentRange))
	switch {
	case err != nil, first != r.pos:
		r.drop()
		return errNoRanges
	case size != f.size:
		r.drop()
		return errors.New("the file was replaced while it was read; read it again")
	}
	if n > held {
		return nil
	}
	all := make([]byte, n)
	r.guard(func() { _, err = io.ReadFull(out.Body, all) })
	if err != nil {
		err = r.cause(err)
		r.drop()
		return err
	}
	r.guard(func() { _, _ = out.Body.Read(make([]byte, 1)) })
	out.Body.Close()
	r.src, r.body = bytes.NewReader(all), nil
	return nil
}

// guard ends do when the service does not answer, or nobody waits any more.
func (r *run) guard(do func()) {
	cancel, ctx := r.cancel, r.f.ctx
	timer := time.AfterFunc(stall, func() { cancel(errNoAnswer) })
	defer timer.Stop()
	if ctx.Err() == nil {
		stop := context.AfterFunc(ctx, func() { cancel(ctx.Err()) })
		defer stop()
	}
	do()
}

// cause returns why a request ended early.
func (r *run) cause(err error) error {
	switch cause := context.Cause(r.ctx); {
	case err == nil || err == io.EOF && r.pos == r.end:
		return err
	case cause == errNoAnswer || cause == nil:
		return cut(err)
	default:
		return cause
	}
}

// drop closes the connection. The run can continue at the same place.
func (r *run) drop() {
	if r.cancel != nil {
		r.cancel(context.Canceled)
	}
	if r.body != nil {
		r.body.Close()
	}
	r.src, r.body, r.cancel = nil, nil, nil
}
