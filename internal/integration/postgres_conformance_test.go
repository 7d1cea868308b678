//go:build !race

package integration

import (
	"database/sql"
	"fmt"
	"testing"

	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/internal/integration/rules"
	"github.com/tomo-project/backup/sqlstore"
)

func TestPostgresKeepsTheRulesOfAStore(t *testing.T) {
	for name, deferrable := range map[string]string{"rules at the commit": " DEFERRABLE", "rules at each step": ""} {
		t.Run(name, func(t *testing.T) {
			postgresRules(t, deferrable, func(t *testing.T, schema string) *sql.DB {
				db, _ := newPostgres(t, schema)
				return db
			})
		})
	}
}

// postgresRules runs the conformance suite on databases that open makes.
func postgresRules(t *testing.T, deferrable string, open func(t *testing.T, schema string) *sql.DB) {
	schema := fmt.Sprintf(`CREATE TABLE servers (id text PRIMARY KEY, name text NOT NULL, port bigint, labels json, note text, parent text REFERENCES servers%[1]s, place int UNIQUE%[1]s);
		CREATE TABLE apps (id serial PRIMARY KEY, server text NOT NULL REFERENCES servers(id)%[1]s, enabled boolean, weight numeric(10,2), icon bytea, slot int, UNIQUE (enabled, slot)%[1]s);
		CREATE TABLE members (grp text, usr text COLLATE "en-x-icu", server text REFERENCES servers%[1]s, pin text, PRIMARY KEY (usr, grp));
		CREATE TABLE settings (name varchar(50) PRIMARY KEY, value jsonb NOT NULL)`, deferrable)
	backuptest.TestStore(t, func(t *testing.T) backuptest.Store {
		return pg(open(t, schema),
			sqlstore.Table{Collection: "servers", Columns: []sqlstore.Column{{Name: "note", OmitNull: true}, {Name: "place", OmitNull: true}}},
			sqlstore.Table{Collection: "apps", Name: "public.apps", Columns: []sqlstore.Column{{Name: "slot", OmitNull: true}}},
			sqlstore.Table{Collection: "members"},
			sqlstore.Table{Collection: "settings", Value: "value"})
	}, rules.Fixture())
}
