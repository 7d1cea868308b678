package backup_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
)

// twinHost is a host that enforces what twinApp declares.
func twinHost(users, notes records) backuptest.RuledStore {
	host := people(users, notes)
	host.Unique = map[string][]string{"users": {"/username", "/email"}}
	host.Refs = map[string][]backup.Ref{"notes": {{Pointer: "/user", Collection: "users"}}}
	return host
}

func snapshotOf(t *testing.T, app *backup.App, data backuptest.MapStore) *backup.Snapshot {
	t.Helper()
	return backedUp(t, app, data, backup.BackupOptions{Installation: "there", Serial: 1})
}

// twice restores a second time, and requires that nothing changes.
func twice(t *testing.T, app *backup.App, s *backup.Snapshot, host backuptest.RuledStore, opts backup.RestoreOptions) {
	t.Helper()
	before := host.Clone()
	require.False(t, tried(t, app, s, host, opts).Changed(), "the second restore changes nothing")
	require.Equal(t, before, host.MapStore)
}

// The table of the design: r is the record "k" of the snapshot, a the record of the host
// under the same key, b and c records of the host that have a value of r under other keys.
func TestOneThingUnderTwoKeys(t *testing.T) {
	r := `{"id":"k","username":"ann","email":"ann@x","new":1}`
	a := `{"id":"k","username":"old","here":1}`
	b := `{"id":"b","username":"ann","here":2}`
	c := `{"id":"c","email":"ANN@X","here":3}`
	for _, test := range []struct {
		name       string
		host       records
		skip       any // the users after a restore, or the text of the error
		merge      any
		replace    any
		rekeyed    int64
		noteOfSkip string // the user of the note, after skip and merge
	}{
		{"only by key", records{"k": a}, records{"k": a}, records{"k": `{"id":"k","username":"ann","here":1,"email":"ann@x","new":1}`}, records{"k": r}, 0, "k"},
		{"nobody", records{}, records{"k": r}, records{"k": r}, records{"k": r}, 0, "k"},
		{"a twin", records{"b": b}, records{"b": b}, records{"b": `{"id":"b","username":"ann","here":2,"email":"ann@x","new":1}`}, records{"k": r}, 1, "b"},
		{"two of the host", records{"b": b, "c": c},
			`users "k" /username (byte 506) clashes with "b": clash over a unique value: "b" of the host has the same /username, but "c" the same /email`,
			`users "k" /username (byte 506) clashes with "b"`, records{"k": r}, 0, ""},
		{"one by key, another by value", records{"k": a, "b": b}, records{"k": a, "b": b},
			`users "k" /username (byte 506) clashes with "b": clash over a unique value: "k" of the host has the same key, but "b" the same /username`, records{"k": r}, 0, "k"},
	} {
		t.Run(test.name, func(t *testing.T) {
			app := twinApp()
			s := snapshotOf(t, app, backuptest.MapStore{"users": {"k": r}, "notes": {"n": `{"id":"n","user":"k"}`}})
			for strategy, want := range map[backup.Strategy]any{backup.SkipDuplicates: test.skip, backup.Merge: test.merge, backup.Replace: test.replace} {
				host := twinHost(test.host, nil)
				opts := backup.RestoreOptions{Strategy: strategy}
				if text, refused := want.(string); refused {
					before := host.Clone()
					_, err := app.Plan(t.Context(), s, host, opts)
					require.ErrorIs(t, err, backup.ErrClash, strategy)
					require.ErrorContains(t, err, text)
					opts.Untried = true
					_, err = app.Plan(t.Context(), s, host, opts)
					require.ErrorContains(t, err, text, "without a trial it is known too")
					opts.Untried = false
					_, err = app.Restore(t.Context(), s, host, opts)
					require.ErrorContains(t, err, text)
					require.Equal(t, before, host.MapStore)
					continue
				}
				report := tried(t, app, s, host, opts)
				require.Equal(t, want, host.MapStore["users"], strategy)
				if strategy == backup.Replace {
					require.Zero(t, report.Collections[0].Rekeyed)
				} else {
					require.Equal(t, test.rekeyed, report.Collections[0].Rekeyed)
					require.JSONEq(t, fmt.Sprintf(`{"id":"n","user":%q}`, test.noteOfSkip), host.MapStore["notes"]["n"])
				}
				twice(t, app, s, host, opts)
			}
		})
	}
}

