package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// nextval is how the server writes a call of a sequence in the default of a column.
var nextval = regexp.MustCompile("(?i)nextval\\(((?:`(?:[^`]|``)+`\\.)?`(?:[^`]|``)+`)\\)")

// sequencesIn returns the quoted names of the sequences that a default calls.
func sequencesIn(def string) (names []string) {
	for _, call := range nextval.FindAllStringSubmatch(def, -1) {
		if !slices.Contains(names, call[1]) {
			names = append(names, call[1])
		}
	}
	return names
}

// finish sets the sequences that defaults call to continue after the values in the
// tables. A rollback does not undo that. The server never sets a sequence back.
func (tx *mariadbTx) finish(ctx context.Context) error {
	for _, t := range tx.tables {
		if !t.written {
			continue
		}
		for _, c := range t.columns {
			for _, sequence := range c.my.sequences {
				if err := tx.setSequence(ctx, t, c, sequence); err != nil {
					return fmt.Errorf("table %q: set the sequence %s: %w", t.plain, sequence, err)
				}
			}
		}
	}
	return nil
}

func (tx *mariadbTx) setSequence(ctx context.Context, t *table, c *column, sequence string) error {
	var least, most, step int64
	if err := tx.conn.QueryRowContext(ctx, "SELECT minimum_value, maximum_value, increment FROM "+sequence).Scan(&least, &most, &step); err != nil {
		return err
	}
	number, from := c.quoted, t.name
	if c.my.family == texts {
		// The number is the end of the text, if there is no digit before.
		number = "CAST(REGEXP_SUBSTR(" + c.quoted + ", '[0-9]+$') AS SIGNED)"
		from += " WHERE " + c.quoted + " REGEXP '^[^0-9]*[0-9]{1,18}$' AND "
	} else if from += " WHERE "; c.my.family != integers && c.my.family != decimals {
		return nil
	}
	last := "MAX"
	if step < 0 {
		last = "MIN"
	}
	var value sql.NullInt64
	query := fmt.Sprintf("SELECT CAST(%s(%s) AS SIGNED) FROM %s%s BETWEEN %d AND %d", last, number, from, number, least, most)
	if err := tx.conn.QueryRowContext(ctx, query).Scan(&value); err != nil || !value.Valid {
		return err
	}
	return tx.exec(ctx, "DO SETVAL("+sequence+", "+strconv.FormatInt(value.Int64, 10)+")")
}

// mariadbIntegerBits are the sizes of the types of integers.
var mariadbIntegerBits = map[string]uint{"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "bigint": 64}

// numbers goes by the rows of the table where its key is AUTO_INCREMENT. What the server
// would give next is more after a plan, which it does not take back: the plan and its
// restore would have different keys. But it leaves out what the server has given since the
// transaction began: an INSERT that waits has its number already.
func (tx *mariadbTx) numbers(ctx context.Context, t *table) (n *numbering, err error) {
	id := t.keyColumns()[0]
	bits := mariadbIntegerBits[id.my.base]
	bySequence := len(id.my.sequences) == 1 && strings.EqualFold(id.my.initial, "nextval("+id.my.sequences[0]+")")
	if bits == 0 || !id.my.increments && !bySequence {
		return nil, nil
	}
	var next, step, least, most string
	if err := tx.conn.QueryRowContext(ctx, "SELECT LEAST(@@auto_increment_offset, @@auto_increment_increment), @@auto_increment_increment").Scan(&next, &step); err != nil {
		return nil, err
	}
	smallest, largest := integersOf(bits, id.my.unsigned)
	least, most = "1", largest.String()
	if bySequence {
		// The numbers before may be in use, since the server keeps some at hand.
		err := tx.conn.QueryRowContext(ctx, "SELECT next_not_cached_value, IF(increment = 0, "+step+", increment), minimum_value, maximum_value FROM "+id.my.sequences[0]).Scan(&next, &step, &least, &most)
		if err != nil {
			return nil, err
		}
	}
	far, last := "MAX", most
	if strings.HasPrefix(step, "-") {
		far, last = "MIN", least
	}
	if n, err = newNumbering(next, step, last); err != nil {
		return nil, err
	}
	n.shorten(smallest, largest)
	var row sql.NullString
	err = tx.conn.QueryRowContext(ctx, "SELECT "+far+"("+id.quoted+") FROM "+t.name+" WHERE "+id.quoted+" BETWEEN "+least+" AND "+most).Scan(&row)
	n.pass(row.String)
	if err != nil || bySequence {
		return n, err
	}
	now, err := tx.autoIncrement(ctx, t)
	if began, _ := new(big.Int).SetString(t.my.next, 10); began != nil && now.Cmp(began) > 0 {
		n.pass(now.Sub(now, big.NewInt(1)).String())
	}
	return n, err
}

// autoIncrement returns the number that AUTO_INCREMENT of a table would give next.
func (tx *mariadbTx) autoIncrement(ctx context.Context, t *table) (*big.Int, error) {
	var next sql.NullString
	err := tx.conn.QueryRowContext(ctx, "SELECT AUTO_INCREMENT FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?", t.my.schema, t.plain).Scan(&next)
	number, ok := new(big.Int).SetString(next.String, 10)
	if !ok {
		number = new(big.Int)
	}
	return number, err
}

// reserve makes AUTO_INCREMENT go on behind a number. Otherwise an INSERT of the application
// could get it now, and wait. If it is INSERT … ON DUPLICATE KEY UPDATE, it would overwrite the
// record that a restore puts under that number meanwhile. A row that is inserted and rolled back does that.
func (tx *mariadbTx) reserve(ctx context.Context, t *table, last string) error {
	id := t.keyColumns()[0]
	number, ok := new(big.Int).SetString(last, 10)
	next, err := tx.autoIncrement(ctx, t)
	if err != nil || !ok || !id.my.increments || number.Cmp(next) < 0 {
		return err
	}
	if err := tx.exec(ctx, "SAVEPOINT numbers"); err != nil {
		return err
	}
	alive, failed := tx.attempt(ctx, func() error {
		return tx.exec(ctx, "SET STATEMENT check_constraint_checks=0 FOR INSERT IGNORE INTO "+t.name+" ("+id.quoted+") SELECT "+last)
	})
	if !alive {
		return failed
	}
	if err := tx.exec(ctx, "ROLLBACK TO SAVEPOINT numbers"); err != nil {
		return err
	}
	next, err = tx.autoIncrement(ctx, t)
	t.my.next = next.String()
	return err
}
