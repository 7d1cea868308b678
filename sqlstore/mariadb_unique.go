package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

func (mariadb) setAside(t *table, c *column, value string) string {
	update := "UPDATE " + t.name + " SET " + c.quoted + " = " + value
	for _, keep := range t.my.keep {
		update += ", " + keep + " = " + keep
	}
	return update
}

func (mariadb) standIns(t *table, c *column) (values []string) {
	if c.nullable {
		values = []string{"NULL"}
	}
	my := &c.my
	// UUID is another in each row, and RAND makes its bytes random.
	const random = "SHA1(CONCAT(UUID(), RAND()))"
	short := func(value string, n int64) string {
		return "LEFT(" + value + ", " + strconv.FormatInt(n, 10) + ")"
	}
	extreme := func(value string) string {
		return "(SELECT m FROM (SELECT " + value + " AS m FROM " + t.name + ") AS m)"
	}
	switch my.family {
	case integers, decimals, floats:
		if my.fills { // AUTO_INCREMENT would continue behind a large number
			for _, most := range []string{"-2000000000", "-30000", "-120"} {
				values = append(values, "FLOOR(RAND() * "+most+")")
			}
			values = append(values, extreme("MAX("+c.quoted+") + 1"))
		}
		for _, most := range []string{"2000000000", "-2000000000", "30000", "120"} {
			values = append(values, "FLOOR(RAND() * "+most+")")
		}
		return append(values, extreme("MAX("+c.quoted+") + 1"), extreme("MIN("+c.quoted+") - 1"), "0", "1")
	case labels:
		for _, label := range my.labels {
			values = append(values, mariadbLiteral(label))
		}
		return values
	case texts:
		return append(values, short(random, my.chars), short("CONCAT("+random+", "+c.quoted+")", my.chars))
	case binaries:
		return append(values, short("UNHEX("+random+")", my.octets))
	}
	// What the type does not take is refused.
	return append(values, "UUID()", "TIMESTAMP('2000-01-01') + INTERVAL FLOOR(RAND() * 1000000000) SECOND", "DATE('2000-01-01') + INTERVAL FLOOR(RAND() * 1000000) DAY",
		"SEC_TO_TIME(FLOOR(RAND() * 3000000))", "INET_NTOA(FLOOR(RAND() * 4000000000))", "CONCAT('::', INET_NTOA(FLOOR(RAND() * 4000000000)))", "JSON_QUOTE("+random+")")
}

