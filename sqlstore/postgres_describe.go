package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// others looks into the schemas on the search path, and into those of the given
// tables. It shows those that the user of the connection must not read, too: a
// backup would not have them.
func (tx *postgresTx) others(ctx context.Context, tables []*table, exclude []string) ([]string, error) {
	var oids []string
	for _, t := range tables {
		oids = append(oids, strconv.FormatInt(t.pg.oid, 10))
	}
	rows, err := tx.conn.QueryContext(ctx, `WITH given AS (SELECT unnest($1::text::oid[]) AS oid)
		SELECT c.relname::text, n.nspname||'.'||c.relname, pg_table_is_visible(c.oid)
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't' AND n.nspname !~ '^(pg_|information_schema$)'
			AND (n.nspname = ANY (current_schemas(false)) OR n.oid IN (SELECT relnamespace FROM pg_class JOIN given USING (oid)))
			AND c.oid NOT IN (SELECT oid FROM given)
			AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e')`, "{"+strings.Join(oids, ",")+"}")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var others []string
	for rows.Next() {
		var name, qualified string
		var visible bool
		if err := rows.Scan(&name, &qualified, &visible); err != nil {
			return nil, err
		}
		if slices.Contains(exclude, qualified) || visible && slices.Contains(exclude, name) {
			continue
		}
		if !visible {
			name = qualified
		}
		others = append(others, name)
	}
	slices.Sort(others)
	return others, rows.Err()
}

func (tx *postgresTx) links(ctx context.Context, tables []*table) (links []link, err error) {
	tx.tables, tx.refs = tables, nil
	if err := tx.references(ctx); err != nil {
		return nil, err
	}
	for _, r := range tx.refs {
		if r.table == nil || r.parent == nil {
			continue
		}
		l := link{table: r.table, parent: r.parent}
		for i := range r.columns {
			l.columns = append(l.columns, unquote(r.columns[i]))
			l.parentColumns = append(l.parentColumns, unquote(r.parentColumn[i]))
		}
		links = append(links, l)
	}
	return links, nil
}

// unquote returns the name that quote_ident was given.
func unquote(ident string) string {
	if !strings.HasPrefix(ident, `"`) {
		return ident
	}
	return strings.ReplaceAll(ident[1:len(ident)-1], `""`, `"`)
}

func (tx *postgresTx) members(ctx context.Context, t *table) ([]member, error) {
	// What is below a domain counts, as in columns. Other encodings have characters
	// that are two of Unicode.
	rows, err := tx.conn.QueryContext(ctx, `WITH RECURSIVE types AS (
			SELECT attnum, atttypid AS type, atttypmod AS modifier FROM pg_attribute WHERE attrelid = $1::text::oid AND attnum > 0 AND NOT attisdropped
			UNION ALL
			SELECT attnum, typbasetype, CASE WHEN typtypmod < 0 THEN modifier ELSE typtypmod END FROM types JOIN pg_type ON oid = type WHERE typtype = 'd')
		SELECT y.attnum::int8, CASE WHEN getdatabaseencoding() = 'UTF8' THEN y.modifier ELSE -1 END::int8, coalesce(e.typname::text, ''), (SELECT json_agg(enumlabel ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = b.oid)::text
		FROM types y JOIN pg_type b ON b.oid = y.type AND b.typtype <> 'd' LEFT JOIN pg_type e ON e.oid = b.typelem`, strconv.FormatInt(t.pg.oid, 10))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	members := make([]member, len(t.columns))
	for rows.Next() {
		var number int
		var modifier int64
		var element string
		var labels sql.NullString
		if err := rows.Scan(&number, &modifier, &element, &labels); err != nil {
			return nil, err
		}
		i := slices.IndexFunc(t.columns, func(c *column) bool { return c.pg.attnum == number })
		if i < 0 {
			continue
		}
		m := member{t.columns[i].postgresType(modifier, element), t.columns[i].pg.nullable}
		if labels.Valid {
			if err := json.Unmarshal([]byte(labels.String), &m.enum); err != nil {
				return nil, err
			}
		}
		members[i] = m
	}
	return members, rows.Err()
}

// postgresType returns what append writes of what the column can hold. Dates and
// timestamps have no format: they may be infinite, before Christ or after the year
// 9999. The element is the type of those of an array.
func (c *column) postgresType(modifier int64, element string) jsonType {
	pg := &c.pg
	switch {
	case pg.array:
		// It may have several dimensions, whatever is declared.
		e := pgColumn{base: element}
		types := []string{"string"}
		switch {
		case element == "bool":
			types = []string{"boolean"}
		case e.integer():
			types = []string{"integer"}
		case e.number():
			types = []string{"number", "string"} // "NaN"
		}
		types = append(types, "null", "array")
		return jsonType{types: []string{"array"}, items: types}
	case c.Kind == JSON, c.Kind == JSONBytes:
		return jsonType{}
	case c.Kind == Bool:
		return typed("boolean")
	case c.Kind == Integer:
		return typed("integer")
	case c.Kind == Real:
		return typed("number")
	case c.Kind == Blob:
		return jsonType{types: []string{"string"}, base64: true}
	case pg.base == "uuid":
		return jsonType{types: []string{"string"}, format: "uuid"}
	case (pg.base == "varchar" || pg.base == "bpchar") && modifier > 4:
		return jsonType{types: []string{"string"}, maxLength: modifier - 4}
	}
	return typed("string")
}
