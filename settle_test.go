package backup_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
)

// peopleApp has users and what belongs to them.
func peopleApp() *backup.App {
	return &backup.App{Name: "people", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{
		{Name: "users", Key: "/id"},
		{Name: "notes", Key: "/id", Refs: []backup.Ref{{Pointer: "/user", Collection: "users"}}},
	}}
}

func people(users, notes map[string]string) backuptest.RuledStore {
	return backuptest.RuledStore{MapStore: backuptest.MapStore{"users": maps.Clone(users), "notes": maps.Clone(notes)},
		Unique: map[string][]string{"users": {"/name"}, "notes": {"/user,/title"}}}
}

type records = map[string]string

// tried plans and applies a restore, and requires that both say the same.
func tried(t *testing.T, app *backup.App, s *backup.Snapshot, host backuptest.RuledStore, opts backup.RestoreOptions) backup.Report {
	t.Helper()
	before := host.Clone()
	p, err := app.Plan(t.Context(), s, host, opts)
	require.NoError(t, err)
	require.Equal(t, before, host.MapStore, "what was tried is rolled back")
	changesOf(t, p) // they are not stale
	report, err := p.Apply(t.Context())
	require.NoError(t, err)
	require.Equal(t, withoutDuration(p.Report()), withoutDuration(report))
	for _, c := range report.Collections {
		require.Equal(t, c.Records, c.Added+c.Updated+c.Unchanged+c.Skipped+c.Altered)
	}
	return report
}

func TestAPlanNamesBothRecordsOfAClash(t *testing.T) {
	app := peopleApp()
	s := backedUp(t, app, people(records{"u1": `{"id":"u1","name":"ann"}`, "u2": `{"id":"u2","name":"bob"}`},
		records{"n1": `{"id":"n1","user":"u1","title":"a"}`, "n2": `{"id":"n2","user":"u2","title":"b"}`}).MapStore, backup.BackupOptions{})
	for _, strategy := range []backup.Strategy{backup.SkipDuplicates, backup.Merge} {
		host := people(records{"u9": `{"id":"u9","name":"ann"}`}, nil)
		before := host.Clone()
		_, err := app.Plan(t.Context(), s, host, backup.RestoreOptions{Strategy: strategy})
		require.ErrorIs(t, err, backup.ErrClash)
		require.ErrorContains(t, err, `users "u1" /name clashes with "u9"`)
		_, err = app.Restore(t.Context(), s, host, backup.RestoreOptions{Strategy: strategy})
		require.ErrorIs(t, err, backup.ErrClash)
		require.Equal(t, before, host.MapStore)

		p, err := app.Plan(t.Context(), s, host, backup.RestoreOptions{Strategy: strategy, SkipClashes: true})
		require.NoError(t, err)
		require.Equal(t, []string{`skip users "u1" with "u9" /id:>"u1" /name:>"ann"`, `add users "u2" /id:>"u2" /name:>"bob"`,
			`skip notes "n1" /id:>"n1" /title:>"a" /user:>"u1"`, `add notes "n2" /id:>"n2" /title:>"b" /user:>"u2"`}, sortedFields(changesOf(t, p)))
		report := tried(t, app, s, host, backup.RestoreOptions{Strategy: strategy, SkipClashes: true})
		require.Equal(t, []string{"u1"}, report.Collections[0].Conflicts)
		require.Len(t, report.LeftOut, 2)
		require.Equal(t, `notes "n1" /user (byte 524): clash over a unique value: it refers to "u1" of users, which is left out`, report.LeftOut[0].Error())
		require.Equal(t, "u9", report.LeftOut[1].With)
		require.Equal(t, backuptest.MapStore{"users": records{"u9": `{"id":"u9","name":"ann"}`, "u2": `{"id":"u2","name":"bob"}`},
			"notes": records{"n2": `{"id":"n2","user":"u2","title":"b"}`}}, host.MapStore)
		again := tried(t, app, s, host, backup.RestoreOptions{Strategy: strategy, SkipClashes: true})
		require.False(t, again.Changed())
	}
}

