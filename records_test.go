package backup_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
)

// webApp has references of all kinds: to itself, round in a circle, of several parts, with
// a wildcard, from a Map.
func webApp() *backup.App {
	return &backup.App{Name: "web", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{
		{Name: "servers", Key: "/id", Refs: []backup.Ref{{Pointer: "/jump", Collection: "servers"}, {Pointer: "/main", Collection: "apps"}},
			Schema: []byte(`{"properties":{"name":{"type":"string"}}}`)},
		{Name: "apps", Key: "/id", Refs: []backup.Ref{{Pointer: "/server", Collection: "servers"}, {Pointer: "/tags/*", Collection: "tags"}}},
		{Name: "tags", Key: "/id"},
		{Name: "grants", Key: "/app,/tag", Refs: []backup.Ref{{Pointer: "/app", Collection: "apps"}, {Pointer: "/tag", Collection: "tags"}, {Pointer: "/a,/t", Collection: "grants"}}},
		{Name: "settings", Shape: backup.Map, Refs: []backup.Ref{{Pointer: "/home", Collection: "apps"}}, Secrets: []string{"/mail"}},
	}}
}

func webStore() backuptest.MapStore {
	return backuptest.MapStore{
		"servers":  {"s1": `{"id":"s1","name":"one","jump":"s2"}`, "s2": `{"id":"s2","name":"two"}`, "s3": `{"id":"s3","name":"three","jump":"s3","main":"a1"}`},
		"apps":     {"a1": `{"id":"a1","server":"s3","tags":["t1",null,"t2"]}`, "a2": `{"id":"a2","server":"s1"}`},
		"tags":     {"t1": `{"id":"t1"}`, "t2": `{"id":"t2"}`, "t3": `{"id":"t3"}`},
		"grants":   {`["a1","t3"]`: `{"app":"a1","tag":"t3"}`, `["a2","t1"]`: `{"app":"a2","tag":"t1","a":"a1","t":"t3"}`},
		"settings": {"home": `"a2"`, "theme": `"dark"`, "mail": `"secret-mail"`},
	}
}

// otherWeb is a host where each record differs, and that has records of its own.
func otherWeb() backuptest.MapStore {
	host := webStore()
	for name, records := range host {
		for key, value := range records {
			if name != "settings" {
				records[key] = value[:len(value)-1] + `,"here":1}`
			}
		}
	}
	host["servers"]["s9"] = `{"id":"s9","name":"nine"}`
	host["settings"]["theme"] = `"light"`
	host["settings"]["more"] = `1`
	return host
}

func TestARestoreOfSomeRecordsTouchesNothingElse(t *testing.T) {
	app := webApp()
	s := backedUp(t, app, webStore(), backup.BackupOptions{})
	for _, strategy := range everyStrategy {
		for _, gone := range []bool{false, true} {
			t.Run(fmt.Sprint(strategy, " gone ", gone), func(t *testing.T) {
				host, want := otherWeb(), otherWeb()
				if gone {
					delete(host["servers"], "s1")
				}
				switch {
				case gone || strategy == backup.Replace:
					want["servers"]["s1"] = webStore()["servers"]["s1"]
				case strategy == backup.Merge: // the same, with the member of the host
				}
				if strategy != backup.SkipDuplicates {
					want["settings"]["theme"] = `"dark"`
				}
				opts := backup.RestoreOptions{Strategy: strategy, Records: map[string][]string{"servers": {"s1", "s1"}, "settings": {"theme"}}}
				rules := backuptest.RuledStore{MapStore: host}
				report := tried(t, app, s, rules, opts)
				sameData(t, want, host)
				require.Len(t, report.Collections, 2)
				for _, c := range report.Collections {
					require.Equal(t, int64(1), c.Records)
					require.Zero(t, c.Deleted)
				}
				require.False(t, tried(t, app, s, rules, opts).Changed(), "twice is once")
			})
		}
	}
}

