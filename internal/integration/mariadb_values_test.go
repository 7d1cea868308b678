//go:build !race

package integration

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/sqlstore"
)

// mariaValues are values by their types: as they are stored, and as they are in a
// record.
var mariaValues = []struct{ typ, sql, json string }{
	{"boolean", `true`, `true`},
	{"tinyint(1)", `0`, `false`},
	{"tinyint(1)", `-7`, `-7`},
	{"boolean", `NULL`, `null`},
	{"tinyint", `-128`, `-128`},
	{"tinyint unsigned", `255`, `255`},
	{"smallint", `-32768`, `-32768`},
	{"mediumint unsigned", `16777215`, `16777215`},
	{"int", `-2147483648`, `-2147483648`},
	{"int(7) zerofill", `42`, `42`},
	{"bigint", `-9223372036854775808`, `-9223372036854775808`},
	{"bigint", `9223372036854775807`, `9223372036854775807`},
	{"bigint unsigned", `18446744073709551615`, `18446744073709551615`},
	{"bigint unsigned", `9223372036854775807`, `9223372036854775807`},
	{"bigint unsigned zerofill", `18446744073709551615`, `18446744073709551615`},
	{"decimal(65,30)", `12345678901234567890123456789012345.123456789012345678901234567890`, `12345678901234567890123456789012345.123456789012345678901234567890`},
	{"decimal(10,2)", `-12.5`, `-12.50`},
	{"decimal(10,2) zerofill", `12.5`, `12.50`},
	{"decimal(20,0) unsigned", `18446744073709551616`, `18446744073709551616`},
	{"float", `0.1`, `0.1`},
	{"float", `3.4028234e38`, `3.4028235e+38`},
	{"float", `16777215`, `16777215`},
	{"float", `1.17549e-38`, `1.17549e-38`},
	{"float(7,2)", `1234.567`, `1234.57`},
	{"float", `123456.789`, `123456.79`},
	{"double", `0.1`, `0.1`},
	{"double", `-0e0`, `-0`},
	{"double", `0.1e0+0.2e0`, `0.30000000000000004`},
	{"double", `1.7976931348623157e308`, `1.7976931348623157e+308`},
	{"double", `2.2250738585072014e-308`, `2.2250738585072014e-308`},
	{"double", `9007199254740993`, `9007199254740992`},
	{"double(8,3)", `1.0005`, `1`},
	{"varchar(20)", `''`, `""`},
	{"varchar(20)", `'a "q" \\ \n\tb '`, `"a \"q\" \\ \n\tb "`},
	{"varchar(20)", `'é 日本 🚀'`, `"é 日本 🚀"`},
	{"varchar(20)", `'a\0b'`, `"a\u0000b"`},
	{"varchar(20)", `'NULL'`, `"NULL"`},
	{"varchar(5)", `'ab   '`, `"ab   "`},
	{"char(5)", `'ab'`, `"ab"`},
	{"char(5)", `'日本🚀'`, `"日本🚀"`},
	{"tinytext", `REPEAT('a',255)`, `"` + strings.Repeat("a", 255) + `"`},
	{"text", `'x '`, `"x "`},
	{"mediumtext", `'y'`, `"y"`},
	{"longtext", `'{"a":1}'`, `"{\"a\":1}"`},
	{"varchar(20) CHARACTER SET latin1", `'Zürich €'`, `"Zürich €"`},
	{"varchar(20) CHARACTER SET utf8mb3", `'é 日本'`, `"é 日本"`},
	{"text CHARACTER SET utf16", `'é 🚀'`, `"é 🚀"`},
	{"char(9) CHARACTER SET sjis", `'日本'`, `"日本"`},
	{"varchar(9) CHARACTER SET ascii", `'a'`, `"a"`},
	{"varchar(9) CHARACTER SET koi8r", `'Привет'`, `"Привет"`},
	{"binary(4)", `x'00ff'`, `"AP8AAA=="`},
	{"varbinary(9)", `x'00ff10'`, `"AP8Q"`},
	{"tinyblob", `''`, `""`},
	{"blob", `x'00ff10'`, `"AP8Q"`},
	{"longblob", `'text'`, `"dGV4dA=="`},
	{"json", `'{"b":1.50,"a":[1,null],"n":12345678901234567890,"u":"\\u00e9\\u0000"}'`, `{"b":1.50,"a":[1,null],"n":12345678901234567890,"u":"\u00e9\u0000"}`},
	{"json", `'null'`, `null`},
	{"json", `NULL`, ``},
	{"date", `'2024-02-29'`, `"2024-02-29"`},
	{"date", `'0000-00-00'`, `"0000-00-00"`},
	{"date", `'2024-00-00'`, `"2024-00-00"`},
	{"time", `'-838:59:59'`, `"-838:59:59"`},
	{"time(6)", `'10:30:00.123450'`, `"10:30:00.12345"`},
	{"time(3)", `'-00:00:00.5'`, `"-00:00:00.5"`},
	{"datetime", `'2024-01-15 10:30:00'`, `"2024-01-15T10:30:00"`},
	{"datetime(6)", `'2024-01-15 10:30:00.5'`, `"2024-01-15T10:30:00.5"`},
	{"datetime(6)", `'9999-12-31 23:59:59.999999'`, `"9999-12-31T23:59:59.999999"`},
	{"datetime", `'0000-00-00 00:00:00'`, `"0000-00-00T00:00:00"`},
	{"timestamp NULL", `'2024-07-15 10:30:00'`, `"2024-07-15T10:30:00Z"`},
	{"timestamp(6) NULL", `'2024-10-27 01:30:00.000001'`, `"2024-10-27T01:30:00.000001Z"`},
	{"timestamp NULL", `'2024-03-10 07:00:00'`, `"2024-03-10T07:00:00Z"`},
	{"timestamp NULL", `0`, `"0000-00-00T00:00:00Z"`},
	{"timestamp NULL", `NULL`, `null`},
	{"year", `2155`, `2155`},
	{"year", `'0000'`, `0`},
	{"enum('sad','it''s \"ok\"','back\\\\slash')", `'it''s "ok"'`, `"it's \"ok\""`},
	{"enum('2','1')", `'1'`, `"1"`},
	{"enum('a\\\\b','é')", `'a\\b'`, `"a\\b"`},
	{"enum('b','é')", `'é'`, `"é"`},
	{"set('a','b','c')", `'c,a'`, `"a,c"`},
	{"set('a','b')", `''`, `""`},
	{"bit(1)", `b'1'`, `true`},
	{"bit(64)", `~0`, `18446744073709551615`},
	{"bit(10)", `b'1000000001'`, `513`},
	{"uuid", `'123E4567-e89b-12d3-a456-426614174000'`, `"123e4567-e89b-12d3-a456-426614174000"`},
	{"inet6", `'2001:db8::1'`, `"2001:db8::1"`},
	{"inet6", `'::1.2.3.4'`, `"::102:304"`},
	{"inet6", `'::ffff:1.2.3.4'`, `"::ffff:1.2.3.4"`},
	{"inet6", `'1:0:2:3:4:5:6:7'`, `"1:0:2:3:4:5:6:7"`},
	{"inet4", `'10.0.0.1'`, `"10.0.0.1"`},
}

