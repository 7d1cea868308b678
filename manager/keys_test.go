package manager_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/manager"
	"github.com/tomo-project/backup/schedule"
)

// publicOnly is a Manager on a server that can make encrypted backups and open
// none, and the key of the person who can.
func publicOnly(t testing.TB, locations ...*shelf) (*manager.Manager, backuptest.MapStore, pair) {
	key := newPair(t)
	m, host, _ := managed(locations...)
	m.Recipients, m.Identities = []backup.Recipient{key.to}, nil
	m.Encrypt, m.Compress = key.to, backup.Zstd
	return m, host, key
}

// whoHolds is the same Manager, with the key.
func whoHolds(m *manager.Manager, identities ...backup.Identity) *manager.Manager {
	return &manager.Manager{
		App: m.App, Source: m.Source, Sink: m.Sink, Locations: m.Locations, Drills: m.Drills, Retention: m.Retention,
		Recipients: m.Recipients, Encrypt: m.Encrypt, Compress: m.Compress, Signer: m.Signer, Identities: identities,
	}
}

func TestAServerWithPublicKeysOnlyKeepsBackups(t *testing.T) {
	bubble(t, func(t *testing.T) {
		disk, cloud := newShelf("disk"), newShelf("cloud")
		m, host, key := publicOnly(t, disk, cloud)
		m.Retention = backup.Retention{Last: 2}
		var made []manager.Backup
		for range 4 {
			b, err := m.Create(t.Context(), backup.BackupOptions{Metadata: map[string]string{"trigger": manager.TriggerScheduled}})
			require.NoError(t, err)
			made = append(made, b)
			time.Sleep(time.Hour)
		}
		require.Equal(t, "homelab-backup-2000-01-01T00-00-00.json.zst.age", made[0].Name)
		require.Contains(t, disk.all(t), made[0].Name+".manifest")

		{ // lists what the notes tell
			fresh := whoHolds(m)
			list := mustList(t, fresh)
			require.Len(t, list, 4)
			require.Equal(t, manager.TriggerScheduled, list[0].Trigger)
			require.Equal(t, int64(2), list[0].Manifest.Records["servers"])
			require.True(t, list[0].Manifest.Encrypted)
			require.Equal(t, backup.Zstd, list[0].Manifest.Compressed)
			require.Equal(t, key.from.KeyIDs(), list[0].Manifest.Keys)
			require.Empty(t, list[0].Manifest.SHA256, "which would tell whether a guess at the data is right")
			require.Len(t, list[0].Copies, 2)
			require.Equal(t, int64(len(disk.files()[list[0].Name])), list[0].Bytes)
			for _, file := range disk.files() {
				require.NotContains(t, file, "hunter22")
				require.NotContains(t, file, "jellyfin", "no name of anything")
			}
		}
		{ // verifies the files
			found, err := m.Verify(t.Context(), made[0].Name)
			require.NoError(t, err)
			require.Len(t, found, 2)
			require.Contains(t, found[0].Report.Warnings[0], "no key was given")
			disk.alter(t, made[1].Name, func(s string) string { return s[:len(s)-1] + "x" })
			mustList(t, m)
			_, err = m.Verify(t.Context(), made[1].Name)
			require.ErrorIs(t, err, backup.ErrDamaged)
			list := mustList(t, m)
			i := slices.IndexFunc(list, func(b manager.Backup) bool { return b.Name == made[1].Name })
			require.ErrorIs(t, list[i].Copies[0].Err, backup.ErrDamaged)
			require.NoError(t, list[i].Copies[1].Err)
		}
		{ // cannot open them
			_, err := m.Open(t.Context(), made[0].Name)
			require.ErrorIs(t, err, backup.ErrNoKey)
			require.ErrorContains(t, err, key.from.KeyIDs()[0], "it says which key to look for")
			_, err = m.Drill(t.Context(), "")
			require.Error(t, err)
			_, err = m.Undo(t.Context())
			require.ErrorIs(t, err, fs.ErrNotExist)
		}
		{ // prunes them with what stands beside them
			pruned, err := m.Prune(t.Context(), manager.PruneOptions{})
			require.NoError(t, err)
			require.Equal(t, []string{made[0].Name, made[1].Name}, pruned[1].Deleted)
			require.Equal(t, []string{made[3].Name}, pruned[1].Proven, "by the digest of the file")
			want := []string{made[2].Name, made[2].Name + ".manifest", made[3].Name, made[3].Name + ".manifest"}
			require.Equal(t, want, cloud.all(t))
		}
		{ // who has the key restores them and takes that back
			person := whoHolds(m, key.from)
			before := host.Clone()
			change(host)
			changed := host.Clone()
			s := open(t, person, made[3].Name)
			report, err := person.Restore(t.Context(), s, backup.RestoreOptions{Strategy: backup.Replace})
			require.NoError(t, err)
			require.Equal(t, exceptLogs(before), exceptLogs(host))
			require.True(t, strings.HasSuffix(report.UndoneBy, ".json.zst.age"), "the way back shows no more than a backup")
			_, err = m.Undo(t.Context())
			require.ErrorIs(t, err, backup.ErrNoKey)
			_, err = person.Undo(t.Context())
			require.NoError(t, err)
			require.Equal(t, exceptLogs(changed), exceptLogs(host))
		}
	})
}

