//go:build !race

package integration

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/sqlstore"
)

func TestMariaDBTreesAndCyclesGoInAndOutInAnyOrder(t *testing.T) {
	const id = "varchar(20)"
	const tree = `CREATE TABLE nodes (id ` + id + ` PRIMARY KEY, parent ` + id + `, name text NOT NULL, FOREIGN KEY (parent) REFERENCES nodes (id)%[1]s);`
	const cycle = `CREATE TABLE teams (id ` + id + ` PRIMARY KEY, owner ` + id + ` NOT NULL); CREATE TABLE users (id ` + id + ` PRIMARY KEY, team ` + id + `, buddy ` + id + `);
		ALTER TABLE users ADD FOREIGN KEY (team) REFERENCES teams (id)%[1]s; ALTER TABLE users ADD FOREIGN KEY (buddy) REFERENCES users (id)%[1]s; ALTER TABLE teams ADD FOREIGN KEY (owner) REFERENCES users (id)`
	for name, action := range map[string]string{"no action": "", "cascade": " ON DELETE CASCADE", "set null": " ON DELETE SET NULL"} {
		t.Run(name, func(t *testing.T) {
			schema := fmt.Sprintf(tree+cycle, action)
			from, _ := newMariaDB(t, schema)
			to, _ := newMariaDB(t, schema)
			// Parents come after their children, and far away.
			exec(t, from, `SET foreign_key_checks=0; INSERT INTO nodes SELECT lpad(seq, 4, '0'), NULL, 'n' FROM seq_1_to_1000;
				UPDATE nodes SET parent = lpad(1000 - id DIV 2, 4, '0') WHERE id < 600; UPDATE nodes SET parent = id WHERE id = '0700';
				INSERT INTO users SELECT concat('u', seq), NULL, NULL FROM seq_1_to_200; INSERT INTO teams SELECT concat('t', seq), concat('u', 201 - seq) FROM seq_1_to_200;
				UPDATE users SET team = concat('t', substr(id, 2)), buddy = concat('u', 201 - substr(id, 2))`)
			// What goes are a chain, a ring and pairs.
			exec(t, to, `SET foreign_key_checks=0; INSERT INTO nodes VALUES ('a0', 'a50', 'a'); INSERT INTO nodes SELECT concat('a', seq), concat('a', seq - 1), 'a' FROM seq_1_to_50;
				INSERT INTO nodes VALUES ('0001', 'a7', 'stays'), ('self', 'self', 'x');
				INSERT INTO users VALUES ('u1', NULL, NULL), ('old', NULL, NULL); INSERT INTO teams VALUES ('told', 'old'); UPDATE users SET team = 'told'`)
			tables := func() []sqlstore.Table {
				return []sqlstore.Table{{Collection: "teams"}, {Collection: "nodes"}, {Collection: "users"}}
			}
			require.NoError(t, restorePostgres(t, plain("users", "teams", "nodes"), my(from, tables()...), my(to, tables()...), backup.RestoreOptions{Strategy: backup.Replace}))
			for _, c := range []string{"nodes", "users", "teams"} {
				require.Equal(t, dump(t, my(from, tables()...), c), dump(t, my(to, tables()...), c))
			}
			// And all of it away again.
			exec(t, from, "SET foreign_key_checks=0; UPDATE users SET team = NULL; DELETE FROM teams; DELETE FROM users; UPDATE nodes SET parent = NULL; DELETE FROM nodes WHERE id <> '0001'")
			require.NoError(t, restorePostgres(t, plain("teams", "users", "nodes"), my(from, tables()...), my(to, tables()...), backup.RestoreOptions{Strategy: backup.Replace}))
			require.Equal(t, []string{"0001"}, column(t, to, "SELECT id FROM nodes UNION SELECT id FROM users UNION SELECT id FROM teams"))
		})
	}
}

