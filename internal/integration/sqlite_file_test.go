//go:build !race

package integration

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"modernc.org/sqlite"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/agekey"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
	"github.com/tomo-project/backup/sqlstore"
)

// ledger opens a new database of accounts, whose balances add up to 1,000.
func ledger(t testing.TB) *sql.DB {
	path := filepath.Join(t.TempDir(), "a ?#%.db")
	db, err := sql.Open("sqlite", "file:"+strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path)+"?_pragma=busy_timeout(5000)&_pragma=journal_mode(wal)&_txlock=immediate")
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	_, err = db.Exec(`PRAGMA application_id = 77; CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL, note TEXT); CREATE INDEX notes ON accounts (note)`)
	require.NoError(t, err)
	for i := range 100 {
		_, err = db.Exec(`INSERT INTO accounts VALUES (?, 10, ?)`, i, strings.Repeat("x", 300))
		require.NoError(t, err)
	}
	return db
}

func balances(t testing.TB, path string) (sum int) {
	db, err := sql.Open("sqlite", "file:"+path+"?mode=ro")
	require.NoError(t, err)
	defer db.Close()
	require.NoError(t, db.QueryRow(`SELECT sum(balance) FROM accounts`).Scan(&sum))
	return sum
}

func TestACopyOfADatabaseIsOnePointInTime(t *testing.T) {
	db := ledger(t)
	ctx, cancel := context.WithCancel(t.Context())
	moving := make(chan error)
	go func() {
		for i := 0; ctx.Err() == nil; i++ {
			_, err := db.Exec(`UPDATE accounts SET balance = balance + CASE id WHEN ? THEN -1 ELSE 1 END WHERE id IN (?, ?)`, i%100, i%100, (i+1)%100)
			if err != nil {
				moving <- err
				return
			}
		}
		moving <- nil
	}()
	temp := t.TempDir()
	file := sqlstore.SQLiteFile{DB: db, TempDir: temp}
	for i := range 5 {
		var copied bytes.Buffer
		require.NoError(t, file.Copy(t.Context(), &copied))
		require.NoError(t, file.Check(t.Context(), bytes.NewReader(copied.Bytes())))
		path := filepath.Join(t.TempDir(), fmt.Sprint(i))
		require.NoError(t, os.WriteFile(path, copied.Bytes(), 0o600))
		require.Equal(t, 1000, balances(t, path))
	}
	cancel()
	require.NoError(t, <-moving)
	left, err := os.ReadDir(temp)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestCheckFindsWhatIsWrongWithACopyOfADatabase(t *testing.T) {
	db := ledger(t)
	file := sqlstore.SQLiteFile{DB: db}
	var copied bytes.Buffer
	require.NoError(t, file.Copy(t.Context(), &copied))
	whole := copied.Bytes()

	other := bytes.Clone(whole) // a note is not what the index says
	other[bytes.LastIndex(other, []byte("xxxxxxxxxx"))] = 'y'
	altered := func(at int) []byte {
		b := bytes.Clone(whole)
		for i := range 64 {
			b[at+i] ^= 0x55
		}
		return b
	}
	for name, text := range map[string][]byte{
		"nothing":            nil,
		"not a database":     []byte(strings.Repeat("no database ", 100)),
		"half":               whole[:len(whole)/2],
		"a header only":      whole[:100],
		"an altered header":  altered(16),
		"an altered page":    altered(4096),
		"an altered leaf":    altered(3 * 4096),
		"an index that lies": other,
	} {
		err := file.Check(t.Context(), bytes.NewReader(text))
		require.ErrorIs(t, err, backup.ErrDamaged, name)
	}
	foreign := ledger(t)
	_, err := foreign.Exec("PRAGMA application_id = 78")
	require.NoError(t, err)
	require.ErrorIs(t, sqlstore.SQLiteFile{DB: foreign}.Check(t.Context(), bytes.NewReader(whole)), backup.ErrForeign)

	failed := errors.New("the drive is gone")
	require.ErrorIs(t, file.Check(t.Context(), io.MultiReader(bytes.NewReader(whole), failing{failed})), failed)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, file.Check(ctx, bytes.NewReader(whole)), context.Canceled)
	require.ErrorIs(t, file.Copy(ctx, io.Discard), context.Canceled)
	require.ErrorIs(t, file.Copy(t.Context(), failingWriter{failed}), failed)
	err = sqlstore.SQLiteFile{DB: db, TempDir: "/nowhere"}.Copy(t.Context(), io.Discard)
	require.ErrorContains(t, err, "no place for a copy of the database")
	require.NotErrorIs(t, err, fs.ErrNotExist, "the copy is not what is missing")
}

