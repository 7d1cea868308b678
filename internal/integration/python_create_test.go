//go:build !race

package integration

import (
	"encoding/base64"
	"encoding/json"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup/internal/testtime"
	"github.com/tomo-project/backup/tomo"
)

// An exampleCommand is the command of examples/tomo, which works on one database.
type exampleCommand struct{ path, database string }

func buildExample(t testing.TB, database string) exampleCommand {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tomo")
	says, err := osexec.Command("go", "build", "-o", path, "github.com/tomo-project/backup/examples/tomo").CombinedOutput()
	require.NoError(t, err, "%s", says)
	return exampleCommand{path, database}
}

// run returns what the command prints.
func (c exampleCommand) run(t testing.TB, passphrase string, args ...string) string {
	t.Helper()
	cmd := osexec.Command(c.path, append([]string{"--db", c.database}, args...)...)
	if passphrase != "" {
		cmd.Env = append(os.Environ(), "TOMO_BACKUP_PASSPHRASE="+passphrase)
	}
	var says strings.Builder
	cmd.Stderr = &says
	out, err := cmd.Output()
	require.NoError(t, err, "%s: %s", args, &says)
	return string(out)
}

// key makes a private key in a file, and returns the public one.
func (c exampleCommand) key(t testing.TB, path string, args ...string) (public string) {
	t.Helper()
	says := c.run(t, "", append([]string{"key", "generate", "--json", "--output", path}, args...)...)
	var made struct {
		PublicKey string `json:"public_key"`
	}
	require.NoError(t, json.Unmarshal([]byte(says), &made))
	return made.PublicKey
}

// What the example writes in each of its modes, the reader in Python reads as the
// library does.
func TestTheReaderInPythonReadsWhatTheExampleWrites(t *testing.T) {
	app := tomo.App("2.1.0")
	reader := pythonFor(t, app)
	dir := t.TempDir()
	example := buildExample(t, filepath.Join(dir, "tomo.db"))
	example.run(t, "", "init", "--sample", "20")
	const passphrase = "correct horse battery staple"
	x25519, hybrid, signing := filepath.Join(dir, "x25519"), filepath.Join(dir, "hybrid"), filepath.Join(dir, "signing")
	recipient := []string{"--recipient", example.key(t, x25519)}
	postQuantum := []string{"--recipient", example.key(t, hybrid, "--post-quantum")}
	trusted, err := base64.StdEncoding.DecodeString(example.key(t, signing, "--signing"))
	require.NoError(t, err)

	keys := []struct {
		name    string
		request pythonRequest
		args    []string
	}{
		{"passphrase", pythonRequest{Passphrase: passphrase}, nil},
		{"recipient", pythonRequest{Identities: string(readFile(t, x25519))}, recipient},
		{"post-quantum", pythonRequest{Identities: string(readFile(t, hybrid))}, postQuantum},
		{"recipient and passphrase", pythonRequest{Identities: string(readFile(t, x25519)), Passphrase: passphrase}, recipient},
	}
	extras := [][]string{nil, {"--include", "logs"}, {"--only", "servers,users"}, {"--leave-out-invalid"}}
	files, step := 0, testtime.Pick(t, 5, 1)
	for _, k := range keys {
		for _, encrypt := range [][]string{nil, {"--encrypt"}} {
			for i, compress := range [][]string{nil, {"--compress", "gzip"}, {"--compress", "zstd"}} {
				for _, sign := range [][]string{nil, {"--sign", signing}} {
					files++
					if files%step != 0 {
						continue
					}
					file := filepath.Join(dir, "backup")
					args := slices.Concat([]string{"backup", "create", "--force", "--output", file}, k.args, encrypt, compress, sign, extras[(files+i)%len(extras)])
					example.run(t, k.request.Passphrase, args...)
					request := k.request
					if sign != nil {
						request.Trusted, request.RequireProof = [][]byte{trusted}, true
					}
					same, why := difference(t, reader, app, request, readFile(t, file))
					require.Empty(t, why, "%s", args)
					require.NotEmpty(t, same.Records["servers"], "%s", args)
				}
			}
		}
	}
	t.Logf("%d modes", files)
}
