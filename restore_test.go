package backup_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/internal/testtime"
)

var everyStrategy = []backup.Strategy{backup.SkipDuplicates, backup.Merge, backup.Replace}

// without returns a copy of an App whose collections have neither schema nor
// references nor secrets.
func without(app *backup.App) *backup.App {
	loose := *app
	loose.Collections = slices.Clone(app.Collections)
	for i, c := range loose.Collections {
		loose.Collections[i] = backup.Collection{Name: c.Name, Key: c.Key, Shape: c.Shape, Secrets: c.Secrets}
	}
	return &loose
}

func TestStrategies(t *testing.T) {
	app := &backup.App{Name: "homelab", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{
		list("servers"), {Name: "settings", Shape: backup.Map},
	}}
	const (
		servers = `{"servers":[
			{"id":"snapshot only","n":1},
			{"id":"equal","n":1,"o":{"a":1,"b":[1,2.0]}},
			{"id":"different","n":1,"o":{"a":1,"c":3},"list":[1],"null":null}]}`
		settings = `{"settings":{
			"snapshot only":1,
			"equal":{"a":1,"b":[1,2.0]},
			"different":{"n":1,"o":{"a":1,"c":3},"list":[1],"null":null}}}`
	)
	hosts := backuptest.MapStore{
		"servers": {
			"equal":     `{"o":{"b":[1,2],"a":1},"n":1e0,"id":"equal"}`,
			"different": `{"id":"different","n":2,"o":{"a":2,"b":2},"list":[2,3],"null":4,"host":true}`,
			"host only": `{"id":"host only"}`,
		},
		"settings": {
			"equal":     `{"b":[1,2],"a":1e0}`,
			"different": `{"n":2,"o":{"a":2,"b":2},"list":[2,3],"null":4,"host":true}`,
			"host only": `"x"`,
		},
	}
	for _, c := range []struct {
		strategy        backup.Strategy
		server, setting string
		hostOnly        bool
		report          backup.CollectionReport
	}{
		{backup.SkipDuplicates, hosts["servers"]["different"], hosts["settings"]["different"], true,
			backup.CollectionReport{Skipped: 1, Conflicts: []string{"different"}}},
		{backup.Merge,
			`{"id":"different","n":1,"o":{"a":1,"b":2,"c":3},"list":[1],"null":null,"host":true}`,
			`{"n":1,"o":{"a":1,"b":2,"c":3},"list":[1],"null":null,"host":true}`, true,
			backup.CollectionReport{Updated: 1}},
		{backup.Replace,
			`{"id":"different","n":1,"o":{"a":1,"c":3},"list":[1],"null":null}`,
			`{"n":1,"o":{"a":1,"c":3},"list":[1],"null":null}`, false,
			backup.CollectionReport{Updated: 1, Deleted: 1}},
	} {
		for name, data := range map[string]string{"servers": servers, "settings": settings} {
			t.Run(string(c.strategy)+" of "+name, func(t *testing.T) {
				want := hosts.Clone()
				want[name] = maps.Clone(hosts[name])
				want[name]["snapshot only"], want[name]["different"] = `{"id":"snapshot only","n":1}`, c.server
				if name == "settings" {
					want[name]["snapshot only"], want[name]["different"] = `1`, c.setting
				}
				if !c.hostOnly {
					delete(want[name], "host only")
				}
				c.report.Name, c.report.Strategy, c.report.Records, c.report.Added, c.report.Unchanged = name, c.strategy, 3, 1, 1

				store := hosts.Clone()
				s := written(t, app, 1, data)
				report, err := app.Restore(t.Context(), s, store, backup.RestoreOptions{Strategy: c.strategy})
				require.NoError(t, err)
				require.Equal(t, want, store, "the other collection is not touched")
				require.Equal(t, []backup.CollectionReport{c.report}, report.Collections)

				report, err = app.Restore(t.Context(), s, store, backup.RestoreOptions{Strategy: c.strategy})
				require.NoError(t, err)
				require.Equal(t, want, store, "the second time changes nothing")
				again := report.Collections[0]
				require.Zero(t, again.Added+again.Updated+again.Deleted)
			})
		}
	}
}

func TestAFullRestoreMakesTheHostWhatItWas(t *testing.T) {
	s := backedUp(t, homelab(), homelabStore(), backup.BackupOptions{Include: []string{"logs"}})
	for name, store := range map[string]backuptest.MapStore{
		"an empty host": {"servers": {}, "applications": {}, "settings": {}, "users": {}, "logs": {}},
		"a host that went another way": {
			"servers":      {"s1": `{"id":"s1","name":"other"}`, "s9": `{"id":"s9","name":"new","parent":"s9"}`},
			"applications": {"a9": `{"id":"a9","name":"new","server_id":"s9"}`, "a1": `{"id":"a1","name":"moved","server_id":"s9"}`},
			"settings":     {"theme": `"light"`, "home_server": `"s9"`, "extra": `[]`},
			"users":        {"7": `{"id":"7"}`, "8": `{"id":8}`},
			"logs":         {"2": `{"id":2}`},
		},
		"the same host": homelabStore(),
	} {
		t.Run(name, func(t *testing.T) {
			report, err := homelab().Restore(t.Context(), s, store, backup.RestoreOptions{Strategy: backup.Replace})
			require.NoError(t, err)
			require.Equal(t, homelabStore(), store)
			require.Empty(t, report.Warnings)
			require.Equal(t, s.Manifest().CreatedAt, report.CreatedAt)
			require.Equal(t, "2.1.0", report.ApplicationVersion)
		})
	}
}

func TestAStrategyOfACollectionGoesBeforeTheOneOfAll(t *testing.T) {
	s := backedUp(t, homelab(), homelabStore(), backup.BackupOptions{})
	store := homelabStore()
	store["users"] = map[string]string{"7": `{"id":7,"name":"bea","host":1}`, "8": `{"id":8}`}
	store["settings"]["theme"] = `"light"`
	store["servers"]["s1"] = `{"id":"s1","name":"host's","rack":1}`
	store["servers"]["s3"] = `{"id":"s3","name":"host's"}`
	report, err := homelab().Restore(t.Context(), s, store, backup.RestoreOptions{
		Strategy:   backup.Replace,
		Strategies: map[string]backup.Strategy{"settings": backup.SkipDuplicates, "servers": backup.Merge, "logs": backup.Merge},
	})
	require.NoError(t, err)
	want := homelabStore()
	want["settings"]["theme"] = `"light"`
	want["servers"]["s1"] = `{"id":"s1","name":"nas","rack":1,"port":22,"password":"hunter22"}`
	want["servers"]["s3"] = `{"id":"s3","name":"host's"}`
	require.Equal(t, want, store)
	var used []string
	for _, c := range report.Collections {
		used = append(used, c.Name+" "+string(c.Strategy))
	}
	require.Equal(t, []string{"servers merge", "applications replace", "settings skip-duplicates", "users replace"}, used, "logs are not in the snapshot")
}

