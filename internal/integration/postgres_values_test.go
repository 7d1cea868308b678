//go:build !race

package integration

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/pgxwire"
	"github.com/tomo-project/backup/sqlstore"
)

const pgTypes = `CREATE EXTENSION IF NOT EXISTS hstore; CREATE EXTENSION IF NOT EXISTS citext;
	CREATE TYPE mood AS ENUM ('sad', 'it''s "ok"'); CREATE TYPE pair AS (a integer, b text); CREATE DOMAIN port AS integer CHECK (VALUE BETWEEN 1 AND 65535);
	CREATE DOMAIN name AS varchar(10) NOT NULL; CREATE DOMAIN price AS numeric(8,2); CREATE DOMAIN tags AS text[];`

// pgValues are values by their types: as they are stored, and as they are in a
// record.
var pgValues = []struct{ typ, sql, json string }{
	{"boolean", `true`, `true`},
	{"boolean", `NULL`, `null`},
	{"smallint", `-32768`, `-32768`},
	{"integer", `2147483647`, `2147483647`},
	{"bigint", `9223372036854775807`, `9223372036854775807`},
	{"bigint", `-9223372036854775808`, `-9223372036854775808`},
	{"numeric", `12345678901234567890123456789012345678.000100`, `12345678901234567890123456789012345678.000100`},
	{"numeric", `1e-30`, `0.000000000000000000000000000001`},
	{"numeric(10,2)", `-12.5`, `-12.50`},
	{"real", `0.1`, `0.1`},
	{"real", `3.4028235e38`, `3.4028235e+38`},
	{"real", `16777217`, `16777216`},
	{"double precision", `0.1`, `0.1`},
	{"double precision", `'-0'`, `-0`},
	{"double precision", `5e-324`, `5e-324`},
	{"double precision", `1.7976931348623157e308`, `1.7976931348623157e+308`},
	{"double precision", `0.30000000000000004`, `0.30000000000000004`},
	{"text", `''`, `""`},
	{"text", `E'a "quoted" \\ text\nwith lines\tand  tabs '`, `"a \"quoted\" \\ text\nwith lines\tand  tabs "`},
	{"text", `E'é 日本語 🚀 \u2028'`, "\"é 日本語 🚀 \u2028\""},
	{"text", `'{1,2}'`, `"{1,2}"`},
	{"text", `'NULL'`, `"NULL"`},
	{"varchar", `'NaN '`, `"NaN "`},
	{"varchar(5)", `'ab   '`, `"ab   "`},
	{"char(5)", `'ab'`, `"ab"`},
	{"char(5)", `''`, `""`},
	{`"char"`, `'x'`, `"x"`},
	{"pg_catalog.name", `'n'`, `"n"`},
	{"citext", `'MiXed'`, `"MiXed"`},
	{"bytea", `'\x'`, `""`},
	{"bytea", `'\x00ff10'`, `"AP8Q"`},
	{"json", `'{"b":1.50,"a":[1,null],"n":12345678901234567890,"u":"\u00e9\u0000"}'`, `{"b":1.50,"a":[1,null],"n":12345678901234567890,"u":"\u00e9\u0000"}`},
	{"json", `'null'`, `null`},
	{"json", `NULL`, ``},
	{"jsonb", `'{"b": 1.50, "a": [1, null, 1e3]}'`, `{"a":[1,null,1000],"b":1.50}`},
	{"jsonb", `'"text"'`, `"text"`},
	{"uuid", `'123E4567-e89b-12d3-a456-426614174000'`, `"123e4567-e89b-12d3-a456-426614174000"`},
	{"date", `'2024-02-29'`, `"2024-02-29"`},
	{"date", `'infinity'`, `"infinity"`},
	{"date", `'0044-03-15 BC'`, `"0044-03-15 BC"`},
	{"date", `'12024-01-01'`, `"12024-01-01"`},
	{"time", `'24:00'`, `"24:00:00"`},
	{"time", `'10:30:00.123456'`, `"10:30:00.123456"`},
	{"time(0)", `'10:30:00.9'`, `"10:30:01"`},
	{"timetz", `'10:30:00.5+05:30'`, `"10:30:00.5+05:30"`},
	{"timestamp", `'2024-01-15 10:30:00'`, `"2024-01-15T10:30:00"`},
	{"timestamp(3)", `'2024-01-15 10:30:00.1239'`, `"2024-01-15T10:30:00.124"`},
	{"timestamp", `'-infinity'`, `"-infinity"`},
	{"timestamp", `'0044-03-15 10:30:00 BC'`, `"0044-03-15T10:30:00 BC"`},
	{"timestamptz", `'2024-01-15 12:30:00.123456+02'`, `"2024-01-15T10:30:00.123456Z"`},
	{"timestamptz", `'2024-07-01 00:00:00 Europe/Berlin'`, `"2024-06-30T22:00:00Z"`},
	{"timestamptz", `'infinity'`, `"infinity"`},
	{"timestamptz", `'0044-03-15 10:30:00+00 BC'`, `"0044-03-15T10:30:00Z BC"`},
	{"timestamptz(0)", `'2024-01-15 10:30:00.5Z'`, `"2024-01-15T10:30:01Z"`},
	{"interval", `'1 year -2 months 3 days -04:05:06.000007'`, `"P10M3DT-4H-5M-6.000007S"`},
	{"interval", `'-0.5 seconds'`, `"PT-0.5S"`},
	{"interval", `'24:00:00'`, `"PT24H"`},
	{"interval", `'1 day'`, `"P1D"`},
	{"interval", `'0'`, `"PT0S"`},
	{"interval day to second(2)", `'1 day 00:00:00.129'`, `"P1DT0.13S"`},
	{"mood", `'it''s "ok"'`, `"it's \"ok\""`},
	{"port", `443`, `443`},
	{"name", `'ten chars.'`, `"ten chars."`},
	{"price", `1.5`, `1.50`},
	{"pair", `'(1,"a ""b"" c")'`, `"(1,\"a \"\"b\"\" c\")"`},
	{"inet", `'10.0.0.1/8'`, `"10.0.0.1/8"`},
	{"inet", `'::1'`, `"::1"`},
	{"cidr", `'10.0.0.0/8'`, `"10.0.0.0/8"`},
	{"macaddr", `'08-00-2b-01-02-03'`, `"08:00:2b:01:02:03"`},
	{"macaddr8", `'08:00:2b:01:02:03:04:05'`, `"08:00:2b:01:02:03:04:05"`},
	{"int4range", `'(1,5]'`, `"[2,6)"`},
	{"numrange", `'(,2.50]'`, `"(,2.50]"`},
	{"tstzrange", `'["2024-01-01 00:00+00",)'`, `"[\"2024-01-01 00:00:00+00\",)"`},
	{"datemultirange", `'{[2024-01-01,2024-02-01)}'`, `"{[2024-01-01,2024-02-01)}"`},
	{"hstore", `'a=>1, "b c"=>NULL'`, `"\"a\"=>\"1\", \"b c\"=>NULL"`},
	{"bit(4)", `'0101'`, `"0101"`},
	{"bit varying(8)", `'1'`, `"1"`},
	{"money", `'1234.5'`, `"$1,234.50"`},
	{"point", `'(1.5,-2)'`, `"(1.5,-2)"`},
	{"box", `'(0,0),(1,1)'`, `"(1,1),(0,0)"`},
	{"tsvector", `'a:1 b:2'`, `"'a':1 'b':2"`},
	{"xml", `'<a>b</a>'`, `"<a>b</a>"`},
	{"oid", `4294967295`, `"4294967295"`},
	{"integer[]", `'{}'`, `[]`},
	{"integer[]", `'{1,NULL,3}'`, `[1,null,3]`},
	{"integer[]", `'{{1,2},{3,NULL}}'`, `[[1,2],[3,null]]`},
	{"integer[]", `NULL`, `null`},
	{"text[]", `ARRAY['', 'NULL', NULL, 'a"b', E'c\\d', '{e,f}', ' g ', '[1]']`, `["","NULL",null,"a\"b","c\\d","{e,f}"," g ","[1]"]`},
	{"boolean[]", `'{t,f}'`, `[true,false]`},
	{"double precision[]", `'{0.1,NaN,5e-324,-Infinity}'`, `[0.1,"NaN",5e-324,"-Infinity"]`},
	{"numeric(6,3)[]", `'{1.5}'`, `[1.500]`},
	{"varchar(3)[]", `'{abc}'`, `["abc"]`},
	{"uuid[]", `'{123e4567-e89b-12d3-a456-426614174000}'`, `["123e4567-e89b-12d3-a456-426614174000"]`},
	{"timestamptz[]", `'{"2024-01-15 12:30:00+02"}'`, `["2024-01-15T10:30:00+00:00"]`},
	{"date[]", `'{2024-01-15,infinity}'`, `["2024-01-15","infinity"]`},
	{"mood[]", `'{sad}'`, `["sad"]`},
	{"int4range[]", `'{"[1,3)"}'`, `["[1,3)"]`},
	{"tags", `'{a,b}'`, `["a","b"]`},
	{"jsonb[]", `ARRAY['[1,2]'::jsonb]`, `"{\"[1, 2]\"}"`},
	{"bytea[]", `ARRAY['\x00ff'::bytea]`, `"{\"\\\\x00ff\"}"`},
	{"pair[]", `ARRAY['(1,a)'::pair]`, `"{\"(1,a)\"}"`},
	{"port[]", `'{1,2}'`, `"{1,2}"`},
}

