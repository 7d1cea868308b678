//go:build !race

package integration

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/sqlstore"
)

// described returns the Unique and the Label of the collection things.
func described(t *testing.T, s sqlstore.Store) (unique []string, label string) {
	t.Helper()
	_, app := describe(t, s)
	i := slices.IndexFunc(app.Collections, func(c backup.Collection) bool { return c.Name == "things" })
	require.GreaterOrEqual(t, i, 0)
	return app.Collections[i].Unique, app.Collections[i].Label
}

// What the database holds unique is what the host knows a record by, in the order of what
// people would say.
func TestDescribeReadsWhatIsUnique(t *testing.T) {
	for _, c := range []struct {
		name, schema, only string
		want               []string
		label              string
	}{
		{"columns, and several together", `CREATE TABLE things (id INTEGER PRIMARY KEY, port INT UNIQUE, owner VARCHAR(9), name VARCHAR(9), slug VARCHAR(9) UNIQUE, UNIQUE (owner, name))`, "SQLite PostgreSQL", []string{"/slug", "/owner,/name", "/port"}, "/name"},
		{"columns, and several together", `CREATE TABLE things (id INTEGER PRIMARY KEY, port INT UNIQUE, owner VARCHAR(9), name VARCHAR(9), slug VARCHAR(9) UNIQUE, UNIQUE (owner, name))`, "MariaDB", []string{"fold:/slug", "fold:/owner,/name", "/port"}, "/name"},
		{"nothing", `CREATE TABLE things (id INTEGER PRIMARY KEY, other VARCHAR(9))`, "", nil, ""},
		{"of no use beside the key", `CREATE TABLE things (id INTEGER PRIMARY KEY, title VARCHAR(9), UNIQUE (id, title), UNIQUE (title, id), UNIQUE (id))`, "", nil, "/title"},
		{"twice, and more than enough", `CREATE TABLE things (id INTEGER PRIMARY KEY, a INT, b INT, c INT, UNIQUE (a, b), UNIQUE (b, a), UNIQUE (c), UNIQUE (c, a))`, "", []string{"/c", "/a,/b"}, ""},
		{"what is not in the record", `CREATE TABLE things (id INTEGER PRIMARY KEY, hidden INT UNIQUE, a VARCHAR(9), low VARCHAR(9) GENERATED ALWAYS AS (lower(a)) STORED UNIQUE, UNIQUE (a, hidden))`, "", nil, ""},
		{"numbers, orders, flags", `CREATE TABLE things (id INTEGER PRIMARY KEY, list INT, pos INT UNIQUE, sort_order INT, is_default BOOLEAN UNIQUE, r DOUBLE PRECISION UNIQUE, code INT UNIQUE, UNIQUE (list, sort_order))`, "", []string{"/code"}, ""},
		{"a secret comes last", `CREATE TABLE things (id INTEGER PRIMARY KEY, api_token VARCHAR(32) UNIQUE, code INT UNIQUE, label INT, username VARCHAR(9), UNIQUE (username, code))`, "SQLite PostgreSQL", []string{"/code", "/api_token"}, "/username"},
		{"odd names", `CREATE TABLE things (id INTEGER PRIMARY KEY, "a/b~c" INT UNIQUE, "a,b" INT UNIQUE, "*" INT UNIQUE)`, "SQLite PostgreSQL", []string{"/a~1b~0c"}, ""},
		{"documents", `CREATE TABLE things (id INTEGER PRIMARY KEY, doc JSON UNIQUE, name JSON)`, "SQLite", nil, ""},
		{"documents", `CREATE TABLE things (id INTEGER PRIMARY KEY, doc JSONB UNIQUE, list INT[] UNIQUE, name JSONB)`, "PostgreSQL", nil, ""},

		{"another key", `CREATE TABLE things (number INTEGER PRIMARY KEY, slug TEXT NOT NULL UNIQUE, name TEXT UNIQUE)`, "SQLite by slug", []string{"/name"}, "/name"},
		{"another key", `CREATE TABLE things (number SERIAL PRIMARY KEY, slug TEXT NOT NULL UNIQUE, name TEXT UNIQUE)`, "PostgreSQL by slug", []string{"/name"}, "/name"},
		{"another key of text", `CREATE TABLE things (code TEXT PRIMARY KEY, slug TEXT NOT NULL UNIQUE)`, "SQLite PostgreSQL by slug", []string{"/code"}, ""},
		{"another key", "CREATE TABLE things (number INT AUTO_INCREMENT PRIMARY KEY, slug VARCHAR(9) COLLATE utf8mb4_nopad_bin NOT NULL UNIQUE)", "MariaDB by slug", nil, ""},

		{"NOCASE", `CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT UNIQUE COLLATE NOCASE, mail TEXT, trimmed TEXT COLLATE RTRIM UNIQUE); CREATE UNIQUE INDEX m ON things (mail COLLATE NOCASE DESC)`, "SQLite", []string{"fold:/name", "fold:/mail", "/trimmed"}, "/name"},
		{"finer and coarser", `CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT UNIQUE, n INT); CREATE UNIQUE INDEX c ON things (name COLLATE NOCASE); CREATE UNIQUE INDEX d ON things (name, n)`, "SQLite", []string{"fold:/name"}, "/name"},
		{"coarser with more", `CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT UNIQUE, tenant TEXT COLLATE NOCASE); CREATE UNIQUE INDEX c ON things (tenant, name COLLATE NOCASE)`, "SQLite", []string{"/name", "fold:/tenant,/name"}, "/name"},
		{"mixed", `CREATE TABLE things (id INTEGER PRIMARY KEY, tenant TEXT, name TEXT COLLATE NOCASE, n INTEGER, UNIQUE (tenant, name), UNIQUE (n, name))`, "SQLite", []string{"/tenant,/name", "/n,/name"}, "/name"},
		{"mixed with what has no case", `CREATE TABLE things (id INTEGER PRIMARY KEY, n INTEGER, name TEXT COLLATE NOCASE, UNIQUE (n, name)) STRICT`, "SQLite", []string{"fold:/n,/name"}, "/name"},
		{"lower", `CREATE TABLE things (id INTEGER PRIMARY KEY, "e mail" TEXT, name TEXT, a TEXT, b TEXT); CREATE UNIQUE INDEX m ON things (lower("e mail")); CREATE UNIQUE INDEX n ON things (/* ( */ UPPER(Name) COLLATE NOCASE, a); CREATE UNIQUE INDEX o ON things (lower(trim(b))); CREATE UNIQUE INDEX p ON things (a || b)`, "SQLite", []string{"fold:/e mail", "/name,/a"}, "/name"},
		{"partial", `CREATE TABLE things (id INTEGER PRIMARY KEY, a TEXT, b TEXT, c TEXT, d TEXT, gone TEXT); CREATE UNIQUE INDEX a ON things (a) WHERE a IS NOT NULL; CREATE UNIQUE INDEX b ON things (b) WHERE b <> ''; CREATE UNIQUE INDEX c ON things (c) WHERE gone IS NULL;
			CREATE UNIQUE INDEX d ON things (c, lower(d)) WHERE (d IS NOT NULL AND c NOTNULL); CREATE UNIQUE INDEX e ON things (d) WHERE gone IS NOT NULL`, "SQLite", []string{"/a", "/c,/d"}, ""},
		{"letters that stand for bytes", `CREATE TABLE things (id INTEGER PRIMARY KEY, b BLOB COLLATE NOCASE UNIQUE, n TEXT COLLATE NOCASE, UNIQUE (n, b)) STRICT; INSERT INTO things (id, b) VALUES (1, x'000000'), (2, x'69a69a')`, "SQLite", []string{"/b"}, ""},
		{"without a type", `CREATE TABLE things (id INTEGER PRIMARY KEY, any UNIQUE, bin BLOB UNIQUE, real REAL UNIQUE, number NUMERIC UNIQUE)`, "SQLite", []string{"/number"}, ""},

		{"lower", `CREATE TABLE things (id INT PRIMARY KEY, "E mail" TEXT, name VARCHAR(9), code CHAR(3), a TEXT, b INT); CREATE UNIQUE INDEX m ON things (lower("E mail")); CREATE UNIQUE INDEX n ON things (upper(name), b); CREATE UNIQUE INDEX k ON things (lower(code)); CREATE UNIQUE INDEX o ON things (lower(trim(a))); CREATE UNIQUE INDEX p ON things ((a || b::text))`,
			"PostgreSQL", []string{"fold:/E mail", "fold:/code", "fold:/name,/b"}, "/name"},
		{"Turkish and Lithuanian", `CREATE TABLE things (id INT PRIMARY KEY, name TEXT COLLATE "tr-x-icu", a TEXT COLLATE "lt-x-icu", b TEXT COLLATE "de-x-icu", c TEXT); CREATE UNIQUE INDEX n ON things (lower(name)); CREATE UNIQUE INDEX a ON things (lower(a)); CREATE UNIQUE INDEX b ON things (lower(b)); CREATE UNIQUE INDEX c ON things (lower(c COLLATE "tr-x-icu"))`,
			"PostgreSQL", []string{"/name", "/a", "fold:/b"}, "/name"},
		{"citext", `CREATE EXTENSION citext; CREATE DOMAIN mail AS citext; CREATE TABLE things (id INT PRIMARY KEY, mail mail UNIQUE, name citext COLLATE "tr-x-icu", tenant UUID, note TEXT, UNIQUE (tenant, name), UNIQUE (note, name))`, "PostgreSQL", []string{"fold:/mail", "fold:/tenant,/name", "/note,/name"}, "/name"},
		{"a collation", `CREATE COLLATION ci (provider = icu, locale = 'cs-u-ks-level2', deterministic = false); CREATE TABLE things (id INT PRIMARY KEY, name TEXT COLLATE ci UNIQUE, c TEXT); CREATE UNIQUE INDEX c ON things (c COLLATE ci)`, "PostgreSQL", []string{"/name", "/c"}, "/name"},
		{"citext in lower case", `CREATE EXTENSION citext; CREATE TABLE things (id INT PRIMARY KEY, name citext COLLATE "tr-x-icu", a citext); CREATE UNIQUE INDEX n ON things (lower(name)); CREATE UNIQUE INDEX a ON things (lower(a)); INSERT INTO things VALUES (1, 'i'), (2, 'I')`, "PostgreSQL", []string{"/name", "fold:/a"}, "/name"},
		{"a condition on a column whose name differs in case", `CREATE TABLE things (id INT PRIMARY KEY, a TEXT, "A" TEXT); CREATE UNIQUE INDEX a ON things (a) WHERE "A" IS NOT NULL; INSERT INTO things VALUES (1, 'x', NULL), (2, 'x', NULL)`, "PostgreSQL", nil, ""},
		{"a composite value", `CREATE TYPE pair AS (a INT, b INT); CREATE DOMAIN two AS pair; CREATE TABLE things (id INT PRIMARY KEY, a pair, b two, c pair UNIQUE); CREATE UNIQUE INDEX a ON things (a) WHERE a IS NOT NULL; CREATE UNIQUE INDEX b ON things (b) WHERE b IS NOT NULL; INSERT INTO things VALUES (1, '(1,)', '(1,)'), (2, '(1,)', '(1,)')`, "PostgreSQL", []string{"/c"}, ""},
		{"a function that is called lower", `CREATE FUNCTION public.lower(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 1'; CREATE TABLE things (id INT PRIMARY KEY, n INT); CREATE UNIQUE INDEX n ON things (lower(n))`, "PostgreSQL", nil, ""},
		{"partial", `CREATE TABLE things (id INT PRIMARY KEY, a TEXT, b TEXT, c TEXT, d VARCHAR(9), gone TEXT); CREATE UNIQUE INDEX a ON things (a) WHERE a IS NOT NULL; CREATE UNIQUE INDEX b ON things (b) WHERE b <> ''; CREATE UNIQUE INDEX c ON things (c) WHERE gone IS NULL;
			CREATE UNIQUE INDEX d ON things (c, lower(d)) WHERE d IS NOT NULL AND c IS NOT NULL; CREATE UNIQUE INDEX e ON things (d) WHERE gone IS NOT NULL`, "PostgreSQL", []string{"/a", "/c,/d"}, ""},
		{"names that differ in case", `CREATE TABLE things (id INT PRIMARY KEY, hidden TEXT, "Hidden" TEXT, UNIQUE (hidden))`, "PostgreSQL", nil, ""},
		{"constraints of all kinds", `CREATE TABLE things (id INT PRIMARY KEY, a TEXT UNIQUE DEFERRABLE INITIALLY DEFERRED, b TEXT UNIQUE NULLS NOT DISTINCT, c TEXT, d TEXT, e INT4RANGE, UNIQUE (c) INCLUDE (d), EXCLUDE USING gist (e WITH &&), EXCLUDE (d WITH =), x BYTEA UNIQUE, y TIMESTAMPTZ UNIQUE)`,
			"PostgreSQL", []string{"/a", "/b", "/c", "/y", "/x"}, ""},
		{"partitions", `CREATE TABLE things (id INT, name TEXT, day DATE, PRIMARY KEY (id), UNIQUE (id, name)) PARTITION BY RANGE (id); CREATE TABLE part PARTITION OF things (UNIQUE (name)) FOR VALUES FROM (0) TO (10)`, "PostgreSQL", nil, "/name"},

		{"collations", "CREATE TABLE things (id INT PRIMARY KEY, name VARCHAR(9) UNIQUE, a VARCHAR(9) COLLATE utf8mb4_bin UNIQUE, b VARCHAR(9) COLLATE utf8mb4_turkish_ci UNIQUE, c VARCHAR(9) CHARACTER SET latin1 COLLATE latin1_swedish_ci UNIQUE, d VARCHAR(9) COLLATE utf8mb4_uca1400_as_cs UNIQUE, e ENUM('a','b') UNIQUE)",
			"MariaDB", []string{"fold:/name", "/a", "/b", "fold:/c", "/d", "/e"}, "/name"},
		{"mixed", "CREATE TABLE things (id INT PRIMARY KEY, name VARCHAR(9), n INT, t VARCHAR(9) COLLATE utf8mb4_bin, u UUID, e ENUM('a','b'), b BINARY(4), UNIQUE (n, name), UNIQUE (t, name), UNIQUE (u, e, name), UNIQUE (b, name))",
			"MariaDB", []string{"fold:/n,/name", "/t,/name", "/b,/name", "fold:/u,/e,/name"}, "/name"},
		{"a prefix, and all of a long text", "CREATE TABLE things (id INT PRIMARY KEY, name VARCHAR(500), body TEXT UNIQUE, bin VARBINARY(9) UNIQUE, UNIQUE (name(3)))", "MariaDB", []string{"fold:/name", "fold:/body", "/bin"}, "/name"},
		{"empty labels", "CREATE TABLE things (id INT PRIMARY KEY, e ENUM('','a') UNIQUE, s SET('','a') UNIQUE, n ENUM('b') UNIQUE); INSERT IGNORE INTO things VALUES (1, '', 0, NULL), (2, 'c', 1, NULL)", "MariaDB", []string{"/n"}, ""},
		{"a sequence", "CREATE SEQUENCE s; CREATE TABLE things (id INT PRIMARY KEY, n INT UNIQUE DEFAULT NEXTVAL(s), m INT UNIQUE)", "MariaDB", []string{"/m"}, ""},
	} {
		for name, d := range dialects {
			if c.only != "" && !strings.Contains(c.only, name) {
				continue
			}
			t.Run(name+" "+c.name, func(t *testing.T) {
				table := sqlstore.Table{Collection: "things"}
				if strings.Contains(c.only, "by slug") {
					table.Key = "slug"
				}
				if strings.Contains(c.schema, "hidden") {
					table.Exclude = []string{"hidden"}
				}
				s := sqlstore.Store{DB: d.open(t, c.schema), Dialect: d.Dialect, Tables: []sqlstore.Table{table}, Exclude: []string{"*"}}
				unique, label := described(t, s)
				require.Equal(t, c.want, unique)
				require.Equal(t, c.label, label)
			})
		}
	}
}

