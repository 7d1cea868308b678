package sqlstore

import (
	"context"
	"database/sql"
	"slices"
	"strings"

	"github.com/tomo-project/backup"
)

// records reads the records of a table from its pages, in the order of their keys. If it
// cannot read all of them, it returns the statement that reads the others, and its
// arguments.
func (tx *sqliteTx) records(ctx context.Context, v *view, t *table, yield func(backup.Record) bool) (rest string, args []any, err error) {
	row := &sqliteRow{t: t, cells: make([]sqliteCell, len(t.columns))}
	var last string
	var buf []byte
	read, stopped, changed := 0, false, false
	err = tx.eachRow(ctx, t, row, func(rowid int64, payload []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !row.take(rowid, payload) || !row.follows() {
			return errUnexpected
		}
		key, value, err := row.append(buf[:0])
		if err != nil {
			return err
		}
		read, last, buf = read+1, key, value
		changes := v.changes
		stopped = !yield(backup.Record{Key: key, Value: value})
		if changed = v.changes != changes; stopped || changed {
			return errUnexpected // SQLite knows how to go on after a change
		}
		return nil
	})
	switch {
	case err == nil || stopped:
		return "", nil, nil
	case ctx.Err() != nil:
		return "", nil, ctx.Err()
	case read == 0:
		return t.query("", t.order), nil, nil
	case !changed:
		// In a damaged database, the rest need not have greater keys than the last row.
		return t.query("", t.order) + " LIMIT -1 OFFSET ?", []any{read}, nil
	}
	if args, _, err = t.keyArgs(v.dialect, nil, last); err != nil {
		return "", nil, t.fail(last, nil, err)
	}
	names := t.keyNames("")
	return t.query(" WHERE ("+names+") > (?"+strings.Repeat(",?", len(args)-1)+")", t.order), args, nil
}

// eachRow calls f with each row of a table as it is stored, and sets the fields of row. It
// fails if there is no order of the key in the pages.
func (tx *sqliteTx) eachRow(ctx context.Context, t *table, row *sqliteRow, f func(rowid int64, payload []byte) error) (err error) {
	// This also locks the table, where connections share a cache: pages have what another
	// connection has not committed. An index may be damaged that SQLite would not read otherwise.
	var filled bool
	err = tx.conn.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM "+t.name+" NOT INDEXED)").Scan(&filled)
	if err != nil || !filled {
		return err
	}
	var root uint32
	tree := &sqliteTree{}
	err = tx.conn.QueryRowContext(ctx, `SELECT wr, (SELECT rootpage FROM main.sqlite_schema WHERE type = 'table' AND name = ?1)
		FROM pragma_table_list WHERE schema = 'main' AND name = ?1`, t.plain).Scan(&tree.index, &root)
	if err != nil {
		return err
	}
	if row.fields, err = tx.fields(ctx, t, tree.index); err != nil {
		return err
	}
	var index uint32
	if tree.index {
		for part, i := range t.keys {
			if row.fields[part].column != i {
				return errUnexpected
			}
		}
	} else if !t.columns[t.keys[0]].lite.rowid || len(t.keys) > 1 {
		if index, err = tx.keyIndex(ctx, t); err != nil {
			return err
		}
	}
	if tree.stmt, err = tx.conn.PrepareContext(ctx, sqlitePage); err != nil {
		return err
	}
	defer tree.stmt.Close()
	if err := tree.header(ctx); err != nil {
		return err
	}
	if err := tx.conn.QueryRowContext(ctx, "PRAGMA main.page_count").Scan(&tree.pages); err != nil {
		return err
	}
	if index == 0 {
		return tree.rows(ctx, root, 0, f)
	}
	x := &sqliteIndex{table: tree, root: root, index: &sqliteTree{stmt: tree.stmt, index: true, usable: tree.usable, pages: tree.pages}}
	return x.rows(ctx, index, f)
}

// fields returns what the rows of a table have, in the order in which it is stored. The key
// of a table WITHOUT ROWID comes first.
func (tx *sqliteTx) fields(ctx context.Context, t *table, withoutRowid bool) (fields []sqliteField, err error) {
	query := "SELECT name, hidden <> 0 FROM pragma_table_xinfo(?, 'main') ORDER BY cid"
	if withoutRowid {
		query = `SELECT x.name, (SELECT max(hidden) FROM pragma_table_xinfo(?1, 'main')) OR x.key AND (x."desc" OR x.coll <> 'BINARY')
			FROM pragma_index_list(?1, 'main') l, pragma_index_xinfo(l.name, 'main') x WHERE l.origin = 'pk' ORDER BY x.seqno`
	}
	err = tx.each(ctx, query, []any{t.plain}, func(rows *sql.Rows) error {
		var name string
		var unlike bool
		if err := rows.Scan(&name, &unlike); err != nil {
			return err
		}
		if unlike {
			return errUnexpected // a generated column may be stored or not, and the key may sort otherwise
		}
		f := sqliteField{column: slices.IndexFunc(t.columns, func(c *column) bool { return c.Name == name }), later: true}
		if f.column >= 0 {
			c := t.columns[f.column]
			f.rowid, f.later = c.lite.rowid, c.def == "" && !c.key
		}
		fields = append(fields, f)
		return nil
	})
	return fields, err
}