func TestOptionsThatMakeNoSenseAreRefused(t *testing.T) {
	s := backedUp(t, homelab(), homelabStore(), backup.BackupOptions{})
	for name, c := range map[string]struct {
		opts backup.RestoreOptions
		want string
	}{
		"an unknown collection":                {backup.RestoreOptions{Only: []string{"user"}}, `homelab has no collection "user", only applications, servers`},
		"a collection the snapshot has not":    {backup.RestoreOptions{Only: []string{"users", "logs"}}, `the snapshot has no collection "logs", only servers, applications, settings, users`},
		"a strategy of an unknown collection":  {backup.RestoreOptions{Strategies: map[string]backup.Strategy{"user": backup.Merge}}, `a strategy for "user"`},
		"an unknown strategy":                  {backup.RestoreOptions{Strategy: "overwrite"}, `unknown strategy "overwrite": want skip-duplicates, merge or replace`},
		"an unknown strategy for a collection": {backup.RestoreOptions{Strategies: map[string]backup.Strategy{"users": "keep"}}, `users: invalid data: unknown strategy "keep"`},
	} {
		t.Run(name, func(t *testing.T) {
			store := homelabStore()
			_, err := homelab().Restore(t.Context(), s, store, c.opts)
			require.ErrorIs(t, err, backup.ErrInvalid)
			require.ErrorContains(t, err, c.want)
			require.Equal(t, homelabStore(), store)
		})
	}
}

func TestARestoreThatWouldLeaveReferencesDanglingIsRefused(t *testing.T) {
	full := backedUp(t, homelab(), homelabStore(), backup.BackupOptions{})
	empty := backuptest.MapStore{"servers": {}, "applications": {}, "settings": {}, "users": {}, "logs": {}}
	fewer := homelabStore()
	delete(fewer["servers"], "s1")
	fewer["servers"]["s2"] = `{"id":"s2","name":"pi"}`
	lesser := backedUp(t, without(homelab()), fewer, backup.BackupOptions{})
	hostChild := homelabStore()
	hostChild["servers"]["s3"] = `{"id":"s3","name":"child","parent":"s2"}`

	for name, c := range map[string]struct {
		snapshot *backup.Snapshot
		host     backuptest.MapStore
		opts     backup.RestoreOptions
		want     []string
	}{
		"applications without their servers": {full, empty, backup.RestoreOptions{Only: []string{"applications"}}, []string{
			`applications "a1" /server_id (byte `, `refers to "s1" of servers, which would not exist`,
			`applications "a2" /server_id (byte `, `refers to "s2" of servers, which would not exist`,
		}},
		"a setting without its server": {full, empty, backup.RestoreOptions{Only: []string{"settings"}}, []string{`settings "home_server" (byte `}},
		"Replace of servers that the host's applications and settings need": {lesser, homelabStore(),
			backup.RestoreOptions{Only: []string{"servers"}, Strategy: backup.Replace}, []string{
				`applications "a1" /server_id: refers to "s1" of servers, which is not in the snapshot and would be deleted`,
				`settings "home_server": refers to "s1" of servers`,
			}},
		"Replace of servers, the applications kept by SkipDuplicates": {lesser, homelabStore(),
			backup.RestoreOptions{Only: []string{"servers", "applications"}, Strategy: backup.Replace, Strategies: map[string]backup.Strategy{"applications": backup.SkipDuplicates}},
			[]string{`applications "a1" /server_id: refers to "s1" of servers`, `settings "home_server"`}},
		"Replace of servers, the applications merged and unchanged": {lesser, homelabStore(),
			backup.RestoreOptions{Strategy: backup.Merge, Strategies: map[string]backup.Strategy{"servers": backup.Replace}},
			[]string{`applications "a1" /server_id: refers to "s1" of servers`, `settings "home_server"`}},
		"Replace of all from a snapshot whose references dangle": {lesser, homelabStore(),
			backup.RestoreOptions{Strategy: backup.Replace},
			[]string{`applications "a1" /server_id: refers to "s1" of servers`, `settings "home_server": refers to "s1"`}},
	} {
		t.Run(name, func(t *testing.T) {
			before := c.host.Clone()
			_, err := homelab().Plan(t.Context(), c.snapshot, c.host, c.opts)
			require.ErrorIs(t, err, backup.ErrDangling)
			_, err = homelab().Restore(t.Context(), c.snapshot, c.host, c.opts)
			require.ErrorIs(t, err, backup.ErrDangling)
			for _, want := range c.want {
				require.ErrorContains(t, err, want)
			}
			require.ErrorContains(t, err, "nothing was changed; restore the collections referred to as well, or allow dangling references")
			require.Equal(t, before, c.host)

			c.opts.AllowDangling = true
			store := c.host.Clone()
			report, err := homelab().Restore(t.Context(), c.snapshot, store, c.opts)
			require.NoError(t, err)
			for _, want := range c.want {
				require.Contains(t, strings.Join(report.Warnings, "\n"), want)
			}
			again, err := homelab().Plan(t.Context(), c.snapshot, store, c.opts)
			require.NoError(t, err)
			for _, r := range again.Report().Collections {
				require.Zero(t, r.Added+r.Updated+r.Deleted)
			}
		})
	}

	t.Run("references of the host that dangled before are no concern", func(t *testing.T) {
		store := homelabStore()
		store["applications"]["a9"] = `{"id":"a9","name":"n","server_id":"never was"}`
		_, err := homelab().Restore(t.Context(), full, store, backup.RestoreOptions{Only: []string{"servers", "users"}, Strategy: backup.Replace})
		require.NoError(t, err)
	})
	t.Run("what the host has is enough", func(t *testing.T) {
		_, err := homelab().Restore(t.Context(), full, homelabStore(), backup.RestoreOptions{Only: []string{"applications"}, Strategy: backup.Replace})
		require.NoError(t, err)
	})
	t.Run("the whole list is given", func(t *testing.T) {
		data := `{"applications":[`
		for i := range 600 {
			data += fmt.Sprintf(`{"id":%d,"name":"n","server_id":"s%d"},`, i, i)
		}
		s := written(t, homelab(), 1, strings.TrimSuffix(data, ",")+"]}")
		var lines []string
		_, err := homelab().Restore(t.Context(), s, ledger{empty, &lines}, backup.RestoreOptions{})
		require.ErrorContains(t, err, "and 580 more")
		require.Empty(t, lines, "nothing is written any more")
	})
}

