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

// rolledBack is a Sink that nobody may commit to.
type rolledBack struct {
	t *testing.T
	backup.Sink
}

func (s rolledBack) Update(ctx context.Context, write func(backup.Writer) error) error {
	return s.Sink.Update(ctx, func(w backup.Writer) error {
		err := write(w)
		if err == nil {
			s.t.Error("a transaction that was only for looking would be committed")
		}
		return err
	})
}

// readOnly is a rolledBack that nobody may change anything in.
type readOnly struct {
	t *testing.T
	backup.Sink
}

func (s readOnly) Update(ctx context.Context, write func(backup.Writer) error) error {
	return rolledBack(s).Update(ctx, func(w backup.Writer) error { return write(readOnlyWriter{s.t, w}) })
}

type readOnlyWriter struct {
	t *testing.T
	backup.Writer
}

func (w readOnlyWriter) Put(context.Context, string, []backup.Record) error {
	w.t.Error("Put was called")
	return nil
}

func (w readOnlyWriter) Delete(context.Context, string, []string) error {
	w.t.Error("Delete was called")
	return nil
}

func withoutDuration(r backup.Report) backup.Report {
	r.Duration = 0
	return r
}

// changesOf returns the changes of a plan as lines.
func changesOf(t *testing.T, p *backup.Plan) []string {
	var lines []string
	for c, err := range p.Changes(t.Context()) {
		require.NoError(t, err)
		line := fmt.Sprintf("%s %s %q", c.Action, c.Collection, c.Key)
		if c.With != "" {
			line += fmt.Sprintf(" with %q", c.With)
		}
		for _, f := range c.Fields {
			line += fmt.Sprintf(" %s:%s>%s", f.Pointer, string(f.Before), string(f.After))
		}
		lines = append(lines, line)
	}
	return lines
}

func planHost() backuptest.MapStore {
	return backuptest.MapStore{
		"servers": {
			"s1": `{"id":"s1","name":"nas","port":2222,"password":"other-pass","rack":[1]}`,
			"s2": `{"id":"s2","name":"pi","parent":"s1"}`,
			"s9": `{"id":"s9","name":"n","password":"going-away"}`,
		},
		"applications": {"a1": `{"id":"a1","name":"jellyfin","server_id":"s1","env":{"TOKEN":"t0ken-of-a1","MORE":"more-secret"}}`},
		"settings":     {"theme": `"light"`, "smtp_password": `"old-mail-pass"`},
		"users":        {},
		"logs":         {},
	}
}

func TestAPlanSaysWhatWouldHappen(t *testing.T) {
	s := backedUp(t, homelab(), homelabStore(), backup.BackupOptions{})
	for strategy, want := range map[backup.Strategy][]string{
		backup.SkipDuplicates: {
			`skip servers "s1" /port:2222>22 /password:"(secret)">"(secret)" /rack:[1]>`,
			`skip applications "a1" /env/MORE:"(secret)">`,
			`add applications "a2" /id:>"a2" /name:>"proxy" /server_id:>"s2" /needs:>[{"application":"a1"}]`,
			`add settings "home_server" :>"s1"`,
			`skip settings "smtp_password" :"(secret)">"(secret)"`,
			`skip settings "theme" :"light">"dark"`,
			`add users "7" /id:>7 /name:>"ada"`,
		},
		backup.Merge: {
			`update servers "s1" /port:2222>22 /password:"(secret)">"(secret)"`,
			`add applications "a2" /id:>"a2" /name:>"proxy" /server_id:>"s2" /needs:>[{"application":"a1"}]`,
			`add settings "home_server" :>"s1"`,
			`update settings "smtp_password" :"(secret)">"(secret)"`,
			`update settings "theme" :"light">"dark"`,
			`add users "7" /id:>7 /name:>"ada"`,
		},
		backup.Replace: {
			`delete servers "s9" /id:"s9"> /name:"n"> /password:"(secret)">`,
			`update servers "s1" /port:2222>22 /password:"(secret)">"(secret)" /rack:[1]>`,
			`update applications "a1" /env/MORE:"(secret)">`,
			`add applications "a2" /id:>"a2" /name:>"proxy" /server_id:>"s2" /needs:>[{"application":"a1"}]`,
			`add settings "home_server" :>"s1"`,
			`update settings "smtp_password" :"(secret)">"(secret)"`,
			`update settings "theme" :"light">"dark"`,
			`add users "7" /id:>7 /name:>"ada"`,
		},
	} {
		t.Run(string(strategy), func(t *testing.T) {
			host := planHost()
			tried, err := homelab().Plan(t.Context(), s, rolledBack{t, host}, backup.RestoreOptions{Strategy: strategy})
			require.NoError(t, err)
			require.Equal(t, planHost(), host, "what was tried is rolled back")
			untried, err := homelab().Plan(t.Context(), s, readOnly{t, host}, backup.RestoreOptions{Strategy: strategy, Untried: true})
			require.NoError(t, err)
			for _, p := range []*backup.Plan{tried, untried} {
				require.Equal(t, want, changesOf(t, p))
				require.Equal(t, want, changesOf(t, p), "as often as one likes")
			}
			require.Equal(t, withoutDuration(tried.Report()), withoutDuration(untried.Report()))
		})
	}
}

