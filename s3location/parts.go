package s3location

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/middleware"
)

const (
	// A smaller file is sent in one request. A larger one is sent in parts of
	// this size.
	firstPart = 8 << 20
	maxParts  = 10_000 // the limit of S3

	// An upload that is this old is abandoned: no upload takes as long.
	abandoned = 48 * time.Hour
)

// partBytes returns the size of a part. Some services require parts of equal
// size. The first 5,000 parts, 39 GiB, are equal; later ones grow, up to half a
// TiB in all.
func partBytes(number int) int { return firstPart << max(0, (number-1)/1000-4) }

// inParts uploads a file whose first part has been read. While one part is
// being sent, the next is read.
func (u *upload) inParts(ctx context.Context, part []byte, in *source) error {
	if err := u.begin(ctx); err != nil {
		return err
	}
	complete := false
	defer func() {
		if !complete {
			u.abort(ctx)
		}
	}()
	sending, cancel := context.WithCancel(ctx)
	defer cancel()
	type sent struct {
		again bool // the buffer can be used for another part
		err   error
	}
	result := make(chan sent, 1)
	result <- sent{}
	failed := func() error {
		select {
		case r := <-result:
			result <- r
			return r.err
		default:
			return nil
		}
	}
	var current []byte // the part that is being sent
	for number := 1; len(part) > 0; number++ {
		r := <-result
		if r.err == nil && number > maxParts {
			r.err = fmt.Errorf("the file is too large: S3 takes %d parts, in all %d bytes", maxParts, u.bytes)
		}
		if r.err != nil {
			return r.err
		}
		spare := current
		if !r.again {
			spare = nil
		}
		current = part
		u.bytes += int64(len(part))
		go func() {
			again, err := u.send(sending, number, current)
			result <- sent{again, err}
		}()
		var err error
		part, err = in.fill(spare, partBytes(number+1), failed)
		if err != nil {
			cancel()
			<-result
			return err
		}
	}
	if r := <-result; r.err != nil {
		return r.err
	}
	err := u.complete(ctx)
	complete = err == nil
	return err
}

func (u *upload) begin(ctx context.Context) error {
	ctx, cancel := limit(ctx, 0)
	defer cancel()
	in := &s3.CreateMultipartUploadInput{Bucket: &u.l.Bucket, Key: &u.key, Metadata: map[string]string{mark: u.id}}
	if !u.md5 {
		in.ChecksumAlgorithm, in.ChecksumType = types.ChecksumAlgorithmSha256, types.ChecksumTypeComposite
	}
	out, err := u.l.Client.CreateMultipartUpload(ctx, in)
	if err != nil {
		return err
	}
	u.number = out.UploadId
	return nil
}

// send uploads a part. once is false if the client needed more than one try:
// then it may still be reading data.
func (u *upload) send(ctx context.Context, number int, data []byte) (once bool, err error) {
	ctx, cancel := limit(ctx, int64(len(data)))
	defer cancel()
	sha, sum := u.checksum(data)
	out, err := u.l.Client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: &u.l.Bucket, Key: &u.key, UploadId: u.number, PartNumber: aws.Int32(int32(number)),
		Body: bytes.NewReader(data), ContentLength: aws.Int64(int64(len(data))), ChecksumSHA256: sha, ContentMD5: sum,
	})
	if err == nil {
		err = same(sha, out.ChecksumSHA256)
	}
	if err != nil {
		return false, err
	}
	u.parts = append(u.parts, types.CompletedPart{PartNumber: aws.Int32(int32(number)), ETag: out.ETag, ChecksumSHA256: sha})
	if sha != nil {
		digest, _ := base64.StdEncoding.DecodeString(*sha)
		u.sums = append(u.sums, digest...)
	}
	attempts, ok := retry.GetAttemptResults(out.ResultMetadata)
	return ok && len(attempts.Results) == 1, nil
}

// complete turns the parts into a file.
func (u *upload) complete(ctx context.Context) error {
	limited, cancel := limit(ctx, u.bytes)
	defer cancel()
	in := &s3.CompleteMultipartUploadInput{
		Bucket: &u.l.Bucket, Key: &u.key, UploadId: u.number, IfNoneMatch: aws.String("*"),
		MultipartUpload: &types.CompletedMultipartUpload{Parts: u.parts}, MpuObjectSize: &u.bytes,
	}
	var all *string
	if !u.md5 {
		digest := sha256.Sum256(u.sums)
		all = aws.String(fmt.Sprintf("%s-%d", base64.StdEncoding.EncodeToString(digest[:]), len(u.parts)))
		in.ChecksumType = types.ChecksumTypeComposite
	}
	// A service that ignores the condition must not get this far if the name
	// has been taken meanwhile.
	found, err := u.l.head(ctx, u.key)
	if err == nil && found != nil {
		err = errTaken
	}
	if err != nil {
		return err
	}
	out, err := u.l.Client.CompleteMultipartUpload(limited, in)
	if err != nil {
		if done, err := u.settle(ctx, err); !done {
			return err
		}
		return nil
	}
	if err := same(all, out.ChecksumSHA256); err != nil {
		return u.takeBack(ctx, err)
	}
	return nil
}

// abort removes the parts of a failed upload.
func (u *upload) abort(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterwards)
	defer cancel()
	if err := u.l.abort(ctx, u.key, u.number); err != nil && u.left == "" {
		u.left = "its parts stay in the bucket, invisible, until a Put removes them after two days"
	}
}

func (l *Location) abort(ctx context.Context, key string, number *string) error {
	_, err := l.Client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &l.Bucket, Key: &key, UploadId: number})
	if status(err) == http.StatusNotFound {
		return nil
	}
	return err
}

// clean aborts uploads whose process was killed, at most once a day. It ignores
// errors: the Put that calls it must not fail because of old parts.
func (l *Location) clean(ctx context.Context) {
	l.mu.Lock()
	due := l.cleaned.IsZero() || time.Since(l.cleaned) > 24*time.Hour
	if due {
		l.cleaned = time.Now()
	}
	l.mu.Unlock()
	if !due {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, afterwards)
	defer cancel()
	pages := s3.NewListMultipartUploadsPaginator(l.Client, &s3.ListMultipartUploadsInput{Bucket: &l.Bucket, Prefix: aws.String(l.prefix())})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return
		}
		now := serverTime(page.ResultMetadata)
		for _, old := range page.Uploads {
			key := aws.ToString(old.Key)
			if _, ours := l.name(key); ours && old.Initiated != nil && now.Sub(*old.Initiated) > abandoned {
				_ = l.abort(ctx, key, old.UploadId)
			}
		}
	}
}

// serverTime returns the time by the clock of the service.
func serverTime(m middleware.Metadata) time.Time {
	if t, ok := awsmiddleware.GetServerTime(m); ok && !t.IsZero() {
		return t
	}
	return time.Now()
}
