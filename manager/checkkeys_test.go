package manager_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/manager"
	"github.com/tomo-project/backup/schedule"
)

// withPassphrase is the same Manager, started with a passphrase.
func withPassphrase(m *manager.Manager, passphrase string) *manager.Manager {
	key := backup.Passphrase([]byte(passphrase))
	again := whoHolds(m, key)
	again.Recipients, again.Encrypt, again.Compress = []backup.Recipient{key}, nil, ""
	again.Schedule, again.OnEvent = m.Schedule, m.OnEvent
	return again
}

func scheduled(t *testing.T, m *manager.Manager) manager.Backup {
	t.Helper()
	b, err := m.Create(t.Context(), backup.BackupOptions{Metadata: map[string]string{backup.MetaTrigger: manager.TriggerScheduled}})
	require.NoError(t, err)
	return b
}

func TestAMistypedPassphraseIsFoundBeforeAnythingIsSealedWithIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, _, _ := managed(newShelf("disk"))
		right := withPassphrase(m, "correct horse")
		k, err := right.CheckKeys(t.Context())
		require.NoError(t, err, "there is no backup, so any key is new")
		require.Equal(t, manager.KeyCheck{}, k)

		old := scheduled(t, right)
		time.Sleep(time.Hour)
		made := scheduled(t, right)
		k, err = right.CheckKeys(t.Context())
		require.NoError(t, err)
		require.Equal(t, manager.KeyCheck{Backup: made.Name, Keys: []string{"passphrase"}, Opens: true}, k)
		require.Empty(t, k.String())

		typo := withPassphrase(m, "corect horse")
		k, err = typo.CheckKeys(t.Context())
		require.ErrorIs(t, err, backup.ErrWrongKey)
		require.ErrorContains(t, err, made.Name+" is sealed with another key")
		require.ErrorContains(t, err, "If the passphrase or the key is mistyped, give the one that was in use when that backup was made")
		require.ErrorContains(t, err, "2 kept backups need it")
		require.ErrorContains(t, err, "Rewrap")
		require.Equal(t, []string{made.Name, old.Name}, k.Need)

		// Neither good nor damaged.
		listed := mustList(t, typo)
		require.True(t, listed[0].OtherKey)
		require.False(t, listed[0].Damaged)
		require.False(t, listed[0].Usable(time.Now()))
		require.NoError(t, listed[0].Copies[0].Err)
		_, err = right.Verify(t.Context(), made.Name)
		require.NoError(t, err)
		require.False(t, mustList(t, right)[0].OtherKey)

		// Whoever comes back with the right key learns of what was made with the typo.
		time.Sleep(time.Hour)
		bad := scheduled(t, typo)
		k, err = right.CheckKeys(t.Context())
		require.ErrorIs(t, err, backup.ErrWrongKey)
		require.Equal(t, []string{bad.Name}, k.Need, "the right key opens the older ones")

		none := whoHolds(m)
		none.Recipients, none.Encrypt, none.Compress = nil, nil, ""
		k, err = none.CheckKeys(t.Context())
		require.NoError(t, err, "without a key nothing tells")
		require.False(t, k.Opens || k.Other)
	})
}

// New public keys are a change that the names tell, on a server that opens nothing.
func TestAChangeOfPublicKeysIsSaidWithHowLongTheOldOneIsNeeded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, _, old := publicOnly(t, newShelf("disk"))
		m.Schedule, m.Retention = schedule.Daily{}, backup.Retention{Last: 7}
		for range 3 {
			scheduled(t, m)
			time.Sleep(24 * time.Hour)
		}
		k, err := m.CheckKeys(t.Context())
		require.NoError(t, err)
		require.Empty(t, k.String())

		key := newPair(t)
		changed := whoHolds(m)
		changed.Schedule, changed.Recipients, changed.Encrypt = m.Schedule, []backup.Recipient{key.to}, key.to
		k, err = changed.CheckKeys(t.Context())
		require.ErrorIs(t, err, backup.ErrWrongKey)
		require.Equal(t, k.Keys, k.Gone)
		require.Len(t, k.Need, 3)
		require.Equal(t, "2000-01-12", k.Until.Format(time.DateOnly), "seven more backups push them out")
		require.ErrorContains(t, err, "until about 2000-01-12 by the retention policy")

		// A passphrase at hand opens nothing here, and the public keys are the same.
		same := whoHolds(m, backup.Passphrase([]byte("at hand")))
		k, err = same.CheckKeys(t.Context())
		require.NoError(t, err)
		require.False(t, k.Opens || k.Other)

		// Who has the old private key too is not locked out, and is told the same.
		changed = whoHolds(m, old.from)
		changed.Schedule, changed.Recipients, changed.Encrypt = m.Schedule, []backup.Recipient{key.to}, key.to
		k, err = changed.CheckKeys(t.Context())
		require.NoError(t, err)
		require.True(t, k.Opens)
		require.Contains(t, k.String(), "New backups do not open with")
		require.Contains(t, k.String(), "3 kept backups need it")

		by, err := m.Create(t.Context(), backup.BackupOptions{})
		require.NoError(t, err)
		k, err = changed.CheckKeys(t.Context())
		require.NoError(t, err)
		require.Equal(t, by.Name, k.Need[0])
		require.Zero(t, k.Until, "no rule deletes what was made by hand")
	})
}

