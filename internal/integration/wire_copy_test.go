//go:build !race

package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/testtime"
	"github.com/tomo-project/backup/pgxwire"
	"github.com/tomo-project/backup/sqlstore"
)

// A countingWire counts what it copies.
type countingWire struct {
	pgxwire.Wire
	copied, refused int
}

func (w *countingWire) Copy(ctx context.Context, driver any, statement string, data io.Reader) error {
	err := w.Wire.Copy(ctx, driver, statement, data)
	if err != nil {
		w.refused++
	} else {
		w.copied++
	}
	return err
}

// keptTypes are types of which COPY takes the values, and values for each.
var keptTypes = map[string][]string{
	"text":           {"", `a "quoted" \\ text`, "\ttabs\nlines\r\n", `\\N`, `\\.`, "é 日本語 🚀"},
	"varchar(5)":     {"abcde", "日本語🚀é", "ab   ", "abcd  ", "abcdef", " "},
	"char(5)":        {"ab", "abcde", "ab ", "abcdef", "", "     "},
	"uuid":           {"123e4567-e89b-12d3-a456-426614174000", "123E4567-e89b-12d3-a456-426614174000", "123e4567e89b12d3a456426614174000"},
	"date":           {"2024-02-29", "2023-02-29", "0001-01-01", "0000-01-01", "9999-12-31", "10000-01-01", "infinity", "2024-1-1", "20240101", "0044-03-15 BC"},
	"time":           {"10:30:00", "10:30:00.5", "10:30:00.50", "24:00:00", "23:59:60", "10:30", "10:30:00.1234567"},
	"time(3)":        {"10:30:00.123", "10:30:00.1234", "23:59:59.9999"},
	"timestamp":      {"2024-01-15T10:30:00", "2024-01-15 10:30:00", "2024-01-15T10:30:00.123456", "2024-01-15T10:30:00.1234567", "2024-01-15T24:00:00", "2024-01-15T10:30:00.", "2024-01-15T10:30:00Z"},
	"timestamp(3)":   {"2024-01-15T10:30:00.123", "2024-01-15T10:30:00.1239", "2024-01-15T10:30:00.1230"},
	"timestamptz":    {"2024-01-15T10:30:00Z", "2024-01-15T10:30:00.5Z", "2024-01-15T10:30:00+02:00", "2024-01-15T10:30:00", "0044-03-15T10:30:00Z BC", "-infinity"},
	"timestamptz(0)": {"2024-01-15T10:30:00Z", "2024-01-15T10:30:00.5Z"},
	"mood":           {"sad", "it's \\\"ok\\\"", "glad", "SAD"},
	"interval":       {"P1D", "1 day"},
	"inet":           {"10.0.0.1/8", "10.0.0.1/32"},
	"numeric(6,2)":   {"#1.5", "#1.50", "#1.001", "#12345", "#-9999.99", "#9999.999", "#1e2", "#1e-2", "#-0", "#0.000"},
	"numeric(6)":     {"#1", "#1.0", "#1.5", "#999999"},
	"numeric":        {"#1.500", "#1e30", "#12345678901234567890.12345678901234567890"},
	"price":          {"#1.5", "#1.555"},
	"smallint":       {"#1", "#32768", "#-32768", "#1.0"},
	"bigint":         {"#9223372036854775807", "#9223372036854775808"},
	"real":           {"#0.1", "#0.1000000014901161", "#-0", "#1e39"},
	"boolean":        {"#true", "#false", "#1", "t"},
	"bytea":          {"AP8Q", "", "a b"},
	"jsonb":          {`\\`, "#{\"b\": 1.50,\"a\":[1, null]}", `#"\\t\\u0000"`, `#"\\\\N\\n"`},
	"json":           {"#{\"b\":\"\\\\n \\t\"}", "#null"},
	"text[]":         {"#[\"a\",\"NULL\"]", "{a}"},
}

