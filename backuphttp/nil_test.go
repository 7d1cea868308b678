package backuphttp

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/niltest"
	"github.com/tomo-project/backup/manager"
)

// A noAutomation is an Automation whose methods must not be called.
type noAutomation struct{ settings Settings }

func (a *noAutomation) Settings(context.Context) (Settings, error) { return a.settings, nil }

func (a *noAutomation) Save(_ context.Context, s Settings) error { a.settings = s; return nil }

func (a *noAutomation) Manager(context.Context, Settings) (*manager.Manager, error) { return nil, nil }

// Nothing that is nil makes the page panic.
func TestWhatIsNilIsAnError(t *testing.T) {
	working := makeHost(t, nil)
	niltest.Run(t, niltest.Package{
		Funcs:     map[string]any{"New": New},
		Receivers: func(*testing.T) []any { return []any{working.Handler, &Settings{}} },
		Args: func(*testing.T) []any {
			opts := working.opts
			opts.Manager = &manager.Manager{App: testApp(), Source: working.store, Sink: working.store, Locations: working.opts.Manager.Locations}
			return []any{opts, opts.Manager}
		},
		TypedNils: []any{(*noAutomation)(nil)},
		Optional:  []string{"Options.Automation", "Options.Client", "Options.Identities", "Options.Logger"},
		Skip: map[string]string{
			"Handler.ServeHTTP": "net/http calls it, with what is not nil",
			"Handler.Run":       "it runs until its context is done",
		},
	})
	_, err := New(Options{Authorize: working.opts.Authorize, Automation: &noAutomation{}})
	require.ErrorContains(t, err, "neither a Manager nor an error")
	for _, h := range []*Handler{nil, {}} {
		require.ErrorIs(t, h.Run(t.Context()), backup.ErrInvalid)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		require.Equal(t, http.StatusInternalServerError, w.Code)
	}
}
