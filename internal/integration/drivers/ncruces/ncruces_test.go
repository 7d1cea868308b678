//go:build !race

// Package ncruces tests sqlstore with the driver github.com/ncruces/go-sqlite3. It is a
// package of its own because drivers take each other's name.
package ncruces

import (
	"database/sql"
	"testing"

	_ "github.com/ncruces/go-sqlite3/driver"

	"github.com/tomo-project/backup/internal/integration/rules"
	"github.com/tomo-project/backup/internal/testtime"
)

func TestTheDriverKeepsTheRulesOfAStore(t *testing.T) {
	testtime.OnlyLong(t)
	rules.TestSQLite(t, open)
}

func TestTheDriverChangesNoText(t *testing.T) {
	rules.TestSQLiteTexts(t, open)
}

func open(path string, p rules.Pragmas) (*sql.DB, error) {
	return sql.Open("sqlite3", "file:"+path+"?"+p.Query())
}
