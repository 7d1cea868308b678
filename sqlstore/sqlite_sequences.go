package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"strconv"
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

// numbers takes each INTEGER PRIMARY KEY for numbered: SQLite numbers it without
// AUTOINCREMENT too, and applications leave it to that.
func (tx *sqliteTx) numbers(ctx context.Context, t *table) (n *numbering, err error) {
	id := t.keyColumns()[0]
	if !id.lite.rowid {
		return nil, nil
	}
	var largest, given string
	if err := tx.conn.QueryRowContext(ctx, "SELECT coalesce(max("+id.quoted+"), 0) FROM "+t.name).Scan(&largest); err != nil {
		return nil, err
	}
	err = tx.each(ctx, "SELECT 1 FROM main.sqlite_schema WHERE name = 'sqlite_sequence'", nil, func(*sql.Rows) error { given = "0"; return nil })
	if err == nil && given != "" {
		err = tx.each(ctx, "SELECT coalesce(seq, 0) FROM main.sqlite_sequence WHERE name = ?", []any{t.plain}, func(rows *sql.Rows) error { return rows.Scan(&given) })
	}
	if err != nil {
		return nil, err
	}
	if n, err = newNumbering("1", "1", strconv.FormatInt(math.MaxInt64, 10)); err == nil {
		n.pass(largest)
		n.pass(given)
	}
	return n, err
}
