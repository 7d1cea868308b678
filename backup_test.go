package backup_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/internal/testtime"
)

func TestABackupHoldsEveryRecordOnALineOfItsOwn(t *testing.T) {
	app := &backup.App{Name: "homelab", Version: "2.1.0", SchemaVersion: 1, Collections: []backup.Collection{
		list("servers"), {Name: "settings", Shape: backup.Map}, list("users"),
	}}
	store := backuptest.MapStore{
		"servers":  {"s1": ` { "id" : "s1", "n": 1.50e+1 } `, "s2": `{"id":"s2","text":"\u0041\/ "}`},
		"settings": {"a/b~c": `[ 1, 12345678901234567890 ]`, "theme": `"dark"`},
		"users":    {},
	}
	var file bytes.Buffer
	m, err := app.Backup(t.Context(), &file, store, backup.BackupOptions{CreatedAt: at.Add(time.Nanosecond), Metadata: map[string]string{"trigger": "manual"}})
	require.NoError(t, err)
	want := `{"version":"1.0",
"format":"` + backup.FormatAddress + `",
"created_at":"2024-01-15T10:30:00Z",
"application":"homelab",
"application_version":"2.1.0",
"schema_version":1,
"metadata":{"trigger":"manual"},
"data":{
"servers":[
{"id":"s1","n":1.50e+1},
{"id":"s2","text":"\u0041\/ "}
],
"settings":{
"a/b~c":[1,12345678901234567890],
"theme":"dark"
},
"users":[
]
},
"integrity":{"sha256":"` + m.SHA256 + `","records":{"servers":2,"settings":2,"users":0}}
}
`
	require.Equal(t, want, file.String())
	require.Equal(t, backup.Manifest{
		Version: "1.0", Format: backup.FormatAddress, CreatedAt: at, Application: "homelab", ApplicationVersion: "2.1.0", SchemaVersion: 1,
		Metadata: map[string]string{"trigger": "manual"},
		Records:  map[string]int64{"servers": 2, "settings": 2, "users": 0},
		Bytes:    int64(len(want)), SHA256: m.SHA256,
	}, m)
	require.Equal(t, m, opened(t, file.String()).Manifest())
}

func TestTheSameDataGivesTheSameBytes(t *testing.T) {
	open := homelab()
	for i := range open.Collections {
		open.Collections[i].Secrets = nil
	}
	for name, app := range map[string]*backup.App{"in clear": open, "sealed": homelab()} {
		t.Run(name, func(t *testing.T) {
			var files [2]bytes.Buffer
			for i := range files {
				cryptotest.SetGlobalRandom(t, 1)
				_, err := app.Backup(t.Context(), &files[i], homelabStore(), backup.BackupOptions{CreatedAt: at, Recipients: sealed, Metadata: map[string]string{"b": "1", "a": "2"}})
				require.NoError(t, err)
			}
			require.Equal(t, files[0].String(), files[1].String())
		})
	}
}

func TestABackupTakesTheCollectionsThatWereNamed(t *testing.T) {
	for name, c := range map[string]struct {
		opts backup.BackupOptions
		want []string
	}{
		"all but the optional":   {backup.BackupOptions{}, []string{"servers", "applications", "settings", "users"}},
		"the optional as well":   {backup.BackupOptions{Include: []string{"logs"}}, []string{"servers", "applications", "settings", "users", "logs"}},
		"only some":              {backup.BackupOptions{Only: []string{"users", "servers"}}, []string{"servers", "users"}},
		"only the optional":      {backup.BackupOptions{Only: []string{"logs"}}, []string{"logs"}},
		"only some and optional": {backup.BackupOptions{Only: []string{"users"}, Include: []string{"logs"}}, []string{"users", "logs"}},
		"named twice":            {backup.BackupOptions{Only: []string{"users", "users"}, Include: []string{"users"}}, []string{"users"}},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, backedUp(t, homelab(), homelabStore(), c.opts).Collections())
		})
	}
	for _, opts := range []backup.BackupOptions{{Only: []string{"user"}}, {Include: []string{"user"}}} {
		var file bytes.Buffer
		opts.Recipients = sealed
		_, err := homelab().Backup(t.Context(), &file, homelabStore(), opts)
		require.ErrorIs(t, err, backup.ErrInvalid)
		require.ErrorContains(t, err, `no collection "user", only applications, servers, settings, users, logs`)
		require.Zero(t, file.Len())
	}
}

func TestSecretsAreNeverWrittenWithoutAKey(t *testing.T) {
	for name, opts := range map[string]backup.BackupOptions{
		"no recipients":                     {},
		"only collections without a secret": {Only: []string{"users"}},
		"an empty passphrase":               {Recipients: []backup.Recipient{backup.Passphrase(nil)}},
	} {
		t.Run(name, func(t *testing.T) {
			var file bytes.Buffer
			_, err := homelab().Backup(t.Context(), &file, homelabStore(), opts)
			require.ErrorIs(t, err, backup.ErrNoKey)
			require.ErrorContains(t, err, "passphrase")
			require.Zero(t, file.Len(), "nothing is written")
		})
	}
}