func TestTheScheduleWorksWithoutAKey(t *testing.T) {
	bubble(t, func(t *testing.T) {
		disk := newShelf("disk")
		m, _, _ := publicOnly(t, disk)
		m.Schedule, m.Retention = schedule.Daily{At: 3 * time.Hour, Location: time.UTC}, backup.Retention{Last: 2}
		ctx, cancel := context.WithTimeout(t.Context(), 5*24*time.Hour)
		defer cancel()
		require.ErrorIs(t, m.Run(ctx), context.DeadlineExceeded)
		list := mustList(t, m)
		require.Len(t, list, 2)
		require.Equal(t, 3, list[0].CreatedAt.Hour())
		require.Equal(t, 24*time.Hour, list[0].CreatedAt.Sub(list[1].CreatedAt))
	})
}

func TestABackupWithoutItsNoteIsKeptAndCopied(t *testing.T) {
	bubble(t, func(t *testing.T) {
		disk, cloud := newShelf("disk"), newShelf("cloud")
		m, _, key := publicOnly(t, disk)
		b := mustCreate(t, m)
		require.NoError(t, disk.Delete(t.Context(), b.Name+".manifest")) // as after a kill between the two
		time.Sleep(time.Hour)
		m = whoHolds(m)
		m.Locations = append(m.Locations, cloud)
		list := mustList(t, m)
		require.Len(t, list, 1)
		require.Nil(t, list[0].Manifest)
		require.False(t, list[0].Damaged)
		require.NoError(t, list[0].Copies[0].Err)
		_, err := m.Verify(t.Context(), b.Name)
		require.ErrorIs(t, err, backup.ErrNoKey)
		m.Retention = backup.Retention{Last: 1}
		for range 3 {
			mustCreate(t, m)
			time.Sleep(time.Hour)
		}
		require.Equal(t, disk.files()[b.Name], cloud.files()[b.Name])
		_, err = m.Prune(t.Context(), manager.PruneOptions{Manual: true})
		require.NoError(t, err)
		require.Contains(t, disk.names(t), b.Name, "nobody knows what it is")
		s := open(t, whoHolds(m, key.from), b.Name)
		require.Equal(t, b.Manifest.SHA256, s.Manifest().SHA256)
	})
}

func TestUndoOpensWhatHasLostItsNote(t *testing.T) {
	bubble(t, func(t *testing.T) {
		disk := newShelf("disk")
		m, host, key := publicOnly(t, disk)
		b := mustCreate(t, m)
		time.Sleep(time.Hour)
		person := whoHolds(m, key.from)
		change(host)
		changed := host.Clone()
		report, err := person.Restore(t.Context(), open(t, person, b.Name), backup.RestoreOptions{Strategy: backup.Replace})
		require.NoError(t, err)
		time.Sleep(time.Hour)
		later := mustCreate(t, m)
		for _, name := range []string{later.Name, report.UndoneBy} {
			require.NoError(t, disk.Delete(t.Context(), name+".manifest"))
		}
		_, err = whoHolds(m).Undo(t.Context())
		require.ErrorIs(t, err, backup.ErrNoKey)
		report, err = whoHolds(m, key.from).Undo(t.Context())
		require.NoError(t, err)
		require.NotEqual(t, later.Name, report.Backup)
		require.Equal(t, exceptLogs(changed), exceptLogs(host))
	})
}

func TestTheLastOfOneSecondIsUndoneWhateverItsEnding(t *testing.T) {
	bubble(t, func(t *testing.T) {
		disk := newShelf("disk")
		m, host, key := publicOnly(t, disk)
		packed := whoHolds(m, key.from)
		plain := whoHolds(m, key.from)
		plain.Encrypt, plain.Compress = nil, ""
		b := mustCreate(t, packed)
		time.Sleep(time.Hour)
		change(host)
		s := open(t, packed, b.Name)
		_, err := packed.Restore(t.Context(), s, backup.RestoreOptions{Strategy: backup.Replace})
		require.NoError(t, err)
		host["users"]["7"] = `{"id":7,"name":"grace"}`
		between := host.Clone()
		report, err := plain.Restore(t.Context(), s, backup.RestoreOptions{Strategy: backup.Replace})
		require.NoError(t, err)
		require.Regexp(t, `-2\.json$`, report.UndoneBy, "in the same second")
		require.Equal(t, report.UndoneBy, mustList(t, packed)[0].Name)
		_, err = packed.Undo(t.Context())
		require.NoError(t, err)
		require.Equal(t, exceptLogs(between), exceptLogs(host))
	})
}

