package sqlstore

import (
	"cmp"
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

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/fault"
	"github.com/tomo-project/backup/internal/stream"
)

// A SQLiteFile is a Database for package manager: it copies a whole SQLite database while the host
// goes on (guide, "Database Backup"). In WAL mode, nobody waits for it.
//
// VACUUM INTO makes the copy. It reads one point in time and leaves out free pages. It
// may give new numbers to the rows of tables without an INTEGER PRIMARY KEY. The copy is
// first written to TempDir, which needs as much room as the database.
type SQLiteFile struct {
	DB *sql.DB

	// TempDir holds the copy while it is made or checked. The copy there is not
	// encrypted, and only this user can read it. If a process is killed, its copy stays,
	// and the first Copy or Check a day later removes it. Empty means os.TempDir.
	TempDir string
}

// Copy implements manager.Database. It checks the copy as Check does: a copy of a
// damaged database must not push out good copies. The error is errors.ErrUnsupported if
// the copy is empty and the database is not, as with a VFS that keeps files in memory.
func (s SQLiteFile) Copy(ctx context.Context, w io.Writer) error {
	if err := cmp.Or(fault.Missing("the DB of the SQLiteFile", s.DB), fault.Missing("the io.Writer", w)); err != nil {
		return err
	}
	return s.inFile(func(f *os.File) error {
		if _, err := s.DB.ExecContext(ctx, "VACUUM INTO ?", f.Name()); err != nil {
			return fmt.Errorf("copy the database to %s: %w", filepath.Dir(f.Name()), contextError(ctx, err))
		}
		// SQLite has written to this file, since it has that name.
		if err := s.checkFilled(ctx, f); err != nil {
			return err
		}
		switch err := s.check(ctx, f.Name()); {
		case errors.Is(err, backup.ErrDamaged):
			return fmt.Errorf("the database itself is damaged, repair it or restore a backup: %w", err)
		case err != nil:
			return fmt.Errorf("check the copy of the database: %w", err)
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		_, err := io.Copy(w, stream.WithContext(ctx, f))
		return err
	})
}

// Check implements manager.Database. It runs PRAGMA integrity_check, which checks pages,
// order and indexes. It ignores rows that break a constraint. A copy is
// [backup.ErrForeign] if its application_id differs from that of DB.
//
// The check evaluates expressions of the schema. A malicious file could make that take
// all memory, or run for ever. So Check does not check a copy whose schema has
// expressions that DB does not have word for word: the error is errors.ErrUnsupported.
// Expressions are in generated columns, CHECK, indexes on expressions, and virtual
// tables.
func (s SQLiteFile) Check(ctx context.Context, r io.Reader) error {
	if err := cmp.Or(fault.Missing("the DB of the SQLiteFile", s.DB), fault.Missing("the io.Reader", r)); err != nil {
		return err
	}
	return s.inFile(func(f *os.File) error {
		n, err := io.Copy(f, stream.WithContext(ctx, r))
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("%w: the copy of the database is empty", backup.ErrDamaged)
		}
		return s.check(ctx, f.Name())
	})
}

// checkFilled refuses an empty copy of a database that is not empty. A VFS that keeps
// databases in memory writes the copy there too, under the name of the file.
func (s SQLiteFile) checkFilled(ctx context.Context, f *os.File) error {
	info, err := f.Stat()
	if err != nil || info.Size() > 0 {
		return err
	}
	var pages int64
	if err := s.DB.QueryRowContext(ctx, "PRAGMA page_count").Scan(&pages); err != nil {
		return contextError(ctx, sqlite{}.explain(err))
	}
	if pages > 0 {
		return fmt.Errorf("%w: the copy of the database is empty, though the database is not: SQLite has written it elsewhere than to a file; open the database without another VFS such as memdb", errors.ErrUnsupported)
	}
	return nil
}

// check checks the database in a file, and trusts nothing in it.
func (s SQLiteFile) check(ctx context.Context, path string) error {
	db := sql.OpenDB(connector{s.DB.Driver(), sqliteURL(path)})
	defer db.Close()
	db.SetMaxOpenConns(1)
	for _, pragma := range []string{"trusted_schema = 0", "cell_size_check = 1", "mmap_size = 0", "query_only = 1"} {
		if _, err := db.ExecContext(ctx, "PRAGMA "+pragma); err != nil {
			return damaged(ctx, err)
		}
	}
	if err := s.checkApplication(ctx, db); err != nil {
		return err
	}
	if err := s.checkSchema(ctx, db); err != nil {
		return err
	}
	err := eachRow(ctx, db, "PRAGMA integrity_check", nil, func(rows *sql.Rows) error {
		var problem string
		err := rows.Scan(&problem)
		if err == nil && problem != "ok" && !constraint.MatchString(problem) {
			err = foundError(problem)
		}
		return err
	})
	if err != nil {
		return damaged(ctx, err)
	}
	return nil
}