func TestNoPlanAndNoReportHoldsASecret(t *testing.T) {
	s := backedUp(t, homelab(), homelabStore(), backup.BackupOptions{})
	host := planHost()
	host["servers"]["s1"] = `{"id":"s1","name":"nas","password":{"deep":"other-pass"}}`
	host["applications"]["a1"] = `{"id":"a1","name":"n","env":["list-secret"]}`
	host["applications"]["a2"] = `{"id":"a2","name":"n"}`
	for _, strategy := range everyStrategy {
		p, err := homelab().Plan(t.Context(), s, host, backup.RestoreOptions{Strategy: strategy, AllowDangling: true, LeaveOutInvalid: true})
		require.NoError(t, err)
		report, err := p.Apply(t.Context())
		require.NoError(t, err)
		text := fmt.Sprintf("%+v %#v %v %+v", p.Report(), p.Report(), report, changesOf(t, mustPlan(t, s, planHost(), strategy)))
		for _, v := range []any{p.Report(), report} {
			b, err := json.Marshal(v)
			require.NoError(t, err)
			text += string(b)
		}
		for c, err := range mustPlan(t, s, host, strategy).Changes(t.Context()) {
			require.NoError(t, err)
			b, err := json.Marshal(c)
			require.NoError(t, err)
			text += string(b)
		}
		for _, secret := range []string{"hunter22", "t0ken-of-a1", "mail-pass", "other-pass", "going-away", "more-secret", "list-secret"} {
			require.NotContains(t, text, secret)
		}
	}
}

func mustPlan(t *testing.T, s *backup.Snapshot, dst backup.Sink, strategy backup.Strategy) *backup.Plan {
	p, err := homelab().Plan(t.Context(), s, dst, backup.RestoreOptions{Strategy: strategy})
	require.NoError(t, err)
	return p
}

// byHand does to a store what the changes of a plan say. What is added comes
// from the source of the snapshot.
func byHand(t *testing.T, host, source backuptest.MapStore, p *backup.Plan) (map[string]map[string]any, map[string]*backup.CollectionReport) {
	state := make(map[string]map[string]any)
	for name, records := range host {
		state[name] = make(map[string]any)
		for key, value := range records {
			state[name][key] = parse(value)
		}
	}
	counts := make(map[string]*backup.CollectionReport)
	for c, err := range p.Changes(t.Context()) {
		require.NoError(t, err)
		if counts[c.Collection] == nil {
			counts[c.Collection] = &backup.CollectionReport{}
		}
		n := counts[c.Collection]
		switch c.Action {
		case backup.Add:
			n.Added++
			require.NotContains(t, state[c.Collection], c.Key)
			state[c.Collection][c.Key] = parse(source[c.Collection][c.Key])
		case backup.Delete:
			n.Deleted++
			require.Contains(t, state[c.Collection], c.Key)
			delete(state[c.Collection], c.Key)
		case backup.Skip:
			n.Skipped++
			require.NotEmpty(t, c.Fields)
		case backup.Update:
			n.Updated++
			require.NotEmpty(t, c.Fields)
			for _, f := range c.Fields {
				state[c.Collection][c.Key] = edit(state[c.Collection][c.Key], f.Pointer, f.After)
			}
		}
	}
	return state, counts
}

