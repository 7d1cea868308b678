package manager_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
)

// What a server keeps is compared by its names, and with what it has now.
func TestBackupsOfAManagerAreComparedByTheirNames(t *testing.T) {
	store := homelabStore()
	m := &manager.Manager{App: homelab(), Source: store, Recipients: sealed, Identities: []backup.Identity{testKey("k")}, Locations: []location.Location{location.Dir(t.TempDir())}}
	first, err := m.Create(t.Context(), backup.BackupOptions{Include: []string{"logs"}})
	require.NoError(t, err)
	store["applications"] = map[string]string{"a1": store["applications"]["a1"]}
	second, err := m.Create(t.Context(), backup.BackupOptions{Include: []string{"logs"}})
	require.NoError(t, err)
	store["users"] = map[string]string{}

	open := func(name string) *backup.Snapshot {
		s, err := m.Open(t.Context(), name)
		require.NoError(t, err)
		t.Cleanup(func() { s.Close() })
		return s
	}
	changed := func(to backup.DataSource) (keys []string) {
		for c, err := range m.App.Diff(t.Context(), open(first.Name), to) {
			require.NoError(t, err)
			keys = append(keys, string(c.Action)+" "+c.Collection+" "+c.Key)
		}
		return keys
	}
	require.Equal(t, []string{"delete applications a2"}, changed(open(second.Name)))
	require.Equal(t, []string{"delete applications a2", "delete users 7"}, changed(m.Source))

	// Without a key, the error says which of the two it is of.
	m.Identities = nil
	locked := open(second.Name)
	for _, err := range m.App.Diff(t.Context(), store, locked) {
		require.ErrorIs(t, err, backup.ErrNoKey)
		require.ErrorContains(t, err, "diff: "+second.Name+": ")
	}
}
