package sqlstore

import (
	"context"
	"database/sql"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// A foreign key can lead to columns that are not unique, or not there. SQLite takes such a
// declaration, cannot enforce it, and checks no other foreign key of the table. So the
// store checks the others, and takes this one for none.

// mismatches tells whether SQLite could not check a foreign key for that reason.
func mismatches(err error) bool {
	return err != nil && strings.Contains(err.Error(), "foreign key mismatch")
}

// checkTables counts the rows of each table that refer to nothing.
func (tx *sqliteTx) checkTables(ctx context.Context, found map[violation]int) error {
	var tables []string
	err := tx.each(ctx, "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table'", nil, func(rows *sql.Rows) error {
		var name string
		err := rows.Scan(&name)
		tables = append(tables, name)
		return err
	})
	for _, name := range tables {
		if err != nil {
			return err
		}
		of := map[violation]int{}
		if err = tx.check(ctx, "pragma_foreign_key_check(?, 'main')", []any{name}, of); mismatches(err) {
			clear(of)
			err = tx.checkOthers(ctx, name, of)
		}
		maps.Copy(found, of)
	}
	return err
}

// checkOthers counts the rows of a table that refer to nothing by foreign keys that SQLite
// could enforce.
func (tx *sqliteTx) checkOthers(ctx context.Context, name string, found map[violation]int) error {
	refs, err := tx.foreignKeysOf(ctx, name)
	if err != nil {
		return err
	}
	for _, r := range refs {
		unique, err := tx.toUnique(ctx, r)
		if err != nil {
			return err
		}
		if !unique {
			continue
		}
		row := "NULL"
		if r.rowid != "" && tx.hasRowid(ctx, r.plain) {
			row = "c." + r.rowid
		}
		from := "(SELECT " + literal(r.plain) + ` AS "table", ` + row + " AS rowid, " + strconv.Itoa(r.id) + " AS fkid FROM " + r.name + " AS c WHERE " + r.toNothing(quote) + ")"
		if err := tx.check(ctx, from, nil, found); err != nil {
			return err
		}
	}
	return nil
}

// toUnique tells whether a foreign key leads to the primary key or to a unique index.
func (tx *sqliteTx) toUnique(ctx context.Context, r *sqliteReference) (bool, error) {
	indexes := map[string][]string{}
	err := tx.each(ctx, `SELECT '', name FROM pragma_table_info(?1, 'main') WHERE pk > 0
		UNION ALL SELECT l.name, coalesce(x.name, '') FROM pragma_index_list(?1, 'main') l, pragma_index_xinfo(l.name, 'main') x WHERE l."unique" AND NOT l.partial AND x.key`, []any{r.parentPlain}, func(rows *sql.Rows) error {
		var index, column string
		err := rows.Scan(&index, &column)
		indexes[index] = append(indexes[index], strings.ToLower(column))
		return err
	})
	var to []string
	for _, c := range r.parentColumns {
		to = append(to, strings.ToLower(c))
	}
	slices.Sort(to)
	for _, columns := range indexes {
		if slices.Sort(columns); slices.Equal(columns, to) {
			return true, err
		}
	}
	return false, err
}

// hasRowid tells whether the rows of a table have numbers.
func (tx *sqliteTx) hasRowid(ctx context.Context, table string) bool {
	var without bool
	err := tx.conn.QueryRowContext(ctx, "SELECT wr FROM pragma_table_list WHERE schema = 'main' AND name = ?", table).Scan(&without)
	return err == nil && !without
}
