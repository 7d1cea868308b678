package manager_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
)

// daysOf makes a backup a day, with a trigger each, and returns their names,
// oldest first.
func daysOf(t testing.TB, m *manager.Manager, triggers ...string) []string {
	t.Helper()
	var names []string
	for _, trigger := range triggers {
		b, err := m.Create(t.Context(), backup.BackupOptions{Metadata: map[string]string{"trigger": trigger}})
		require.NoError(t, err)
		names = append(names, b.Name)
		time.Sleep(24 * time.Hour)
	}
	return names
}

func repeat(trigger string, n int) []string { return slices.Repeat([]string{trigger}, n) }

func mustPrune(t testing.TB, m *manager.Manager, opts manager.PruneOptions) []manager.Pruned {
	t.Helper()
	pruned, err := m.Prune(t.Context(), opts)
	require.NoError(t, err)
	return pruned
}

func TestPruneKeepsWhatRetentionKeepsAndProvesTheNewest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := newShelf("a"), newShelf("b")
		m, _, events := managed(a, b)
		m.Retention = backup.Retention{Last: 2}
		names := daysOf(t, m, repeat("scheduled", 5)...)

		dry := mustPrune(t, m, manager.PruneOptions{DryRun: true})
		require.Len(t, a.names(t), 5)
		require.Equal(t, names[4:], dry[0].Proven)
		require.Empty(t, dry[0].Deleted)
		require.Empty(t, events.of(manager.EventPruned))

		pruned := mustPrune(t, m, manager.PruneOptions{})
		require.Len(t, pruned, 2)
		for i, s := range []*shelf{a, b} {
			require.Equal(t, s.name, pruned[i].Location)
			require.Equal(t, names[3:], s.names(t))
			require.Equal(t, names[:3], pruned[i].Deleted, "oldest first")
			require.Equal(t, names[4:], pruned[i].Proven)
			require.Equal(t, dry[i].Decisions, pruned[i].Decisions)
			require.Equal(t, []string{"not among the last 2"}, pruned[i].Decisions[2].Reasons)
		}
		require.Len(t, events.of(manager.EventPruned), 2)
		require.Empty(t, mustPrune(t, m, manager.PruneOptions{})[0].Deleted, "pruning twice is pruning once")
	})
}

func TestRetentionAppliesToScheduledBackupsAndToOthersWhenAsked(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newShelf("a")
		m, _, _ := managed(a)
		m.Retention = backup.Retention{Last: 1}
		m.KeepBeforeRestore = 2
		names := daysOf(t, m, "manual", "scheduled", "by another tool", "manual", "before restore", "scheduled", "before restore", "before restore", "manual")
		a.files()["notes.txt"] = "mine"
		unreadable := "homelab-backup-1999-01-01T00-00-00.json"
		a.files()[unreadable] = "damaged"
		guide := "homelab-backup-1999-02-01T00-00-00.json"
		a.files()[guide] = `{"version":"1.0","created_at":"1999-02-01T00:00:00Z","application_version":"1.0.0","metadata":{"trigger":"scheduled"},"data":{}}`

		pruned := mustPrune(t, m, manager.PruneOptions{})
		require.Equal(t, []string{names[1], names[4]}, pruned[0].Deleted)
		reasons := map[string]string{}
		for _, d := range pruned[0].Decisions {
			reasons[d.Name] = strings.Join(d.Reasons, "; ")
		}
		require.Equal(t, "made by hand", reasons[names[0]])
		require.Equal(t, "no trigger that retention applies to", reasons[names[2]])
		require.Equal(t, "does not say of itself what its name says, with a digest", reasons[guide])
		require.Equal(t, "unreadable, it may be anything", reasons[unreadable])

		pruned = mustPrune(t, m, manager.PruneOptions{Manual: true})
		require.Equal(t, []string{names[0], names[3], names[5]}, pruned[0].Deleted, "manual and scheduled ones are one history")
		require.ElementsMatch(t, []string{names[2], names[6], names[7], names[8], "notes.txt", unreadable, guide}, a.names(t))
	})
}

func TestAnEmptyPolicyKeepsEverything(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newShelf("a")
		m, _, _ := managed(a)
		daysOf(t, m, append(repeat("scheduled", 3), repeat("before restore", 8)...)...)
		require.Empty(t, mustPrune(t, m, manager.PruneOptions{Manual: true})[0].Deleted)
		m.Retention = backup.Retention{Last: 100}
		require.Len(t, mustPrune(t, m, manager.PruneOptions{})[0].Deleted, 3, "five from before a restore are kept")
	})
}