func TestReferencesMayGoRoundInACircle(t *testing.T) {
	app := &backup.App{Name: "a", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{
		{Name: "hens", Key: "/id", Refs: []backup.Ref{{Pointer: "/from", Collection: "eggs"}, {Pointer: "/friends/*", Collection: "hens"}}},
		{Name: "eggs", Key: "/id", Refs: []backup.Ref{{Pointer: "/of", Collection: "hens"}}},
	}}
	source := backuptest.MapStore{
		"hens": {"1": `{"id":1,"from":"e1","friends":[1,"2"]}`, "2": `{"id":2,"from":null,"friends":[1]}`},
		"eggs": {"e1": `{"id":"e1","of":2}`},
	}
	s := backedUp(t, app, source, backup.BackupOptions{})
	store := backuptest.MapStore{"hens": {"3": `{"id":3,"friends":[3]}`}, "eggs": {"e3": `{"id":"e3","of":3}`}}
	_, err := app.Restore(t.Context(), s, store, backup.RestoreOptions{Strategy: backup.Replace})
	require.NoError(t, err)
	require.Equal(t, source, store)
}

// A ledger writes down the changes that go through it.
type ledger struct {
	backup.Sink
	lines *[]string
}

func (l ledger) Update(ctx context.Context, write func(backup.Writer) error) error {
	return l.Sink.Update(ctx, func(w backup.Writer) error { return write(ledgerWriter{w, l.lines}) })
}

type ledgerWriter struct {
	backup.Writer
	lines *[]string
}

func (w ledgerWriter) Put(ctx context.Context, collection string, records []backup.Record) error {
	*w.lines = append(*w.lines, fmt.Sprint("put ", collection, " ", len(records)))
	return w.Writer.Put(ctx, collection, records)
}

func (w ledgerWriter) Delete(ctx context.Context, collection string, keys []string) error {
	*w.lines = append(*w.lines, fmt.Sprint("delete ", collection, " ", keys))
	return w.Writer.Delete(ctx, collection, keys)
}

func TestParentsComeBeforeChildrenAndGoAfterThem(t *testing.T) {
	s := backedUp(t, homelab(), homelabStore(), backup.BackupOptions{})
	var lines []string
	store := backuptest.MapStore{
		"servers": {"s9": `{"id":"s9","name":"n"}`, "s8": `{"id":"s8","name":"n"}`}, "applications": {"a9": `{"id":"a9","name":"n","server_id":"s9"}`},
		"settings": {"extra": `1`}, "users": {}, "logs": {},
	}
	_, err := homelab().Restore(t.Context(), s, ledger{store, &lines}, backup.RestoreOptions{Strategy: backup.Replace})
	require.NoError(t, err)
	require.Equal(t, []string{
		"delete settings [extra]", "delete applications [a9]", "delete servers [s8 s9]",
		"put servers 2", "put applications 2", "put settings 3", "put users 1",
	}, lines)
}

func TestManyRecordsGoInBatches(t *testing.T) {
	app := &backup.App{Name: "a", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{
		list("servers"), {Name: "applications", Key: "/id", Refs: []backup.Ref{{Pointer: "/servers/*", Collection: "servers"}}},
	}}
	source, store := backuptest.MapStore{"servers": {}, "applications": {}}, backuptest.MapStore{"servers": {}, "applications": {}}
	var all []string
	for i := range 1000 {
		source["servers"][fmt.Sprint(i)] = fmt.Sprintf(`{"id":%d}`, i)
		store["applications"][fmt.Sprint("old", i)] = fmt.Sprintf(`{"id":"old%d"}`, i)
		all = append(all, fmt.Sprint(i))
	}
	source["applications"]["a"] = `{"id":"a","servers":[` + strings.Join(all, ",") + `]}`
	s := backedUp(t, app, source, backup.BackupOptions{})
	var lines []string
	_, err := app.Restore(t.Context(), s, ledger{store, &lines}, backup.RestoreOptions{Strategy: backup.Replace})
	require.NoError(t, err)
	require.Equal(t, source, store)
	require.Less(t, len(lines), 12)
	require.Greater(t, len(lines), 6)

	delete(store["applications"], "a")
	largest := 0
	_, err = app.Restore(t.Context(), s, sinkFunc(func(ctx context.Context, write func(backup.Writer) error) error {
		return store.Update(ctx, func(w backup.Writer) error { return write(lookupWriter{w, &largest}) })
	}), backup.RestoreOptions{Only: []string{"applications"}})
	require.NoError(t, err)
	require.LessOrEqual(t, largest, 500, "a thousand references of one record are looked up some hundreds at a time")
}

type lookupWriter struct {
	backup.Writer
	largest *int
}

func (w lookupWriter) Lookup(ctx context.Context, collection string, keys []string) ([]backup.Record, error) {
	*w.largest = max(*w.largest, len(keys))
	return w.Writer.Lookup(ctx, collection, keys)
}

// sinkFunc is a Sink with an Update of its own.
type sinkFunc func(ctx context.Context, write func(backup.Writer) error) error

func (f sinkFunc) Update(ctx context.Context, write func(backup.Writer) error) error {
	return f(ctx, write)
}

