//go:build !race

package integration

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/stretchr/testify/require"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/testtime"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/s3location"
)

const s3Access, s3Secret = "access-of-the-test", "secret-of-the-test"

// An s3Server is a real one, in a process of its own: it changes its working
// directory. It keeps what it has in a folder.
type s3Server struct {
	dir, socket string
	buckets     atomic.Int64
}

// startS3 starts the server for a test. Where it cannot start the test is skipped,
// and with BACKUP_REQUIRE_SERVICES=1 it fails.
func startS3(t *testing.T) *s3Server {
	t.Helper()
	s := &s3Server{dir: testtime.MemoryDir(t)}
	s.socket = filepath.Join(s.dir, "socket")
	require.NoError(t, os.Mkdir(s.data(), 0o700))
	cmd := s.child("serve", "", s.dir)
	var says bytes.Buffer
	cmd.Stdout, cmd.Stderr = &says, &says
	lives, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		conn, err := net.Dial("unix", s.socket)
		if err == nil {
			conn.Close()
			break
		}
		select {
		case <-ended:
			if os.Getenv("BACKUP_REQUIRE_SERVICES") == "1" {
				t.Fatalf("the S3 server does not start, and BACKUP_REQUIRE_SERVICES=1 requires it: %s", &says)
			}
			t.Skipf("the S3 server does not start; set BACKUP_REQUIRE_SERVICES=1 to be sure that nothing is skipped: %s", &says)
		case <-time.After(5 * time.Millisecond):
		}
	}
	t.Cleanup(func() {
		lives.Close()
		<-ended
	})
	return s
}

func (s *s3Server) data() string { return filepath.Join(s.dir, "data") }

// serveS3 is the server, until standard input ends.
func serveS3(socket, data string) error {
	if err := (meta.XattrMeta{}).Test(data); err != nil {
		return err
	}
	gateway, err := posix.New(data, meta.XattrMeta{}, posix.PosixOpts{})
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	return embedgw.RunVersityGW(context.Background(), gateway, &embedgw.Config{
		RootUserAccess: s3Access, RootUserSecret: s3Secret, Ports: []string{socket}, Quiet: true, KeepAlive: true,
		MaxConnections: 1000, MaxRequests: 1000, MultipartMaxParts: 10000,
	})
}

// s3ChildVariable makes TestS3Child a process of its own: it holds what to do, the
// socket of the server, a bucket and a folder.
const s3ChildVariable = "TOMO_INTEGRATION_S3_CHILD"

func (s *s3Server) child(what, bucket, dir string) *osexec.Cmd {
	cmd := osexec.Command(os.Args[0], "-test.run=^TestS3Child$")
	cmd.Env = append(os.Environ(), s3ChildVariable+"="+strings.Join([]string{what, s.socket, bucket, dir}, "\n"))
	cmd.Stderr = os.Stderr
	return cmd
}

func TestS3Child(t *testing.T) {
	job := strings.Split(os.Getenv(s3ChildVariable), "\n")
	if len(job) < 4 {
		return // it is a part of TestS3
	}
	what, socket, bucket, dir := job[0], job[1], job[2], job[3]
	l := &s3location.Location{Client: s3Client("unix", socket, nil), Bucket: bucket, Prefix: "backups/tomo"}
	switch what {
	case "serve":
		require.NoError(t, serveS3(socket, filepath.Join(dir, "data")))
	case "put and hang":
		stop := tell(func() {
			fmt.Println("ready")
			select {}
		})
		_ = l.Put(t.Context(), "killed", io.MultiReader(bytes.NewReader(noiseOf(30<<20)), stop))
	case "run":
		h := host{dir}
		m := h.quickManager(h.open(t))
		m.Locations = []location.Location{l}
		m.Schedule, m.Retention = everySecond{}, backup.Retention{}
		enough := make(chan struct{})
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			close(enough)
		}()
		const each = 1300 * time.Millisecond
		for {
			select {
			case <-enough:
				return
			default:
			}
			// One that has found another at work would wait for a minute.
			ctx, cancel := context.WithTimeout(t.Context(), each)
			require.ErrorIs(t, m.Run(ctx), context.DeadlineExceeded)
			cancel()
		}
	}
}

// client returns a client of the server, whose requests go through adapt if that
// is not nil.
func (s *s3Server) client(adapt func(http.RoundTripper) http.RoundTripper, options ...func(*s3.Options)) *s3.Client {
	return s3Client("unix", s.socket, adapt, options...)
}

func s3Client(network, address string, adapt func(http.RoundTripper) http.RoundTripper, options ...func(*s3.Options)) *s3.Client {
	var transport http.RoundTripper = &http.Transport{
		MaxIdleConnsPerHost: 32, DisableKeepAlives: network == "tcp",
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}
	if adapt != nil {
		transport = adapt(transport)
	}
	return s3.New(s3.Options{
		BaseEndpoint: aws.String("http://s3.example.org"), Region: "us-east-1", UsePathStyle: true,
		HTTPClient: &http.Client{Transport: transport},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: s3Access, SecretAccessKey: s3Secret}, nil
		}),
	}, options...)
}

