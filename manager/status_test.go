package manager_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
	"github.com/tomo-project/backup/schedule"
)

func mustStatus(t testing.TB, m *manager.Manager) manager.Status {
	t.Helper()
	s, err := m.Status(t.Context())
	require.NoError(t, err)
	return s
}

func codes(s manager.Status) []string {
	list := []string{}
	for _, r := range s.Reasons {
		list = append(list, r.Code)
	}
	return list
}

// safe returns a Manager of two shelves whose data is protected.
func safe(t *testing.T) (m *manager.Manager, a, b *shelf, host backuptest.MapStore) {
	a, b = newShelf("a"), newShelf("b")
	m, host, _ = managed(a, b)
	_, err := m.Verify(t.Context(), mustCreate(t, m).Name)
	require.NoError(t, err)
	require.Equal(t, manager.Protected, mustStatus(t, m).Verdict, codes(mustStatus(t, m)))
	time.Sleep(time.Hour)
	return m, a, b, host
}

func TestTheStatusSaysProtectedOnlyIfNothingIsWrong(t *testing.T) {
	for want, spoil := range map[string]func(t *testing.T, m *manager.Manager, a, b *shelf, host backuptest.MapStore){
		"overdue": func(t *testing.T, m *manager.Manager, _, _ *shelf, _ backuptest.MapStore) {
			m.Schedule = schedule.Daily{At: 3 * time.Hour}
			time.Sleep(26 * time.Hour)
		},
		"down": func(_ *testing.T, _ *manager.Manager, _, b *shelf, _ backuptest.MapStore) { b.set(errDown, nil) },
		"one copy": func(t *testing.T, m *manager.Manager, a, _ *shelf, _ backuptest.MapStore) {
			m.Locations = []location.Location{a}
		},
		"wrong or unchecked key": func(t *testing.T, m *manager.Manager, _, _ *shelf, _ backuptest.MapStore) {
			m.Recipients = []backup.Recipient{testKey("other")}
			mustCreate(t, m)
		},
		"shrunk": func(t *testing.T, m *manager.Manager, _, _ *shelf, host backuptest.MapStore) {
			clear(host["applications"])
			mustCreate(t, m)
		},
		"unproven": func(t *testing.T, m *manager.Manager, _, _ *shelf, _ backuptest.MapStore) {
			time.Sleep(36 * 24 * time.Hour)
			mustCreate(t, m)
		},
		"drill": func(_ *testing.T, m *manager.Manager, _, _ *shelf, _ backuptest.MapStore) {
			m.Drills.Schedule = schedule.Monthly{}
		},
		"rehearsal": func(_ *testing.T, m *manager.Manager, _, _ *shelf, _ backuptest.MapStore) {
			m.Rehearsals = schedule.Monthly{}
		},
	} {
		t.Run(want, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m, a, b, host := safe(t)
				spoil(t, m, a, b, host)
				s := mustStatus(t, m)
				require.Equal(t, manager.AtRisk, s.Verdict, codes(s))
				if want == "wrong or unchecked key" {
					require.NotSubset(t, []string{"opens", "not needed"}, []string{string(s.Key)})
					return
				}
				require.Contains(t, codes(s), want)
				require.Equal(t, want == "overdue", s.Overdue)
				require.Equal(t, want == "shrunk", s.HeldUp != "")
			})
		})
	}
}

func TestAPartialBackupIsNoProtection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, _, _ := managed(newShelf("a"), newShelf("b"))
		made, err := m.Create(t.Context(), backup.BackupOptions{Only: []string{"servers"}})
		require.NoError(t, err)
		_, err = m.Verify(t.Context(), made.Name)
		require.NoError(t, err)
		s := mustStatus(t, m)
		require.Equal(t, manager.Unprotected, s.Verdict)
		require.Equal(t, []string{"none"}, codes(s))
		require.Empty(t, s.Backup)
		require.Nil(t, s.Verified, "it proves nothing about a full one")

		time.Sleep(time.Hour)
		full := mustCreate(t, m)
		time.Sleep(time.Hour)
		_, err = m.Create(t.Context(), backup.BackupOptions{Only: []string{"servers"}})
		require.NoError(t, err)
		s = mustStatus(t, m)
		require.Equal(t, full.Name, s.Backup)
		require.Equal(t, time.Hour, s.Age)
	})
}

func TestBackupsOutOfReachProtectNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, a, b, _ := safe(t)
		a.set(errDown, nil)
		b.set(errDown, nil)
		s := mustStatus(t, m)
		require.Equal(t, manager.Unprotected, s.Verdict)
		require.Equal(t, []string{"out of reach", "down", "down"}, codes(s))
		require.Contains(t, s.Reasons[1].Text, "no route to host")

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := m.Status(ctx)
		require.ErrorIs(t, err, context.Canceled, "nobody can tell")
	})
}

func TestAnotherInstallationsBackupProtectsNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, a, b, _ := safe(t)
		m.Installation = "theirs"
		time.Sleep(time.Minute)
		mustCreate(t, m)
		mine, _, _ := managed(a, b)
		mine.Installation = "mine"
		time.Sleep(time.Minute)
		require.NotEqual(t, mustList(t, m)[0].Name, mustStatus(t, mine).Backup)
	})
}

