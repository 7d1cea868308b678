package manager_test

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/manager"
)

// emptyHost is a host of homelab without records.
func emptyHost() backuptest.MapStore {
	host := backuptest.MapStore{}
	for _, c := range homelab().Collections {
		host[c.Name] = map[string]string{}
	}
	return host
}

func scratch(s backup.Store, removed *int) func(context.Context) (backup.Store, func() error, error) {
	return func(context.Context) (backup.Store, func() error, error) {
		return s, func() error { *removed++; return nil }, nil
	}
}

func TestADrillProvesThatABackupRestores(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, host, events := managed(newShelf("a"))
		old := mustCreate(t, m)
		time.Sleep(time.Hour)
		host["users"]["8"] = `{"id":8}`
		mustCreate(t, m)
		time.Sleep(30 * time.Minute)

		store, removed := emptyHost(), 0
		m.Drills.Scratch = scratch(store, &removed)
		checked := false
		m.Drills.Check = func(ctx context.Context, restored backup.DataSource) error {
			checked = true
			return restored.View(ctx, func(r backup.Reader) error {
				time.Sleep(time.Second) // an assertion takes its time
				for _, err := range r.Records(ctx, "servers") {
					return err
				}
				return errors.New("no server")
			})
		}
		report, err := m.Drill(t.Context(), "")
		require.NoError(t, err)
		require.Equal(t, int64(9), report.Records)
		require.Equal(t, 30*time.Minute, report.Age)
		require.Zero(t, report.Took)
		require.Equal(t, time.Second, report.Total)
		require.True(t, checked)
		require.Equal(t, 1, removed)
		require.Equal(t, exceptLogs(host), exceptLogs(store))
		require.Equal(t, report.Backup, events.of(manager.EventDrill)[0].Backup)

		m.Drills.Scratch = scratch(emptyHost(), &removed)
		report, err = m.Drill(t.Context(), old.Name)
		require.NoError(t, err)
		require.Equal(t, 90*time.Minute+time.Second, report.Age)
		text, err := json.Marshal(report)
		require.NoError(t, err)
		require.Contains(t, string(text), `"age_ns":5401000000000`)
	})
}

func TestADrillThatFailsSaysWhere(t *testing.T) {
	bend := func(put func(backup.Record) []backup.Record) backup.Store {
		host := emptyHost()
		return struct {
			backup.DataSource
			backup.Sink
		}{host, bentSink{host, put}}
	}
	twin, fuller := emptyHost(), emptyHost()
	onlyLogs := emptyHost()
	onlyLogs["logs"]["1"] = `{"id":1}`
	for name, c := range map[string]struct {
		store backup.Store
		want  string
	}{
		"the host's own, where only that has records which was not backed up": {onlyLogs, "must be empty, and never the host's own"},
		"a store that alters": {bend(func(r backup.Record) []backup.Record {
			r.Value = []byte(strings.Replace(string(r.Value), "nas", "NAS", 1))
			return []backup.Record{r}
		}), `servers "s1": invalid data: it came back from the store otherwise than it was restored (update)`},
		"a store that loses": {bend(func(r backup.Record) []backup.Record {
			if r.Key == "s2" {
				return nil
			}
			return []backup.Record{r}
		}), `servers "s2": invalid data: it came back from the store otherwise than it was restored (add)`},
		"a store that invents": {bend(func(r backup.Record) []backup.Record {
			if r.Key == "7" {
				return []backup.Record{r, {Key: "8", Value: []byte(`{"id":8}`)}}
			}
			return []backup.Record{r}
		}), `users "8": invalid data: it came back from the store otherwise than it was restored (delete)`},
		"a store that shows less than it has": {struct {
			backup.DataSource
			backup.Sink
		}{emptyHost(), emptyHost()}, `servers "s1": invalid data: it came back from the store otherwise than it was restored (a backup of the store would not have it so)`},
		"a store that shows otherwise than it has": {struct {
			backup.DataSource
			backup.Sink
		}{showsOtherwise{twin}, twin}, `servers "s2": invalid data: it came back from the store otherwise than it was restored (a backup of the store would not have it so)`},
		"a store that shows more than it has": {struct {
			backup.DataSource
			backup.Sink
		}{showsMore{fuller}, fuller}, "1 records of users were restored, and the store shows 2"},
		"a store that is not empty": {homelabStore(), "must be empty, and never the host's own"},
		"a store that fails":        {&backuptest.Faulty{Source: emptyHost(), Sink: emptyHost(), On: backuptest.CallCommit, Nth: 1, Err: errDown}, "no route to host"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m, _, events := managed(newShelf("a"))
				made := mustCreate(t, m)
				removed := 0
				m.Drills.Scratch = scratch(c.store, &removed)
				_, err := m.Drill(t.Context(), made.Name)
				require.ErrorContains(t, err, c.want)
				require.Equal(t, 1, removed)
				require.Len(t, events.of(manager.EventFailed), 1)
				require.Empty(t, events.of(manager.EventDrill))
			})
		})
	}
	bubble(t, func(t *testing.T) {
		m, host, _ := managed(newShelf("a"))
		m.Drills.Scratch = func(context.Context) (backup.Store, func() error, error) { return nil, nil, errDown }
		_, err := m.Drill(t.Context(), "")
		require.ErrorIs(t, err, fs.ErrNotExist)
		made := mustCreate(t, m)
		_, err = m.Drill(t.Context(), made.Name)
		require.ErrorIs(t, err, errDown)
		removed := 0
		m.Drills.Scratch = scratch(emptyHost(), &removed)
		m.Drills.Check = func(context.Context, backup.DataSource) error { return errors.New("nobody could log in") }
		_, err = m.Drill(t.Context(), made.Name)
		require.ErrorContains(t, err, "the host's own check: nobody could log in")
		require.Equal(t, homelabStore(), exceptLogs(host))
	})
}

// showsOtherwise shows a record that is not what the store has.
type showsOtherwise struct{ backuptest.MapStore }

func (s showsOtherwise) View(ctx context.Context, read func(backup.Reader) error) error {
	other := s.Clone()
	if _, ok := other["servers"]["s2"]; ok {
		other["servers"] = map[string]string{"s1": other["servers"]["s1"], "s2": `{"id":"s2","name":"po","parent":"s1"}`}
	}
	return other.View(ctx, read)
}

// showsMore shows a record that the store does not have.
type showsMore struct{ backuptest.MapStore }

func (s showsMore) View(ctx context.Context, read func(backup.Reader) error) error {
	other := s.Clone()
	other["users"] = map[string]string{"7": other["users"]["7"], "8": `{"id":8}`}
	return other.View(ctx, read)
}

// A bentSink changes what is put into it.
type bentSink struct {
	backup.Sink
	put func(backup.Record) []backup.Record
}

func (s bentSink) Update(ctx context.Context, write func(backup.Writer) error) error {
	return s.Sink.Update(ctx, func(w backup.Writer) error { return write(bentWriter{w, s.put}) })
}

type bentWriter struct {
	backup.Writer
	put func(backup.Record) []backup.Record
}

func (w bentWriter) Put(ctx context.Context, collection string, records []backup.Record) error {
	var bent []backup.Record
	for _, r := range records {
		bent = append(bent, w.put(r)...)
	}
	return w.Writer.Put(ctx, collection, bent)
}