// pgValuesSchema makes a table with a column of each value's type.
func pgValuesSchema() string {
	b := strings.Builder{}
	b.WriteString(pgTypes + "CREATE TABLE things (id integer PRIMARY KEY")
	for i, v := range pgValues {
		typ := v.typ
		if typ == "name" || typ == "tags" {
			typ = "public." + typ
		}
		fmt.Fprintf(&b, ", c%d %s", i, typ)
		if typ == "public.name" {
			b.WriteString(" DEFAULT ''")
		}
	}
	return b.String() + ", gen text GENERATED ALWAYS AS (id::text || '!') STORED)"
}

func TestPostgresRestoresEveryValueAsItWasStored(t *testing.T) {
	from, _ := newPostgres(t, pgValuesSchema())
	to, url := newPostgres(t, pgValuesSchema())
	// What a session is set to must not matter.
	odd, err := sql.Open("pgx", url+"&TimeZone=America/St_Johns&DateStyle=German,DMY&IntervalStyle=sql_standard&extra_float_digits=-10&bytea_output=escape")
	require.NoError(t, err)
	defer odd.Close()

	for i, v := range pgValues {
		exec(t, from, fmt.Sprintf("INSERT INTO things (id, c%d) VALUES (%d, %s)", i, i, v.sql))
	}
	exec(t, to, "INSERT INTO things (id, c0, c2) VALUES (0, false, 5), (7, true, 6), (1000, true, 7)")
	app := &backup.App{Name: "things", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{{Name: "things", Key: "/id"}}}
	tables := sqlstore.Table{Collection: "things"}
	var file, again bytes.Buffer
	_, err = app.Backup(t.Context(), &file, pg(from, tables), backup.BackupOptions{})
	require.NoError(t, err)
	for line := range strings.Lines(file.String()) {
		for i, v := range pgValues {
			if strings.HasPrefix(line, fmt.Sprintf(`{"id":%d,`, i)) {
				member := fmt.Sprintf(`,"c%d":`, i)
				if v.json == "" {
					require.NotContains(t, line, member)
				} else {
					members := strings.TrimSuffix(strings.TrimRight(line, ",\n"), "}") + ","
					require.Contains(t, members, member+v.json+",", "%+v", v)
				}
			}
		}
		require.NotContains(t, line, `"gen"`)
	}
	s, err := backup.OpenSnapshot(t.Context(), bytes.NewReader(file.Bytes()), backup.OpenOptions{})
	require.NoError(t, err)
	defer s.Close()
	_, err = app.Restore(t.Context(), s, pg(odd, tables), backup.RestoreOptions{Strategy: backup.Replace})
	require.NoError(t, err)
	require.Equal(t, column(t, from, "SELECT t::text FROM things t ORDER BY id"), column(t, to, "SELECT t::text FROM things t ORDER BY id"))
	_, err = app.Backup(t.Context(), &again, pg(odd, tables), backup.BackupOptions{})
	require.NoError(t, err)
	require.Equal(t, data(file.String()), data(again.String()))
	// One at a time, too.
	exec(t, to, "DELETE FROM things")
	require.NoError(t, pg(from, tables).View(t.Context(), func(r backup.Reader) error {
		for rec, err := range r.Records(t.Context(), "things") {
			require.NoError(t, err)
			require.NoError(t, put(pg(odd, tables), "things", rec), string(rec.Value))
		}
		return nil
	}))
	require.Equal(t, column(t, from, "SELECT t::text FROM things t ORDER BY id"), column(t, to, "SELECT t::text FROM things t ORDER BY id"))
	report, err := app.Restore(t.Context(), s, pg(odd, tables), backup.RestoreOptions{Strategy: backup.Replace})
	require.NoError(t, err)
	require.EqualValues(t, len(pgValues), report.Collections[0].Unchanged)
	require.Equal(t, "America/St_Johns", column(t, odd, "SHOW TimeZone")[0], "the session is as it was")
}

