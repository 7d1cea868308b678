package backup_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/internal/seal"
)

// anIdentity opens what it likes.
type anIdentity func(kind string) ([]byte, error)

func (f anIdentity) Unwrap(wrapped json.RawMessage) ([]byte, error) {
	var head struct{ Type string }
	if err := json.Unmarshal(wrapped, &head); err != nil {
		return nil, err
	}
	return f(head.Type)
}

// A fixedRecipient wraps no key. It returns its own text.
type fixedRecipient string

func (r fixedRecipient) Wrap([]byte) (json.RawMessage, error) { return json.RawMessage(r), nil }

// costly is a wrapped key that no passphrase opens.
func costly(passes, memory int) string {
	text := func(n int) string { return base64.StdEncoding.EncodeToString(make([]byte, n)) }
	return fmt.Sprintf(`{"type":"argon2id","salt":%q,"time":%d,"memory":%d,"threads":1,"wrapped":%q}`, text(16), passes, memory, text(72))
}

// withKeys is a snapshot with these wrapped keys and a digest that fits.
func withKeys(t *testing.T, keys ...string) string {
	return redigested(regexp.MustCompile(`"keys":\[.*?\]`).ReplaceAllLiteralString(sealedText(t), `"keys":[`+strings.Join(keys, ",")+`]`))
}

// redigested gives a snapshot the digest that fits.
func redigested(text string) string {
	before, _, _ := strings.Cut(text, `"integrity"`)
	sum := sha256.Sum256([]byte(before))
	return regexp.MustCompile(`"sha256":"[0-9a-f]*"`).ReplaceAllString(text, `"sha256":"`+hex.EncodeToString(sum[:])+`"`)
}

func open(t *testing.T, text string, opts backup.OpenOptions) (*backup.Snapshot, error) {
	s, err := backup.OpenSnapshot(t.Context(), strings.NewReader(text), opts)
	if err == nil {
		t.Cleanup(func() { s.Close() })
	}
	return s, err
}

func TestTheCheapestKeyIsTriedFirst(t *testing.T) {
	text := withKeys(t, costly(2, 8192), costly(1, 8192), `{"type":"x-free"}`)
	var tried []string
	record := anIdentity(func(kind string) ([]byte, error) {
		tried = append(tried, kind)
		return nil, backup.ErrWrongKey
	})
	var told []backup.Progress
	opts := backup.OpenOptions{Identities: []backup.Identity{record}, Progress: func(p backup.Progress) { told = append(told, p) }}
	_, err := open(t, text, opts)
	require.ErrorIs(t, err, backup.ErrWrongKey)
	require.Equal(t, []string{"x-free", "argon2id", "argon2id"}, tried)
	// What a key costs is told before it is tried.
	require.Equal(t, []backup.Progress{{Phase: "key", Bytes: 0, Total: 24 << 20}, {Phase: "key", Bytes: 8 << 20, Total: 24 << 20}}, told)

	tried, opts.PreferProof = nil, true
	_, err = open(t, text, opts)
	require.ErrorIs(t, err, backup.ErrWrongKey)
	require.Equal(t, []string{"argon2id", "argon2id", "x-free"}, tried, "a passphrase also proves the snapshot")

	s, err := open(t, text, backup.OpenOptions{})
	require.NoError(t, err)
	require.Equal(t, []string{"passphrase: 8 MiB of memory, 1 pass", "passphrase: 8 MiB of memory, 2 passes"}, s.KeyCosts())
}

func TestABrokenKeyDoesNotHideOneThatFits(t *testing.T) {
	text := sealedText(t)
	text = redigested(strings.Replace(text, `"keys":[`, `"keys":[{"type":"x-broken"},`, 1))
	for _, broken := range []error{backup.ErrDamaged, backup.ErrLimit, errBroken} {
		breaks := anIdentity(func(kind string) ([]byte, error) {
			if kind == "x-broken" {
				return nil, fmt.Errorf("%w: broken", broken)
			}
			return nil, backup.ErrWrongKey
		})
		_, err := open(t, text, backup.OpenOptions{Identities: []backup.Identity{breaks}})
		require.ErrorIs(t, err, broken)
		_, err = open(t, text, backup.OpenOptions{Identities: []backup.Identity{breaks, backup.Passphrase([]byte("x"))}})
		if broken == errBroken {
			require.ErrorIs(t, err, broken, "not about the key: no more is tried")
			continue
		}
		require.ErrorIs(t, err, backup.ErrUnauthentic, "it opens, and the mac shows the added key")
	}
}