func TestAPlanNamesTheTwoKeysOfATwin(t *testing.T) {
	app := twinApp()
	host := twinHost(records{"b": `{"id":"b","username":"ann","n":2}`, "l9": `{"id":"l9","username":"bob"}`}, nil)
	for strategy, want := range map[backup.Strategy]string{backup.SkipDuplicates: "skip", backup.Merge: "update"} {
		s := snapshotOf(t, app, backuptest.MapStore{"users": {"k": `{"id":"k","username":"ann","n":1}`, "l": `{"id":"l","username":"bob"}`}, "notes": {"n": `{"id":"n","user":"k"}`}})
		p, err := app.Plan(t.Context(), s, host, backup.RestoreOptions{Strategy: strategy})
		require.NoError(t, err)
		var all []string
		for c, err := range p.Changes(t.Context()) {
			require.NoError(t, err)
			all = append(all, fmt.Sprintf("%s %s %s<%s", c.Action, c.Collection, c.Key, c.From))
		}
		require.Equal(t, []string{want + " users b<k", "add notes n<"}, all)
		require.Equal(t, int64(2), p.Report().Collections[0].Rekeyed, "also of those that stay as they are")
		require.Equal(t, map[string]string{"k": "b", "l": "l9"}, p.Report().Collections[0].RekeyedKeys)
		require.NoError(t, p.Close())
	}
}

func TestAPlanIsStaleOnceATwinIsAnother(t *testing.T) {
	for _, untried := range []bool{false, true} {
		app := twinApp()
		s := snapshotOf(t, app, backuptest.MapStore{"users": {"k": `{"id":"k","username":"ann"}`}, "notes": {}})
		host := twinHost(records{"b": `{"id":"b","username":"ann"}`}, nil)
		p, err := app.Plan(t.Context(), s, host, backup.RestoreOptions{Strategy: backup.Merge, Untried: untried})
		require.NoError(t, err)
		host.MapStore["users"] = records{"c": `{"id":"c","username":"ann"}`}
		_, err = p.Apply(t.Context())
		require.ErrorIs(t, err, backup.ErrStale)
	}
}

func TestClashesWithTwinsAreLeftOutByName(t *testing.T) {
	app := twinApp()
	users := records{
		"k": `{"id":"k","username":"ann","email":"e@x"}`, // two of the host
		"l": `{"id":"l","username":"bob"}`,               // by key one, by name another
		"m": `{"id":"m","username":"cid"}`,
	}
	notes := records{"n1": `{"id":"n1","user":"k"}`, "n2": `{"id":"n2","user":"l"}`, "n3": `{"id":"n3","user":"m"}`}
	s := snapshotOf(t, app, backuptest.MapStore{"users": users, "notes": notes})
	here := records{"b": `{"id":"b","username":"ann"}`, "c": `{"id":"c","email":"E@x"}`, "l": `{"id":"l","username":"leo"}`, "d": `{"id":"d","username":"bob"}`}
	for _, untried := range []bool{false, true} {
		host := twinHost(here, nil)
		opts := backup.RestoreOptions{Strategy: backup.Merge, SkipClashes: true, Untried: untried}
		p, err := app.Plan(t.Context(), s, host, opts)
		require.NoError(t, err)
		require.Len(t, p.Report().LeftOut, 3)
	}
	host := twinHost(here, nil)
	opts := backup.RestoreOptions{Strategy: backup.Merge, SkipClashes: true}
	report := tried(t, app, s, host, opts)
	var left []string
	for _, r := range report.LeftOut {
		left = append(left, r.Collection+" "+r.Key+" "+r.With)
	}
	require.Equal(t, []string{"notes n1 ", "users k b", "users l d"}, left)
	require.Equal(t, records{"n2": notes["n2"], "n3": notes["n3"]}, host.MapStore["notes"], "a note of l is of the host's l")
	require.Equal(t, here["l"], host.MapStore["users"]["l"])
	twice(t, app, s, host, opts)
}