// edit puts after into a place of v, or removes what is there.
func edit(v any, pointer string, after json.RawMessage) any {
	if pointer == "" {
		return parse(string(after))
	}
	token, rest, more := strings.Cut(pointer[1:], "/")
	name := strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
	object := v.(map[string]any)
	switch {
	case more:
		object[name] = edit(object[name], "/"+rest, after)
	case after != nil:
		object[name] = parse(string(after))
	default:
		delete(object, name)
	}
	return v
}

func TestApplyDoesExactlyWhatThePlanSays(t *testing.T) {
	app := homelab() // without secrets, so that the changes tell all
	for i := range app.Collections {
		app.Collections[i].Secrets = nil
	}
	for seed := range uint64(150) {
		s := shaper{rand.New(rand.NewPCG(seed, 99))}
		source, store := s.store(), s.store()
		snapshot := backedUp(t, app, source, backup.BackupOptions{})
		opts := backup.RestoreOptions{Strategies: map[string]backup.Strategy{}}
		for name := range source {
			opts.Strategies[name] = everyStrategy[s.IntN(3)]
		}
		p, err := app.Plan(t.Context(), snapshot, store, opts)
		if errors.Is(err, backup.ErrDangling) {
			opts.AllowDangling = true
			p, err = app.Plan(t.Context(), snapshot, store, opts)
		}
		require.NoError(t, err, "seed %d", seed)
		restored := store.Clone()
		want, counts := byHand(t, store, source, p)
		report, err := p.Apply(t.Context())
		require.NoError(t, err, "seed %d", seed)
		require.Equal(t, p.Report().Collections, report.Collections)
		require.Equal(t, p.Report().Warnings, report.Warnings)
		for _, c := range report.Collections {
			n := counts[c.Name]
			if n == nil {
				n = &backup.CollectionReport{}
			}
			require.Equal(t, []int64{n.Added, n.Updated, n.Skipped, n.Deleted}, []int64{c.Added, c.Updated, c.Skipped, c.Deleted}, "seed %d, %s", seed, c.Name)
			require.Equal(t, c.Records, c.Added+c.Updated+c.Unchanged+c.Skipped)
			require.Equal(t, int64(len(source[c.Name])), c.Records)
			require.Len(t, c.Conflicts, int(c.Skipped))
		}
		got, _ := byHand(t, store, nil, mustPlan(t, written(t, homelab(), 1, `{}`), store, backup.SkipDuplicates))
		require.Equal(t, want, got, "seed %d", seed)

		_, err = app.Restore(t.Context(), snapshot, restored, opts)
		require.NoError(t, err)
		require.Equal(t, store, restored, "Restore does what Plan and Apply do")
		_, err = app.Restore(t.Context(), snapshot, restored, opts)
		require.NoError(t, err)
		require.Equal(t, store, restored, "the second time changes nothing")
	}
}