// data returns the part of a snapshot that does not depend on the time.
func data(snapshot string) string {
	_, rest, _ := strings.Cut(snapshot, `"data":`)
	rest, _, _ = strings.Cut(rest, `"sha256"`)
	return rest
}

func TestPostgresRefusesToChangeAValueSilently(t *testing.T) {
	const schema = pgTypes + `CREATE TABLE things (id integer PRIMARY KEY, t text, v varchar(5), c char(5), i smallint, n numeric(6,2), r real, d double precision, b boolean, bin bytea, j jsonb,
		u uuid, day date, tm time(3), ts timestamp(3), tz timestamptz, iv interval, m mood, p port, ip inet, a integer[], va varchar(3)[], gen text GENERATED ALWAYS AS ('x') STORED)`
	db, _ := newPostgres(t, schema)
	s := pg(db, sqlstore.Table{Collection: "things"})
	for name, member := range map[string]string{
		"unknown member": `"colour":"red"`, "generated column": `"gen":"x"`, "member twice": `"t":"a","t":"b"`, "key twice": `"id":2`,
		"number in text": `"t":5`, "boolean in text": `"t":true`, "object in text": `"t":{}`, "U+0000 in text": `"t":"a\u0000b"`,
		"text that is too long": `"v":"secret"`, "blanks that are too long": `"v":"abcd  "`, "blanks at the end": `"c":"ab "`,
		"integer out of range": `"i":32768`, "fraction": `"i":1.0`, "exponent": `"i":1e2`, "text in integer": `"i":"1"`, "boolean in integer": `"i":true`,
		"too many digits": `"n":1.001`, "too large": `"n":12345`, "NaN": `"n":"NaN"`,
		"float4": `"r":0.1000000014901161`, "float4 too large": `"r":1e39`, "float8": `"d":9007199254740993`, "float8 too large": `"d":1e400`, "float8 too small": `"d":1e-400`,
		"number for boolean": `"b":1`, "text for boolean": `"b":"t"`, "not base64": `"bin":"a b"`, "U+0000 in jsonb": `"j":{"a":"\u0000"}`,
		"capitals in uuid": `"u":"123E4567-e89b-12d3-a456-426614174000"`, "no uuid": `"u":"secret"`,
		"no day": `"day":"2024-02-30"`, "another form of a day": `"day":"2024-1-5"`, "word": `"day":"today"`,
		"leap second": `"tm":"10:59:60"`, "microseconds": `"tm":"10:30:00.0001"`, "microseconds in timestamp": `"ts":"2024-01-15T10:30:00.0001"`, "blank for T": `"ts":"2024-01-15 10:30:00"`,
		"zone in timestamp": `"ts":"2024-01-15T10:30:00Z"`, "another zone": `"tz":"2024-01-15T12:30:00+02:00"`, "zero in a fraction": `"tz":"2024-01-15T12:30:00.10Z"`, "now": `"tz":"now"`,
		"offset as PostgreSQL has it": `"tz":"2024-01-15T12:30:00+00"`, "another form of an interval": `"iv":"1 day"`, "no label": `"m":"glad"`, "constraint of a domain": `"p":0`,
		"mask that says nothing": `"ip":"10.0.0.1/32"`, "text for array": `"a":"{1}"`, "text in array of integers": `"a":["1"]`, "fraction in array of integers": `"a":[1.5]`, "array that is not square": `"a":[[1],[2,3]]`,
		"object in array": `"a":[{}]`, "empty arrays in array": `"a":[[]]`, "text in array that is too long": `"va":["abcd"]`,
	} {
		t.Run(name, func(t *testing.T) {
			records := []backup.Record{record("0", `{"id":0}`), record("1", `{"id":1,`+member+`}`)}
			for i := 3; i < 20; i++ { // enough for COPY
				records = append(records, record(fmt.Sprint(i), fmt.Sprintf(`{"id":%d}`, i)))
			}
			err := put(s, "things", records...)
			require.Error(t, err)
			wired := s
			wired.Wire = pgxwire.Wire{}
			past := put(wired, "things", records...)
			require.Error(t, past)
			require.Equal(t, refusal(err), refusal(past), "past database/sql")
			if name != "constraint of a domain" {
				require.ErrorIs(t, err, backup.ErrInvalid)
			}
			require.NotContains(t, err.Error(), "secret")
			var re *backup.RecordError
			require.ErrorAs(t, err, &re)
			require.Equal(t, "1", re.Key)
			require.Empty(t, dump(t, s, "things"), "the whole batch is undone")
			t.Log(err)
		})
	}
}

