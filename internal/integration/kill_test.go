package integration

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/testtime"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
)

// A killer starts processes that do one thing, and kills them while they do.
type killer struct {
	host
	what, name string
	random     *rand.Rand

	usual            []time.Duration // of the last that were not killed
	kills, midway    int
	left, incomplete int // of those in the middle: with a temporary file, with a copy missing
}

const seedVariable = "TOMO_INTEGRATION_SEED"

func newKiller(t *testing.T, what string, h host, name string) *killer {
	seed := rand.Uint64()
	if text := os.Getenv(seedVariable); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err)
	}
	t.Logf("%s=%d", seedVariable, seed)
	return &killer{host: h, what: what, name: name, random: rand.New(rand.NewPCG(seed, 0))}
}

// strike lets a process work, and kills it at some moment between its beginning
// and a bit beyond its usual end, half the time after its first step. The first
// few live. It tells whether the work was done.
func (k *killer) strike(t *testing.T) (done bool) {
	t.Helper()
	p := startProcess(t, k.what, k.host, k.name)
	kill := len(k.usual) >= 3
	if kill {
		within := 1.2 * float64(k.median())
		if k.random.IntN(2) == 0 { // the end is where the most can go wrong
			p.awaitStep(t)
			within /= 4
			if k.what == "create" { // all that is left is to copy
				within /= 4
			}
		}
		time.Sleep(time.Duration(k.random.Float64() * within))
		p.kill()
	}
	took, done := p.end(t)
	if done {
		k.usual = append(k.usual, took)
	} else {
		require.True(t, kill)
		k.midway++
	}
	if kill {
		k.kills++
	}
	return done
}

func (k *killer) median() time.Duration {
	last := slices.Sorted(slices.Values(k.usual[max(0, len(k.usual)-9):]))
	return last[len(last)/2]
}

// note counts what a kill in the middle has left.
func (k *killer) note(t *testing.T, done bool) {
	t.Helper()
	if left := len(k.leftovers(t)) > 0; left && !done {
		k.left++
	} else {
		require.False(t, left, "who is done leaves nothing")
	}
	if !done && !slices.Equal(backupsIn(t, string(k.folder("a"))), backupsIn(t, string(k.folder("b")))) {
		k.incomplete++
	}
}

// more tells whether to kill again: so often, and then until a quarter of the kills
// that are asked for has hit in the middle.
func (k *killer) more(rounds int) bool {
	return k.kills < rounds || k.midway < rounds/4 && k.kills < 4*rounds
}

func (k *killer) report(t *testing.T, rounds int) {
	t.Logf("%d kills of a %s of %v: %d in the middle, of which %d left a temporary file and %d not the same in both folders",
		k.kills, k.what, k.median().Round(time.Millisecond/10), k.midway, k.left, k.incomplete)
	require.GreaterOrEqual(t, k.midway, rounds/4, "too few kills hit in the middle")
}

// forget removes old backups, so that there are not too many of them, but none
// of the last seconds: a name must not be given twice.
func (h host) forget(t *testing.T, m *manager.Manager, keep ...string) {
	if len(backupsIn(t, string(h.folder("a")))) < 20 {
		return
	}
	list, err := m.List(t.Context())
	require.NoError(t, err)
	for _, b := range list[min(len(list), 6):] {
		if slices.Contains(keep, b.Name) || time.Since(b.CreatedAt) < 3*time.Second {
			continue
		}
		for _, c := range b.Copies {
			require.NoError(t, location.Dir(c.Location).Delete(t.Context(), b.Name))
		}
	}
}

// same checks that the same is in both folders.
func (h host) same(t *testing.T) {
	t.Helper()
	require.Equal(t, backupsIn(t, string(h.folder("a"))), backupsIn(t, string(h.folder("b"))))
}

const killedRecords = 60

