package sqlstore

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"testing"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/niltest"
)

// A noDatabase cannot be reached.
type noDatabase struct{}

func (noDatabase) Connect(context.Context) (driver.Conn, error) {
	return nil, errors.New("no database")
}

func (d noDatabase) Driver() driver.Driver { return d }

func (noDatabase) Open(string) (driver.Conn, error) { return nil, errors.New("no database") }

// Nothing that is nil makes a Store panic.
func TestWhatIsNilIsAnError(t *testing.T) {
	niltest.Run(t, niltest.Package{
		Receivers: func(t *testing.T) []any {
			db := sql.OpenDB(noDatabase{})
			t.Cleanup(func() { db.Close() })
			return []any{&Store{DB: db, Dialect: SQLite, Retries: 1}, &SQLiteFile{DB: db, TempDir: t.TempDir()}, new(Kind)}
		},
		Args: func(*testing.T) []any {
			return []any{
				func(backup.Reader) error { return nil }, func(backup.Writer) error { return nil },
				bytes.NewReader([]byte("data")), new(bytes.Buffer),
			}
		},
		TypedNils: []any{(*bytes.Reader)(nil), (*bytes.Buffer)(nil)},
	})
}