func TestPostgresNamesTheRecordThatCannotBeBackedUp(t *testing.T) {
	db, _ := newPostgres(t, `CREATE TABLE things (id text PRIMARY KEY, n numeric, d double precision, a integer[], t text, j json)`)
	for value, column := range map[string]string{"'NaN'": "n", "'-Infinity'": "d", "'[0:1]={1,2}'": "a", "'{'": "t", `'{"a":1,"a":2}'`: "j"} {
		exec(t, db, "DELETE FROM things")
		exec(t, db, "INSERT INTO things (id, "+column+") VALUES ('x', "+value+")")
		kind := sqlstore.Auto
		if column == "t" {
			kind = sqlstore.JSON
		}
		_, err := tryDump(pg(db, sqlstore.Table{Collection: "things", Columns: []sqlstore.Column{{Name: column, Kind: kind}}}), "things")
		require.ErrorContains(t, err, `things "x" /`+column+`: `)
		if column == "t" {
			continue
		}
		s := pg(db, sqlstore.Table{Collection: "things", Columns: []sqlstore.Column{{Name: column, Kind: sqlstore.Text}}})
		before := dump(t, s, "things")
		require.NoError(t, s.Update(t.Context(), func(w backup.Writer) error { return w.Delete(t.Context(), "things", []string{"x"}) }))
		key, value, _ := strings.Cut(before[0], " ")
		require.NoError(t, put(s, "things", record(key, value)), column)
		require.Equal(t, before, dump(t, s, "things"))
	}
}

