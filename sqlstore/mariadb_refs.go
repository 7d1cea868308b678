package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tomo-project/backup"
)

// A mariadbReference is a foreign key. The server does not look at any in a transaction
// that writes: it could not wait for the commit, and the action of one would change
// a row that a record is still to come for.
type mariadbReference struct {
	table, parent         *table // nil if it is not declared
	name, parentName      string // quoted
	plain, parentPlain    string
	columns, parentColumn []string
	onDelete              string
	before                map[string]int // rows that referred to nothing when the first change was made
}

// touch learns which foreign keys there are, and what dangles already.
func (tx *mariadbTx) touch(ctx context.Context, tables []*table) error {
	tx.tables = tables
	err := tx.references(ctx)
	for i := 0; err == nil && i < len(tx.refs); i++ {
		tx.refs[i].before, err = tx.missing(ctx, tx.refs[i])
	}
	if err != nil {
		return fmt.Errorf("sqlstore: check foreign keys: %w", explain(MariaDB, contextError(ctx, err)))
	}
	return nil
}

// references looks for the foreign keys of declared tables, and of those that
// refer to them, over others if need be.
func (tx *mariadbTx) references(ctx context.Context) error {
	declared := map[string]*table{}
	reached := map[string]bool{}
	for _, t := range tx.tables {
		name := backtick(t.my.schema) + "." + backtick(t.plain)
		declared[name], reached[name] = t, true
	}
	rows, err := tx.conn.QueryContext(ctx, `SELECT k.CONSTRAINT_NAME, k.TABLE_SCHEMA, k.TABLE_NAME, k.COLUMN_NAME, k.REFERENCED_TABLE_SCHEMA, k.REFERENCED_TABLE_NAME, k.REFERENCED_COLUMN_NAME, COALESCE(r.DELETE_RULE, '')
		FROM information_schema.KEY_COLUMN_USAGE k LEFT JOIN information_schema.REFERENTIAL_CONSTRAINTS r
			ON r.CONSTRAINT_SCHEMA = k.CONSTRAINT_SCHEMA AND r.CONSTRAINT_NAME = k.CONSTRAINT_NAME AND r.TABLE_NAME = k.TABLE_NAME
		WHERE k.REFERENCED_TABLE_NAME IS NOT NULL ORDER BY k.TABLE_SCHEMA, k.TABLE_NAME, k.CONSTRAINT_NAME, k.ORDINAL_POSITION`)
	if err != nil {
		return err
	}
	defer rows.Close()
	var all []*mariadbReference
	last := ""
	for rows.Next() {
		var constraint, schema, name, column, parentSchema, parentName, parentColumn, onDelete string
		if err := rows.Scan(&constraint, &schema, &name, &column, &parentSchema, &parentName, &parentColumn, &onDelete); err != nil {
			return err
		}
		r := &mariadbReference{name: backtick(schema) + "." + backtick(name), parentName: backtick(parentSchema) + "." + backtick(parentName), plain: name, parentPlain: parentName, onDelete: onDelete}
		if this := r.name + "." + constraint; this != last || len(all) == 0 {
			last = this
			r.table, r.parent = declared[r.name], declared[r.parentName]
			all = append(all, r)
		}
		r = all[len(all)-1]
		r.columns = append(r.columns, column)
		r.parentColumn = append(r.parentColumn, parentColumn)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
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
	return nil
}

// from returns what follows SELECT or DELETE: rows of the child that refer to
// nothing.
func (r *mariadbReference) from() string {
	var on, set []string
	for i, c := range r.columns {
		on = append(on, "p."+backtick(r.parentColumn[i])+" = c."+backtick(c))
		set = append(set, "c."+backtick(c)+" IS NOT NULL")
	}
	return " FROM " + r.name + " AS c LEFT JOIN " + r.parentName + " AS p ON " + strings.Join(on, " AND ") +
		" WHERE " + strings.Join(set, " AND ") + " AND p." + backtick(r.parentColumn[0]) + " IS NULL"
}

// missing counts the rows that refer to nothing, by what tells them apart: the key
// of a record, and what they refer to.
func (tx *mariadbTx) missing(ctx context.Context, r *mariadbReference) (map[string]int, error) {
	key := r.table.keyTexts("CAST(c.", " AS CHAR)")
	var to []string
	for _, c := range r.columns {
		to = append(to, "HEX(c."+backtick(c)+")")
	}
	rows, err := tx.conn.QueryContext(ctx, "SELECT "+strings.Join(key, ", ")+", CONCAT_WS(',', "+strings.Join(to, ", ")+")"+r.from())
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := map[string]int{}
	for rows.Next() {
		var to string
		key, err := scanKey(rows, len(key), &to)
		if err != nil {
			return nil, err
		}
		found[to+" "+key]++
	}
	return found, rows.Err()
}

// settle carries out the actions of the foreign keys of tables that are not
// declared. What dangles nevertheless is an error.
func (tx *mariadbTx) settle(ctx context.Context) error {
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
	var named []string
	for _, r := range tx.refs {
		after, err := tx.missing(ctx, r)
		if err != nil {
			return fmt.Errorf("check foreign keys: %w", err)
		}
		var keys []string
		for row, n := range after {
			if n > r.before[row] {
				_, key, _ := strings.Cut(row, " ")
				keys = append(keys, key)
			}
		}
		if len(keys) > 0 {
			slices.Sort(keys)
			named = append(named, fmt.Sprintf("table %q: %s refers by %s to nothing in %q", r.plain, some(keys), strings.Join(r.columns, ", "), r.parentPlain))
		}
	}
	if len(named) > 0 {
		return fmt.Errorf("%w: %s", backup.ErrDangling, strings.Join(named, "; "))
	}
	return nil
}

// action returns the statement that does to the rows of a table what its foreign
// key asks for when those that they refer to are deleted. It is empty if the rows
// are records, if some were dangling before, or if the others may have been changed
// only.
func (r *mariadbReference) action() string {
	if r.table != nil || len(r.before) > 0 {
		return ""
	}
	if r.parent != nil && slices.ContainsFunc(r.parent.columns, func(c *column) bool {
		return !c.key && slices.ContainsFunc(r.parentColumn, func(name string) bool { return strings.EqualFold(name, c.Name) })
	}) {
		return ""
	}
	switch r.onDelete {
	case "CASCADE":
		return "DELETE c" + r.from()
	case "SET NULL":
		var set []string
		for _, c := range r.columns {
			set = append(set, "c."+backtick(c)+" = NULL")
		}
		from, where, _ := strings.Cut(strings.TrimPrefix(r.from(), " FROM "), " WHERE ")
		return "UPDATE " + from + " SET " + strings.Join(set, ", ") + " WHERE " + where
	}
	return ""
}
