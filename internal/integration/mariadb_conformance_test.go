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

func TestMariaDBKeepsTheRulesOfAStore(t *testing.T) {
	for name, typ := range map[string]string{"text": "varchar(200) COLLATE utf8mb4_nopad_bin", "bytes": "varbinary(200)"} {
		t.Run(name, func(t *testing.T) {
			schema := fmt.Sprintf(`CREATE TABLE servers (id %[1]s PRIMARY KEY, name text NOT NULL, port bigint, labels json, note text, parent %[1]s REFERENCES servers (id), place int UNIQUE);
				CREATE TABLE apps (id int AUTO_INCREMENT PRIMARY KEY, server %[1]s NOT NULL REFERENCES servers (id), enabled boolean, weight decimal(10,2), icon blob, slot int, UNIQUE (enabled, slot));
				CREATE TABLE members (grp %[1]s, usr %[1]s, server %[1]s REFERENCES servers (id), pin text, PRIMARY KEY (usr, grp));
				CREATE TABLE settings (name %[1]s PRIMARY KEY, value json NOT NULL)`, typ)
			id := func(number int) string { return fmt.Sprintf("srv-%d", number) }
			backuptest.TestStore(t, func(t *testing.T) backuptest.Store {
				db, _ := newMariaDB(t, schema)
				return my(db,
					sqlstore.Table{Collection: "servers", Columns: []sqlstore.Column{{Name: "note", OmitNull: true}, {Name: "place", OmitNull: true}, {Name: "parent", Kind: sqlstore.Text}}},
					sqlstore.Table{Collection: "apps", Columns: []sqlstore.Column{{Name: "server", Kind: sqlstore.Text}, {Name: "slot", OmitNull: true}}},
					sqlstore.Table{Collection: "members", Columns: []sqlstore.Column{{Name: "server", Kind: sqlstore.Text}}},
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
