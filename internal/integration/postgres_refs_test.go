//go:build !race

package integration

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/sqlstore"
)

// restorePostgres restores what the first store holds into the second.
func restorePostgres(t *testing.T, app *backup.App, from backup.DataSource, to backup.Sink, opts backup.RestoreOptions) error {
	t.Helper()
	var file bytes.Buffer
	_, err := app.Backup(t.Context(), &file, from, backup.BackupOptions{})
	require.NoError(t, err)
	s, err := backup.OpenSnapshot(t.Context(), bytes.NewReader(file.Bytes()), backup.OpenOptions{})
	require.NoError(t, err)
	defer s.Close()
	_, err = app.Restore(t.Context(), s, to, opts)
	return err
}

// plain declares collections without references: the library cannot order them.
func plain(names ...string) *backup.App {
	app := &backup.App{Name: "refs", Version: "1.0.0", SchemaVersion: 1}
	for _, name := range names {
		app.Collections = append(app.Collections, backup.Collection{Name: name, Key: "/id"})
	}
	return app
}

func TestPostgresTreesAndCyclesGoInAndOutInAnyOrder(t *testing.T) {
	const tree = `CREATE TABLE nodes (id text PRIMARY KEY, parent text REFERENCES nodes%[1]s, name text NOT NULL);`
	const cycle = `CREATE TABLE teams (id text PRIMARY KEY, owner text NOT NULL); CREATE TABLE users (id text PRIMARY KEY, team text, buddy text);
		ALTER TABLE users ADD FOREIGN KEY (team) REFERENCES teams%[1]s; ALTER TABLE users ADD FOREIGN KEY (buddy) REFERENCES users%[1]s; ALTER TABLE teams ADD FOREIGN KEY (owner) REFERENCES users%[1]s;`
	for name, action := range map[string]string{
		"at each step": "", "at the commit": " DEFERRABLE", "restrict": " ON DELETE RESTRICT", "cascade": " ON DELETE CASCADE", "set null": " ON DELETE SET NULL", "deferrable cascade": " ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED",
	} {
		t.Run(name, func(t *testing.T) {
			schema := fmt.Sprintf(tree+cycle, action)
			from, _ := newPostgres(t, schema)
			to, _ := newPostgres(t, schema)
			// Parents come after their children, and far away.
			exec(t, from, `INSERT INTO nodes SELECT lpad(i::text, 4, '0'), NULL, 'n' FROM generate_series(1, 1000) i;
				UPDATE nodes SET parent = lpad((1000 - id::int / 2)::text, 4, '0') WHERE id::int < 600; UPDATE nodes SET parent = id WHERE id = '0700';
				INSERT INTO users SELECT 'u'||i, NULL, NULL FROM generate_series(1, 200) i; INSERT INTO teams SELECT 't'||i, 'u'||(201 - i) FROM generate_series(1, 200) i;
				UPDATE users SET team = 't'||substr(id, 2), buddy = 'u'||(201 - substr(id, 2)::int)`)
			// What goes are a chain, a ring and pairs.
			exec(t, to, `INSERT INTO nodes VALUES ('a0', NULL, 'a'); INSERT INTO nodes SELECT 'a'||i, 'a'||(i - 1), 'a' FROM generate_series(1, 50) i; UPDATE nodes SET parent = 'a50' WHERE id = 'a0';
				INSERT INTO nodes VALUES ('0001', 'a7', 'stays'), ('self', 'self', 'x');
				INSERT INTO users VALUES ('u1', NULL, NULL), ('old', NULL, NULL); INSERT INTO teams VALUES ('told', 'old'); UPDATE users SET team = 'told'`)
			tables := func() []sqlstore.Table {
				return []sqlstore.Table{{Collection: "teams"}, {Collection: "nodes"}, {Collection: "users"}}
			}
			require.NoError(t, restorePostgres(t, plain("users", "teams", "nodes"), pg(from, tables()...), pg(to, tables()...), backup.RestoreOptions{Strategy: backup.Replace}))
			for _, c := range []string{"nodes", "users", "teams"} {
				require.Equal(t, dump(t, pg(from, tables()...), c), dump(t, pg(to, tables()...), c))
			}
			// And all of it away again.
			exec(t, from, "UPDATE users SET team = NULL; DELETE FROM teams; DELETE FROM users; UPDATE nodes SET parent = NULL; DELETE FROM nodes WHERE id <> '0001'")
			require.NoError(t, restorePostgres(t, plain("teams", "users", "nodes"), pg(from, tables()...), pg(to, tables()...), backup.RestoreOptions{Strategy: backup.Replace}))
			require.Equal(t, []string{"0001"}, column(t, to, "SELECT id FROM nodes UNION SELECT id FROM users UNION SELECT id FROM teams"))
		})
	}
}