// eachPacking runs a test with backups as they are, and with such as are
// compressed and encrypted, of which each is two files.
func eachPacking(t *testing.T, run func(t *testing.T, packed bool, rounds int)) {
	t.Parallel()
	t.Run("plain", func(t *testing.T) {
		t.Parallel()
		run(t, false, testtime.Pick(t, 16, 200))
	})
	t.Run("packed", func(t *testing.T) {
		t.Parallel()
		run(t, true, testtime.Pick(t, 8, 50))
	})
}

func (h host) packIf(t testing.TB, packed bool) host {
	if packed {
		h.pack(t)
	}
	return h
}

func TestABackupThatIsKilledIsThereWholeOrNotAtAll(t *testing.T) {
	testtime.NotForRace(t)
	eachPacking(t, killCreates)
}

func killCreates(t *testing.T, packed bool, rounds int) {
	h := newHost(t, killedRecords).packIf(t, packed)
	first := create(t, h.manager(h.open(t)), backup.BackupOptions{})
	data := state(t, h.open(t))
	k := newKiller(t, "create", h, "")
	for k.more(rounds) {
		before := h.shelves(t)
		done := k.strike(t)
		t.Run(fmt.Sprint("kill ", k.kills), func(t *testing.T) {
			db := h.open(t)
			m := h.quickManager(db)
			k.note(t, done)
			news := h.whole(t, h.manager(db), before, nil)
			require.LessOrEqual(t, len(news), 1)
			if done {
				require.Len(t, news, 1)
			}
			is(t, state(t, db), data)

			next := create(t, m, backup.BackupOptions{})
			require.Len(t, next.Copies, 2)
			require.Empty(t, h.leftovers(t), "the next backup takes away what is left")
			h.same(t) // what is missing is filled in
			h.forget(t, m, first.Name)
		})
		if t.Failed() {
			return
		}
	}
	k.report(t, rounds)
}

// pruneHost returns a host with backups of each kind, and those that a Prune
// keeps.
func pruneHost(t *testing.T, records int) (h host, names, kept []string) {
	h = newHost(t, records)
	m := h.manager(h.open(t))
	now := time.Now().Add(-1000 * time.Hour)
	for i, trigger := range strings.Split("sbmsbssmbssbs", "") {
		trigger = map[string]string{"s": manager.TriggerScheduled, "b": manager.TriggerBeforeRestore, "m": manager.TriggerManual}[trigger]
		b := create(t, m, backup.BackupOptions{CreatedAt: now.Add(time.Duration(i) * time.Hour), Metadata: map[string]string{"trigger": trigger}})
		names = append(names, b.Name)
	}
	require.ElementsMatch(t, names, h.whole(t, m, nil, nil))
	pruned, err := m.Prune(t.Context(), manager.PruneOptions{DryRun: true})
	require.NoError(t, err)
	for _, d := range pruned[0].Decisions {
		if d.Keep {
			kept = append(kept, d.Name)
		}
	}
	slices.Sort(kept)
	require.Len(t, kept, 3+2+2)
	return h, names, kept
}

// furnish puts the files of another host in the folders.
func (h host) furnish(t *testing.T, from host) {
	t.Helper()
	for _, folder := range []string{"a", "b"} {
		require.NoError(t, os.RemoveAll(filepath.Join(h.dir, folder)))
		require.NoError(t, os.Mkdir(filepath.Join(h.dir, folder), 0o700))
		for _, name := range filesIn(t, filepath.Join(from.dir, folder)) {
			require.NoError(t, os.Link(filepath.Join(from.dir, folder, name), filepath.Join(h.dir, folder, name)))
		}
	}
}