func TestOneRecordOfTheHostIsNoTwinOfTwo(t *testing.T) {
	app := twinApp()
	host := twinHost(records{"b": `{"id":"b","username":"ann","email":"e@x"}`}, nil)
	for name, users := range map[string]records{
		"two values":      {"k": `{"id":"k","username":"ann"}`, "l": `{"id":"l","email":"e@x"}`},
		"a key, and one":  {"k": `{"id":"k","username":"ann"}`, "b": `{"id":"b","username":"bob"}`},
		"a key, and fold": {"k": `{"id":"k","email":"E@X"}`, "b": `{"id":"b","username":"ann"}`},
	} {
		s := snapshotOf(t, app, backuptest.MapStore{"users": users, "notes": {}})
		_, err := app.Plan(t.Context(), s, host, backup.RestoreOptions{})
		require.ErrorIs(t, err, backup.ErrClash, name)
		require.ErrorContains(t, err, "but is another record of the snapshot too", name)
	}
}

// The end state counts: what a merge gives another value is no twin.
func TestValuesMayBeExchangedUnderMerge(t *testing.T) {
	app := twinApp()
	for name, test := range map[string]struct{ there, here, want records }{
		"swap": {records{"1": `{"id":"1","username":"b"}`, "2": `{"id":"2","username":"a"}`},
			records{"1": `{"id":"1","username":"a"}`, "2": `{"id":"2","username":"b"}`},
			records{"1": `{"id":"1","username":"b"}`, "2": `{"id":"2","username":"a"}`}},
		"chain": {records{"1": `{"id":"1","username":"b"}`, "2": `{"id":"2","username":"c"}`, "3": `{"id":"3","username":"d"}`},
			records{"1": `{"id":"1","username":"a"}`, "2": `{"id":"2","username":"b"}`, "3": `{"id":"3","username":"c"}`},
			records{"1": `{"id":"1","username":"b"}`, "2": `{"id":"2","username":"c"}`, "3": `{"id":"3","username":"d"}`}},
		"taken from one that is set to null": {records{"1": `{"id":"1","username":null}`, "2": `{"id":"2","username":"a"}`},
			records{"1": `{"id":"1","username":"a"}`},
			records{"1": `{"id":"1","username":null}`, "2": `{"id":"2","username":"a"}`}},
	} {
		s := snapshotOf(t, app, backuptest.MapStore{"users": test.there, "notes": {}})
		host := twinHost(test.here, nil)
		opts := backup.RestoreOptions{Strategy: backup.Merge}
		tried(t, app, s, host, opts)
		require.Equal(t, test.want, host.MapStore["users"], name)
		twice(t, app, s, host, opts)
	}
	s := snapshotOf(t, app, backuptest.MapStore{"users": {"1": `{"id":"1"}`, "2": `{"id":"2","username":"a"}`}, "notes": {}})
	_, err := app.Plan(t.Context(), s, twinHost(records{"1": `{"id":"1","username":"a"}`}, nil), backup.RestoreOptions{Strategy: backup.Merge})
	require.ErrorContains(t, err, `"1" of the host has the same /username, but is another record of the snapshot too`, "a member that the snapshot lacks stays")
}

// treeApp has folders in folders, and what refers to them in all ways.
func treeApp() *backup.App {
	return &backup.App{Name: "tree", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{
		{Name: "users", Key: "/realm,/id", Unique: []string{"/realm,fold", "/name"}},
		{Name: "folders", Key: "/id", Unique: []string{"/path", "/parent,/name"}, Refs: []backup.Ref{{Pointer: "/parent", Collection: "folders"}}},
		{Name: "preferences", Key: "/realm,/user", Refs: []backup.Ref{{Pointer: "/realm,/user", Collection: "users"}}},
		{Name: "members", Key: "/folder,/realm,/user", Refs: []backup.Ref{{Pointer: "/realm,/user", Collection: "users"}, {Pointer: "/folder", Collection: "folders"}}},
		{Name: "shares", Key: "/id", Refs: []backup.Ref{{Pointer: "/folders/*", Collection: "folders"}, {Pointer: "/of/*/in", Collection: "folders"}}},
		{Name: "settings", Shape: backup.Map, Refs: []backup.Ref{{Pointer: "/home", Collection: "folders"}, {Pointer: "/start/folder", Collection: "folders"}}},
	}}
}