// What COPY stores must be what INSERT stores, and what INSERT refuses must be refused: also
// a value that its column would change.
func TestPostgresStoresOrRefusesTheSameByCopy(t *testing.T) {
	schema := pgTypes
	var types []string
	for typ := range keptTypes {
		for _, by := range []string{"copy", "insert"} {
			schema += fmt.Sprintf(`CREATE TABLE "%s %d" (id integer PRIMARY KEY, v %s);`, by, len(types), typ)
		}
		types = append(types, typ)
	}
	db, _ := newPostgres(t, schema)
	random := rand.New(rand.NewPCG(17, 1))
	copied, more := 0, testtime.Pick(t, 20, 150)
	for i, typ := range types {
		for _, text := range mutants(random, keptTypes[typ], more) {
			var outcomes [2]string
			for n, by := range []string{"copy", "insert"} {
				table := fmt.Sprintf("%s %d", by, i)
				s := pg(db, sqlstore.Table{Collection: table})
				count := &countingWire{}
				if s.Wire = nil; by == "copy" {
					s.Wire = count
				}
				outcomes[n] = storedOrRefused(t, db, s, table, text)
				copied += count.copied
			}
			require.Equal(t, outcomes[1], outcomes[0], "%s of %s", text, typ)
		}
	}
	t.Logf("%d values were copied", copied)
	require.Greater(t, copied, 3*len(types))
}

// mutants returns values as JSON, and some that are nearly such values.
func mutants(random *rand.Rand, texts []string, n int) (values []string) {
	for _, text := range texts {
		if value, ok := strings.CutPrefix(text, "#"); ok {
			values = append(values, value)
		} else {
			values = append(values, `"`+strings.NewReplacer("\t", `\t`, "\n", `\n`, "\r", `\r`).Replace(text)+`"`)
		}
	}
	for range n {
		b := []byte(values[random.IntN(len(texts))])
		for range 1 + random.IntN(2) {
			const other = "0123456789-+.: TZBCeabx"
			at := random.IntN(len(b))
			switch random.IntN(3) {
			case 0:
				b[at] = other[random.IntN(len(other))]
			case 1:
				b = append(b[:at], append([]byte{other[random.IntN(len(other))]}, b[at:]...)...)
			case 2:
				if b = append(b[:at], b[at+1:]...); len(b) == 0 {
					b = []byte("0")
				}
			}
		}
		values = append(values, string(b))
	}
	return values
}

// storedOrRefused puts a value into an empty table, among enough others for COPY, and
// returns what the table then holds, or the error.
func storedOrRefused(t *testing.T, db *sql.DB, s sqlstore.Store, table, value string) string {
	t.Helper()
	exec(t, db, `TRUNCATE "`+table+`"`)
	var records []backup.Record
	for i := range 10 {
		v := "null"
		if i == 5 {
			v = value
		}
		records = append(records, record(fmt.Sprint(i), fmt.Sprintf(`{"id":%d,"v":%s}`, i, v)))
	}
	if err := put(s, table, records...); err != nil {
		return strings.ReplaceAll(refusal(err), table, "")
	}
	return strings.Join(append(dump(t, s, table), column(t, db, `SELECT t::text FROM "`+table+`" t ORDER BY id`)...), "\n")
}

func TestPostgresNamesWhatIsRefusedInACopy(t *testing.T) {
	db, _ := newPostgres(t, `CREATE TABLE u (id text PRIMARY KEY, name text NOT NULL UNIQUE CHECK (name <> 'no'), parent text REFERENCES u)`)
	count := &countingWire{}
	s := pg(db, sqlstore.Table{Collection: "u"})
	s.Wire = count
	records := make([]backup.Record, 200)
	for i := range records {
		records[i] = record(fmt.Sprint(i), fmt.Sprintf(`{"id":"%d","name":"n%d","parent":null}`, i, i))
	}
	good := records[77]
	for member, want := range map[string]string{
		`"name":null`:                    `u "77": ERROR: null value`,
		`"name":"n3"`:                    `u "77" clashes with "3": clash over a unique value: unique index u_name_key (name)`,
		`"name":"no"`:                    "check constraint",
		`"name":"n77","parent":"nobody"`: `"77" refers by parent to nothing`,
	} {
		records[77] = record("77", `{"id":"77",`+member+`}`)
		err := put(s, "u", records...)
		require.ErrorContains(t, err, want)
		require.Empty(t, dump(t, s, "u"))
	}
	require.Positive(t, count.refused)

	// Rows that refer to later ones, and others that are there already.
	records[77] = record("77", `{"id":"77","name":"n77","parent":"199"}`)
	require.NoError(t, put(s, "u", records...))
	require.Len(t, dump(t, s, "u"), 200)
	records[77] = good
	require.NoError(t, put(s, "u", records...))
	require.Equal(t, []string{"0"}, column(t, db, "SELECT count(parent)::text FROM u"))
}

// person returns a record of the table people.
func person(i int, name string) backup.Record {
	return record(fmt.Sprint(i), fmt.Sprintf(`{"id":%d,"name":%q,"born":"2024-01-15","note":null}`, i, name))
}

