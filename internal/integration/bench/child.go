package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"filippo.io/age"
	_ "modernc.org/sqlite"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/agekey"
	"github.com/tomo-project/backup/sqlstore"
)

// A server is one of the records, as a host would hold it in memory.
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

// memory is a host that has its data in memory.
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

func openDB(path string, create bool) (*sql.DB, error) {
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)")
	if err == nil && create {
		_, err = db.Exec(tables)
	}
	return db, err
}

// What is compressed and encrypted, and for which key.
const (
	packedFile = "packed.json.zst.age"
	keyFile    = "key.txt"
)

func makeKey() error {
	key, err := age.GenerateX25519Identity()
	if err != nil {
		return err
	}
	return os.WriteFile(keyFile, []byte(key.String()), 0o600)
}

func readKey() (*agekey.Recipient, *agekey.Identity, error) {
	text, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, nil, err
	}
	identity, err := agekey.ParseIdentities(text, nil)
	if err != nil {
		return nil, nil, err
	}
	recipient, err := identity.Recipient()
	return recipient, identity, err
}

func backupPacked(name string, a *backup.App, src backup.DataSource) error {
	recipient, _, err := readKey()
	if err != nil {
		return err
	}
	return toFile(name, func(w io.Writer) error {
		_, err := a.Backup(context.Background(), w, src, backup.BackupOptions{Compress: backup.Zstd, Encrypt: recipient})
		return err
	})
}

func verify(ctx context.Context, checked bool, file string, identities ...backup.Identity) error {
	return openFile(ctx, file, identities, func(s *backup.Snapshot) error {
		_, err := app(checked).Verify(ctx, s, backup.RestoreOptions{})
		return err
	})
}

// toFile runs write on a new file and syncs it.
func toFile(name string, write func(w io.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Sync(), f.Close())
}

func backupTo(name string, a *backup.App, src backup.DataSource) error {
	return toFile(name, func(w io.Writer) error {
		_, err := a.Backup(context.Background(), w, src, backup.BackupOptions{})
		return err
	})
}

// runChild does one piece of work, measured, and prints the result.
func runChild(args []string, records int) error {
	ctx := context.Background()
	if len(args) == 2 {
		return runServerChild(ctx, args[0], args[1], records)
	}
	work, unchecked := strings.CutSuffix(args[0], "-unchecked")
	checked := !unchecked
	switch work {
	case "prepare":
		db, err := openDB("bench.db", true)
		if err != nil {
			return err
		}
		defer db.Close()
		if err := backupTo("snapshot.json", app(true), makeServers(records)); err != nil {
			return err
		}
		if err := makeKey(); err != nil {
			return err
		}
		if err := backupPacked(packedFile, app(false), makeServers(records)); err != nil {
			return err
		}
		return restore(ctx, app(true), sqlite(db))
	case "backup-sqlite":
		db, err := openDB("bench.db", false)
		if err != nil {
			return err
		}
		defer db.Close()
		return measure(func() error { return backupTo("ours.json", app(checked), sqlite(db)) })
	case "backup-packed":
		db, err := openDB("bench.db", false)
		if err != nil {
			return err
		}
		defer db.Close()
		return measure(func() error { return backupPacked("ours.json.zst.age", app(checked), sqlite(db)) })
	case "verify-packed":
		_, identity, err := readKey()
		if err != nil {
			return err
		}
		return measure(func() error { return verify(ctx, checked, packedFile, identity) })
	case "backup-memory":
		all := makeServers(records)
		return measure(func() error { return backupTo("ours.json", app(checked), all) })
	case "marshal-indent":
		all := makeServers(records)
		return measure(func() error {
			text, err := json.MarshalIndent(map[string]any{"version": "1.0", "data": map[string]any{"servers": all}}, "", "  ")
			if err != nil {
				return err
			}
			return os.WriteFile("peer.json", text, 0o600)
		})
	case "verify":
		return measure(func() error { return verify(ctx, checked, "snapshot.json") })
	case "restore-sqlite":
		for _, suffix := range []string{"", "-wal", "-shm"} {
			os.Remove("ours.db" + suffix)
		}
		db, err := openDB("ours.db", true)
		if err != nil {
			return err
		}
		defer db.Close()
		return measure(func() error { return restore(ctx, app(checked), sqlite(db)) })
	case "create":
		db, err := openDB("bench.db", false)
		if err != nil {
			return err
		}
		defer db.Close()
		m, err := manager(checked, db)
		if err != nil {
			return err
		}
		return measure(func() error {
			_, err := m.Create(ctx, backup.BackupOptions{})
			return err
		})
	case "replace", "manager-replace":
		db, err := changedDB()
		if err != nil {
			return err
		}
		defer db.Close()
		m, err := manager(checked, db)
		if err != nil {
			return err
		}
		return measure(func() error {
			return withSnapshot(ctx, func(s *backup.Snapshot) (err error) {
				opts := backup.RestoreOptions{Strategy: backup.Replace}
				if work == "replace" {
					_, err = m.App.Restore(ctx, s, m.Sink, opts)
				} else {
					_, err = m.Restore(ctx, s, opts)
				}
				return err
			})
		})
	case "small":
		all := makeServers(1000)
		return measure(func() error { return backupTo("small.json", app(true), all) })
	}
	return fmt.Errorf("unknown work %q", args[0])
}

