package manager_test

import (
	"io"
	"io/fs"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/manager"
)

func TestTheFileOfABackupIsTakenFromAGoodCopy(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := newShelf("disk"), newShelf("drive")
		m, _, _ := managed(a, b)
		made := mustCreate(t, m)
		whole := b.files()[made.Name]
		a.alter(t, made.Name, func(s string) string { return s[:len(s)/2] })

		r, err := m.OpenFile(t.Context(), made.Name)
		require.NoError(t, err)
		text, err := io.ReadAll(r)
		require.NoError(t, err)
		require.NoError(t, r.Close())
		require.Equal(t, whole, string(text))

		b.set(errDown, nil)
		_, err = m.OpenFile(t.Context(), made.Name)
		require.ErrorIs(t, err, backup.ErrDamaged)
		b.set(nil, nil)
		for _, name := range []string{"homelab-backup-2001-01-01T00-00-00.json", "../secret", "notes.txt", made.Name + ".accepted", ""} {
			_, err = m.OpenFile(t.Context(), name)
			require.ErrorIs(t, err, fs.ErrNotExist, name)
		}
	})
}

func TestABackupIsDeletedEverywhereWithAllBesideIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := newShelf("disk"), newShelf("drive")
		m, _, events := managed(a, b)
		m.Compress = backup.Gzip
		kept := mustCreate(t, m)
		time.Sleep(time.Hour)
		made := mustCreate(t, m)
		require.NoError(t, m.Delete(t.Context(), made.Name))
		for _, s := range []*shelf{a, b} {
			require.Equal(t, []string{kept.Name, kept.Name + ".manifest"}, s.all(t))
		}
		require.Equal(t, []string{kept.Name}, namesOf(mustList(t, m)))
		require.Empty(t, events.of(manager.EventFailed))

		require.ErrorIs(t, m.Delete(t.Context(), made.Name), fs.ErrNotExist)
		require.ErrorIs(t, m.Delete(t.Context(), "notes.txt"), fs.ErrNotExist)

		// One that is left at a location that is down is not gone.
		b.set(errDown, nil)
		err := m.Delete(t.Context(), kept.Name)
		require.ErrorContains(t, err, "a copy may be left there, and come back")
		require.ErrorContains(t, err, "drive")
		require.Empty(t, a.all(t))
	})
}

func TestProbeTellsWhichLocationsTakeBackups(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b, c := newShelf("disk"), newShelf("drive"), newShelf("cloud")
		m, _, _ := managed(a, b, c)
		b.set(errDown, nil)
		found, err := m.Probe(t.Context())
		require.NoError(t, err)
		require.Equal(t, manager.Copy{Location: "disk"}, found[0])
		require.ErrorIs(t, found[1].Err, errDown)
		require.ErrorContains(t, found[1].Err, "store a file")
		require.Equal(t, manager.Copy{Location: "cloud"}, found[2])
		require.Empty(t, a.all(t))
		require.Empty(t, c.all(t))

		// One that stores, and gives back something else.
		lying := &backuptest.FaultyLocation{Location: backuptest.MapLocation{}, On: backuptest.CallOpen, Nth: -1, Err: io.ErrUnexpectedEOF}
		m, _ = small(lying)
		found, err = m.Probe(t.Context())
		require.NoError(t, err)
		require.ErrorContains(t, found[0].Err, "read the file back")
	})
}
