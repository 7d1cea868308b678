//go:build !race

package integration

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/sqlstore"
)

// A database is one that the tests of keys of several columns are run in. Schemas
// have names in double quotes, and TEXT and UUID where a key is one.
type database struct {
	name       string
	dialect    sqlstore.Dialect
	open       func(t testing.TB, schema string) *sql.DB
	text, uuid string
}

var databases = []database{
	{"SQLite", sqlstore.SQLite, open, "TEXT", "TEXT"},
	{"PostgreSQL", sqlstore.PostgreSQL, func(t testing.TB, schema string) *sql.DB { db, _ := newPostgres(t, schema); return db }, `TEXT COLLATE "en-x-icu"`, "UUID"},
	// To this collation "a", "A", "á" and "a " are the same.
	{"MariaDB", sqlstore.MariaDB, func(t testing.TB, schema string) *sql.DB { db, _ := newMariaDB(t, schema); return db }, "VARCHAR(50) COLLATE utf8mb4_general_ci", "UUID"},
}

// inEach runs a test in each database.
func inEach(t *testing.T, test func(t *testing.T, d database)) {
	for _, d := range databases {
		t.Run(d.name, func(t *testing.T) { test(t, d) })
	}
}

func (d database) sql(statements string) string {
	statements = strings.NewReplacer("TEXT", d.text, "UUID", d.uuid).Replace(statements)
	if d.name == "MariaDB" {
		statements = strings.ReplaceAll(statements, `"`, "`")
	}
	return statements
}

func (d database) new(t *testing.T, schema string, tables ...sqlstore.Table) sqlstore.Store {
	return sqlstore.Store{DB: d.open(t, d.sql(schema)), Dialect: d.dialect, Wire: wire(d.dialect), Tables: tables}
}

func (d database) exec(t *testing.T, s sqlstore.Store, statements string) {
	t.Helper()
	if d.name == "MariaDB" {
		statements = "SET foreign_key_checks=0;" + statements
	}
	exec(t, s.DB, d.sql(statements))
}

func joined(parts ...string) string { return codec.JoinKey(parts) }

// keysOf returns the keys of records that dump has returned.
func keysOf(records []string) (keys []string) {
	for _, r := range records {
		key, _, _ := strings.Cut(r, " {")
		keys = append(keys, key)
	}
	return keys
}

const id1, id2 = "123e4567-e89b-12d3-a456-426614174000", "123e4567-e89b-12d3-a456-426614174001"

