package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// inMain names a table of the main database. Its name alone could mean a temporary table
// of the connection, or be one of another database that is attached.
func inMain(table string) string { return "main." + quote(table) }

func (tx *sqliteTx) find(ctx context.Context, name string) (*table, error) {
	t := &table{}
	var virtual bool
	err := tx.conn.QueryRowContext(ctx, `SELECT name, type = 'virtual', strict, (SELECT coalesce(max(s.sql LIKE '%conflict%'), 0) FROM main.sqlite_schema s WHERE s.type = 'table' AND s.name = l.name)
		FROM pragma_table_list l WHERE schema = 'main' AND name = ? COLLATE NOCASE`, name).Scan(&t.plain, &virtual, &t.lite.strict, &t.lite.resolves)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, errors.New("there is no such table")
	}
	if virtual {
		return nil, errVirtual
	}
	t.name = inMain(t.plain)
	if err == nil {
		err = tx.triggers(ctx, t)
	}
	return t, err
}

// triggers looks up when triggers of a table run, those of the connection too. Where the
// text leaves it open, it takes more events than there are.
func (tx *sqliteTx) triggers(ctx context.Context, t *table) error {
	return tx.each(ctx, `SELECT sql FROM main.sqlite_schema WHERE type = 'trigger' AND tbl_name = ?1 COLLATE NOCASE
		UNION ALL SELECT sql FROM temp.sqlite_schema WHERE type = 'trigger' AND tbl_name = ?1 COLLATE NOCASE`, []any{t.plain}, func(rows *sql.Rows) error {
		var text string
		err := rows.Scan(&text)
		head, _, _ := strings.Cut(strings.ToUpper(text), "BEGIN")
		words := wordsIn(head)
		update := slices.Contains(words, "UPDATE")
		other := slices.Contains(words, "INSERT") || slices.Contains(words, "DELETE")
		t.lite.onUpdate = t.lite.onUpdate || update || !other
		t.lite.onOther = t.lite.onOther || other || !update
		return err
	})
}

func (tx *sqliteTx) columns(ctx context.Context, t *table) (columns []*column, err error) {
	err = tx.each(ctx, `SELECT name, upper(type), coalesce(dflt_value, ''), NOT "notnull", pk FROM pragma_table_xinfo(?, 'main') WHERE hidden = 0 ORDER BY cid`, []any{t.plain}, func(rows *sql.Rows) error {
		c := &column{}
		if err := rows.Scan(&c.Name, &c.declared, &c.def, &c.nullable, &c.lite.pk); err != nil {
			return err
		}
		if strings.EqualFold(c.def, "NULL") {
			c.def = ""
		}
		c.quoted = quote(c.Name)
		c.lite.affinity, c.lite.strict = affinityOf(c.declared, t.lite.strict), t.lite.strict
		columns = append(columns, c)
		return nil
	})
	return columns, err
}

func (tx *sqliteTx) keys(ctx context.Context, t *table, columns []*column) (primary []string, unique [][]string, err error) {
	for _, c := range columns {
		if c.lite.pk > 0 {
			primary = append(primary, make([]string, max(0, c.lite.pk-len(primary)))...)
			primary[c.lite.pk-1] = c.Name
		}
	}
	type index struct {
		names    []string
		collated bool
	}
	indexes := map[string]*index{}
	rowid := true // the primary key is the rowid, which has no index
	err = tx.each(ctx, `SELECT l.name, l.origin, coalesce(x.name, ''), x.coll <> 'BINARY' FROM pragma_index_list(?, 'main') l, pragma_index_xinfo(l.name, 'main') x
		WHERE l."unique" AND NOT l.partial AND x.key`, []any{t.plain}, func(rows *sql.Rows) error {
		var of, origin, name string // name is empty in an index on an expression
		var collated bool
		if err := rows.Scan(&of, &origin, &name, &collated); err != nil {
			return err
		}
		rowid = rowid && origin != "pk"
		if indexes[of] == nil {
			indexes[of] = &index{}
		}
		indexes[of].names = append(indexes[of].names, name)
		indexes[of].collated = indexes[of].collated || collated
		return nil
	})
	if rowid {
		unique = append(unique, primary)
		for _, c := range columns {
			c.lite.rowid = c.lite.pk > 0
		}
	}
	for _, i := range indexes {
		if !i.collated {
			unique = append(unique, i.names)
		}
	}
	return primary, unique, err
}

// complete makes sure that the columns of the key compare byte by byte. Their own
// collations can differ from those of the index on them.
func (tx *sqliteTx) complete(ctx context.Context, t *table, _ []*column) error {
	for _, c := range t.keyColumns() {
		var same bool
		err := tx.conn.QueryRowContext(ctx, "SELECT x IN ('A', 'a ', 'á') FROM (SELECT "+c.quoted+" AS x FROM "+t.name+" WHERE 0 UNION ALL SELECT 'a')").Scan(&same)
		if err != nil {
			return err
		}
		if same && c.Kind != Integer {
			return fmt.Errorf("the key column %q has a collation: different keys may be the same to it", c.Name)
		}
	}
	return nil
}

func (sqlite) orderBy(_ *table, c *column) string { return c.quoted }
func (sqlite) uniqueIndex() string                { return ", with the collation BINARY" }