func TestANoteThatWasLostIsPutBackFromAnotherLocation(t *testing.T) {
	bubble(t, func(t *testing.T) {
		disk, cloud := newShelf("disk"), newShelf("cloud")
		m, _, _ := publicOnly(t, disk, cloud)
		b := mustCreate(t, m)
		note := cloud.files()[b.Name+".manifest"]
		require.NotEmpty(t, note)
		require.NoError(t, disk.Delete(t.Context(), b.Name+".manifest"))
		time.Sleep(time.Hour)
		require.Equal(t, int64(2), mustList(t, whoHolds(m))[0].Manifest.Records["servers"], "the other location tells")
		mustCreate(t, m)
		require.JSONEq(t, note, disk.files()[b.Name+".manifest"])
	})
}

func TestANoteThatLiesIsNotBelieved(t *testing.T) {
	bubble(t, func(t *testing.T) {
		disk := newShelf("disk")
		m, _, key := publicOnly(t, disk)
		b := mustCreate(t, m)
		name := b.Name + ".manifest"
		note := disk.files()[name]
		for what, f := range map[string]func(string) string{
			"no JSON":       func(string) string { return "no" },
			"empty":         func(string) string { return "" },
			"null":          func(s string) string { return strings.Replace(s, `"homelab"`, "null", 1) },
			"another time":  func(s string) string { return strings.Replace(s, "2000-01-01T00:00:00Z", "1999-01-01T00:00:00Z", 1) },
			"another app":   func(s string) string { return strings.Replace(s, `"homelab"`, `"other"`, 1) },
			"a member more": func(s string) string { return strings.Replace(s, `{`, `{"x":1,`, 1) },
			"not encrypted": func(s string) string { return strings.Replace(s, `"encrypted":true,`, "", 1) },
			"no digest": func(s string) string {
				return regexp.MustCompile(`"sha256":"[0-9a-f]*"`).ReplaceAllString(s, `"sha256":""`)
			},
			"too large": func(s string) string { return s + strings.Repeat(" ", 2<<20) },
		} {
			disk.alter(t, name, func(string) string { return f(note) })
			list := mustList(t, whoHolds(m))
			require.Len(t, list, 1, what)
			require.Nil(t, list[0].Manifest, what)
			require.NoError(t, list[0].Copies[0].Err, "it says nothing about the backup: %s", what)
			open(t, whoHolds(m, key.from), b.Name)
		}
		disk.alter(t, name, func(string) string {
			return regexp.MustCompile(`"bytes":\d+,"sha256"`).ReplaceAllString(note, `"bytes":5,"sha256"`)
		})
		list := mustList(t, whoHolds(m))
		require.ErrorIs(t, list[0].Copies[0].Err, backup.ErrDamaged)
	})
}

func TestCompressedBackupsAreKeptLikeOthers(t *testing.T) {
	for _, compress := range []backup.Compression{backup.Gzip, backup.Zstd} {
		bubble(t, func(t *testing.T) {
			disk := newShelf("disk")
			m, host, _ := managed(disk)
			m.Compress = compress
			b := mustCreate(t, m)
			require.Regexp(t, `\.json\.(gz|zst)$`, b.Name)
			time.Sleep(time.Hour)
			before := host.Clone()
			change(host)
			_, err := m.Verify(t.Context(), b.Name)
			require.NoError(t, err)
			_, err = m.Restore(t.Context(), open(t, m, b.Name), backup.RestoreOptions{Strategy: backup.Replace})
			require.NoError(t, err)
			require.Equal(t, exceptLogs(before), exceptLogs(host))
			require.NoError(t, disk.Delete(t.Context(), b.Name+".manifest"))
			fresh := whoHolds(m)
			list := mustList(t, fresh)
			oldest := list[len(list)-1]
			require.Equal(t, manager.TriggerManual, oldest.Trigger, "without its note its beginning is read")
			require.Empty(t, oldest.Manifest.SHA256)
			_, err = fresh.Prune(t.Context(), manager.PruneOptions{Manual: true})
			require.NoError(t, err)
			require.Contains(t, disk.names(t), b.Name)
		})
	}
}

func TestTwoBackupsDoNotDifferInTheirEndingOnly(t *testing.T) {
	bubble(t, func(t *testing.T) {
		disk := newShelf("disk")
		m, _, key := publicOnly(t, disk)
		plain := whoHolds(m)
		plain.Encrypt, plain.Compress = nil, ""
		mustCreate(t, m)
		b := mustCreate(t, plain)
		require.Equal(t, "homelab-backup-2000-01-01T00-00-00-2.json", b.Name)
		packed, err := plain.Create(t.Context(), backup.BackupOptions{Compress: backup.Gzip, Encrypt: key.to})
		require.NoError(t, err)
		require.Equal(t, "homelab-backup-2000-01-01T00-00-00-3.json.gz.age", packed.Name)
		for _, b := range mustList(t, plain) {
			at, ok := m.App.ParseBackupName(b.Name)
			require.True(t, ok, b.Name)
			require.Equal(t, b.CreatedAt, at)
		}
		for _, name := range []string{"homelab-backup-2000-01-01T00-00-00.json.age.gz", "homelab-backup-2000-01-01T00-00-00.gz", "homelab-backup-2000-01-01T00-00-00.json.gz.zst", "homelab-backup-2000-01-01T00-00-00.age"} {
			_, ok := m.App.ParseBackupName(name)
			require.False(t, ok, name)
		}
	})
}