func TestKeysOfSeveralColumnsAreExact(t *testing.T) {
	inEach(t, func(t *testing.T, d database) {
		s := d.new(t, `CREATE TABLE members ("group" TEXT NOT NULL, role TEXT, "user" BIGINT NOT NULL, PRIMARY KEY ("user", "group"));
			CREATE TABLE devices (serial TEXT NOT NULL, id UUID NOT NULL, PRIMARY KEY (id, serial));
			CREATE TABLE prices (shop INT NOT NULL, item TEXT NOT NULL, day TEXT NOT NULL, cents INT, PRIMARY KEY (shop, item, day))`,
			sqlstore.Table{Collection: "members"}, sqlstore.Table{Collection: "devices"}, sqlstore.Table{Collection: "prices", Key: "day,shop,item"})
		member := func(user int64, group string) backup.Record {
			return record(joined(fmt.Sprint(user), group), fmt.Sprintf(`{"group":%s,"role":null,"user":%d}`, codec.Quote(group), user))
		}
		groups := []string{"", `"`, "05", "5", "Z", "]", "a", `a","b`, "a,b", "é"} // byte by byte
		var members []backup.Record
		for _, user := range []int64{-5, 5, 9223372036854775807} {
			for _, group := range groups {
				members = append(members, member(user, group))
			}
		}
		devices := []backup.Record{record(joined(id1, ""), `{"serial":"","id":"`+id1+`"}`), record(joined(id1, "x"), `{"serial":"x","id":"`+id1+`"}`), record(joined(id2, "x"), `{"serial":"x","id":"`+id2+`"}`)}
		var prices []backup.Record
		for _, day := range []string{"1", "2"} {
			for shop := range 2 {
				for _, item := range []string{"1", "2"} {
					prices = append(prices, record(joined(day, fmt.Sprint(shop), item), fmt.Sprintf(`{"shop":%d,"item":%q,"day":%q,"cents":1}`, shop, item, day)))
				}
			}
		}
		ctx := t.Context()
		for c, records := range map[string][]backup.Record{"members": members, "devices": devices, "prices": prices} {
			backwards := slices.Clone(records)
			slices.Reverse(backwards)
			for range 2 {
				require.NoError(t, put(s, c, backwards...))
			}
			var want []string
			for _, r := range records {
				want = append(want, r.Key+" "+string(r.Value))
			}
			require.Equal(t, want, dump(t, s, c))
			require.NoError(t, s.Update(ctx, func(w backup.Writer) error {
				other := []string{"", "5", "[]", `["5"]`, `["5","5","5","5"]`, `[5,"5"]`, `["5", "5"]`, `["05","5"]`, `["+5","5"]`, `["5e0","5"]`, `["-0","5"]`, `["5"," 5"]`, `["5","A"]`, `["5","a "]`, `["5","á"]`, `["5","e"]`, `["99999999999999999999","5"]`, `["x","5"]`,
					joined(strings.ToUpper(id1), "x"), joined(id1, "X"), joined("1", "1", "1 "), joined("1", "2", "2"), `["5","\u0035"]`, `["5","\u00e9"]`, "null", joined("5", "x\x00y"), joined("", ""), joined("", "", "")}
				found, err := w.Lookup(ctx, c, other)
				require.NoError(t, err)
				require.Empty(t, found)
				require.NoError(t, w.Delete(ctx, c, other))
				var keys []string
				for _, r := range records {
					found, err := w.Lookup(ctx, c, []string{r.Key})
					require.NoError(t, err)
					require.Len(t, found, 1, r.Key)
					require.Equal(t, r.Key+string(r.Value), found[0].Key+string(found[0].Value))
					keys = append(keys, r.Key)
				}
				found, err = w.Lookup(ctx, c, append(other, keys...))
				require.NoError(t, err)
				require.Len(t, found, len(records))
				// One that shares each part with others goes alone.
				require.NoError(t, w.Delete(ctx, c, keys[1:2]))
				var left []string
				for key, err := range w.Keys(ctx, c) {
					require.NoError(t, err)
					left = append(left, key)
				}
				require.ElementsMatch(t, slices.Delete(keys, 1, 2), left)
				return nil
			}))
		}
		for want, r := range map[string]backup.Record{
			`members "[\"7\",\"x\"]" /group: invalid data: the member with the key is not "x"`:  record(joined("7", "x"), `{"group":"y","user":7}`),
			`members "[\"7\",\"y\"]" /user: invalid data: the member with the key is not "7"`:   record(joined("7", "y"), `{"group":"y","user":8}`),
			`members "[\"7\",\"z\"]" /user: invalid data: the member with the key is missing`:   record(joined("7", "z"), `{"group":"z"}`),
			`members "[\"7\",\"n\"]" /group: invalid data: the member with the key is not "n"`:  record(joined("7", "n"), `{"group":null,"user":7}`),
			`members "[\"x\",\"y\"]" /user: invalid data: the column cannot hold this key`:      record(joined("x", "y"), `{"group":"y","user":7}`),
			`members "7": invalid data: the key has not the 2 parts of that of table "members"`: record("7", `{"group":"y","user":7}`),
		} {
			err := put(s, "members", r)
			if d.name == "MariaDB" && strings.Contains(want, `\"n\"`) {
				require.ErrorContains(t, err, "the value is null")
				continue
			}
			require.ErrorContains(t, err, want)
			require.ErrorIs(t, err, backup.ErrInvalid)
		}
	})
}

