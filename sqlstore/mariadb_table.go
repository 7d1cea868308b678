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

// labelsOf returns the texts in a list like ('a','it”s').
func labelsOf(list string) (labels []string) {
	var label strings.Builder
	inside := false
	for i := 0; i < len(list); i++ {
		c := list[i]
		switch {
		case !inside:
			inside = c == '\''
		case c == '\'' && i+1 < len(list) && list[i+1] == '\'', c == '\\' && i+1 < len(list):
			i++
			if e := strings.IndexByte(`0nrtbZ`, list[i]); c == '\\' && e >= 0 {
				label.WriteByte("\x00\n\r\t\b\x1a"[e])
			} else {
				label.WriteByte(list[i])
			}
		case c == '\'':
			labels = append(labels, label.String())
			label.Reset()
			inside = false
		default:
			label.WriteByte(c)
		}
	}
	return labels
}

func (c mariadbColumn) integer() bool {
	switch c.base {
	case "tinyint", "smallint", "mediumint", "int", "bigint", "year", "bit":
		return true
	}
	return false
}

func (c mariadbColumn) text() bool {
	switch c.base {
	case "char", "varchar", "tinytext", "text", "mediumtext", "longtext":
		return true
	}
	return false
}

func (c mariadbColumn) binary() bool {
	switch c.base {
	case "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob":
		return true
	}
	return false
}

// float returns the bits of a floating-point number, 0 for other types.
func (c mariadbColumn) float() int {
	switch c.base {
	case "float":
		return 32
	case "double":
		return 64
	}
	return 0
}

func (c mariadbColumn) moment() bool { return c.base == "datetime" || c.base == "timestamp" }
func (c mariadbColumn) unicode() bool {
	return c.charset == "utf8mb4" || c.charset == "utf8mb3" || c.charset == "utf8"
}

// exactKey tells whether the column itself compares byte by byte, and in their
// order.
func (c mariadbColumn) exactKey() bool {
	return !c.text() || c.collation == "utf8mb4_nopad_bin"
}

// likeStored returns the expression of a text as the column compares it.
func (c mariadbColumn) likeStored(value string) string {
	return "CONVERT(" + value + " USING " + c.charset + ") COLLATE " + c.collation
}

// bytes returns the expression of the bytes of a text of the column in UTF-8.
func (c mariadbColumn) bytes(value string) string {
	return "CAST(CONVERT(" + value + " USING utf8mb4) AS BINARY)"
}

// settleMariaDB works out what a column holds and how it is read.
func (c *column) settleMariaDB() error {
	my := &c.my
	var kind Kind
	c.read = c.quoted
	switch {
	case my.integer():
		kind = Integer
		if my.base == "tinyint" && strings.HasPrefix(c.declared, "tinyint(1)") && !my.zerofill || my.base == "bit" && my.precision == 1 {
			kind = Bool
		}
		if my.base == "year" && strings.Contains(c.declared, "(2)") {
			return errors.New("a year of two digits is not one: make it YEAR")
		}
		if my.zerofill || my.base == "bit" || my.base == "year" {
			c.read = "(" + c.quoted + "+0)"
		}
	case my.base == "decimal":
		kind = Real
		if my.zerofill {
			c.read = "(" + c.quoted + "+0)"
		}
	case my.float() > 0:
		kind = Real
		c.read = "(" + c.quoted + "*1e0)" // a float has fewer digits as text than are needed, and + loses the sign of zero
	case my.base == "json":
		kind = JSON
	case my.binary():
		kind = Blob
	case my.text(), my.base == "enum", my.base == "set":
		kind = Text
		if !my.unicode() && my.charset != "ascii" {
			// What has no counterpart would be read as a question mark.
			utf8 := "CONVERT(" + c.quoted + " USING utf8mb4)"
			same := "CAST(CONVERT(" + utf8 + " USING " + my.charset + ") AS BINARY) <=> CAST(" + c.quoted + " AS BINARY)"
			c.read = "IF(" + same + ", CAST(" + utf8 + " AS BINARY), x'FF')"
		}
	case my.base == "date", my.base == "time", my.moment(), my.base == "uuid":
		kind = Text
		c.read = "CAST(" + c.quoted + " AS CHAR)"
	case my.base == "inet6", my.base == "inet4":
		kind = Text
		c.read = strings.ToUpper(my.base[:4]) + "6_ATON(CAST(" + c.quoted + " AS CHAR))"
	default:
		return fmt.Errorf("there is no JSON for %s: exclude it", c.declared)
	}
	if c.key {
		switch {
		case c.OmitNull:
			return errors.New("a key cannot be left out")
		case my.nullable:
			return errors.New("a key must be NOT NULL")
		case my.base == "varbinary" && (c.Kind == Auto || c.Kind == Text):
			c.Kind = Text
			return nil
		case !my.text() && (!my.integer() || my.base == "bit" || my.base == "year") && my.base != "uuid":
			return fmt.Errorf("a key cannot be %s: it is text, VARBINARY, an integer or UUID", c.declared)
		case c.Kind != Auto && c.Kind != Text && (c.Kind != Integer || !my.integer()):
			return fmt.Errorf("a key that is %s cannot be %v", c.declared, c.Kind)
		case c.Kind == Auto && my.integer():
			c.Kind = Integer
		case c.Kind == Auto:
			c.Kind = Text
		}
		return nil
	}
	switch {
	case c.Kind == Auto:
		c.Kind = kind
	case c.Kind == kind:
	case my.integer() && (c.Kind == Integer || c.Kind == Real || c.Kind == Bool || c.Kind == Text):
	case (my.base == "json" || my.binary()) && c.Kind == Text, my.text() && c.Kind == JSON, my.binary() && my.base != "binary" && c.Kind == JSONBytes:
	case (my.text() || my.base == "json") && c.Kind == JSONBytes:
		c.Kind = JSON // what is stored is text all the same
	default:
		return fmt.Errorf("declared %s it cannot be %v", c.declared, c.Kind)
	}
	if c.Kind == JSON || c.Kind == JSONBytes {
		c.OmitNull = !c.lone
	}
	return nil
}
