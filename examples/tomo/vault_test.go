package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/internal/testtime"
	"github.com/tomo-project/backup/sqlstore"
	"github.com/tomo-project/backup/tomo"
)

// openVault opens a new database in a folder of its own.
func openVault(t *testing.T, app *backup.App) *database {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tomo.db")
	db, err := makeTables(t.Context(), path)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	return reopenVault(t, app, path)
}

func reopenVault(t *testing.T, app *backup.App, path string) *database {
	t.Helper()
	opened, err := openSQLite(path, "wal")
	require.NoError(t, err)
	t.Cleanup(func() { opened.Close() })
	require.NoError(t, opened.PingContext(t.Context())) // several at once cannot turn it to WAL
	db := newDatabase(path, opened)
	db.store = newVault(db.store.store, app, masterKeyFile(path))
	return db
}

// useVault opens the database of a machine for as long as use runs.
func (m *machine) useVault(use func(*vault) error) error {
	m.t.Helper()
	db, err := openSQLite(m.db(), "wal")
	require.NoError(m.t, err)
	defer db.Close()
	return use(newDatabase(m.db(), db).store)
}

// vaultApp is Tomo with settings of any name, of which a part is secret.
func vaultApp() *backup.App {
	app := tomo.App(version)
	for i, c := range app.Collections {
		if c.Name == "settings" {
			app.Collections[i].Schema = nil
			app.Collections[i].Secrets = []string{"/*/token"}
		}
	}
	return app
}

func vaultFixture() backuptest.Fixture {
	quoted := func(s string) string {
		text, _ := json.Marshal(s)
		return string(text)
	}
	server := func(key, rest string) backup.Record {
		return backup.Record{Key: key, Value: fmt.Appendf(nil, `{"id":%s,"name":"n","description":null,"host":"h","port":22,"user":"u","auth_method":"password",%s,"host_key":null,"jump_server_id":null,"created_at":null,"updated_at":null}`, quoted(key), rest)}
	}
	return backuptest.Fixture{
		App:         vaultApp(),
		Collections: []string{"servers", "applications", "settings", "logs"},
		Record: func(collection string, number, revision int) backup.Record {
			key := fmt.Sprintf("%s-%d", collection, number)
			switch collection {
			case "servers":
				if revision == 1 {
					return server(key, `"password":"","private_key":null,"passphrase":"vault:v1:in clear"`)
				}
				return server(key, fmt.Sprintf(`"password":"made-up \"%d\"","private_key":"line\nline <é>","passphrase":"vault:v1:"`, number))
			case "applications":
				env := fmt.Sprintf(`"env":{"TOKEN":"made-up-%d","B.b":"x","NONE":null},"domains":["d.example.org"],`, number)
				if revision == 1 {
					env = ""
				}
				return backup.Record{Key: key, Value: fmt.Appendf(nil, `{"id":%q,"name":"a","server_id":"servers-%d","repository_id":null,"compose":"made-up: %d\n",%s"status":null,"auto_update":null,"created_at":null,"updated_at":null}`, key, number, number, env)}
			case "settings":
				return backup.Record{Key: key, Value: fmt.Appendf(nil, `{"n":1234567890123456789%d.50,"token":"made-up-%d","revision":[%d,1e3]}`, number, number, revision)}
			}
			return backup.Record{Key: fmt.Sprint(number + 1), Value: fmt.Appendf(nil, `{"id":%d,"time":"2024-01-15T10:30:00Z","level":"info","server_id":null,"message":"m%d"}`, number+1, revision)}
		},
		WithKey: func(collection, key string) backup.Record {
			switch collection {
			case "servers":
				return server(key, `"password":"made-up","private_key":null,"passphrase":null`)
			case "settings":
				return backup.Record{Key: key, Value: []byte(`{"token":"made-up"}`)}
			}
			return backup.Record{}
		},
	}
}

func TestAVaultKeepsTheRulesOfAStore(t *testing.T) {
	testtime.NotForRace(t)
	t.Run("on SQLite", func(t *testing.T) {
		backuptest.TestStore(t, func(t *testing.T) backuptest.Store { return openVault(t, vaultApp()).store }, vaultFixture())
	})
	t.Run("on a store whose Writer is no Reader", func(t *testing.T) {
		backuptest.TestStore(t, func(t *testing.T) backuptest.Store {
			return newVault(mapStore(), vaultApp(), filepath.Join(t.TempDir(), "key"))
		}, vaultFixture())
	})
}

