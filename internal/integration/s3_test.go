//go:build !race

package integration

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithy "github.com/aws/smithy-go"
	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/internal/testtime"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
	"github.com/tomo-project/backup/s3location"
)

// TestS3 holds s3location against a real server.
func TestS3(t *testing.T) {
	t.Parallel()
	s := startS3(t)
	for _, test := range []struct {
		name string
		run  func(*s3Server, *testing.T)
	}{
		{"it keeps every rule of a location", (*s3Server).keepsTheRules},
		{"a large file comes back as it was, in few requests", (*s3Server).largeFile},
		{"of several writers one wins, whatever the size", (*s3Server).race},
		{"what is in other folders is left alone", (*s3Server).foreign},
		{"a file that is replaced while it is read is an error", (*s3Server).replaced},
		{"the end of a context ends a read that waits, and no later one", (*s3Server).contexts},
		{"an upload that is killed is not seen, and is cleaned up", (*s3Server).killed},
		{"an upload that fails leaves nothing", (*s3Server).leavesNothing},
		{"an upload goes on after a cut", (*s3Server).cutUpload},
		{"a download goes on after a cut", (*s3Server).cutDownload},
		{"a lost answer is no failure and makes no second file", (*s3Server).lostAnswer},
		{"what is altered on its way is not stored", (*s3Server).altered},
		{"a service that overwrites is refused", (*s3Server).overwrites},
		{"errors say what to do, and no secret", (*s3Server).says},
		{"a name that something else has is no conflict", (*s3Server).inTheWay},
		{"a manager backs up, lists, restores, undoes and prunes", (*s3Server).manage},
		{"a manager encrypts", (*s3Server).encrypted},
		{"a list reads the ends of backups only", (*s3Server).lists},
		{"processes that share a bucket make one scheduled backup a time", (*s3Server).share},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(s, t) })
	}
}

func (s *s3Server) keepsTheRules(t *testing.T) {
	l := s.location(t)
	n := 0
	backuptest.TestLocation(t, func(*testing.T) location.Location {
		n++
		return &s3location.Location{Client: l.Client, Bucket: l.Bucket, Prefix: fmt.Sprintf("rule-%d", n)}
	})
	t.Run("in the bucket itself, with MD5", func(t *testing.T) {
		testtime.OnlyLong(t)
		backuptest.TestLocation(t, func(t *testing.T) location.Location {
			l := s.location(t)
			l.Prefix = ""
			l.Client = s.client(nil, func(o *s3.Options) { o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired })
			return l
		})
	})
}

func (s *s3Server) inTheWay(t *testing.T) {
	l := s.location(t)
	putObject := func(key string) {
		_, err := l.Client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &l.Bucket, Key: &key, Body: strings.NewReader("x")})
		require.NoError(t, err)
	}
	putObject("backups/tomo/file/below")
	putObject("taken")
	err := l.Put(t.Context(), "file", strings.NewReader("x"))
	require.ErrorContains(t, err, "a folder has the name of the file")
	require.ErrorIs(t, err, fs.ErrExist)
	below := &s3location.Location{Client: l.Client, Bucket: l.Bucket, Prefix: "taken"}
	for _, size := range []int{1, 9 << 20} {
		err := below.Put(t.Context(), "file", bytes.NewReader(noiseOf(size)))
		require.ErrorContains(t, err, "a file has the name of the folder", "%d bytes", size)
		require.NotErrorIs(t, err, fs.ErrExist)
	}
}

func noiseOf(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)}).Read(b)
	return b
}

