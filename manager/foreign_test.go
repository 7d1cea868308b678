package manager_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
	"github.com/tomo-project/backup/schedule"
)

// theirs is the Manager of another installation in the same folder.
func theirs(dir string, store backuptest.MapStore) *manager.Manager {
	m := notesIn(dir, store)
	m.Installation = "b2"
	return m
}

func runFor(t *testing.T, m *manager.Manager, d time.Duration) {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	require.ErrorIs(t, m.Run(ctx), context.DeadlineExceeded)
}

func foreignIn(list []manager.Backup) (own, foreign []string) {
	for _, b := range list {
		if b.Foreign {
			foreign = append(foreign, b.Name)
		} else {
			own = append(own, b.Name)
		}
	}
	return own, foreign
}

// Each of two installations in one folder makes its own scheduled backups, and retention
// counts and deletes only those.
func TestTwoInstallationsInOneFolderMakeTheirOwnBackups(t *testing.T) {
	bubble(t, func(t *testing.T) {
		dir := t.TempDir()
		a, b := notesIn(dir, notes("a")), theirs(dir, notes("a", "b"))
		var events eventLog
		a.OnEvent = events.add
		a.Drills.Schedule, b.Drills.Schedule = schedule.Weekly{}, schedule.Weekly{}
		ctx, cancel := context.WithTimeout(t.Context(), 20*oneDay)
		defer cancel()
		done := make(chan error)
		go func() { done <- b.Run(ctx) }()
		require.ErrorIs(t, a.Run(ctx), context.DeadlineExceeded)
		<-done
		require.NotEmpty(t, events.of(manager.EventDrill))
		require.Empty(t, events.of(manager.EventShrunk))
		for _, m := range []*manager.Manager{a, b} {
			own, foreign := foreignIn(mustList(t, m))
			require.Len(t, own, 3)
			require.Len(t, foreign, 3)
		}
	})
}

func TestUndoNeverTakesTheBackupOfAnotherInstallation(t *testing.T) {
	bubble(t, func(t *testing.T) {
		dir := t.TempDir()
		mine, other := notes("mine"), notes("theirs")
		restoredTo(t, dir, mine, "mine now")
		time.Sleep(time.Hour)
		made, err := theirs(dir, notes("theirs now")).Create(t.Context(), backup.BackupOptions{})
		require.NoError(t, err)
		b := theirs(dir, other)
		s, err := b.Open(t.Context(), made.Name)
		require.NoError(t, err)
		defer s.Close()
		_, err = b.Restore(t.Context(), s, backup.RestoreOptions{Strategy: backup.Replace})
		require.NoError(t, err)
		time.Sleep(time.Hour)

		report, err := notesIn(dir, mine).Undo(t.Context())
		require.NoError(t, err)
		require.Empty(t, report.Warnings)
		require.Equal(t, []string{"mine"}, idsOf(mine))
	})
}

// The guard against shrunk backups, drills and rehearsals look at one's own backups.
func TestABackupOfAnotherInstallationStandsForNone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		dir, drive := t.TempDir(), t.TempDir()
		foreign := mustCreate(t, theirs(dir, notes("a", "b", "c", "d")))
		m := notesIn(dir, notes())
		m.Locations = append(m.Locations, location.Dir(drive))
		_, err := m.Drill(t.Context(), "")
		require.ErrorContains(t, err, "there is no backup to try")
		found, err := m.Rehearse(t.Context(), testKey("k"))
		require.ErrorContains(t, err, "there is no backup to try")
		require.Len(t, found, 2)

		time.Sleep(time.Hour)
		b := mustCreate(t, m)
		require.Empty(t, b.Shrunk, "the other installation has more")
		list := mustList(t, m)
		require.Len(t, list, 2)
		require.True(t, list[1].Foreign)
		require.Len(t, list[0].Copies, 2)
		require.Len(t, list[1].Copies, 1, "it is not copied to the other location")
		require.False(t, list[1].Usable(time.Now()))
		for _, p := range mustPrune(t, m, manager.PruneOptions{Manual: true}) {
			i := slices.IndexFunc(p.Decisions, func(d manager.Decision) bool { return d.Name == foreign.Name })
			if p.Location == dir {
				require.Equal(t, []string{"of another installation"}, p.Decisions[i].Reasons)
			} else {
				require.Negative(t, i)
			}
		}

		m.Installation = ""
		fresh := notesIn(dir, notes())
		fresh.Installation = ""
		own, foreigners := foreignIn(mustList(t, fresh))
		require.Len(t, own, 2, "whoever has no id cannot tell")
		require.Empty(t, foreigners)
	})
}

func TestARestoreOfAnotherInstallationsBackupSaysSo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		dir := t.TempDir()
		made := mustCreate(t, theirs(dir, notes("theirs")))
		time.Sleep(time.Hour)
		const warning = "the backup is of another installation, b2, and not of this one, a1"
		replace := backup.RestoreOptions{Strategy: backup.Replace}

		store := notes("mine")
		m := notesIn(dir, store)
		s, err := m.Open(t.Context(), made.Name)
		require.NoError(t, err)
		plan, err := m.Plan(t.Context(), s, replace)
		require.NoError(t, err)
		defer plan.Close()
		require.Equal(t, []string{warning}, plan.Report().Warnings)
		report, err := m.Apply(t.Context(), plan)
		require.NoError(t, err)
		require.Equal(t, []string{warning}, report.Warnings)
		require.Equal(t, []string{"theirs"}, idsOf(store))
		_, err = m.Undo(t.Context())
		require.NoError(t, err)
		report, err = m.Restore(t.Context(), s, replace)
		require.NoError(t, err)
		require.Equal(t, []string{warning}, report.Warnings)

		own := mustCreate(t, m)
		s, err = m.Open(t.Context(), own.Name)
		require.NoError(t, err)
		defer s.Close()
		report, err = m.Restore(t.Context(), s, replace)
		require.NoError(t, err)
		require.Empty(t, report.Warnings)
	})
}

// at3 is a schedule as a cron library makes it: it goes by the zone of the time that it is
// given.
type at3 struct{}

func (at3) Next(after time.Time) time.Time {
	y, m, d := after.Date()
	for i := 0; ; i++ {
		if t := time.Date(y, m, d+i, 3, 0, 0, 0, after.Location()); t.After(after) {
			return t
		}
	}
}

func TestAScheduleIsAskedInTheZoneOfTheHost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		dir := t.TempDir()
		m := notesIn(dir, notes("a"))
		m.Schedule, m.TimeZone = at3{}, time.FixedZone("nine hours ahead", 9*3600)
		runFor(t, m, 3*oneDay)
		var times []string
		for _, b := range mustList(t, m) {
			times = append(times, b.CreatedAt.In(m.TimeZone).Format("02 15:04"))
		}
		require.Equal(t, []string{"04 03:00", "03 03:00", "02 03:00"}, times)
		next, err := m.Next(t.Context())
		require.NoError(t, err)
		require.Equal(t, "05 03:00", next.In(m.TimeZone).Format("02 15:04"))

		local := time.Local
		defer func() { time.Local = local }()
		time.Local = time.FixedZone("two hours behind", -2*3600)
		m = notesIn(t.TempDir(), notes("a"))
		m.Schedule = at3{}
		runFor(t, m, oneDay)
		next, err = m.Next(t.Context())
		require.NoError(t, err)
		require.Equal(t, "03:00", next.Local().Format("15:04"))
	})
}
