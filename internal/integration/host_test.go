package integration

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/agekey"
	"github.com/tomo-project/backup/internal/testtime"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
	"github.com/tomo-project/backup/sqlstore"
	"github.com/tomo-project/backup/tomo"
)

// A host is a Tomo in a folder: its database, and two folders of backups.
type host struct{ dir string }

func (h host) database() string        { return filepath.Join(h.dir, "tomo.db") }
func (h host) folders() []location.Dir { return []location.Dir{h.folder("a"), h.folder("b")} }
func (h host) folder(name string) location.Dir {
	return location.Dir(filepath.Join(h.dir, name))
}

// newHost returns one with n records of each collection and no backup.
func newHost(t testing.TB, n int) host {
	t.Helper()
	h := host{testtime.MemoryDir(t)}
	for _, d := range h.folders() {
		require.NoError(t, d.Make())
	}
	db := h.open(t)
	schema, err := os.ReadFile("../../examples/tomo/schema.sql")
	require.NoError(t, err)
	exec(t, db, string(schema))
	require.NoError(t, tomoStore(db).Update(t.Context(), func(w backup.Writer) error {
		for _, c := range tomo.App("2.1.0").Collections {
			var records []backup.Record
			for i := range n {
				if r := tomo.Sample(c.Name, i); r.Key != "" {
					records = append(records, r)
				}
			}
			if err := w.Put(t.Context(), c.Name, records); err != nil {
				return err
			}
		}
		return nil
	}))
	return h
}

// openTomo opens the database as a host should: what is committed survives a
// loss of power, and writers wait for each other.
func openTomo(path string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: path, RawQuery: url.Values{
		"_pragma": {"busy_timeout(10000)", "foreign_keys(1)", "journal_mode(WAL)", "synchronous(full)"},
	}.Encode()}).String())
	if err != nil {
		return nil, err
	}
	return db, db.Ping()
}

func (h host) open(t testing.TB) *sql.DB {
	t.Helper()
	db, err := openTomo(h.database())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

func tomoStore(db *sql.DB) sqlstore.Store {
	s := sqlstore.Store{DB: db, Dialect: sqlstore.SQLite}
	for _, c := range tomoApp.Collections {
		table := sqlstore.Table{Collection: c.Name}
		if c.Shape == backup.Map {
			table.Key, table.Value = "key", "value"
		}
		s.Tables = append(s.Tables, table)
	}
	return s
}

var tomoApp = tomo.App("2.1.0")

// quickApp is the same without the schemas, which take longer to compile than a
// few records to back up.
var quickApp = func() *backup.App {
	app := tomo.App("2.1.0")
	for i := range app.Collections {
		app.Collections[i].Schema = nil
	}
	return app
}()

// manager returns a Manager of the host that knows nothing yet.
func (h host) manager(db *sql.DB) *manager.Manager {
	s := tomoStore(db)
	return h.packed(&manager.Manager{
		App: tomoApp, Source: s, Sink: s,
		Locations:  []location.Location{h.folder("a"), h.folder("b")},
		Recipients: []backup.Recipient{plainKey{}}, Identities: []backup.Identity{plainKey{}},
		Retention: backup.Retention{Last: 3}, KeepBeforeRestore: 2,
	})
}

// pack has the host compress its backups and encrypt them as a whole. The key is
// in its folder, for the processes that are killed.
func (h host) pack(t testing.TB) {
	key, err := age.GenerateX25519Identity()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(h.keyFile(), []byte(key.String()), 0o600))
}

func (h host) keyFile() string { return filepath.Join(h.dir, "key.txt") }

// packed gives a Manager the key of a host that was packed.
func (h host) packed(m *manager.Manager) *manager.Manager {
	text, err := os.ReadFile(h.keyFile())
	if err != nil {
		return m
	}
	identity, err := agekey.ParseIdentities(text, nil)
	if err != nil {
		panic(err)
	}
	recipient, err := identity.Recipient()
	if err != nil {
		panic(err)
	}
	m.Compress, m.Encrypt = backup.Zstd, recipient
	m.Identities = append(m.Identities, identity)
	return m
}

// quickManager is manager with the quickApp.
func (h host) quickManager(db *sql.DB) *manager.Manager {
	m := h.manager(db)
	m.App = quickApp
	return m
}

// plainKey stands for a passphrase and takes no time.
type plainKey struct{}

type plainWrapped struct {
	Type string `json:"type"`
	Key  []byte `json:"key"`
}

func (plainKey) Wrap(key []byte) (json.RawMessage, error) {
	return json.Marshal(plainWrapped{"plain", key})
}

func (plainKey) Unwrap(wrapped json.RawMessage) ([]byte, error) {
	var w plainWrapped
	if err := json.Unmarshal(wrapped, &w); err != nil || w.Type != "plain" {
		return nil, backup.ErrWrongKey
	}
	return w.Key, nil
}

// change makes the database another than it was: records go, change and come.
func change(t testing.TB, db *sql.DB) {
	t.Helper()
	exec(t, db, `PRAGMA foreign_keys=OFF; DELETE FROM applications WHERE id LIKE '%3'; UPDATE servers SET host = 'moved.example.org', password = 'another' WHERE id LIKE '%1';
		UPDATE preferences SET theme = 'light', dashboard = NULL; UPDATE settings SET value = '"light"' WHERE key = 'theme'; DELETE FROM settings WHERE key = 'backup_dir';
		INSERT INTO repositories (id, name, url) VALUES ('new', 'New', 'https://new.example.org/'); PRAGMA foreign_keys=ON`)
}

