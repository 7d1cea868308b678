//go:build !race

package integration

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup/sqlstore"
)

func TestMariaDBDescribesAnApplication(t *testing.T) {
	const schema = "CREATE TABLE users (id bigint unsigned AUTO_INCREMENT PRIMARY KEY, name varchar(40) NOT NULL, role enum('admin','it''s a \"user\"') NOT NULL, other enum('a','é'), password text, invited_by bigint unsigned, avatar blob, active boolean NOT NULL," +
		" created_at timestamp NOT NULL DEFAULT current_timestamp() ON UPDATE current_timestamp(), birthday date, FOREIGN KEY (invited_by) REFERENCES users (id));" +
		"CREATE TABLE servers (id uuid PRIMARY KEY, owner bigint unsigned NOT NULL, name char(12) CHARACTER SET latin1 NOT NULL UNIQUE, `load` float, price decimal(8,2), labels json NOT NULL, meta json, code tinytext, flags set('a','b'), net inet6, v4 inet4, bits bit(7), one bit(1)," +
		" `group by` int AS (bits + 1) STORED, FOREIGN KEY (owner) REFERENCES users (id) ON DELETE CASCADE);" +
		"CREATE TABLE `Order` (`select` int AUTO_INCREMENT PRIMARY KEY, `server.id` uuid, by_name char(12) CHARACTER SET latin1, `api key` text, FOREIGN KEY (`server.id`) REFERENCES servers (id), FOREIGN KEY (by_name) REFERENCES servers (name));" +
		"CREATE TABLE settings (name varchar(99) PRIMARY KEY, value json NOT NULL, updated_at datetime(3));" +
		"CREATE SEQUENCE numbers; CREATE VIEW v AS SELECT 1 AS a"
	from, _ := newMariaDB(t, schema)
	to, _ := newMariaDB(t, schema)
	_, other := newMariaDB(t, "CREATE TABLE shared (id int PRIMARY KEY); CREATE TABLE more (id int PRIMARY KEY, of int, FOREIGN KEY (of) REFERENCES shared (id)); INSERT INTO shared VALUES (1); INSERT INTO more VALUES (1, 1)")
	exec(t, from, `SET NAMES utf8mb4; INSERT INTO users (id, name, role, invited_by, active, avatar, password, other) VALUES (1, '日本語', 'admin', NULL, true, x'00', NULL, 'é'), (2, 'Bob', 'it''s a "user"', 1, 7, NULL, 'x', NULL);
		INSERT INTO servers (id, owner, name, labels, price, `+"`load`"+`, flags, net, v4, bits, one) VALUES ('123e4567-e89b-12d3-a456-426614174000', 1, 'Zürich', 'null', 1.5, 0.1, 'a,b', '::ffff:1.2.3.4', '1.2.3.4', 5, 1);
		INSERT INTO `+"`Order`"+` (`+"`server.id`"+`, by_name) SELECT id, name FROM servers; INSERT INTO settings VALUES ('theme', '"dark"', now())`)
	s, app := describe(t, sqlstore.Store{DB: from, Dialect: sqlstore.MariaDB, CoverAll: true, Exclude: []string{other.DBName + ".absent"}, Tables: []sqlstore.Table{
		{Collection: "shared", Name: other.DBName + ".shared"}, {Collection: "settings", Value: "value"},
	}})
	more := other.DBName + "_more"
	require.Equal(t, []string{
		"shared /id",
		"settings map */*",
		"order /select /server.id>servers */api key",
		"servers /id /owner>users",
		more + " /id /of>shared",
		"users /id /invited_by>users */password",
	}, collections(app))
	require.Equal(t, sqlstore.Table{Collection: more, Name: other.DBName + ".more"}, s.Tables[4])
	require.Equal(t, sqlstore.Table{Collection: "users", Columns: []sqlstore.Column{{Name: "avatar", Kind: sqlstore.Text}}}, s.Tables[5])
	require.Equal(t, `{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "title": "users",
  "type": "object",
  "required": ["id", "name", "role", "active"],
  "additionalProperties": false,
  "properties": {
    "id": {"type": "integer"},
    "name": {"type": "string", "maxLength": 40},
    "role": {"type": "string", "enum": ["admin", "it's a \"user\""]},
    "other": {"type": ["string", "null"], "enum": ["a", "é", null]},
    "password": {"type": ["string", "null"]},
    "invited_by": {"type": ["integer", "null"]},
    "avatar": {"type": ["string", "object", "null"]},
    "active": {"type": ["boolean", "integer"]},
    "created_at": {"type": "string"},
    "birthday": {"type": ["string", "null"]}
  }
}
`, schemaOf(t, app, "users"))
	require.Equal(t, `{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "title": "servers",
  "type": "object",
  "required": ["id", "owner", "name", "labels"],
  "additionalProperties": false,
  "properties": {
    "id": {"type": "string", "format": "uuid"},
    "owner": {"type": "integer"},
    "name": {"type": "string", "maxLength": 12},
    "load": {"type": ["number", "null"]},
    "price": {"type": ["number", "null"]},
    "labels": {},
    "meta": {},
    "code": {"type": ["string", "null"]},
    "flags": {"type": ["string", "null"]},
    "net": {"type": ["string", "null"], "format": "ipv6"},
    "v4": {"type": ["string", "null"], "format": "ipv4"},
    "bits": {"type": ["integer", "null"]},
    "one": {"type": ["boolean", "null"]}
  }
}
`, schemaOf(t, app, "servers"))
	s, app = describe(t, sqlstore.Store{DB: from, Dialect: sqlstore.MariaDB, CoverAll: true, Exclude: []string{"shared", other.DBName + ".more", other.DBName + ".shared"}, Tables: []sqlstore.Table{{Collection: "settings", Value: "value"}}})
	require.Len(t, app.Collections, 4)
	onto := s
	onto.DB = to
	transfer(t, app, s, onto)
}

