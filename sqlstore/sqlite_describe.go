package sqlstore

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
)

func (tx *sqliteTx) others(ctx context.Context, tables []*table, exclude []string) ([]string, error) {
	known := slices.Clone(exclude)
	for _, t := range tables {
		known = append(known, t.plain)
	}
	covered := func(name string) bool {
		return slices.ContainsFunc(known, func(k string) bool { return strings.EqualFold(k, name) })
	}
	rows, err := tx.conn.QueryContext(ctx, `SELECT l.name, l.type, coalesce(s.sql, '') FROM pragma_table_list l LEFT JOIN sqlite_schema s ON s.type = 'table' AND s.name = l.name
		WHERE l.schema = 'main' AND l.type IN ('table', 'virtual', 'shadow') AND l.name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY l.type = 'shadow'`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var others []string
	virtual := map[string]string{} // their statements
	for rows.Next() {
		var name, kind, statement string
		if err := rows.Scan(&name, &kind, &statement); err != nil {
			return nil, err
		}
		if kind == "virtual" {
			virtual[strings.ToLower(name)] = statement
		}
		if !covered(name) && (kind != "shadow" || !shadowOf(virtual, name)) {
			others = append(others, name)
		}
	}
	slices.Sort(others)
	return others, rows.Err()
}

// shadowOf tells whether a table belongs to a virtual one, which speaks for it. SQLite
// goes by the name alone: what a full-text index is told to take its content from may
// be called as what it would have made itself, and is the host's.
func shadowOf(virtual map[string]string, name string) bool {
	name = strings.ToLower(name)
	for owner, statement := range virtual {
		if rest, ok := strings.CutPrefix(name, owner+"_"); ok {
			return rest != "content" || !ownContent.MatchString(statement)
		}
	}
	return false
}

var ownContent = regexp.MustCompile(`(?i)\bcontent\s*=`)

func (tx *sqliteTx) links(ctx context.Context, tables []*table) (links []link, err error) {
	for _, t := range tables {
		of, err := tx.linksOf(ctx, t, tables)
		if err != nil {
			return nil, err
		}
		links = append(links, of...)
	}
	return links, nil
}

func (tx *sqliteTx) linksOf(ctx context.Context, t *table, tables []*table) (links []link, err error) {
	// Without columns of its own a foreign key refers to the primary key.
	rows, err := tx.conn.QueryContext(ctx, `SELECT f.id, f."table", f."from", coalesce(f."to", (SELECT name FROM pragma_table_info(f."table") WHERE pk = f.seq + 1), '')
		FROM pragma_foreign_key_list(?) f ORDER BY f.id, f.seq`, t.plain)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	last := -1
	for rows.Next() {
		var id int
		var parent, from, to string
		if err := rows.Scan(&id, &parent, &from, &to); err != nil {
			return nil, err
		}
		at := slices.IndexFunc(tables, func(t *table) bool { return strings.EqualFold(t.plain, parent) })
		if at < 0 {
			continue
		}
		if id != last {
			last = id
			links = append(links, link{table: t, parent: tables[at]})
		}
		l := &links[len(links)-1]
		l.columns, l.parentColumns = append(l.columns, from), append(l.parentColumns, to)
	}
	return links, rows.Err()
}

func (tx *sqliteTx) members(ctx context.Context, t *table) ([]member, error) {
	var strict bool
	err := tx.conn.QueryRowContext(ctx, `SELECT strict FROM pragma_table_list WHERE schema = 'main' AND name = ?`, t.plain).Scan(&strict)
	if err != nil {
		return nil, err
	}
	rows, err := tx.conn.QueryContext(ctx, `SELECT name FROM pragma_table_xinfo(?) WHERE "notnull"`, t.plain)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	notNull := map[string]bool{}
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		notNull[name] = true
	}
	var members []member
	for _, c := range t.columns {
		members = append(members, member{SQLite.(sqlite).jsonType(c, strict), !notNull[c.Name]})
	}
	return members, errors.Join(rows.Err(), rows.Close())
}

// jsonType returns what append writes of what the column can hold: of any type, if
// the table is not STRICT.
func (sqlite) jsonType(c *column, strict bool) jsonType {
	switch c.Kind {
	case Text:
		return typed("string")
	case Integer:
		return typed("integer")
	case Real:
		return typed("number")
	case JSON, JSONBytes:
		return jsonType{}
	case Blob:
		return jsonType{types: []string{"string"}, base64: true}
	}
	var types []string
	if c.Kind == Bool {
		types = append(types, "boolean")
	}
	switch {
	case c.affinity == text:
		types = append(types, "string")
	case c.key, strict && c.affinity == numeric:
		types = append(types, "integer")
	default:
		types = append(types, "number")
	}
	if c.affinity != text && !(strict && c.affinity != none) {
		types = append(types, "string")
	}
	return jsonType{types: types}
}
