//go:build !race

package integration

import (
	"bytes"
	"database/sql"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/sqlstore"
)

// describe returns what is described, as the declaration of an application.
func describe(t testing.TB, s sqlstore.Store) (sqlstore.Store, *backup.App) {
	t.Helper()
	described, collections, err := s.Describe(t.Context())
	require.NoError(t, err)
	app := &backup.App{Name: "described", Version: "1.0.0", SchemaVersion: 1, Collections: collections}
	require.NoError(t, app.Validate())
	return described, app
}

// collections lists keys, references and secrets.
func collections(app *backup.App) (lines []string) {
	for _, c := range app.Collections {
		line := c.Name + " " + c.Key
		if c.Shape == backup.Map {
			line = c.Name + " map"
		}
		for _, r := range c.Refs {
			line += " " + r.Pointer + ">" + r.Collection
		}
		for _, s := range c.Secrets {
			line += " *" + s
		}
		lines = append(lines, line)
	}
	return lines
}

// schemaOf returns the schema of a collection.
func schemaOf(t testing.TB, app *backup.App, collection string) string {
	t.Helper()
	i := slices.IndexFunc(app.Collections, func(c backup.Collection) bool { return c.Name == collection })
	require.GreaterOrEqual(t, i, 0)
	return string(app.Collections[i].Schema)
}

// transfer backs up one database and restores into another, which then holds the
// same.
func transfer(t testing.TB, app *backup.App, from, to sqlstore.Store) {
	t.Helper()
	var file, again bytes.Buffer
	_, err := app.Backup(t.Context(), &file, from, backup.BackupOptions{Recipients: []backup.Recipient{plainKey{}}})
	require.NoError(t, err)
	s, err := backup.OpenSnapshot(t.Context(), bytes.NewReader(file.Bytes()), backup.OpenOptions{Identities: []backup.Identity{plainKey{}}})
	require.NoError(t, err)
	defer s.Close()
	report, err := app.Restore(t.Context(), s, to, backup.RestoreOptions{Strategy: backup.Replace})
	require.NoError(t, err)
	for _, c := range report.Collections {
		require.Positive(t, c.Added, "%s has no rows to try", c.Name)
	}
	_, err = app.Backup(t.Context(), &again, to, backup.BackupOptions{Recipients: []backup.Recipient{plainKey{}}})
	require.NoError(t, err)
	require.Equal(t, dumpAll(t, from, app), dumpAll(t, to, app))
}

// A dialect is one of the databases.
type dialect struct {
	sqlstore.Dialect
	open func(t testing.TB, schema string) *sql.DB
}

var dialects = map[string]dialect{
	"SQLite":     {sqlstore.SQLite, open},
	"PostgreSQL": {sqlstore.PostgreSQL, func(t testing.TB, schema string) *sql.DB { db, _ := newPostgres(t, schema); return db }},
	"MariaDB":    {sqlstore.MariaDB, func(t testing.TB, schema string) *sql.DB { db, _ := newMariaDB(t, schema); return db }},
}

func TestABackupThatCoversAllNamesTheTablesThatItWouldMiss(t *testing.T) {
	for name, d := range dialects {
		t.Run(name, func(t *testing.T) {
			db := d.open(t, `CREATE TABLE users (id integer PRIMARY KEY, name varchar(9)); INSERT INTO users VALUES (1, 'Ann');
				CREATE TABLE sessions (id integer PRIMARY KEY); CREATE VIEW everybody AS SELECT name FROM users`)
			s, app := describe(t, sqlstore.Store{DB: db, Dialect: d.Dialect, Wire: wire(d.Dialect), Exclude: []string{"sessions", "never_was"}})
			require.Equal(t, []string{"users /id"}, collections(app))
			require.True(t, s.CoverAll)
			var file bytes.Buffer
			_, err := app.Backup(t.Context(), &file, s, backup.BackupOptions{})
			require.NoError(t, err)

			exec(t, db, `CREATE TABLE invoices (id integer PRIMARY KEY)`)
			exec(t, db, `CREATE TABLE notes (text varchar(9))`)
			_, err = app.Backup(t.Context(), &bytes.Buffer{}, s, backup.BackupOptions{})
			require.ErrorContains(t, err, `tables that the backup would miss: "invoices", "notes": declare each in Store.Tables with a collection of the App, or name it in Store.Exclude`)
			snapshot, err := backup.OpenSnapshot(t.Context(), &file, backup.OpenOptions{})
			require.NoError(t, err)
			defer snapshot.Close()
			_, err = app.Restore(t.Context(), snapshot, s, backup.RestoreOptions{Strategy: backup.Replace})
			require.NoError(t, err, "a restore does not mind")

			s.Exclude = append(s.Exclude, "notes")
			require.ErrorContains(t, s.View(t.Context(), func(backup.Reader) error { return nil }), `would miss: "invoices": `)
			s.Tables = append(s.Tables, sqlstore.Table{Collection: "bills", Name: "invoices"})
			_, err = app.Backup(t.Context(), &bytes.Buffer{}, s, backup.BackupOptions{})
			require.NoError(t, err)
			exec(t, db, `CREATE TABLE later (id integer PRIMARY KEY)`)
			s.CoverAll = false
			_, err = app.Backup(t.Context(), &bytes.Buffer{}, s, backup.BackupOptions{})
			require.NoError(t, err)
		})
	}
}

