package backuphttp

import "net/http"

func (h *Handler) pages() http.Handler { return h.allow(View, http.NotFoundHandler()) }
