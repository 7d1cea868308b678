package readme_test

import (
	"context"
	"crypto/ed25519"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/agekey"
	"github.com/tomo-project/backup/backuphttp"
	"github.com/tomo-project/backup/filestore"
	_ "github.com/tomo-project/backup/internal/seal/sealtest"
	"github.com/tomo-project/backup/joined"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
	"github.com/tomo-project/backup/schedule"
	"github.com/tomo-project/backup/sqlstore"
)

// The documents print parts of this file: see TestGoInTheDocumentsIsCodeThatRuns.

var (
	userSchema = []byte(`{"required":["id","name"],"properties":{"name":{"type":"string"}}}`)
	noteSchema = []byte(`{"required":["id","user_id","text"]}`)
)

var app = &backup.App{
	Name: "notes", Version: "1.0.0", SchemaVersion: 1,
	Collections: []backup.Collection{
		{Name: "users", Key: "/id", Schema: userSchema, Secrets: []string{"/token"}},
		{Name: "notes", Key: "/id", Schema: noteSchema, Refs: []backup.Ref{{Pointer: "/user_id", Collection: "users"}}},
		{Name: "settings", Shape: backup.Map},
	},
}

const tables = `
CREATE TABLE users (id TEXT PRIMARY KEY, name TEXT NOT NULL, token TEXT);
CREATE TABLE notes (id TEXT PRIMARY KEY, user_id TEXT NOT NULL REFERENCES users, text TEXT NOT NULL);
CREATE TABLE settings (name TEXT PRIMARY KEY, value JSON NOT NULL);
CREATE TABLE sessions (id TEXT PRIMARY KEY)`

const rows = `
INSERT INTO users VALUES ('u1', 'Ada', 'hunter2');
INSERT INTO notes VALUES ('n1', 'u1', 'buy milk');
INSERT INTO settings VALUES ('theme', '"dark"')`

