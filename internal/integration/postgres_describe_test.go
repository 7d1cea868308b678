//go:build !race

package integration

import (
	"bytes"
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/sqlstore"
)

func TestPostgresDescribesAnApplication(t *testing.T) {
	const schema = `CREATE TYPE role AS ENUM ('admin', 'it''s a "user"'); CREATE DOMAIN slug AS varchar(12); CREATE SCHEMA audit; CREATE SCHEMA elsewhere; CREATE EXTENSION hstore;
		CREATE TABLE users (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name varchar(40) NOT NULL, role role NOT NULL DEFAULT 'admin', other role, password text, invited_by bigint REFERENCES users, avatar bytea, active boolean NOT NULL,
			created_at timestamptz NOT NULL DEFAULT now(), birthday date);
		CREATE TABLE servers (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), owner int NOT NULL REFERENCES users ON DELETE CASCADE, name slug NOT NULL UNIQUE, load real, price numeric(8,2), labels jsonb NOT NULL, meta json,
			tags text[], ports int[] NOT NULL, flags boolean[], weights numeric[], ids uuid[], code char(3), uptime interval, net inet, seen timestamp,
			"group by" text GENERATED ALWAYS AS (name || '!') STORED);
		CREATE TABLE "Order" ("select" serial PRIMARY KEY, "server.id" uuid REFERENCES servers, by_name slug REFERENCES servers (name), "api key" text);
		CREATE TABLE audit.users (id smallint PRIMARY KEY, who bigint REFERENCES users (id));
		CREATE TABLE audit.lines (id smallint PRIMARY KEY, of smallint REFERENCES audit.users);
		CREATE TABLE readings (day date, id int PRIMARY KEY, value double precision NOT NULL) PARTITION BY RANGE (id);
		CREATE TABLE readings_1 PARTITION OF readings FOR VALUES FROM (0) TO (10);
		CREATE TABLE settings (name text PRIMARY KEY, value jsonb NOT NULL, updated_at timestamptz);
		CREATE TABLE elsewhere.other (id int); CREATE VIEW v AS SELECT 1; CREATE TEMP TABLE tmp (a int); CREATE MATERIALIZED VIEW mv AS SELECT 1`
	from, _ := newPostgres(t, schema)
	to, _ := newPostgres(t, schema)
	exec(t, from, `INSERT INTO users (name, invited_by, active, avatar, password) VALUES ('日本語', 2, true, '\x00', NULL), ('Bob', NULL, false, NULL, 'x'); UPDATE users SET other = 'it''s a "user"' WHERE id = 1;
		INSERT INTO servers (owner, name, labels, ports, tags, flags, weights, ids, code, price, load) VALUES (1, 'nas', 'null', '{{1,2},{3,NULL}}', '{a,NULL}', '{t,NULL}', '{1.50,NaN}', ARRAY[gen_random_uuid()], 'x', 1.5, 1e-30);
		INSERT INTO "Order" ("server.id", by_name) SELECT id, name FROM servers;
		INSERT INTO audit.users VALUES (1, 2); INSERT INTO audit.lines VALUES (1, 1); INSERT INTO readings VALUES ('infinity', 5, 0.1); INSERT INTO settings VALUES ('theme', '"dark"', now())`)
	s, app := describe(t, sqlstore.Store{DB: from, Dialect: sqlstore.PostgreSQL, Wire: wire(sqlstore.PostgreSQL), CoverAll: true, Tables: []sqlstore.Table{
		{Collection: "trail", Name: "audit.users"}, {Collection: "settings", Value: "value"},
	}})
	require.Equal(t, []string{
		"trail /id /who>users",
		"settings map */*",
		"order /select /server.id>servers */api key",
		"audit_lines /id /of>trail",
		"readings /id",
		"servers /id /owner>users",
		"users /id /invited_by>users */password",
	}, collections(app))
	require.Equal(t, []sqlstore.Table{
		{Collection: "trail", Name: "audit.users"}, {Collection: "settings", Value: "value"}, {Collection: "order", Name: "Order"},
		{Collection: "audit_lines", Name: "audit.lines"}, {Collection: "readings"}, {Collection: "servers"}, {Collection: "users"},
	}, s.Tables)
	require.Equal(t, `{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "title": "users",
  "type": "object",
  "required": ["id", "name", "active"],
  "additionalProperties": false,
  "properties": {
    "id": {"type": "integer"},
    "name": {"type": "string", "maxLength": 40},
    "role": {"type": "string", "enum": ["admin", "it's a \"user\""]},
    "other": {"type": ["string", "null"], "enum": ["admin", "it's a \"user\"", null]},
    "password": {"type": ["string", "null"]},
    "invited_by": {"type": ["integer", "null"]},
    "avatar": {"type": ["string", "null"], "contentEncoding": "base64"},
    "active": {"type": "boolean"},
    "created_at": {"type": "string"},
    "birthday": {"type": ["string", "null"]}
  }
}
`, schemaOf(t, app, "users"))
	require.Equal(t, `{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "title": "servers",
  "type": "object",
  "required": ["id", "owner", "name", "labels", "ports"],
  "additionalProperties": false,
  "properties": {
    "id": {"type": "string", "format": "uuid"},
    "owner": {"type": "integer"},
    "name": {"type": "string", "maxLength": 12},
    "load": {"type": ["number", "null"]},
    "price": {"type": ["number", "null"]},
    "labels": {},
    "meta": {},
    "tags": {"type": ["array", "null"], "items": {"type": ["string", "null", "array"]}},
    "ports": {"type": "array", "items": {"type": ["integer", "null", "array"]}},
    "flags": {"type": ["array", "null"], "items": {"type": ["boolean", "null", "array"]}},
    "weights": {"type": ["array", "null"], "items": {"type": ["number", "string", "null", "array"]}},
    "ids": {"type": ["array", "null"], "items": {"type": ["string", "null", "array"]}},
    "code": {"type": ["string", "null"], "maxLength": 3},
    "uptime": {"type": ["string", "null"]},
    "net": {"type": ["string", "null"]},
    "seen": {"type": ["string", "null"]}
  }
}
`, schemaOf(t, app, "servers"))
	onto := s
	onto.DB = to
	transfer(t, app, s, onto)
}

