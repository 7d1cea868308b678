package backuphttp

import (
	"net/http"
)

func (h *Handler) getJobs(w http.ResponseWriter, r *http.Request) error {
	return found(w, map[string]any{"jobs": h.jobs()}, nil)
}

func (h *Handler) getJob(w http.ResponseWriter, r *http.Request) error {
	j, err := h.job(r.PathValue("id"))
	return found(w, j, err)
}