func (s *s3Server) largeFile(t *testing.T) {
	l := s.location(t)
	old := through(l, s.client(nil, func(o *s3.Options) { o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired }))
	putFile(t, old, "old", noiseOf(17<<20))
	require.True(t, bytes.Equal(noiseOf(17<<20), stored(t, old, "old")), "with MD5")

	count := &tally{}
	l.Client = s.client(count.over)
	for _, size := range []int{8<<20 - 1, 8 << 20, 8<<20 + 1, 40<<20 + 12345} {
		name, content := fmt.Sprint(size), noiseOf(size)
		require.NoError(t, l.Put(t.Context(), name, iotest.HalfReader(bytes.NewReader(content))))
		count.reset()
		require.Equal(t, sha256.Sum256(content), sha256.Sum256(stored(t, l, name)))
		requests, _ := count.reset()
		require.LessOrEqual(t, requests["GET"], 9, "read in sequence")

		f, err := l.Open(t.Context(), name)
		require.NoError(t, err)
		defer f.Close()
		at := f.(io.ReaderAt)
		var wait sync.WaitGroup
		errs := make([]error, 4)
		for i := range errs {
			wait.Go(func() {
				random := rand.New(rand.NewPCG(uint64(size), uint64(i)))
				for range 20 {
					off := random.IntN(size)
					part := make([]byte, min(random.IntN(300<<10), size-off))
					if n, err := at.ReadAt(part, int64(off)); n < len(part) || !bytes.Equal(part, content[off:off+n]) {
						errs[i] = fmt.Errorf("%d bytes at %d: %d, %w", len(part), off, n, err)
						return
					}
				}
			})
		}
		wait.Wait()
		require.NoError(t, errors.Join(errs...))

		// As a restore reads: in sequence by ReadAt, with small gaps.
		count.reset()
		for off := 0; off < size; off += 300 << 10 {
			part := make([]byte, min(300<<10-100, size-off))
			_, err := at.ReadAt(part, int64(off))
			require.NoError(t, err)
			require.True(t, bytes.Equal(part, content[off:off+len(part)]))
		}
		requests, read := count.reset()
		require.LessOrEqual(t, requests["GET"], 9, "read in sequence at places")
		require.LessOrEqual(t, read, int64(size)+1<<20)
	}
	require.Empty(t, uploads(t, l))
}

func (s *s3Server) race(t *testing.T) {
	l := s.location(t)
	for _, size := range []int{1000, 9 << 20} {
		const writers = 8
		name, won, errs := fmt.Sprint(size), -1, make([]error, writers)
		var wait sync.WaitGroup
		for i := range writers {
			content := bytes.Repeat([]byte{byte(i)}, size)
			mine := through(l, l.Client) // as another process has it
			wait.Go(func() { errs[i] = mine.Put(context.Background(), name, bytes.NewReader(content)) })
		}
		wait.Wait()
		for i, err := range errs {
			if err == nil {
				require.Equal(t, -1, won, "two have won")
				won = i
				continue
			}
			require.ErrorIs(t, err, fs.ErrExist)
		}
		require.GreaterOrEqual(t, won, 0, "%v", errs[0])
		require.True(t, bytes.Equal(bytes.Repeat([]byte{byte(won)}, size), stored(t, l, name)))
	}
	require.Empty(t, uploads(t, l))
	require.Len(t, fileNames(t, l), 2)
}

func (s *s3Server) foreign(t *testing.T) {
	l := s.location(t)
	for _, key := range []string{"a", "backups/b", "backups/tomo/c", "backups/tomo/deeper/d", "backups/tomo/.hidden", "backups/tomorrow", "backups/tomo2/e"} {
		_, err := l.Client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &l.Bucket, Key: &key, Body: strings.NewReader("x")})
		require.NoError(t, err)
	}
	require.Equal(t, []string{"c"}, fileNames(t, l))
	require.Equal(t, []string{"c"}, fileNames(t, &s3location.Location{Client: l.Client, Bucket: l.Bucket, Prefix: "backups/tomo/"}))
	require.Equal(t, []string{"a"}, fileNames(t, &s3location.Location{Client: l.Client, Bucket: l.Bucket}))
	require.ErrorIs(t, l.Delete(t.Context(), "b"), fs.ErrNotExist)
	require.Equal(t, "s3://"+l.Bucket+"/backups/tomo", l.String())
}

