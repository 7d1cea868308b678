package manager_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"io"
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/internal/niltest"
	"github.com/tomo-project/backup/manager"
	"github.com/tomo-project/backup/schedule"
)

// plainDatabase is a Database.
type plainDatabase struct{}

func (*plainDatabase) Copy(_ context.Context, w io.Writer) error {
	_, err := io.WriteString(w, "data")
	return err
}

func (*plainDatabase) Check(_ context.Context, r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}

// Nothing that is nil makes a Manager panic.
func TestWhatIsNilIsAnError(t *testing.T) {
	first := newShelf("disk")
	m, _, _ := managed(first)
	made := mustCreate(t, m)
	working := func(*testing.T) *manager.Manager {
		shelf := newShelf("disk")
		shelf.Location = backuptest.MapLocation(maps.Clone(first.files()))
		m, _, _ := managed(shelf)
		m.Database, m.DatabaseInClear = &plainDatabase{}, true
		m.Schedule = schedule.Daily{}
		m.Drills.Scratch = func(context.Context) (backup.Store, func() error, error) {
			empty := backuptest.MapStore{}
			for _, c := range m.App.Collections {
				empty[c.Name] = map[string]string{}
			}
			return empty, nil, nil
		}
		return m
	}
	niltest.Run(t, niltest.Package{
		Receivers: func(t *testing.T) []any {
			plan, err := m.Plan(t.Context(), opened(t, first.files()[made.Name]), backup.RestoreOptions{})
			require.NoError(t, err)
			return []any{working(t), plan, &manager.Backup{}, &manager.Copy{}, &manager.Shrink{}, &manager.Pruned{}, &manager.Verified{}, &manager.KeyCheck{}, &manager.Status{}, &manager.RecordState{}, &manager.Found{}}
		},
		Args: func(t *testing.T) []any {
			snapshot := opened(t, first.files()[made.Name])
			plan, err := m.Plan(t.Context(), snapshot, backup.RestoreOptions{})
			require.NoError(t, err)
			return []any{snapshot, plan, made.Name, new(bytes.Buffer), time.Time{}}
		},
		TypedNils: []any{
			(*backup.Snapshot)(nil), (*backup.PassphraseKey)(nil), (*shelf)(nil), (*plainDatabase)(nil), (*schedule.Daily)(nil),
			(*bytes.Buffer)(nil), ed25519.PrivateKey(nil),
		},
		Optional: []string{
			"BackupOptions.Encrypt", "BackupOptions.Signer", "BackupOptions.Progress",
			"RestoreOptions.Before", "RestoreOptions.Progress", "RewrapOptions.Encrypt",
			"BackupOptions.Trusted", // those of the Manager count
			"Manager.Encrypt", "Manager.Signer", "Manager.AfterRestore", "Manager.Rehearsals", "Manager.OnEvent", "Manager.Logger",
			"Backup.Manifest", "Backup.VerifiedAt", "Copy.Err", "Pruned.Err", "FindOptions.Searched", "RecordState.Then", "RecordState.Err", "Found.Err", "Verified.Err", "Verified.Manifest", "Verified.Report",
			"Status.CreatedAt", "Status.Verified", "Status.Drilled", "Status.Rehearsed", "Status.Scheduled", "Status.Next", "Status.Reasons", "Status.Unchecked", "Status.Places", // what the library makes
		},
		Skip: map[string]string{
			"Manager.Run": "it runs until its context is done: TestWhatARunLacksIsAnError",
		},
	})
}

func TestWhatARunLacksIsAnError(t *testing.T) {
	m, _, _ := managed(newShelf("disk"))
	require.ErrorContains(t, m.Run(t.Context()), "needs a Schedule")
	require.ErrorIs(t, (*manager.Manager)(nil).Run(t.Context()), backup.ErrInvalid)
	require.ErrorIs(t, new(manager.Manager).Run(t.Context()), backup.ErrInvalid)
}

// A key that is nil is a mistake of the caller. It must not pass for a fault of the
// backups, which Prune could then delete.
func TestAKeyThatIsNilSaysNothingAboutABackup(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, _, _ := managed(newShelf("disk"))
		name := mustCreate(t, m).Name
		_, err := m.OpenWith(t.Context(), name, nil)
		require.ErrorIs(t, err, backup.ErrInvalid)
		_, err = m.Rehearse(t.Context(), testKey("k"), nil)
		require.ErrorIs(t, err, backup.ErrInvalid)
		for _, b := range mustList(t, m) {
			require.False(t, b.Damaged)
		}
		_, err = m.Open(t.Context(), name)
		require.NoError(t, err)
	})
}