func TestAPlanIsStaleWhenWhatItConcernsHasChanged(t *testing.T) {
	s := backedUp(t, homelab(), homelabStore(), backup.BackupOptions{Only: []string{"applications", "servers", "settings"}})
	for name, c := range map[string]struct {
		strategy backup.Strategy
		change   func(backuptest.MapStore)
		stale    bool
	}{
		"a record to be updated has changed":            {backup.Merge, func(m backuptest.MapStore) { m["servers"]["s1"] = `{"id":"s1","name":"x"}` }, true},
		"a member that stays has changed":               {backup.Merge, func(m backuptest.MapStore) { m["servers"]["s1"] = strings.Replace(m["servers"]["s1"], "[1]", "[2]", 1) }, true},
		"a secret to be updated has changed":            {backup.Merge, func(m backuptest.MapStore) { m["settings"]["smtp_password"] = `"newer"` }, true},
		"a record to be updated is gone":                {backup.Merge, func(m backuptest.MapStore) { delete(m["settings"], "theme") }, true},
		"a record to be added has come":                 {backup.Merge, func(m backuptest.MapStore) { m["settings"]["home_server"] = `"s2"` }, true},
		"a record that is the same now differs":         {backup.Merge, func(m backuptest.MapStore) { m["servers"]["s2"] = `{"id":"s2","name":"new"}` }, true},
		"a record that is the same is gone":             {backup.SkipDuplicates, func(m backuptest.MapStore) { delete(m["servers"], "s2") }, true},
		"a record that is skipped has changed":          {backup.SkipDuplicates, func(m backuptest.MapStore) { m["settings"]["theme"] = `"blue"` }, true},
		"a record that is skipped has become equal":     {backup.SkipDuplicates, func(m backuptest.MapStore) { m["settings"]["theme"] = `"dark"` }, true},
		"a record to be deleted has changed":            {backup.Replace, func(m backuptest.MapStore) { m["servers"]["s9"] = `{"id":"s9","name":"precious"}` }, true},
		"a record to be deleted is gone":                {backup.Replace, func(m backuptest.MapStore) { delete(m["servers"], "s9") }, true},
		"a record has come that would be deleted":       {backup.Replace, func(m backuptest.MapStore) { m["servers"]["s8"] = `{"id":"s8","name":"n"}` }, true},
		"a record that only the host has, with Merge":   {backup.Merge, func(m backuptest.MapStore) { m["servers"]["s9"] = `{"id":"s9","name":"x"}` }, false},
		"a record has come that only the host has":      {backup.SkipDuplicates, func(m backuptest.MapStore) { m["servers"]["s8"] = `{"id":"s8","name":"n"}` }, false},
		"another collection has changed":                {backup.Replace, func(m backuptest.MapStore) { m["users"]["8"] = `{"id":8}` }, false},
		"the same record, its members in another order": {backup.Merge, func(m backuptest.MapStore) { m["servers"]["s2"] = `{"parent":"s1","name":"pi","id":"s2"}` }, false},
		"nothing has changed":                           {backup.Replace, func(backuptest.MapStore) {}, false},
	} {
		t.Run(name, func(t *testing.T) {
			store := planHost()
			p := mustPlan(t, s, store, c.strategy)
			changes := changesOf(t, p)
			c.change(store)
			before := store.Clone()
			require.Equal(t, changes, changesOf(t, p), "the changes stay those of the plan")
			report, err := p.Apply(t.Context())
			if c.stale {
				require.ErrorIs(t, err, backup.ErrStale)
				require.ErrorContains(t, err, "make a new plan")
				require.Equal(t, before, store)
				return
			}
			require.NoError(t, err)
			require.Equal(t, p.Report().Collections, report.Collections)
			if c.strategy == backup.Replace {
				_, err = p.Apply(t.Context())
				require.ErrorIs(t, err, backup.ErrStale, "a plan is carried out once")
			}
		})
	}
}

