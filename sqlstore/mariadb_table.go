package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A mariadbTable and a mariadbColumn are what MariaDB says about a table and a column.
type (
	mariadbTable struct {
		schema string
		keep   []string // quoted columns that an update would set by itself
		next   string   // the next number of AUTO_INCREMENT when the transaction began; empty without it
	}

	mariadbColumn struct {
		mariadbType
		base       string // the name of the type: "varchar"
		unsigned   bool
		zerofill   bool
		chars      int64 // the most characters of text
		octets     int64 // the most bytes of text or binary
		precision  int64 // digits, or bits
		scale      int64 // digits behind the point, -1 for any number of them
		charset    string
		collation  string
		labels     []string // of an enum or a set
		updates    bool     // it is ON UPDATE CURRENT_TIMESTAMP
		initial    string   // its default
		sequences  []string // quoted names of the sequences in its default
		increments bool     // it is AUTO_INCREMENT
		fills      bool     // it takes NULL for a value of its own: the time, or the next number
		auto       bool     // the host has not said what it holds
	}
)

func backtick(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

func (tx *mariadbTx) find(ctx context.Context, name string) (*table, error) {
	t := &table{}
	var kind, engine string
	var next sql.NullString
	err := sql.ErrNoRows
	for _, names := range readings(name) {
		err = tx.conn.QueryRowContext(ctx, "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, COALESCE(ENGINE, ''), AUTO_INCREMENT FROM information_schema.TABLES WHERE TABLE_SCHEMA = IF(? = '', DATABASE(), ?) AND TABLE_NAME = ?",
			names[0], names[0], names[1]).Scan(&t.my.schema, &t.plain, &kind, &engine, &next)
		if !errors.Is(err, sql.ErrNoRows) {
			break
		}
	}
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, errors.New("there is no such table that the user of the connection can see")
	case err != nil:
		return nil, err
	case kind == "SYSTEM VERSIONED":
		return nil, errors.New("it is SYSTEM VERSIONED, and its history would not be in a backup")
	case kind != "BASE TABLE":
		return nil, errors.New("it is not a table")
	case !strings.EqualFold(engine, "InnoDB"):
		return nil, fmt.Errorf("its engine is %s, whose transactions cannot be relied on: ALTER TABLE … ENGINE=InnoDB", engine)
	}
	t.name, t.my.next = backtick(t.my.schema)+"."+backtick(t.plain), next.String
	if tx.write {
		return t, tx.lockRows(ctx, t)
	}
	return t, nil
}

// lockRows locks each row of a table, and each gap between them.
func (tx *mariadbTx) lockRows(ctx context.Context, t *table) error {
	primary, _, err := tx.keys(ctx, t, nil)
	if err != nil {
		return err
	}
	index := ""
	if len(primary) > 0 {
		index = " FORCE INDEX (PRIMARY)"
	}
	var ignored any
	return tx.conn.QueryRowContext(ctx, "SELECT MAX(RAND()) FROM "+t.name+index+" FOR UPDATE").Scan(&ignored)
}

func (tx *mariadbTx) keys(ctx context.Context, t *table, _ []*column) (primary []string, unique [][]string, err error) {
	columns, parts := map[string][]string{}, map[string]bool{}
	err = tx.each(ctx, `SELECT INDEX_NAME, COALESCE(COLUMN_NAME, ''), SUB_PART IS NOT NULL FROM information_schema.STATISTICS
		WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND NON_UNIQUE = 0 ORDER BY INDEX_NAME, SEQ_IN_INDEX`, []any{t.my.schema, t.plain}, func(rows *sql.Rows) error {
		var index, column string
		var part bool
		if err := rows.Scan(&index, &column, &part); err != nil {
			return err
		}
		columns[index] = append(columns[index], column)
		parts[index] = parts[index] || part
		return nil
	})
	for index, names := range columns {
		if !parts[index] {
			unique = append(unique, names)
		}
	}
	return columns["PRIMARY"], unique, err
}

func (tx *mariadbTx) columns(ctx context.Context, t *table) (columns []*column, err error) {
	// JSON is text with a constraint. Not every user sees it in CHECK_CONSTRAINTS.
	var ignored, create string
	if err := tx.conn.QueryRowContext(ctx, "SHOW CREATE TABLE "+t.name).Scan(&ignored, &create); err != nil {
		return nil, err
	}
	if err := refuseOverlaps(create); err != nil {
		return nil, err
	}
	err = tx.each(ctx, `SELECT COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, COLUMN_DEFAULT, IS_NULLABLE = 'YES', COALESCE(CHARACTER_MAXIMUM_LENGTH, 0), COALESCE(CHARACTER_OCTET_LENGTH, 0),
			COALESCE(NUMERIC_PRECISION, 0), COALESCE(NUMERIC_SCALE, DATETIME_PRECISION, -1), COALESCE(CHARACTER_SET_NAME, ''), COALESCE(COLLATION_NAME, ''), LOWER(EXTRA)
		FROM information_schema.COLUMNS c WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND COALESCE(GENERATION_EXPRESSION, '') = '' ORDER BY ORDINAL_POSITION`, []any{t.my.schema, t.plain}, func(rows *sql.Rows) error {
		c := &column{}
		my := &c.my
		var def sql.NullString
		var extra string
		if err := rows.Scan(&c.Name, &my.base, &c.declared, &def, &c.nullable, &my.chars, &my.octets, &my.precision, &my.scale, &my.charset, &my.collation, &extra); err != nil {
			return err
		}
		c.quoted = backtick(c.Name)
		my.base = strings.ToLower(my.base)
		typ := strings.ToLower(c.declared)
		my.unsigned, my.zerofill = strings.Contains(typ, "unsigned"), strings.Contains(typ, "zerofill")
		my.updates = strings.Contains(extra, "on update")
		if def.Valid && def.String != "NULL" || strings.Contains(extra, "auto_increment") {
			c.def = "DEFAULT"
		}
		my.initial, my.sequences = def.String, sequencesIn(def.String)
		my.increments = strings.Contains(extra, "auto_increment")
		my.fills = my.base == "timestamp" && !c.nullable || my.increments
		switch {
		case my.base == "enum" || my.base == "set":
			my.labels = labelsOf(c.declared[len(my.base):])
		case my.base == "longtext" && strings.Contains(create, "CHECK (json_valid("+c.quoted+"))"):
			my.base = "json"
		}
		columns = append(columns, c)
		return nil
	})
	return columns, err
}

// complete finds the columns outside of records that an update would change.
func (tx *mariadbTx) complete(_ context.Context, t *table, all []*column) error {
	for _, c := range all {
		if c.my.updates && !slices.Contains(t.columns, c) {
			t.my.keep = append(t.my.keep, c.quoted)
		}
	}
	return nil
}

// labelsOf returns the labels of ENUM or SET from a list of SQL strings in parentheses.
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

func (mariadb) orderBy(_ *table, c *column) string {
	if c.my.exactKey() {
		return c.quoted
	}
	return c.my.bytes(c.quoted)
}

func (mariadb) uniqueIndex() string { return ", not on a prefix of it" }
