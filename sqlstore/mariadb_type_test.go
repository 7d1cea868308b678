package sqlstore

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// mariadbColumnOf makes a column with a COLUMN_TYPE. Text and bytes can be 9 long.
func mariadbColumnOf(declared string) *column {
	base, rest, _ := strings.Cut(declared, "(")
	base, _, _ = strings.Cut(base, " ")
	c := &column{Column: Column{Name: "c", Field: "c"}, quoted: "c", declared: declared}
	c.my = mariadbColumn{base: base, unsigned: strings.Contains(declared, "unsigned"), zerofill: strings.Contains(declared, "zerofill"), chars: 9, octets: 9, scale: -1, charset: "utf8mb4", collation: "utf8mb4_general_ci"}
	switch base {
	case "bit":
		c.my.precision = int64(rest[0] - '0')
	case "decimal":
		c.my.precision, c.my.scale = 9, 2
	case "datetime", "timestamp", "time":
		c.my.scale = 3
	case "enum", "set":
		c.my.labels = labelsOf(rest)
	}
	return c
}

func TestTypesOfMariaDB(t *testing.T) {
	const (
		integers = "Text Integer Real Bool"
		texts    = "Text JSON JSONBytes"
		blobs    = "Text JSONBytes Blob Hex"
		asText   = "CAST(c AS CHAR)"
		text     = `{"type": "string"}`
		nine     = `{"type": "string", "maxLength": 9}`
		base64   = `{"type": "string", "contentEncoding": "base64"}`
	)
	tests := []typeTest{
		{"tinyint(1)", Bool, integers, "Text Integer", "c", `{"type": ["boolean", "integer"]}`},
		{"tinyint(1) zerofill", Integer, integers, "Text Integer", "(c+0)", `{"type": "integer"}`},
		{"tinyint(4)", Integer, integers, "Text Integer", "c", `{"type": "integer"}`},
		{"smallint(6)", Integer, integers, "Text Integer", "c", `{"type": "integer"}`},
		{"mediumint(9)", Integer, integers, "Text Integer", "c", `{"type": "integer"}`},
		{"int(10) unsigned zerofill", Integer, integers, "Text Integer", "(c+0)", `{"type": "integer"}`},
		{"bigint(20)", Integer, integers, "Text Integer", "c", `{"type": "integer"}`},
		{"bit(1)", Bool, integers, "", "(c+0)", `{"type": "boolean"}`},
		{"bit(8)", Integer, integers, "", "(c+0)", `{"type": "integer"}`},
		{"year(4)", Integer, integers, "", "(c+0)", `{"type": "integer"}`},
		{"decimal(9,2)", Real, "Real", "", "c", `{"type": "number"}`},
		{"decimal(9,2) zerofill", Real, "Real", "", "(c+0)", `{"type": "number"}`},
		{"float", Real, "Real", "", "(c*1e0)", `{"type": "number"}`},
		{"double", Real, "Real", "", "(c*1e0)", `{"type": "number"}`},
		{"char(9)", Text, texts, "Text", "c", nine},
		{"varchar(9)", Text, texts, "Text", "c", nine},
		{"tinytext", Text, texts, "Text", "c", text},
		{"text", Text, texts, "Text", "c", text},
		{"mediumtext", Text, texts, "Text", "c", text},
		{"longtext", Text, texts, "Text", "c", text},
		{"enum('a','it''s')", Text, "Text", "", "c", `{"type": "string", "enum": ["a", "it's"]}`},
		{"set('a')", Text, "Text", "", "c", text},
		{"json", JSON, texts, "", "c", `{}`},
		{"binary(9)", Blob, "Text Blob Hex", "Hex", "c", base64},
		{"varbinary(9)", Blob, blobs, "Text Hex", "c", base64},
		{"tinyblob", Blob, blobs, "", "c", base64},
		{"blob", Blob, blobs, "", "c", base64},
		{"mediumblob", Blob, blobs, "", "c", base64},
		{"longblob", Blob, blobs, "", "c", base64},
		{"date", Text, "Text", "", asText, text},
		{"time", Text, "Text", "", asText, text},
		{"datetime", Text, "Text", "", asText, text},
		{"timestamp", Text, "Text", "", asText, text},
		{"uuid", Text, "Text", "Text", asText, `{"type": "string", "format": "uuid"}`},
		{"inet4", Text, "Text", "", "INET6_ATON(" + asText + ")", `{"type": "string", "format": "ipv4"}`},
		{"inet6", Text, "Text", "", "INET6_ATON(" + asText + ")", `{"type": "string", "format": "ipv6"}`},
	}
	testTypes(t, MariaDB, mariadbColumnOf, tests)
	tried := map[string]bool{"int": true}
	for _, test := range tests {
		tried[mariadbColumnOf(test.declared).my.base] = true
	}
	for base := range mariadbTypes {
		require.True(t, tried[base], base)
	}

	require.ErrorContains(t, MariaDB.settle(mariadbColumnOf("point"), 0), "there is no JSON for point: exclude it")
	require.ErrorContains(t, MariaDB.settle(mariadbColumnOf("year(2)"), 0), "make it YEAR")
	c := mariadbColumnOf("text")
	c.key, c.nullable = true, true
	require.ErrorContains(t, MariaDB.settle(c, 0), "NOT NULL")
}