func TestReferencesFollowTwins(t *testing.T) {
	app := treeApp()
	app.Collections[0].Unique = []string{"/name"}
	there := backuptest.MapStore{
		"users": {`["r","1"]`: `{"realm":"r","id":1,"name":"ann"}`, `["r","2"]`: `{"realm":"r","id":2,"name":"bob"}`},
		"folders": {"1": `{"id":1,"path":"/"}`, "2": `{"id":2,"parent":1,"name":"docs"}`, "3": `{"id":3,"parent":2,"name":"work"}`,
			"4": `{"id":4,"parent":3,"name":"new"}`, "5": `{"id":5,"parent":1,"name":"work"}`},
		"preferences": {`["r","1"]`: `{"realm":"r","user":1,"dark":true}`, `["r","2"]`: `{"realm":"r","user":2,"dark":true}`},
		"members":     {`["3","r","1"]`: `{"folder":3,"realm":"r","user":1,"since":1}`, `["4","r","2"]`: `{"folder":4,"realm":"r","user":2}`},
		"shares":      {"s": `{"id":"s","folders":[1,3,4],"of":{"a":{"in":3},"b":{"in":null}}}`},
		"settings":    {"home": `3`, "start": `{"folder":"2"}`, "other": `3`},
	}
	host := backuptest.RuledStore{MapStore: backuptest.MapStore{
		"users":       {`["q","7"]`: `{"realm":"q","id":7,"name":"ann"}`},
		"folders":     {"10": `{"id":10,"path":"/"}`, "20": `{"id":20,"parent":10,"name":"docs"}`, "30": `{"id":30,"parent":20,"name":"work","mine":1}`},
		"preferences": {`["q","7"]`: `{"realm":"q","user":7,"dark":false}`},
		"members":     {},
		"shares":      {},
		"settings":    {},
	}}
	s := snapshotOf(t, app, there)
	opts := backup.RestoreOptions{Strategy: backup.Merge}
	report := tried(t, app, s, host, opts)
	require.Equal(t, backuptest.MapStore{
		"users": {`["q","7"]`: `{"realm":"q","id":7,"name":"ann"}`, `["r","2"]`: `{"realm":"r","id":2,"name":"bob"}`},
		"folders": {"10": `{"id":10,"path":"/"}`, "20": `{"id":20,"parent":10,"name":"docs"}`, "30": `{"id":30,"parent":20,"name":"work","mine":1}`,
			"4": `{"id":4,"parent":30,"name":"new"}`, "5": `{"id":5,"parent":10,"name":"work"}`},
		"preferences": {`["q","7"]`: `{"realm":"q","user":7,"dark":true}`, `["r","2"]`: `{"realm":"r","user":2,"dark":true}`},
		"members":     {`["30","q","7"]`: `{"folder":30,"realm":"q","user":7,"since":1}`, `["4","r","2"]`: `{"folder":4,"realm":"r","user":2}`},
		"shares":      {"s": `{"id":"s","folders":[10,30,4],"of":{"a":{"in":30},"b":{"in":null}}}`},
		"settings":    {"home": `30`, "start": `{"folder":"20"}`, "other": `3`},
	}, host.MapStore)
	var rekeyed []string
	for _, c := range report.Collections {
		rekeyed = append(rekeyed, fmt.Sprint(c.Name, c.RekeyedKeys))
	}
	require.Equal(t, []string{`usersmap[["r","1"]:["q","7"]]`, `foldersmap[1:10 2:20 3:30]`, `preferencesmap[["r","1"]:["q","7"]]`,
		`membersmap[["3","r","1"]:["30","q","7"]]`, `sharesmap[]`, `settingsmap[]`}, rekeyed)
	twice(t, app, s, host, opts)
	twice(t, app, s, host, backup.RestoreOptions{})
}