func TestDescribeSaysWhatItCannotDeclare(t *testing.T) {
	for name, d := range dialects {
		t.Run(name, func(t *testing.T) {
			db := d.open(t, `CREATE TABLE users (id integer PRIMARY KEY); CREATE TABLE log (at integer, line varchar(9)); CREATE TABLE stars (weight real NOT NULL PRIMARY KEY); CREATE TABLE codes (code varchar(9) UNIQUE NOT NULL); CREATE TABLE halves (half real UNIQUE NOT NULL)`)
			s := sqlstore.Store{DB: db, Dialect: d.Dialect, Wire: wire(d.Dialect)}
			_, _, err := s.Describe(t.Context())
			for _, table := range []string{"log", "stars", "halves"} {
				require.ErrorContains(t, err, `in table "`+table+`": `)
			}
			require.Equal(t, 2, strings.Count(err.Error(), "; say more about it in Store.Tables, or leave it out with Store.Exclude"))
			require.ErrorContains(t, err, `"log": there is no primary key, and no index on columns that are UNIQUE and NOT NULL: give the table such columns, or leave it out with Store.Exclude`)
			require.NotContains(t, err.Error(), "users")
			require.NotContains(t, err.Error(), "codes")

			s.Exclude = []string{"stars", "log", "halves"}
			s.Tables = []sqlstore.Table{{Name: "codes", Key: "code"}}
			described, app := describe(t, s)
			require.Equal(t, []string{"codes /code", "users /id"}, collections(app))
			require.Equal(t, []sqlstore.Table{{Collection: "codes", Name: "codes", Key: "code"}, {Collection: "users"}}, described.Tables)
			require.True(t, described.CoverAll)
			require.Equal(t, s.Exclude, described.Exclude)
			s.Exclude = []string{"*"}
			described, app = describe(t, s)
			require.Equal(t, []string{"codes /code"}, collections(app))
			require.NoError(t, described.View(t.Context(), func(backup.Reader) error { return nil }))

			s.Tables = []sqlstore.Table{{Collection: "users", Name: "codes", Key: "code"}, {Collection: "users"}}
			_, _, err = s.Describe(t.Context())
			require.ErrorContains(t, err, `tables "codes" and "users" would both be the collection "users": name one of them otherwise in Table.Collection`)
			s.Tables = []sqlstore.Table{{Collection: "absent"}, {Collection: "log"}}
			_, _, err = s.Describe(t.Context())
			require.ErrorContains(t, err, `"absent": there is no such table`)
			require.ErrorContains(t, err, `collection "log" in table "log": `)
			_, _, err = sqlstore.Store{}.Describe(t.Context())
			require.ErrorContains(t, err, "needs DB and Dialect")
		})
	}
}

