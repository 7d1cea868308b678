package manager_test

import (
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"iter"
	"maps"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
)

// A counter is a shelf that counts how often each file was opened.
type counter struct {
	*shelf
	mu    sync.Mutex
	opens map[string]int
}

func newCounter(name string) *counter {
	return &counter{shelf: newShelf(name), opens: map[string]int{}}
}

func (c *counter) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	c.mu.Lock()
	c.opens[name]++
	c.mu.Unlock()
	return c.shelf.Open(ctx, name)
}

// opened returns how many backups were opened how often since the last call.
func (c *counter) opened() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	opens := maps.Clone(c.opens)
	clear(c.opens)
	return opens
}

// counting returns a Manager of homelab at counters. Its Locations are listed once, so that
// only what History and Find open is counted.
func counting(counters ...*counter) (*manager.Manager, backuptest.MapStore) {
	m, host, _ := managed()
	for _, c := range counters {
		m.Locations = append(m.Locations, c)
	}
	m.Installation, m.TimeZone = "home", time.UTC
	return m, host
}

// states returns all that History yields.
func states(t testing.TB, m *manager.Manager, collection, key string) (all []manager.RecordState) {
	t.Helper()
	for s, err := range m.History(t.Context(), collection, key) {
		require.NoError(t, err)
		all = append(all, s)
	}
	return all
}

// told tells of states in short: "present", "present, update /name".
func told(all []manager.RecordState) (lines []string) {
	for _, s := range all {
		line := string(s.Presence)
		if s.Then != nil {
			line += ", " + string(s.Then.Action)
			for _, f := range s.Then.Fields {
				line += " " + f.Pointer
			}
		}
		lines = append(lines, line)
	}
	return lines
}

// daily makes a backup of what the host has, and waits for a day.
func daily(t testing.TB, m *manager.Manager) manager.Backup {
	t.Helper()
	made := mustCreate(t, m)
	time.Sleep(oneDay)
	return made
}

func TestHistoryTellsWhenARecordCameChangedAndWent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, host := counting(newCounter("disk"))
		delete(host["servers"], "s3")
		daily(t, m)
		host["servers"]["s3"] = `{"id":"s3","name":"box","password":"first one"}`
		daily(t, m)
		daily(t, m)
		host["servers"]["s3"] = `{"id":"s3","name":"crate","password":"another"}`
		changed := daily(t, m)
		delete(host["servers"], "s3")
		newest := daily(t, m)

		all := states(t, m, "servers", "s3")
		require.Equal(t, []string{"absent", "present, delete /id /name /password", "present, update /name /password", "present", "absent, add /id /name /password"}, told(all))
		require.Equal(t, newest.Name, all[0].Backup)
		require.Equal(t, newest.CreatedAt, all[0].CreatedAt)
		require.Equal(t, int64(5), all[0].Serial)
		require.Equal(t, "manual", all[0].Trigger)
		require.Equal(t, changed.Name, all[1].Backup)
		text, err := json.Marshal(all)
		require.NoError(t, err)
		require.Contains(t, string(text), `{"pointer":"/name","before":"box","after":"crate"},{"pointer":"/password","before":"(secret)","after":"(secret)"}`)
		require.NotContains(t, string(text), "first one")
		require.NotContains(t, string(text), "another")

		require.Equal(t, []string{"absent", "absent", "absent", "absent", "absent"}, told(states(t, m, "servers", "s4")))
		require.Equal(t, []string{"present", "present", "present", "present", "present"}, told(states(t, m, "settings", "smtp_password")))
	})
}

func TestHistoryReadsEachBackupOnceAndNoMoreThanItMust(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := newCounter("a"), newCounter("b")
		m, _ := counting(a, b)
		var names []string
		for range 5 {
			names = append([]string{daily(t, m).Name}, names...)
		}
		mustList(t, m)
		a.opened()
		b.opened()

		next, stop := iter.Pull2(m.History(t.Context(), "servers", "s1"))
		require.Empty(t, a.opened(), "nobody has asked yet")
		for i, name := range names[:3] {
			s, err, _ := next()
			require.NoError(t, err)
			require.Equal(t, name, s.Backup)
			require.Equal(t, map[string]int{name: 1}, a.opened(), i)
		}
		stop()
		require.Empty(t, a.opened())
		require.Empty(t, b.opened(), "the copies at the second location are the same backups")

		require.Len(t, states(t, m, "servers", "s1"), 5)
		opens := a.opened()
		require.Len(t, opens, 5)
		for name, n := range opens {
			require.Equal(t, 1, n, name)
		}

		// A damaged copy costs one more, and the next copy tells.
		a.alter(t, names[1], func(text string) string { return strings.Replace(text, `"nas"`, `"NAS"`, 1) })
		mustList(t, m)
		a.opened()
		b.opened()
		require.Equal(t, []string{"present", "present", "present", "present", "present"}, told(states(t, m, "servers", "s1")))
		require.Equal(t, map[string]int{names[1]: 1}, b.opened())
		require.Equal(t, 1, a.opened()[names[1]])
		require.Equal(t, []string{"present", "present", "present", "present", "present"}, told(states(t, m, "servers", "s1")))
		require.Zero(t, a.opened()[names[1]], "it is known to be damaged")
	})
}

