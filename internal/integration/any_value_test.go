//go:build !race

package integration

import (
	"database/sql"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/testtime"
	"github.com/tomo-project/backup/sqlstore"
)

// The promise of package sqlstore: a value that a column holds comes back exactly as it
// was, or the backup refuses it by name. These tests try random values of every type that
// Describe accepts.

// namesInCode returns the strings in a declaration of package sqlstore: the keys of a map,
// or all of a function. So a type that is added there is tried here.
func namesInCode(t testing.TB, file string, declarations ...string) (names []string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "../../sqlstore/"+file, nil, 0)
	require.NoError(t, err)
	add := func(n ast.Node) bool {
		if pair, ok := n.(*ast.KeyValueExpr); ok {
			n = pair.Key
		}
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			name, err := strconv.Unquote(lit.Value)
			require.NoError(t, err)
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
			return false
		}
		_, pair := n.(*ast.KeyValueExpr)
		return !pair
	}
	for _, declaration := range declarations {
		before := len(names)
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Name.Name == declaration {
					ast.Inspect(n.Body, add)
				}
				return false
			case *ast.ValueSpec:
				if n.Names[0].Name == declaration {
					for _, e := range n.Values[0].(*ast.CompositeLit).Elts {
						add(e.(*ast.KeyValueExpr).Key)
					}
				}
				return false
			}
			return true
		})
		require.Greater(t, len(names), before, "%s has no %s with strings", file, declaration)
	}
	return names
}

// A valueRound tries tables t0, t1… of one column v, each with a copy k0, k1… that stays.
type valueRound struct {
	db       *sql.DB
	store    sqlstore.Store
	declared []string                            // by table
	differ   func(table, copy, of string) string // the query of the ids of rows that are not the same
}

// check backs up all tables but for rows that the backup refuses by name, restores them
// into empty tables, and compares.
func (v valueRound) check(t *testing.T) (kept, refused int) {
	for i := range v.declared {
		v.store.Exclude = append(v.store.Exclude, fmt.Sprint("k", i))
	}
	// Describe refuses values that no backup can have. Here, the backup is to name them.
	for i := range v.declared {
		exec(t, v.db, fmt.Sprintf("DELETE FROM t%d", i))
	}
	store, app := describe(t, v.store)
	for i := range v.declared {
		exec(t, v.db, fmt.Sprintf("INSERT INTO t%d SELECT * FROM k%[1]d", i))
	}
	for i, typ := range v.declared {
		table := fmt.Sprint("t", i)
		one := store
		one.CoverAll, one.Tables = false, []sqlstore.Table{{Collection: table}}
		for {
			_, err := tryDump(one, table)
			if err == nil {
				break
			}
			var at *backup.RecordError
			require.ErrorAs(t, err, &at, typ)
			require.Equal(t, "/v", at.Pointer, typ)
			exec(t, v.db, fmt.Sprintf("DELETE FROM %s WHERE id = %s", table, at.Key))
			exec(t, v.db, fmt.Sprintf("DELETE FROM k%d WHERE id = %s", i, at.Key))
			refused++
		}
	}
	s := snapshotOf(t, app, store)
	for i, typ := range v.declared {
		n := column(t, v.db, fmt.Sprintf("SELECT count(*) FROM t%d", i))[0]
		rows, err := strconv.Atoi(n)
		require.NoError(t, err)
		if rows == 0 {
			t.Logf("no value of %s was kept", typ)
		}
		kept += rows
		exec(t, v.db, fmt.Sprintf("DELETE FROM t%d", i))
	}
	_, err := app.Restore(t.Context(), s, store, backup.RestoreOptions{Strategy: backup.Replace})
	require.NoError(t, err)
	for i, typ := range v.declared {
		require.Empty(t, column(t, v.db, v.differ(fmt.Sprint("t", i), fmt.Sprint("k", i), typ)), "%s has not come back as it was", typ)
	}
	again, err := app.Restore(t.Context(), s, store, backup.RestoreOptions{Strategy: backup.Replace})
	require.NoError(t, err)
	require.False(t, again.Changed(), "%+v", again)
	return kept, refused
}