func TestRecordsThatTheSnapshotLacksAreNamed(t *testing.T) {
	app := webApp()
	s := backedUp(t, app, webStore(), backup.BackupOptions{})
	host := otherWeb()
	for _, with := range []bool{false, true} {
		_, err := app.Restore(t.Context(), s, host, backup.RestoreOptions{WithReferences: with, Records: map[string][]string{"servers": {"s1", "s8", "S1"}, "settings": {"x\ny"}}})
		require.ErrorIs(t, err, backup.ErrInvalid)
		require.ErrorContains(t, err, `the snapshot does not have these records: "S1" of servers, "s8" of servers, "x\ny" of settings; nothing was changed: name records by the keys`)
	}
	var many []string
	for i := range 1000 {
		many = append(many, fmt.Sprint("no", i))
	}
	_, err := app.Verify(t.Context(), s, backup.RestoreOptions{Records: map[string][]string{"tags": many}})
	require.ErrorContains(t, err, ", and 980 more; nothing was changed")
	_, err = app.Plan(t.Context(), backedUp(t, app, webStore(), backup.BackupOptions{Only: []string{"tags"}}), host, backup.RestoreOptions{Records: map[string][]string{"servers": {"s1"}}})
	require.ErrorContains(t, err, `"s1" of servers`)
	require.Equal(t, otherWeb(), host)
}

func TestRecordsThatMakeNoSenseAreRefused(t *testing.T) {
	s := backedUp(t, webApp(), webStore(), backup.BackupOptions{})
	one := map[string][]string{"servers": {"s1"}}
	for want, opts := range map[string]backup.RestoreOptions{
		"Records is empty: name records, or leave it nil for all of them": {Records: map[string][]string{}},
		"Records has an empty list for servers":                           {Records: map[string][]string{"servers": {}}},
		"Records and Only exclude each other":                             {Records: one, Only: []string{"servers"}},
		`records of "hosts": web has only servers, apps`:                  {Records: map[string][]string{"hosts": {"a"}}},
		"WithReferences goes with Records only":                           {WithReferences: true},
	} {
		_, err := webApp().Restore(t.Context(), s, webStore(), opts)
		require.ErrorIs(t, err, backup.ErrInvalid)
		require.ErrorContains(t, err, want)
		_, err = webApp().Plan(t.Context(), s, webStore(), opts)
		require.ErrorContains(t, err, want)
		_, err = webApp().Verify(t.Context(), s, opts)
		require.ErrorContains(t, err, want)
		_, err = webApp().Drill(t.Context(), s, backuptest.MapStore{}, opts)
		require.ErrorContains(t, err, want)
	}
}

func TestWhatASingleRecordRefersToComesOnRequest(t *testing.T) {
	app := webApp()
	s := backedUp(t, app, webStore(), backup.BackupOptions{})
	empty := func() backuptest.MapStore {
		return backuptest.MapStore{"servers": {}, "apps": {}, "tags": {}, "grants": {}, "settings": {}}
	}
	for name, want := range map[string]string{
		"servers/s2":         "servers/s2",
		"servers/s1":         "servers/s1 servers/s2",
		"servers/s3":         "apps/a1 servers/s3 tags/t1 tags/t2", // round in a circle
		"settings/home":      "apps/a2 servers/s1 servers/s2 settings/home",
		"settings/theme":     "settings/theme",
		`grants/["a1","t3"]`: `apps/a1 grants/["a1","t3"] servers/s3 tags/t1 tags/t2 tags/t3`,
		`grants/["a2","t1"]`: `apps/a1 apps/a2 grants/["a1","t3"] grants/["a2","t1"] servers/s1 servers/s2 servers/s3 tags/t1 tags/t2 tags/t3`,
	} {
		keys, err := app.Resolve(t.Context(), s, []string{name})
		require.NoError(t, err)
		for _, strategy := range everyStrategy {
			opts := backup.RestoreOptions{Records: keys, WithReferences: true, Strategy: strategy}
			host := empty()
			report := tried(t, app, s, backuptest.RuledStore{MapStore: host}, opts)
			var got []string
			for collection, records := range host {
				for key, value := range records {
					require.JSONEq(t, webStore()[collection][key], value)
					got = append(got, collection+"/"+key)
				}
			}
			slices.Sort(got)
			require.Equal(t, want, strings.Join(got, " "), name)
			n := int64(0)
			for _, c := range report.Collections {
				require.Equal(t, c.Records, c.Added)
				n += c.Added
			}
			require.Len(t, got, int(n), "they are in the report")

			verified, err := app.Verify(t.Context(), s, opts)
			require.NoError(t, err)
			require.Len(t, verified.Collections, len(report.Collections))
			_, err = app.Drill(t.Context(), s, empty(), opts)
			require.NoError(t, err)
		}
		opts := backup.RestoreOptions{Records: keys}
		_, err = app.Verify(t.Context(), s, opts)
		require.NoError(t, err, "the host may have what it refers to")
		if _, err = app.Plan(t.Context(), s, empty(), opts); strings.Contains(want, " ") {
			require.ErrorIs(t, err, backup.ErrDangling)
			require.ErrorContains(t, err, "nothing was changed; restore the records referred to as well (WithReferences), or allow dangling references")
			opts.AllowDangling = true
			_, err = app.Plan(t.Context(), s, empty(), opts)
		}
		require.NoError(t, err, name)
		_, err = app.Plan(t.Context(), s, otherWeb(), backup.RestoreOptions{Records: keys})
		require.NoError(t, err, "the host has what it refers to")
	}
}