func TestPruneNeverDeletesTheNewestThatVerifies(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := newShelf("a"), newShelf("b")
		m, _, _ := managed(a, b)
		m.Retention = backup.Retention{Last: 1}
		names := daysOf(t, m, repeat("scheduled", 5)...)
		// At a, those of the last two days are rotten inside, which only reading shows.
		rot := func(s string) string { return strings.Replace(s, "nas", "nbs", 1) }
		a.alter(t, names[4], rot)
		a.alter(t, names[3], rot)

		dry := mustPrune(t, m, manager.PruneOptions{DryRun: true})
		require.Len(t, a.names(t), 5)
		pruned := mustPrune(t, m, manager.PruneOptions{})
		require.Equal(t, []string{names[2]}, pruned[0].Proven)
		require.Equal(t, pruned[0].Proven, dry[0].Proven)
		for i, d := range pruned[0].Decisions {
			require.Equal(t, d.Keep, dry[0].Decisions[i].Keep, "a dry run promises what the run does")
			require.Equal(t, d.Reasons, dry[0].Decisions[i].Reasons)
		}
		require.Equal(t, names[2:], a.names(t), "the damaged ones are kept while no good one is newer")
		require.Equal(t, names[4:], b.names(t), "each location for itself")

		for _, name := range a.names(t) {
			a.alter(t, name, rot)
		}
		a.alter(t, names[2], func(s string) string { return strings.Replace(s, "pi", "po", 1) })
		daysOf(t, m, "manual")
		for _, name := range names[2:] {
			require.Contains(t, a.names(t), name)
		}
		pruned = mustPrune(t, m, manager.PruneOptions{})
		require.Empty(t, pruned[0].Deleted, "without a good one nothing is deleted")
	})
}

func TestPruneDeletesNothingThatItCannotProve(t *testing.T) {
	for name, spoil := range map[string]func(*manager.Manager, *shelf, string) error{
		"unreadable": func(m *manager.Manager, s *shelf, newest string) error {
			s.Location = unreadable{s.Location, newest}
			return errDown
		},
		"another key": func(m *manager.Manager, s *shelf, _ string) error {
			m.Identities = []backup.Identity{testKey("another")}
			return backup.ErrWrongKey
		},
		"made by a newer version": func(m *manager.Manager, s *shelf, _ string) error {
			m.App.Version = "2.0.0"
			return backup.ErrTooNew
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				a, b := newShelf("a"), newShelf("b")
				m, host, _ := managed(a, b)
				m.Retention = backup.Retention{Last: 2}
				host["users"]["8"] = `{"id":8,"name":"` + strings.Repeat("long ", 20_000) + `"}`
				names := daysOf(t, m, repeat("scheduled", 4)...)
				want := spoil(m, a, names[3])
				pruned, err := m.Prune(t.Context(), manager.PruneOptions{})
				require.ErrorIs(t, err, want)
				require.ErrorContains(t, err, "nothing is deleted, because "+names[3])
				require.ErrorIs(t, pruned[0].Err, want)
				require.Len(t, a.names(t), 4)
				if name == "unreadable" {
					require.Len(t, b.names(t), 2, "the other location is pruned all the same")
				}
			})
		})
	}
	bubble(t, func(t *testing.T) { // a server that can seal and not open
		a := newShelf("a")
		m, _, _ := managed(a)
		m.Identities = nil
		m.Retention = backup.Retention{Last: 2}
		daysOf(t, m, repeat("scheduled", 4)...)
		require.Len(t, mustPrune(t, m, manager.PruneOptions{})[0].Deleted, 2)
	})
}

// An unreadable location has a file whose ends can be read, but not all of it.
type unreadable struct {
	location.Location
	name string
}

func (l unreadable) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	r, err := l.Location.Open(ctx, name)
	if err == nil && name == l.name {
		return onlyEnds{r, r.(io.ReaderAt), r.(io.Seeker)}, nil
	}
	return r, err
}

type onlyEnds struct {
	io.ReadCloser
	at io.ReaderAt
	io.Seeker
}

func (r onlyEnds) ReadAt(p []byte, off int64) (int, error) {
	if len(p) > 64<<10 {
		return 0, errDown
	}
	return r.at.ReadAt(p, off)
}