func TestAFolderIsFoundFromTheRootsDown(t *testing.T) {
	app := treeApp()
	app.Collections = app.Collections[1:2]
	const depth = 3000
	there, here := records{}, records{}
	for i := range depth { // in the snapshot, a child comes before its parent
		key, parent := fmt.Sprintf("a%05d", depth-i), fmt.Sprintf("a%05d", depth-i+1)
		there[key] = fmt.Sprintf(`{"id":%q,"parent":%q,"name":"x"}`, key, parent)
		key, parent = fmt.Sprintf("b%05d", i), fmt.Sprintf("b%05d", i-1)
		here[key] = fmt.Sprintf(`{"id":%q,"parent":%q,"name":"x"}`, key, parent)
	}
	there["a03000"] = `{"id":"a03000","path":"/"}`
	here["b00000"] = `{"id":"b00000","path":"/"}`
	s := snapshotOf(t, app, backuptest.MapStore{"folders": there})
	host := backuptest.RuledStore{MapStore: backuptest.MapStore{"folders": here}}
	report := tried(t, app, s, host, backup.RestoreOptions{})
	require.Equal(t, int64(depth), report.Collections[0].Unchanged)
	require.Equal(t, int64(depth), report.Collections[0].Rekeyed)
}

func TestInACircleAUniqueMatchesNothing(t *testing.T) {
	app := treeApp()
	app.Collections = app.Collections[1:2]
	there := records{"1": `{"id":1,"parent":2,"name":"a"}`, "2": `{"id":2,"parent":1,"name":"b"}`, "3": `{"id":3,"parent":2,"name":"c"}`, "4": `{"id":4,"parent":4,"name":"d"}`}
	here := records{"8": `{"id":8,"parent":2,"name":"a"}`, "9": `{"id":9,"parent":2,"name":"c"}`}
	s := snapshotOf(t, app, backuptest.MapStore{"folders": there})
	host := backuptest.RuledStore{MapStore: backuptest.MapStore{"folders": here}}
	_, err := app.Restore(t.Context(), s, host, backup.RestoreOptions{AllowDangling: true})
	require.ErrorIs(t, err, backup.ErrClash, "the host could not be backed up any more")
	require.ErrorContains(t, err, `folders "1" /parent,/name`)
	host.MapStore["folders"] = records{"9": here["9"]}
	report, err := app.Restore(t.Context(), s, host, backup.RestoreOptions{AllowDangling: true})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"3": "9"}, report.Collections[0].RekeyedKeys, "what hangs below a circle is matched")

	pair := &backup.App{Name: "pair", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{
		{Name: "a", Key: "/id", Unique: []string{"/b,/name", "/mail"}, Refs: []backup.Ref{{Pointer: "/b", Collection: "b"}}},
		{Name: "b", Key: "/id", Unique: []string{"/a", "/name"}, Refs: []backup.Ref{{Pointer: "/a", Collection: "a"}}},
	}}
	s = snapshotOf(t, pair, backuptest.MapStore{"a": {"a1": `{"id":"a1","b":"b1","name":"x","mail":"m"}`}, "b": {"b1": `{"id":"b1","a":"a1","name":"y"}`}})
	host = backuptest.RuledStore{MapStore: backuptest.MapStore{"a": {"a2": `{"id":"a2","b":"b2","name":"x","mail":"m"}`}, "b": {"b2": `{"id":"b2","a":"a2","name":"y"}`}}}
	before := host.Clone()
	report = tried(t, pair, s, host, backup.RestoreOptions{Strategy: backup.Merge})
	require.False(t, report.Changed(), "each is matched by what does not refer to the other")
	require.Equal(t, before, host.MapStore)
}

