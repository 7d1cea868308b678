package backuphttp

import "net/http"

func (h *Handler) pages() http.Handler {
	return h.allow(View, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Error(w, h.title(), http.StatusNotFound) }))
}
