package backuphttp

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/codec"
)

// The page for programs: JSON below api/, as openapi.json describes it.

//go:embed openapi.json
var openAPI []byte

// An endpoint is one operation of the API, and what somebody does who asks for it.
type endpoint struct {
	method, path string
	action       Action
	serve        func(w http.ResponseWriter, r *http.Request) error
}

func (h *Handler) endpoints() []endpoint {
	return []endpoint{
		{"GET", "/api/openapi.json", View, h.getOpenAPI},
		{"GET", "/api/overview", View, h.getOverview},
		{"GET", "/api/events", View, h.getEvents},
		{"GET", "/api/jobs", View, h.getJobs},
		{"GET", "/api/jobs/{id}", View, h.getJob},

		{"POST", "/api/backups", Create, h.postBackup},
		{"POST", "/api/backups/{name}/verify", Create, h.postVerify},
		{"GET", "/api/backups/{name}/file", Download, h.getFile},
		{"POST", "/api/backups/{name}/accept", Delete, h.postAccept},
		{"DELETE", "/api/backups/{name}", Delete, h.deleteBackup},
		{"POST", "/api/prune", Delete, h.postPrune},

		{"POST", "/api/uploads", Restore, h.postUpload},
		{"POST", "/api/restores", Restore, h.postRestore},
		{"GET", "/api/restores/{id}", Restore, h.getRestore},
		{"DELETE", "/api/restores/{id}", Restore, h.deleteRestore},
		{"POST", "/api/restores/{id}/key", Restore, h.postKey},
		{"POST", "/api/restores/{id}/plan", Restore, h.postPlan},
		{"GET", "/api/restores/{id}/changes", Restore, h.getChanges},
		{"POST", "/api/restores/{id}/apply", Restore, h.postApply},
		{"POST", "/api/restores/{id}/salvage", Restore, h.postSalvage},
		{"GET", "/api/restores/{id}/file", Download, h.getSalvaged},

		{"GET", "/api/settings", View, h.getSettings},
		{"PUT", "/api/settings", Configure, h.putSettings},
		{"POST", "/api/settings/probe", Configure, h.postProbe},
		{"POST", "/api/settings/preview", Configure, h.postPreview},
	}
}

// routes serves the endpoints. What is none is refused like any other request: after
// View was allowed.
func (h *Handler) routes() http.Handler {
	byPath := make(map[string]map[string]http.Handler)
	for _, e := range h.endpoints() {
		if byPath[e.path] == nil {
			byPath[e.path] = make(map[string]http.Handler)
		}
		byPath[e.path][e.method] = h.allow(e.action, h.served(e.serve))
	}
	mux := http.NewServeMux()
	for path, methods := range byPath {
		var names []string
		for method := range methods {
			names = append(names, method)
		}
		slices.Sort(names)
		refused := h.allow(View, h.served(func(w http.ResponseWriter, r *http.Request) error {
			w.Header().Set("Allow", strings.Join(names, ", "))
			return &refusal{status: http.StatusMethodNotAllowed, code: "method", text: fmt.Sprintf("this takes %s", strings.Join(names, " or "))}
		}))
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			method := r.Method
			if method == http.MethodHead {
				method = http.MethodGet
			}
			if next := methods[method]; next != nil {
				next.ServeHTTP(w, r)
				return
			}
			refused.ServeHTTP(w, r)
		})
	}
	mux.Handle("/", h.allow(View, h.served(func(http.ResponseWriter, *http.Request) error {
		return &refusal{status: http.StatusNotFound, code: "not_found", text: "the API has no such path: see openapi.json"}
	})))
	return mux
}

// served answers with the error of what serves.
func (h *Handler) served(serve func(w http.ResponseWriter, r *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := serve(w, r); err != nil {
			if status, _ := classify(err); status >= 500 && status != http.StatusServiceUnavailable {
				h.log(r.Method+" "+r.URL.Path, err)
			}
			h.refuse(w, r, err)
		}
	})
}

// readJSON reads the body: strict JSON with these members and no others, and all that
// are required. Its error shows nothing of what was sent.
func readJSON(r *http.Request, v any, required ...string) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return &refusal{status: http.StatusUnsupportedMediaType, code: "media_type", text: "this takes a body with the Content-Type application/json"}
	}
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	bad := func(why string) error {
		return &refusal{status: http.StatusBadRequest, code: "bad_json", text: "the body is not what openapi.json describes: " + why}
	}
	if text, err = codec.Compact(nil, text, codec.Limits{Depth: 4, Values: 1000, RecordBytes: 1 << 20}); err != nil {
		return bad("it is not strict JSON, or too deep or large")
	}
	if text[0] != '{' {
		return bad("it is no object")
	}
	for _, name := range required {
		if codec.Get(text, codec.Pointer{name}) == nil {
			return bad(fmt.Sprintf("it lacks the member %q", name))
		}
	}
	if codec.Unmarshal(text, v) != nil {
		return bad("a member is not known, null or of another type")
	}
	return nil
}