func TestPruneStopsWhereItCannotDelete(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := newShelf("a"), newShelf("b")
		m, _, _ := managed(a, b)
		m.Retention = backup.Retention{Last: 1}
		names := daysOf(t, m, repeat("scheduled", 4)...)
		a.Location = undeletable{a.Location, names[1]}
		pruned, err := m.Prune(t.Context(), manager.PruneOptions{})
		require.ErrorIs(t, err, errDown)
		require.Equal(t, names[:1], pruned[0].Deleted)
		require.Equal(t, names[:3], pruned[1].Deleted)
		text, err := json.Marshal(pruned[0])
		require.NoError(t, err)
		require.Contains(t, string(text), `"error":"delete `+names[1]+`: no route to host"`)
	})
}

type undeletable struct {
	location.Location
	name string
}

func (l undeletable) Delete(ctx context.Context, name string) error {
	if name == l.name {
		return errDown
	}
	return l.Location.Delete(ctx, name)
}

func servers(n int) map[string]string {
	records := make(map[string]string)
	for i := range n {
		id := fmt.Sprintf("s%d", i+1)
		records[id] = fmt.Sprintf(`{"id":%q,"name":"node"}`, id)
	}
	return records
}

func TestABackupThatHasShrunkIsFlaggedAndPruningWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := newShelf("a"), newShelf("b")
		m, host, events := managed(a, b)
		m.Retention = backup.Retention{Last: 1}
		host["servers"] = servers(214)
		names := daysOf(t, m, "scheduled", "scheduled")
		whole := host.Clone()
		host["servers"] = map[string]string{}
		maps.Copy(host, backuptest.MapStore{"applications": {}, "settings": {}})
		made, err := m.Create(t.Context(), backup.BackupOptions{Metadata: map[string]string{"trigger": "scheduled"}})
		require.NoError(t, err, "it is kept")
		lost := []manager.Shrink{{"applications", 2, 0}, {"servers", 214, 0}, {"settings", 3, 0}}
		require.Equal(t, lost, made.Shrunk)
		require.Equal(t, "applications: 0, was 2, servers: 0, was 214, settings: 0, was 3", events.of(manager.EventShrunk)[0].Text)

		for range 10 { // days go by, and each new backup is like the one before it
			daysOf(t, m, "scheduled")
			pruned, err := m.Prune(t.Context(), manager.PruneOptions{})
			require.ErrorIs(t, err, manager.ErrShrunk)
			require.ErrorContains(t, err, "servers: 0, was 214")
			require.Empty(t, pruned[0].Deleted)
			require.NotEmpty(t, pruned[0].Decisions)
		}
		require.Subset(t, a.names(t), names)

		require.ErrorContains(t, m.Accept(t.Context(), "homelab-backup-2030-01-01T00-00-00.json"), "no location has")
		require.NoError(t, m.Accept(t.Context(), made.Name))
		require.NoError(t, m.Accept(t.Context(), made.Name), "twice is once")
		notShrunk := m.Accept(t.Context(), names[0])
		require.ErrorIs(t, notShrunk, backup.ErrInvalid)
		require.EqualError(t, notShrunk, "accept: "+names[0]+" has not shrunk, so there is nothing to accept", "no data is invalid")
		require.Contains(t, a.all(t), made.Name+".accepted")
		require.Contains(t, b.all(t), made.Name+".accepted", "at each, should one be lost")
		require.Len(t, mustPrune(t, m, manager.PruneOptions{})[0].Deleted, 12)
		require.Len(t, a.names(t), 1)
		require.Contains(t, b.all(t), made.Name+".accepted", "it counts on")

		host["servers"] = whole["servers"]
		daysOf(t, m, "scheduled")
		mustPrune(t, m, manager.PruneOptions{})
	})
}

func TestAShrunkBackupIsRememberedWhenTheOneBeforeRots(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newShelf("a")
		m, host, _ := managed(a)
		m.Retention = backup.Retention{Last: 1}
		host["applications"], host["settings"] = map[string]string{}, map[string]string{}
		host["servers"] = servers(214)
		names := daysOf(t, m, "scheduled")
		host["servers"] = servers(0)
		daysOf(t, m, "scheduled")
		a.alter(t, names[0], func(s string) string { return strings.Replace(s, "node", "nude", 1) })
		_, err := m.Verify(t.Context(), names[0])
		require.ErrorIs(t, err, backup.ErrDamaged)
		_, err = m.Prune(t.Context(), manager.PruneOptions{})
		require.ErrorIs(t, err, manager.ErrShrunk)
	})
}