func TestAPruneThatIsKilledHasDeletedNothingThatIsKept(t *testing.T) {
	testtime.NotForRace(t)
	t.Parallel()
	full, names, kept := pruneHost(t, killedRecords)
	h := newHost(t, 1)
	k := newKiller(t, "prune", h, "")
	rounds := testtime.Pick(t, 16, 200)
	for k.more(rounds) {
		h.furnish(t, full)
		before := h.shelves(t)
		done := k.strike(t)
		t.Run(fmt.Sprint("kill ", k.kills), func(t *testing.T) {
			m := h.quickManager(h.open(t))
			k.note(t, done)
			require.Empty(t, h.whole(t, m, before, func(name string) bool { return !slices.Contains(kept, name) }))
			for _, d := range h.folders() {
				there, oldest := backupsIn(t, string(d)), false
				for _, name := range names {
					if slices.Contains(kept, name) {
						continue
					}
					oldest = oldest || slices.Contains(there, name)
					require.Equal(t, oldest, slices.Contains(there, name), "the oldest go first")
				}
			}
			_, err := m.Prune(t.Context(), manager.PruneOptions{})
			require.NoError(t, err)
			for _, d := range h.folders() {
				require.Equal(t, kept, backupsIn(t, string(d)), "as if nobody had been killed")
			}
		})
		if t.Failed() {
			return
		}
	}
	k.report(t, rounds)
}

func TestARestoreThatIsKilledLeavesTheOldOrTheNewStateAndCanBeUndone(t *testing.T) {
	testtime.NotForRace(t)
	eachPacking(t, func(t *testing.T, packed bool, rounds int) { killRestores(t, "restore", packed, rounds) })
}

func TestAnUndoThatIsKilledLeavesTheOldOrTheNewStateAndCanBeUndone(t *testing.T) {
	testtime.NotForRace(t)
	eachPacking(t, func(t *testing.T, packed bool, rounds int) { killRestores(t, "undo", packed, rounds) })
}

// killRestores kills what brings the host from one state to another, and goes
// back to the former each time.
func killRestores(t *testing.T, what string, packed bool, rounds int) {
	h := newHost(t, killedRecords).packIf(t, packed)
	db := h.open(t)
	m := h.manager(db)
	first := create(t, m, backup.BackupOptions{})
	target := state(t, db)
	change(t, db)
	start := state(t, db)
	saved := openBackup(t, m, first.Name)
	restore := func(t *testing.T, m *manager.Manager) {
		report, err := m.Restore(t.Context(), saved, backup.RestoreOptions{Strategy: backup.Replace})
		require.NoError(t, err)
		require.NotEmpty(t, report.UndoneBy)
	}
	if what == "undo" {
		restore(t, m)
		start, target = target, start
		is(t, state(t, db), start)
	}
	// A process that is killed must be the only one that has the database open, or
	// nothing would have to be recovered.
	require.NoError(t, db.Close())

	k := newKiller(t, what, h, first.Name)
	news := 0
	for k.more(rounds) {
		before := h.shelves(t)
		done := k.strike(t)
		t.Run(fmt.Sprint("kill ", k.kills), func(t *testing.T) {
			db := h.open(t)
			m := h.quickManager(db)
			k.note(t, done)
			require.LessOrEqual(t, len(h.whole(t, h.manager(db), before, nil)), 1)
			isNew := is(t, state(t, db), start, target) == 1
			require.False(t, done && !isNew)
			switch {
			case isNew:
				if !done {
					news++
				}
				report, err := m.Undo(t.Context())
				require.NoError(t, err)
				require.NotEmpty(t, report.UndoneBy)
			case what == "restore":
				restore(t, m)
				is(t, state(t, db), target)
				_, err := m.Undo(t.Context())
				require.NoError(t, err)
			case what == "undo":
				for _, want := range []string{target, start} {
					_, err := m.Undo(t.Context())
					require.NoError(t, err)
					is(t, state(t, db), want)
				}
			}
			is(t, state(t, db), start)
			require.Empty(t, h.leftovers(t), "the next backup takes away what is left")
			h.forget(t, m, first.Name)
		})
		if t.Failed() {
			return
		}
	}
	k.report(t, rounds)
	t.Logf("%d of them had changed the database", news)
}