func TestPostgresActionsLeaveRecordsAlone(t *testing.T) {
	schema := func(action string) string {
		return `CREATE TABLE servers (id text PRIMARY KEY, name text UNIQUE);
			CREATE TABLE apps (id text PRIMARY KEY, server text REFERENCES servers ON DELETE ` + action + `, seen text DEFAULT 'never', note text);
			CREATE TABLE sessions (id int PRIMARY KEY, app text REFERENCES apps ON DELETE CASCADE);
			CREATE TABLE watches (id int PRIMARY KEY, server text REFERENCES servers ON DELETE SET NULL)`
	}
	for _, action := range []string{"CASCADE", "SET NULL", "SET DEFAULT", "RESTRICT", "NO ACTION"} {
		for _, strategy := range []backup.Strategy{backup.Replace, backup.Merge} {
			t.Run(fmt.Sprintf("%s, %v", action, strategy), func(t *testing.T) {
				from, _ := newPostgres(t, schema(action))
				to, _ := newPostgres(t, schema(action))
				tables := []sqlstore.Table{{Collection: "servers"}, {Collection: "apps", Exclude: []string{"seen"}, Columns: []sqlstore.Column{{Name: "note", OmitNull: true}}}}
				// The app moves from a server that goes to one that takes its place.
				exec(t, from, "INSERT INTO servers VALUES ('s2', 'pi'), ('s3', 'free'); INSERT INTO apps VALUES ('a1', 's2')")
				exec(t, to, `INSERT INTO servers VALUES ('s1', 'nas'), ('s0', 'free'); INSERT INTO apps VALUES ('a1', 's1', 'today', 'mine'), ('a2', 's1', 'today', NULL);
					INSERT INTO sessions VALUES (1, 'a1'), (2, 'a2'); INSERT INTO watches VALUES (1, 's1')`)
				opts := backup.RestoreOptions{Strategy: strategy, Only: []string{"servers", "apps"}}
				opts.Strategies = map[string]backup.Strategy{"servers": backup.Replace}
				app := plain("servers", "apps")
				if strategy == backup.Merge {
					exec(t, to, "UPDATE apps SET server = NULL WHERE id = 'a2'")
				}
				require.NoError(t, restorePostgres(t, app, pg(from, tables...), pg(to, tables...), opts))
				require.Equal(t, []string{"s2", "s3"}, column(t, to, "SELECT id FROM servers ORDER BY id"))
				require.Equal(t, "(a1,s2,today,)", column(t, to, "SELECT (id, server, seen, CASE WHEN note = 'mine' AND "+fmt.Sprint(strategy == backup.Replace)+" THEN 'kept' END)::text FROM apps WHERE id = 'a1'")[0])
				sessions := []string{"1"}
				if strategy == backup.Merge {
					require.Equal(t, []string{"mine"}, column(t, to, "SELECT note FROM apps WHERE id = 'a1'"))
					sessions = []string{"1", "2"}
				}
				require.Equal(t, sessions, column(t, to, "SELECT id::text FROM sessions ORDER BY id"), "those of records that stay are not gone")
				require.Equal(t, []string{""}, column(t, to, "SELECT coalesce(server, '') FROM watches"))
			})
		}
	}
}

func TestPostgresDanglingReferencesAreRefusedAndNamed(t *testing.T) {
	for name, deferrable := range map[string]string{"at each step": "", "at the commit": " DEFERRABLE"} {
		t.Run(name, func(t *testing.T) {
			db, _ := newPostgres(t, fmt.Sprintf(`CREATE TABLE servers (id text PRIMARY KEY, parent text REFERENCES servers%[1]s); CREATE TABLE apps (id text PRIMARY KEY, server text NOT NULL REFERENCES servers%[1]s);
				CREATE TABLE host_only (app text REFERENCES apps%[1]s); INSERT INTO servers VALUES ('s1', NULL), ('s2', 's1'); INSERT INTO apps VALUES ('a1', 's1'), ('a2', 's2'); INSERT INTO host_only VALUES ('a1')`, deferrable))
			s := pg(db, sqlstore.Table{Collection: "servers"}, sqlstore.Table{Collection: "apps"})
			err := put(s, "apps", record("a3", `{"id":"a3","server":"nowhere"}`), record("a4", `{"id":"a4","server":"s1"}`))
			require.ErrorIs(t, err, backup.ErrDangling)
			require.ErrorContains(t, err, `"a3"`)
			require.NotContains(t, err.Error(), "a4")
			err = put(s, "servers", record("s3", `{"id":"s3","parent":"nowhere"}`), record("s4", `{"id":"s4","parent":"s3"}`))
			require.ErrorIs(t, err, backup.ErrDangling)
			require.ErrorContains(t, err, `"s3"`)
			err = s.Update(t.Context(), func(w backup.Writer) error { return w.Delete(t.Context(), "servers", []string{"s1", "s2"}) })
			require.ErrorIs(t, err, backup.ErrDangling)
			require.ErrorContains(t, err, `servers`)
			err = s.Update(t.Context(), func(w backup.Writer) error { return w.Delete(t.Context(), "apps", []string{"a1"}) })
			require.ErrorIs(t, err, backup.ErrDangling)
			require.ErrorContains(t, err, `host_only`)
			require.Equal(t, []string{"a1", "a2", "s1", "s2"}, column(t, db, "SELECT id FROM servers UNION SELECT id FROM apps ORDER BY 1"))
		})
	}
}

