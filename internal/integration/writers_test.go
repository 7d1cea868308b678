package integration

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/testtime"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
	"github.com/tomo-project/backup/sqlstore"
)

// A bank moves money between accounts in two tables, and writes down which
// transfer was the last: in the accounts, in the settings, and in a journal that
// is no part of backups. All transfers are numbered as they are committed.
const bankSchema = `CREATE TABLE savings (id INTEGER PRIMARY KEY, cents INTEGER NOT NULL, transfer INTEGER NOT NULL);
	CREATE TABLE checking (id INTEGER PRIMARY KEY, cents INTEGER NOT NULL, transfer INTEGER NOT NULL);
	CREATE TABLE settings (key TEXT PRIMARY KEY, value JSON NOT NULL);
	CREATE TABLE journal (transfer INTEGER PRIMARY KEY);
	WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 100) INSERT INTO savings SELECT i, 1000, 0 FROM n;
	INSERT INTO checking SELECT * FROM savings;
	INSERT INTO settings VALUES ('last_transfer', 0);
	INSERT INTO journal VALUES (0)`

const bankTotal = 2 * 100 * 1000

func bankApp() *backup.App {
	return &backup.App{Name: "bank", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{
		{Name: "savings", Key: "/id"}, {Name: "checking", Key: "/id"}, {Name: "settings", Shape: backup.Map},
	}}
}

func bankStore(db *sql.DB) sqlstore.Store {
	return store(db, sqlstore.Table{Collection: "savings"}, sqlstore.Table{Collection: "checking"}, sqlstore.Table{Collection: "settings", Value: "value"})
}

// writers are goroutines with connections of their own that transfer all the
// time, unless they are made to pause.
type writers struct {
	path    string
	pause   sync.RWMutex
	number  int // of the last transfer; belongs to who holds the write lock of the database
	stopped context.Context
}

func (w *writers) run(seed uint64) error {
	db, err := openTomo(w.path)
	if err != nil {
		return err
	}
	defer db.Close()
	random := rand.New(rand.NewPCG(seed, 0))
	for w.stopped.Err() == nil {
		if err := w.transfer(db, random); err != nil {
			return err
		}
		time.Sleep(time.Duration(random.IntN(int(2 * time.Millisecond))))
	}
	return nil
}

func (w *writers) transfer(db *sql.DB, random *rand.Rand) error {
	w.pause.RLock()
	defer w.pause.RUnlock()
	ctx := context.Background()
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	w.number++
	cents, from, to := random.IntN(50), 1+random.IntN(100), 1+random.IntN(100)
	_, err = conn.ExecContext(ctx, `UPDATE savings SET cents = cents - ?1, transfer = ?2 WHERE id = ?3;
		UPDATE checking SET cents = cents + ?1, transfer = ?2 WHERE id = ?4;
		UPDATE settings SET value = ?2 WHERE key = 'last_transfer';
		INSERT INTO journal VALUES (?2);
		COMMIT`, cents, w.number, from, to)
	return err
}

// witness is the Sink of a bank. While nobody else can write it notes what is
// there, through another connection: all that has been committed.
type witness struct {
	t *testing.T
	sqlstore.Store
	db *sql.DB

	data string
	last int // transfer in the journal
}

func (s *witness) Update(ctx context.Context, write func(backup.Writer) error) error {
	return s.Store.Update(ctx, func(w backup.Writer) error {
		s.data = dumpAll(s.t, bankStore(s.db), bankApp())
		require.NoError(s.t, s.db.QueryRow("SELECT max(transfer) FROM journal").Scan(&s.last))
		return write(w)
	})
}

