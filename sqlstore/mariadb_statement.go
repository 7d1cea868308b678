package sqlstore

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tomo-project/backup"
)

// maxArgs: the protocol counts arguments in 16 bits.
func (mariadb) maxArgs() int { return 65535 }

// match looks up keys in the index, as their columns compare them, and takes those whose
// bytes are the same. If the key has several columns, it lists alternatives: MariaDB looks
// up each of them in the index, but not always the rows of a list.
func (mariadb) match(t *table, n int) string {
	if len(t.keys) == 1 {
		c := t.columns[t.keys[0]]
		if c.my.exactKey() {
			return c.quoted + oneOf("?", n)
		}
		return c.quoted + oneOf(c.my.likeStored("?"), n) + " AND " + c.my.bytes(c.quoted) + oneOf("CAST(? AS BINARY)", n)
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
	return anyOf(append(is, exactly...), n)
}

// arguments returns the arguments of match for the values of keys. If a column is not
// exact itself, match takes the values of each key, or those of all keys, twice.
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

// inexactKey tells whether a column of the key does not compare byte by byte.
func (t *table) inexactKey() bool {
	return slices.ContainsFunc(t.keyColumns(), func(c *column) bool { return !c.my.exactKey() })
}

// mariadbOther is part of an expression that fails if the row to overwrite belongs to
// another record: it has the same value in another unique column. The error quotes it.
const mariadbOther = "18446744073709551615 + "

func (mariadb) upsert(t *table, set []*column, rows int) string {
	inserted := func(c *column) string { return "VALUES(" + c.quoted + ")" }
	var same []string
	for _, c := range t.keyColumns() {
		old, new := c.quoted, inserted(c)
		if !c.my.exactKey() {
			old, new = "CAST("+old+" AS BINARY)", "CAST("+new+" AS BINARY)"
		}
		same = append(same, old+" <=> "+new)
	}
	first := t.keyColumns()[0]
	key, value := first.quoted, first.quoted
	if first.my.base == "uuid" {
		value = "CAST(" + key + " AS CHAR)" // IF takes no UUID beside a number
	}
	update := []string{key + "=IF(" + strings.Join(same, " AND ") + "," + value + "," + mariadbOther + "(1+LENGTH(" + inserted(first) + ")))"}
	update = append(update, t.overwrite(set, inserted, defaultWord)...)
	for _, c := range t.my.keep {
		update = append(update, c+"="+c)
	}
	return "INSERT INTO " + t.name + " (" + quotedNames(set) + ") VALUES " + valueRows(len(set), rows) +
		" ON DUPLICATE KEY UPDATE " + strings.Join(update, ",")
}

// room returns how many bytes the values of a statement may have together: less than the
// server takes.
func (tx *mariadbTx) room() int { return max(tx.packet*3/4, 1) }

// tooLarge returns an error if a record does not fit into a statement.
func (tx *mariadbTx) tooLarge(size int) error {
	if size <= tx.room() {
		return nil
	}
	return fmt.Errorf("%w: the record is larger than a statement can be: raise max_allowed_packet, which is %d bytes", backup.ErrInvalid, tx.packet)
}

// initial asks a row, since MariaDB tells a default in the type of its column only there.
func (mariadb) initial(t *table, c *column) string {
	if !constant.MatchString(c.my.initial) {
		return ""
	}
	return "SELECT " + c.read + " FROM (SELECT DEFAULT(" + c.quoted + ") AS " + c.quoted + " FROM " + t.name + " LIMIT 1) AS d"
}