func TestWhatWasAcceptedStaysAcceptedWhenItsBackupIsGone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newShelf("a")
		m, host, _ := managed(a)
		m.Retention = backup.Retention{Last: 2}
		host["applications"], host["settings"] = map[string]string{}, map[string]string{}
		host["servers"] = servers(214)
		daysOf(t, m, "manual") // which stays for ever
		host["servers"] = servers(20)
		names := daysOf(t, m, "scheduled")
		require.NoError(t, m.Accept(t.Context(), names[0]))
		for range 6 {
			daysOf(t, m, "scheduled")
			mustPrune(t, m, manager.PruneOptions{})
		}
		require.NotContains(t, a.all(t), names[0])
		host["servers"] = servers(5)
		next := daysOf(t, m, "scheduled")
		_, err := m.Prune(t.Context(), manager.PruneOptions{})
		require.ErrorContains(t, err, "servers: 5, was 20")
		require.NoError(t, m.Accept(t.Context(), next[0]))
		mustPrune(t, m, manager.PruneOptions{})
		require.NotContains(t, a.all(t), names[0]+".accepted", "one mark is enough")
		require.Contains(t, a.all(t), next[0]+".accepted")
	})
}

func TestMarksOfBackupsThatAreGoneAreTakenAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := newShelf("a"), newShelf("b")
		m, host, _ := managed(a, b)
		made := mustCreate(t, m)
		change(host)
		report, err := m.Restore(t.Context(), open(t, m, made.Name), backup.RestoreOptions{Strategy: backup.Replace})
		require.NoError(t, err)
		for _, s := range []*shelf{a, b} {
			require.Contains(t, s.all(t), report.UndoneBy+".restored", "beside each copy")
			delete(s.files(), report.UndoneBy) // as the script of the guide does
		}
		mustPrune(t, m, manager.PruneOptions{})
		require.Equal(t, []string{made.Name}, a.all(t))
		require.Equal(t, []string{made.Name}, b.all(t))
	})
}

func TestABackupThatShrinksBitByBitIsFlaggedToo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newShelf("a")
		m, host, _ := managed(a)
		m.Retention = backup.Retention{Last: 2}
		host["applications"], host["settings"] = map[string]string{}, map[string]string{}
		for _, n := range []int{214, 150, 107} {
			host["servers"] = servers(n)
			daysOf(t, m, "scheduled")
			_, err := m.Prune(t.Context(), manager.PruneOptions{DryRun: true})
			require.NoError(t, err)
		}
		for _, n := range []int{100, 80, 60} {
			host["servers"] = servers(n)
			daysOf(t, m, "scheduled")
			_, err := m.Prune(t.Context(), manager.PruneOptions{})
			require.ErrorIs(t, err, manager.ErrShrunk)
			require.ErrorContains(t, err, "was 214")
		}
		require.Len(t, a.names(t), 6)
		// To accept the last is to accept all before it.
		require.NoError(t, m.Accept(t.Context(), mustList(t, m)[0].Name))
		require.Len(t, mustPrune(t, m, manager.PruneOptions{})[0].Deleted, 4)
	})
}

func TestOneLocationDoesNotDecideForAnother(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := newShelf("a"), newShelf("b")
		m, _, _ := managed(a, b)
		m.Retention = backup.Retention{Last: 1}
		names := daysOf(t, m, "scheduled", "manual", "scheduled", "scheduled")
		for _, name := range names[1:] { // somebody has written at a only
			a.alter(t, name, func(s string) string {
				return strings.NewReplacer(`"created_at":"2000`, `"created_at":"1990`, `"trigger":"manual"`, `"trigger":"scheduled"`).Replace(s)
			})
		}
		m.Prune(t.Context(), manager.PruneOptions{})
		require.Equal(t, []string{names[1], names[3]}, b.names(t))
	})
}

func TestWhatAFileSaysOfItselfIsNotBelievedAgainstItsName(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newShelf("a")
		m, _, _ := managed(a)
		m.Retention = backup.Retention{Last: 2}
		names := daysOf(t, m, repeat("scheduled", 3)...)
		for i := range 3 {
			a.files()[fmt.Sprintf("homelab-backup-1990-01-01T00-00-0%d.json", i)] =
				`{"version":"1.0","created_at":"2000-01-03T12:00:00Z","application":"homelab","application_version":"2.1.0","metadata":{"trigger":"scheduled"},"data":{}}`
			a.files()[fmt.Sprintf("homelab-backup-2000-01-03T12-00-0%d.json", i)] =
				fmt.Sprintf(`{"version":"1.0","created_at":"2000-01-03T12:00:0%dZ","application":"homelab","application_version":"2.1.0","metadata":{"trigger":"scheduled"},"data":{}}`, i)
		}
		require.Equal(t, names[:1], mustPrune(t, m, manager.PruneOptions{})[0].Deleted)
		require.Len(t, a.names(t), 8)
	})
}