// sound checks that data shows the bank as it was between two transfers, and
// returns the number of the last.
func sound(t *testing.T, data string) (last int) {
	t.Helper()
	total, newest, found := 0, 0, false
	for line := range strings.Lines(data) {
		collection, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		key, value, _ := strings.Cut(rest, " ")
		if collection == "settings" {
			var err error
			last, err = strconv.Atoi(value)
			require.NoError(t, err)
			found = key == "last_transfer"
			continue
		}
		var id, cents, transfer int
		_, err := fmt.Sscanf(value, `{"id":%d,"cents":%d,"transfer":%d}`, &id, &cents, &transfer)
		require.NoError(t, err, value)
		total += cents
		newest = max(newest, transfer)
	}
	require.True(t, found)
	require.Equal(t, bankTotal, total, "money was lost or made")
	require.Equal(t, newest, last, "the collections are not of one time")
	return last
}

func TestBackupsRestoresAndUndosAreOnePointInTimeWhileOthersWrite(t *testing.T) {
	t.Parallel()
	h := host{testtime.MemoryDir(t)}
	for _, d := range h.folders() {
		require.NoError(t, d.Make())
	}
	path := filepath.Join(h.dir, "bank.db")
	db, err := openTomo(path)
	require.NoError(t, err)
	defer db.Close()
	exec(t, db, bankSchema)
	other, err := openTomo(path)
	require.NoError(t, err)
	defer other.Close()

	ctx, stop := context.WithCancel(t.Context())
	w := &writers{path: path, stopped: ctx}
	var group sync.WaitGroup
	var failed [3]error
	for i := range failed {
		group.Go(func() {
			if failed[i] = w.run(uint64(i)); failed[i] != nil {
				stop()
			}
		})
	}
	defer func() { stop(); group.Wait() }()

	sink := &witness{t: t, Store: bankStore(db), db: other}
	m := &manager.Manager{App: bankApp(), Source: bankStore(db), Sink: sink, Locations: []location.Location{h.folder("a"), h.folder("b")}}
	shown := func(name string) string { // by a backup
		s, err := m.Open(t.Context(), name)
		require.NoError(t, err)
		defer s.Close()
		return dumpAll(t, s, m.App)
	}
	now := func() string { return dumpAll(t, bankStore(other), m.App) }

	// replacedBy checks that the way back from what was done last leads to the last
	// state that the writers had committed, and returns that.
	last, transfers := 0, 0
	replacedBy := func(r backup.Report) string {
		t.Helper()
		is(t, shown(r.UndoneBy), sink.data)
		number := sound(t, sink.data)
		if sink.last > last { // there was one since the time before
			require.Equal(t, sink.last, number, "the last transfer is not in it")
			transfers++
		}
		last = sink.last
		return sink.data
	}
	points, made := map[int]bool{}, []string{}
	for round := range 50 {
		b, err := m.Create(t.Context(), backup.BackupOptions{})
		require.NoError(t, err)
		points[sound(t, shown(b.Name))] = true
		made = append(made, b.Name)
		// A backup that shows what is there would change nothing.
		for before := now(); now() == before && ctx.Err() == nil; {
			time.Sleep(time.Millisecond)
		}

		s, err := m.Open(t.Context(), made[rand.N(len(made))])
		require.NoError(t, err)
		report, err := m.Restore(t.Context(), s, backup.RestoreOptions{Strategy: backup.Replace})
		require.NoError(t, err)
		require.NoError(t, s.Close())
		require.NotEmpty(t, report.UndoneBy)
		replaced := replacedBy(report)

		paused := round%2 == 0
		if paused {
			w.pause.Lock()
		}
		sound(t, now())
		undo, err := m.Undo(t.Context())
		require.NoError(t, err)
		replacedBy(undo)
		if paused {
			is(t, now(), replaced)
			w.pause.Unlock()
		}
	}
	stop()
	group.Wait()
	for _, err := range failed {
		require.NoError(t, err)
	}
	sound(t, now())
	t.Logf("%d transfers, %d of 100 times since the time before, backups of %d points in time", w.number, transfers, len(points))
	require.Greater(t, len(points), 25, "the writers did nothing meanwhile")
	require.Greater(t, transfers, 50, "the writers did nothing meanwhile")
}