func (s *s3Server) replaced(t *testing.T) {
	l := s.location(t)
	putFile(t, l, "a", noiseOf(1<<20))
	f, err := l.Open(t.Context(), "a")
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, l.Delete(t.Context(), "a"))
	_, err = f.(io.ReaderAt).ReadAt(make([]byte, 100), 500_000)
	require.ErrorIs(t, err, fs.ErrNotExist)
	before := putAndList(t, l, "b", noiseOf(1<<20))
	require.NoError(t, l.Delete(t.Context(), "b"))
	after := putAndList(t, l, "b", noiseOf(1<<20 + 1)[:1<<20])
	require.NotEqual(t, before.ModTime, after.ModTime)

	putFile(t, l, "a", bytes.Repeat([]byte("x"), 1<<20))
	_, err = f.(io.ReaderAt).ReadAt(make([]byte, 100), 500_000)
	require.ErrorContains(t, err, "replaced while it was read")
	_, err = f.(io.ReaderAt).ReadAt(make([]byte, 100), 200)
	require.NoError(t, err, "of what is at hand")
}

// putAndList puts a file and returns how it is listed.
func putAndList(t testing.TB, l *s3location.Location, name string, content []byte) location.File {
	t.Helper()
	putFile(t, l, name, content)
	files, err := l.List(t.Context())
	require.NoError(t, err)
	for _, f := range files {
		if f.Name == name {
			return f
		}
	}
	require.Fail(t, "not listed")
	return location.File{}
}

func (s *s3Server) contexts(t *testing.T) {
	l := s.location(t)
	content := noiseOf(2 << 20)
	putFile(t, l, "a", content)
	ctx, cancel := context.WithCancel(t.Context())
	f, err := l.Open(ctx, "a")
	require.NoError(t, err)
	part := make([]byte, 1000)
	_, err = f.(io.ReaderAt).ReadAt(part, 1<<20)
	require.NoError(t, err)
	cancel()
	_, err = f.(io.ReaderAt).ReadAt(part, 1<<20+100_000)
	require.NoError(t, err)
	all, err := io.ReadAll(f)
	require.NoError(t, err)
	require.True(t, bytes.Equal(content, all))
	require.NoError(t, f.Close())
	_, err = f.Read(part)
	require.ErrorIs(t, err, fs.ErrClosed)
	require.ErrorIs(t, f.Close(), fs.ErrClosed)

	// A server that says nothing more.
	hang := make(chan struct{})
	hung := make(chan struct{}, 1)
	slow := through(l, s.client(func(next http.RoundTripper) http.RoundTripper {
		return tripper(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodGet && r.Header.Get("Range") != "bytes=0-16383" {
				hung <- struct{}{}
				select {
				case <-hang:
				case <-r.Context().Done():
					return nil, r.Context().Err()
				}
			}
			return next.RoundTrip(r)
		})
	}))
	for _, end := range []string{"context", "Close"} {
		ctx, cancel := context.WithCancel(t.Context())
		f, err := slow.Open(ctx, "a")
		require.NoError(t, err)
		go func() {
			<-hung
			if end == "context" {
				cancel()
				return
			}
			f.Close()
		}()
		_, err = f.(io.ReaderAt).ReadAt(part, 1<<20)
		require.ErrorIs(t, err, map[string]error{"context": context.Canceled, "Close": fs.ErrClosed}[end])
		f.Close()
		cancel()
	}
	close(hang)
}

type tripper func(*http.Request) (*http.Response, error)