var errBroken = errors.New("the token was pulled out")

func TestWhatWrappedKeysCostIsBounded(t *testing.T) {
	never := anIdentity(func(string) ([]byte, error) {
		t.Error("a key was tried")
		return nil, backup.ErrWrongKey
	})
	most := costly(16, 1<<20)
	for _, keys := range [][]string{{most, costly(1, 8192)}, slices.Repeat([]string{most}, 16)} {
		for _, ids := range [][]backup.Identity{nil, {never}} {
			_, err := open(t, withKeys(t, keys...), backup.OpenOptions{Identities: ids})
			require.ErrorIs(t, err, backup.ErrLimit)
			require.ErrorContains(t, err, "of memory in all passes, the most is 16 GiB")
		}
		_, err := backup.Peek(t.Context(), strings.NewReader(withKeys(t, keys...)), backup.OpenOptions{})
		require.ErrorIs(t, err, backup.ErrLimit, "a list finds it too")
	}
	var out strings.Builder
	_, err := secretApp().Backup(t.Context(), &out, backuptest.MapStore{"servers": {}}, backup.BackupOptions{Recipients: []backup.Recipient{fixedRecipient(most), fixedRecipient(most)}})
	require.ErrorIs(t, err, backup.ErrLimit, "what no reader accepts is not written")

	// Five times what sixteen keys of a writer cost is within the bound.
	_, err = open(t, withKeys(t, slices.Repeat([]string{costly(15, 65536)}, 16)...), backup.OpenOptions{})
	require.NoError(t, err)
}

func TestManyPassphrasesOnCostlyKeysAreBounded(t *testing.T) {
	text := withKeys(t, costly(16, 1<<20))
	tries := 0
	derives := anIdentity(func(string) ([]byte, error) { tries++; return nil, backup.ErrWrongKey })
	passes := anIdentity(func(string) ([]byte, error) { return nil, seal.Untried(backup.ErrWrongKey) })
	_, err := open(t, text, backup.OpenOptions{Identities: []backup.Identity{passes, derives, passes, derives, passes, derives, derives}})
	require.ErrorIs(t, err, backup.ErrLimit)
	require.ErrorContains(t, err, "give only the key that was in use")
	require.Equal(t, 2, tries)

	tries = 0
	_, err = open(t, text, backup.OpenOptions{Identities: []backup.Identity{passes, derives, passes, passes}})
	require.ErrorIs(t, err, backup.ErrWrongKey, "what takes no work is not counted")
	require.Equal(t, 1, tries)
}

func TestKeysAreNotTriedAfterTheContextIsDone(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	tries := 0
	cancels := anIdentity(func(string) ([]byte, error) { tries++; cancel(); return nil, backup.ErrWrongKey })
	_, err := backup.OpenSnapshot(ctx, strings.NewReader(withKeys(t, costly(1, 8192), costly(1, 8192))), backup.OpenOptions{Identities: []backup.Identity{cancels, cancels}})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 1, tries)
}

func TestASecretInClearIsFoundWithoutTheKey(t *testing.T) {
	text := redigested(regexp.MustCompile(`\{"\$sealed":"[^"]*"\}`).ReplaceAllString(sealedText(t), `"hunter2"`))
	for name, r := range map[string]func() (*backup.Snapshot, error){
		"a file": func() (*backup.Snapshot, error) { return open(t, text, backup.OpenOptions{}) },
		"a stream": func() (*backup.Snapshot, error) {
			return backup.OpenSnapshot(t.Context(), bytes.NewBufferString(text), backup.OpenOptions{TempDir: t.TempDir()})
		},
	} {
		_, err := r()
		require.ErrorIs(t, err, backup.ErrDamaged, name)
		require.ErrorContains(t, err, `servers "a1" /password`)
		require.ErrorContains(t, err, "not sealed")
		require.NotContains(t, err.Error(), "hunter2")
	}
}

func TestNoWrappedKeyAtAllIsFoundWithoutAKey(t *testing.T) {
	_, err := open(t, withKeys(t), backup.OpenOptions{})
	require.ErrorIs(t, err, backup.ErrFormat)
	_, err = backup.Peek(t.Context(), strings.NewReader(withKeys(t)), backup.OpenOptions{})
	require.ErrorIs(t, err, backup.ErrFormat)
}

