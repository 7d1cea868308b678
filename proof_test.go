package backup_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
)

func newSigner(t testing.TB) (ed25519.PrivateKey, ed25519.PublicKey) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	return private, public
}

func openWith(t testing.TB, file string, opts backup.OpenOptions) (backup.Manifest, error) {
	s, err := backup.OpenSnapshot(t.Context(), strings.NewReader(file), opts)
	if err != nil {
		return backup.Manifest{}, err
	}
	defer s.Close()
	return s.Manifest(), nil
}

func TestAPassphraseProvesWhereASnapshotComesFrom(t *testing.T) {
	passphrase := backup.Passphrase([]byte("correct horse"))
	file, _ := inFile(t, backup.BackupOptions{Recipients: []backup.Recipient{passphrase}})
	with := backup.OpenOptions{Identities: []backup.Identity{passphrase}, RequireProof: true}
	m, err := openWith(t, string(file), with)
	require.NoError(t, err)
	require.Equal(t, "passphrase", m.Authentic)

	admin := strings.Replace(string(file), `{"id":7,"name":"ada"}`, `{"id":7,"name":"eve"}`, 1)
	require.NotEqual(t, string(file), admin)
	_, err = openWith(t, admin, with)
	require.ErrorIs(t, err, backup.ErrDamaged, "an altered file with its old digest may be an accident")
	for _, requires := range []bool{true, false} {
		with.RequireProof = requires
		_, err = openWith(t, resummed(t, admin), with)
		require.ErrorIs(t, err, backup.ErrUnauthentic, "one with a digest that fits is none")
		require.NotErrorIs(t, err, backup.ErrDamaged)
	}

	without := regexp.MustCompile(`(?m)^"proof":.*\n`).ReplaceAllString(admin, "")
	with.RequireProof = true
	_, err = openWith(t, resummed(t, without), with)
	require.ErrorIs(t, err, backup.ErrUnauthentic, "nor does it help to leave the proof out")
	with.RequireProof = false
	m, err = openWith(t, resummed(t, without), with)
	require.NoError(t, err, "unless nobody asks for it")
	require.Empty(t, m.Authentic)

	_, err = openWith(t, string(file), backup.OpenOptions{RequireProof: true})
	require.ErrorIs(t, err, backup.ErrNoKey, "only the passphrase can tell")
}

func TestASnapshotWithoutSecretsIsProvenToo(t *testing.T) {
	passphrase := backup.Passphrase([]byte("correct horse"))
	var file bytes.Buffer
	m, err := homelab().Backup(t.Context(), &file, homelabStore(), backup.BackupOptions{Only: []string{"users"}, Recipients: []backup.Recipient{passphrase}})
	require.NoError(t, err)
	require.False(t, m.Sealed)
	got, err := openWith(t, file.String(), backup.OpenOptions{Identities: []backup.Identity{passphrase}, RequireProof: true})
	require.NoError(t, err)
	require.Equal(t, "passphrase", got.Authentic)
	require.False(t, got.Sealed)
	_, err = restored(t, strings.NewReader(file.String()), backup.OpenOptions{}, backup.RestoreOptions{})
	require.NoError(t, err, "and can be read by who does not ask for it")
}

