//go:build !race

package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/sqlstore"
)

func TestTablesThatJoinOthersAreRestored(t *testing.T) {
	app := &backup.App{Name: "join", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{
		{Name: "badges", Key: "/id", Refs: []backup.Ref{{Pointer: "/group,/user", Collection: "members"}}},
		{Name: "members", Key: "/group,/user", Refs: []backup.Ref{{Pointer: "/user", Collection: "users"}, {Pointer: "/group", Collection: "teams"}}},
		{Name: "users", Key: "/id"}, {Name: "teams", Key: "/id"},
	}}
	tables := []sqlstore.Table{{Collection: "badges"}, {Collection: "members", Key: "group,user", Exclude: []string{"id", "seen"}}, {Collection: "users"}, {Collection: "teams"}}
	inEach(t, func(t *testing.T, d database) {
		number := map[string]string{"SQLite": "INTEGER PRIMARY KEY", "PostgreSQL": "SERIAL PRIMARY KEY", "MariaDB": "INT AUTO_INCREMENT PRIMARY KEY"}[d.name]
		schema := `CREATE TABLE users (id INT PRIMARY KEY, name TEXT); CREATE TABLE teams (id TEXT PRIMARY KEY);
			CREATE TABLE members (id ` + number + `, "user" INT NOT NULL, "group" TEXT NOT NULL, role TEXT, seen TEXT, UNIQUE ("user", "group"), FOREIGN KEY ("user") REFERENCES users (id), FOREIGN KEY ("group") REFERENCES teams (id));
			CREATE TABLE badges (id INT PRIMARY KEY, "user" INT, "group" TEXT, FOREIGN KEY ("user", "group") REFERENCES members ("user", "group"))`
		both := []string{`["a","2"] {"user":2,"group":"a","role":"new"}`, `["b","1"] {"user":1,"group":"b","role":null}`}
		mine := `["c","3"] {"user":3,"group":"c","role":"mine"}`
		for strategy, want := range map[backup.Strategy][]string{
			backup.SkipDuplicates: {`["a","1"] {"user":1,"group":"a","role":"old"}`, both[0], both[1], mine},
			backup.Merge:          {`["a","1"] {"user":1,"group":"a","role":"new"}`, both[0], both[1], mine},
			backup.Replace:        {`["a","1"] {"user":1,"group":"a","role":"new"}`, both[0], both[1]},
		} {
			from, to := d.new(t, schema, tables...), d.new(t, schema, tables...)
			exec(t, from.DB, d.sql(`INSERT INTO users VALUES (1, 'ann'), (2, 'bob'); INSERT INTO teams VALUES ('a'), ('b'); INSERT INTO members ("user", "group", role) VALUES (1, 'a', 'new'), (1, 'b', NULL), (2, 'a', 'new'); INSERT INTO badges VALUES (1, 2, 'a'), (2, NULL, 'x')`))
			exec(t, to.DB, d.sql(`INSERT INTO users VALUES (1, 'ann'), (3, 'cat'); INSERT INTO teams VALUES ('a'), ('c'); INSERT INTO members ("user", "group", role, seen) VALUES (1, 'a', 'old', 'today'), (3, 'c', 'mine', 'today'); INSERT INTO badges VALUES (7, 3, 'c')`))
			for range 2 {
				require.NoError(t, restorePostgres(t, app, from, to, backup.RestoreOptions{Strategy: strategy}))
				require.Equal(t, want, dump(t, to, "members"), strategy)
			}
			require.Equal(t, []string{"today"}, column(t, to.DB, d.sql(`SELECT seen FROM members WHERE "user" = 1 AND "group" = 'a'`)), "what the host has of it stays")
		}
	})
}

// circular returns the schema of tables with keys of two columns that refer to each
// other.
func (d database) circular(action string) string {
	var create, alter strings.Builder
	for _, table := range []struct{ name, columns, reference string }{
		{"nodes", "tenant INT, id TEXT NOT NULL, parent TEXT, name TEXT NOT NULL, PRIMARY KEY (tenant, id)", "FOREIGN KEY (tenant, parent) REFERENCES nodes (tenant, id)" + action},
		{"teams", "tenant INT, id TEXT NOT NULL, owner TEXT NOT NULL, PRIMARY KEY (tenant, id)", "FOREIGN KEY (tenant, owner) REFERENCES users (tenant, id)"},
		{"users", "id TEXT NOT NULL, tenant INT, team TEXT, PRIMARY KEY (tenant, id)", "FOREIGN KEY (tenant, team) REFERENCES teams (tenant, id)" + action},
	} {
		if d.name == "PostgreSQL" {
			fmt.Fprintf(&create, "CREATE TABLE %s (%s);", table.name, table.columns)
			fmt.Fprintf(&alter, "ALTER TABLE %s ADD %s;", table.name, table.reference)
		} else {
			fmt.Fprintf(&create, "CREATE TABLE %s (%s, %s);", table.name, table.columns, table.reference)
		}
	}
	return strings.TrimSuffix(create.String()+alter.String(), ";")
}