func TestAHostCanMergeItsWay(t *testing.T) {
	type mergeFunc = func(existing, incoming backup.Record) (backup.Record, error)
	value := func(s string) mergeFunc {
		return func(existing, incoming backup.Record) (backup.Record, error) {
			return backup.Record{Key: incoming.Key, Value: []byte(s)}, nil
		}
	}
	merge := func(list, settings mergeFunc) *backup.App {
		return &backup.App{Name: "homelab", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{
			{Name: "servers", Key: "/id", Merge: list, Schema: []byte(`{"properties":{"n":{"type":"integer"}}}`), Refs: []backup.Ref{{Pointer: "/parent", Collection: "servers"}}},
			{Name: "settings", Shape: backup.Map, Merge: settings, Schema: []byte(`{"properties":{"a/b":{"type":"integer"}}}`)},
		}}
	}
	host := func() backuptest.MapStore {
		return backuptest.MapStore{"servers": {"s1": `{"id":"s1","n":1,"x":"s3cret"}`}, "settings": {"a/b": `1`}}
	}
	const data = `{"servers":[{"id":"s1","n":2}],"settings":{"a/b":2}}`

	for name, c := range map[string]struct {
		app  *backup.App
		want string
	}{
		"fails":                   {merge(func(_, _ backup.Record) (backup.Record, error) { return backup.Record{}, io.ErrNoProgress }, nil), `servers "s1" (byte 145): merge: multiple Read calls`},
		"breaks the schema":       {merge(value(`{"id":"s1","n":"many"}`), nil), `servers "s1" /n (byte 145): after merging: expected integer`},
		"breaks it in a map":      {merge(nil, value(`"many"`)), `settings "a/b" (byte 182): after merging: expected integer`},
		"changes the key":         {merge(value(`{"id":"s2","n":1}`), nil), `servers "s1" (byte 145): merge: the key has become "s2"`},
		"drops the key":           {merge(value(`{"n":1}`), nil), `servers "s1" /id (byte 145): after merging: the key is missing`},
		"changes the key in map":  {merge(nil, func(_, in backup.Record) (backup.Record, error) { in.Key = "b"; return in, nil }), `settings "a/b" (byte 182): merge: the key has become "b"`},
		"drops the key in a map":  {merge(nil, func(_, in backup.Record) (backup.Record, error) { in.Key = ""; return in, nil }), `settings "a/b" (byte 182): after merging: the key is empty`},
		"returns garbage":         {merge(value(`{"id":"s1"`), nil), `servers "s1" (byte 145): merge: not well-formed JSON`},
		"returns nothing":         {merge(value(``), nil), `servers "s1" (byte 145): merge: not well-formed JSON`},
		"returns something else":  {merge(value(`"s1"`), nil), `servers "s1" /id (byte 145): after merging: the record is not an object`},
		"makes a reference a map": {merge(value(`{"id":"s1","parent":{}}`), nil), `servers "s1" /parent (byte 145): after merging: reference to servers: the key is neither`},
	} {
		t.Run(name, func(t *testing.T) {
			store := host()
			s := written(t, c.app, 1, data)
			_, err := c.app.Restore(t.Context(), s, store, backup.RestoreOptions{Strategy: backup.Merge})
			require.ErrorIs(t, err, backup.ErrInvalid)
			require.NotErrorIs(t, err, backup.ErrDamaged, "the snapshot is fine")
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, "nothing was changed; correct these records in homelab, or restore with another strategy")
			require.NotContains(t, err.Error(), "s3cret")
			require.Equal(t, host(), store)
		})
	}
	t.Run("and is obeyed", func(t *testing.T) {
		sum := func(existing, incoming backup.Record) (backup.Record, error) {
			require.JSONEq(t, `1`, string(existing.Value))
			require.JSONEq(t, `2`, string(incoming.Value))
			return backup.Record{Key: existing.Key, Value: []byte(` 3 `)}, nil
		}
		app := merge(value(` {"id": "s1","sum":3} `), sum)
		store := host()
		_, err := app.Restore(t.Context(), written(t, app, 1, data), store, backup.RestoreOptions{Strategy: backup.Merge})
		require.NoError(t, err)
		require.Equal(t, backuptest.MapStore{"servers": {"s1": `{"id":"s1","sum":3}`}, "settings": {"a/b": `3`}}, store)
	})
	t.Run("and may keep what there is", func(t *testing.T) {
		app := merge(func(existing, _ backup.Record) (backup.Record, error) { return existing, nil }, nil)
		store := host()
		report, err := app.Restore(t.Context(), written(t, app, 1, data), store, backup.RestoreOptions{Strategy: backup.Merge})
		require.NoError(t, err)
		require.Equal(t, host()["servers"], store["servers"])
		require.Equal(t, int64(1), report.Collections[0].Unchanged)
	})
	t.Run("and all that became invalid are named", func(t *testing.T) {
		app := merge(value(`{"id":"s1","n":"many"}`), value(`"many"`))
		_, err := app.Restore(t.Context(), written(t, app, 1, data), host(), backup.RestoreOptions{Strategy: backup.Merge})
		require.ErrorContains(t, err, `servers "s1" /n`)
		require.ErrorContains(t, err, `settings "a/b"`)
	})
	t.Run("also when the host's own members are what is wrong", func(t *testing.T) {
		app := merge(nil, nil)
		store := backuptest.MapStore{"servers": {"s1": `{"id":"s1","n":"s3cret"}`, "s2": `{"id":"s2"}`}, "settings": {}}
		s := written(t, app, 1, `{"servers":[{"id":"s1","m":1},{"id":"s2","m":1}]}`)
		_, err := app.Restore(t.Context(), s, store, backup.RestoreOptions{Strategy: backup.Merge})
		require.ErrorIs(t, err, backup.ErrInvalid)
		require.NotContains(t, err.Error(), "s3cret")
		require.Equal(t, `{"id":"s2"}`, store["servers"]["s2"])
	})
}

func TestASnapshotWithInvalidRecordsIsRefusedOrTheyAreLeftOut(t *testing.T) {
	file := document(homelab(), 1, `{
		"servers":[{"id":"s1","name":"new"},{"id":"s2","name":""},{"name":"no key"},{"id":"s1","name":"again"},{"id":"s4","name":"new"},{"id":"s5","name":"","port":0}],
		"settings":{"theme":"pink","":1,"language":"de"}}`)
	s := opened(t, file)
	host := func() backuptest.MapStore {
		return backuptest.MapStore{
			"servers":  {"s2": `{"id":"s2","name":"host's"}`, "s3": `{"id":"s3","name":"host's"}`, "s5": `{"id":"s5","name":"host's"}`},
			"settings": {"theme": `"dark"`, "extra": `1`}, "applications": {}, "users": {}, "logs": {},
		}
	}
	store := host()
	_, err := homelab().Restore(t.Context(), s, store, backup.RestoreOptions{Strategy: backup.Replace})
	require.ErrorIs(t, err, backup.ErrInvalid)
	for _, want := range []string{
		`servers "s2" /name (byte 173): length must be >= 1`,
		`servers /id (byte 195): the key is missing`,
		`servers "s1" (byte 213): another record has the same key`,
		`servers "s5" /name`, `servers "s5" /port`,
		`settings "theme" (byte `, `settings (byte `, "the key is empty",
		"nothing was changed; try an older backup, or leave the invalid records out",
	} {
		require.ErrorContains(t, err, want)
	}
	require.Equal(t, host(), store)

	first, ok := errors.AsType[*backup.RecordError](err)
	require.True(t, ok)
	require.True(t, strings.HasPrefix(file[first.Offset:], `{"id":"s2"`), "the offset is that of the record in the file")

	report, err := homelab().Restore(t.Context(), s, store, backup.RestoreOptions{Strategy: backup.Replace, LeaveOutInvalid: true})
	require.NoError(t, err)
	want := host()
	want["servers"] = map[string]string{
		"s1": `{"id":"s1","name":"new"}`, "s2": `{"id":"s2","name":"host's"}`, "s4": `{"id":"s4","name":"new"}`, "s5": `{"id":"s5","name":"host's"}`,
	}
	want["settings"] = map[string]string{"theme": `"dark"`, "language": `"de"`}
	require.Equal(t, want, store, "the host's record under the key of an invalid one stays")
	require.Len(t, report.LeftOut, 7)
	require.Equal(t, int64(1), report.Collections[0].Deleted)
	require.Equal(t, int64(2), report.Collections[0].Records)
}