func TestDeclarationsOfKeysOfSeveralColumns(t *testing.T) {
	inEach(t, func(t *testing.T, d database) {
		s := d.new(t, `CREATE TABLE two (a INT, b INT NOT NULL, v INT NOT NULL, u INT NOT NULL, PRIMARY KEY (b, a)); CREATE UNIQUE INDEX vu ON two (v, u);
			CREATE TABLE gen (id INT PRIMARY KEY, a INT NOT NULL, g INT GENERATED ALWAYS AS (a + 1) STORED, UNIQUE (a, g));
			CREATE TABLE comma ("x,y" INT PRIMARY KEY, x INT NOT NULL, y INT NOT NULL, UNIQUE (x, y)); CREATE TABLE commas ("x,y" INT, z INT, PRIMARY KEY ("x,y", z)); CREATE TABLE none (a INT)`)
		insert := `INSERT INTO two (a, b, v, u) VALUES (1, 2, 3, 4); INSERT INTO comma ("x,y", x, y) VALUES (1, 2, 3); INSERT INTO commas ("x,y", z) VALUES (1, 2)`
		d.exec(t, s, insert)
		for name, c := range map[string]struct {
			table sqlstore.Table
			want  string // of the error, or the key of the only record
		}{
			"in the order of the primary key": {sqlstore.Table{Collection: "two"}, `["2","1"]`},
			"in another order":                {sqlstore.Table{Collection: "two", Key: "a,b"}, `["1","2"]`},
			"another index":                   {sqlstore.Table{Collection: "two", Key: "u,v"}, `["4","3"]`},
			"of other columns":                {sqlstore.Table{Collection: "two", Key: "a,v"}, `the key columns "a", "v" are not unique together`},
			"too many":                        {sqlstore.Table{Collection: "two", Key: "a,b,v"}, `the key columns "a", "b", "v" are not unique together`},
			"one of them":                     {sqlstore.Table{Collection: "two", Key: "a"}, `the key column "a" is not unique by itself`},
			"twice":                           {sqlstore.Table{Collection: "two", Key: "a,a"}, `the key has the column "a" twice`},
			"none":                            {sqlstore.Table{Collection: "two", Key: "a,"}, `there is no key column ""`},
			"a space":                         {sqlstore.Table{Collection: "two", Key: "a, b"}, `there is no key column " b"`},
			"excluded":                        {sqlstore.Table{Collection: "two", Exclude: []string{"a"}}, `the key column "a" is excluded`},
			"kind of a part":                  {sqlstore.Table{Collection: "two", Columns: []sqlstore.Column{{Name: "a", Kind: sqlstore.JSON}}}, `cannot be JSON`},
			"left out":                        {sqlstore.Table{Collection: "two", Columns: []sqlstore.Column{{Name: "a", OmitNull: true}}}, `a key cannot be left out`},
			"a Map":                           {sqlstore.Table{Collection: "two", Value: "v"}, "the key has 2 columns, and that of a Map is a single one"},
			"the value of a Map":              {sqlstore.Table{Collection: "comma", Value: "x,y"}, `there is no value column "x,y"`},
			"generated":                       {sqlstore.Table{Collection: "gen", Key: "a,g"}, `there is no key column "g" that is not generated`},
			"a comma in a name":               {sqlstore.Table{Collection: "comma", Key: "x,y"}, "1"},
			"the other columns":               {sqlstore.Table{Collection: "comma", Key: "y,x"}, `["3","2"]`},
			"a comma in a part":               {sqlstore.Table{Collection: "commas"}, `["1","2"]`},
			"a comma in a part, named":        {sqlstore.Table{Collection: "commas", Key: "x,y,z"}, `there is no key column "x"`},
			"no primary key":                  {sqlstore.Table{Collection: "none"}, "there is no primary key"},
		} {
			s.Tables = []sqlstore.Table{c.table}
			records, err := tryDump(s, c.table.Collection)
			if err == nil {
				require.Equal(t, []string{c.want}, keysOf(records), name)
			} else {
				require.ErrorContains(t, err, c.want, name)
			}
		}
	})
}

