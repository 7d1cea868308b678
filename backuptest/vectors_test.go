package backuptest

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"path"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/agekey"
	"github.com/tomo-project/backup/internal/testtime"
)

func TestEveryVectorIsReadAsItSays(t *testing.T) {
	testtime.NotForRace(t)
	require.NoError(t, VectorApp().Validate())
	require.NotEmpty(t, Vectors())
	for _, v := range Vectors() {
		t.Run(v.Name, func(t *testing.T) {
			for kind, r := range map[string]io.Reader{
				"a file":   bytes.NewReader(v.Data),
				"a stream": io.MultiReader(bytes.NewReader(v.Data)),
			} {
				store := VectorStore()
				manifest, verify, restore := openVector(t.Context(), t, v, r, store)
				if v.Err() != nil {
					require.ErrorIs(t, verify, v.Err(), "Verify of %s: %s", kind, v.Note)
					require.ErrorIs(t, restore, v.Err(), "Restore of %s: %s", kind, v.Note)
					require.Equal(t, VectorStore(), store, "a refused snapshot must change nothing")
					continue
				}
				require.NoError(t, verify, "Verify of %s: %s", kind, v.Note)
				require.NoError(t, restore, "Restore of %s: %s", kind, v.Note)

				want := VectorStore()
				for collection, records := range v.Records {
					for key, value := range records {
						want[collection][key] = value
					}
				}
				require.Equal(t, want, store, v.Note)

				require.Equal(t, v.Manifest.CreatedAt, manifest.CreatedAt)
				require.Equal(t, v.Manifest.Application, manifest.Application)
				require.Equal(t, v.Manifest.ApplicationVersion, manifest.ApplicationVersion)
				require.Equal(t, v.Manifest.SchemaVersion, manifest.SchemaVersion)
				require.Equal(t, v.Manifest.Metadata, manifest.Metadata)
				require.Equal(t, v.Manifest.SHA256, manifest.SHA256)
				require.Equal(t, v.Manifest.Sealed, manifest.Sealed)
				require.Equal(t, v.Manifest.Salvaged, manifest.Salvaged)
				require.Equal(t, v.Manifest.Format, manifest.Format)
				require.Equal(t, v.Manifest.Installation, manifest.Installation)
				require.Equal(t, v.Manifest.Serial, manifest.Serial)
				require.Equal(t, v.Manifest.Partial, manifest.Partial)
				require.Equal(t, v.Manifest.Records, manifest.Records)
				require.Equal(t, v.Manifest.Compressed, manifest.Compressed)
				require.Equal(t, v.Manifest.Encrypted, manifest.Encrypted)
				require.Equal(t, v.Manifest.Authentic, manifest.Authentic)
				if v.Manifest.Bytes == 0 {
					v.Manifest.Bytes = int64(len(v.Data))
				}
				require.Equal(t, v.Manifest.Bytes, manifest.Bytes)
				if v.Manifest.Keys != nil {
					require.Equal(t, v.Manifest.Keys, manifest.Keys)
				}
				if v.Manifest.Missing != nil {
					require.Equal(t, v.Manifest.Missing, manifest.Missing)
				}
				require.Equal(t, backup.FormatVersion, manifest.Version)
			}
		})
	}
}

// openVector opens a vector and returns the errors of Verify and Restore. If
// OpenSnapshot fails, it returns the error of OpenSnapshot for both.
func openVector(ctx context.Context, t *testing.T, v Vector, r io.Reader, dst backup.Sink) (m backup.Manifest, verify, restore error) {
	opts := backup.OpenOptions{TempDir: t.TempDir(), RequireProof: v.RequireProof, Trusted: v.Trusted}
	if v.Passphrase != "" {
		_, age, err := agekey.Passphrase([]byte(v.Passphrase))
		require.NoError(t, err)
		opts.Identities = append(opts.Identities, backup.Passphrase([]byte(v.Passphrase)), age)
	}
	if v.Identities != "" {
		age, err := agekey.ParseIdentities([]byte(v.Identities), nil)
		require.NoError(t, err)
		opts.Identities = append(opts.Identities, age)
	}
	s, err := backup.OpenSnapshot(ctx, r, opts)
	if err != nil {
		return m, err, err
	}
	defer s.Close()
	_, verify = VectorApp().Verify(ctx, s, backup.RestoreOptions{})
	_, restore = VectorApp().Restore(ctx, s, dst, backup.RestoreOptions{})
	return s.Manifest(), verify, restore
}

func TestTheCanonicalVectorIsWhatAWriterMakes(t *testing.T) {
	for _, v := range Vectors() {
		if v.Name != "canonical-origin" {
			continue
		}
		s, err := backup.OpenSnapshot(t.Context(), bytes.NewReader(v.Data), backup.OpenOptions{})
		require.NoError(t, err)
		defer s.Close()

		// The snapshot is the source of the backup. An App without secret fields
		// needs no key.
		app := VectorApp()
		for i := range app.Collections {
			app.Collections[i].Secrets = nil
		}
		var out bytes.Buffer
		_, err = app.Backup(t.Context(), &out, s, backup.BackupOptions{
			Only:      []string{"servers", "applications", "settings", "users", "repositories"},
			CreatedAt: v.Manifest.CreatedAt,
			Metadata:  v.Manifest.Metadata,

			Installation: v.Manifest.Installation,
			Serial:       v.Manifest.Serial,
		})
		require.NoError(t, err)
		require.Equal(t, string(v.Data), out.String())
		return
	}
	t.Fatal("there is no vector called canonical")
}

func TestEveryFileOfTheVectorsIsInTheIndex(t *testing.T) {
	known := map[string]bool{"vectors.json": true, "README.md": true}
	names := map[string]bool{}
	for _, v := range Vectors() {
		require.False(t, names[v.Name], "two vectors are called %s", v.Name)
		require.NotEmpty(t, v.Note, v.Name)
		known[v.File], names[v.Name] = true, true
	}
	files, err := fs.ReadDir(vectorFiles, path.Clean("testdata/vectors"))
	require.NoError(t, err)
	for _, f := range files {
		require.True(t, known[f.Name()], "%s is not in vectors.json", f.Name())
	}
}
