//go:build !race

package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	osexec "os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
)

// A whole backup of a database opens with the age command alone, in the way that
// FORMAT.md describes, and one that was encrypted with it is restored here.
func TestABackupAndTheAgeCommandUnderstandEachOther(t *testing.T) {
	zstd := needCommand(t, "zstd")
	gunzip := needCommand(t, "gzip")
	for _, k := range ageKeys(t) {
		t.Run(k.name, func(t *testing.T) {
			h := newHost(t, 20)
			db := h.open(t)
			want := state(t, db)
			r := k.recipient(t)
			make := func(opts backup.BackupOptions) []byte {
				var file bytes.Buffer
				_, err := tomoApp.Backup(t.Context(), &file, tomoStore(db), opts)
				require.NoError(t, err)
				return file.Bytes()
			}
			restored := func(file []byte) string {
				s, err := backup.OpenSnapshot(t.Context(), bytes.NewReader(file), backup.OpenOptions{Identities: []backup.Identity{k.open(t)}})
				require.NoError(t, err)
				defer s.Close()
				other := newHost(t, 0).open(t)
				_, err = tomoApp.Restore(t.Context(), s, tomoStore(other), backup.RestoreOptions{})
				require.NoError(t, err)
				return state(t, other)
			}

			// The data key of a readable snapshot.
			plain := make(backup.BackupOptions{Recipients: []backup.Recipient{r}, Include: []string{"logs"}})
			var header struct {
				Encryption struct{ Keys []json.RawMessage }
			}
			require.NoError(t, json.Unmarshal(plain, &header))
			require.Len(t, k.run(t, wrappedFile(t, header.Encryption.Keys[0]), "-d", "-i", k.identity), 32)
			is(t, restored(plain), want)

			for compress, expand := range map[backup.Compression][]string{"": {"cat"}, backup.Gzip: {gunzip, "-dc"}, backup.Zstd: {zstd, "-dc"}} {
				packed := make(backup.BackupOptions{Encrypt: r, Compress: compress, Include: []string{"logs"}})
				cmd := osexec.Command(expand[0], expand[1:]...)
				cmd.Stdin = bytes.NewReader(k.run(t, packed, "-d", "-i", k.identity))
				out, err := cmd.Output()
				require.NoError(t, err)
				require.True(t, strings.HasPrefix(string(out), `{"version":"1.0",`), "the plain snapshot")
				is(t, restored(out), want)
				is(t, restored(packed), want)
			}

			// The other way round, as a person would do it by hand.
			for _, pack := range []string{"cat", gunzip + " -9", zstd + " -q -19"} {
				for _, armor := range []string{"", "-a"} {
					cmd := osexec.Command("sh", "-c", fmt.Sprintf("%s | %s %s -R %s", pack, k.command, armor, k.recipients))
					cmd.Stdin = bytes.NewReader(plain)
					file, err := cmd.Output()
					require.NoError(t, err, "%s %s", pack, armor)
					is(t, restored(file), want)
				}
			}
		})
	}
}
