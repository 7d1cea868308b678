package sqlstore

import (
	"context"
	"database/sql"
	"slices"
)

// others looks into the current database, and into those of the given tables.
func (tx *mariadbTx) others(ctx context.Context, tables []*table, exclude []string) ([]string, error) {
	var current sql.NullString
	if err := tx.conn.QueryRowContext(ctx, "SELECT DATABASE()").Scan(&current); err != nil {
		return nil, err
	}
	known := map[string]bool{}
	schemas := []string{current.String}
	for _, t := range tables {
		known[t.name] = true
		if !slices.Contains(schemas, t.my.schema) {
			schemas = append(schemas, t.my.schema)
		}
	}
	var all []found
	for _, schema := range schemas {
		err := tx.each(ctx, "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED')", []any{schema}, func(rows *sql.Rows) error {
			f := found{schema: schema, near: schema == current.String}
			if err := rows.Scan(&f.name); err != nil {
				return err
			}
			if !known[backtick(schema)+"."+backtick(f.name)] {
				all = append(all, f)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return notExcluded(all, exclude, func(a, b string) bool { return a == b }), nil
}
