package backuphttp

import (
	"net/http"

	"github.com/tomo-project/backup/manager"
)

func (h *Handler) getSettings(w http.ResponseWriter, r *http.Request) error {
	return found(w, h.settings(), nil)
}

// readSettings requires all members: a client that forgets "enabled" must not turn the
// backups off.
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
		Pruned  []manager.Pruned `json:"pruned"`
		Problem string           `json:"problem,omitempty"` // why nothing would be deleted now
	}{}
	if out.Pruned, err = h.prunePreview(r.Context(), s); err != nil && out.Pruned != nil {
		out.Problem, err = err.Error(), nil
	}
	return found(w, out, err)
}