func TestCheckRunsNoExpressionThatIsNotTheHostsOwn(t *testing.T) {
	db := ledger(t)
	for name, statements := range map[string]string{
		"a generated column":      "CREATE TABLE x (id INTEGER, g AS (length(hex(zeroblob(id)))) NOT NULL)",
		"in another spelling":     "CREATE TABLE x (id INTEGER, g INTEGER GENERATED/**/ALWAYS/**/aS(length(hex(zeroblob(id)))))",
		"a CHECK":                 "CREATE TABLE x (id INTEGER CHECK (length(hex(zeroblob(id))) > 0))",
		"an index of expressions": "CREATE TABLE x (id INTEGER); CREATE INDEX i ON x (length(hex(zeroblob(id))))",
		"an index of some rows":   "CREATE TABLE x (id INTEGER); CREATE UNIQUE INDEX i ON x (id) WHERE id > 7",
		"a virtual table":         "CREATE VIRTUAL TABLE x USING fts5(body)",
	} {
		other := ledger(t)
		exec(t, other, statements)
		var copied bytes.Buffer
		require.NoError(t, sqlstore.SQLiteFile{DB: other}.Copy(t.Context(), &copied), name)
		err := sqlstore.SQLiteFile{DB: db}.Check(t.Context(), bytes.NewReader(copied.Bytes()))
		require.ErrorIs(t, err, errors.ErrUnsupported, name)
		require.NoError(t, sqlstore.SQLiteFile{DB: other}.Check(t.Context(), bytes.NewReader(copied.Bytes())), "its own")
	}
	other := ledger(t)
	exec(t, other, "CREATE TABLE plain (id INTEGER PRIMARY KEY, asset TEXT, checked INT DEFAULT 0); CREATE INDEX plain_asset ON plain (asset); CREATE VIEW v AS SELECT 1; CREATE TRIGGER t AFTER INSERT ON plain BEGIN SELECT 1; END")
	var copied bytes.Buffer
	require.NoError(t, sqlstore.SQLiteFile{DB: other}.Copy(t.Context(), &copied))
	require.NoError(t, sqlstore.SQLiteFile{DB: db}.Check(t.Context(), bytes.NewReader(copied.Bytes())), "of another version")
}

func TestRowsThatBreakAConstraintAreCopied(t *testing.T) {
	db := ledger(t)
	exec(t, db, `CREATE TABLE x (a INTEGER); INSERT INTO x VALUES (NULL), (7); PRAGMA writable_schema = 1;
		UPDATE sqlite_schema SET sql = 'CREATE TABLE x (a INTEGER NOT NULL CHECK (a < 5))' WHERE name = 'x'; PRAGMA writable_schema = 0`)
	var copied bytes.Buffer
	// VACUUM would refuse what a constraint refuses, so this is what a copy of a file is.
	db.SetMaxOpenConns(1)
	exec(t, db, "PRAGMA wal_checkpoint(TRUNCATE)")
	var path string
	require.NoError(t, db.QueryRow("SELECT file FROM pragma_database_list WHERE name = 'main'").Scan(&path))
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	copied.Write(text)
	require.NoError(t, sqlstore.SQLiteFile{DB: db}.Check(t.Context(), &copied))
}