func TestLeavingOutKeepsCountAcrossManyBatchesAndSections(t *testing.T) {
	app := &backup.App{Name: "a", Version: "1.0.0", SchemaVersion: 2,
		Collections: []backup.Collection{{Name: "all", Key: "/id", Schema: []byte(`{"properties":{"ok":{"const":true}}}`)}, list("others")},
		Migrators: []backup.Migrator{backup.Migration(1, func(ctx context.Context, _ string, r backup.Record, emit func(string, backup.Record) error) error {
			return errors.Join(emit("all", r), emit("others", r))
		})},
	}
	random := rand.New(rand.NewPCG(1, 2))
	want := map[string]string{}
	others := map[string]string{}
	var data []string
	bad := 0
	for sec, name := range []string{"b", "all", "a"} {
		var records []string
		for i := range 700 {
			key := fmt.Sprintf("%d-%d", sec, i)
			if ok := random.IntN(3) > 0; !ok {
				bad++
				records = append(records, fmt.Sprintf(`{"id":%q,"ok":false}`, key))
			} else {
				records = append(records, fmt.Sprintf(`{"id":%q,"ok":true}`, key))
				want[key] = records[i]
			}
			others[key] = records[i]
		}
		data = append(data, fmt.Sprintf("%q:[%s]", name, strings.Join(records, ",")))
	}
	s := written(t, app, 1, "{"+strings.Join(data, ",")+"}")
	store := backuptest.MapStore{"all": {}, "others": {}}
	report, err := app.Restore(t.Context(), s, store, backup.RestoreOptions{LeaveOutInvalid: true})
	require.NoError(t, err)
	require.Len(t, report.LeftOut, bad)
	require.Equal(t, backuptest.MapStore{"all": want, "others": others}, store)
}

func TestADocumentAsAPersonWritesItIsHeldToTheSameRules(t *testing.T) {
	for name, c := range map[string]struct {
		data string
		kind error
		want string
	}{
		"a list where there should be a map":          {`{"settings":[{"theme":"dark"}]}`, backup.ErrInvalid, "settings has another shape in the snapshot than in homelab"},
		"a map where there should be a list":          {`{"servers":{"s1":{"id":"s1","name":"n"}}}`, backup.ErrInvalid, "servers has another shape"},
		"an empty list where there should be a map":   {`{"settings":[]}`, backup.ErrInvalid, "settings has another shape"},
		"a collection that is not declared":           {`{"users":[],"plugins":[{"id":1}]}`, backup.ErrInvalid, `a collection "plugins", which homelab 2.1.0 does not know; leave it out, or allow unknown collections`},
		"an empty collection that is not declared":    {`{"plugins":[]}`, backup.ErrInvalid, `a collection "plugins"`},
		"a reference to nothing":                      {`{"servers":[{"id":"s1","name":"n","parent":"s0"}]}`, backup.ErrDangling, `servers "s1" /parent`},
		"a reference that is not one":                 {`{"servers":[{"id":"s1","name":"n","parent":true}]}`, backup.ErrInvalid, `servers "s1" /parent (byte 145): reference to servers: the key is neither a string nor an integer`},
		"the same identity as a number and as string": {`{"users":[{"id":1},{"id":"1"}]}`, backup.ErrInvalid, `users "1" (byte 152): another record has the same key`},
	} {
		t.Run(name, func(t *testing.T) {
			store := backuptest.MapStore{"servers": {"x": `{"id":"x","name":"n"}`}, "applications": {}, "settings": {"theme": `"dark"`}, "users": {}, "logs": {}}
			before := store.Clone()
			_, err := homelab().Restore(t.Context(), written(t, homelab(), 1, c.data), store, backup.RestoreOptions{Strategy: backup.Replace})
			require.ErrorIs(t, err, c.kind)
			require.ErrorContains(t, err, c.want)
			require.Equal(t, before, store)
		})
	}
}

func TestAnUnknownCollectionCanBeLeftOut(t *testing.T) {
	s := written(t, homelab(), 1, `{"plugins":[{"id":1}],"users":[{"id":1}]}`)
	for name, opts := range map[string]backup.RestoreOptions{
		"by name":        {Only: []string{"users"}},
		"with a warning": {AllowUnknown: true},
	} {
		t.Run(name, func(t *testing.T) {
			store := homelabStore()
			opts.Strategy = backup.Replace
			report, err := homelab().Restore(t.Context(), s, store, opts)
			require.NoError(t, err)
			require.Equal(t, map[string]string{"1": `{"id":1}`}, store["users"])
			warned := slices.ContainsFunc(report.Warnings, func(w string) bool {
				return strings.Contains(w, `a collection "plugins", which homelab 2.1.0 does not know; it was left out`)
			})
			require.Equal(t, opts.AllowUnknown, warned)
		})
	}
	t.Run("sealed, without a key", func(t *testing.T) {
		old := &backup.App{Name: "homelab", Version: "2.0.0", SchemaVersion: 1, Collections: []backup.Collection{
			{Name: "plugins", Key: "/id", Secrets: []string{"/token"}}, list("users"),
		}}
		var file bytes.Buffer
		_, err := old.Backup(t.Context(), &file, backuptest.MapStore{"plugins": {"p": `{"id":"p","token":1}`}, "users": {"1": `{"id":1}`}}, backup.BackupOptions{Recipients: sealed})
		require.NoError(t, err)
		s, err := backup.OpenSnapshot(t.Context(), &file, backup.OpenOptions{})
		require.NoError(t, err)
		defer s.Close()
		_, err = homelab().Restore(t.Context(), s, homelabStore(), backup.RestoreOptions{AllowUnknown: true})
		require.NoError(t, err)
	})
}

func TestASnapshotOfAnotherOrNewerApplicationIsRefused(t *testing.T) {
	made := func(change func(*backup.App)) *backup.Snapshot {
		app := homelab()
		change(app)
		return backedUp(t, app, homelabStore(), backup.BackupOptions{Only: []string{"users"}})
	}
	move := backup.Migration(1, func(_ context.Context, c string, r backup.Record, emit func(string, backup.Record) error) error {
		return emit(c, r)
	})
	for name, c := range map[string]struct {
		snapshot *backup.Snapshot
		opts     backup.RestoreOptions
		kind     error
		want     string
	}{
		"of another application": {made(func(a *backup.App) { a.Name = "other" }), backup.RestoreOptions{AllowNewerApp: true, AllowUnknown: true}, backup.ErrForeign, `it is of "other", this is homelab`},
		"of a newer application": {made(func(a *backup.App) { a.Version = "2.2.0" }), backup.RestoreOptions{}, backup.ErrTooNew,
			"it was made by homelab 2.2.0, this is 2.1.0; install 2.2.0 or newer, or allow it explicitly"},
		"of a newer schema": {made(func(a *backup.App) {
			a.Version, a.SchemaVersion, a.Migrators = "3.0.0", 2, []backup.Migrator{move}
		}), backup.RestoreOptions{AllowNewerApp: true}, backup.ErrTooNew,
			"it has schema version 2, homelab 2.1.0 has 1; install 3.0.0 or newer to restore it"},
	} {
		t.Run(name, func(t *testing.T) {
			store := homelabStore()
			_, err := homelab().Verify(t.Context(), c.snapshot, c.opts)
			require.ErrorIs(t, err, c.kind)
			_, err = homelab().Restore(t.Context(), c.snapshot, store, c.opts)
			require.ErrorIs(t, err, c.kind)
			require.ErrorContains(t, err, c.want)
			require.Equal(t, homelabStore(), store)
		})
	}
	s := made(func(a *backup.App) { a.Version = "2.2.0" })
	report, err := homelab().Restore(t.Context(), s, homelabStore(), backup.RestoreOptions{AllowNewerApp: true})
	require.NoError(t, err)
	require.Contains(t, report.Warnings, "the snapshot was made by 2.2.0, which is newer than 2.1.0")
	for _, older := range []string{"2.1.0", "2.0.9", "2.1.0-rc.1", "1.99.0"} {
		_, err := homelab().Restore(t.Context(), made(func(a *backup.App) { a.Version = older }), homelabStore(), backup.RestoreOptions{})
		require.NoError(t, err, older)
	}
}