func TestAnApplicationThatCannotBeIsNoSnapshot(t *testing.T) {
	for _, name := range []string{"DEMO", "de mo", "-demo", strings.Repeat("a", 65)} {
		_, err := open(t, redigested(strings.Replace(sealedText(t), `"demo"`, `"`+name+`"`, 1)), backup.OpenOptions{})
		require.ErrorIs(t, err, backup.ErrFormat, name)
		require.ErrorIs(t, err, backup.ErrForeign, name)
	}
}

// plainText is a snapshot of secretApp without encryption.
func plainText(servers string) string {
	return `{"version":"1.0","created_at":"2024-01-15T10:30:00Z","application":"demo","application_version":"1.0.0","schema_version":1,"data":{"servers":[` + servers + `]}}`
}

func TestSecretsInClearAreTold(t *testing.T) {
	const told = "secrets of servers stand in clear"
	for servers, inClear := range map[string]bool{
		`{"id":"a1","password":"hunter2"},{"id":"b2","password":"hunter3"}`: true,
		`{"id":"a1","password":null},{"id":"b2"}`:                           false,
	} {
		s, err := open(t, plainText(servers), backup.OpenOptions{})
		require.NoError(t, err)
		verified, err := secretApp().Verify(t.Context(), s, backup.RestoreOptions{})
		require.NoError(t, err)
		plan, err := secretApp().Plan(t.Context(), s, backuptest.MapStore{"servers": {}}, backup.RestoreOptions{})
		require.NoError(t, err)
		restored, err := secretApp().Restore(t.Context(), s, backuptest.MapStore{"servers": {}}, backup.RestoreOptions{})
		require.NoError(t, err)
		for name, warnings := range map[string][]string{"verify": verified.Warnings, "plan": plan.Report().Warnings, "restore": restored.Warnings} {
			require.Equal(t, inClear, strings.Contains(strings.Join(warnings, "\n"), told), "%s of %s: %q", name, servers, warnings)
			require.LessOrEqual(t, strings.Count(strings.Join(warnings, "\n"), told), 1)
			require.NotContains(t, strings.Join(warnings, "\n"), "hunter2")
		}
	}
}

func TestVerifyWithoutTheKeySaysWhatItSawAllTheSame(t *testing.T) {
	text := strings.Replace(sealedText(t), `"data":{`, `"salvaged":{"lost_bytes":7},"data":{`, 1)
	text = regexp.MustCompile(`(?s),\s*"proof":.*`).ReplaceAllString(text, "}")
	s, err := open(t, text, backup.OpenOptions{})
	require.NoError(t, err)
	report, err := secretApp().Verify(t.Context(), s, backup.RestoreOptions{})
	require.ErrorIs(t, err, backup.ErrNoKey)
	require.Empty(t, report.Collections)
	warnings := strings.Join(report.Warnings, "\n")
	require.Contains(t, warnings, "no integrity information")
	require.Contains(t, warnings, "saved from a damaged file")
}

func TestSalvageLeavesOutAWrappedKeyThatIsDamaged(t *testing.T) {
	text := sealedText(t)
	key := regexp.MustCompile(`"keys":\[(.*?)\]`).FindStringSubmatch(text)[1]
	damaged := strings.Replace(key, `"salt":"`, `"salt":"?`, 1)
	text = strings.Replace(text, key, damaged+","+key, 1)
	passphrase := []backup.Identity{backup.Passphrase([]byte("x"))}
	_, err := open(t, redigested(text), backup.OpenOptions{Identities: passphrase})
	require.ErrorIs(t, err, backup.ErrDamaged)

	var out bytes.Buffer
	report, err := secretApp().Salvage(t.Context(), &out, strings.NewReader(text), backup.SalvageOptions{Identities: passphrase})
	require.NoError(t, err)
	require.Contains(t, strings.Join(report.Warnings, "\n"), "wrapped keys that are damaged")
	s, err := open(t, out.String(), backup.OpenOptions{Identities: passphrase})
	require.NoError(t, err)
	store := backuptest.MapStore{"servers": {}}
	_, err = secretApp().Restore(t.Context(), s, store, backup.RestoreOptions{})
	require.NoError(t, err)
	require.JSONEq(t, `{"id":"a1","password":"hunter2"}`, store["servers"]["a1"])
}