// TestReferencesOfSeveralColumnsGoInAndOutInAnyOrder: nothing tells the library
// what refers to what, and all of it goes round in circles.
func TestReferencesOfSeveralColumnsGoInAndOutInAnyOrder(t *testing.T) {
	app := plain("users", "teams", "nodes")
	for i := range app.Collections {
		app.Collections[i].Key = "/tenant,/id"
	}
	tables := []sqlstore.Table{{Collection: "teams"}, {Collection: "nodes"}, {Collection: "users"}}
	node := func(tenant int, id, parent string) backup.Record {
		return record(joined(fmt.Sprint(tenant), id), fmt.Sprintf(`{"tenant":%d,"id":%q,"parent":%s,"name":"n"}`, tenant, id, parent))
	}
	pair := func(tenant int, name string) (user, team backup.Record) {
		return record(joined(fmt.Sprint(tenant), "u"+name), fmt.Sprintf(`{"id":"u%s","tenant":%d,"team":"t%s"}`, name, tenant, name)),
			record(joined(fmt.Sprint(tenant), "t"+name), fmt.Sprintf(`{"tenant":%d,"id":"t%s","owner":"u%s"}`, tenant, name, name))
	}
	fill := func(t *testing.T, s sqlstore.Store, nodes []backup.Record, pairs ...string) {
		require.NoError(t, s.Update(t.Context(), func(w backup.Writer) error {
			var users, teams []backup.Record
			for _, name := range pairs {
				for tenant := range 2 {
					user, team := pair(tenant, name)
					users, teams = append(users, user), append(teams, team)
				}
			}
			require.NoError(t, w.Put(t.Context(), "users", users))
			require.NoError(t, w.Put(t.Context(), "teams", teams))
			return w.Put(t.Context(), "nodes", nodes)
		}))
	}
	var tree, ring []backup.Record
	for tenant := range 2 {
		for i := range 200 {
			parent := fmt.Sprintf(`"%03d"`, 199-i/2) // which comes later, and from far away
			if i >= 120 {
				parent = "null"
			}
			tree = append(tree, node(tenant, fmt.Sprintf("%03d", i), parent))
		}
		tree = append(tree, node(tenant, "self", `"self"`))
		for i := range 50 {
			ring = append(ring, node(tenant, fmt.Sprintf("r%02d", i), fmt.Sprintf(`"r%02d"`, (i+49)%50)))
		}
		ring = append(ring, node(tenant, "001", `"r07"`), node(tenant, "me", `"me"`))
	}
	inEach(t, func(t *testing.T, d database) {
		actions := map[string]string{"no action": "", "cascade": " ON DELETE CASCADE"}
		if d.name == "PostgreSQL" {
			actions["deferrable"] = " DEFERRABLE"
		}
		for name, action := range actions {
			t.Run(name, func(t *testing.T) {
				from, to := d.new(t, d.circular(action), tables...), d.new(t, d.circular(action), tables...)
				fill(t, from, tree, "1", "2", "3")
				fill(t, to, ring, "1", "8", "9")
				require.NoError(t, restorePostgres(t, app, from, to, backup.RestoreOptions{Strategy: backup.Replace}))
				for _, c := range []string{"nodes", "users", "teams"} {
					require.Equal(t, dump(t, from, c), dump(t, to, c))
				}
				require.Len(t, dump(t, to, "nodes"), len(tree))
				require.NoError(t, put(from, "users", record(joined("0", "u1"), `{"id":"u1","tenant":0,"team":null}`)))
				require.NoError(t, restorePostgres(t, app, from, to, backup.RestoreOptions{Strategy: backup.Merge}))
				require.Contains(t, dump(t, to, "users"), `["0","u1"] {"id":"u1","tenant":0,"team":null}`)
				// And all of it away again.
				require.NoError(t, restorePostgres(t, app, d.new(t, d.circular(action), tables...), to, backup.RestoreOptions{Strategy: backup.Replace}))
				for _, c := range []string{"nodes", "users", "teams"} {
					require.Empty(t, dump(t, to, c))
				}
			})
		}
	})
}

