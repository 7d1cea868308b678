package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
)

// finish raises the numbers from which AUTOINCREMENT continues. SQLite does that itself
// for a row that is inserted, but not for one that gets another number.
func (tx *sqliteTx) finish(ctx context.Context) error {
	for _, t := range tx.tables {
		if !t.written {
			continue
		}
		if err := tx.sequence(ctx, t); err != nil {
			return fmt.Errorf("table %q: set its entry in sqlite_sequence: %w", t.plain, err)
		}
	}
	return nil
}

func (tx *sqliteTx) sequence(ctx context.Context, t *table) error {
	var id string
	err := tx.each(ctx, `SELECT x.name FROM main.sqlite_schema s, pragma_table_xinfo(s.name, 'main') x
		WHERE s.type = 'table' AND s.name = ? AND s.sql LIKE '%AUTOINCREMENT%' AND x.pk = 1 AND EXISTS (SELECT 1 FROM main.sqlite_schema WHERE name = 'sqlite_sequence')`,
		[]any{t.plain}, func(rows *sql.Rows) error { return rows.Scan(&id) })
	if err != nil || id == "" {
		return err
	}
	last := "(SELECT max(" + quote(id) + ") FROM " + t.name + ")"
	if err := tx.exec(ctx, "UPDATE main.sqlite_sequence SET seq = "+last+" WHERE name = "+literal(t.plain)+" AND seq < "+last); err != nil {
		return err
	}
	return tx.exec(ctx, "INSERT INTO main.sqlite_sequence (name, seq) SELECT "+literal(t.plain)+", "+last+
		" WHERE "+last+" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM main.sqlite_sequence WHERE name = "+literal(t.plain)+")")
}