func TestAPublicKeyProvesNothing(t *testing.T) {
	key, passphrase := newPair(t), backup.Passphrase([]byte("correct horse"))
	forger, _ := inFile(t, backup.BackupOptions{Recipients: []backup.Recipient{key.to}})
	with := backup.OpenOptions{Identities: []backup.Identity{key.from}, RequireProof: true}
	_, err := openWith(t, string(forger), with)
	require.ErrorIs(t, err, backup.ErrUnauthentic, "anybody can seal for a public key")

	both, _ := inFile(t, backup.BackupOptions{Recipients: []backup.Recipient{key.to, passphrase}})
	_, err = openWith(t, string(both), with)
	require.ErrorIs(t, err, backup.ErrUnauthentic, "it was not the passphrase that opened it")
	require.ErrorContains(t, err, "open it with the passphrase")
	with.Identities = []backup.Identity{passphrase}
	_, err = openWith(t, string(both), with)
	require.NoError(t, err)

	// Somebody who has no key lends the wrapped key of a good one to a forgery.
	keys := regexp.MustCompile(`"keys":\[.*?\],"check"`)
	lent := keys.ReplaceAllLiteralString(string(forger), keys.FindString(string(both)))
	with.RequireProof = false
	_, err = openWith(t, resummed(t, lent), with)
	require.ErrorIs(t, err, backup.ErrDamaged, "the check value does not fit")
}

func TestASignatureProvesWhereASnapshotComesFrom(t *testing.T) {
	private, public := newSigner(t)
	_, stranger := newSigner(t)
	for name, opts := range map[string]backup.BackupOptions{
		"sealed": {Recipients: sealed}, "compressed": {Recipients: sealed, Compress: backup.Zstd}, "encrypted": {Encrypt: newPair(t).to},
	} {
		opts.Signer = private
		with := backup.OpenOptions{Identities: []backup.Identity{testKey("k")}, RequireProof: true, Trusted: []ed25519.PublicKey{stranger, public}}
		if opts.Encrypt != nil {
			key := newPair(t)
			opts.Encrypt, with.Identities = key.to, []backup.Identity{key.from}
		}
		file, _ := inFile(t, opts)
		m, err := openWith(t, string(file), with)
		require.NoError(t, err, name)
		require.Equal(t, "ed25519 "+base64.StdEncoding.EncodeToString(public), m.Authentic)
		with.Trusted = []ed25519.PublicKey{stranger}
		_, err = openWith(t, string(file), with)
		require.ErrorIs(t, err, backup.ErrUnauthentic, name)
		require.ErrorContains(t, err, base64.StdEncoding.EncodeToString(public))
		with.RequireProof = false
		m, err = openWith(t, string(file), with)
		require.NoError(t, err, name)
		require.Empty(t, m.Authentic)
	}

	file, _ := inFile(t, backup.BackupOptions{Recipients: sealed, Signer: private})
	trusting := backup.OpenOptions{Trusted: []ed25519.PublicKey{public}}
	admin := strings.Replace(string(file), `{"id":7,"name":"ada"}`, `{"id":7,"name":"eve"}`, 1)
	_, err := openWith(t, resummed(t, admin), trusting)
	require.ErrorIs(t, err, backup.ErrUnauthentic, "it takes no key to open it to tell")
}

func TestOnlyEd25519Signs(t *testing.T) {
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	var file bytes.Buffer
	_, err = homelab().Backup(t.Context(), &file, homelabStore(), backup.BackupOptions{Recipients: sealed, Signer: other})
	require.ErrorIs(t, err, backup.ErrInvalid)
	require.Zero(t, file.Len(), "before anything is written")
}

func TestAProofCoversAllThatStandsBeforeIt(t *testing.T) {
	private, _ := newSigner(t)
	file, _ := inFile(t, backup.BackupOptions{Recipients: sealed, Signer: private})
	line := regexp.MustCompile(`(?m)^"proof":.*\n`).FindString(string(file))
	require.NotEmpty(t, line)
	bare := strings.Replace(string(file), line, "", 1)
	early := strings.Replace(bare, `"data":{`, line+`"data":{`, 1)
	_, err := openWith(t, resummed(t, early), backup.OpenOptions{})
	require.ErrorIs(t, err, backup.ErrFormat, "before the data it would cover none of it")
	behind := strings.Replace(string(file), line, line+`"left_out":{"users":1},`+"\n", 1)
	_, err = openWith(t, resummed(t, behind), backup.OpenOptions{})
	require.ErrorIs(t, err, backup.ErrFormat, "what stands behind it would not be covered")
}
