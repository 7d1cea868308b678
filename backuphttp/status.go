package backuphttp

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/tomo-project/backup/manager"
)

// How well the data is protected, for people, programs and monitors.

func (h *Handler) getStatus(w http.ResponseWriter, r *http.Request) error {
	s, err := h.now().Status(r.Context())
	return found(w, s, err)
}

// unknown is the health if nobody can tell how well the data is protected.
const unknown = "unknown"

// getHealth answers with the verdict alone, and with 200 only if the data is protected:
// many monitors look at nothing but the status.
func (h *Handler) getHealth(w http.ResponseWriter, r *http.Request) error {
	verdict := h.health.ask(h.now())
	status := http.StatusServiceUnavailable
	if verdict == string(manager.Protected) {
		status = http.StatusOK
	}
	answer(w, status, map[string]string{"status": verdict})
	return nil
}

// A health is the last verdict that a monitor was told.
type health struct {
	mu      sync.Mutex
	of      *manager.Manager
	at      time.Time
	verdict string
}

// healthy is how long a verdict is told again. Perhaps anybody may ask, so asking must not
// keep the Locations busy.
const healthy = 30 * time.Second

// healthPatience is how long the Locations have for a verdict.
const healthPatience = 2 * time.Minute

func (h *health) ask(m *manager.Manager) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now := time.Now(); h.of == m && now.Sub(h.at) < healthy && !now.Before(h.at) {
		return h.verdict
	}
	// Who asks first may go away: the verdict is for the others too.
	ctx, cancel := context.WithTimeout(context.Background(), healthPatience)
	defer cancel()
	s, err := m.Status(ctx)
	h.of, h.at, h.verdict = m, time.Now(), string(s.Verdict)
	if err != nil {
		h.verdict = unknown
	}
	return h.verdict
}