// What the snapshot lacks itself is told as of a whole snapshot.
func TestAReferenceToNothingIsToldOfSingleRecords(t *testing.T) {
	app := webApp()
	s := written(t, app, 1, `{"apps":[{"id":"a1","server":"s7"},{"id":"a2","server":"s8"}],"servers":[{"id":"s1"}]}`)
	opts := backup.RestoreOptions{Records: map[string][]string{"apps": {"a1"}}, WithReferences: true}
	_, err := app.Verify(t.Context(), s, opts)
	require.ErrorIs(t, err, backup.ErrDangling)
	require.ErrorContains(t, err, `"s7"`)
	require.NotContains(t, err.Error(), `"s8"`)
	_, err = app.Restore(t.Context(), s, backuptest.MapStore{"apps": {}, "servers": {"s7": `{"id":"s7"}`}}, opts)
	require.NoError(t, err, "the host has it")
	_, err = app.Restore(t.Context(), s, backuptest.MapStore{"apps": {}, "servers": {}}, opts)
	require.ErrorIs(t, err, backup.ErrDangling)
}

func TestOtherRecordsDoNotHinderARestoreOfOne(t *testing.T) {
	app := webApp()
	s := written(t, app, 1, `{"servers":[{"id":"s1","name":1},{"id":"s2"},{"id":"s3","jump":"s1"},{"name":"no key"},{"id":"s2x"},{"id":"twice"},{"id":"twice"},{"id":[1]}],"hosts":[{"id":1}]}`)
	host := func() backuptest.MapStore {
		return backuptest.MapStore{"servers": {"s1": `{"id":"s1","name":"here"}`}, "apps": {}, "tags": {}}
	}
	for _, with := range []bool{false, true} {
		opts := backup.RestoreOptions{Strategy: backup.Replace, Records: map[string][]string{"servers": {"s2"}}, WithReferences: with}
		store := host()
		report, err := app.Restore(t.Context(), s, store, opts)
		require.NoError(t, err)
		require.Empty(t, report.LeftOut)
		require.Equal(t, map[string]string{"s1": `{"id":"s1","name":"here"}`, "s2": `{"id":"s2"}`}, store["servers"])

		opts.Records = map[string][]string{"servers": {"s1"}}
		_, err = app.Restore(t.Context(), s, store, opts)
		require.ErrorIs(t, err, backup.ErrInvalid)
		require.ErrorContains(t, err, `servers "s1" /name`)
		opts.LeaveOutInvalid = true
		report, err = app.Restore(t.Context(), s, store, opts)
		require.NoError(t, err)
		require.Len(t, report.LeftOut, 1)
		require.False(t, report.Changed())

		opts.LeaveOutInvalid = false
		opts.Records = map[string][]string{"servers": {"twice"}}
		_, err = app.Restore(t.Context(), s, store, opts)
		require.ErrorContains(t, err, "another record has the same key")

		opts.Records = map[string][]string{"servers": {"s3"}} // refers to s1, which is not valid
		_, err = app.Restore(t.Context(), s, store, opts)
		require.Equal(t, with, err != nil, err)
	}
}