func TestVerifyChecksWhatARestoreChecksWithoutAHost(t *testing.T) {
	report, err := homelab().Verify(t.Context(), backedUp(t, homelab(), homelabStore(), backup.BackupOptions{}), backup.RestoreOptions{})
	require.NoError(t, err)
	require.Empty(t, report.Warnings)
	counts := map[string]int64{}
	for _, c := range report.Collections {
		counts[c.Name] = c.Records
	}
	require.Equal(t, map[string]int64{"servers": 2, "applications": 2, "settings": 3, "users": 1}, counts)

	report, err = homelab().Verify(t.Context(), opened(t, `{"version":"1.0","created_at":"2024-01-15T10:30:00Z","application_version":"2.1.0","data":{"users":[]}}`), backup.RestoreOptions{})
	require.NoError(t, err)
	require.Equal(t, []string{
		"the snapshot does not say which application it is of",
		"the snapshot has no integrity information: damage cannot be noticed",
	}, report.Warnings)
}

// busyHost and busySnapshot make a restore call everything a Sink has.
func busyHost() backuptest.MapStore {
	store := homelabStore()
	store["servers"]["s1"] = `{"id":"s1","name":"other"}`
	store["servers"]["s9"] = `{"id":"s9","name":"n"}`
	delete(store["applications"], "a1")
	store["applications"]["a2"] = `{"id":"a2","name":"other"}`
	store["applications"]["a9"] = `{"id":"a9","name":"n","server_id":"s9"}`
	return store
}

func TestAHostThatFailsAnywhereStaysAsItWas(t *testing.T) {
	s := backedUp(t, homelab(), homelabStore(), backup.BackupOptions{})
	boom := errors.New("boom")
	for _, strategy := range everyStrategy {
		opts := backup.RestoreOptions{Strategy: strategy}
		do := map[string]func(context.Context, backup.Sink) error{
			"restore": func(ctx context.Context, dst backup.Sink) error {
				_, err := homelab().Restore(ctx, s, dst, opts)
				return err
			},
			"plan": func(ctx context.Context, dst backup.Sink) error {
				_, err := homelab().Plan(ctx, s, dst, opts)
				return err
			},
		}
		for what, do := range do {
			for _, call := range backuptest.Calls {
				if call == backuptest.CallView || call == backuptest.CallRecords {
					continue
				}
				t.Run(fmt.Sprint(what, " ", strategy, " ", call), func(t *testing.T) {
					for nth := 1; ; nth++ {
						store := busyHost()
						f := &backuptest.Faulty{Sink: store, On: call, Nth: nth, Err: boom}
						err := do(t.Context(), f)
						if !f.Reached() {
							require.NoError(t, err)
							break
						}
						require.ErrorIs(t, err, boom)
						require.ErrorContains(t, err, "host")
						require.NotErrorIs(t, err, backup.ErrDamaged)
						require.Equal(t, busyHost(), store)
					}
				})
			}
		}
	}
	store := busyHost()
	_, err := homelab().Restore(t.Context(), s, &backuptest.Faulty{Sink: store, On: backuptest.CallPut, Nth: 1, Err: &fsError{"write", syscall.ENOSPC}}, backup.RestoreOptions{Strategy: backup.Replace})
	require.ErrorContains(t, err, "put 1 records of servers into the host: write: no space left on device")
	require.ErrorContains(t, err, "check disk space")
	_, err = homelab().Restore(t.Context(), s, &backuptest.Faulty{Sink: store, On: backuptest.CallCommit, Nth: 1, Err: boom}, backup.RestoreOptions{Strategy: backup.Replace})
	require.ErrorIs(t, err, backup.ErrUncertain)
	require.ErrorContains(t, err, "the host failed to commit: boom")
	_, err = homelab().Restore(t.Context(), s, &backuptest.Faulty{Sink: store, On: backuptest.CallCommit, Nth: 1, Err: fmt.Errorf("%w: %w", backup.ErrRolledBack, boom)}, backup.RestoreOptions{Strategy: backup.Replace})
	require.NotErrorIs(t, err, backup.ErrUncertain)
	require.ErrorContains(t, err, "the host did not take the changes: rolled back: boom")
}

// A lostAnswer is a Sink that commits and then loses the connection.
type lostAnswer struct{ backup.Sink }

func (s lostAnswer) Update(ctx context.Context, write func(backup.Writer) error) error {
	if err := s.Sink.Update(ctx, write); err != nil {
		return err
	}
	return errors.New("connection lost during COMMIT")
}

func TestAFailedCommitIsNeverCalledHarmless(t *testing.T) {
	s := backedUp(t, homelab(), homelabStore(), backup.BackupOptions{})
	opts := backup.RestoreOptions{Strategy: backup.Replace}
	uncertain := func(t *testing.T, store backuptest.MapStore, err error) {
		require.ErrorIs(t, err, backup.ErrUncertain)
		require.NotContains(t, err.Error(), "as it was")
		require.Equal(t, homelabStore(), store, "here the changes did take effect")
	}
	t.Run("Restore", func(t *testing.T) {
		store := busyHost()
		_, err := homelab().Restore(t.Context(), s, lostAnswer{store}, opts)
		uncertain(t, store, err)
	})
	t.Run("Apply", func(t *testing.T) {
		store := busyHost()
		plan, err := homelab().Plan(t.Context(), s, lostAnswer{store}, opts)
		require.NoError(t, err)
		_, err = plan.Apply(t.Context())
		uncertain(t, store, err)
	})
}

func TestBeforeSeesWhatARestoreReplaces(t *testing.T) {
	s := backedUp(t, homelab(), homelabStore(), backup.BackupOptions{})
	held := map[string]string{}
	opts := backup.RestoreOptions{Strategy: backup.Replace, Before: func(ctx context.Context, src backup.DataSource, collections []string) error {
		return src.View(ctx, func(r backup.Reader) error {
			for _, name := range collections {
				for rec, err := range r.Records(ctx, name) {
					if err != nil {
						return err
					}
					held[name+" "+rec.Key] = string(rec.Value)
				}
			}
			return nil
		})
	}}
	host := map[string]string{}
	for name, records := range busyHost() {
		for key, value := range records {
			if name != "logs" { // which is Optional, and so is not in the snapshot
				host[name+" "+key] = value
			}
		}
	}
	t.Run("Restore", func(t *testing.T) {
		clear(held)
		_, err := homelab().Restore(t.Context(), s, busyHost(), opts)
		require.NoError(t, err)
		require.Equal(t, host, held)
	})
	t.Run("Apply, and not Plan", func(t *testing.T) {
		clear(held)
		plan, err := homelab().Plan(t.Context(), s, busyHost(), opts)
		require.NoError(t, err)
		require.Empty(t, held)
		_, err = plan.Apply(t.Context())
		require.NoError(t, err)
		require.Equal(t, host, held)
	})
	t.Run("its error ends the restore", func(t *testing.T) {
		store, boom := busyHost(), errors.New("boom")
		opts := opts
		opts.Before = func(context.Context, backup.DataSource, []string) error { return boom }
		_, err := homelab().Restore(t.Context(), s, store, opts)
		require.ErrorIs(t, err, boom)
		require.Equal(t, busyHost(), store)
	})
}

