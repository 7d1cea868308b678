package backuphttp

import (
	"bytes"
	"fmt"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/envelope"
	"github.com/tomo-project/backup/internal/filename"
	"github.com/tomo-project/backup/manager"
)

// BenchmarkPages says what the pages of a large host cost: how long each takes, and how
// many bytes it has.
func BenchmarkPages(b *testing.B) {
	const records, backups = 100_000, 1000
	h := makeHost(b, func(_ *host, m *manager.Manager, _ *Options) { m.Logger = nil })
	h.run()
	at := time.Now().Truncate(time.Second).Add(-24 * time.Hour)
	for i := range backups {
		at := at.Add(-time.Duration(i) * time.Hour)
		var file bytes.Buffer
		_, err := h.now().App.Backup(b.Context(), &file, h.store, backup.BackupOptions{
			CreatedAt: at, Recipients: []backup.Recipient{h.key}, Metadata: map[string]string{backup.MetaTrigger: manager.TriggerScheduled},
		})
		require.NoError(b, err)
		require.NoError(b, os.WriteFile(filepath.Join(string(h.dir), filename.New("homelab", at, 1, envelope.Kind{}).String()), file.Bytes(), 0o600))
	}
	for i := range records {
		id := fmt.Sprintf("m%06d", i)
		h.store["servers"][id] = fmt.Sprintf(`{"id":%q,"name":"node %d","password":"planted-secret-3"}`, id, i)
	}
	made, err := h.now().Create(b.Context(), backup.BackupOptions{})
	require.NoError(b, err)
	for i := range records {
		id := fmt.Sprintf("m%06d", i)
		h.store["servers"][id] = fmt.Sprintf(`{"id":%q,"name":"other %d","password":"planted-secret-3"}`, id, i)
	}

	ask := func(method, path, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "/"+path, strings.NewReader(body))
		if body != "" {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	var looked, plan string
	for _, page := range []struct{ name, method, path, body string }{
		{"overview", "GET", "", ""},
		{"oldest backups", "GET", "?from=99999", ""},
		{"overview as JSON", "GET", "api/overview", ""},
		{"status", "GET", "api/status", ""},
		{"choose", "GET", "restore", ""},
		{"look", "POST", "look", "name=" + url.QueryEscape(made.Name)},
		{"restore", "GET", "AT", ""},
		{"make a plan", "POST", "AT/plan", "mode=full"},
		{"first changes", "GET", "AT/plan", ""},
		{"changes at 50,000", "GET", "AT/plan?from=50000", ""},
		{"last changes", "GET", "AT/plan?from=99900", ""},
		{"changes at 50,000 as JSON", "GET", "api/AT/changes?plan=PLAN&from=50000", ""},
	} {
		b.Run(page.name, func(b *testing.B) {
			var w *httptest.ResponseRecorder
			for b.Loop() {
				w = ask(page.method, strings.NewReplacer("api/AT", "api/restores/"+strings.TrimPrefix(looked, "restore/"), "AT", looked, "PLAN", plan).Replace(page.path), page.body)
			}
			require.Less(b, w.Code, 400, w.Body.String())
			b.ReportMetric(float64(w.Body.Len()), "bytes")
			switch page.name {
			case "look":
				looked = strings.TrimPrefix(w.Header().Get("Location"), "/")
			case "make a plan":
				id := strings.TrimPrefix(looked, "restore/")
				info, err := h.restore(id)
				require.NoError(b, err)
				plan = info.Plan.ID
			}
		})
	}
}
