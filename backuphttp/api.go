package backuphttp

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/tomo-project/backup/internal/codec"
)

// The API for programs: JSON below api/. The document openapi.json describes it.

//go:embed openapi.json
var openAPI []byte

// An endpoint is an operation of the API, and the Action that it takes.
type endpoint struct {
	method, path string
	action       Action
	serve        func(w http.ResponseWriter, r *http.Request) error
}

func (h *Handler) endpoints() []endpoint {
	return []endpoint{
		{"GET", "/api/openapi.json", View, h.getOpenAPI},
		{"GET", "/api/overview", View, h.getOverview},
		{"GET", "/api/status", View, h.getStatus},
		{"GET", "/api/health", Health, h.getHealth},
		{"GET", "/api/events", View, h.getEvents},
		{"GET", "/api/jobs", View, h.getJobs},
		{"GET", "/api/jobs/{id}", View, h.getJob},

		{"POST", "/api/backups", Create, h.postBackup},
		{"POST", "/api/backups/{name}/verify", Create, bare(h.postVerify)},
		{"GET", "/api/backups/{name}/file", Download, h.getFile},
		{"POST", "/api/backups/{name}/accept", Delete, bare(h.postAccept)},
		{"DELETE", "/api/backups/{name}", Delete, bare(h.deleteBackup)},
		{"POST", "/api/prune", Delete, bare(h.postPrune)},

		{"POST", "/api/uploads", Restore, h.postUpload},
		{"POST", "/api/restores", Restore, h.postRestore},
		{"GET", "/api/restores/{id}", Restore, h.getRestore},
		{"DELETE", "/api/restores/{id}", Restore, bare(h.deleteRestore)},
		{"POST", "/api/restores/{id}/key", Restore, h.postKey},
		{"POST", "/api/restores/{id}/plan", Restore, h.postPlan},
		{"GET", "/api/restores/{id}/changes", Restore, h.getChanges},
		{"POST", "/api/restores/{id}/apply", Restore, h.postApply},
		{"POST", "/api/restores/{id}/salvage", Restore, bare(h.postSalvage)},
		{"GET", "/api/restores/{id}/file", Download, h.getSalvaged},

		{"GET", "/api/settings", View, h.getSettings},
		{"PUT", "/api/settings", Configure, h.putSettings},
		{"POST", "/api/settings/probe", Configure, h.postProbe},
		{"POST", "/api/settings/preview", Configure, h.postPreview},
	}
}

// routes serves the endpoints. For all other paths and methods, Authorize must allow View
// before the answer tells that they do not exist.
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
			return &refusal{status: http.StatusMethodNotAllowed, code: "method", text: fmt.Sprintf("this path takes the method %s", strings.Join(names, " or "))}
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

// served calls serve and answers with its error.
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

// readJSON reads the body: strict JSON with the members of v and no others, and with all
// members that are required. Its error shows nothing of the body.
func readJSON(r *http.Request, v any, required ...string) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return &refusal{status: http.StatusUnsupportedMediaType, code: "media_type", text: "this path takes a body with the Content-Type application/json"}
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
		return bad("it is not an object")
	}
	for _, name := range required {
		if codec.Get(text, codec.Pointer{name}) == nil {
			return bad(fmt.Sprintf("it lacks the member %q", name))
		}
	}
	if codec.Unmarshal(text, v) != nil {
		return bad("a member is unknown, null or of another type")
	}
	return nil
}

// bare refuses a body, unless it is an empty object.
func bare(serve func(w http.ResponseWriter, r *http.Request) error) func(w http.ResponseWriter, r *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if r.ContentLength != 0 {
			if err := readJSON(r, new(struct{})); err != nil {
				return err
			}
		}
		return serve(w, r)
	}
}

// created answers with something that was made or begun, and its address.
func (h *Handler) created(w http.ResponseWriter, r *http.Request, status int, at string, v any) error {
	w.Header().Set("Location", h.base(r)+"api/"+at)
	answer(w, status, v)
	return nil
}

// started answers with a job that was started.
func (h *Handler) started(w http.ResponseWriter, r *http.Request, j job, err error) error {
	if err != nil {
		return err
	}
	return h.created(w, r, http.StatusAccepted, "jobs/"+j.ID, j)
}

// lookedInto answers with a backup that a person looks into.
func (h *Handler) lookedInto(w http.ResponseWriter, r *http.Request, info restoreInfo, err error) error {
	if err != nil {
		return err
	}
	return h.created(w, r, http.StatusCreated, "restores/"+info.ID, info)
}

// found answers with v, unless err is not nil.
func found(w http.ResponseWriter, v any, err error) error {
	if err == nil {
		answer(w, http.StatusOK, v)
	}
	return err
}

// finished answers that something is done, unless err is not nil.
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