func TestPostgresSeesInTheTransactionWhatItWaitsWith(t *testing.T) {
	db, _ := newPostgres(t, `CREATE TABLE nodes (id text PRIMARY KEY, parent text REFERENCES nodes); INSERT INTO nodes VALUES ('a', NULL), ('b', 'a'), ('c', 'b')`)
	s := pg(db, sqlstore.Table{Collection: "nodes"})
	ctx := t.Context()
	state := func(w backup.Writer) (keys, found, records []string) {
		for key, err := range w.Keys(ctx, "nodes") {
			require.NoError(t, err)
			keys = append(keys, key)
		}
		rs, err := w.Lookup(ctx, "nodes", []string{"a", "b", "c", "d", "e"})
		require.NoError(t, err)
		for _, r := range rs {
			found = append(found, string(r.Value))
		}
		for r, err := range w.(backup.Reader).Records(ctx, "nodes") {
			require.NoError(t, err)
			records = append(records, string(r.Value))
		}
		return keys, found, records
	}
	failure := errors.New("failure")
	require.ErrorIs(t, s.Update(ctx, func(w backup.Writer) error {
		require.NoError(t, w.Delete(ctx, "nodes", []string{"a", "b"}))
		keys, found, records := state(w)
		require.Equal(t, []string{"c"}, keys)
		require.Equal(t, []string{`{"id":"c","parent":"b"}`}, found)
		require.Equal(t, found, records)
		require.NoError(t, put1(t, w, "nodes", record("b", `{"id":"b","parent":null}`)), "it comes back")
		require.NoError(t, put1(t, w, "nodes", record("d", `{"id":"d","parent":"e"}`)))
		require.NoError(t, put1(t, w, "nodes", record("e", `{"id":"e","parent":"e"}`)))
		keys, found, records = state(w)
		require.ElementsMatch(t, []string{"b", "c", "d", "e"}, keys)
		require.Equal(t, []string{`{"id":"b","parent":null}`, `{"id":"c","parent":"b"}`, `{"id":"d","parent":"e"}`, `{"id":"e","parent":"e"}`}, records)
		require.ElementsMatch(t, records, found)
		require.NoError(t, put1(t, w, "nodes", record("d", `{"id":"d","parent":"f"}`)))
		require.NoError(t, put1(t, w, "nodes", record("d", `{"id":"d"}`)))
		_, _, records = state(w)
		require.Contains(t, records, `{"id":"d","parent":null}`)
		return failure
	}), failure)
	require.Len(t, dump(t, s, "nodes"), 3)
}

func TestPostgresRecordsExchangeUniqueValues(t *testing.T) {
	db, _ := newPostgres(t, `CREATE TABLE a (id int PRIMARY KEY, n text UNIQUE DEFERRABLE); INSERT INTO a VALUES (1, 'x'), (2, 'y'); CREATE TABLE b (id int PRIMARY KEY, n text UNIQUE); INSERT INTO b VALUES (1, 'x'), (2, 'y')`)
	s := pg(db, sqlstore.Table{Collection: "a"}, sqlstore.Table{Collection: "b"})
	swapped := []backup.Record{record("1", `{"id":1,"n":"y"}`), record("2", `{"id":2,"n":"x"}`)}
	swap := func(collection string) error {
		return s.Update(t.Context(), func(w backup.Writer) error {
			return errors.Join(put1(t, w, collection, swapped[0]), put1(t, w, collection, swapped[1]))
		})
	}
	require.NoError(t, swap("a"))
	require.NoError(t, swap("b"))
}

func TestPostgresPartitionsAndColumnsOfTheHost(t *testing.T) {
	db, _ := newPostgres(t, `CREATE TABLE p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10); CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20);
		INSERT INTO p VALUES (1, 'a'), (11, 'b'); CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p ON DELETE CASCADE); INSERT INTO c VALUES (1, 1)`)
	s := pg(db, sqlstore.Table{Collection: "p"}, sqlstore.Table{Collection: "c", Exclude: []string{"p"}})
	require.NoError(t, put(s, "p", record("2", `{"id":2,"v":"c"}`), record("12", `{"id":12,"v":"d"}`), record("11", `{"id":11,"v":"e"}`)))
	require.Equal(t, []string{`1 {"id":1,"v":"a"}`, `2 {"id":2,"v":"c"}`, `11 {"id":11,"v":"e"}`, `12 {"id":12,"v":"d"}`}, dump(t, s, "p"))
	require.ErrorContains(t, put(s, "p", record("30", `{"id":30}`)), `p "30": `)
	// The reference is the host's, and its row a record.
	err := s.Update(t.Context(), func(w backup.Writer) error { return w.Delete(t.Context(), "p", []string{"1", "2"}) })
	require.ErrorIs(t, err, backup.ErrDangling)
	require.ErrorContains(t, err, `table "p": "1" (from "c")`)
	require.Len(t, dump(t, s, "p"), 4)
	exec(t, db, "DELETE FROM c")
	require.NoError(t, s.Update(t.Context(), func(w backup.Writer) error { return w.Delete(t.Context(), "p", []string{"1", "2"}) }))
	require.Len(t, dump(t, s, "p"), 2)
}