// sortedFields sorts the places of each change.
func sortedFields(lines []string) []string {
	for i, line := range lines {
		head, fields, _ := strings.Cut(line, " /")
		parts := strings.Split(fields, " /")
		for j := range parts {
			for k := range j {
				if parts[k] > parts[j] {
					parts[k], parts[j] = parts[j], parts[k]
				}
			}
		}
		lines[i] = head + " /" + strings.Join(parts, " /")
	}
	return lines
}

func TestNoRecordIsLeftOutForOneThatIsLeftOutItself(t *testing.T) {
	app := peopleApp()
	s := backedUp(t, app, people(records{"a1": `{"id":"a1","name":"ann","mail":"m"}`, "b2": `{"id":"b2","name":"bob","mail":"m"}`}, nil).MapStore, backup.BackupOptions{})
	host := people(records{"u9": `{"id":"u9","name":"bob"}`}, nil)
	host.Unique["users"] = []string{"/name", "/mail"}
	report := tried(t, app, s, host, backup.RestoreOptions{SkipClashes: true})
	require.Len(t, report.LeftOut, 1)
	require.Equal(t, "b2", report.LeftOut[0].Key)
	require.Contains(t, host.MapStore["users"], "a1")
}

func TestWhatRefersToALeftOutRecordGoesWithItInOneGo(t *testing.T) {
	app := &backup.App{Name: "people", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{
		{Name: "users", Key: "/id"}, {Name: "notes", Key: "/id", Refs: []backup.Ref{{Pointer: "/user", Collection: "users"}, {Pointer: "/after", Collection: "notes"}}}}}
	notes := records{}
	for i := range 300 {
		notes[fmt.Sprintf("n%03d", i)] = fmt.Sprintf(`{"id":"n%03d","after":"n%03d","title":"%d"}`, i, i+1, i)
	}
	notes["n300"] = `{"id":"n300","user":"u1","title":"last"}`
	s := backedUp(t, app, people(records{"u1": `{"id":"u1","name":"ann"}`}, notes).MapStore, backup.BackupOptions{})
	host := people(records{"u9": `{"id":"u9","name":"ann"}`}, nil)
	before := 0
	report, err := app.Restore(t.Context(), s, host, backup.RestoreOptions{SkipClashes: true, Before: func(context.Context, backup.DataSource, []string) error {
		before++
		return nil
	}})
	require.NoError(t, err)
	require.Len(t, report.LeftOut, 302)
	require.Equal(t, 2, before, "at first, and once it is known what comes")
}

func TestAPlanIsStaleOnceItsClashesAreOver(t *testing.T) {
	app := peopleApp()
	s := backedUp(t, app, people(records{"u1": `{"id":"u1","name":"ann"}`}, nil).MapStore, backup.BackupOptions{})
	host := people(records{"u9": `{"id":"u9","name":"ann"}`}, nil)
	p, err := app.Plan(t.Context(), s, host, backup.RestoreOptions{SkipClashes: true})
	require.NoError(t, err)
	host.MapStore["users"] = records{}
	_, err = p.Apply(t.Context())
	require.ErrorIs(t, err, backup.ErrStale)
}

func TestAPlanIsStaleOnceTheHostDoesSomethingElseWithIt(t *testing.T) {
	app := peopleApp()
	s := backedUp(t, app, people(records{"u1": `{"id":"u1","name":"ann"}`}, nil).MapStore, backup.BackupOptions{})
	host := people(records{"u1": `{"id":"u1","name":"bob"}`}, nil)
	host.Triggers = map[string][]backuptest.Trigger{}
	p, err := app.Plan(t.Context(), s, host, backup.RestoreOptions{Strategy: backup.Replace})
	require.NoError(t, err)
	host.Triggers["users"] = []backuptest.Trigger{insists}
	_, err = p.Apply(t.Context())
	require.ErrorIs(t, err, backup.ErrStale)
	require.Equal(t, records{"u1": `{"id":"u1","name":"bob"}`}, host.MapStore["users"])
}

