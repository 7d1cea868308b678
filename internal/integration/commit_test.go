package integration

import (
	"bytes"
	"context"
	"database/sql"
	"io"
	"net"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/sqlstore"
)

// A deafConn loses the connection when the server has carried out a COMMIT, and
// before its answer is heard.
type deafConn struct {
	net.Conn
	committed bool
}

func (c *deafConn) Write(p []byte) (int, error) {
	c.committed = c.committed || bytes.Contains(p, []byte("COMMIT")) && !bytes.Contains(p, []byte("COMMITTED"))
	return c.Conn.Write(p)
}

func (c *deafConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.committed && err == nil {
		c.Conn.Close()
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

// What a database does not answer may have taken effect. Nobody says then that it
// did not.
func TestACommitWithoutAnAnswerIsUncertain(t *testing.T) {
	const schema = `CREATE TABLE servers (id VARCHAR(50) PRIMARY KEY, name TEXT NOT NULL)`
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		return &deafConn{Conn: conn}, err
	}
	check := func(t *testing.T, whole sqlstore.Store, deaf *sql.DB) {
		t.Cleanup(func() { deaf.Close() })
		app := &backup.App{Name: "lab", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{{Name: "servers", Key: "/id"}}}
		exec(t, whole.DB, `INSERT INTO servers VALUES ('a', 'nas')`)
		var file bytes.Buffer
		_, err := app.Backup(t.Context(), &file, whole, backup.BackupOptions{})
		require.NoError(t, err)
		exec(t, whole.DB, `DELETE FROM servers`)
		s, err := backup.OpenSnapshot(t.Context(), &file, backup.OpenOptions{})
		require.NoError(t, err)
		defer s.Close()
		lost := whole
		lost.DB = deaf
		_, err = app.Restore(t.Context(), s, lost, backup.RestoreOptions{})
		require.ErrorIs(t, err, backup.ErrUncertain)
		require.NotErrorIs(t, err, backup.ErrRolledBack)
		require.Equal(t, 1, len(dump(t, whole, "servers")), "it did take effect")
	}
	t.Run("PostgreSQL", func(t *testing.T) {
		db, url := newPostgres(t, schema)
		config, err := pgx.ParseConfig(url)
		require.NoError(t, err)
		config.DialFunc = dial
		config.DefaultQueryExecMode = pgx.QueryExecModeExec // one way there and back
		check(t, pg(db, sqlstore.Table{Collection: "servers"}), stdlib.OpenDB(*config))
	})
	t.Run("MariaDB", func(t *testing.T) {
		db, config := newMariaDB(t, schema)
		deaf := config.Clone()
		network := deaf.Net
		mysql.RegisterDialContext("deaf", func(ctx context.Context, address string) (net.Conn, error) { return dial(ctx, network, address) })
		deaf.Net = "deaf"
		connector, err := mysql.NewConnector(deaf)
		require.NoError(t, err)
		check(t, my(db, sqlstore.Table{Collection: "servers"}), sql.OpenDB(connector))
	})
}
