package backup_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
)

// What tells nothing about a record must not tell that it is another.

func TestAUniqueWithAReferenceOfAnotherInstallationTellsNothing(t *testing.T) {
	app := shopApp()
	s := snapshotOf(t, app, backuptest.MapStore{"users": {"1": `{"id":1,"name":"ann"}`}, "notes": {"5": `{"id":5,"user":1,"title":"a","text":"of ann"}`}, "log": {}})
	here := records{"9": `{"id":9,"user":1,"title":"a","text":"of bob"}`}
	host := shop(records{"1": `{"id":1,"name":"bob"}`}, here, nil)
	opts := backup.RestoreOptions{Strategy: backup.Merge, Installation: "here", Only: []string{"notes"}}
	_, err := app.Plan(t.Context(), s, host, opts)
	require.ErrorContains(t, err, `notes "5" /user,/title clashes with "9"`, "the note is not merged into that of another user")
	opts.SkipClashes = true
	tried(t, app, s, host, opts)
	require.Equal(t, here, host.MapStore["notes"])
}

func TestAUniqueThatHoldsReferencesToItsOwnCollectionTellsNothing(t *testing.T) {
	app := &backup.App{Name: "shop", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{
		{Name: "nodes", Key: "/id", Unique: []string{"/name", "/in"}, Refs: []backup.Ref{{Pointer: "/in/*", Collection: "nodes"}}},
	}}
	s := snapshotOf(t, app, backuptest.MapStore{"nodes": {"1": `{"id":1,"name":"x"}`, "2": `{"id":2,"in":[1]}`}})
	here := records{"1": `{"id":1,"name":"other"}`, "7": `{"id":7,"name":"x"}`, "9": `{"id":9,"in":[1]}`}
	host := backuptest.RuledStore{MapStore: backuptest.MapStore{"nodes": here}, Numbered: []string{"nodes"}}
	opts := backup.RestoreOptions{Strategy: backup.Merge, Installation: "here"}
	tried(t, app, s, host, opts)
	require.Equal(t, records{"1": here["1"], "7": here["7"], "9": here["9"], "2": `{"id":2,"in":[7]}`}, host.MapStore["nodes"])
	twice(t, app, s, host, opts)
}

func TestAKeyThatHoldsAReferenceIsNoNumber(t *testing.T) {
	app := &backup.App{Name: "shop", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{
		{Name: "users", Key: "/id", Unique: []string{"/name"}},
		{Name: "profiles", Key: "/id", Unique: []string{"/nick"}, Refs: []backup.Ref{{Pointer: "/id", Collection: "users"}}},
	}}
	s := snapshotOf(t, app, backuptest.MapStore{"users": {"1": `{"id":1,"name":"ann"}`, "2": `{"id":2,"name":"bob"}`}, "profiles": {"1": `{"id":1,"nick":"a"}`, "2": `{"id":2,"nick":"b"}`}})
	host := backuptest.RuledStore{Numbered: []string{"users", "profiles"}, MapStore: backuptest.MapStore{
		"users":    {"1": `{"id":1,"name":"zoe"}`, "7": `{"id":7,"name":"ann"}`},
		"profiles": {"1": `{"id":1,"nick":"z"}`, "7": `{"id":7,"nick":"old"}`}}}
	opts := backup.RestoreOptions{Strategy: backup.Merge, Installation: "here"}
	tried(t, app, s, host, opts)
	require.Equal(t, records{"1": `{"id":1,"nick":"z"}`, "7": `{"id":7,"nick":"a"}`, "2": `{"id":2,"nick":"b"}`}, host.MapStore["profiles"])
	twice(t, app, s, host, opts)
}

