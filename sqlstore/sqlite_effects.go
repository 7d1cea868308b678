package sqlstore

import (
	"context"
	"database/sql"
)

// effects also finds the temporary triggers of the connection. Foreign keys are off.
func (tx *sqliteTx) effects(ctx context.Context, tables []*table) (map[*table][]string, error) {
	tx.tables = tables
	found := map[*table][]string{}
	err := tx.each(ctx, `SELECT tbl_name, name FROM main.sqlite_schema WHERE type = 'trigger'
		UNION ALL SELECT tbl_name, name FROM temp.sqlite_schema WHERE type = 'trigger'`, nil, func(rows *sql.Rows) error {
		var table, name string
		err := rows.Scan(&table, &name)
		if t := tx.declared(table); t != nil {
			found[t] = append(found[t], "trigger "+name)
		}
		return err
	})
	return found, err
}