func TestMariaDBDescribedSchemasAllowEveryValue(t *testing.T) {
	from, _ := newMariaDB(t, mariaValuesSchema())
	to, _ := newMariaDB(t, mariaValuesSchema())
	for i, v := range mariaValues {
		exec(t, from, fmt.Sprintf("SET sql_mode='NO_AUTO_VALUE_ON_ZERO'; SET time_zone='+00:00'; SET NAMES utf8mb4; INSERT INTO things (id, c%d) VALUES (%d, %s)", i, i, v.sql))
	}
	s, app := describe(t, my(from))
	transfer(t, app, s, my(to, s.Tables...))
}

// MediaWiki declares all of its text VARBINARY or BLOB.
func TestMariaDBTextInColumnsOfBytesStaysText(t *testing.T) {
	const schema = `CREATE TABLE page (id int PRIMARY KEY, title varbinary(255) NOT NULL, old_text mediumblob, touched binary(14), photo blob, UNIQUE (title))`
	from, _ := newMariaDB(t, schema)
	to, _ := newMariaDB(t, schema)
	exec(t, from, `SET NAMES utf8mb4; INSERT INTO page VALUES (1, 'Main_Page', 'Grüße, 日本', '20240115103000', x'89504e47'), (2, x'ff00', x'', '20240115103000', 'Page'), (3, '{"$base64":"AP8="}', x'c328', NULL, NULL)`)
	s, app := describe(t, sqlstore.Store{DB: from, Dialect: sqlstore.MariaDB})
	require.Equal(t, []string{
		`1 {"id":1,"title":"Main_Page","old_text":"Grüße, 日本","touched":"MjAyNDAxMTUxMDMwMDA=","photo":{"$base64":"iVBORw=="}}`,
		`2 {"id":2,"title":{"$base64":"/wA="},"old_text":"","touched":"MjAyNDAxMTUxMDMwMDA=","photo":"Page"}`,
		`3 {"id":3,"title":"{\"$base64\":\"AP8=\"}","old_text":{"$base64":"wyg="},"touched":null,"photo":null}`,
	}, dump(t, s, "page"))
	onto := s
	onto.DB = to
	transfer(t, app, s, onto)
	const stored = "SELECT CONCAT_WS(' ', id, HEX(title), HEX(old_text), HEX(touched), HEX(photo)) FROM page ORDER BY id"
	require.Equal(t, column(t, from, stored), column(t, to, stored))
	require.ErrorContains(t, put(onto, "page", record("4", `{"id":4,"title":{"$base64":"YQ=="}}`)), "read in another form")

	s, app = describe(t, sqlstore.Store{DB: from, Dialect: sqlstore.MariaDB, Tables: []sqlstore.Table{{Collection: "page", Columns: []sqlstore.Column{{Name: "photo", Kind: sqlstore.Blob}}}}})
	require.Contains(t, schemaOf(t, app, "page"), `"photo": {"type": ["string", "null"], "contentEncoding": "base64"}`)
	require.Contains(t, dump(t, s, "page")[1], `"photo":"UGFnZQ=="`)
}