func TestTwoRecordsDoNotGetOneKeyWithTheirReferences(t *testing.T) {
	app := treeApp()
	app.Collections = app.Collections[:3]
	app.Collections[0].Unique = []string{"/name"}
	s := backedUp(t, app, backuptest.MapStore{"folders": {}, "users": {`["r","1"]`: `{"realm":"r","id":1,"name":"ann"}`},
		"preferences": {`["r","1"]`: `{"realm":"r","user":1,"n":1}`, `["q","7"]`: `{"realm":"q","user":7,"n":2}`}}, backup.BackupOptions{LeaveOutInvalid: true})
	host := backuptest.RuledStore{MapStore: backuptest.MapStore{"folders": {}, "preferences": {}, "users": {`["q","7"]`: `{"realm":"q","id":7,"name":"ann"}`}}}
	_, err := app.Plan(t.Context(), s, host, backup.RestoreOptions{AllowDangling: true})
	require.ErrorIs(t, err, backup.ErrClash)
	require.ErrorContains(t, err, `preferences "[\"r\",\"1\"]"`)
	opts := backup.RestoreOptions{SkipClashes: true}
	report := tried(t, app, s, host, opts)
	require.Len(t, report.LeftOut, 1)
	require.Equal(t, records{`["q","7"]`: `{"realm":"q","user":7,"n":2}`}, host.MapStore["preferences"])
	twice(t, app, s, host, opts)
}

func TestUndoOfTwinsIsExact(t *testing.T) {
	app := twinApp()
	s := snapshotOf(t, app, backuptest.MapStore{"users": {"k": `{"id":"k","username":"ann","n":1}`}, "notes": {"n": `{"id":"n","user":"k"}`}})
	for _, strategy := range []backup.Strategy{backup.SkipDuplicates, backup.Merge, backup.Replace} {
		host := twinHost(records{"b": `{"id":"b","username":"ann","n":2.50}`, "c": `{"username":"cid","id":"c"}`}, records{"m": `{"id":"m","user":"b"}`})
		before := host.Clone()
		var back *backup.Snapshot
		_, err := app.Restore(t.Context(), s, host, backup.RestoreOptions{Strategy: strategy, Before: func(ctx context.Context, held backup.DataSource, names []string) error {
			back = backedUp(t, app, held, backup.BackupOptions{Only: names, LeaveOutInvalid: true})
			return nil
		}})
		require.NoError(t, err)
		require.NotEqual(t, before, host.MapStore)
		tried(t, app, back, host, backup.RestoreOptions{Strategy: backup.Replace, AsItWas: true})
		require.Equal(t, before, host.MapStore, strategy)
	}
}

// What shares a value that is unique is not in the backup from before a restore. Undo leaves
// it alone.
func TestUndoSparesRecordsThatBreakAUnique(t *testing.T) {
	app := twinApp()
	s := snapshotOf(t, app, backuptest.MapStore{"users": {"k": `{"id":"k","username":"new"}`}, "notes": {}})
	host := backuptest.RuledStore{MapStore: backuptest.MapStore{"notes": {}, "users": {"a": `{"id":"a","username":"ann"}`, "b": `{"id":"b","username":"ann"}`}}}
	before := host.Clone()
	var back *backup.Snapshot
	_, err := app.Restore(t.Context(), s, host, backup.RestoreOptions{Before: func(ctx context.Context, held backup.DataSource, names []string) error {
		back = backedUp(t, app, held, backup.BackupOptions{Only: names, LeaveOutInvalid: true})
		return nil
	}})
	require.NoError(t, err)
	tried(t, app, back, host, backup.RestoreOptions{Strategy: backup.Replace, AsItWas: true})
	require.Equal(t, before, host.MapStore)
}

func TestASecretThatIsUniqueIsComparedAndNotTold(t *testing.T) {
	app := twinApp()
	app.Collections[0].Unique = []string{"/token", "/username"}
	app.Collections[0].Secrets = []string{"/token"}
	s := snapshotOf(t, app, backuptest.MapStore{"users": {"k": `{"id":"k","username":"ann","token":"hush-hush"}`}, "notes": {}})
	host := twinHost(records{"b": `{"id":"b","username":"bob","token":"hush-hush"}`}, nil)
	report := tried(t, app, s, host, backup.RestoreOptions{})
	require.Equal(t, map[string]string{"k": "b"}, report.Collections[0].RekeyedKeys)
	host = twinHost(records{"b": `{"id":"b","username":"bob","token":"hush-hush"}`, "c": `{"id":"c","username":"ann"}`}, nil)
	_, err := app.Plan(t.Context(), s, host, backup.RestoreOptions{})
	require.ErrorContains(t, err, `"b" of the host has the same /token, but "c" the same /username`)
	require.NotContains(t, err.Error(), "hush")
}