func TestDescribeTakesWhatIsUniqueForTheKey(t *testing.T) {
	for name, d := range dialects {
		t.Run(name, func(t *testing.T) {
			const schema = `CREATE TABLE codes (note varchar(9) UNIQUE, a integer NOT NULL, b varchar(9) NOT NULL, code varchar(9) NOT NULL, token varchar(9) NOT NULL, UNIQUE (a, b), UNIQUE (code), UNIQUE (token));
				CREATE TABLE members (n varchar(9), b varchar(9) NOT NULL, a integer NOT NULL, UNIQUE (a, b))`
			from, to := d.open(t, schema), d.open(t, schema)
			exec(t, from, `INSERT INTO codes VALUES (NULL, 1, 'x', 'c', 't'), (NULL, 1, 'y', 'd', 'u')`)
			exec(t, from, `INSERT INTO members VALUES (NULL, 'x', 1), ('n', 'x', 2)`)
			s, app := describe(t, sqlstore.Store{DB: from, Dialect: d.Dialect, Wire: wire(d.Dialect)})
			require.Equal(t, []string{"codes /code */token", "members /a,/b"}, collections(app))
			require.Equal(t, []sqlstore.Table{{Collection: "codes", Key: "code"}, {Collection: "members", Key: "a,b"}}, s.Tables)
			onto := s
			onto.DB = to
			transfer(t, app, s, onto)
		})
	}
}

func TestDescribeLeavesOutTheTablesOfMigrationTools(t *testing.T) {
	for name, d := range dialects {
		t.Run(name, func(t *testing.T) {
			db := d.open(t, `CREATE TABLE users (id integer PRIMARY KEY); CREATE TABLE goose_db_version (id integer PRIMARY KEY); CREATE TABLE schema_migrations (version varchar(9));
				CREATE TABLE bun_migration_locks (id integer PRIMARY KEY); CREATE TABLE django_migrations (id integer PRIMARY KEY); CREATE TABLE migrations (id integer PRIMARY KEY)`)
			given := []string{"absent"}
			s, app := describe(t, sqlstore.Store{DB: db, Dialect: d.Dialect, Wire: wire(d.Dialect), Exclude: given, Tables: []sqlstore.Table{{Collection: "django_migrations"}}})
			require.Equal(t, []string{"django_migrations /id", "migrations /id", "users /id"}, collections(app))
			require.Equal(t, []string{"absent", "bun_migration_locks", "goose_db_version", "schema_migrations"}, s.Exclude)
			require.NoError(t, s.View(t.Context(), func(backup.Reader) error { return nil }))
		})
	}
}

func TestLitestreamMayRunBesideTheHost(t *testing.T) {
	db := open(t, `CREATE TABLE users (id integer PRIMARY KEY)`)
	s, _ := describe(t, sqlstore.Store{DB: db, Dialect: sqlstore.SQLite})
	exec(t, db, `CREATE TABLE _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER); CREATE TABLE _litestream_lock (id INTEGER)`)
	require.NoError(t, s.View(t.Context(), func(backup.Reader) error { return nil }))
	_, app := describe(t, sqlstore.Store{DB: db, Dialect: sqlstore.SQLite})
	require.Equal(t, []string{"users /id"}, collections(app))
}

func TestDescribeKnowsSecretsByTheirNames(t *testing.T) {
	secrets := strings.Fields("password passwd user_pwd smtpPassword PasswordHash password2 client_secret secret access_token refreshToken tokens api_key APIKey1 apikey API_KEYS private_key api_key_hash ssh_key " +
		"accesstoken clientsecret userpassword smtppass authtoken pwhash ssh_private mnemonic stripe_key credential credentials passphrase totp recovery_codes cookie webhook_url pin dsn discord_webhook_link slack_webhook_link proxy_url session_id share_code")
	others := strings.Fields("id name passenger passes_at compass spin pinned secretary tokenizer keyboard key public_key sort_key primary_key monkey user_token_id code zip_code url must_change_password owner_session_id meta_key storage_key passwd_min_length private user_password_expires")
	columns := "id integer PRIMARY KEY, user_token_id integer REFERENCES t, must_change_password boolean, owner_session_id integer"
	for _, name := range append(slices.Clone(secrets), others...) {
		if !strings.Contains(" "+columns, " "+name+" ") {
			columns += `, "` + name + `" text`
		}
	}
	db := open(t, `CREATE TABLE t (`+columns+`); CREATE TABLE apps ("api_key" text PRIMARY KEY, v text); CREATE TABLE settings (name text PRIMARY KEY, value text);
		CREATE TABLE favourites (name text PRIMARY KEY, value text REFERENCES apps); CREATE TABLE flags (name text PRIMARY KEY, value boolean)`)
	_, app := describe(t, store(db, sqlstore.Table{Collection: "t", Columns: []sqlstore.Column{{Name: "zip_code", Field: "zip_pass"}}, Exclude: []string{"tokens"}},
		sqlstore.Table{Collection: "apps", Key: "api_key"}, sqlstore.Table{Collection: "settings", Value: "value"},
		sqlstore.Table{Collection: "favourites", Value: "value"}, sqlstore.Table{Collection: "flags", Value: "value"}))
	want := []string{}
	for _, name := range secrets {
		if name != "tokens" {
			want = append(want, "/"+name)
		}
	}
	require.ElementsMatch(t, append(want, "/zip_pass"), app.Collections[0].Secrets)
	require.Equal(t, []string{"apps /api_key", "settings map */*", "favourites map /*>apps", "flags map"}, collections(app)[1:])
}