// randomText has what texts can trip over.
func randomText(r *rand.Rand, most int) string {
	pieces := []string{" ", "  ", "a", "B", "é", "日本", "🚀", "'", `"`, `\`, "\n", "\t", "\r", "%", "{", "}", "[", "]", ",", "NULL", "null", "1", "-0", "1e5", "NaN", "/", "\u2028", "\u0000", "T", "true"}
	var b strings.Builder
	for range r.IntN(most + 1) {
		b.WriteString(pieces[r.IntN(len(pieces))])
	}
	return b.String()
}

// randomInteger is anywhere, or at an end.
func randomInteger(r *rand.Rand) int64 {
	switch r.IntN(3) {
	case 0:
		return int64(r.Uint64()) >> r.IntN(64)
	case 1:
		return []int64{0, 1, -1, math.MaxInt64, math.MinInt64, 1 << 53, 1<<53 + 1, 127, -128, 255, 32767, -32768, 65535, math.MaxInt32, math.MinInt32, math.MaxUint32}[r.IntN(16)]
	}
	return r.Int64N(200) - 100
}

func randomReal(r *rand.Rand) float64 {
	f, d := randomFloats(r)
	switch r.IntN(12) {
	case 0:
		return math.Copysign(0, -1)
	case 1:
		return float64(r.IntN(1000)) / 8
	case 2:
		return float64(f)
	}
	return d
}

func randomDecimal(r *rand.Rand) string {
	var digits strings.Builder
	for range 1 + r.IntN(30) {
		digits.WriteByte('0' + byte(r.IntN(10)))
	}
	text := strings.TrimLeft(digits.String(), "0") + "0"
	if r.IntN(2) == 0 {
		text = "-" + text
	}
	switch r.IntN(3) {
	case 0:
		return text + "." + strconv.Itoa(r.IntN(100000))
	case 1:
		return text[:min(len(text), 4)] + ".5"
	}
	return text
}

func randomJSON(r *rand.Rand, depth int) string {
	switch n := r.IntN(8); {
	case n == 0:
		return "null"
	case n == 1:
		return strconv.FormatInt(randomInteger(r), 10)
	case n == 2:
		return randomDecimal(r)
	case n == 3:
		return "true"
	case n == 4 && depth > 0:
		return "[" + randomJSON(r, depth-1) + "," + randomJSON(r, depth-1) + "]"
	case n == 5 && depth > 0:
		return fmt.Sprintf(`{"a":%s,"":%s}`, randomJSON(r, depth-1), randomJSON(r, depth-1))
	}
	return quoted(strings.ReplaceAll(randomText(r, 4), "\x00", ""))
}

func randomBytes(r *rand.Rand, most int) []byte {
	b := make([]byte, r.IntN(most+1))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func randomMoment(r *rand.Rand, years int) string {
	text := fmt.Sprintf("%04d-%02d-%02d %02d:%02d:%02d", 1+r.IntN(years), 1+r.IntN(12), 1+r.IntN(28), r.IntN(24), r.IntN(60), r.IntN(60))
	if r.IntN(2) == 0 {
		text += fmt.Sprintf(".%0*d", 1+r.IntN(6), r.IntN(10))
	}
	return text
}

func TestSQLiteReturnsAnyValueOrRefusesItByName(t *testing.T) {
	declared := append(namesInCode(t, "sqlite_type.go", "affinityOf", "namedKind"), "DATE", "DATETIME", "TIMESTAMP", "", "NUMERIC", "DECIMAL(10,2)", "VARCHAR(9)", "INTEGER", "BIGINT")
	r := rand.New(rand.NewPCG(14, 2))
	rounds, kept, refused := testtime.Pick(t, 1, 20), 0, 0
	for range rounds {
		var types []string
		var schema strings.Builder
		add := func(typ, options string) {
			for _, k := range []string{"t", "k"} {
				fmt.Fprintf(&schema, "CREATE TABLE %s%d (id INTEGER PRIMARY KEY, v %s)%s;", k, len(types), typ, options)
			}
			types = append(types, typ+options)
		}
		for _, typ := range declared {
			add(typ, "")
		}
		for _, typ := range []string{"INT", "INTEGER", "REAL", "TEXT", "BLOB", "ANY"} {
			add(typ, " STRICT")
		}
		db := open(t, schema.String())
		exec(t, db, "PRAGMA synchronous=OFF")
		tx, err := db.Begin()
		require.NoError(t, err)
		for i, typ := range types {
			for id := range 40 {
				var v any
				switch n := r.IntN(12); {
				case n < 3:
					v = randomInteger(r)
				case n < 6:
					v = randomReal(r)
				case n < 8 && !strings.Contains(typ, "JSON"):
					v = randomText(r, 5)
				case n < 8:
					v = randomJSON(r, 2)
				case n == 8:
					v = strconv.FormatFloat(randomReal(r), 'g', -1, 64)
				case n == 9:
					v = randomBytes(r, 5)
				case n == 10:
					v = math.Inf(1)
				}
				if _, err := tx.Exec(fmt.Sprintf("INSERT INTO t%d VALUES (?, ?)", i), id, v); err != nil {
					require.ErrorContains(t, err, "cannot store", typ) // STRICT
				}
			}
			_, err := tx.Exec(fmt.Sprintf("INSERT INTO k%d SELECT * FROM t%[1]d", i))
			require.NoError(t, err)
		}
		require.NoError(t, tx.Commit())
		k, f := valueRound{db: db, store: store(db), declared: types, differ: func(table, copy, _ string) string {
			return fmt.Sprintf("SELECT id || ' ' || coalesce(quote(k.v), '') || ' ' || coalesce(quote(t.v), '') FROM %s t FULL JOIN %s k USING (id) WHERE t.v IS NOT k.v OR typeof(t.v) <> typeof(k.v) OR hex(t.v) <> hex(k.v) OR printf('%%!.26g', t.v) <> printf('%%!.26g', k.v)", table, copy)
		}}.check(t)
		kept, refused = kept+k, refused+f
	}
	t.Logf("%d values came back, %d were refused by name", kept, refused)
	require.Greater(t, kept, rounds*300)
}

// pgRandom makes random literals of the types of PostgreSQL by their names in the catalog.
var pgRandom = map[string]func(*rand.Rand) string{
	"bool":  func(r *rand.Rand) string { return []string{"t", "f"}[r.IntN(2)] },
	"bytea": func(r *rand.Rand) string { return fmt.Sprintf("\\x%x", randomBytes(r, 6)) },
	"char":  func(r *rand.Rand) string { return []string{"a", "", " ", "'", "\\", `\351`}[r.IntN(6)] },
	"name":  pgText,
	"int8":  func(r *rand.Rand) string { return strconv.FormatInt(randomInteger(r), 10) },
	"int2":  func(r *rand.Rand) string { return strconv.Itoa(int(int16(randomInteger(r)))) },
	"int4":  func(r *rand.Rand) string { return strconv.Itoa(int(int32(randomInteger(r)))) },
	"oid":   pgUnsigned, "xid": pgUnsigned, "cid": pgUnsigned,
	"xid8":       func(r *rand.Rand) string { return strconv.FormatUint(uint64(randomInteger(r)), 10) },
	"int2vector": func(r *rand.Rand) string { return []string{"", "1", "1 -2 3"}[r.IntN(3)] },
	"oidvector":  func(r *rand.Rand) string { return []string{"", "1", "1 2 3"}[r.IntN(3)] },
	"regproc":    pgObject, "regprocedure": pgObject, "regoper": pgObject, "regoperator": pgObject, "regconfig": pgObject, "regdictionary": pgObject,
	"regcollation": pgObject, "regclass": pgObject, "regtype": pgObject, "regrole": pgObject, "regnamespace": pgObject, "regdatabase": pgObject,
	"text": pgText, "varchar": pgText, "bpchar": pgText, "citext": pgText, "refcursor": pgText,
	"tid":  func(r *rand.Rand) string { return fmt.Sprintf("(%d,%d)", r.Uint32(), r.IntN(65536)) },
	"json": pgJSON, "jsonb": pgJSON,
	"jsonpath": func(r *rand.Rand) string { return []string{"$", `$."a b"[*] ? (@ > 1.50)`, "strict $.a"}[r.IntN(3)] },
	"xml": func(r *rand.Rand) string {
		return []string{"", "text", "<a> b </a>", "<a/><b/>", `<?xml version="1.0"?><a/>`, "<![CDATA[x]]>"}[r.IntN(6)]
	},
	"point": pgShape("(%s,%s)"), "lseg": pgShape("[(%s,%s),(%s,%s)]"), "box": pgShape("(%s,%s),(%s,%s)"), "line": pgShape("{%s,%s,%s}"), "circle": pgShape("<(%s,%s),%s>"),
	"path":    func(r *rand.Rand) string { return pgShape([]string{"[(%s,%s)]", "((%s,%s),(%s,%s))"}[r.IntN(2)])(r) },
	"polygon": pgShape("((%s,%s),(%s,%s))"),
	"float4":  func(r *rand.Rand) string { return pgFloat(r, 32) },
	"float8":  func(r *rand.Rand) string { return pgFloat(r, 64) },
	"numeric": func(r *rand.Rand) string {
		return []string{randomDecimal(r), randomDecimal(r), strconv.FormatFloat(float64(r.IntN(99999))/100, 'f', r.IntN(6), 64), "NaN", "Infinity", "1e-30", "0.000"}[r.IntN(7)]
	},
	"money":    func(r *rand.Rand) string { return fmt.Sprintf("%d.%02d", randomInteger(r)/1000, r.IntN(100)) },
	"macaddr":  func(r *rand.Rand) string { return fmt.Sprintf("%012x", r.Uint64()>>16) },
	"macaddr8": func(r *rand.Rand) string { return fmt.Sprintf("%016x", r.Uint64()) },
	"inet":     func(r *rand.Rand) string { return pgAddress(r, r.IntN(33)) },
	"cidr": func(r *rand.Rand) string {
		return []string{"10.0.0.0/8", "0.0.0.0/0", "1.2.3.4/32", "2001:db8::/32", "::1/128"}[r.IntN(5)]
	},
	"aclitem":   func(r *rand.Rand) string { return []string{"postgres=r/postgres", "=U*w/postgres"}[r.IntN(2)] },
	"date":      func(r *rand.Rand) string { return pgMoment(r, 10) },
	"time":      func(r *rand.Rand) string { return randomMoment(r, 9999)[11:] },
	"timetz":    func(r *rand.Rand) string { return randomMoment(r, 9999)[11:] + pgZone(r) },
	"timestamp": func(r *rand.Rand) string { return pgMoment(r, 99) },
	"timestamptz": func(r *rand.Rand) string {
		if text := pgMoment(r, 99); !strings.HasSuffix(text, "y") {
			return text + pgZone(r)
		}
		return "-infinity"
	},
	"interval": func(r *rand.Rand) string {
		return fmt.Sprintf("%d years %d months %d days %d hours %d.%06d seconds", r.IntN(300)-150, r.IntN(99)-50, r.IntN(999)-500, r.IntN(999)-500, r.IntN(99)-50, r.IntN(2)*r.IntN(1000000))
	},
	"bit":      func(r *rand.Rand) string { return strconv.FormatInt(r.Int64N(99), 2) },
	"varbit":   func(r *rand.Rand) string { return strconv.FormatInt(r.Int64N(99), 2)[r.IntN(2):] },
	"uuid":     func(r *rand.Rand) string { return fmt.Sprintf("%016x%016x", r.Uint64(), r.Uint64()) },
	"pg_lsn":   func(r *rand.Rand) string { return fmt.Sprintf("%X/%X", r.Uint32(), r.Uint32()) },
	"tsvector": func(r *rand.Rand) string { return []string{"", "a:1A b:2,3", `'it''s' ' b '`, `'\\'`}[r.IntN(4)] },
	"tsquery": func(r *rand.Rand) string {
		return []string{"", "a & !b", "'it''s':*A <2> c", "a <-> (b | c)"}[r.IntN(4)]
	},
	"ghstore": nil, "gtsvector": nil, "pg_node_tree": nil, "pg_ndistinct": nil, "pg_dependencies": nil, "pg_mcv_list": nil, "pg_brin_bloom_summary": nil, "pg_brin_minmax_multi_summary": nil,
	"txid_snapshot": pgSnapshot, "pg_snapshot": pgSnapshot,
	"int4range": pgRange("%d", 20), "int8range": pgRange("%d", 20), "numrange": pgRange("%d.50", 20), "tsrange": pgRange("2024-01-%02d 10:00:00.5", 28), "tstzrange": pgRange("2024-01-%02d 10:00:00+03:30", 28), "daterange": pgRange("2024-01-%02d", 28),
	"int4multirange": pgRanges("int4range"), "int8multirange": pgRanges("int8range"), "nummultirange": pgRanges("numrange"), "tsmultirange": pgRanges("tsrange"), "tstzmultirange": pgRanges("tstzrange"), "datemultirange": pgRanges("daterange"),
	"hstore": func(r *rand.Rand) string { return []string{"", `a=>"NULL", "b c"=>NULL`, `"\"q\""=>" "`}[r.IntN(3)] },

	// These are made by the test.
	"mood": func(r *rand.Rand) string { return []string{"sad", `it's "ok"`, ""}[r.IntN(3)] },
	"pair": func(r *rand.Rand) string {
		return fmt.Sprintf(`(%s,"%s",%s)`, pgFloat(r, 32), strings.Repeat(" ", r.IntN(3)), pgFloat(r, 64))
	},
	"grams":           func(r *rand.Rand) string { return pgFloat(r, 32) },
	"code":            pgText,
	"price":           func(r *rand.Rand) string { return fmt.Sprintf("%d.%d", r.IntN(999), r.IntN(99)) },
	"floats":          func(r *rand.Rand) string { return "{" + pgFloat(r, 64) + ",NULL," + pgFloat(r, 64) + "}" },
	"floatrange":      func(r *rand.Rand) string { return "[" + pgFloat(r, 64) + ",]" },
	"floatmultirange": func(r *rand.Rand) string { return "{(," + pgFloat(r, 64) + ")}" },
}

func pgText(r *rand.Rand) string     { return strings.ReplaceAll(randomText(r, 4), "\x00", "") }
func pgJSON(r *rand.Rand) string     { return strings.ReplaceAll(randomJSON(r, 2), `\u0000`, "") }
func pgUnsigned(r *rand.Rand) string { return strconv.FormatUint(uint64(uint32(randomInteger(r))), 10) }
func pgObject(r *rand.Rand) string {
	return []string{"0", "-", "1234567", "pg_class", "now", "now()", "simple", "integer", "postgres", "pg_catalog"}[r.IntN(10)]
}
func pgSnapshot(*rand.Rand) string { return "10:20:10,14,15" }
func pgZone(r *rand.Rand) string   { return []string{"Z", "+05:30", "-11:15:17", "+14"}[r.IntN(4)] }

func pgFloat(r *rand.Rand, bits int) string {
	switch r.IntN(9) {
	case 0:
		return []string{"NaN", "Infinity", "-Infinity"}[r.IntN(3)]
	case 1:
		return "-0"
	}
	f, d := randomFloats(r)
	if bits == 32 {
		d = float64(f)
	}
	return strconv.FormatFloat(d, 'g', -1, bits)
}

func pgShape(format string) func(*rand.Rand) string {
	return func(r *rand.Rand) string {
		var numbers []any
		for range strings.Count(format, "%s") {
			numbers = append(numbers, pgFloat(r, 64))
		}
		return fmt.Sprintf(format, numbers...)
	}
}

func pgAddress(r *rand.Rand, bits int) string {
	return []string{fmt.Sprintf("%d.%d.0.1/%d", r.IntN(256), r.IntN(256), bits), fmt.Sprintf("2001:db8::%x/%d", r.IntN(65536), 4*bits), "::1", "10.0.0.1"}[r.IntN(4)]
}

func pgMoment(r *rand.Rand, era int) string {
	switch text := randomMoment(r, 9999); r.IntN(era) {
	case 0:
		return []string{"infinity", "-infinity"}[r.IntN(2)]
	case 1:
		return text + " BC"
	case 2:
		return "1" + text
	default:
		return text
	}
}

func pgRange(element string, most int) func(*rand.Rand) string {
	return func(r *rand.Rand) string {
		from := 1 + r.IntN(most-2)
		low, high := fmt.Sprintf(element, from), fmt.Sprintf(element, from+1+r.IntN(most-from-1))
		return []string{"empty", "(,)", "[\"" + low + "\",\"" + high + "\")", "(\"" + low + "\",\"" + high + "\"]", "[\"" + low + "\",)"}[r.IntN(5)]
	}
}

func pgRanges(of string) func(*rand.Rand) string {
	return func(r *rand.Rand) string { return []string{"{}", "{" + pgRandomRange[of](r) + "}"}[r.IntN(2)] }
}

var pgRandomRange = map[string]func(*rand.Rand) string{"int4range": pgRange("%d", 20), "int8range": pgRange("%d", 20), "numrange": pgRange("%d.50", 20), "tsrange": pgRange("2024-01-%02d 10:00:00.5", 28), "tstzrange": pgRange("2024-01-%02d 10:00:00+03:30", 28), "daterange": pgRange("2024-01-%02d", 28)}

// pgModified are types with a length or a scale.
var pgModified = map[string][]string{"numeric": {"numeric(9,2)", "numeric(30,10)"}, "varchar": {"varchar(3)"}, "bpchar": {"char(3)"}, "time": {"time(2)"}, "timetz": {"timetz(0)"}, "timestamp": {"timestamp(3)"},
	"timestamptz": {"timestamptz(0)"}, "interval": {"interval second(2)", "interval year to month"}, "bit": {"bit(5)"}, "varbit": {"varbit(3)"}}

func TestPostgresReturnsAnyValueOrRefusesItByName(t *testing.T) {
	r := rand.New(rand.NewPCG(14, 3))
	rounds := testtime.Pick(t, 1, 5)
	db, _ := newPostgres(t, `CREATE EXTENSION hstore; CREATE EXTENSION citext; CREATE TYPE mood AS ENUM ('sad', 'it''s "ok"', ''); CREATE TYPE pair AS (a real, b bpchar, c double precision); CREATE DOMAIN grams AS real; CREATE DOMAIN code AS bpchar;
		CREATE DOMAIN price AS numeric(8,2); CREATE DOMAIN floats AS double precision[]; CREATE TYPE floatrange AS RANGE (subtype = float8);
		CREATE PROCEDURE fill(tab text, typ text, vals text[]) LANGUAGE plpgsql AS $$ BEGIN
			FOR i IN 1..cardinality(vals) LOOP
				BEGIN EXECUTE format('INSERT INTO %s VALUES ($1, CAST($2 AS %s))', tab, typ) USING i, vals[i]; EXCEPTION WHEN OTHERS THEN NULL; END;
			END LOOP; END $$`)
	var types []string
	for _, name := range append(namesInCode(t, "postgres_type.go", "postgresTypes"), column(t, db, `SELECT typname::text FROM pg_type t WHERE typtype IN ('b', 'e', 'r', 'm', 'd', 'c') AND (typcategory <> 'A' OR typlen <> -1 OR typelem = 0 OR typname LIKE '%vector' OR typtype = 'd')
		AND (typrelid = 0 OR EXISTS (SELECT FROM pg_class c WHERE c.oid = typrelid AND relkind = 'c')) AND typname NOT LIKE '\_%' AND typnamespace IN ('pg_catalog'::regnamespace, 'public'::regnamespace) ORDER BY oid`)...) {
		if !slices.Contains(types, name) {
			types = append(types, name)
		}
	}
	for range rounds {
		v := valueRound{db: db, store: pg(db), differ: func(table, copy, typ string) string {
			same := "record_send(t) = record_send(k)"
			if strings.Contains(typ, "aclitem") { // it has no form in bytes
				same = "t::text = k::text"
			}
			return "SELECT coalesce(k::text, '')||' became '||coalesce(t::text, '') FROM " + table + " t FULL JOIN " + copy + " k USING (id) WHERE (" + same + ") IS NOT TRUE"
		}}
		var script strings.Builder
		add := func(typ string, value func() string) {
			i := len(v.declared)
			var literals []string
			for range 12 {
				literals = append(literals, "'"+strings.ReplaceAll(value(), "'", "''")+"'")
			}
			fmt.Fprintf(&script, "CREATE TABLE t%d (id int PRIMARY KEY, v %s); CALL fill('t%[1]d', '%[2]s', ARRAY[%s]); INSERT INTO t%[1]d VALUES (99, NULL); CREATE TABLE k%[1]d AS SELECT * FROM t%[1]d;", i, typ, strings.Join(literals, ","))
			v.declared = append(v.declared, typ)
		}
		for _, name := range types {
			random, known := pgRandom[name]
			require.True(t, known, "add random values of the type %s", name)
			if random == nil {
				continue // the server takes no values of it
			}
			typ := `"` + name + `"`
			if name == "bpchar" || name == "bit" {
				typ = name
			}
			element := func() string { return random(r) }
			add(typ, element)
			for _, typ := range pgModified[name] {
				add(typ, element)
			}
			if name == "int2vector" || name == "oidvector" || name == "floats" {
				continue
			}
			add(typ+"[]", func() string {
				one := func() string {
					if r.IntN(6) == 0 {
						return "NULL"
					}
					return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(element()) + `"`
				}
				return []string{"{}", "{" + one() + "}", "{" + one() + "," + one() + "}", "{{" + one() + "},{" + one() + "}}", "[0:0]={" + one() + "}"}[r.IntN(5)]
			})
		}
		exec(t, db, script.String())
		kept, refused := v.check(t)
		t.Logf("%d values of %d types came back, %d were refused by name", kept, len(v.declared), refused)
		sameByWire(t, v)
		script.Reset()
		for i := range v.declared {
			fmt.Fprintf(&script, "DROP TABLE t%d, k%[1]d;", i)
		}
		exec(t, db, script.String())
	}
}

// mariaRandom makes random SQL of the types of MariaDB, with the ways to declare them.
var mariaRandom = map[string]struct {
	declared []string
	value    func(*rand.Rand) string
}{
	"tinyint":    {[]string{"tinyint", "tinyint unsigned", "boolean", "tinyint(3) zerofill"}, mariaInteger},
	"smallint":   {[]string{"smallint", "smallint unsigned"}, mariaInteger},
	"mediumint":  {[]string{"mediumint", "mediumint unsigned"}, mariaInteger},
	"int":        {[]string{"int", "int unsigned", "int(7) zerofill"}, mariaInteger},
	"bigint":     {[]string{"bigint", "bigint unsigned", "bigint unsigned zerofill"}, mariaInteger},
	"bit":        {[]string{"bit(1)", "bit(9)", "bit(64)"}, mariaInteger},
	"year":       {[]string{"year"}, func(r *rand.Rand) string { return []string{"1901", "2155", "'0000'", "2024"}[r.IntN(4)] }},
	"decimal":    {[]string{"decimal(65,30)", "decimal(9,2)", "decimal(20,0) unsigned", "decimal(9,2) zerofill"}, randomDecimal},
	"float":      {[]string{"float", "float unsigned", "float(7,2)"}, func(r *rand.Rand) string { return fmt.Sprintf("%ge0", float32(randomReal(r))) }},
	"double":     {[]string{"double", "double(12,3)", "double zerofill"}, mariaReal},
	"char":       {[]string{"char(4)", "char(4) CHARACTER SET latin1", "char(0)"}, mariaText},
	"varchar":    {[]string{"varchar(4)", "varchar(9) CHARACTER SET utf8mb3", "varchar(9) CHARACTER SET sjis", "varchar(9) CHARACTER SET ascii COLLATE ascii_bin"}, mariaText},
	"tinytext":   {[]string{"tinytext"}, mariaText},
	"text":       {[]string{"text", "text CHARACTER SET utf16", "text CHARACTER SET ucs2"}, mariaText},
	"mediumtext": {[]string{"mediumtext CHARACTER SET koi8r"}, mariaText},
	"longtext":   {[]string{"longtext"}, mariaText},
	"enum": {[]string{`enum('a','B','it''s','é','1','')`}, func(r *rand.Rand) string {
		return []string{"'a'", "'B'", "'it''s'", "'é'", "'1'", "''", "0"}[r.IntN(7)]
	}},
	"set":        {[]string{`set('a','b c','é')`}, func(r *rand.Rand) string { return strconv.Itoa(r.IntN(8)) }},
	"json":       {[]string{"json"}, func(r *rand.Rand) string { return mariaLiteral(randomJSON(r, 2)) }},
	"binary":     {[]string{"binary(5)"}, mariaBytes},
	"varbinary":  {[]string{"varbinary(9)"}, mariaBytes},
	"tinyblob":   {[]string{"tinyblob"}, mariaBytes},
	"blob":       {[]string{"blob"}, mariaBytes},
	"mediumblob": {[]string{"mediumblob"}, mariaBytes},
	"longblob":   {[]string{"longblob"}, mariaBytes},
	"date":       {[]string{"date"}, func(r *rand.Rand) string { return mariaMoment(r)[:11] + "'" }},
	"time": {[]string{"time", "time(3)", "time(6)"}, func(r *rand.Rand) string {
		return fmt.Sprintf("'%s%02d:%02d:%02d.%06d'", []string{"", "-"}[r.IntN(2)], r.IntN(838), r.IntN(60), r.IntN(60), r.IntN(2)*r.IntN(1000000))
	}},
	"datetime":  {[]string{"datetime", "datetime(3)", "datetime(6)"}, mariaMoment},
	"timestamp": {[]string{"timestamp NULL", "timestamp(6) NULL"}, mariaMoment},
	"uuid":      {[]string{"uuid"}, func(r *rand.Rand) string { return fmt.Sprintf("'%016X%016x'", r.Uint64(), r.Uint64()) }},
	"inet4":     {[]string{"inet4"}, func(r *rand.Rand) string { return fmt.Sprintf("'%d.0.0.%d'", r.IntN(256), r.IntN(256)) }},
	"inet6": {[]string{"inet6"}, func(r *rand.Rand) string {
		return []string{"'::'", "'::1.2.3.4'", "'::ffff:1.2.3.4'", fmt.Sprintf("'%x:0:0:%x::%x'", r.IntN(65536), r.IntN(65536), r.IntN(65536)), "'1:0:2:3:4:5:6:7'"}[r.IntN(5)]
	}},
}

func mariaInteger(r *rand.Rand) string { return strconv.FormatInt(randomInteger(r), 10) }
func mariaText(r *rand.Rand) string    { return mariaLiteral(randomText(r, 4)) }
func mariaBytes(r *rand.Rand) string   { return fmt.Sprintf("x'%x'", randomBytes(r, 6)) }

func mariaReal(r *rand.Rand) string { return strconv.FormatFloat(randomReal(r), 'e', -1, 64) }

// mariaLiteral needs no escapes.
func mariaLiteral(s string) string { return fmt.Sprintf("CONVERT(x'%x' USING utf8mb4)", s) }

func mariaMoment(r *rand.Rand) string {
	return []string{"'" + randomMoment(r, 9999) + "'", "'20" + randomMoment(r, 35)[2:] + "'", "'0000-00-00 00:00:00'", "'2024-00-00 00:00:00'"}[r.IntN(4)]
}

func TestMariaDBReturnsAnyValueOrRefusesItByName(t *testing.T) {
	r := rand.New(rand.NewPCG(14, 4))
	rounds := testtime.Pick(t, 1, 10)
	db, _ := newMariaDB(t, "SELECT 1")
	var types []string
	for _, base := range namesInCode(t, "mariadb_type.go", "mariadbTypes") {
		random := mariaRandom[base]
		require.NotNil(t, random.value, "add random values of the type %s", base)
		for _, typ := range random.declared {
			types = append(types, base+"\n"+typ)
		}
	}
	for range rounds {
		v := valueRound{db: db, store: my(db), differ: func(table, copy, typ string) string {
			same := "t.v <=> k.v AND HEX(t.v) <=> HEX(k.v) AND BINARY CAST(t.v AS CHAR) <=> BINARY CAST(k.v AS CHAR)"
			query := "SELECT CONCAT_WS(' ', k.id, HEX(k.v), k.v, 'became', HEX(t.v), t.v) FROM "
			return query + copy + " k LEFT JOIN " + table + " t USING (id) WHERE NOT (t.id IS NOT NULL AND " + same + ")"
		}}
		conn, err := db.Conn(t.Context())
		require.NoError(t, err)
		run := func(query string) error { _, err := conn.ExecContext(t.Context(), query); return err }
		require.NoError(t, run("SET sql_mode='NO_AUTO_VALUE_ON_ZERO', time_zone='+00:00'"))
		for i, typ := range types {
			base, declared, _ := strings.Cut(typ, "\n")
			require.NoError(t, run(fmt.Sprintf("CREATE OR REPLACE TABLE t%d (id int PRIMARY KEY, v %s)", i, declared)))
			v.declared = append(v.declared, declared)
			rows := []string{"(99, NULL)"}
			for id := range 20 {
				rows = append(rows, fmt.Sprintf("(%d, %s)", id, mariaRandom[base].value(r)))
			}
			if run(fmt.Sprintf("INSERT IGNORE INTO t%d VALUES %s", i, strings.Join(rows, ","))) != nil {
				for _, row := range rows { // one of them is refused in any mode
					_ = run(fmt.Sprintf("INSERT IGNORE INTO t%d VALUES %s", i, row))
				}
			}
			require.NoError(t, run(fmt.Sprintf("CREATE OR REPLACE TABLE k%d LIKE t%[1]d; INSERT INTO k%[1]d SELECT * FROM t%[1]d", i)))
		}
		require.NoError(t, conn.Close())
		kept, refused := v.check(t)
		t.Logf("%d values of %d types came back, %d were refused by name", kept, len(types), refused)
	}
}

// sameByWire is check past database/sql, and compares the records.
func sameByWire(t *testing.T, v valueRound) {
	t.Helper()
	plain, count := v, &countingWire{}
	plain.store.Wire, v.store.Wire = nil, count
	all := func(s sqlstore.Store) (records []string) {
		for i := range v.declared {
			table := fmt.Sprint("t", i)
			s.Tables = []sqlstore.Table{{Collection: table}}
			records = append(records, dump(t, s, table)...)
		}
		return records
	}
	require.Equal(t, all(plain.store), all(v.store))
	_, refused := v.check(t)
	require.Zero(t, refused, "what is refused is refused without the wire too")
	t.Logf("of %d tables, %d were copied", len(v.declared), count.copied)
	require.Greater(t, count.copied, 15)
	require.Zero(t, count.refused, "a COPY that fails costs twice")
}