func (f tripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A tell is a reader of nothing that calls.
type tell func()

func (f tell) Read([]byte) (int, error) {
	f()
	return 0, io.EOF
}

func (s *s3Server) killed(t *testing.T) {
	l := s.location(t)
	cmd := s.child("put and hang", l.Bucket, "")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	ready := make([]byte, 6)
	_, err = io.ReadFull(out, ready)
	require.NoError(t, err)
	require.Equal(t, "ready\n", string(ready))
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()

	require.Empty(t, fileNames(t, l))
	_, err = l.Open(t.Context(), "killed")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorIs(t, l.Delete(t.Context(), "killed"), fs.ErrNotExist)
	left := uploads(t, l)
	require.Len(t, left, 1)

	age := func(hours time.Duration) {
		found := 0
		require.NoError(t, filepath.WalkDir(filepath.Join(s.data(), l.Bucket), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Name() == left[0] {
				found++
				then := time.Now().Add(-hours * time.Hour)
				err = os.Chtimes(path, then, then)
			}
			return err
		}))
		require.Equal(t, 1, found)
	}
	age(47)
	putFile(t, through(l, l.Client), "younger", []byte("x"))
	require.Equal(t, left, uploads(t, l), "it may be under way")
	age(49)
	elsewhere := through(l, l.Client)
	elsewhere.Prefix = "backups"
	putFile(t, elsewhere, "other", []byte("x"))
	require.Equal(t, left, uploads(t, l), "it is not of that folder")
	putFile(t, through(l, l.Client), "killed", noiseOf(9<<20))
	require.Empty(t, uploads(t, l))
	require.Equal(t, []string{"killed", "younger"}, fileNames(t, l))
}

func (s *s3Server) leavesNothing(t *testing.T) {
	l := s.location(t)
	broken := errors.New("broken")
	for _, n := range []int{0, 100, 8 << 20, 20 << 20} {
		err := l.Put(t.Context(), "a", io.MultiReader(bytes.NewReader(noiseOf(n)), iotest.ErrReader(broken)))
		require.ErrorIs(t, err, broken)
		ctx, cancel := context.WithCancel(t.Context())
		more := bytes.NewReader(noiseOf(12 << 20))
		err = l.Put(ctx, "a", io.MultiReader(bytes.NewReader(noiseOf(n)), tell(cancel), more))
		require.ErrorIs(t, err, context.Canceled)
		require.NotZero(t, more.Len(), "it has read on")
		require.Empty(t, fileNames(t, l))
		require.Empty(t, uploads(t, l))
	}
	// In the middle of a request, of which the first is of the second part.
	ctx, cancel := context.WithCancel(t.Context())
	gone := through(l, s.client(func(next http.RoundTripper) http.RoundTripper {
		return tripper(func(r *http.Request) (*http.Response, error) {
			if r.URL.Query().Get("partNumber") == "2" {
				cancel()
			}
			return next.RoundTrip(r)
		})
	}))
	require.ErrorIs(t, gone.Put(ctx, "a", bytes.NewReader(noiseOf(40<<20))), context.Canceled)
	require.Empty(t, fileNames(t, l))
	require.Empty(t, uploads(t, l))
}

func (s *s3Server) cutUpload(t *testing.T) {
	l := s.location(t)
	content := noiseOf(20 << 20)
	for name, first := range map[string]string{"small": "PUT ", "part": "partNumber=2"} {
		cut := 0
		var mu sync.Mutex
		flaky := through(l, s.proxy(t, func(request string, _ int) fault {
			mu.Lock()
			defer mu.Unlock()
			if strings.HasPrefix(request, "PUT ") && strings.Contains(request, first) && cut < 2 {
				cut++
				return fault{cutUp: 1 << 20}
			}
			return fault{}
		}))
		want := content
		if name == "small" {
			want = content[:3<<20]
		}
		putFile(t, flaky, name, want)
		require.Equal(t, 2, cut)
		require.True(t, bytes.Equal(want, stored(t, l, name)))
	}
	require.Empty(t, uploads(t, l))

	// For good.
	dead := through(l, s.proxy(t, func(request string, _ int) fault {
		if strings.Contains(request, "partNumber=2") {
			return fault{cutUp: 1 << 20}
		}
		return fault{}
	}))
	err := dead.Put(t.Context(), "dead", bytes.NewReader(content))
	require.ErrorContains(t, err, "check the endpoint and the network")
	require.NotErrorIs(t, err, fs.ErrExist)
	require.Equal(t, []string{"part", "small"}, fileNames(t, l))
	require.Empty(t, uploads(t, l))
}