func restore(ctx context.Context, a *backup.App, dst backup.Sink) error {
	return withSnapshot(ctx, func(s *backup.Snapshot) error {
		_, err := a.Restore(ctx, s, dst, backup.RestoreOptions{})
		return err
	})
}

// manager returns a Manager with two new folders.
func manager(checked bool, db *sql.DB) (*backup.Manager, error) {
	m := &backup.Manager{App: app(checked), Source: sqlite(db), Sink: sqlite(db)}
	for _, dir := range []backup.Dir{"first", "second"} {
		if err := os.RemoveAll(string(dir)); err != nil {
			return nil, err
		}
		if err := dir.Make(); err != nil {
			return nil, err
		}
		m.Locations = append(m.Locations, dir)
	}
	return m, nil
}

// changedDB returns a copy of the database in which every record is another.
func changedDB() (*sql.DB, error) {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		os.Remove("changed.db" + suffix)
	}
	from, err := openDB("bench.db", false)
	if err != nil {
		return nil, err
	}
	defer from.Close()
	if _, err := from.Exec("VACUUM INTO 'changed.db'"); err != nil {
		return nil, err
	}
	db, err := openDB("changed.db", false)
	if err != nil {
		return nil, err
	}
	if _, err := db.Exec("UPDATE servers SET priority = priority + 1; PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func withSnapshot(ctx context.Context, use func(*backup.Snapshot) error) error {
	return openFile(ctx, "snapshot.json", nil, use)
}

func openFile(ctx context.Context, name string, identities []backup.Identity, use func(*backup.Snapshot) error) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	s, err := backup.OpenSnapshot(ctx, f, backup.OpenOptions{Identities: identities})
	if err != nil {
		return err
	}
	defer s.Close()
	return use(s)
}

// measure runs work and prints how long it took and how much the resident
// memory rose above what it was.
func measure(work func() error) error {
	runtime.GC()
	debug.FreeOSMemory()
	// The kernel keeps the peak; this sets it back to now.
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		return err
	}
	before, err := memoryStatus(os.Getpid(), "VmRSS")
	if err != nil {
		return err
	}
	start := time.Now()
	if err := work(); err != nil {
		return err
	}
	r := result{Wall: time.Since(start)}
	peak, err := memoryStatus(os.Getpid(), "VmHWM")
	if err != nil {
		return err
	}
	r.Peak = peak - before
	return json.NewEncoder(os.Stdout).Encode(r)
}

func memoryStatus(pid int, field string) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, field+": %d kB", &kib); n == 1 {
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("/proc/%d/status has no %s", pid, field)
}