// The same file under two names is one backup.
// A file may say that it has the digest of another. Only its bytes tell.
func TestHistoryDoesNotBelieveADigestThatItHasNotChecked(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newCounter("a")
		m, _ := counting(a)
		made := mustCreate(t, m)
		twin := strings.TrimSuffix(made.Name, ".json") + "-2.json"
		require.NoError(t, a.Put(t.Context(), twin, strings.NewReader(a.files()[made.Name])))
		a.alter(t, made.Name, func(text string) string { return strings.Replace(text, `"id":"s1"`, `"id":"s9"`, 1) })
		require.Len(t, mustList(t, m), 2)
		all := states(t, m, "servers", "s1")
		require.Equal(t, []string{"present", "unread"}, told(all))
		require.ErrorIs(t, all[1].Err, backup.ErrDamaged)
	})
}

func TestHistoryIsInTheOrderOfSerials(t *testing.T) {
	dir := t.TempDir()
	name := func(n string) backuptest.MapStore {
		return backuptest.MapStore{"notes": {"n": `{"id":"n","text":"` + n + `"}`}}
	}
	bubble(t, func(t *testing.T) {
		time.Sleep(20 * oneDay) // the clock was ahead
		mustCreate(t, notesIn(dir, name("first")))
	})
	bubble(t, func(t *testing.T) {
		m := notesIn(dir, name("second"))
		mustCreate(t, m)
		all := states(t, m, "notes", "n")
		require.Equal(t, []int64{2, 1}, []int64{all[0].Serial, all[1].Serial})
		require.True(t, all[0].CreatedAt.Before(all[1].CreatedAt))
		require.Equal(t, []string{"present", "present, update /text"}, told(all))
		require.Equal(t, `"first"`, string(all[1].Then.Fields[0].Before))
	})
}

func TestABackupWithoutTheCollectionSaysNothingOfTheRecord(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, host := counting(newCounter("a"))
		daily(t, m)
		createOnly(t, m, "manual", "users")
		host["servers"]["s1"] = `{"id":"s1","name":"renamed"}`
		createOnly(t, m, "manual", "servers")
		createOnly(t, m, "manual", "users")
		all := states(t, m, "servers", "s1")
		require.Equal(t, []string{"silent", "present", "silent", "present, update /name /port /password"}, told(all))
		require.EqualError(t, all[0].Err, "it was made without servers")
		text, err := json.Marshal(all[0])
		require.NoError(t, err)
		require.Contains(t, string(text), `"presence":"silent","error":"it was made without servers"`)
	})
}

// A backup from which records were left out, or that was salvaged, does not tell that a
// record was gone.
func TestABackupThatLacksRecordsDoesNotTellThatOneWasGone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, host := counting(newCounter("a"))
		daily(t, m)
		host["servers"]["s2"] = `{"id":"s2","name":""}`
		_, err := m.Create(t.Context(), backup.BackupOptions{LeaveOutInvalid: true})
		require.NoError(t, err)
		all := states(t, m, "servers", "s2")
		require.Equal(t, []string{"silent", "present"}, told(all))
		require.EqualError(t, all[0].Err, "invalid records were left out of it: 1")
		require.Equal(t, []string{"present", "present"}, told(states(t, m, "servers", "s1")))
	})
}

