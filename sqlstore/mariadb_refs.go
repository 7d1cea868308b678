package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
)

// Foreign keys are off in a transaction that writes. MariaDB cannot defer them until the
// commit, and the action of a foreign key could change a row that a later record is for.

// A mariadbReference is a foreign key, with its action and its dangling rows.
type mariadbReference struct {
	reference
	onDelete string
	before   map[mariadbRow]int // the rows that referred to nothing before the first change
}

// A mariadbRow is a row that refers to nothing. Rows differ in what they refer to, and in
// the key if they are records.
type mariadbRow struct {
	to, key string
	known   bool // there is a key
}

func (tx *mariadbTx) references(ctx context.Context, tables []*table) (refs []*reference, err error) {
	if err := tx.findReferences(ctx, tables); err != nil {
		return nil, err
	}
	for _, r := range tx.refs {
		refs = append(refs, &r.reference)
	}
	return refs, nil
}

// findReferences looks for the foreign keys of tables, and for those that lead to them,
// even over other tables.
func (tx *mariadbTx) findReferences(ctx context.Context, tables []*table) error {
	if tx.found {
		return nil
	}
	declared, reached := map[string]*table{}, map[string]bool{}
	for _, t := range tables {
		declared[t.name], reached[t.name] = t, true
	}
	all, err := tx.allReferences(ctx, declared)
	if err != nil {
		return err
	}
	for more := true; more; {
		more = false
		for _, r := range all {
			if (r.table != nil || reached[r.parentName]) && !slices.Contains(tx.refs, r) {
				tx.refs = append(tx.refs, r)
				reached[r.name] = true
				more = true
			}
		}
	}
	tx.found = true
	return nil
}

// allReferences returns every foreign key that the user of the connection can see.
func (tx *mariadbTx) allReferences(ctx context.Context, declared map[string]*table) (all []*mariadbReference, err error) {
	err = tx.each(ctx, `SELECT k.CONSTRAINT_NAME, k.TABLE_SCHEMA, k.TABLE_NAME, k.COLUMN_NAME, k.REFERENCED_TABLE_SCHEMA, k.REFERENCED_TABLE_NAME, k.REFERENCED_COLUMN_NAME, COALESCE(r.DELETE_RULE, '')
		FROM information_schema.KEY_COLUMN_USAGE k LEFT JOIN information_schema.REFERENTIAL_CONSTRAINTS r
			ON r.CONSTRAINT_SCHEMA = k.CONSTRAINT_SCHEMA AND r.CONSTRAINT_NAME = k.CONSTRAINT_NAME AND r.TABLE_NAME = k.TABLE_NAME
		WHERE k.REFERENCED_TABLE_NAME IS NOT NULL ORDER BY k.TABLE_SCHEMA, k.TABLE_NAME, k.CONSTRAINT_NAME, k.ORDINAL_POSITION`, nil, func(rows *sql.Rows) error {
		r := &mariadbReference{}
		var schema, column, parentSchema, parentColumn string
		if err := rows.Scan(&r.constraint, &schema, &r.plain, &column, &parentSchema, &r.parentPlain, &parentColumn, &r.onDelete); err != nil {
			return err
		}
		r.name, r.parentName = backtick(schema)+"."+backtick(r.plain), backtick(parentSchema)+"."+backtick(r.parentPlain)
		if n := len(all); n > 0 && all[n-1].name == r.name && all[n-1].constraint == r.constraint {
			r = all[n-1]
		} else {
			r.table, r.parent = declared[r.name], declared[r.parentName]
			all = append(all, r)
		}
		r.columns, r.parentColumns = append(r.columns, column), append(r.parentColumns, parentColumn)
		return nil
	})
	return all, err
}

// touch finds the foreign keys, and the references that are dangling already.
func (tx *mariadbTx) touch(ctx context.Context, tables []*table) error {
	tx.tables = tables
	if err := tx.findReferences(ctx, tables); err != nil {
		return err
	}
	for _, r := range tx.refs {
		var err error
		if r.before, err = tx.missing(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// missing counts the rows that refer to nothing.
func (tx *mariadbTx) missing(ctx context.Context, r *mariadbReference) (map[mariadbRow]int, error) {
	var selected string
	if r.table != nil {
		selected = r.table.selectedKey + ", "
	}
	var to []string
	for _, c := range r.columns {
		to = append(to, "HEX(c."+backtick(c)+")")
	}
	query := "SELECT " + selected + "CONCAT_WS(',', " + strings.Join(to, ", ") + ") FROM " + r.name + " AS c WHERE " + r.toNothing(backtick)
	found := map[mariadbRow]int{}
	var value string
	err := tx.eachKey(ctx, MariaDB, r.table, query, nil, []any{&value}, func(key string, known bool) { found[mariadbRow{value, key, known}]++ })
	return found, err
}

// orphans returns the tables, where c is the child, and the condition that a row of the
// child refers to nothing.
func (r *mariadbReference) orphans() string { return r.joined() + r.isOrphan() }

func (r *mariadbReference) joined() string {
	return r.name + " AS c LEFT JOIN " + r.parentName + " AS p ON " + r.join("c", "p", backtick)
}

func (r *mariadbReference) isOrphan() string {
	return " WHERE " + r.isNotNull(backtick) + " AND p." + backtick(r.parentColumns[0]) + " IS NULL"
}

// settle carries out the actions of the foreign keys of tables that are not declared. A
// reference that still dangles is an error. If dangle is set, references of records may
// dangle.
func (tx *mariadbTx) settle(ctx context.Context, dangle bool) error {
	for changed := true; changed; {
		changed = false
		for _, r := range tx.refs {
			action := r.action()
			if action == "" {
				continue
			}
			result, err := tx.conn.ExecContext(ctx, action)
			if err != nil {
				return fmt.Errorf("table %q: carry out ON DELETE of a foreign key: %w", r.plain, err)
			}
			n, err := result.RowsAffected()
			if err != nil {
				return err
			}
			changed = changed || n > 0
		}
	}
	return tx.checkReferences(ctx, dangle)
}

// action returns the statement that carries out ON DELETE for all rows that refer to
// nothing. It is empty if there is nothing to do, if the rows are records, or if some
// rows were dangling before.
func (r *mariadbReference) action() string {
	if r.table != nil || len(r.before) > 0 || r.toMutable() {
		return ""
	}
	switch r.onDelete {
	case "CASCADE":
		return "DELETE c FROM " + r.orphans()
	case "SET NULL":
		return "UPDATE " + r.joined() + " SET " + r.toNull(func(name string) string { return "c." + backtick(name) }) + r.isOrphan()
	}
	return ""
}

// checkReferences fails if a row refers to nothing, did not do so before, and may not.
func (tx *mariadbTx) checkReferences(ctx context.Context, dangle bool) error {
	d := dangling{advice: whereAllowed}
	for _, r := range tx.refs {
		if dangle && r.table != nil {
			continue
		}
		after, err := tx.missing(ctx, r)
		if err != nil {
			return fmt.Errorf("check foreign keys: %w", err)
		}
		var news []mariadbRow
		for row, n := range after {
			if n > r.before[row] {
				news = append(news, row)
			}
		}
		slices.SortFunc(news, func(a, b mariadbRow) int { return cmp.Or(strings.Compare(a.key, b.key), strings.Compare(a.to, b.to)) })
		for _, row := range news {
			if row.known {
				d.addRecord(&r.reference, row.key)
			} else {
				d.addRow(&r.reference, `"a row"`)
			}
		}
	}
	return d.err()
}