func TestARestoreCanBeCancelledAtEveryStage(t *testing.T) {
	s := backedUp(t, homelab(), homelabStore(), backup.BackupOptions{})
	for _, call := range backuptest.Calls {
		if call == backuptest.CallView || call == backuptest.CallRecords {
			continue
		}
		t.Run(string(call), func(t *testing.T) {
			for nth := 1; ; nth++ {
				ctx, cancel := context.WithCancel(t.Context())
				store := busyHost()
				f := &backuptest.Faulty{Sink: store, On: call, Nth: nth, Do: cancel}
				_, err := homelab().Restore(ctx, s, f, backup.RestoreOptions{Strategy: backup.Replace})
				cancel()
				if !f.Reached() {
					require.NoError(t, err)
					break
				}
				require.ErrorIs(t, err, context.Canceled)
				require.Equal(t, busyHost(), store)
			}
		})
	}
	t.Run("progress", func(t *testing.T) {
		for nth := 1; ; nth++ {
			ctx, cancel := context.WithCancel(t.Context())
			store := busyHost()
			calls := 0
			_, err := homelab().Restore(ctx, s, store, backup.RestoreOptions{Strategy: backup.Replace, Progress: func(backup.Progress) {
				if calls++; calls == nth {
					cancel()
				}
			}})
			cancel()
			if calls < nth {
				require.NoError(t, err)
				require.Greater(t, nth, 6)
				break
			}
			require.ErrorIs(t, err, context.Canceled)
			require.Equal(t, busyHost(), store)
		}
	})
}

func TestASinkThatBreaksItsPromiseIsNoticed(t *testing.T) {
	s := backedUp(t, homelab(), homelabStore(), backup.BackupOptions{})
	store := busyHost()
	lookup := func(change func([]backup.Record) []backup.Record) backup.Sink {
		return sinkFunc(func(ctx context.Context, write func(backup.Writer) error) error {
			return store.Update(ctx, func(w backup.Writer) error { return write(changedLookup{w, change}) })
		})
	}
	for name, c := range map[string]struct {
		sink backup.Sink
		want string
	}{
		"Update does nothing": {sinkFunc(func(context.Context, func(backup.Writer) error) error { return nil }), "its Update returned without calling write"},
		"Update keeps an error to itself": {sinkFunc(func(ctx context.Context, write func(backup.Writer) error) error {
			(&backuptest.Faulty{Sink: store, On: backuptest.CallPut, Nth: 2, Err: io.ErrClosedPipe}).Update(ctx, write)
			return nil
		}), "closed pipe"},
		"Lookup returns records without keys": {lookup(func(rs []backup.Record) []backup.Record {
			for i := range rs {
				rs[i].Key = ""
			}
			return rs
		}), `it returned "", which was not asked for`},
		"Lookup returns other records": {lookup(func(rs []backup.Record) []backup.Record {
			return append(rs, backup.Record{Key: "x", Value: []byte(`{}`)})
		}), `it returned "x", which was not asked for`},
		"Lookup returns what is not JSON": {lookup(func(rs []backup.Record) []backup.Record {
			for i := range rs {
				rs[i].Value = []byte(`{"id":s3cret`)
			}
			return rs
		}), "the host's record: not well-formed JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := homelab().Restore(t.Context(), s, c.sink, backup.RestoreOptions{Strategy: backup.Replace})
			require.ErrorContains(t, err, c.want)
			require.NotErrorIs(t, err, backup.ErrDamaged)
			require.NotContains(t, err.Error(), "s3cret")
			require.Equal(t, busyHost(), store)
		})
	}
}

type changedLookup struct {
	backup.Writer
	change func([]backup.Record) []backup.Record
}

func (w changedLookup) Lookup(ctx context.Context, collection string, keys []string) ([]backup.Record, error) {
	records, err := w.Writer.Lookup(ctx, collection, keys)
	return w.change(slices.Clone(records)), err
}

// again is a Sink that always has to repeat its transaction: the first time it
// fails after so many calls.
func again(store backuptest.MapStore) backup.Sink {
	return sinkFunc(func(ctx context.Context, write func(backup.Writer) error) error {
		serialization := errors.New("could not serialize access")
		f := &backuptest.Faulty{Sink: store, On: backuptest.CallLookup, Nth: 3, Err: serialization}
		err := f.Update(ctx, write)
		if errors.Is(err, serialization) {
			err = store.Update(ctx, write)
		}
		return err
	})
}

func TestASinkMayStartOver(t *testing.T) {
	s := backedUp(t, homelab(), homelabStore(), backup.BackupOptions{})
	once, twice := busyHost(), busyHost()
	opts := backup.RestoreOptions{Strategy: backup.Merge, Only: []string{"applications", "servers"}}
	want, err := homelab().Restore(t.Context(), s, once, opts)
	require.NoError(t, err)
	got, err := homelab().Restore(t.Context(), s, again(twice), opts)
	require.NoError(t, err)
	require.Equal(t, once, twice)
	require.Equal(t, want.Collections, got.Collections)
	require.Equal(t, want.Warnings, got.Warnings)

	// A writer came in between: the transaction is repeated on what it left.
	store := busyHost()
	f := &backuptest.Faulty{Sink: store, On: backuptest.CallCommit, Nth: 1, Do: func() {
		require.NoError(t, store.Update(t.Context(), func(w backup.Writer) error {
			return w.Put(t.Context(), "servers", []backup.Record{{Key: "late", Value: []byte(`{"id":"late","name":"n"}`)}})
		}))
	}}
	_, err = homelab().Restore(t.Context(), s, f, backup.RestoreOptions{Strategy: backup.Replace})
	require.NoError(t, err)
	require.Equal(t, homelabStore(), store)
}

