package sqlstore

import (
	"math"
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
	insert := "INSERT INTO "
	if t.lite.resolves {
		insert = "INSERT OR ABORT INTO "
	}
	initial := func(c *column) string { return "(" + c.def + ")" }
	return insert + t.name + " (" + quotedNames(set) + ") VALUES " + valueRows(len(set), rows) +
		onConflict(t.conflictKey(), t.overwrite(set, excluded, initial))
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
