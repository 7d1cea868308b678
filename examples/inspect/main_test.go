package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
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

func TestWhatIsNotCheckedIsNotCalledWhole(t *testing.T) {
	name := filepath.Join(t.TempDir(), "shop.json")
	document := `{"version":"1.0","created_at":"2024-01-15T10:30:00Z","application_version":"1.0.0",%s"data":{"items":[{"id":1}]}}`
	for salvaged, want := range map[string]string{
		"":                             "readable: format 1.0, 1 records in 1 collections, no digest",
		`"salvaged":{"lost_bytes":7},`: "it can be read, but was salvaged from a damaged file. Lost are 7 bytes of the damaged file. It is not known",
	} {
		require.NoError(t, os.WriteFile(name, fmt.Appendf(nil, document, salvaged), 0o600))
		out, err := inspect(t, "validate", name)
		require.NoError(t, err)
		require.Contains(t, out, want)
		require.NotContains(t, out, "whole:")
		require.Equal(t, salvaged != "", strings.Contains(out, "7 bytes of the damaged file"))
		out, err = inspect(t, name)
		require.NoError(t, err)
		require.Equal(t, salvaged != "", strings.Contains(out, `"lost_bytes": 7`))
	}
}

func TestWhatAPassphraseCostsIsSaid(t *testing.T) {
	name := sealed(t)
	out, err := inspect(t, name)
	require.NoError(t, err)
	require.Contains(t, out, `"passphrase: 8 MiB of memory, 1 pass"`)
	out, err = inspect(t, "validate", name)
	require.NoError(t, err)
	require.Contains(t, out, "to open its secrets takes a passphrase: 8 MiB of memory, 1 pass")
}

func TestASecretInClearIsAnError(t *testing.T) {
	name := sealed(t)
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	clear := regexp.MustCompile(`\{"\$sealed":"[^"]*"\}`).ReplaceAll(text, []byte(`"hunter2"`))
	clear = regexp.MustCompile(`(?s),\s*"proof":.*`).ReplaceAll(clear, []byte("}")) // and no digest
	require.NoError(t, os.WriteFile(name, clear, 0o600))
	for _, args := range [][]string{{name}, {"validate", name}, {"extract", name, "items"}} {
		out, err := inspect(t, args...)
		require.ErrorIs(t, err, backup.ErrDamaged)
		require.ErrorContains(t, err, `items "1" /cost`)
		require.NotContains(t, err.Error(), "hunter2")
		require.Empty(t, out)
	}
}

func TestWrongUsageIsSaid(t *testing.T) {
	for _, args := range [][]string{{}, {"validate", "a", "b"}, {"extract", "a"}, {"extract", "a", "b", "c"}} {
		_, err := inspect(t, args...)
		require.ErrorIs(t, err, errUsage)
	}
}
