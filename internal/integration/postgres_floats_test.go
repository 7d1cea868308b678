package integration

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/testtime"
	"github.com/tomo-project/backup/sqlstore"
)

var thingsApp = &backup.App{Name: "things", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{{Name: "things", Key: "/id"}}}

// snapshotOf backs up from a store.
func snapshotOf(t testing.TB, app *backup.App, from backup.DataSource) *backup.Snapshot {
	t.Helper()
	var file bytes.Buffer
	_, err := app.Backup(t.Context(), &file, from, backup.BackupOptions{})
	require.NoError(t, err)
	return opened(t, file.Bytes())
}

func opened(t testing.TB, file []byte) *backup.Snapshot {
	t.Helper()
	s, err := backup.OpenSnapshot(t.Context(), bytes.NewReader(file), backup.OpenOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// oldSnapshot is a backup of records of things, as text.
func oldSnapshot(t testing.TB, records ...string) *backup.Snapshot {
	t.Helper()
	return opened(t, []byte(`{"version":"1.0","created_at":"2024-01-15T10:30:00Z","application":"things","application_version":"1.0.0","schema_version":1,"data":{"things":[`+strings.Join(records, ",\n")+`]}}`))
}

// oddFloats are numbers for which PostgreSQL writes more digits than it must, or others.
var oddFloats = []struct{ typ, number, postgres string }{
	{"real", "76962300", "7.6962304e+07"},
	{"real", "4300000000", "4.3000003e+09"},
	{"real", "0.00024414063", "0.00024414062"},
	{"double precision", "1e+23", "9.999999999999999e+22"},
	{"double precision", "5e+22", "4.9999999999999996e+22"},
	{"double precision", "1728857175496048000", "1.7288571754960481e+18"},
}

// A float in PostgreSQL, and the same in an array and in a domain.
const floatsSchema = `CREATE DOMAIN grams AS real; CREATE DOMAIN metres AS double precision CHECK (VALUE IS NOT NULL);
	CREATE TABLE things (id integer PRIMARY KEY, r real, d double precision, rs real[], ds double precision[], g grams, m metres DEFAULT 0)`

// bits reads the bits of all numbers, and nothing that the server writes as decimals.
const bitsOfFloats = `SELECT concat_ws(' ', id, float4send(r), float8send(d), array_send(rs), array_send(ds), float4send(g), float8send(m)) FROM things ORDER BY id`

// randomFloats returns SQL literals of finite floats of 32 and 64 bits. Large whole numbers
// are frequent, for which PostgreSQL and Go disagree most.
func randomFloats(random *rand.Rand) (float32, float64) {
	switch random.IntN(4) {
	case 0:
		return float32(random.Int64N(1 << 40)), float64(random.Uint64())
	case 1: // powers of two, where the gaps on both sides differ
		return float32(math.Ldexp(1, random.IntN(250)-140)), math.Ldexp(1, random.IntN(2000)-1000)
	case 2:
		return float32(math.Pow(10, float64(random.IntN(70)-35))), math.Pow(10, float64(random.IntN(600)-300))
	}
	for {
		f, d := math.Float32frombits(random.Uint32()), math.Float64frombits(random.Uint64())
		if f == f && !math.IsInf(float64(f), 0) && !math.IsNaN(d) && !math.IsInf(d, 0) {
			return f, d
		}
	}
}

func fillFloats(t testing.TB, insert func(string), n int) {
	t.Helper()
	random := rand.New(rand.NewPCG(14, 1))
	row := func(i int, r, d string) {
		insert(fmt.Sprintf("INSERT INTO things VALUES (%d, '%s', '%s', '{%[2]s,NULL,-0,NaN}', '{{%[3]s,-0},{-Infinity,1e23}}', '%[2]s', '%[3]s')", i, r, d))
	}
	for i := range n {
		f, d := randomFloats(random)
		row(i, strconv.FormatFloat(float64(f), 'g', -1, 32), strconv.FormatFloat(d, 'g', -1, 64))
	}
	row(n, "76962304", "1e23")
	row(n+1, "0.000244140625", "5e22")
	row(n+2, "-0", "-0")
	row(n+3, "1e-45", "5e-324")
	row(n+4, "3.4028235e38", "1.7976931348623157e308")
	insert(fmt.Sprintf("INSERT INTO things (id, rs, ds) VALUES (%d, '{}', '{{{1e23}}}')", n+5))
}

func TestPostgresFloatsComeBackWithTheSameBits(t *testing.T) {
	from, _ := newPostgres(t, floatsSchema)
	to, _ := newPostgres(t, floatsSchema)
	var all strings.Builder
	fillFloats(t, func(s string) { all.WriteString(s + ";") }, testtime.Pick(t, 300, 20000))
	exec(t, from, all.String())
	s := snapshotOf(t, thingsApp, pg(from, sqlstore.Table{Collection: "things"}))
	store := pg(to, sqlstore.Table{Collection: "things"})
	_, err := thingsApp.Restore(t.Context(), s, store, backup.RestoreOptions{Strategy: backup.Replace})
	require.NoError(t, err)
	require.Equal(t, column(t, from, bitsOfFloats), column(t, to, bitsOfFloats))
	again, err := thingsApp.Restore(t.Context(), s, store, backup.RestoreOptions{Strategy: backup.Replace})
	require.NoError(t, err)
	require.False(t, again.Changed(), "%+v", again)

	// What the server itself writes is restored too, and is no change.
	old := oldSnapshot(t, column(t, from, "SELECT to_json(t)::text FROM things t")...)
	again, err = thingsApp.Restore(t.Context(), old, store, backup.RestoreOptions{Strategy: backup.Replace})
	require.NoError(t, err)
	require.False(t, again.Changed(), "%+v", again)
	for _, strategy := range []backup.Strategy{backup.Replace, backup.Merge} {
		exec(t, to, "UPDATE things SET r = 1, d = 1, m = 1 WHERE id % 7 = 0")
		report, err := thingsApp.Restore(t.Context(), old, store, backup.RestoreOptions{Strategy: strategy})
		require.NoError(t, err)
		require.Zero(t, report.Collections[0].Altered, "%+v", report)
		require.Equal(t, column(t, from, bitsOfFloats), column(t, to, bitsOfFloats))
	}
	exec(t, to, "DELETE FROM things")
	_, err = thingsApp.Drill(t.Context(), old, store, backup.RestoreOptions{})
	require.NoError(t, err)
	require.Equal(t, column(t, from, bitsOfFloats), column(t, to, bitsOfFloats))
}

// Whichever database writes a number, another takes it, and then finds nothing to change.
func TestAFloatIsTheSameNumberToEachDatabase(t *testing.T) {
	for _, c := range oddFloats {
		db, _ := newPostgres(t, "")
		require.Equal(t, c.postgres, column(t, db, "SELECT to_json('"+c.number+"'::"+c.typ+")::text")[0])
		for name, store := range map[string]backup.Store{
			"PostgreSQL": func() backup.Store {
				db, _ := newPostgres(t, "CREATE TABLE things (id integer PRIMARY KEY, v "+c.typ+", a "+c.typ+"[])")
				return pg(db, sqlstore.Table{Collection: "things"})
			}(),
			"MariaDB": func() backup.Store {
				db, _ := newMariaDB(t, "CREATE TABLE things (id integer PRIMARY KEY, v "+strings.Replace(c.typ, "real", "float", 1)+", a json)")
				return my(db, sqlstore.Table{Collection: "things"})
			}(),
			"SQLite": store(open(t, "CREATE TABLE things (id INTEGER PRIMARY KEY, v REAL, a JSON)"), sqlstore.Table{Collection: "things"}),
		} {
			if c.typ == "real" && name == "SQLite" {
				continue // it has 64 bits
			}
			t.Run(name+" "+c.number, func(t *testing.T) {
				for i, text := range []string{c.number, c.postgres, c.number} {
					report, err := thingsApp.Restore(t.Context(), oldSnapshot(t, `{"id":1,"v":`+text+`,"a":[]}`), store, backup.RestoreOptions{Strategy: backup.Replace})
					require.NoError(t, err)
					require.Empty(t, report.Warnings[1:])
					require.Equal(t, i == 0, report.Changed(), text)
					require.Equal(t, []string{`1 {"id":1,"v":` + c.number + `,"a":[]}`}, dump(t, store, "things"))
				}
			})
		}
	}
}

func TestPostgresRefusesArraysOfFloatsThatItWouldChange(t *testing.T) {
	db, _ := newPostgres(t, "CREATE TABLE things (id integer PRIMARY KEY, r real[], d double precision[])")
	s := pg(db, sqlstore.Table{Collection: "things"})
	for _, refused := range []string{`"r":[0.1000000014901161]`, `"r":[1e39]`, `"d":[9007199254740993]`, `"d":[1e400]`, `"d":[[]]`, `"d":[[1],[2,3]]`, `"d":["1"]`, `"d":["inf"]`, `"d":[true]`, `"d":[{}]`, `"d":["a,b"]`, `"d":["{1}"]`, `"d":"{1}"`, `"d":[1,[2]]`, `"d":1`} {
		err := put(s, "things", record("1", `{"id":1,`+refused+`}`))
		require.ErrorIs(t, err, backup.ErrInvalid, refused)
	}
	require.NoError(t, put(s, "things", record("1", `{"id":1,"r":[ 1 , null ],"d":[[ -0 ],["NaN"]]}`)))
	require.Equal(t, []string{`1 {"id":1,"r":[1,null],"d":[[-0],["NaN"]]}`}, dump(t, s, "things"))
}

// A bpchar without a length keeps spaces at its end, though it ignores them when it
// compares.
func TestPostgresKeepsTheSpacesAtTheEndOfABpchar(t *testing.T) {
	const schema = `CREATE DOMAIN code AS bpchar; CREATE TABLE things (id integer PRIMARY KEY, v bpchar, c code, a bpchar[], f char(5), o char)`
	const bytesOf = `SELECT concat_ws(' ', encode(bpcharsend(v), 'hex'), encode(bpcharsend(c), 'hex'), array_send(a), encode(bpcharsend(f), 'hex'), o) FROM things ORDER BY id`
	from, _ := newPostgres(t, schema)
	to, _ := newPostgres(t, schema)
	exec(t, from, `INSERT INTO things VALUES (1, 'a  ', 'b ', '{"c  ",d}', 'e ', 'f'), (2, '   ', '', '{" "}', '', ''), (3, NULL, NULL, NULL, NULL, NULL)`)
	s := snapshotOf(t, thingsApp, pg(from, sqlstore.Table{Collection: "things"}))
	_, err := thingsApp.Restore(t.Context(), s, pg(to, sqlstore.Table{Collection: "things"}), backup.RestoreOptions{Strategy: backup.Replace})
	require.NoError(t, err)
	require.Equal(t, column(t, from, bytesOf), column(t, to, bytesOf))
	require.Contains(t, dump(t, pg(to, sqlstore.Table{Collection: "things"}), "things")[0], `"v":"a  ","c":"b ","a":["c  ","d"],"f":"e"`)

	keys, _ := newPostgres(t, `CREATE TABLE things (id bpchar PRIMARY KEY); INSERT INTO things VALUES ('a ')`)
	_, err = tryDump(pg(keys, sqlstore.Table{Collection: "things"}), "things")
	require.ErrorContains(t, err, "spaces at its end")
}
