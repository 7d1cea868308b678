package tomo_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/tomo"
)

const passphrase = "correct horse battery staple"

func TestDeclarationIsValid(t *testing.T) {
	require.NoError(t, tomo.App("2.1.0").Validate())
}

func TestCallersDoNotShareADeclaration(t *testing.T) {
	spoiled := tomo.App("2.1.0")
	for i, c := range spoiled.Collections {
		clear(c.Schema)
		clear(c.Secrets)
		clear(c.Refs)
		spoiled.Collections[i].Name = ""
	}
	require.NoError(t, tomo.App("2.1.0").Validate())
}

// A field that sounds like a secret and is not declared as one would be in clear
// in every backup.
func TestFieldsThatSoundSecretAreSealed(t *testing.T) {
	public := map[string]bool{"servers/host_key": true} // what ssh-keyscan tells anybody
	for _, c := range tomo.App("2.1.0").Collections {
		var schema struct{ Properties map[string]any }
		require.NoError(t, json.Unmarshal(c.Schema, &schema))
		require.NotEmpty(t, schema.Properties)
		for name := range schema.Properties {
			for _, word := range []string{"pass", "secret", "token", "key", "hash", "webhook"} {
				if strings.Contains(name, word) && !public[c.Name+"/"+name] {
					require.Contains(t, c.Secrets, "/"+name, c.Name)
				}
			}
		}
	}
}

// fixtures are backups of every schema version there ever was. The digests are
// of files that users have: they never change.
var fixtures = []struct{ file, sha256 string }{
	{"v1.json", "faa635a1c0803297acd950133266fb863a56bdbdfcc67992becc1379d8a2788d"},
	{"v2.json", "92bde826effb0884c7fff3e483577f60ce7c2ab354b9268645d51da4cadb76f4"},
	{"v3.json", "8971f87314f44de8b38f95492a15987048e885479628f3ceb89dd84024e8e473"},
}

func TestThereIsAFrozenBackupOfEverySchemaVersion(t *testing.T) {
	require.Len(t, fixtures, tomo.SchemaVersion)
	for _, f := range fixtures {
		digest := sha256.Sum256(read(t, f.file))
		require.Equal(t, f.sha256, hex.EncodeToString(digest[:]), "%s is frozen: take the change back", f.file)
	}
}

func TestBackupsOfEverySchemaVersionRestoreToTheSameData(t *testing.T) {
	for i, f := range fixtures {
		t.Run(f.file, func(t *testing.T) {
			snapshot := open(t, read(t, f.file))
			require.Equal(t, i+1, snapshot.Manifest().SchemaVersion)

			store := emptyStore()
			_, err := tomo.App("2.1.0").Restore(t.Context(), snapshot, store, backup.RestoreOptions{Strategy: backup.Replace})
			require.NoError(t, err)
			require.Equal(t, want(t), values(t, store))

			report, err := tomo.App("2.1.0").Restore(t.Context(), snapshot, store, backup.RestoreOptions{Strategy: backup.Replace})
			require.NoError(t, err)
			for _, c := range report.Collections {
				require.Zero(t, c.Added+c.Updated+c.Deleted, "the second restore changed %s", c.Name)
			}
		})
	}
}

