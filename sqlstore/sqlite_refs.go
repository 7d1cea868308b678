package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Foreign keys are off in a transaction that writes. The action of a foreign key could
// change a row that a later record is for. The excluded columns of that row would be
// lost. The commit finds the references that have come to dangle.

// A sqliteReference is a foreign key with the number that it has in its table.
type sqliteReference struct {
	reference
	id       int
	onDelete string
	rowid    string // the name for the number of a row, empty if there is none
	action   string // the statement that carries out ON DELETE for a row; empty for none
}

// A violation is a row that refers to nothing. Its number is missing in a table WITHOUT
// ROWID. If the row is a record, the key stands for it there.
type violation struct {
	table string
	id    int // of the foreign key
	row   sql.NullInt64
	key   string
}

func (tx *sqliteTx) references(ctx context.Context, tables []*table) (refs []*reference, err error) {
	tx.tables = tables
	for _, t := range tables {
		of, err := tx.foreignKeysOf(ctx, t.plain)
		if err != nil {
			return nil, err
		}
		for _, r := range of {
			refs = append(refs, &r.reference)
		}
	}
	return refs, nil
}

// foreignKeysOf returns the foreign keys of a table, which need not be declared.
func (tx *sqliteTx) foreignKeysOf(ctx context.Context, table string) ([]*sqliteReference, error) {
	if refs, known := tx.foreignKeys[table]; known {
		return refs, nil
	}
	var refs []*sqliteReference
	// A foreign key without columns of the other table refers to its primary key.
	err := tx.each(ctx, `SELECT f.id, f."table", f."from", coalesce(f."to", (SELECT name FROM pragma_table_info(f."table", 'main') WHERE pk = f.seq + 1), ''), upper(f.on_delete)
		FROM pragma_foreign_key_list(?, 'main') f ORDER BY f.id, f.seq`, []any{table}, func(rows *sql.Rows) error {
		r := &sqliteReference{reference: reference{name: inMain(table), plain: table}}
		var from, to string
		if err := rows.Scan(&r.id, &r.parentPlain, &from, &to, &r.onDelete); err != nil {
			return err
		}
		if n := len(refs); n > 0 && refs[n-1].id == r.id {
			r = refs[n-1]
		} else {
			r.parentName = inMain(r.parentPlain)
			r.table, r.parent = tx.declared(r.plain), tx.declared(r.parentPlain)
			refs = append(refs, r)
		}
		r.columns, r.parentColumns = append(r.columns, from), append(r.parentColumns, to)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(refs) > 0 {
		rowid := tx.rowid(ctx, table)
		for _, r := range refs {
			r.rowid = rowid
			r.action = r.actionOn()
		}
	}
	if tx.foreignKeys == nil {
		tx.foreignKeys = map[string][]*sqliteReference{}
	}
	tx.foreignKeys[table] = refs
	return refs, nil
}

// declared returns the declared table of that name, or nil.
func (tx *sqliteTx) declared(name string) *table {
	i := slices.IndexFunc(tx.tables, func(t *table) bool { return strings.EqualFold(t.plain, name) })
	if i < 0 {
		return nil
	}
	return tx.tables[i]
}

// rowid returns the name for the number of a row, since columns may have taken some of
// its names. If there is none left, it returns an empty name.
func (tx *sqliteTx) rowid(ctx context.Context, table string) (name string) {
	_ = tx.conn.QueryRowContext(ctx, `SELECT n.column1 FROM (VALUES ('rowid'), ('_rowid_'), ('oid')) n
		WHERE n.column1 NOT IN (SELECT lower(name) FROM pragma_table_xinfo(?, 'main')) LIMIT 1`, table).Scan(&name)
	return name
}

// actionOn returns the statement that carries out ON DELETE for one row of the child. It
// is empty if there is nothing to do, or if the row is a record.
func (r *sqliteReference) actionOn() string {
	if r.table != nil || r.rowid == "" || r.toMutable() {
		return ""
	}
	where := " WHERE " + r.rowid + " = ?"
	switch r.onDelete {
	case "CASCADE":
		return "DELETE FROM " + r.name + where
	case "SET NULL":
		return "UPDATE " + r.name + " SET " + r.toNull(quote) + where
	}
	return ""
}

// touch notes the references that are dangling already.
func (tx *sqliteTx) touch(ctx context.Context, tables []*table) (err error) {
	tx.tables = tables
	tx.before, err = tx.violations(ctx)
	return err
}

// violations counts the rows that refer to nothing. It counts because rows of a table
// WITHOUT ROWID that is not declared all look the same.
func (tx *sqliteTx) violations(ctx context.Context) (map[violation]int, error) {
	found := map[violation]int{}
	err := tx.check(ctx, "pragma_foreign_key_check(NULL, 'main')", nil, found)
	if mismatches(err) {
		clear(found)
		err = tx.checkTables(ctx, found)
	}
	if err != nil {
		return nil, err
	}
	for _, v := range slices.Collect(maps.Keys(found)) {
		if !v.row.Valid && tx.declared(v.table) != nil {
			if err := tx.byKey(ctx, v, found); err != nil {
				return nil, err
			}
		}
	}
	return found, nil
}

// check counts the rows that a query on a check of foreign keys returns.
func (tx *sqliteTx) check(ctx context.Context, from string, args []any, found map[violation]int) error {
	return tx.each(ctx, `SELECT "table", rowid, fkid FROM `+from, args, func(rows *sql.Rows) error {
		var v violation
		if err := rows.Scan(&v.table, &v.row, &v.id); err != nil {
			return err
		}
		found[v]++
		return nil
	})
}

// byKey replaces the violations of a declared table WITHOUT ROWID by those of its keys.
func (tx *sqliteTx) byKey(ctx context.Context, v violation, found map[violation]int) error {
	r, err := tx.foreignKey(ctx, v)
	if err != nil {
		return err
	}
	query := "SELECT " + r.table.selectedKey + " FROM " + r.name + " AS c WHERE "
	collect := func(where string) error {
		return tx.eachKey(ctx, SQLite, r.table, query+where, nil, nil, func(key string, _ bool) {
			found[violation{table: v.table, id: v.id, key: key}]++
		})
	}
	err = collect(r.toNothing(quote))
	if err != nil && strings.Contains(err.Error(), "no such table") { // the parent
		err = collect(r.isNotNull(quote))
	}
	delete(found, v)
	return err
}

// settle carries out the actions of foreign keys. A reference that still dangles is an
// error. If dangle is set, references of records may dangle.
func (tx *sqliteTx) settle(ctx context.Context, dangle bool) error {
	if tx.before == nil {
		return nil
	}
	const most = 1000 // as deep as SQLite lets actions nest
	for round := 0; ; round++ {
		news, err := tx.news(ctx, dangle)
		if err != nil {
			return fmt.Errorf("check foreign keys: %w", err)
		}
		if len(news) == 0 {
			return nil
		}
		changed := false
		if round < most {
			if changed, err = tx.act(ctx, news); err != nil {
				return err
			}
		}
		if !changed {
			return tx.dangling(ctx, news)
		}
	}
}

// news returns the references that the transaction has made dangling and that may not
// stay so.
func (tx *sqliteTx) news(ctx context.Context, dangle bool) (news []violation, err error) {
	after, err := tx.violations(ctx)
	for v, n := range after {
		if n > tx.before[v] && !(dangle && tx.declared(v.table) != nil) {
			news = append(news, v)
		}
	}
	slices.SortFunc(news, func(a, b violation) int {
		return cmp.Or(strings.Compare(a.table, b.table), cmp.Compare(a.id, b.id), cmp.Compare(a.row.Int64, b.row.Int64), strings.Compare(a.key, b.key))
	})
	return news, err
}

// act carries out the actions for news, and tells whether a row has changed. References
// to the changed rows are for the next round.
func (tx *sqliteTx) act(ctx context.Context, news []violation) (changed bool, err error) {
	for _, v := range news {
		r, err := tx.foreignKey(ctx, v)
		if err != nil {
			return false, err
		}
		if r.action == "" || !v.row.Valid {
			continue
		}
		result, err := tx.conn.ExecContext(ctx, r.action, v.row.Int64)
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

// foreignKey returns the foreign key that v is of.
func (tx *sqliteTx) foreignKey(ctx context.Context, v violation) (*sqliteReference, error) {
	refs, err := tx.foreignKeysOf(ctx, v.table)
	if err != nil {
		return nil, err
	}
	for _, r := range refs {
		if r.id == v.id {
			return r, nil
		}
	}
	return nil, errors.New("table " + strconv.Quote(v.table) + " has lost a foreign key meanwhile")
}

// dangling returns the error that names the rows.
func (tx *sqliteTx) dangling(ctx context.Context, news []violation) error {
	d := dangling{advice: whereAllowed}
	for _, v := range news {
		r, err := tx.foreignKey(ctx, v)
		if err != nil {
			return err
		}
		switch {
		case r.table != nil && len(d.records) == maxDangling:
			d.addRows(&r.reference, 1)
		case r.table != nil:
			if err := tx.addRecord(ctx, &d, r, v); err != nil {
				return err
			}
		case v.row.Valid:
			d.addRow(&r.reference, fmt.Sprintf("row %d", v.row.Int64))
		default:
			d.addRow(&r.reference, "a row")
		}
	}
	return d.err()
}

func (tx *sqliteTx) addRecord(ctx context.Context, d *dangling, r *sqliteReference, v violation) error {
	key, known := v.key, !v.row.Valid
	if v.row.Valid && r.rowid != "" {
		query := "SELECT " + r.table.selectedKey + " FROM " + r.name + " WHERE " + r.rowid + " = ?"
		err := tx.eachKey(ctx, SQLite, r.table, query, []any{v.row.Int64}, nil, func(k string, ok bool) { key, known = k, ok })
		if err != nil {
			return err
		}
	}
	if known {
		d.addRecord(&r.reference, key)
	} else {
		d.addRow(&r.reference, fmt.Sprintf("row %d", v.row.Int64))
	}
	return nil
}
