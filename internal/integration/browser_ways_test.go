//go:build !race

package integration

import (
	"os"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"
)

func TestBrowserWorksWithoutJavaScript(t *testing.T) {
	t.Parallel()
	h := newHome(t, 0)
	h.serve()
	b := newTab(t, h.base)
	b.withoutScript()
	b.goes("/login")
	h.logsIn(b, "Servers")
	name := h.creates(b)
	b.sees(time.Now().In(berlin(t)).Format("MST") + ", " + name) // times are in the zone of the schedule
	stored, err := os.ReadFile(h.path(".tomo", "backups", name))
	require.NoError(t, err)
	got, err := os.ReadFile(b.downloads("Download", name))
	require.NoError(t, err)
	require.Equal(t, string(stored), string(got))

	b.edits("nas", func() { b.types("Host name or IP address", "10.9.9.9") })
	b.overview()
	b.follows("Restore Backup…")
	b.leaves("the upload", func() { b.uploads(h.path(".tomo", "backups", name)) })
	b.ticks("Full Restore")
	b.follows("Show what it would do")
	b.on("What the restore will do")
	b.looks("plan-noscript")
	b.types("To go on, type tomo", "something")
	b.follows("Full Restore")
	b.sees("this replaces or deletes data: to do it, type tomo")
	b.types("To go on, type tomo", "tomo")
	b.follows("Full Restore")
	b.on("Restore complete")
	b.goes("/servers")
	b.sees("admin@192.168.10.5:22")

	b.overview()
	b.follows("Change settings")
	b.ticks("On")
	b.ticks("Monthly")
	b.chooses("Time", "04:00")
	b.follows("Preview what would be deleted")
	b.sees("Nothing would be deleted.")
	b.follows("Save")
	b.on("Backup & Restore")
	b.sees("On on the 1st of each month at 04:00 (Europe/Berlin)")
	b.looks("overview-noscript")
}

// tabs presses Tab until the keyboard is at something.
func (b *tab) tabs(name string) {
	b.t.Helper()
	var passed []string
	for range 60 {
		b.keys(kb.Tab)
		at := b.focused()
		if at == name {
			require.True(b.t, must[bool](b, `((s) => s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2)(getComputedStyle(document.activeElement))`), "%s does not show that the keyboard is there", name)
			return
		}
		passed = append(passed, at)
	}
	require.FailNow(b.t, "the keyboard does not come to "+name, "%q", passed)
}

// enters presses a key that leads to another page.
func (b *tab) enters(key, heading string) {
	b.t.Helper()
	b.leaves(heading, func() { b.keys(key) })
	b.on(heading)
}

func TestBrowserWorksWithTheKeyboardAlone(t *testing.T) {
	t.Parallel()
	h := newHome(t, 0)
	h.serve()
	b := newTab(t, h.base)
	b.goes("/settings/backup/")
	b.on("Log in")
	b.tabs("Name")
	b.keys("ada")
	b.tabs("Password")
	b.keys(h.password)
	b.enters(kb.Enter, "Backup & Restore")

	b.tabs("Skip to content")
	b.keys(kb.Enter)
	b.tabs("Logs") // what is above is left out
	b.keys(" ")
	b.tabs("Create Backup")
	b.enters(" ", "Backup created")
	require.Equal(t, "Backup created", b.focused(), "a screen reader says what has come")
	b.sees("Logs: 0")
	b.tabs("Download")
	b.tabs("Back to Backup & Restore")
	b.enters(kb.Enter, "Backup & Restore")

	name := h.names()[0]
	b.tabs("Restore " + name)
	b.enters(kb.Enter, "Restore this backup")
	// Of radio buttons of which none is chosen yet the keyboard comes to the first.
	b.tabs("Full Restore All data of the backup. It replaces ALL current data: what the backup does not have is deleted.")
	b.keys(kb.ArrowDown)
	b.tabs("All")
	b.enters(kb.Enter, "Restore this backup")
	b.sees("tick at least one item to restore")
	require.Contains(t, b.focused(), "There is a problem")
	b.looks("keyboard-problem")
	b.tabs("All")
	b.keys(" ")
	b.tabs("Users 1 record")
	b.tabs("Show what it would do")
	b.enters(" ", "What the restore will do")
	b.sees("No changes")
	b.looks("plan-nothing")
	b.tabs("Cancel")
	b.enters(kb.Enter, "Backup & Restore")
	b.sees("The restore was cancelled. Nothing was changed.")
	require.Equal(t, "The restore was cancelled. Nothing was changed.", b.focused())
	b.looks("done")
}

func TestBrowserIsToldWhatIsNotThere(t *testing.T) {
	t.Parallel()
	h := newHome(t, 0)
	h.serve()
	b := h.ada()
	for path, name := range map[string]string{"nothing": "not-found", "jobs/none": "job-gone", "restore/none": "restore-gone"} {
		b.goes("/settings/backup/" + path)
		b.on("That did not work")
		b.looks(name)
		b.follows("Back to Backup & Restore")
		b.on("Backup & Restore")
	}
	// Every way to make a backup fail is a folder that is none.
	require.NoError(t, os.RemoveAll(h.backups()))
	require.NoError(t, os.WriteFile(h.backups(), nil, 0o600))
	b.overview()
	b.sees("Not all locations can be reached")
	b.sees("None can be seen now.")
	b.looks("overview-unreachable")
	b.follows("Create Backup")
	b.on("Backup failed")
	b.sees("What to check:")
	b.looks("backup-failed")
}