// The document is the one of the user's guide, with records in place of its dots.
func TestTheDocumentOfTheGuideRestores(t *testing.T) {
	guide := `{
  "version": "1.0",
  "created_at": "2024-01-15T10:30:00Z",
  "application_version": "2.1.0",
  "data": {
    "servers": [%s],
    "settings": {%s},
    "users": [%s],
    "repositories": [%s]
  }
}
`
	hash := `"$2a$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW"`
	tests := map[string]struct {
		servers, settings, users, repositories string
		restored                               int64
		role                                   string // of ada
	}{
		"empty": {},
		"records of schema version 1": {
			servers:      `{"id": "a1", "name": "nas", "address": "10.0.0.1"}, {"id": "b2", "name": "pi", "address": "10.0.0.2", "password": "plain"}`,
			settings:     `"theme": "dark", "retention_days": 30`,
			users:        `{"id": "u1", "username": "ada", "password_hash": ` + hash + `, "admin": true, "theme": "dark"}`,
			repositories: `{"id": "r1", "name": "store", "url": "https://example.org/store.git"}`,
			restored:     7, // the theme of ada is a record of the preferences
			role:         `"role":"admin"`,
		},
		"records of today without a schema version": {
			servers:      `{"id": "a1", "name": "nas", "host": "10.0.0.1", "port": 22, "user": "root", "auth_method": "agent"}`,
			settings:     `"theme": "dark", "backup_keep_days": 30`,
			users:        `{"id": "u1", "username": "ada", "password_hash": ` + hash + `, "role": "viewer"}`,
			repositories: `{"id": "r1", "name": "store", "url": "https://example.org/store.git", "type": "git", "enabled": false}`,
			restored:     5,
			role:         `"role":"viewer"`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			document := fmt.Sprintf(guide, tt.servers, tt.settings, tt.users, tt.repositories)
			store := emptyStore()
			report, err := tomo.App("2.1.0").Restore(t.Context(), open(t, []byte(document)), store, backup.RestoreOptions{})
			require.NoError(t, err)
			var added int64
			for _, c := range report.Collections {
				added += c.Added
			}
			require.Equal(t, tt.restored, added)
			require.Contains(t, store["users"]["u1"], tt.role)
		})
	}
}

func TestMigrationLosesNothingInSilence(t *testing.T) {
	app := `{"id":"a","name":"a","server_id":"s","compose":"x"`
	tests := map[string]struct {
		version    int
		collection string
		records    string
		pointer    string
	}{
		"two addresses":                      {1, "servers", `[{"id":"s","name":"s","address":"a","host":"b"}]`, ""},
		"admin that is not a boolean":        {1, "users", `[{"id":"u","username":"u","password_hash":"$2a$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW","admin":"yes"}]`, ""},
		"environment with a number":          {2, "applications", `[` + app + `,"env":["A=1",2]}]`, "/env"},
		"environment with a null":            {2, "applications", `[` + app + `,"env":["A=1",null]}]`, "/env"},
		"environment that is text":           {2, "applications", `[` + app + `,"env":"A=1"}]`, "/env"},
		"setting nobody knows":               {1, "settings", `{"colour":"red"}`, ""},
		"look of the wrong type":             {1, "users", `[{"id":"u","username":"u","password_hash":"$2a$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW","theme":7}]`, "/theme"},
		"old fields at today's version":      {3, "servers", `[{"id":"s","name":"s","address":"a","port":22,"user":"u","auth_method":"agent"}]`, ""},
		"old settings at today's version":    {3, "settings", `{"analytics":true}`, ""},
		"old environment at today's version": {3, "applications", `[` + app + `,"env":["A=1"]}]`, "/env"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := verify(t, tt.version, tt.collection, tt.records)
			require.ErrorIs(t, err, backup.ErrInvalid)
			var problem *backup.RecordError
			require.ErrorAs(t, err, &problem)
			require.Equal(t, tt.pointer, problem.Pointer)
		})
	}
}

