package sqlstore

import (
	"fmt"
	"slices"
	"strings"
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
	case says("UNIQUE constraint failed"):
		return fmt.Errorf("%w; records that exchange a unique value cannot be restored at once", err)
	}
	return err
}

// conflict is always false: a connection waits for a lock as long as PRAGMA busy_timeout.
func (sqlite) conflict(error) bool { return false }

func (sqlite) lost(error) bool { return false }

func (sqlite) refused(err error) bool {
	return slices.ContainsFunc([]string{"constraint failed", "database is locked", "disk is full"}, func(text string) bool {
		return strings.Contains(err.Error(), text)
	})
}