// host returns a folder and a database in it, and what removes both.
func host(sqls ...string) (dir string, db *sql.DB, remove func()) {
	dir, err := os.MkdirTemp("", "readme-")
	check(err)
	db, err = sql.Open("sqlite", filepath.Join(dir, "notes.db")+"?_pragma=journal_mode(WAL)")
	check(err)
	for _, text := range sqls {
		_, err = db.Exec(text)
		check(err)
	}
	return dir, db, func() {
		db.Close()
		os.RemoveAll(dir)
	}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func Example_declare() {
	check(app.Validate())

	_, db, remove := host(tables)
	defer remove()
	data := sqlstore.Store{DB: db, Dialect: sqlstore.SQLite, Tables: []sqlstore.Table{
		{Collection: "users"}, {Collection: "notes"}, {Collection: "settings", Key: "name", Value: "value"},
	}}
	key := backup.Passphrase([]byte("correct horse"))
	manifest, err := app.Backup(context.Background(), new(nowhere), data, backup.BackupOptions{Recipients: []backup.Recipient{key}})
	check(err)
	fmt.Println(manifest.Records)
	// Output: map[notes:0 settings:0 users:0]
}

type nowhere struct{}

func (nowhere) Write(p []byte) (int, error) { return len(p), nil }

func Example_describe() {
	ctx := context.Background()
	_, db, remove := host(tables)
	defer remove()

	data, collections, err := sqlstore.Store{
		DB: db, Dialect: sqlstore.SQLite,
		Exclude: []string{"sessions", "schema_migrations"},
	}.Describe(ctx)
	check(err)
	app := &backup.App{Name: "notes", Version: "1.0.0", SchemaVersion: 1, Collections: collections}

	check(app.Validate())
	for _, c := range collections {
		fmt.Println(c.Name, c.Key, c.Secrets, c.Refs)
	}
	fmt.Println(data.CoverAll)
	// Output:
	// notes /id [] [{/user_id users}]
	// settings /name [] []
	// users /id [/token] []
	// true
}

func Example_join() {
	ctx := context.Background()
	dir, db, remove := host(tables, rows)
	defer remove()
	database := store(db)
	pictures := filepath.Join(dir, "data", "pictures")
	check(os.MkdirAll(pictures, 0o700))
	check(os.WriteFile(filepath.Join(pictures, "ada.png"), []byte("a picture"), 0o600))

	data := &joined.Store{Parts: []joined.Part{
		{Store: database, Collections: []string{"users", "notes", "settings"}},
		{Store: filestore.Store{
			Path:        filepath.Join(dir, "data"),
			Collections: []filestore.Collection{{Name: "pictures", Layout: filestore.Tree}},
		}, Collections: []string{"pictures"}},
	}}

	withPictures := *app
	withPictures.Collections = append(app.Collections[:3:3], backup.Collection{Name: "pictures", Shape: backup.Map})
	key := backup.Passphrase([]byte("correct horse"))
	manifest, err := withPictures.Backup(ctx, new(nowhere), data, backup.BackupOptions{Recipients: []backup.Recipient{key}})
	check(err)
	fmt.Println(manifest.Records)
	// Output: map[notes:1 pictures:1 settings:1 users:1]
}

func Example_restore() {
	ctx := context.Background()
	dir, db, remove := host(tables, rows)
	defer remove()
	data, key := store(db), backup.Passphrase([]byte("correct horse"))
	folder := location.Dir(dir)
	m := &manager.Manager{App: app, Source: data, Sink: data, Recipients: []backup.Recipient{key}, Locations: []location.Location{folder}}
	made, err := m.Create(ctx, backup.BackupOptions{})
	check(err)
	file, err := os.Open(filepath.Join(dir, made.Name))
	check(err)
	_, err = db.Exec("DELETE FROM notes")
	check(err)

	snapshot, err := backup.OpenSnapshot(ctx, file, backup.OpenOptions{
		Identities:  []backup.Identity{key},
		CloseReader: true,
	})
	check(err)
	defer snapshot.Close()
	report, err := app.Restore(ctx, snapshot, data, backup.RestoreOptions{
		Only:       []string{"users", "notes"},
		Strategy:   backup.SkipDuplicates, // the default
		Strategies: map[string]backup.Strategy{"users": backup.Merge},
	})
	if errors.Is(err, backup.ErrUncertain) {
		fmt.Println("the commit failed: look whether the restore took place")
	}
	check(err)

	for _, c := range report.Collections {
		fmt.Println(c.Name, c.Added, c.Unchanged)
	}
	// Output:
	// users 0 1
	// notes 1 0
}

func store(db *sql.DB) sqlstore.Store {
	return sqlstore.Store{DB: db, Dialect: sqlstore.SQLite, Tables: []sqlstore.Table{
		{Collection: "users"}, {Collection: "notes"}, {Collection: "settings", Key: "name", Value: "value"},
	}}
}

func Example_manager() {
	ctx := context.Background()
	dir, db, remove := host(tables, rows)
	defer remove()
	data, key := store(db), backup.Passphrase([]byte("correct horse"))
	m := &manager.Manager{
		App: app, Source: data, Sink: data,
		Recipients: []backup.Recipient{key}, Identities: []backup.Identity{key},
		Locations: []location.Location{location.Dir(dir)},
	}
	newScratch := func(ctx context.Context) (backup.Store, func() error, error) {
		_, empty, remove := host(tables)
		return store(empty), func() error { remove(); return nil }, nil
	}

	m.Drills = manager.Drills{Scratch: newScratch, Schedule: schedule.Weekly{}} // before the manager is used

	made, err := m.Create(ctx, backup.BackupOptions{}) // to every location, and read back
	check(err)
	verified, err := m.Verify(ctx, made.Name) // every copy, all that a restore would check
	check(err)
	drill, err := m.Drill(ctx, "") // restores the newest backup into a scratch store, and compares
	check(err)

	_, err = db.Exec("DELETE FROM notes")
	check(err)

	snapshot, err := m.Open(ctx, made.Name)
	check(err)
	plan, err := m.Plan(ctx, snapshot, backup.RestoreOptions{Strategy: backup.Replace})
	check(err)
	report, err := m.Apply(ctx, plan) // stores what it replaces; Restore does both without a look
	check(err)
	check(plan.Close())

	undone, err := m.Undo(ctx) // as it was before the restore; a second Undo: as it was after it
	check(err)
	list, err := m.List(ctx) // newest first, one entry for all copies of a backup
	check(err)

	fmt.Println(len(verified), drill.Records, len(report.Collections), undone.Backup == report.UndoneBy, len(list))
	// Output: 1 3 3 true 3
}

func Example_database() {
	ctx := context.Background()
	dir, db, remove := host(tables, rows)
	defer remove()
	data, key := store(db), backup.Passphrase([]byte("correct horse"))
	m := &manager.Manager{
		App: app, Source: data, Sink: data,
		Recipients: []backup.Recipient{key}, Identities: []backup.Identity{key},
		Locations: []location.Location{location.Dir(dir)},
	}
	file := new(nowhere)

	m.Database = sqlstore.SQLiteFile{DB: db} // before the manager is used: a copy with each scheduled backup
	m.DatabaseInClear = true                 // or set Encrypt: the copy holds the secrets as the database does

	copied, err := m.CopyDatabase(ctx) // by hand; listed, verified and pruned like a backup
	check(err)
	err = m.ExtractDatabase(ctx, copied.Name, file)
	check(err)

	fmt.Println(copied.Database, filepath.Ext(copied.Name))
	// Output: true .db
}

// The two halves of a key that age-keygen made.
const (
	publicKey = "age1m69xn6tqln0y46es0jkcqh4g3lw9wl5dhdmehfampx859wwtqc2s90pscn"
	keyFile   = "AGE-SECRET-KEY-1H0L0EFFUHJS3UG6QYHDNEMCFH493W62TE3F7PM3AJF25EJC85FWQ4MXQW4"
)

func Example_keys() {
	ctx := context.Background()
	dir, db, remove := host(tables, rows)
	defer remove()
	data := store(db)
	m := &manager.Manager{App: app, Source: data, Sink: data, Locations: []location.Location{location.Dir(dir)}}
	_, signingKey, err := ed25519.GenerateKey(nil)
	check(err)

	recipient, err := agekey.ParseRecipients(publicKey) // age1…, age1pq1… (post-quantum) and SSH keys, one a line
	check(err)
	m.Recipients = []backup.Recipient{recipient} // seals the secret fields
	m.Encrypt = recipient                        // encrypts the whole file too: names of hosts and users are private
	m.Compress = backup.Zstd
	m.Signer = signingKey             // Ed25519: proves that a backup was made here
	m.Rehearsals = schedule.Monthly{} // an Event asks somebody to try their key

	made, err := m.Create(ctx, backup.BackupOptions{})
	check(err)
	m = &manager.Manager{
		App: app, Source: data, Sink: data, Locations: m.Locations,
		Recipients: m.Recipients, Encrypt: m.Encrypt, Signer: signingKey,
		Trusted: []ed25519.PublicKey{signingKey.Public().(ed25519.PublicKey)},
	}
	otherRecipient := recipient

	identity, err := agekey.ParseIdentities([]byte(keyFile), nil)
	check(err)
	tried, err := m.Rehearse(ctx, identity) // now and then: does the key open the newest backup everywhere?
	check(err)

	restoring := &manager.Manager{
		App: app, Source: data, Sink: data, Locations: m.Locations,
		Recipients: m.Recipients, Encrypt: m.Encrypt, Signer: m.Signer, Trusted: m.Trusted,
		Identities: []backup.Identity{identity}, // on the day of the restore
	}
	again, err := restoring.Rewrap(ctx, made.Name, manager.RewrapOptions{ // after a change of keys
		Recipients: []backup.Recipient{otherRecipient},
	})
	check(err)

	fmt.Println(len(tried), again.Name != made.Name)
	// Output: 1 true
}

func Example_page() {
	dir, db, remove := host(tables, rows)
	defer remove()
	data, key := store(db), backup.Passphrase([]byte("correct horse"))
	m := &manager.Manager{
		App: app, Source: data, Sink: data,
		Recipients: []backup.Recipient{key}, Identities: []backup.Identity{key},
		Locations: []location.Location{location.Dir(dir)},
	}
	mux := http.NewServeMux()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	session := func(*http.Request) *user { return &user{Admin: true} }

	page, err := backuphttp.New(backuphttp.Options{
		Manager: m, // or Automation, so that people can change schedule, retention and locations on the page
		Authorize: func(r *http.Request, a backuphttp.Action) error {
			switch user := session(r); { // a is View, Create, Download, Restore, Delete or Configure
			case user == nil:
				return backuphttp.ErrLogin
			case !user.Admin:
				return errors.New("administrators only")
			}
			return nil
		},
	})
	check(err)
	mux.Handle("/settings/backup/", page)
	go page.Run(ctx) // in the place of m.Run: the schedule, and what people start

	answer := httptest.NewRecorder()
	mux.ServeHTTP(answer, httptest.NewRequest("GET", "/settings/backup/", nil))
	fmt.Println(answer.Code)
	// Output: 200
}

type user struct{ Admin bool }
