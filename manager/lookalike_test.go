package manager_test

import (
	"bytes"
	"compress/gzip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/manager"
)

func gzipped(t testing.TB, text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write([]byte(text))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.String()
}

// A file in which something else stands than its name says is no backup to rely on.
func TestAFileOfAnotherKindThanItsNameSaysIsDamaged(t *testing.T) {
	for name, alter := range map[string]func(testing.TB, string) string{
		"compressed under a plain name": gzipped,
		"plain under the name of a compressed one": func(t testing.TB, text string) string {
			r, err := gzip.NewReader(strings.NewReader(text))
			require.NoError(t, err)
			var b bytes.Buffer
			_, err = b.ReadFrom(r)
			require.NoError(t, err)
			return b.String()
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				disk := newShelf("disk")
				m, _, _ := managed(disk)
				if strings.HasPrefix(name, "plain") {
					m.Compress = backup.Gzip
				}
				b := mustCreate(t, m)
				if m.Compress != "" {
					require.NoError(t, disk.Delete(t.Context(), b.Name+".manifest"))
				}
				disk.alter(t, b.Name, func(text string) string { return alter(t, text) })
				fresh := whoHolds(m, m.Identities...)
				list := mustList(t, fresh)
				require.True(t, list[0].Damaged)
				require.ErrorIs(t, list[0].Copies[0].Err, backup.ErrDamaged)
				require.False(t, list[0].Usable(b.CreatedAt))
			})
		})
	}
}

// twoRestores makes two restores that change something, and returns their reports.
func twoRestores(t *testing.T, m *manager.Manager, rename func(string)) (first, second backup.Report) {
	made := mustCreate(t, m)
	restore := func(name string) backup.Report {
		rename(name)
		s, err := m.Open(t.Context(), made.Name)
		require.NoError(t, err)
		defer s.Close()
		report, err := m.Restore(t.Context(), s, backup.RestoreOptions{Strategy: backup.Replace})
		require.NoError(t, err)
		return report
	}
	return restore("first"), restore("second")
}

// Undo never takes an older backup because the newest tells less of itself.
func TestUndoTakesNoOlderBackupInTheDark(t *testing.T) {
	t.Run("another kind than its name says", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			disk := newShelf("disk")
			m, host, _ := managed(disk)
			_, second := twoRestores(t, m, func(name string) { host["servers"]["s1"] = `{"id":"s1","name":"` + name + `"}` })
			disk.alter(t, second.UndoneBy, func(text string) string { return gzipped(t, text) })
			_, err := whoHolds(m, m.Identities...).Undo(t.Context())
			require.ErrorContains(t, err, second.UndoneBy)
			require.ErrorContains(t, err, "restore the backup that you want by its name")
		})
	})
	for _, compress := range []backup.Compression{backup.Gzip, backup.Zstd} {
		t.Run("compressed, and its note is lost "+string(compress), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				disk := newShelf("disk")
				m, host, _ := managed(disk)
				m.Compress = compress
				_, second := twoRestores(t, m, func(name string) { host["servers"]["s1"] = `{"id":"s1","name":"` + name + `"}` })
				require.NoError(t, disk.Delete(t.Context(), second.UndoneBy+".manifest"))
				again := whoHolds(m, m.Identities...)
				again.Compress = compress
				report, err := again.Undo(t.Context())
				require.NoError(t, err)
				require.Equal(t, second.UndoneBy, report.Backup)
				require.Contains(t, host["servers"]["s1"], "second")
			})
		})
	}
}

// A whole copy is not called damaged because its note is lost, and is copied.
func TestACompressedBackupWithoutItsNoteIsCopied(t *testing.T) {
	bubble(t, func(t *testing.T) {
		disk, drive := newShelf("disk"), newShelf("drive")
		m, _, _ := managed(disk)
		m.Compress = backup.Gzip
		old := mustCreate(t, m)
		require.NoError(t, disk.Delete(t.Context(), old.Name+".manifest"))
		both, _, _ := managed(disk, drive)
		both.Compress = backup.Gzip
		mustCreate(t, both)
		list := mustList(t, both)
		require.Len(t, list, 2)
		for _, b := range list {
			require.False(t, b.Damaged, "%v", b.Copies)
			require.Len(t, b.Copies, 2)
		}
	})
}

// Nothing is uncertain about a restore that changes nothing.
func TestARestoreThatWouldChangeNothingIsNeverUncertain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, _, _ := managed(newShelf("disk"))
		made := mustCreate(t, m)
		s, err := m.Open(t.Context(), made.Name)
		require.NoError(t, err)
		defer s.Close()
		m.Sink = failedCommit{m.Sink, errDown}
		_, err = m.Restore(t.Context(), s, backup.RestoreOptions{Strategy: backup.Replace})
		require.ErrorIs(t, err, errDown)
		require.NotErrorIs(t, err, backup.ErrUncertain)
		require.Len(t, mustList(t, m), 1)
	})
}