func TestPostgresTakesColumnsForWhatTheHostSays(t *testing.T) {
	db, _ := newPostgres(t, `CREATE TABLE k (id bigint PRIMARY KEY, t text, v varchar(9), b bytea, i smallint, j jsonb, o text DEFAULT 'o');
		INSERT INTO k VALUES (1, '{"a": 1.0}', '[1]', '{"a": 1}', 1, '{"a":1}', NULL)`)
	s := pg(db, sqlstore.Table{Collection: "k", Columns: []sqlstore.Column{{Name: "t", Kind: sqlstore.JSON}, {Name: "v", Kind: sqlstore.JSON}, {Name: "b", Kind: sqlstore.JSONBytes},
		{Name: "i", Kind: sqlstore.Bool}, {Name: "j", Kind: sqlstore.Text, Field: "text"}, {Name: "o", OmitNull: true}}})
	want := []string{`1 {"id":1,"t":{"a":1.0},"v":[1],"b":{"a":1},"i":true,"text":"{\"a\": 1}"}`}
	require.Equal(t, want, dump(t, s, "k"))
	require.NoError(t, put(s, "k", record("2", `{"id":2,"t":"x","v":null,"b":[true],"i":false,"text":"[]","o":"p"}`), record("1", want[0][2:])))
	require.Equal(t, append(want, `2 {"id":2,"t":"x","v":null,"b":[true],"i":false,"text":"[]","o":"p"}`), dump(t, s, "k"))
	require.ErrorContains(t, put(s, "k", record("3", `{"id":3,"v":"0123456789"}`)), `k "3": invalid data`)

	s.Tables[0].Columns = []sqlstore.Column{{Name: "id", Kind: sqlstore.Text}}
	require.Contains(t, dump(t, s, "k")[0], `1 {"id":"1",`)
	for kind, name := range map[sqlstore.Kind]string{sqlstore.Integer: "t", sqlstore.Blob: "t", sqlstore.Bool: "t", sqlstore.Text: "b", sqlstore.JSON: "b", sqlstore.Real: "j", 99: "t"} {
		s.Tables[0].Columns = []sqlstore.Column{{Name: name, Kind: kind}}
		_, err := tryDump(s, "k")
		require.ErrorContains(t, err, "it cannot be")
	}
}

func TestPostgresNamesOfAllKinds(t *testing.T) {
	db, _ := newPostgres(t, `CREATE SCHEMA "My Schema"; CREATE TABLE "My Schema"."select ""from""" ("order" text PRIMARY KEY, "group by" integer, "a""b/~c" text, "A" int, a int, "日本" text, "?" text, "$1" text, v text, c0 text);
		CREATE TABLE "dotted.name" (id text PRIMARY KEY); CREATE TABLE servers (id text PRIMARY KEY); CREATE TABLE "My Schema".servers (id text PRIMARY KEY, other text)`)
	s := pg(db, sqlstore.Table{Collection: "odd", Name: `My Schema.select "from"`}, sqlstore.Table{Collection: "dotted", Name: "dotted.name"}, sqlstore.Table{Collection: "servers"},
		sqlstore.Table{Collection: "others", Name: "My Schema.servers"})
	values := []backup.Record{
		record(`'; DROP TABLE x; --`, `{"order":"'; DROP TABLE x; --","group by":1,"a\"b/~c":"x","A":1,"a":2,"日本":"y","?":"z","$1":"$2","v":"w","c0":"c1"}`),
		record("b", `{"order":"b","group by":null,"a\"b/~c":null,"A":null,"a":3,"日本":null,"?":null,"$1":null,"v":null,"c0":null}`),
	}
	for range 2 {
		require.NoError(t, put(s, "odd", values...))
		require.NoError(t, put(s, "dotted", record("x", `{"id":"x"}`)))
		require.NoError(t, put(s, "others", record("x", `{"id":"x","other":"y"}`)))
	}
	require.Equal(t, []string{values[0].Key + " " + string(values[0].Value), values[1].Key + " " + string(values[1].Value)}, dump(t, s, "odd"))
	require.Len(t, dump(t, s, "dotted"), 1)
	require.Len(t, dump(t, s, "others"), 1)
	require.Empty(t, dump(t, s, "servers"))
	require.NoError(t, s.Update(t.Context(), func(w backup.Writer) error { return w.Delete(t.Context(), "odd", []string{values[0].Key, "absent"}) }))
	require.Len(t, dump(t, s, "odd"), 1)
}