func mapStore() backuptest.MapStore {
	store := backuptest.MapStore{}
	for _, c := range vaultApp().Collections {
		store[c.Name] = map[string]string{}
	}
	return store
}

func TestAVaultReadsInATransactionWhatTheStoreUnderItReads(t *testing.T) {
	reads := func(v *vault) (ok bool) {
		require.NoError(t, v.Update(t.Context(), func(w backup.Writer) error {
			_, ok = w.(backup.Reader)
			return nil
		}))
		return ok
	}
	require.True(t, reads(openVault(t, vaultApp()).store))
	require.False(t, reads(newVault(mapStore(), vaultApp(), "")))
}

func TestOnlySecretsAreChangedAtRest(t *testing.T) {
	testtime.NotForRace(t)
	seen := ""
	noting := func(v *vault) *rewriting {
		note := func(dst []byte, pointer string, secret []byte) ([]byte, error) {
			seen += pointer + " " + string(secret) + "\n"
			return append(dst, `"X"`...), nil
		}
		return &rewriting{collection: "c", fields: v.secrets["c"], replace: note}
	}
	for name, test := range map[string]struct{ pointers, value, want, seen string }{
		"nothing":           {"/a", `{"b": 1.50e+3, "c" : "é" }`, `{"b": 1.50e+3, "c" : "é" }`, ""},
		"null":              {"/a", `{"a": null ,"b":[]}`, `{"a": null ,"b":[]}`, ""},
		"white space":       {"/a", "{ \"b\": 9007199254740993 ,\n\"a\" :\t\"s\" , \"c\":-0 }", "{ \"b\": 9007199254740993 ,\n\"a\" :\t\"X\" , \"c\":-0 }", "/a \"s\"\n"},
		"a number":          {"/a", `{"a":1.50 ,"b":1.50}`, `{"a":"X" ,"b":1.50}`, "/a 1.50\n"},
		"an object":         {"/a", `{"a":{"b": [1]}}`, `{"a":"X"}`, "/a {\"b\": [1]}\n"},
		"every member":      {"/env/*", `{"env":{"A":"1","a/b~":"2","N":null},"x":{"A":"1"}}`, `{"env":{"A":"X","a/b~":"X","N":null},"x":{"A":"1"}}`, "/env/A \"1\"\n/env/a~1b~0 \"2\"\n"},
		"an escaped name":   {"/a~1b/0", `{"a\/b":["s",2]}`, `{"a\/b":["X",2]}`, "/a~1b/0 \"s\"\n"},
		"not what is meant": {"/a/b", `{"a":"text","b":["a"]}`, `{"a":"text","b":["a"]}`, ""},
		"not an object":     {"/a", `"a"`, `"a"`, ""},
		"one in another":    {"/a /a/b", `{"a":{"b":1}}`, `{"a":"X"}`, "/a {\"b\":1}\n"},
		"nothing in it":     {"/a /*/b", `{ "a":{ }, "c": [ ] , "d":{"b":[ ]} }`, `{ "a":"X", "c": [ ] , "d":{"b":"X"} }`, "/a { }\n/d/b [ ]\n"},
		"quotes":            {"/a", `{"b\\":"}\"]\\","a":"\\\"","c":[{"a":"{"}]}`, `{"b\\":"}\"]\\","a":"X","c":[{"a":"{"}]}`, "/a \"\\\\\\\"\"\n"},
		"a name twice":      {"/a", `{"a":1,"a":2}`, `{"a":"X","a":"X"}`, "/a 1\n/a 2\n"},
	} {
		t.Run(name, func(t *testing.T) {
			v := newVault(nil, &backup.App{Collections: []backup.Collection{{Name: "c", Secrets: strings.Fields(test.pointers)}}}, "")
			seen = ""
			value, err := noting(v).record(backup.Record{Key: "k", Value: []byte(test.value)})
			require.NoError(t, err)
			require.Equal(t, test.want, string(value))
			require.Equal(t, test.seen, seen)
		})
	}
	v := newVault(nil, &backup.App{Collections: []backup.Collection{{Name: "c", Secrets: []string{"/a"}}}}, "")
	for _, wrong := range []string{`{"a":"MARK" MARK}`, `{"a":"MARK`, `{"a":"MARK"}}`, `{"a":`, ``, ` `} {
		_, err := noting(v).record(backup.Record{Key: "k", Value: []byte(wrong)})
		require.ErrorContains(t, err, `c "k"`)
		require.NotContains(t, err.Error(), "M")
	}
}

