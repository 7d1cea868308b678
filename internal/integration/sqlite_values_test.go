//go:build !race

package integration

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/sqlstore"
)

const kindsSchema = `CREATE TABLE things (
	id INTEGER PRIMARY KEY,
	txt TEXT, vc VARCHAR(20), i INTEGER, big BIGINT, r REAL, dbl DOUBLE PRECISION, num NUMERIC, dec DECIMAL(10,2),
	flag BOOLEAN, js JSON, jtxt TEXT, jbytes BLOB, bin BLOB, at DATETIME, day DATE, ts TIMESTAMP, untyped, uuid UUID,
	gen TEXT AS (txt || '!') STORED)`

// sqliteValues are values by the columns of kindsSchema: as they are stored, and as
// they are in a record.
var sqliteValues = []struct{ column, sql, json string }{
	{"txt", `''`, `""`},
	{"txt", `'a "quoted" \ text
with lines	and tabs'`, `"a \"quoted\" \\ text\nwith lines\tand tabs"`},
	{"txt", `'é 日本語 🚀 ' || char(0x2028)`, "\"é 日本語 🚀 \u2028\""},
	{"txt", `'before' || char(0) || 'after'`, `"before\u0000after"`},
	{"txt", `'007'`, `"007"`},
	{"txt", `'2024-01-15 10:30:00'`, `"2024-01-15 10:30:00"`},
	{"txt", `NULL`, `null`},
	{"vc", `'1e5'`, `"1e5"`},
	{"i", `9223372036854775807`, `9223372036854775807`},
	{"i", `-9223372036854775808`, `-9223372036854775808`},
	{"big", `9007199254740993`, `9007199254740993`},
	{"i", `'not a number'`, `"not a number"`},
	{"i", `1.5`, `1.5`},
	{"i", `1e300`, `1e+300`},
	{"r", `0.1`, `0.1`},
	{"r", `5`, `5`},
	{"r", `1.7976931348623157e308`, `1.7976931348623157e+308`},
	{"r", `5e-324`, `5e-324`},
	{"r", `1e21`, `1e+21`},
	{"r", `123456789012345680000`, `123456789012345680000`},
	{"r", `0.30000000000000004`, `0.30000000000000004`},
	{"dbl", `2.2250738585072014e-308`, `2.2250738585072014e-308`},
	{"num", `'12.50'`, `12.5`},
	{"num", `1e18`, `1000000000000000000`},
	{"num", `1e19`, `10000000000000000000.0`},
	{"dec", `'abc'`, `"abc"`},
	{"flag", `1`, `true`},
	{"flag", `0`, `false`},
	{"flag", `7`, `7`},
	{"flag", `'yes'`, `"yes"`},
	{"flag", `NULL`, `null`},
	{"js", `'{"a":[1,2.50,"x"],"n":12345678901234567890}'`, `{"a":[1,2.50,"x"],"n":12345678901234567890}`},
	{"js", `'null'`, `null`},
	{"js", `NULL`, ``},
	{"js", `'17'`, `17`},
	{"js", `'1.5'`, `1.5`},
	{"js", `'"17"'`, `"17"`},
	{"js", `'true'`, `true`},
	{"jtxt", `'1.50'`, `1.50`},
	{"jtxt", `'"\u00e9\/"'`, `"\u00e9\/"`},
	{"jbytes", `CAST('{"a":1}' AS BLOB)`, `{"a":1}`},
	{"bin", `x''`, `""`},
	{"bin", `x'00ff10'`, `"AP8Q"`},
	{"at", `'2024-01-15 10:30:00'`, `"2024-01-15 10:30:00"`},
	{"at", `'2024-01-15T10:30:00.123456789+02:00'`, `"2024-01-15T10:30:00.123456789+02:00"`},
	{"at", `'2024-01-15 10:30:00 +0000 UTC m=+0.1'`, `"2024-01-15 10:30:00 +0000 UTC m=+0.1"`},
	{"at", `1705314600`, `1705314600`},
	{"at", `2460325.9375`, `2460325.9375`},
	{"at", `'soon'`, `"soon"`},
	{"at", `''`, `""`},
	{"day", `'2024-01-15'`, `"2024-01-15"`},
	{"ts", `'10:30'`, `"10:30"`},
	{"untyped", `1`, `1`},
	{"untyped", `1.0`, `1.0`},
	{"untyped", `-0.5`, `-0.5`},
	{"untyped", `'1'`, `"1"`},
	{"untyped", `'2024-01-15 10:30:00'`, `"2024-01-15 10:30:00"`},
	{"uuid", `'123e4567-e89b-12d3-a456-426614174000'`, `"123e4567-e89b-12d3-a456-426614174000"`},
}