func TestAPersonProvesThatTheirKeyOpensTheBackups(t *testing.T) {
	bubble(t, func(t *testing.T) {
		disk, cloud := newShelf("disk"), newShelf("cloud")
		m, _, key := publicOnly(t, disk, cloud)
		_, err := m.Rehearse(t.Context(), key.from)
		require.ErrorIs(t, err, fs.ErrNotExist, "there is none to try it on")
		mustCreate(t, m)
		time.Sleep(time.Hour)
		b := mustCreate(t, m)
		found, err := m.Rehearse(t.Context(), key.from)
		require.NoError(t, err)
		require.Len(t, found, 2)
		require.Equal(t, b.Name, found[0].Backup)
		require.Equal(t, int64(2), found[1].Manifest.Records["servers"])
		require.Contains(t, disk.all(t), b.Name+".rehearsed")

		_, err = m.Rehearse(t.Context())
		require.ErrorIs(t, err, backup.ErrNoKey)
		_, err = whoHolds(m, key.from).Rehearse(t.Context(), newPair(t).from)
		require.ErrorIs(t, err, backup.ErrWrongKey, "that the Manager has the right one proves nothing")
		cloud.alter(t, b.Name, func(s string) string { return s[:len(s)/2] })
		found, err = m.Rehearse(t.Context(), key.from)
		require.NoError(t, err, "what is known to be damaged is passed over")
		require.NotEqual(t, b.Name, found[1].Backup)
		cloud.set(errors.New("no network"), nil)
		found, err = m.Rehearse(t.Context(), key.from)
		require.ErrorContains(t, err, "no network")
		require.NoError(t, found[0].Err)

		bare, host, _ := managed(newShelf("bare"))
		for i := range bare.App.Collections {
			bare.App.Collections[i].Secrets = nil
		}
		bare.Recipients = nil
		delete(host, "logs")
		mustCreate(t, bare)
		_, err = bare.Rehearse(t.Context(), key.from)
		require.ErrorIs(t, err, backup.ErrNoKey, "what takes no key proves nothing")
	})
}

func TestRunAsksForARehearsal(t *testing.T) {
	bubble(t, func(t *testing.T) {
		disk := newShelf("disk")
		m, _, events := managed(disk)
		m.Schedule = schedule.Daily{Location: time.UTC}
		m.Rehearsals = schedule.Monthly{Location: time.UTC}
		run := func(d time.Duration) int {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			defer cancel()
			n := len(events.of(manager.EventRehearsal))
			require.ErrorIs(t, m.Run(ctx), context.DeadlineExceeded)
			return len(events.of(manager.EventRehearsal)) - n
		}
		const day = 24 * time.Hour
		require.Equal(t, 2, run(day+time.Hour), "until it was done")
		_, err := m.Rehearse(t.Context(), testKey("k"))
		require.NoError(t, err)
		require.Zero(t, run(29*day), "until the first of the month")
		require.Equal(t, 1, run(day))
		_, err = m.Rehearse(t.Context(), testKey("k"))
		require.NoError(t, err)
		require.Zero(t, run(5*day))
	})
}

func TestABackupGetsOtherKeys(t *testing.T) {
	bubble(t, func(t *testing.T) {
		disk, cloud := newShelf("disk"), newShelf("cloud")
		old, next := newPair(t), newPair(t)
		m, _, _ := managed(disk, cloud)
		m.Recipients, m.Identities = []backup.Recipient{old.to}, []backup.Identity{old.from}
		b := mustCreate(t, m)
		time.Sleep(time.Hour)

		again, err := m.Rewrap(t.Context(), b.Name, manager.RewrapOptions{Recipients: []backup.Recipient{next.to}})
		require.NoError(t, err)
		require.Equal(t, "homelab-backup-2000-01-01T00-00-00-2.json", again.Name)
		require.Equal(t, next.from.KeyIDs(), again.Manifest.Keys)
		require.Equal(t, b.CreatedAt, again.CreatedAt)
		require.ElementsMatch(t, []string{b.Name, again.Name}, disk.names(t))
		require.Equal(t, disk.names(t), cloud.names(t))
		values := func(name string) []string {
			return regexp.MustCompile(`"\$sealed":"[^"]*"`).FindAllString(disk.files()[name], -1)
		}
		require.NotEmpty(t, values(b.Name))
		require.Equal(t, values(b.Name), values(again.Name), "sealed values are not touched")

		_, err = m.Open(t.Context(), again.Name)
		require.ErrorIs(t, err, backup.ErrWrongKey)
		s := open(t, whoHolds(m, next.from), again.Name)
		host, err := restored(t, strings.NewReader(disk.files()[again.Name]), backup.OpenOptions{Identities: []backup.Identity{next.from}}, backup.RestoreOptions{Strategy: backup.Replace})
		require.NoError(t, err)
		require.Equal(t, exceptLogs(homelabStore()), exceptLogs(host))
		require.NoError(t, s.Close())

		third, err := whoHolds(m, next.from, old.from).Rewrap(t.Context(), b.Name, manager.RewrapOptions{Encrypt: next.to, Recipients: []backup.Recipient{next.to, old.to}, Delete: true})
		require.NoError(t, err)
		require.Equal(t, "homelab-backup-2000-01-01T00-00-00-3.json.age", third.Name)
		require.NotContains(t, disk.names(t), b.Name)
		require.NotContains(t, cloud.names(t), b.Name)
		s = open(t, whoHolds(m, next.from), third.Name)
		require.True(t, s.Manifest().Encrypted)
		_, err = m.App.Verify(t.Context(), s, backup.RestoreOptions{})
		require.NoError(t, err)
	})
}

func TestRewrapLosesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		passphrase := backup.Passphrase([]byte("correct horse"))
		private, public := newSigner(t)
		key := newPair(t)
		disk, cloud := newShelf("disk"), newShelf("cloud")
		m, _, _ := managed(disk, cloud)
		m.Recipients, m.Identities = []backup.Recipient{passphrase}, []backup.Identity{passphrase}
		b := mustCreate(t, m)
		time.Sleep(time.Hour)
		to := func(r ...backup.Recipient) manager.RewrapOptions {
			return manager.RewrapOptions{Recipients: r, Delete: true}
		}

		_, err := m.Rewrap(t.Context(), b.Name, to(key.to))
		require.ErrorIs(t, err, backup.ErrUnauthentic, "nothing would prove where it comes from any more")
		_, err = whoHolds(m).Rewrap(t.Context(), b.Name, to(passphrase))
		require.ErrorIs(t, err, backup.ErrNoKey)
		_, err = whoHolds(m, key.from).Rewrap(t.Context(), b.Name, to(passphrase))
		require.ErrorIs(t, err, backup.ErrWrongKey)
		_, err = m.Rewrap(t.Context(), "homelab-backup-1999-01-01T00-00-00.json", to(passphrase))
		require.ErrorIs(t, err, fs.ErrNotExist)
		require.Equal(t, []string{b.Name}, disk.names(t))

		full := func(name string, r io.Reader) error {
			if _, ok := m.App.ParseBackupName(name); ok {
				return errors.New("full")
			}
			return cloud.Location.Put(t.Context(), name, r)
		}
		cloud.set(nil, full)
		_, err = m.Rewrap(t.Context(), b.Name, to(passphrase, key.to))
		require.ErrorContains(t, err, "stays there")
		require.Equal(t, []string{b.Name}, cloud.names(t), "the old one stays where the new one is not")
		cloud.set(nil, nil)
		require.NotContains(t, disk.names(t), b.Name)

		signing := whoHolds(m, passphrase)
		signing.Signer = private
		signed := mustCreate(t, signing)
		_, err = m.Rewrap(t.Context(), signed.Name, to(passphrase))
		require.ErrorIs(t, err, backup.ErrUnauthentic, "nor who signed it")
		_, err = signing.Rewrap(t.Context(), signed.Name, to(key.to))
		require.ErrorIs(t, err, backup.ErrWrongKey, "nothing is deleted for what nobody here can open")
		require.Contains(t, disk.names(t), signed.Name)
		signing = whoHolds(m, passphrase, key.from)
		signing.Signer = private
		again, err := signing.Rewrap(t.Context(), signed.Name, to(key.to))
		require.NoError(t, err)
		require.NotContains(t, disk.names(t), signed.Name)
		_, err = openWith(t, disk.files()[again.Name], backup.OpenOptions{RequireProof: true, Trusted: []ed25519.PublicKey{public}})
		require.NoError(t, err)
	})
}

func TestRewrapLetsNobodySeemToKnowThePassphrase(t *testing.T) {
	bubble(t, func(t *testing.T) {
		passphrase := backup.Passphrase([]byte("correct horse"))
		key := newPair(t)
		disk := newShelf("disk")
		m, _, _ := managed(disk)
		// Whoever knows the public key stores a backup of which they know the data key.
		m.Recipients, m.Identities = []backup.Recipient{key.to}, []backup.Identity{key.from}
		b := mustCreate(t, m)
		_, err := m.Rewrap(t.Context(), b.Name, manager.RewrapOptions{Recipients: []backup.Recipient{passphrase}})
		require.ErrorIs(t, err, backup.ErrUnauthentic, "with that key they would make more, and the passphrase would prove it")
		require.Len(t, disk.names(t), 1)
	})
}

func TestRewrapDoesNotTakeEncryptionOff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		disk := newShelf("disk")
		m, _, key := publicOnly(t, disk)
		b := mustCreate(t, m)
		person := whoHolds(m, key.from)
		person.Encrypt = nil
		_, err := person.Rewrap(t.Context(), b.Name, manager.RewrapOptions{Delete: true})
		require.ErrorIs(t, err, backup.ErrNoKey)
		require.Equal(t, []string{b.Name}, disk.names(t))
	})
}

// A liar wraps another key than it was given.
type liar struct{ testKey }

func (l liar) Wrap(key []byte) (json.RawMessage, error) {
	return l.testKey.Wrap(slices.Repeat([]byte{1}, len(key)))
}