// A backup with a second key is better than none, and an old backup that somebody can open
// is better than a new one.
func TestARunWithAnotherKeySaysSoAndPrunesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		shelf := newShelf("disk")
		m, _, _ := managed(shelf)
		m.Retention, m.Schedule = backup.Retention{Last: 1}, schedule.Hourly{}
		right := withPassphrase(m, "correct horse")
		old := scheduled(t, right)
		time.Sleep(time.Hour)

		typo := withPassphrase(m, "corect horse")
		log := new(eventLog)
		typo.OnEvent = log.add
		ctx, stop := context.WithTimeout(t.Context(), 150*time.Minute)
		require.ErrorIs(t, typo.Run(ctx), context.DeadlineExceeded)
		stop()
		told := log.of(manager.EventOtherKey)
		require.Len(t, told, 1)
		require.Equal(t, old.Name, told[0].Backup)
		require.Contains(t, told[0].Text, "is sealed with another key")
		require.Contains(t, namesOf(mustList(t, right)), old.Name)
		require.Greater(t, len(mustList(t, right)), 2)

		again := func(m *manager.Manager) {
			ctx, stop := context.WithTimeout(t.Context(), 90*time.Minute)
			defer stop()
			require.ErrorIs(t, m.Run(ctx), context.DeadlineExceeded)
			require.Len(t, log.of(manager.EventOtherKey), 1)
		}
		again(typo) // after a pause, as a page for people makes it
		require.Contains(t, namesOf(mustList(t, right)), old.Name)
		anew := func() *manager.Manager { // the process was started again, or has other settings
			m2 := withPassphrase(m, "corect horse")
			m2.Schedule, m2.Retention, m2.OnEvent = m.Schedule, m.Retention, log.add
			return m2
		}
		again(anew())
		require.Contains(t, namesOf(mustList(t, right)), old.Name)
		_, err := anew().Prune(t.Context(), manager.PruneOptions{})
		require.ErrorIs(t, err, manager.ErrRekeyed)
		first := mustList(t, anew())
		i := slices.IndexFunc(first, func(b manager.Backup) bool { return b.Rekeyed })
		require.ErrorContains(t, err, first[i].Name)
		status := mustStatus(t, anew())
		require.Equal(t, first[i].Name, status.HeldUp)
		require.Contains(t, codes(status), "rekeyed")

		key := backup.Passphrase([]byte("corect horse"))
		for how, accept := range map[string]func() error{
			"accepted":  func() error { return anew().Accept(t.Context(), first[i].Name) },
			"rehearsed": func() error { _, err := anew().Rehearse(t.Context(), key); return err },
		} {
			mark := first[i].Name + ".rekeyed"
			shelf.files()[mark] = ""
			require.NoError(t, accept(), how)
			require.NotContains(t, shelf.files(), mark, how)
		}
		again(anew())
		require.Len(t, mustList(t, right), 1)
	})
}

// Without an Installation all backups count as one's own, also for their keys.
func TestWithoutAnInstallationTheKeysOfAllBackupsAreChecked(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, _, _ := managed(newShelf("disk"))
		one := withPassphrase(m, "correct horse")
		one.Installation = "one"
		made := scheduled(t, one)
		k, err := withPassphrase(m, "corect horse").CheckKeys(t.Context())
		require.ErrorIs(t, err, backup.ErrWrongKey)
		require.Equal(t, made.Name, k.Backup)

		two := withPassphrase(m, "corect horse")
		two.Installation = "two"
		k, err = two.CheckKeys(t.Context())
		require.NoError(t, err)
		require.Empty(t, k.Backup, "it has keys of its own")
	})
}