// readNothing refuses a body where there is nothing to say, but for an empty object.
func readNothing(r *http.Request) error {
	if r.ContentLength == 0 {
		return nil
	}
	var none struct{}
	return readJSON(r, &none)
}

// created answers with what was made, or begun, and where it is.
func (h *Handler) created(w http.ResponseWriter, r *http.Request, status int, at string, v any) error {
	w.Header().Set("Location", h.base(r)+"api/"+at)
	answer(w, status, v)
	return nil
}

func (h *Handler) started(w http.ResponseWriter, r *http.Request, j job, err error) error {
	if err != nil {
		return err
	}
	return h.created(w, r, http.StatusAccepted, "jobs/"+j.ID, j)
}

func (h *Handler) lookedInto(w http.ResponseWriter, r *http.Request, info restoreInfo, err error) error {
	if err != nil {
		return err
	}
	return h.created(w, r, http.StatusCreated, "restores/"+info.ID, info)
}

// found answers with what there is.
func found(w http.ResponseWriter, v any, err error) error {
	if err == nil {
		answer(w, http.StatusOK, v)
	}
	return err
}

func finished(w http.ResponseWriter, err error) error {
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}

func (h *Handler) getOpenAPI(w http.ResponseWriter, r *http.Request) error {
	return found(w, json.RawMessage(openAPI), nil)
}

func (h *Handler) getOverview(w http.ResponseWriter, r *http.Request) error {
	o, err := h.overview(r.Context())
	return found(w, o, err)
}

func (h *Handler) getJobs(w http.ResponseWriter, r *http.Request) error {
	return found(w, map[string]any{"jobs": h.jobs()}, nil)
}

func (h *Handler) getJob(w http.ResponseWriter, r *http.Request) error {
	j, err := h.job(r.PathValue("id"))
	return found(w, j, err)
}

// How events are sent.
const (
	eventsPause = 200 * time.Millisecond // between changes of a job, which may be many
	eventsBeat  = 15 * time.Second       // so that it shows when the connection is gone, or the permission
)

// getEvents sends each job that changes, until the client goes, may not see them any
// more, or Run ends. It sends one at once: the one that runs, or else the last.
func (h *Handler) getEvents(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil
	}
	control := http.NewResponseController(w)
	changed, stop := h.watch()
	defer stop()
	beat := time.NewTicker(h.beat)
	defer beat.Stop()
	text := "retry: 3000\n\n"
	for version := int64(0); ; {
		over := !h.runs()
		var jobs []job
		jobs, version = h.changed(version)
		for _, j := range jobs {
			data, err := json.Marshal(j)
			if err != nil {
				return err
			}
			text += "event: job\ndata: " + string(data) + "\n\n"
		}
		if _, err := io.WriteString(w, text); err != nil {
			return nil // the client is gone, or does not read
		}
		if control.Flush() != nil || over {
			return nil
		}
		pause := time.NewTimer(eventsPause)
		select {
		case <-pause.C:
		case <-r.Context().Done():
		}
		pause.Stop()
		select {
		case <-r.Context().Done():
			return nil
		case <-changed:
			text = ""
		case <-beat.C:
			if h.opts.Authorize(r, View) != nil {
				return nil
			}
			text = ":\n\n"
		}
	}
}

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
	if err := readNothing(r); err != nil {
		return err
	}
	j, err := h.verify(r.Context(), r.PathValue("name"))
	return h.started(w, r, j, err)
}

