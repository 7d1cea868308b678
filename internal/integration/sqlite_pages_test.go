package integration

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/sqlstore"
)

// A twin is a table with the same rows as things. Its generated column makes a store read
// it by SQL, and the records of things come from the pages of the database.
const twinColumns = ", again INT AS (1) VIRTUAL"

// pagesKeys are the keys of tables that are read from pages: what the table declares, and
// an expression for its key.
var pagesKeys = map[string]struct{ columns, end, key string }{
	"the number of the row": {"id INTEGER PRIMARY KEY", "", "i"},
	"negative numbers":      {"id INTEGER PRIMARY KEY", "", "(i - 40) * 1000003"},
	"text":                  {"id TEXT PRIMARY KEY", " WITHOUT ROWID", "printf('%d é %0*d', i % 7, i % 90, i)"},
	"numbers without rowid": {"id INT PRIMARY KEY", " WITHOUT ROWID", "i * i * i * 99991"},
	"text and numbers":      {"id NUMERIC PRIMARY KEY", " WITHOUT ROWID", "CASE i % 2 WHEN 0 THEN i ELSE 'k' || i END"},
	"bytes":                 {"id BLOB PRIMARY KEY", " WITHOUT ROWID", "CAST(randomblob(3 + i % 70) || i AS BLOB)"},
	"text of an index":      {"id TEXT PRIMARY KEY", "", "printf('%d é %0*d', i % 7, i % 90, i)"},
	"bytes of an index":     {"id BLOB PRIMARY KEY", "", "CAST(randomblob(3 + i % 70) || i AS BLOB)"},
	"long text of an index": {"id TEXT PRIMARY KEY", "", "printf('%.*c', i % 3000, 'x') || i"},
	"long text":             {"id TEXT PRIMARY KEY", " WITHOUT ROWID", "printf('%.*c', i % 3000, 'x') || i"},
}

// pagesValues are expressions for the value of row i.
var pagesValues = []string{
	"NULL", "0", "1", "-1", "i", "i * 131", "-i * 32771", "i * 8388609", "-i * 2147483649", "i * 140737488355329", "i * 9007199254740993", "-9223372036854775808", "9223372036854775807",
	"0.5", "i * 1.0", "i / 7.0", "-0.0", "1e300", "5e-324", "''", "'text ' || i", "'a \"quoted\" \\ é 日本 🚀' || char(0, 9, 8232) || i", "printf('%.*c', i * 37 % 20000, 'long')",
	"'2024-01-15 10:30:00'", "'007'", "'{\"a\":[1,2.50,\"x\"],\"b\":{}}'", "x''", "x'00ff'", "randomblob(i * 53 % 9000)", "CAST('{\"a\": 1}' AS BLOB)", "'{\"$text\":\"a\"}'", "'no { JSON'",
}

var pagesTypes = []string{"TEXT", "VARCHAR(20)", "INTEGER", "BIGINT", "REAL", "DOUBLE PRECISION", "NUMERIC", "BOOLEAN", "JSON", "BLOB", "DATETIME", "DATE", "TIMESTAMP", "", "UUID"}

// readAll returns the records of a collection, as lines.
func readAll(ctx context.Context, s sqlstore.Store, collection string) (lines []string, err error) {
	err = s.View(ctx, func(r backup.Reader) error {
		lines, err = linesOf(r.Records(ctx, collection))
		return err
	})
	return lines, err
}

func linesOf(records func(func(backup.Record, error) bool)) (lines []string, err error) {
	for r, err := range records {
		if err != nil {
			return lines, err
		}
		lines = append(lines, fmt.Sprintf("%q %s", r.Key, r.Value))
	}
	return lines, nil
}

func things(db *sql.DB) sqlstore.Store {
	return store(db, sqlstore.Table{Collection: "things"}, sqlstore.Table{Collection: "twin"})
}

