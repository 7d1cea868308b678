package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"strconv"
)

// A pgTable and a pgColumn are what PostgreSQL says about a table and a column.
type (
	pgTable struct {
		oid  int64
		copy copyState
	}

	pgColumn struct {
		postgresType
		attnum    int
		base      string   // name of the type; for a domain, of the type below it
		modified  bool     // it has a length, precision or scale
		length    int64    // of text in characters, 0 for any
		labels    []string // of an enum
		array     bool     // an array that is JSON in records
		element   string   // name of the type of the elements
		collated  bool     // its collation may treat different texts as the same
		collation string   // quoted, empty if the type has none
		bytewise  bool     // its collation sorts texts by their bytes
		generated string   // "a" for GENERATED ALWAYS AS IDENTITY
		followed  bool     // foreign keys of other tables change with it
		checks    string   // the CHECK constraints on it
		write     string   // the expression that makes a value of the argument v.cN
		checked   bool     // write fails if the column would change the value

		// keeps tells whether the server is known to store a text as it is, or to refuse it.
		keeps func(text string) bool
	}
)

// oidText returns the OID as an argument of a query.
func (t pgTable) oidText() string { return strconv.FormatInt(t.oid, 10) }

func (tx *postgresTx) find(ctx context.Context, name string) (*table, error) {
	t := &table{}
	var kind string
	var inherited, temporary bool
	err := sql.ErrNoRows
	for _, names := range readings(name) {
		quoted := quote(names[1])
		if names[0] != "" {
			quoted = quote(names[0]) + "." + quoted
		}
		err = tx.conn.QueryRowContext(ctx, `SELECT c.oid::int8, c.relname::text, quote_ident(n.nspname)||'.'||quote_ident(c.relname), c.relkind::text,
			c.relkind = 'r' AND EXISTS (SELECT FROM pg_inherits WHERE inhparent = c.oid), c.relpersistence = 't'
			FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass($1::text)`, quoted).Scan(&t.pg.oid, &t.plain, &t.name, &kind, &inherited, &temporary)
		if !errors.Is(err, sql.ErrNoRows) {
			break
		}
	}
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, errors.New("there is no such table that the user of the connection can see (names are case-sensitive)")
	case err != nil:
		return nil, err
	case kind != "r" && kind != "p":
		return nil, errors.New("it is not a table")
	case temporary:
		return nil, errors.New("the connection has a temporary table of that name: name the schema of the other in Table.Name, or drop the temporary table")
	case inherited:
		return nil, errors.New("other tables inherit from it")
	}
	if tx.write {
		return t, tx.exec(ctx, "LOCK TABLE "+t.name+" IN EXCLUSIVE MODE")
	}
	return t, nil
}

