package agekey

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/armor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/tomo-project/backup"
)

// secret is the private key of x25519.txt.
func secret(t *testing.T) string {
	t.Helper()
	lines := strings.Fields(string(read(t, "keys/x25519.txt")))
	return lines[len(lines)-1]
}

func TestKeyInTheWrongPlaceIsNotQuoted(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	ecPublic, err := ssh.NewPublicKey(&ec.PublicKey)
	require.NoError(t, err)
	ecPrivate, err := ssh.MarshalPrivateKey(ec, "")
	require.NoError(t, err)
	publicPEM, err := x509.MarshalPKIXPublicKey(&ec.PublicKey)
	require.NoError(t, err)
	sshPrivate, private, pq := string(read(t, "keys/ed25519")), secret(t), string(read(t, "keys/pq.txt"))
	secrets := []string{private[20:40], strings.ToLower(private[20:40]), sshPrivate[60:80], pq[len(pq)-40 : len(pq)-2], "q3ez7"}

	for _, c := range []struct{ name, text, want string }{
		{"private key", private, "line 1 is a private key, where a public key belongs"},
		{"private key in small letters", strings.ToLower(private), "line 1 is a private key"},
		{"post-quantum private key", pq, "line 3 is a private key"},
		{"SSH private key", sshPrivate, "line 1 is a private key"},
		{"key of a plugin", "age1yubikey1qqq", "line 1 is a key of an age plugin; give it to NewRecipient"},
		{"private key of a plugin", "AGE-PLUGIN-YUBIKEY-1QQQ", "line 1 is a private key"},
		{"behind a name", "\n# x\nkey: " + private, "line 3 is not a public key"},
		{"cut public key", idX25519[:50], "line 1 is not a whole age public key"},
		{"altered public key", strings.Replace(idX25519, "ct5", "ct6", 1), "line 1 is not a whole age public key"},
		{"cut post-quantum key", idPQ, "line 1 is not a whole age public key"},
		{"ECDSA", string(ssh.MarshalAuthorizedKey(ecPublic)), "line 1 is an SSH key of type ecdsa-sha2-nistp256; age knows"},
		{"cut SSH key", "ssh-ed25519 AAAA", "line 1 is not a public key"},
		{"with options", "restrict " + string(read(t, "keys/ed25519.pub")), "line 1 is not a public key"},
		{"two on a line", idX25519 + " " + idX25519, "line 1 is"},
	} {
		t.Run("recipient/"+c.name, func(t *testing.T) {
			_, err := ParseRecipients(c.text)
			require.ErrorContains(t, err, c.want)
			for _, s := range secrets {
				require.NotContains(t, err.Error(), s)
			}
		})
	}
	for _, c := range []struct{ name, text, want string }{
		{"public key", "\n" + idX25519, "line 2 is a public key, where a private key belongs"},
		{"SSH public key", string(read(t, "keys/ed25519.pub")), "line 1 is a public key"},
		{"public key in PEM", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: publicPEM})), "this is a public key"},
		{"key of a plugin", "AGE-PLUGIN-YUBIKEY-1QQQ", "line 1 is a key of an age plugin; give it to NewIdentity"},
		{"cut private key", private[:50], "line 1 is not a whole age private key"},
		{"altered private key", strings.Replace(private, "Z", "Y", 1), "line 1 is not a whole age private key"},
		{"small letters", strings.ToLower(private), "line 1 is not a whole age private key"},
		{"behind a name", "key: " + private, "line 1 is not a private key of age"},
		{"ECDSA", string(pem.EncodeToMemory(ecPrivate)), "of a type that age does not know"},
		{"cut SSH key", sshPrivate[:100], "no SSH private key that can be read"},
		{"altered SSH key", strings.Replace(sshPrivate, "AAAA", "AAAB", 1), "no SSH private key that can be read"},
		{"two SSH keys", sshPrivate + sshPrivate, "more than one SSH key"},
		{"old PEM", string(read(t, "keys/rsa_oldpem")), "ssh-keygen -p"},
		{"encrypted for a key", string(read(t, "files/x25519.age")), "not encrypted with a passphrase but for an age key"},
		{"encrypted and cut", string(lockedFiles(t)[0][:200]), "the file of private keys is damaged"},
		{"encrypted, armored and cut", string(lockedFiles(t)[1][:200]), "the file of private keys is damaged"},
	} {
		t.Run("identity/"+c.name, func(t *testing.T) {
			_, err := ParseIdentities([]byte(c.text), hunter2)
			require.ErrorContains(t, err, c.want)
			require.NotErrorIs(t, err, backup.ErrDamaged) // no snapshot is
			for _, s := range secrets {
				require.NotContains(t, err.Error(), s)
			}
		})
	}
}

// lockedFiles returns x25519.txt encrypted as "age -p" and "age -p -a" do it, but
// with less work.
func lockedFiles(t *testing.T) [2][]byte {
	t.Helper()
	recipient, _ := cheapPassphrase(t)
	file := encryptWith(t, recipient, read(t, "keys/x25519.txt"))
	var armored bytes.Buffer
	w := armor.NewWriter(&armored)
	_, err := w.Write(file)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return [2][]byte{file, armored.Bytes()}
}

