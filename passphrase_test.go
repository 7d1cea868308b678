package backup_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/internal/seal"
)

// untypable are forms of the passphrase "café au lait" that look the same.
var untypable = map[string]string{
	"byte order mark":     "\ufeffcaf\u00e9 au lait",
	"line feed":           "caf\u00e9 au lait\n",
	"line of Windows":     "caf\u00e9 au lait\r\n",
	"trailing blank":      "caf\u00e9 au lait ",
	"another normal form": "cafe\u0301 au lait",
	"UTF-16":              "\xff\xfec\x00a\x00f\x00\xe9\x00 \x00a\x00u\x00 \x00l\x00a\x00i\x00t\x00",
}

const typed = "caf\u00e9 au lait"

// anyBytes seals with a passphrase as other programs do.
type anyBytes string

func (p anyBytes) Wrap(key []byte) (json.RawMessage, error) {
	return seal.WrapPassphrase([]byte(p), key)
}

func TestNothingIsSealedWithAPassphraseThatNobodyCouldTypeAgain(t *testing.T) {
	for name, form := range untypable {
		var out bytes.Buffer
		_, err := secretApp().Backup(t.Context(), &out, backuptest.MapStore{"servers": {}}, backup.BackupOptions{Recipients: []backup.Recipient{backup.Passphrase([]byte(form))}})
		require.ErrorIs(t, err, backup.ErrInvalid, name)
		require.ErrorContains(t, err, "nobody could type this passphrase again", name)
		require.NotContains(t, err.Error(), "lait", name)
		require.Empty(t, out.String(), name)
	}
	require.NoError(t, backup.Passphrase([]byte(typed)).Validate())
	require.ErrorIs(t, backup.Passphrase(nil).Validate(), backup.ErrNoKey)
}

func TestWhatWasSealedWithAnotherFormOfThePassphraseOpens(t *testing.T) {
	opens := func(sealed, given string) {
		t.Helper()
		var out strings.Builder
		_, err := secretApp().Backup(t.Context(), &out, backuptest.MapStore{"servers": {"a1": `{"id":"a1","password":"hunter2"}`}}, backup.BackupOptions{Recipients: []backup.Recipient{anyBytes(sealed)}})
		require.NoError(t, err)
		s, err := open(t, out.String(), backup.OpenOptions{Identities: []backup.Identity{backup.Passphrase([]byte("other")), backup.Passphrase([]byte(given))}, RequireProof: true})
		require.NoError(t, err)
		require.Equal(t, "passphrase", s.Manifest().Authentic)
		_, err = open(t, out.String(), backup.OpenOptions{Identities: []backup.Identity{backup.Passphrase([]byte("Caf\u00e9 au lait"))}})
		require.ErrorIs(t, err, backup.ErrWrongKey, "other letters are another passphrase")
	}
	for name, form := range untypable {
		if name != "trailing blank" { // another passphrase, which a person can type
			opens(form, typed)
			opens(typed, form)
		}
	}
}

// Many forms and many keys multiply. They never keep a passphrase from being tried as it
// was given, and all together they take no more than so much.
func TestOtherFormsAreTriedLastAndWithinBounds(t *testing.T) {
	tried := map[string]int{}
	record := &formed{name: "a", tried: tried}
	for _, c := range []struct {
		keys         []string
		given, other int
	}{
		{[]string{costly(1, 8192)}, 1, 6},
		{[]string{costly(3, 65536), costly(3, 65536), costly(3, 65536), costly(3, 65536)}, 4, 16},
		{[]string{costly(16, 1<<20)}, 1, 0},
	} {
		clear(tried)
		_, err := open(t, withKeys(t, c.keys...), backup.OpenOptions{Identities: []backup.Identity{record}})
		require.ErrorIs(t, err, backup.ErrWrongKey, "forms that were not tried are no error")
		require.Equal(t, map[string]int{"a": c.given, "form": c.other}, map[string]int{"a": tried["a"], "form": tried["form"]})
	}
	start := time.Now()
	_, err := open(t, withKeys(t, costly(3, 65536), costly(3, 65536)), backup.OpenOptions{Identities: []backup.Identity{backup.Passphrase([]byte("wrong"))}})
	require.ErrorIs(t, err, backup.ErrWrongKey)
	t.Logf("a wrong passphrase on two usual keys took %s", time.Since(start))
}

// A formed identity has six other forms, and opens nothing.
type formed struct {
	name  string
	tried map[string]int
}

func (f *formed) Unwrap(json.RawMessage) ([]byte, error) {
	f.tried[f.name]++
	return nil, backup.ErrWrongKey
}

func (f *formed) OtherForms() (others []backup.Identity) {
	for range 6 {
		others = append(others, &formed{"form", f.tried})
	}
	return others
}
