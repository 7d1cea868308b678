package sqlstore

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func sqliteColumnOf(declared string) *column {
	return &column{Column: Column{Name: "c", Field: "c"}, quoted: "c", declared: declared, nullable: true, lite: sqliteColumn{affinity: affinityOf(declared, false)}}
}

func TestTypesOfSQLite(t *testing.T) {
	const (
		all    = "Text Integer Real Bool JSON JSONBytes Blob Hex"
		tagged = "CASE typeof(c) WHEN 'text' THEN 'T'||c ELSE c END"
		any    = `{"type": ["number", "string", "object"]}`
	)
	testTypes(t, SQLite, sqliteColumnOf, []typeTest{
		{"INTEGER", Auto, all, "Text Integer Hex", tagged, any},
		{"TEXT", Auto, "Text JSON JSONBytes Blob Hex", "Text Hex", "c", `{"type": ["string", "object"]}`},
		{"VARCHAR(9)", Auto, "Text JSON JSONBytes Blob Hex", "Text Hex", tagged, `{"type": ["string", "object"]}`},
		{"BLOB", Blob, all, "Text Integer Hex", tagged, `{"type": ["string", "number", "object"], "contentEncoding": "base64"}`},
		{"REAL", Auto, "Text Integer Real JSONBytes Blob", "", tagged, any},
		{"NUMERIC", Auto, all, "Text Integer Hex", tagged, any},
		{"BOOLEAN", Bool, all, "Text Integer Hex", tagged, `{"type": ["boolean", "number", "string", "object"]}`},
		{"JSON", JSON, all, "Text Integer Hex", tagged, `{}`},
		{"DATETIME", Auto, all, "Text Integer Hex", tagged, any},
	})
	c := settled(t, SQLite, sqliteColumnOf(""))
	require.Equal(t, Auto, c.Kind)
	require.Equal(t, tagged, c.read)
	for declared, want := range map[string]Kind{"BIGINT": Integer, "TEXT": Text, "": Text, "NUMERIC": Auto} {
		c := sqliteColumnOf(declared)
		c.key = true
		require.Equal(t, want, settled(t, SQLite, c).Kind, declared)
	}
}

func TestAStrictTableOfSQLiteHoldsWhatIsDeclared(t *testing.T) {
	for declared, want := range map[string]string{"INTEGER": `{"type": "integer"}`, "REAL": `{"type": "number"}`, "TEXT": `{"type": "string"}`, "ANY": `{"type": ["number", "string", "object"]}`} {
		c := sqliteColumnOf(declared)
		c.lite = sqliteColumn{affinity: affinityOf(declared, true), strict: true}
		require.Equal(t, want, SQLite.jsonType(settled(t, SQLite, c)).String(), declared)
	}
}

func TestSQLiteStoresWhatItReadsAgain(t *testing.T) {
	changed := errChanged.Error()
	for _, c := range []struct {
		declared, json string
		want           any
	}{
		{"INTEGER", `12`, int64(12)},
		{"INTEGER", `12.0`, 12.0},
		{"INTEGER", `"12"`, changed},
		{"INTEGER", `" -.5e3 "`, changed},
		{"INTEGER", `"12a"`, "12a"},
		{"TEXT", `"12"`, "12"},
		{"REAL", `12`, 12.0},
		{"REAL", `9007199254740993`, changed},
		{"BOOLEAN", `true`, int64(1)},
		{"BOOLEAN", `2`, int64(2)},
		{"BLOB", `"AP8="`, []byte{0, 255}},
		{"JSON", `12`, int64(12)},
		{"JSON", `{"a":1}`, `{"a":1}`},
		{"JSON", `null`, `null`},
		{"TEXT", `null`, nil},
		{"TEXT", `{"$base64":"AP8="}`, []byte{0, 255}},
		{"BLOB", `{"$text":"a"}`, "a"},
		{"BLOB", `12`, int64(12)},
		{"JSON", `{"$text":"{\"$text\":1}"}`, `{"$text":1}`},
		{"JSON", `{"$text":""}`, ""},
		{"JSON", `{"$bytes":{"a":1}}`, []byte(`{"a":1}`)},
		{"JSON", `{"$base64":"AP8="}`, []byte{0, 255}},
	} {
		require.Equal(t, c.want, bound(SQLite, settled(t, SQLite, sqliteColumnOf(c.declared)), c.json), "%s %s", c.declared, c.json)
	}
	for _, refused := range [][2]string{{"TEXT", `12`}, {"TEXT", `true`}, {"BOOLEAN", `1`}, {"TEXT", `{"$text":"a"}`}, {"TEXT", `{"$bytes":1}`}, {"BLOB", `{"$base64":"AP8="}`}, {"BLOB", `{"a":1}`}, {"JSON", `{"$text":"{}"}`}, {"JSON", `{"$base64":"e30="}`}, {"INT", `{"$base64":"*"}`}, {"TEXT", `[1]`}, {"BLOB", `"*"`}} {
		_, err := bindValue(SQLite, settled(t, SQLite, sqliteColumnOf(refused[0])), refused[1])
		require.Error(t, err, refused)
	}
}

func TestStatementsOfSQLite(t *testing.T) {
	table := statementTable(t, SQLite, "TEXT", sqliteColumnOf)
	require.Equal(t, "(b=? AND a=? OR b=? AND a=?)", SQLite.match(table, 2))
	require.Equal(t, "INSERT INTO t (a,b,v) VALUES (?,?,?),(?,?,?) ON CONFLICT (b COLLATE BINARY, a COLLATE BINARY) DO UPDATE SET v=excluded.v,d=(7)", SQLite.upsert(table, table.columns[:3], 2))
	table.columns, table.keys, table.lite.resolves = table.columns[:2], []int{0}, true
	require.Equal(t, "a IN (?,?,?)", SQLite.match(table, 3))
	require.Equal(t, "INSERT OR ABORT INTO t (a,b) VALUES (?,?) ON CONFLICT (a COLLATE BINARY) DO NOTHING", SQLite.upsert(table, table.columns, 1))
}