func TestDescribeRefusesAKeyThatIsASecret(t *testing.T) {
	db := open(t, `CREATE TABLE api_tokens (token text PRIMARY KEY, owner text); CREATE TABLE sessions (id text PRIMARY KEY); CREATE TABLE django_session (session_key text PRIMARY KEY);
		CREATE TABLE notes (token_id integer PRIMARY KEY); CREATE TABLE work_sessions (id integer PRIMARY KEY); CREATE TABLE plugins (plugin_key text PRIMARY KEY); CREATE TABLE meta (meta_key text PRIMARY KEY)`)
	all := sqlstore.Store{DB: db, Dialect: sqlstore.SQLite}
	_, _, err := all.Describe(t.Context())
	require.ErrorContains(t, err, `table "api_tokens": the key "token" is called like a secret, and a key cannot be sealed`)
	require.ErrorContains(t, err, `table "sessions": the key "id" is called like a secret`)
	require.ErrorContains(t, err, `table "django_session": the key "session_key" is called like a secret`)
	all.Exclude = []string{"api_tokens", "sessions", "django_session"}
	_, found, err := all.Describe(t.Context())
	require.NoError(t, err)
	require.Len(t, found, 4)
	all.Exclude = all.Exclude[1:]
	all.Tables = []sqlstore.Table{{Collection: "api_tokens", Key: "token"}}
	_, _, err = all.Describe(t.Context())
	require.NoError(t, err, "somebody has decided so")
}

func TestCoverAllNamesWhatIsBehindAVirtualTable(t *testing.T) {
	db := open(t, `CREATE TABLE a (id integer PRIMARY KEY); CREATE TABLE notes_content (id integer PRIMARY KEY, body text);
		CREATE VIRTUAL TABLE notes USING fts5(body, content='notes_content', content_rowid='id'); CREATE VIRTUAL TABLE whole USING fts5(body)`)
	s := sqlstore.Store{DB: db, Dialect: sqlstore.SQLite, Tables: []sqlstore.Table{{Collection: "a"}}, CoverAll: true}
	view := func() error { return s.View(t.Context(), func(backup.Reader) error { return nil }) }
	err := view()
	require.ErrorContains(t, err, `would miss: "notes_content": `)
	require.ErrorContains(t, err, `tables "notes", "whole": virtual tables have no rows of their own: leave them out with Store.Exclude, and build them anew after a restore`)
	require.NotContains(t, err.Error(), "notes_data")
	s.Exclude = []string{"notes", "whole"}
	require.ErrorContains(t, view(), `"notes_content"`, "which is the host's own")
	s.Tables = append(s.Tables, sqlstore.Table{Collection: "notes_content"})
	require.NoError(t, view())

	_, _, err = sqlstore.Store{DB: db, Dialect: sqlstore.SQLite}.Describe(t.Context())
	require.ErrorContains(t, err, `table "whole": virtual tables have no rows of their own: leave them out with Store.Exclude`)
	require.NotContains(t, err.Error(), "Store.Tables")
}

