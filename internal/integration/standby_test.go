package integration

import (
	"bytes"
	"database/sql"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/integration/servers"
	"github.com/tomo-project/backup/internal/testtime"
	"github.com/tomo-project/backup/sqlstore"
)

// newStandby returns a new database of the primary server, and the same on a standby. wait
// waits until the standby has "receive"d or "replay"ed all that the primary has.
func newStandby(t *testing.T, schema string) (primary, standby *sql.DB, wait func(what string)) {
	server, err := postgresServer()
	if err != nil {
		missing(t, err)
	}
	replica, stop, err := servers.PostgresStandby(server, "/dev/shm")
	t.Cleanup(stop)
	if err != nil {
		missing(t, err)
	}
	primary, direct := newPostgres(t, schema)
	from, err := url.Parse(direct)
	require.NoError(t, err)
	u, err := url.Parse(replica)
	require.NoError(t, err)
	u.Path = from.Path
	standby, err = sql.Open("pgx", u.String())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, standby.Close()) })
	admin, err := sql.Open("pgx", replica)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, admin.Close()) })
	wait = func(what string) {
		t.Helper()
		at := column(t, primary, "SELECT pg_current_wal_lsn()::text")[0]
		require.Eventually(t, func() bool {
			return column(t, admin, "SELECT (pg_last_wal_"+what+"_lsn() >= $1::pg_lsn)::text", at)[0] == "true"
		}, time.Minute, 5*time.Millisecond)
	}
	wait("replay")
	return primary, standby, wait
}

func TestAStandbyOfPostgresIsBackedUpAndNotRestoredInto(t *testing.T) {
	testtime.OnlyLong(t)
	ctx := t.Context()
	primary, standby, wait := newStandby(t, `CREATE TABLE things (id serial PRIMARY KEY, name text UNIQUE); CREATE TABLE parts (id int PRIMARY KEY, thing int REFERENCES things);
		INSERT INTO things (name) SELECT 'thing ' || g FROM generate_series(1, 50000) g; INSERT INTO parts VALUES (1, 1)`)
	store, collections, err := sqlstore.Store{DB: standby, Dialect: sqlstore.PostgreSQL}.Describe(ctx)
	require.NoError(t, err)
	app := &backup.App{Name: "a", Version: "1.0.0", SchemaVersion: 1, Collections: collections}
	var file bytes.Buffer
	_, err = app.Backup(ctx, &file, store, backup.BackupOptions{})
	require.NoError(t, err)
	of := store
	of.DB = primary
	s, err := backup.OpenSnapshot(ctx, bytes.NewReader(file.Bytes()), backup.OpenOptions{})
	require.NoError(t, err)
	defer s.Close()
	require.Equal(t, dumpAll(t, of, app), dumpAll(t, s, app))

	for _, untried := range []bool{false, true} {
		_, err = app.Plan(ctx, s, store, backup.RestoreOptions{Strategy: backup.Replace, Untried: untried})
		require.ErrorContains(t, err, "A restore needs the primary server")
	}
	_, err = app.Restore(ctx, s, store, backup.RestoreOptions{Strategy: backup.Replace})
	require.ErrorContains(t, err, "A restore needs the primary server")
	require.NotErrorIs(t, err, backup.ErrUncertain)

	// The primary takes away what a backup of the standby still reads.
	changed := false
	err = store.View(ctx, func(r backup.Reader) error {
		for _, err := range r.Records(ctx, "things") {
			if err != nil {
				return err
			}
			if !changed {
				changed = true
				exec(t, primary, "UPDATE things SET name = 'other' WHERE id = 1")
				exec(t, primary, "VACUUM things")
				wait("receive") // to replay it, the standby must end this View
			}
		}
		return nil
	})
	require.ErrorContains(t, err, "hot_standby_feedback")

	wait("replay")
	require.Equal(t, dumpAll(t, of, app), dumpAll(t, store, app), "the next backup works")
	report, err := app.Restore(ctx, s, of, backup.RestoreOptions{Strategy: backup.Replace})
	require.NoError(t, err)
	require.Equal(t, int64(1), report.Collections[1].Updated+report.Collections[0].Updated)
	wait("replay")
	require.Equal(t, dumpAll(t, s, app), dumpAll(t, store, app))
}