func TestMariaDBActionsLeaveRecordsAlone(t *testing.T) {
	schema := func(action string) string {
		return `CREATE TABLE servers (id varchar(9) PRIMARY KEY, name varchar(20) UNIQUE);
			CREATE TABLE apps (id varchar(9) PRIMARY KEY, server varchar(9), seen varchar(9) DEFAULT 'never', note text, FOREIGN KEY (server) REFERENCES servers (id) ON DELETE ` + action + `);
			CREATE TABLE sessions (id int PRIMARY KEY, app varchar(9), FOREIGN KEY (app) REFERENCES apps (id) ON DELETE CASCADE);
			CREATE TABLE clicks (id int PRIMARY KEY, session int, FOREIGN KEY (session) REFERENCES sessions (id) ON DELETE CASCADE);
			CREATE TABLE watches (id int PRIMARY KEY, server varchar(9), FOREIGN KEY (server) REFERENCES servers (id) ON DELETE SET NULL)`
	}
	for _, action := range []string{"CASCADE", "SET NULL", "RESTRICT", "NO ACTION"} {
		for _, strategy := range []backup.Strategy{backup.Replace, backup.Merge} {
			t.Run(fmt.Sprintf("%s, %v", action, strategy), func(t *testing.T) {
				from, _ := newMariaDB(t, schema(action))
				to, _ := newMariaDB(t, schema(action))
				tables := []sqlstore.Table{{Collection: "servers"}, {Collection: "apps", Exclude: []string{"seen"}, Columns: []sqlstore.Column{{Name: "note", OmitNull: true}}}}
				// The app moves from a server that goes to one that takes its place.
				exec(t, from, "INSERT INTO servers VALUES ('s2', 'pi'), ('s3', 'free'); INSERT INTO apps (id, server) VALUES ('a1', 's2')")
				exec(t, to, `INSERT INTO servers VALUES ('s1', 'nas'), ('s0', 'free'); INSERT INTO apps VALUES ('a1', 's1', 'today', 'mine'), ('a2', 's1', 'today', NULL);
					INSERT INTO sessions VALUES (1, 'a1'), (2, 'a2'); INSERT INTO clicks VALUES (1, 1), (2, 2); INSERT INTO watches VALUES (1, 's1')`)
				opts := backup.RestoreOptions{Strategy: strategy, Only: []string{"servers", "apps"}}
				opts.Strategies = map[string]backup.Strategy{"servers": backup.Replace}
				if strategy == backup.Merge {
					exec(t, to, "UPDATE apps SET server = NULL WHERE id = 'a2'")
				}
				require.NoError(t, restorePostgres(t, plain("servers", "apps"), my(from, tables...), my(to, tables...), opts))
				require.Equal(t, []string{"s2", "s3"}, column(t, to, "SELECT id FROM servers ORDER BY id"))
				require.Equal(t, "s2 today", column(t, to, "SELECT concat_ws(' ', server, seen) FROM apps WHERE id = 'a1'")[0])
				sessions := []string{"1"}
				if strategy == backup.Merge {
					require.Equal(t, []string{"mine"}, column(t, to, "SELECT note FROM apps WHERE id = 'a1'"))
					sessions = []string{"1", "2"}
				}
				require.Equal(t, sessions, column(t, to, "SELECT id FROM sessions ORDER BY id"), "those of records that stay are not gone")
				require.Equal(t, sessions, column(t, to, "SELECT id FROM clicks ORDER BY id"))
				require.Equal(t, []string{""}, column(t, to, "SELECT coalesce(server, '') FROM watches"))
			})
		}
	}
}

