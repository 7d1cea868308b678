package s3location

import (
	"bytes"
	"cmp"
	"context"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/tomo-project/backup/internal/fault"
)

const (
	// mark is the metadata that says which Put made an object.
	mark = "backup-put"

	// afterwards is how long a Put may clean up after its context has ended.
	afterwards = 10 * time.Second
)

// Put implements [location.Location]. It uses about 16 MiB of memory, and more
// for the part of a file beyond 39 GiB. While Put waits for r, it does not
// notice the end of ctx. After the end of ctx, Put needs some seconds, with a
// slow service up to twenty, to find out whether the file is there and to clean
// up.
func (l *Location) Put(ctx context.Context, name string, r io.Reader) error {
	key, err := l.key(ctx, "put", name)
	if err != nil {
		return err
	}
	if fault.IsNil(r) {
		return fmt.Errorf("put s3://%s/%s: %w: the io.Reader is nil", l.Bucket, key, fs.ErrInvalid)
	}
	found, err := l.head(ctx, key) // before r has to do its work
	if err == nil && found != nil {
		err = errTaken
	}
	if err != nil {
		return l.failed(ctx, "put", name, err)
	}
	l.clean(ctx)
	u := &upload{l: l, key: key, id: rand.Text(), md5: l.Client.Options().RequestChecksumCalculation == aws.RequestChecksumCalculationWhenRequired}
	in := &source{ctx: ctx, r: r}
	first, err := in.fill(nil, firstPart, nil)
	if err == nil && in.ended {
		err = u.whole(ctx, first)
	} else if err == nil {
		err = u.inParts(ctx, first, in)
	}
	switch {
	case err == nil:
		return nil
	case in.err != nil:
		err = fmt.Errorf("put s3://%s/%s: %w", l.Bucket, key, in.err)
	default:
		err = l.failed(ctx, "put", name, err)
	}
	if u.left != "" {
		err = fmt.Errorf("%w; %s", err, u.left)
	}
	return err
}

// A source reads until its context ends, and remembers why it ended.
type source struct {
	ctx   context.Context
	r     io.Reader
	ended bool
	err   error // the error of r, or of the context of Put
}

// fill reads up to size bytes into buf, which grows only as needed. It calls
// stop, if that is not nil, from time to time, and returns its error.
func (s *source) fill(buf []byte, size int, stop func() error) ([]byte, error) {
	buf = buf[:0]
	for len(buf) < size && !s.ended {
		if err := s.ctx.Err(); err != nil {
			s.err = err
			return nil, err
		}
		if stop != nil {
			if err := stop(); err != nil {
				return nil, err
			}
		}
		if len(buf) == cap(buf) {
			buf = slices.Grow(buf, min(max(64<<10, 3*len(buf)), size-len(buf)))
		}
		n, err := s.r.Read(buf[len(buf):min(cap(buf), size)])
		buf = buf[:len(buf)+n]
		if err == io.EOF {
			s.ended = true
		} else if err != nil {
			s.err = err
			return nil, err
		}
	}
	return buf, nil
}

// An upload is one call of Put.
type upload struct {
	l   *Location
	key string
	id  string // the value of mark for this Put
	md5 bool   // the service knows only MD5

	number *string // the id of an upload in parts
	parts  []types.CompletedPart
	sums   []byte // the digests of the parts
	bytes  int64

	left string // what a failed Put may have left behind
}

const maybeThere = "the file may be there all the same"

// checksum returns the checksum of data, of the kind that the service knows.
// The other is nil.
func (u *upload) checksum(data []byte) (sha, sum *string) {
	if u.md5 {
		digest := md5.Sum(data)
		return nil, aws.String(base64.StdEncoding.EncodeToString(digest[:]))
	}
	digest := sha256.Sum256(data)
	return aws.String(base64.StdEncoding.EncodeToString(digest[:])), nil
}

// same compares the checksum that the service reports, if it does, with the one
// that was sent.
func same(sent, stored *string) error {
	if sent == nil || stored == nil || *sent == *stored {
		return nil
	}
	return fmt.Errorf("the service has stored something else than what was sent: its SHA-256 is %s and not %s; try again", shown(*stored), *sent)
}

// whole puts a file in one request.
func (u *upload) whole(ctx context.Context, data []byte) error {
	sha, sum := u.checksum(data)
	put := func() (*s3.PutObjectOutput, error) {
		ctx, cancel := limit(ctx, int64(len(data)))
		defer cancel()
		return u.l.Client.PutObject(ctx, &s3.PutObjectInput{
			Bucket: &u.l.Bucket, Key: &u.key, IfNoneMatch: aws.String("*"), Metadata: map[string]string{mark: u.id},
			Body: bytes.NewReader(data), ContentLength: aws.Int64(int64(len(data))), ChecksumSHA256: sha, ContentMD5: sum,
		})
	}
	u.bytes = int64(len(data))
	for try := 1; ; try++ {
		out, err := put()
		if err == nil {
			if err := same(sha, out.ChecksumSHA256); err != nil {
				return u.takeBack(ctx, err)
			}
			break
		}
		done, err := u.settle(ctx, err)
		if done {
			break
		}
		if !errors.Is(err, errConflict) || try == 5 {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(try) * 100 * time.Millisecond):
		}
	}
	if u.l.refuses.Load() {
		return nil
	}
	// Repeating the Put does no harm. It is tried twice, because a Delete may
	// come between.
	for range 2 {
		_, err := put()
		if status(err) == http.StatusPreconditionFailed {
			u.l.refuses.Store(true)
		}
		if err != nil {
			return nil
		}
	}
	return u.takeBack(ctx, fmt.Errorf("the service overwrites in spite of If-None-Match, so backups could be lost; use another service: %w", errors.ErrUnsupported))
}

// takeBack removes the file of this Put, which must not stay. It returns why.
func (u *upload) takeBack(ctx context.Context, why error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterwards)
	defer cancel()
	found, err := u.l.head(ctx, u.key)
	if err == nil && found != nil && u.isOurs(found) {
		err = u.l.remove(ctx, u.key)
	}
	if err != nil {
		u.left = maybeThere
	}
	return why
}

func (u *upload) isOurs(found *s3.HeadObjectOutput) bool {
	for k, v := range found.Metadata {
		if strings.EqualFold(k, mark) && v == u.id {
			return aws.ToInt64(found.ContentLength) == u.bytes
		}
	}
	return false
}

var errConflict = fmt.Errorf("another Put or Delete of the name is under way: %w", fs.ErrExist)

// settle finds out, after an error, whether the file is there. The answer to a
// successful request may be lost; then the next try finds the name taken.
func (u *upload) settle(ctx context.Context, err error) (done bool, _ error) {
	code := status(err)
	taken := code == http.StatusPreconditionFailed || code == http.StatusConflict
	if code >= 400 && code < 500 && !taken && code != http.StatusNotFound && code != http.StatusRequestTimeout {
		return false, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterwards)
	defer cancel()
	found, unknown := u.l.head(ctx, u.key)
	switch {
	case unknown == nil && found != nil && u.isOurs(found):
		return true, nil
	case found != nil, code == http.StatusPreconditionFailed:
		return false, &failure{errTaken.Error(), []error{errTaken, err}}
	case taken:
		return false, cmp.Or(conflict(err), err)
	case unknown != nil:
		u.left = maybeThere
	}
	return false, err
}
