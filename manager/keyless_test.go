package manager_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
)

// redigested gives a snapshot the digest that fits.
func redigested(text string) string {
	before, _, _ := strings.Cut(text, `"integrity"`)
	sum := sha256.Sum256([]byte(before))
	return regexp.MustCompile(`"sha256":"[0-9a-f]*"`).ReplaceAllString(text, `"sha256":"`+hex.EncodeToString(sum[:])+`"`)
}

func TestVerifyWithoutAKeyFindsASecretInClear(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newShelf("a")
		m, _, _ := managed(a)
		made := mustCreate(t, m)
		require.False(t, mustList(t, m)[0].InClear)
		m.Identities = nil
		found, err := m.Verify(t.Context(), made.Name)
		require.NoError(t, err)
		require.Contains(t, found[0].Report.Warnings[0], "it is whole, as far as its digest tells")

		a.alter(t, made.Name, func(s string) string {
			return redigested(regexp.MustCompile(`\{"\$sealed":"[^"]*"\}`).ReplaceAllString(s, `"in clear"`))
		})
		require.NoError(t, mustList(t, m)[0].Copies[0].Err, "the ends are as a backup writes them")
		_, err = m.Verify(t.Context(), made.Name)
		require.ErrorIs(t, err, backup.ErrDamaged)
		require.ErrorContains(t, err, "not sealed")
		require.True(t, mustList(t, m)[0].Damaged, "now it is known")
	})
}

func TestSecretsInClearAreListedAndToldAtVerify(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for data, inClear := range map[string]bool{
			`{"servers":[{"id":"a1","name":"nas","password":"hunter2"}]}`: true,
			`{"servers":[]}`:           false,
			`{"settings":{"theme":1}}`: true, // its secrets, if it has any
			`{"users":[{"id":1}]}`:     false,
		} {
			a := newShelf("a")
			m, _, _ := managed(a)
			name := "homelab-backup-2024-01-15T10-30-00.json"
			a.files()[name] = document(m.App, m.App.SchemaVersion, data)
			list := mustList(t, m)
			require.Len(t, list, 1)
			require.Equal(t, inClear, list[0].InClear, data)
			text, err := json.Marshal(list[0])
			require.NoError(t, err)
			require.Equal(t, inClear, strings.Contains(string(text), `"in_clear":true`))
			if strings.Contains(data, "hunter2") {
				found, err := m.Verify(t.Context(), name)
				require.NoError(t, err)
				require.Contains(t, strings.Join(found[0].Report.Warnings, "\n"), "secrets of servers stand in clear")
			}
		}
	})
}

func TestVerifyWithoutAKeyTellsOfASalvagedBackupAndOfNoDigest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newShelf("a")
		m, _, _ := managed(a)
		made := mustCreate(t, m)
		a.alter(t, made.Name, func(s string) string {
			s = strings.Replace(s, `"data":{`, `"salvaged":{"lost_bytes":7},`+"\n"+`"data":{`, 1)
			return regexp.MustCompile(`(?s),\s*("proof"|"integrity"):.*`).ReplaceAllString(s, "}")
		})
		m.Identities = nil
		found, err := m.Verify(t.Context(), made.Name)
		require.NoError(t, err)
		warnings := strings.Join(found[0].Report.Warnings, "\n")
		require.NotContains(t, warnings, "whole")
		require.Contains(t, warnings, "no integrity information")
		require.Contains(t, warnings, "saved from a damaged file. Lost are 7 bytes")
	})
}
