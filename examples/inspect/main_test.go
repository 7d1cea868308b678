package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	_ "github.com/tomo-project/backup/internal/seal/sealtest"
)

// sealed writes a snapshot of an application that inspect knows nothing about
// and returns the name of the file.
func sealed(t *testing.T) string {
	app := &backup.App{
		Name: "shop", Version: "1.2.3", SchemaVersion: 1,
		Collections: []backup.Collection{
			{Name: "items", Key: "/id", Secrets: []string{"/cost"}},
			{Name: "options", Shape: backup.Map},
			{Name: "orders", Key: "/id"},
		},
	}
	var file bytes.Buffer
	_, err := app.Backup(t.Context(), &file, backuptest.MapStore{
		"items":   {"1": `{"id":1,"name":"tea","cost":"the secret"}`},
		"options": {"currency": `"EUR"`, "<tax>": `0.190`},
		"orders":  {},
	}, backup.BackupOptions{Installation: "shop-1", Serial: 12, Recipients: []backup.Recipient{backup.Passphrase([]byte("unknown to inspect"))}})
	require.NoError(t, err)
	name := filepath.Join(t.TempDir(), "shop.json")
	require.NoError(t, os.WriteFile(name, file.Bytes(), 0o600))
	return name
}

func inspect(t *testing.T, args ...string) (string, error) {
	var out bytes.Buffer
	err := run(t.Context(), args, &out)
	return out.String(), err
}

func TestTheManifestNeedsNoKeyAndNoHost(t *testing.T) {
	out, err := inspect(t, sealed(t))
	require.NoError(t, err)
	var m backup.Manifest
	require.NoError(t, json.Unmarshal([]byte(out), &m))
	require.Equal(t, "shop", m.Application)
	require.Equal(t, map[string]int64{"items": 1, "options": 2, "orders": 0}, m.Records)
	require.True(t, m.Sealed)
	require.Equal(t, backup.FormatAddress, m.Format)
	require.Equal(t, "shop-1", m.Installation)
	require.EqualValues(t, 12, m.Serial)
}

func TestExtractPrintsOneRecordALineAndLeavesSecretsSealed(t *testing.T) {
	name := sealed(t)
	out, err := inspect(t, "extract", name, "items")
	require.NoError(t, err)
	require.Regexp(t, `^\{"id":1,"name":"tea","cost":\{"\$sealed":"[^"]+"\}\}\n$`, out)

	out, err = inspect(t, "extract", name, "options")
	require.NoError(t, err)
	require.Equal(t, "{\"<tax>\":0.190}\n{\"currency\":\"EUR\"}\n", out)

	out, err = inspect(t, "extract", name, "orders")
	require.NoError(t, err)
	require.Empty(t, out)

	_, err = inspect(t, "extract", name, "customers")
	require.ErrorContains(t, err, "customers")
	require.ErrorContains(t, err, "orders")
}

func TestValidateRefusesWhatIsNotWhole(t *testing.T) {
	name := sealed(t)
	out, err := inspect(t, "validate", name)
	require.NoError(t, err)
	require.Regexp(t, "^whole: .*3 records in 3 collections", out)
	require.Contains(t, out, "backup 12 of the installation shop-1")
	require.Contains(t, out, backup.FormatAddress)

	text, err := os.ReadFile(name)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(name, []byte(strings.Replace(string(text), "tea", "pea", 1)), 0o600))
	for _, args := range [][]string{{name}, {"validate", name}, {"extract", name, "items"}} {
		out, err = inspect(t, args...)
		require.ErrorIs(t, err, backup.ErrDamaged)
		require.Empty(t, out)
	}
}

func TestOnlyWhatADigestProvesIsCalledWhole(t *testing.T) {
	for text, verdict := range map[string]string{
		`{"version":"1.0","created_at":"2024-01-15T10:30:00Z","application_version":"1.2.3","data":{"items":[{"id":1}]}}`:                             "^readable: .*no digest",
		`{"version":"1.0","created_at":"2024-01-15T10:30:00Z","application_version":"1.2.3","salvaged":{"lost_bytes":7},"data":{"items":[{"id":1}]}}`: "^salvaged from a damaged file: ",
	} {
		name := filepath.Join(t.TempDir(), "shop.json")
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
		out, err := inspect(t, "validate", name)
		require.NoError(t, err)
		require.Regexp(t, verdict, out)
	}
}

func TestWrongUsageIsSaid(t *testing.T) {
	for _, args := range [][]string{{}, {"validate", "a", "b"}, {"extract", "a"}, {"extract", "a", "b", "c"}} {
		_, err := inspect(t, args...)
		require.ErrorIs(t, err, errUsage)
	}
}