func (s *s3Server) cutDownload(t *testing.T) {
	l := s.location(t)
	content := noiseOf(20 << 20)
	putFile(t, l, "a", content)
	cuts := 0
	flaky := through(l, s.proxy(t, func(request string, n int) fault {
		if strings.HasPrefix(request, "GET ") && n%2 == 1 {
			cuts++
			return fault{cutDown: 5_000 << min(n, 10)}
		}
		return fault{}
	}))
	require.True(t, bytes.Equal(content, stored(t, flaky, "a")))
	require.Greater(t, cuts, 3)

	dead := false
	half := through(l, s.proxy(t, func(request string, _ int) fault {
		if dead {
			return fault{cutDown: 300}
		}
		return fault{}
	}))
	f, err := half.Open(t.Context(), "a")
	require.NoError(t, err)
	defer f.Close()
	dead = true
	n, err := io.Copy(io.Discard, f)
	require.ErrorContains(t, err, "the network")
	require.Less(t, n, int64(len(content)))
}

func (s *s3Server) lostAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		size int
		lost string
	}{
		"small":    {1000, "PUT "},
		"create":   {9 << 20, "?uploads"},
		"part":     {9 << 20, "partNumber=1"},
		"complete": {9 << 20, "POST"},
	} {
		for _, all := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", at every try: ", all), func(t *testing.T) {
				l := s.location(t)
				lost := 0
				flaky := through(l, s.proxy(t, func(request string, _ int) fault {
					hit := strings.Contains(request, c.lost) && (name != "complete" || strings.Contains(request, "uploadId="))
					if hit && (all || lost == 0) {
						lost++
						return fault{drop: true}
					}
					return fault{}
				}))
				content := noiseOf(c.size)
				err := flaky.Put(t.Context(), "a", bytes.NewReader(content))
				require.Positive(t, lost)
				if all && (name == "create" || name == "part") { // of which nobody can know
					require.ErrorContains(t, err, "check the endpoint and the network")
					require.Empty(t, fileNames(t, l))
					return
				}
				require.NoError(t, err)
				require.Equal(t, []string{"a"}, fileNames(t, l))
				require.True(t, bytes.Equal(content, stored(t, l, "a")))
				require.ErrorIs(t, flaky.Put(t.Context(), "a", bytes.NewReader(content)), fs.ErrExist, "the same from somebody else")
				if name != "create" {
					require.Empty(t, uploads(t, l))
				}
			})
		}
	}
}

func (s *s3Server) altered(t *testing.T) {
	l := s.location(t)
	for _, size := range []int{100_000, 9 << 20} {
		evil := through(l, s.proxy(t, func(request string, _ int) fault {
			if strings.HasPrefix(request, "PUT ") {
				return fault{flip: 50_000}
			}
			return fault{}
		}))
		err := evil.Put(t.Context(), "a", bytes.NewReader(noiseOf(size)))
		require.ErrorContains(t, err, "what arrived is not what was sent")
		require.Empty(t, fileNames(t, l))
		require.Empty(t, uploads(t, l))
	}
}

func (s *s3Server) overwrites(t *testing.T) {
	l := s.location(t)
	putFile(t, l, "there", []byte("x"))
	ignoring := through(l, s.client(nil, ignoreIfNoneMatch))
	err := ignoring.Put(t.Context(), "a", strings.NewReader("x"))
	require.ErrorIs(t, err, errors.ErrUnsupported)
	require.ErrorContains(t, err, "overwrites in spite of If-None-Match")
	require.ErrorIs(t, ignoring.Put(t.Context(), "there", strings.NewReader("y")), fs.ErrExist)
	require.Equal(t, []string{"there"}, fileNames(t, l))
}

