package manager_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/manager"
)

// The secrets of a record are nowhere, even if the host's own code quotes them.
func TestAnErrorOfTheHostThatQuotesASecretIsToldWithoutIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var log strings.Builder
		m, host, events := managed(newShelf("disk"))
		m.Logger = slog.New(slog.NewTextHandler(&log, nil))
		for i := range m.App.Collections {
			m.App.Collections[i].Merge = func(a, b backup.Record) (backup.Record, error) {
				return a, fmt.Errorf("%w: %s, %s", errDown, a.Value, b.Value)
			}
		}
		s, err := m.Open(t.Context(), mustCreate(t, m).Name)
		require.NoError(t, err)
		defer s.Close()
		host["servers"]["s1"] = `{"id":"s1","name":"nas","port":22,"password":"swordfish"}`
		_, planErr := m.Plan(t.Context(), s, backup.RestoreOptions{Strategy: backup.Merge})
		_, err = m.Restore(t.Context(), s, backup.RestoreOptions{Strategy: backup.Merge})
		for _, err := range []error{planErr, err} {
			require.ErrorIs(t, err, errDown)
			require.ErrorContains(t, err, `"password":"(secret)"`)
		}
		texts := []string{planErr.Error(), err.Error(), log.String()}
		for _, e := range events.list {
			text, err := json.Marshal(e)
			require.NoError(t, err)
			texts = append(texts, string(text), fmt.Sprint(e))
		}
		for _, text := range texts {
			require.NotContains(t, text, "hunter22")
			require.NotContains(t, text, "swordfish")
		}
		require.Contains(t, log.String(), "(secret)")
	})
}

// A text of the host may be long, and has its place in a report all the same.
func TestTheTextOfAHostsErrorIsCut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		long := errors.New("begin " + strings.Repeat("x", 10_000))
		m, host, _ := managed(newShelf("disk"))
		m.AfterRestore = func(context.Context, backup.Report) error { return long }
		m.Drills = manager.Drills{
			Scratch: func(context.Context) (backup.Store, func() error, error) { return homelabStore().Clone(), nil, long },
		}
		name := mustCreate(t, m).Name
		delete(host["logs"], "1")
		delete(host["users"], "7")
		s, err := m.Open(t.Context(), name)
		require.NoError(t, err)
		defer s.Close()
		report, err := m.Restore(t.Context(), s, backup.RestoreOptions{})
		require.NoError(t, err)
		require.Contains(t, report.AfterRestore, "begin xxx")
		require.Less(t, len(report.AfterRestore), 600)
		_, err = m.Drill(t.Context(), name)
		require.ErrorIs(t, err, long)
		require.Less(t, len(err.Error()), 700)
	})
}
