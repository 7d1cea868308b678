package integration

import (
	"os"
	"strings"

	"github.com/tomo-project/backup"
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

// refusal returns an error of an Update as it is if Put itself returns it. A COPY may be
// refused after Put has returned.
func refusal(err error) string {
	return strings.TrimPrefix(err.Error(), backup.ErrRolledBack.Error()+": ")
}