func TestAnApplyThatFailsAnywhereChangesNothing(t *testing.T) {
	s := backedUp(t, homelab(), homelabStore(), backup.BackupOptions{})
	boom := errors.New("boom")
	for _, call := range backuptest.Calls {
		if call == backuptest.CallView || call == backuptest.CallRecords {
			continue
		}
		for nth := 1; ; nth++ {
			store := planHost()
			sink := &struct{ backup.Sink }{store}
			p, err := homelab().Plan(t.Context(), s, sink, backup.RestoreOptions{Strategy: backup.Replace})
			require.NoError(t, err)
			f := &backuptest.Faulty{Sink: store, On: call, Nth: nth, Err: boom}
			sink.Sink = f
			_, err = p.Apply(t.Context())
			if !f.Reached() {
				require.NoError(t, err)
				break
			}
			require.ErrorIs(t, err, boom)
			require.Equal(t, planHost(), store)
			sink.Sink = store
			_, err = p.Apply(t.Context())
			require.NoError(t, err, "the plan is good for another try")
		}
	}
}

// FuzzRestoreStrategies holds restores between small worlds of three
// collections against the table of the strategies, written down once more here.
func FuzzRestoreStrategies(f *testing.F) {
	f.Add([]byte{}, []byte{}, uint16(0))
	f.Add([]byte{0x01, 0x41, 0x82}, []byte{0x02, 0x43, 0x81}, uint16(0x15))
	f.Add([]byte("groups and items"), []byte("of the snapshot"), uint16(0x2a))
	f.Add([]byte{0x09, 0x49, 0x51}, []byte{0x52, 0x11}, uint16(0x3fff))
	f.Fuzz(func(t *testing.T, hostBytes, snapshotBytes []byte, choice uint16) {
		app := &backup.App{Name: "world", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{
			{Name: "items", Key: "/id", Refs: []backup.Ref{{Pointer: "/group", Collection: "groups"}, {Pointer: "/tags/*", Collection: "tags"}}},
			{Name: "tags", Shape: backup.Map, Refs: []backup.Ref{{Pointer: "/*/item", Collection: "items"}}},
			{Name: "groups", Key: "/id", Refs: []backup.Ref{{Pointer: "/parent", Collection: "groups"}}},
		}}
		host, source := world(hostBytes), world(snapshotBytes)
		opts := backup.RestoreOptions{Strategies: map[string]backup.Strategy{}}
		var data []string
		for i, name := range []string{"items", "tags", "groups"} {
			opts.Strategies[name] = everyStrategy[choice>>(2*i)&3%3]
			if choice>>(6+i)&1 == 0 {
				var records []string
				for _, key := range slices.Sorted(maps.Keys(source[name])) {
					value := source[name][key]
					if name == "tags" {
						value = quoted(key) + ":" + value
					}
					records = append(records, value)
				}
				text := "[" + strings.Join(records, ",") + "]"
				if name == "tags" {
					text = "{" + strings.Join(records, ",") + "}"
				}
				data = append(data, fmt.Sprintf("%q:%s", name, text))
			} else {
				delete(source, name)
			}
		}
		want, dangling := expected(host, source, opts.Strategies)
		s := written(t, app, 1, "{"+strings.Join(data, ",")+"}")
		before := host.Clone()
		_, planErr := app.Plan(t.Context(), s, rolledBack{t, host}, opts)
		_, err := app.Restore(t.Context(), s, host, opts)
		if dangling > 0 {
			require.ErrorIs(t, planErr, backup.ErrDangling)
			require.ErrorIs(t, err, backup.ErrDangling)
			require.Equal(t, before, host)
			require.Equal(t, dangling, strings.Count(err.Error(), "refers to")+more(err), err.Error())
			opts.AllowDangling = true
			_, err = app.Restore(t.Context(), s, host, opts)
		} else {
			require.NoError(t, planErr)
		}
		require.NoError(t, err)
		requireSame(t, want, host)
		opts.AllowDangling = false
		_, err = app.Restore(t.Context(), s, host, opts)
		require.NoError(t, err)
		requireSame(t, want, host)
	})
}

// more returns the number of problems that an error counts and does not name.
func more(err error) (n int) {
	if _, rest, ok := strings.Cut(err.Error(), "\n  and "); ok {
		fmt.Sscanf(rest, "%d more", &n)
	}
	return n
}