// state is all that the database holds, which must not be damaged.
func state(t testing.TB, db *sql.DB) string {
	t.Helper()
	var ok string
	require.NoError(t, db.QueryRow("PRAGMA integrity_check").Scan(&ok))
	require.Equal(t, "ok", ok)
	return dumpAll(t, tomoStore(db), tomoApp)
}

// dumpAll returns all records of a source, seen at one point in time.
func dumpAll(t testing.TB, src backup.DataSource, app *backup.App) string {
	t.Helper()
	var all strings.Builder
	require.NoError(t, src.View(t.Context(), func(r backup.Reader) error {
		for _, c := range app.Collections {
			for rec, err := range r.Records(context.Background(), c.Name) {
				if err != nil {
					return err
				}
				if c.Shape != backup.Map {
					rec.Key = "" // is in the record, and may be absent here
				}
				fmt.Fprintln(&all, c.Name, rec.Key, string(rec.Value))
			}
		}
		return nil
	}))
	return all.String()
}

// is tells which of the texts got is, and shows a few lines if it is neither.
func is(t testing.TB, got string, wants ...string) int {
	t.Helper()
	i := slices.Index(wants, got)
	if i >= 0 {
		return i
	}
	lines := strings.Split(got, "\n")
	for _, want := range wants {
		is := strings.Split(want, "\n")
		for n := range min(len(is), len(lines)) {
			if is[n] != lines[n] {
				t.Logf("of %d lines and %d, the first that differs: %q, %q", len(lines), len(is), lines[n], is[n])
				break
			}
		}
	}
	require.Fail(t, "the data is neither as it was nor as it should be")
	return -1
}

// shelves is what the folders hold under the names of backups: the digests of the
// files by folder and name.
func (h host) shelves(t testing.TB) map[string][sha256.Size]byte {
	t.Helper()
	files := map[string][sha256.Size]byte{}
	for _, folder := range []string{"a", "b"} {
		for _, name := range backupsIn(t, filepath.Join(h.dir, folder)) {
			content, err := os.ReadFile(filepath.Join(h.dir, folder, name))
			require.NoError(t, err)
			files[folder+"/"+name] = sha256.Sum256(content)
		}
	}
	return files
}

// leftovers are the temporary files in the folders.
func (h host) leftovers(t testing.TB) []string {
	t.Helper()
	left := []string{}
	for _, d := range h.folders() {
		for _, name := range namesIn(t, string(d)) {
			if strings.HasPrefix(name, ".") && name != ".tomo.lock" {
				left = append(left, name)
			}
		}
	}
	return left
}

func namesIn(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// backupsIn are the names in a folder that are those of backups: not hidden
// files, nor marks beside backups.
func backupsIn(t testing.TB, dir string) []string {
	t.Helper()
	names := namesIn(t, dir)
	backups := slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		_, ok := tomoApp.ParseBackupName(name)
		return !ok
	})
	// A file whose writer died before its note is none: the next writer deletes it.
	return slices.DeleteFunc(backups, func(name string) bool {
		return slices.Contains(names, name+".writing") && !slices.Contains(names, name+".manifest")
	})
}

// filesIn are the names in a folder that are not hidden.
func filesIn(t testing.TB, dir string) []string {
	t.Helper()
	return slices.DeleteFunc(namesIn(t, dir), func(name string) bool { return name[0] == '.' })
}

// whole checks that every file that could be taken for a backup is a whole one
// which verifies, at each location, and that all that was there before is there
// unchanged, but for what may have gone. What was there is not verified again. It
// returns what is new.
func (h host) whole(t testing.TB, m *manager.Manager, before map[string][sha256.Size]byte, mayGo func(name string) bool) (news []string) {
	t.Helper()
	now := h.shelves(t)
	for file, digest := range before {
		if _, name, _ := strings.Cut(file, "/"); mayGo != nil && mayGo(name) {
			if got, there := now[file]; there {
				require.Equal(t, digest, got, "%s was changed", file)
			}
			continue
		}
		require.Contains(t, now, file, "a backup was lost")
		require.Equal(t, digest, now[file], "%s was changed", file)
	}
	list, err := m.List(t.Context())
	require.NoError(t, err)
	listed := map[string]bool{}
	for _, b := range list {
		listed[b.Name] = true
		require.False(t, b.Damaged, "%s", b.Name)
		for _, c := range b.Copies {
			require.NoError(t, c.Err, "%s at %s", b.Name, c.Location)
		}
	}
	verified := map[string]bool{}
	for file := range now {
		_, name, _ := strings.Cut(file, "/")
		require.True(t, listed[name], "%s is not listed", file)
		if _, old := before[file]; old || verified[name] {
			continue
		}
		verified[name] = true
		copies, err := m.Verify(t.Context(), name)
		require.NoError(t, err)
		for _, c := range copies {
			require.Empty(t, c.Report.Warnings)
		}
		news = append(news, name)
	}
	return news
}

// create makes a backup of a certain age and trigger.
func create(t testing.TB, m *manager.Manager, opts backup.BackupOptions) manager.Backup {
	t.Helper()
	b, err := m.Create(t.Context(), opts)
	require.NoError(t, err)
	for _, c := range b.Copies {
		require.NoError(t, c.Err)
	}
	return b
}

func openBackup(t testing.TB, m *manager.Manager, name string) *backup.Snapshot {
	t.Helper()
	s, err := m.Open(t.Context(), name)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}
