package backup_test

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/internal/testtime"
)

func secretApp() *backup.App {
	return &backup.App{Name: "demo", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{
		{Name: "servers", Key: "/id", Secrets: []string{"/password"}},
	}}
}

func sealedText(t *testing.T) string {
	t.Helper()
	var out strings.Builder
	src := backuptest.MapStore{"servers": {"a1": `{"id":"a1","password":"hunter2"}`}}
	_, err := secretApp().Backup(t.Context(), &out, src, backup.BackupOptions{Recipients: []backup.Recipient{backup.Passphrase([]byte("x"))}})
	require.NoError(t, err)
	return out.String()
}

func TestASealedSecretNeverPassesForData(t *testing.T) {
	// Whoever can write the file takes the member away and makes the digest fit.
	text := regexp.MustCompile(`"encryption":.*\n`).ReplaceAllString(sealedText(t), "")
	before, _, _ := strings.Cut(text, `"integrity"`)
	sum := sha256.Sum256([]byte(before))
	text = regexp.MustCompile(`"sha256":"[0-9a-f]*"`).ReplaceAllString(text, `"sha256":"`+hex.EncodeToString(sum[:])+`"`)

	s, err := backup.OpenSnapshot(t.Context(), strings.NewReader(text), backup.OpenOptions{})
	require.NoError(t, err)
	defer s.Close()
	dst := backuptest.MapStore{"servers": {}}
	_, err = secretApp().Restore(t.Context(), s, dst, backup.RestoreOptions{})
	require.ErrorIs(t, err, backup.ErrDamaged)
	require.ErrorContains(t, err, "/password")
	require.Empty(t, dst["servers"])
}

func TestALockedSnapshotIsNotBackedUp(t *testing.T) {
	s, err := backup.OpenSnapshot(t.Context(), strings.NewReader(sealedText(t)), backup.OpenOptions{})
	require.NoError(t, err)
	defer s.Close()
	var out strings.Builder
	_, err = secretApp().Backup(t.Context(), &out, s, backup.BackupOptions{Recipients: []backup.Recipient{backup.Passphrase([]byte("y"))}})
	require.ErrorIs(t, err, backup.ErrNoKey)
}

func TestAnEmptySelectionIsNotEverything(t *testing.T) {
	app := &backup.App{Name: "demo", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{{Name: "notes", Key: "/id"}}}
	store := backuptest.MapStore{"notes": {"1": `{"id":"1"}`}}
	var out strings.Builder
	_, err := app.Backup(t.Context(), &out, store, backup.BackupOptions{Only: []string{}})
	require.ErrorIs(t, err, backup.ErrInvalid)
	out.Reset()
	_, err = app.Backup(t.Context(), &out, store, backup.BackupOptions{})
	require.NoError(t, err)
	s, err := backup.OpenSnapshot(t.Context(), strings.NewReader(out.String()), backup.OpenOptions{})
	require.NoError(t, err)
	defer s.Close()
	_, err = app.Restore(t.Context(), s, store, backup.RestoreOptions{Only: []string{}})
	require.ErrorIs(t, err, backup.ErrInvalid)
}

func TestOneFlippedBitIsNoticedAlsoInWhatWasLeftOut(t *testing.T) {
	testtime.NotForRace(t)
	app := &backup.App{Name: "demo", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{
		{Name: "notes", Key: "/id", Schema: []byte(`{"required":["text"]}`)},
	}}
	store := backuptest.MapStore{"notes": {"1": `{"id":"1","text":"a"}`, "2": `{"id":"2"}`}}
	var out strings.Builder
	m, err := app.Backup(t.Context(), &out, store, backup.BackupOptions{LeaveOutInvalid: true})
	require.NoError(t, err)
	require.Equal(t, map[string]int64{"notes": 1}, m.Missing)
	for i := range out.Len() {
		for bit := range 8 {
			flipped := []byte(out.String())
			flipped[i] ^= 1 << bit
			s, err := backup.OpenSnapshot(t.Context(), strings.NewReader(string(flipped)), backup.OpenOptions{})
			if err == nil {
				s.Close()
			}
			require.Error(t, err, "bit %d of byte %d", bit, i)
		}
	}
}

func TestASnapshotIsNotBackedUpWithLessSecretsThanItHas(t *testing.T) {
	key := backup.Passphrase([]byte("x"))
	s, err := backup.OpenSnapshot(t.Context(), strings.NewReader(sealedText(t)), backup.OpenOptions{Identities: []backup.Identity{key}})
	require.NoError(t, err)
	defer s.Close()
	for name, change := range map[string]func(*backup.App){
		"another application":    func(a *backup.App) { a.Name = "other" },
		"another schema version": func(a *backup.App) { a.SchemaVersion, a.Migrators = 2, []backup.Migrator{keep(1)} },
		"another secret":         func(a *backup.App) { a.Collections[0].Secrets = []string{"/credential"} },
		"no secret":              func(a *backup.App) { a.Collections[0].Secrets = nil },
	} {
		t.Run(name, func(t *testing.T) {
			app := secretApp()
			change(app)
			var out strings.Builder
			_, err := app.Backup(t.Context(), &out, s, backup.BackupOptions{Recipients: []backup.Recipient{key}})
			require.Error(t, err)
			require.NotContains(t, out.String(), "hunter2")
		})
	}
	var out strings.Builder
	_, err = secretApp().Backup(t.Context(), &out, s, backup.BackupOptions{Recipients: []backup.Recipient{backup.Passphrase([]byte("new"))}})
	require.NoError(t, err, "a change of passphrase")
	require.NotContains(t, out.String(), "hunter2")
}