// requireTwins compares the records that come from pages with those that SQLite reads.
func requireTwins(t *testing.T, db *sql.DB, rows int) {
	t.Helper()
	want, err := readAll(t.Context(), things(db), "twin")
	require.NoError(t, err)
	require.Len(t, want, rows)
	w := &witnessed{db: db}
	seen := sql.OpenDB(w)
	defer seen.Close()
	got, err := readAll(t.Context(), things(seen), "things")
	require.NoError(t, err)
	require.Len(t, got, rows)
	for i := range want {
		require.Equal(t, want[i], got[i])
	}
	require.False(t, slices.ContainsFunc(w.queries, func(q string) bool {
		return strings.Contains(q, `FROM main."things"`) && strings.Contains(q, "ORDER BY")
	}), "SQLite has read rows itself")
}

func TestSQLiteRecordsFromPagesAreThoseThatSQLiteReads(t *testing.T) {
	for name, key := range pagesKeys {
		for _, size := range []int{512, 4096, 65536} {
			t.Run(fmt.Sprint(name, " in pages of ", size), func(t *testing.T) {
				rnd := rand.New(rand.NewPCG(uint64(size), uint64(len(name))))
				columns, values := key.columns, []string{key.key}
				for c := range 12 {
					columns += fmt.Sprintf(", c%d %s", c, pagesTypes[rnd.IntN(len(pagesTypes))])
					value := "CASE i % 5"
					for n := range 5 {
						value += fmt.Sprintf(" WHEN %d THEN %s", n, pagesValues[rnd.IntN(len(pagesValues))])
					}
					values = append(values, value+" END")
				}
				db := openFile(t, t.TempDir()+"/test.db", fmt.Sprintf("_pragma=page_size(%d)", size), "CREATE TABLE things ("+columns+")"+key.end+";CREATE TABLE twin ("+columns+twinColumns+")"+key.end)
				db.SetMaxOpenConns(3)
				requireTwins(t, db, 0)
				const rows = 400
				exec(t, db, fmt.Sprintf("WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < %d) INSERT INTO things SELECT %s FROM n", rows-1, strings.Join(values, ",")))
				names := strings.Join(columnNames(13), ",")
				exec(t, db, "INSERT INTO twin ("+names+") SELECT * FROM things")
				requireTwins(t, db, rows)
				for _, table := range []string{"things", "twin"} {
					exec(t, db, "DELETE FROM "+table+" WHERE id IN (SELECT id FROM "+table+" ORDER BY id LIMIT 150 OFFSET 100) OR c1 IS NULL; ALTER TABLE "+table+" ADD COLUMN late TEXT; UPDATE "+table+" SET late = id WHERE c2 > 0; ALTER TABLE "+table+" DROP COLUMN c3")
				}
				requireTwins(t, db, len(column(t, db, "SELECT 1 FROM twin")))
			})
		}
	}
}

func columnNames(n int) []string {
	names := []string{"id"}
	for c := range n - 1 {
		names = append(names, fmt.Sprint("c", c))
	}
	return names
}

// Rows from before a column was added have its default, which is in no page.
func TestSQLiteReadsRowsThatPagesDoNotHaveWhole(t *testing.T) {
	const columns = "id INTEGER PRIMARY KEY, a TEXT"
	db := open(t, "CREATE TABLE things ("+columns+"); CREATE TABLE twin ("+columns+twinColumns+")")
	for _, table := range []string{"things", "twin"} {
		exec(t, db, "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 999) INSERT INTO "+table+" (id, a) SELECT i, 'row ' || i FROM n")
		exec(t, db, "ALTER TABLE "+table+" ADD COLUMN late TEXT DEFAULT 'not yet'; UPDATE "+table+" SET late = NULL WHERE id < 500")
	}
	want, err := readAll(t.Context(), things(db), "twin")
	require.NoError(t, err)
	got, err := readAll(t.Context(), things(db), "things")
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.Contains(t, got[999], `"late":"not yet"`)
}