func (s *s3Server) says(t *testing.T) {
	l := s.location(t)
	putFile(t, l, "a", noiseOf(100))
	wrong := through(l, s.client(nil, func(o *s3.Options) {
		o.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: s3Access, SecretAccessKey: "other-secret"}, nil
		})
	}))
	missing := through(l, l.Client)
	missing.Bucket = "no-such-bucket"
	nowhere := through(l, s3Client("unix", filepath.Join(s.dir, "nothing"), nil))
	for _, c := range []struct {
		l    *s3location.Location
		says string
		api  bool
	}{
		{wrong, "check the credentials of the client", true},
		{missing, "there is no such bucket", true},
		{nowhere, "check the endpoint and the network", false},
	} {
		_, err := c.l.List(t.Context())
		require.ErrorContains(t, err, c.says)
		require.ErrorContains(t, err, c.l.String())
		_, opened := c.l.Open(t.Context(), "a")
		require.ErrorContains(t, opened, c.says)
		require.ErrorContains(t, opened, c.l.String()+"/a")
		putErr := c.l.Put(t.Context(), "b", strings.NewReader("x"))
		require.Error(t, putErr)
		deleted := c.l.Delete(t.Context(), "a")
		require.Error(t, deleted)
		for _, err := range []error{err, opened, putErr, deleted} {
			var api smithy.APIError
			if c.api && !errors.Is(err, fs.ErrNotExist) {
				require.ErrorAs(t, err, &api)
			}
			for _, secret := range []string{s3Secret, "other-secret", s3Access, "Signature"} {
				require.NotContains(t, strings.ReplaceAll(err.Error(), "SignatureDoesNotMatch", ""), secret)
			}
		}
	}
}

func (s *s3Server) manage(t *testing.T) {
	h := newHost(t, 30)
	db := h.open(t)
	m := h.quickManager(db)
	l := s.location(t)
	for _, locations := range [][]location.Location{{h.folder("a"), l}, {l}} {
		m.Locations = locations
		before := state(t, db)
		made := create(t, m, backup.BackupOptions{})
		require.Len(t, made.Copies, len(locations))
		change(t, db)
		changed := state(t, db)

		_, err := m.Restore(t.Context(), openBackup(t, m, made.Name), backup.RestoreOptions{Strategy: backup.Replace})
		require.NoError(t, err)
		is(t, state(t, db), before)
		_, err = m.Undo(t.Context())
		require.NoError(t, err)
		is(t, state(t, db), changed)
		copies, err := m.Verify(t.Context(), made.Name)
		require.NoError(t, err)
		for _, c := range copies {
			require.NoError(t, c.Err)
		}

		for range 4 {
			create(t, m, backup.BackupOptions{})
		}
		_, err = m.Prune(t.Context(), manager.PruneOptions{Manual: true})
		require.NoError(t, err)
		list, err := m.List(t.Context())
		require.NoError(t, err)
		kept := 0
		for _, b := range list {
			require.Len(t, b.Copies, len(locations), b.Name)
			require.False(t, b.Damaged)
			if b.Trigger != manager.TriggerBeforeRestore {
				kept++
			}
		}
		require.Equal(t, 3, kept)
		for _, name := range fileNames(t, l) {
			require.NotContains(t, name, ".lease", "nobody is at it any more")
		}
		exec(t, db, `DELETE FROM repositories WHERE id = 'new'`)
	}
}

