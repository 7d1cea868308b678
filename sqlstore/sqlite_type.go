package sqlstore

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// affinity is the type that a column of SQLite turns values into where it can.
type affinity int

const (
	none affinity = iota
	text
	numeric // INTEGER is the same to us
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

// kind settles what a column holds.
func (sqlite) kind(c *column) error {
	if c.key {
		switch {
		case c.Kind != Auto && c.Kind != Text && c.Kind != Integer:
			return fmt.Errorf("a key cannot be %v", c.Kind)
		case c.affinity == real:
			return errors.New("a key cannot be REAL")
		case c.affinity == text && c.Kind == Integer:
			return errors.New("a key of text cannot be Integer")
		case c.OmitNull:
			return errors.New("a key cannot be left out")
		case c.Kind == Auto && strings.Contains(c.declared, "INT"):
			c.Kind = Integer
		case c.Kind == Auto && c.affinity != numeric:
			c.Kind = Text
		}
		return nil
	}
	if c.Kind == Auto {
		switch {
		case c.declared == "BOOL" || c.declared == "BOOLEAN":
			c.Kind = Bool
		case strings.Contains(c.declared, "JSON"):
			c.Kind = JSON
		case strings.Contains(c.declared, "BLOB"):
			c.Kind = Blob
		}
	}
	switch {
	case c.Kind < Auto || c.Kind > Blob:
		return fmt.Errorf("there is no %v", c.Kind)
	case c.affinity == text && (c.Kind == Integer || c.Kind == Real || c.Kind == Bool),
		c.affinity == real && (c.Kind == Bool || c.Kind == JSON):
		return fmt.Errorf("declared %s it cannot be %v", c.declared, c.Kind)
	}
	if c.Kind == JSON || c.Kind == JSONBytes {
		c.OmitNull = !c.lone
	}
	return nil
}

// tagged says that text is read with a letter before it. Some drivers make times
// of text in columns of these types, or of no type, and what was stored is lost.
func (c *column) tagged() bool {
	switch c.declared {
	case "DATE", "DATETIME", "TIMESTAMP", "":
		return true
	}
	return false
}

// read returns the expression that reads c exactly as it is stored.
func (sqlite) read(c *column) string {
	switch {
	case c.tagged():
		return "CASE typeof(" + c.quoted + ") WHEN 'text' THEN 'T'||" + c.quoted + " ELSE " + c.quoted + " END"
	case c.Kind == Bool:
		return "+" + c.quoted // without the declared type: some drivers make booleans of it
	}
	return c.quoted
}