func TestRewrapDeletesOnlyWhatWasReplaced(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := newShelf("a"), newShelf("b")
		m, _, _ := managed(a, b)
		made := mustCreate(t, m)
		lies := manager.RewrapOptions{Recipients: []backup.Recipient{liar{"k"}}, Delete: true}
		_, err := m.Rewrap(t.Context(), made.Name, lies)
		require.ErrorIs(t, err, backup.ErrDamaged, "the new keys are tried")
		require.Equal(t, []string{made.Name}, a.names(t))
		require.Equal(t, []string{made.Name}, b.names(t))

		// Another backup under the same name, of somebody else.
		other, host, _ := managed(b)
		host["users"]["7"] = `{"id":7,"name":"only in b"}`
		require.NoError(t, b.Delete(t.Context(), made.Name))
		mustCreate(t, other)
		again := manager.RewrapOptions{Recipients: sealed, Delete: true}
		_, err = m.Rewrap(t.Context(), made.Name, again)
		require.ErrorContains(t, err, "not the one that was opened")
		require.Contains(t, b.names(t), made.Name)
		require.NotContains(t, a.names(t), made.Name)
	})
}

func TestARehearsalIsOfTheKeysOfItsBackup(t *testing.T) {
	bubble(t, func(t *testing.T) {
		disk := newShelf("disk")
		m, _, key := publicOnly(t, disk)
		b := mustCreate(t, m)
		_, err := m.Rehearse(t.Context(), key.from)
		require.NoError(t, err)
		again, err := whoHolds(m, key.from).Rewrap(t.Context(), b.Name, manager.RewrapOptions{})
		require.NoError(t, err)
		require.NotContains(t, disk.all(t), again.Name+".rehearsed", "nobody has tried the new ones")
	})
}

func TestAManagerThatRequiresProofTakesNothingElse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		private, public := newSigner(t)
		_, stranger := newSigner(t)
		disk := newShelf("disk")
		m, host, _ := managed(disk)
		m.RequireProof, m.Signer, m.Trusted = true, private, []ed25519.PublicKey{stranger}
		_, err := m.Create(t.Context(), backup.BackupOptions{})
		require.ErrorIs(t, err, backup.ErrUnauthentic, "it would not open what it makes")
		m = whoHolds(m, m.Identities...)
		m.RequireProof, m.Signer, m.Trusted = true, private, []ed25519.PublicKey{public}
		before := host.Clone()

		// An upload, which the host opened without asking for a proof.
		upload := opened(t, document(m.App, 1, `{"users":[{"id":7,"name":"eve","admin":true}]}`))
		_, err = m.Restore(t.Context(), upload, backup.RestoreOptions{Strategy: backup.Replace})
		require.ErrorIs(t, err, backup.ErrUnauthentic)
		_, err = m.Plan(t.Context(), upload, backup.RestoreOptions{Strategy: backup.Replace})
		require.ErrorIs(t, err, backup.ErrUnauthentic)
		require.Equal(t, before, host)

		file, _ := inFile(t, backup.BackupOptions{Recipients: sealed, Signer: private})
		s, err := backup.OpenSnapshot(t.Context(), strings.NewReader(string(file)), backup.OpenOptions{Identities: m.Identities, Trusted: m.Trusted})
		require.NoError(t, err)
		_, err = m.Restore(t.Context(), s, backup.RestoreOptions{})
		require.NoError(t, err)
		m2 := whoHolds(m, m.Identities...)
		m2.RequireProof, m2.Trusted = true, []ed25519.PublicKey{stranger}
		_, err = m2.Restore(t.Context(), s, backup.RestoreOptions{})
		require.ErrorIs(t, err, backup.ErrUnauthentic, "whoever was trusted when it was opened")
	})
}

func TestForgeriesDoNotPushOutGoodBackups(t *testing.T) {
	bubble(t, func(t *testing.T) {
		private, public := newSigner(t)
		disk := newShelf("disk")
		m, _, _ := managed(disk)
		m.RequireProof, m.Signer, m.Trusted, m.Retention = true, private, []ed25519.PublicKey{public}, backup.Retention{Last: 5}
		scheduled := backup.BackupOptions{Metadata: map[string]string{"trigger": manager.TriggerScheduled}}
		var good []string
		for i := range 6 {
			if i == 5 { // somebody who can write there fills the places
				forger := whoHolds(m)
				forger.Signer = nil
				for range 4 {
					_, err := forger.Create(t.Context(), scheduled)
					require.NoError(t, err)
					time.Sleep(time.Hour)
				}
			}
			signer := whoHolds(m)
			signer.Signer = private
			b, err := signer.Create(t.Context(), scheduled)
			require.NoError(t, err)
			good = append(good, b.Name)
			time.Sleep(time.Hour)
		}
		pruned, err := m.Prune(t.Context(), manager.PruneOptions{})
		require.NoError(t, err)
		for _, name := range good[1:] {
			require.Contains(t, disk.names(t), name)
		}
		require.NotContains(t, pruned[0].Deleted, good[1])
	})
}

