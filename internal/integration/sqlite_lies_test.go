//go:build !race

package integration

import (
	"database/sql"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup/sqlstore"
)

// asStored returns what is in each row of a table, whatever the driver makes of it.
func asStored(t testing.TB, db *sql.DB, table, columns string) []string {
	t.Helper()
	var exprs []string
	for c := range strings.FieldsSeq(columns) {
		exprs = append(exprs, "typeof("+c+")||':'||coalesce(hex("+c+"),'')||quote("+c+")")
	}
	return column(t, db, "SELECT "+strings.Join(exprs, "||' '||")+" FROM "+table+" ORDER BY 1")
}

func TestSQLiteBacksUpWhatDeclaredTypesDoNotSay(t *testing.T) {
	const columns = "id js bin txt i flag at untyped jb r"
	schema := `CREATE TABLE things (id INTEGER PRIMARY KEY, js JSON, bin BLOB, txt TEXT NOT NULL DEFAULT '', i INTEGER, flag BOOLEAN, at DATETIME, untyped, jb JSON, r REAL);
		CREATE TABLE clean (id INTEGER PRIMARY KEY, js JSON, bin BLOB, txt TEXT, r REAL)`
	from, to := open(t, schema), open(t, schema)
	// A []byte of Go is a blob, whatever the column is declared.
	values := []any{`{"a":1}`, []byte(`{"a":[1.50]}`), "text", "", []byte{}, []byte{0, 255}, `{"$text":"x"}`, []byte(`{"$base64":"AA=="}`), `{"$bytes":1}`, `{"\u0024text":"x"}`, `{"$text":1,"b":2}`,
		`"a string"`, 7, 1.5, 2.0, -0.5, nil, "null", []byte("null"), "é日", []byte("é日"), "{", []byte("{"), "2024-01-15", []byte("2024-01-15T10:00:00Z")}
	for i, v := range values {
		id := 10 * i
		for c := range strings.FieldsSeq("js bin txt i flag at untyped r") {
			if c != "txt" || v != nil {
				exec(t, from, "INSERT INTO things (id, "+c+") VALUES (?, ?)", id, v)
			}
			id++
		}
	}
	exec(t, from, "UPDATE things SET jb = CAST('{\"id\":' || id || '}' AS BLOB) WHERE id % 3 = 0")
	exec(t, from, `INSERT INTO clean VALUES (1, '{}', x'00', 't', 1)`)
	s, app := describe(t, sqlstore.Store{DB: from, Dialect: sqlstore.SQLite})
	require.Equal(t, []sqlstore.Table{{Collection: "clean"}, {Collection: "things"}}, s.Tables)
	onto, again := describe(t, sqlstore.Store{DB: to, Dialect: sqlstore.SQLite})
	require.Equal(t, app, again, "a new database has no rows yet")
	transfer(t, again, s, onto)
	require.Equal(t, asStored(t, from, "things", columns), asStored(t, to, "things", columns))

	forms := map[string]string{}
	for _, line := range dump(t, s, "things") {
		_, text, _ := strings.Cut(line, " ")
		var record map[string]json.RawMessage
		require.NoError(t, json.Unmarshal([]byte(text), &record))
		for _, c := range []string{"js", "bin", "txt"} {
			forms[c] += " " + string(record[c])
		}
	}
	for _, form := range []string{`{"a":1}`, `{"$bytes":{"a":[1.50]}}`, `{"$text":"text"}`, `{"$text":""}`, `{"$base64":"AP8="}`, `{"$text":"{\"$text\":\"x\"}"}`, `{"$text":1,"b":2}`, `{"$bytes":null}`} {
		require.Contains(t, forms["js"]+" ", " "+form+" ")
	}
	for _, form := range []string{`"AP8="`, `{"$text":"text"}`, `7`, `1.5`} {
		require.Contains(t, forms["bin"]+" ", " "+form+" ")
	}
	for _, form := range []string{`"text"`, `{"$base64":"AP8="}`, `"7"`} {
		require.Contains(t, forms["txt"]+" ", " "+form+" ")
	}
	require.Contains(t, schemaOf(t, app, "things"), `"bin": {"type": ["string", "number", "object", "null"], "contentEncoding": "base64"}`)
	require.Contains(t, schemaOf(t, app, "things"), `"txt": {"type": ["string", "object"]}`)
}

func TestSQLiteDescribeNamesAllColumnsThatHoldWhatTheyMustNot(t *testing.T) {
	db := open(t, `CREATE TABLE a (id TEXT PRIMARY KEY, r REAL, txt TEXT, x); CREATE TABLE b (id INT PRIMARY KEY, bin BLOB, n NUMERIC);
		INSERT INTO a VALUES ('x', 9e999, x'00', 1), (NULL, 1, 't', -9e999); INSERT INTO b VALUES (1, 'text', 1.5), (2, x'00', 1)`)
	_, _, err := sqlstore.Store{DB: db, Dialect: sqlstore.SQLite, Tables: []sqlstore.Table{{Collection: "b", Columns: []sqlstore.Column{{Name: "bin", Kind: sqlstore.Blob}, {Name: "n", Kind: sqlstore.Integer}}}}}.Describe(t.Context())
	for _, want := range []string{
		`table "a": column "id": a key cannot be NULL`,
		`table "a": column "r": the column holds a number that JSON does not have (infinite): leave it out with Table.Exclude`,
		`table "a": column "x": the column holds a number that JSON does not have`,
		`table "b": column "bin": the column holds text and is taken for Blob: say what it is in Table.Columns`,
		`table "b": column "n": the column holds a real and is taken for Integer`,
	} {
		require.ErrorContains(t, err, want)
	}
}
