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
	"regexp"
	"time"

	"github.com/tomo-project/backup/manager"

	"github.com/tomo-project/backup"
)

// A SQLiteFile is a [manager.Database]: a database of SQLite, to be copied as a whole
// while the host goes on (guide, "Database Backup"). In WAL mode nobody waits.
//
// A copy is made with VACUUM INTO, which reads one point in time, leaves out free
// pages, and may number the rows of tables without an INTEGER PRIMARY KEY anew. It
// is put together in TempDir first, which needs as much room as the database.
type SQLiteFile struct {
	DB *sql.DB

	// TempDir is for the copy while it is made or checked, in clear and for this user
	// only. What a process that was killed leaves there goes with the first copy or
	// check a day later. Empty means os.TempDir.
	TempDir string
}

var _ manager.Database = SQLiteFile{}

// Copy implements [manager.Database]. It also checks the copy, as far as Check does,
// so that a database that is damaged does not push out good copies of it.
func (s SQLiteFile) Copy(ctx context.Context, w io.Writer) error {
	return s.inFile(func(f *os.File) error {
		if _, err := s.DB.ExecContext(ctx, "VACUUM INTO ?", f.Name()); err != nil {
			return fmt.Errorf("copy the database to %s: %w", filepath.Dir(f.Name()), contextError(ctx, err))
		}
		// SQLite has written to the file of that name, which is this one.
		if err := s.check(ctx, f.Name()); err != nil {
			return fmt.Errorf("the database itself is not whole, repair it or restore a backup: %w", err)
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		_, err := io.Copy(w, contextReader{ctx, f})
		return err
	})
}

// Check implements [manager.Database], with PRAGMA integrity_check: pages, order,
// indexes. Rows that break a constraint are the host's matter. A copy with another
// application_id than DB has is foreign.
//
// The check evaluates expressions of the schema, and a file that is made to do harm
// could make it take all memory, or for ever. So a copy whose schema has expressions
// (generated columns, CHECK, indexes of expressions, virtual tables) that DB does not
// have word for word is not checked: errors.ErrUnsupported.
func (s SQLiteFile) Check(ctx context.Context, r io.Reader) error {
	return s.inFile(func(f *os.File) error {
		n, err := io.Copy(f, contextReader{ctx, r})
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("%w: the copy of the database is empty", backup.ErrDamaged)
		}
		return s.check(ctx, f.Name())
	})
}

// check checks a file that nothing in is to be trusted of.
func (s SQLiteFile) check(ctx context.Context, path string) error {
	db := sql.OpenDB(connector{s.DB.Driver(), sqliteURL(path)})
	defer db.Close()
	db.SetMaxOpenConns(1)
	for _, pragma := range []string{"trusted_schema = 0", "cell_size_check = 1", "mmap_size = 0", "query_only = 1"} {
		if _, err := db.ExecContext(ctx, "PRAGMA "+pragma); err != nil {
			return damaged(ctx, err)
		}
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
	own, err := schemaOf(ctx, s.DB)
	if err != nil {
		return contextError(ctx, err)
	}
	theirs, err := schemaOf(ctx, db)
	if err != nil {
		return damaged(ctx, err)
	}
	for statement := range theirs {
		if !own[statement] && evaluates.MatchString(statement) && !harmless.MatchString(statement) {
			return fmt.Errorf("%w: its schema has expressions that the database does not have now, and what they do is not known", errors.ErrUnsupported)
		}
	}
	rows, err := db.QueryContext(ctx, "PRAGMA integrity_check")
	if err != nil {
		return damaged(ctx, err)
	}
	defer rows.Close()
	for rows.Next() {
		var problem string
		if err := rows.Scan(&problem); err != nil {
			return damaged(ctx, err)
		}
		if problem != "ok" && !constraint.MatchString(problem) {
			return fmt.Errorf("%w: the copy of the database: %s", backup.ErrDamaged, problem)
		}
	}
	if err := rows.Err(); err != nil {
		return damaged(ctx, err)
	}
	return nil
}

var (
	// evaluates is a statement that may have the check evaluate something. It leans
	// to too many.
	evaluates = regexp.MustCompile(`(?is)\b(as|check|virtual|where)\b|\bindex\b.*\(.*\(`)
	// harmless ones nothing runs here: views and triggers. What is hidden behind a
	// comment does not pass for one.
	harmless = regexp.MustCompile(`(?i)^create (view|trigger) `)

	// constraint is what integrity_check says of rows that break a constraint.
	constraint = regexp.MustCompile(`^(NULL value in |CHECK constraint failed in |non-[A-Z]+ value in )`)
)

// schemaOf returns the statements that made a database. What type they say that they
// are of does not matter: SQLite does not look.
func schemaOf(ctx context.Context, db *sql.DB) (map[string]bool, error) {
	rows, err := db.QueryContext(ctx, "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	statements := map[string]bool{}
	for rows.Next() {
		var statement string
		if err := rows.Scan(&statement); err != nil {
			return nil, err
		}
		statements[statement] = true
	}
	return statements, rows.Err()
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
	removeOld(s.TempDir)
	dir, err := os.MkdirTemp(s.TempDir, tempPrefix)
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

const (
	tempPrefix = "backup-database-"
	tempAge    = 24 * time.Hour
)

// removeOld takes away what a process that was killed has left, in clear, a day ago
// or longer. What is another user's stays: it cannot be removed.
func removeOld(dir string) {
	if dir == "" {
		dir = os.TempDir()
	}
	found, _ := filepath.Glob(filepath.Join(dir, tempPrefix+"*"))
	for _, old := range found {
		if info, err := os.Lstat(old); err == nil && info.IsDir() && time.Since(info.ModTime()) > tempAge {
			os.RemoveAll(old)
		}
	}
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