func (tx *postgresTx) columns(ctx context.Context, t *table) (columns []*column, err error) {
	// There is a length only with UTF8: other encodings have characters that are two in
	// Unicode.
	err = tx.each(ctx, `WITH RECURSIVE types AS (
			SELECT attnum, atttypid AS type, atttypmod AS modifier FROM pg_attribute WHERE attrelid = $1::text::oid AND attnum > 0 AND NOT attisdropped
			UNION ALL
			SELECT attnum, typbasetype, CASE WHEN typtypmod < 0 THEN modifier ELSE typtypmod END FROM types JOIN pg_type ON oid = type WHERE typtype = 'd')
		SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), coalesce(pg_get_expr(d.adbin, d.adrelid), ''), a.attnum::int8,
			NOT a.attnotnull OR EXISTS (SELECT FROM pg_constraint n WHERE n.conrelid = a.attrelid AND n.contype = 'n' AND n.conkey = ARRAY[a.attnum] AND NOT n.convalidated), a.attidentity::text,
			b.typname::text, y.modifier >= 0, CASE WHEN b.typname IN ('varchar', 'bpchar') AND getdatabaseencoding() = 'UTF8' THEN greatest(y.modifier - 4, 0) ELSE 0 END::int8,
			(SELECT json_agg(enumlabel ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = b.oid)::text, coalesce(e.typname::text, ''),
			coalesce(b.typcategory = 'A' AND b.typlen = -1 AND b.typname NOT IN ('int2vector', 'oidvector') AND e.typtype IN ('b', 'e', 'r') AND e.typcategory <> 'A' AND (e.oid < 16384 OR e.typtype = 'e') AND e.typname NOT IN ('json', 'jsonb', 'bytea', 'xml'), false),
			coalesce(NOT l.collisdeterministic, false), coalesce((SELECT quote_ident(nspname) FROM pg_namespace WHERE oid = l.collnamespace)||'.'||quote_ident(l.collname), ''),
			coalesce(CASE l.collprovider WHEN 'c' THEN l.collcollate::text
				WHEN 'd' THEN (SELECT o.datcollate::text FROM pg_database o WHERE o.datname = current_database() AND coalesce(to_jsonb(o)->>'datlocprovider', 'c') = 'c')
				END IN ('C', 'POSIX'), false)
		FROM pg_attribute a JOIN types y USING (attnum) JOIN pg_type b ON b.oid = y.type AND b.typtype <> 'd' LEFT JOIN pg_type e ON e.oid = b.typelem
			LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum LEFT JOIN pg_collation l ON l.oid = a.attcollation
		WHERE a.attrelid = $1::text::oid AND a.attgenerated = '' ORDER BY a.attnum`, []any{t.pg.oidText()}, func(rows *sql.Rows) error {
		c := &column{}
		pg := &c.pg
		var labels []byte
		if err := rows.Scan(&c.Name, &c.declared, &c.def, &pg.attnum, &c.nullable, &pg.generated,
			&pg.base, &pg.modified, &pg.length, &labels, &pg.element, &pg.array, &pg.collated, &pg.collation, &pg.bytewise); err != nil {
			return err
		}
		if labels != nil {
			if err := json.Unmarshal(labels, &pg.labels); err != nil {
				return err
			}
		}
		if pg.generated != "" {
			c.def = "DEFAULT"
		}
		pg.postgresType = postgresTypeOf(pg.base)
		c.quoted = quote(c.Name)
		columns = append(columns, c)
		return nil
	})
	return columns, err
}

func (tx *postgresTx) keys(ctx context.Context, t *table, _ []*column) (primary []string, unique [][]string, err error) {
	// An index works if it has the collations of its columns: with others, different keys
	// would be the same.
	err = tx.each(ctx, `SELECT i.indisprimary, i.indimmediate AND i.indisvalid AND NOT EXISTS (
				SELECT FROM unnest(i.indkey::int2[], i.indcollation::oid[]) WITH ORDINALITY k(attnum, coll, n) JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum WHERE n <= i.indnkeyatts AND coll <> a.attcollation),
			(SELECT json_agg(a.attname ORDER BY n) FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, n) JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum WHERE n <= i.indnkeyatts)::text
		FROM pg_index i WHERE i.indrelid = $1::text::oid AND i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL`, []any{t.pg.oidText()}, func(rows *sql.Rows) error {
		var isPrimary, works bool
		var list []byte
		var names []string
		if err := rows.Scan(&isPrimary, &works, &list); err != nil {
			return err
		}
		if err := json.Unmarshal(list, &names); err != nil {
			return err
		}
		if isPrimary {
			primary = names
		}
		if works {
			unique = append(unique, names)
		}
		return nil
	})
	return primary, unique, err
}

func (tx *postgresTx) complete(context.Context, *table, []*column) error { return nil }

// orderBy names a collation only where it must: PostgreSQL then cannot use the index.
func (postgres) orderBy(t *table, c *column) string {
	by := t.name + "." + c.quoted
	if c.pg.family == texts && !c.pg.bytewise {
		by += ` COLLATE "C"`
	}
	return by
}

func (postgres) uniqueIndex() string { return ", not DEFERRABLE" }