func TestWhatTriggersDoToOtherCollectionsIsSaid(t *testing.T) {
	app := peopleApp()
	s := backedUp(t, app, people(records{"u1": `{"id":"u1","name":"ann"}`}, nil).MapStore, backup.BackupOptions{})
	host := people(nil, nil)
	host.Triggers = map[string][]backuptest.Trigger{"users": {welcomes}}
	report := tried(t, app, s, host, backup.RestoreOptions{Only: []string{"users"}})
	require.Len(t, report.Warnings, 1)
	require.Contains(t, report.Warnings[0], `notes is not restored, and the host has made, changed or removed records of it (1): "wu1"; the host does that by itself, probably by trigger welcomes of users`)
}

func TestWhatAMergeDidNotWriteIsNotPutRight(t *testing.T) {
	app := peopleApp()
	user := records{"u1": `{"id":"u1","name":"ann","notes":1}`}
	s := backedUp(t, app, people(user, records{"n1": `{"id":"n1","user":"u1","title":"a"}`}).MapStore, backup.BackupOptions{})
	for _, strategy := range []backup.Strategy{backup.SkipDuplicates, backup.Merge} {
		host := people(user, records{"n2": `{"id":"n2","user":"u1","title":"b"}`})
		host.Triggers = map[string][]backuptest.Trigger{"notes": {counts}}
		report := tried(t, app, s, host, backup.RestoreOptions{Strategy: strategy})
		require.JSONEq(t, `{"id":"u1","name":"ann","notes":2}`, host.MapStore["users"]["u1"], "the counter is right")
		require.Equal(t, []string{"u1"}, report.Collections[0].AlteredKeys)
	}
}

func TestNoErrorOfATriggerHoldsASecret(t *testing.T) {
	app := peopleApp()
	app.Collections[0].Secrets = []string{"/token"}
	s, err := backup.OpenSnapshot(t.Context(), strings.NewReader(`{"version":"1.0","created_at":"2024-01-15T10:30:00Z","application":"people","application_version":"1.0.0","schema_version":1,"data":{"users":[{"id":"u1","name":"ann","token":"very-secret"}]}}`), backup.OpenOptions{})
	require.NoError(t, err)
	for name, kind := range map[string]error{"another": errors.New("no"), "a clash": backup.ErrClash} {
		tells := backuptest.Trigger{Name: "trigger tells", Do: func(_ context.Context, _ backup.Writer, c backuptest.Change) error {
			return fmt.Errorf("%w: %s%s", kind, c.Before, c.After)
		}}
		host := people(nil, nil)
		host.Triggers = map[string][]backuptest.Trigger{"users": {tells}}
		_, err = app.Plan(t.Context(), s, host, backup.RestoreOptions{})
		require.ErrorIs(t, err, kind, name)
		require.NotContains(t, err.Error(), "very-secret")
		require.ErrorContains(t, err, "(secret)")
		report, err := app.Restore(t.Context(), s, host, backup.RestoreOptions{SkipClashes: true})
		text, _ := json.Marshal(report)
		require.NotContains(t, string(text)+fmt.Sprint(err), "very-secret")

		host = people(records{"u2": `{"id":"u2","name":"bob","token":"older-secret"}`}, nil)
		host.Triggers = map[string][]backuptest.Trigger{"users": {tells}}
		_, err = app.Restore(t.Context(), s, host, backup.RestoreOptions{Strategy: backup.Replace})
		require.Error(t, err)
		require.NotContains(t, err.Error(), "older-secret")
	}
}