func TestNobodySaysWhatUndoRestores(t *testing.T) {
	bubble(t, func(t *testing.T) {
		private, public := newSigner(t)
		disk := newShelf("disk")
		m, host, key := publicOnly(t, disk)
		m.Identities, m.Signer, m.RequireProof, m.Trusted = []backup.Identity{key.from}, private, true, []ed25519.PublicKey{public}
		made := mustCreate(t, m)
		time.Sleep(time.Hour)
		note := made.Name + ".manifest"
		was := disk.files()[note]
		disk.alter(t, note, func(s string) string { return strings.Replace(s, `"manual"`, `"before restore"`, 1) })
		_, err := m.Undo(t.Context())
		require.ErrorIs(t, err, fs.ErrNotExist, "a note makes no backup one from before a restore")
		disk.alter(t, note, func(string) string { return was })

		var states []backuptest.MapStore
		var last backup.Report
		for i := range 2 {
			host["users"]["7"] = fmt.Sprintf(`{"id":7,"name":"%d"}`, i)
			states = append(states, host.Clone())
			last, err = m.Restore(t.Context(), open(t, m, made.Name), backup.RestoreOptions{Strategy: backup.Replace})
			require.NoError(t, err)
			time.Sleep(time.Hour)
		}
		disk.alter(t, last.UndoneBy+".manifest", func(s string) string { return strings.Replace(s, `"before restore"`, `"manual"`, 1) })
		_, err = m.Undo(t.Context())
		require.NoError(t, err)
		require.Equal(t, exceptLogs(states[1]), exceptLogs(host), "nor one that is another")
	})
}

func TestAnotherLocationDoesNotSpoilAGoodCopy(t *testing.T) {
	bubble(t, func(t *testing.T) {
		disk, cloud := newShelf("disk"), newShelf("cloud")
		m, _, key := publicOnly(t, disk)
		b := mustCreate(t, m)
		good := disk.files()[b.Name]
		note := disk.files()[b.Name+".manifest"]
		require.NoError(t, disk.Delete(t.Context(), b.Name+".manifest"))
		// Junk of the same size, with a note that fits it.
		junk := strings.Repeat("x", len(good))
		sum := fmt.Sprintf("%x", sha256.Sum256([]byte(junk)))
		note = regexp.MustCompile(`"sha256":"[0-9a-f]*"`).ReplaceAllString(note, `"sha256":"`+sum+`"`)
		require.NoError(t, cloud.Put(t.Context(), b.Name, strings.NewReader(junk)))
		require.NoError(t, cloud.Put(t.Context(), b.Name+".manifest", strings.NewReader(note)))
		m = whoHolds(m)
		m.Locations = append(m.Locations, cloud)
		for range 3 {
			time.Sleep(time.Hour)
			mustCreate(t, m)
			m.Verify(t.Context(), b.Name)
		}
		require.Equal(t, good, disk.files()[b.Name])
		open(t, whoHolds(m, key.from), b.Name)
	})
}

func TestARestoreThatChangesNothingLeavesNoNote(t *testing.T) {
	bubble(t, func(t *testing.T) {
		disk := newShelf("disk")
		m, _, key := publicOnly(t, disk)
		m.Identities = []backup.Identity{key.from}
		b := mustCreate(t, m)
		time.Sleep(time.Hour)
		_, err := m.Restore(t.Context(), open(t, m, b.Name), backup.RestoreOptions{})
		require.NoError(t, err)
		require.Equal(t, []string{b.Name, b.Name + ".manifest"}, disk.all(t))
	})
}

func TestAFileThatIsNotEncryptedDoesNotPassForOne(t *testing.T) {
	bubble(t, func(t *testing.T) {
		disk := newShelf("disk")
		m, _, key := publicOnly(t, disk)
		m.Identities = []backup.Identity{key.from}
		b := mustCreate(t, m)
		plain, _ := inFile(t, backup.BackupOptions{Recipients: []backup.Recipient{key.to}})
		disk.alter(t, b.Name, func(string) string { return string(plain) })
		require.NoError(t, disk.Delete(t.Context(), b.Name+".manifest"))
		_, err := m.Verify(t.Context(), b.Name)
		require.ErrorIs(t, err, backup.ErrUnauthentic)
		_, err = m.Rehearse(t.Context(), key.from)
		require.ErrorIs(t, err, backup.ErrUnauthentic)
	})
}

func TestRewrapVouchesForNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		passphrase := backup.Passphrase([]byte("correct horse"))
		private, public := newSigner(t)
		key := newPair(t)
		disk := newShelf("disk")
		m, _, _ := managed(disk)
		m.Recipients, m.Identities, m.Signer = []backup.Recipient{passphrase, key.to}, []backup.Identity{passphrase}, private
		b := mustCreate(t, m)
		plain := regexp.MustCompile(`(?m)^"proof":.*\n`).ReplaceAllString(disk.files()[b.Name], "")
		disk.alter(t, b.Name, func(string) string { return resummed(t, strings.Replace(plain, `"name":"ada"`, `"name":"eve"`, 1)) })
		time.Sleep(time.Hour)
		again, err := m.Rewrap(t.Context(), b.Name, manager.RewrapOptions{})
		require.NoError(t, err)
		require.NotContains(t, disk.files()[again.Name], `"proof"`, "what carried no proof carries none")
		_, err = openWith(t, disk.files()[again.Name], backup.OpenOptions{Identities: m.Identities, Trusted: []ed25519.PublicKey{public}, RequireProof: true})
		require.ErrorIs(t, err, backup.ErrUnauthentic)

		b = mustCreate(t, m)
		_, err = whoHolds(m, key.from).Rewrap(t.Context(), b.Name, manager.RewrapOptions{})
		require.ErrorIs(t, err, backup.ErrUnauthentic, "nobody has checked it")

		both := backup.OpenOptions{Identities: []backup.Identity{key.from, passphrase}, RequireProof: true}
		got, err := openWith(t, disk.files()[b.Name], both)
		require.NoError(t, err, "whatever the order of the keys")
		require.Equal(t, "passphrase", got.Authentic)
	})
}

func TestOldBackupsStayReadableAfterAChangeOfPassphrase(t *testing.T) {
	bubble(t, func(t *testing.T) {
		disk := newShelf("disk")
		first, second := backup.Passphrase([]byte("correct horse")), backup.Passphrase([]byte("battery staple"))
		m, _, _ := managed(disk)
		m.Recipients, m.Identities = []backup.Recipient{first}, []backup.Identity{first}
		b := mustCreate(t, m)
		time.Sleep(time.Hour)
		m = whoHolds(m, second, first)
		m.Recipients = []backup.Recipient{second}
		later := mustCreate(t, m)
		open(t, m, b.Name)
		open(t, m, later.Name)
		m = whoHolds(m, second)
		_, err := m.Open(t.Context(), b.Name)
		require.ErrorIs(t, err, backup.ErrWrongKey)
	})
}

func TestAManagerRequiresProof(t *testing.T) {
	bubble(t, func(t *testing.T) {
		private, public := newSigner(t)
		key := newPair(t)
		disk := newShelf("disk")
		m, host, _ := managed(disk)
		m.Recipients, m.Identities = []backup.Recipient{key.to}, []backup.Identity{key.from}
		m.RequireProof = true
		_, err := m.Create(t.Context(), backup.BackupOptions{})
		require.ErrorIs(t, err, backup.ErrUnauthentic, "what could not be restored is not made")
		require.Empty(t, disk.all(t))

		signing := whoHolds(m, key.from)
		signing.Signer, signing.RequireProof, signing.Trusted = private, true, []ed25519.PublicKey{public}
		signing.Retention = backup.Retention{Last: 1}
		scheduled := backup.BackupOptions{Metadata: map[string]string{"trigger": manager.TriggerScheduled}}
		good, err := signing.Create(t.Context(), scheduled)
		require.NoError(t, err)
		time.Sleep(time.Hour)

		// Who can write there knows the public key, and has an administrator to add.
		evil := whoHolds(m)
		evil.Source = backuptest.MapStore{"servers": {}, "applications": {}, "settings": {}, "users": {"1": `{"id":1,"name":"eve","admin":true}`}, "logs": {}}
		forged, err := evil.Create(t.Context(), scheduled)
		require.NoError(t, err)
		_, err = signing.Open(t.Context(), forged.Name)
		require.ErrorIs(t, err, backup.ErrUnauthentic)
		_, err = signing.Verify(t.Context(), forged.Name)
		require.ErrorIs(t, err, backup.ErrUnauthentic)
		_, err = signing.Rehearse(t.Context(), key.from)
		require.ErrorIs(t, err, backup.ErrUnauthentic)
		require.NoError(t, signing.Accept(t.Context(), forged.Name), "as if nobody had looked")
		_, err = signing.Prune(t.Context(), manager.PruneOptions{})
		require.NoError(t, err)
		require.Contains(t, disk.names(t), good.Name, "it does not push out the good one")

		keyless := whoHolds(signing)
		keyless.RequireProof, keyless.Trusted, keyless.Encrypt = true, signing.Trusted, key.to
		for range 2 {
			time.Sleep(time.Hour)
			_, err = keyless.Create(t.Context(), scheduled)
			require.NoError(t, err)
		}
		pruned, err := keyless.Prune(t.Context(), manager.PruneOptions{})
		require.ErrorIs(t, err, backup.ErrNoKey, "a digest proves nothing")
		require.Empty(t, pruned[0].Deleted)

		s := open(t, signing, good.Name)
		change(host)
		_, err = signing.Restore(t.Context(), s, backup.RestoreOptions{Strategy: backup.Replace})
		require.NoError(t, err)
		_, err = signing.Undo(t.Context())
		require.NoError(t, err, "the way back is signed too")
	})
}

func TestAKeyThatTakesItsTimeIsNoLocationThatDoesNotAnswer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, _, _ := managed(newShelf("disk"))
		b := mustCreate(t, m)
		asked := whoHolds(m, identityFunc(func(wrapped json.RawMessage) ([]byte, error) {
			time.Sleep(time.Hour) // a person looks for the key
			return testKey("k").Unwrap(wrapped)
		}))
		open(t, asked, b.Name)
	})
}
