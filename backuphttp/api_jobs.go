package backuphttp

import (
	"encoding/json"
	"io"
	"net/http"
	"time"
)

func (h *Handler) getJobs(w http.ResponseWriter, r *http.Request) error {
	return found(w, map[string]any{"jobs": h.jobs()}, nil)
}

func (h *Handler) getJob(w http.ResponseWriter, r *http.Request) error {
	j, err := h.job(r.PathValue("id"))
	return found(w, j, err)
}

// getEvents sends the job that runs, or else the last job, and then each job that
// changes. It ends when the client goes, when the client may no longer View, or when Run
// ends. A regular sign of life shows that the client and its permission are still there.
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
			return nil // the client is gone, or reads nothing
		}
		if control.Flush() != nil || over {
			return nil
		}
		pause := time.NewTimer(h.pause)
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
