package sqlstore

import (
	"context"
	"database/sql"
	"slices"
)

// others looks into the current database, and into those of the given tables.
func (tx *mariadbTx) others(ctx context.Context, tables []*table, exclude []string) ([]string, error) {
	var current sql.NullString
	if err := tx.conn.QueryRowContext(ctx, "SELECT DATABASE()").Scan(&current); err != nil {
		return nil, err
	}
	schemas := []string{current.String}
	known := slices.Clone(exclude)
	for _, t := range tables {
		known = append(known, t.my.schema+"."+t.plain)
		if !slices.Contains(schemas, t.my.schema) {
			schemas = append(schemas, t.my.schema)
		}
	}
	var others []string
	for _, schema := range schemas {
		names, err := tx.tablesIn(ctx, schema)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			qualified := schema + "." + name
			isCurrent := schema == current.String
			if slices.Contains(known, qualified) || isCurrent && slices.Contains(exclude, name) {
				continue
			}
			if !isCurrent {
				name = qualified
			}
			others = append(others, name)
		}
	}
	slices.Sort(others)
	return others, nil
}

func (tx *mariadbTx) tablesIn(ctx context.Context, schema string) (names []string, err error) {
	rows, err := tx.conn.QueryContext(ctx, "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED')", schema)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, rows.Err()
}

func (tx *mariadbTx) links(ctx context.Context, tables []*table) (links []link, err error) {
	tx.tables, tx.refs = tables, nil
	if err := tx.references(ctx); err != nil {
		return nil, err
	}
	for _, r := range tx.refs {
		if r.table != nil && r.parent != nil {
			links = append(links, link{r.table, r.parent, r.columns, r.parentColumn})
		}
	}
	return links, nil
}

func (tx *mariadbTx) members(_ context.Context, t *table) (members []member, err error) {
	for _, c := range t.columns {
		members = append(members, member{c.mariadbType(), c.my.nullable})
	}
	return members, nil
}

// mariadbType returns what append writes of what the column can hold. Dates have no
// format: they may be 0000-00-00.
func (c *column) mariadbType() jsonType {
	my := &c.my
	switch {
	case c.Kind == JSON, c.Kind == JSONBytes:
		return jsonType{}
	case c.Kind == Bool && my.base == "bit" && my.precision == 1:
		return typed("boolean")
	case c.Kind == Bool:
		return typed("boolean", "integer")
	case c.Kind == Integer:
		return typed("integer")
	case c.Kind == Real:
		return typed("number")
	case c.Kind == Blob:
		return jsonType{types: []string{"string"}, base64: true}
	case my.base == "enum":
		return jsonType{types: []string{"string"}, enum: my.labels}
	case my.base == "char", my.base == "varchar":
		return jsonType{types: []string{"string"}, maxLength: my.chars}
	case my.base == "uuid":
		return jsonType{types: []string{"string"}, format: "uuid"}
	case my.base == "inet4":
		return jsonType{types: []string{"string"}, format: "ipv4"}
	case my.base == "inet6":
		return jsonType{types: []string{"string"}, format: "ipv6"}
	}
	return typed("string")
}