// List tries no key, so it does not know whether one opens a backup.
func TestAListSaysWhetherAKeyOpensABackupOnlyIfOneWasTried(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, _, _ := managed(newShelf("disk"))
		right := func() *manager.Manager { return withPassphrase(m, "correct horse") }
		made := scheduled(t, right())
		state := func(m *manager.Manager) manager.KeyState { return mustList(t, m)[0].KeyState() }
		require.Equal(t, manager.KeyUnchecked, state(right()))

		wrong := withPassphrase(m, "corect horse")
		state(wrong)
		_, err := wrong.CheckKeys(t.Context())
		require.Error(t, err)
		require.Equal(t, manager.KeyWrong, state(wrong))
		again := right()
		state(again)
		_, err = again.CheckKeys(t.Context())
		require.NoError(t, err)
		require.Equal(t, manager.KeyOpens, state(again))

		_, err = right().Verify(t.Context(), made.Name)
		require.NoError(t, err)
		require.Equal(t, manager.KeyOpens, state(right()), "the mark says that somebody opened it")
		require.Equal(t, manager.KeyWrong, state(wrong))

		require.Equal(t, manager.KeyNotNeeded, manager.Backup{Manifest: &backup.Manifest{}}.KeyState())
	})
}

// What opens with the new passphrase already needs no old one.
func TestOnlyBackupsThatTheNewKeysDoNotOpenNeedTheOldOnes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, _, _ := managed(newShelf("disk"))
		m.Schedule = schedule.Daily{}
		was := withPassphrase(m, "correct horse")
		var old []string
		for range 3 {
			old = append(old, scheduled(t, was).Name)
			time.Sleep(24 * time.Hour)
		}
		now := withPassphrase(m, "battery staple")
		now.Retention = backup.Retention{Last: 7}
		scheduled(t, now)
		k, err := now.OldKeys(t.Context(), old[2])
		require.NoError(t, err)
		require.Equal(t, []string{old[1], old[0]}, k.Need)
		require.Equal(t, "2 kept backups need the old key, until about 2000-01-10 by the retention policy", k.Kept())

		was.Identities = append(was.Identities, now.Identities...)
		for _, name := range old {
			_, err := was.Rewrap(t.Context(), name, manager.RewrapOptions{Recipients: now.Recipients, Delete: true})
			require.NoError(t, err)
		}
		k, err = now.OldKeys(t.Context())
		require.NoError(t, err)
		require.Empty(t, k.Kept())

		// Public keys have names, which tell without a try.
		key := newPair(t)
		public := whoHolds(m)
		public.Recipients = []backup.Recipient{key.to}
		k, err = public.OldKeys(t.Context())
		require.NoError(t, err)
		require.Equal(t, "4 kept backups need the old key as long as they are kept", k.Kept())
		scheduled(t, public)
		k, err = public.OldKeys(t.Context())
		require.NoError(t, err)
		require.Len(t, k.Need, 4)
	})
}

// held is the error of a Prune in a new process that asks for its keys first.
func held(t *testing.T, m *manager.Manager, passphrase string) error {
	again := withPassphrase(m, passphrase)
	again.Retention = backup.Retention{Last: 1}
	_, err := again.CheckKeys(t.Context())
	require.NoError(t, err, "the newest backup is made with this key")
	_, err = again.Prune(t.Context(), manager.PruneOptions{})
	return err
}

// rekeyed makes a backup with one passphrase, and returns a Manager that knows that it has
// another.
func rekeyed(t *testing.T, m *manager.Manager) (typo *manager.Manager, old manager.Backup) {
	old = scheduled(t, withPassphrase(m, "correct horse"))
	time.Sleep(time.Hour)
	typo = withPassphrase(m, "corect horse")
	_, err := typo.CheckKeys(t.Context())
	require.ErrorIs(t, err, backup.ErrWrongKey)
	return typo, old
}

func TestWhatIsStoredBeforeARestoreHoldsPruneUpForItsKeyToo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, host, _ := managed(newShelf("disk"), newShelf("drive"))
		typo, old := rekeyed(t, m)
		change(host)
		snapshot := open(t, withPassphrase(m, "correct horse"), old.Name)
		_, err := typo.Restore(t.Context(), snapshot, backup.RestoreOptions{Strategy: backup.Replace, Untried: true})
		require.NoError(t, err)
		require.ErrorIs(t, held(t, m, "corect horse"), manager.ErrRekeyed)
		for _, l := range m.Locations {
			require.Contains(t, l.(*shelf).files(), mustList(t, typo)[0].Name+".rekeyed")
		}
	})
}

