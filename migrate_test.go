package backup_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
)

type emitFunc = func(collection string, r backup.Record) error

// step is a Migration of which only the interesting part is written down.
func step(from int, f func(collection string, r backup.Record, emit emitFunc) error) backup.Migrator {
	return backup.Migration(from, func(_ context.Context, collection string, r backup.Record, emit emitFunc) error {
		return f(collection, r, emit)
	})
}

// members returns the members of a record that is an object.
func members(r backup.Record) map[string]any {
	var m map[string]any
	if err := json.Unmarshal(r.Value, &m); err != nil {
		panic(err)
	}
	return m
}

func record(key string, value any) backup.Record {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return backup.Record{Key: key, Value: text}
}

// grown is homelab after three versions of its schema.
func grown() *backup.App {
	return &backup.App{
		Name: "homelab", Version: "4.0.0", SchemaVersion: 4,
		Collections: []backup.Collection{
			{Name: "servers", Key: "/id", Secrets: []string{"/password"},
				Schema: []byte(`{"required":["id","name","port"],"properties":{"port":{"type":"integer"}},"not":{"required":["obsolete"]}}`)},
			{Name: "applications", Key: "/id", Refs: []backup.Ref{{Pointer: "/server", Collection: "servers"}}},
			{Name: "settings", Shape: backup.Map},
			{Name: "labels", Key: "/name"},
		},
		Migrators: []backup.Migrator{
			// 4: the settings are a Map and were a list, the labels the other way round.
			step(3, func(c string, r backup.Record, emit emitFunc) error {
				switch c {
				case "settings":
					m := members(r)
					return emit(c, record(m["id"].(string), m["value"]))
				case "labels":
					return emit(c, record("", map[string]any{"name": r.Key, "color": json.RawMessage(r.Value)}))
				}
				return emit(c, r)
			}),
			// 2: hosts are called servers, and have a port.
			step(1, func(c string, r backup.Record, emit emitFunc) error {
				if c != "hosts" {
					return emit(c, r)
				}
				m := members(r)
				if m["port"] == nil {
					m["port"] = 22
				}
				return emit("servers", record(r.Key, m))
			}),
			// 3: applications are a collection, what is obsolete goes, guests are dropped.
			step(2, func(c string, r backup.Record, emit emitFunc) error {
				switch c {
				case "guests":
					return nil
				case "servers":
					m := members(r)
					apps, _ := m["applications"].([]any)
					delete(m, "applications")
					delete(m, "obsolete")
					for _, name := range apps {
						if err := emit("applications", record("", map[string]any{"id": name, "server": m["id"]})); err != nil {
							return err
						}
					}
					return emit(c, record(r.Key, m))
				}
				return emit(c, r)
			}),
		},
	}
}

const oldData = `{
	"hosts":[{"id":"s1","name":"nas","obsolete":1,"applications":["jellyfin","proxy"]},{"id":"s2","name":"pi","port":2222}],
	"guests":[{"id":"g1"},{"id":"g2"}],
	"settings":[{"id":"theme","value":"dark"},{"id":"a/b","value":[1]}],
	"labels":{"home":"red","a~b":{"r":1}}}`