func TestDanglingReferencesOfSeveralColumnsAreRefusedAndNamed(t *testing.T) {
	refused := func(t *testing.T, d database, deferrable string) {
		s := d.new(t, `CREATE TABLE users (id INT PRIMARY KEY);
			CREATE TABLE members ("user" INT, "group" TEXT NOT NULL, buddy TEXT, PRIMARY KEY ("user", "group"), FOREIGN KEY ("user") REFERENCES users (id)`+deferrable+`, FOREIGN KEY ("user", buddy) REFERENCES members ("user", "group")`+deferrable+`);
			CREATE TABLE host_only (id INT PRIMARY KEY, "user" INT, "group" TEXT, FOREIGN KEY ("user", "group") REFERENCES members ("user", "group")`+deferrable+`);
			INSERT INTO users VALUES (1), (2); INSERT INTO members VALUES (1, 'a', NULL), (1, 'b', 'a'), (2, 'a', NULL), (2, 'c', NULL); INSERT INTO host_only VALUES (1, 2, 'a'), (2, 1, NULL)`,
			sqlstore.Table{Collection: "users"}, sqlstore.Table{Collection: "members"})
		before := dump(t, s, "members")
		ctx := t.Context()
		err := put(s, "members", record(joined("1", "x"), `{"user":1,"group":"x","buddy":null}`), record(joined("9", "a"), `{"user":9,"group":"a","buddy":null}`))
		require.ErrorIs(t, err, backup.ErrDangling)
		require.ErrorContains(t, err, `"[\"9\",\"a\"]"`)
		require.NotContains(t, err.Error(), `\"x\"`)
		err = put(s, "members", record(joined("2", "x"), `{"user":2,"group":"x","buddy":"b"}`))
		require.ErrorIs(t, err, backup.ErrDangling, "only another user has such a group")
		require.ErrorContains(t, err, `"[\"2\",\"x\"]"`)
		err = s.Update(ctx, func(w backup.Writer) error { return w.Delete(ctx, "members", []string{joined("1", "a")}) })
		require.ErrorIs(t, err, backup.ErrDangling)
		require.ErrorIs(t, err, backup.ErrRolledBack, "the database has answered")
		switch {
		case d.name != "PostgreSQL":
			require.ErrorContains(t, err, `table "members": "[\"1\",\"b\"]" refers by user, buddy to nothing in "members"`)
		case deferrable != "":
			require.ErrorContains(t, err, `table "members": "[\"1\",\"b\"]" refers by user, buddy to nothing in "members"`)
		default:
			require.ErrorContains(t, err, `rows that stay refer to rows that are deleted, table "members": "[\"1\",\"a\"]" (from "members")`)
		}
		err = s.Update(ctx, func(w backup.Writer) error {
			return w.Delete(ctx, "members", []string{joined("2", "a"), joined("2", "c")})
		})
		require.ErrorIs(t, err, backup.ErrDangling)
		require.ErrorContains(t, err, "host_only")
		require.Equal(t, before, dump(t, s, "members"))
		require.NoError(t, s.Update(ctx, func(w backup.Writer) error {
			return w.Delete(ctx, "members", []string{joined("1", "a"), joined("1", "b")})
		}))
		require.Len(t, dump(t, s, "members"), 2)
	}
	inEach(t, func(t *testing.T, d database) {
		refused(t, d, "")
		if d.name == "PostgreSQL" {
			refused(t, d, " DEFERRABLE")
		}
	})
}

// TestRowsOfTheHostThatReferToKeysOfSeveralColumns are in tables that are not
// declared: what their foreign keys say is done, if a record is what is gone.
func TestRowsOfTheHostThatReferToKeysOfSeveralColumns(t *testing.T) {
	for name, c := range map[string]struct {
		reference string
		want      []string // what is left of 'g1 7', 'g2 7', 'g1 8'; nil if it is an error
	}{
		"cascade":         {"FOREIGN KEY (u, g) REFERENCES members (u, g) ON DELETE CASCADE", []string{"g1 8", "g2 7"}},
		"set null":        {"FOREIGN KEY (u, g) REFERENCES members (u, g) ON DELETE SET NULL", []string{"", "g1 8", "g2 7"}},
		"no action":       {"FOREIGN KEY (u, g) REFERENCES members (u, g)", nil},
		"another order":   {"FOREIGN KEY (g, u) REFERENCES members (g, u) ON DELETE CASCADE", []string{"g1 8", "g2 7"}},
		"a column beside": {"FOREIGN KEY (u, n) REFERENCES members (u, n) ON DELETE CASCADE", []string{"g1 8", "g2 7"}},
	} {
		t.Run(name, func(t *testing.T) {
			inEach(t, func(t *testing.T, d database) {
				s := d.new(t, `CREATE TABLE members (u INT, g TEXT NOT NULL, n INT, PRIMARY KEY (u, g), UNIQUE (g, u), UNIQUE (u, n));
					CREATE TABLE h (id INT PRIMARY KEY, u INT, g TEXT, n INT, `+c.reference+`);
					INSERT INTO members VALUES (7, 'g1', 1), (7, 'g2', 2), (8, 'g1', 1); INSERT INTO h VALUES (1, 7, 'g1', 1), (2, 7, 'g2', 2), (3, 8, 'g1', 1)`, sqlstore.Table{Collection: "members"})
				err := s.Update(t.Context(), func(w backup.Writer) error { return w.Delete(t.Context(), "members", []string{joined("7", "g1")}) })
				want := c.want
				if name == "a column beside" && d.name != "PostgreSQL" {
					want = nil // the record could have been changed only
				}
				if want == nil {
					require.ErrorIs(t, err, backup.ErrDangling)
					require.Len(t, dump(t, s, "members"), 3)
					return
				}
				require.NoError(t, err)
				require.Equal(t, want, column(t, s.DB, "SELECT concat_ws(' ', g, u) FROM h ORDER BY 1"), "of those that have a part of the key nothing is lost")
			})
		})
	}
}