// location returns a new location, in a bucket of its own.
func (s *s3Server) location(t testing.TB) *s3location.Location {
	t.Helper()
	l := &s3location.Location{Client: s.client(nil), Bucket: fmt.Sprintf("bucket-%d", s.buckets.Add(1)), Prefix: "backups/tomo"}
	_, err := l.Client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &l.Bucket})
	require.NoError(t, err)
	return l
}

// through is the same location, reached in another way.
func through(l *s3location.Location, c *s3.Client) *s3location.Location {
	return &s3location.Location{Client: c, Bucket: l.Bucket, Prefix: l.Prefix}
}

// uploads are the numbers of the uploads that are not complete.
func uploads(t testing.TB, l *s3location.Location) []string {
	t.Helper()
	out, err := l.Client.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: &l.Bucket})
	require.NoError(t, err)
	numbers := []string{}
	for _, u := range out.Uploads {
		numbers = append(numbers, aws.ToString(u.UploadId))
	}
	return numbers
}

// A tally counts requests and the bytes of their answers.
type tally struct {
	next     http.RoundTripper
	mu       sync.Mutex
	requests map[string]int // by method
	bytes    int64
}

func (c *tally) over(next http.RoundTripper) http.RoundTripper {
	c.next = next
	return c
}

func (c *tally) RoundTrip(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	if c.requests == nil {
		c.requests = map[string]int{}
	}
	c.requests[r.Method]++
	c.mu.Unlock()
	answer, err := c.next.RoundTrip(r)
	if err == nil {
		answer.Body = &tallied{answer.Body, c}
	}
	return answer, err
}

type tallied struct {
	io.ReadCloser
	c *tally
}

func (b *tallied) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.c.mu.Lock()
	b.c.bytes += int64(n)
	b.c.mu.Unlock()
	return n, err
}

// reset begins anew and returns what was counted.
func (c *tally) reset() (requests map[string]int, bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	requests, bytes = c.requests, c.bytes
	c.requests, c.bytes = nil, 0
	return requests, bytes
}

// A fault is what a proxy does to a connection; zero fields are nothing.
type fault struct {
	cutUp   int64 // after so many bytes to the server
	cutDown int64 // after so many bytes from it
	drop    bool  // cut when the answer comes
	flip    int64 // the byte that is altered on its way to the server
}

// proxy returns a client whose connections, one a request, go through a proxy.
// plan says what to do to one by its first line and its number.
func (s *s3Server) proxy(t *testing.T, plan func(request string, n int) fault) *s3.Client {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for n := 1; ; n++ {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go s.pass(conn, n, plan)
		}
	}()
	return s3Client("tcp", listener.Addr().String(), nil)
}

func (s *s3Server) pass(client net.Conn, n int, plan func(string, int) fault) {
	defer client.Close()
	in := bufio.NewReaderSize(client, 64<<10)
	head, err := in.ReadString('\n')
	if err != nil {
		return
	}
	f := plan(strings.TrimSpace(head), n)
	server, err := net.Dial("unix", s.socket)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		up := io.MultiReader(strings.NewReader(head), in)
		if f.flip > 0 {
			up = &flipping{r: up, at: f.flip}
		}
		if f.cutUp > 0 {
			_, _ = io.CopyN(server, up, f.cutUp)
			client.Close()
			server.Close()
			return
		}
		_, _ = io.Copy(server, up)
	}()
	switch {
	case f.drop:
		_, _ = server.Read(make([]byte, 1))
	case f.cutDown > 0:
		_, _ = io.CopyN(client, server, f.cutDown)
	default:
		_, _ = io.Copy(client, server)
	}
}

// A flipping reader alters one byte.
type flipping struct {
	r  io.Reader
	at int64
}

func (f *flipping) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if f.at >= 0 && f.at < int64(n) {
		p[f.at] ^= 1
	}
	f.at -= int64(n)
	return n, err
}

// stored reads a file to its end.
func stored(t testing.TB, l *s3location.Location, name string) []byte {
	t.Helper()
	f, err := l.Open(t.Context(), name)
	require.NoError(t, err)
	defer f.Close()
	content, err := io.ReadAll(f)
	require.NoError(t, err)
	return content
}

func putFile(t testing.TB, l *s3location.Location, name string, content []byte) {
	t.Helper()
	require.NoError(t, l.Put(t.Context(), name, bytes.NewReader(content)))
}

// fileNames lists a location.
func fileNames(t testing.TB, l *s3location.Location) []string {
	t.Helper()
	files, err := l.List(t.Context())
	require.NoError(t, err)
	names := []string{}
	for _, f := range files {
		names = append(names, f.Name)
	}
	return names
}

// ignoreIfNoneMatch makes of the server one that does not know this condition.
func ignoreIfNoneMatch(o *s3.Options) {
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		return stack.Build.Add(middleware.BuildMiddlewareFunc("ignoreIfNoneMatch", func(ctx context.Context, in middleware.BuildInput, next middleware.BuildHandler) (middleware.BuildOutput, middleware.Metadata, error) {
			if r, ok := in.Request.(*smithyhttp.Request); ok {
				r.Header.Del("If-None-Match")
			}
			return next.HandleBuild(ctx, in)
		}), middleware.After)
	})
}
