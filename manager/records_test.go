package manager_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
)

// An undo of a restore of single records leaves alone what others have changed since, also
// in the same collections.
func TestAnUndoOfOneRecordTouchesNoOther(t *testing.T) {
	for _, encrypted := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			a := newShelf("a")
			m, host, _ := managed(a)
			if encrypted {
				key := newPair(t)
				m.Recipients, m.Identities, m.Encrypt = []backup.Recipient{key.to}, []backup.Identity{key.from}, key.to
			}
			made := mustCreate(t, m)
			change(host)
			start := host.Clone()
			time.Sleep(time.Minute)
			keys, err := m.App.Resolve(t.Context(), open(t, m, made.Name), []string{"applications/a1"})
			require.NoError(t, err)
			opts := backup.RestoreOptions{Strategy: backup.Replace, Records: keys, WithReferences: true}
			plan, err := m.Plan(t.Context(), open(t, m, made.Name), opts)
			require.NoError(t, err)
			report, err := m.Apply(t.Context(), plan)
			require.NoError(t, err)
			require.NoError(t, plan.Close())
			require.Equal(t, homelabStore()["servers"]["s1"], host["servers"]["s1"])
			require.Contains(t, host["applications"], "a1")
			require.Contains(t, host["servers"], "s3", "a record that only the host has stays")
			require.Equal(t, start["settings"], host["settings"])

			for name, text := range a.files() {
				if strings.HasSuffix(name, ".manifest") {
					require.NotContains(t, text, "restored_records", "no note names records")
				}
			}
			after := maps.Clone(host["servers"])
			host["servers"]["s3"] = `{"id":"s3","name":"since then"}`
			host["servers"]["s4"] = `{"id":"s4","name":"new since then"}`
			want := start.Clone()
			want["servers"]["s3"], want["servers"]["s4"] = host["servers"]["s3"], host["servers"]["s4"]
			time.Sleep(time.Minute)
			plan, err = m.PlanUndo(t.Context())
			require.NoError(t, err)
			require.Equal(t, report.UndoneBy, plan.Report().Backup)
			for change, err := range plan.Changes(t.Context()) {
				require.NoError(t, err)
				require.Contains(t, []string{"s1", "a1"}, change.Key)
			}
			require.NoError(t, plan.Close())
			_, err = m.Undo(t.Context())
			require.NoError(t, err)
			require.Equal(t, want, host.Clone())

			host["servers"]["s4"] = `{"id":"s4","name":"and again"}` // an undo can be undone alike
			time.Sleep(time.Minute)
			_, err = m.Undo(t.Context())
			require.NoError(t, err)
			require.Equal(t, after["s1"], host["servers"]["s1"])
			require.Contains(t, host["applications"], "a1")
			require.Equal(t, `{"id":"s4","name":"and again"}`, host["servers"]["s4"])
		})
	}
}

// So many records have no list: then whole collections come back, as after any other restore.
func TestAnUndoOfManyRecordsIsOfWholeCollections(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, host, _ := managed(newShelf("a"))
		var keys []string
		for i := range 2000 {
			key := fmt.Sprintf("%040d", i)
			keys, host["servers"][key] = append(keys, key), fmt.Sprintf(`{"id":%q,"name":"n"}`, key)
		}
		made := mustCreate(t, m)
		for _, key := range keys {
			delete(host["servers"], key)
		}
		before := host.Clone()
		time.Sleep(time.Minute)
		_, err := m.Restore(t.Context(), open(t, m, made.Name), backup.RestoreOptions{Records: map[string][]string{"servers": keys}})
		require.NoError(t, err)
		require.Contains(t, host["servers"], keys[0])
		time.Sleep(time.Minute)
		_, err = m.Undo(t.Context())
		require.NoError(t, err)
		require.Equal(t, before, host.Clone())
	})
}

func TestAnOwnRecordThatIsNamedComesBackWithTheUndo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, host, _ := managed(newShelf("a"))
		m.Own = map[string][]string{"settings": {"folder", "zone"}}
		host["settings"] = map[string]string{"folder": `"old"`, "zone": `"UTC"`}
		made := mustCreate(t, m)
		now := map[string]string{"folder": `"new"`, "zone": `"CET"`}
		host["settings"] = maps.Clone(now)
		time.Sleep(time.Minute)
		report, err := m.Restore(t.Context(), open(t, m, made.Name), backup.RestoreOptions{Strategy: backup.Replace, Records: map[string][]string{"settings": {"folder"}}})
		require.NoError(t, err)
		require.Equal(t, []string{`settings "folder" is another one in the backup: the restore takes that of the backup`}, report.Warnings)
		require.Equal(t, map[string]string{"folder": `"old"`, "zone": `"CET"`}, host["settings"])
		host["settings"]["zone"] = `"EET"`
		time.Sleep(time.Minute)
		_, err = m.Undo(t.Context())
		require.NoError(t, err)
		require.Equal(t, map[string]string{"folder": `"new"`, "zone": `"EET"`}, host["settings"])
	})
}