// An invalid record without a key that somebody could name stays out of it, however
// often one asks.
func TestSingleRecordsAreThoseOfToday(t *testing.T) {
	app := labelled()
	s := written(t, app, 1, `{"servers":[{"id":"a","hostname":"web-1"},{"id":"b","hostname":"web-2"}]}`)
	store := backuptest.MapStore{"servers": {"s-b": `{"id":"s-b","name":"here"}`}}
	_, err := app.Restore(t.Context(), s, store, backup.RestoreOptions{Strategy: backup.Replace, Records: map[string][]string{"servers": {"s-a"}}})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"s-a": `{"id":"s-a","name":"web-1"}`, "s-b": `{"id":"s-b","name":"here"}`}, store["servers"])
	_, err = app.Restore(t.Context(), s, store, backup.RestoreOptions{Records: map[string][]string{"servers": {"a"}}})
	require.ErrorContains(t, err, `"a" of servers`)
}

func TestAnOwnRecordThatIsNamedIsTaken(t *testing.T) {
	app := webApp()
	s := backedUp(t, app, webStore(), backup.BackupOptions{})
	host := otherWeb()
	opts := backup.RestoreOptions{Strategy: backup.Replace, Own: map[string][]string{"settings": {"theme", "home"}, "servers": {"s2"}},
		Records: map[string][]string{"settings": {"theme"}, "servers": {"s1"}}, WithReferences: true}
	report := tried(t, app, s, backuptest.RuledStore{MapStore: host}, opts)
	require.Equal(t, []string{
		`servers "s2" stays as it is here; in the backup it is another one`,
		`settings "theme" is another one in the backup: the restore takes that of the backup`,
	}, report.Warnings)
	want := otherWeb()
	want["settings"]["theme"] = `"dark"`
	want["servers"]["s1"] = webStore()["servers"]["s1"]
	sameData(t, want, host)
}

// A backup of what a restore of some records is about to replace brings exactly these back.
func TestARestoreOfSomeRecordsIsTakenBackAlone(t *testing.T) {
	app := webApp()
	s := backedUp(t, app, webStore(), backup.BackupOptions{})
	start := otherWeb()
	delete(start["servers"], "s3")
	delete(start["tags"], "t2")
	host := start.Clone()
	var before bytes.Buffer
	var keys map[string][]string
	opts := backup.RestoreOptions{Strategy: backup.Replace, Records: map[string][]string{"servers": {"s3"}}, WithReferences: true,
		Before: func(ctx context.Context, held backup.DataSource, collections []string) error {
			keys = held.(interface{ Restores() map[string][]string }).Restores()
			require.ElementsMatch(t, []string{"servers", "apps", "tags"}, collections)
			_, err := app.Backup(ctx, &before, held, backup.BackupOptions{Only: collections, Recipients: sealed, LeaveOutInvalid: true})
			return err
		}}
	_, err := app.Restore(t.Context(), s, host, opts)
	require.NoError(t, err)
	require.Equal(t, map[string][]string{"servers": {"s3"}, "apps": {"a1"}, "tags": {"t1", "t2"}}, keys)

	host["tags"]["t3"], host["tags"]["t4"] = `{"id":"t3","later":true}`, `{"id":"t4"}` // since then
	delete(host["servers"], "s9")
	want := start.Clone()
	want["tags"]["t3"], want["tags"]["t4"] = host["tags"]["t3"], host["tags"]["t4"]
	delete(want["servers"], "s9")
	back := opened(t, before.String())
	undo := backup.RestoreOptions{Strategy: backup.Replace, AsItWas: true, Records: keys}
	report := tried(t, app, back, backuptest.RuledStore{MapStore: host}, undo)
	sameData(t, want, host)
	require.False(t, tried(t, app, back, backuptest.RuledStore{MapStore: host}, undo).Changed())
	n := int64(0)
	for _, c := range report.Collections {
		n += c.Deleted
	}
	require.Equal(t, int64(2), n)

	host["apps"]["a8"] = `{"id":"a8","tags":["t2"]}`
	host["tags"]["t2"] = `{"id":"t2"}`
	_, err = app.Restore(t.Context(), back, host, undo)
	require.ErrorIs(t, err, backup.ErrDangling, "what is new refers to what would be deleted")
}

