package backuphttp

import (
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
)

// asks asks for the health, and forgets what was told before.
func (h *host) asks(status int) string {
	h.Helper()
	h.Handler.health.at = time.Time{}
	var got struct{ Status string }
	h.do(status, "GET", "health", nil).into(h, &got)
	return got.Status
}

func TestTheStatusIsOnThePageInTheAPIAndForMonitors(t *testing.T) {
	h := newHost(t, func(h *host, m *manager.Manager, _ *Options) {
		m.Locations = append(m.Locations, location.Dir(t.TempDir()))
	})
	var s manager.Status
	h.get("status").into(t, &s)
	require.Equal(t, manager.Unprotected, s.Verdict)
	require.Equal(t, "unprotected", h.asks(http.StatusServiceUnavailable))

	name := h.made()
	h.get("status").into(t, &s)
	require.Equal(t, manager.AtRisk, s.Verdict, "nobody has tried it")
	require.Equal(t, "at risk", h.asks(http.StatusServiceUnavailable))

	require.Empty(t, h.began("backups/"+name+"/verify", nil).Error)
	s = manager.Status{}
	h.get("status").into(t, &s)
	require.Equal(t, manager.Protected, s.Verdict, s.Reasons)
	require.Equal(t, "protected", h.asks(http.StatusOK))

	resp, err := http.Get(h.url)
	require.NoError(t, err)
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Contains(t, string(page), "Protected: the newest good full backup is less than a minute old, with 2 copies")
}

// Whoever may ask for the health alone learns a word, and cannot keep the locations busy.
func TestAMonitorLearnsAWordAndNothingElse(t *testing.T) {
	h := newHost(t, nil)
	for _, a := range []Action{View, Create, Download, Restore, Delete, Configure} {
		h.forbid(a, errors.New("no"))
	}
	require.JSONEq(t, `{"status":"unprotected"}`, h.do(http.StatusServiceUnavailable, "GET", "health", nil).text)
	require.Equal(t, "forbidden", h.do(http.StatusForbidden, "GET", "status", nil).code(t))
	first := h.Handler.health.at
	h.do(http.StatusServiceUnavailable, "GET", "health", nil)
	require.Equal(t, first, h.Handler.health.at, "the answer is told again")
	h.forbid(Health, ErrLogin)
	require.Equal(t, "login", h.do(http.StatusUnauthorized, "GET", "health", nil).code(t), "by default nobody learns anything")
}

func TestWhatWasVerifiedIsKnownAfterARestart(t *testing.T) {
	h := newHost(t, nil)
	name := h.made()
	require.Nil(t, h.seen().Backups[0].Verified)
	require.Empty(t, h.began("backups/"+name+"/verify", nil).Error)
	clear(h.Handler.verdicts)
	require.NotNil(t, h.seen().Backups[0].Verified)
}