func mariaValuesSchema() string {
	b := strings.Builder{}
	b.WriteString("CREATE TABLE things (id integer PRIMARY KEY")
	for i, v := range mariaValues {
		fmt.Fprintf(&b, ", c%d %s", i, v.typ)
	}
	return b.String() + ", gen text AS (concat(id, '!')) STORED, virt int AS (id + 1))"
}

func TestMariaDBRestoresEveryValueAsItWasStored(t *testing.T) {
	from, _ := newMariaDB(t, mariaValuesSchema())
	to, config := newMariaDB(t, mariaValuesSchema())
	// What a session is set to must not matter.
	config.Params = map[string]string{"time_zone": "'-03:30'", "sql_mode": "'ANSI_QUOTES,PAD_CHAR_TO_FULL_LENGTH,PIPES_AS_CONCAT,NO_ZERO_DATE'", "sql_select_limit": "3", "max_sort_length": "64"}
	require.NoError(t, config.Apply())
	config.ParseTime = true
	odd := openMariaDB(t, config)
	latin := config.Clone()
	latin.Params["charset"] = "latin1"
	latin.InterpolateParams = true

	exec(t, from, "SET sql_mode='NO_AUTO_VALUE_ON_ZERO'; SET time_zone='+00:00'")
	for i, v := range mariaValues {
		exec(t, from, fmt.Sprintf("SET sql_mode='NO_AUTO_VALUE_ON_ZERO'; SET time_zone='+00:00'; SET NAMES utf8mb4; INSERT INTO things (id, c%d) VALUES (%d, %s)", i, i, v.sql))
	}
	exec(t, to, "INSERT INTO things (id, c0, c4) VALUES (0, false, 5), (7, true, 6), (1000, true, 7)")
	all := func(db *sql.DB) []string {
		var hex []string
		for i, v := range mariaValues {
			read := fmt.Sprintf("c%d", i)
			if strings.HasPrefix(v.typ, "float") || strings.HasPrefix(v.typ, "double") {
				read += "*1e0"
			} else if strings.HasPrefix(v.typ, "bit") {
				read += "+0"
			}
			hex = append(hex, "COALESCE(HEX("+read+"),'N'), COALESCE(CAST("+read+" AS CHAR),'N')")
		}
		return column(t, db, "SELECT CONCAT_WS('|', id, "+strings.Join(hex, ",")+") FROM things ORDER BY id")
	}
	app := &backup.App{Name: "things", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{{Name: "things", Key: "/id"}}}
	tables := sqlstore.Table{Collection: "things"}
	var file, again bytes.Buffer
	_, err := app.Backup(t.Context(), &file, my(from, tables), backup.BackupOptions{})
	require.NoError(t, err)
	for line := range strings.Lines(file.String()) {
		for i, v := range mariaValues {
			if strings.HasPrefix(line, fmt.Sprintf(`{"id":%d,`, i)) {
				member := fmt.Sprintf(`,"c%d":`, i)
				if v.json == "-0" && strings.Contains(line, member+"0,") {
					v.json = "0" // since 10.11.19 the server drops the sign
				}
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
	_, err = app.Restore(t.Context(), s, my(odd, tables), backup.RestoreOptions{Strategy: backup.Replace})
	require.NoError(t, err)
	require.Equal(t, all(from), all(to))
	_, err = app.Backup(t.Context(), &again, my(odd, tables), backup.BackupOptions{})
	require.NoError(t, err)
	require.Equal(t, data(file.String()), data(again.String()))
	// One at a time, too.
	exec(t, to, "DELETE FROM things")
	other := my(openMariaDB(t, latin), tables)
	require.NoError(t, my(from, tables).View(t.Context(), func(r backup.Reader) error {
		for rec, err := range r.Records(t.Context(), "things") {
			require.NoError(t, err)
			require.NoError(t, put(other, "things", rec), string(rec.Value))
		}
		return nil
	}))
	require.Equal(t, all(from), all(to))
	report, err := app.Restore(t.Context(), s, other, backup.RestoreOptions{Strategy: backup.Replace})
	require.NoError(t, err)
	require.EqualValues(t, len(mariaValues), report.Collections[0].Unchanged)
	odd.SetMaxOpenConns(1)
	require.NoError(t, put(my(odd, tables), "things", record("0", `{"id":0}`)))
	require.Equal(t, "-03:30 PIPES_AS_CONCAT,ANSI_QUOTES,NO_ZERO_DATE,PAD_CHAR_TO_FULL_LENGTH 3 1 1 64 NULL",
		column(t, odd, "SELECT concat_ws(' ', @@time_zone, @@sql_mode, @@sql_select_limit, @@foreign_key_checks + 0, @@autocommit + 0, @@max_sort_length, coalesce(is_used_lock(concat('sqlstore.', md5(database()))), 'NULL'))")[0], "the session is as it was")
}

func TestMariaDBKeepsEveryBitOfFloatingPointNumbers(t *testing.T) {
	db, _ := newMariaDB(t, "CREATE TABLE f (id int PRIMARY KEY, f float, d double)")
	s := my(db, sqlstore.Table{Collection: "f"})
	random := rand.New(rand.NewPCG(1, 2))
	var records []backup.Record
	var want []string
	for i := range 3000 {
		f, d := math.Float32frombits(random.Uint32()), math.Float64frombits(random.Uint64())
		if f != f || math.IsInf(float64(f), 0) || math.IsNaN(d) || math.IsInf(d, 0) {
			continue
		}
		records = append(records, record(fmt.Sprint(i), fmt.Sprintf(`{"id":%d,"f":%s,"d":%s}`, i, strconv.FormatFloat(float64(f), 'g', -1, 32), strconv.FormatFloat(d, 'g', -1, 64))))
		want = append(want, fmt.Sprintf("%d %x %x", i, math.Float32bits(f), math.Float64bits(d)))
	}
	require.NoError(t, put(s, "f", records...))
	var got []string
	for _, r := range dump(t, s, "f") {
		var key int
		var f, d string
		_, err := fmt.Sscanf(strings.NewReplacer(",", " ", "}", "").Replace(r[strings.Index(r, "{"):]), `{"id":%d "f":%s "d":%s`, &key, &f, &d)
		require.NoError(t, err, r)
		f32, e1 := strconv.ParseFloat(f, 32)
		f64, e2 := strconv.ParseFloat(d, 64)
		require.NoError(t, errors.Join(e1, e2))
		got = append(got, fmt.Sprintf("%d %x %x", key, math.Float32bits(float32(f32)), math.Float64bits(f64)))
	}
	require.Equal(t, want, got)
}

func TestMariaDBRefusesToChangeAValueSilently(t *testing.T) {
	db, config := newMariaDB(t, `CREATE TABLE things (id integer PRIMARY KEY, t text, v varchar(5), c char(5), l varchar(9) CHARACTER SET latin1, m3 varchar(9) CHARACTER SET utf8mb3, tt tinytext, i smallint, u int unsigned,
		n decimal(6,2), r float, d double, r2 float(7,2), b boolean, bin blob, b4 binary(4), vb varbinary(4), j json, uu uuid, day date, tm time(3), ts datetime(3), tz timestamp NULL, y year,
		e enum('red','1'), s set('a','b'), bits bit(3), ip inet6, ip4 inet4, nn int NOT NULL DEFAULT 0, gen text AS ('x') STORED)`)
	config.Params = map[string]string{"sql_mode": "''"}
	require.NoError(t, config.Apply())
	s := my(openMariaDB(t, config), sqlstore.Table{Collection: "things"})
	for name, member := range map[string]string{
		"unknown member": `"colour":"red"`, "generated column": `"gen":"x"`, "member twice": `"t":"a","t":"b"`, "key twice": `"id":2`,
		"number in text": `"t":5`, "boolean in text": `"t":true`, "object in text": `"t":{}`,
		"text that is too long": `"v":"secret"`, "blanks that are too long": `"v":"abcd  "`, "blanks at the end": `"c":"ab "`, "bytes that are too many": `"tt":"` + strings.Repeat("é", 128) + `"`,
		"blanks too many for tinytext": `"tt":"` + strings.Repeat("a", 250) + strings.Repeat(" ", 9) + `"`,
		"letter that latin1 lacks":     `"l":"日本"`, "letter that utf8mb3 lacks": `"m3":"🚀"`,
		"integer out of range": `"i":32768`, "negative": `"u":-1`, "fraction": `"i":1.0`, "exponent": `"i":1e2`, "text in integer": `"i":"1"`, "boolean in integer": `"i":true`,
		"too many digits": `"n":1.001`, "too large": `"n":12345`, "large exponent": `"n":1e99999999999999999999`, "decimal as text": `"n":"1"`,
		"float": `"r":0.1000000014901161`, "float too large": `"r":1e39`, "double": `"d":9007199254740993`, "double too large": `"d":1e400`, "double too small": `"d":1e-400`, "digits of float(7,2)": `"r2":1.234`, "float(7,2) too large": `"r2":123456`,
		"number for boolean": `"b":1`, "text for boolean": `"b":"t"`, "integer out of range for boolean": `"b":300`, "not base64": `"bin":"a b"`, "padding": `"b4":"AP8Q"`, "bytes too many": `"vb":"AAAAAAAA"`,
		"capitals in uuid": `"uu":"123E4567-e89b-12d3-a456-426614174000"`, "no uuid": `"uu":"secret"`,
		"no day": `"day":"2024-02-30"`, "another form of a day": `"day":"2024-1-5"`, "word": `"day":"secret"`,
		"microseconds": `"tm":"10:30:00.0001"`, "time too large": `"tm":"839:00:00"`, "minus nothing": `"tm":"-00:00:00"`, "minutes": `"tm":"10:60:00"`,
		"microseconds in datetime": `"ts":"2024-01-15T10:30:00.0001"`, "blank for T": `"ts":"2024-01-15 10:30:00"`, "zero in a fraction": `"ts":"2024-01-15T10:30:00.10"`,
		"zone in datetime": `"ts":"2024-01-15T10:30:00Z"`, "another zone": `"tz":"2024-01-15T12:30:00+02:00"`, "no zone": `"tz":"2024-01-15T12:30:00"`, "timestamp out of range": `"tz":"1969-01-15T12:30:00Z"`,
		"year": `"y":70`, "year too large": `"y":2156`, "no label": `"e":"green"`, "capitals of a label": `"e":"RED"`, "number of a label": `"e":"2"`, "no label at all": `"e":""`,
		"order of a set": `"s":"b,a"`, "twice in a set": `"s":"a,a"`, "not in the set": `"s":"a,c"`, "too many bits": `"bits":8`,
		"long address": `"ip":"2001:0db8::1"`, "address of the other kind": `"ip":"1.2.3.4"`, "no address": `"ip4":"1.2.3"`, "null": `"nn":null`,
	} {
		t.Run(name, func(t *testing.T) {
			err := put(s, "things", record("0", `{"id":0}`), record("1", `{"id":1,`+member+`}`), record("3", `{"id":3}`))
			require.ErrorIs(t, err, backup.ErrInvalid)
			require.NotContains(t, err.Error(), "secret")
			var re *backup.RecordError
			require.ErrorAs(t, err, &re)
			require.Equal(t, "1", re.Key)
			require.Empty(t, column(t, db, "SELECT id FROM things"), "the whole batch is undone")
			t.Log(err)
		})
	}
}

func TestMariaDBNamesTheRecordThatCannotBeBackedUp(t *testing.T) {
	db, _ := newMariaDB(t, `CREATE TABLE things (id varchar(9) PRIMARY KEY, t text, j longtext, e enum('a'), c varchar(9) CHARACTER SET sjis, l varchar(9) CHARACTER SET ascii)`)
	for value, column := range map[string]string{`'{'`: "t", `'{"a":1,"a":2}'`: "j", `7`: "e", `_sjis x'8540'`: "c"} {
		exec(t, db, "SET sql_mode=''; DELETE FROM things; INSERT INTO things (id, "+column+") VALUES ('x', "+value+")")
		kind := map[string]sqlstore.Kind{"t": sqlstore.JSON, "j": sqlstore.JSON}[column]
		_, err := tryDump(my(db, sqlstore.Table{Collection: "things", Columns: []sqlstore.Column{{Name: column, Kind: kind}}}), "things")
		require.ErrorContains(t, err, `things "x" /`+column+`: `)
	}
}

func TestMariaDBTakesColumnsForWhatTheHostSays(t *testing.T) {
	db, _ := newMariaDB(t, `CREATE TABLE k (id bigint PRIMARY KEY, t text, v varchar(9), b blob, i smallint, j json, o varchar(9) DEFAULT 'o', n tinyint(1));
		INSERT INTO k VALUES (1, '{"a": 1.0}', '[1]', '{"a": 1}', 1, '{"a":1}', NULL, 1)`)
	s := my(db, sqlstore.Table{Collection: "k", Columns: []sqlstore.Column{{Name: "t", Kind: sqlstore.JSON}, {Name: "v", Kind: sqlstore.JSON}, {Name: "b", Kind: sqlstore.JSONBytes},
		{Name: "i", Kind: sqlstore.Bool}, {Name: "j", Kind: sqlstore.Text, Field: "text"}, {Name: "o", OmitNull: true}, {Name: "n", Kind: sqlstore.Integer}}})
	want := []string{`1 {"id":1,"t":{"a":1.0},"v":[1],"b":{"a":1},"i":true,"text":"{\"a\":1}","n":1}`}
	require.Equal(t, want, dump(t, s, "k"))
	require.NoError(t, put(s, "k", record("2", `{"id":2,"t":"x","v":null,"b":[true],"i":false,"text":"[]","o":"p","n":0}`), record("1", want[0][2:])))
	require.Equal(t, append(want, `2 {"id":2,"t":"x","v":null,"b":[true],"i":false,"text":"[]","o":"p","n":0}`), dump(t, s, "k"))
	require.ErrorContains(t, put(s, "k", record("3", `{"id":3,"v":"0123456789"}`)), `k "3" /v: invalid data`)

	s.Tables[0].Columns = []sqlstore.Column{{Name: "id", Kind: sqlstore.Text}}
	require.Contains(t, dump(t, s, "k")[0], `1 {"id":"1",`)
	for kind, name := range map[sqlstore.Kind]string{sqlstore.Integer: "t", sqlstore.Blob: "t", sqlstore.Bool: "t", sqlstore.JSON: "b", sqlstore.Real: "j", 99: "t"} {
		s.Tables[0].Columns = []sqlstore.Column{{Name: name, Kind: kind}}
		_, err := tryDump(s, "k")
		require.ErrorContains(t, err, "it cannot be")
	}
}

func TestMariaDBNamesOfAllKinds(t *testing.T) {
	db, config := newMariaDB(t, "CREATE TABLE `select ``from\"` (`order` varchar(99) COLLATE utf8mb4_nopad_bin PRIMARY KEY, `group by` integer, `a\"``b/~c` text, `日本` text, `?` text, `$1` text, `values` text);"+
		"CREATE TABLE `dotted.name` (id varchar(9) PRIMARY KEY); CREATE TABLE servers (id varchar(9) PRIMARY KEY)")
	second, other := newMariaDB(t, "CREATE TABLE servers (id varchar(9) PRIMARY KEY, other text)")
	_ = config
	s := my(db, sqlstore.Table{Collection: "odd", Name: "select `from\""}, sqlstore.Table{Collection: "dotted", Name: "dotted.name"}, sqlstore.Table{Collection: "servers"},
		sqlstore.Table{Collection: "others", Name: other.DBName + ".servers"})
	values := []backup.Record{
		record(`'; DROP TABLE x; --`, "{\"order\":\"'; DROP TABLE x; --\",\"group by\":1,\"a\\\"`b/~c\":\"x\",\"日本\":\"y\",\"?\":\"z\",\"$1\":\"$2\",\"values\":\"w\"}"),
		record("b", "{\"order\":\"b\",\"group by\":null,\"a\\\"`b/~c\":null,\"日本\":null,\"?\":null,\"$1\":null,\"values\":null}"),
	}
	for range 2 {
		require.NoError(t, put(s, "odd", values...))
		require.NoError(t, put(s, "dotted", record("x", `{"id":"x"}`)))
		require.NoError(t, put(s, "others", record("x", `{"id":"x","other":"y"}`)))
	}
	require.Equal(t, []string{values[0].Key + " " + string(values[0].Value), values[1].Key + " " + string(values[1].Value)}, dump(t, s, "odd"))
	require.Len(t, dump(t, s, "dotted"), 1)
	require.Len(t, dump(t, s, "others"), 1)
	require.Equal(t, []string{"y"}, column(t, second, "SELECT other FROM servers"))
	require.Empty(t, dump(t, s, "servers"))
	require.NoError(t, s.Update(t.Context(), func(w backup.Writer) error { return w.Delete(t.Context(), "odd", []string{values[0].Key, "absent"}) }))
	require.Len(t, dump(t, s, "odd"), 1)
}

func TestMariaDBOverwritesRecordsUnderUUIDs(t *testing.T) {
	const a, b, c = "123e4567-e89b-12d3-a456-426614174000", "123e4567-e89b-12d3-a456-426614174001", "123e4567-e89b-12d3-a456-426614174002"
	db, _ := newMariaDB(t, "CREATE TABLE u (id uuid PRIMARY KEY, v varchar(9) UNIQUE)")
	s := my(db, sqlstore.Table{Collection: "u"})
	require.NoError(t, put(s, "u", record(a, `{"id":"`+a+`","v":"x"}`), record(b, `{"id":"`+b+`","v":"y"}`)))
	require.NoError(t, put(s, "u", record(a, `{"id":"`+a+`","v":"z"}`)))
	want := []string{a + ` {"id":"` + a + `","v":"z"}`, b + ` {"id":"` + b + `","v":"y"}`}
	require.Equal(t, want, dump(t, s, "u"))
	require.ErrorContains(t, put(s, "u", record(c, `{"id":"`+c+`","v":"y"}`)), ` clashes with "`+b+`": clash over a unique value: unique index v (v)`)
	require.Equal(t, want, dump(t, s, "u"))
}

func TestMariaDBKeysAreExact(t *testing.T) {
	const id = "123e4567-e89b-12d3-a456-426614174000"
	db, _ := newMariaDB(t, `CREATE TABLE i (id int PRIMARY KEY, v text); CREATE TABLE t (id varchar(200) COLLATE utf8mb4_nopad_bin PRIMARY KEY); CREATE TABLE b (id varbinary(200) PRIMARY KEY);
		CREATE TABLE ci (id varchar(200) COLLATE utf8mb4_general_ci PRIMARY KEY); CREATE TABLE l (id varchar(200) CHARACTER SET latin1 PRIMARY KEY); CREATE TABLE c (id char(9) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin PRIMARY KEY); CREATE TABLE u (id uuid PRIMARY KEY);
		CREATE TABLE n (id bigint unsigned PRIMARY KEY);
		INSERT INTO i (id) VALUES (2147483647), (-5), (5), (0); INSERT INTO t VALUES ('5'), ('05'), ('A'), ('a'), ('a '), (''), ('é'), ('Z'); INSERT INTO b SELECT * FROM t; INSERT INTO ci VALUES ('5'), ('05'), ('a'), ('é'), ('Z'); INSERT INTO l SELECT * FROM ci;
		INSERT INTO c VALUES ('a'), ('A'), ('é'); INSERT INTO u VALUES ('`+id+`'); INSERT INTO n VALUES (18446744073709551615), (5)`)
	var tables []sqlstore.Table
	ask := []string{"5", "05", " 5", "+5", "-0", "A", "a", "a ", "-5", "2147483647", "99999999999", "18446744073709551615", "99999999999999999999", "5e0", "", id, strings.ToUpper(id), "x\x00y", "\xff", "e", "z", "🚀"}
	want := map[string][]string{"i": {"-5", "2147483647", "5"}, "t": {"", "05", "5", "A", "a", "a "}, "b": {"", "05", "5", "A", "a", "a "}, "ci": {"05", "5", "a"}, "l": {"05", "5", "a"}, "c": {"A", "a"}, "u": {id}, "n": {"18446744073709551615", "5"}}
	for c := range want {
		tables = append(tables, sqlstore.Table{Collection: c})
	}
	s := my(db, tables...)
	for c, keys := range want {
		require.NoError(t, s.Update(t.Context(), func(w backup.Writer) error {
			found, err := w.Lookup(t.Context(), c, ask)
			require.NoError(t, err)
			var got []string
			for _, r := range found {
				got = append(got, r.Key)
			}
			slices.Sort(got)
			require.Equal(t, keys, got, c)
			return w.Delete(t.Context(), c, []string{" 5", "+5", "5e0", "-0", "absent", strings.ToUpper(id), "e", "z", "É", "a  "})
		}))
	}
	order := func(c string) (keys []string) {
		for _, r := range dump(t, s, c) {
			key, _, _ := strings.Cut(r, " {")
			keys = append(keys, key)
		}
		return keys
	}
	require.Equal(t, []string{"", "05", "5", "A", "Z", "a", "a ", "é"}, order("t"), "byte by byte")
	require.Equal(t, order("t"), order("b"))
	require.Equal(t, []string{"05", "5", "Z", "a", "é"}, order("ci"))
	require.Equal(t, order("ci"), order("l"))
	require.ErrorContains(t, put(s, "i", record("05", `{"id":5}`)), "cannot hold this key")
	require.ErrorContains(t, put(s, "c", record("a ", `{"id":"a "}`)), "cannot hold this key")
	for _, key := range []string{"A", "a ", "É", "e"} {
		err := put(s, "ci", record("new", `{"id":"new"}`), record(key, `{"id":`+quoted(key)+`}`))
		require.ErrorContains(t, err, "ci "+quoted(key)+" clashes with ")
		require.ErrorContains(t, err, "VARBINARY")
	}
	// One takes the place of another.
	require.NoError(t, s.Update(t.Context(), func(w backup.Writer) error {
		return errors.Join(w.Delete(t.Context(), "ci", []string{"a"}), put1(t, w, "ci", record("A", `{"id":"A"}`)))
	}))
	require.Equal(t, []string{"05", "5", "A", "Z", "é"}, order("ci"))
}

func TestMariaDBDeclarationsThatCannotWork(t *testing.T) {
	db, _ := newMariaDB(t, `CREATE TABLE a (id varchar(9) PRIMARY KEY, v text); CREATE TABLE two (a int, b int, PRIMARY KEY (a, b)); CREATE TABLE none (a text); CREATE VIEW vw AS SELECT * FROM a;
		CREATE TABLE part (id varchar(99) NOT NULL, UNIQUE (id(5))); CREATE TABLE r (id double PRIMARY KEY); CREATE TABLE nul (id int UNIQUE); CREATE TABLE mine (id int PRIMARY KEY) ENGINE=MyISAM; CREATE TABLE geo (id int PRIMARY KEY, g point);
		CREATE TABLE versioned (id int PRIMARY KEY) WITH SYSTEM VERSIONING; CREATE TABLE aria (id int PRIMARY KEY) ENGINE=Aria`)
	for name, c := range map[string]struct {
		table sqlstore.Table
		want  string
	}{
		"no such table":     {sqlstore.Table{Collection: "x"}, `collection "x" in table "x": there is no such table`},
		"part of the key":   {sqlstore.Table{Collection: "two", Key: "a"}, `"a" is not unique by itself`},
		"no key":            {sqlstore.Table{Collection: "none"}, "there is no primary key"},
		"prefix":            {sqlstore.Table{Collection: "part", Key: "id"}, "is not unique"},
		"null":              {sqlstore.Table{Collection: "nul", Key: "id"}, "must be NOT NULL"},
		"view":              {sqlstore.Table{Collection: "vw", Key: "id"}, "not a table"},
		"real key":          {sqlstore.Table{Collection: "r"}, "a key cannot be double"},
		"geometry":          {sqlstore.Table{Collection: "geo"}, "there is no JSON for point: exclude it"},
		"MyISAM":            {sqlstore.Table{Collection: "mine"}, "its engine is MyISAM"},
		"Aria":              {sqlstore.Table{Collection: "aria"}, "its engine is Aria"},
		"versions":          {sqlstore.Table{Collection: "versioned"}, "SYSTEM VERSIONED"},
		"no such column":    {sqlstore.Table{Collection: "a", Columns: []sqlstore.Column{{Name: "w"}}}, `there is no column "w"`},
		"kind against type": {sqlstore.Table{Collection: "a", Columns: []sqlstore.Column{{Name: "v", Kind: sqlstore.Integer}}}, `declared text it cannot be Integer`},
		"kind of the key":   {sqlstore.Table{Collection: "a", Columns: []sqlstore.Column{{Name: "id", Kind: sqlstore.JSON}}}, `cannot be JSON`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tryDump(my(db, c.table), c.table.Collection)
			require.ErrorContains(t, err, c.want)
			// Nothing is written to any.
			s := my(db, sqlstore.Table{Collection: "good", Name: "a"}, c.table)
			require.ErrorContains(t, put(s, "good", record("x", `{"id":"x"}`)), c.want)
			require.Empty(t, column(t, db, "SELECT id FROM a"))
		})
	}
	require.Empty(t, dump(t, my(db, sqlstore.Table{Collection: "geo", Exclude: []string{"g"}}), "geo"))
}

func TestMariaDBAutoIncrementGoesOnBehindWhatWasRestored(t *testing.T) {
	db, _ := newMariaDB(t, `CREATE TABLE s (id int AUTO_INCREMENT PRIMARY KEY, v text); CREATE TABLE d (id varchar(9) PRIMARY KEY, number int AUTO_INCREMENT UNIQUE, v text)`)
	s := my(db, sqlstore.Table{Collection: "s"}, sqlstore.Table{Collection: "d"})
	require.NoError(t, put(s, "s", record("500", `{"id":500,"v":"y"}`), record("0", `{"id":0,"v":"zero"}`), record("-3", `{"id":-3,"v":"zero"}`)))
	require.NoError(t, put(s, "d", record("a", `{"id":"a","number":70,"v":"y"}`), record("b", `{"id":"b","v":"y"}`)))
	next := func(query string) int {
		result, err := db.Exec(query)
		require.NoError(t, err)
		id, err := result.LastInsertId()
		require.NoError(t, err)
		return int(id)
	}
	require.Greater(t, next("INSERT INTO s (v) VALUES ('new')"), 500)
	require.Greater(t, next("INSERT INTO d (id, v) VALUES ('c', 'new')"), 70)
	require.Equal(t, []string{"70"}, column(t, db, "SELECT number FROM d WHERE id = 'a'"))
	require.Len(t, dump(t, s, "s"), 4)
}

func TestMariaDBDefaultsExcludedColumnsAndMaps(t *testing.T) {
	db, _ := newMariaDB(t, `CREATE TABLE c (id varchar(9) PRIMARY KEY, port int NOT NULL DEFAULT 22, mode text DEFAULT (concat('a', 'b')), note text, opt text DEFAULT 'o', seen text DEFAULT 'never', changed timestamp NOT NULL DEFAULT '2001-01-01' ON UPDATE CURRENT_TIMESTAMP);
		INSERT INTO c VALUES ('x', 1, 'm', 'n', 'p', 'today', '2002-02-02');
		CREATE TABLE settings (name varchar(99) PRIMARY KEY, value text, updated_at text DEFAULT 'now'); CREATE TABLE prefs (name varchar(99) PRIMARY KEY, value json NOT NULL);
		INSERT INTO settings VALUES ('theme', 'dark', 'then'), ('empty', NULL, 'then')`)
	s := my(db, sqlstore.Table{Collection: "c", Columns: []sqlstore.Column{{Name: "opt", Field: "option", OmitNull: true}}, Exclude: []string{"seen", "changed"}},
		sqlstore.Table{Collection: "settings", Value: "value"}, sqlstore.Table{Collection: "prefs", Value: "value"})
	require.NoError(t, put(s, "c", record("x", `{"id":"x"}`), record("y", `{"id":"y","mode":null}`), record("z", `{"id":"z","port":5,"option":"q"}`)))
	require.Equal(t, []string{
		`x {"id":"x","port":22,"mode":"ab","note":null}`,
		`y {"id":"y","port":22,"mode":null,"note":null}`,
		`z {"id":"z","port":5,"mode":"ab","note":null,"option":"q"}`,
	}, dump(t, s, "c"))
	require.Equal(t, []string{"today", "never", "never"}, column(t, db, "SELECT seen FROM c ORDER BY id"))
	require.Equal(t, []string{"2002", "2001", "2001"}, column(t, db, "SELECT year(changed) FROM c ORDER BY id"), "what the host has is left alone")
	require.NoError(t, put(s, "settings", record("theme", `"light"`), record("new", ` "x" `)))
	require.NoError(t, put(s, "prefs", record("a", `null`), record("c", `"text"`), record("d", ` [ 1 ] `)))
	require.Equal(t, []string{`empty null`, `new "x"`, `theme "light"`}, dump(t, s, "settings"))
	require.Equal(t, []string{`a null`, `c "text"`, `d [1]`}, dump(t, s, "prefs"))
	require.Equal(t, []string{"then", "now", "then"}, column(t, db, "SELECT updated_at FROM settings ORDER BY name"))
}

func TestMariaDBNeverOverwritesAnotherRecordWithTheSameUniqueValue(t *testing.T) {
	db, _ := newMariaDB(t, `CREATE TABLE u (id varchar(9) PRIMARY KEY, name varchar(20) NOT NULL UNIQUE, CHECK (name <> 'no')); CREATE TABLE w (number int PRIMARY KEY AUTO_INCREMENT, id varchar(9) NOT NULL UNIQUE, name varchar(20) UNIQUE)`)
	s := my(db, sqlstore.Table{Collection: "u"}, sqlstore.Table{Collection: "w", Key: "id"})
	var records []backup.Record
	for i := range 200 {
		records = append(records, record(fmt.Sprint(i), fmt.Sprintf(`{"id":"%d","name":"n%d"}`, i, i)))
	}
	for _, c := range []struct{ member, want string }{{`"name":null`, "null"}, {`"name":"n3"`, "clash over a unique value"}, {`"name":"N3"`, "clash over a unique value"}, {`"name":"no"`, "CONSTRAINT"}, {`"id":"77"`, "cannot hold the value"}} {
		records[77] = record("77", `{"id":"77",`+c.member+`}`)
		if c.member == `"id":"77"` {
			records[77] = record("77", `{"id":"77"}`)
		}
		err := put(s, "u", records...)
		require.ErrorContains(t, err, `u "77"`)
		require.ErrorContains(t, err, c.want)
		require.Empty(t, dump(t, s, "u"))
	}
	exec(t, db, "INSERT INTO u VALUES ('a', 'secret'), ('b', 'y')")
	exec(t, db, "INSERT INTO w VALUES (1, 'a', 'secret'), (2, 'b', 'y')")
	before, beforeW := dump(t, s, "u"), dump(t, s, "w")
	for c, r := range map[string][]backup.Record{
		"u": {record("c", `{"id":"c","name":"secret"}`), record("b", `{"id":"b","name":"secret"}`)},
		"w": {record("c", `{"id":"c","number":3,"name":"secret"}`), record("b", `{"id":"b","number":2,"name":"secret"}`), record("b", `{"id":"b","number":1,"name":"x"}`), record("c", `{"id":"c","number":1,"name":"x"}`)},
	} {
		for _, r := range r {
			err := put(s, c, r)
			require.ErrorContains(t, err, "clash over a unique value", string(r.Value))
			require.NotContains(t, err.Error(), "secret")
			require.ErrorContains(t, err, c+" "+quoted(r.Key))
			t.Log(err)
		}
	}
	require.Equal(t, before, dump(t, s, "u"))
	require.Equal(t, beforeW, dump(t, s, "w"))
	// A failure cannot be committed.
	err := s.Update(t.Context(), func(w backup.Writer) error {
		_ = w.Put(t.Context(), "u", []backup.Record{record("d", `{"id":"d","name":"n"}`), record("e", `{"id":"e"}`)})
		return nil
	})
	require.Error(t, err)
	require.Equal(t, before, dump(t, s, "u"))
}

// By the collation of the connection, MariaDB could take the keys of one lookup for the
// same key (findings/mariadb-arguments-of-two-keys.sh).
func TestMariaDBLooksUpKeysThatDifferInCaseOnly(t *testing.T) {
	db, _ := newMariaDB(t, "CREATE TABLE members (tenant bigint NOT NULL, id varchar(40) COLLATE utf8mb4_bin NOT NULL, PRIMARY KEY (tenant, id)); INSERT INTO members VALUES (2, 'A'), (2, 'a')")
	s := my(db, sqlstore.Table{Collection: "members"})
	require.NoError(t, s.Update(t.Context(), func(w backup.Writer) error {
		found, err := w.Lookup(t.Context(), "members", []string{joined("2", "A"), joined("2", "a")})
		require.Len(t, found, 2)
		return err
	}))
}
