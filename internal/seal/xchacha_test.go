package seal

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/chacha20"
	"golang.org/x/crypto/chacha20poly1305"
)

// The vectors were computed with libsodium, and the first of each kind is that of the
// draft. They are published because the draft has expired.
func TestXChaCha20Poly1305IsThatOfThePublishedVectors(t *testing.T) {
	text, err := os.ReadFile("../../schema/xchacha20-poly1305.json")
	require.NoError(t, err)
	var vectors struct {
		HChaCha20 []struct{ Note, Key, Nonce, Subkey string }
		AEAD      []struct {
			Note, Key, Nonce, Subkey, AAD, Plaintext, Ciphertext, Tag string
		} `json:"xchacha20_poly1305"`
	}
	require.NoError(t, json.Unmarshal(text, &vectors))
	require.NotEmpty(t, vectors.HChaCha20)
	require.NotEmpty(t, vectors.AEAD)
	bytes := func(text string) []byte {
		b, err := hex.DecodeString(text)
		require.NoError(t, err)
		return b
	}
	subkey := func(key, nonce string) string {
		b, err := chacha20.HChaCha20(bytes(key), bytes(nonce)[:16])
		require.NoError(t, err)
		return hex.EncodeToString(b)
	}
	for _, v := range vectors.HChaCha20 {
		require.Equal(t, v.Subkey, subkey(v.Key, v.Nonce), v.Note)
	}
	for _, v := range vectors.AEAD {
		require.Equal(t, v.Subkey, subkey(v.Key, v.Nonce), v.Note)
		aead, err := chacha20poly1305.NewX(bytes(v.Key))
		require.NoError(t, err)
		sealed := aead.Seal(nil, bytes(v.Nonce), bytes(v.Plaintext), bytes(v.AAD))
		require.Equal(t, v.Ciphertext+v.Tag, hex.EncodeToString(sealed), v.Note)

		// The description of FORMAT.md in two steps gives the same.
		inner, err := chacha20poly1305.New(bytes(v.Subkey))
		require.NoError(t, err)
		nonce := append(make([]byte, 4), bytes(v.Nonce)[16:]...)
		require.Equal(t, sealed, inner.Seal(nil, nonce, bytes(v.Plaintext), bytes(v.AAD)), v.Note)
	}
}