// marked are records with a secret in every place that can have one.
func marked() map[string]backup.Record {
	return map[string]backup.Record{
		"servers":      {Key: "marked", Value: []byte(`{"id":"marked","name":"n","host":"h","port":22,"user":"u","auth_method":"agent","password":"MARKED-1","private_key":"MARKED-2\n","passphrase":"vault:v1:MARKED-3"}`)},
		"applications": {Key: "marked", Value: []byte(`{"id":"marked","name":"a","server_id":"marked","compose":"MARKED-4: \"x\"\n","env":{"A":"MARKED-5","B":"MARKED-6","NONE":null}}`)},
		"users":        {Key: "marked", Value: []byte(`{"id":"marked","username":"u","password_hash":"$2b$12$MARKED.7.............................................","totp_secret":"MARKEDEIGHTABCDEF","role":"admin"}`)},
		"repositories": {Key: "marked", Value: []byte(`{"id":"marked","name":"r","url":"https://r.example.org/","type":"git","enabled":true,"token":"MARKED-9"}`)},
		"settings":     {Key: "webhook_url", Value: []byte(`"https://example.org/MARKED-10"`)},
	}
}

// marks are the secrets in marked that are texts without quotes.
var marks = []string{"MARKED-1", "MARKED-2", "vault:v1:MARKED-3", "MARKED-4", "MARKED-5", "MARKED-6", "MARKED.7...", "MARKEDEIGHT", "MARKED-9", "MARKED-10"}

func (m *machine) put(records map[string]backup.Record) {
	m.t.Helper()
	require.NoError(m.t, m.tryPut(records))
}

