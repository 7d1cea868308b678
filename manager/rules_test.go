package manager_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/manager"
)

// The host has rules of its own.

func TestARestoreThatTheHostMakesOtherwiseSaysSoAndCanBeTakenBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, host, events := managed(newShelf("a"))
		made := mustCreate(t, m)
		change(host)
		before := host.Clone()
		dark := backuptest.Trigger{Name: "trigger light", Do: func(ctx context.Context, w backup.Writer, c backuptest.Change) error {
			if c.Key != "theme" || c.After == nil {
				return nil
			}
			return w.Put(ctx, c.Collection, []backup.Record{{Key: c.Key, Value: []byte(`"light"`)}})
		}}
		m.Sink = backuptest.RuledStore{MapStore: host, Triggers: map[string][]backuptest.Trigger{"settings": {dark}}}
		report, err := m.Restore(t.Context(), open(t, m, made.Name), backup.RestoreOptions{Strategy: backup.Replace})
		require.NoError(t, err)
		require.NotEmpty(t, report.UndoneBy)
		require.Equal(t, `"light"`, host["settings"]["theme"])
		done := events.list[len(events.list)-1]
		require.Equal(t, manager.EventDone, done.Kind)
		require.Equal(t, "not as in the backup, because the host changes them by itself: 1 of the records", done.Text)

		report, err = m.Undo(t.Context())
		require.NoError(t, err)
		require.Equal(t, before, host.Clone())
		require.Empty(t, events.list[len(events.list)-1].Text)
		require.NotEmpty(t, report.UndoneBy)
	})
}

// A plan has no way back: nothing is stored for a restore that is only tried.
func TestAClashIsToldByThePlanAndLeftOutByTheRestore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		shelf := newShelf("a")
		m, host, _ := managed(shelf)
		made := mustCreate(t, m)
		value := host["users"]["7"]
		require.NotEmpty(t, value)
		host["users"] = map[string]string{"9": `{"id":9,` + value[len(`{"id":7,`):]}
		m.Sink = backuptest.RuledStore{MapStore: host, Unique: map[string][]string{"users": {"/name"}}}
		before := host.Clone()

		_, err := m.Plan(t.Context(), open(t, m, made.Name), backup.RestoreOptions{})
		require.ErrorIs(t, err, backup.ErrClash)
		_, err = m.Restore(t.Context(), open(t, m, made.Name), backup.RestoreOptions{})
		require.ErrorIs(t, err, backup.ErrClash)
		require.Equal(t, before, host.Clone())
		require.Len(t, shelf.names(t), 1, "there is nothing to undo")

		plan, err := m.Plan(t.Context(), open(t, m, made.Name), backup.RestoreOptions{SkipClashes: true})
		require.NoError(t, err)
		require.Equal(t, "9", plan.Report().LeftOut[0].With)
	})
}
