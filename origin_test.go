package backup_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
)

// A snapshot says which installation made it and where its format is described. The
// digest and the proof cover both.
func TestASnapshotSaysWhereItComesFrom(t *testing.T) {
	app, key := homelab(), newCheapPassphrase("correct horse")
	opts := backup.BackupOptions{Recipients: []backup.Recipient{key}, Installation: "a1.b_2-c", Serial: 42}
	var file bytes.Buffer
	m, err := app.Backup(t.Context(), &file, homelabStore(), opts)
	require.NoError(t, err)
	require.Equal(t, backup.FormatAddress, m.Format)
	require.Equal(t, "a1.b_2-c", m.Installation)
	require.Equal(t, int64(42), m.Serial)
	require.Contains(t, file.String(), "\n\"origin\":{\"installation\":\"a1.b_2-c\",\"serial\":42},\n")

	s := openedWith(t, file.String(), []backup.Identity{key})
	require.Equal(t, m.Installation, s.Manifest().Installation)
	peeked, err := backup.Peek(t.Context(), strings.NewReader(file.String()), backup.OpenOptions{})
	require.NoError(t, err)
	require.Equal(t, m.Serial, peeked.Serial)
	require.Equal(t, m.Format, peeked.Format)

	var wrapped bytes.Buffer
	again, err := app.Rewrap(t.Context(), &wrapped, s, backup.RewrapOptions{Recipients: []backup.Recipient{key}})
	require.NoError(t, err)
	require.Equal(t, m.Serial, again.Serial, "another key is no other backup")
	_, report := salvaged(t, app, strings.Replace(file.String(), `"created_at"`, `"created_ta"`, 1), backup.SalvageOptions{})
	require.Equal(t, m.Serial, report.Manifest.Serial)
	require.Equal(t, m.Format, report.Manifest.Format)

	for name, altered := range map[string]string{
		"origin": strings.Replace(file.String(), `"serial":42`, `"serial":43`, 1),
		"format": strings.Replace(file.String(), "FORMAT.md", "FORMAT.mx", 1),
	} {
		_, err := backup.OpenSnapshot(t.Context(), strings.NewReader(altered), backup.OpenOptions{})
		require.ErrorIs(t, err, backup.ErrDamaged, name)
		_, err = backup.OpenSnapshot(t.Context(), strings.NewReader(resummed(t, altered)), backup.OpenOptions{Identities: []backup.Identity{key}})
		require.ErrorIs(t, err, backup.ErrUnauthentic, name)
	}
}

func TestAnOriginIsWholeOrAbsent(t *testing.T) {
	for _, opts := range []backup.BackupOptions{
		{Installation: "a1"}, {Serial: 1}, {Installation: "a1", Serial: -1}, {Installation: "a 1", Serial: 1},
		{Installation: "-a", Serial: 1}, {Installation: strings.Repeat("a", 65), Serial: 1}, {Installation: "a1", Serial: 1 << 53},
	} {
		var file bytes.Buffer
		_, err := markApp().Backup(t.Context(), &file, homelabStore(), opts)
		require.ErrorIs(t, err, backup.ErrInvalid, "%q %d", opts.Installation, opts.Serial)
		require.Empty(t, file.String())
	}
}

// A snapshot of less than all says so, whatever it is made of.
func TestAPartialSnapshotSaysSo(t *testing.T) {
	app := markApp()
	for name, c := range map[string]struct {
		opts    backup.BackupOptions
		partial bool
	}{
		"all":                     {backup.BackupOptions{}, false},
		"all, and an optional":    {backup.BackupOptions{Include: []string{"logs"}}, false},
		"all by name":             {backup.BackupOptions{Only: []string{"users", "servers"}}, false},
		"one":                     {backup.BackupOptions{Only: []string{"servers"}}, true},
		"the optional one":        {backup.BackupOptions{Only: []string{"logs"}}, true},
		"one and an optional one": {backup.BackupOptions{Only: []string{"servers"}, Include: []string{"logs"}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			var file bytes.Buffer
			m, err := app.Backup(t.Context(), &file, backuptest.MapStore{"servers": {"s": `{"id":"s","host":"nas"}`}, "users": {}, "logs": {"l": `{"id":"l","line":""}`}}, c.opts)
			require.NoError(t, err)
			require.Equal(t, c.partial, m.Partial)
			require.Equal(t, c.partial, opened(t, file.String()).Manifest().Partial)
			if m.Records["servers"] > 0 {
				_, report := salvaged(t, app, file.String(), backup.SalvageOptions{})
				require.Equal(t, c.partial, report.Manifest.Partial)
			}
		})
	}
}

// The pointers of a header are bounded before they are compared with each other, or one
// small file would keep each list busy.
func TestAHeaderWithManyPointersIsRefusedAtOnce(t *testing.T) {
	app := markApp()
	for i := range 1001 {
		app.Collections[0].Secrets = append(app.Collections[0].Secrets, fmt.Sprintf("/s%d", i))
	}
	require.ErrorContains(t, app.Validate(), "1001 pointers for its key and Secrets, the most is 1000")
	app.Collections[0].Secrets = app.Collections[0].Secrets[:1000]
	require.NoError(t, app.Validate())
}
