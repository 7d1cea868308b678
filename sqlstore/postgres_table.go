package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// A pgTable and a pgColumn are what PostgreSQL tells of a table and a column.
type (
	pgTable struct{ oid int64 }

	pgColumn struct {
		attnum    int
		base      string // name of the type, of the one below a domain
		modified  bool   // it has a length, precision or scale
		array     bool   // of values that JSON has a form for
		nullable  bool
		collated  bool   // texts that differ may be the same
		collation string // quoted, empty where there can be none
		bytewise  bool   // texts are in the order of their bytes
		generated string // "a" for GENERATED ALWAYS AS IDENTITY
		write     string // the expression that makes a value of the text in v.cN
	}
)

func (tx *postgresTx) describe(ctx context.Context, declared Table) (*table, error) {
	t := &table{collection: declared.Collection}
	schema, name, qualified := strings.Cut(declared.Name, ".")
	names := []string{quote(declared.Name)}
	if qualified {
		names = append(names, quote(schema)+"."+quote(name))
	}
	var kind string
	var inherited bool
	err := sql.ErrNoRows
	for i := 0; i < len(names) && errors.Is(err, sql.ErrNoRows); i++ {
		err = tx.conn.QueryRowContext(ctx, `SELECT c.oid::int8, c.relname::text, quote_ident(n.nspname)||'.'||quote_ident(c.relname), c.relkind::text,
			c.relkind = 'r' AND EXISTS (SELECT FROM pg_inherits WHERE inhparent = c.oid)
			FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass($1::text)`, names[i]).Scan(&t.pg.oid, &t.plain, &t.name, &kind, &inherited)
	}
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, errors.New("there is no such table that the user of the connection can see (names are case-sensitive)")
	case err != nil:
		return nil, contextError(ctx, err)
	case kind != "r" && kind != "p":
		return nil, errors.New("it is not a table")
	case inherited:
		return nil, errors.New("other tables inherit from it")
	}
	if tx.write {
		if err := tx.exec(ctx, "LOCK TABLE "+t.name+" IN EXCLUSIVE MODE"); err != nil {
			return nil, contextError(ctx, err)
		}
	}
	columns, err := tx.columns(ctx, t)
	if err != nil {
		return nil, contextError(ctx, err)
	}
	primary, unique, err := tx.keys(ctx, t)
	if err != nil {
		return nil, contextError(ctx, err)
	}
	if err := t.declare(declared, columns, primary); err != nil {
		return nil, err
	}
	for i, c := range t.columns {
		if err := c.settle(i); err != nil {
			return nil, fmt.Errorf("column %q: %w", c.Name, err)
		}
	}
	if !t.unique(unique) {
		return nil, t.notUnique(", not DEFERRABLE")
	}
	var order []string
	for _, key := range t.keyColumns() {
		by := t.name + "." + key.quoted
		if key.pg.text() && !key.pg.bytewise { // another collation would keep the index from being used
			by += ` COLLATE "C"`
		}
		order = append(order, by)
	}
	t.order = strings.Join(order, ", ")
	return t, nil
}

// columns returns the columns of a table, without generated ones.
func (tx *postgresTx) columns(ctx context.Context, t *table) (columns []*column, err error) {
	rows, err := tx.conn.QueryContext(ctx, `WITH RECURSIVE types AS (
			SELECT attnum, atttypid AS type, atttypmod AS modifier FROM pg_attribute WHERE attrelid = $1::text::oid AND attnum > 0 AND NOT attisdropped
			UNION ALL
			SELECT attnum, typbasetype, CASE WHEN typtypmod < 0 THEN modifier ELSE typtypmod END FROM types JOIN pg_type ON oid = type WHERE typtype = 'd')
		SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), coalesce(pg_get_expr(d.adbin, d.adrelid), ''), a.attnum::int8, NOT a.attnotnull, a.attidentity::text,
			b.typname::text, y.modifier >= 0,
			coalesce(b.typcategory = 'A' AND b.typlen = -1 AND e.typtype IN ('b', 'e', 'r') AND e.typcategory <> 'A' AND (e.oid < 16384 OR e.typtype = 'e') AND e.typname NOT IN ('json', 'jsonb', 'bytea', 'xml'), false),
			coalesce(NOT l.collisdeterministic, false), coalesce((SELECT quote_ident(nspname) FROM pg_namespace WHERE oid = l.collnamespace)||'.'||quote_ident(l.collname), ''),
			coalesce(CASE l.collprovider WHEN 'c' THEN l.collcollate::text
				WHEN 'd' THEN (SELECT o.datcollate::text FROM pg_database o WHERE o.datname = current_database() AND coalesce(to_jsonb(o)->>'datlocprovider', 'c') = 'c')
				END IN ('C', 'POSIX'), false)
		FROM pg_attribute a JOIN types y USING (attnum) JOIN pg_type b ON b.oid = y.type AND b.typtype <> 'd' LEFT JOIN pg_type e ON e.oid = b.typelem
			LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum LEFT JOIN pg_collation l ON l.oid = a.attcollation
		WHERE a.attrelid = $1::text::oid AND a.attgenerated = '' ORDER BY a.attnum`, strconv.FormatInt(t.pg.oid, 10))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		c := &column{}
		err := rows.Scan(&c.Name, &c.declared, &c.def, &c.pg.attnum, &c.pg.nullable, &c.pg.generated, &c.pg.base, &c.pg.modified, &c.pg.array, &c.pg.collated, &c.pg.collation, &c.pg.bytewise)
		if err != nil {
			return nil, err
		}
		if c.pg.generated != "" {
			c.def = "DEFAULT"
		}
		c.Field = c.Name
		c.quoted = quote(c.Name)
		columns = append(columns, c)
	}
	return columns, rows.Err()
}

// keys returns the columns of the primary key, and those of each unique index.
func (tx *postgresTx) keys(ctx context.Context, t *table) (primary []string, unique [][]string, err error) {
	// To an index with another collation than its column other keys are the same.
	rows, err := tx.conn.QueryContext(ctx, `SELECT i.indisprimary, i.indimmediate AND i.indisvalid AND NOT EXISTS (
				SELECT FROM unnest(i.indkey::int2[], i.indcollation::oid[]) WITH ORDINALITY k(attnum, coll, n) JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum WHERE n <= i.indnkeyatts AND coll <> a.attcollation),
			(SELECT json_agg(a.attname ORDER BY n) FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, n) JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum WHERE n <= i.indnkeyatts)::text
		FROM pg_index i WHERE i.indrelid = $1::text::oid AND i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL`, strconv.FormatInt(t.pg.oid, 10))
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var isPrimary, works bool
		var list string
		var names []string
		if err := rows.Scan(&isPrimary, &works, &list); err != nil {
			return nil, nil, err
		}
		if err := json.Unmarshal([]byte(list), &names); err != nil {
			return nil, nil, err
		}
		if isPrimary {
			primary = names
		}
		if works {
			unique = append(unique, names)
		}
	}
	return primary, unique, rows.Err()
}