func TestOldDataIsMigratedStepByStep(t *testing.T) {
	want := backuptest.MapStore{
		"servers":      {"s1": `{"id":"s1","name":"nas","port":22}`, "s2": `{"id":"s2","name":"pi","port":2222}`},
		"applications": {"jellyfin": `{"id":"jellyfin","server":"s1"}`, "proxy": `{"id":"proxy","server":"s1"}`},
		"settings":     {"theme": `"dark"`, "a/b": `[1]`},
		"labels":       {"home": `{"color":"red","name":"home"}`, "a~b": `{"color":{"r":1},"name":"a~b"}`},
	}
	host := func() backuptest.MapStore {
		return backuptest.MapStore{"servers": {"s9": `{"id":"s9","name":"n","port":1}`}, "applications": {}, "settings": {"theme": `"light"`}, "labels": {}}
	}
	s := written(t, grown(), 1, oldData)
	report, err := grown().Verify(t.Context(), s, backup.RestoreOptions{})
	require.NoError(t, err)
	require.Equal(t, 1, report.SchemaVersion)
	store := host()
	_, err = grown().Restore(t.Context(), s, store, backup.RestoreOptions{Strategy: backup.Replace})
	require.NoError(t, err)
	require.Equal(t, want, store)

	t.Run("and only what is wanted is taken", func(t *testing.T) {
		store := host()
		_, err := grown().Restore(t.Context(), s, store, backup.RestoreOptions{Strategy: backup.Replace, Only: []string{"servers", "labels"}})
		require.NoError(t, err)
		require.Equal(t, backuptest.MapStore{"servers": want["servers"], "labels": want["labels"], "applications": {}, "settings": host()["settings"]}, store)
		_, err = grown().Restore(t.Context(), s, store, backup.RestoreOptions{Only: []string{"hosts"}})
		require.ErrorContains(t, err, `no collection "hosts"`, "names are those of today")
	})
	t.Run("from any version on", func(t *testing.T) {
		store := host()
		_, err := grown().Restore(t.Context(), written(t, grown(), 3, `{"settings":[{"id":"x","value":null}],"labels":{"l":1}}`), store, backup.RestoreOptions{Strategy: backup.Replace})
		require.NoError(t, err)
		require.Equal(t, map[string]string{"x": "null"}, store["settings"])
		require.Equal(t, map[string]string{"l": `{"color":1,"name":"l"}`}, store["labels"])
		require.Equal(t, host()["servers"], store["servers"], "what the snapshot does not have is not touched")
	})
	t.Run("and references to what did not take part are no concern", func(t *testing.T) {
		_, err := grown().Verify(t.Context(), written(t, grown(), 3, `{"applications":[{"id":"a","server":"s9"}]}`), backup.RestoreOptions{})
		require.NoError(t, err)
	})
	t.Run("and today's is left alone", func(t *testing.T) {
		store := host()
		_, err := grown().Restore(t.Context(), backedUp(t, grown(), want, backup.BackupOptions{}), store, backup.RestoreOptions{Strategy: backup.Replace})
		require.NoError(t, err)
		require.Equal(t, want, store)
	})
}

func TestMigratorsSeeOpenSecrets(t *testing.T) {
	old := &backup.App{Name: "homelab", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{
		{Name: "hosts", Key: "/id", Secrets: []string{"/password"}}, {Name: "settings", Shape: backup.Map, Secrets: []string{"/*/password"}},
	}}
	s := backedUp(t, old, backuptest.MapStore{
		"hosts":    {"h1": `{"id":"h1","name":"n","password":"s3cret"}`},
		"settings": {"a/b": `{"password":"s3cret2"}`},
	}, backup.BackupOptions{})
	app := grown()
	var keys []string
	app.Migrators[1] = step(1, func(c string, r backup.Record, emit emitFunc) error {
		keys = append(keys, c+" "+r.Key)
		m := members(r)
		require.Contains(t, m["password"], "s3cret")
		if c == "settings" {
			return emit("servers", record("", map[string]any{"id": r.Key, "name": "n", "port": 1, "password": m["password"]}))
		}
		m["port"] = 22
		return emit("servers", record("", m))
	})
	store := backuptest.MapStore{"servers": {}, "applications": {}, "settings": {}, "labels": {}}
	_, err := app.Restore(t.Context(), s, store, backup.RestoreOptions{})
	require.NoError(t, err)
	require.Equal(t, map[string]string{
		"h1":  `{"id":"h1","name":"n","password":"s3cret","port":22}`,
		"a/b": `{"id":"a/b","name":"n","password":"s3cret2","port":1}`,
	}, store["servers"])
	require.Contains(t, keys, "settings a/b", "the key of a member of an object is its name")
	require.Contains(t, keys, "hosts h1")
}