func TestNullInAPartOfAKeyIsAnErrorThatNamesTheRow(t *testing.T) {
	inEach(t, func(t *testing.T, d database) {
		s := d.new(t, `CREATE TABLE m (a TEXT, b INT, c TEXT); CREATE UNIQUE INDEX u ON m (a, b, c); INSERT INTO m (a, b, c) VALUES ('x', 1, 'y'), ('x', NULL, 'z')`, sqlstore.Table{Collection: "m", Key: "a,b,c"})
		_, err := tryDump(s, "m")
		if d.name == "MariaDB" {
			require.ErrorContains(t, err, `column "a": a key must be NOT NULL`)
			return
		}
		const want = `m /b: a key cannot be NULL (in the row with "a" "x", "c" "z")`
		require.ErrorContains(t, err, want)
		err = s.Update(t.Context(), func(w backup.Writer) error {
			for _, err := range w.Keys(t.Context(), "m") {
				if err != nil {
					return err
				}
			}
			return nil
		})
		require.ErrorContains(t, err, want)
		require.NoError(t, s.Update(t.Context(), func(w backup.Writer) error {
			return errors.Join(w.Delete(t.Context(), "m", []string{joined("x", "", "z"), joined("x", "1", "y")}), put1(t, w, "m", record(joined("x", "2", "z"), `{"a":"x","b":2,"c":"z"}`)))
		}))
		require.Equal(t, []string{"-2", "2"}, column(t, s.DB, "SELECT coalesce(b, -2) FROM m ORDER BY 1"))
	})
}

func TestMoreKeysOfSeveralColumnsThanAStatementTakes(t *testing.T) {
	inEach(t, func(t *testing.T, d database) {
		s := d.new(t, `CREATE TABLE m (a TEXT NOT NULL, b INT NOT NULL, c TEXT NOT NULL, v INT DEFAULT -7, w INT, PRIMARY KEY (a, b, c))`, sqlstore.Table{Collection: "m", Exclude: []string{"w"}})
		var records []backup.Record
		var keys []string
		for i := range 1001 {
			keys = append(keys, joined("t", fmt.Sprint(i/2), fmt.Sprint(i%2)))
			more := fmt.Sprintf(`,"v":%d`, i)
			if i%3 == 0 {
				more = "" // another statement
			}
			records = append(records, record(keys[i], fmt.Sprintf(`{"a":"t","b":%d,"c":"%d"%s}`, i/2, i%2, more)))
		}
		require.NoError(t, put(s, "m", records...))
		exec(t, s.DB, "UPDATE m SET w = b")
		require.NoError(t, put(s, "m", records...))
		require.Equal(t, []string{"1001"}, column(t, s.DB, "SELECT count(*) FROM m WHERE w = b"))
		require.Equal(t, []string{"334"}, column(t, s.DB, "SELECT count(*) FROM m WHERE v = -7"))
		require.NoError(t, s.Update(t.Context(), func(w backup.Writer) error {
			found, err := w.Lookup(t.Context(), "m", append(keys, joined("t", "-1", "0")))
			require.NoError(t, err)
			require.Len(t, found, 1001)
			return w.Delete(t.Context(), "m", keys[1:])
		}))
		require.Equal(t, []string{`["t","0","0"] {"a":"t","b":0,"c":"0","v":-7}`}, dump(t, s, "m"))
	})
}