func TestAnErrorAboutManyClashesHasAnEnd(t *testing.T) {
	app := peopleApp()
	users, taken := records{}, records{}
	for i := range 600 {
		users[fmt.Sprintf("u%d", i)] = fmt.Sprintf(`{"id":"u%d","name":"%d"}`, i, i)
		taken[fmt.Sprintf("v%d", i)] = fmt.Sprintf(`{"id":"v%d","name":"%d"}`, i, i)
	}
	s := backedUp(t, app, people(users, nil).MapStore, backup.BackupOptions{})
	host := people(taken, nil)
	_, err := app.Plan(t.Context(), s, host, backup.RestoreOptions{})
	require.ErrorIs(t, err, backup.ErrClash)
	require.ErrorContains(t, err, "and 580 more")
	require.Less(t, len(err.Error()), 4000)
	report := tried(t, app, s, host, backup.RestoreOptions{SkipClashes: true})
	require.Equal(t, int64(600), report.Collections[0].Skipped)
	require.Len(t, report.LeftOut, 600)
}

func TestARecordThatChangesIntoAClashStaysAsItWas(t *testing.T) {
	app := peopleApp()
	s := backedUp(t, app, people(records{"u1": `{"id":"u1","name":"ann"}`}, nil).MapStore, backup.BackupOptions{})
	host := people(records{"u1": `{"id":"u1","name":"old","age":3}`, "u2": `{"id":"u2","name":"ann"}`}, records{"n1": `{"id":"n1","user":"u1","title":"a"}`})
	before := host.Clone()
	report := tried(t, app, s, host, backup.RestoreOptions{Strategy: backup.Merge, SkipClashes: true})
	require.Equal(t, before, host.MapStore)
	require.Equal(t, int64(1), report.Collections[0].Skipped)
	require.Equal(t, "u2", report.LeftOut[0].With)
	require.False(t, report.Changed())
}

func TestEachValidEndStateIsReached(t *testing.T) {
	app := peopleApp()
	a := people(records{"u1": `{"id":"u1","name":"ann"}`, "u2": `{"id":"u2","name":"bob"}`, "u3": `{"id":"u3","name":"cid"}`}, nil)
	b := people(records{"u1": `{"id":"u1","name":"bob"}`, "u3": `{"id":"u3","name":"ann"}`, "u4": `{"id":"u4","name":"cid"}`}, nil)
	for _, way := range [][2]backuptest.RuledStore{{a, b}, {b, a}} {
		host := people(way[1].MapStore["users"], nil)
		tried(t, app, backedUp(t, app, way[0].MapStore, backup.BackupOptions{}), host, backup.RestoreOptions{Strategy: backup.Replace})
		require.Equal(t, way[0].MapStore["users"], host.MapStore["users"])
	}
}

func TestAPlanIsStaleOnceTheHostClashesWithIt(t *testing.T) {
	app := peopleApp()
	s := backedUp(t, app, people(records{"u1": `{"id":"u1","name":"ann"}`}, nil).MapStore, backup.BackupOptions{})
	host := people(records{}, nil)
	p, err := app.Plan(t.Context(), s, host, backup.RestoreOptions{})
	require.NoError(t, err)
	host.MapStore["users"] = records{"u9": `{"id":"u9","name":"ann"}`}
	_, err = p.Apply(t.Context())
	require.ErrorIs(t, err, backup.ErrStale)
	require.ErrorIs(t, err, backup.ErrClash)
	require.Len(t, host.MapStore["users"], 1)
}

// member changes a member of a record.
func member(value json.RawMessage, name string, to any) backup.Record {
	var m map[string]any
	if err := json.Unmarshal(value, &m); err != nil {
		panic(err)
	}
	m[name] = to
	text, _ := json.Marshal(m)
	return backup.Record{Key: fmt.Sprint(m["id"]), Value: text}
}

func memberOf(value json.RawMessage, name string) any {
	var m map[string]any
	_ = json.Unmarshal(value, &m)
	return m[name]
}

