package backuphttp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
)

const statusInvalid = http.StatusUnprocessableEntity

// A refusal is an error with an HTTP status. Its text is for people.
type refusal struct {
	status int
	code   string
	text   string
	again  int // seconds to wait before the next try; 0: not known
}

func (e *refusal) Error() string { return e.text }

// invalid refuses the input of a person or a program.
func invalid(code, format string, args ...any) error {
	return &refusal{status: statusInvalid, code: code, text: fmt.Sprintf(format, args...)}
}

// notFound refuses a request for something that does not exist, or no longer.
func notFound(format string, args ...any) error {
	return &refusal{status: http.StatusNotFound, code: "not_found", text: fmt.Sprintf(format, args...)}
}

// errHidden takes the place of an error that only the log gets.
var errHidden = errors.New("something went wrong on the server; its log says what")

func (h *Handler) log(what string, err error) {
	if h.opts.Logger != nil {
		h.opts.Logger.Error("backup page: "+what, slog.String("error", err.Error()))
	}
}

// hide logs an error of the host's own code, or of the system, and returns errHidden
// for the browser.
func (h *Handler) hide(what string, err error) error {
	h.log(what, err)
	return errHidden
}

// kinds give each kind of error its status and its code. The first that fits counts.
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
	{manager.ErrRekeyed, http.StatusConflict, "rekeyed"},
	{backup.ErrUncertain, http.StatusInternalServerError, "uncertain"},
	{backup.ErrWrongKey, statusInvalid, "wrong_key"},
	{backup.ErrNoKey, statusInvalid, "no_key"},
	{backup.ErrUnauthentic, statusInvalid, "unauthentic"},
	{backup.ErrForeign, statusInvalid, "foreign"},
	{backup.ErrTooNew, statusInvalid, "too_new"},
	{backup.ErrDamaged, statusInvalid, "damaged"},
	{backup.ErrFormat, statusInvalid, "format"},
	{backup.ErrSalvaged, statusInvalid, "salvaged"},
	{backup.ErrClash, statusInvalid, "clash"},
	{backup.ErrDangling, statusInvalid, "dangling"},
	{backup.ErrLimit, statusInvalid, "limit"},
	{backup.ErrInvalid, statusInvalid, "invalid"},
	{fs.ErrNotExist, http.StatusNotFound, "not_found"},
}

// classify returns the HTTP status of an error, and its code for programs.
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

// words returns the text of an error for people.
func (h *Handler) words(err error) string {
	if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge(large.Limit, h.title())
	}
	return err.Error()
}

func tooLarge(most int64, host string) string {
	return fmt.Sprintf("this is larger than %s, which is the limit here: if it is a backup, put it at one of the locations, or ask the person who runs %s to allow more", size(most), host)
}

// mostRecords is how many records an error names one by one.
const mostRecords = 100

// recordsOf returns the records that an error names: the first hundred. An error of a kind
// that names no records returns none.
func recordsOf(err error) []*backup.RecordError {
	if _, code := classify(err); code != "clash" && code != "dangling" && code != "invalid" {
		return nil
	}
	var found []*backup.RecordError
	var walk func(error)
	walk = func(err error) {
		if len(found) == mostRecords {
			return
		}
		switch e := err.(type) {
		case *backup.RecordError:
			found = append(found, e)
		case interface{ Unwrap() error }:
			walk(e.Unwrap())
		case interface{ Unwrap() []error }:
			for _, err := range e.Unwrap() {
				walk(err)
			}
		}
	}
	walk(err)
	return found
}