func TestARestoreOfManyRecordsDoesNotNameThem(t *testing.T) {
	app := webApp()
	store, all := webStore(), []string(nil)
	for i := range 3000 {
		key := fmt.Sprintf("%030d", i)
		store["tags"][key], all = fmt.Sprintf(`{"id":%q}`, key), append(all, key)
	}
	s := backedUp(t, app, store, backup.BackupOptions{})
	for n, named := range map[int]bool{10: true, 3000: false} {
		asked := false
		_, err := app.Restore(t.Context(), s, otherWeb(), backup.RestoreOptions{Records: map[string][]string{"tags": all[:n]}, Before: func(_ context.Context, held backup.DataSource, _ []string) error {
			asked = true
			keys := held.(interface{ Restores() map[string][]string }).Restores()
			require.Equal(t, named, keys != nil)
			return nil
		}})
		require.NoError(t, err)
		require.True(t, asked)
	}
}

func TestReplaceOfSingleRecordsIsAllowedFromASalvagedSnapshot(t *testing.T) {
	app := markApp()
	whole := fileOf(t, app, backuptest.MapStore{"servers": {"s1": `{"id":"s1","host":"nas"}`}, "users": {"u1": `{"id":"u1","email":"a@example.org"}`}})
	file, _ := salvaged(t, app, whole, backup.SalvageOptions{})
	host := backuptest.MapStore{"servers": {"s1": `{"id":"s1","host":"x"}`, "s2": `{"id":"s2","host":"y"}`}, "users": {}}
	report, err := app.Restore(t.Context(), opened(t, file), host, backup.RestoreOptions{Strategy: backup.Replace, Records: map[string][]string{"servers": {"s1"}}})
	require.NoError(t, err)
	require.Equal(t, `{"id":"s1","host":"nas"}`, host["servers"]["s1"])
	require.Contains(t, host["servers"], "s2")
	require.NotEmpty(t, report.Warnings)
}

// What the host does by itself to other records is seen, put right or named.
func TestTriggersOfAHostAreSeenWhenOneRecordIsRestored(t *testing.T) {
	app := peopleApp()
	s := backedUp(t, app, people(records{"u1": `{"id":"u1","name":"ann"}`, "u2": `{"id":"u2","name":"bob"}`}, records{"n1": `{"id":"n1","user":"u1","title":"a"}`}).MapStore, backup.BackupOptions{})
	rings := backuptest.Trigger{Name: "trigger rings", Do: func(ctx context.Context, w backup.Writer, c backuptest.Change) error {
		if c.Key != "u1" {
			return nil
		}
		return errors.Join(w.Put(ctx, "users", []backup.Record{{Key: "u2", Value: json.RawMessage(`{"id":"u2","name":"rung"}`)}, {Key: "u0", Value: json.RawMessage(`{"id":"u0","name":"made"}`)}}))
	}}
	host := people(records{"u1": `{"id":"u1","name":"x"}`, "u2": `{"id":"u2","name":"eve"}`}, nil)
	host.Triggers = map[string][]backuptest.Trigger{"users": {rings}}
	report := tried(t, app, s, host, backup.RestoreOptions{Strategy: backup.Replace, Records: map[string][]string{"users": {"u1"}}})
	require.Equal(t, []string{"u2"}, report.Collections[0].ExtraKeys)
	require.Contains(t, report.Warnings[0], `"u2"; the host does that by itself, probably by trigger rings of users; an undo does not bring them back`)
	require.NotContains(t, host.MapStore["users"], "u0")
	require.JSONEq(t, `{"id":"u1","name":"ann"}`, host.MapStore["users"]["u1"])

	// A trigger that makes a deleted record anew.
	var before bytes.Buffer
	_, err := app.Backup(t.Context(), &before, people(nil, nil).MapStore, backup.BackupOptions{})
	require.NoError(t, err)
	again := backuptest.Trigger{Name: "trigger again", Do: func(ctx context.Context, w backup.Writer, c backuptest.Change) error {
		if c.After == nil {
			return w.Put(ctx, "users", []backup.Record{{Key: c.Key, Value: c.Before}})
		}
		return nil
	}}
	host.Triggers = map[string][]backuptest.Trigger{"users": {again}}
	report = tried(t, app, opened(t, before.String()), host, backup.RestoreOptions{Strategy: backup.Replace, AsItWas: true, Records: map[string][]string{"users": {"u1"}}})
	require.Equal(t, []string{"u1"}, report.Collections[0].ExtraKeys)
	require.Zero(t, report.Collections[0].Deleted)
}

