package manager_test

import (
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
)

// What is restored does not decide over the installation that restores it.
func TestOwnRecordsStayAsTheyAreUnlessToldOtherwise(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, host, _ := managed(newShelf("a"))
		m.Own = map[string][]string{"settings": {"folder", "schedule", "zone"}}
		host["settings"] = map[string]string{"folder": `"old"`, "schedule": `"daily"`, "theme": `"dark"`}
		made := mustCreate(t, m)
		now := map[string]string{"folder": `"new"`, "zone": `"UTC"`, "theme": `"light"`}
		host["settings"] = maps.Clone(now)
		for _, strategy := range []backup.Strategy{backup.Replace, backup.Merge} {
			host["settings"] = maps.Clone(now)
			time.Sleep(time.Minute)
			opts := backup.RestoreOptions{Strategy: strategy}
			plan, err := m.Plan(t.Context(), open(t, m, made.Name), opts)
			require.NoError(t, err)
			report, err := m.Apply(t.Context(), plan)
			require.NoError(t, err)
			require.Equal(t, map[string]string{"folder": `"new"`, "zone": `"UTC"`, "theme": `"dark"`}, host["settings"])
			want := []string{
				`settings "folder" stays as it is here; in the backup it is another one`,
				`settings "schedule" stays unset here; the backup sets it`,
				`settings "zone" stays as it is here; the backup does not set it`,
			}
			require.Equal(t, want, plan.Report().Warnings)
			require.Equal(t, want, report.Warnings)

			// Somebody changes them, and takes the restore back: that is another thing.
			time.Sleep(time.Minute)
			host["settings"]["folder"] = `"newest"`
			_, err = m.Undo(t.Context())
			require.NoError(t, err)
			require.Equal(t, map[string]string{"folder": `"newest"`, "zone": `"UTC"`, "theme": `"light"`}, host["settings"])
		}

		host["settings"] = maps.Clone(now)
		time.Sleep(time.Minute)
		report, err := m.Restore(t.Context(), open(t, m, made.Name), backup.RestoreOptions{Strategy: backup.Replace, TakeOwn: true})
		require.NoError(t, err)
		require.Equal(t, map[string]string{"folder": `"old"`, "schedule": `"daily"`, "theme": `"dark"`}, host["settings"])
		require.Equal(t, []string{
			`settings "folder" is another one in the backup: the restore takes that of the backup`,
			`settings "schedule" is not set here: the restore takes it from the backup`,
			`settings "zone" is set here, and not in the backup: the restore removes it`,
		}, report.Warnings)
		time.Sleep(time.Minute)
		_, err = m.Undo(t.Context())
		require.NoError(t, err)
		require.Equal(t, now, host["settings"], "an undo brings back what was taken")
	})
}

func TestANewInstallationTakesOwnRecordsOfTheBackup(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, host, _ := managed(newShelf("a"))
		m.Own = map[string][]string{"settings": {"theme"}}
		made := mustCreate(t, m)
		was := maps.Clone(host["settings"])
		clear(host["settings"])
		report, err := m.Restore(t.Context(), open(t, m, made.Name), backup.RestoreOptions{Strategy: backup.Replace})
		require.NoError(t, err)
		require.Equal(t, was, host["settings"])
		require.Equal(t, []string{`settings "theme" is not set here: the restore takes it from the backup`}, report.Warnings)
		_, err = m.Restore(t.Context(), open(t, m, made.Name), backup.RestoreOptions{Own: map[string][]string{"nothing": {"x"}}})
		require.ErrorIs(t, err, backup.ErrInvalid)
	})
}
