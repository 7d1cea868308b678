package sqlstore

import (
	"math"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
)

func TestAFloatStandsForItselfWithAnyDigitsThatAreItsOwn(t *testing.T) {
	for _, c := range []struct {
		json string
		bits int
		want string // empty: refused
	}{
		{"9.999999999999999e+22", 64, "1e+23"}, // as PostgreSQL writes it
		{"4.9999999999999996e+22", 64, "5e+22"},
		{"7.6962304e+07", 32, "76962300"},
		{"0.00024414062", 32, "0.00024414063"},
		{"0.10000000000000001", 64, "0.1"}, // 17 digits, as others write it
		{"-0", 64, "-0"}, {"-0.0e5", 32, "-0"}, {"1.50", 64, "1.5"}, {"72057594037927936", 64, "72057594037927940"},
		{"9007199254740993", 64, ""}, {"0.1000000014901161", 32, ""}, {"0.123456789", 32, ""}, {"16777217", 32, ""},
		{"0.100000000000000005551", 64, ""}, {"1e400", 64, ""}, {"1e-400", 64, ""}, {"1e39", 32, ""}, {"-inf", 64, ""},
	} {
		v, err := parseReal(c.json, c.bits)
		if c.want == "" {
			require.ErrorIs(t, err, backup.ErrInvalid, c.json)
			continue
		}
		require.NoError(t, err, c.json)
		require.Equal(t, c.want, string(appendReal(nil, v, c.bits, false)))
		back, err := strconv.ParseFloat(c.want, c.bits)
		require.NoError(t, err)
		require.Equal(t, math.Float64bits(v), math.Float64bits(back))
	}
}

func TestNormalChangesTheFloatsOfARecordAndNothingElse(t *testing.T) {
	for _, c := range []struct {
		d              Dialect
		column         *column
		record, normal string // empty: the same
	}{
		{PostgreSQL, postgresColumnOf("float8"), `{"c":9.999999999999999e+22}`, `{"c":1e+23}`},
		{PostgreSQL, postgresColumnOf("float8"), `{ "c" : 1e+23 }`, `{"c":1e+23}`},
		{PostgreSQL, postgresColumnOf("float8"), `{"c":9007199254740993}`, `{"c":9007199254740993}`},
		{PostgreSQL, postgresColumnOf("float8"), `{"x":9.999999999999999e+22}`, ""},
		{PostgreSQL, postgresColumnOf("float8"), `[1]`, ""},
		{PostgreSQL, postgresColumnOf("_float4"), `{"c":[[7.6962304e+07,null],["NaN",-0]]}`, `{"c":[[76962300,null],["NaN",-0]]}`},
		{PostgreSQL, postgresColumnOf("numeric"), `{"c":9.999999999999999e+22}`, ""},
		{PostgreSQL, postgresColumnOf("jsonb"), `{"c":[9.999999999999999e+22]}`, ""},
		{MariaDB, mariadbColumnOf("float"), `{"c":7.6962304e+07}`, `{"c":76962300}`},
		{SQLite, sqliteColumnOf("REAL"), `{"c":9.999999999999999e+22}`, `{"c":1e+23}`},
		{SQLite, sqliteColumnOf("NUMERIC"), `{"c":72057594037927936}`, ""}, // an integer
		{SQLite, sqliteColumnOf("NUMERIC"), `{"c":7.2057594037927936e16}`, `{"c":72057594037927940.0}`},
		{SQLite, sqliteColumnOf("JSON"), `{"c":{"a":9.999999999999999e+22}}`, ""},
	} {
		table := &table{plain: "t", columns: []*column{settled(t, c.d, c.column)}, value: -1}
		require.NoError(t, table.prepare(c.d))
		normal, _ := table.appendNormal(nil, c.d, c.record)
		require.Equal(t, c.normal, string(normal), c.record)
	}
}

func TestSequencesInADefaultOfMariaDB(t *testing.T) {
	require.Equal(t, []string{"`d`.`s`", "`d`.`it's ``odd`` (`"}, sequencesIn("concat(nextval(`d`.`s`),'-',nextval(`d`.`it's ``odd`` (`),nextval(`d`.`s`))"))
	require.Empty(t, sequencesIn("lastval(`d`.`s`)"))
}