func TestMariaDBKeysOfSeveralColumnsAreExactWhateverTheCollation(t *testing.T) {
	db, _ := newMariaDB(t, `CREATE TABLE m (a varchar(9) COLLATE utf8mb4_general_ci, b varbinary(9), l char(9) CHARACTER SET latin1, n bigint unsigned, v int, PRIMARY KEY (a, b, l, n)) DEFAULT CHARSET utf8mb4`)
	s := my(db, sqlstore.Table{Collection: "m"})
	ctx := t.Context()
	rec := func(a, b, l, n string) backup.Record {
		return record(joined(a, b, l, n), fmt.Sprintf(`{"a":%q,"b":%q,"l":%q,"n":%s,"v":null}`, a, b, l, n))
	}
	records := []backup.Record{rec("X", "b", "é", "2"), rec("x", "B", "é", "1"), rec("x", "b", "E", "18446744073709551615"), rec("x", "b", "é", "1")}
	require.NoError(t, put(s, "m", records[3], records[2], records[1], records[0]))
	var want []string
	for _, r := range records {
		want = append(want, r.Key+" "+string(r.Value))
	}
	require.Equal(t, want, dump(t, s, "m"), "byte by byte")
	require.NoError(t, s.Update(ctx, func(w backup.Writer) error {
		// Each part is that of some row, and to the collations each is that of one.
		other := []string{joined("X", "b", "é", "1"), joined("x", "b", "é", "2"), joined("x", "b", "É", "1"), joined("x ", "b", "é", "1"), joined("x", "b", "e", "18446744073709551615"), joined("x", "b", "é ", "1"), joined("x", "b", "日", "1"), joined("x", "b", "é", "-1")}
		found, err := w.Lookup(ctx, "m", other)
		require.NoError(t, err)
		require.Empty(t, found)
		require.NoError(t, w.Delete(ctx, "m", other))
		found, err = w.Lookup(ctx, "m", append(other, records[0].Key, records[1].Key, records[2].Key, records[3].Key))
		require.NoError(t, err)
		require.Len(t, found, 4)
		return nil
	}))
	for _, r := range []backup.Record{rec("X", "b", "é", "1"), rec("x", "b", "É", "1"), rec("x ", "b", "é", "1")} {
		err := put(s, "m", rec("new", "", "", "0"), r)
		require.ErrorContains(t, err, "VARBINARY")
		var about *backup.RecordError
		require.ErrorAs(t, err, &about)
		require.Equal(t, r.Key, about.Key)
	}
	require.ErrorContains(t, put(s, "m", record(joined("x", "b", "é ", "1"), `{}`)), "/l: invalid data: the column cannot hold this key")
	require.NoError(t, s.Update(ctx, func(w backup.Writer) error {
		return errors.Join(w.Delete(ctx, "m", []string{records[3].Key}), put1(t, w, "m", rec("X", "b", "É", "1")))
	}), "one takes the place of another")
	require.Len(t, dump(t, s, "m"), 4)
}

func TestKeysWithAPartThatDoesNotTellTextsApartAreRefused(t *testing.T) {
	lite := open(t, `CREATE TABLE m (a INT, b TEXT COLLATE NOCASE, PRIMARY KEY (a, b))`)
	_, err := tryDump(store(lite, sqlstore.Table{Collection: "m"}), "m")
	require.ErrorContains(t, err, `the key column "b" has a collation`)
	exec(t, lite, "CREATE UNIQUE INDEX exact ON m (b COLLATE BINARY, a)")
	_, err = tryDump(store(lite, sqlstore.Table{Collection: "m"}), "m")
	require.ErrorContains(t, err, `the key column "b" has a collation`, "it compares the column, whatever index there is")
	exec(t, lite, "CREATE TABLE n (a INT NOT NULL, b TEXT NOT NULL); CREATE UNIQUE INDEX other ON n (a, b COLLATE RTRIM)")
	_, err = tryDump(store(lite, sqlstore.Table{Collection: "n", Key: "a,b"}), "n")
	require.ErrorContains(t, err, `the key columns "a", "b" are not unique together: they need a unique index on them alone, with the collation BINARY`)

	db, _ := newPostgres(t, `CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false); CREATE TABLE m (a int, b text COLLATE ci, PRIMARY KEY (a, b)); CREATE TABLE late (a int, b text, PRIMARY KEY (a, b) DEFERRABLE)`)
	_, err = tryDump(pg(db, sqlstore.Table{Collection: "m"}), "m")
	require.ErrorContains(t, err, `column "b": the key has a collation to which different keys may be the same`)
	_, err = tryDump(pg(db, sqlstore.Table{Collection: "late"}), "late")
	require.ErrorContains(t, err, `the key columns "a", "b" are not unique together: they need a unique index on them alone, not DEFERRABLE`)
}

