//go:build !race

package integration

import (
	"fmt"
	"testing"

	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/internal/integration/rules"
	"github.com/tomo-project/backup/sqlstore"
)

func TestMariaDBKeepsTheRulesOfAStore(t *testing.T) {
	for name, typ := range map[string]string{"text": "varchar(200) COLLATE utf8mb4_nopad_bin", "bytes": "varbinary(200)"} {
		t.Run(name, func(t *testing.T) {
			schema := fmt.Sprintf(`CREATE TABLE servers (id %[1]s PRIMARY KEY, name text NOT NULL, port bigint, labels json, note text, parent %[1]s REFERENCES servers (id), place int UNIQUE);
				CREATE TABLE apps (id int AUTO_INCREMENT PRIMARY KEY, server %[1]s NOT NULL REFERENCES servers (id), enabled boolean, weight decimal(10,2), icon blob, slot int, UNIQUE (enabled, slot));
				CREATE TABLE members (grp %[1]s, usr %[1]s, server %[1]s REFERENCES servers (id), pin text, PRIMARY KEY (usr, grp));
				CREATE TABLE settings (name %[1]s PRIMARY KEY, value json NOT NULL)`, typ)
			backuptest.TestStore(t, func(t *testing.T) backuptest.Store {
				db, _ := newMariaDB(t, schema)
				return my(db,
					sqlstore.Table{Collection: "servers", Columns: []sqlstore.Column{{Name: "note", OmitNull: true}, {Name: "place", OmitNull: true}, {Name: "parent", Kind: sqlstore.Text}}},
					sqlstore.Table{Collection: "apps", Columns: []sqlstore.Column{{Name: "server", Kind: sqlstore.Text}, {Name: "slot", OmitNull: true}}},
					sqlstore.Table{Collection: "members", Columns: []sqlstore.Column{{Name: "server", Kind: sqlstore.Text}}},
					sqlstore.Table{Collection: "settings", Value: "value"})
			}, rules.Fixture())
		})
	}
}
