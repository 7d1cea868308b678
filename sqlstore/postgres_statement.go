package sqlstore

import (
	"slices"
	"strconv"
	"strings"
)

// maxArgs: the protocol counts arguments in 16 bits.
func (postgres) maxArgs() int { return 65535 }

func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// match joins arrays if the key has several columns: PostgreSQL looks up each row of them
// in the index. It may compare a plain list of rows with every row of the table.
func (postgres) match(t *table, n int) string {
	var lists []string
	for part, c := range t.keyColumns() {
		args := make([]string, n)
		for i := range args {
			args[i] = "$" + strconv.Itoa(1+part+i*len(t.keys)) + "::" + c.pg.lookup
		}
		lists = append(lists, strings.Join(args, ","))
	}
	if len(lists) == 1 {
		return t.keyNames("") + " IN (" + lists[0] + ")"
	}
	return "(" + t.keyNames("") + ") IN (SELECT * FROM unnest(ARRAY[" + strings.Join(lists, "],ARRAY[") + "]))"
}

// values returns a FROM item v with rows of arguments. Column i of the table is v.ci.
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
			if c.pg.family == binaries {
				b.WriteString("::bytea")
			} else {
				b.WriteString("::text")
			}
		}
		b.WriteString(")")
	}
	var names []string
	for _, c := range set {
		names = append(names, "c"+strconv.Itoa(slices.Index(t.columns, c)))
	}
	return b.String() + ") AS v(" + strings.Join(names, ",") + ")"
}

func (d postgres) upsert(t *table, set []*column, rows int) string {
	var written, key []string
	for _, c := range set {
		written = append(written, c.pg.write)
	}
	// The collation names the index, since there may be another on the same columns.
	for _, c := range t.keyColumns() {
		name := c.quoted
		if c.pg.collation != "" {
			name += " COLLATE " + c.pg.collation
		}
		key = append(key, name)
	}
	return "INSERT INTO " + t.name + " (" + quotedNames(set) + ") OVERRIDING SYSTEM VALUE SELECT " + strings.Join(written, ",") +
		" FROM " + d.values(t, set, rows) + onConflict(strings.Join(key, ","), t.overwrite(set, excluded, defaultWord))
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

func (postgres) initial(_ *table, c *column) string {
	if !constant.MatchString(c.def) {
		return ""
	}
	return "SELECT " + c.read + " FROM (SELECT (" + c.def + ")::" + c.declared + " AS " + c.quoted + ") AS d"
}
