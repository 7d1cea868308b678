// Command onefile backs up a SQLite database, loses a row and restores it.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/sqlstore"
	_ "modernc.org/sqlite"
)

func main() {
	ctx := context.Background()
	db, err := sql.Open("sqlite", "notes.db?_pragma=journal_mode(WAL)")
	check(err)
	_, err = db.Exec(`CREATE TABLE IF NOT EXISTS notes (id TEXT PRIMARY KEY, text TEXT NOT NULL, token TEXT);
		INSERT OR IGNORE INTO notes VALUES ('n1', 'buy milk', 'hunter2')`)
	check(err)

	// Describe reads tables, keys, references and schemas, and guesses that token is a secret.
	data, collections, err := sqlstore.Store{DB: db, Dialect: sqlstore.SQLite}.Describe(ctx)
	check(err)
	app := &backup.App{Name: "notes", Version: "1.0.0", SchemaVersion: 1, Collections: collections}
	key := backup.Passphrase([]byte(os.Getenv("NOTES_PASSPHRASE"))) // empty: secrets cannot be backed up

	// The file is a backup when Backup, Sync and Close have all returned nil.
	name := app.BackupName(time.Now()) // notes-backup-2024-01-15T10-30-00.json
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	check(err)
	_, err = app.Backup(ctx, file, data, backup.BackupOptions{Recipients: []backup.Recipient{key}})
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		err = errors.Join(err, os.Remove(name)) // what is left is no backup
	}
	check(err)

	_, err = db.Exec(`DELETE FROM notes`)
	check(err)

	file, err = os.Open(name)
	check(err)
	snapshot, err := backup.OpenSnapshot(ctx, file, backup.OpenOptions{Identities: []backup.Identity{key}, CloseReader: true})
	check(err)
	defer snapshot.Close()
	plan, err := app.Plan(ctx, snapshot, data, backup.RestoreOptions{Strategy: backup.Merge})
	check(err)
	for change, err := range plan.Changes(ctx) {
		check(err)
		fmt.Println("would", change.Action, change.Collection, change.Key) // would add notes n1
	}
	_, err = plan.Apply(ctx) // exactly that, or ErrStale and nothing
	check(err)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
