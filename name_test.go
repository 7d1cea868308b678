package backup_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
)

func TestBackupNameIsInUTC(t *testing.T) {
	app := &backup.App{Name: "tomo"}
	at := time.Date(2024, 1, 15, 10, 30, 0, 999_999_999, time.UTC)
	require.Equal(t, "tomo-backup-2024-01-15T10-30-00.json", app.BackupName(at))
	require.Equal(t, "tomo-backup-2024-01-15T10-30-00.json", app.BackupName(at.In(time.FixedZone("", 9*3600))))
}

func TestParseBackupNameUnderstandsItsOwnNames(t *testing.T) {
	at := time.Date(2024, 1, 15, 10, 30, 0, 0, time.UTC)
	for _, c := range []struct{ name, app, file string }{
		{"plain", "tomo", "tomo-backup-2024-01-15T10-30-00.json"},
		{"second of the same second", "tomo", "tomo-backup-2024-01-15T10-30-00-2.json"},
		{"tenth of the same second", "tomo", "tomo-backup-2024-01-15T10-30-00-10.json"},
		{"application named like a prefix", "tomo-backup", "tomo-backup-backup-2024-01-15T10-30-00.json"},
		{"application with a date in its name", "a-backup-2024-01-15T10-30-00", "a-backup-2024-01-15T10-30-00-backup-2024-01-15T10-30-00.json"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := (&backup.App{Name: c.app}).ParseBackupName(c.file)
			require.True(t, ok)
			require.Equal(t, at, got)
		})
	}
}

func TestParseBackupNameRefusesWhatItDidNotName(t *testing.T) {
	for _, c := range []struct{ name, app, file string }{
		{"nothing", "tomo", ""},
		{"prefix alone", "tomo", "tomo-backup-"},
		{"no time", "tomo", "tomo-backup-.json"},
		{"the cron script's name", "tomo", "tomo-backup-2024-01-15.json"},
		{"restored by hand", "tomo", "backup.json"},
		{"other application", "tomo", "gitea-backup-2024-01-15T10-30-00.json"},
		{"application whose name goes on", "tomo", "tomo-backup-backup-2024-01-15T10-30-00.json"},
		{"application whose name begins the same", "tomo-backup", "tomo-backup-2024-01-15T10-30-00.json"},
		{"application whose name ends the same", "tomo", "my-tomo-backup-2024-01-15T10-30-00.json"},
		{"other case", "tomo", "Tomo-backup-2024-01-15T10-30-00.json"},
		{"path", "tomo", "backups/tomo-backup-2024-01-15T10-30-00.json"},
		{"path upwards", "tomo", "../tomo-backup-2024-01-15T10-30-00.json"},
		{"path inside", "tomo", "tomo-backup-2024-01-15T10-30-00/x.json"},
		{"path in the suffix", "tomo", "tomo-backup-2024-01-15T10-30-00-2/../3.json"},
		{"no extension", "tomo", "tomo-backup-2024-01-15T10-30-00"},
		{"other extension", "tomo", "tomo-backup-2024-01-15T10-30-00.JSON"},
		{"half written", "tomo", "tomo-backup-2024-01-15T10-30-00.json.tmp"},
		{"copy", "tomo", "tomo-backup-2024-01-15T10-30-00 (1).json"},
		{"white space before", "tomo", " tomo-backup-2024-01-15T10-30-00.json"},
		{"line end after", "tomo", "tomo-backup-2024-01-15T10-30-00.json\n"},
		{"NUL after", "tomo", "tomo-backup-2024-01-15T10-30-00.json\x00"},
		{"30 February", "tomo", "tomo-backup-2024-02-30T10-30-00.json"},
		{"29 February of a common year", "tomo", "tomo-backup-2023-02-29T10-30-00.json"},
		{"month 13", "tomo", "tomo-backup-2024-13-15T10-30-00.json"},
		{"day 0", "tomo", "tomo-backup-2024-01-00T10-30-00.json"},
		{"hour 24", "tomo", "tomo-backup-2024-01-15T24-00-00.json"},
		{"second 60", "tomo", "tomo-backup-2024-01-15T10-30-60.json"},
		{"hour of one digit", "tomo", "tomo-backup-2024-01-15T1-30-00-2.json"},
		{"hour of one digit and a fraction", "tomo", "tomo-backup-2024-01-15T1-30-00.5.json"},
		{"fraction", "tomo", "tomo-backup-2024-01-15T10-30-00.5.json"},
		{"colons", "tomo", "tomo-backup-2024-01-15T10:30:00.json"},
		{"zone", "tomo", "tomo-backup-2024-01-15T10-30-00Z.json"},
		{"year of five digits", "tomo", "tomo-backup-12024-01-15T10-30-00.json"},
		{"suffix 0", "tomo", "tomo-backup-2024-01-15T10-30-00-0.json"},
		{"suffix 1", "tomo", "tomo-backup-2024-01-15T10-30-00-1.json"},
		{"suffix with a leading zero", "tomo", "tomo-backup-2024-01-15T10-30-00-02.json"},
		{"suffix with a sign", "tomo", "tomo-backup-2024-01-15T10-30-00-+2.json"},
		{"negative suffix", "tomo", "tomo-backup-2024-01-15T10-30-00--2.json"},
		{"suffix without a number", "tomo", "tomo-backup-2024-01-15T10-30-00-.json"},
		{"suffix without a dash", "tomo", "tomo-backup-2024-01-15T10-30-002.json"},
		{"two suffixes", "tomo", "tomo-backup-2024-01-15T10-30-00-2-3.json"},
		{"suffix of other digits", "tomo", "tomo-backup-2024-01-15T10-30-00-٢.json"},
		{"suffix that overflows", "tomo", "tomo-backup-2024-01-15T10-30-00-99999999999999999999.json"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := (&backup.App{Name: c.app}).ParseBackupName(c.file)
			require.False(t, ok)
			require.Zero(t, got)
		})
	}
}

func FuzzParseBackupName(f *testing.F) {
	f.Add("tomo-backup-2024-01-15T10-30-00.json", int64(1705314600))
	f.Add("tomo-backup-2024-01-15T10-30-00-2.json", int64(0))
	f.Add("tomo-backup-2024-01-15T1-30-00-2.json", int64(-1))
	f.Add("tomo-backup-2024-01-15.json", int64(253402300799))
	f.Fuzz(func(t *testing.T, name string, unix int64) {
		app := &backup.App{Name: "tomo"}
		if at, ok := app.ParseBackupName(name); ok {
			stem := strings.TrimSuffix(app.BackupName(at), ".json")
			require.Regexp(t, "^"+stem+`(-([2-9]|[1-9][0-9]+))?\.json\z`, name)
		}
		if at := time.Unix(unix, 0); at.UTC().Year() >= 0 && at.UTC().Year() <= 9999 {
			got, ok := app.ParseBackupName(app.BackupName(at))
			require.True(t, ok)
			require.True(t, at.Equal(got))
		}
	})
}
