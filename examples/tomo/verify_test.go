package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
)

func TestVerifySaysWhichBackupItIsAndWhereItsFormatIsDescribed(t *testing.T) {
	printed := func(m backup.Manifest) string {
		out, err := os.Create(t.TempDir() + "/out")
		require.NoError(t, err)
		defer out.Close()
		(&cli{stdout: out}).printVerified("b.json", m, backup.Report{})
		return read(t, out.Name())
	}
	said := printed(backup.Manifest{Version: "1.0", Format: "https://example.com/\x1b[31mFORMAT.md", Installation: "home", Serial: 1234})
	require.Contains(t, said, "backup 1,234 of the installation home\n")
	require.Contains(t, said, "format 1.0, described at https://example.com/")
	require.NotContains(t, said, "\x1b")

	said = printed(backup.Manifest{Version: "1.0"})
	require.NotContains(t, said, "installation")
	require.NotContains(t, said, "described")
}