// triggers of hosts, as databases have them.
var (
	// dates sets a date, unless the change has set another one itself.
	dates = backuptest.Trigger{Name: "trigger dates", Do: func(ctx context.Context, w backup.Writer, c backuptest.Change) error {
		if c.Before == nil || c.After == nil || memberOf(c.Before, "updated") != memberOf(c.After, "updated") {
			return nil
		}
		return w.Put(ctx, c.Collection, []backup.Record{member(c.After, "updated", "now")})
	}}

	// insists sets a date whatever the change has set.
	insists = backuptest.Trigger{Name: "trigger insists", Do: func(ctx context.Context, w backup.Writer, c backuptest.Change) error {
		if c.Before == nil || c.After == nil {
			return nil
		}
		return w.Put(ctx, c.Collection, []backup.Record{member(c.After, "updated", "now")})
	}}

	// counts keeps the number of notes in the user.
	counts = backuptest.Trigger{Name: "trigger counts", Do: func(ctx context.Context, w backup.Writer, c backuptest.Change) error {
		add := func(note json.RawMessage, n float64) error {
			users, err := w.Lookup(ctx, "users", []string{fmt.Sprint(memberOf(note, "user"))})
			if err != nil || len(users) == 0 {
				return err
			}
			had, _ := memberOf(users[0].Value, "notes").(float64)
			return w.Put(ctx, "users", []backup.Record{member(users[0].Value, "notes", had+n)})
		}
		switch {
		case c.Before == nil:
			return add(c.After, 1)
		case c.After == nil:
			return add(c.Before, -1)
		}
		return nil
	}}

	// welcomes gives a new user a note.
	welcomes = backuptest.Trigger{Name: "trigger welcomes", Do: func(ctx context.Context, w backup.Writer, c backuptest.Change) error {
		if c.Before != nil || c.After == nil {
			return nil
		}
		return w.Put(ctx, "notes", []backup.Record{{Key: "w" + c.Key, Value: json.RawMessage(fmt.Sprintf(`{"id":"w%s","user":%q,"title":"welcome"}`, c.Key, c.Key))}})
	}}

	// keeps lets no record be deleted.
	keeps = backuptest.Trigger{Name: "trigger keeps", Do: func(ctx context.Context, w backup.Writer, c backuptest.Change) error {
		if c.After != nil {
			return nil
		}
		return w.Put(ctx, c.Collection, []backup.Record{{Key: c.Key, Value: c.Before}})
	}}

	// ignores lets no record be changed or added.
	ignores = backuptest.Trigger{Name: "trigger ignores", Do: func(ctx context.Context, w backup.Writer, c backuptest.Change) error {
		switch {
		case c.After == nil:
			return nil
		case c.Before == nil:
			return w.Delete(ctx, c.Collection, []string{c.Key})
		}
		return w.Put(ctx, c.Collection, []backup.Record{{Key: c.Key, Value: c.Before}})
	}}

	forbids = backuptest.Trigger{Name: "trigger forbids", Do: func(context.Context, backup.Writer, backuptest.Change) error {
		return errors.New("the last user cannot be deleted")
	}}
)