func TestPlainPasswordsOfUsersAreRefused(t *testing.T) {
	argon := `$argon2id$v=19$m=65536,t=3,p=4$uxinpIPXTBduFo8VUx7rzw$XC0np1Mp+6VJl57Gsniuzw1k6FkU3kD1xco6B9YYMLo`
	tests := map[string]struct {
		password string
		ok       bool
	}{
		"bcrypt 2a":         {`$2a$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW`, true},
		"bcrypt 2y":         {`$2y$10$rSlf1WNSFm43vWYkpv7hz.GIn4AecwWAQQx9cLRO/H4HcpzgVxWA.`, true},
		"argon2id":          {argon, true},
		"plain":             {`hunter2-hunter2`, false},
		"empty":             {``, false},
		"plain like bcrypt": {`$2a$12$hunter2`, false},
		"hash and more":     {argon + "\nhunter2", false},
		"more and hash":     {"hunter2" + argon, false},
		"md5":               {`5f4dcc3b5aa765d61d8327deb882cf99`, false},
		"argon2i":           {strings.Replace(argon, "argon2id", "argon2i", 1), false},
		"cost 99":           {`$2a$99$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW`, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			user, err := json.Marshal(map[string]string{"id": "u", "username": "ada", "role": "admin", "password_hash": tt.password})
			require.NoError(t, err)
			for version := 1; version <= tomo.SchemaVersion; version++ {
				err := verify(t, version, "users", "["+string(user)+"]")
				if tt.ok {
					require.NoError(t, err)
					continue
				}
				require.ErrorIs(t, err, backup.ErrInvalid)
				require.ErrorContains(t, err, "/password_hash")
				if tt.password != "" {
					require.NotContains(t, err.Error(), "hunter2")
				}
			}
		})
	}
	t.Run("beside the hash", func(t *testing.T) {
		err := verify(t, 3, "users", `[{"id":"u","username":"ada","role":"admin","password":"hunter2","password_hash":"`+argon+`"}]`)
		require.ErrorIs(t, err, backup.ErrInvalid)
		require.NotContains(t, err.Error(), "hunter2")
	})
}

func TestSchemasRefuse(t *testing.T) {
	tests := map[string][]struct{ name, change string }{
		"servers": {
			{"no id", `{"id":null}`}, {"id with a space", `{"id":"a b"}`}, {"id with a line end", `{"id":"a\n"}`}, {"port 0", `{"port":0}`}, {"port 65536", `{"port":65536}`}, {"port 22.5", `{"port":22.5}`},
			{"port as text", `{"port":"22"}`}, {"empty host", `{"host":""}`}, {"host with user", `{"host":"root@nas"}`},
			{"unknown method", `{"auth_method":"telnet"}`}, {"time without zone", `{"created_at":"2024-01-15T10:30:00"}`},
			{"a tag twice", `{"tags":["a","a"]}`}, {"tags as text", `{"tags":"a,b"}`}, {"unknown field", `{"last_seen":null}`},
			{"password as number", `{"password":1234}`},
		},
		"applications": {
			{"no server", `{"server_id":null}`}, {"no compose", `{"compose":""}`}, {"name in capitals", `{"name":"Cloud"}`},
			{"environment as list", `{"env":["A=1"]}`}, {"variable with =", `{"env":{"A=B":"1"}}`}, {"variable as number", `{"env":{"A":1}}`},
			{"domain with path", `{"domains":["example.org/x"]}`}, {"unknown status", `{"status":"fine"}`},
		},
		"users": {
			{"unknown role", `{"role":"root"}`}, {"no role", `{"role":null}`}, {"email without host", `{"email":"ada"}`},
			{"last login yesterday", `{"last_login":"yesterday"}`}, {"name with a space", `{"username":"ada l"}`},
		},
		"preferences": {
			{"no user", `{"user_id":null}`}, {"language as a word", `{"language":"German"}`}, {"no columns", `{"dashboard":{"columns":0}}`},
			{"widget without type", `{"dashboard":{"widgets":[{"x":1}]}}`}, {"dashboard as text", `{"dashboard":"grid"}`},
		},
		"repositories": {
			{"credentials in the address", `{"url":"https://me:token@example.org/x"}`}, {"a file", `{"url":"file:///etc"}`},
			{"unknown type", `{"type":"svn"}`}, {"enabled as text", `{"enabled":"yes"}`}, {"priority -1", `{"priority":-1}`},
		},
		"logs": {
			{"level fatal", `{"level":"fatal"}`}, {"no time", `{"time":null}`}, {"fields as list", `{"fields":[]}`}, {"id as text", `{"id":"1"}`},
		},
	}
	for collection, cases := range tests {
		for _, tt := range cases {
			t.Run(collection+"/"+tt.name, func(t *testing.T) {
				record := map[string]json.RawMessage{}
				require.NoError(t, json.Unmarshal(tomo.Sample(collection, 1).Value, &record))
				require.NoError(t, json.Unmarshal([]byte(tt.change), &record))
				changed, err := json.Marshal(record)
				require.NoError(t, err)
				require.ErrorIs(t, verify(t, 3, collection, "["+string(changed)+"]"), backup.ErrInvalid)
			})
		}
	}
	for name, value := range map[string]string{
		"theme": `""`, "language": `null`, "session_timeout": `"12h"`, "smtp_port": `0`, "backup_schedule": `"hourly"`, "backup_time": `"24:00"`,
		"backup_keep_last": `-1`, "backup_keep_days": `1.5`, "backup_enabled": `1`, "base_url": `"ftp://x"`, "webhook_url": `"discord"`, "unknown": `1`,
	} {
		t.Run("settings/"+name, func(t *testing.T) {
			require.ErrorIs(t, verify(t, 3, "settings", fmt.Sprintf(`{%q:%s}`, name, value)), backup.ErrInvalid)
		})
	}
}

