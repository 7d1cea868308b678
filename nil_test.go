package backup_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"io"
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/internal/niltest"
)

// plainFile returns the snapshot of an App without secrets.
func plainFile(t *testing.T) (*backup.App, []byte) {
	app := homelab()
	for i := range app.Collections {
		app.Collections[i].Secrets = nil
	}
	var file bytes.Buffer
	_, err := app.Backup(t.Context(), &file, homelabStore(), backup.BackupOptions{})
	require.NoError(t, err)
	return app, file.Bytes()
}

// Nothing that is nil makes the library panic.
func TestWhatIsNilIsAnError(t *testing.T) {
	niltest.Run(t, niltest.Package{
		Funcs: map[string]any{
			"JoinKey":      backup.JoinKey,
			"SplitKey":     backup.SplitKey,
			"OpenSnapshot": backup.OpenSnapshot,
			"Peek":         backup.Peek,
			"Passphrase":   backup.Passphrase,
			"Migration":    backup.Migration,
		},
		Receivers: func(t *testing.T) []any {
			app, file := plainFile(t)
			snapshot := opened(t, string(file))
			plan, err := app.Plan(t.Context(), opened(t, string(file)), homelabStore(), backup.RestoreOptions{})
			require.NoError(t, err)
			return []any{
				app, snapshot, plan, backup.Passphrase([]byte("correct horse")), &backup.Manifest{}, &backup.Salvaged{}, &backup.Report{},
				&backup.Dated{}, &backup.Retention{}, new(backup.Strategy),
			}
		},
		Args: func(t *testing.T) []any {
			_, file := plainFile(t)
			return []any{
				opened(t, string(file)),
				homelabStore(),
				bytes.NewReader(file),
				new(bytes.Buffer),
				func(backup.Reader) error { return nil },
				func(context.Context, string, backup.Record, func(string, backup.Record) error) error { return nil },
				func(string, backup.Record) error { return nil },
				&backup.Record{},
				discardState{},
			}
		},
		TypedNils: []any{
			(*backup.Snapshot)(nil), (*backup.PassphraseKey)(nil), (*bytes.Reader)(nil), (*bytes.Buffer)(nil), ed25519.PrivateKey(nil),
		},
		Optional: []string{
			"BackupOptions.Encrypt", "BackupOptions.Signer", "BackupOptions.Progress",
			"RestoreOptions.Before", "RestoreOptions.Progress", "OpenOptions.Progress",
			"RewrapOptions.Encrypt", "RewrapOptions.Signer", "SalvageOptions.Encrypt", "SalvageOptions.Progress",
			"Plan.Before", "Plan.Progress", "Retention.Location",
			"Manifest.Salvaged", "Manifest.LeftOut[0]", "Manifest.Dangling[0]", "Report.LeftOut[0]", // only what the library makes is in them
		},
		Skip: map[string]string{
			"RecordError":          "without an Err it is no error",
			"PassphraseKey.Format": "fmt calls it",
			"SortNewestFirst":      "it calls the function that it is given, as slices.SortFunc does",
		},
	})
}

// A discardState is a fmt.State.
type discardState struct{ io.Writer }

func (discardState) Width() (int, bool)     { return 0, false }
func (discardState) Precision() (int, bool) { return 0, false }
func (discardState) Flag(int) bool          { return false }

// What was never opened is not an empty snapshot, and what is closed is not a damaged
// one.
func TestASnapshotThatIsNotOpenIsRefused(t *testing.T) {
	app, file := plainFile(t)
	closed := opened(t, string(file))
	plan, err := app.Plan(t.Context(), closed, homelabStore(), backup.RestoreOptions{})
	require.NoError(t, err)
	require.NoError(t, plan.Close())
	for _, s := range []*backup.Snapshot{nil, {}, closed} {
		kind := backup.ErrInvalid
		if s == closed {
			kind = fs.ErrClosed
		}
		store := homelabStore()
		uses := map[string]func() error{
			"Verify":  func() error { _, err := app.Verify(t.Context(), s, backup.RestoreOptions{}); return err },
			"Restore": func() error { _, err := app.Restore(t.Context(), s, store, backup.RestoreOptions{}); return err },
			"Plan":    func() error { _, err := app.Plan(t.Context(), s, store, backup.RestoreOptions{}); return err },
			"Drill": func() error {
				_, err := app.Drill(t.Context(), s, backuptest.MapStore{}, backup.RestoreOptions{})
				return err
			},
			"Rewrap": func() error {
				_, err := app.Rewrap(t.Context(), io.Discard, s, backup.RewrapOptions{Recipients: sealed})
				return err
			},
			"Backup": func() error { _, err := app.Backup(t.Context(), io.Discard, s, backup.BackupOptions{}); return err },
			"Walk": func() error {
				return app.Walk(t.Context(), s, backup.RestoreOptions{}, func(string, backup.Record) error { return nil })
			},
			"View": func() error { return s.View(t.Context(), func(backup.Reader) error { return nil }) },
		}
		for name, use := range uses {
			require.ErrorIs(t, use(), kind, name)
		}
		require.Equal(t, homelabStore(), store)
	}
	_, err = plan.Apply(t.Context())
	require.ErrorIs(t, err, fs.ErrClosed)
	for _, err := range plan.Changes(t.Context()) {
		require.ErrorIs(t, err, fs.ErrClosed)
	}
	for _, p := range []*backup.Plan{nil, {}} {
		require.ErrorIs(t, p.Close(), backup.ErrInvalid)
	}
}

// An error about what is nil says what that is.
func TestTheErrorNamesWhatIsMissing(t *testing.T) {
	app, file := plainFile(t)
	s := opened(t, string(file))
	for want, call := range map[string]func() error{
		"the DataSource is nil": func() error { _, err := app.Backup(t.Context(), io.Discard, nil, backup.BackupOptions{}); return err },
		"the Sink is nil":       func() error { _, err := app.Restore(t.Context(), s, nil, backup.RestoreOptions{}); return err },
		"the Snapshot is nil": func() error {
			_, err := app.Plan(t.Context(), nil, homelabStore(), backup.RestoreOptions{})
			return err
		},
		"the App is nil": func() error { return (*backup.App)(nil).Validate() },
		"Recipients[1] is nil": func() error {
			_, err := app.Backup(t.Context(), io.Discard, homelabStore(), backup.BackupOptions{Recipients: append(sealed[:1:1], nil)})
			return err
		},
		"a migrator is nil": func() error {
			return (&backup.App{Name: "a", Version: "1.0.0", SchemaVersion: 2, Migrators: []backup.Migrator{backup.Migration(1, nil)}}).Validate()
		},
		"Identities[0] is nil": func() error {
			_, err := backup.OpenSnapshot(t.Context(), bytes.NewReader(file), backup.OpenOptions{Identities: []backup.Identity{nil}})
			return err
		},
		"Trusted[0] has 0 bytes": func() error {
			_, err := backup.OpenSnapshot(t.Context(), bytes.NewReader(file), backup.OpenOptions{Trusted: []ed25519.PublicKey{nil}})
			return err
		},
		"the Writer of the Sink is nil": func() error {
			sink := sinkFunc(func(_ context.Context, write func(backup.Writer) error) error { return write(nil) })
			_, err := app.Restore(t.Context(), s, sink, backup.RestoreOptions{})
			return err
		},
	} {
		err := call()
		require.ErrorIs(t, err, backup.ErrInvalid, want)
		require.ErrorContains(t, err, want)
	}
}