func TestAMigratorGetsTheKeyOfEachRecord(t *testing.T) {
	var got []string
	note := func(c string, r backup.Record, emit emitFunc) error {
		got = append(got, fmt.Sprintf("%s %q", c, r.Key))
		return nil
	}
	app := &backup.App{Name: "homelab", Version: "1.0.0", SchemaVersion: 2,
		Collections: []backup.Collection{list("servers"), list("settings"), {Name: "labels", Shape: backup.Map}},
		Migrators:   []backup.Migrator{step(1, note)},
	}
	_, err := app.Verify(t.Context(), written(t, app, 1, `{
		"servers":[{"id":7},{"name":"no id"}],
		"settings":{"a/b":{"v":1},"theme":"dark"},
		"labels":[{"id":"l"}],
		"gone":[{"id":"g"}],
		"gone_too":{"m":1}}`), backup.RestoreOptions{})
	require.NoError(t, err)
	require.Equal(t, []string{
		`servers "7"`, `servers ""`,
		`settings "a/b"`, `settings "theme"`,
		`labels ""`, `gone ""`, `gone_too "m"`,
	}, got)
}

func TestWhatAMigratorDoesWrongIsSaid(t *testing.T) {
	pass := func(c string, r backup.Record, emit emitFunc) error { return emit(c, r) }
	with := func(first, second func(string, backup.Record, emitFunc) error) *backup.App {
		return &backup.App{Name: "homelab", Version: "1.0.0", SchemaVersion: 3,
			Collections: []backup.Collection{list("users"), {Name: "settings", Shape: backup.Map}},
			Migrators:   []backup.Migrator{step(1, first), step(2, second)},
		}
	}
	emits := func(c, key, value string) func(string, backup.Record, emitFunc) error {
		return func(_ string, _ backup.Record, emit emitFunc) error {
			return emit(c, backup.Record{Key: key, Value: []byte(value)})
		}
	}
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		app  *backup.App
		kind error
		want string
	}{
		"fails at the first step":  {with(func(string, backup.Record, emitFunc) error { return boom }, pass), boom, `users "u1" (byte 143): migrate from schema version 1 to 2: boom`},
		"fails at the second step": {with(pass, func(string, backup.Record, emitFunc) error { return boom }), boom, `users "u1" (byte 143): migrate from schema version 2 to 3: boom`},
		"hides the error of the second step": {with(func(c string, r backup.Record, emit emitFunc) error {
			emit(c, r)
			return nil
		}, func(string, backup.Record, emitFunc) error { return boom }), boom, `migrate from schema version 2 to 3: boom`},
		"hides one error among others": {with(func(c string, r backup.Record, emit emitFunc) error {
			emit(c, backup.Record{Value: []byte(`{"id":"bad"}`)})
			emit(c, r)
			return nil
		}, func(c string, r backup.Record, emit emitFunc) error {
			if strings.Contains(string(r.Value), "bad") {
				return boom
			}
			return emit(c, r)
		}), boom, `migrate from schema version 2 to 3: boom`},
		"wraps the error of the second step": {with(func(c string, r backup.Record, emit emitFunc) error {
			return fmt.Errorf("mine: %w", emit(c, r))
		}, func(string, backup.Record, emitFunc) error { return boom }), boom, `migrate from schema version 2 to 3: boom`},
		"emits garbage":                  {with(pass, emits("users", "", `{"id":`)), backup.ErrInvalid, `users (byte 143): invalid data after migration: not well-formed JSON`},
		"emits no value":                 {with(pass, emits("users", "", ``)), backup.ErrInvalid, `users (byte 143): invalid data after migration: not well-formed JSON`},
		"emits no object":                {with(pass, emits("users", "u1", `"u1"`)), backup.ErrInvalid, `users "u1" /id (byte 143): the record is not an object`},
		"emits no key":                   {with(pass, emits("users", "u1", `{}`)), backup.ErrInvalid, `/id (byte 143): the key is missing`},
		"emits a member without a name":  {with(pass, emits("settings", "", `1`)), backup.ErrInvalid, `settings (byte 143): the key is empty`},
		"emits a name that is not UTF-8": {with(pass, emits("settings", "\xff", `1`)), backup.ErrInvalid, `the key is not UTF-8`},
		"emits the same key twice":       {with(pass, emits("users", "", `{"id":1}`)), backup.ErrInvalid, `users "1" (byte 155): another record has the same key`},
		"emits an unknown collection":    {with(pass, emits("people", "", `{"id":1}`)), backup.ErrInvalid, `a collection "people", which homelab 1.0.0 does not know`},
		"emits a number without end":     {with(pass, emits("users", "", `{"id":1,"n":1e99999}`)), backup.ErrLimit, `a number with an exponent`},
	} {
		t.Run(name, func(t *testing.T) {
			s := written(t, c.app, 1, `{"users":[{"id":"u1"},{"id":"u2"}]}`)
			store := backuptest.MapStore{"users": {"x": `{"id":"x"}`}, "settings": {}}
			_, err := c.app.Restore(t.Context(), s, store, backup.RestoreOptions{Strategy: backup.Replace})
			require.ErrorIs(t, err, c.kind)
			require.NotErrorIs(t, err, backup.ErrDamaged, "the snapshot is fine")
			require.ErrorContains(t, err, c.want)
			require.Equal(t, strings.Count(c.want, "migrate from"), strings.Count(err.Error(), "migrate from"), "the step is named once")
			require.Equal(t, backuptest.MapStore{"users": {"x": `{"id":"x"}`}, "settings": {}}, store)
		})
	}
	t.Run("emits nothing: a collection that is empty afterwards is not touched unless it is named alike", func(t *testing.T) {
		drop := func(string, backup.Record, emitFunc) error { return nil }
		store := backuptest.MapStore{"users": {"x": `{"id":"x"}`}, "settings": {"a": `1`}}
		app := with(drop, pass)
		_, err := app.Restore(t.Context(), written(t, app, 1, `{"users":[{"id":"u1"}],"other":[{"id":"u1"}]}`), store, backup.RestoreOptions{Strategy: backup.Replace})
		require.NoError(t, err)
		require.Equal(t, backuptest.MapStore{"users": {}, "settings": {"a": `1`}}, store)
	})
	t.Run("an unknown collection can be allowed", func(t *testing.T) {
		app := with(pass, emits("people", "", `{"id":1}`))
		report, err := app.Verify(t.Context(), written(t, app, 1, `{"users":[{"id":"u1"},{"id":"u2"}]}`), backup.RestoreOptions{AllowUnknown: true})
		require.NoError(t, err)
		warned := slices.DeleteFunc(report.Warnings, func(w string) bool { return !strings.Contains(w, "people") })
		require.Len(t, warned, 1, "it is said once")
	})
	t.Run("the host's error is not taken for the migrator's", func(t *testing.T) {
		app := with(pass, pass)
		s := written(t, app, 1, `{"users":[{"id":"u1"}]}`)
		f := &backuptest.Faulty{Sink: backuptest.MapStore{"users": {}, "settings": {}}, On: backuptest.CallPut, Nth: 1, Err: io.ErrShortWrite}
		_, err := app.Restore(t.Context(), s, f, backup.RestoreOptions{})
		require.ErrorIs(t, err, io.ErrShortWrite)
		require.NotContains(t, err.Error(), "migrate")
	})
}