// A transaction sees its own changes, also those that it makes while it reads.
func TestSQLiteAWriterReadsWhatItHasChanged(t *testing.T) {
	db := open(t, "CREATE TABLE things (id TEXT PRIMARY KEY, n INT) WITHOUT ROWID")
	s := store(db, sqlstore.Table{Collection: "things"})
	var first, second, third []string
	require.NoError(t, s.Update(t.Context(), func(w backup.Writer) (err error) {
		reader := w.(backup.Reader)
		for i := range 2000 {
			if err := w.Put(t.Context(), "things", []backup.Record{record(fmt.Sprintf("k%04d", i), fmt.Sprintf(`{"id":"k%04d","n":%d}`, i, i))}); err != nil {
				return err
			}
		}
		if first, err = linesOf(reader.Records(t.Context(), "things")); err != nil {
			return err
		}
		for r, err := range reader.Records(t.Context(), "things") {
			if err != nil {
				return err
			}
			second = append(second, r.Key)
			if r.Key == "k0300" {
				if err := w.Put(t.Context(), "things", []backup.Record{record("k1000", `{"id":"k1000","n":-1}`), record("k1000a", `{"id":"k1000a","n":-2}`)}); err != nil {
					return err
				}
				if err := w.Delete(t.Context(), "things", []string{"k0301", "k0302", "k1999"}); err != nil {
					return err
				}
			}
		}
		third, err = linesOf(reader.Records(t.Context(), "things"))
		return err
	}))
	require.Len(t, first, 2000)
	require.Len(t, second, 1998)
	require.Contains(t, second, "k1000a")
	require.NotContains(t, second, "k0301")
	require.Contains(t, third, `"k1000" {"id":"k1000","n":-1}`)
	got, err := readAll(t.Context(), s, "things")
	require.NoError(t, err)
	require.Equal(t, third, got)
}

// Connections that share a cache share its pages too.
func TestSQLiteReadsNothingUncommittedFromASharedCache(t *testing.T) {
	db, err := sql.Open("sqlite", "file:shared?mode=memory&cache=shared")
	require.NoError(t, err)
	defer db.Close()
	exec(t, db, "CREATE TABLE things (id INTEGER PRIMARY KEY); INSERT INTO things VALUES (1)")
	tx, err := db.Begin()
	require.NoError(t, err)
	_, err = tx.Exec("INSERT INTO things VALUES (2)")
	require.NoError(t, err)
	read := make(chan []string)
	go func() {
		lines, err := readAll(t.Context(), store(db, sqlstore.Table{Collection: "things"}), "things")
		if err != nil {
			lines = []string{err.Error()}
		}
		read <- lines
	}()
	time.Sleep(100 * time.Millisecond)
	require.NoError(t, tx.Rollback())
	require.Equal(t, []string{`"1" {"id":1}`}, <-read)
}

