package integration

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/filestore"
	"github.com/tomo-project/backup/internal/testtime"
	joinedstore "github.com/tomo-project/backup/joined"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
	"github.com/tomo-project/backup/sqlstore"
)

// A shared host keeps rows in SQLite and files in a folder.
type sharedHost struct {
	db    *sql.DB
	files filestore.Store
}

const sharedSchema = `CREATE TABLE users (id TEXT PRIMARY KEY, name TEXT);
	CREATE TABLE notes (id TEXT PRIMARY KEY, user TEXT REFERENCES users, place INTEGER UNIQUE)`

var sharedApp = &backup.App{
	Name: "shared", Version: "1.0.0", SchemaVersion: 1,
	Collections: []backup.Collection{
		{Name: "users", Key: "/id"},
		{Name: "notes", Key: "/id", Refs: []backup.Ref{{Pointer: "/user", Collection: "users"}}},
		{Name: "files", Shape: backup.Map},
	},
}

func openShared(dir string) (sharedHost, error) {
	db, err := openTomo(filepath.Join(dir, "app.db"))
	return sharedHost{db, filestore.Store{Path: filepath.Join(dir, "files"), AllowGap: true, Collections: []filestore.Collection{{Name: "files"}}}}, err
}

func newShared(t *testing.T, dir string) sharedHost {
	require.NoError(t, os.Mkdir(filepath.Join(dir, "files"), 0o700))
	h, err := openShared(dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.db.Close()) })
	exec(t, h.db, sharedSchema)
	return h
}

func (h sharedHost) rows() sqlstore.Store {
	return store(h.db, sqlstore.Table{Collection: "users"}, sqlstore.Table{Collection: "notes", Columns: []sqlstore.Column{{Name: "place", OmitNull: true}}})
}

func joinShared(rows, files backup.Store) *joinedstore.Store {
	return &joinedstore.Store{Parts: []joinedstore.Part{
		{Store: rows, Collections: []string{"users", "notes"}},
		{Store: files, Collections: []string{"files"}},
	}}
}

func TestSQLiteAndAFolderJoinedKeepTheRulesOfAStore(t *testing.T) {
	backuptest.TestStore(t, func(t *testing.T) backuptest.Store {
		h := newShared(t, testtime.MemoryDir(t))
		return joinShared(h.rows(), h.files)
	}, backuptest.Fixture{
		Collections: []string{"users", "notes", "files"},
		App:         sharedApp,
		Record: func(collection string, number, revision int) backup.Record {
			key := fmt.Sprint("k", number)
			switch collection {
			case "users":
				return record(key, fmt.Sprintf(`{"id":%q,"name":"n%d"}`, key, revision))
			case "notes":
				user := quoted(key)
				if revision == 1 {
					user = "null"
				}
				return record(key, fmt.Sprintf(`{"id":%q,"user":%s}`, key, user))
			default:
				return record(key, fmt.Sprintf(`{"n":[%d,1.50,9007199254740993],"revision":%d}`, number, revision))
			}
		},
		WithKey: func(collection, key string) backup.Record {
			switch collection {
			case "users":
				return record(key, fmt.Sprintf(`{"id":%s,"name":null}`, quoted(key)))
			case "notes":
				return record(key, fmt.Sprintf(`{"id":%s,"user":null}`, quoted(key)))
			default:
				return record(key, quoted(key))
			}
		},
		WithUnique: func(collection string, number, value int) backup.Record {
			if collection != "notes" {
				return backup.Record{}
			}
			key := fmt.Sprint("k", number)
			return record(key, fmt.Sprintf(`{"id":%q,"user":%q,"place":%d}`, key, key, value))
		},
		Dangling: func(collection string) backup.Record {
			if collection != "notes" {
				return backup.Record{}
			}
			return record("dangles", `{"id":"dangles","user":"gone"}`)
		},
	})
}

