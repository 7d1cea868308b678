package integration

import (
	"fmt"
	"testing"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/sqlstore"
)

func TestSQLiteKeepsTheRulesOfAStore(t *testing.T) {
	const schema = `CREATE TABLE servers (id TEXT PRIMARY KEY, name TEXT NOT NULL, port INTEGER, labels JSON, note TEXT, parent TEXT REFERENCES servers);
		CREATE TABLE apps (id INTEGER PRIMARY KEY, server TEXT NOT NULL REFERENCES servers(id), enabled BOOLEAN, weight REAL, icon BLOB);
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
					sqlstore.Table{Collection: "servers", Columns: []sqlstore.Column{{Name: "note", OmitNull: true}}},
					sqlstore.Table{Collection: "apps"},
					sqlstore.Table{Collection: "settings", Value: "value"})
			}, backuptest.Fixture{
				Collections: []string{"servers", "apps", "settings"},
				Blocking:    fixture.blocking,
				App: &backup.App{
					Name: "conformance", Version: "1.0.0", SchemaVersion: 1,
					Collections: []backup.Collection{
						{Name: "servers", Key: "/id", Refs: []backup.Ref{{Pointer: "/parent", Collection: "servers"}}, Secrets: []string{"/note", "/labels/n/*"}},
						{Name: "apps", Key: "/id", Refs: []backup.Ref{{Pointer: "/server", Collection: "servers"}}},
						{Name: "settings", Shape: backup.Map, Secrets: []string{"/*/token"}},
					},
				},
				Record: func(collection string, number, revision int) backup.Record {
					switch {
					case collection == "settings":
						return record(fmt.Sprint("s", number), fmt.Sprintf(`{"n":%d,"revision":[%d,1.50],"token":"made-up-%d"}`, number, revision, number))
					case collection == "apps":
						return record(fmt.Sprint(number), fmt.Sprintf(`{"id":%d,"server":%q,"enabled":%t,"weight":%d.25,"icon":"AP8Q"}`, number, id(number), revision == 0, number))
					case revision == 0:
						return record(id(number), fmt.Sprintf(`{"id":%q,"name":"nas","port":9007199254740993,"labels":{"n":[%d.0,null]},"note":"a \"note\"","parent":null}`, id(number), number))
					default:
						return record(id(number), fmt.Sprintf(`{"id":%q,"name":"pi","port":null,"parent":null}`, id(number)))
					}
				},
				WithKey: func(collection, key string) backup.Record {
					switch collection {
					case "settings":
						return record(key, `{"a":1}`)
					case "servers":
						return record(key, fmt.Sprintf(`{"id":%s,"name":"n","port":1,"parent":null}`, quoted(key)))
					}
					return backup.Record{}
				},
			})
		})
	}
}