func TestABackupThatCannotBeReadIsNamedAndPassedOver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newCounter("a")
		m, host := counting(a)
		oldest := daily(t, m)
		damaged := daily(t, m)
		a.alter(t, damaged.Name, func(text string) string { return strings.Replace(text, `"nas"`, `"NAS"`, 1) })
		m.Recipients = []backup.Recipient{testKey("another")}
		m.Identities = []backup.Identity{testKey("another")}
		daily(t, m)
		m.Recipients, m.Identities = sealed, []backup.Identity{testKey("k")}
		m.App.Version = "2.2.0"
		daily(t, m)
		m.App.Version = "2.1.0"
		host["servers"]["s1"] = `{"id":"s1","name":"storage","port":22,"password":"hunter22"}`
		newest := daily(t, m)

		all := states(t, m, "servers", "s1")
		require.Equal(t, []string{"present", "unread", "unread", "unread", "present, update /name"}, told(all))
		require.ErrorIs(t, all[1].Err, backup.ErrTooNew)
		require.ErrorIs(t, all[2].Err, backup.ErrWrongKey)
		require.ErrorIs(t, all[3].Err, backup.ErrDamaged)
		require.Equal(t, []string{newest.Name, damaged.Name, oldest.Name}, []string{all[0].Backup, all[3].Backup, all[4].Backup})
		text, err := json.Marshal(all[3])
		require.NoError(t, err)
		require.Contains(t, string(text), `"error":"a: open snapshot: `)

		// Without secrets in the collection, no key is needed.
		m.Identities = nil
		require.Equal(t, []string{"present", "unread", "present", "unread", "present"}, told(states(t, m, "users", "7")))
		require.ErrorIs(t, states(t, m, "servers", "s1")[0].Err, backup.ErrNoKey)
	})
}

func TestHistoryLeavesOutTheBackupsOfAnotherInstallation(t *testing.T) {
	bubble(t, func(t *testing.T) {
		dir := t.TempDir()
		mustCreate(t, notesIn(dir, notes("a")))
		time.Sleep(time.Hour)
		other := mustCreate(t, theirs(dir, notes("b")))
		m := notesIn(dir, notes())
		require.Equal(t, []string{"present"}, told(states(t, m, "notes", "a")))
		require.Equal(t, []string{"absent"}, told(states(t, m, "notes", "b")))
		require.Equal(t, other.Name, states(t, theirs(dir, notes()), "notes", "b")[0].Backup)
		for range m.Find(t.Context(), "b", manager.FindOptions{}) {
			t.Error("found")
		}
	})
}

// Backups of an older schema version are compared as they are today.
func TestHistoryMigratesBeforeItCompares(t *testing.T) {
	bubble(t, func(t *testing.T) {
		dir, store := t.TempDir(), backuptest.MapStore{"hosts": {"h1": `{"key":"h1","title":"nas"}`, "h2": `{"key":"h2","title":"pi"}`}}
		old := &manager.Manager{
			App:    &backup.App{Name: "lab", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{{Name: "hosts", Key: "/key"}}},
			Source: store, Sink: store, Locations: []location.Location{location.Dir(dir)}, Installation: "a1", NoReadme: true,
		}
		daily(t, old)
		store["hosts"]["h1"] = `{"key":"h1","title":"storage"}`
		daily(t, old)
		now := backuptest.MapStore{"servers": {"h1": `{"id":"h1","name":"storage"}`}, "users": {"u": `{"id":"u"}`}}
		m := &manager.Manager{
			App: &backup.App{
				Name: "lab", Version: "2.0.0", SchemaVersion: 2,
				Collections: []backup.Collection{{Name: "servers", Key: "/id", Label: "/name"}, {Name: "users", Key: "/id"}},
				Migrators: []backup.Migrator{backup.Migration(1, func(_ context.Context, collection string, r backup.Record, emit func(string, backup.Record) error) error {
					text := strings.NewReplacer(`"key"`, `"id"`, `"title"`, `"name"`).Replace(string(r.Value))
					return emit("servers", backup.Record{Value: json.RawMessage(text)})
				})},
			},
			Source: now, Sink: now, Locations: old.Locations, Installation: "a1", NoReadme: true,
		}
		daily(t, m)
		all := states(t, m, "servers", "h1")
		require.Equal(t, []string{"present", "present", "present, update /name"}, told(all))
		require.Equal(t, []string{"storage", "storage", "nas"}, []string{all[0].Label, all[1].Label, all[2].Label})
		require.Equal(t, []string{"absent", "present, delete /id /name", "present"}, told(states(t, m, "servers", "h2")))
		require.Equal(t, []string{"present", "silent", "silent"}, told(states(t, m, "users", "u")))

		var found []manager.Found
		for f, err := range m.Find(t.Context(), "PI", manager.FindOptions{}) {
			require.NoError(t, err)
			found = append(found, f)
		}
		require.Len(t, found, 1)
		require.Equal(t, "h2", found[0].Key)
	})
}

