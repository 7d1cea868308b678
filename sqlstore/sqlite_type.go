package sqlstore

import (
	"slices"
	"strings"
)

// A sqliteTable and a sqliteColumn are what SQLite says about a table and a column.
type (
	sqliteTable struct {
		strict   bool
		resolves bool // a constraint may have an ON CONFLICT clause, which could drop rows silently
		onUpdate bool // a trigger may run at an UPDATE
		onOther  bool // a trigger may run at an INSERT or DELETE
	}

	sqliteColumn struct {
		affinity affinity
		strict   bool
		pk       int    // its place in the primary key from 1, or 0
		rowid    bool   // it is the rowid of the table
		held     stored // what look has found
	}
)

// An affinity is the type to which a column of SQLite converts values if it can.
type affinity int

const (
	none affinity = iota
	text
	numeric // INTEGER too
	real
)

// affinityOf follows section 3.1 of https://sqlite.org/datatype3.html.
func affinityOf(declared string, strict bool) affinity {
	has := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(declared, p) })
	}
	switch {
	case strict && declared == "ANY":
		return none
	case has("INT"):
		return numeric
	case has("CHAR", "CLOB", "TEXT"):
		return text
	case declared == "" || has("BLOB"):
		return none
	case has("REAL", "FLOA", "DOUB"):
		return real
	default:
		return numeric
	}
}

// sqliteTypes are the rules of the affinities. Auto stays Auto if a column can hold values
// of several types.
var sqliteTypes = map[affinity]typeRule{
	none:    {kinds: kinds{Auto, Text, Integer, Real, Bool, JSON, JSONBytes, Blob, Hex}, key: kinds{Text, Integer, Hex}},
	text:    {kinds: kinds{Auto, Text, JSON, JSONBytes, Blob, Hex}, key: kinds{Text, Hex}},
	numeric: {kinds: kinds{Auto, Text, Integer, Real, Bool, JSON, JSONBytes, Blob, Hex}, key: kinds{Auto, Text, Integer, Hex}},
	real:    {kinds: kinds{Auto, Text, Integer, Real, JSONBytes, Blob}},
}

// namedKind returns the kind that the declared type names, or Auto.
func (c *column) namedKind() Kind {
	has := func(part string) bool { return strings.Contains(c.declared, part) }
	switch {
	case c.key && c.lite.strict && c.declared == "BLOB":
		return Hex
	case c.key && has("INT"):
		return Integer
	case c.key:
		return Auto
	case c.declared == "BOOL" || c.declared == "BOOLEAN":
		return Bool
	case has("JSON"):
		return JSON
	case has("BLOB"):
		return Blob
	}
	return Auto
}

func (sqlite) settle(c *column, _ int) error {
	// The host has said nothing, so the column may hold whatever SQLite lets it.
	c.wraps = c.Kind == Auto && (!c.lite.strict || c.lite.affinity == none && c.declared != "BLOB")
	if c.Kind == Auto {
		c.Kind = c.namedKind()
	}
	if err := c.settleKind(sqliteTypes[c.lite.affinity], "text, an integer or a blob"); err != nil {
		return err
	}
	if !c.key {
		c.settleDocument()
	}
	c.wraps = c.wraps || c.Kind == Hex && !c.lite.strict // text is there too
	c.read = c.quoted
	if c.tagged() { // the expression also hides the declared type, which makes booleans of numbers
		c.read = "CASE typeof(" + c.quoted + ") WHEN 'text' THEN 'T'||" + c.quoted + " ELSE " + c.quoted + " END"
	}
	return nil
}

// tagged tells whether text is read with a letter before it. Drivers turn text into times,
// and the stored text is lost: some by the declared type, and some in any column that is
// not declared TEXT.
func (c *column) tagged() bool { return c.declared != "TEXT" }

// jsonType allows several types for most columns: if the table is not STRICT, they can
// hold values of any type.
func (sqlite) jsonType(c *column) jsonType {
	if j, ok := jsonTypes[c.Kind]; ok && c.Kind != Bool {
		if c.Kind == Blob && c.wraps {
			j.types = append(slices.Clone(j.types), "number", "object")
		}
		return j
	}
	affinity, strict := c.lite.affinity, c.lite.strict
	var types []string
	if c.Kind == Bool {
		types = append(types, "boolean")
	}
	switch {
	case affinity == text:
		types = append(types, "string")
	case c.key, strict && affinity == numeric:
		types = append(types, "integer")
	default:
		types = append(types, "number")
	}
	if affinity != text && !(strict && affinity != none) {
		types = append(types, "string")
	}
	if c.wraps && !c.key {
		types = append(types, "object")
	}
	return typed(types...)
}