func TestPostgresKeysAreExact(t *testing.T) {
	const id = "123e4567-e89b-12d3-a456-426614174000"
	db, _ := newPostgres(t, `CREATE TABLE i (id int PRIMARY KEY, v text); CREATE TABLE t (id text COLLATE "en-x-icu" PRIMARY KEY); CREATE TABLE c (id char(9) PRIMARY KEY); CREATE TABLE u (id uuid PRIMARY KEY);
		CREATE DOMAIN slug AS varchar(9); CREATE TABLE d (id slug PRIMARY KEY);
		INSERT INTO i VALUES (2147483647), (-5), (5), (0); INSERT INTO t VALUES ('5'), ('05'), ('A'), ('a'), ('a '), (''), ('é'), ('Z'); INSERT INTO c VALUES ('a'), ('A');
		INSERT INTO d VALUES ('a'), ('a '), ('B'); INSERT INTO u VALUES ('`+id+`')`)
	s := pg(db, sqlstore.Table{Collection: "i"}, sqlstore.Table{Collection: "t"}, sqlstore.Table{Collection: "c"}, sqlstore.Table{Collection: "u"}, sqlstore.Table{Collection: "d"})
	ask := []string{"5", "05", " 5", "+5", "-0", "A", "a", "a ", "-5", "2147483647", "99999999999", "99999999999999999999", "5e0", "", id, strings.ToUpper(id), "x\x00y", "\xff", "{a}"}
	want := map[string][]string{"i": {"-5", "2147483647", "5"}, "t": {"", "05", "5", "A", "a", "a "}, "c": {"A", "a"}, "u": {id}, "d": {"a", "a "}}
	for c, keys := range want {
		require.NoError(t, s.Update(t.Context(), func(w backup.Writer) error {
			found, err := w.Lookup(t.Context(), c, ask)
			require.NoError(t, err)
			var got []string
			for _, r := range found {
				got = append(got, r.Key)
			}
			slices.Sort(got)
			require.Equal(t, keys, got)
			require.NoError(t, w.Delete(t.Context(), c, []string{" 5", "+5", "5e0", "-0", "absent", strings.ToUpper(id)}))
			return nil
		}))
	}
	var order []string
	for _, r := range dump(t, s, "t") {
		key, _, _ := strings.Cut(r, " {")
		order = append(order, key)
	}
	require.Equal(t, []string{"", "05", "5", "A", "Z", "a", "a ", "é"}, order, "byte by byte")
	require.ErrorContains(t, put(s, "i", record("05", `{"id":5}`)), "cannot hold this key")
	require.ErrorContains(t, put(s, "c", record("a ", `{"id":"a "}`)), "cannot hold this key")
}

func TestPostgresKeysComeInTheOrderOfTheirBytesInADatabaseThatHasAnother(t *testing.T) {
	outer, server := newPostgres(t, "SELECT 1")
	if column(t, outer, "SELECT (current_setting('server_version_num')::int < 150000)::text")[0] == "true" {
		return // before 15 a database has no order but those of its operating system
	}
	// Its LC_COLLATE says C, and is not what counts.
	name := fmt.Sprintf("tomo_icu_%d", os.Getpid())
	exec(t, outer, "CREATE DATABASE "+name+" TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en' LC_COLLATE 'C'")
	t.Cleanup(func() { exec(t, outer, "DROP DATABASE "+name) })
	u, err := url.Parse(server)
	require.NoError(t, err)
	u.Path = "/" + name
	db, err := sql.Open("pgx", u.String())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	exec(t, db, `CREATE TABLE plain (id text PRIMARY KEY); INSERT INTO plain VALUES ('a'), ('B'); CREATE TABLE c (id text COLLATE "C" PRIMARY KEY); INSERT INTO c VALUES ('a'), ('B')`)
	require.Equal(t, []string{"a", "B"}, column(t, db, "SELECT id FROM plain ORDER BY id"))
	s := pg(db, sqlstore.Table{Collection: "plain"}, sqlstore.Table{Collection: "c"})
	for _, collection := range []string{"plain", "c"} {
		require.Equal(t, []string{`B {"id":"B"}`, `a {"id":"a"}`}, dump(t, s, collection))
	}
}