func TestDescribeWritesKeysOfSeveralColumns(t *testing.T) {
	for name, d := range dialects {
		t.Run(name, func(t *testing.T) {
			const schema = `CREATE TABLE users (id integer PRIMARY KEY); CREATE TABLE roles (id varchar(9) NOT NULL PRIMARY KEY);
				CREATE TABLE members (note varchar(9), role_id varchar(9) NOT NULL, user_id integer NOT NULL, PRIMARY KEY (user_id, role_id), FOREIGN KEY (role_id) REFERENCES roles (id), FOREIGN KEY (user_id) REFERENCES users (id));
				CREATE TABLE grants (id integer PRIMARY KEY, r varchar(9), u integer, FOREIGN KEY (u, r) REFERENCES members (user_id, role_id))`
			from, to := d.open(t, schema), d.open(t, schema)
			exec(t, from, `INSERT INTO users VALUES (1), (2)`)
			exec(t, from, `INSERT INTO roles VALUES ('a,"b'), ('c')`)
			exec(t, from, `INSERT INTO members VALUES ('x', 'a,"b', 1), (NULL, 'c', 1), ('y', 'c', 2)`)
			exec(t, from, `INSERT INTO grants VALUES (1, 'a,"b', 1), (2, 'c', NULL)`)
			s, app := describe(t, sqlstore.Store{DB: from, Dialect: d.Dialect, Wire: wire(d.Dialect)})
			require.Equal(t, []string{
				"grants /id /u,/r>members",
				"members /user_id,/role_id /role_id>roles /user_id>users",
				"roles /id",
				"users /id",
			}, collections(app))
			require.Equal(t, []sqlstore.Table{{Collection: "grants"}, {Collection: "members"}, {Collection: "roles"}, {Collection: "users"}}, s.Tables)
			require.Contains(t, schemaOf(t, app, "members"), `"required": ["role_id", "user_id"],`)
			require.Contains(t, schemaOf(t, app, "members"), `"user_id": {"type": "integer"}`)
			onto := s
			onto.DB = to
			transfer(t, app, s, onto)
		})
	}
}

// A pool is what random tables are made of: types with values that they can hold,
// as SQL.
type pool struct {
	prelude string
	quote   string
	keys    map[string]func(i int) string // by type
	types   []string
	values  map[string][]string // by type
}

func (p *pool) add(typ, value string) {
	if p.values == nil {
		p.values = map[string][]string{}
	}
	if p.values[typ] == nil {
		p.types = append(p.types, typ)
	}
	p.values[typ] = append(p.values[typ], value)
}

// tables returns the statements that make random tables, which refer to each other
// and to themselves, and those that fill them.
func (p *pool) tables(random *rand.Rand) (create, insert []string) {
	type table struct {
		name  string
		types []string   // of the key
		keys  [][]string // by row
	}
	var tables []table
	name := func(format string, number int) string { return p.quote + fmt.Sprintf(format, number) + p.quote }
	names := func(format string, n int) string {
		var list []string
		for i := range n {
			list = append(list, name(format, i))
		}
		return strings.Join(list, ", ")
	}
	keyTypes := slices.Sorted(maps.Keys(p.keys))
	for i := range 6 {
		t := table{name: name("Table %d", i), keys: make([][]string, 8)}
		var columns, foreign []string
		for part := range 1 + random.IntN(2) {
			typ := keyTypes[random.IntN(len(keyTypes))]
			t.types = append(t.types, typ)
			columns = append(columns, name("the key %d", part)+" "+typ+" NOT NULL")
			for row := range t.keys {
				// The first part alone need not be unique.
				t.keys[row] = append(t.keys[row], p.keys[typ](100*i+row%(4+4*part)))
			}
		}
		if len(t.types) == 1 {
			t.keys = t.keys[:4]
		}
		rows := slices.Clone(t.keys)
		tables = append(tables, t)
		for c := range 1 + random.IntN(12) {
			null := random.IntN(2) == 0
			if random.IntN(4) == 0 {
				to := tables[random.IntN(len(tables))]
				foreign = append(foreign, "FOREIGN KEY ("+names(fmt.Sprintf("c/%d~%%d", c), len(to.types))+") REFERENCES "+to.name+" ("+names("the key %d", len(to.types))+")")
				for part, typ := range to.types {
					columns = append(columns, name(fmt.Sprintf("c/%d~%%d", c), part)+" "+typ+nullable(null))
				}
				for row := range rows {
					key := to.keys[0] // of a table itself it is there first
					switch {
					case null && random.IntN(4) == 0:
						key = slices.Repeat([]string{"NULL"}, len(key))
					case to.name != t.name:
						key = to.keys[random.IntN(len(to.keys))]
					}
					rows[row] = append(rows[row][:len(rows[row]):len(rows[row])], key...)
				}
				continue
			}
			typ := p.types[random.IntN(len(p.types))]
			values := slices.DeleteFunc(slices.Clone(p.values[typ]), func(v string) bool { return v == "NULL" })
			if null = null || len(values) == 0; null {
				values = append(values, "NULL")
			}
			columns = append(columns, name("c/%d~", c)+" "+typ+nullable(null))
			for row := range rows {
				rows[row] = append(rows[row][:len(rows[row]):len(rows[row])], values[random.IntN(len(values))])
			}
		}
		constraints := append([]string{"PRIMARY KEY (" + names("the key %d", len(t.types)) + ")"}, foreign...)
		create = append(create, "CREATE TABLE "+t.name+" ("+strings.Join(append(columns, constraints...), ", ")+")")
		for _, row := range rows {
			insert = append(insert, "INSERT INTO "+t.name+" VALUES ("+strings.Join(row, ", ")+")")
		}
	}
	return create, insert
}