func TestASnapshotHoldsNoSecretInClear(t *testing.T) {
	store := homelabStore()
	store["servers"]["s3"] = `{"id":"s3","name":"n","password":null}`
	app := homelab()
	app.Collections[1].Schema = nil
	var file bytes.Buffer
	_, err := app.Backup(t.Context(), &file, store, backup.BackupOptions{Recipients: sealed})
	require.NoError(t, err)
	for _, secret := range []string{"hunter22", "t0ken-of-a1", "mail-pass"} {
		require.NotContains(t, file.String(), secret)
	}
	require.NotContains(t, file.String(), `"password":null`, "whether there is a password is a secret too")

	s, err := backup.OpenSnapshot(t.Context(), &file, backup.OpenOptions{})
	require.NoError(t, err)
	defer s.Close()
	require.True(t, s.Manifest().Sealed)
	_, err = app.Verify(t.Context(), s, backup.RestoreOptions{})
	require.ErrorIs(t, err, backup.ErrNoKey)
	_, err = app.Verify(t.Context(), s, backup.RestoreOptions{Only: []string{"users"}})
	require.NoError(t, err, "what has no secrets needs no key")
}

// invalid is a schema for each keyword whose message could quote the value, and
// a value that holds the word "s3cret" or the number 77123.
var invalid = map[string]struct{ schema, value string }{
	"pattern":            {`{"pattern":"^[0-9]+$"}`, `"s3cret"`},
	"format":             {`{"format":"email"}`, `"s3cret"`},
	"format that tricks": {`{"format":"email"}`, `"is not valid s3cret"`},
	"minimum":            {`{"minimum":90000}`, `77123`},
	"maximum":            {`{"maximum":90}`, `77123`},
	"exclusiveMinimum":   {`{"exclusiveMinimum":90000}`, `77123`},
	"exclusiveMaximum":   {`{"exclusiveMaximum":90}`, `77123`},
	"multipleOf":         {`{"multipleOf":10}`, `77123`},
	"enum":               {`{"enum":["a","b"]}`, `"s3cret"`},
	"enum of objects":    {`{"enum":["a",{"b":1}]}`, `"s3cret"`},
	"const":              {`{"const":"a"}`, `"s3cret"`},
	"const of object":    {`{"const":{"a":1}}`, `"s3cret"`},
	"minLength":          {`{"minLength":20}`, `"s3cret"`},
	"maxLength":          {`{"maxLength":2}`, `"s3cret"`},
	"type":               {`{"type":"boolean"}`, `"s3cret"`},
	"not":                {`{"not":{"type":"string"}}`, `"s3cret"`},
	"anyOf":              {`{"anyOf":[{"const":"a"},{"pattern":"^b"}]}`, `"s3cret"`},
	"oneOf":              {`{"oneOf":[{"type":"string"},{"pattern":"s"}]}`, `"s3cret"`},
	"allOf":              {`{"allOf":[{"pattern":"^b"}]}`, `"s3cret"`},
	"if":                 {`{"if":{"type":"string"},"then":{"pattern":"^b"}}`, `"s3cret"`},
	"uniqueItems":        {`{"uniqueItems":true}`, `["s3cret","s3cret"]`},
	"contains":           {`{"contains":{"const":1}}`, `["s3cret"]`},
	"maxContains":        {`{"contains":{"type":"string"},"maxContains":1}`, `["s3cret","s3cret2"]`},
	"items":              {`{"items":{"maxLength":2}}`, `["s3cret"]`},
	"additional":         {`{"additionalProperties":{"maxLength":2}}`, `{"a":"s3cret"}`},
	"nothing":            {`false`, `"s3cret"`},
	"ref":                {`{"$ref":"#/$defs/x"}`, `"s3cret"`},
}