func TestWhatTriggersMakeOtherwiseIsPutRightOrNamed(t *testing.T) {
	app := peopleApp()
	snapshot := backuptest.MapStore{
		"users": {"u1": `{"id":"u1","name":"ann","notes":2,"updated":"2024"}`, "u2": `{"id":"u2","name":"bob","notes":1,"updated":"2024"}`},
		"notes": {"n1": `{"id":"n1","user":"u1","title":"a"}`, "n2": `{"id":"n2","user":"u1","title":"welcome"}`, "n3": `{"id":"n3","user":"u2","title":"welcome"}`},
	}
	s := backedUp(t, app, snapshot, backup.BackupOptions{})
	empty := backuptest.MapStore{"users": {}, "notes": {}}
	older := backuptest.MapStore{"users": {"u1": `{"id":"u1","name":"x","notes":2,"updated":"2024"}`, "u3": `{"id":"u3","name":"bob"}`}, "notes": {"n9": `{"id":"n9","user":"u3","title":"t"}`}}
	for _, c := range []struct {
		name     string
		on       string
		trigger  backuptest.Trigger
		host     backuptest.MapStore
		warnings []string // of a full restore; none: all is put right
		counts   [5]int64 // added, updated, deleted, altered, extra
	}{
		{"a date that is set by itself", "users", dates, older, nil, [5]int64{}},
		{"a counter", "notes", counts, empty, nil, [5]int64{}},
		{"a counter, and deletions", "notes", counts, older, nil, [5]int64{}},
		{"a record for each new user, which takes a unique value", "users", welcomes, empty, nil, [5]int64{}},
		{"a date that nobody else can set", "users", insists, older, []string{
			`users: records that did not stay as the restore wrote or found them (1): "u1"; the host does that by itself, probably by trigger insists of users`}, [5]int64{1, 0, 1, 1, 0}},
		{"nothing can be deleted", "notes", keeps, backuptest.MapStore{"users": snapshot["users"], "notes": {"n9": `{"id":"n9","user":"u1","title":"t"}`}}, []string{
			`notes: other records that the host made, changed, removed or kept (1): "n9"; the host does that by itself, probably by trigger keeps of notes`}, [5]int64{3, 0, 0, 0, 1}},
		{"nothing can be put", "notes", ignores, backuptest.MapStore{"users": snapshot["users"], "notes": {"n1": `{"id":"n1","user":"u1","title":"t"}`}}, []string{
			`notes: records that did not stay as the restore wrote or found them (3): "n1", "n2", "n3"; the host does that by itself, probably by trigger ignores of notes`}, [5]int64{0, 0, 0, 3, 0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			host := people(c.host["users"], c.host["notes"])
			host.Triggers = map[string][]backuptest.Trigger{c.on: {c.trigger}}
			report := tried(t, app, s, host, backup.RestoreOptions{Strategy: backup.Replace})
			require.Equal(t, c.warnings, report.Warnings)
			if c.warnings == nil {
				sameData(t, snapshot, host.MapStore)
				again := tried(t, app, s, host, backup.RestoreOptions{Strategy: backup.Replace})
				require.False(t, again.Changed())
				return
			}
			require.True(t, report.Changed())
			of := report.Collections[0]
			if c.on == "notes" {
				of = report.Collections[1]
			}
			require.Equal(t, c.counts, [5]int64{of.Added, of.Updated, of.Deleted, of.Altered, of.Extra})
		})
	}
}

func sameData(t *testing.T, want, got backuptest.MapStore) {
	t.Helper()
	require.Equal(t, len(want), len(got))
	for name := range want {
		require.Len(t, got[name], len(want[name]), "%s: %v", name, got[name])
		for key, value := range want[name] {
			require.JSONEq(t, value, got[name][key])
		}
	}
}

func TestWhatATriggerAddsDoesNotClashWithTheSnapshot(t *testing.T) {
	app := peopleApp()
	s := backedUp(t, app, people(records{"u1": `{"id":"u1","name":"ann"}`}, records{"n2": `{"id":"n2","user":"u1","title":"welcome","text":"dark"}`}).MapStore, backup.BackupOptions{})
	for _, strategy := range everyStrategy {
		host := people(nil, nil)
		host.Triggers = map[string][]backuptest.Trigger{"users": {welcomes}}
		report := tried(t, app, s, host, backup.RestoreOptions{Strategy: strategy})
		require.Empty(t, report.Warnings)
		require.Equal(t, records{"n2": `{"id":"n2","user":"u1","title":"welcome","text":"dark"}`}, host.MapStore["notes"])
	}
}