func TestARestartForgetsNoVerification(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, a, b, _ := safe(t)
		name := mustList(t, m)[0].Name
		when := time.Now().Add(-time.Hour).UTC()
		again, _, _ := managed(a, b)
		s := mustStatus(t, again)
		require.Equal(t, &manager.Marked{Backup: name, At: when}, s.Verified)
		require.Equal(t, manager.KeyOpens, s.Key)
		require.Equal(t, when, *mustList(t, again)[0].VerifiedAt)

		_, err := again.Verify(t.Context(), name)
		require.NoError(t, err)
		require.Equal(t, when.Add(time.Hour), mustStatus(t, m).Verified.At, "the last time counts")

		a.alter(t, name, func(text string) string { return text[:len(text)/2] })
		b.alter(t, name, func(text string) string { return text[:len(text)/2] })
		_, err = again.Verify(t.Context(), name)
		require.ErrorIs(t, err, backup.ErrDamaged)
		third, _, _ := managed(a, b)
		s = mustStatus(t, third)
		require.Nil(t, s.Verified)
		require.Equal(t, manager.Unprotected, s.Verdict)
	})
}

func TestWithoutAKeyABackupIsNotCalledVerified(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, _, _ := managed(newShelf("a"), newShelf("b"))
		name := mustCreate(t, m).Name
		m.Identities = nil
		_, err := m.Verify(t.Context(), name)
		require.NoError(t, err)
		s := mustStatus(t, m)
		require.Nil(t, s.Verified)
		require.Equal(t, []string{"key unchecked", "unproven"}, codes(s))
	})
}

// diskShelf is a shelf that knows its disk.
type diskShelf struct {
	*shelf
	same bool
	err  error
}

func (d diskShelf) SameDisk(context.Context, string) (bool, error) { return d.same, d.err }

func TestCopiesOnTheDiskOfTheDataAreNoProtection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, a, b, _ := safe(t)
		m.DataPath = "/srv/data"
		m.Locations = []location.Location{diskShelf{a, true, nil}, diskShelf{b, true, nil}}
		s := mustStatus(t, m)
		require.Equal(t, []string{"same disk"}, codes(s))
		require.Empty(t, s.Unchecked)

		m.Locations[1] = diskShelf{b, false, nil}
		s = mustStatus(t, m)
		require.Equal(t, manager.Protected, s.Verdict)
		require.Empty(t, s.Unchecked)
		require.Contains(t, s.String(), "1 of them on another file system than the data")

		m.Locations[1] = diskShelf{b, false, errors.ErrUnsupported}
		s = mustStatus(t, m)
		require.Equal(t, manager.Protected, s.Verdict)
		require.Len(t, s.Unchecked, 1, "what nobody can tell is said")
		require.NotContains(t, s.String(), "file system")
	})
}

func TestAFolderTellsWhetherItIsOnTheDiskOfAFile(t *testing.T) {
	dir, other := t.TempDir(), "/proc"
	data := filepath.Join(dir, "not", "there", "app.db")
	same, err := location.Dir(dir).SameDisk(t.Context(), data)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("this system does not number its file systems")
	}
	require.NoError(t, err)
	require.True(t, same)
	_, err = location.Dir(data).SameDisk(t.Context(), dir)
	require.ErrorIs(t, err, os.ErrNotExist, "a drive that is not mounted is on no disk")
	if _, err := os.Stat(other); err == nil {
		same, err = location.Dir(dir).SameDisk(t.Context(), other)
		require.NoError(t, err)
		require.False(t, same)
	}
}

func TestTheStatusReadsWellAndHasAJSONForm(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, _, _, _ := safe(t)
		s := mustStatus(t, m)
		require.Equal(t, "Protected: the newest good full backup is 60 minutes old, with 2 copies", s.String())
		text, err := json.Marshal(s)
		require.NoError(t, err)
		require.JSONEq(t, `{"verdict":"protected","reasons":[],"at":"2000-01-01T01:00:00Z",
			"unchecked":["Nobody can tell of each copy whether it is on the disk of the data."],
			"backup":"homelab-backup-2000-01-01T00-00-00.json","created_at":"2000-01-01T00:00:00Z","age_ns":3600000000000,
			"locations":[{"location":"a","whole":true},{"location":"b","whole":true}],"key":"opens",
			"verified":{"backup":"homelab-backup-2000-01-01T00-00-00.json","at":"2000-01-01T00:00:00Z"}}`, string(text))
		require.Equal(t, "Nobody has looked", manager.Status{}.String())
	})
}

// What the page recommends and what Status goes by is one backup.
func TestABackupThatHasShrunkIsNotTheNewestGoodOne(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, host, _ := managed(newShelf("disk"))
		m.Schedule = schedule.Daily{}
		good := scheduled(t, m)
		clear(host["applications"])
		for range 3 {
			time.Sleep(24 * time.Hour)
			require.NotEmpty(t, scheduled(t, m).Shrunk)
		}
		s := mustStatus(t, m)
		require.Equal(t, good.Name, s.Backup)
		require.Equal(t, 72*time.Hour, s.Age, "so much would be lost")
		require.Contains(t, codes(s), "shrunk")
		require.NotContains(t, codes(s), "overdue", "backups are made")
		list := mustList(t, m)
		require.Equal(t, s.Backup, list[slices.IndexFunc(list, func(b manager.Backup) bool { return b.Good(time.Now()) })].Name)
	})
}