func (h *Handler) getFile(w http.ResponseWriter, r *http.Request) error {
	file, b, err := h.file(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	defer file.Close()
	sendFile(w, r, file, b.Name, b.Bytes)
	return nil
}

// sendFile answers with a file to save, and bytes is its size, or 0 where it is not
// known.
func sendFile(w http.ResponseWriter, r *http.Request, file io.Reader, name string, bytes int64) {
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": name}))
	if bytes > 0 {
		w.Header().Set("Content-Length", strconv.FormatInt(bytes, 10))
	}
	if r.Method == http.MethodHead {
		return
	}
	if n, err := io.Copy(w, file); err != nil || bytes > 0 && n != bytes {
		panic(http.ErrAbortHandler) // what was sent is not all, which must show
	}
}

func (h *Handler) postAccept(w http.ResponseWriter, r *http.Request) error {
	if err := readNothing(r); err != nil {
		return err
	}
	return finished(w, h.accept(r.Context(), r.PathValue("name")))
}

func (h *Handler) deleteBackup(w http.ResponseWriter, r *http.Request) error {
	if err := readNothing(r); err != nil {
		return err
	}
	return finished(w, h.delete(r.Context(), r.PathValue("name"), r.URL.Query().Get("confirm")))
}

func (h *Handler) postPrune(w http.ResponseWriter, r *http.Request) error {
	if err := readNothing(r); err != nil {
		return err
	}
	j, err := h.prune(r.Context())
	return h.started(w, r, j, err)
}

// postUpload takes a file as the body, or as the first file of a form.
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
		return &refusal{status: http.StatusUnsupportedMediaType, code: "media_type", text: "this takes a file with the Content-Type application/octet-stream or multipart/form-data"}
	}
	info, err := h.upload(r.Context(), name, from)
	return h.lookedInto(w, r, info, err)
}

func firstFile(r *http.Request) (*multipart.Part, error) {
	parts, err := r.MultipartReader()
	for err == nil {
		var part *multipart.Part
		if part, err = parts.NextPart(); err == nil && part.FileName() != "" {
			return part, nil
		}
	}
	if status, _ := classify(err); status < 500 { // it was cut off, or is too large
		return nil, err
	}
	return nil, &refusal{status: http.StatusBadRequest, code: "no_file", text: "there is no file in the form"}
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
		return &refusal{status: http.StatusBadRequest, code: "bad_json", text: `want either the name of a "backup" or "undo": true`}
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
	if err := readNothing(r); err != nil {
		return err
	}
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
		return &refusal{status: http.StatusBadRequest, code: "bad_query", text: "plan: want the id of the plan that was looked at"}
	}
	changes, more, err := h.changes(r.Context(), r.PathValue("id"), plan, from, most)
	return found(w, map[string]any{"changes": changes, "more": more}, err)
}

// number returns a parameter of a query.
func number(r *http.Request, name string, otherwise, least, most int) (int, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, &refusal{status: http.StatusBadRequest, code: "bad_query", text: fmt.Sprintf("%s: want a number from %d to %d", name, least, most)}
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
	if err := readNothing(r); err != nil {
		return err
	}
	j, err := h.salvage(r.Context(), r.PathValue("id"))
	return h.started(w, r, j, err)
}

func (h *Handler) getSalvaged(w http.ResponseWriter, r *http.Request) error {
	info, err := h.restore(r.PathValue("id"))
	if err != nil {
		return err
	}
	file, err := h.salvaged(r.Context(), info.ID)
	if err != nil {
		return err
	}
	defer file.Close()
	sendFile(w, r, file, info.Name, file.(spoolFile).Size())
	return nil
}

func (h *Handler) getSettings(w http.ResponseWriter, r *http.Request) error {
	s, err := h.settings(r.Context())
	return found(w, s, err)
}

// readSettings wants all members: one that is forgotten must not turn backups off.
func readSettings(r *http.Request) (s Settings, err error) {
	err = readJSON(r, &s, "enabled", "schedule", "weekday", "time", "zone", "keep_last", "keep_days", "locations")
	return s, err
}

func (h *Handler) putSettings(w http.ResponseWriter, r *http.Request) error {
	s, err := readSettings(r)
	if err == nil {
		err = h.save(r.Context(), s, r.URL.Query().Get("force") == "1")
	}
	if err != nil {
		return err
	}
	return h.getSettings(w, r)
}

func (h *Handler) postProbe(w http.ResponseWriter, r *http.Request) error {
	s, err := readSettings(r)
	if err != nil {
		return err
	}
	tried, err := h.probe(r.Context(), s)
	return found(w, map[string]any{"locations": tried}, err)
}

func (h *Handler) postPreview(w http.ResponseWriter, r *http.Request) error {
	s, err := readSettings(r)
	if err != nil {
		return err
	}
	out := struct {
		Pruned  []backup.Pruned `json:"pruned"`
		Problem string          `json:"problem,omitempty"` // why nothing would be deleted now
	}{}
	if out.Pruned, err = h.prunePreview(r.Context(), s); err != nil && out.Pruned != nil {
		out.Problem, err = err.Error(), nil
	}
	return found(w, out, err)
}
