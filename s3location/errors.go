package s3location

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"

	smithy "github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

var (
	errNoAnswer = errors.New("the service does not answer; check the endpoint and the network")
	errTaken    = fmt.Errorf("the name is taken: %w", fs.ErrExist)
)

// failed says what went wrong and what to do about it. If name is empty, the
// error is about the Location as a whole.
func (l *Location) failed(ctx context.Context, op, name string, err error) error {
	where := "s3://" + l.Bucket + "/" + l.prefix() + name
	if name == "" {
		where = l.String()
	}
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%s %s: %w", op, where, ctx.Err())
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		// The deadline is one of ours or of the client, and not of the caller.
		return fmt.Errorf("%s %s: %w", op, where, errNoAnswer)
	}
	return fmt.Errorf("%s %s: %w", op, where, explain(op, err))
}

// A failure is an error of the service, or on the way to it, with a text that
// is safe to show.
type failure struct {
	text string
	errs []error
}

func (f *failure) Error() string   { return f.text }
func (f *failure) Unwrap() []error { return f.errs }

// status returns the status of the answer that caused an error, or 0 if there
// was no answer.
func status(err error) int {
	var r *smithyhttp.ResponseError
	if errors.As(err, &r) {
		return r.HTTPStatusCode()
	}
	return 0
}

// permissions are the permissions that each operation needs.
var permissions = map[string]string{
	"put":    "s3:PutObject, s3:GetObject, s3:AbortMultipartUpload and s3:ListBucket",
	"open":   "s3:GetObject and s3:ListBucket",
	"read":   "s3:GetObject",
	"list":   "s3:ListBucket",
	"delete": "s3:DeleteObject, s3:GetObject and s3:ListBucket",
}

// explain returns errors unchanged that do not come from the SDK.
func explain(op string, err error) error {
	if f, ok := err.(*failure); ok {
		return f
	}
	var api smithy.APIError
	if !errors.As(err, &api) {
		return reach(err)
	}
	text, errs := said(api), []error{err}
	advise := func(advice string, kinds ...error) error {
		return &failure{text + "; " + advice, append(errs, kinds...)}
	}
	code, status := api.ErrorCode(), status(err)
	switch {
	case code == "NoSuchBucket":
		return advise("there is no such bucket; check its name, and the region and endpoint of the client")
	case code == "NoSuchKey", code == "NotFound" && status == http.StatusNotFound:
		return &failure{"there is no such file", append(errs, fs.ErrNotExist)}
	case code == "NoSuchUpload":
		return advise("somebody aborted the upload; check the rules of the bucket")
	case code == "RequestTimeTooSkewed", code == "RequestExpired", code == "AccessDenied" && strings.Contains(api.ErrorMessage(), "expired"):
		return advise("set the clock of this machine")
	case code == "SignatureDoesNotMatch", code == "InvalidAccessKeyId", code == "InvalidToken", code == "ExpiredToken", code == "InvalidSecurity":
		// The answer to such a request may repeat secrets.
		text = code
		return advise("check the credentials of the client", fs.ErrPermission)
	case code == "PermanentRedirect", code == "TemporaryRedirect", code == "AuthorizationHeaderMalformed", code == "IllegalLocationConstraintException", code == "MovedPermanently", status == http.StatusMovedPermanently:
		text = code
		return advise("the bucket is in another region; set the region and endpoint of the client" + region(err))
	case code == "Forbidden": // the answer to HEAD has no body, so the cause is not known
		return advise("check the credentials of the client and the clock of this machine; the policy must allow "+permissions[op], fs.ErrPermission)
	case status == http.StatusForbidden && op == "delete":
		return advise("the policy must allow "+permissions[op]+", and no lock may protect the file", fs.ErrPermission)
	case status == http.StatusForbidden:
		return advise("the policy must allow "+permissions[op], fs.ErrPermission)
	case code == "BadRequest": // the answer to HEAD too
		return advise("check the region and the credentials of the client, and the clock of this machine")
	case code == "ExistingObjectIsDirectory":
		return advise("a folder has the name of the file", fs.ErrExist)
	case code == "ObjectParentIsFile":
		return advise("a file has the name of the folder; remove the file, or use another Prefix")
	case code == "PreconditionFailed" && op == "read":
		return advise("the file was replaced while it was read; read it again")
	case code == "InvalidObjectState":
		return advise("the file is in an archive; take it out of the archive, and let no rule of the bucket move backups there")
	case code == "BadDigest", code == "XAmzContentChecksumMismatch", code == "XAmzContentSHA256Mismatch":
		return advise("what arrived is not what was sent; try again")
	case code == "NotImplemented", status == http.StatusNotImplemented:
		return advise("the service lacks a needed feature; if it does not know checksums, set RequestChecksumCalculation of the client to WhenRequired", errors.ErrUnsupported)
	case status >= 500:
		return advise("try again later")
	}
	return &failure{text, errs}
}

// said returns what the service said, as its code and its text.
func said(api smithy.APIError) string {
	code := shown(api.ErrorCode())
	if text := shown(api.ErrorMessage()); text != "" && text != code {
		return code + " (" + text + ")"
	}
	return code
}

// conflicts are the codes by which services say that another request of the same
// name is under way. They answer with the status 409 for other reasons too.
var conflicts = []string{"ConditionalRequestConflict", "OperationAborted", "ConcurrentModification"}

// conflict returns nil unless an error says that another Put or Delete of the
// name is under way.
func conflict(err error) error {
	var api smithy.APIError
	if !errors.As(err, &api) || !slices.Contains(conflicts, api.ErrorCode()) {
		return nil
	}
	return &failure{errConflict.Error() + ": " + said(api), []error{errConflict, err}}
}

// reach explains an error on the way to the service.
func reach(err error) error {
	var op *smithy.OperationError
	if !errors.As(err, &op) {
		return err
	}
	var request *url.Error
	if errors.As(err, &request) {
		return &failure{"the service cannot be reached: " + shown(request.Err.Error()) + "; check the endpoint and the network", []error{err}}
	}
	return &failure{shown(op.Err.Error()), []error{err}}
}

// region returns the region in which the bucket is, if the service says it.
func region(err error) string {
	var r *smithyhttp.ResponseError
	if errors.As(err, &r) && r.Response != nil {
		if name := r.Response.Header.Get("X-Amz-Bucket-Region"); name != "" {
			return " (" + shown(name) + ")"
		}
	}
	return ""
}

var secret = regexp.MustCompile(`(?i)(x-amz-[a-z-]+|awsaccesskeyid|signature|credential)=[^&,\s"']+|//[^/@\s]+@`)

// shown makes a text from outside safe to show.
func shown(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, secret.ReplaceAllString(text, "…"))
	if len(text) > 300 {
		text = strings.ToValidUTF8(text[:300], "") + "…"
	}
	return text
}