func TestNoErrorHoldsTheValueOfASecret(t *testing.T) {
	for name, c := range invalid {
		t.Run(name, func(t *testing.T) {
			schema := `{"$defs":{"x":{"pattern":"^b"}},"properties":{"password":` + c.schema + `,"format":false,"multipleOf":false}}`
			app := &backup.App{Name: "homelab", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{
				{Name: "servers", Key: "/id", Schema: []byte(schema), Secrets: []string{"/password"}},
				{Name: "settings", Shape: backup.Map, Schema: []byte(schema), Secrets: []string{"/password"}},
			}}
			store := backuptest.MapStore{"servers": {"s1": `{"id":"s1","password":` + c.value + `}`}, "settings": {"password": c.value}}
			check := func(err error) {
				t.Helper()
				require.ErrorIs(t, err, backup.ErrInvalid)
				for _, format := range []string{"%v", "%+v", "%#v"} {
					require.NotContains(t, fmt.Sprintf(format, err), "s3cret")
					require.NotContains(t, fmt.Sprintf(format, err), "77123")
				}
				require.ErrorContains(t, err, `servers "s1" /password`)
				require.ErrorContains(t, err, `settings "password"`)
			}
			_, err := app.Backup(t.Context(), io.Discard, store, backup.BackupOptions{Recipients: sealed})
			check(err)

			loose := *app
			loose.Collections = slices.Clone(app.Collections)
			for i := range loose.Collections {
				loose.Collections[i].Schema = nil
			}
			s := backedUp(t, &loose, store, backup.BackupOptions{})
			_, err = app.Verify(t.Context(), s, backup.RestoreOptions{})
			check(err)
			report, err := app.Verify(t.Context(), s, backup.RestoreOptions{LeaveOutInvalid: true})
			require.NoError(t, err)
			text, err := json.Marshal(report)
			require.NoError(t, err)
			require.NotContains(t, string(text), "s3cret")
			require.NotContains(t, string(text), "77123")
		})
	}
}