// TestReferencesToAPartOfAKey: MariaDB takes one to a column that is not unique.
func TestReferencesToAPartOfAKey(t *testing.T) {
	inEach(t, func(t *testing.T, d database) {
		unique := ", UNIQUE (u)"
		if d.name == "MariaDB" {
			unique = ""
		}
		s := d.new(t, `CREATE TABLE members (u INT, g TEXT NOT NULL, PRIMARY KEY (u, g)`+unique+`); CREATE TABLE pets (id INT PRIMARY KEY, u INT, FOREIGN KEY (u) REFERENCES members (u));
			CREATE TABLE h (id INT PRIMARY KEY, u INT, FOREIGN KEY (u) REFERENCES members (u) ON DELETE CASCADE);
			INSERT INTO members VALUES (7, 'a'), (8, 'a'), (9, 'a'); INSERT INTO pets VALUES (1, 8); INSERT INTO h VALUES (1, 7), (2, 9)`, sqlstore.Table{Collection: "members"}, sqlstore.Table{Collection: "pets"})
		ctx := t.Context()
		require.ErrorIs(t, s.Update(ctx, func(w backup.Writer) error { return w.Delete(ctx, "members", []string{joined("8", "a")}) }), backup.ErrDangling)
		// Another takes its place, and the row of the host goes with its own.
		require.NoError(t, s.Update(ctx, func(w backup.Writer) error {
			require.NoError(t, w.Delete(ctx, "members", []string{joined("7", "a")}))
			if d.name == "MariaDB" {
				require.NoError(t, w.Delete(ctx, "members", []string{joined("8", "a")}))
				require.NoError(t, put1(t, w, "members", record(joined("8", "b"), `{"u":8,"g":"b"}`)))
			}
			return put1(t, w, "pets", record("2", `{"id":2,"u":9}`))
		}))
		require.Equal(t, []string{"9"}, column(t, s.DB, "SELECT u FROM h"))
		require.Len(t, dump(t, s, "members"), 2)
	})
}

func TestPostgresARowWaitsForWhatAPartOfItsKeyRefersTo(t *testing.T) {
	db, _ := newPostgres(t, `CREATE TABLE users (id int PRIMARY KEY); CREATE TABLE members (u int REFERENCES users, g text, buddy int REFERENCES users, UNIQUE (u, g)); INSERT INTO users VALUES (1)`)
	s := pg(db, sqlstore.Table{Collection: "users"}, sqlstore.Table{Collection: "members", Key: "u,g"})
	ctx := t.Context()
	both := func(u, buddy string) error {
		return s.Update(ctx, func(w backup.Writer) error {
			if err := put1(t, w, "members", record(joined(u, "a"), fmt.Sprintf(`{"u":%s,"g":"a","buddy":%s}`, u, buddy))); err != nil {
				return err
			}
			return put1(t, w, "users", record("2", `{"id":2}`))
		})
	}
	require.NoError(t, both("1", "2"), "the buddy may come later")
	require.Equal(t, []string{`["1","a"] {"u":1,"g":"a","buddy":2}`}, dump(t, s, "members"))
	exec(t, db, "UPDATE members SET buddy = NULL; DELETE FROM users WHERE id = 2")
	require.NoError(t, both("2", "1"))
	require.Equal(t, []string{`["1","a"] {"u":1,"g":"a","buddy":null}`, `["2","a"] {"u":2,"g":"a","buddy":1}`}, dump(t, s, "members"))
	err := put(s, "members", record(joined("3", "a"), `{"u":3,"g":"a","buddy":null}`))
	require.ErrorIs(t, err, backup.ErrDangling)
	require.ErrorContains(t, err, `members "[\"3\",\"a\"]"`)
	require.Len(t, dump(t, s, "members"), 2)
}
