package backuphttp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/envelope"
)

// What is done with every request and every response.

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.given() != nil {
		http.Error(w, "the page was not set up", http.StatusInternalServerError)
		return
	}
	out := &patientWriter{ResponseWriter: w, control: http.NewResponseController(w), patience: h.patience}
	for name, value := range headers {
		w.Header().Set(name, value)
	}
	below := h.below(r)
	defer out.deadline() // for what the server sends after this; the server removes it
	defer h.recovered(out, below)
	if r.Body != nil && r.Body != http.NoBody {
		body := h.patientBody(out, r.Body)
		defer body.end(false)
		below.Body = http.MaxBytesReader(w, body, h.mostBytes(r))
	}
	if isAPI(below) {
		h.api.ServeHTTP(out, below)
	} else {
		h.page.ServeHTTP(out, below)
	}
}

func isAPI(below *http.Request) bool {
	return below.URL.Path == "/api" || strings.HasPrefix(below.URL.Path, "/api/")
}

// headers are the headers of every response.
var headers = map[string]string{
	"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
		"form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
	"X-Content-Type-Options":     "nosniff",
	"Referrer-Policy":            "no-referrer",
	"Cross-Origin-Opener-Policy": "same-origin",
	"Cache-Control":              "no-store",
}

// allow calls next if Authorize allows the action, and else answers with an error.
func (h *Handler) allow(a Action, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch err := h.opts.Authorize(r, a); {
		case errors.Is(err, ErrLogin):
			if h.opts.Login != "" && !isAPI(r) {
				http.Redirect(w, r, h.opts.Login, http.StatusSeeOther)
				return
			}
			h.deny(w, r, &refusal{status: http.StatusUnauthorized, code: "login", text: "nobody is logged in"})
		case err != nil:
			h.deny(w, r, &refusal{status: http.StatusForbidden, code: "forbidden", text: "you are not allowed to do that"})
		default:
			if err := h.guard.Check(asSent(r)); err != nil {
				h.deny(w, r, &refusal{status: http.StatusForbidden, code: "cross_origin", text: "a page of another site has sent this request"})
				return
			}
			leave, err := h.admit(r)
			if err != nil {
				if r.ProtoMajor == 1 {
					w.Header().Set("Connection", "close") // the answer does not wait for the body, which nobody reads
				}
				h.deny(w, r, err)
				return
			}
			defer leave()
			next.ServeHTTP(w, r)
		}
	})
}

// admit refuses a body before any of it is read, if it is announced to be too large, or
// if it is an upload and there are too many. The caller calls leave at the end.
func (h *Handler) admit(r *http.Request) (leave func(), err error) {
	if r.Method == http.MethodGet || r.Method == http.MethodHead { // nobody reads a body
		return func() {}, nil
	}
	if most := h.mostBytes(r); r.ContentLength > most {
		return nil, &http.MaxBytesError{Limit: min(most, h.mostUpload())}
	}
	if !isUpload(r) {
		return func() {}, nil
	}
	leave, ok := h.uploads.enter(h.clientOf(r))
	if !ok {
		return nil, tooMany(fmt.Sprintf("%d uploads are under way, and more are not possible at a time; try again when one of them has ended", mostUploads), time.Minute)
	}
	r.Body = &pacedBody{ReadCloser: r.Body, pace: pace{began: time.Now()}}
	return leave, nil
}

// deny answers a request that is not allowed. A person gets a page, with a way back.
func (h *Handler) deny(w http.ResponseWriter, r *http.Request, err error) {
	if isAPI(r) {
		h.refuse(w, r, err)
		return
	}
	h.people.showError(w, r, err)
}

// retryAfter tells the client when to try again, if the error says when.
func retryAfter(w http.ResponseWriter, err error) {
	if refusal, ok := errors.AsType[*refusal](err); ok && refusal.again > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(refusal.again))
	}
}

// refuse answers with an error: a program gets JSON, everybody else gets text.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	status, code := classify(err)
	retryAfter(w, err)
	if isAPI(r) {
		answer(w, status, struct {
			Error   string                `json:"error"`
			Code    string                `json:"code"`
			Records []*backup.RecordError `json:"records,omitempty"`
		}{h.words(err), code, recordsOf(err)})
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprintln(w, h.words(err))
}

// answer answers with JSON.
func answer(w http.ResponseWriter, status int, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	w.Write(text)
}