func kindsStore(t *testing.T, params string) (sqlstore.Store, func(query string, args ...any), func() []string) {
	db := openFile(t, t.TempDir()+"/test.db", params, kindsSchema)
	s := store(db, sqlstore.Table{Collection: "things", Columns: []sqlstore.Column{
		{Name: "jtxt", Kind: sqlstore.JSON}, {Name: "jbytes", Kind: sqlstore.JSONBytes}, {Name: "bin", Kind: sqlstore.Blob},
	}})
	stored := func() (rows []string) {
		// quote() and typeof() show what is stored, whatever the driver makes of it.
		var exprs []string
		for _, c := range strings.Fields("id txt vc i big r dbl num dec flag js jtxt jbytes bin at day ts untyped uuid") {
			exprs = append(exprs, "typeof("+c+") || ':' || hex("+c+") || quote("+c+")")
		}
		result, err := db.Query("SELECT " + strings.Join(exprs, " || ' ' || ") + " FROM things ORDER BY id")
		require.NoError(t, err)
		defer result.Close()
		for result.Next() {
			var row string
			require.NoError(t, result.Scan(&row))
			rows = append(rows, row)
		}
		require.NoError(t, result.Err())
		return rows
	}
	return s, func(query string, args ...any) { exec(t, db, query, args...) }, stored
}

func TestSQLiteRestoresEveryValueAsItWasStored(t *testing.T) {
	for name, params := range map[string]string{
		"plain": "", "driver converts": "&_texttotime=1&_inttotime=1", "driver has a time zone": "&_time_format=sqlite&_timezone=Europe/Berlin",
	} {
		t.Run(name, func(t *testing.T) {
			from, fromExec, fromStored := kindsStore(t, params)
			to, toExec, toStored := kindsStore(t, params)
			for i, v := range sqliteValues {
				fromExec(fmt.Sprintf("INSERT INTO things (id, %s) VALUES (%d, %s)", v.column, i, v.sql))
				// What is overwritten must leave nothing behind.
				if i%2 == 0 {
					toExec("INSERT INTO things VALUES (?, 'x', 'x', 1, 1, 1.5, 1.5, 1, 1, 1, '1', '1', x'31', x'31', '1', '1', '1', '1', 'x')", i)
				}
			}
			err := from.View(t.Context(), func(r backup.Reader) error {
				i := 0
				for rec, err := range r.Records(t.Context(), "things") {
					if err != nil {
						return err
					}
					v := sqliteValues[i]
					member := fmt.Sprintf(`,%q:%s`, v.column, v.json)
					if v.json == "" {
						require.NotContains(t, string(rec.Value), `"`+v.column+`"`, "%+v", v)
					} else {
						require.Contains(t, string(rec.Value), member, "%+v", v)
					}
					require.NotContains(t, string(rec.Value), `"gen"`)
					require.Equal(t, fmt.Sprint(i), rec.Key)
					if err := put(to, "things", rec); err != nil {
						return err
					}
					i++
				}
				require.Equal(t, len(sqliteValues), i)
				return nil
			})
			require.NoError(t, err)
			require.Equal(t, fromStored(), toStored())
			require.Equal(t, dump(t, from, "things"), dump(t, to, "things"))
		})
	}
}

