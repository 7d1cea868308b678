package integration

import (
	"os"

	"github.com/tomo-project/backup/pgxwire"
	"github.com/tomo-project/backup/sqlstore"
)

// wire returns what the tests give to Store.Wire with a dialect. With BACKUP_TEST_WIRE=1,
// those with PostgreSQL read and write past database/sql.
func wire(d sqlstore.Dialect) sqlstore.Wire {
	if d == sqlstore.PostgreSQL && os.Getenv("BACKUP_TEST_WIRE") == "1" {
		return pgxwire.Wire{}
	}
	return nil
}
