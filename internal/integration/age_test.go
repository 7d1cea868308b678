//go:build !race

package integration

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"encoding/pem"
	"io"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"filippo.io/age"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/tomo-project/backup/agekey"
)

// needCommand returns the path of a command that a test is about. Without it the
// test is skipped, and with BACKUP_REQUIRE_SERVICES=1 it fails.
func needCommand(t testing.TB, name string) string {
	t.Helper()
	path, err := osexec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("BACKUP_REQUIRE_SERVICES") == "1" {
		t.Fatalf("the command %s is not in PATH, and BACKUP_REQUIRE_SERVICES=1 requires it", name)
	}
	t.Skipf("the command %s is not in PATH; install it, and set BACKUP_REQUIRE_SERVICES=1 to be sure that nothing is skipped", name)
	return ""
}

// moduleAge returns the age command of the version that go.mod has, which knows
// post-quantum keys: those of distributions often do not.
var moduleAge = sync.OnceValues(func() (string, error) {
	cmd := osexec.Command("go", "tool", "-n", "filippo.io/age/cmd/age")
	cmd.Stderr = os.Stderr
	path, err := cmd.Output()
	return strings.TrimSpace(string(path)), err
})

// An ageKey is a key in files, with the age command that knows it.
type ageKey struct {
	name       string
	command    string
	identity   string // the file with the private key
	recipients string // the file with the public key
}

// recipient returns the public key as this library reads it.
func (k ageKey) recipient(t testing.TB) *agekey.Recipient {
	t.Helper()
	r, err := agekey.ParseRecipients(string(readFile(t, k.recipients)))
	require.NoError(t, err)
	return r
}

// open returns the private key as this library reads it.
func (k ageKey) open(t testing.TB) *agekey.Identity {
	t.Helper()
	i, err := agekey.ParseIdentities(readFile(t, k.identity), nil)
	require.NoError(t, err)
	require.Equal(t, k.recipient(t).KeyIDs(), i.KeyIDs())
	return i
}

