package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

func (tx *sqliteTx) describe(ctx context.Context, declared Table) (*table, error) {
	t := &table{collection: declared.Collection}
	var d sqlite
	var strict bool
	err := tx.conn.QueryRowContext(ctx, `SELECT name, strict, (SELECT coalesce(max(s.sql LIKE '%conflict%'), 0) FROM main.sqlite_schema s WHERE s.type = 'table' AND s.name = l.name)
		FROM pragma_table_list l WHERE schema = 'main' AND name = ? COLLATE NOCASE`, declared.Name).Scan(&t.plain, &strict, &t.resolves)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, errors.New("there is no such table")
	}
	if err != nil {
		return nil, contextError(ctx, err)
	}
	t.name = quote(t.plain)
	columns, primary, err := d.columns(ctx, tx.conn, t.plain, strict)
	if err != nil {
		return nil, contextError(ctx, err)
	}
	if err := t.declare(declared, columns, primary); err != nil {
		return nil, err
	}
	for _, c := range t.columns {
		if err := d.kind(c); err != nil {
			return nil, fmt.Errorf("column %q: %w", c.Name, err)
		}
		c.read = d.read(c)
	}
	t.order = t.keyNames("")
	if err := d.unique(ctx, tx.conn, t, primary); err != nil {
		return nil, contextError(ctx, err)
	}
	return t, nil
}

// columns returns the columns of a table, without generated ones, and the names
// of those in the primary key.
func (sqlite) columns(ctx context.Context, conn *sql.Conn, name string, strict bool) (columns []*column, primary []string, err error) {
	rows, err := conn.QueryContext(ctx, `SELECT name, upper(type), coalesce(dflt_value, ''), pk, hidden FROM pragma_table_xinfo(?) ORDER BY cid`, name)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		c := &column{}
		var pk, hidden int
		if err := rows.Scan(&c.Name, &c.declared, &c.def, &pk, &hidden); err != nil {
			return nil, nil, err
		}
		if hidden != 0 {
			continue
		}
		if pk > 0 {
			for len(primary) < pk {
				primary = append(primary, "")
			}
			primary[pk-1] = c.Name
		}
		if strings.EqualFold(c.def, "NULL") {
			c.def = ""
		}
		c.Field = c.Name
		c.quoted = quote(c.Name)
		c.affinity = affinityOf(c.declared, strict)
		columns = append(columns, c)
	}
	return columns, primary, rows.Err()
}

// unique makes sure that the key finds one row, and that keys are compared byte
// by byte.
func (sqlite) unique(ctx context.Context, conn *sql.Conn, t *table, primary []string) error {
	rows, err := conn.QueryContext(ctx, `SELECT l.name, l.origin, coalesce(x.name, ''), x.coll <> 'BINARY' FROM pragma_index_list(?) l, pragma_index_xinfo(l.name) x
		WHERE l."unique" AND NOT l.partial AND x.key`, t.plain)
	if err != nil {
		return err
	}
	defer rows.Close()
	// A rowid that is the primary key has no index.
	rowid := primary
	columns, collated := map[string][]string{}, map[string]bool{} // by index
	for rows.Next() {
		var index, origin, name string // name is empty in an index on an expression
		var collates bool
		if err := rows.Scan(&index, &origin, &name, &collates); err != nil {
			return err
		}
		if origin == "pk" {
			rowid = nil
		}
		columns[index] = append(columns[index], name)
		collated[index] = collated[index] || collates
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	for _, c := range t.keyColumns() {
		// No index need have the collation of the column.
		var same bool
		err := conn.QueryRowContext(ctx, "SELECT x IN ('A', 'a ', 'á') FROM (SELECT "+c.quoted+" AS x FROM "+t.name+" WHERE 0 UNION ALL SELECT 'a')").Scan(&same)
		if err != nil {
			return err
		}
		if same && c.Kind != Integer {
			return fmt.Errorf("the key column %q has a collation: different keys may be the same to it", c.Name)
		}
	}
	exact := [][]string{rowid}
	for index, names := range columns {
		if !collated[index] {
			exact = append(exact, names)
		}
	}
	if !t.unique(exact) {
		return t.notUnique(", with the collation BINARY")
	}
	return nil
}

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
