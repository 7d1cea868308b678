//go:build !race

package integration

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBrowserMakesVerifiesDownloadsAndDeletesABackup(t *testing.T) {
	t.Parallel()
	h := newHome(t, 0)
	h.serve()
	b := newTab(t, h.base)
	b.goes("/settings/backup/")
	b.on("Log in")
	b.looks("login")
	h.logsIn(b, "Backup & Restore") // where the person wanted to go
	b.sees("There are no backups yet.")
	b.looks("overview-empty")

	b.ticks("Logs")
	b.follows("Create Backup")
	b.on("Backup created")
	b.sees("Servers: 5")
	b.sees("Logs: 0")
	require.Len(t, h.names(), 1)
	name := h.names()[0]
	b.sees(name)
	b.looks("backup-created")
	stored, err := os.ReadFile(filepath.Join(h.backups(), name))
	require.NoError(t, err)
	got, err := os.ReadFile(b.downloads("Download", name))
	require.NoError(t, err)
	require.Equal(t, string(stored), string(got))

	b.follows("Back to Backup & Restore")
	b.sees("Not verified yet")
	b.follows("Verify " + name)
	b.on("Backup verified")
	b.looks("backup-verified")
	b.follows("Back to Backup & Restore")
	b.sees("Verified")
	b.seesNot("Not verified yet")

	b.follows("Delete " + name)
	b.on("Delete this backup?")
	b.sees("This is the only good backup.")
	b.looks("delete-only")
	b.types("To go on, type tomo", "tomo")
	b.follows("Keep it")
	b.follows("Create Backup")
	b.on("Backup created")
	require.Len(t, h.names(), 2)
	b.follows("Back to Backup & Restore")
	b.follows("Delete " + name)
	b.sees("That cannot be undone.")
	b.looks("delete")
	b.follows("Delete this backup")
	b.on("Backup & Restore")
	b.sees("The backup was deleted.")
	b.seesNot(name)
	require.NotContains(t, h.names(), name)
	require.NoFileExists(t, filepath.Join(h.backups(), name))
}