// A database table has NULL for what is absent.
func TestFieldsThatAreNotRequiredMayBeNull(t *testing.T) {
	for _, c := range tomo.App("2.1.0").Collections {
		if c.Shape == backup.Map {
			continue
		}
		var schema struct {
			Required   []string
			Properties map[string]any
		}
		require.NoError(t, json.Unmarshal(c.Schema, &schema))
		sample := map[string]json.RawMessage{}
		require.NoError(t, json.Unmarshal(tomo.Sample(c.Name, 1).Value, &sample))
		record := map[string]json.RawMessage{}
		for name := range schema.Properties {
			record[name] = json.RawMessage("null")
		}
		for _, name := range schema.Required {
			record[name] = sample[name]
		}
		text, err := json.Marshal(record)
		require.NoError(t, err)
		require.NoError(t, verify(t, 3, c.Name, "["+string(text)+"]"), c.Name)
	}
}

func TestNoSecretIsInClearInABackup(t *testing.T) {
	const mark = "hushhushhush"
	store := emptyStore()
	put := func(collection, key, record string) {
		store[collection][key] = strings.ReplaceAll(record, "MARK", mark)
	}
	put("servers", "s", `{"id":"s","name":"s","host":"h","port":22,"user":"u","auth_method":"password","password":"MARK","private_key":"MARK","passphrase":"MARK"}`)
	put("applications", "a", `{"id":"a","name":"a","server_id":"s","compose":"MARK","env":{"A":"MARK","B":null,"C":"x MARK"}}`)
	put("users", "u", `{"id":"u","username":"u","role":"admin","password_hash":"$2a$12$MARK/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUg","totp_secret":"HUSHHUSHHUSHHUSH"}`)
	put("repositories", "r", `{"id":"r","name":"r","url":"https://example.org","type":"git","enabled":true,"token":"MARK"}`)
	put("settings", "smtp_password", `"MARK"`)
	put("settings", "webhook_url", `"https://example.org/MARK"`)

	app := tomo.App("2.1.0")
	_, err := app.Backup(t.Context(), new(bytes.Buffer), store, backup.BackupOptions{})
	require.ErrorIs(t, err, backup.ErrNoKey)

	var file bytes.Buffer
	_, err = app.Backup(t.Context(), &file, store, backup.BackupOptions{Recipients: []backup.Recipient{backup.Passphrase([]byte(passphrase))}})
	require.NoError(t, err)
	require.NotContains(t, strings.ToLower(file.String()), mark)
	require.Equal(t, 12, strings.Count(file.String(), `"$sealed"`))

	restored := emptyStore()
	_, err = app.Restore(t.Context(), open(t, file.Bytes()), restored, backup.RestoreOptions{})
	require.NoError(t, err)
	require.Equal(t, values(t, store), values(t, restored))
}