func TestPostgresDescribedSchemasAllowEveryValue(t *testing.T) {
	from, _ := newPostgres(t, pgValuesSchema())
	to, _ := newPostgres(t, pgValuesSchema())
	for i, v := range pgValues {
		exec(t, from, fmt.Sprintf("INSERT INTO things (id, c%d) VALUES (%d, %s)", i, i, v.sql))
	}
	s, app := describe(t, pg(from))
	transfer(t, app, s, pg(to, s.Tables...))
	// As text, too, where that is asked for.
	for i, v := range pgValues {
		if v.typ != "bytea" {
			s.Tables[0].Columns = append(s.Tables[0].Columns, sqlstore.Column{Name: fmt.Sprintf("c%d", i), Kind: sqlstore.Text})
		}
	}
	exec(t, to, "DELETE FROM things")
	s, app = describe(t, s)
	transfer(t, app, s, pg(to, s.Tables...))
}

// A table that the user of the backup must not read is one that the backup would
// not have.
func TestPostgresCoverAllSeesWhatItMustNotRead(t *testing.T) {
	db, u := newPostgres(t, `CREATE TABLE users (id int PRIMARY KEY); DROP ROLE IF EXISTS tomo_other; CREATE ROLE tomo_other LOGIN; GRANT SELECT ON users TO tomo_other`)
	t.Cleanup(func() { exec(t, db, "DROP OWNED BY tomo_other; DROP ROLE tomo_other") })
	reader, err := sql.Open("pgx", strings.Replace(u, "postgres@", "tomo_other@", 1))
	require.NoError(t, err)
	defer reader.Close()
	s, app := describe(t, pg(reader))
	exec(t, db, "CREATE TABLE later (id int PRIMARY KEY)")
	_, err = app.Backup(t.Context(), &bytes.Buffer{}, s, backup.BackupOptions{})
	require.ErrorContains(t, err, `would miss: "later": `)
}

func TestPostgresDescribeNamesAllColumnsOfNumbersThatJSONLacks(t *testing.T) {
	db, _ := newPostgres(t, `CREATE TABLE a (id int PRIMARY KEY, r real, d double precision, n numeric, fine real, told real); CREATE TABLE b (id int PRIMARY KEY, d double precision);
		INSERT INTO a VALUES (1, 'NaN', 1, 2, 3, 'NaN'), (2, 1, '-Infinity', 'NaN', NULL, 1); INSERT INTO b VALUES (1, 'Infinity')`)
	s := pg(db, sqlstore.Table{Collection: "a", Columns: []sqlstore.Column{{Name: "told", Kind: sqlstore.Text}}})
	_, _, err := s.Describe(t.Context())
	for _, column := range []string{`"a": column "r"`, `"a": column "d"`, `"a": column "n"`, `"b": column "d"`} {
		require.ErrorContains(t, err, "table "+column+": the column holds a number that JSON does not have (infinite, or not a number): take it for Text in Table.Columns")
	}
	require.NotContains(t, err.Error(), "fine")
	require.NotContains(t, err.Error(), "told")
	for _, name := range []string{"r", "d", "n"} {
		s.Tables[0].Columns = append(s.Tables[0].Columns, sqlstore.Column{Name: name, Kind: sqlstore.Text})
	}
	s.Tables = append(s.Tables, sqlstore.Table{Collection: "b", Columns: []sqlstore.Column{{Name: "d", Kind: sqlstore.Text}}})
	described, _ := describe(t, s)
	require.Contains(t, dump(t, described, "a")[0], `"r":"NaN"`)
}
