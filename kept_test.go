package backup_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
)

// Records that are kept from the check to the restore are those that are not kept, but
// read again: all but the invalid ones and the host's own.
func TestARestoreLeavesOutTheSameRecordsHoweverTheyAreRead(t *testing.T) {
	for _, kind := range []string{"plain", "sealed", "migrated"} {
		t.Run(kind, func(t *testing.T) {
			app := &backup.App{Name: "list", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{list("things")}}
			if kind == "sealed" {
				app.Collections[0].Secrets = []string{"/secret"}
			}
			src := backuptest.MapStore{"things": {}}
			for i := range 10 {
				src["things"][fmt.Sprint(i)] = fmt.Sprintf(`{"id":"%d","n":%[1]d,"secret":"x"}`, i)
			}
			s := backedUp(t, app, src, backup.BackupOptions{})
			app.Collections[0].Schema = []byte(`{"properties":{"n":{"not":{"const":3}}}}`)
			if kind == "migrated" {
				app.SchemaVersion, app.Migrators = 2, []backup.Migrator{keep(1)}
			}
			dst := backuptest.MapStore{"things": {}}
			_, err := app.Restore(t.Context(), s, dst, backup.RestoreOptions{LeaveOutInvalid: true, Own: map[string][]string{"things": {"6"}}})
			require.NoError(t, err)
			require.Equal(t, []string{"0", "1", "2", "4", "5", "7", "8", "9"}, slices.Sorted(maps.Keys(dst["things"])))
		})
	}
}