func TestReferencesThatShareAPlaceAreAllRightOrRefused(t *testing.T) {
	for name, app := range map[string]*backup.App{
		"a part": {Name: "x", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{
			{Name: "users", Key: "/realm,/id", Unique: []string{"/name"}}, {Name: "groups", Key: "/realm,/id"},
			{Name: "links", Key: "/id", Refs: []backup.Ref{{Pointer: "/realm,/user", Collection: "users"}, {Pointer: "/realm,/group", Collection: "groups"}}}}},
		"all": {Name: "x", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{
			{Name: "users", Key: "/realm,/id", Unique: []string{"/name"}}, {Name: "groups", Key: "/realm,/id"},
			{Name: "links", Key: "/id", Refs: []backup.Ref{{Pointer: "/realm,/user", Collection: "groups"}, {Pointer: "/realm,/user", Collection: "users"}}}}},
	} {
		s := snapshotOf(t, app, backuptest.MapStore{
			"users":  {`["r","1"]`: `{"realm":"r","id":1,"name":"ann"}`, `["r","2"]`: `{"realm":"r","id":2,"name":"bob"}`},
			"groups": {`["r","1"]`: `{"realm":"r","id":1}`, `["r","2"]`: `{"realm":"r","id":2}`},
			"links":  {"l": `{"id":"l","realm":"r","user":1,"group":1}`, "m": `{"id":"m","realm":"r","user":2,"group":2}`}})
		host := backuptest.RuledStore{MapStore: backuptest.MapStore{"links": {},
			"users": {`["q","1"]`: `{"realm":"q","id":1,"name":"ann"}`}, "groups": {`["q","1"]`: `{"realm":"q","id":1,"another":1}`}}}
		_, err := app.Plan(t.Context(), s, host, backup.RestoreOptions{Strategy: backup.Merge})
		require.ErrorIs(t, err, backup.ErrInvalid, name)
		require.ErrorContains(t, err, `links "l"`, name)
		require.ErrorContains(t, err, "they share a place", name)
		require.NotContains(t, err.Error(), `links "m"`, name)
		delete(host.MapStore["users"], `["q","1"]`)
		tried(t, app, s, host, backup.RestoreOptions{Strategy: backup.Merge})
	}
}

func TestAReferenceToANumberThatIsMissingMeansNoRecordThatArrives(t *testing.T) {
	app, strict := shopApp(), shopApp()
	strict.Collections[0].Schema = []byte(`{"properties":{"name":{"maxLength":3}}}`)
	opts := backup.RestoreOptions{Installation: "here", LeaveOutInvalid: true}
	s := snapshotOf(t, app, backuptest.MapStore{"users": {"1": `{"id":1,"name":"ann"}`, "2": `{"id":2,"name":"too long"}`}, "notes": {"1": `{"id":1,"user":2,"title":"a"}`}, "log": {}})
	for name, here := range map[string]records{"a twin": {"2": `{"id":2,"name":"ann"}`}, "a fresh key": {"1": `{"id":1,"name":"bob"}`}} {
		_, err := strict.Plan(t.Context(), s, shop(here, nil, nil), opts)
		require.ErrorIs(t, err, backup.ErrDangling, name)
		require.ErrorContains(t, err, `notes "1" /user`, name)
	}
	host := shop(records{"1": `{"id":1,"name":"bob"}`}, nil, nil)
	report := tried(t, strict, backedUp(t, app, backuptest.MapStore{"users": {"1": `{"id":1,"name":"ann"}`, "2": `{"id":2,"name":"too long"}`}, "notes": {}, "log": {}},
		backup.BackupOptions{Installation: "there", Serial: 1}), host, opts)
	require.Equal(t, map[string]string{"1": "3"}, report.Collections[0].RekeyedKeys, "the number of a record that is left out is not fresh")
}

// A faultyNumbers returns keys that are not new.
type faultyNumbers struct {
	backuptest.RuledStore
	keys []string
}

func (s faultyNumbers) Update(ctx context.Context, write func(backup.Writer) error) error {
	return s.RuledStore.Update(ctx, func(w backup.Writer) error { return write(faultyNumberer{w, s.keys}) })
}

type faultyNumberer struct {
	backup.Writer
	keys []string
}

func (w faultyNumberer) NewKeys(_ context.Context, _ string, n int) ([]string, error) {
	return w.keys[:min(n, len(w.keys))], nil
}

