package sqlstore

import (
	"fmt"
	"strings"
)

// Who waits for a lock here waits for PRAGMA busy_timeout.
func (sqlite) conflict(error) bool { return false }

func (sqlite) explain(err error) error {
	switch {
	case err == nil:
	case strings.Contains(err.Error(), "database is locked"):
		err = fmt.Errorf("%w; another connection is writing: try again, or set PRAGMA busy_timeout on the connections of the store", err)
	case strings.Contains(err.Error(), "disk is full"):
		err = fmt.Errorf("%w; check disk space", err)
	case strings.Contains(err.Error(), "readonly database"):
		err = fmt.Errorf("%w; check write permissions", err)
	case strings.Contains(err.Error(), "UNIQUE constraint failed"):
		err = fmt.Errorf("%w; records that exchange a unique value cannot be restored at once", err)
	}
	return err
}