// Where the order of the key is not that of the rows, SQLite takes over.
func TestSQLiteReadsRowsThatLieInAnotherOrder(t *testing.T) {
	const columns = "id TEXT PRIMARY KEY, pad TEXT"
	db := open(t, "CREATE TABLE things ("+columns+"); CREATE TABLE twin ("+columns+twinColumns+")")
	exec(t, db, "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 6000) INSERT INTO things SELECT hex(i * 7919 % 6011), printf('%.*c', 2500, 'x') FROM n")
	exec(t, db, "INSERT INTO twin (id, pad) SELECT * FROM things")
	want, err := readAll(t.Context(), things(db), "twin")
	require.NoError(t, err)
	require.Len(t, want, 6000)
	got, err := readAll(t.Context(), things(db), "things")
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// Damage never makes a store panic or read for ever.
func TestSQLiteDamagedPagesAreReadToAnEnd(t *testing.T) {
	db := openFile(t, t.TempDir()+"/whole.db", "_pragma=page_size(512)&_pragma=journal_mode(DELETE)", `CREATE TABLE things (id TEXT PRIMARY KEY, v) WITHOUT ROWID; CREATE TABLE twin (id TEXT PRIMARY KEY, v);
		WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200) INSERT INTO things SELECT printf('%05d', i), printf('%.*c', i * 13 % 1500, 'x') FROM n;
		INSERT INTO twin SELECT * FROM things`)
	var path string
	require.NoError(t, db.QueryRow("SELECT file FROM pragma_database_list").Scan(&path))
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	rnd := rand.New(rand.NewPCG(1, 2))
	damaged := filepath.Join(t.TempDir(), "damaged.db")
	failed := 0
	for range 150 {
		content := bytes.Clone(whole)
		for range 1 + rnd.IntN(3) {
			page := 1 + rnd.IntN(len(content)/512-1)
			content[page*512+rnd.IntN(64)] = byte(rnd.UintN(256))
		}
		require.NoError(t, os.WriteFile(damaged, content, 0o600))
		hurt, err := sql.Open("sqlite", "file:"+damaged)
		require.NoError(t, err)
		for _, table := range []string{"things", "twin"} {
			lines, err := readAll(t.Context(), store(hurt, sqlstore.Table{Collection: table}), table)
			require.LessOrEqual(t, len(lines), 2000)
			if err != nil {
				failed++
			}
		}
		require.NoError(t, hurt.Close())
	}
	require.NotZero(t, failed)
}

// The rows of a table WITHOUT ROWID lie as its primary key sorts them, and not as the
// records are sorted.
func TestSQLiteReadsKeysThatThePagesSortOtherwise(t *testing.T) {
	const texts, numbers = "char(64 + i % 2 * 32 + i)", "i"
	for _, c := range []struct{ columns, key, primary string }{
		{"id TEXT, n INT", texts, "PRIMARY KEY (id DESC)"},
		{"id INT, n INT", numbers, "PRIMARY KEY (id DESC)"},
		{"id TEXT, n INT", texts, "PRIMARY KEY (id COLLATE NOCASE), UNIQUE (id COLLATE BINARY)"},
		{"id INT, n INT", "i / 5", "PRIMARY KEY (id, n DESC)"},
		{"id INT, n INT", "i / 5", "PRIMARY KEY (id DESC, n)"},
	} {
		t.Run(c.columns+" "+c.primary, func(t *testing.T) {
			end := ", " + c.primary + ") WITHOUT ROWID;"
			db := open(t, "CREATE TABLE things ("+c.columns+end+"CREATE TABLE twin ("+c.columns+twinColumns+end)
			for _, table := range []string{"things", "twin"} {
				exec(t, db, "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20) INSERT INTO "+table+" (id, n) SELECT "+c.key+", i FROM n")
			}
			want, err := readAll(t.Context(), things(db), "twin")
			require.NoError(t, err)
			require.Len(t, want, 20)
			got, err := readAll(t.Context(), things(db), "things")
			require.NoError(t, err)
			require.Equal(t, want, got)
		})
	}
}

// SQLite does not notice all damage. The store has then the records that it returns.
func TestSQLiteDamageThatSQLiteDoesNotNoticeLosesNoRecord(t *testing.T) {
	const size = 512
	leaves := func(content []byte, kind byte) (pages [][]byte) {
		for page := range slices.Chunk(content[size:], size) {
			if page[0] == kind {
				pages = append(pages, page)
			}
		}
		return pages
	}
	for name, damage := range map[string]func(content []byte){
		"pages in another order": func(content []byte) {
			of := leaves(content, 13)
			first, last := of[1], of[len(of)-2]
			kept := bytes.Clone(first)
			copy(first, last)
			copy(last, kept)
		},
		"an index without rows": func(content []byte) { leaves(content, 10)[0][4] = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "test.db")
			whole, err := sql.Open("sqlite", "file:"+path+"?_pragma=page_size(512)")
			require.NoError(t, err)
			exec(t, whole, `CREATE TABLE things (id INTEGER PRIMARY KEY, a TEXT, n INT);
				WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20) INSERT INTO things SELECT i, printf('%080d', i), i FROM n; CREATE INDEX x ON things (n)`)
			require.NoError(t, whole.Close())
			content, err := os.ReadFile(path)
			require.NoError(t, err)
			damage(content)
			require.NoError(t, os.WriteFile(path, content, 0o600))

			db, err := sql.Open("sqlite", "file:"+path)
			require.NoError(t, err)
			defer db.Close()
			want := column(t, db, `SELECT printf('"%d" {"id":%d,"a":"%s","n":%d}', id, id, a, n) FROM things ORDER BY id`)
			require.Len(t, want, 20)
			got, err := readAll(t.Context(), store(db, sqlstore.Table{Collection: "things"}), "things")
			require.NoError(t, err)
			require.Equal(t, want, got)
		})
	}
}
