//go:build cgo && !race

// Package mattn tests sqlstore with the driver github.com/mattn/go-sqlite3. It is a
// package of its own because drivers take each other's name.
package mattn

import (
	"database/sql"
	"testing"

	_ "github.com/mattn/go-sqlite3"

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
	params := "_busy_timeout=10000&_journal_mode=" + p.JournalMode
	if p.ForeignKeys {
		params += "&_foreign_keys=1"
	}
	return sql.Open("sqlite3", "file:"+path+"?"+params)
}