// A character that Unicode lacks must be an error and not a question mark.
func TestMariaDBReadsOtherCharacterSetsThroughUTF8AndBack(t *testing.T) {
	c := mariadbColumnOf("varchar(9)")
	c.my.charset = "latin1"
	require.Equal(t, "IF(CAST(CONVERT(CONVERT(c USING utf8mb4) USING latin1) AS BINARY) <=> CAST(c AS BINARY), CAST(CONVERT(c USING utf8mb4) AS BINARY), x'FF')", settled(t, MariaDB, c).read)
	c = mariadbColumnOf("varchar(9)")
	c.my.charset = "ascii"
	require.Equal(t, "c", settled(t, MariaDB, c).read)
}

func TestMariaDBStoresWhatItReadsAgain(t *testing.T) {
	for _, c := range []struct {
		declared string
		kind     Kind
		json     string // what is read, and what is stored for it
		stored   any
		raw      any // what the driver returns
	}{
		{"int(11)", Auto, `-5`, int64(-5), int64(-5)},
		{"bigint(20) unsigned", Auto, `18446744073709551615`, uint64(1<<64 - 1), uint64(1<<64 - 1)},
		{"int(11)", Text, `"7"`, int64(7), int64(7)},
		{"tinyint(1)", Auto, `true`, int64(1), int64(1)},
		{"tinyint(1)", Auto, `5`, int64(5), int64(5)},
		{"decimal(9,2)", Auto, `1.50`, "1.50", []byte("1.50")},
		{"float", Auto, `0.1`, float64(float32(0.1)), []byte("0.10000000149011612")},
		{"double", Auto, `1e-7`, 1e-7, []byte("1e-7")},
		{"varchar(9)", Auto, `"é"`, "é", []byte("é")},
		{"enum('a','b')", Auto, `"b"`, "b", []byte("b")},
		{"set('a','b','c')", Auto, `"a,c"`, "a,c", []byte("a,c")},
		{"varbinary(9)", Auto, `"AP8="`, []byte{0, 255}, []byte{0, 255}},
		{"varbinary(9)", Text, `"a"`, "a", []byte("a")},
		{"json", Auto, `{"a":null}`, `{"a":null}`, []byte(`{"a": null}`)},
		{"date", Auto, `"0000-00-00"`, "0000-00-00", []byte("0000-00-00")},
		{"time", Auto, `"-838:59:59.5"`, "-838:59:59.5", []byte("-838:59:59.500")},
		{"datetime", Auto, `"2024-01-15T10:30:00.5"`, "2024-01-15 10:30:00.5", []byte("2024-01-15 10:30:00.500")},
		{"timestamp", Auto, `"2024-01-15T10:30:00Z"`, "2024-01-15 10:30:00", []byte("2024-01-15 10:30:00.000")},
		{"uuid", Auto, `"0188f5f0-6a3c-7000-8000-00000000000f"`, "0188f5f0-6a3c-7000-8000-00000000000f", []byte("0188f5f0-6a3c-7000-8000-00000000000f")},
		{"inet4", Auto, `"10.0.0.1"`, "10.0.0.1", []byte{10, 0, 0, 1}},
		{"inet6", Auto, `"::1"`, "::1", []byte{15: 1}},
	} {
		column := mariadbColumnOf(c.declared)
		column.Kind = c.kind
		settled(t, MariaDB, column)
		require.Equal(t, c.stored, bound(MariaDB, column, c.json), "%s %s", c.declared, c.json)
		b, err := appendValue(MariaDB, nil, column, c.raw)
		require.NoError(t, err)
		require.Equal(t, strings.Replace(c.json, "1e-7", "1e-07", 1), string(b), c.declared)
	}
}