// A repeating Sink rolls back the first time, and shows other data the second time.
type repeatingSink struct {
	backuptest.RuledStore
	between func()
}

func (s repeatingSink) Update(ctx context.Context, write func(backup.Writer) error) error {
	stop := fmt.Errorf("again")
	_ = s.RuledStore.Update(ctx, func(w backup.Writer) error {
		if err := write(w); err != nil {
			return err
		}
		return stop
	})
	s.between()
	return s.RuledStore.Update(ctx, write)
}

func TestATransactionThatIsRepeatedMatchesAnew(t *testing.T) {
	app := twinApp()
	s := snapshotOf(t, app, backuptest.MapStore{"users": {"k": `{"id":"k","username":"ann"}`}, "notes": {"n": `{"id":"n","user":"k"}`}})
	host := twinHost(records{"b": `{"id":"b","username":"ann"}`}, nil)
	report, err := app.Restore(t.Context(), s, repeatingSink{host, func() {
		host.MapStore["users"] = records{"c": `{"id":"c","username":"ann"}`}
	}}, backup.RestoreOptions{})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"k": "c"}, report.Collections[0].RekeyedKeys)
	require.Equal(t, records{"n": `{"id":"n","user":"c"}`}, host.MapStore["notes"])

	host = twinHost(records{"b": `{"id":"b","username":"ann"}`, "k": `{"id":"k"}`}, nil)
	report, err = app.Restore(t.Context(), s, repeatingSink{host, func() {
		host.MapStore["users"] = records{"k": `{"id":"k"}`}
	}}, backup.RestoreOptions{Strategy: backup.Merge, SkipClashes: true})
	require.NoError(t, err)
	require.Empty(t, report.LeftOut, "the clash is over")
	require.Equal(t, records{"k": `{"id":"k","username":"ann"}`}, host.MapStore["users"])
}

func TestWhatTheStoreRefusesOfATwinIsLeftOut(t *testing.T) {
	app := twinApp()
	s := snapshotOf(t, app, backuptest.MapStore{"users": {"k": `{"id":"k","username":"ann","badge":1}`}, "notes": {"n": `{"id":"n","user":"k"}`}})
	host := twinHost(records{"b": `{"id":"b","username":"ann"}`, "c": `{"id":"c","username":"cid","badge":1}`}, nil)
	host.Unique["users"] = append(host.Unique["users"], "/badge")
	opts := backup.RestoreOptions{Strategy: backup.Merge}
	_, err := app.Plan(t.Context(), s, host, opts)
	require.ErrorContains(t, err, `users "b" /badge clashes with "c"`)
	opts.SkipClashes = true
	report := tried(t, app, s, host, opts)
	require.Len(t, report.LeftOut, 1)
	require.Equal(t, "k", report.LeftOut[0].Key)
	require.Equal(t, records{"n": `{"id":"n","user":"b"}`}, host.MapStore["notes"], "what refers to it refers to the host's")
	twice(t, app, s, host, opts)
}

func TestOwnRecordsAreNotMergedInto(t *testing.T) {
	app := twinApp()
	s := snapshotOf(t, app, backuptest.MapStore{"users": {"k": `{"id":"k","username":"ann","n":1}`}, "notes": {}})
	host := twinHost(records{"b": `{"id":"b","username":"ann"}`}, nil)
	_, err := app.Plan(t.Context(), s, host, backup.RestoreOptions{Strategy: backup.Merge, Own: map[string][]string{"users": {"b"}}})
	require.ErrorContains(t, err, `"b" of the host has the same /username, and must stay as it is`)
}