func TestAMigrationOfManyRecordsGoesThroughBatches(t *testing.T) {
	app := &backup.App{Name: "homelab", Version: "1.0.0", SchemaVersion: 2,
		Collections: []backup.Collection{{Name: "halves", Key: "/id", Refs: []backup.Ref{{Pointer: "/of", Collection: "wholes"}}}, list("wholes")},
		Migrators: []backup.Migrator{step(1, func(c string, r backup.Record, emit emitFunc) error {
			for _, side := range []string{"left", "right"} {
				if err := emit("halves", record("", map[string]any{"id": side + r.Key, "of": r.Key})); err != nil {
					return err
				}
			}
			return emit(c, r)
		})},
	}
	var records []string
	want := backuptest.MapStore{"wholes": {}, "halves": {}}
	for i := range 1000 {
		key := fmt.Sprint(i)
		want["wholes"][key] = fmt.Sprintf(`{"id":%q}`, key)
		records = append(records, want["wholes"][key])
		for _, side := range []string{"left", "right"} {
			want["halves"][side+key] = fmt.Sprintf(`{"id":%q,"of":%q}`, side+key, key)
		}
	}
	store := backuptest.MapStore{"wholes": maps.Clone(want["wholes"]), "halves": {"old": `{"id":"old"}`}}
	_, err := app.Restore(t.Context(), written(t, app, 1, `{"wholes":[`+strings.Join(records, ",")+`]}`), store, backup.RestoreOptions{Strategy: backup.Replace})
	require.NoError(t, err)
	require.Equal(t, want, store)
}