// A CREATE INDEX CONCURRENTLY that has failed leaves an index that rows break.
func TestAnInvalidIndexIsNoUnique(t *testing.T) {
	db, _ := newPostgres(t, `CREATE TABLE things (id INT PRIMARY KEY, a INT); INSERT INTO things VALUES (1, 1), (2, 1)`)
	_, err := db.ExecContext(t.Context(), "CREATE UNIQUE INDEX CONCURRENTLY a ON things (a)")
	require.Error(t, err)
	require.Equal(t, []string{"a"}, column(t, db, "SELECT relname FROM pg_class WHERE relname = 'a'"))
	unique, _ := described(t, pg(db))
	require.Empty(t, unique)
}

// No collation that is said to fold may tell a from A.
func TestCollationsThatFoldDoSoInAllWords(t *testing.T) {
	db, _ := newMariaDB(t, "SELECT 1")
	var pairs []string
	const letters = "abcdefghijklmnopqrstuvwxyz"
	for _, a := range letters {
		for _, b := range letters {
			for _, pair := range []string{string(a) + string(b), strings.ToUpper(string(a)) + string(b), string(a) + strings.ToUpper(string(b)), strings.ToUpper(string(a) + string(b))} {
				pairs = append(pairs, "('"+string(a)+string(b)+"','"+pair+"')")
			}
		}
	}
	exec(t, db, "CREATE TABLE pairs (a varchar(9) COLLATE utf8mb4_bin, b varchar(9) COLLATE utf8mb4_bin); INSERT INTO pairs VALUES "+strings.Join(pairs, ","))
	folding := 0
	for _, name := range column(t, db, "SELECT FULL_COLLATION_NAME FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY WHERE CHARACTER_SET_NAME IN ('utf8mb4', 'utf8mb3', 'latin1', 'ascii')") {
		charset, _, _ := strings.Cut(name, "_")
		apart := column(t, db, "SELECT concat(a, ' ', b) FROM pairs WHERE CONVERT(a USING "+charset+") COLLATE "+name+" <> CONVERT(b USING "+charset+") COLLATE "+name+" LIMIT 1")
		table := "collated_" + strings.ToLower(name)
		exec(t, db, "CREATE TABLE "+table+" (id int PRIMARY KEY, v varchar(9) CHARACTER SET "+charset+" COLLATE "+name+" UNIQUE)")
		_, app := describe(t, sqlstore.Store{DB: db, Dialect: sqlstore.MariaDB, Tables: []sqlstore.Table{{Collection: "things", Name: table}}, Exclude: []string{"*"}})
		exec(t, db, "DROP TABLE "+table)
		if app.Collections[0].Unique[0] == "fold:/v" {
			folding++
			require.Empty(t, apart, name)
		}
	}
	require.Greater(t, folding, 10)
}

