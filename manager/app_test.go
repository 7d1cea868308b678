package manager_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/agekey"
	"github.com/tomo-project/backup/backuptest"
	host "github.com/tomo-project/backup/internal/homelab"
)

func homelab() *backup.App { return host.App() }

func homelabStore() backuptest.MapStore { return host.Store() }

type testKey = host.Key

var sealed = []backup.Recipient{testKey("k")}

func list(name string) backup.Collection { return backup.Collection{Name: name, Key: "/id"} }

func zone(t testing.TB, name string) *time.Location {
	loc, err := time.LoadLocation(name)
	require.NoError(t, err)
	return loc
}

type sinkFunc func(ctx context.Context, write func(backup.Writer) error) error

func (f sinkFunc) Update(ctx context.Context, write func(backup.Writer) error) error {
	return f(ctx, write)
}

func opened(t testing.TB, file string) *backup.Snapshot {
	t.Helper()
	s, err := backup.OpenSnapshot(t.Context(), bytes.NewReader([]byte(file)), backup.OpenOptions{Identities: []backup.Identity{testKey("k")}})
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// document returns a snapshot as a person would write it.
func document(app *backup.App, schemaVersion int, data string) string {
	return fmt.Sprintf(`{"version":"1.0","created_at":"2024-01-15T10:30:00Z","application":%q,"application_version":%q,"schema_version":%d,"data":%s}`,
		app.Name, app.Version, schemaVersion, data)
}

type pair struct {
	to   *agekey.Recipient
	from *agekey.Identity
}

func newPair(t testing.TB) pair {
	key, err := age.GenerateX25519Identity()
	require.NoError(t, err)
	from, err := agekey.NewIdentity(key)
	require.NoError(t, err)
	to, err := from.Recipient()
	require.NoError(t, err)
	return pair{to, from}
}

// inFile backs the homelab up with opts and returns the file.
func inFile(t testing.TB, opts backup.BackupOptions) ([]byte, backup.Manifest) {
	opts.Include = []string{"logs"}
	var file bytes.Buffer
	m, err := homelab().Backup(t.Context(), &file, homelabStore(), opts)
	require.NoError(t, err)
	return file.Bytes(), m
}

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

type identityFunc func(json.RawMessage) ([]byte, error)

func (f identityFunc) Unwrap(wrapped json.RawMessage) ([]byte, error) { return f(wrapped) }

var digest = regexp.MustCompile(`(?s)^(.*\n)("integrity":\{"sha256":")[0-9a-f]{64}(".*)$`)

// resummed returns an altered file with the digest that fits.
func resummed(t testing.TB, file string) string {
	m := digest.FindStringSubmatch(file)
	require.NotNil(t, m)
	return fmt.Sprintf("%s%s%x%s", m[1], m[2], sha256.Sum256([]byte(m[1])), m[3])
}

// restored returns a host into which a file was restored.
func restored(t testing.TB, r io.Reader, opts backup.OpenOptions, how backup.RestoreOptions) (backuptest.MapStore, error) {
	t.Helper()
	host := homelabStore()
	for _, records := range host {
		clear(records)
	}
	s, err := backup.OpenSnapshot(t.Context(), r, opts)
	if err == nil {
		defer s.Close()
		_, err = homelab().Restore(t.Context(), s, host, how)
	}
	return host, err
}