func TestPostgresDeclarationsThatCannotWork(t *testing.T) {
	db, _ := newPostgres(t, `CREATE EXTENSION citext; CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
		CREATE TABLE a (id text PRIMARY KEY, v text); CREATE TABLE two (a text, b text, PRIMARY KEY (a, b)); CREATE TABLE none (a text); CREATE VIEW vw AS SELECT * FROM a;
		CREATE TABLE nc (id text COLLATE ci PRIMARY KEY); CREATE TABLE cit (id citext PRIMARY KEY); CREATE TABLE part (id text); CREATE UNIQUE INDEX p ON part (id) WHERE id <> 'x';
		CREATE TABLE late (id text PRIMARY KEY DEFERRABLE); CREATE TABLE r (id real PRIMARY KEY); CREATE TABLE always (id text PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY);
		CREATE TABLE parent (id text PRIMARY KEY); CREATE TABLE child () INHERITS (parent); CREATE TABLE inc (id text, v text, UNIQUE (id) INCLUDE (v))`)
	for name, c := range map[string]struct {
		table sqlstore.Table
		want  string
	}{
		"no such table":     {sqlstore.Table{Collection: "x"}, `collection "x" in table "x": there is no such table`},
		"part of the key":   {sqlstore.Table{Collection: "two", Key: "a"}, `"a" is not unique by itself`},
		"no key":            {sqlstore.Table{Collection: "none"}, "there is no primary key"},
		"not unique":        {sqlstore.Table{Collection: "a", Key: "v"}, "is not unique"},
		"partial index":     {sqlstore.Table{Collection: "part", Key: "id"}, "is not unique"},
		"deferrable key":    {sqlstore.Table{Collection: "late"}, "not DEFERRABLE"},
		"view":              {sqlstore.Table{Collection: "vw", Key: "id"}, "not a table"},
		"inheritance":       {sqlstore.Table{Collection: "parent"}, "inherit"},
		"collation":         {sqlstore.Table{Collection: "nc"}, "different keys may be the same"},
		"citext":            {sqlstore.Table{Collection: "cit"}, "a key cannot be citext"},
		"real key":          {sqlstore.Table{Collection: "r"}, "a key cannot be real"},
		"always identity":   {sqlstore.Table{Collection: "always"}, "cannot be overwritten"},
		"no such column":    {sqlstore.Table{Collection: "a", Columns: []sqlstore.Column{{Name: "w"}}}, `there is no column "w"`},
		"kind against type": {sqlstore.Table{Collection: "a", Columns: []sqlstore.Column{{Name: "v", Kind: sqlstore.Integer}}}, `declared text it cannot be Integer`},
		"kind of the key":   {sqlstore.Table{Collection: "a", Columns: []sqlstore.Column{{Name: "id", Kind: sqlstore.JSON}}}, `cannot be JSON`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tryDump(pg(db, c.table), c.table.Collection)
			require.ErrorContains(t, err, c.want)
		})
	}
	require.Empty(t, dump(t, pg(db, sqlstore.Table{Collection: "inc", Key: "id"}), "inc"))
	require.Empty(t, dump(t, pg(db, sqlstore.Table{Collection: "always", Exclude: []string{"n"}}), "always"))
}

func TestPostgresSequencesGoOnBehindWhatWasRestored(t *testing.T) {
	db, _ := newPostgres(t, `CREATE SEQUENCE shared; CREATE TABLE s (id serial PRIMARY KEY, v text); CREATE TABLE a (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text);
		CREATE TABLE d (id text PRIMARY KEY, number int GENERATED BY DEFAULT AS IDENTITY, v text); CREATE TABLE f (id int PRIMARY KEY DEFAULT nextval('shared'), v text);
		CREATE SEQUENCE down INCREMENT -1; CREATE TABLE w (id int PRIMARY KEY DEFAULT nextval('down'), v text);
		CREATE TABLE "it's new" (id serial PRIMARY KEY, v text);
		INSERT INTO s (v) SELECT 'x' FROM generate_series(1, 9)`)
	s := pg(db, sqlstore.Table{Collection: "s"}, sqlstore.Table{Collection: "a"}, sqlstore.Table{Collection: "d"}, sqlstore.Table{Collection: "f"}, sqlstore.Table{Collection: "w"}, sqlstore.Table{Collection: "new", Name: "it's new"})
	next := func(table string) string {
		id := "id"
		if table == "d" {
			id = "number"
		}
		prefix := "(v) VALUES ('new')"
		if table == "d" {
			prefix = "(id, v) VALUES (gen_random_uuid(), 'new')"
		}
		return column(t, db, "INSERT INTO "+table+" "+prefix+" RETURNING "+id+"::text")[0]
	}
	failure := errors.New("failure")
	restore := func(id int, end error) error {
		return s.Update(t.Context(), func(w backup.Writer) error {
			for _, c := range []string{"s", "a", "f"} {
				require.NoError(t, put1(t, w, c, record(fmt.Sprint(id), fmt.Sprintf(`{"id":%d,"v":"y"}`, id))))
			}
			require.NoError(t, put1(t, w, "w", record(fmt.Sprint(-id), fmt.Sprintf(`{"id":%d,"v":"y"}`, -id))))
			require.NoError(t, put1(t, w, "d", record("k", fmt.Sprintf(`{"id":"k","number":%d,"v":"y"}`, id))))
			return end
		})
	}
	require.ErrorIs(t, restore(1000, failure), failure)
	require.Equal(t, "10", next("s"), "what is rolled back does no harm")
	require.Equal(t, "1", next("a"))
	require.NoError(t, restore(500, nil))
	for _, c := range []string{"s", "a", "d", "f"} {
		require.Equal(t, "501", next(c), c)
	}
	require.Equal(t, "-501", next("w"))
	require.NoError(t, put(s, "new", record("1", `{"id":1,"v":"y"}`)))
	require.Equal(t, "2", next(`"it's new"`))
	require.NoError(t, restore(20, nil))
	for _, c := range []string{"s", "a"} {
		require.Contains(t, []string{"502", "503"}, next(c), "never backwards: "+c)
	}
}

