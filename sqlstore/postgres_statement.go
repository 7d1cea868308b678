package sqlstore

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// match: a list of rows is looked up by the first column alone where that is the
// same in all of them, and may be held against every row of the table. Joined with
// arrays, each is looked up in the index.
func (postgres) match(t *table, n int) string {
	var b strings.Builder
	list := func(c *column, first int) {
		for i := range n {
			if i > 0 {
				b.WriteString(",")
			}
			fmt.Fprintf(&b, "$%d::%s", first+i*len(t.keys), c.pg.keyType())
		}
	}
	if len(t.keys) == 1 {
		c := t.columns[t.keys[0]]
		b.WriteString(c.quoted + " IN (")
		list(c, 1)
		return b.String() + ")"
	}
	b.WriteString("(" + t.keyNames("") + ") IN (SELECT * FROM unnest(")
	for part, c := range t.keyColumns() {
		if part > 0 {
			b.WriteString(",")
		}
		b.WriteString("ARRAY[")
		list(c, part+1)
		b.WriteString("]")
	}
	return b.String() + "))"
}

// keyType is the type that a key is looked up as.
func (c pgColumn) keyType() string {
	switch {
	case c.integer():
		return "int8"
	case c.base == "varchar":
		return "text"
	}
	return c.base
}

// values returns a FROM item v with rows of arguments, whose columns are named
// for their places in the table.
func (postgres) values(t *table, set []*column, rows int) string {
	var b strings.Builder
	b.WriteString("(VALUES ")
	n := 0
	for row := range rows {
		for i, c := range set {
			n++
			switch {
			case i > 0:
				b.WriteString(",")
			case row > 0:
				b.WriteString(",(")
			default:
				b.WriteString("(")
			}
			b.WriteString("$" + strconv.Itoa(n))
			if c.pg.base == "bytea" {
				b.WriteString("::bytea")
			} else {
				b.WriteString("::text")
			}
		}
		b.WriteString(")")
	}
	b.WriteString(") AS v(")
	for i, c := range set {
		if i > 0 {
			b.WriteString(",")
		}
		b.WriteString("c" + strconv.Itoa(slices.Index(t.columns, c)))
	}
	return b.String() + ")"
}

func (d postgres) upsert(t *table, set []*column, rows int) string {
	var names, exprs, update []string
	for _, c := range set {
		names = append(names, c.quoted)
		exprs = append(exprs, c.pg.write)
	}
	for _, c := range t.columns {
		switch {
		case c.key:
		case slices.Contains(set, c):
			update = append(update, c.quoted+"=excluded."+c.quoted)
		default:
			update = append(update, c.quoted+"=DEFAULT")
		}
	}
	// Another index of the same columns does not count.
	var key []string
	for _, c := range t.keyColumns() {
		name := c.quoted
		if c.pg.collation != "" {
			name += " COLLATE " + c.pg.collation
		}
		key = append(key, name)
	}
	do := "NOTHING"
	if len(update) > 0 {
		do = "UPDATE SET " + strings.Join(update, ",")
	}
	return "INSERT INTO " + t.name + " (" + strings.Join(names, ",") + ") OVERRIDING SYSTEM VALUE SELECT " + strings.Join(exprs, ",") +
		" FROM " + d.values(t, set, rows) + " ON CONFLICT (" + strings.Join(key, ",") + ") DO " + do
}

func (d postgres) update(t *table, set []*column, rows int) string {
	var update, same []string
	for _, c := range set {
		update = append(update, c.quoted+"="+c.pg.write)
	}
	for _, c := range t.keyColumns() {
		same = append(same, t.name+"."+c.quoted+" = "+c.pg.write)
	}
	return "UPDATE " + t.name + " SET " + strings.Join(update, ",") + " FROM " + d.values(t, append(t.keyColumns(), set...), rows) +
		" WHERE " + strings.Join(same, " AND ")
}

func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