func TestProgressOfARestoreGoesForward(t *testing.T) {
	app := &backup.App{Name: "a", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{
		{Name: "children", Key: "/id", Refs: []backup.Ref{{Pointer: "/of", Collection: "parents"}}}, list("parents"),
	}}
	source := backuptest.MapStore{"children": {}, "parents": {}}
	for i := range 1500 {
		key := fmt.Sprintf("%04d", i)
		source["parents"][key] = fmt.Sprintf(`{"id":%q}`, key)
		source["children"][key] = fmt.Sprintf(`{"id":%q,"of":%q}`, key, key)
	}
	s := backedUp(t, app, source, backup.BackupOptions{})
	var phases []string
	var last backup.Progress
	calls := 0
	_, err := app.Restore(t.Context(), s, backuptest.MapStore{"children": {}, "parents": {}}, backup.RestoreOptions{Progress: func(p backup.Progress) {
		calls++
		if p.Phase != last.Phase {
			phases, last = append(phases, p.Phase), backup.Progress{}
		}
		require.GreaterOrEqual(t, p.Records, last.Records)
		require.GreaterOrEqual(t, p.Bytes, last.Bytes)
		require.LessOrEqual(t, p.Bytes, p.Total)
		require.Equal(t, s.Manifest().Bytes, p.Total)
		last = p
	}})
	require.NoError(t, err)
	require.Equal(t, []string{"check", "restore", "confirm"}, phases)
	require.Equal(t, int64(3000), last.Records)
	require.Less(t, calls, 60, "never a record at a time")
}

func TestAReportIsJSON(t *testing.T) {
	s := written(t, homelab(), 1, `{"users":[{"id":1},{}]}`)
	report, err := homelab().Restore(t.Context(), s, homelabStore(), backup.RestoreOptions{LeaveOutInvalid: true})
	require.NoError(t, err)
	report.Duration = 5
	text, err := json.Marshal(report)
	require.NoError(t, err)
	require.JSONEq(t, `{
		"created_at":"2024-01-15T10:30:00Z","application_version":"2.1.0","schema_version":1,
		"collections":[{"name":"users","strategy":"skip-duplicates","records":1,"added":1,"updated":0,"unchanged":0,"skipped":0,"deleted":0}],
		"left_out":[{"collection":"users","pointer":"/id","offset":152,"error":"the key is missing"}],
		"warnings":["the snapshot has no integrity information: damage cannot be noticed"],
		"duration_ns":5}`, string(text))
}

// A shaper makes random data for the collections of homelab.
type shaper struct{ *rand.Rand }

var oddKeys = []string{"a", "b/c", "d~e", "~1", "*", "0", "-1", "ü", "\u2028", "\"quoted\"", `back\slash`, "tab\t", "nul\x00", "😀", "$sealed", " ", "<&>"}

func (s shaper) key() string { return oddKeys[s.IntN(len(oddKeys))] }

func quoted(s string) string {
	text, _ := json.Marshal(s)
	return string(text)
}

func (s shaper) value(depth int) string {
	switch n := s.IntN(9); {
	case n == 0:
		return cmp.Or([]string{"null", "true", "false"}[s.IntN(3)])
	case n == 1:
		return []string{"0", "-0.5", "1e400", "12345678901234567890", "3.141592653589793238462643383279", "1E-7", "9007199254740993"}[s.IntN(7)]
	case n < 5 || depth == 0:
		return []string{`"x"`, `""`, `"\u2028\/\ud83d\ude00"`, `"{\"$sealed\":1}"`, quoted(s.key())}[s.IntN(5)]
	case n < 7:
		var items []string
		for range s.IntN(4) {
			items = append(items, s.value(depth-1))
		}
		return "[" + strings.Join(items, ",") + "]"
	default:
		return "{" + s.members(depth-1) + "}"
	}
}

func (s shaper) members(depth int) string {
	var out []string
	for _, name := range slices.Sorted(slices.Values(oddKeys)) { // in order: the order alone is no difference
		if s.IntN(6) == 0 {
			out = append(out, quoted(name)+":"+s.value(depth))
		}
	}
	return strings.Join(out, ",")
}

func (s shaper) store() backuptest.MapStore {
	store := backuptest.MapStore{"servers": {}, "applications": {}, "settings": {}, "users": {}, "logs": {}}
	record := func(collection, key string, more ...string) {
		members := []string{`"id":` + quoted(key), `"name":"n"`}
		for i := 0; i < len(more); i += 2 {
			if s.IntN(2) == 0 {
				members = append(members, more[i]+":"+more[i+1])
			}
		}
		if extra := s.members(3); extra != "" {
			members = append(members, extra)
		}
		store[collection][key] = "{" + strings.Join(members, ",") + "}"
	}
	some := func() map[string]bool {
		keys := map[string]bool{}
		for range s.IntN(12) {
			keys[s.key()] = true
		}
		return keys
	}
	servers := slices.Sorted(maps.Keys(some()))
	server := func() string {
		if len(servers) == 0 {
			return "null"
		}
		return quoted(servers[s.IntN(len(servers))])
	}
	for _, key := range servers {
		record("servers", key, `"parent"`, server(), `"password"`, `"s3cret"`, `"port"`, fmt.Sprint(1+s.IntN(3)))
	}
	apps := slices.Sorted(maps.Keys(some()))
	for _, key := range apps {
		record("applications", key, `"server_id"`, server(), `"needs"`, `[{"application":`+quoted(apps[s.IntN(len(apps))])+`},{}]`, `"env"`, `{`+s.members(1)+`}`)
	}
	for key := range some() {
		store["settings"][key] = s.value(3)
	}
	if s.IntN(2) == 0 {
		store["settings"]["smtp_password"], store["settings"]["home_server"] = s.value(2), server()
	}
	for key := range some() {
		record("users", key)
	}
	return store
}

func TestAnyDataComesBackExactly(t *testing.T) {
	testtime.NotForRace(t)
	for seed := range uint64(200) {
		s := shaper{rand.New(rand.NewPCG(seed, 7))}
		source, store := s.store(), s.store()
		snapshot := backedUp(t, homelab(), source, backup.BackupOptions{})
		_, err := homelab().Restore(t.Context(), snapshot, store, backup.RestoreOptions{Strategy: backup.Replace})
		require.NoError(t, err)
		require.Equal(t, source, store, "seed %d", seed)
	}
}

func TestOwnRecordsOfAListStay(t *testing.T) {
	for _, id := range []string{`u1`, `u\u0031`} { // one pass tells the key, or does not
		app := &backup.App{Name: "homelab", Version: "2.1.0", SchemaVersion: 1, Collections: []backup.Collection{list("users")}}
		s, err := backup.OpenSnapshot(t.Context(), strings.NewReader(plainHead+`"data":{"users":[{"id":"`+id+`","n":1},{"id":"u2","n":1}]}}`), backup.OpenOptions{})
		require.NoError(t, err)
		store := backuptest.MapStore{"users": {"u1": `{"id":"u1","n":2}`}}
		report, err := app.Restore(t.Context(), s, store, backup.RestoreOptions{Strategy: backup.Replace, Own: map[string][]string{"users": {"u1"}}})
		require.NoError(t, err)
		require.Equal(t, `{"id":"u1","n":2}`, store["users"]["u1"])
		require.Contains(t, store["users"], "u2")
		require.Len(t, report.Warnings, 2)
		require.NoError(t, s.Close())
	}
}