// Whatever rows a database takes beside each other, no Unique takes two of them for one.
func TestNoUniqueIsBrokenByWhatTheDatabaseHolds(t *testing.T) {
	type variant struct{ types, values, indexes []string }
	texts := []string{"'a'", "'A'", "'ab'", "'aB'", "'ch'", "'cH'", "'i'", "'I'", "'ı'", "'é'", "'É'", "'e'", "''", "' '", "'a '", "'ss'", "'ß'", "'1'", "'1.0'", "NULL"}
	numbers := []string{"1", "1.0", "0", "-1", "10", "1e1", "NULL"}
	for name, v := range map[string]variant{
		"SQLite": {[]string{"TEXT", "TEXT COLLATE NOCASE", "TEXT COLLATE RTRIM", "INTEGER", "NUMERIC", "REAL", "BOOLEAN", "", "BLOB", "DATE", "JSON"},
			append(slices.Concat(texts, numbers), "x'41'", "x'61'", "4611686018427387904.0", "4611686018427388000", "4611686018427388000.0", "9007199254740993", "9007199254740992.0", "-0.0", "'{\"a\":1}'", "'{\"a\": 1.0}'"),
			[]string{"(%s)", "(%s, %s)", "(%s COLLATE NOCASE)", "(lower(%s))", "(upper(%s), %s)", "(%s) WHERE %s IS NOT NULL", "(%s) WHERE a <> ''", "(%s COLLATE NOCASE, %s COLLATE NOCASE)", "(%s || coalesce(%s, 'x'))"}},
		"PostgreSQL": {[]string{"TEXT", "VARCHAR(20)", "CHAR(4)", "citext", "TEXT COLLATE ci", `TEXT COLLATE "tr-x-icu"`, "NUMERIC", "DOUBLE PRECISION", "REAL", "BOOLEAN", "BYTEA", "JSONB", "INTERVAL", "TEXT[]", "INT"},
			append(slices.Concat(texts, numbers), "true", "false", "'1 day'", "'24:00:00'", "'{a}'", "'{A}'", "'{\"a\":1}'", "'{\"a\":1.0}'", "'[1]'"),
			[]string{"(%s)", "(%s, %s)", "(lower(%s))", "(upper(%s), %s)", "(%s) WHERE %s IS NOT NULL", "(%s) WHERE a IS NULL", "(%s) NULLS NOT DISTINCT", "(%s) INCLUDE (%s)"}},
		"MariaDB": {[]string{"VARCHAR(20)", "VARCHAR(20) COLLATE utf8mb4_bin", "VARCHAR(20) COLLATE utf8mb4_turkish_ci", "VARCHAR(20) COLLATE utf8mb4_czech_ci", "VARCHAR(20) COLLATE utf8mb4_uca1400_ai_ci", "VARCHAR(20) CHARACTER SET latin1 COLLATE latin1_swedish_ci", "CHAR(4)", "VARBINARY(9)", "TEXT", "DECIMAL(8,2)", "DOUBLE", "INT", "ENUM('a','b','ch')"},
			slices.Concat(texts, numbers), []string{"(%s)", "(%s, %s)", "(%s(2))", "(%s(1), %s)"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := dialects[name]
			prelude := map[string]string{"PostgreSQL": `CREATE EXTENSION citext; CREATE COLLATION ci (provider = icu, locale = 'cs-u-ks-level2', deterministic = false)`, "MariaDB": "SELECT 1"}[name]
			db := d.open(t, prelude)
			compared, found := 0, 0
			for seed := range uint64(60) {
				random := rand.New(rand.NewPCG(seed, 7))
				pick := func(of []string) string { return of[random.IntN(len(of))] }
				table := fmt.Sprintf("t%d", seed)
				if _, err := db.ExecContext(t.Context(), "CREATE TABLE "+table+" (id INTEGER PRIMARY KEY, a "+pick(v.types)+", b "+pick(v.types)+")"); err != nil {
					require.NoError(t, err)
				}
				for i := range 1 + random.IntN(2) {
					index := pick(v.indexes)
					columns := []any{"a", "b"}
					if random.IntN(2) == 0 || strings.Contains(index, "WHERE %s") {
						columns = []any{"b", "b"}
						if !strings.Contains(index, "WHERE %s") {
							columns[1] = "a"
						}
					}
					_, _ = db.ExecContext(t.Context(), fmt.Sprintf("CREATE UNIQUE INDEX "+table+"_%d ON "+table+" "+index, append([]any{i}, columns[:strings.Count(index, "%s")]...)...))
				}
				for id := range 60 { // those that clash or do not fit are left out
					_, _ = db.ExecContext(t.Context(), fmt.Sprintf("INSERT INTO %s VALUES (%d, %s, %s)", table, id, pick(v.values), pick(v.values)))
				}
				s, app := describe(t, sqlstore.Store{DB: db, Dialect: d.Dialect, Tables: []sqlstore.Table{{Collection: "things", Name: table}}, Exclude: []string{"*"}})
				records := recordsOf(dump(t, s, "things"))
				for _, unique := range app.Collections[0].Unique {
					found++
					pointers, fold := strings.CutPrefix(unique, "fold:")
					key, err := codec.ParseKey(pointers)
					require.NoError(t, err)
					for i, r := range records {
						for _, other := range records[:i] {
							compared++
							same := true
							for _, p := range key {
								x, y := codec.Get(r.Value, p), codec.Get(other.Value, p)
								if x != nil && y != nil && fold && x[0] == '"' && y[0] == '"' {
									x, y = asciiLower(x), asciiLower(y)
								}
								same = same && x != nil && y != nil && string(x) != "null" && codec.Equal(x, y)
							}
							require.False(t, same, "%d: %s: %s and %s: %v", seed, unique, r.Value, other.Value, column(t, db, indexesOf[name](table)))
						}
					}
				}
			}
			t.Log(found, "Unique", compared, "pairs")
			require.Greater(t, found, 20)
		})
	}
}

func asciiLower(b []byte) []byte {
	b = slices.Clone(b)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] += 'a' - 'A'
		}
	}
	return b
}

// indexesOf are queries for the indexes of a table.
var indexesOf = map[string]func(table string) string{
	"SQLite":     func(table string) string { return "SELECT sql FROM sqlite_schema WHERE tbl_name = '" + table + "'" },
	"PostgreSQL": func(table string) string { return "SELECT indexdef FROM pg_indexes WHERE tablename = '" + table + "'" },
	"MariaDB": func(table string) string {
		return "SELECT concat_ws(' ', INDEX_NAME, COLUMN_NAME, SUB_PART) FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = '" + table + "'"
	},
}