func TestWhatAKilledCopyHasLeftIsRemoved(t *testing.T) {
	temp := t.TempDir()
	old, fresh, other := filepath.Join(temp, "backup-database-1"), filepath.Join(temp, "backup-database-2"), filepath.Join(temp, "other")
	for _, dir := range []string{old, fresh, other} {
		require.NoError(t, os.Mkdir(dir, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "copy.db"), nil, 0o600))
	}
	long := time.Now().Add(-25 * time.Hour)
	require.NoError(t, os.Chtimes(old, long, long))
	require.NoError(t, os.Chtimes(other, long, long))
	require.NoError(t, sqlstore.SQLiteFile{DB: ledger(t), TempDir: temp}.Copy(t.Context(), io.Discard))
	require.NoDirExists(t, old)
	require.DirExists(t, fresh)
	require.DirExists(t, other)
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

type failingWriter struct{ err error }

func (f failingWriter) Write([]byte) (int, error) { return 0, f.err }

func TestADatabaseIsKeptBesideItsBackups(t *testing.T) {
	db := ledger(t)
	identity, err := agekey.ParseIdentities([]byte("AGE-SECRET-KEY-1SZQC9QUYSKRG0ZYF329CERVW37GFRY5NJJ2ED9UCNXDFH8YAN60SS4NW9U"), nil)
	require.NoError(t, err)
	recipient, err := identity.Recipient()
	require.NoError(t, err)
	a, b := t.TempDir(), t.TempDir()
	store := sqlstore.Store{DB: db, Dialect: sqlstore.SQLite, Tables: []sqlstore.Table{{Collection: "accounts"}}}
	m := &manager.Manager{
		App: &backup.App{Name: "ledger", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{
			{Name: "accounts", Key: "/id", Secrets: []string{"/note"}}}},
		Source: store, Sink: store, Locations: []location.Location{location.Dir(a), location.Dir(b)},
		Recipients: []backup.Recipient{recipient}, Encrypt: recipient, Compress: backup.Zstd,
		Database: sqlstore.SQLiteFile{DB: db},
	}
	snapshot, err := m.Create(t.Context(), backup.BackupOptions{})
	require.NoError(t, err)
	made, err := m.CopyDatabase(t.Context())
	require.NoError(t, err)
	require.True(t, made.Database)
	require.True(t, strings.HasSuffix(made.Name, ".db.zst.age"), made.Name)

	list, err := m.List(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 2)
	slices.SortFunc(list, func(a, b manager.Backup) int { return strings.Compare(a.Name, b.Name) })
	require.False(t, list[0].Database)
	require.True(t, list[1].Database)
	require.Equal(t, made.Name, list[1].Name)
	require.Equal(t, "manual", list[1].Trigger)
	require.Equal(t, recipient.KeyIDs(), list[1].Manifest.Keys)

	// Without the key it is held against its digest, with it checked as a database.
	found, err := m.Verify(t.Context(), made.Name)
	require.NoError(t, err)
	require.Len(t, found, 2)
	require.Contains(t, found[0].Report.Warnings[0], "no key was given")
	opened := managerLike(m)
	opened.Identities = []backup.Identity{identity}
	found, err = opened.Verify(t.Context(), made.Name)
	require.NoError(t, err)
	require.Empty(t, found[0].Report.Warnings)

	// It is not taken for a snapshot, nor a snapshot for it.
	_, err = opened.Open(t.Context(), made.Name)
	require.ErrorIs(t, err, backup.ErrInvalid)
	require.ErrorContains(t, err, "copy of the database")
	require.Error(t, opened.ExtractDatabase(t.Context(), snapshot.Name, io.Discard))

	// One copy is damaged: the other is extracted, and is the database.
	path := filepath.Join(a, made.Name)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	text[len(text)/2] ^= 1
	require.NoError(t, os.WriteFile(path, text, 0o600))
	_, err = opened.Verify(t.Context(), made.Name)
	require.ErrorIs(t, err, backup.ErrDamaged)
	out, err := os.Create(filepath.Join(t.TempDir(), "out.db"))
	require.NoError(t, err)
	require.NoError(t, opened.ExtractDatabase(t.Context(), made.Name, out))
	require.NoError(t, out.Close())
	require.Equal(t, 1000, balances(t, out.Name()))
}

