//go:build !race

package integration

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/sqlstore"
)

// member returns a record that is identified by two columns, the second of which is
// the first in the table.
func member(usr, grp, server, pin string) backup.Record {
	return record(codec.JoinKey([]string{usr, grp}), fmt.Sprintf(`{"grp":%s,"usr":%s,"server":%s,"pin":%s}`, codec.Quote(grp), codec.Quote(usr), server, pin))
}

func TestSQLiteKeepsTheRulesOfAStore(t *testing.T) {
	const schema = `CREATE TABLE servers (id TEXT PRIMARY KEY, name TEXT NOT NULL, port INTEGER, labels JSON, note TEXT, parent TEXT REFERENCES servers, place INTEGER UNIQUE);
		CREATE TABLE apps (id INTEGER PRIMARY KEY, server TEXT NOT NULL REFERENCES servers(id), enabled BOOLEAN, weight REAL, icon BLOB, slot INTEGER, UNIQUE (enabled, slot));
		CREATE TABLE members (grp TEXT NOT NULL, usr TEXT NOT NULL, server TEXT REFERENCES servers, pin TEXT, PRIMARY KEY (usr, grp));
		CREATE INDEX by_parent ON servers(parent);
		CREATE INDEX by_server ON apps(server);
		CREATE TABLE settings (name TEXT PRIMARY KEY, value JSON NOT NULL) WITHOUT ROWID`
	id := func(number int) string { return fmt.Sprintf("srv-%d", number) }
	for mode, fixture := range map[string]struct {
		pragmas  string
		blocking bool
	}{
		"WAL":              {"&_pragma=busy_timeout(10000)", false},
		"foreign keys on":  {"&_pragma=busy_timeout(10000)&_pragma=foreign_keys(1)", false},
		"rollback journal": {"&_pragma=busy_timeout(10000)&_pragma=journal_mode(DELETE)", true},
	} {
		t.Run(mode, func(t *testing.T) {
			backuptest.TestStore(t, func(t *testing.T) backuptest.Store {
				return store(openFile(t, t.TempDir()+"/test.db", fixture.pragmas, schema),
					sqlstore.Table{Collection: "servers", Columns: []sqlstore.Column{{Name: "note", OmitNull: true}, {Name: "place", OmitNull: true}}},
					sqlstore.Table{Collection: "apps", Columns: []sqlstore.Column{{Name: "slot", OmitNull: true}}},
					sqlstore.Table{Collection: "members"},
					sqlstore.Table{Collection: "settings", Value: "value"})
			}, backuptest.Fixture{
				Collections: []string{"servers", "apps", "members", "settings"},
				Blocking:    fixture.blocking,
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
