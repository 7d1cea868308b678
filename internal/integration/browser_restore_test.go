//go:build !race

package integration

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// edits changes a server in Tomo.
func (b *tab) edits(server string, change func()) {
	b.t.Helper()
	b.goes("/servers")
	b.follows("Edit " + server)
	change()
	b.follows("Save")
	b.on("Servers")
}

// creates a backup and returns its name.
func (h *home) creates(b *tab) string {
	h.t.Helper()
	before := len(h.names())
	b.overview()
	b.follows("Create Backup")
	b.on("Backup created")
	names := h.names()
	require.Len(h.t, names, before+1)
	return names[before]
}

func TestBrowserRestoresAllAndTakesItBack(t *testing.T) {
	t.Parallel()
	h := newHome(t, 0)
	h.serve()
	b := h.ada()
	b.looks("tomo-servers")
	name := h.creates(b)
	b.edits("nas", func() {
		b.looks("tomo-server")
		b.types("Host name or IP address", "10.9.9.9")
	})
	b.sees("admin@10.9.9.9:22")

	b.overview()
	b.sees("The newest full backup is of")
	b.follows("Restore this backup")
	b.on("Restore this backup")
	b.sees("It was read to its end, and can be restored.")
	b.looks("restore")
	b.ticks("Full Restore")
	b.follows("Show what it would do")
	b.on("What the restore will do")
	b.sees(`"10.9.9.9" becomes → "192.168.10.5"`)
	b.sees("Full restore replaces ALL current data.")
	b.looks("plan")
	b.waits("a button that waits for the word", `[...document.querySelectorAll("button")].find((e) => e.innerText === "Full Restore").disabled`)
	b.types("To go on, type tomo", "tomo")
	b.follows("Full Restore")
	b.on("Restore complete")
	b.sees("Servers Replace 0 1 0 0 4")
	b.looks("report")

	// The application has restarted, and knows ada and what was done.
	report := must[string](b, "location.pathname")
	b.goes("/servers")
	b.sees("admin@192.168.10.5:22")
	b.overview()
	b.sees("made before a restore")
	b.sees("Undo the last restore")
	b.goes(report)
	b.on("Restore complete")
	b.sees("What was there before is kept as")
	b.follows("Undo")
	b.on("What undoing will do")
	b.sees(`"192.168.10.5" becomes → "10.9.9.9"`)
	b.looks("plan-undo")
	if word := `[...document.querySelectorAll("[data-confirm]")].length`; must[int](b, word) > 0 {
		b.types("To go on, type tomo", "tomo")
	}
	b.follows("Undo now")
	b.on("Restore undone")
	b.goes("/servers")
	b.sees("admin@10.9.9.9:22")
	require.Contains(t, h.names(), name)
}

// adds a server in Tomo.
func (b *tab) adds(server, address string) {
	b.t.Helper()
	b.goes("/servers")
	b.follows("Add a server")
	b.types("Name", server)
	b.types("Host name or IP address", address)
	b.types("User on the server", "root")
	b.follows("Add")
	b.on("Servers")
}

func TestBrowserRestoresSomeOfIt(t *testing.T) {
	t.Parallel()
	h := newHome(t, 0)
	h.serve()
	b := h.ada()
	b.adds("spare", "10.0.0.6")
	name := h.creates(b)
	b.edits("nas", func() {
		b.types("Host name or IP address", "10.9.9.9")
		b.types("Password", "another made-up password")
	})
	b.adds("later", "10.0.0.7")
	b.follows("Delete spare")
	b.follows("Delete")
	b.on("Servers")
	b.seesNot("spare")

	b.overview()
	b.follows("Restore " + name)
	b.ticks("Selective Restore")
	b.looks("restore-selective")
	b.follows("Show what it would do")
	b.sees("tick at least one item to restore")
	b.looks("restore-nothing")
	b.ticks("Servers")
	b.ticks("Applications")
	b.ticks("Skip duplicates")
	b.follows("Show what it would do")
	b.on("What the restore will do")
	b.sees("Servers Skip duplicates 1 0 0 1 4")
	b.sees("Servers: 1 in conflict, what is here stays")
	b.presses("Servers: 1 in conflict, what is here stays")
	b.sees("Kept as it is Servers nas")
	b.sees(`"10.9.9.9" here, in the backup ≠ "192.168.10.5"`)
	b.sees(`/password "(secret)" here, in the backup ≠ "(secret)"`)
	b.looks("plan-skip")
	b.follows("Change the selection")
	b.ticks("Merge")
	b.follows("Show what it would do")
	b.on("What the restore will do")
	b.sees("Servers Merge 1 1 0 0 4")
	b.sees(`"10.9.9.9" becomes → "192.168.10.5"`)
	b.sees(`/password "(secret)" becomes → "(secret)"`)
	b.looks("plan-merge")
	require.NotContains(t, must[string](b, "document.documentElement.outerHTML"), "made-up")
	b.follows("Restore Selected")
	b.on("Restore complete")
	b.sees("Servers Merge 1 1 0 0 4")
	b.looks("report-selected")
	b.goes("/servers")
	for _, there := range []string{"admin@192.168.10.5:22", "root@10.0.0.6:22", "root@10.0.0.7:22"} {
		b.sees(there)
	}
}