func TestAPlanSaysWhatATriggerForbids(t *testing.T) {
	app := peopleApp()
	s := backedUp(t, app, people(nil, nil).MapStore, backup.BackupOptions{})
	host := people(records{"u1": `{"id":"u1","name":"ann"}`}, nil)
	host.Triggers = map[string][]backuptest.Trigger{"users": {forbids}}
	_, err := app.Plan(t.Context(), s, host, backup.RestoreOptions{Strategy: backup.Replace})
	require.ErrorContains(t, err, "the last user cannot be deleted")
	_, err = app.Plan(t.Context(), s, host, backup.RestoreOptions{Strategy: backup.Replace, Untried: true})
	require.NoError(t, err)
}

func TestRecordsThatOnlyTheHostHasStayOrAreNamed(t *testing.T) {
	app := peopleApp()
	s := backedUp(t, app, people(records{"u1": `{"id":"u1","name":"ann"}`}, records{"n1": `{"id":"n1","user":"u1","title":"a"}`}).MapStore, backup.BackupOptions{})
	rings := backuptest.Trigger{Name: "trigger rings", Do: func(ctx context.Context, w backup.Writer, c backuptest.Change) error {
		return errors.Join(w.Put(ctx, "users", []backup.Record{{Key: "u8", Value: json.RawMessage(`{"id":"u8","name":"rung"}`)}}),
			w.Delete(ctx, "users", []string{"u9"}), w.Put(ctx, "users", []backup.Record{{Key: "u0", Value: json.RawMessage(`{"id":"u0","name":"made"}`)}}))
	}}
	host := people(records{"u8": `{"id":"u8","name":"eve"}`, "u9": `{"id":"u9","name":"gone"}`}, nil)
	host.Triggers = map[string][]backuptest.Trigger{"notes": {rings}}
	report := tried(t, app, s, host, backup.RestoreOptions{})
	require.Equal(t, int64(2), report.Collections[0].Extra)
	require.Equal(t, []string{"u8", "u9"}, report.Collections[0].ExtraKeys)
	require.NotContains(t, host.MapStore["users"], "u0", "what the host has made by itself goes")
	require.Equal(t, int64(1), report.Collections[0].Added)
}

// plainWriter hides the optional methods of a Writer.
type plainWriter struct{ backup.Writer }

type plainSink struct{ backup.Sink }

func (s plainSink) Update(ctx context.Context, write func(backup.Writer) error) error {
	return s.Sink.Update(ctx, func(w backup.Writer) error { return write(plainWriter{w}) })
}

func TestReferencesThatTheHostChecksItself(t *testing.T) {
	app := peopleApp()
	app.Collections[1].Refs = nil // only the host knows
	s := backedUp(t, app, people(records{"u1": `{"id":"u1","name":"ann"}`}, records{"n1": `{"id":"n1","user":"u1"}`, "n2": `{"id":"n2","user":"lost"}`}).MapStore, backup.BackupOptions{})
	newHost := func() backuptest.RuledStore {
		host := people(nil, nil)
		host.Refs = map[string][]backup.Ref{"notes": {{Pointer: "/user", Collection: "users"}}}
		return host
	}
	host := newHost()
	_, err := app.Plan(t.Context(), s, host, backup.RestoreOptions{})
	require.ErrorIs(t, err, backup.ErrDangling)
	require.ErrorContains(t, err, `notes "n2" /user`)

	tried(t, app, s, host, backup.RestoreOptions{AllowDangling: true})
	require.Len(t, host.MapStore["notes"], 2)

	// A host that cannot let them dangle takes the others, also to bring back what it had.
	for _, opts := range []backup.RestoreOptions{{AllowDangling: true}, {Strategy: backup.Replace, AsItWas: true}} {
		host = newHost()
		report, err := app.Restore(t.Context(), s, plainSink{host}, opts)
		require.NoError(t, err)
		require.Equal(t, "n2", report.LeftOut[0].Key)
		require.Equal(t, records{"n1": `{"id":"n1","user":"u1"}`}, host.MapStore["notes"])
	}
}