// mariadbLiteral returns the literal of a text, whatever characters are in it.
func mariadbLiteral(s string) string {
	return "'" + strings.NewReplacer("'", "''", `\`, `\\`).Replace(s) + "'"
}

// uniqueColumns takes a column for part of an index on a generated column if its name is in
// the expression of that.
func (tx *mariadbTx) uniqueColumns(ctx context.Context, t *table) (columns []*column, err error) {
	var names []string
	err = tx.each(ctx, `SELECT s.COLUMN_NAME, COALESCE(c.GENERATION_EXPRESSION, '') FROM information_schema.STATISTICS s
			JOIN information_schema.COLUMNS c ON c.TABLE_SCHEMA = s.TABLE_SCHEMA AND c.TABLE_NAME = s.TABLE_NAME AND c.COLUMN_NAME = s.COLUMN_NAME
		WHERE s.TABLE_SCHEMA = ? AND s.TABLE_NAME = ? AND s.NON_UNIQUE = 0 ORDER BY s.INDEX_NAME, s.SEQ_IN_INDEX`, []any{t.my.schema, t.plain}, func(rows *sql.Rows) error {
		var name, expression string
		err := rows.Scan(&name, &expression)
		names = append(append(names, name), wordsIn(expression)...)
		return err
	})
	return t.named(names), err
}

func (tx *mariadbTx) checks(ctx context.Context, t *table, on bool) error {
	if on {
		return tx.exec(ctx, "SET SESSION check_constraint_checks=@sqlstore_checks")
	}
	checks := "@@check_constraint_checks"
	if without, err := tx.withoutTriggers(ctx, t, "'UPDATE'"); err != nil {
		return err
	} else if without {
		checks = "0"
	}
	return tx.exec(ctx, "SET @sqlstore_checks=@@check_constraint_checks, SESSION check_constraint_checks="+checks)
}

// replaceable: foreign keys are off.
func (tx *mariadbTx) replaceable(ctx context.Context, t *table) (replacement, error) {
	if without, err := tx.withoutTriggers(ctx, t, "'INSERT', 'DELETE'"); !without {
		return notReplaceable, err
	}
	return inTwoSteps, nil
}

// withoutTriggers tells whether a table certainly has no trigger for some events. A user
// sees triggers only with the privilege for them.
func (tx *mariadbTx) withoutTriggers(ctx context.Context, t *table, events string) (without bool, err error) {
	err = tx.conn.QueryRowContext(ctx, `SELECT EXISTS (SELECT * FROM (
				SELECT GRANTEE FROM information_schema.USER_PRIVILEGES WHERE PRIVILEGE_TYPE = 'TRIGGER' UNION ALL
				SELECT GRANTEE FROM information_schema.SCHEMA_PRIVILEGES WHERE PRIVILEGE_TYPE = 'TRIGGER' AND ? LIKE TABLE_SCHEMA UNION ALL
				SELECT GRANTEE FROM information_schema.TABLE_PRIVILEGES WHERE PRIVILEGE_TYPE = 'TRIGGER' AND TABLE_SCHEMA = ? AND TABLE_NAME = ?) AS p
			WHERE GRANTEE = CONCAT("'", REPLACE(CURRENT_USER(), '@', "'@'"), "'"))
		AND NOT EXISTS (SELECT * FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA = ? AND EVENT_OBJECT_TABLE = ? AND EVENT_MANIPULATION IN (`+events+`))`,
		t.my.schema, t.my.schema, t.plain, t.my.schema, t.plain).Scan(&without)
	return without, err
}

// clash inserts the row without its old row. Another row is then in the way for certain.
func (tx *mariadbTx) clash(ctx context.Context, c *clash) error {
	if err := tx.exec(ctx, "SAVEPOINT clash"); err != nil {
		return err
	}
	err := tx.findClash(ctx, c)
	if e := tx.exec(ctx, "ROLLBACK TO SAVEPOINT clash"); e != nil {
		return e
	}
	return err
}

func (tx *mariadbTx) findClash(ctx context.Context, c *clash) error {
	d := mariadb{}
	key, _, err := c.t.keyArgs(d, nil, c.key)
	if err != nil {
		return err
	}
	if _, err := tx.conn.ExecContext(ctx, "DELETE FROM "+c.t.name+" WHERE "+d.match(c.t, 1), d.arguments(c.t, key)...); err != nil {
		return err
	}
	insert := "INSERT INTO " + c.t.name + " (" + quotedNames(c.set) + ") VALUES " + valueRows(len(c.set), 1)
	_, err = tx.conn.ExecContext(ctx, insert, c.args...)
	if err == nil {
		return nil
	}
	index := mariadbIndex(err)
	first := c.t.keyColumns()[0].quoted
	err = tx.eachKey(ctx, d, c.t, insert+" ON DUPLICATE KEY UPDATE "+first+" = "+first+" RETURNING "+c.t.selectedKey, c.args, nil, func(key string, known bool) {
		if known {
			c.with = key
		}
	})
	switch {
	case d.clashes(err): // no row of this table is in the way
		c.ofTrigger("unique index " + index + " of another table")
		return nil
	case err == nil && index != "":
		return tx.explainClash(ctx, c, index)
	}
	return err
}

// mariadbIndex returns the name of the unique index in an error, whose last quotes it is in
// in every language.
func mariadbIndex(err error) string {
	parts := strings.Split(err.Error(), "'")
	if !(mariadb{}).clashes(err) || len(parts) < 3 {
		return ""
	}
	return parts[len(parts)-2]
}

// explainClash says what is unique in an index.
func (tx *mariadbTx) explainClash(ctx context.Context, c *clash, index string) error {
	var columns []string
	onKey := true
	err := tx.each(ctx, `SELECT COLUMN_NAME, COALESCE(CONCAT('(', SUB_PART, ')'), '') FROM information_schema.STATISTICS
		WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND INDEX_NAME = ? ORDER BY SEQ_IN_INDEX`, []any{c.t.my.schema, c.t.plain, index}, func(rows *sql.Rows) error {
		var name, part string
		err := rows.Scan(&name, &part)
		columns = append(columns, name+part)
		onKey = onKey && slices.ContainsFunc(c.t.keyColumns(), func(k *column) bool { return k.Name == name })
		return err
	})
	c.constraint = uniqueWords(index, strings.Join(columns, ", "))
	if onKey {
		c.advice = mariadbKeyAdvice
	}
	return err
}

var withoutOverlaps = regexp.MustCompile("(?m)^ +(UNIQUE KEY|PRIMARY KEY) .*` WITHOUT OVERLAPS\\)")

// refuseOverlaps refuses a table whose rows cannot be overwritten.
func refuseOverlaps(create string) error {
	if withoutOverlaps.MatchString(create) {
		return errors.New("it has a key WITHOUT OVERLAPS, and MariaDB cannot overwrite rows of such a table (ON DUPLICATE KEY UPDATE): leave it out with Store.Exclude, or drop that key")
	}
	return nil
}
