package manager_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
)

func leasesAt(t testing.TB, s *shelf) (names []string) {
	for _, name := range s.all(t) {
		if strings.HasSuffix(name, ".lease") {
			names = append(names, name)
		}
	}
	return names
}

// whileAsleep is what happens while the process that holds a shelf is asleep: its lease runs
// out, and another process deletes it and works.
func whileAsleep(t *testing.T, s *shelf, work func()) func() {
	return func() {
		for _, name := range leasesAt(t, s) {
			require.NoError(t, s.Delete(t.Context(), name))
		}
		work()
		time.Sleep(11 * time.Second)
	}
}

const takenOver = "shelf: somebody else has taken the hold on it"

func TestWhoeverSleptPastTheLeaseDoesNotCommitARestore(t *testing.T) {
	for name, apply := range map[string]bool{"restore": false, "plan": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newShelf("shelf")
				m, host, _ := managed(s)
				made := mustCreate(t, m)
				change(host)
				before := maps.Clone(host["servers"])
				var other manager.Backup
				m.Sink = &backuptest.Faulty{Source: host, Sink: host, On: backuptest.CallPut, Nth: 1, Do: whileAsleep(t, s, func() {
					b, _, _ := managed(s)
					b.Source = host
					other = mustCreate(t, b)
				})}
				snapshot := open(t, m, made.Name)
				replace := backup.RestoreOptions{Strategy: backup.Replace, Untried: true}
				var err error
				if apply {
					var plan *manager.Plan
					plan, err = m.Plan(t.Context(), snapshot, replace)
					require.NoError(t, err)
					_, err = m.Apply(t.Context(), plan)
				} else {
					_, err = m.Restore(t.Context(), snapshot, replace)
				}
				require.ErrorContains(t, err, takenOver)
				require.NotErrorIs(t, err, backup.ErrUncertain)
				require.Equal(t, before, host["servers"])
				require.Contains(t, s.names(t), other.Name)
				require.Contains(t, s.names(t), made.Name)
			})
		})
	}
}

func TestWhoeverSleptPastTheLeaseStoresAndDeletesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newShelf("shelf")
		m, host, _ := managed(s)
		for range 3 {
			_, err := m.Create(t.Context(), backup.BackupOptions{Metadata: map[string]string{backup.MetaTrigger: manager.TriggerScheduled}})
			require.NoError(t, err)
			time.Sleep(time.Hour)
		}
		all := s.names(t)

		m.Source = &backuptest.Faulty{Source: host, Sink: host, On: backuptest.CallView, Nth: 1, Do: whileAsleep(t, s, func() {})}
		_, err := m.Create(t.Context(), backup.BackupOptions{})
		require.ErrorContains(t, err, takenOver)
		require.Equal(t, all, s.names(t))

		asleep := whileAsleep(t, s, func() {})
		m, _, _ = managed()
		m.Retention = backup.Retention{Last: 1}
		m.Locations = []location.Location{openHook{s, func(name string) {
			if strings.HasSuffix(name, ".json") && len(leasesAt(t, s)) > 0 {
				asleep()
			}
		}}}
		_, err = m.Prune(t.Context(), manager.PruneOptions{})
		require.ErrorContains(t, err, "somebody else has taken the hold")
		require.Equal(t, all, s.names(t))
	})
}

// A lease that has nearly run out, because it could not be renewed, is renewed before
// anything is done, unless somebody else has come.
func TestALeaseThatHasNearlyRunOutIsRenewedBeforeACommit(t *testing.T) {
	for name, taken := range map[string]bool{"still free": false, "taken": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newShelf("shelf")
				m, host, _ := managed(s)
				made := mustCreate(t, m)
				change(host)
				before := maps.Clone(host["servers"])
				m.Sink = &backuptest.Faulty{Source: host, Sink: host, On: backuptest.CallPut, Nth: 1, Do: func() {
					s.set(nil, func(name string, r io.Reader) error {
						if strings.HasSuffix(name, ".lease") {
							return errDown
						}
						return s.Location.Put(context.Background(), name, r)
					})
					time.Sleep(7 * time.Minute)
					s.set(nil, nil)
					if taken {
						text, err := json.Marshal(map[string]any{"holder": "somebody", "until": time.Now().Add(5 * time.Minute)})
						require.NoError(t, err)
						require.NoError(t, s.Put(context.Background(), "homelab-"+strings.Repeat("k", 26)+".lease", bytes.NewReader(text)))
					}
				}}
				_, err := m.Restore(t.Context(), open(t, m, made.Name), backup.RestoreOptions{Strategy: backup.Replace})
				if taken {
					require.ErrorIs(t, err, location.ErrBusy)
					require.ErrorContains(t, err, "held by somebody")
					require.Equal(t, before, host["servers"])
					return
				}
				require.NoError(t, err)
				require.NotEqual(t, before, host["servers"])
				require.Empty(t, leasesAt(t, s))
			})
		})
	}
}