func TestHistoryNamesALocationThatIsDown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := newCounter("a"), newCounter("b")
		m, _ := counting(a, b)
		mustCreate(t, m)
		b.set(errDown, nil)
		var n int
		var last error
		for s, err := range m.History(t.Context(), "servers", "s1") {
			if n++; n == 1 {
				require.NoError(t, err)
				require.Equal(t, manager.Present, s.Presence)
			}
			last = err
		}
		require.Equal(t, 2, n)
		require.EqualError(t, last, "history: b: no route to host")
		a.set(errDown, nil)
		for _, err := range m.History(t.Context(), "servers", "s1") {
			require.ErrorIs(t, err, errDown)
		}
	})
}

func TestHistoryRefusesWhatTheAppDoesNotHave(t *testing.T) {
	m, _ := counting(newCounter("a"))
	for s, err := range m.History(t.Context(), "serversx", "s1") {
		require.ErrorIs(t, err, backup.ErrInvalid)
		require.EqualError(t, err, `history: invalid data: homelab has no collection "serversx", only applications, servers, settings, users, logs`)
		require.Zero(t, s)
	}
	for _, err := range m.History(t.Context(), "servers", "") {
		require.ErrorIs(t, err, backup.ErrInvalid)
	}
	for _, err := range m.Find(t.Context(), " ", manager.FindOptions{}) {
		require.ErrorIs(t, err, backup.ErrInvalid)
	}
	for _, err := range m.Find(t.Context(), "x", manager.FindOptions{Collections: []string{"nothing"}}) {
		require.ErrorIs(t, err, backup.ErrInvalid)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range m.History(ctx, "servers", "s1") {
		require.ErrorIs(t, err, context.Canceled)
	}
}

// founds returns the keys of what Find yields, and the backups that were searched.
func founds(t testing.TB, m *manager.Manager, text string, collections ...string) (keys, searched []string) {
	t.Helper()
	opts := manager.FindOptions{Collections: collections, Searched: func(b manager.Backup) { searched = append(searched, b.Name) }}
	for f, err := range m.Find(t.Context(), text, opts) {
		require.NoError(t, err)
		require.NoError(t, f.Err)
		keys = append(keys, path.Join(f.Collection, f.Key))
	}
	return keys, searched
}

func TestFindLooksInTheNewestFullBackupOfEachDay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newCounter("a")
		m, host := counting(a)
		host["servers"]["s9"] = `{"id":"s9","name":"Lost NAS"}`
		lost := mustCreate(t, m)
		time.Sleep(time.Hour)
		delete(host["servers"], "s9")
		host["servers"]["s8"] = `{"id":"s8","name":"nasty"}`
		evening := mustCreate(t, m)
		time.Sleep(oneDay)
		delete(host["servers"], "s8")
		createOnly(t, m, "manual", "servers") // a partial backup is not searched
		next := mustCreate(t, m)
		createOnly(t, m, "manual", "servers")
		mustList(t, m)
		a.opened()

		keys, searched := founds(t, m, "nas")
		require.Equal(t, []string{next.Name, evening.Name}, searched)
		require.Equal(t, map[string]int{next.Name: 1, evening.Name: 1}, a.opened())
		require.Equal(t, []string{"servers/s1", "servers/s8"}, keys)
		require.NotContains(t, searched, lost.Name)

		for f, err := range m.Find(t.Context(), "NAS", manager.FindOptions{}) {
			require.NoError(t, err)
			require.Equal(t, f.Key == "s1", f.Newest)
			require.Equal(t, "/name", f.Pointer)
			require.Equal(t, f.Key == "s8", f.Backup == evening.Name)
		}
		a.opened()
		for range m.Find(t.Context(), "nas", manager.FindOptions{}) {
			break
		}
		require.Equal(t, map[string]int{next.Name: 1}, a.opened(), "the caller has seen enough")
	})
}

// A day ends where the Manager is.
func TestTheDaysOfFindAreThoseOfTheTimeZone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, _ := counting(newCounter("a"))
		m.TimeZone = time.FixedZone("east", 3*60*60) // midnight is at 21:00 UTC
		time.Sleep(20 * time.Hour)
		before := mustCreate(t, m)
		time.Sleep(2 * time.Hour)
		after := mustCreate(t, m)
		_, searched := founds(t, m, "nas")
		require.Equal(t, []string{after.Name, before.Name}, searched)
	})
}