func (m *machine) tryPut(records map[string]backup.Record) error {
	m.t.Helper()
	return m.useVault(func(v *vault) error {
		return v.Update(m.t.Context(), func(w backup.Writer) error {
			for collection, r := range records {
				if err := w.Put(m.t.Context(), collection, []backup.Record{r}); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// raw returns the bytes of the database, the log of SQLite too. The test must not
// have it open: closing a file ends the locks that this process has on it.
func (m *machine) raw() string {
	m.t.Helper()
	names, err := filepath.Glob(m.db() + "*")
	require.NoError(m.t, err)
	text := ""
	for _, name := range names {
		if name != masterKeyFile(m.db()) {
			text += read(m.t, name)
		}
	}
	return text
}

// sealed returns the sealed values in the tables.
func (m *machine) sealed() (values []string) {
	m.t.Helper()
	err := m.useVault(func(v *vault) error {
		text, err := dump(m.t.Context(), v.store)
		values = regexp.MustCompile(vaultPrefix+`[\w-]+`).FindAllString(text, -1)
		return err
	})
	require.NoError(m.t, err)
	return values
}

func (m *machine) masterKey() string { return read(m.t, masterKeyFile(m.db())) }

func TestCredentialsAreSealedAnewOnTheMachineThatTheyAreRestoredOn(t *testing.T) {
	testtime.NotForRace(t)
	a, b := newMachine(t, 3), newMachine(t, 0)
	a.put(marked())
	require.Contains(t, a.dump(), "MARKED-10")
	require.NotEqual(t, a.masterKey(), b.masterKey())
	file := a.path("moving.json")
	a.ok("backup", "create", "--output", file, "--include", "logs")
	require.NotContains(t, read(t, file), "MARKED")
	require.NotContains(t, read(t, file), vaultPrefix)

	o := b.ok("backup", "restore", "--input", file, "--dry-run")
	require.Contains(t, o.stdout, "+ servers marked")
	require.Empty(t, b.sealed())
	b.ok("backup", "restore", "--input", file, "--full", "--yes")
	require.Equal(t, a.dump(), b.dump(), "read through its vault, each has the same credentials")
	for _, mark := range marks {
		require.Contains(t, b.dump(), mark)
	}

	require.Len(t, b.sealed(), len(a.sealed()))
	for _, m := range []*machine{a, b} {
		raw := m.raw()
		require.True(t, strings.Contains(raw, vaultPrefix))
		for _, secret := range []string{"MARKED", "made-up", "tomo.sample.data", "services:"} {
			require.False(t, strings.Contains(raw, secret), secret)
		}
	}
	raw := b.raw()
	for _, value := range a.sealed() {
		require.False(t, strings.Contains(raw, value), "what another machine has sealed")
	}

	before := b.sealed()
	o = b.ok("backup", "restore", "--input", file, "--full", "--yes")
	require.Contains(t, o.stdout, "Nothing had to be changed")
	require.Equal(t, before, b.sealed())

	b.put(map[string]backup.Record{"settings": {Key: "webhook_url", Value: []byte(`"https://example.org/MARKED-11"`)}})
	for _, args := range [][]string{{"--full"}, {"--full", "--json"}, {"--strategy", "merge"}} {
		o = b.ok(append([]string{"backup", "restore", "--input", file, "--dry-run"}, args...)...)
		require.Contains(t, o.stdout, "(secret)")
		require.NotContains(t, o.stdout, "MARKED-")
		require.NotContains(t, o.stdout, vaultPrefix)
	}

	key := b.masterKey()
	write(t, masterKeyFile(b.db()), a.masterKey())
	err := b.useVault(func(v *vault) error {
		_, err := dump(t.Context(), v)
		return err
	})
	var record *backup.RecordError
	require.ErrorAs(t, err, &record)
	require.Equal(t, "servers", record.Collection)
	require.Equal(t, "marked", record.Key)
	require.Equal(t, "/password", record.Pointer)
	write(t, masterKeyFile(b.db()), key)
	require.Contains(t, b.dump(), "MARKED-11")
}

func TestWithoutItsMasterKeyADatabaseIsNeitherBackedUpNorWritten(t *testing.T) {
	testtime.NotForRace(t)
	m := newMachine(t, 2)
	whole := m.path("whole.json")
	m.ok("backup", "create", "--output", whole, "--include", "logs")
	m.sql("DELETE FROM logs")
	before, key := m.dump(), m.masterKey()
	name := masterKeyFile(m.db())
	for what, test := range map[string]struct {
		key  string // empty: the file is missing
		says string
	}{
		"missing":  {"", name + " is missing: put the file back"},
		"replaced": {strings.Repeat("5", 64) + "\n", "put back the key that belongs to this database"},
		"garbage":  {"MARKED", name + ": not 32 bytes in hexadecimal digits"},
		"short":    {"5555", name + ": not 32 bytes in hexadecimal digits"},
	} {
		t.Run(what, func(t *testing.T) {
			other := *m
			m := &other
			m.t = t
			require.NoError(t, os.Remove(name))
			if test.key != "" {
				write(t, name, test.key)
			}
			file := m.path("b.json")
			there := len(m.list())
			for _, args := range [][]string{
				{"create", "--output", file},
				{"create"},
				{"restore", "--input", whole, "--full", "--yes"},
				{"restore", "--input", whole, "--only", "servers", "--strategy", "merge"},
			} {
				o := m.fails(statusFailed, test.says, append([]string{"backup"}, args...)...)
				require.Contains(t, o.stderr, `servers "server-0000000" /password`)
				require.NotContains(t, o.stderr+o.stdout, "MARKED")
				require.NoFileExists(t, file)
			}
			require.Len(t, m.list(), there, "no backup is left")
			err := m.tryPut(map[string]backup.Record{"repositories": marked()["repositories"]})
			require.ErrorContains(t, err, `repositories "marked" /token: nothing is sealed beside what does not open`)

			m.ok("backup", "restore", "--input", whole, "--only", "logs")
			m.sql("DELETE FROM logs")
			if test.key == "" {
				require.NoFileExists(t, name, "a new key would not open what is there")
			} else {
				require.Equal(t, test.key, m.masterKey(), "a key is never overwritten")
			}
			write(t, name, key)
			require.Equal(t, before, m.dump())
		})
	}
	m.ok("backup", "create")

	// The backups need no more than the passphrase.
	require.NoError(t, os.Remove(name))
	anew := m.path("anew", "tomo.db")
	m.ok("--db", anew, "init")
	m.ok("--db", anew, "backup", "restore", "--input", whole, "--full", "--yes")
	store := reopenVault(t, tomo.App(version), anew).store
	text, err := dump(t.Context(), store)
	require.NoError(t, err)
	require.Contains(t, text, "made-up-0000001")
}

func TestADatabaseOfATomoWithoutAVaultIsReadAndSealedWhenItIsWritten(t *testing.T) {
	testtime.NotForRace(t)
	m := newMachine(t, 0)
	name := masterKeyFile(m.db())
	require.NoError(t, os.Remove(name))
	m.sql(
		"INSERT INTO servers (id, name, host, user, auth_method, password) VALUES ('old', 'old', 'h', 'u', 'password', 'MARKED-1')",
		`INSERT INTO settings (key, value) VALUES ('smtp_password', '"MARKED-2"'), ('theme', '"dark"')`)
	file := m.path("b.json")
	m.ok("backup", "create", "--output", file)
	m.ok("backup", "restore", "--input", file, "--full", "--yes")
	require.NoFileExists(t, name, "nothing had to be sealed")
	before := m.dump()
	require.Contains(t, before, "MARKED-1")

	m.sql("UPDATE servers SET password = 'MARKED-3'", `UPDATE settings SET value = '"MARKED-4"' WHERE key = 'smtp_password'`)
	m.ok("backup", "restore", "--input", file, "--full", "--yes")
	require.Equal(t, before, m.dump())
	require.Len(t, m.sealed(), 2)
	require.False(t, strings.Contains(m.raw(), "MARKED"), "nothing of them is left in free pages")
	info, err := os.Stat(name)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	require.Regexp(t, `^[0-9a-f]{64}\n$`, m.masterKey())
}

func TestASealedValueOpensInItsPlaceOnly(t *testing.T) {
	testtime.NotForRace(t)
	for name, test := range map[string]struct{ move, says string }{
		"records": {"UPDATE servers SET password = (SELECT o.password FROM servers o WHERE o.id <> servers.id)", `servers "server-0000000" /password: `},
		"fields":  {"UPDATE servers SET passphrase = password WHERE id = 'server-0000001'", `servers "server-0000001" /passphrase: `},
		"members": {`UPDATE applications SET env = replace(env, 'TOKEN', 'OTHER') WHERE id = 'app-0000001'`, `applications "app-0000001" /env/OTHER: `},
		"setting": {"INSERT INTO settings (key, value) SELECT 'webhook_url', value FROM settings WHERE key = 'smtp_password'", `settings "webhook_url": `},
		"altered": {"UPDATE repositories SET token = token || 'A' WHERE id = 'repo-0000001'", `repositories "repo-0000001" /token: `},
		"cut":     {"UPDATE repositories SET token = 'vault:v1:' WHERE id = 'repo-0000001'", `repositories "repo-0000001" /token: `},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, 2)
			m.put(map[string]backup.Record{"settings": {Key: "smtp_password", Value: []byte(`"made-up"`)}})
			m.sql(test.move)
			o := m.fails(statusFailed, test.says, "backup", "create")
			require.Contains(t, o.stderr, "put back the key")
			require.Empty(t, m.list())
		})
	}
}

func TestOfTwoThatNeedAMasterKeyOneMakesIt(t *testing.T) {
	db := openVault(t, tomo.App(version))
	require.NoFileExists(t, masterKeyFile(db.path))
	const n = 8
	errs := make(chan error)
	for i := range n {
		store := reopenVault(t, tomo.App(version), db.path).store
		go func() {
			_, err := store.key(context.Background(), true)
			errs <- errors.Join(err, store.Update(context.Background(), func(w backup.Writer) error {
				return w.Put(context.Background(), "repositories", []backup.Record{tomo.Sample("repositories", i)})
			}))
		}()
	}
	for range n {
		require.NoError(t, <-errs)
	}
	text, err := dump(t.Context(), db.store)
	require.NoError(t, err)
	require.Equal(t, n, strings.Count(text, "made-up-"))
	require.ElementsMatch(t, []string{"tomo.db", "tomo.db-shm", "tomo.db-wal", "tomo.db.key"}, files(t, filepath.Dir(db.path)))
}

func TestInitTakesTheMasterKeyThatIsThere(t *testing.T) {
	testtime.NotForRace(t)
	m := newMachine(t, 1)
	key := m.masterKey()
	require.NoError(t, os.Remove(m.db()))
	m.ok("init", "--sample", "1")
	require.Equal(t, key, m.masterKey())
	require.Contains(t, m.dump(), "made-up-0000000")

	require.NoError(t, os.Remove(m.db()))
	write(t, masterKeyFile(m.db()), "")
	m.fails(statusFailed, masterKeyFile(m.db()), "init")
	require.NoFileExists(t, m.db())
}

// TestAVaultBindsSecretsToEachPartOfAKey: what is sealed for a member of one group
// does not open for the same user in another.
func TestAVaultBindsSecretsToEachPartOfAKey(t *testing.T) {
	testtime.NotForRace(t)
	app := &backup.App{Name: "parts", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{{Name: "members", Key: "/user,/group", Secrets: []string{"/pin"}}}}
	db := openVault(t, vaultApp())
	ctx := t.Context()
	_, err := db.ExecContext(ctx, `CREATE TABLE members (user INTEGER, "group" TEXT, pin TEXT, PRIMARY KEY (user, "group"))`)
	require.NoError(t, err)
	store := sqlstore.Store{DB: db.DB, Dialect: sqlstore.SQLite, Tables: []sqlstore.Table{{Collection: "members"}}}
	v := newVault(store, app, filepath.Join(t.TempDir(), "key"))
	records := []backup.Record{
		{Key: `["7","a\"b"]`, Value: []byte(`{"user":7,"group":"a\"b","pin":"made-up-1"}`)},
		{Key: `["7","c,d"]`, Value: []byte(`{"user":7,"group":"c,d","pin":"made-up-2"}`)},
	}
	require.NoError(t, v.Update(ctx, func(w backup.Writer) error { return w.Put(ctx, "members", records) }))
	read := func() (found []backup.Record, err error) {
		err = v.View(ctx, func(r backup.Reader) error {
			for r, err := range r.Records(ctx, "members") {
				if err != nil {
					return err
				}
				found = append(found, backup.Record{Key: r.Key, Value: bytes.Clone(r.Value)})
			}
			return nil
		})
		return found, err
	}
	found, err := read()
	require.NoError(t, err)
	require.Equal(t, records, found)
	var clear int
	require.NoError(t, db.QueryRowContext(ctx, "SELECT count(*) FROM members WHERE pin LIKE '%made-up%'").Scan(&clear))
	require.Zero(t, clear)
	_, err = db.ExecContext(ctx, `UPDATE members SET pin = (SELECT pin FROM members WHERE "group" = 'c,d')`)
	require.NoError(t, err)
	_, err = read()
	require.ErrorContains(t, err, `members "[\"7\",\"a\\\"b\"]" /pin: the master key`)
}

func BenchmarkVault(b *testing.B) {
	v := newVault(nil, tomo.App(version), "")
	v.useKey(newMasterKey())
	record := backup.Record{Key: "server-0000001", Value: []byte(`{"id":"server-0000001","name":"node 1","host":"10.0.0.1","port":22,"user":"root","auth_method":"password","password":"made-up-0000001","private_key":"` + strings.Repeat("made up ", 50) + `","passphrase":"another","host_key":null,"created_at":"2024-01-15T10:30:00Z"}`)}
	sealing, opening := v.sealing(b.Context(), nil, "servers"), v.opening(b.Context(), "servers")
	b.Run("seal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, err := sealing(record)
			require.NoError(b, err)
		}
	})
	sealed, err := sealing(record)
	require.NoError(b, err)
	b.Run("open", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			opened, err := opening(backup.Record{Key: record.Key, Value: sealed})
			require.NoError(b, err)
			require.Len(b, opened, len(record.Value))
		}
	})
}