func TestSQLiteTakesWhiteSpaceAndEscapesInRecords(t *testing.T) {
	s, _, _ := kindsStore(t, "")
	require.NoError(t, put(s, "things", record("1", " {\n\t\"t\\u0078t\" : \"a\\u00e9\\ud83d\\ude80\\\"\" , \"id\" :1, \"js\": { \"a\" : [ 1 ] } }\n")))
	require.Contains(t, dump(t, s, "things")[0], `1 {"id":1,"txt":"aé🚀\"",`)
	require.Contains(t, dump(t, s, "things")[0], `"js":{"a":[1]}`)
}

func TestSQLiteRefusesToChangeAValueSilently(t *testing.T) {
	cases := map[string]struct{ members, want string }{
		"unknown member":                  {`"id":1,"colour":"red"`, `things "1" /colour: invalid data: table "things" has no column`},
		"generated column":                {`"id":1,"gen":"x"`, `has no column`},
		"member twice":                    {`"id":1,"txt":"a","txt":"b"`, `/txt: invalid data: the member is there twice`},
		"no key":                          {`"txt":"a"`, `/id: invalid data: the member with the key is missing`},
		"another key":                     {`"id":2`, `/id: invalid data: the member with the key is not "1"`},
		"key of another type":             {`"id":"1"`, `/id`},
		"number in text":                  {`"id":1,"txt":5`, `/txt: invalid data: the value is a number`},
		"boolean in text":                 {`"id":1,"txt":true`, `/txt`},
		"object in text":                  {`"id":1,"txt":{}`, `/txt`},
		"text like a number in INTEGER":   {`"id":1,"i":"12"`, `/i: invalid data: the column would change the value`},
		"text like a number in REAL":      {`"id":1,"r":" 1e5 "`, `/r`},
		"text like a number in DATETIME":  {`"id":1,"at":"2024"`, `/at`},
		"number for a boolean":            {`"id":1,"flag":1`, `/flag`},
		"boolean in INTEGER":              {`"id":1,"i":true`, `/i`},
		"integer beyond 64 bits":          {`"id":1,"i":9223372036854775808`, `/i`},
		"integer beyond 53 bits in REAL":  {`"id":1,"r":9007199254740993`, `/r`},
		"fraction with too many digits":   {`"id":1,"r":0.1000000000000000055511151231257827`, `/r`},
		"1e400":                           {`"id":1,"r":1e400`, `/r`},
		"1e-400":                          {`"id":1,"r":1e-400`, `/r`},
		"number in a numeric JSON column": {`"id":1,"js":12345678901234567890`, `/js`},
		"not base64":                      {`"id":1,"bin":"a b"`, `/bin: invalid data: the text is not base64`},
		"base64 with spare bits":          {`"id":1,"bin":"AP9="`, `/bin`},
		"base64 with a line end":          {`"id":1,"bin":"AP8Q\n"`, `/bin`},
		"number for a blob":               {`"id":1,"bin":1`, `/bin`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s, _, _ := kindsStore(t, "")
			err := put(s, "things", record("0", `{"id":0}`), record("1", "{"+c.members+"}"))
			require.ErrorContains(t, err, c.want)
			require.ErrorIs(t, err, backup.ErrInvalid)
			var re *backup.RecordError
			require.ErrorAs(t, err, &re)
			require.Equal(t, "1", re.Key)
			require.Empty(t, dump(t, s, "things"), "the whole batch is undone")
		})
	}
}