// manager returns a Manager of the host, over parts that a test may have put in the place
// of its stores.
func (h sharedHost) manager(dir string, rows, files backup.Store) *manager.Manager {
	s := joinShared(rows, files)
	return &manager.Manager{App: sharedApp, Source: s, Sink: s, Locations: []location.Location{location.Dir(filepath.Join(dir, "backups"))}}
}

// set brings both parts to a state.
func (h sharedHost) set(t *testing.T, state string) {
	require.NoError(t, joinShared(h.rows(), h.files).Update(t.Context(), func(w backup.Writer) error {
		if err := w.Put(t.Context(), "users", []backup.Record{record("u", fmt.Sprintf(`{"id":"u","name":%q}`, state))}); err != nil {
			return err
		}
		return w.Put(t.Context(), "files", []backup.Record{record("u.png", quoted(state))})
	}))
}

// states returns that of the database and that of the folder.
func (h sharedHost) states(t *testing.T) (rows, files string) {
	require.NoError(t, h.db.QueryRow("SELECT name FROM users").Scan(&rows))
	content, err := os.ReadFile(filepath.Join(h.files.Path, "files", "u.png.json"))
	require.NoError(t, err)
	_, err = fmt.Sscanf(string(content), "%q", &files)
	require.NoError(t, err)
	return rows, files
}

// restoreSharedAndHang restores a backup, and stands still before the commit of a part.
func restoreSharedAndHang(ctx context.Context, part, dir, name string) error {
	h, err := openShared(dir)
	if err != nil {
		return err
	}
	faulty := &backuptest.Faulty{Source: h.files, Sink: h.files, On: backuptest.CallCommit, Nth: 1, Do: func() {
		fmt.Println("ready")
		select {}
	}}
	m := h.manager(dir, h.rows(), faulty)
	if part == "first" {
		faulty.Source, faulty.Sink = h.rows(), h.rows()
		m = h.manager(dir, faulty, h.files)
	}
	s, err := m.Open(ctx, name)
	if err != nil {
		return err
	}
	defer s.Close()
	_, err = m.Restore(ctx, s, backup.RestoreOptions{Strategy: backup.Replace})
	return err
}

func TestARestoreThatIsKilledBetweenTwoCommitsCanBeUndoneOrCompleted(t *testing.T) {
	ctx := t.Context()
	dir := testtime.MemoryDir(t)
	require.NoError(t, location.Dir(filepath.Join(dir, "backups")).Make())
	h := newShared(t, dir)
	h.set(t, "old")
	m := h.manager(dir, h.rows(), h.files)
	made, err := m.Create(ctx, backup.BackupOptions{})
	require.NoError(t, err)
	restore := func() {
		s, err := m.Open(ctx, made.Name)
		require.NoError(t, err)
		defer s.Close()
		_, err = m.Restore(ctx, s, backup.RestoreOptions{Strategy: backup.Replace})
		require.NoError(t, err)
	}
	for _, part := range []string{"first", "last"} {
		for _, cure := range []string{"undo", "restore again"} {
			h.set(t, "new")
			p := startProcess(t, "restore shared "+part, host{dir}, made.Name)
			p.kill()
			_, done := p.end(t)
			require.False(t, done)
			rows, files := h.states(t)
			require.Equal(t, map[string]string{"first": "new", "last": "old"}[part], rows)
			require.Equal(t, "new", files, "the files come last")
			switch {
			case cure == "restore again":
				restore()
				rows, files = h.states(t)
				require.Equal(t, []string{"old", "old"}, []string{rows, files})
			case part == "last":
				report, err := m.Undo(ctx)
				require.NoError(t, err)
				require.Contains(t, fmt.Sprint(report.Warnings), "did not finish")
				rows, files = h.states(t)
				require.Equal(t, []string{"new", "new"}, []string{rows, files})
			}
			left, err := filepath.Glob(filepath.Join(dir, ".files.filestore.[no]*"))
			require.NoError(t, err)
			if cure == "restore again" || part == "last" {
				require.Empty(t, left, "the next one with the lock removes what was prepared")
			}
		}
	}
}