// managerLike returns a Manager with the same fields that was not used yet.
func managerLike(m *manager.Manager) *manager.Manager {
	return &manager.Manager{App: m.App, Source: m.Source, Sink: m.Sink, Locations: m.Locations, Recipients: m.Recipients, Encrypt: m.Encrypt, Compress: m.Compress, Database: m.Database}
}

// A wayward driver calls opening before it opens a copy to check it, and opens the copy
// with copies.
type wayward struct {
	driver.Driver
	copies  driver.Driver
	opening func()
}

func (w *wayward) Open(name string) (driver.Conn, error) {
	if !strings.Contains(name, "immutable") {
		return w.Driver.Open(name)
	}
	w.opening()
	return w.copies.Open(name)
}

func (w *wayward) OpenConnector(name string) (driver.Connector, error) {
	return waywardConnector{w, name}, nil
}

type waywardConnector struct {
	driver *wayward
	name   string
}

func (n waywardConnector) Connect(context.Context) (driver.Conn, error) { return n.driver.Open(n.name) }

func (n waywardConnector) Driver() driver.Driver { return n.driver }

// Whoever is told to repair a database or to go back to a backup may lose what is whole.
func TestOnlyADamagedDatabaseIsCalledDamaged(t *testing.T) {
	for _, name := range []string{"a lock", "a stop", "a missing collation"} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			path := filepath.Join(t.TempDir(), "test.db")
			knowing := &sqlite.Driver{}
			require.NoError(t, knowing.RegisterCollationUtf8("fancy", strings.Compare))
			w := &wayward{knowing, knowing, func() {}}
			c, err := w.OpenConnector("file:" + path)
			require.NoError(t, err)
			db := sql.OpenDB(c)
			defer db.Close()
			db.SetMaxOpenConns(2)
			exec(t, db, "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT COLLATE fancy); CREATE INDEX texts ON notes (text); INSERT INTO notes VALUES (1, 'a'), (2, 'b')")
			file := sqlstore.SQLiteFile{DB: db, TempDir: t.TempDir()}
			require.NoError(t, file.Copy(ctx, io.Discard))

			other, err := db.Conn(t.Context())
			require.NoError(t, err)
			defer other.Close()
			switch name {
			case "a lock":
				w.opening = func() {
					_, err := other.ExecContext(t.Context(), "BEGIN EXCLUSIVE")
					require.NoError(t, err)
				}
			case "a stop":
				w.opening = cancel
			case "a missing collation":
				w.copies = &sqlite.Driver{}
			}
			err = file.Copy(ctx, io.Discard)
			require.Error(t, err)
			require.NotErrorIs(t, err, backup.ErrDamaged)
			require.NotContains(t, err.Error(), "damaged")
			require.Equal(t, name == "a stop", errors.Is(err, context.Canceled), err)
			require.Equal(t, name == "a missing collation", errors.Is(err, errors.ErrUnsupported), err)
		})
	}
}

func TestAnEmptyCopyOfADatabaseInMemoryIsRefused(t *testing.T) {
	db, err := sql.Open("sqlite", "file:/ledger?vfs=memdb")
	require.NoError(t, err)
	defer db.Close()
	exec(t, db, "CREATE TABLE notes (id INTEGER PRIMARY KEY); INSERT INTO notes VALUES (1)")
	var copied bytes.Buffer
	err = sqlstore.SQLiteFile{DB: db, TempDir: t.TempDir()}.Copy(t.Context(), &copied)
	require.ErrorContains(t, err, "the copy of the database is empty, though the database is not")
	require.NotErrorIs(t, err, backup.ErrDamaged)
	require.Zero(t, copied.Len())
}