// A COPY does not overwrite: in a table that has rows, these go before. A Put is seen by all
// that comes after it, also while its records are still on their way.
func TestPostgresOverwritesByCopy(t *testing.T) {
	db, _ := newPostgres(t, "")
	create := func(table string) { // born has a default, and so there are two kinds of records
		exec(t, db, fmt.Sprintf(`CREATE TABLE %q (id integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, name text UNIQUE, born date DEFAULT '2000-01-01', note varchar(9));
			INSERT INTO %[1]q SELECT i, 'old '||i, NULL, 'note' FROM generate_series(1, 3000) i`, table))
	}
	var outcomes [2][]string
	for n, by := range []string{"copy", "insert"} {
		create(by)
		s := pg(db, sqlstore.Table{Collection: by})
		count := &countingWire{}
		if s.Wire = nil; by == "copy" {
			s.Wire = count
		}
		outcomes[n] = writePeople(t, s, by)
		require.Equal(t, by == "copy", count.copied > 0)
		require.Zero(t, count.refused)
		outcomes[n] = append(outcomes[n], dump(t, s, by)...)
		outcomes[n] = append(outcomes[n], column(t, db, fmt.Sprintf("SELECT t::text FROM %q t ORDER BY id", by))...)
	}
	require.Equal(t, outcomes[1], outcomes[0])
}

// writePeople changes the table people in one transaction, and returns what it sees.
func writePeople(t *testing.T, s sqlstore.Store, collection string) (seen []string) {
	see := func(w backup.Writer, keys ...string) {
		found, err := w.Lookup(t.Context(), collection, keys)
		require.NoError(t, err)
		for _, r := range found {
			seen = append(seen, r.Key+" "+string(r.Value))
		}
	}
	err := s.Update(t.Context(), func(w backup.Writer) error {
		for from := 2; from < 2000; from += 100 {
			var records []backup.Record
			for i := from; i < from+100; i++ {
				r := person(i, fmt.Sprintf("old %d", i^1)) // two exchange their names
				if i%3 == 0 {
					r = record(r.Key, fmt.Sprintf(`{"id":%d,"name":"new %d","note":"short"}`, i, i))
				}
				records = append(records, r)
			}
			require.NoError(t, w.Put(t.Context(), collection, records))
			see(w, fmt.Sprint(from+200)) // which is not on its way
		}
		see(w, "1999")
		require.NoError(t, w.Put(t.Context(), collection, append([]backup.Record{person(1999, "again")}, people(4000, 20)...)))
		require.NoError(t, w.Delete(t.Context(), collection, []string{"4001"}))
		see(w, "1999", "4001", "4002")
		require.NoError(t, w.Put(t.Context(), collection, people(5000, 20)))
		keys := 0
		for _, err := range w.Keys(t.Context(), collection) {
			require.NoError(t, err)
			keys++
		}
		seen = append(seen, fmt.Sprint(keys))
		require.NoError(t, w.Put(t.Context(), collection, people(6000, 20)))
		fresh, err := w.(interface {
			NewKeys(ctx context.Context, collection string, n int) ([]string, error)
		}).NewKeys(t.Context(), collection, 1)
		require.NoError(t, err)
		seen = append(seen, fresh...)
		require.NoError(t, w.Put(t.Context(), collection, people(6100, 20)))
		for r, err := range w.(backup.Reader).Records(t.Context(), collection) {
			require.NoError(t, err)
			seen = append(seen, string(r.Value))
		}
		return w.Put(t.Context(), collection, people(7000, 20))
	})
	require.NoError(t, err)
	return seen
}

func people(from, n int) (records []backup.Record) {
	for i := from; i < from+n; i++ {
		records = append(records, person(i, fmt.Sprintf("person %d", i)))
	}
	return records
}

