package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"

	"github.com/tomo-project/backup"
)

// A SQLiteFile is a [backup.Database]: a database of SQLite, to be copied as a whole
// while the host goes on (guide, "Database Backup"). In WAL mode nobody waits.
//
// A copy is made with VACUUM INTO, which reads one point in time, leaves out free
// pages, and may number the rows of tables without an INTEGER PRIMARY KEY anew. It
// is put together in TempDir first, which needs as much room as the database.
type SQLiteFile struct {
	DB *sql.DB

	// TempDir is for the copy while it is made or checked, in clear and for this user
	// only. Empty means os.TempDir.
	TempDir string
}

var _ backup.Database = SQLiteFile{}

// Copy implements [backup.Database].
func (s SQLiteFile) Copy(ctx context.Context, w io.Writer) error {
	return s.inFile(func(f *os.File) error {
		if _, err := s.DB.ExecContext(ctx, "VACUUM INTO ?", f.Name()); err != nil {
			return fmt.Errorf("copy the database to %s: %w", filepath.Dir(f.Name()), contextError(ctx, err))
		}
		// SQLite has written to the file of that name, which is this one.
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		_, err := io.Copy(w, contextReader{ctx, f})
		return err
	})
}

// Check implements [backup.Database], with PRAGMA integrity_check, which also looks
// for broken constraints. A copy with another application_id than DB has is foreign.
func (s SQLiteFile) Check(ctx context.Context, r io.Reader) error {
	return s.inFile(func(f *os.File) error {
		n, err := io.Copy(f, contextReader{ctx, r})
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("%w: the copy of the database is empty", backup.ErrDamaged)
		}
		// The file is not the host's: nothing in it is to be trusted.
		db := sql.OpenDB(connector{s.DB.Driver(), sqliteURL(f.Name())})
		defer db.Close()
		db.SetMaxOpenConns(1)
		for _, pragma := range []string{"trusted_schema = 0", "cell_size_check = 1", "mmap_size = 0", "query_only = 1"} {
			if _, err := db.ExecContext(ctx, "PRAGMA "+pragma); err != nil {
				return damaged(ctx, err)
			}
		}
		var problem string
		if err := db.QueryRowContext(ctx, "PRAGMA integrity_check(1)").Scan(&problem); err != nil {
			return damaged(ctx, err)
		}
		if problem != "ok" {
			return fmt.Errorf("%w: the copy of the database: %s", backup.ErrDamaged, problem)
		}
		var is, want int64
		if err := db.QueryRowContext(ctx, "PRAGMA application_id").Scan(&is); err != nil {
			return damaged(ctx, err)
		}
		if err := s.DB.QueryRowContext(ctx, "PRAGMA application_id").Scan(&want); err != nil {
			return contextError(ctx, err)
		}
		if is != want {
			return fmt.Errorf("%w: the database says that it is of the application %#x, this one is of %#x", backup.ErrForeign, uint32(is), uint32(want))
		}
		return nil
	})
}

func damaged(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w: the copy of the database: %w", backup.ErrDamaged, err)
}

// inFile calls f with an empty file of which nothing is left.
func (s SQLiteFile) inFile(f func(*os.File) error) error {
	if s.DB == nil {
		return errors.New("sqlstore: a SQLiteFile needs DB")
	}
	dir, err := os.MkdirTemp(s.TempDir, "backup-database-")
	if err != nil {
		return fmt.Errorf("no place for a copy of the database: %w", err)
	}
	defer os.RemoveAll(dir)
	file, err := os.OpenFile(filepath.Join(dir, "copy.db"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	return f(file)
}

// sqliteURL names a file that is only read, and that nobody else has open.
func sqliteURL(path string) string {
	return (&url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path), RawQuery: "mode=ro&immutable=1"}).String()
}

// A connector opens a database with the driver of another.
type connector struct {
	driver driver.Driver
	name   string
}

// Connect implements driver.Connector.
func (c connector) Connect(context.Context) (driver.Conn, error) { return c.driver.Open(c.name) }

// Driver implements driver.Connector.
func (c connector) Driver() driver.Driver { return c.driver }

// A contextReader ends when its context does.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
