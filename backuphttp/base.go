package backuphttp

import (
	"context"
	"net/http"
	"net/url"
	"path"
	"strings"
)

// Where the page is mounted. The handlers see paths below the mount point; the context
// of the request keeps the mount.

// A mount is a request as it was sent, and the path of the mount point.
type mount struct {
	sent *http.Request
	base string
}

type mountKey struct{}

// asSent returns the request as the host has received it.
func asSent(r *http.Request) *http.Request {
	if m, ok := r.Context().Value(mountKey{}).(mount); ok {
		return m.sent
	}
	return r
}

// base returns the path of the mount point for links: escaped, with a slash at its
// end.
func (h *Handler) base(r *http.Request) string {
	if m, ok := r.Context().Value(mountKey{}).(mount); ok {
		return m.base
	}
	return (&url.URL{Path: h.mountPath(r)}).EscapedPath()
}

// mountPath returns the path of the mount point, not escaped.
func (h *Handler) mountPath(r *http.Request) string {
	at := h.opts.Path
	if at == "" {
		_, at, _ = strings.Cut(r.Pattern, "/") // after method and host
		segments := strings.Split(at, "/")
		if last := segments[len(segments)-1]; strings.HasPrefix(last, "{") && (last == "{$}" || strings.HasSuffix(last, "...}")) {
			segments = segments[:len(segments)-1]
		}
		sent := strings.Split(strings.TrimPrefix(r.URL.Path, "/"), "/")
		for i, s := range segments {
			if strings.HasPrefix(s, "{") && i < len(sent) {
				segments[i] = sent[i]
			}
		}
		at = strings.Join(segments, "/")
	}
	if at = strings.Trim(at, "/"); at == "" {
		return "/"
	}
	return "/" + at + "/"
}

// stripped tells whether the host has removed the mount point from the path already
// (http.StripPrefix). The request line shows that.
func stripped(r *http.Request, at string) bool {
	sent, err := url.ParseRequestURI(r.RequestURI)
	return err == nil && sent.Path != r.URL.Path && sent.Path == strings.TrimSuffix(at, "/")+r.URL.Path
}

// without returns the part of a path below at.
func without(path, at string) string {
	if below, ok := strings.CutPrefix(path+"/", at); ok {
		return "/" + strings.TrimSuffix(below, "/")
	}
	return path
}

// below returns the request with the path below the mount point, "/api/overview". If
// the path is not clean, it becomes one that does not exist.
func (h *Handler) below(r *http.Request) *http.Request {
	at := h.mountPath(r)
	m := mount{sent: r, base: (&url.URL{Path: at}).EscapedPath()}
	b := r.WithContext(context.WithValue(r.Context(), mountKey{}, m))
	b.URL = new(url.URL)
	*b.URL = *r.URL
	if !stripped(r, at) {
		b.URL.Path = without(r.URL.Path, at)
		if r.URL.RawPath != "" {
			b.URL.RawPath = without(r.URL.RawPath, m.base)
		}
	}
	if clean := path.Clean(b.URL.Path); clean != b.URL.Path && clean+"/" != b.URL.Path {
		nowhere := "/nothing"
		if isAPI(b) {
			nowhere = "/api/nothing"
		}
		b.URL.Path, b.URL.RawPath = nowhere, ""
	}
	return b
}