// The closure is that of a plain walk along the references, in whatever order records stand
// and however many they are.
func TestReferencesAreFollowedAsAWalkWould(t *testing.T) {
	app := &backup.App{Name: "web", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{
		{Name: "a", Key: "/id", Refs: []backup.Ref{{Pointer: "/a/*", Collection: "a"}, {Pointer: "/b/*", Collection: "b"}}},
		{Name: "b", Key: "/id", Refs: []backup.Ref{{Pointer: "/a/*", Collection: "a"}}},
	}}
	for round := range 200 {
		rng := rand.New(rand.NewPCG(uint64(round), 1))
		store, links := backuptest.MapStore{"a": {}, "b": {}}, make(map[string][]string)
		n := 1 + rng.IntN(30)
		most := 3
		if round == 0 {
			n, most = 1000, 800 // too many for the memory
		}
		for i := range n {
			name := []string{"a", "b"}[rng.IntN(2)]
			if round == 0 {
				name = "a"
			}
			value := map[string]any{"id": fmt.Sprint(i)}
			for _, to := range []string{"a", "b"} {
				var refs []string
				for range rng.IntN(most) {
					refs = append(refs, fmt.Sprint(rng.IntN(n)))
				}
				if to == "b" && (name == "b" || round == 0) {
					continue
				}
				value[to] = refs
				for _, ref := range refs {
					links[fmt.Sprint(name, "/", i)] = append(links[fmt.Sprint(name, "/", i)], to+"/"+ref)
				}
			}
			text, err := json.Marshal(value)
			require.NoError(t, err)
			store[name][fmt.Sprint(i)] = string(text)
		}
		named := make(map[string][]string)
		want := map[string]bool{}
		var todo []string
		for name, records := range store {
			for key := range records {
				if rng.IntN(n) < 2 {
					named[name] = append(named[name], key)
					todo = append(todo, name+"/"+key)
				}
			}
		}
		if len(named) == 0 {
			name := "a"
			if len(store[name]) == 0 {
				name = "b"
			}
			for key := range store[name] {
				named[name], todo = []string{key}, []string{name + "/" + key}
			}
		}
		for len(todo) > 0 {
			next := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			name, key, _ := strings.Cut(next, "/")
			if store[name][key] != "" && !want[next] {
				want[next] = true
				todo = append(todo, links[next]...)
			}
		}
		host := backuptest.MapStore{"a": {}, "b": {}}
		s := backedUp(t, app, store, backup.BackupOptions{LeaveOutInvalid: true})
		_, err := app.Restore(t.Context(), s, host, backup.RestoreOptions{Records: named, WithReferences: true, AllowDangling: true})
		require.NoError(t, err)
		got := map[string]bool{}
		for name, records := range host {
			for key := range records {
				got[name+"/"+key] = true
			}
		}
		require.Equal(t, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got)), round)
		require.NoError(t, s.Close())
	}
}
