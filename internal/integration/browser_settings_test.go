//go:build !race

package integration

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/agekey"
	"github.com/tomo-project/backup/manager"
	"github.com/tomo-project/backup/schedule"
)

// remembers makes a past of 30 days for the schedule of every day at 02:30 in Berlin:
// one day was missed, and one backup was made by hand. It returns a file with the key
// that opens them.
func (h *home) remembers() (identityFile string) {
	h.t.Helper()
	// A passphrase takes its time for each of them.
	id, err := age.GenerateX25519Identity()
	require.NoError(h.t, err)
	identityFile = h.path("key")
	require.NoError(h.t, os.WriteFile(identityFile, []byte(id.String()+"\n"), 0o600))
	recipient, err := agekey.ParseRecipients(id.Recipient().String())
	require.NoError(h.t, err)
	identity, err := agekey.NewIdentity(id)
	require.NoError(h.t, err)

	now := h.path("now.json")
	h.tomo("backup", "create", "--recipient", id.Recipient().String(), "--output", now)
	text, err := os.ReadFile(now)
	require.NoError(h.t, err)
	snapshot, err := backup.OpenSnapshot(h.t.Context(), bytes.NewReader(text), backup.OpenOptions{Identities: []backup.Identity{identity}})
	require.NoError(h.t, err)
	defer snapshot.Close()
	store := func(at time.Time, trigger string) {
		var file bytes.Buffer
		_, err := tomoApp.Backup(h.t.Context(), &file, snapshot, backup.BackupOptions{
			Recipients: []backup.Recipient{recipient},
			CreatedAt:  at,
			Metadata:   map[string]string{"trigger": trigger},
		})
		require.NoError(h.t, err)
		require.NoError(h.t, os.WriteFile(filepath.Join(h.backups(), tomoApp.BackupName(at)), file.Bytes(), 0o600))
	}
	require.NoError(h.t, os.MkdirAll(h.backups(), 0o700))
	daily := schedule.Daily{At: 2*time.Hour + 30*time.Minute, Location: berlin(h.t)}
	for at := daily.Next(time.Now().AddDate(0, 0, -30)); at.Before(time.Now()); at = daily.Next(at) {
		switch ago := time.Since(at) / (24 * time.Hour); ago {
		case 9: // somebody has switched it off
		case 4:
			store(at.Add(9*time.Hour+12*time.Minute), manager.TriggerManual)
			fallthrough
		default:
			store(at.Add(3*time.Second), manager.TriggerScheduled)
		}
	}
	return identityFile
}

func berlin(t *testing.T) *time.Location {
	zone, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	return zone
}

func TestBrowserSetsAutomatedBackups(t *testing.T) {
	t.Parallel()
	h := newHome(t, 0)
	key := h.remembers()
	h.serve("--identity", key)
	b := h.ada()
	b.overview()
	b.sees("Off Backups are made by hand only")
	b.sees("Next None")

	// Weekly, in another zone. It is not due yet, so that nothing else runs.
	b.follows("Change settings")
	b.on("Automated Backups")
	b.looks("settings")
	day := time.Now().AddDate(0, 0, 3).Weekday().String()
	b.ticks("On")
	b.ticks("Weekly")
	b.chooses("Day of a weekly backup", map[string]string{"Sunday": "sunday", "Monday": "monday", "Tuesday": "tuesday", "Wednesday": "wednesday", "Thursday": "thursday", "Friday": "friday", "Saturday": "saturday"}[day])
	b.chooses("Time", "03:15")
	b.types("Time zone", "America/New_York")
	b.types("Keep the last … backups", "seven")
	b.follows("Save")
	b.sees(`"seven" is not a number of backups`)
	b.looks("settings-wrong")
	b.types("Keep the last … backups", "7")
	b.follows("Preview what would be deleted")
	past := len(h.names())
	b.sees(fmt.Sprintf("%d files would be deleted.", past-7-1)) // the last 7 stay, and the one made by hand
	b.sees("With the settings above, which are not saved yet.")
	b.looks("settings-preview")

	second := h.path("drive", "tomo")
	b.types("Location 2", second)
	b.follows("Test location 2")
	b.sees("Does not work")
	b.looks("settings-test")
	require.NoError(t, os.MkdirAll(second, 0o700))
	b.follows("Test location 2")
	b.sees("Works")
	b.follows("Save")
	b.on("Backup & Restore")
	b.sees("The settings are saved and in effect.")
	b.sees("On every " + day + " at 03:15 (America/New_York)")
	b.sees("Kept The last 7")
	b.sees(second)
	b.seesNot("Next None")
	require.Len(t, h.names(), past, "nothing is deleted by saving")

	// Every day, as it was.
	b.follows("Change settings")
	b.ticks("Daily")
	b.chooses("Time", "02:30")
	b.types("Time zone", "Europe/Berlin")
	b.types("Keep the last … backups", "")
	b.types("Keep backups for … days", "30")
	b.follows("Save")
	b.sees("On every day at 02:30 (Europe/Berlin)")
	next := schedule.Daily{At: 2*time.Hour + 30*time.Minute, Location: berlin(t)}.Next(time.Now())
	b.sees("Next " + next.Format("Jan 2, 2006, 3:04 AM")) // the person is in Berlin
	b.follows("What would be deleted")
	b.on("Delete old backups")
	b.sees("Nothing would be deleted.")
	b.looks("prune")

	// A backup by hand goes to both places, and the settings outlive the server.
	name := h.creates(b)
	require.FileExists(t, filepath.Join(second, name))
	b.mayBeOffline(true)
	require.NoError(t, h.server.Process.Signal(os.Interrupt))
	require.NoError(t, h.server.Wait())
	h.serve("--identity", key)
	b = h.ada()
	b.overview()
	b.sees("On every day at 02:30 (Europe/Berlin)")
	b.sees("To look at: 1 day")
	b.sees(": missed: was due 02:30")
	require.Equal(t, 1, must[int](b, `document.querySelectorAll(".days .missed").length`))
	require.GreaterOrEqual(t, must[int](b, `document.querySelectorAll(".days .made").length`), 28)
	b.looks("overview")
	for _, scheme := range []string{"light", "dark"} { // as in the README
		b.sized(1280, scheme)
		b.keep("first-"+scheme, chromedp.CaptureScreenshot())
	}
}
