package backuphttp

import (
	"context"
	"fmt"
	"io"
	"math"
	"mime"
	"mime/multipart"
	"net/http"
	"strconv"
)

// postUpload takes a file: the whole body, or the first file of a form.
func (h *Handler) postUpload(w http.ResponseWriter, r *http.Request) error {
	name, from := r.URL.Query().Get("name"), io.Reader(r.Body)
	switch kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind {
	case "application/octet-stream":
	case "multipart/form-data":
		part, err := firstFile(r)
		if err != nil {
			return err
		}
		name, from = part.FileName(), part
	default:
		return &refusal{status: http.StatusUnsupportedMediaType, code: "media_type", text: "this path takes a file with the Content-Type application/octet-stream or multipart/form-data"}
	}
	info, err := h.upload(r.Context(), name, from)
	return h.lookedInto(w, r, info, err)
}

// mostParts is how many parts of a form are searched for a file.
const mostParts = 100

// firstFile returns the first file of a form.
func firstFile(r *http.Request) (*multipart.Part, error) {
	parts, err := r.MultipartReader()
	for i := 0; err == nil && i < mostParts; i++ {
		var part *multipart.Part
		if part, err = parts.NextPart(); err == nil && part.FileName() != "" {
			return part, nil
		}
	}
	if status, _ := classify(err); err != nil && status < 500 { // the request is cut off or too large
		return nil, err
	}
	return nil, &refusal{status: http.StatusBadRequest, code: "no_file", text: "the form has no file in its first parts: add one"}
}

func (h *Handler) postRestore(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Backup string `json:"backup"`
		Undo   bool   `json:"undo"`
	}
	if err := readJSON(r, &in); err != nil {
		return err
	}
	if in.Undo == (in.Backup != "") {
		return &refusal{status: http.StatusBadRequest, code: "bad_json", text: `send either the name of a "backup" or "undo": true`}
	}
	look := h.lookUndo
	if !in.Undo {
		look = func(ctx context.Context) (restoreInfo, error) { return h.look(ctx, in.Backup) }
	}
	info, err := look(r.Context())
	return h.lookedInto(w, r, info, err)
}

func (h *Handler) getRestore(w http.ResponseWriter, r *http.Request) error {
	info, err := h.restore(r.PathValue("id"))
	return found(w, info, err)
}

func (h *Handler) deleteRestore(w http.ResponseWriter, r *http.Request) error {
	return finished(w, h.discard(r.PathValue("id")))
}

func (h *Handler) postKey(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Key string `json:"key"`
	}
	if err := readJSON(r, &in, "key"); err != nil {
		return err
	}
	info, err := h.unlock(r.Context(), r.PathValue("id"), []byte(in.Key))
	return found(w, info, err)
}

func (h *Handler) postPlan(w http.ResponseWriter, r *http.Request) error {
	var in planInput
	if err := readJSON(r, &in, "full"); err != nil {
		return err
	}
	info, err := h.plan(r.Context(), r.PathValue("id"), in)
	return found(w, info, err)
}

func (h *Handler) getChanges(w http.ResponseWriter, r *http.Request) error {
	from, err := number(r, "from", 0, 0, math.MaxInt32)
	if err != nil {
		return err
	}
	most, err := number(r, "most", 100, 1, 500)
	if err != nil {
		return err
	}
	plan := r.URL.Query().Get("plan")
	if plan == "" {
		return &refusal{status: http.StatusBadRequest, code: "bad_query", text: "plan: send the id of the plan whose changes you want"}
	}
	changes, more, err := h.changes(r.Context(), r.PathValue("id"), plan, from, most)
	return found(w, map[string]any{"changes": changes, "more": more}, err)
}

// number returns a number from the query, or otherwise if the query does not have it.
func number(r *http.Request, name string, otherwise, least, most int) (int, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, &refusal{status: http.StatusBadRequest, code: "bad_query", text: fmt.Sprintf("%s: send a number from %d to %d", name, least, most)}
	}
	return n, nil
}

func (h *Handler) postApply(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Plan    string `json:"plan"`
		Confirm string `json:"confirm"`
	}
	if err := readJSON(r, &in, "plan"); err != nil {
		return err
	}
	j, err := h.apply(r.Context(), r.PathValue("id"), in.Plan, in.Confirm)
	return h.started(w, r, j, err)
}

func (h *Handler) postSalvage(w http.ResponseWriter, r *http.Request) error {
	j, err := h.salvage(r.Context(), r.PathValue("id"))
	return h.started(w, r, j, err)
}

func (h *Handler) getSalvaged(w http.ResponseWriter, r *http.Request) error {
	file, err := h.salvaged(r.PathValue("id"))
	return send(w, r, file, err)
}
