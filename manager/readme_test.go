package manager_test

import (
	"crypto/sha256"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
)

const readmeName = "homelab-backup-README.txt"

// explaining is managed with a README.
func explaining(locations ...*shelf) (*manager.Manager, *eventLog) {
	m, _, events := managed(locations...)
	m.NoReadme = false
	return m, events
}

// signed ends a text as a README does.
func signed(text string, revision int) string {
	return fmt.Sprintf("%sRevision %d. SHA-256 of the lines above: %x\n", text, revision, sha256.Sum256([]byte(text)))
}

func TestEachLocationHasAReadme(t *testing.T) {
	bubble(t, func(t *testing.T) {
		disk, drive := newShelf("disk"), newShelf("drive")
		m, events := explaining(disk, drive)
		m.Retention = backup.Retention{Last: 1}
		mustList(t, m)
		require.Empty(t, disk.all(t), "whoever only looks writes nothing")
		drive.set(errDown, nil)
		mustCreate(t, m)
		drive.set(nil, nil)
		time.Sleep(time.Minute)
		made := mustCreate(t, m)
		text := disk.files()[readmeName]
		require.Equal(t, text, drive.files()[readmeName])

		require.LessOrEqual(t, strings.Count(text, "\n"), 60)
		require.Contains(t, text, `"homelab"`)
		require.Contains(t, text, backup.FormatAddress)
		require.NotContains(t, text, "{{")
		for line := range strings.Lines(text) {
			require.LessOrEqual(t, len(line), 110, line)
		}
		body, _, _ := strings.Cut(text, "Revision ")
		require.Equal(t, text, signed(body, 4), "whoever changes the text raises its revision")
		require.NoError(t, location.CheckName(readmeName))
		for _, command := range []string{"  age -d", "  python3 read_snapshot.py"} {
			require.Contains(t, text, "  umask 077\n"+command, "whoever else uses the machine must not read what the command writes")
		}

		// It is no backup.
		require.NotContains(t, namesOf(mustList(t, m)), readmeName)
		_, err := m.Verify(t.Context(), made.Name)
		require.NoError(t, err)
		pruned, err := m.Prune(t.Context(), manager.PruneOptions{Manual: true})
		require.NoError(t, err)
		require.Len(t, pruned[0].Deleted, 1)
		require.NoError(t, m.Delete(t.Context(), made.Name))
		require.Error(t, m.Delete(t.Context(), readmeName))
		_, err = m.Open(t.Context(), readmeName)
		require.Error(t, err)
		require.Equal(t, []string{readmeName}, disk.names(t))
		require.Len(t, events.of(manager.EventFailed), 2, "the drive was down once, and nobody deletes the README")
	})
}

func TestEveryOperationThatStoresABackupKeepsTheReadme(t *testing.T) {
	bubble(t, func(t *testing.T) {
		disk := newShelf("disk")
		m, _ := explaining(disk)
		m.Database, m.DatabaseInClear = &textDatabase{text: "all of it."}, true
		kept := func(what string) {
			t.Helper()
			require.Contains(t, disk.files(), readmeName, what)
			delete(disk.files(), readmeName)
			time.Sleep(time.Minute)
		}
		made := mustCreate(t, m)
		kept("create")
		_, err := m.CopyDatabase(t.Context())
		require.NoError(t, err)
		kept("copy database")
		_, err = m.Rewrap(t.Context(), made.Name, manager.RewrapOptions{})
		require.NoError(t, err)
		kept("rewrap")
		m.Sink.(backuptest.MapStore)["servers"]["s1"] = `{"id":"s1","name":"renamed"}`
		s, err := m.Open(t.Context(), made.Name)
		require.NoError(t, err)
		defer s.Close()
		report, err := m.Restore(t.Context(), s, backup.RestoreOptions{Strategy: backup.Replace})
		require.NoError(t, err)
		require.NotEmpty(t, report.UndoneBy)
		kept("restore")
	})
}

func TestAReadmeThatAPersonChangedIsLeftAlone(t *testing.T) {
	const old = "These files are backups.\n"
	first := newShelf("disk")
	m, _ := explaining(first)
	mustCreate(t, m)
	current := first.files()[readmeName]
	for name, test := range map[string]struct{ was, is string }{
		"changed":                       {current + "Ask Ada.\n", ""},
		"changed in one letter":         {strings.Replace(current, "Please", "please", 1), ""},
		"a file of a person's own":      {"Ask Ada.\n", ""},
		"an older text":                 {signed(old, 0), current},
		"an older text, changed":        {"Ask Ada.\n" + signed(old, 0), ""},
		"an older text without its end": {old, ""},
		"the text of a newer version":   {signed(old, 4), ""},
		"a text with a huge revision":   {strings.Replace(signed(old, 0), "Revision 0", "Revision 99999999999999999999", 1), ""},
		"an empty file":                 {"", ""},
		"a large file":                  {strings.Repeat("x", 1<<20) + signed(old, 0), ""},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				disk := newShelf("disk")
				disk.files()[readmeName] = test.was
				m, events := explaining(disk)
				mustCreate(t, m)
				if test.is == "" {
					test.is = test.was
				}
				require.Equal(t, test.is, disk.files()[readmeName])
				require.Empty(t, events.of(manager.EventFailed))
			})
		})
	}
}

func TestTheReadmeCanBeSwitchedOff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		disk := newShelf("disk")
		m, _ := explaining(disk)
		m.NoReadme = true
		made := mustCreate(t, m)
		require.Equal(t, []string{made.Name}, disk.all(t))
		disk.files()[readmeName] = signed("These files are backups.\n", 0)
		time.Sleep(time.Minute)
		mustCreate(t, m)
		require.Equal(t, signed("These files are backups.\n", 0), disk.files()[readmeName], "a README that is there stays")
	})
}

// A location that takes no README has its backups all the same.
func TestAReadmeThatCannotBeKeptIsNoError(t *testing.T) {
	const old = "These files are backups.\n"
	for name, test := range map[string]struct {
		was     string
		failing func(*shelf) location.Location
	}{
		"it cannot be stored": {"", func(s *shelf) location.Location {
			s.set(nil, func(name string, r io.Reader) error {
				if name == readmeName {
					return errDown
				}
				return s.Location.Put(t.Context(), name, r)
			})
			return s
		}},
		"it cannot be replaced": {signed(old, 0), func(s *shelf) location.Location {
			s.Location = undeletable{s.Location, readmeName}
			return s
		}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				disk := newShelf("disk")
				if test.was != "" {
					disk.files()[readmeName] = test.was
				}
				m, events := explaining()
				m.Locations = []location.Location{test.failing(disk)}
				made := mustCreate(t, m)
				require.Equal(t, []manager.Copy{{Location: "disk"}}, made.Copies)
				failed := events.of(manager.EventFailed)
				require.Len(t, failed, 1)
				require.Equal(t, "disk", failed[0].Location)
				require.ErrorContains(t, failed[0].Err, readmeName)
				r, err := disk.Open(t.Context(), readmeName)
				if test.was != "" {
					require.NoError(t, err)
					text, err := io.ReadAll(r)
					require.NoError(t, err)
					require.Equal(t, test.was, string(text))
				}
			})
		})
	}
}
