package sqlstore

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tomo-project/backup"
)

// match looks keys up in the index, as their columns compare them, and takes those
// whose bytes are the same. A list of rows is not always looked up in the index, but
// each of alternatives is.
func (mariadb) match(t *table, n int) string {
	if len(t.keys) == 1 {
		c := t.columns[t.keys[0]]
		list := func(one string) string { return " IN (" + one + strings.Repeat(","+one, n-1) + ")" }
		if c.my.exactKey() {
			return c.quoted + list("?")
		}
		return c.quoted + list(c.my.likeStored("?")) + " AND " + c.my.bytes(c.quoted) + list("CAST(? AS BINARY)")
	}
	var is, exactly []string
	for _, c := range t.keyColumns() {
		if c.my.exactKey() {
			is, exactly = append(is, c.quoted+"=?"), append(exactly, c.quoted+"=?")
		} else {
			is, exactly = append(is, c.quoted+"="+c.my.likeStored("?")), append(exactly, c.my.bytes(c.quoted)+"=CAST(? AS BINARY)")
		}
	}
	if !t.inexactKey() {
		exactly = nil
	}
	one := strings.Join(append(is, exactly...), " AND ")
	return "(" + one + strings.Repeat(" OR "+one, n-1) + ")"
}

// arguments returns those of match for the values of keys: where a column is not
// exact itself, those of each key or of all of them twice.
func (mariadb) arguments(t *table, args []any) []any {
	switch {
	case !t.inexactKey():
		return args
	case len(t.keys) == 1:
		return append(args, args...)
	}
	twice := make([]any, 0, 2*len(args))
	for key := range slices.Chunk(args, len(t.keys)) {
		twice = append(append(twice, key...), key...)
	}
	return twice
}

// inexactKey tells whether a column of the key is not exact itself.
func (t *table) inexactKey() bool {
	for _, i := range t.keys {
		if !t.columns[i].my.exactKey() {
			return true
		}
	}
	return false
}

// mariadbOther is in the expression that fails where the row to overwrite is that of
// another record: one with the same value in another unique column. It is part of
// the error.
const mariadbOther = "18446744073709551615 + "

func (mariadb) upsert(t *table, set []*column, rows int) string {
	var names, same, update []string
	for _, c := range set {
		names = append(names, c.quoted)
	}
	for _, c := range t.keyColumns() {
		old, new := c.quoted, "VALUES("+c.quoted+")"
		if !c.my.exactKey() {
			old, new = "CAST("+old+" AS BINARY)", "CAST("+new+" AS BINARY)"
		}
		same = append(same, old+" <=> "+new)
	}
	key := t.keyColumns()[0].quoted
	value := key
	if t.keyColumns()[0].my.base == "uuid" {
		value = "CAST(" + key + " AS CHAR)" // IF takes no UUID beside a number
	}
	update = append(update, key+"=IF("+strings.Join(same, " AND ")+","+value+","+mariadbOther+"(1+LENGTH(VALUES("+key+"))))")
	for _, c := range t.columns {
		switch {
		case c.key:
		case slices.Contains(set, c):
			update = append(update, c.quoted+"=VALUES("+c.quoted+")")
		default:
			update = append(update, c.quoted+"=DEFAULT")
		}
	}
	for _, c := range t.my.keep {
		update = append(update, c+"="+c)
	}
	values := "(?" + strings.Repeat(",?", len(set)-1) + ")"
	return "INSERT INTO " + t.name + " (" + strings.Join(names, ",") + ") VALUES " + values + strings.Repeat(","+values, rows-1) +
		" ON DUPLICATE KEY UPDATE " + strings.Join(update, ",")
}

// room tells how many bytes the values of a statement may have in all: less than
// the server takes.
func (tx *mariadbTx) room() int { return max(tx.packet*3/4, 1) }

// tooLarge is the error of a record that no statement can hold.
func (tx *mariadbTx) tooLarge(size int) error {
	if size <= tx.room() {
		return nil
	}
	return fmt.Errorf("%w: the record is larger than a statement can be: raise max_allowed_packet, which is %d bytes", backup.ErrInvalid, tx.packet)
}