// A Migrator is code of the host, and may be led astray by a hostile record.
func TestWhatAMigratorEmitsIsBounded(t *testing.T) {
	endless := func(c string, value string) backup.Migrator {
		return step(1, func(_ string, _ backup.Record, emit emitFunc) error {
			for i := 0; ; i++ {
				if err := emit(c, backup.Record{Key: fmt.Sprint(i), Value: []byte(fmt.Sprintf(value, i))}); err != nil {
					return err
				}
			}
		})
	}
	huge := `{"id":"%d","x":"` + strings.Repeat("x", 2000) + `"}`
	drop := step(2, func(string, backup.Record, emitFunc) error { return nil })
	keep := step(2, func(c string, r backup.Record, emit emitFunc) error { return emit(c, r) })
	calls := 0
	later := step(2, func(c string, r backup.Record, emit emitFunc) error {
		if calls++; calls <= 1 {
			return emit(c, r)
		}
		for {
			if err := emit("other", r); err != nil {
				return errors.New("hidden")
			}
		}
	})
	once := step(1, func(c string, r backup.Record, emit emitFunc) error { return emit(c, r) })
	for name, c := range map[string]struct {
		migrators []backup.Migrator
		limits    backup.Limits
		field     string
	}{
		"records without end":             {[]backup.Migrator{endless("users", `{"id":%d}`), keep}, backup.Limits{Records: 5000}, "Records"},
		"records that a later step drops": {[]backup.Migrator{endless("users", `{"id":%d}`), drop}, backup.Limits{Records: 5000}, "Records"},
		"records that nobody wants":       {[]backup.Migrator{endless("other", `{"id":%d}`), keep}, backup.Limits{Records: 5000}, "Records"},
		"bytes without end":               {[]backup.Migrator{endless("users", huge), keep}, backup.Limits{TotalBytes: 1 << 20}, "TotalBytes"},
		"a huge record":                   {[]backup.Migrator{endless("users", huge), keep}, backup.Limits{RecordBytes: 1000}, "RecordBytes"},
		"a huge record, dropped":          {[]backup.Migrator{endless("users", huge), drop}, backup.Limits{RecordBytes: 1000}, "RecordBytes"},
		"only when asked again":           {[]backup.Migrator{once, later}, backup.Limits{Records: 5000}, "Records"},
	} {
		t.Run(name, func(t *testing.T) {
			calls = 0
			app := &backup.App{Name: "homelab", Version: "3.0.0", SchemaVersion: 3, Collections: []backup.Collection{list("users"), list("other")}, Migrators: c.migrators}
			s, err := backup.OpenSnapshot(t.Context(), strings.NewReader(plainHead+`"schema_version":1,"data":{"users":[{"id":"first"}]}}`), backup.OpenOptions{Limits: c.limits})
			require.NoError(t, err)
			defer s.Close()
			opts := backup.RestoreOptions{Only: []string{"users"}, LeaveOutInvalid: true, AllowNewerApp: true}
			for what, run := range map[string]func() error{
				"verify": func() error { _, err := app.Verify(t.Context(), s, opts); return err },
				"plan": func() error {
					_, err := app.Plan(t.Context(), s, backuptest.MapStore{"users": {}, "other": {}}, opts)
					return err
				},
				"restore": func() error {
					_, err := app.Restore(t.Context(), s, backuptest.MapStore{"users": {}, "other": {}}, opts)
					return err
				},
				"drill": func() error {
					_, err := app.Drill(t.Context(), s, backuptest.MapStore{"users": {}, "other": {}}, opts)
					return err
				},
			} {
				if calls = 0; name == "only when asked again" && what != "plan" {
					continue // it migrates the records once
				}
				err := run()
				require.ErrorIs(t, err, backup.ErrLimit, what)
				require.ErrorContains(t, err, "(Limits."+c.field+")", what)
				var r *backup.RecordError
				require.ErrorAs(t, err, &r)
				require.Equal(t, "first", r.Key)
				require.Positive(t, r.Offset)
			}
		})
	}
}

