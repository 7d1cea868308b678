package backuphttp

import (
	"net/http"
)

func (h *Handler) postBackup(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Include []string `json:"include"`
	}
	if err := readJSON(r, &in); err != nil {
		return err
	}
	j, err := h.create(r.Context(), in.Include)
	return h.started(w, r, j, err)
}

func (h *Handler) postVerify(w http.ResponseWriter, r *http.Request) error {
	j, err := h.verify(r.Context(), r.PathValue("name"))
	return h.started(w, r, j, err)
}

func (h *Handler) getFile(w http.ResponseWriter, r *http.Request) error {
	file, err := h.file(r.Context(), r.PathValue("name"))
	return send(w, r, file, err)
}

func (h *Handler) postAccept(w http.ResponseWriter, r *http.Request) error {
	return finished(w, h.accept(r.Context(), r.PathValue("name")))
}

func (h *Handler) deleteBackup(w http.ResponseWriter, r *http.Request) error {
	return finished(w, h.delete(r.Context(), r.PathValue("name"), r.URL.Query().Get("confirm")))
}

func (h *Handler) postPrune(w http.ResponseWriter, r *http.Request) error {
	j, err := h.prune(r.Context())
	return h.started(w, r, j, err)
}