func TestNumbersInKeysOfSeveralColumnsGoOnBehindWhatWasRestored(t *testing.T) {
	inEach(t, func(t *testing.T, d database) {
		number := map[string]string{"PostgreSQL": "BIGINT GENERATED ALWAYS AS IDENTITY", "MariaDB": "BIGINT AUTO_INCREMENT"}[d.name]
		if number == "" {
			return // SQLite numbers rows, not parts of keys
		}
		s := d.new(t, `CREATE TABLE m (tenant INT NOT NULL, n `+number+`, v TEXT, PRIMARY KEY (n, tenant))`, sqlstore.Table{Collection: "m", Key: "tenant,n"})
		for range 2 {
			require.NoError(t, put(s, "m", record(joined("7", "500"), `{"tenant":7,"n":500,"v":"x"}`), record(joined("8", "500"), `{"tenant":8,"n":500,"v":"y"}`)))
		}
		exec(t, s.DB, "INSERT INTO m (tenant, v) VALUES (7, 'new')")
		require.Equal(t, []string{`["7","500"]`, `["7","501"]`, `["8","500"]`}, keysOf(dump(t, s, "m")))
		require.ErrorContains(t, put(s, "m", record(joined("7", "9"), `{"tenant":7,"v":"x"}`)), "/n: invalid data: the member with the key is missing")
	})
}

func TestARecordNeverOverwritesAnotherWithAnotherKeyOfSeveralColumns(t *testing.T) {
	inEach(t, func(t *testing.T, d database) {
		s := d.new(t, `CREATE TABLE m (id INT PRIMARY KEY, a INT NOT NULL, b UUID NOT NULL, v TEXT UNIQUE, UNIQUE (a, b))`, sqlstore.Table{Collection: "m", Key: "b,a"})
		rec := func(b, a, id, v string) backup.Record {
			return record(joined(b, a), fmt.Sprintf(`{"id":%s,"a":%s,"b":"%s","v":"%s"}`, id, a, b, v))
		}
		require.NoError(t, put(s, "m", rec(id1, "1", "1", "x"), rec(id2, "1", "2", "y")))
		require.NoError(t, put(s, "m", rec(id1, "1", "3", "z")), "the whole of it")
		before := dump(t, s, "m")
		for _, r := range []backup.Record{rec(id1, "2", "3", "new"), rec(id1, "2", "4", "z"), rec(id2, "1", "3", "new"), rec(id2, "1", "2", "z")} {
			err := put(s, "m", rec(id2, "9", "9", "nine"), r)
			require.ErrorContains(t, err, "clash over a unique value", string(r.Value))
			var about *backup.RecordError
			require.ErrorAs(t, err, &about)
			require.Equal(t, r.Key, about.Key)
			require.Equal(t, before, dump(t, s, "m"))
		}
	})
}

