package manager_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/manager"
)

// A failedCommit is a Sink that fails when all changes were made.
type failedCommit struct {
	backup.Sink
	err error
}

func (s failedCommit) Update(ctx context.Context, write func(backup.Writer) error) error {
	return cmp.Or(s.Sink.Update(ctx, write), s.err)
}

// A restore and a plan that is applied tell of a failed commit what App.Restore tells.
func TestAFailedCommitIsOneStory(t *testing.T) {
	lost := errors.New("connection lost during COMMIT")
	refused := fmt.Errorf("%w: a constraint checked at the commit", backup.ErrRolledBack)
	for name, run := range map[string]func(context.Context, *manager.Manager, *backup.Snapshot) error{
		"Restore": func(ctx context.Context, m *manager.Manager, s *backup.Snapshot) error {
			_, err := m.Restore(ctx, s, backup.RestoreOptions{Strategy: backup.Replace})
			return err
		},
		"Apply": func(ctx context.Context, m *manager.Manager, s *backup.Snapshot) error {
			plan, err := m.Plan(ctx, s, backup.RestoreOptions{Strategy: backup.Replace})
			if err != nil {
				return err
			}
			_, err = m.Apply(ctx, plan)
			return err
		},
	} {
		for _, failure := range []error{lost, refused} {
			t.Run(fmt.Sprint(name, " ", failure), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					m, host, _ := managed(newShelf("disk"))
					made := mustCreate(t, m)
					s, err := m.Open(t.Context(), made.Name)
					require.NoError(t, err)
					defer s.Close()
					host["servers"]["s1"] = `{"id":"s1","name":"renamed"}`
					broken := &manager.Manager{
						App: m.App, Source: m.Source, Sink: failedCommit{m.Sink, failure}, Locations: m.Locations,
						Recipients: m.Recipients, Identities: m.Identities,
					}
					err = run(t.Context(), broken, s)
					require.ErrorIs(t, err, failure)
					backups := mustList(t, m)
					if errors.Is(failure, backup.ErrRolledBack) {
						require.NotErrorIs(t, err, backup.ErrUncertain)
						require.Len(t, backups, 1, "nothing came of it, so there is nothing to take back")
						return
					}
					require.ErrorIs(t, err, backup.ErrUncertain)
					require.NotContains(t, err.Error(), "as it was")
					require.Len(t, backups, 2)
					require.ErrorContains(t, err, "what was there before is kept as "+backups[0].Name)
				})
			})
		}
	}
}