func TestABackupThatCouldNotBeRestoredIsRefused(t *testing.T) {
	const fine = `{"id":"s9","name":"fine"}`
	for name, c := range map[string]struct {
		collection, key, value string
		kind                   error
		want                   string
	}{
		"no key":                        {"servers", "x", `{"name":"n"}`, backup.ErrInvalid, `servers "x" /id: the key is missing`},
		"an empty key":                  {"servers", "x", `{"id":"","name":"n"}`, backup.ErrInvalid, `/id: the key is empty`},
		"a key that is null":            {"servers", "x", `{"id":null,"name":"n"}`, backup.ErrInvalid, "/id: the key is neither a string nor an integer"},
		"a key that is no integer":      {"servers", "x", `{"id":1.5,"name":"n"}`, backup.ErrInvalid, "/id: the key is neither a string nor an integer"},
		"a key that is an object":       {"servers", "x", `{"id":{},"name":"n"}`, backup.ErrInvalid, "/id: the key is neither a string nor an integer"},
		"not an object":                 {"servers", "x", `["id"]`, backup.ErrInvalid, "the record is not an object"},
		"a schema that is not met":      {"servers", "x", `{"id":"x","name":"n","port":70000}`, backup.ErrInvalid, `servers "x" /port: must be <= 65535`},
		"a setting against the schema":  {"settings", "theme", `"pink"`, backup.ErrInvalid, `settings "theme": value must be one of`},
		"a setting without a name":      {"settings", "", `1`, backup.ErrInvalid, "settings: the key is empty"},
		"a name that is not UTF-8":      {"settings", "a\xff", `1`, backup.ErrInvalid, "the key is not UTF-8"},
		"a key twice":                   {"servers", "x", fine, backup.ErrInvalid, `servers "s9": another record has the same key`},
		"not JSON":                      {"servers", "x", `{"id":"x"`, backup.ErrInvalid, `servers "x": `},
		"two values":                    {"servers", "x", `{"id":"x","name":"n"} {}`, backup.ErrInvalid, `servers "x": `},
		"no value":                      {"servers", "x", ``, backup.ErrInvalid, `servers "x": `},
		"NaN":                           {"servers", "x", `{"id":"x","name":"n","load":NaN}`, backup.ErrInvalid, `servers "x": `},
		"a member twice":                {"servers", "x", `{"id":"x","name":"n","name":"m"}`, backup.ErrInvalid, `servers "x": `},
		"invalid UTF-8":                 {"servers", "x", "{\"id\":\"x\",\"name\":\"\xff\"}", backup.ErrInvalid, `servers "x": `},
		"a lone surrogate":              {"servers", "x", `{"id":"x","name":"\ud800"}`, backup.ErrInvalid, `servers "x": `},
		"nested too deep":               {"servers", "x", `{"id":"x","name":"n","d":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, backup.ErrLimit, "nested deeper than 100 levels"},
		"a huge exponent":               {"servers", "x", `{"id":"x","name":"n","d":1e99999}`, backup.ErrLimit, "a number with an exponent"},
		"a reference to nothing":        {"applications", "x", `{"id":"x","name":"n","server_id":"gone"}`, backup.ErrDangling, `applications "x" /server_id: there is no "gone" in servers`},
		"a setting that refers to none": {"settings", "home_server", `"gone"`, backup.ErrDangling, `settings "home_server": there is no "gone" in servers`},
		"one of many references":        {"applications", "x", `{"id":"x","name":"n","needs":[{"application":"x"},{"application":"gone"}]}`, backup.ErrDangling, `applications "x" /needs/1/application: there is no "gone" in applications`},
		"a reference that is no key":    {"applications", "x", `{"id":"x","name":"n","server_id":[1]}`, backup.ErrInvalid, `applications "x" /server_id: reference to servers: the key is neither`},
	} {
		t.Run(name, func(t *testing.T) {
			store := backuptest.MapStore{"servers": {"s9": fine}, "applications": {}, "settings": {}, "users": {}}
			store[c.collection][c.key] = c.value
			_, err := homelab().Backup(t.Context(), io.Discard, store, backup.BackupOptions{Recipients: sealed})
			require.ErrorIs(t, err, c.kind)
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, "correct this in homelab, or have invalid records left out")
			problem, ok := errors.AsType[*backup.RecordError](err)
			require.True(t, ok)
			require.Equal(t, c.collection, problem.Collection)
		})
	}
}

func TestAllInvalidRecordsAreNamedAtOnce(t *testing.T) {
	store := homelabStore()
	store["servers"]["s1"] = `{"id":"s1","port":0}`
	store["servers"]["s3"] = `{"id":"s3","name":"","password":"abc"}`
	store["settings"]["theme"] = `"pink"`
	store["applications"]["a3"] = `{"id":"a3","name":"n","server_id":"gone"}`
	_, err := homelab().Backup(t.Context(), io.Discard, store, backup.BackupOptions{Recipients: sealed})
	for _, want := range []string{
		`servers "s1": missing properties: 'name'`, `servers "s1" /port: must be >= 1`,
		`servers "s3" /name: length must be >= 1`, `servers "s3" /password: length must be >= 4`,
		`settings "theme": value must be one of`,
		`applications "a3" /server_id: there is no "gone" in servers`,
	} {
		require.ErrorContains(t, err, want)
	}
	require.NotContains(t, err.Error(), `there is no "s1"`, "what is invalid does exist")
}

func TestTheListOfInvalidRecordsHasAnEnd(t *testing.T) {
	bad := make(map[string]string)
	for i := range 5000 {
		bad[fmt.Sprintf("u%04d", i)] = `{}`
	}
	store := backuptest.MapStore{"users": bad}
	app := &backup.App{Name: "a", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{list("users")}}
	steps := &backuptest.Faulty{Source: store, On: backuptest.CallRecords}
	_, err := app.Backup(t.Context(), io.Discard, steps, backup.BackupOptions{})
	require.ErrorIs(t, err, backup.ErrInvalid)
	require.ErrorContains(t, err, `users "u0019" /id: the key is missing`)
	require.NotContains(t, err.Error(), `u0020`)
	require.ErrorContains(t, err, "and at least 980 more")
	require.Less(t, steps.Count(), 2000, "there is no use in going on")

	m, err := app.Backup(t.Context(), io.Discard, store, backup.BackupOptions{LeaveOutInvalid: true})
	require.NoError(t, err)
	require.Len(t, m.LeftOut, 1000)
	require.Equal(t, map[string]int64{"users": 5000}, m.Missing, "all are counted")

	data := `{"users":[{"id":"u"},` + strings.Repeat(`{},`, 1999) + `{}]}`
	report, err := app.Verify(t.Context(), written(t, app, 1, data), backup.RestoreOptions{LeaveOutInvalid: true})
	require.NoError(t, err)
	require.Len(t, report.LeftOut, 1000)
	require.Contains(t, report.Warnings, "2000 records of users are not valid and were left out; not all are named")

	app.Collections[0].Refs = []backup.Ref{{Pointer: "/bosses/*", Collection: "users"}}
	data = `{"users":[{"id":"u","bosses":[` + strings.Repeat(`"x",`, 1999) + `"x"]}]}`
	for _, do := range []func() (backup.Report, error){
		func() (backup.Report, error) {
			return app.Verify(t.Context(), written(t, app, 1, data), backup.RestoreOptions{AllowDangling: true})
		},
		func() (backup.Report, error) {
			return app.Restore(t.Context(), written(t, app, 1, data), backuptest.MapStore{"users": {}}, backup.RestoreOptions{AllowDangling: true})
		},
	} {
		report, err := do()
		require.NoError(t, err)
		require.Len(t, report.Warnings, 1002)
		require.Contains(t, report.Warnings, "and 1000 more")
	}
}

func TestAllProblemsOfARecordAreCounted(t *testing.T) {
	users := list("users")
	users.Schema = []byte(`{"properties":{"tags":{"items":{"type":"string"}}}}`)
	users.Refs = []backup.Ref{{Pointer: "/bosses/*", Collection: "users"}}
	app := &backup.App{Name: "a", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{users}}
	nothing := strings.Repeat(`0,`, 2999) + `0`
	bosses := strings.Repeat(`{},`, 499) + `{}`
	data := `{"users":[{"id":1,"bosses":[` + bosses + `],"tags":[0,0]},{"id":2,"tags":[` + nothing + `]},{"id":3,"tags":[0]}]}`
	_, err := app.Verify(t.Context(), written(t, app, 1, data), backup.RestoreOptions{})
	require.ErrorContains(t, err, `users "1" /tags/1 `)
	require.ErrorContains(t, err, "and at least 3482 more")

	report, err := app.Verify(t.Context(), written(t, app, 1, data), backup.RestoreOptions{LeaveOutInvalid: true})
	require.NoError(t, err)
	require.Len(t, report.LeftOut, 1000)
	require.Equal(t, "/bosses/0", report.LeftOut[2].Pointer)
	require.Equal(t, "/bosses/499", report.LeftOut[501].Pointer)
	require.Equal(t, "/tags/0", report.LeftOut[502].Pointer)
	require.Equal(t, "/tags/1445", report.LeftOut[999].Pointer, "the first in the order of the pointers")
	require.Contains(t, report.Warnings, "3 records of users are not valid and were left out; not all are named")
}

func TestInvalidRecordsCanBeLeftOutButNotSilently(t *testing.T) {
	store := homelabStore()
	store["servers"]["s1"] = `{"id":"s1","port":0}`
	store["servers"]["s3"] = `{"id":"s3","name":"broken`
	var file bytes.Buffer
	m, err := homelab().Backup(t.Context(), &file, store, backup.BackupOptions{Recipients: sealed, LeaveOutInvalid: true})
	require.NoError(t, err)
	require.Equal(t, map[string]int64{"servers": 2}, m.Missing)
	require.Equal(t, int64(1), m.Records["servers"])
	texts := func(problems []*backup.RecordError) (out []string) {
		for _, p := range problems {
			out = append(out, p.Error())
		}
		return out
	}
	require.Len(t, m.LeftOut, 3, "s1 has two problems")
	require.Contains(t, strings.Join(texts(m.LeftOut), "\n"), `servers "s1" /port: must be >= 1`)
	require.Contains(t, strings.Join(texts(m.LeftOut), "\n"), `servers "s3": `)
	require.Equal(t, []string{
		`servers "s2" /parent: there is no "s1" in servers`,
		`applications "a1" /server_id: there is no "s1" in servers`,
		`settings "home_server": there is no "s1" in servers`,
	}, texts(m.Dangling))
	require.Contains(t, file.String(), `"left_out":{"servers":2}`)
	text, err := json.Marshal(m)
	require.NoError(t, err)
	require.Contains(t, string(text), `{"collection":"servers","key":"s1","pointer":"/port","error":"must be \u003e= 1"}`)

	s := opened(t, file.String())
	require.Equal(t, m.Missing, s.Manifest().Missing)
	report, err := homelab().Verify(t.Context(), s, backup.RestoreOptions{AllowDangling: true})
	require.NoError(t, err)
	require.Contains(t, report.Warnings, "servers is incomplete in the snapshot: invalid records left out of it: 2")
	_, err = homelab().Verify(t.Context(), s, backup.RestoreOptions{})
	require.ErrorIs(t, err, backup.ErrDangling)
}

func TestReferencesOutOfTheChosenCollectionsAreNoConcern(t *testing.T) {
	store := homelabStore()
	store["applications"]["a1"] = `{"id":"a1","name":"n","server_id":"gone"}`
	backedUp(t, homelab(), store, backup.BackupOptions{Only: []string{"applications"}})
}

func TestABackupIsOnePointInTime(t *testing.T) {
	app := &backup.App{Name: "bank", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{list("left"), list("right")}}
	const accounts, each = 100, 1000
	store := backuptest.MapStore{"left": {}, "right": {}}
	account := func(i, sum int) (string, string) {
		key := fmt.Sprintf("%03d", i)
		return key, fmt.Sprintf(`{"id":%q,"sum":%d}`, key, sum)
	}
	for i := range accounts {
		key, value := account(i, each)
		store["left"][key], store["right"][key] = value, value
	}
	move := func(i int) error { // one from left to right
		return store.Update(t.Context(), func(w backup.Writer) error {
			for name, change := range map[string]int{"left": -1, "right": +1} {
				key, _ := account(i%accounts, 0)
				found, err := w.Lookup(t.Context(), name, []string{key})
				if err != nil {
					return err
				}
				var r struct{ Sum int }
				if err := json.Unmarshal(found[0].Value, &r); err != nil {
					return err
				}
				_, value := account(i%accounts, r.Sum+change)
				if err := w.Put(t.Context(), name, []backup.Record{{Key: key, Value: []byte(value)}}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				if err := move(i); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	for range 10 {
		// Whatever the scheduler does, one move comes in the middle.
		source := &backuptest.Faulty{Source: store, On: backuptest.CallRecords, Nth: accounts + 10, Do: func() { require.NoError(t, move(50)) }}
		s := backedUp(t, app, source, backup.BackupOptions{})
		require.True(t, source.Reached())
		total := 0
		require.NoError(t, s.View(t.Context(), func(r backup.Reader) error {
			for _, name := range s.Collections() {
				for rec, err := range r.Records(t.Context(), name) {
					var v struct{ Sum int }
					require.NoError(t, err)
					require.NoError(t, json.Unmarshal(rec.Value, &v))
					total += v.Sum
				}
			}
			return nil
		}))
		require.Equal(t, 2*accounts*each, total)
	}
	close(stop)
	writer.Wait()
}

// A fullDisk takes so many bytes and no more.
type fullDisk struct{ room int }

func (d *fullDisk) Write(p []byte) (int, error) {
	if len(p) > d.room {
		n := d.room
		d.room = 0
		return n, &fsError{"write", syscall.ENOSPC}
	}
	d.room -= len(p)
	return len(p), nil
}

type fsError struct {
	op  string
	err error
}

func (e *fsError) Error() string { return e.op + ": " + e.err.Error() }
func (e *fsError) Unwrap() error { return e.err }

func TestAFullDiskIsNoticedAtEveryByte(t *testing.T) {
	testtime.NotForRace(t)
	var file bytes.Buffer
	_, err := homelab().Backup(t.Context(), &file, homelabStore(), backup.BackupOptions{Recipients: sealed, CreatedAt: at})
	require.NoError(t, err)
	for n := range file.Len() {
		_, err := homelab().Backup(t.Context(), &fullDisk{n}, homelabStore(), backup.BackupOptions{Recipients: sealed, CreatedAt: at})
		require.ErrorIs(t, err, syscall.ENOSPC)
		require.ErrorContains(t, err, "check disk space")
	}
	m, err := homelab().Backup(t.Context(), &fullDisk{file.Len()}, homelabStore(), backup.BackupOptions{Recipients: sealed, CreatedAt: at})
	require.NoError(t, err)
	require.Equal(t, int64(file.Len()), m.Bytes)
}

func TestAFullDiskIsNoticedInTheMiddleOfALargeBackup(t *testing.T) {
	testtime.NotForRace(t)
	const records = 2000
	var size countingWriter
	_, err := benchApp("").Backup(t.Context(), &size, generated(records), backup.BackupOptions{})
	require.NoError(t, err)
	for n := 0; n < int(size); n += int(size) / 40 {
		_, err := benchApp("").Backup(t.Context(), &fullDisk{n}, generated(records), backup.BackupOptions{})
		require.ErrorIs(t, err, syscall.ENOSPC)
		require.ErrorContains(t, err, "check disk space")
	}
}

type countingWriter int

func (w *countingWriter) Write(p []byte) (int, error) {
	*w += countingWriter(len(p))
	return len(p), nil
}

func TestASourceThatFailsAnywhereFailsTheBackup(t *testing.T) {
	for _, call := range []backuptest.Call{backuptest.CallView, backuptest.CallRecords} {
		for nth := 1; ; nth++ {
			source := &backuptest.Faulty{Source: homelabStore(), On: call, Nth: nth, Err: io.ErrUnexpectedEOF}
			_, err := homelab().Backup(t.Context(), io.Discard, source, backup.BackupOptions{Recipients: sealed})
			if !source.Reached() {
				require.NoError(t, err)
				require.Greater(t, nth, 1)
				break
			}
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
			require.ErrorContains(t, err, "host")
			if call == backuptest.CallRecords && nth == 1 {
				require.ErrorContains(t, err, "read servers from the host")
			}
		}
	}
}

// sourceFunc is a DataSource with a View of its own.
type sourceFunc func(ctx context.Context, read func(backup.Reader) error) error

func (f sourceFunc) View(ctx context.Context, read func(backup.Reader) error) error {
	return f(ctx, read)
}

func TestASourceThatBreaksItsPromiseIsNoticed(t *testing.T) {
	store := homelabStore()
	for name, c := range map[string]struct {
		view sourceFunc
		want string
	}{
		"View does not read": {func(context.Context, func(backup.Reader) error) error { return nil }, "returned without calling read"},
		"View reads twice": {func(ctx context.Context, read func(backup.Reader) error) error {
			return store.View(ctx, func(r backup.Reader) error { return errors.Join(read(r), read(r)) })
		}, "called read again"},
		"View reads twice and keeps it to itself": {func(ctx context.Context, read func(backup.Reader) error) error {
			return store.View(ctx, func(r backup.Reader) error { read(r); read(r); return nil })
		}, "called read again"},
		"View keeps an error to itself": {func(ctx context.Context, read func(backup.Reader) error) error {
			f := &backuptest.Faulty{Source: store, On: backuptest.CallRecords, Nth: 3, Err: io.ErrUnexpectedEOF}
			f.View(ctx, read)
			return nil
		}, "read servers from the host: unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := homelab().Backup(t.Context(), io.Discard, c.view, backup.BackupOptions{Recipients: sealed})
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestABackupCanBeCancelledAtEveryStage(t *testing.T) {
	app := benchApp("")
	const records = 2000
	opts := func(progress func(backup.Progress)) backup.BackupOptions {
		return backup.BackupOptions{Progress: progress}
	}
	t.Run("before it begins", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := app.Backup(ctx, io.Discard, generated(records), opts(nil))
		require.ErrorIs(t, err, context.Canceled)
	})
	for nth := 1; ; nth++ {
		ctx, cancel := context.WithCancel(t.Context())
		calls := 0
		_, err := app.Backup(ctx, io.Discard, generated(records), opts(func(backup.Progress) {
			if calls++; calls == nth {
				cancel()
			}
		}))
		cancel()
		if calls < nth {
			require.NoError(t, err)
			require.Greater(t, nth, 5)
			break
		}
		require.ErrorIs(t, err, context.Canceled, "cancelled at progress %d", nth)
		require.Equal(t, nth, calls)
	}
}

func TestProgressOfABackupGoesForward(t *testing.T) {
	var last backup.Progress
	calls := 0
	m, err := benchApp("").Backup(t.Context(), io.Discard, generated(5000), backup.BackupOptions{Progress: func(p backup.Progress) {
		calls++
		require.Equal(t, "backup", p.Phase)
		require.Equal(t, "servers", p.Collection)
		require.GreaterOrEqual(t, p.Records, last.Records)
		require.GreaterOrEqual(t, p.Bytes, last.Bytes)
		last = p
	}})
	require.NoError(t, err)
	require.Equal(t, int64(5000), last.Records)
	require.LessOrEqual(t, last.Bytes, m.Bytes)
	require.Less(t, calls, 100, "never a record at a time")
}

func TestWhatIsWrittenWithinLimitsCanBeReadWithinThem(t *testing.T) {
	app := &backup.App{Name: "homelab", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{
		{Name: "servers", Key: "/id", Secrets: []string{"/password", "/more/*/token"}},
		{Name: "settings", Shape: backup.Map, Secrets: []string{"/smtp"}},
	}}
	store := backuptest.MapStore{"servers": {}, "settings": {"smtp": `"x"`, "theme": `"dark"`}}
	for i := range 20 {
		key := fmt.Sprintf("s%02d", i)
		store["servers"][key] = fmt.Sprintf(`{"id":%q,"password":"12345678","more":[{"token":1}]}`, key)
	}
	limits := func(f func(n int) backup.Limits, upTo int) {
		written, refused := 0, 0
		for n := 1; n <= upTo; n++ {
			l := f(n)
			var file bytes.Buffer
			_, err := app.Backup(t.Context(), &file, store, backup.BackupOptions{Recipients: sealed, CreatedAt: at, Limits: l})
			if err != nil {
				require.ErrorIs(t, err, backup.ErrLimit)
				refused++
				continue
			}
			written++
			s, err := backup.OpenSnapshot(t.Context(), &file, backup.OpenOptions{Identities: []backup.Identity{testKey("k")}, Limits: l})
			require.NoError(t, err, "%+v", l)
			_, err = app.Verify(t.Context(), s, backup.RestoreOptions{})
			require.NoError(t, err, "%+v", l)
			require.NoError(t, s.Close())
		}
		require.Positive(t, written)
		require.Positive(t, refused)
	}
	limits(func(n int) backup.Limits { return backup.Limits{Records: int64(n)} }, 25)
	limits(func(n int) backup.Limits { return backup.Limits{RecordBytes: n} }, 400)
	limits(func(n int) backup.Limits { return backup.Limits{TotalBytes: int64(20 * n)} }, 350)
	limits(func(n int) backup.Limits { return backup.Limits{Depth: n} }, 6)
	limits(func(n int) backup.Limits { return backup.Limits{KeyBytes: int64(n)} }, 80)

	_, err := app.Backup(t.Context(), io.Discard, backuptest.MapStore{"servers": {}, "settings": {strings.Repeat("k", 2<<20): `1`}}, backup.BackupOptions{Recipients: sealed})
	require.ErrorIs(t, err, backup.ErrLimit, "a name that is too long to be read")
	_, err = app.Backup(t.Context(), io.Discard, store, backup.BackupOptions{Recipients: sealed, Metadata: map[string]string{"m": strings.Repeat("m", 2<<20)}})
	require.ErrorIs(t, err, backup.ErrLimit)
	for text, created := range map[string]time.Time{
		"year 10000": time.Date(9999, 12, 31, 23, 59, 59, 0, time.FixedZone("", -3600)),
		"year -1":    time.Date(0, 1, 1, 0, 0, 0, 0, time.FixedZone("", 3600)),
	} {
		_, err = app.Backup(t.Context(), io.Discard, store, backup.BackupOptions{Recipients: sealed, CreatedAt: created})
		require.ErrorIs(t, err, backup.ErrInvalid)
		require.ErrorContains(t, err, text)
	}
}

// unkind yields records whose memory it takes back at once.
func TestABackupKeepsNoMemoryOfTheSource(t *testing.T) {
	testtime.NotForRace(t)
	app := &backup.App{Name: "a", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{list("users")}}
	source := sourceFunc(func(ctx context.Context, read func(backup.Reader) error) error { return read(reused{}) })
	s := backedUp(t, app, source, backup.BackupOptions{})
	store := backuptest.MapStore{"users": {}}
	_, err := app.Restore(t.Context(), s, store, backup.RestoreOptions{})
	require.NoError(t, err)
	require.Len(t, store["users"], 1000)
}

type reused struct{}

func (reused) Records(context.Context, string) iter.Seq2[backup.Record, error] {
	return func(yield func(backup.Record, error) bool) {
		var buf []byte
		for i := range 1000 {
			buf = fmt.Appendf(buf[:0], `{"id":%d}`, i)
			if !yield(backup.Record{Key: "ignored", Value: buf}, nil) {
				return
			}
			clear(buf)
		}
	}
}

func TestALimitIsNamedByItsField(t *testing.T) {
	app := &backup.App{Name: "a", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{{Name: "memos", Key: "/id"}, {Name: "settings", Shape: backup.Map}}}
	store := backuptest.MapStore{"memos": {"1": `{"id":1,"attachment":"` + strings.Repeat("x", 200) + `"}`, "2": `{"id":2,"deep":[[[1,2,3]]]}`}, "settings": {"a": "1", "b": "2"}}
	var whole bytes.Buffer
	_, err := app.Backup(t.Context(), &whole, store, backup.BackupOptions{})
	require.NoError(t, err)
	for name, limits := range map[string]backup.Limits{"RecordBytes": {RecordBytes: 100}, "Depth": {Depth: 3}, "Values": {Values: 6}, "Records": {Records: 1}, "TotalBytes": {TotalBytes: 300}, "KeyBytes": {KeyBytes: 32}} {
		_, err := app.Backup(t.Context(), io.Discard, store, backup.BackupOptions{Limits: limits})
		require.ErrorIs(t, err, backup.ErrLimit, name)
		require.ErrorContains(t, err, "(Limits."+name+")")
		_, err = backup.OpenSnapshot(t.Context(), bytes.NewReader(whole.Bytes()), backup.OpenOptions{Limits: limits})
		require.ErrorIs(t, err, backup.ErrLimit, name)
		require.ErrorContains(t, err, "(Limits."+name+")")
	}
}

func TestAKeyThatIsTooLongIsLeftOutLikeAnyInvalidRecord(t *testing.T) {
	app := &backup.App{Name: "a", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{{Name: "settings", Shape: backup.Map}, list("users")}}
	longest := strings.Repeat("k", 4<<10)
	user := func(id string) string { return `{"id":"` + id + `"}` }
	store := backuptest.MapStore{"settings": {"short": "1", longest: "2"}, "users": {"short": user("short"), longest: user(longest)}}
	_, err := app.Backup(t.Context(), io.Discard, store, backup.BackupOptions{})
	require.NoError(t, err)
	store["settings"][longest+"k"], store["users"][longest+"k"] = "3", user(longest+"k")
	_, err = app.Backup(t.Context(), io.Discard, store, backup.BackupOptions{})
	require.ErrorIs(t, err, backup.ErrInvalid)
	require.ErrorIs(t, err, backup.ErrLimit)
	require.Less(t, len(err.Error()), 2000, "and the message does not quote all of it")
	m, err := app.Backup(t.Context(), io.Discard, store, backup.BackupOptions{LeaveOutInvalid: true})
	require.NoError(t, err)
	require.Len(t, m.LeftOut, 2)

	s, err := backup.OpenSnapshot(t.Context(), strings.NewReader(strings.Replace(plainHead, "homelab", "a", 1)+`"data":{"users":[`+user(longest+"k")+`]}}`), backup.OpenOptions{})
	require.NoError(t, err, "it does not know where the keys are")
	defer s.Close()
	_, err = app.Verify(t.Context(), s, backup.RestoreOptions{AllowNewerApp: true})
	require.ErrorIs(t, err, backup.ErrLimit)
}

func TestASmallLimitOnDepthIsForRecordsOnly(t *testing.T) {
	app := &backup.App{Name: "a", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{{Name: "notes", Key: "/id"}}}
	var out strings.Builder
	limits := backup.Limits{Depth: 1}
	_, err := app.Backup(t.Context(), &out, backuptest.MapStore{"notes": {"1": `{"id":1}`}}, backup.BackupOptions{Limits: limits})
	require.NoError(t, err)
	s, err := backup.OpenSnapshot(t.Context(), strings.NewReader(out.String()), backup.OpenOptions{Limits: limits})
	require.NoError(t, err, "what was written is read with the same limits")
	require.NoError(t, s.Close())
}