func TestOtherIndexesOnAKeyDoNotMakeKeysTheSame(t *testing.T) {
	lite := open(t, `CREATE TABLE a (id TEXT PRIMARY KEY, v INTEGER) WITHOUT ROWID; CREATE UNIQUE INDEX ax ON a (id COLLATE NOCASE); CREATE TABLE b (id TEXT PRIMARY KEY, v INTEGER); CREATE UNIQUE INDEX bx ON b (id COLLATE NOCASE);
		CREATE TABLE c (id TEXT, v INTEGER); CREATE UNIQUE INDEX cx ON c (id);
		CREATE TABLE d (id TEXT, n INTEGER, v INTEGER, PRIMARY KEY (n, id)); CREATE UNIQUE INDEX dx ON d (n, id COLLATE NOCASE)`)
	server, _ := newPostgres(t, `CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
		CREATE TABLE a (id text PRIMARY KEY, v int); CREATE UNIQUE INDEX ax ON a (id COLLATE ci); CREATE TABLE b (id varchar(9) COLLATE "en-x-icu" PRIMARY KEY, v int); CREATE UNIQUE INDEX bx ON b (id COLLATE ci);
		CREATE TABLE c (id text, v int); CREATE UNIQUE INDEX cx ON c (id);
		CREATE TABLE d (id text COLLATE "C", n int, v int, PRIMARY KEY (n, id)); CREATE UNIQUE INDEX dx ON d (n, id COLLATE ci); CREATE TABLE e (id text); CREATE UNIQUE INDEX ex ON e (id COLLATE ci)`)
	for _, s := range []sqlstore.Store{store(lite), pg(server)} {
		for _, name := range []string{"a", "b", "c", "d"} {
			s.Tables = []sqlstore.Table{{Collection: name, Key: "id"}}
			a, other := record("a", `{"id":"a","v":1}`), record("A", `{"id":"A","v":2}`)
			if name == "d" {
				s.Tables[0].Key = "id,n"
				a, other = record(joined("a", "1"), `{"id":"a","n":1,"v":1}`), record(joined("A", "1"), `{"id":"A","n":1,"v":2}`)
			}
			want := []string{a.Key + " " + string(a.Value)}
			for range 2 {
				require.NoError(t, put(s, name, a))
			}
			require.NoError(t, s.Update(t.Context(), func(w backup.Writer) error {
				found, err := w.Lookup(t.Context(), name, []string{other.Key})
				require.NoError(t, err)
				require.Empty(t, found)
				return w.Delete(t.Context(), name, []string{other.Key})
			}))
			require.Equal(t, want, dump(t, s, name))
			err := put(s, name, other)
			if name == "c" {
				require.NoError(t, err)
				require.Equal(t, other.Key+" "+string(other.Value), dump(t, s, name)[0], "byte by byte")
				continue
			}
			require.ErrorContains(t, err, "clash over a unique value", name)
			require.Equal(t, want, dump(t, s, name))
		}
	}
	_, err := tryDump(pg(server, sqlstore.Table{Collection: "e", Key: "id"}), "e")
	require.ErrorContains(t, err, `the key column "id" is not unique by itself`)
}

// TestPartitionedTablesWithKeysOfSeveralColumns: they can only have keys that contain what they are partitioned by.
func TestPartitionedTablesWithKeysOfSeveralColumns(t *testing.T) {
	inEach(t, func(t *testing.T, d database) {
		schema := map[string]string{
			"PostgreSQL": "CREATE TABLE p (id INT, year INT, v TEXT, PRIMARY KEY (id, year)) PARTITION BY RANGE (year); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (2025); CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (2025) TO (9999)",
			"MariaDB":    "CREATE TABLE p (id INT, year INT, v TEXT, PRIMARY KEY (id, year)) PARTITION BY RANGE (year) (PARTITION p1 VALUES LESS THAN (2025), PARTITION p2 VALUES LESS THAN (9999))",
		}[d.name]
		if schema == "" {
			return // SQLite has none
		}
		s := d.new(t, schema, sqlstore.Table{Collection: "p"})
		one := func(id, year, v string) backup.Record {
			return record(joined(id, year), fmt.Sprintf(`{"id":%s,"year":%s,"v":%q}`, id, year, v))
		}
		require.NoError(t, put(s, "p", one("1", "2024", "a"), one("1", "2025", "b"), one("2", "2025", "c")))
		require.NoError(t, s.Update(t.Context(), func(w backup.Writer) error {
			return errors.Join(w.Delete(t.Context(), "p", []string{joined("1", "2024")}), put1(t, w, "p", one("2", "2025", "d")))
		}))
		require.Equal(t, []string{`["1","2025"] {"id":1,"year":2025,"v":"b"}`, `["2","2025"] {"id":2,"year":2025,"v":"d"}`}, dump(t, s, "p"))
		require.ErrorContains(t, put(s, "p", one("1", "10000", "x")), `p "[\"1\",\"10000\"]"`)
	})
}