func TestTheHostSaysWhatComesFirst(t *testing.T) {
	app := &backup.App{Name: "people", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{{Name: "notes", Key: "/id"}, {Name: "users", Key: "/id"}}}
	s := backedUp(t, app, people(records{"u1": `{"id":"u1","name":"ann"}`}, records{"n1": `{"id":"n1","user":"u1"}`}).MapStore, backup.BackupOptions{})
	host := people(nil, nil)
	host.Refs = map[string][]backup.Ref{"notes": {{Pointer: "/user", Collection: "users"}}}
	report := tried(t, app, s, host, backup.RestoreOptions{})
	require.Equal(t, "users", report.Collections[0].Name)
}

func TestAnErrorAboutRecordsKeepsItsCause(t *testing.T) {
	app := peopleApp()
	cause := errors.New("the disk is full")
	s := backedUp(t, app, people(records{"u1": `{"id":"u1","name":"ann"}`}, nil).MapStore, backup.BackupOptions{})
	for n := range 3 {
		fails := backuptest.Trigger{Name: "trigger fails", Do: func(context.Context, backup.Writer, backuptest.Change) error {
			errs := []error{cause}
			for i := range n {
				errs = append(errs, &backup.RecordError{Collection: "users", Key: fmt.Sprint(i), Offset: -1, Err: backup.ErrClash})
			}
			return errors.Join(errs...)
		}}
		host := people(nil, nil)
		host.Triggers = map[string][]backuptest.Trigger{"users": {fails}}
		_, err := app.Restore(t.Context(), s, host, backup.RestoreOptions{})
		require.ErrorIs(t, err, cause)
		require.Equal(t, n > 0, errors.Is(err, backup.ErrClash))
	}
}

func TestWhatAReplaceSparesIsWatched(t *testing.T) {
	app := peopleApp()
	app.Collections[0].Schema = []byte(`{"properties":{"name":{"type":"string"}}}`)
	data, held := `{"users":[{"id":"new","name":"n"}`, records{"old": `{"id":"old","name":"o"}`}
	for i := range 600 { // several batches; the host has every third
		data += fmt.Sprintf(`,{"id":"u%d","name":%d}`, i, i)
		if i%3 == 0 {
			held[fmt.Sprintf("u%d", i)] = fmt.Sprintf(`{"id":"u%d","name":"held"}`, i)
		}
	}
	s := written(t, app, 1, data+"]}")
	want := maps.Clone(held)
	delete(want, "old")
	want["new"] = `{"id":"new","name":"n"}`
	opts := backup.RestoreOptions{Strategy: backup.Replace, LeaveOutInvalid: true, Only: []string{"users"}}
	for name, alters := range map[string]bool{"a trigger that does nothing": false, "a trigger that alters what stays": true} {
		t.Run(name, func(t *testing.T) {
			host := people(held, nil)
			host.Unique = nil
			host.Triggers = map[string][]backuptest.Trigger{"users": {{Name: "trigger", Do: func(ctx context.Context, w backup.Writer, c backuptest.Change) error {
				if !alters {
					return nil
				}
				return w.Put(ctx, "users", []backup.Record{{Key: "u599", Value: json.RawMessage(`{"id":"u599"}`)}, {Key: "u597", Value: json.RawMessage(`{"id":"u597"}`)}})
			}}}}
			report := tried(t, app, s, host, opts)
			require.Equal(t, int64(1), report.Collections[0].Deleted)
			want := maps.Clone(want)
			var extra []string
			if alters {
				want["u597"], want["u599"] = `{"id":"u597"}`, `{"id":"u599"}`
				extra = []string{"u597"}
			}
			require.Equal(t, want, host.MapStore["users"])
			require.Equal(t, extra, report.Collections[0].ExtraKeys)
		})
	}
}
