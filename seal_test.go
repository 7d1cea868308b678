package backup_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
)

var (
	_ backup.Recipient = (*backup.PassphraseKey)(nil)
	_ backup.Identity  = (*backup.PassphraseKey)(nil)
)

func TestPassphraseOpensWhatItSealed(t *testing.T) {
	typed := []byte("hunter2")
	sealing := backup.Passphrase(typed)
	clear(typed) // a caller may wipe its own copy
	key := bytes.Repeat([]byte{7}, 32)
	wrapped, err := sealing.Wrap(key)
	require.NoError(t, err)
	require.True(t, json.Valid(wrapped))

	got, err := backup.Passphrase([]byte("hunter2")).Unwrap(wrapped)
	require.NoError(t, err)
	require.Equal(t, key, got)
}

func TestPassphraseThatDoesNotOpenSaysWhatToDo(t *testing.T) {
	wrapped, err := backup.Passphrase([]byte("hunter2")).Wrap(make([]byte, 32))
	require.NoError(t, err)
	for _, c := range []struct {
		name, passphrase, wrapped string
		want                      error
		message                   string
	}{
		{"wrong", "swordfish", string(wrapped), backup.ErrWrongKey, "use the one that was set when the backup was made"},
		{"empty", "", string(wrapped), backup.ErrNoKey, "the passphrase is empty"},
		{"for another type of key", "hunter2", `{"type":"age"}`, backup.ErrWrongKey, "not sealed with a passphrase"},
		{"malformed", "hunter2", `{"type":"argon2id"}`, backup.ErrDamaged, "use another backup"},
		{"not JSON", "hunter2", `{`, backup.ErrDamaged, "use another backup"},
		{"hostile", "hunter2", regexp.MustCompile(`"memory":\d+`).ReplaceAllString(string(wrapped), `"memory":1048577`), backup.ErrLimit, "memory is 1048577, not in 8192 to 1048576"},
	} {
		t.Run(c.name, func(t *testing.T) {
			key, err := backup.Passphrase([]byte(c.passphrase)).Unwrap(json.RawMessage(c.wrapped))
			require.Nil(t, key)
			require.ErrorIs(t, err, c.want)
			require.ErrorContains(t, err, c.message)
			require.NotContains(t, err.Error(), "hunter2")
			require.NotContains(t, err.Error(), "swordfish")
		})
	}
}

func TestEmptyPassphraseDoesNotSeal(t *testing.T) {
	for _, k := range []*backup.PassphraseKey{backup.Passphrase(nil), backup.Passphrase([]byte{}), {}} {
		_, err := k.Wrap(make([]byte, 32))
		require.ErrorIs(t, err, backup.ErrNoKey)
		require.ErrorContains(t, err, "the passphrase is empty")
	}
}

func TestPassphraseIsNeverPrinted(t *testing.T) {
	const passphrase = "hunter2"
	key := backup.Passphrase([]byte(passphrase))
	type options struct {
		Recipients []backup.Recipient
		Value      backup.PassphraseKey
		hidden     backup.PassphraseKey // fmt does not call methods here
		hiddenPtr  *backup.PassphraseKey
	}
	var out strings.Builder
	for _, v := range []any{key, *key, &key, options{[]backup.Recipient{key}, *key, *key, key}, map[string]any{"key": key}} {
		for _, verb := range "vTtbcdoOqxXUeEfFgGsp" {
			for _, flags := range []string{"", "+", "#", "-20", " ", "020"} {
				fmt.Fprintf(&out, "%"+flags+string(verb)+"\n", v)
			}
		}
		fmt.Fprintln(&out, v)
		b, err := json.Marshal(v)
		require.NoError(t, err)
		out.Write(b)
		if b, err := xml.Marshal(v); err == nil {
			out.Write(b)
		}
		slog.New(slog.NewJSONHandler(&out, nil)).Info("made", "key", v)
		slog.New(slog.NewTextHandler(&out, nil)).Info("made", "key", v)
		assert.Equal(recorder{&out}, v, "something else") // prints a difference by reflection
	}
	fmt.Fprintf(&out, "%#v", key)

	hexed := hex.EncodeToString([]byte(passphrase))
	require.NotContains(t, out.String(), passphrase)
	require.NotContains(t, strings.ToLower(out.String()), hexed)
	require.NotContains(t, out.String(), "104 117 110")       // %d of the bytes
	require.NotContains(t, out.String(), "0x68, 0x75")        // %#v of the bytes
	require.NotContains(t, out.String(), "68 75 6e")          // a dump of the bytes
	require.NotContains(t, out.String(), "aHVudGVyMg")        // base64, as JSON has bytes
	require.NotContains(t, out.String(), "1101000 1110101")   // %b of the bytes
	require.Contains(t, out.String(), `"key":"(passphrase)"`) // slog to JSON
	require.Equal(t, "(passphrase)", fmt.Sprint(key))
}

// recorder is a testing.T that keeps what is reported.
type recorder struct{ *strings.Builder }

func (r recorder) Errorf(format string, args ...any) { fmt.Fprintf(r, format, args...) }
