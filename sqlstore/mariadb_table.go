package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A mariadbTable and a mariadbColumn are what MariaDB tells of a table and a column.
type (
	mariadbTable struct {
		schema string
		keep   []string // quoted columns that an update would set by itself
	}

	mariadbColumn struct {
		base      string // the type: "varchar"
		nullable  bool
		unsigned  bool
		zerofill  bool
		chars     int64 // that text can have
		octets    int64 // that text or binary can have
		precision int64 // digits, or bits
		scale     int64 // digits behind the point, -1 if any
		charset   string
		collation string
		labels    []string // of an enum or a set
		updates   bool     // ON UPDATE CURRENT_TIMESTAMP
	}
)

func backtick(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

func (tx *mariadbTx) describe(ctx context.Context, declared Table) (*table, error) {
	t := &table{collection: declared.Collection}
	names := [][2]string{{"", declared.Name}}
	if schema, name, ok := strings.Cut(declared.Name, "."); ok {
		names = append(names, [2]string{schema, name})
	}
	var kind, engine string
	err := sql.ErrNoRows
	for i := 0; i < len(names) && errors.Is(err, sql.ErrNoRows); i++ {
		err = tx.conn.QueryRowContext(ctx, "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, COALESCE(ENGINE, '') FROM information_schema.TABLES WHERE TABLE_SCHEMA = IF(? = '', DATABASE(), ?) AND TABLE_NAME = ?",
			names[i][0], names[i][0], names[i][1]).Scan(&t.my.schema, &t.plain, &kind, &engine)
	}
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, errors.New("there is no such table that the user of the connection can see")
	case err != nil:
		return nil, contextError(ctx, err)
	case kind == "SYSTEM VERSIONED":
		return nil, errors.New("it is SYSTEM VERSIONED, and its history would not be in a backup")
	case kind != "BASE TABLE":
		return nil, errors.New("it is not a table")
	case !strings.EqualFold(engine, "InnoDB"):
		return nil, fmt.Errorf("its engine is %s, which has no transactions that can be relied on: ALTER TABLE … ENGINE=InnoDB", engine)
	}
	t.name = backtick(t.my.schema) + "." + backtick(t.plain)
	primary, unique, err := tx.keys(ctx, t)
	if err != nil {
		return nil, contextError(ctx, err)
	}
	if tx.write {
		// Each row is locked, and each gap between them.
		index := ""
		if len(primary) > 0 {
			index = " FORCE INDEX (PRIMARY)"
		}
		var ignored any
		if err := tx.conn.QueryRowContext(ctx, "SELECT MAX(RAND()) FROM "+t.name+index+" FOR UPDATE").Scan(&ignored); err != nil {
			return nil, contextError(ctx, err)
		}
	}
	columns, err := tx.columns(ctx, t)
	if err != nil {
		return nil, contextError(ctx, err)
	}
	if err := t.declare(declared, columns, primary); err != nil {
		return nil, err
	}
	for _, c := range columns {
		if c.my.updates && !slices.Contains(t.columns, c) {
			t.my.keep = append(t.my.keep, c.quoted)
		}
	}
	for _, c := range t.columns {
		if err := c.settleMariaDB(); err != nil {
			return nil, fmt.Errorf("column %q: %w", c.Name, err)
		}
	}
	if !t.unique(unique) {
		return nil, t.notUnique(", not on a prefix of it")
	}
	var order []string
	for _, key := range t.keyColumns() {
		by := key.quoted
		if !key.my.exactKey() {
			by = key.my.bytes(by)
		}
		order = append(order, by)
	}
	t.order = strings.Join(order, ", ")
	return t, nil
}

// keys returns the columns of the primary key, and those of each unique index.
func (tx *mariadbTx) keys(ctx context.Context, t *table) (primary []string, unique [][]string, err error) {
	rows, err := tx.conn.QueryContext(ctx, `SELECT INDEX_NAME, COALESCE(COLUMN_NAME, ''), SUB_PART IS NOT NULL FROM information_schema.STATISTICS
		WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND NON_UNIQUE = 0 ORDER BY INDEX_NAME, SEQ_IN_INDEX`, t.my.schema, t.plain)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	columns, parts := map[string][]string{}, map[string]bool{}
	for rows.Next() {
		var index, column string
		var part bool
		if err := rows.Scan(&index, &column, &part); err != nil {
			return nil, nil, err
		}
		columns[index] = append(columns[index], column)
		parts[index] = parts[index] || part
	}
	for index, names := range columns {
		if !parts[index] {
			unique = append(unique, names)
		}
	}
	return columns["PRIMARY"], unique, rows.Err()
}

// columns returns the columns of a table, without generated ones.
func (tx *mariadbTx) columns(ctx context.Context, t *table) (columns []*column, err error) {
	// JSON is text with a constraint, which not everyone sees in CHECK_CONSTRAINTS.
	var ignored, create string
	if err := tx.conn.QueryRowContext(ctx, "SHOW CREATE TABLE "+t.name).Scan(&ignored, &create); err != nil {
		return nil, err
	}
	rows, err := tx.conn.QueryContext(ctx, `SELECT COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, COLUMN_DEFAULT, IS_NULLABLE = 'YES', COALESCE(CHARACTER_MAXIMUM_LENGTH, 0), COALESCE(CHARACTER_OCTET_LENGTH, 0),
			COALESCE(NUMERIC_PRECISION, 0), COALESCE(NUMERIC_SCALE, -1), COALESCE(DATETIME_PRECISION, 0), COALESCE(CHARACTER_SET_NAME, ''), COALESCE(COLLATION_NAME, ''), EXTRA
		FROM information_schema.COLUMNS c WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND COALESCE(GENERATION_EXPRESSION, '') = '' ORDER BY ORDINAL_POSITION`, t.my.schema, t.plain)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		c := &column{}
		my := &c.my
		var def sql.NullString
		var extra string
		var fraction int64
		if err := rows.Scan(&c.Name, &my.base, &c.declared, &def, &my.nullable, &my.chars, &my.octets, &my.precision, &my.scale, &fraction, &my.charset, &my.collation, &extra); err != nil {
			return nil, err
		}
		c.Field, c.quoted = c.Name, backtick(c.Name)
		my.base = strings.ToLower(my.base)
		typ := strings.ToLower(c.declared)
		my.unsigned, my.zerofill = strings.Contains(typ, "unsigned"), strings.Contains(typ, "zerofill")
		extra = strings.ToLower(extra)
		my.updates = strings.Contains(extra, "on update")
		if def.Valid && def.String != "NULL" || strings.Contains(extra, "auto_increment") {
			c.def = "DEFAULT"
		}
		switch {
		case my.base == "enum" || my.base == "set":
			my.labels = labelsOf(c.declared[len(my.base):])
		case my.moment() || my.base == "time":
			my.scale = fraction
		case my.base == "longtext" && strings.Contains(create, "CHECK (json_valid("+c.quoted+"))"):
			my.base = "json"
		}
		columns = append(columns, c)
	}
	return columns, rows.Err()
}