func (s *s3Server) encrypted(t *testing.T) {
	h := newHost(t, 200)
	h.pack(t)
	db := h.open(t)
	m := h.quickManager(db)
	l := s.location(t)
	count := &tally{}
	l.Client = s.client(count.over)
	m.Locations = []location.Location{l}
	before := state(t, db)
	made := create(t, m, backup.BackupOptions{})
	require.True(t, made.Manifest.Encrypted)
	require.NotContains(t, string(stored(t, l, made.Name)), "created_at")
	change(t, db)
	_, err := m.Restore(t.Context(), openBackup(t, m, made.Name), backup.RestoreOptions{Strategy: backup.Replace})
	require.NoError(t, err)
	is(t, state(t, db), before)

	fresh := h.quickManager(db)
	fresh.Locations = m.Locations
	count.reset()
	list, err := fresh.List(t.Context())
	require.NoError(t, err)
	requests, _ := count.reset()
	require.LessOrEqual(t, requests["GET"], 1+len(list), "the note of each, and the list")
	for _, b := range list {
		require.NotNil(t, b.Manifest)
	}
}

func (s *s3Server) lists(t *testing.T) {
	h := newHost(t, 300)
	db := h.open(t)
	m := h.quickManager(db)
	l := s.location(t)
	made := create(t, m, backup.BackupOptions{})
	f, err := h.folder("a").Open(t.Context(), made.Name)
	require.NoError(t, err)
	content, err := io.ReadAll(f)
	require.NoError(t, errors.Join(err, f.Close()))
	require.Greater(t, len(content), 200_000)
	const backups = 20
	for i := range backups {
		putFile(t, l, tomoApp.BackupName(made.CreatedAt.Add(time.Duration(-i)*time.Hour)), content)
	}

	count := &tally{}
	fresh := h.quickManager(db)
	fresh.Locations = []location.Location{through(l, s.client(count.over))}
	list, err := fresh.List(t.Context())
	require.NoError(t, err)
	require.Len(t, list, backups)
	for _, b := range list {
		require.NotNil(t, b.Manifest)
		require.NotEmpty(t, b.Manifest.Records)
	}
	requests, read := count.reset()
	t.Logf("%d backups of %d bytes: %v, %d bytes read", backups, len(content), requests, read)
	require.LessOrEqual(t, requests["GET"], 1+2*backups)
	require.Less(t, read, int64(backups*40<<10))

	_, err = fresh.List(t.Context())
	require.NoError(t, err)
	requests, _ = count.reset()
	require.Equal(t, map[string]int{"GET": 1}, requests, "what was seen is remembered")
}

func (s *s3Server) share(t *testing.T) {
	l := s.location(t)
	h := newHost(t, 10)
	m := h.quickManager(h.open(t))
	m.Locations = []location.Location{l}
	var stop, wait []func() error
	for range 3 {
		cmd := s.child("run", l.Bucket, newHost(t, 10).dir)
		in, err := cmd.StdinPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		stop, wait = append(stop, in.Close), append(wait, cmd.Wait)
	}
	backups := func() (n int) {
		for _, name := range fileNames(t, l) {
			if _, ok := tomoApp.ParseBackupName(name); ok {
				n++
			}
		}
		return n
	}
	for start := time.Now(); backups() < 7 && time.Since(start) < time.Minute; {
		time.Sleep(100 * time.Millisecond)
	}
	for _, do := range append(stop, wait...) {
		require.NoError(t, do())
	}
	list, err := m.List(t.Context())
	require.NoError(t, err)
	slots := map[string]string{}
	for _, b := range list {
		require.Equal(t, manager.TriggerScheduled, b.Trigger)
		require.False(t, b.Damaged)
		slot := b.Manifest.Metadata["scheduled_for"]
		require.Empty(t, slots[slot], "two backups for one time")
		slots[slot] = b.Name
	}
	t.Logf("%d backups", len(slots))
	require.GreaterOrEqual(t, len(slots), 6)
	for _, name := range fileNames(t, l) {
		require.NotContains(t, name, ".lease")
	}
}