func TestARestoreMigratesEachRecordOnce(t *testing.T) {
	const records = 2000
	var text strings.Builder
	for i := range records {
		fmt.Fprintf(&text, `{"id":"u%d","n":[%d, "x"]},`, i, i)
	}
	file := plainHead + `"schema_version":1,"data":{"users":[` + strings.TrimSuffix(text.String(), ",") + `],"other":[{"id":"o"}]}}`
	restore := func(dir string) (store backuptest.MapStore, calls int) {
		app := &backup.App{Name: "homelab", Version: "3.0.0", SchemaVersion: 2, Collections: []backup.Collection{list("users"), list("other")}, Migrators: []backup.Migrator{
			step(1, func(c string, r backup.Record, emit emitFunc) error {
				if calls++; strings.HasSuffix(r.Key, "3") {
					c = "other"
				}
				return emit(c, r)
			})}}
		s, err := backup.OpenSnapshot(t.Context(), strings.NewReader(file), backup.OpenOptions{TempDir: dir})
		require.NoError(t, err)
		defer s.Close()
		store = backuptest.MapStore{"users": {}, "other": {}}
		_, err = app.Restore(t.Context(), s, store, backup.RestoreOptions{AllowNewerApp: true})
		require.NoError(t, err)
		require.Len(t, store["users"], records-records/10)
		require.Len(t, store["other"], records/10+1)
		require.JSONEq(t, `{"id":"u10","n":[10,"x"]}`, store["users"]["u10"])
		return store, calls
	}
	dir := t.TempDir()
	store, calls := restore(dir)
	require.Equal(t, records+1, calls)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
	again, calls := restore(filepath.Join(dir, "missing"))
	require.Greater(t, calls, records+1, "without a place to keep them they are migrated again")
	require.Equal(t, store, again)
}

func TestACancelledContextEndsAMigratorBetweenTwoRecords(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	app := &backup.App{Name: "homelab", Version: "3.0.0", SchemaVersion: 2, Collections: []backup.Collection{list("users")}, Migrators: []backup.Migrator{
		step(1, func(c string, r backup.Record, emit emitFunc) error {
			for i := 0; ; i++ {
				if i == 10 {
					cancel()
				}
				require.LessOrEqual(t, i, 10)
				if emit(c, record("", map[string]any{"id": i})) != nil {
					return nil
				}
			}
		})}}
	s, err := backup.OpenSnapshot(t.Context(), strings.NewReader(plainHead+`"schema_version":1,"data":{"users":[{"id":"first"}]}}`), backup.OpenOptions{})
	require.NoError(t, err)
	defer s.Close()
	_, err = app.Restore(ctx, s, backuptest.MapStore{"users": {}, "other": {}}, backup.RestoreOptions{})
	require.ErrorIs(t, err, context.Canceled)
	_, found := errors.AsType[*backup.RecordError](err)
	require.False(t, found, "the record is not to blame")
}

func TestAMigratorThatGivesMoreWhenAskedAgainIsAnError(t *testing.T) {
	calls := 0
	app := &backup.App{Name: "homelab", Version: "3.0.0", SchemaVersion: 2, Collections: []backup.Collection{list("users")}, Migrators: []backup.Migrator{
		step(1, func(c string, r backup.Record, emit emitFunc) error {
			if calls++; calls >= 4 { // the records are checked first, and then compared
				if err := emit(c, backup.Record{Key: "more", Value: json.RawMessage(`{"id":"more"}`)}); err != nil {
					return err
				}
			}
			return emit(c, r)
		})}}
	s, err := backup.OpenSnapshot(t.Context(), strings.NewReader(plainHead+`"schema_version":1,"data":{"users":[{"id":"first","n":1},{"id":"second"}]}}`), backup.OpenOptions{})
	require.NoError(t, err)
	defer s.Close()
	_, err = app.Plan(t.Context(), s, backuptest.MapStore{"users": {"first": `{"id":"first"}`}}, backup.RestoreOptions{Strategy: backup.Replace})
	require.ErrorIs(t, err, backup.ErrInvalid)
	require.ErrorContains(t, err, "more records than before")
}