func TestKeysThatAreNotNewAreRefused(t *testing.T) {
	app := shopApp()
	s := snapshotOf(t, app, backuptest.MapStore{"users": {"1": `{"id":1,"name":"ann"}`, "2": `{"id":2,"name":"cid"}`}, "notes": {}, "log": {}})
	for want, keys := range map[string][]string{
		`"5", which has a record`: {"4", "5"},
		`"9", which is empty or`:  {"9", "9"},
		`"", which is empty or`:   {"", "9"},
		"it returned 1":           {"9"},
		"it returned 0":           nil,
	} {
		host := shop(records{"1": `{"id":1,"name":"bob"}`, "2": `{"id":2,"name":"zoe"}`, "5": `{"id":5,"name":"max"}`}, nil, nil)
		before := host.Clone()
		_, err := app.Restore(t.Context(), s, faultyNumbers{host, keys}, backup.RestoreOptions{Installation: "here", Strategy: backup.Merge})
		require.ErrorContains(t, err, want)
		require.Equal(t, before, host.MapStore)
	}
}

// Positions in a list move on by one. Each record has its twin by name, and the position of
// the next one.
func TestValuesMayMoveAlongAChainOfTwins(t *testing.T) {
	app := twinApp()
	for _, n := range []int{12, 3000} {
		there, here, want := records{}, records{}, records{}
		for i := range n {
			key := fmt.Sprintf("h%05d", (i*7)%n)
			there[fmt.Sprintf("k%05d", i)] = fmt.Sprintf(`{"id":"k%05d","username":"u%d","email":"m%d"}`, i, i, i+1)
			here[key] = fmt.Sprintf(`{"id":%q,"username":"u%d","email":"m%d"}`, key, i, i)
			want[key] = fmt.Sprintf(`{"id":%q,"username":"u%d","email":"m%d"}`, key, i, i+1)
		}
		s := snapshotOf(t, app, backuptest.MapStore{"users": there, "notes": {}})
		host := twinHost(here, nil)
		tried(t, app, s, host, backup.RestoreOptions{Strategy: backup.Merge})
		require.Equal(t, want, host.MapStore["users"])

		here["x"] = fmt.Sprintf(`{"id":"x","email":"m%d"}`, n) // the last one stays where it is, and so do all
		host = twinHost(here, nil)
		_, err := app.Plan(t.Context(), s, host, backup.RestoreOptions{Strategy: backup.Merge})
		require.ErrorIs(t, err, backup.ErrClash)
		tried(t, app, s, host, backup.RestoreOptions{Strategy: backup.Merge, SkipClashes: true})
		require.Equal(t, here, host.MapStore["users"])
	}
}

func TestKeysWithReferencesThatLeadBackToThem(t *testing.T) {
	app := &backup.App{Name: "pair", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{
		{Name: "a", Key: "/b,/n", Refs: []backup.Ref{{Pointer: "/b", Collection: "b"}}},
		{Name: "b", Key: "/id", Unique: []string{"/name"}, Refs: []backup.Ref{{Pointer: "/a/0,/a/1", Collection: "a"}}},
		{Name: "c", Key: "/a/0,/a/1", Refs: []backup.Ref{{Pointer: "/a/0,/a/1", Collection: "a"}}},
	}}
	s := snapshotOf(t, app, backuptest.MapStore{"a": {`["b1","x"]`: `{"b":"b1","n":"x"}`}, "b": {"b1": `{"id":"b1","a":["b1","x"],"name":"y"}`}, "c": {`["b1","x"]`: `{"a":["b1","x"]}`}})
	cols := app.Collections
	for _, order := range [][]int{{0, 1, 2}, {1, 0, 2}, {2, 1, 0}, {2, 0, 1}} {
		app.Collections = nil
		for _, i := range order {
			app.Collections = append(app.Collections, cols[i])
		}
		for _, here := range []records{{}, {`["b2","x"]`: `{"b":"b2","n":"x"}`}} {
			host := backuptest.RuledStore{MapStore: backuptest.MapStore{"a": here, "b": {"b2": `{"id":"b2","name":"y"}`}, "c": {}}}
			opts := backup.RestoreOptions{Strategy: backup.Merge}
			tried(t, app, s, host, opts)
			require.Equal(t, backuptest.MapStore{"a": {`["b2","x"]`: `{"b":"b2","n":"x"}`}, "b": {"b2": `{"id":"b2","name":"y","a":["b2","x"]}`}, "c": {`["b2","x"]`: `{"a":["b2","x"]}`}}, host.MapStore, order)
			twice(t, app, s, host, opts)
		}
	}
}

