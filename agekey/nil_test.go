package agekey

import (
	"bytes"
	"io"
	"testing"

	"filippo.io/age"
	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup/internal/niltest"
)

// Nothing that is nil makes a key panic.
func TestWhatIsNilIsAnError(t *testing.T) {
	key, err := age.GenerateX25519Identity()
	require.NoError(t, err)
	niltest.Run(t, niltest.Package{
		Funcs: map[string]any{
			"Passphrase": Passphrase, "NewIdentity": NewIdentity, "NewRecipient": NewRecipient,
			"ParseIdentities": ParseIdentities, "ParseRecipients": ParseRecipients,
		},
		Receivers: func(t *testing.T) []any {
			i, err := NewIdentity(key)
			require.NoError(t, err)
			r, err := i.Recipient()
			require.NoError(t, err)
			return []any{i, r}
		},
		Args: func(*testing.T) []any {
			return []any{
				key, key.Recipient(), key.String(), []byte(key.String()), bytes.NewReader(nil), new(bytes.Buffer),
				func() ([]byte, error) { return nil, io.EOF },
			}
		},
		TypedNils: []any{(*age.X25519Identity)(nil), (*age.X25519Recipient)(nil), (*age.ScryptIdentity)(nil), (*bytes.Reader)(nil), (*bytes.Buffer)(nil)},
		Optional:  []string{"ParseIdentities 1"},
		Skip:      map[string]string{"Identity.Format": "fmt calls it"},
	})
}