// run gives stdin to the age command and returns what it prints.
func (k ageKey) run(t testing.TB, stdin []byte, args ...string) []byte {
	t.Helper()
	cmd := osexec.Command(k.command, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	var says strings.Builder
	cmd.Stderr = &says
	out, err := cmd.Output()
	require.NoError(t, err, "%s %s: %s", k.command, args, &says)
	return out
}

// ageKeys returns a new key of each kind that the age command knows, the first for
// X25519.
func ageKeys(t testing.TB) []ageKey {
	t.Helper()
	installed := needCommand(t, "age")
	current, err := moduleAge()
	require.NoError(t, err)
	dir := t.TempDir()
	key := func(name, command, identity, recipient string) ageKey {
		k := ageKey{name, command, filepath.Join(dir, name), filepath.Join(dir, name+".pub")}
		require.NoError(t, os.WriteFile(k.identity, []byte(identity), 0o600))
		require.NoError(t, os.WriteFile(k.recipients, []byte(recipient+"\n"), 0o600))
		return k
	}
	sshKey := func(name string, private any) ageKey {
		block, err := ssh.MarshalPrivateKey(private, "")
		require.NoError(t, err)
		signer, err := ssh.NewSignerFromKey(private)
		require.NoError(t, err)
		public := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
		return key(name, installed, string(pem.EncodeToMemory(block)), public+" somebody@example.org")
	}
	x25519, err := age.GenerateX25519Identity()
	require.NoError(t, err)
	hybrid, err := age.GenerateHybridIdentity()
	require.NoError(t, err)
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	return []ageKey{
		key("x25519", installed, "# comment\n"+x25519.String()+"\n", x25519.Recipient().String()),
		key("x25519-current", current, x25519.String(), x25519.Recipient().String()),
		key("post-quantum", current, hybrid.String(), hybrid.Recipient().String()),
		sshKey("ssh-ed25519", edKey),
		sshKey("ssh-rsa", rsaKey),
	}
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return b
}

// encryptAll returns plain as the age file that r makes of it.
func encryptAll(t testing.TB, r *agekey.Recipient, plain []byte) []byte {
	t.Helper()
	var file bytes.Buffer
	w, err := r.Encrypt(&file)
	require.NoError(t, err)
	_, err = w.Write(plain)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return file.Bytes()
}

// decryptAll returns what is in an age file.
func decryptAll(t testing.TB, i *agekey.Identity, file []byte) []byte {
	t.Helper()
	r, err := i.Decrypt(bytes.NewReader(file))
	require.NoError(t, err)
	plain, err := io.ReadAll(r)
	require.NoError(t, err)
	return plain
}

// wrappedFile returns the age file in a wrapped key.
func wrappedFile(t testing.TB, wrapped []byte) []byte {
	t.Helper()
	var key struct{ File []byte }
	require.NoError(t, json.Unmarshal(wrapped, &key))
	return key.File
}

var longPlain = bytes.Repeat([]byte("0123456789abcdef"), 20_000) // several chunks of age

func TestTheAgeCommandOpensWhatIsEncryptedHere(t *testing.T) {
	for _, k := range ageKeys(t) {
		t.Run(k.name, func(t *testing.T) {
			r := k.recipient(t)
			for _, plain := range [][]byte{longPlain, {}} {
				require.Equal(t, string(plain), string(k.run(t, encryptAll(t, r, plain), "-d", "-i", k.identity)))
			}
			key := longPlain[:32]
			wrapped, err := r.Wrap(key)
			require.NoError(t, err)
			require.Equal(t, key, k.run(t, wrappedFile(t, wrapped), "-d", "-i", k.identity))
		})
	}
}

func TestWhatTheAgeCommandEncryptedOpensHere(t *testing.T) {
	keys := ageKeys(t)
	for _, k := range keys {
		t.Run(k.name, func(t *testing.T) {
			i, public := k.open(t), strings.TrimSpace(string(readFile(t, k.recipients)))
			for _, args := range [][]string{
				{"-r", public},
				{"-R", k.recipients},
				{"-a", "-R", k.recipients},
			} {
				for _, plain := range [][]byte{longPlain, {}} {
					require.Equal(t, string(plain), string(decryptAll(t, i, k.run(t, plain, args...))), "%s", args)
				}
			}
		})
	}
	several := keys[0].run(t, longPlain, "-R", keys[0].recipients, "-R", keys[3].recipients, "-R", keys[4].recipients)
	for _, n := range []int{0, 3, 4} {
		require.Equal(t, longPlain, decryptAll(t, keys[n].open(t), several))
	}
}

// typeTo runs the age command with a terminal, at which it asks for a passphrase.
func (k ageKey) typeTo(t testing.TB, typed string, args ...string) {
	t.Helper()
	cmd := osexec.Command(needCommand(t, "script"), "-qec", k.command+" "+strings.Join(args, " "), os.DevNull)
	cmd.Stdin = strings.NewReader(typed)
	says, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s: %s", args, says)
}

func TestPassphrasesOfTheAgeCommand(t *testing.T) {
	k := ageKeys(t)[0]
	dir := t.TempDir()
	plain, ours, theirs, opened := filepath.Join(dir, "plain"), filepath.Join(dir, "ours"), filepath.Join(dir, "theirs"), filepath.Join(dir, "opened")
	require.NoError(t, os.WriteFile(plain, longPlain, 0o600))
	r, i, err := agekey.Passphrase([]byte("hunter2"))
	require.NoError(t, err)

	k.typeTo(t, "hunter2\nhunter2\n", "-p", "-o", theirs, plain)
	require.Equal(t, longPlain, decryptAll(t, i, readFile(t, theirs)))

	require.NoError(t, os.WriteFile(ours, encryptAll(t, r, longPlain), 0o600))
	k.typeTo(t, "hunter2\n", "-d", "-o", opened, ours)
	require.Equal(t, longPlain, readFile(t, opened))

	locked := filepath.Join(dir, "locked")
	k.typeTo(t, "hunter2\nhunter2\n", "-p", "-a", "-o", locked, k.identity)
	i, err = agekey.ParseIdentities(readFile(t, locked), func() ([]byte, error) { return []byte("hunter2"), nil })
	require.NoError(t, err)
	require.Equal(t, longPlain, decryptAll(t, i, k.run(t, longPlain, "-R", k.recipients)))
}
