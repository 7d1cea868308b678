package sqlstore

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// maxArgs is SQLITE_MAX_VARIABLE_NUMBER from 3.32 on.
func (sqlite) maxArgs() int { return 32766 }

// match lists alternatives: SQLite looks up each of them in an index, but not the rows of
// a list.
func (sqlite) match(t *table, n int) string {
	if len(t.keys) == 1 {
		return t.keyNames("") + oneOf("?", n)
	}
	var is []string
	for _, c := range t.keyColumns() {
		is = append(is, c.quoted+"=?")
	}
	return anyOf(is, n)
}

func (sqlite) upsert(t *table, set []*column, rows int) string {
	return t.lite.or("INSERT") + " INTO " + t.name + " (" + quotedNames(set) + ") VALUES " + valueRows(len(set), rows) +
		onConflict(t.conflictKey(), t.overwrite(set, excluded, sqliteInitial))
}

func sqliteInitial(c *column) string { return "(" + c.def + ")" }

// or returns the word of a statement, with what makes it ignore the ON CONFLICT clauses of
// the table. Without such clauses it leaves that out: it would overrule the statements of
// triggers, too.
func (t sqliteTable) or(word string) string {
	if t.resolves {
		return word + " OR ABORT"
	}
	return word
}

// triggers tells whether the table has triggers.
func (t sqliteTable) triggers() bool { return t.onUpdate || t.onOther }

// updateOrInsert returns two statements that together do what upsert does for a row. The
// second is only for a row that the first has not changed. The first is empty if all
// columns are in the key.
//
// ON CONFLICT would overrule the OR REPLACE and OR IGNORE of statements in triggers.
func (t *table) updateOrInsert(set []*column) (update, insert string) {
	number := func(c *column) string { return "?" + strconv.Itoa(slices.Index(set, c)+1) }
	var is, values []string
	for _, c := range t.keyColumns() {
		is = append(is, c.quoted+"="+number(c))
	}
	for _, c := range set {
		values = append(values, number(c))
	}
	where := " WHERE " + strings.Join(is, " AND ")
	if changes := t.overwrite(set, number, sqliteInitial); len(changes) > 0 {
		update = t.lite.or("UPDATE") + " " + t.name + " SET " + strings.Join(changes, ",") + where
	}
	return update, t.lite.or("INSERT") + " INTO " + t.name + " (" + quotedNames(set) + ") SELECT " + strings.Join(values, ",") +
		" WHERE NOT EXISTS (SELECT 1 FROM " + t.name + where + ")"
}

// conflictKey names the index on the key that compares byte by byte. Another index on the
// same columns may have a collation. A rowid has no collation.
func (t *table) conflictKey() string {
	var names []string
	for _, c := range t.keyColumns() {
		name := c.quoted
		if c.Kind != Integer {
			name += " COLLATE BINARY"
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

// initial leaves out a default that the column would convert to another type.
func (sqlite) initial(_ *table, c *column) string {
	def, affinity := strings.ToUpper(c.def), c.lite.affinity
	if !constant.MatchString(def) {
		return ""
	}
	switch {
	case def[0] == '\'':
		def = c.def
		if affinity >= numeric && looksNumeric(strings.ReplaceAll(def[1:len(def)-1], "''", "'")) {
			return ""
		}
	case affinity == text:
		return ""
	case def == "TRUE" || def == "FALSE":
		def = strconv.FormatInt(zeroOrOne(def == "TRUE"), 10)
	}
	switch {
	case def[0] == '\'':
	case affinity == real:
		def += " * 1.0"
	case affinity == numeric && hasPoint(def):
		if v, err := strconv.ParseFloat(def, 64); err != nil || v == math.Trunc(v) {
			return "" // it may become an integer
		}
	}
	return "SELECT " + c.read + " FROM (SELECT " + def + " AS " + c.quoted + ")"
}
