package sqlstore

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A typeTest says what a column of an SQL type is.
type typeTest struct {
	declared string
	auto     Kind   // what it is if the host says nothing
	can      string // the kinds that it can be taken for, in their order
	key      string // those in a key, empty for a type that is not for keys
	read     string // the expression that reads the column c
	json     string // the JSON Schema of its values
}

// testTypes holds a dialect against a list of types. column makes a column c of a type.
func testTypes(t *testing.T, d Dialect, column func(declared string) *column, tests []typeTest) {
	for _, want := range tests {
		t.Run(want.declared, func(t *testing.T) {
			kinds := func(key bool) string {
				var can []string
				for k := Text; k <= Hex; k++ {
					c := column(want.declared)
					c.Kind, c.key = k, key
					if d.settle(c, 0) == nil {
						can = append(can, k.String())
					}
				}
				return strings.Join(can, " ")
			}
			c := column(want.declared)
			require.NoError(t, d.settle(c, 0))
			require.Equal(t, want, typeTest{want.declared, c.Kind, kinds(false), kinds(true), c.read, d.jsonType(c).String()})
			require.Equal(t, c.Kind == JSON && want.declared[0] != '_', c.document && c.OmitNull)
		})
	}
}

func TestAKeyIsNeverLeftOut(t *testing.T) {
	for _, c := range []struct {
		d Dialect
		*column
	}{{SQLite, sqliteColumnOf("TEXT")}, {PostgreSQL, postgresColumnOf("text")}, {MariaDB, mariadbColumnOf("text")}} {
		c.key, c.OmitNull = true, true
		require.ErrorContains(t, c.d.settle(c.column, 0), "a key cannot be left out")
	}
}

func TestAnErrorNamesTheTypeAndWhatItCannotBe(t *testing.T) {
	c := mariadbColumnOf("decimal(9,2)")
	c.Kind = Bool
	require.EqualError(t, MariaDB.settle(c, 0), "declared decimal(9,2) it cannot be Bool")
	c = sqliteColumnOf("REAL")
	c.key = true
	require.EqualError(t, SQLite.settle(c, 0), "a key cannot be REAL: it is text, an integer or a blob")
	c = postgresColumnOf("uuid")
	c.key, c.Kind = true, Integer
	require.EqualError(t, PostgreSQL.settle(c, 0), "a key that is uuid cannot be Integer")
	c = sqliteColumnOf("")
	c.Kind = Hex + 1
	require.EqualError(t, SQLite.settle(c, 0), "declared without a type it cannot be Kind(9)")
}

// bound returns what is stored for a JSON value, or the error.
func bound(d Dialect, c *column, json string) any {
	v, err := bindValue(d, c, json)
	if err != nil {
		return err.Error()
	}
	return v
}

// settled returns the column after the dialect has settled it.
func settled(t *testing.T, d Dialect, c *column) *column {
	t.Helper()
	require.NoError(t, d.settle(c, 0))
	return c
}

// statementTable has a key of two columns, one more that is set, and one with a
// default.
func statementTable(t *testing.T, d Dialect, typ string, column func(declared string) *column) *table {
	t.Helper()
	table := &table{name: "t", keys: []int{1, 0}, value: -1}
	for i, name := range []string{"a", "b", "v", "d"} {
		c := column(typ)
		c.Name, c.Field, c.quoted, c.key = name, name, name, i < 2
		table.columns = append(table.columns, c)
		require.NoError(t, d.settle(c, i))
	}
	table.columns[3].def = "7"
	return table
}
