package s3location

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithy "github.com/aws/smithy-go"
	"github.com/stretchr/testify/require"
)

// The real tests are those against a server, in internal/integration.

const access, secretKey = "AKIDEXAMPLE", "wJalrXUtnFEMI"

func locationAt(t *testing.T, h http.HandlerFunc) *Location {
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return &Location{Bucket: "bucket", Prefix: "folder", Client: s3.New(s3.Options{
		BaseEndpoint: &server.URL, Region: "us-east-1", UsePathStyle: true, Retryer: aws.NopRetryer{},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: access, SecretAccessKey: secretKey}, nil
		}),
	})}
}

func answer(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Set("X-Amz-Bucket-Region", "eu-north-1")
	w.WriteHeader(status)
	fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>%s</Message><AWSAccessKeyId>%s</AWSAccessKeyId></Error>`, code, message, access)
}

func TestErrorsSayWhatToDoAndHoldNoSecret(t *testing.T) {
	for _, c := range []struct {
		status  int
		code    string
		message string
		says    string
		is      error
	}{
		{403, "AccessDenied", "Access Denied", "the policy must allow s3:ListBucket", fs.ErrPermission},
		{403, "AccessDenied", "Request has expired", "set the clock", nil},
		{403, "RequestTimeTooSkewed", "The difference is too large", "set the clock", nil},
		{403, "SignatureDoesNotMatch", "of " + access + " with " + secretKey, "check the credentials", fs.ErrPermission},
		{403, "InvalidAccessKeyId", "no " + access, "check the credentials", fs.ErrPermission},
		{400, "ExpiredToken", "expired", "check the credentials", fs.ErrPermission},
		{404, "NoSuchBucket", "The specified bucket does not exist", "there is no such bucket", nil},
		{301, "PermanentRedirect", "elsewhere", "another region; set the region and endpoint of the client (eu-north-1)", nil},
		{400, "AuthorizationHeaderMalformed", "expecting " + access, "another region", nil},
		{501, "NotImplemented", "A header", "WhenRequired", errors.ErrUnsupported},
		{503, "SlowDown", "Please reduce your request rate", "try again later", nil},
		{400, "Odd", "see https://x.example.org/?X-Amz-Signature=" + secretKey + "&amp;X-Amz-Credential=" + access, "Odd (see ", nil},
		{400, "Odd", "line\nbreak " + strings.Repeat("x", 1000), "line break xxx", nil},
	} {
		l := locationAt(t, func(w http.ResponseWriter, r *http.Request) { answer(w, c.status, c.code, c.message) })
		_, err := l.List(t.Context())
		require.ErrorContains(t, err, c.says)
		require.ErrorContains(t, err, "list s3://bucket/folder: "+c.code)
		require.NotContains(t, err.Error(), access)
		require.NotContains(t, err.Error(), secretKey)
		require.NotContains(t, err.Error(), "\n")
		require.Less(t, len(err.Error()), 700)
		var api smithy.APIError
		require.ErrorAs(t, err, &api)
		require.Equal(t, c.code, api.ErrorCode())
		for _, kind := range []error{fs.ErrPermission, errors.ErrUnsupported, fs.ErrExist, fs.ErrNotExist, context.DeadlineExceeded} {
			require.Equal(t, kind == c.is, errors.Is(err, kind), "%v: %v", err, kind)
		}
	}
}

func TestADeleteThatALockForbidsIsAnError(t *testing.T) {
	l := locationAt(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodDelete {
			answer(w, 403, "AccessDenied", "object is locked")
		}
	})
	err := l.Delete(t.Context(), "a")
	require.ErrorIs(t, err, fs.ErrPermission)
	require.ErrorContains(t, err, "no lock may protect the file")
}

func TestCredentialsThatCannotBeHadAreAnError(t *testing.T) {
	l := &Location{Bucket: "bucket", Client: s3.New(s3.Options{Region: "us-east-1", Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{}, errors.New("the vault is closed")
	})})}
	_, err := l.List(t.Context())
	require.ErrorContains(t, err, "list s3://bucket: ")
	require.ErrorContains(t, err, "the vault is closed")
}

func TestALimitThatIsNotTheCallersIsNoContextError(t *testing.T) {
	release := make(chan struct{})
	l := locationAt(t, func(w http.ResponseWriter, r *http.Request) { <-release })
	defer close(release)
	quick := l.Client.Options()
	quick.HTTPClient = &http.Client{Timeout: 20 * time.Millisecond}
	l.Client = s3.New(quick)
	_, err := l.List(t.Context())
	require.ErrorContains(t, err, "the service does not answer")
	require.NotErrorIs(t, err, context.DeadlineExceeded)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err = l.List(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestALocationThatIsNotSetUpIsRefused(t *testing.T) {
	client := s3.New(s3.Options{Region: "us-east-1"})
	for _, l := range []*Location{
		{}, {Client: client}, {Bucket: "bucket"}, {Client: client, Bucket: "bucket", Prefix: "/a"}, {Client: client, Bucket: "bucket", Prefix: "a//"},
		{Client: client, Bucket: "bucket", Prefix: "../a"}, {Client: client, Bucket: "bucket", Prefix: "."}, {Client: client, Bucket: "bucket", Prefix: "/"},
	} {
		_, err := l.List(t.Context())
		require.ErrorIs(t, err, fs.ErrInvalid)
		require.ErrorIs(t, l.Put(t.Context(), "a", strings.NewReader("x")), fs.ErrInvalid)
		_, err = l.Open(t.Context(), "a")
		require.ErrorIs(t, err, fs.ErrInvalid)
		require.ErrorIs(t, l.Delete(t.Context(), "a"), fs.ErrInvalid)
	}
}

// A service that says 409 has not said that there is a file.
func TestAPutThatConflictsWithADeleteIsTriedAgain(t *testing.T) {
	puts := 0
	l := locationAt(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodHead:
			w.WriteHeader(404)
		case r.Method == http.MethodPut:
			switch puts++; puts {
			case 1, 2:
				answer(w, 409, "ConditionalRequestConflict", "try again")
			case 4:
				answer(w, 412, "PreconditionFailed", "it is there")
			}
		}
	})
	require.NoError(t, l.Put(t.Context(), "a", strings.NewReader("x")))
	require.Equal(t, 4, puts)

	puts = -100
	l.Client = locationAt(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			w.WriteHeader(404)
			return
		}
		answer(w, 409, "ConditionalRequestConflict", "try again")
	}).Client
	err := l.Put(t.Context(), "a", strings.NewReader("x"))
	require.ErrorIs(t, err, fs.ErrExist)
	require.ErrorContains(t, err, "another Put or Delete of the name is under way")
	require.ErrorContains(t, err, "ConditionalRequestConflict (try again)")
}

func TestOnlyAConflictIsCalledOne(t *testing.T) {
	for code, says := range map[string]string{
		"ObjectParentIsFile":        "a file has the name of the folder",
		"ExistingObjectIsDirectory": "a folder has the name of the file",
		"InvalidBucketState":        "put s3://bucket/folder/a: InvalidBucketState (no)",
	} {
		puts := 0
		l := locationAt(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodHead {
				w.WriteHeader(404)
				return
			}
			if r.Method == http.MethodPut {
				puts++
			}
			answer(w, 409, code, "no")
		})
		err := l.Put(t.Context(), "a", strings.NewReader("x"))
		require.ErrorContains(t, err, code+" (no)")
		require.ErrorContains(t, err, says)
		require.NotContains(t, err.Error(), "under way")
		require.Equal(t, code == "ExistingObjectIsDirectory", errors.Is(err, fs.ErrExist))
		require.Equal(t, 1, puts)
	}
}

func TestAServiceThatHasStoredSomethingElseIsNotBelieved(t *testing.T) {
	id, deleted := "", false
	l := locationAt(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodHead:
			if id == "" {
				w.WriteHeader(404)
				return
			}
			w.Header().Set("X-Amz-Meta-Backup-Put", id)
			w.Header().Set("Content-Length", "1")
		case http.MethodPut:
			id = r.Header.Get("X-Amz-Meta-Backup-Put")
			require.Equal(t, "*", r.Header.Get("If-None-Match"))
			w.Header().Set("X-Amz-Checksum-Sha256", "LCa0a2j/xo/5m0U8HTBBNBNCLXBkg7+g+YpeiGJm564=") // of "foo"
		case http.MethodDelete:
			deleted = true
			w.WriteHeader(204)
		}
	})
	err := l.Put(t.Context(), "a", strings.NewReader("x"))
	require.ErrorContains(t, err, "has stored something else than what was sent")
	require.True(t, deleted)
}

func TestAServiceWithoutRangesIsRefused(t *testing.T) {
	content := bytes.Repeat([]byte("x"), 20_000)
	l := locationAt(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(content)
	})
	_, err := l.Open(t.Context(), "a")
	require.ErrorIs(t, err, errors.ErrUnsupported)
	content = content[:100]
	f, err := l.Open(t.Context(), "a")
	require.NoError(t, err)
	got, err := io.ReadAll(f)
	require.NoError(t, err)
	require.Equal(t, content, got)
}

func TestPartsGrowSoThatTheyAreEnough(t *testing.T) {
	total := int64(0)
	for n := 1; n <= maxParts; n++ {
		total += int64(partBytes(n))
		require.GreaterOrEqual(t, partBytes(n), 5<<20, "the least of S3")
		require.LessOrEqual(t, partBytes(n), 256<<20)
		if total < 16<<30 {
			require.Equal(t, firstPart, partBytes(n))
		}
	}
	require.Greater(t, total, int64(500<<30))
}