func TestASelectiveBackupDoesNotPushOutWhatOthersHave(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newShelf("a")
		m, _, _ := managed(a)
		m.Retention = backup.Retention{Last: 1}
		names := daysOf(t, m, repeat("scheduled", 3)...)
		for range 3 {
			b, err := m.Create(t.Context(), backup.BackupOptions{Only: []string{"users"}})
			require.NoError(t, err)
			names = append(names, b.Name)
			time.Sleep(24 * time.Hour)
		}
		pruned := mustPrune(t, m, manager.PruneOptions{Manual: true})
		require.Equal(t, []string{names[0], names[1], names[3], names[4]}, pruned[0].Deleted)
		require.ElementsMatch(t, []string{names[5], names[2]}, pruned[0].Proven)
		require.Equal(t, []string{"newest good one", "among the last 1"}, pruned[0].Decisions[3].Reasons)
	})
}

func TestTheLogNamesWhatWasDeletedAndNothingElse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newShelf("a")
		m, _, _ := managed(a)
		m.Retention = backup.Retention{Last: 2}
		var log bytes.Buffer
		m.Logger = slog.New(slog.NewTextHandler(&log, nil))
		names := daysOf(t, m, repeat("scheduled", 4)...)
		m.Identities = []backup.Identity{testKey("another")}
		_, err := m.Prune(t.Context(), manager.PruneOptions{})
		require.ErrorIs(t, err, backup.ErrWrongKey)
		require.NotContains(t, log.String(), "backup deleted")
		m.Identities = []backup.Identity{testKey("k")}
		mustPrune(t, m, manager.PruneOptions{})
		require.Equal(t, 2, strings.Count(log.String(), "backup deleted"))
		require.Contains(t, log.String(), "backup="+names[0]+" location=a reasons=\"not among the last 2\"")
	})
}

func TestWhatCountsAsShrunk(t *testing.T) {
	for name, c := range map[string]struct {
		was, is int
		want    bool
	}{
		"all of many": {214, 0, true}, "all of two": {2, 0, true}, "the only one": {1, 0, false},
		"most": {214, 100, true}, "half": {214, 107, false}, "a few of few": {5, 2, false},
		"most of twenty": {20, 9, true}, "nothing": {0, 0, false}, "more": {2, 50, false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m, host, _ := managed(newShelf("a"))
				host["applications"], host["settings"] = map[string]string{}, map[string]string{}
				host["servers"] = servers(c.was)
				daysOf(t, m, "scheduled")
				// Neither a backup of something else nor one from before a restore counts.
				_, err := m.Create(t.Context(), backup.BackupOptions{Only: []string{"users"}})
				require.NoError(t, err)
				host["servers"] = servers(500)
				daysOf(t, m, "before restore")
				host["servers"] = servers(c.is)
				made := mustCreate(t, m)
				require.Equal(t, c.want, len(made.Shrunk) > 0, "%v", made.Shrunk)
				require.Equal(t, made.Shrunk, mustList(t, m)[0].Shrunk)
			})
		})
	}
}

func TestWhatWasPrunedIsNotFilledInAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := newShelf("a"), newShelf("b")
		m, _, _ := managed(a, b)
		m.Retention = backup.Retention{Last: 2}
		names := daysOf(t, m, repeat("scheduled", 3)...)
		b.set(errors.New("unplugged"), nil)
		pruned, err := m.Prune(t.Context(), manager.PruneOptions{})
		require.NoError(t, err)
		require.ErrorContains(t, pruned[1].Err, "unplugged")
		require.Equal(t, names[1:], a.names(t))
		names = append(names, daysOf(t, m, "scheduled", "scheduled")...)
		b.set(nil, nil)
		names = append(names, daysOf(t, m, "scheduled")...)
		require.NotContains(t, a.names(t), names[0])
		mustPrune(t, m, manager.PruneOptions{})
		require.Equal(t, names[4:], a.names(t))
		require.Equal(t, names[4:], b.names(t))
	})
}