// world makes a store of bytes: a collection, a key and a content each.
func world(data []byte) backuptest.MapStore {
	store := backuptest.MapStore{"items": {}, "tags": {}, "groups": {}}
	for _, b := range data[:min(len(data), 40)] {
		key, content := fmt.Sprint(b>>3&7), b&7
		switch b >> 6 {
		case 0:
			store["groups"][key] = []string{
				fmt.Sprintf(`{"id":%q}`, key), fmt.Sprintf(`{"id":%s}`, key), fmt.Sprintf(`{"id":%q,"parent":null,"o":{"a":1}}`, key), fmt.Sprintf(`{"id":%q,"o":{"b":2}}`, key),
			}[content&3]
			if content > 3 {
				store["groups"][key] = fmt.Sprintf(`{"id":%q,"parent":%d}`, key, content-4)
			}
		case 1, 2:
			store["items"][key] = fmt.Sprintf(`{"id":%q,"group":"%d"}`, key, content&3)
			if content > 3 {
				store["items"][key] = fmt.Sprintf(`{"id":%q,"tags":["%d",%d]}`, key, content-4, content>>1)
			}
		case 3:
			store["tags"][key] = []string{`1`, `{"item":"1"}`, `{"item":2,"x":1}`, `{"y":1}`, `"text"`, `null`, `{"item":null}`, `[1]`}[content]
		}
	}
	return store
}

func parse(text string) (v any) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		panic(err)
	}
	return v
}

func requireSame(t *testing.T, want map[string]map[string]any, got backuptest.MapStore) {
	t.Helper()
	for name := range got {
		require.Len(t, got[name], len(want[name]), name)
		for key, value := range got[name] {
			require.Equal(t, want[name][key], parse(value), "%s %s", name, key)
		}
	}
}

// expected returns what a restore should make of host, and how many references
// would newly dangle.
func expected(host, source backuptest.MapStore, strategies map[string]backup.Strategy) (map[string]map[string]any, int) {
	after := make(map[string]map[string]any)
	written := make(map[string]map[string]bool)
	for name := range host {
		after[name], written[name] = make(map[string]any), make(map[string]bool)
		for key, value := range host[name] {
			_, taken := source[name]
			_, there := source[name][key]
			if !taken || there || strategies[name] != backup.Replace {
				after[name][key] = parse(value)
			}
		}
		for key, text := range source[name] {
			value := parse(text)
			old, there := after[name][key]
			switch {
			case there && strategies[name] == backup.SkipDuplicates:
				continue
			case there && strategies[name] == backup.Merge:
				value = merged(old, value)
			}
			after[name][key], written[name][key] = value, !there || !same(old, value)
		}
	}
	dangling := 0
	refer := func(from, key, to string, v any) {
		if v == nil {
			return
		}
		ref := fmt.Sprint(v)
		_, now := after[to][ref]
		_, before := host[to][ref]
		if !now && (written[from][key] || before) {
			dangling++
		}
	}
	for key, v := range after["groups"] {
		refer("groups", key, "groups", v.(map[string]any)["parent"])
	}
	for key, v := range after["items"] {
		refer("items", key, "groups", v.(map[string]any)["group"])
		tags, _ := v.(map[string]any)["tags"].([]any)
		for _, tag := range tags {
			refer("items", key, "tags", tag)
		}
	}
	for key, v := range after["tags"] {
		if object, ok := v.(map[string]any); ok {
			refer("tags", key, "items", object["item"])
		}
	}
	return after, dangling
}

func same(a, b any) bool {
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return bytes.Equal(x, y)
}

func merged(old, new any) any {
	a, ok := old.(map[string]any)
	b, ok2 := new.(map[string]any)
	if !ok || !ok2 {
		return new
	}
	out := maps.Clone(a)
	for name, v := range b {
		out[name] = merged(a[name], v)
	}
	return out
}