func TestAKeyThatTheSchemaRefusesIsSaid(t *testing.T) {
	app := twinApp()
	app.Collections[1].Schema = []byte(`{"properties":{"user":{"maxLength":3}}}`)
	s := snapshotOf(t, app, backuptest.MapStore{"users": {"k": `{"id":"k","username":"ann"}`}, "notes": {"n": `{"id":"n","user":"k"}`}})
	host := twinHost(records{"long-key": `{"id":"long-key","username":"ann"}`}, nil)
	_, err := app.Plan(t.Context(), s, host, backup.RestoreOptions{})
	require.ErrorIs(t, err, backup.ErrInvalid)
	require.ErrorContains(t, err, `notes "n" /user`)
	require.ErrorContains(t, err, "with the keys of the host")
	require.NotContains(t, strings.ToLower(err.Error()), "panic")
}

// A merge function of the host may keep a value that the snapshot has too.
func TestWhatAMergeFunctionKeepsCounts(t *testing.T) {
	app := twinApp()
	s := snapshotOf(t, app, backuptest.MapStore{"users": {"1": `{"id":"1","username":"b"}`, "2": `{"id":"2","username":"a"}`}, "notes": {}})
	here := records{"1": `{"id":"1","username":"a"}`}
	opts := backup.RestoreOptions{Strategy: backup.Merge}
	host := twinHost(here, nil)
	tried(t, app, s, host, opts)
	require.Equal(t, records{"1": `{"id":"1","username":"b"}`, "2": `{"id":"2","username":"a"}`}, host.MapStore["users"])

	app.Collections[0].Merge = func(existing, _ backup.Record) (backup.Record, error) { return existing, nil }
	_, err := app.Plan(t.Context(), s, twinHost(here, nil), opts)
	require.ErrorContains(t, err, `"1" of the host has the same /username, but is another record of the snapshot too`)
}

// What a twin changes of another record is free again.
func TestAValueThatATwinGivesUpIsFree(t *testing.T) {
	app := twinApp()
	s := snapshotOf(t, app, backuptest.MapStore{"notes": {}, "users": {
		"5": `{"id":"5","username":"n1","email":"m3"}`, "6": `{"id":"6","username":"n4","email":"m4"}`}})
	host := twinHost(records{"3": `{"id":"3","username":"n4","email":"m3"}`, "6": `{"id":"6","email":"m4"}`}, nil)
	opts := backup.RestoreOptions{Strategy: backup.Merge}
	tried(t, app, s, host, opts)
	require.Equal(t, records{"3": `{"id":"3","username":"n1","email":"m3"}`, "6": `{"id":"6","email":"m4","username":"n4"}`}, host.MapStore["users"])
	twice(t, app, s, host, opts)
}

func TestARecordReplacesItsTwinAlone(t *testing.T) {
	app := twinApp()
	s := snapshotOf(t, app, backuptest.MapStore{"users": {"k": `{"id":"k","username":"ann","n":1}`, "l": `{"id":"l","username":"bob"}`}, "notes": {"n": `{"id":"n","user":"k"}`}})
	host := twinHost(records{"b": `{"id":"b","username":"ann","here":1}`, "c": `{"id":"c","username":"bob"}`}, nil)
	opts := backup.RestoreOptions{Strategy: backup.Replace, Records: map[string][]string{"notes": {"n"}}, WithReferences: true}
	report := tried(t, app, s, host, opts)
	require.Equal(t, records{"b": `{"id":"b","username":"ann","n":1}`, "c": `{"id":"c","username":"bob"}`}, host.MapStore["users"])
	require.Equal(t, records{"n": `{"id":"n","user":"b"}`}, host.MapStore["notes"])
	require.Equal(t, map[string]string{"k": "b"}, report.Collections[0].RekeyedKeys)
	twice(t, app, s, host, opts)
	host.MapStore["users"] = records{"k": `{"id":"k"}`, "b": `{"id":"b","username":"ann"}`}
	_, err := app.Plan(t.Context(), s, host, opts)
	require.ErrorIs(t, err, backup.ErrClash)
}