// The store enforces nothing here: what the restore says is unique must be so all the same.
func TestAValueThatARecordKeepsIsNotGivenAway(t *testing.T) {
	app := twinApp()
	for _, n := range []int{1, 12, 3000} {
		there, here := records{}, records{"x": fmt.Sprintf(`{"id":"x","username":"u%d"}`, n)}
		for i := range n {
			key := fmt.Sprintf("k%05d", (i*7)%n)
			there[key] = fmt.Sprintf(`{"id":%q,"username":"u%d"}`, key, i+1)
			here[key] = fmt.Sprintf(`{"id":%q,"username":"u%d"}`, key, i)
		}
		there["new"] = `{"id":"new","username":"u0"}`
		s := snapshotOf(t, app, backuptest.MapStore{"users": there, "notes": {}})
		host := backuptest.RuledStore{MapStore: backuptest.MapStore{"users": here, "notes": {}}}
		for _, untried := range []bool{true, false} {
			p, err := app.Plan(t.Context(), s, host, backup.RestoreOptions{Strategy: backup.Merge, SkipClashes: true, Untried: untried})
			require.NoError(t, err)
			require.Equal(t, int64(n+1), p.Report().Collections[0].Skipped)
		}
		opts := backup.RestoreOptions{Strategy: backup.Merge, SkipClashes: true}
		tried(t, app, s, host, opts)
		require.Equal(t, here, host.MapStore["users"])
		twice(t, app, s, host, opts)
	}
}

func TestAnEmptyTextIsNoUniqueValue(t *testing.T) {
	app := twinApp()
	app.Collections[0].Unique = []string{"/username", "fold:/email", "/realm,/nick"}
	users := records{"k": `{"id":"k","username":"","email":"","realm":"","nick":""}`, "l": `{"id":"l","username":"","email":"","realm":"","nick":"x"}`}
	s := snapshotOf(t, app, backuptest.MapStore{"users": users, "notes": {}})
	b, c := `{"id":"b","username":"","email":"","realm":"","nick":""}`, `{"id":"c","realm":"","nick":"x"}`
	host := backuptest.RuledStore{MapStore: backuptest.MapStore{"users": {"b": b, "c": c}, "notes": {}}}
	opts := backup.RestoreOptions{}
	tried(t, app, s, host, opts)
	require.Equal(t, records{"b": b, "c": c, "k": users["k"]}, host.MapStore["users"], "an empty part beside another counts")
	twice(t, app, s, host, opts)

	app = treeApp()
	app.Collections = app.Collections[1:2]
	s = snapshotOf(t, app, backuptest.MapStore{"folders": {"1": `{"id":1,"path":"/"}`, "2": `{"id":2,"parent":1,"name":""}`}})
	host = backuptest.RuledStore{MapStore: backuptest.MapStore{"folders": {"8": `{"id":8,"path":"/"}`, "9": `{"id":9,"parent":8,"name":""}`}}}
	require.Equal(t, map[string]string{"1": "8", "2": "9"}, tried(t, app, s, host, opts).Collections[0].RekeyedKeys)
}

