package main

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"syscall"

	_ "modernc.org/sqlite"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/sqlstore"
	"github.com/tomo-project/backup/tomo"
)

// applicationID marks a SQLite file as Tomo's: "tomo" in ASCII.
const applicationID = 0x746f6d6f

//go:embed schema.sql
var schemaSQL string

// database is an open Tomo database.
type database struct {
	*sql.DB
	path  string
	store *vault

	installation string // its id; empty for a command that stores no backup
}

// databaseFile returns the path of --db, or the default path of the guide.
func (c *cli) databaseFile() (string, error) {
	if c.databasePath != "" {
		return c.databasePath, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("no home folder; name the database with --db: %w", err)
	}
	return filepath.Join(home, ".tomo", "tomo.db"), nil
}

// openDatabase opens the database of this run, which must exist.
func (c *cli) openDatabase(ctx context.Context) (*database, error) {
	path, err := c.databaseFile()
	if err != nil {
		return nil, err
	}
	switch info, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("no database at %s: make one with tomo init, or name another with --db", path)
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("database %s: not a file", path)
	}
	open := func() (*sql.DB, error) { return openSQLite(path, "wal") }
	if onReadOnlyMount(path) {
		open = func() (*sql.DB, error) { return openUnchanging(path) }
	}
	db, err := open()
	if err != nil {
		return nil, err
	}
	if err := checkDatabase(ctx, db); err != nil {
		return nil, errors.Join(fmt.Errorf("database %s: %w", path, err), db.Close())
	}
	return newDatabase(path, db), nil
}

// withDatabase calls use with the database of this run, and closes it.
func (c *cli) withDatabase(ctx context.Context, use func(*database) error) error {
	db, err := c.openDatabase(ctx)
	if err != nil {
		return err
	}
	return errors.Join(use(db), db.Close())
}

// openSQLite opens a SQLite file, and never makes one. Foreign keys are
// enforced, and commits survive a loss of power. Deleted data is overwritten,
// so that a secret from before it was sealed does not stay in a free page.
func openSQLite(path, journal string) (*sql.DB, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	name := url.URL{Scheme: "file", Path: filepath.ToSlash(absolute), RawQuery: url.Values{
		"mode":    {"rw"},
		"_pragma": {"busy_timeout(5000)", "foreign_keys(1)", "journal_mode(" + journal + ")", "synchronous(full)", "secure_delete(1)"},
	}.Encode()}
	return sql.Open("sqlite", name.String())
}

// onReadOnlyMount tells whether nobody can write to a file, since its file system
// is mounted for reading only.
func onReadOnlyMount(path string) bool {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err == nil {
		f.Close()
	}
	return errors.Is(err, syscall.EROFS)
}

// openUnchanging opens a SQLite file on a read-only mount, to back it up. SQLite
// cannot keep the files there that it needs beside a database. So it must not look
// for them, and a file with changes must not be there.
func openUnchanging(path string) (*sql.DB, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	for _, beside := range []string{"-wal", "-journal"} {
		if info, err := os.Stat(absolute + beside); err == nil && info.Size() > 0 {
			return nil, fmt.Errorf("database %s: it is on a read-only mount, and %s has changes that belong to it: copy both to a folder that can be written, and name the copy with --db", path, absolute+beside)
		}
	}
	name := url.URL{Scheme: "file", Path: filepath.ToSlash(absolute), RawQuery: url.Values{"mode": {"ro"}, "immutable": {"1"}}.Encode()}
	return sql.Open("sqlite", name.String())
}

// checkDatabase refuses a file that is not a database of this Tomo.
func checkDatabase(ctx context.Context, db *sql.DB) error {
	var id, schema int
	if err := db.QueryRowContext(ctx, "PRAGMA application_id").Scan(&id); err != nil {
		return err
	}
	if id != applicationID {
		return errors.New("not a Tomo database")
	}
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&schema); err != nil {
		return err
	}
	if schema != tomo.SchemaVersion {
		return fmt.Errorf("it has schema version %d, but Tomo %s has schema version %d; use the Tomo that it belongs to", schema, version, tomo.SchemaVersion)
	}
	return nil
}

// newDatabase maps each table to the collection of the same name. The secrets
// are sealed with the master key that is beside the database.
func newDatabase(path string, db *sql.DB) *database {
	app := tomo.App(version)
	store := sqlstore.Store{DB: db, Dialect: sqlstore.SQLite}
	for _, collection := range app.Collections {
		table := sqlstore.Table{Collection: collection.Name}
		if collection.Shape == backup.Map {
			table.Key, table.Value = "key", "value"
		}
		store.Tables = append(store.Tables, table)
	}
	return &database{DB: db, path: path, store: newVault(store, app, masterKeyFile(path))}
}

// masterKeyFile returns the path of the master key of the database at path.
// Backups do not contain the key. Keep it apart from copies of the database.
func masterKeyFile(path string) string { return path + ".key" }
