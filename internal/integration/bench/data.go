package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"

	_ "modernc.org/sqlite"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/sqlstore"
)

// A server is one of the records, as a host holds it in memory.
type server struct {
	ID          string   `json:"id"`
	Name        string   `json:"name"`
	Host        string   `json:"host"`
	Port        int      `json:"port"`
	User        string   `json:"user"`
	Status      string   `json:"status"`
	Description string   `json:"description"`
	Tags        []string `json:"tags"`
	Priority    int      `json:"priority"`
	CreatedAt   string   `json:"created_at"`
}

const schema = `{
	"type": "object",
	"required": ["id", "name", "host", "port", "user", "status", "created_at"],
	"additionalProperties": false,
	"properties": {
		"id": {"type": "string", "pattern": "^[a-z0-9-]{1,64}$"},
		"name": {"type": "string", "minLength": 1, "maxLength": 200},
		"host": {"type": "string", "minLength": 1, "maxLength": 253},
		"port": {"type": "integer", "minimum": 1, "maximum": 65535},
		"user": {"type": "string"},
		"status": {"enum": ["online", "offline", "unknown"]},
		"description": {"type": ["string", "null"]},
		"tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": true},
		"priority": {"type": "integer", "minimum": 0},
		"created_at": {"type": "string", "format": "date-time"}
	}
}`

const tables = `CREATE TABLE servers (
	id TEXT PRIMARY KEY NOT NULL,
	name TEXT NOT NULL,
	host TEXT NOT NULL,
	port INTEGER NOT NULL,
	user TEXT NOT NULL,
	status TEXT NOT NULL,
	description TEXT,
	tags JSON NOT NULL,
	priority INTEGER NOT NULL,
	created_at TEXT NOT NULL
) WITHOUT ROWID`

func app(checked bool) *backup.App {
	servers := backup.Collection{Name: "servers", Key: "/id"}
	if checked {
		servers.Schema = []byte(schema)
	}
	return &backup.App{Name: "bench", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{servers}}
}

func makeServer(i int) server {
	return server{
		ID: fmt.Sprintf("srv-%08d", i), Name: fmt.Sprintf("node %d", i), Host: fmt.Sprintf("10.%d.%d.%d", i>>16&255, i>>8&255, i&255),
		Port: 1 + i%65535, User: "tomo", Status: "online", Description: fmt.Sprintf("rack %d, second shelf, behind the door with the sign", i/40),
		Tags: []string{fmt.Sprintf("rack-%d", i/40), "production"}, Priority: i % 10, CreatedAt: "2024-01-15T10:30:00Z",
	}
}

func makeServers(n int) memory {
	all := make(memory, n)
	for i := range all {
		all[i] = makeServer(i)
	}
	return all
}

// memory is a host that keeps its data in memory.
type memory []server

func (m memory) View(ctx context.Context, read func(backup.Reader) error) error { return read(m) }

func (m memory) Records(ctx context.Context, collection string) iter.Seq2[backup.Record, error] {
	return func(yield func(backup.Record, error) bool) {
		for i := range m {
			value, err := json.Marshal(&m[i])
			if !yield(backup.Record{Value: value}, err) || err != nil {
				return
			}
		}
	}
}

func store(db *sql.DB, dialect sqlstore.Dialect) sqlstore.Store {
	return sqlstore.Store{DB: db, Dialect: dialect, Tables: []sqlstore.Table{{Collection: "servers"}}}
}

func sqlite(db *sql.DB) sqlstore.Store { return store(db, sqlstore.SQLite) }

// withDB calls use with a SQLite database, and closes it.
func withDB(path string, use func(*sql.DB) error) error {
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)")
	if err != nil {
		return err
	}
	return errors.Join(use(db), db.Close())
}

// withNewDB is withDB for a new database with an empty table.
func withNewDB(path string, use func(*sql.DB) error) error {
	removeDB(path)
	return withDB(path, func(db *sql.DB) error {
		if _, err := db.Exec(tables); err != nil {
			return err
		}
		return use(db)
	})
}

func removeDB(path string) {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		os.Remove(path + suffix)
	}
}