func TestMariaDBRefusesAnotherFormThanItReads(t *testing.T) {
	for declared, refused := range map[string][]string{
		"int(11)":             {`1.5`, `1e3`, `9223372036854775808`, `"1"`},
		"bigint(20) unsigned": {`-1`, `18446744073709551616`},
		"year(4)":             {`1900`, `2156`},
		"tinyint(1)":          {`1`, `0`, `"a"`},
		"decimal(9,2)":        {`1.234`, `12345678`, `1e99999`},
		"float":               {`0.123456789`},
		"char(9)":             {`"a "`, `"0123456789"`},
		"varchar(9)":          {`"0123456789"`, `"éééééé"`, `1`},
		"enum('a')":           {`"b"`, `""`},
		"set('a','b')":        {`"b,a"`, `"c"`},
		"binary(9)":           {`"AP8="`},
		"varbinary(9)":        {`"AAAAAAAAAAAAAAAA"`},
		"date":                {`"2024-1-15"`, `"2024-01-15T00:00:00"`},
		"time":                {`"1:00:00"`, `"012:00:00"`, `"-00:00:00"`, `"10:00:00.50"`, `"10:00:00.1234"`},
		"datetime":            {`"2024-01-15 10:30:00"`, `"2024-01-15T10:30:00Z"`, `"2024-01-15T10:30:00.0"`},
		"timestamp":           {`"2024-01-15T10:30:00"`, `null`},
		"uuid":                {`"0188F5F0-6A3C-7000-8000-00000000000F"`},
		"inet4":               {`"::1"`, `"010.0.0.1"`},
		"inet6":               {`"10.0.0.1"`, `"0:0::1"`, `"fe80::1%eth0"`},
	} {
		column := settled(t, MariaDB, mariadbColumnOf(declared))
		for _, json := range refused {
			_, err := bindValue(MariaDB, column, json)
			require.Error(t, err, "%s %s", declared, json)
		}
	}
	enum := settled(t, MariaDB, mariadbColumnOf("enum('a')"))
	_, err := appendValue(MariaDB, nil, enum, []byte(""))
	require.ErrorContains(t, err, "not one of its labels")
}

func TestLabelsAreReadAsTheServerWritesThem(t *testing.T) {
	require.Equal(t, []string{"a", "it's", "b,c", "", `\`, "\n"}, labelsOf(`('a','it''s','b,c','','\\','\n')`))
}

func TestStatementsOfMariaDB(t *testing.T) {
	table := statementTable(t, MariaDB, "varbinary(9)", mariadbColumnOf)
	require.Equal(t, "(b=? AND a=? OR b=? AND a=?)", MariaDB.match(table, 2))
	require.Equal(t, []any{1, 2}, mariadb{}.arguments(table, []any{1, 2}))
	require.Equal(t, "INSERT INTO t (a,b,v) VALUES (?,?,?),(?,?,?) ON DUPLICATE KEY UPDATE b=IF(b <=> VALUES(b) AND a <=> VALUES(a),b,18446744073709551615 + (1+LENGTH(VALUES(b)))),v=VALUES(v),d=DEFAULT",
		MariaDB.upsert(table, table.columns[:3], 2))

	// To this collation "a" and "A" are the same key.
	table = statementTable(t, MariaDB, "varchar(9)", mariadbColumnOf)
	table.columns[0].my.collation = "utf8mb4_nopad_bin"
	like := "CONVERT(? USING utf8mb4) COLLATE utf8mb4_general_ci"
	require.Equal(t, "(b="+like+" AND a=? AND CAST(CONVERT(b USING utf8mb4) AS BINARY)=CAST(? AS BINARY) AND a=?)", MariaDB.match(table, 1))
	require.Equal(t, []any{1, 2, 1, 2, 3, 4, 3, 4}, mariadb{}.arguments(table, []any{1, 2, 3, 4}))
	table.keys = []int{1}
	require.Equal(t, "b IN ("+like+","+like+") AND CAST(CONVERT(b USING utf8mb4) AS BINARY) IN (CAST(? AS BINARY),CAST(? AS BINARY))", MariaDB.match(table, 2))
	require.Equal(t, []any{1, 2, 1, 2}, mariadb{}.arguments(table, []any{1, 2}))
	require.Contains(t, MariaDB.upsert(table, table.columns[:3], 1), "CAST(b AS BINARY) <=> CAST(VALUES(b) AS BINARY)")
}
