package s3location

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/tomo-project/backup/location"
)

// A Location is a folder of a bucket that keeps backups. It implements
// [location.Location]. Set its fields before the first use, and do not copy it.
// It is safe for concurrent use.
//
// The folder is for backups only. List also returns objects that somebody else
// puts there. Objects in folders below it are ignored.
//
// Several processes may share a Location. It is no [location.Locker]: a Manager
// holds it with files.
//
// Every error says where it happened and wraps its cause: fs.ErrInvalid for a
// name that [location.CheckName] refuses, fs.ErrExist, fs.ErrNotExist,
// fs.ErrPermission, errors.ErrUnsupported, the error of the context, or the
// answer of the service, a smithy.APIError. No error text contains credentials.
type Location struct {
	Client *s3.Client // reaches the service, and has the credentials
	Bucket string     // the name of the bucket
	Prefix string     // the beginning of all keys, a path such as "backups/tomo"; empty: the bucket itself

	refuses atomic.Bool // the service has been seen to refuse an overwrite

	mu      sync.Mutex
	cleaned time.Time // when killed uploads were last removed
}

// String returns "s3://bucket/prefix".
func (l *Location) String() string { return strings.TrimSuffix("s3://"+l.Bucket+"/"+l.prefix(), "/") }

// prefix returns the beginning of all keys.
func (l *Location) prefix() string {
	if p := strings.TrimSuffix(l.Prefix, "/"); p != "" {
		return p + "/"
	}
	return ""
}

// enter begins every method: it checks the fields and the context.
func (l *Location) enter(ctx context.Context, op string) error {
	if l == nil {
		return fmt.Errorf("%s: %w: the Location is nil", op, fs.ErrInvalid)
	}
	switch prefix := strings.TrimSuffix(l.Prefix, "/"); {
	case l.Client == nil:
		return fmt.Errorf("%s %s: %w: the Location has no Client", op, l, fs.ErrInvalid)
	case l.Bucket == "":
		return fmt.Errorf("%s: %w: the Location has no Bucket", op, fs.ErrInvalid)
	case l.Prefix != "" && (!fs.ValidPath(prefix) || prefix == "."):
		return fmt.Errorf("%s %s: %w: the Prefix is not a path; use one like \"backups/tomo\"", op, l, fs.ErrInvalid)
	case ctx.Err() != nil:
		return l.failed(ctx, op, "", ctx.Err())
	}
	return nil
}

// key is enter for a method that takes a name. It returns the key of the
// object.
func (l *Location) key(ctx context.Context, op, name string) (string, error) {
	if l == nil {
		return "", l.enter(ctx, op)
	}
	if err := location.CheckName(name); err != nil {
		return "", fmt.Errorf("%s in %s: %w", op, l, err)
	}
	return l.prefix() + name, l.enter(ctx, op)
}

// name returns the name of the file with this key. ok is false if it is none of
// ours.
func (l *Location) name(key string) (string, bool) {
	name, ours := strings.CutPrefix(key, l.prefix())
	return name, ours && location.CheckName(name) == nil
}

// List implements [location.Location].
func (l *Location) List(ctx context.Context) ([]location.File, error) {
	if err := l.enter(ctx, "list"); err != nil {
		return nil, err
	}
	var files []location.File
	pages := s3.NewListObjectsV2Paginator(l.Client, &s3.ListObjectsV2Input{
		Bucket: &l.Bucket, Prefix: aws.String(l.prefix()), Delimiter: aws.String("/"),
	})
	for pages.HasMorePages() {
		limited, cancel := limit(ctx, 0)
		page, err := pages.NextPage(limited)
		cancel()
		if err != nil {
			return nil, l.failed(ctx, "list", "", err)
		}
		for _, o := range page.Contents {
			name, ok := l.name(aws.ToString(o.Key))
			if !ok {
				continue
			}
			files = append(files, location.File{Name: name, Bytes: aws.ToInt64(o.Size), ModTime: modTime(aws.ToTime(o.LastModified), aws.ToString(o.ETag))})
		}
	}
	byName := func(a, b location.File) int { return cmp.Compare(a.Name, b.Name) }
	slices.SortFunc(files, byName) // some services do not sort
	return files, nil
}

// modTime returns a time of modification that changes with the content.
// Services report only seconds, and a file may be replaced within one.
func modTime(t time.Time, etag string) time.Time {
	if t.IsZero() {
		return t
	}
	h := fnv.New32a()
	h.Write([]byte(etag))
	return t.Add(time.Duration(h.Sum32() % uint32(time.Millisecond)))
}

// Delete implements [location.Location]. In a bucket with versions, the old
// versions stay.
func (l *Location) Delete(ctx context.Context, name string) error {
	key, err := l.key(ctx, "delete", name)
	if err != nil {
		return err
	}
	found, err := l.head(ctx, key) // S3 does not report that there was nothing to delete
	if err == nil && found == nil {
		err = fs.ErrNotExist
	}
	if err == nil {
		err = l.remove(ctx, key)
	}
	if err != nil {
		return l.failed(ctx, "delete", name, err)
	}
	return nil
}

func (l *Location) remove(ctx context.Context, key string) error {
	ctx, cancel := limit(ctx, 0)
	defer cancel()
	_, err := l.Client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &l.Bucket, Key: &key})
	return err
}

// head returns the metadata of an object, or nil if there is no such object.
func (l *Location) head(ctx context.Context, key string) (*s3.HeadObjectOutput, error) {
	ctx, cancel := limit(ctx, 0)
	defer cancel()
	out, err := l.Client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &l.Bucket, Key: &key})
	if status(err) == 404 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// limit sets a deadline for a request with that many bytes: a connection can be
// dead without any sign.
func limit(ctx context.Context, bytes int64) (context.Context, context.CancelFunc) {
	const least = 16 << 10 // bytes a second
	return context.WithTimeout(ctx, 2*time.Minute+time.Duration(bytes/least)*time.Second)
}