func TestMariaDBDanglingReferencesAreRefusedAndNamed(t *testing.T) {
	db, _ := newMariaDB(t, `CREATE TABLE servers (id varchar(9) PRIMARY KEY, parent varchar(9) REFERENCES servers (id), name varchar(9) UNIQUE); CREATE TABLE apps (id varchar(9) PRIMARY KEY, server varchar(9) NOT NULL REFERENCES servers (id));
		CREATE TABLE host_only (app varchar(9) REFERENCES apps (id)); CREATE TABLE by_name (name varchar(9), FOREIGN KEY (name) REFERENCES servers (name) ON DELETE CASCADE ON UPDATE CASCADE);
		CREATE TABLE composite (id int PRIMARY KEY, a int, b int, UNIQUE (a, b)); CREATE TABLE refers (id int PRIMARY KEY, x int, y int, FOREIGN KEY (x, y) REFERENCES composite (a, b));
		INSERT INTO servers VALUES ('s1', NULL, 'one'), ('s2', 's1', 'two'), ('s4', NULL, 'x'), ('s5', 'gone', 'y'); INSERT INTO apps VALUES ('a1', 's1'), ('a2', 's2'); INSERT INTO host_only VALUES ('a1'); INSERT INTO by_name VALUES ('one')`)
	s := my(db, sqlstore.Table{Collection: "servers"}, sqlstore.Table{Collection: "apps"}, sqlstore.Table{Collection: "composite"}, sqlstore.Table{Collection: "refers"})
	err := put(s, "apps", record("a3", `{"id":"a3","server":"nowhere"}`), record("a4", `{"id":"a4","server":"s1"}`))
	require.ErrorIs(t, err, backup.ErrDangling)
	require.ErrorContains(t, err, `table "apps": "a3" refers by server to nothing in "servers"`)
	require.NotContains(t, err.Error(), "a4")
	require.NotContains(t, err.Error(), "s5", "it was dangling before")
	require.ErrorIs(t, put(s, "servers", record("s5", `{"id":"s5","parent":"elsewhere"}`)), backup.ErrDangling)
	err = s.Update(t.Context(), func(w backup.Writer) error { return w.Delete(t.Context(), "servers", []string{"s1", "s2"}) })
	require.ErrorIs(t, err, backup.ErrDangling)
	err = s.Update(t.Context(), func(w backup.Writer) error { return w.Delete(t.Context(), "apps", []string{"a1"}) })
	require.ErrorIs(t, err, backup.ErrDangling)
	require.ErrorContains(t, err, `host_only`)
	err = put(s, "servers", record("s1", `{"id":"s1","parent":null,"name":"other"}`))
	require.ErrorContains(t, err, `table "by_name": "a row" refers by name`, "ON UPDATE is not carried out, nor taken for ON DELETE")
	require.Equal(t, []string{"one"}, column(t, db, "SELECT name FROM by_name"))
	require.NoError(t, put(s, "refers", record("1", `{"id":1,"x":7,"y":null}`)), "NULL in one column is enough")
	require.ErrorIs(t, put(s, "refers", record("2", `{"id":2,"x":7,"y":8}`)), backup.ErrDangling)
	require.NoError(t, s.Update(t.Context(), func(w backup.Writer) error {
		require.NoError(t, put1(t, w, "refers", record("2", `{"id":2,"x":7,"y":8}`)))
		return put1(t, w, "composite", record("5", `{"id":5,"a":7,"b":8}`))
	}))
	require.Equal(t, []string{"a1", "a2", "s1", "s2", "s4", "s5"}, column(t, db, "SELECT id FROM servers UNION SELECT id FROM apps ORDER BY 1"))
}

func TestMariaDBPartitions(t *testing.T) {
	db, _ := newMariaDB(t, `CREATE TABLE p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id) (PARTITION p1 VALUES LESS THAN (10), PARTITION p2 VALUES LESS THAN (20)); INSERT INTO p VALUES (1, 'a'), (11, 'b')`)
	s := my(db, sqlstore.Table{Collection: "p"})
	require.NoError(t, put(s, "p", record("2", `{"id":2,"v":"c"}`), record("12", `{"id":12,"v":"d"}`), record("11", `{"id":11,"v":"e"}`)))
	require.Equal(t, []string{`1 {"id":1,"v":"a"}`, `2 {"id":2,"v":"c"}`, `11 {"id":11,"v":"e"}`, `12 {"id":12,"v":"d"}`}, dump(t, s, "p"))
	require.ErrorContains(t, put(s, "p", record("30", `{"id":30}`)), `p "30": `)
	require.NoError(t, s.Update(t.Context(), func(w backup.Writer) error { return w.Delete(t.Context(), "p", []string{"1", "12"}) }))
	require.Len(t, dump(t, s, "p"), 2)
}
