//go:build !race

package integration

import (
	"database/sql"
	"testing"

	"github.com/tomo-project/backup/internal/integration/rules"
)

func TestSQLiteKeepsTheRulesOfAStore(t *testing.T) { rules.TestSQLite(t, openSQLite) }

func TestSQLiteChangesNoText(t *testing.T) { rules.TestSQLiteTexts(t, openSQLite) }

func openSQLite(path string, p rules.Pragmas) (*sql.DB, error) {
	return sql.Open("sqlite", "file:"+path+"?"+p.Query())
}