func TestAProcessThatDiesWhileItCopiesDoesNotLoseTheHoldOfTheKey(t *testing.T) {
	bubble(t, func(t *testing.T) {
		disk, drive := newShelf("disk"), newShelf("drive")
		m, _, _ := managed(disk, drive)
		typo, _ := rekeyed(t, m)
		ctx, kill := context.WithCancel(t.Context())
		drive.set(nil, func(name string, r io.Reader) error {
			if strings.HasSuffix(name, ".json") {
				kill()
				return ctx.Err()
			}
			return drive.Location.Put(t.Context(), name, r)
		})
		_, err := typo.Create(ctx, backup.BackupOptions{})
		require.ErrorIs(t, err, context.Canceled)
		drive.set(nil, nil)
		require.ErrorIs(t, held(t, m, "corect horse"), manager.ErrRekeyed)
	})
}

func TestToAcceptAKeyAcceptsNoLaterKey(t *testing.T) {
	bubble(t, func(t *testing.T) {
		disk := newShelf("disk")
		m, _, _ := managed(disk)
		changed, _ := rekeyed(t, m)
		first := scheduled(t, changed)
		time.Sleep(time.Hour)
		typo := withPassphrase(m, "another")
		_, err := typo.CheckKeys(t.Context())
		require.ErrorIs(t, err, backup.ErrWrongKey)
		second := scheduled(t, typo)
		require.NoError(t, changed.Accept(t.Context(), first.Name))
		require.NotContains(t, disk.files(), first.Name+".rekeyed")
		require.Contains(t, disk.files(), second.Name+".rekeyed")
	})
}

func TestARehearsalOfAnOlderBackupSaysNothingOfTheNewKey(t *testing.T) {
	bubble(t, func(t *testing.T) {
		disk := newShelf("disk")
		m, _, _ := managed(disk)
		typo, _ := rekeyed(t, m)
		part, err := typo.Create(t.Context(), backup.BackupOptions{Only: []string{"settings"}})
		require.NoError(t, err)
		require.True(t, part.Rekeyed)
		_, err = typo.Rehearse(t.Context(), backup.Passphrase([]byte("correct horse")))
		require.NoError(t, err, "the newest full backup opens")
		require.Contains(t, disk.files(), part.Name+".rekeyed")
	})
}

func TestTheHoldOfAKeyOutlivesTheDeletionOfItsFirstBackup(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, _, _ := managed(newShelf("disk"))
		typo, _ := rekeyed(t, m)
		first := scheduled(t, typo)
		time.Sleep(time.Hour)
		second := scheduled(t, typo)
		require.NoError(t, typo.Delete(t.Context(), first.Name))
		require.ErrorIs(t, held(t, m, "corect horse"), manager.ErrRekeyed)
		require.True(t, mustList(t, typo)[0].Rekeyed)
		require.NoError(t, typo.Delete(t.Context(), second.Name))
		require.NoError(t, held(t, m, "correct horse"), "all that takes the key is gone")
	})
}

// Whoever does as ErrRekeyed says, and deletes what the mistyped key has sealed, is done.
func TestAKeyThatIsRightAgainHoldsNothingUp(t *testing.T) {
	for name, down := range map[string]bool{"all can be asked": false, "a location is down": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				drive := newShelf("drive")
				m, _, _ := managed(newShelf("disk"), drive)
				typo, _ := rekeyed(t, m)
				bad := scheduled(t, typo)
				time.Sleep(time.Hour)
				right := withPassphrase(m, "correct horse")
				right.Retention = backup.Retention{Last: 1}
				_, err := right.CheckKeys(t.Context())
				require.ErrorIs(t, err, backup.ErrWrongKey)
				require.NoError(t, typo.Delete(t.Context(), bad.Name))
				if down {
					drive.set(errDown, nil)
				}
				made := scheduled(t, right)
				require.Equal(t, down, made.Rekeyed)
				_, err = right.Prune(t.Context(), manager.PruneOptions{})
				require.Equal(t, down, errors.Is(err, manager.ErrRekeyed))
			})
		})
	}
}

// The location that has the backup with the mark may be gone tomorrow.
func TestTheHoldOfAKeyIsAtEachLocation(t *testing.T) {
	bubble(t, func(t *testing.T) {
		disk, drive := newShelf("disk"), newShelf("drive")
		m, _, _ := managed(disk, drive)
		typo, old := rekeyed(t, m)
		typo.Retention = backup.Retention{Last: 1}
		drive.set(errDown, nil)
		require.True(t, scheduled(t, typo).Rekeyed)
		time.Sleep(time.Hour)
		require.False(t, scheduled(t, typo).Rekeyed)
		time.Sleep(time.Hour)
		drive.set(nil, nil)
		scheduled(t, typo)
		disk.set(errDown, nil)
		again := withPassphrase(m, "corect horse")
		again.Retention = typo.Retention
		_, err := again.Prune(t.Context(), manager.PruneOptions{})
		require.ErrorIs(t, err, manager.ErrRekeyed)
		require.Contains(t, drive.names(t), old.Name)
	})
}
