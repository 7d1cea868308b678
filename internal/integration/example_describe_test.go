//go:build !race

package integration

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"log"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/sqlstore"
)

// The declaration of an application is read from its database. When a table is
// added, the backup that would not have it fails.
func Example_describe() {
	ctx := context.Background()
	db, err := sql.Open("sqlite", "file:described?mode=memory&cache=shared")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`
		CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, api_token TEXT) STRICT;
		CREATE TABLE notes (id TEXT PRIMARY KEY, user_id INTEGER NOT NULL REFERENCES users, text TEXT, pinned INTEGER NOT NULL DEFAULT 0) STRICT;
		CREATE TABLE sessions (id TEXT PRIMARY KEY, user_id INTEGER REFERENCES users)`); err != nil {
		log.Fatal(err)
	}

	store, collections, err := sqlstore.Store{DB: db, Dialect: sqlstore.SQLite, Exclude: []string{"sessions"}}.Describe(ctx)
	if err != nil {
		log.Fatal(err)
	}
	app := &backup.App{Name: "notes", Version: "1.0.0", SchemaVersion: 1, Collections: collections}
	for _, c := range app.Collections {
		fmt.Printf("%s: key %s, refs %v, secrets %v\n%s", c.Name, c.Key, c.Refs, c.Secrets, c.Schema)
	}

	if _, err := db.Exec(`CREATE TABLE attachments (id TEXT PRIMARY KEY, note_id TEXT REFERENCES notes)`); err != nil {
		log.Fatal(err)
	}
	key := backup.Passphrase([]byte("correct horse battery staple"))
	_, err = app.Backup(ctx, io.Discard, store, backup.BackupOptions{Recipients: []backup.Recipient{key}})
	fmt.Println(err)

	// Output:
	// notes: key /id, refs [{/user_id users}], secrets []
	// {
	//   "$schema": "https://json-schema.org/draft/2020-12/schema",
	//   "title": "notes",
	//   "type": "object",
	//   "required": ["id", "user_id"],
	//   "additionalProperties": false,
	//   "properties": {
	//     "id": {"type": "string"},
	//     "user_id": {"type": "integer"},
	//     "text": {"type": ["string", "null"]},
	//     "pinned": {"type": "integer"}
	//   }
	// }
	// users: key /id, refs [], secrets [/api_token]
	// {
	//   "$schema": "https://json-schema.org/draft/2020-12/schema",
	//   "title": "users",
	//   "type": "object",
	//   "required": ["id", "name"],
	//   "additionalProperties": false,
	//   "properties": {
	//     "id": {"type": "integer"},
	//     "name": {"type": "string"},
	//     "api_token": {"type": ["string", "null"]}
	//   }
	// }
	// backup of notes: the host gave no view of its data: sqlstore: tables that the backup would miss: "attachments": declare each in Store.Tables with a collection of the App, or name it in Store.Exclude
}
