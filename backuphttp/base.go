package backuphttp

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"

	"github.com/tomo-project/backup"
)

// base returns the path at which the Handler is mounted, with a slash at its end.
func (h *Handler) base(r *http.Request) string {
	if h.opts.Path != "" {
		return strings.TrimSuffix(h.opts.Path, "/") + "/"
	}
	if i := strings.IndexByte(r.Pattern, '/'); i >= 0 {
		return strings.TrimSuffix(r.Pattern[i:], "/") + "/"
	}
	return "/"
}

// status returns the HTTP status of an error.
func status(err error) int {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, backup.ErrBusy), errors.Is(err, backup.ErrStale):
		return http.StatusConflict
	case errors.Is(err, fs.ErrNotExist):
		return http.StatusNotFound
	case errors.Is(err, backup.ErrWrongKey), errors.As(err, new(*refusal)):
		return http.StatusUnprocessableEntity
	}
	return http.StatusInternalServerError
}

type refusal struct{ text string }

func (e *refusal) Error() string { return e.text }

// invalid refuses what somebody has sent.
func invalid(code, format string, args ...any) error {
	return &refusal{fmt.Sprintf(format, args...)}
}

// allow asks Authorize before next is called.
func (h *Handler) allow(a Action, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch err := h.opts.Authorize(r, a); {
		case errors.Is(err, ErrLogin):
			http.Error(w, "Nobody is logged in.", http.StatusUnauthorized)
		case err != nil:
			http.Error(w, "You may not do that.", http.StatusForbidden)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func (h *Handler) log(what string, err error) {
	if h.opts.Logger != nil {
		h.opts.Logger.Error("backup page: "+what, "error", err)
	}
}

// title is what the page calls the host.
func (h *Handler) title() string {
	if h.opts.Title == "" && h.opts.Manager != nil {
		return h.opts.Manager.App.Name
	}
	return h.opts.Title
}
