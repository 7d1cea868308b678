package sqlstore

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// postgresColumnOf makes a column of a type with its name in pg_type.
func postgresColumnOf(declared string) *column {
	base, _, modified := strings.Cut(declared, "(")
	c := &column{Column: Column{Name: "c", Field: "c"}, quoted: "c", declared: declared, nullable: true}
	c.pg = pgColumn{postgresType: postgresTypeOf(base), base: base, modified: modified}
	c.pg.element, c.pg.array = strings.CutPrefix(base, "_")
	return c
}

func TestTypesOfPostgreSQL(t *testing.T) {
	const (
		integers = "Text Integer Real Bool"
		asText   = "(c)::text"
		asArray  = "CASE WHEN left(c::text, 1) = '[' THEN 'array' ELSE to_json(c)::text END"
	)
	testTypes(t, PostgreSQL, postgresColumnOf, []typeTest{
		{"bool", Bool, "Text Bool", "", asText, `{"type": "boolean"}`},
		{"int2", Integer, integers, "Text Integer", asText, `{"type": "integer"}`},
		{"int4", Integer, integers, "Text Integer", asText, `{"type": "integer"}`},
		{"int8", Integer, integers, "Text Integer", asText, `{"type": "integer"}`},
		{"float4", Real, "Text Real", "", asText, `{"type": "number"}`},
		{"float8", Real, "Text Real", "", asText, `{"type": "number"}`},
		{"numeric", Real, "Text Integer Real", "", asText, `{"type": "number"}`},
		{"json", JSON, "Text JSON JSONBytes", "", asText, `{}`},
		{"jsonb", JSON, "Text JSON JSONBytes", "", asText, `{}`},
		{"bytea", Blob, "JSONBytes Blob", "", "c", `{"type": "string", "contentEncoding": "base64"}`},
		{"text", Text, "Text JSON JSONBytes", "Text", asText, `{"type": "string"}`},
		{"varchar", Text, "Text JSON JSONBytes", "Text", asText, `{"type": "string"}`},
		{"bpchar", Text, "Text JSON JSONBytes", "Text", "textin(bpcharout(c))", `{"type": "string"}`},
		{"uuid", Text, "Text", "Text", asText, `{"type": "string", "format": "uuid"}`},
		{"timestamp", Text, "Text", "", asText, `{"type": "string"}`},
		{"timestamptz", Text, "Text", "", asText, `{"type": "string"}`},
		{"inet", Text, "Text", "", "abbrev(c)", `{"type": "string"}`},
		{"tsrange", Text, "Text", "", asText, `{"type": "string"}`},
		{"_int4", JSON, "Text JSON", "", asArray, `{"type": "array", "items": {"type": ["integer", "null", "array"]}}`},
		{"_float8", JSON, "Text JSON", "", asArray, `{"type": "array", "items": {"type": ["number", "string", "null", "array"]}}`},
		{"_inet", JSON, "Text JSON", "", asArray, `{"type": "array", "items": {"type": ["string", "null", "array"]}}`},
	})
	c := postgresColumnOf("varchar(9)")
	c.pg.length = 9
	require.Equal(t, `{"type": "string", "maxLength": 9}`, PostgreSQL.jsonType(settled(t, PostgreSQL, c)).String())
	c = postgresColumnOf("mood")
	c.pg.labels = []string{"sad", "ok"}
	require.Equal(t, `{"type": "string", "enum": ["sad", "ok"]}`, PostgreSQL.jsonType(settled(t, PostgreSQL, c)).String())
}

// Values that PostgreSQL would round, cut or pad are compared with what it makes of
// them.
func TestPostgreSQLIsAskedWhetherItChangesAValue(t *testing.T) {
	for declared, asked := range map[string]bool{
		"text": false, "varchar": false, "varchar(9)": true, "bpchar": true, "int4": false, "bool": false, "float8": false,
		"numeric": false, "numeric(9,2)": true, "jsonb": false, "bytea": false, "uuid": true, "timestamptz": true, "inet": true, "_int4": true,
	} {
		c := settled(t, PostgreSQL, postgresColumnOf(declared))
		require.Equal(t, asked, strings.Contains(c.pg.write, misfit), declared)
	}
	c := postgresColumnOf("numeric(9,2)")
	require.Equal(t, "CASE WHEN v.c0::numeric(9,2) <> v.c0::numeric THEN ('"+misfit+"c\n'||random())::int::text::numeric(9,2) ELSE v.c0::numeric(9,2) END",
		settled(t, PostgreSQL, c).pg.write)
	c = postgresColumnOf("int4")
	c.Kind = Text
	require.Contains(t, settled(t, PostgreSQL, c).pg.write, "WHEN (v.c0::int4)::text <> v.c0 THEN")
}