func TestFindLooksInKeysAndStringsAndNeverInSecrets(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, host := counting(newCounter("a"))
		host["applications"]["a1"] = `{"id":"a1","name":"caf\u00e9","server_id":"s1","env":{"TOKEN":"t0ken-of-a1"},"tags":[{"of":"Gr\u00fcn"}]}`
		mustCreate(t, m)
		for text, want := range map[string][]string{
			"HUNTER22": nil, "mail-pass": nil, "t0ken": nil, "secret": nil,
			"a1":   {"applications/a1", "applications/a2"},
			"CAFÉ": {"applications/a1"}, "grün": {"applications/a1"},
			"SMTP":    {"settings/smtp_password"},
			"dark":    {"settings/theme"},
			"ada":     {"users/7"},
			"22":      nil,
			`"nas"`:   nil,
			"nothing": nil,
		} {
			keys, searched := founds(t, m, text)
			require.Equal(t, want, keys, text)
			require.Len(t, searched, 1)
		}
		keys, _ := founds(t, m, "s1", "servers")
		require.Equal(t, []string{"servers/s1", "servers/s2"}, keys)
		for f, err := range m.Find(t.Context(), "grün", manager.FindOptions{}) {
			require.NoError(t, err)
			require.Equal(t, "/tags/0/of", f.Pointer)
		}
		for f, err := range m.Find(t.Context(), "dark", manager.FindOptions{}) {
			require.NoError(t, err)
			require.Empty(t, f.Pointer, "the value is the string")
		}
	})
}

func TestFindTakesTheBackupBeforeOneThatCannotBeRead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newCounter("a")
		m, _ := counting(a)
		good := mustCreate(t, m)
		time.Sleep(time.Hour)
		damaged := mustCreate(t, m)
		a.alter(t, damaged.Name, func(text string) string { return strings.Replace(text, `"nas"`, `"NAS"`, 1) })
		var all []manager.Found
		for f, err := range m.Find(t.Context(), "nas", manager.FindOptions{}) {
			require.NoError(t, err)
			all = append(all, f)
		}
		require.Len(t, all, 2)
		require.ErrorIs(t, all[0].Err, backup.ErrDamaged)
		require.Equal(t, []string{damaged.Name, good.Name}, []string{all[0].Backup, all[1].Backup})
		require.True(t, all[1].Newest)
		text, err := json.Marshal(all[0])
		require.NoError(t, err)
		require.Contains(t, string(text), `"error":"a: open snapshot`)
	})
}

func TestARecordIsNamedByItsKeyOrByWhatPeopleCallIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newCounter("a")
		m, host := counting(a)
		m.App.Collections[1].Label = "/name"
		host["servers"]["s9"] = `{"id":"s9","name":"Lost"}`
		daily(t, m)
		daily(t, m)
		host["servers"]["s9"] = `{"id":"s9","name":"renamed"}`
		host["servers"]["s8"] = `{"id":"s8","name":"renamed"}`
		host["servers"]["pi"] = `{"id":"pi","name":"other"}`
		daily(t, m)
		mustList(t, m)
		a.opened()
		for name, want := range map[string]string{"nas": "s1", "Lost": "s9", "s9": "s9", "pi": "pi", "other": "pi"} {
			key, err := m.KeyOf(t.Context(), "servers", name)
			require.NoError(t, err, name)
			require.Equal(t, want, key, name)
			if name != "Lost" {
				require.Len(t, a.opened(), 1)
			} else {
				require.Len(t, a.opened(), 2)
			}
		}
		_, err := m.KeyOf(t.Context(), "servers", "renamed")
		require.ErrorIs(t, err, backup.ErrInvalid)
		require.ErrorContains(t, err, "servers/s8, servers/s9")
		_, err = m.KeyOf(t.Context(), "servers", "no such")
		require.ErrorIs(t, err, fs.ErrNotExist)
		_, err = m.KeyOf(t.Context(), "nothing", "no such")
		require.ErrorIs(t, err, backup.ErrInvalid)
		all := states(t, m, "servers", "s9")
		require.Equal(t, []string{"renamed", "Lost", "Lost"}, []string{all[0].Label, all[1].Label, all[2].Label})
		for f, err := range m.Find(t.Context(), "lost", manager.FindOptions{}) {
			require.NoError(t, err)
			require.Equal(t, "Lost", f.Label)
		}
	})
}
