//go:build !race

package integration

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/sqlstore"
)

func TestPostgresKeepsTheRulesOfAStore(t *testing.T) {
	for name, deferrable := range map[string]string{"rules at the commit": " DEFERRABLE", "rules at each step": ""} {
		t.Run(name, func(t *testing.T) {
			schema := fmt.Sprintf(`CREATE TABLE servers (id text PRIMARY KEY, name text NOT NULL, port bigint, labels json, note text, parent text REFERENCES servers%[1]s, place int UNIQUE%[1]s);
				CREATE TABLE apps (id serial PRIMARY KEY, server text NOT NULL REFERENCES servers(id)%[1]s, enabled boolean, weight numeric(10,2), icon bytea, slot int, UNIQUE (enabled, slot)%[1]s);
				CREATE TABLE members (grp text, usr text COLLATE "en-x-icu", server text REFERENCES servers%[1]s, pin text, PRIMARY KEY (usr, grp));
				CREATE TABLE settings (name varchar(50) PRIMARY KEY, value jsonb NOT NULL)`, deferrable)
			id := func(number int) string { return fmt.Sprintf("srv-%d", number) }
			backuptest.TestStore(t, func(t *testing.T) backuptest.Store {
				db, _ := newPostgres(t, schema)
				return pg(db,
					sqlstore.Table{Collection: "servers", Columns: []sqlstore.Column{{Name: "note", OmitNull: true}, {Name: "place", OmitNull: true}}},
					sqlstore.Table{Collection: "apps", Name: "public.apps", Columns: []sqlstore.Column{{Name: "slot", OmitNull: true}}},
					sqlstore.Table{Collection: "members"},
					sqlstore.Table{Collection: "settings", Value: "value"})
			}, backuptest.Fixture{
				Collections: []string{"servers", "apps", "members", "settings"},
				App: &backup.App{
					Name: "conformance", Version: "1.0.0", SchemaVersion: 1,
					Collections: []backup.Collection{
						{Name: "servers", Key: "/id", Refs: []backup.Ref{{Pointer: "/parent", Collection: "servers"}}, Secrets: []string{"/note", "/labels/n/*"}},
						{Name: "apps", Key: "/id", Refs: []backup.Ref{{Pointer: "/server", Collection: "servers"}}},
						{Name: "members", Key: "/usr,/grp", Refs: []backup.Ref{{Pointer: "/server", Collection: "servers"}}, Secrets: []string{"/pin"}},
						{Name: "settings", Shape: backup.Map, Secrets: []string{"/*/token"}},
					},
				},
				Record: func(collection string, number, revision int) backup.Record {
					switch {
					case collection == "settings":
						return record(fmt.Sprint("s", number), fmt.Sprintf(`{"n":%d,"revision":[%d,1.50],"token":"made-up-%d"}`, number, revision, number))
					case collection == "members": // each shares a part of its key with others
						return member(strconv.Itoa(number/10), strconv.Itoa(number%10), quoted(id(number)), fmt.Sprintf(`"made-up-%d-%d"`, number, revision))
					case collection == "apps":
						return record(fmt.Sprint(number), fmt.Sprintf(`{"id":%d,"server":%q,"enabled":%t,"weight":%d.25,"icon":"AP8Q"}`, number, id(number), revision == 0, number))
					case revision == 0:
						return record(id(number), fmt.Sprintf(`{"id":%q,"name":"nas","port":9007199254740993,"labels":{"n":[%d.0,null]},"note":"a \"note\"","parent":null}`, id(number), number))
					default:
						return record(id(number), fmt.Sprintf(`{"id":%q,"name":"pi","port":null,"parent":null}`, id(number)))
					}
				},
				WithUnique: unique,
				Dangling:   dangling,
				WithKey: func(collection, key string) backup.Record {
					switch collection {
					case "settings":
						return record(key, `{"a":1}`)
					case "servers":
						return record(key, fmt.Sprintf(`{"id":%s,"name":"n","port":1,"parent":null}`, quoted(key)))
					}
					return backup.Record{}
				},
				WithParts: func(collection, first, second string) backup.Record {
					if collection != "members" {
						return backup.Record{}
					}
					return member(first, second, "null", "null")
				},
			})
		})
	}
}