// must is an expression that has a worth.
func must[T any](b *tab, expression string) T {
	b.t.Helper()
	value, err := evaluate[T](b, expression)
	require.NoError(b.t, err)
	return value
}

func TestBrowserTakesFiles(t *testing.T) {
	t.Parallel()
	h := newHome(t, 0)
	files := t.TempDir()
	good := filepath.Join(files, "good.json")
	h.tomo("backup", "create", "--output", good)
	text, err := os.ReadFile(good)
	require.NoError(t, err)
	damaged := filepath.Join(files, "damaged.json")
	broken := bytes.Replace(text, []byte(`"name":"media"`), []byte(`"name":"medi`), 1)
	require.NotEqual(t, string(text), string(broken))
	require.NoError(t, os.WriteFile(damaged, broken, 0o600))
	none := filepath.Join(files, "holiday.jpg")
	require.NoError(t, os.WriteFile(none, []byte("\xff\xd8\xff\xe0 no backup at all"), 0o600))
	foreign := filepath.Join(files, "foreign.json")
	other := h.command("backup", "create", "--output", foreign)
	other.Env = append(other.Env, "TOMO_BACKUP_PASSPHRASE=the passphrase of another machine")
	h.run(other)

	h.serve()
	b := h.ada()
	b.edits("nas", func() { b.types("Host name or IP address", "10.9.9.9") })
	choose := func() {
		b.overview()
		b.follows("Restore Backup…")
		b.on("Restore Backup")
	}

	choose()
	b.looks("choose")
	b.leaves("the upload", func() { b.uploads(good) })
	b.on("Restore this backup")
	b.sees("It was read to its end, and can be restored.")
	b.sees("good.json")

	choose()
	b.leaves("the upload", func() { b.uploads(none) })
	b.sees("It cannot be restored here.")
	b.sees("this file is not a backup of this application")
	b.seesNot("Show what it would do")
	b.looks("no-backup")

	choose()
	b.leaves("the upload", func() { b.uploads(foreign) })
	b.sees("Open it with a key to restore all of it.")
	b.looks("locked")
	b.types("Passphrase", "a wrong one")
	b.follows("Open the backup")
	b.sees("There is a problem")
	b.sees("wrong key: none of the given keys opens this snapshot")
	b.looks("wrong-key")
	b.types("Passphrase", "the passphrase of another machine")
	b.follows("Open the backup")
	b.sees("It was read to its end, and can be restored.")

	choose()
	b.leaves("the upload", func() { b.uploads(damaged) })
	b.sees("The file has changed since it was written, or is incomplete. It cannot be restored as it is.")
	b.looks("damaged")
	b.follows("Save what is intact")
	b.on("Saved what is intact")
	b.sees("Servers 4 1 0")
	b.looks("salvaged")
	b.follows("Look into what was saved")
	b.on("Restore this backup")
	b.sees("Not complete")
	b.ticks("Selective Restore")
	b.ticks("Servers")
	b.ticks("Merge")
	b.looks("restore-salvaged")
	b.follows("Show what it would do")
	b.on("What the restore will do")
	b.sees(`"10.9.9.9" becomes → "192.168.10.5"`)
	b.follows("Restore Selected")
	b.on("Restore complete")
	b.goes("/servers")
	b.sees("admin@192.168.10.5:22")
	b.sees("media")
}
