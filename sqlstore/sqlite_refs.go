package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tomo-project/backup"
)

// A foreignKey is one of a table.
type foreignKey struct {
	table string
	id    int
}

// A violation is a row that refers to nothing. The row has a number, but in a
// table WITHOUT ROWID.
type violation struct {
	foreignKey
	row    sql.NullInt64
	parent string
}

// touch notes the references that are dangling already. SQLite itself does not
// look at foreign keys in a transaction that writes: an action of one would change
// a row that a record is still to come for, and what only the host has of it would
// be lost. The commit finds what has come to dangle.
func (tx *sqliteTx) touch(ctx context.Context, tables []*table) (err error) {
	tx.tables = tables
	if tx.before, err = tx.violations(ctx); err != nil {
		return fmt.Errorf("sqlstore: check foreign keys: %w", contextError(ctx, err))
	}
	return nil
}

func (tx *sqliteTx) violations(ctx context.Context) (map[violation]int, error) {
	rows, err := tx.conn.QueryContext(ctx, `SELECT "table", rowid, parent, fkid FROM pragma_foreign_key_check`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := map[violation]int{}
	for rows.Next() {
		var v violation
		if err := rows.Scan(&v.table, &v.row, &v.parent, &v.id); err != nil {
			return nil, err
		}
		found[v]++
	}
	return found, rows.Err()
}

// settle carries out the actions of foreign keys. What dangles nevertheless is an
// error.
func (tx *sqliteTx) settle(ctx context.Context, tables []*table) error {
	const most = 1000 // as deep as SQLite lets actions nest
	for round := 0; ; round++ {
		news, err := tx.news(ctx)
		if err != nil {
			return fmt.Errorf("sqlstore: check foreign keys: %w", contextError(ctx, err))
		}
		if len(news) == 0 {
			return nil
		}
		changed := false
		if round < most {
			if changed, err = tx.act(ctx, news, tables); err != nil {
				return fmt.Errorf("sqlstore: commit: %w", SQLite.explain(contextError(ctx, err)))
			}
		}
		if !changed {
			return tx.dangling(ctx, news, tables)
		}
	}
}

// news returns the references that the transaction has made dangling.
func (tx *sqliteTx) news(ctx context.Context) (news []violation, err error) {
	after, err := tx.violations(ctx)
	for v, n := range after {
		if n > tx.before[v] {
			news = append(news, v)
		}
	}
	slices.SortFunc(news, func(a, b violation) int {
		return cmp.Or(strings.Compare(a.table, b.table), cmp.Compare(a.row.Int64, b.row.Int64), cmp.Compare(a.id, b.id))
	})
	return news, err
}

// act carries out the actions that news ask for, and tells whether any row has
// changed. What then refers to these rows is for the next time.
func (tx *sqliteTx) act(ctx context.Context, news []violation, tables []*table) (changed bool, err error) {
	for _, v := range news {
		action, ok := tx.actions[v.foreignKey]
		if !ok {
			if action, err = tx.action(ctx, v, tables); err != nil {
				return false, err
			}
			if tx.actions == nil {
				tx.actions = map[foreignKey]string{}
			}
			tx.actions[v.foreignKey] = action
		}
		if action == "" || !v.row.Valid {
			continue
		}
		result, err := tx.conn.ExecContext(ctx, action, v.row.Int64)
		if err != nil {
			return false, fmt.Errorf("table %q: carry out ON DELETE of a foreign key: %w", v.table, err)
		}
		n, err := result.RowsAffected()
		if err != nil {
			return false, err
		}
		changed = changed || n > 0
	}
	return changed, nil
}

// action returns the statement that does to a row what its foreign key asks for
// when the row it refers to is deleted. It is empty if there is nothing to do, or
// the row is not ours to change, or the other may have been changed only.
func (tx *sqliteTx) action(ctx context.Context, v violation, tables []*table) (string, error) {
	parent, rowid := declared(tables, v.parent), tx.rowid(ctx, v.table)
	if declared(tables, v.table) != nil || rowid == "" {
		return "", nil
	}
	rows, err := tx.conn.QueryContext(ctx, `SELECT f."from", coalesce(f."to", p.name, ''), upper(f.on_delete) FROM pragma_foreign_key_list(?) f
		LEFT JOIN pragma_table_info(f."table") p ON f."to" IS NULL AND p.pk = f.seq + 1 WHERE f.id = ?`, v.table, v.id)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	var onDelete string
	var set []string
	for rows.Next() {
		var from, to string
		if err := rows.Scan(&from, &to, &onDelete); err != nil {
			return "", err
		}
		set = append(set, quote(from)+"=NULL")
		// A record keeps its key, and what is not in records is not changed.
		if parent != nil && slices.ContainsFunc(parent.columns, func(c *column) bool { return !c.key && strings.EqualFold(c.Name, to) }) {
			return "", nil
		}
	}
	where := " WHERE " + rowid + " = ?"
	switch onDelete {
	case "CASCADE":
		return "DELETE FROM " + quote(v.table) + where, rows.Err()
	case "SET NULL":
		return "UPDATE " + quote(v.table) + " SET " + strings.Join(set, ", ") + where, rows.Err()
	}
	return "", rows.Err()
}

// rowid returns the name that the number of a row has in a table: columns may have
// taken it.
func (tx *sqliteTx) rowid(ctx context.Context, table string) (name string) {
	_ = tx.conn.QueryRowContext(ctx, `SELECT n.column1 FROM (VALUES ('rowid'), ('_rowid_'), ('oid')) n
		WHERE n.column1 NOT IN (SELECT lower(name) FROM pragma_table_xinfo(?)) LIMIT 1`, table).Scan(&name)
	return name
}

func declared(tables []*table, name string) *table {
	i := slices.IndexFunc(tables, func(t *table) bool { return strings.EqualFold(t.plain, name) })
	if i < 0 {
		return nil
	}
	return tables[i]
}

// dangling returns the error that names references.
func (tx *sqliteTx) dangling(ctx context.Context, news []violation, tables []*table) error {
	const shown = 10
	var named []string
	for _, v := range news[:min(shown, len(news))] {
		named = append(named, tx.words(ctx, v, tables))
	}
	if len(news) > shown {
		named = append(named, fmt.Sprintf("and %d more", len(news)-shown))
	}
	return fmt.Errorf("%w: %s", backup.ErrDangling, strings.Join(named, "; "))
}

// words says which row v is about, as well as it can be found out.
func (tx *sqliteTx) words(ctx context.Context, v violation, tables []*table) string {
	row := "a row"
	if v.row.Valid {
		row = fmt.Sprintf("row %d", v.row.Int64)
	}
	if t, rowid := declared(tables, v.table), tx.rowid(ctx, v.table); t != nil && v.row.Valid && rowid != "" {
		texts := t.keyTexts("CAST(", " AS TEXT)")
		key, err := scanKey(tx.conn.QueryRowContext(ctx, "SELECT "+strings.Join(texts, ", ")+" FROM "+t.name+" WHERE "+rowid+" = ?", v.row.Int64), len(texts))
		if err == nil {
			row = strconv.Quote(key)
		}
	}
	column := "a foreign key"
	rows, err := tx.conn.QueryContext(ctx, `SELECT group_concat("from", ', ') FROM pragma_foreign_key_list(?) WHERE id = ?`, v.table, v.id)
	if err == nil {
		defer rows.Close()
		if rows.Next() {
			_ = rows.Scan(&column)
		}
	}
	return fmt.Sprintf("table %q: %s refers by %s to nothing in %q", v.table, row, column, v.parent)
}