// checkApplication refuses a copy of a database of another application.
func (s SQLiteFile) checkApplication(ctx context.Context, db *sql.DB) error {
	var is, want int64
	if err := db.QueryRowContext(ctx, "PRAGMA application_id").Scan(&is); err != nil {
		return damaged(ctx, err)
	}
	if err := s.DB.QueryRowContext(ctx, "PRAGMA application_id").Scan(&want); err != nil {
		return contextError(ctx, sqlite{}.explain(err))
	}
	if is != want {
		return fmt.Errorf("%w: the copy of the database has the application_id %#x, and this database has %#x", backup.ErrForeign, uint32(is), uint32(want))
	}
	return nil
}

// checkSchema refuses a copy whose schema has expressions that the database does not
// have.
func (s SQLiteFile) checkSchema(ctx context.Context, db *sql.DB) error {
	own, err := schemaOf(ctx, s.DB)
	if err != nil {
		return contextError(ctx, sqlite{}.explain(err))
	}
	theirs, err := schemaOf(ctx, db)
	if err != nil {
		return damaged(ctx, err)
	}
	for statement := range theirs {
		if !own[statement] && evaluates.MatchString(statement) && !harmless.MatchString(statement) {
			return fmt.Errorf("%w: the schema of the copy has expressions that the database does not have now, and running them may do harm", errors.ErrUnsupported)
		}
	}
	return nil
}

var (
	// evaluates matches a statement that may make the check evaluate an expression. It
	// matches too many rather than too few.
	evaluates = regexp.MustCompile(`(?is)\b(as|check|virtual|where)\b|\bindex\b.*\(.*\(`)
	// harmless matches statements that the check does not run: views and triggers. A
	// statement that hides behind a comment does not match.
	harmless = regexp.MustCompile(`(?i)^create (view|trigger) `)

	// constraint matches what integrity_check says about rows that break a constraint.
	constraint = regexp.MustCompile(`^(NULL value in |CHECK constraint failed in |non-[A-Z]+ value in )`)
)

// schemaOf returns the statements that made a database. It ignores the type that goes
// with each of them, as SQLite does.
func schemaOf(ctx context.Context, db *sql.DB) (map[string]bool, error) {
	statements := map[string]bool{}
	err := eachRow(ctx, db, "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL", nil, func(rows *sql.Rows) error {
		var statement string
		err := rows.Scan(&statement)
		statements[statement] = true
		return err
	})
	return statements, err
}

// A foundError is what integrity_check says of a copy.
type foundError string

func (e foundError) Error() string { return string(e) }

var (
	// broken matches what SQLite says of a damaged file, whatever else the text has.
	broken = regexp.MustCompile(`(?i)malformed|not a database`)
	// hindered matches what keeps SQLite from reading any file.
	hindered = regexp.MustCompile(`(?i)is locked|interrupted|out of memory|disk is full|unable to open database file`)
	// lacking matches what the connection of the check lacks.
	lacking = regexp.MustCompile(`(?i)no such (collation sequence|function|module)|unknown tokenizer`)
)

// damaged returns ErrDamaged for an error of reading a copy, unless the error says
// nothing about the copy.
func damaged(ctx context.Context, err error) error {
	var found foundError
	sure := errors.As(err, &found) || broken.MatchString(err.Error())
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), !sure && hindered.MatchString(err.Error()):
		return fmt.Errorf("the copy of the database cannot be read now: %w", sqlite{}.explain(err))
	case !sure && lacking.MatchString(err.Error()):
		return fmt.Errorf("%w: the check needs what only some connections have: %w; register it with the driver, for all connections", errors.ErrUnsupported, err)
	}
	return fmt.Errorf("%w: the copy of the database: %w", backup.ErrDamaged, err)
}

// inFile calls f with an empty file, and removes the file afterwards.
func (s SQLiteFile) inFile(f func(*os.File) error) error {
	if s.DB == nil {
		return errors.New("sqlstore: a SQLiteFile needs DB")
	}
	removeOld(s.TempDir)
	dir, err := os.MkdirTemp(s.TempDir, tempPrefix)
	if err != nil {
		return fmt.Errorf("no place for a copy of the database: %w", fault.NoPlace(err))
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

// removeOld removes unencrypted copies that a killed process has left, if they are older
// than a day. It cannot remove those of another user.
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

// sqliteURL returns the name of a database that is only read, and that nobody else has
// open.
func sqliteURL(path string) string {
	return (&url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path), RawQuery: "mode=ro&immutable=1"}).String()
}

// A connector opens a database with the driver of another database.
type connector struct {
	driver driver.Driver
	name   string
}

// Connect implements driver.Connector.
func (c connector) Connect(context.Context) (driver.Conn, error) { return c.driver.Open(c.name) }

// Driver implements driver.Connector.
func (c connector) Driver() driver.Driver { return c.driver }
