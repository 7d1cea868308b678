//go:build !race

package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup/sqlstore"
)

func TestSQLiteDescribesAnApplication(t *testing.T) {
	const schema = `
		CREATE TABLE Users (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, password_hash TEXT NOT NULL, admin BOOLEAN NOT NULL DEFAULT 0, invited_by INTEGER REFERENCES users, avatar BLOB, created_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP);
		CREATE TABLE servers (uuid TEXT PRIMARY KEY, owner INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE, host TEXT NOT NULL, port INTEGER NOT NULL, labels JSON NOT NULL, "ssh~key/1" TEXT,
			via TEXT REFERENCES servers, by_host TEXT REFERENCES hosts (name), url TEXT AS (host || ':' || port)) WITHOUT ROWID;
		CREATE TABLE hosts (id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL);
		CREATE TABLE "order" ("group" TEXT PRIMARY KEY, amount NUMERIC NOT NULL, "select" REAL, "from" ANY, paid INT NOT NULL) STRICT;
		CREATE TABLE "2fa codes" (id INTEGER PRIMARY KEY AUTOINCREMENT, user_id INTEGER NOT NULL REFERENCES Users (ID), code BLOB NOT NULL, FOREIGN KEY (user_id) REFERENCES users (id));
		CREATE TABLE settings (name TEXT PRIMARY KEY, value JSON NOT NULL, updated_by INTEGER REFERENCES users);
		CREATE TABLE sessions (id TEXT PRIMARY KEY, user_id INTEGER REFERENCES users);
		CREATE VIEW admins AS SELECT * FROM users WHERE admin;
		CREATE VIRTUAL TABLE notes USING fts5(text);
		CREATE TEMP TABLE scratch (a)`
	strict := strings.Replace(schema, "amount NUMERIC NOT NULL", "amount TEXT NOT NULL", 1)
	from, to := open(t, strict), open(t, strict)
	exec(t, from, `INSERT INTO users (id, name, password_hash, admin, invited_by, avatar) VALUES (1, 'Ann', 'x', 1, NULL, x'00ff'), (2, 'Bob', 'y', 7, 1, NULL), (3, 'Cy', 'z', 'yes', 3, NULL);
		INSERT INTO hosts VALUES (1, 'nas');
		INSERT INTO servers (uuid, owner, host, port, labels, via, by_host) VALUES ('a', 1, 'nas', 22, '{"a":1}', 'b', 'nas'), ('b', 2, 'pi', 'ssh', 'null', NULL, NULL);
		INSERT INTO "order" VALUES ('x', '1.50', 2, 'a', 1), ('y', '', NULL, 1.5, 0);
		INSERT INTO "2fa codes" VALUES (7, 1, x'01');
		INSERT INTO settings VALUES ('theme', '"dark"', 1), ('smtp_password', '"x"', NULL)`)
	s, app := describe(t, sqlstore.Store{DB: from, Dialect: sqlstore.SQLite, CoverAll: true, Exclude: []string{"SESSIONS", "notes"}, Tables: []sqlstore.Table{
		{Collection: "settings", Value: "value"},
		{Collection: "users", Exclude: []string{"created_at"}, Columns: []sqlstore.Column{{Name: "avatar", Field: "picture", OmitNull: true}}},
	}})
	require.Equal(t, []string{
		"settings map */*",
		"users /id /invited_by>users */password_hash",
		"table_2fa_codes /id /user_id>users",
		"hosts /id",
		"order /group",
		"servers /uuid /owner>users /via>servers */ssh~0key~11",
	}, collections(app))
	require.Equal(t, []sqlstore.Table{
		{Collection: "settings", Value: "value"},
		{Collection: "users", Exclude: []string{"created_at"}, Columns: []sqlstore.Column{{Name: "avatar", Field: "picture", OmitNull: true}}},
		{Collection: "table_2fa_codes", Name: "2fa codes"}, {Collection: "hosts"}, {Collection: "order"}, {Collection: "servers"},
	}, s.Tables)
	require.Equal(t, `{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "title": "settings",
  "type": "object",
  "additionalProperties": {}
}
`, schemaOf(t, app, "settings"))
	require.Equal(t, `{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "title": "users",
  "type": "object",
  "required": ["id", "name", "password_hash"],
  "additionalProperties": false,
  "properties": {
    "id": {"type": "integer"},
    "name": {"type": ["string", "object"]},
    "password_hash": {"type": ["string", "object"]},
    "admin": {"type": ["boolean", "number", "string", "object"]},
    "invited_by": {"type": ["number", "string", "object", "null"]},
    "picture": {"type": ["string", "number", "object"], "contentEncoding": "base64"}
  }
}
`, schemaOf(t, app, "users"))
	require.Equal(t, `{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "title": "order",
  "type": "object",
  "required": ["group", "amount", "paid"],
  "additionalProperties": false,
  "properties": {
    "group": {"type": "string"},
    "amount": {"type": "string"},
    "select": {"type": ["number", "null"]},
    "from": {"type": ["number", "string", "object", "null"]},
    "paid": {"type": "integer"}
  }
}
`, schemaOf(t, app, "order"))
	require.Contains(t, schemaOf(t, app, "servers"), `"required": ["uuid", "owner", "host", "port", "labels"]`)
	onto := s
	onto.DB = to
	transfer(t, app, s, onto)
}

func TestSQLiteDescribedSchemasAllowEveryValue(t *testing.T) {
	from, _, _ := kindsStore(t, "")
	to, _, _ := kindsStore(t, "")
	for i, v := range sqliteValues {
		exec(t, from.DB, fmt.Sprintf("INSERT INTO things (id, %s) VALUES (%d, %s)", v.column, i, v.sql))
	}
	described, app := describe(t, from)
	require.Equal(t, from.Tables, described.Tables)
	transfer(t, app, described, to)
}