func TestPassphraseOfAKeyFileIsAskedForAtOnce(t *testing.T) {
	for _, text := range lockedFiles(t) {
		id, err := ParseIdentities(text, hunter2)
		require.NoError(t, err)
		require.Equal(t, []string{idX25519}, id.KeyIDs())

		cancelled := errors.New("cancelled")
		_, err = ParseIdentities(text, func() ([]byte, error) { return nil, cancelled })
		require.ErrorIs(t, err, cancelled)
		_, err = ParseIdentities(text, func() ([]byte, error) { return []byte("swordfish"), nil })
		require.ErrorIs(t, err, backup.ErrNoKey)
		require.ErrorContains(t, err, "this passphrase does not open the file of private keys")
		require.NotContains(t, err.Error(), "swordfish")
		_, err = ParseIdentities(text, func() ([]byte, error) { return nil, nil })
		require.ErrorIs(t, err, backup.ErrNoKey)
		_, err = ParseIdentities(text, nil)
		require.ErrorIs(t, err, backup.ErrNoKey)
	}
}

func TestPassphraseOfAnSSHKeyIsAskedForWhenItIsNeeded(t *testing.T) {
	text := read(t, "keys/ed25519_locked")
	_, err := ParseIdentities(text, nil)
	require.ErrorIs(t, err, backup.ErrNoKey)

	asked := 0
	answer, failure := "", error(nil)
	id, err := ParseIdentities(text, func() ([]byte, error) { asked++; return []byte(answer), failure })
	require.NoError(t, err)
	require.Len(t, id.KeyIDs(), 1)
	_, err = id.Recipient()
	require.NoError(t, err)
	_, err = id.Unwrap(wrap(read(t, "files/ssh-ed25519.age")))
	require.ErrorIs(t, err, backup.ErrWrongKey)
	require.Zero(t, asked)

	wrapped := wrap(read(t, "files/ssh-locked.age"))
	failure = errors.New("cancelled")
	_, err = id.Unwrap(wrapped)
	require.ErrorIs(t, err, failure)
	require.NotErrorIs(t, err, backup.ErrDamaged)
	failure = nil
	for _, answer = range []string{"", "swordfish"} {
		_, err = id.Unwrap(wrapped)
		require.ErrorIs(t, err, backup.ErrNoKey)
		require.ErrorContains(t, err, "this passphrase does not open "+id.KeyIDs()[0])
		require.NotContains(t, err.Error(), "swordfish")
	}
	answer, asked = "hunter2", 0
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			key, err := id.Unwrap(wrapped)
			assert.NoError(t, err)
			assert.Equal(t, fixedKey, key)
		})
	}
	wait.Wait()
	require.Equal(t, 1, asked)
}

func TestPrivateKeyIsNeverPrinted(t *testing.T) {
	parsed, err := ssh.ParseRawPrivateKey(read(t, "keys/ed25519"))
	require.NoError(t, err)
	edKey := *parsed.(*ed25519.PrivateKey)
	ed, err := agessh.NewEd25519Identity(edKey)
	require.NoError(t, err)
	scrypt, err := age.NewScryptIdentity("hunter2")
	require.NoError(t, err)
	ids := append(raw(t, "x25519.txt"), ed, scrypt)
	key, err := NewIdentity(append(ids, raw(t, "pq.txt")...)...)
	require.NoError(t, err)
	locked := identity(t, "ed25519_locked")
	recipient, _ := cheapPassphrase(t)
	type options struct {
		Identities []backup.Identity
		Value      Identity
		hidden     Identity // fmt does not call methods here
		hiddenPtr  *Identity
		Recipient  *Recipient
	}
	var out strings.Builder
	for _, v := range []any{key, *key, &key, locked, recipient, *recipient, options{[]backup.Identity{key}, *key, *key, key, recipient}, map[string]any{"key": key}, Identity{}, (*Identity)(nil), (*Recipient)(nil)} {
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

	text := strings.ToLower(out.String())
	for _, secret := range []string{
		secret(t), "AGE-SECRET-KEY", "hunter2", "PRIVATE KEY-----", string(edKey.Seed()), hex.EncodeToString(edKey.Seed()),
		"104 117 110", "0x68, 0x75", "68 75 6e", "aHVudGVyMg", "1101000 1110101", hex.EncodeToString([]byte("hunter2")),
		strings.Trim(fmt.Sprint(edKey.Seed()), "[]"), strings.Trim(fmt.Sprintf("%#v", edKey.Seed()), "[]byte{}"),
		strings.Trim(fmt.Sprint([]byte("-----BEGIN OPENSSH")), "[]"), hex.EncodeToString([]byte("-----BEGIN OPENSSH")),
	} {
		require.NotContains(t, text, strings.ToLower(secret))
	}
	require.Equal(t, "(private key of "+idX25519+", ssh-ed25519, passphrase, "+idPQ+")", fmt.Sprintf("%x", key))
	require.Contains(t, out.String(), `"key":"(private key of `+idX25519) // slog to JSON
	require.Equal(t, "(private key)", fmt.Sprint(Identity{}))
	require.Equal(t, "passphrase", recipient.String())
}

// recorder is a testing.T that keeps what is reported.
type recorder struct{ *strings.Builder }

func (r recorder) Errorf(format string, args ...any) { fmt.Fprintf(r, format, args...) }