func TestLogsAreLeftOutUnlessNamed(t *testing.T) {
	for _, c := range tomo.App("2.1.0").Collections {
		require.Equal(t, c.Name == "logs", c.Optional, c.Name)
	}
}

func TestSamplesMakeACompleteBackup(t *testing.T) {
	const n = 200
	store := emptyStore()
	for collection := range store {
		for i := range n {
			r := tomo.Sample(collection, i)
			require.Equal(t, r, tomo.Sample(collection, i))
			if collection == "settings" && r.Key == "" {
				break
			}
			store[collection][r.Key] = string(r.Value)
		}
		if collection != "settings" {
			require.Len(t, store[collection], n)
		}
	}
	require.NotEmpty(t, store["settings"])

	app := tomo.App("2.1.0")
	var file bytes.Buffer
	_, err := app.Backup(t.Context(), &file, store, backup.BackupOptions{
		Include:    []string{"logs"},
		Recipients: []backup.Recipient{backup.Passphrase([]byte(passphrase))},
		CreatedAt:  time.Date(2024, 1, 15, 10, 30, 0, 0, time.UTC),
	})
	require.NoError(t, err)

	restored := emptyStore()
	_, err = app.Restore(t.Context(), open(t, file.Bytes()), restored, backup.RestoreOptions{})
	require.NoError(t, err)
	require.Equal(t, values(t, store), values(t, restored))

	require.Zero(t, tomo.Sample("settings", 1000))
	require.Zero(t, tomo.Sample("servers", -1))
	require.Zero(t, tomo.Sample("toasters", 0))
}

func TestSamplesAreOfTheSizeOfTheBenchmarks(t *testing.T) {
	for _, collection := range []string{"servers", "applications", "users", "preferences", "repositories", "logs"} {
		require.InDelta(t, 250, len(tomo.Sample(collection, 123456).Value), 50, collection)
	}
}

func emptyStore() backuptest.MapStore {
	store := backuptest.MapStore{}
	for _, c := range tomo.App("2.1.0").Collections {
		store[c.Name] = map[string]string{}
	}
	return store
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + file)
	require.NoError(t, err)
	return b
}

func open(t *testing.T, document []byte) *backup.Snapshot {
	t.Helper()
	s, err := backup.OpenSnapshot(t.Context(), bytes.NewReader(document), backup.OpenOptions{
		Identities: []backup.Identity{backup.Passphrase([]byte(passphrase))},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// verify checks a snapshot of one collection.
func verify(t *testing.T, schemaVersion int, collection, records string) error {
	t.Helper()
	document := fmt.Sprintf(`{"version":"1.0","created_at":"2024-01-15T10:30:00Z","application":"tomo","application_version":"1.0.0","schema_version":%d,"data":{%q:%s}}`,
		schemaVersion, collection, records)
	_, err := tomo.App("2.1.0").Verify(context.Background(), open(t, []byte(document)), backup.RestoreOptions{AllowDangling: true})
	return err
}

// want is what every fixture restores to: collection → key → value.
func want(t *testing.T) map[string]map[string]any {
	t.Helper()
	document := decode(t, read(t, "want.json")).(map[string]any)
	all := map[string]map[string]any{}
	for _, c := range tomo.App("2.1.0").Collections {
		if c.Shape == backup.Map {
			all[c.Name] = document[c.Name].(map[string]any)
			continue
		}
		all[c.Name] = map[string]any{}
		for _, r := range document[c.Name].([]any) {
			all[c.Name][fmt.Sprint(r.(map[string]any)[c.Key[1:]])] = r
		}
	}
	return all
}

func values(t *testing.T, store backuptest.MapStore) map[string]map[string]any {
	t.Helper()
	all := map[string]map[string]any{}
	for collection, records := range store {
		all[collection] = map[string]any{}
		for key, value := range records {
			all[collection][key] = decode(t, []byte(value))
		}
	}
	return all
}

// decode keeps numbers as they are written: 0.90 is not 0.9 here.
func decode(t *testing.T, text []byte) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	require.NoError(t, d.Decode(&v))
	return v
}
