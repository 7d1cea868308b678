//go:build !race

package integration

import (
	"bytes"
	"encoding/json"
	"os"
	osexec "os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
)

// Whoever finds backups and no Tomo does what the README beside them says, word for
// word.
func TestTheReadmeBesideBackupsOpensThem(t *testing.T) {
	t.Parallel()
	needCommand(t, "bash")
	needCommand(t, "gzip")
	key := ageKeys(t)[0]
	python, err := pythonCommand()
	path, missing := pythonPath()
	if err != nil || missing != nil {
		if os.Getenv("BACKUP_REQUIRE_SERVICES") == "1" {
			require.NoError(t, err)
			require.NoError(t, missing)
		}
		t.Skip("no Python or no zstd: ", err, missing)
	}
	h := newHost(t, 20)
	db := h.open(t)
	want := state(t, db)
	m := h.manager(db)
	passphrase := backup.Passphrase([]byte("correct horse"))
	m.Recipients, m.Identities = []backup.Recipient{passphrase}, []backup.Identity{passphrase}
	m.Installation = "a1"

	// FILE stands for the name of a backup.
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	take := func(name, as string) {
		t.Helper()
		require.NoError(t, os.WriteFile(in(as), readFile(t, filepath.Join(h.dir, "a", name)), 0o600))
	}
	plain := create(t, m, backup.BackupOptions{Include: []string{"logs"}})
	take(plain.Name, "FILE.json")
	take(create(t, m, backup.BackupOptions{Include: []string{"logs"}, Compress: backup.Gzip}).Name, "FILE.json.gz")
	packed := create(t, m, backup.BackupOptions{Include: []string{"logs"}, Compress: backup.Zstd, Encrypt: key.recipient(t)})
	take(packed.Name, "FILE.json.zst.age")
	require.NoError(t, os.WriteFile(in("KEYFILE"), readFile(t, key.identity), 0o600))
	require.NoError(t, os.WriteFile(in("read_snapshot.py"), readFile(t, "../../schema/read_snapshot.py"), 0o600))
	readme := string(readFile(t, filepath.Join(h.dir, "a", "tomo-backup-README.txt")))
	require.Equal(t, readme, string(readFile(t, filepath.Join(h.dir, "b", "tomo-backup-README.txt"))))
	require.NotContains(t, readme, h.dir)

	run := func(command string) string {
		t.Helper()
		cmd := osexec.Command("bash", "-c", "set -eu -o pipefail\n"+command)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PATH="+path, "SNAPSHOT_PASSPHRASE=correct horse")
		var says bytes.Buffer
		cmd.Stderr = &says
		out, err := cmd.Output()
		require.NoError(t, err, "%s: %s", command, &says)
		return string(out)
	}
	restores := func(what string) {
		t.Helper()
		s, err := backup.OpenSnapshot(t.Context(), bytes.NewReader(readFile(t, in("FILE.json"))), backup.OpenOptions{Identities: m.Identities})
		require.NoError(t, err, what)
		defer s.Close()
		other := newHost(t, 0).open(t)
		_, err = tomoApp.Restore(t.Context(), s, tomoStore(other), backup.RestoreOptions{})
		require.NoError(t, err, what)
		is(t, state(t, other), want)
	}
	commands := regexp.MustCompile(`(?m)^  ((?:sed|tail|sha256sum|age|gzip|zstd|python3) .*)$`).FindAllStringSubmatch(readme, -1)
	require.Len(t, commands, 7)
	for _, found := range commands {
		switch command := found[1]; strings.Fields(command)[0] {
		case "sed":
			require.Equal(t, plain.Manifest.SHA256+"  -\n", run(command))
		case "tail":
			require.Contains(t, run(command), plain.Manifest.SHA256)
		case "sha256sum":
			digest, _, _ := strings.Cut(run(command), " ")
			require.Contains(t, string(readFile(t, filepath.Join(h.dir, "a", packed.Name+".manifest"))), `"sha256":"`+digest+`"`)
		case "gzip", "zstd":
			run(command)
			restores(command)
		case "python3":
			run(strings.Replace(command, "python3", python, 1))
			var opened struct{ Data map[string]json.RawMessage }
			require.NoError(t, json.Unmarshal(readFile(t, in("opened.json")), &opened))
			require.Contains(t, opened.Data, "servers")
			require.NotContains(t, string(readFile(t, in("opened.json"))), "$sealed")
			require.Contains(t, string(readFile(t, in("FILE.json"))), "$sealed")
		default:
			run(command)
		}
	}

	// The last line tells whether somebody has changed the README.
	require.NoError(t, os.WriteFile(in("README"), []byte(readme), 0o600))
	digest, _, _ := strings.Cut(run(`sed '$d' README | sha256sum`), " ")
	require.True(t, strings.HasSuffix(readme, digest+"\n"))
}