func TestAKeyThatHoldsANumberOfAnotherInstallationTellsNothing(t *testing.T) {
	app := &backup.App{Name: "shop", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{
		{Name: "users", Key: "/id", Unique: []string{"/name"}},
		{Name: "preferences", Key: "/user", Refs: []backup.Ref{{Pointer: "/user", Collection: "users"}}},
	}}
	there := records{"1": `{"user":1,"dark":true}`, "2": `{"user":2,"dark":true}`}
	s := snapshotOf(t, app, backuptest.MapStore{"users": {"1": `{"id":1,"name":"ann"}`, "2": `{"id":2,"name":"cid"}`}, "preferences": there})
	here := records{"1": `{"user":1,"dark":false}`, "2": `{"user":2,"dark":true}`}
	for _, opts := range []backup.RestoreOptions{
		{Strategy: backup.Merge, Only: []string{"preferences"}},
		{Strategy: backup.Replace, Records: map[string][]string{"preferences": {"1", "2"}}},
	} {
		opts.Installation = "here"
		host := backuptest.RuledStore{Numbered: []string{"users"}, MapStore: backuptest.MapStore{"users": {"1": `{"id":1,"name":"bob"}`, "2": `{"id":2,"name":"cid"}`}, "preferences": here}}
		_, err := app.Plan(t.Context(), s, host, opts)
		require.ErrorIs(t, err, backup.ErrClash, "the preferences of bob are not those of ann")
		require.ErrorContains(t, err, `preferences "1"`)
		require.NotContains(t, err.Error(), `preferences "2"`)
		opts.SkipClashes = true
		tried(t, app, s, host, opts)
		require.Equal(t, here, host.MapStore["preferences"])
		twice(t, app, s, host, opts)
		opts.Only, opts.WithReferences = nil, opts.Records != nil
		tried(t, app, s, host, opts)
		require.Equal(t, records{"1": here["1"], "2": here["2"], "3": `{"user":3,"dark":true}`}, host.MapStore["preferences"])
		opts.Installation = ""
	}
}

// The store enforces nothing here.
func TestReplaceTakesNoValueOfARecordThatMustStay(t *testing.T) {
	app := twinApp()
	there := backuptest.MapStore{"users": {"k": `{"id":"k","username":"ann"}`, "l": `{"id":"l","username":"bob"}`}, "notes": {"n": `{"id":"n","user":"k"}`, "m": `{"id":"m","user":"l"}`}}
	s := snapshotOf(t, app, there)
	for _, here := range []records{{"b": `{"id":"b","username":"ann"}`, "c": `{"id":"c","username":"bob"}`}, {"b": `{"id":"b","username":"ann"}`, "k": `{"id":"k","username":"cid"}`}} {
		host := backuptest.RuledStore{MapStore: backuptest.MapStore{"users": here, "notes": {}}}
		opts := backup.RestoreOptions{Strategy: backup.Replace, Own: map[string][]string{"users": {"b"}}}
		_, err := app.Plan(t.Context(), s, host, opts)
		require.ErrorIs(t, err, backup.ErrClash)
		require.ErrorContains(t, err, `users "k" /username (byte 506) clashes with "b"`)
		opts.SkipClashes = true
		report := tried(t, app, s, host, opts)
		require.Equal(t, "k", report.LeftOut[len(report.LeftOut)-1].Key)
		want := records{"b": here["b"], "l": there["users"]["l"]}
		if here["k"] != "" {
			want["k"] = here["k"]
		}
		require.Equal(t, want, host.MapStore["users"])
		twice(t, app, s, host, opts)
	}
}

func TestAKeyThatHoldsAForeignNumberAndOneThatFollows(t *testing.T) {
	app := officeApp()
	s := snapshotOf(t, app, backuptest.MapStore{"users": {"5": `{"id":5,"name":"ann"}`}, "folders": {"10": `{"id":10,"path":"/"}`}, "members": {`["10","5"]`: `{"folder":10,"user":5}`}, "shares": {}})
	host := officeStore(backuptest.MapStore{"users": {"3": `{"id":3,"name":"ann"}`}, "folders": {"10": `{"id":10,"path":"/x"}`}, "members": {`["10","3"]`: `{"folder":10,"user":3}`}, "shares": {}}, true)
	opts := backup.RestoreOptions{Strategy: backup.Merge, Installation: "here", Records: map[string][]string{"users": {"5"}, "members": {`["10","5"]`}}}
	require.False(t, tried(t, app, s, host, opts).Changed())
}
