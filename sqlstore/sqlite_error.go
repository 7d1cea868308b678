package sqlstore

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tomo-project/backup"
)

func (sqlite) explain(err error) error {
	says := func(part string) bool { return strings.Contains(err.Error(), part) }
	switch {
	case says("database is locked"):
		return fmt.Errorf("%w; another connection is writing: try again, or set PRAGMA busy_timeout on the connections of the store", err)
	case says("disk is full"):
		return fmt.Errorf("%w; check disk space", err)
	case says("readonly database"):
		return fmt.Errorf("%w; check write permissions", err)
	case sqlite{}.clashes(err):
		return fmt.Errorf("%w: another row has the same value: %w", backup.ErrClash, err)
	}
	return err
}

func (sqlite) clashes(err error) bool {
	return strings.Contains(err.Error(), "UNIQUE constraint failed")
}

// conflict is always false: a connection waits for a lock as long as PRAGMA busy_timeout.
func (sqlite) conflict(error) bool { return false }

func (sqlite) lost(error) bool { return false }

func (sqlite) refused(err error) bool {
	return slices.ContainsFunc([]string{"constraint failed", "database is locked", "disk is full"}, func(text string) bool {
		return strings.Contains(err.Error(), text)
	})
}