// recovered turns a panic into an error.
func (h *Handler) recovered(w *patientWriter, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if p != http.ErrAbortHandler {
		err := h.hide("serve "+r.Method+" "+r.URL.Path, fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		if !w.begun {
			h.refuse(w, r, err)
			return
		}
	}
	panic(http.ErrAbortHandler) // the client must see that the response is not complete
}

// isUpload tells whether the body of a request is a file.
func isUpload(r *http.Request) bool {
	return r.Method == http.MethodPost && (r.URL.Path == "/upload" || r.URL.Path == "/api/uploads")
}

// mostBytes returns the largest size of the body of a request.
func (h *Handler) mostBytes(r *http.Request) int64 {
	const most = 1 << 20
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case isUpload(r) && kind == "application/octet-stream":
		return h.mostUpload()
	case isUpload(r) && kind == "multipart/form-data": // the form is more than its file
		return h.mostUpload() + most
	}
	return most
}

// mostUpload returns the largest size of an uploaded file: a larger file than the Limits
// of the Manager allow could not be opened.
func (h *Handler) mostUpload() int64 {
	most := h.opts.MaxUpload
	if total := h.now().Limits.TotalBytes; total > 0 && total < most {
		most = min(most, envelope.MostStored(total))
	}
	return most
}

// A patientWriter gives up on a client that reads nothing for a while.
type patientWriter struct {
	http.ResponseWriter
	control  *http.ResponseController
	patience time.Duration
	begun    bool // the status is sent
}

// Unwrap lets [http.ResponseController] find the writer below.
func (w *patientWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *patientWriter) WriteHeader(status int) {
	w.begun = true
	w.ResponseWriter.WriteHeader(status)
}

func (w *patientWriter) Write(p []byte) (n int, err error) {
	w.begun = true
	for {
		w.deadline()
		some := p[:min(len(p), 32<<10)]
		m, err := w.ResponseWriter.Write(some)
		if n += m; err != nil || len(some) == len(p) {
			return n, err
		}
		p = p[len(some):]
	}
}

// FlushError is what [http.ResponseController] calls.
func (w *patientWriter) FlushError() error {
	w.begun = true
	w.deadline()
	return w.control.Flush()
}

// deadline leaves more time than the deadline of the body does: the server may read
// the rest of the body before it sends the response.
func (w *patientWriter) deadline() {
	w.control.SetWriteDeadline(time.Now().Add(w.patience + w.patience/4))
}

// A patientBody gives up on a client that sends less than enoughBytes for a while, and
// on every client when Run ends.
type patientBody struct {
	io.ReadCloser
	control  *http.ResponseController
	patience time.Duration
	some     int // bytes since the deadline was moved
	stop     func() bool

	mu    sync.Mutex
	over  bool // Run has ended, so the deadline has passed
	ended bool // nobody reads the body any more
}

const enoughBytes = 4 << 10

func (h *Handler) patientBody(w *patientWriter, body io.ReadCloser) *patientBody {
	b := &patientBody{ReadCloser: body, control: w.control, patience: w.patience, stop: func() bool { return true }}
	// The server reads a body that nobody else reads, and throws it away.
	b.deadline(time.Now().Add(b.patience))
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.running != nil {
		b.stop = context.AfterFunc(h.running.ctx, func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			if !b.ended {
				b.over = true
				b.control.SetReadDeadline(time.Now())
			}
		})
	}
	return b
}

// end is called when the whole body was read, or the request is answered. After that,
// the end of Run must not set a deadline: the same connection serves the next request,
// and the deadline would end its context.
func (b *patientBody) end(all bool) {
	b.stop()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended = true; b.over && all {
		b.over = false
		b.control.SetReadDeadline(time.Time{})
	}
}

func (b *patientBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	switch b.some += n; {
	case err == io.EOF: // the server removes the deadline here
		b.end(true)
	case err != nil:
		err = &refusal{status: http.StatusBadRequest, code: "cut_off", text: "the request ends too early, or came too slowly: send it again"}
	case b.some >= enoughBytes:
		b.some = 0
		b.deadline(time.Now().Add(b.patience))
	}
	return n, err
}

// A pacedBody gives up on a client that sends too slowly for too long.
type pacedBody struct {
	io.ReadCloser
	pace pace
}

func (b *pacedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == nil && b.pace.slow(n) {
		err = &refusal{status: http.StatusBadRequest, code: "cut_off", text: "the upload is too slow: " + tooSlowly + "; use a faster connection, or put the file at one of the locations"}
	}
	return n, err
}

func (b *patientBody) deadline(t time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.over {
		b.control.SetReadDeadline(t)
	}
}