func TestPostgresDefaultsExcludedColumnsAndMaps(t *testing.T) {
	db, _ := newPostgres(t, `CREATE TABLE c (id text PRIMARY KEY, port int NOT NULL DEFAULT 22, mode text DEFAULT 'a' || 'b', note text, opt text DEFAULT 'o', seen text DEFAULT 'never');
		INSERT INTO c VALUES ('x', 1, 'm', 'n', 'p', 'today');
		CREATE TABLE settings (name text PRIMARY KEY, value text, updated_at text DEFAULT 'now'); CREATE TABLE prefs (name text PRIMARY KEY, value jsonb NOT NULL);
		INSERT INTO settings VALUES ('theme', 'dark', 'then'), ('empty', NULL, 'then')`)
	s := pg(db, sqlstore.Table{Collection: "c", Columns: []sqlstore.Column{{Name: "opt", Field: "option", OmitNull: true}}, Exclude: []string{"seen"}},
		sqlstore.Table{Collection: "settings", Value: "value"}, sqlstore.Table{Collection: "prefs", Value: "value"})
	require.NoError(t, put(s, "c", record("x", `{"id":"x"}`), record("y", `{"id":"y","mode":null}`), record("z", `{"id":"z","port":5,"option":"q"}`)))
	require.Equal(t, []string{
		`x {"id":"x","port":22,"mode":"ab","note":null}`,
		`y {"id":"y","port":22,"mode":null,"note":null}`,
		`z {"id":"z","port":5,"mode":"ab","note":null,"option":"q"}`,
	}, dump(t, s, "c"))
	require.Equal(t, []string{"today", "never", "never"}, column(t, db, "SELECT seen FROM c ORDER BY id"))
	require.NoError(t, put(s, "settings", record("theme", `"light"`), record("new", ` "x" `)))
	require.NoError(t, put(s, "prefs", record("a", `null`), record("c", `"text"`), record("d", ` [ 1 ] `)))
	require.Equal(t, []string{`empty null`, `new "x"`, `theme "light"`}, dump(t, s, "settings"))
	require.Equal(t, []string{`a null`, `c "text"`, `d [1]`}, dump(t, s, "prefs"))
	require.Equal(t, []string{"then", "now", "then"}, column(t, db, "SELECT updated_at FROM settings ORDER BY name"))
}

func TestPostgresNamesTheRecordThatTheDatabaseRefuses(t *testing.T) {
	db, _ := newPostgres(t, `CREATE TABLE u (id text PRIMARY KEY, name text NOT NULL UNIQUE CHECK (name <> 'no'))`)
	s := pg(db, sqlstore.Table{Collection: "u"})
	var records []backup.Record
	for i := range 200 {
		records = append(records, record(fmt.Sprint(i), fmt.Sprintf(`{"id":"%d","name":"n%d"}`, i, i)))
	}
	for _, c := range []struct{ member, want string }{{`"name":null`, `u "77": ERROR: null value`}, {`"name":"n3"`, `u "77" clashes with "3": clash over a unique value: unique index u_name_key (name)`}, {`"name":"no"`, "check constraint"}} {
		records[77] = record("77", `{"id":"77",`+c.member+`}`)
		err := put(s, "u", records...)
		require.ErrorContains(t, err, `u "77"`)
		require.ErrorContains(t, err, c.want)
		require.Empty(t, dump(t, s, "u"))
	}
	typed, _ := newPostgres(t, `CREATE TABLE v (id text PRIMARY KEY, "odd ' "" name" interval)`)
	require.ErrorContains(t, put(pg(typed, sqlstore.Table{Collection: "v"}), "v", record("x", `{"id":"x","odd ' \" name":"1 day"}`)),
		`v "x": invalid data: the column would change the value of "odd ' \" name"`)
	// A failure cannot be committed.
	err := s.Update(t.Context(), func(w backup.Writer) error {
		_ = w.Put(t.Context(), "u", []backup.Record{record("a", `{"id":"a","name":"n"}`), record("b", `{"id":"b"}`)})
		return nil
	})
	require.Error(t, err)
	require.Empty(t, dump(t, s, "u"))
}