func TestPostgreSQLStoresWhatItReadsAgain(t *testing.T) {
	changed := errChanged.Error()
	for _, c := range []struct {
		declared, json string
		want           any
	}{
		{"int4", `12`, "12"},
		{"numeric", `1.50`, "1.50"},
		{"float4", `0.1`, "0.1"},
		{"float4", `0.123456789`, changed},
		{"bool", `true`, "true"},
		{"text", `"a\nb"`, "a\nb"},
		{"timestamptz", `"2024-01-15T10:30:00.5Z"`, "2024-01-15 10:30:00.5+00"},
		{"timestamptz", `"2024-01-15 10:30:00Z"`, changed},
		{"timestamp", `"0044-03-15T00:00:00 BC"`, "0044-03-15 00:00:00 BC"},
		{"_int4", `[1,[2]]`, "[1,[2]]"},
		{"_int4", `null`, nil},
		{"jsonb", `null`, "null"},
		{"bytea", `"AP8="`, []byte{0, 255}},
	} {
		require.Equal(t, c.want, bound(PostgreSQL, settled(t, PostgreSQL, postgresColumnOf(c.declared)), c.json), "%s %s", c.declared, c.json)
	}
	for _, refused := range [][2]string{{"int4", `1.5`}, {"bool", `1`}, {"bool", `2`}, {"text", `1`}, {"text", `"\u0000"`}, {"_int4", `1`}, {"int4", `"1"`}, {"uuid", `[]`}} {
		_, err := bindValue(PostgreSQL, settled(t, PostgreSQL, postgresColumnOf(refused[0])), refused[1])
		require.Error(t, err, refused)
	}
	c := postgresColumnOf("int4")
	c.Kind = Bool
	settled(t, PostgreSQL, c)
	require.Equal(t, "1", bound(PostgreSQL, c, "true"))
	b, err := appendValue(PostgreSQL, nil, c, "0")
	require.NoError(t, err)
	require.Equal(t, "false", string(b))
	_, err = appendValue(PostgreSQL, nil, c, "2")
	require.ErrorContains(t, err, "is taken for Bool")
}

func TestStatementsOfPostgreSQL(t *testing.T) {
	table := statementTable(t, PostgreSQL, "text", postgresColumnOf)
	require.Equal(t, "(b, a) IN (SELECT * FROM unnest(ARRAY[$1::text,$3::text],ARRAY[$2::text,$4::text]))", PostgreSQL.match(table, 2))
	require.Equal(t, "INSERT INTO t (a,b,v) OVERRIDING SYSTEM VALUE SELECT v.c0::text,v.c1::text,v.c2::text FROM (VALUES ($1::text,$2::text,$3::text),($4::text,$5::text,$6::text)) AS v(c0,c1,c2)"+
		" ON CONFLICT (b,a) DO UPDATE SET v=excluded.v,d=DEFAULT", PostgreSQL.upsert(table, table.columns[:3], 2))
	require.Equal(t, "UPDATE t SET v=v.c2::text FROM (VALUES ($1::text,$2::text,$3::text)) AS v(c1,c0,c2) WHERE t.b = v.c1::text AND t.a = v.c0::text",
		postgres{}.update(table, table.columns[2:3], 1))
	table.columns, table.keys = table.columns[:2], []int{0}
	require.Equal(t, "a IN ($1::text,$2::text)", PostgreSQL.match(table, 2))
	require.Equal(t, "t.a COLLATE \"C\"", PostgreSQL.orderBy(table, table.columns[0]))
	require.True(t, strings.HasSuffix(PostgreSQL.upsert(table, table.columns, 1), " ON CONFLICT (a) DO NOTHING"))
}