func TestSQLiteNamesTheRecordThatCannotBeBackedUp(t *testing.T) {
	cases := map[string]struct {
		column string
		value  any
		want   string
	}{
		"infinite number":      {"r", math.Inf(1), `things "7" /r: the column holds a number that JSON does not have`},
		"text not UTF-8":       {"txt", "a\xffb", `things "7" /txt: the text is not valid UTF-8`},
		"half a surrogate":     {"txt", "\xed\xa0\x80", `/txt: the text is not valid UTF-8`},
		"text in a blob":       {"bin", "x", `/bin: the column holds text and is taken for Blob`},
		"not JSON":             {"jtxt", `{"a":`, `/jtxt: the text is not valid JSON`},
		"JSON with two values": {"jtxt", `{} {}`, `/jtxt`},
		"JSON, a name twice":   {"jtxt", `{"a":1,"a":2}`, `/jtxt`},
		"JSON, not UTF-8":      {"js", "\"\xff\"", `/js`},
		"JSON, empty":          {"jtxt", "", `/jtxt`},
		"JSON in a blob":       {"jtxt", []byte(`{}`), `/jtxt: the column holds a blob`},
		"JSON bytes as text":   {"jbytes", `{}`, `/jbytes: the column holds text`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s, exec, _ := kindsStore(t, "")
			exec("INSERT INTO things (id, "+c.column+") VALUES (7, ?)", c.value)
			_, err := tryDump(s, "things")
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestSQLiteKeepsStrictTablesAndKinds(t *testing.T) {
	db := open(t, `CREATE TABLE s (id TEXT PRIMARY KEY, a ANY, i INTEGER, r REAL) STRICT, WITHOUT ROWID;
		INSERT INTO s VALUES ('a', '123', 1, 2), ('b', 123, NULL, NULL), ('c', 123.0, 1, 0.5)`)
	s := store(db, sqlstore.Table{Collection: "s"})
	want := []string{`a {"id":"a","a":"123","i":1,"r":2}`, `b {"id":"b","a":123,"i":null,"r":null}`, `c {"id":"c","a":123.0,"i":1,"r":0.5}`}
	require.Equal(t, want, dump(t, s, "s"))
	require.NoError(t, put(s, "s", record("c", `{"id":"c","a":"123","i":1,"r":2}`), record("a", `{"id":"a","a":123.0,"i":1,"r":0.5}`)))
	require.Equal(t, []string{`a {"id":"a","a":123.0,"i":1,"r":0.5}`, want[1], `c {"id":"c","a":"123","i":1,"r":2}`}, dump(t, s, "s"))

	s.Tables[0].Columns = []sqlstore.Column{{Name: "a", Kind: sqlstore.Integer}}
	_, err := tryDump(s, "s")
	require.ErrorContains(t, err, `s "a" /a: the column holds a real and is taken for Integer`)
	s.Tables[0].Columns[0].Kind = sqlstore.Text
	_, err = tryDump(s, "s")
	require.ErrorContains(t, err, `is taken for Text`)
}

func TestSQLiteMapCollections(t *testing.T) {
	db := open(t, `CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT, updated_at TEXT DEFAULT 'now');
		CREATE TABLE prefs (name TEXT PRIMARY KEY, value JSON NOT NULL);
		INSERT INTO settings VALUES ('theme', 'dark', 'then'), ('empty', NULL, 'then');
		INSERT INTO prefs VALUES ('a', '{"x": [1.50]}'), ('b', 'null')`)
	s := store(db, sqlstore.Table{Collection: "settings", Value: "value"}, sqlstore.Table{Collection: "prefs", Key: "name", Value: "value"})
	require.Equal(t, []string{`empty null`, `theme "dark"`}, dump(t, s, "settings"))
	require.Equal(t, []string{`a {"x":[1.50]}`, `b null`}, dump(t, s, "prefs"))

	require.NoError(t, put(s, "settings", record("theme", `"light"`), record("new", ` "x" `)))
	require.NoError(t, put(s, "prefs", record("a", `null`), record("c", `"text"`), record("d", ` [ 1 ] `)))
	require.Equal(t, []string{`empty null`, `new "x"`, `theme "light"`}, dump(t, s, "settings"))
	require.Equal(t, []string{`a null`, `b null`, `c "text"`, `d [1]`}, dump(t, s, "prefs"))
	require.ErrorContains(t, put(s, "settings", record("n", `5`)), `settings "n": invalid data: the value is a number`)

	var updated string
	require.NoError(t, db.QueryRow(`SELECT group_concat(updated_at ORDER BY name) FROM settings`).Scan(&updated))
	require.Equal(t, "then,now,then", updated, "the other columns are the host's")
}

func TestSQLiteExcludedColumnsSurvive(t *testing.T) {
	db := open(t, `CREATE TABLE users (id TEXT PRIMARY KEY, name TEXT NOT NULL, last_seen TEXT DEFAULT 'never', logins INTEGER NOT NULL DEFAULT 0);
		INSERT INTO users VALUES ('u1', 'Ann', 'today', 7)`)
	s := store(db, sqlstore.Table{Collection: "users", Exclude: []string{"last_seen", "logins"}})
	require.Equal(t, []string{`u1 {"id":"u1","name":"Ann"}`}, dump(t, s, "users"))
	require.NoError(t, put(s, "users", record("u1", `{"id":"u1","name":"Anna"}`), record("u2", `{"id":"u2","name":"Bob"}`)))
	all := store(db, sqlstore.Table{Collection: "users"})
	require.Equal(t, []string{
		`u1 {"id":"u1","name":"Anna","last_seen":"today","logins":7}`,
		`u2 {"id":"u2","name":"Bob","last_seen":"never","logins":0}`,
	}, dump(t, all, "users"))
}

func TestSQLiteAbsentMembersGetTheDefault(t *testing.T) {
	db := open(t, `CREATE TABLE c (id TEXT PRIMARY KEY, port INTEGER NOT NULL DEFAULT 22, mode TEXT DEFAULT ('a' || 'b'), note TEXT, opt TEXT DEFAULT 'o');
		INSERT INTO c VALUES ('x', 1, 'm', 'n', 'p')`)
	s := store(db, sqlstore.Table{Collection: "c", Columns: []sqlstore.Column{{Name: "opt", Field: "option", OmitNull: true}}})
	require.NoError(t, put(s, "c", record("x", `{"id":"x"}`), record("y", `{"id":"y","mode":null}`), record("z", `{"id":"z","port":5,"option":"q"}`)))
	require.Equal(t, []string{
		`x {"id":"x","port":22,"mode":"ab","note":null}`,
		`y {"id":"y","port":22,"mode":null,"note":null}`,
		`z {"id":"z","port":5,"mode":"ab","note":null,"option":"q"}`,
	}, dump(t, s, "c"))
}

func TestSQLiteNamesTheRecordThatTheDatabaseRefuses(t *testing.T) {
	db := open(t, `CREATE TABLE u (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE CHECK (name <> 'no'))`)
	s := store(db, sqlstore.Table{Collection: "u"})
	var records []backup.Record
	for i := range 200 {
		records = append(records, record(fmt.Sprint(i), fmt.Sprintf(`{"id":"%d","name":"n%d"}`, i, i)))
	}
	for _, c := range []struct{ member, want string }{
		{`"name":null`, `u "77": constraint failed: NOT NULL`}, {`"name":"n3"`, `u "77" clashes with "3": clash over a unique value: UNIQUE (name)`}, {`"name":"no"`, `u "77": constraint failed: CHECK`},
	} {
		records[77] = record("77", `{"id":"77",`+c.member+`}`)
		err := put(s, "u", records...)
		require.ErrorContains(t, err, c.want)
		require.Empty(t, dump(t, s, "u"))
	}
}

func TestSQLiteFailureCannotBeCommitted(t *testing.T) {
	db := open(t, `CREATE TABLE u (id TEXT PRIMARY KEY, name TEXT NOT NULL)`)
	s := store(db, sqlstore.Table{Collection: "u"})
	err := s.Update(t.Context(), func(w backup.Writer) error {
		_ = w.Put(t.Context(), "u", []backup.Record{record("a", `{"id":"a","name":"n"}`), record("b", `{"id":"b"}`)})
		return nil
	})
	require.ErrorContains(t, err, "NOT NULL")
	require.Empty(t, dump(t, s, "u"))
}

func TestSQLiteReservedNamesAndOddKeys(t *testing.T) {
	db := open(t, `CREATE TABLE "select ""from""" ("order" TEXT PRIMARY KEY, "group by" INTEGER, "a""b/~c" TEXT, "日本" TEXT, "?" TEXT)`)
	s := store(db, sqlstore.Table{Collection: "odd", Name: `select "from"`})
	values := []backup.Record{
		record(`'; DROP TABLE x; --`, `{"order":"'; DROP TABLE x; --","group by":1,"a\"b/~c":"x","日本":"y","?":"z"}`),
		record("a\x00b", `{"order":"a\u0000b","group by":null,"a\"b/~c":null,"日本":null,"?":null}`),
	}
	require.NoError(t, put(s, "odd", values...))
	require.NoError(t, put(s, "odd", values...))
	require.Equal(t, []string{values[0].Key + " " + string(values[0].Value), values[1].Key + " " + string(values[1].Value)}, dump(t, s, "odd"))
	require.ErrorContains(t, put(s, "odd", record("k", `{"order":"k","a\"b/~c":1}`)), `odd "k" /a"b~1~0c: `)
	ctx := t.Context()
	require.NoError(t, s.Update(ctx, func(w backup.Writer) error { return w.Delete(ctx, "odd", []string{values[0].Key, "absent"}) }))
	require.Len(t, dump(t, s, "odd"), 1)
}

func TestSQLiteKeysAreExact(t *testing.T) {
	db := open(t, `CREATE TABLE i (id INTEGER PRIMARY KEY, v TEXT); CREATE TABLE t (id TEXT PRIMARY KEY); CREATE TABLE n (id NUMERIC PRIMARY KEY); CREATE TABLE u (id PRIMARY KEY);
		INSERT INTO i VALUES (9007199254740993, ''), (-5, ''), (5, ''), (0, '');
		INSERT INTO t VALUES ('5'), ('05'), ('5.0'), ('A'), ('a'), ('');
		INSERT INTO n VALUES (5), ('05x'), ('A');
		INSERT INTO u VALUES ('5'), ('05')`)
	s := store(db, sqlstore.Table{Collection: "i"}, sqlstore.Table{Collection: "t"}, sqlstore.Table{Collection: "n"}, sqlstore.Table{Collection: "u"})
	ask := []string{"5", "05", "5.0", " 5", "+5", "-0", "A", "a", "-5", "9007199254740993", "9007199254740992", "05x", "5e0", ""}
	want := map[string][]string{
		"i": {"5", "-5", "9007199254740993"}, "t": {"5", "05", "5.0", "A", "a", ""}, "n": {"5", "A", "05x"}, "u": {"5", "05"},
	}
	ctx := t.Context()
	for c, keys := range want {
		err := s.Update(ctx, func(w backup.Writer) error {
			found, err := w.Lookup(ctx, c, ask)
			require.NoError(t, err)
			var got []string
			for _, r := range found {
				got = append(got, r.Key)
			}
			require.ElementsMatch(t, keys, got, c)
			// Deleting what is not there deletes nothing else.
			require.NoError(t, w.Delete(ctx, c, []string{" 5", "+5", "5e0", "-0", "absent"}))
			again, err := w.Lookup(ctx, c, ask)
			require.NoError(t, err)
			require.Len(t, again, len(keys))
			require.NoError(t, w.Delete(ctx, c, ask))
			none, err := w.Lookup(ctx, c, ask)
			require.NoError(t, err)
			require.Empty(t, none)
			return nil
		})
		require.NoError(t, err)
	}
	require.Equal(t, []string{`0 {"id":0,"v":""}`}, dump(t, s, "i"))
	require.ErrorContains(t, put(s, "i", record("05", `{"id":5}`)), "cannot hold this key")
}

func TestSQLiteDeclarationsThatCannotWork(t *testing.T) {
	db := open(t, `CREATE TABLE a (id TEXT PRIMARY KEY, v TEXT); CREATE TABLE two (a TEXT, b TEXT, PRIMARY KEY (a, b)); CREATE TABLE none (a TEXT);
		CREATE TABLE ci (id TEXT PRIMARY KEY COLLATE NOCASE); CREATE TABLE part (id TEXT); CREATE UNIQUE INDEX p ON part (id) WHERE id <> 'x'; CREATE TABLE r (id REAL PRIMARY KEY);
		CREATE TABLE uq (id TEXT PRIMARY KEY, slug TEXT UNIQUE)`)
	for name, c := range map[string]struct {
		table sqlstore.Table
		want  string
	}{
		"no such table":      {sqlstore.Table{Collection: "x"}, `collection "x" in table "x": there is no such table`},
		"part of the key":    {sqlstore.Table{Collection: "two", Key: "a"}, `"a" is not unique by itself`},
		"no key":             {sqlstore.Table{Collection: "none"}, "there is no primary key"},
		"not unique":         {sqlstore.Table{Collection: "a", Key: "v"}, "is not unique"},
		"partial index":      {sqlstore.Table{Collection: "part", Key: "id"}, "is not unique"},
		"collation":          {sqlstore.Table{Collection: "ci"}, "has a collation"},
		"real key":           {sqlstore.Table{Collection: "r"}, "a key cannot be REAL"},
		"no such column":     {sqlstore.Table{Collection: "a", Columns: []sqlstore.Column{{Name: "w"}}}, `there is no column "w"`},
		"no such exclude":    {sqlstore.Table{Collection: "a", Exclude: []string{"w"}}, `there is no column "w" to exclude`},
		"key excluded":       {sqlstore.Table{Collection: "a", Exclude: []string{"id"}}, `the key column "id" is excluded`},
		"no such value":      {sqlstore.Table{Collection: "a", Value: "w"}, `there is no value column "w"`},
		"kind against type":  {sqlstore.Table{Collection: "a", Columns: []sqlstore.Column{{Name: "v", Kind: sqlstore.Integer}}}, `declared TEXT it cannot be Integer`},
		"same member twice":  {sqlstore.Table{Collection: "a", Columns: []sqlstore.Column{{Name: "v", Field: "id"}}}, `two columns with the member "id"`},
		"without collection": {sqlstore.Table{Name: "a"}, "a Table without Collection"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tryDump(store(db, c.table), c.table.Collection)
			require.ErrorContains(t, err, c.want)
		})
	}
	require.Empty(t, dump(t, store(db, sqlstore.Table{Collection: "uq", Key: "SLUG"}), "uq"), "any unique column will do")
	err := store(db, sqlstore.Table{Collection: "a"}, sqlstore.Table{Collection: "a"}).View(t.Context(), func(backup.Reader) error { return nil })
	require.ErrorContains(t, err, `two tables of the collection "a"`)
	require.Error(t, sqlstore.Store{}.View(context.Background(), nil))
}

func TestSQLiteAColumnAddedLaterIsInTheNextBackup(t *testing.T) {
	db := open(t, `CREATE TABLE a (id TEXT PRIMARY KEY); INSERT INTO a VALUES ('x')`)
	s := store(db, sqlstore.Table{Collection: "a"})
	require.Equal(t, []string{`x {"id":"x"}`}, dump(t, s, "a"))
	exec(t, db, `ALTER TABLE a ADD COLUMN v TEXT DEFAULT 'd'`)
	require.Equal(t, []string{`x {"id":"x","v":"d"}`}, dump(t, s, "a"))
}

func TestSQLiteMoreValuesThanAStatementTakes(t *testing.T) {
	var columns, members []string
	for i := range 800 {
		columns = append(columns, fmt.Sprintf("c%d INTEGER", i))
		members = append(members, fmt.Sprintf(`"c%d":%d`, i, i))
	}
	db := open(t, `CREATE TABLE wide (id INTEGER PRIMARY KEY, `+strings.Join(columns, ",")+`)`)
	s := store(db, sqlstore.Table{Collection: "wide"})
	var records []backup.Record
	var keys []string
	for i := range 70 {
		keys = append(keys, fmt.Sprint(i))
		records = append(records, record(keys[i], fmt.Sprintf(`{"id":%d,%s}`, i, strings.Join(members, ","))))
	}
	for i := range 33_000 {
		keys = append(keys, fmt.Sprint(70+i))
	}
	require.NoError(t, put(s, "wide", records...))
	got := dump(t, s, "wide")
	require.Len(t, got, 70)
	require.Equal(t, "69 "+string(records[69].Value), got[69])
	ctx := t.Context()
	require.NoError(t, s.Update(ctx, func(w backup.Writer) error {
		found, err := w.Lookup(ctx, "wide", keys)
		require.NoError(t, err)
		require.Len(t, found, 70)
		return w.Delete(ctx, "wide", keys)
	}))
	require.Empty(t, dump(t, s, "wide"))
}