// Rows are not deleted for a COPY where anything could tell that from an update.
func TestPostgresOverwritesByCopyOnlyWhatNothingHangsOn(t *testing.T) {
	for name, c := range map[string]struct {
		schema string
		table  sqlstore.Table
		kept   string // a query whose result stays
	}{
		"a row refers":            {"CREATE TABLE child (id integer REFERENCES people ON DELETE CASCADE); INSERT INTO child VALUES (3)", sqlstore.Table{}, "SELECT id::text FROM child"},
		"the host has a column":   {"ALTER TABLE people ADD COLUMN own text; UPDATE people SET own = 'x'||id", sqlstore.Table{Exclude: []string{"own"}}, "SELECT own FROM people ORDER BY id"},
		"a row refers to nothing": {`CREATE TABLE parent (name text PRIMARY KEY); ALTER TABLE people ADD FOREIGN KEY (name) REFERENCES parent NOT VALID`, sqlstore.Table{}, "SELECT count(name)::text FROM people"},
		"there is a trigger": {`CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''deleted''; END';
			CREATE TRIGGER t BEFORE DELETE ON people EXECUTE FUNCTION f()`, sqlstore.Table{}, "SELECT count(*)::text FROM people"},
	} {
		t.Run(name, func(t *testing.T) {
			db, _ := newPostgres(t, `CREATE TABLE people (id integer PRIMARY KEY, name text UNIQUE, born date, note text);
				INSERT INTO people SELECT i, 'person '||i, '2020-01-01' FROM generate_series(1, 50) i;`+c.schema)
			c.table.Collection = "people"
			s := pg(db, c.table)
			count := &countingWire{}
			s.Wire = count
			before := column(t, db, c.kept)
			require.NoError(t, put(s, "people", people(1, 50)...))
			require.Zero(t, count.copied+count.refused)
			require.Equal(t, before, column(t, db, c.kept))
			require.Equal(t, []string{"2024-01-15"}, column(t, db, "SELECT DISTINCT born::text FROM people"))
		})
	}
}

// What is on its way when a transaction ends early is not stored, and holds up nothing.
func TestPostgresLeavesNothingOfACopyBehind(t *testing.T) {
	db, _ := newPostgres(t, `CREATE TABLE people (id integer PRIMARY KEY, name text UNIQUE, born date, note text)`)
	db.SetMaxOpenConns(1)
	s := pg(db, sqlstore.Table{Collection: "people"})
	s.Wire = pgxwire.Wire{}
	stop := errors.New("stop")
	begin := func(ctx context.Context, after func() error) error {
		return s.Update(ctx, func(w backup.Writer) error {
			require.NoError(t, w.Put(ctx, "people", people(1, 20_000)))
			return after()
		})
	}
	require.ErrorIs(t, begin(t.Context(), func() error { return stop }), stop)
	require.PanicsWithValue(t, "stop", func() { _ = begin(t.Context(), func() error { panic("stop") }) })
	ctx, cancel := context.WithCancel(t.Context())
	require.ErrorIs(t, begin(ctx, func() error { cancel(); return nil }), context.Canceled)
	require.Empty(t, dump(t, s, "people"))
	require.NoError(t, begin(t.Context(), func() error { return nil }))
	require.Len(t, dump(t, s, "people"), 20_000)
}

// A COPY goes on when the context of its Put ends, and ends with that of a call that waits
// for it.
func TestPostgresCopiesBeyondTheContextOfAPut(t *testing.T) {
	db, _ := newPostgres(t, `CREATE TABLE people (id integer PRIMARY KEY, name text UNIQUE, born date, note text)`)
	s := pg(db, sqlstore.Table{Collection: "people"})
	count := &countingWire{}
	s.Wire = count
	require.NoError(t, s.Update(t.Context(), func(w backup.Writer) error {
		for i := range 10 {
			ctx, cancel := context.WithCancel(t.Context())
			err := w.Put(ctx, "people", people(2000*i, 2000))
			if cancel(); err != nil {
				return err
			}
		}
		return nil
	}))
	require.Greater(t, count.copied, 2)
	require.Len(t, dump(t, s, "people"), 20_000)

	s.Wire = hangingWire{}
	require.ErrorIs(t, s.Update(t.Context(), func(w backup.Writer) error {
		if err := w.Put(t.Context(), "people", people(20_000, 10_000)); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := w.Lookup(ctx, "people", []string{"1"})
		return err
	}), context.DeadlineExceeded)
	require.Len(t, dump(t, s, "people"), 20_000)
}

// A hangingWire never ends to copy.
type hangingWire struct{ pgxwire.Wire }

func (hangingWire) Copy(ctx context.Context, _ any, _ string, _ io.Reader) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestAWireNeedsItsDriverAndItsDatabase(t *testing.T) {
	s := store(open(t, "CREATE TABLE a (id TEXT PRIMARY KEY NOT NULL)"), sqlstore.Table{Collection: "a"})
	s.Wire = pgxwire.Wire{}
	_, err := tryDump(s, "a")
	require.ErrorContains(t, err, "Store.Wire is for PostgreSQL only")
	_, err = pgxwire.Wire{}.Query(t.Context(), "no connection", "SELECT 1")
	require.ErrorContains(t, err, "open the database with github.com/jackc/pgx/v5/stdlib")
}
