package backuphttp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"

	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"

	"github.com/tomo-project/backup"
)

const statusInvalid = http.StatusUnprocessableEntity

// A refusal is an error with a status of its own. Its text is for people.
type refusal struct {
	status int
	code   string
	text   string
	again  int // seconds after which to try again; 0: it does not depend on time
}

func (e *refusal) Error() string { return e.text }

// invalid refuses what somebody has sent.
func invalid(code, format string, args ...any) error {
	return &refusal{status: statusInvalid, code: code, text: fmt.Sprintf(format, args...)}
}

// notFound is about what is not there, or not any more.
func notFound(format string, args ...any) error {
	return &refusal{status: http.StatusNotFound, code: "not_found", text: fmt.Sprintf(format, args...)}
}

// errHidden stands for one that the browser is not told, only the log.
var errHidden = errors.New("something went wrong on the server, whose log says what")

func (h *Handler) log(what string, err error) {
	if h.opts.Logger != nil {
		h.opts.Logger.Error("backup page: "+what, slog.String("error", err.Error()))
	}
}

// hide logs an error of the host's own code, or of the system, and returns one for
// the browser.
func (h *Handler) hide(what string, err error) error {
	h.log(what, err)
	return errHidden
}

// kinds are what programs go by, in the order in which they are looked for.
var kinds = []struct {
	err    error
	status int
	code   string
}{
	{errStopped, http.StatusServiceUnavailable, "stopped"},
	{context.Canceled, http.StatusServiceUnavailable, "stopped"},
	{context.DeadlineExceeded, http.StatusServiceUnavailable, "stopped"},
	{location.ErrBusy, http.StatusConflict, "busy"},
	{backup.ErrStale, http.StatusConflict, "stale"},
	{manager.ErrShrunk, http.StatusConflict, "shrunk"},
	{backup.ErrUncertain, http.StatusInternalServerError, "uncertain"},
	{backup.ErrWrongKey, statusInvalid, "wrong_key"},
	{backup.ErrNoKey, statusInvalid, "no_key"},
	{backup.ErrUnauthentic, statusInvalid, "unauthentic"},
	{backup.ErrForeign, statusInvalid, "foreign"},
	{backup.ErrTooNew, statusInvalid, "too_new"},
	{backup.ErrDamaged, statusInvalid, "damaged"},
	{backup.ErrFormat, statusInvalid, "format"},
	{backup.ErrSalvaged, statusInvalid, "salvaged"},
	{backup.ErrDangling, statusInvalid, "dangling"},
	{backup.ErrLimit, statusInvalid, "limit"},
	{backup.ErrInvalid, statusInvalid, "invalid"},
	{fs.ErrNotExist, http.StatusNotFound, "not_found"},
}

// classify returns the status of an error, and the word for it that programs go by.
func classify(err error) (status int, code string) {
	if r, ok := errors.AsType[*refusal](err); ok {
		return r.status, r.code
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return http.StatusRequestEntityTooLarge, "too_large"
	}
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			return k.status, k.code
		}
	}
	return http.StatusInternalServerError, "failed"
}
