package backup_test

import (
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
)

func TestAnEndThatAPersonCanMendIsToldAsSuch(t *testing.T) {
	file := homelabFile(t)
	for name, c := range map[string]struct{ file, want string }{
		"without the last line end": {strings.TrimSuffix(file, "\n"), "only the line end behind the last line is missing: add it (echo >> FILE)"},
		"with other line ends":      {strings.ReplaceAll(file, "\n", "\r\n"), "its line ends were converted to those of Windows"},
		"with both":                 {strings.TrimSuffix(strings.ReplaceAll(file, "\n", "\r\n"), "\r\n"), "its line ends were converted"},
		"with a line more":          {file + "\n", "not as they were written"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := open(t, c.file, backup.OpenOptions{})
			require.ErrorIs(t, err, backup.ErrDamaged)
			require.ErrorContains(t, err, c.want)
			report, err := homelab().Salvage(t.Context(), io.Discard, strings.NewReader(c.file), backup.SalvageOptions{})
			require.NoError(t, err)
			told := strings.Join(report.Warnings, "\n")
			if name != "with a line more" {
				require.Contains(t, told, c.want)
				require.NotContains(t, told, "the file is whole")
			}
		})
	}
}

func TestADamagedWrappedKeyIsNotToldAsAWrongKey(t *testing.T) {
	file := sealedText(t)
	key := []backup.Identity{backup.Passphrase([]byte("x"))}
	at := strings.Index(file, `"wrapped":"`) + len(`"wrapped":"`) + 5
	other := "A"
	if file[at] == 'A' {
		other = "B"
	}
	flipped := file[:at] + other + file[at+1:]

	for _, r := range []io.Reader{strings.NewReader(flipped), struct{ io.Reader }{strings.NewReader(flipped)}} {
		_, err := backup.OpenSnapshot(t.Context(), r, backup.OpenOptions{Identities: key})
		require.ErrorIs(t, err, backup.ErrDamaged)
		require.NotErrorIs(t, err, backup.ErrWrongKey)
		require.ErrorContains(t, err, "the damage may be in a wrapped key")

		_, peeked := backup.Peek(t.Context(), reread(r, flipped), backup.OpenOptions{Identities: key})
		require.EqualError(t, peeked, err.Error())
	}
	_, err := secretApp().Salvage(t.Context(), io.Discard, strings.NewReader(flipped), backup.SalvageOptions{Identities: key})
	require.ErrorIs(t, err, backup.ErrWrongKey)
	require.ErrorContains(t, err, "the key may be the right one; without a key the sealed values are copied as they are")
	require.NotContains(t, err.Error(), "try the key that was in use")

	// With a digest that fits, the key is wrong.
	_, err = open(t, redigested(flipped), backup.OpenOptions{Identities: key})
	require.ErrorIs(t, err, backup.ErrWrongKey)
	_, err = open(t, regexp.MustCompile(`,\n"integrity".*`).ReplaceAllString(flipped, ""), backup.OpenOptions{Identities: key})
	require.ErrorIs(t, err, backup.ErrWrongKey, "there is no digest")
}

func TestAMemberThatTheCheckValueCoversIsBlamedWithTheOthers(t *testing.T) {
	file := sealedText(t)
	for from, to := range map[string]string{`"schema_version":1`: `"schema_version":2`, `"application":"demo"`: `"application":"omed"`} {
		_, err := open(t, redigested(strings.Replace(file, from, to, 1)), backup.OpenOptions{Identities: []backup.Identity{backup.Passphrase([]byte("x"))}})
		require.ErrorIs(t, err, backup.ErrDamaged)
		require.ErrorContains(t, err, `"application", "schema_version" or "encryption" has been altered`)
	}
}

func TestAProofThatWasTakenAwayIsMissed(t *testing.T) {
	const missing = "lacks the proof"
	warnings := func(file string) string {
		s, err := open(t, file, backup.OpenOptions{Identities: []backup.Identity{backup.Passphrase([]byte("x"))}})
		require.NoError(t, err)
		report, err := secretApp().Verify(t.Context(), s, backup.RestoreOptions{})
		require.NoError(t, err)
		plan, err := secretApp().Plan(t.Context(), s, backuptest.MapStore{"servers": {}}, backup.RestoreOptions{})
		require.NoError(t, err)
		restored, err := secretApp().Restore(t.Context(), s, backuptest.MapStore{"servers": {}}, backup.RestoreOptions{})
		require.NoError(t, err)
		require.Equal(t, report.Warnings, plan.Report().Warnings)
		require.Equal(t, report.Warnings, restored.Warnings)
		return strings.Join(report.Warnings, "\n")
	}
	file := sealedText(t)
	require.NotContains(t, warnings(file), missing)
	require.Contains(t, warnings(redigested(regexp.MustCompile(`"proof":.*\n`).ReplaceAllString(file, ""))), missing)

	var salvaged strings.Builder
	_, err := secretApp().Salvage(t.Context(), &salvaged, strings.NewReader(file), backup.SalvageOptions{})
	require.NoError(t, err)
	require.NotContains(t, warnings(salvaged.String()), missing, "a salvaged snapshot has none")
}

func TestErrorsForPeopleHaveNoTypesOfGo(t *testing.T) {
	for name, c := range map[string]struct{ from, to, want string }{
		"a member of another type":  {`"schema_version":1`, `"schema_version":"1"`, `member "schema_version": not an integer`},
		"a newer format":            {`"version":"1.0"`, `"version":"1.1"`, `snapshot is too new: it has format "1.1", this build reads format 1.0; use a newer build`},
		"counts that are not there": {`"records":{"servers":1}`, `"records":{"servers":2,"users":1}`, "servers: 2 counted, 1 are there; users: 1 counted, and it is not there"},
		"a count that is a string":  {`"records":{"servers":1}`, `"records":{"servers":"1"}`, `member "integrity": at /records/servers: `},
		"counts that are a list":    {`"records":{"servers":1}`, `"records":[]`, `member "integrity": at /records: an array stands where an object belongs`},
		"a name that nobody knows":  {`"check":`, `"cheque":1,"check":`, `member "encryption": at /cheque: it is a member that the format does not have`},
		"a wrapped key of numbers":  {`"type":"argon2id"`, `"type":7`, `wrapped key 1 of 1: `},
	} {
		t.Run(name, func(t *testing.T) {
			file := sealedText(t)
			require.Contains(t, file, c.from)
			_, err := open(t, redigested(strings.Replace(file, c.from, c.to, 1)), backup.OpenOptions{})
			require.ErrorContains(t, err, c.want)
			for _, word := range []string{"json:", " Go ", "backup.", "map["} {
				require.NotContains(t, err.Error(), word)
			}
		})
	}
}

// reread returns a reader of the same kind from the beginning.
func reread(r io.Reader, text string) io.Reader {
	if _, ok := r.(io.Seeker); ok {
		return strings.NewReader(text)
	}
	return struct{ io.Reader }{strings.NewReader(text)}
}
