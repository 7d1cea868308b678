package backuphttp

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/manager"
	"github.com/tomo-project/backup/schedule"
)

// A backup that nobody here can open is neither good nor damaged, and the cure is the old
// key and not an older backup.
func TestThePageSaysThatABackupIsSealedWithAnotherKey(t *testing.T) {
	var old string
	h := newHost(t, func(h *host, m *manager.Manager, _ *Options) {
		before := newKey(h)
		past := &manager.Manager{App: m.App, Source: h.store, Locations: m.Locations, Recipients: []backup.Recipient{before}, NoReadme: true}
		b, err := past.Create(h.Context(), backup.BackupOptions{})
		require.NoError(h, err)
		old = b.Name
		m.Schedule = schedule.Monthly{}
	})
	require.Eventually(t, func() bool { o := h.seen(); return o.OtherKey != "" && o.Automated.LastRun != nil }, time.Minute, time.Millisecond)
	require.Contains(t, h.seen().OtherKey, old+" is sealed with another key")
	require.Contains(t, h.seen().OtherKey, "no backup is deleted until somebody accepts")

	j := h.began("backups/"+old+"/verify", nil)
	require.Equal(t, "wrong_key", j.Code)
	for _, b := range h.seen().Backups {
		require.False(t, b.Damaged)
		require.Equal(t, b.Name == old, b.OtherKey, b.Name)
	}
	require.NotEqual(t, old, h.seen().Good, "it is not what the page would restore")

	text := func(path string) string {
		resp, err := http.Get(h.url + path)
		require.NoError(t, err)
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return string(text)
	}
	page := text("")
	require.Contains(t, page, "The key has changed")
	require.Contains(t, page, ">Sealed with another key<")
	page = text("jobs/" + j.ID)
	require.Contains(t, page, "Backup is sealed with another key")
	require.Contains(t, page, "Try the passphrase or the key that was in use when the backup was made")
	require.NotContains(t, page, "Try an older backup")
	require.NotContains(t, page, "does not verify")
	_, err := os.Stat(filepath.Join(string(h.dir), old))
	require.NoError(t, err)
}