func nullable(null bool) string {
	if null {
		return " NULL"
	}
	return " NOT NULL"
}

func TestDescribedBackupsOfRandomTablesRestore(t *testing.T) {
	number := func(i int) string { return fmt.Sprint(i - 250) }
	text := func(i int) string { return fmt.Sprintf("'é %d'", i) }
	uuid := func(i int) string { return fmt.Sprintf("'00000000-0000-0000-0000-%012d'", i) }
	pools := map[string]*pool{
		"SQLite":     {quote: `"`, keys: map[string]func(int) string{"INTEGER": number, "TEXT": text, "": func(i int) string { return fmt.Sprintf("'%d'", i) }}},
		"PostgreSQL": {quote: `"`, keys: map[string]func(int) string{"bigint": number, "text": text, "uuid": uuid, "varchar(7)": text}, prelude: pgTypes},
		"MariaDB": {quote: "`", keys: map[string]func(int) string{"bigint": number, "varchar(20)": text, "uuid": uuid, "bigint unsigned": func(i int) string {
			return fmt.Sprint(math.MaxUint64 - uint64(i))
		}}},
	}
	columns := column(t, open(t, kindsSchema), "SELECT name || ' ' || type FROM pragma_table_info('things')")
	for _, v := range sqliteValues {
		at := slices.IndexFunc(columns, func(c string) bool { return strings.HasPrefix(c, v.column+" ") })
		if v.column != "jtxt" && v.column != "jbytes" {
			pools["SQLite"].add(columns[at][len(v.column)+1:], v.sql)
		}
	}
	for _, v := range pgValues {
		if v.typ != "name" { // a domain that NULL is not in
			pools["PostgreSQL"].add(v.typ, v.sql)
		}
	}
	for _, v := range mariaValues {
		if v.sql != "0" { // a timestamp is that only where the mode allows it
			pools["MariaDB"].add(strings.TrimSuffix(v.typ, " NULL"), v.sql)
		}
	}
	for name, d := range dialects {
		t.Run(name, func(t *testing.T) {
			refs := 0
			for seed := range uint64(3) {
				create, insert := pools[name].tables(rand.New(rand.NewPCG(seed, 0)))
				schema := pools[name].prelude + strings.Join(create, ";\n")
				from, to := d.open(t, schema), d.open(t, schema)
				if name == "MariaDB" {
					insert = append([]string{"SET sql_mode='NO_AUTO_VALUE_ON_ZERO'; SET time_zone='+00:00'"}, insert...)
				}
				from.SetMaxOpenConns(1)
				for _, row := range insert {
					exec(t, from, row)
				}
				from.SetMaxOpenConns(0)
				s, app := describe(t, sqlstore.Store{DB: from, Dialect: d.Dialect, Wire: wire(d.Dialect)})
				require.Len(t, app.Collections, 6)
				for _, c := range app.Collections {
					refs += len(c.Refs)
				}
				onto := s
				onto.DB = to
				transfer(t, app, s, onto)
			}
			require.Greater(t, refs, 5)
		})
	}
}
