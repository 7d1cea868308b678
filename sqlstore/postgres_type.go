package sqlstore

import (
	"errors"
	"fmt"
	"strconv"
)

func (c pgColumn) text() bool    { return c.base == "text" || c.base == "varchar" || c.base == "bpchar" }
func (c pgColumn) integer() bool { return c.base == "int2" || c.base == "int4" || c.base == "int8" }
func (c pgColumn) number() bool  { return c.integer() || c.float() > 0 || c.base == "numeric" }
func (c pgColumn) json() bool    { return c.base == "json" || c.base == "jsonb" }
func (c pgColumn) moment() bool  { return c.base == "timestamp" || c.base == "timestamptz" }

// float returns the bits of a floating-point number, 0 for other types.
func (c pgColumn) float() int {
	switch c.base {
	case "float4":
		return 32
	case "float8":
		return 64
	}
	return 0
}

// textOf returns the expression of the text of a value. A cast shows the mask of
// every address.
func (c pgColumn) textOf(value string) string {
	if c.base == "inet" {
		return "abbrev(" + value + ")"
	}
	return "(" + value + ")::text"
}

// settle works out what a column holds and how it is read and written. It is
// number i of those of a record.
func (c *column) settle(i int) error {
	pg := &c.pg
	if c.key {
		switch {
		case c.OmitNull:
			return errors.New("a key cannot be left out")
		case pg.collated:
			return errors.New("the key has a collation to which different keys may be the same")
		case !pg.text() && !pg.integer() && pg.base != "uuid":
			return fmt.Errorf("a key cannot be %s: it is text, an integer or uuid", c.declared)
		case c.Kind != Auto && c.Kind != Text && (c.Kind != Integer || !pg.integer()):
			return fmt.Errorf("a key that is %s cannot be %v", c.declared, c.Kind)
		}
	}
	if pg.generated == "a" && !c.key {
		return errors.New("GENERATED ALWAYS AS IDENTITY it cannot be overwritten: exclude it, or make it BY DEFAULT")
	}
	kind := Text
	switch {
	case pg.base == "bool":
		kind = Bool
	case pg.integer():
		kind = Integer
	case pg.number():
		kind = Real
	case pg.json(), pg.array:
		kind = JSON
	case pg.base == "bytea":
		kind = Blob
	}
	switch {
	case c.Kind == Auto:
	case c.Kind == Text && kind != Blob, c.Kind == kind:
		pg.array = pg.array && c.Kind != Text
	case c.Kind == Integer && pg.base == "numeric", c.Kind == Real && kind == Integer, c.Kind == Bool && kind == Integer,
		c.Kind == JSON && pg.text(), c.Kind == JSONBytes && kind == Blob:
	case c.Kind == JSONBytes && (pg.text() || pg.json()):
		c.Kind = JSON // what is stored is text all the same
	default:
		return fmt.Errorf("declared %s it cannot be %v", c.declared, c.Kind)
	}
	if c.Kind == Auto {
		c.Kind = kind
	}
	if (c.Kind == JSON && !pg.array) || c.Kind == JSONBytes {
		c.OmitNull = !c.lone
	}

	x := "v.c" + strconv.Itoa(i)
	as := x + "::" + c.declared
	// checked has PostgreSQL fail where a value is not what was read of it again,
	// and only there: what is random is not worked out beforehand.
	checked := func(changed string) string {
		return "CASE WHEN " + changed + " THEN (" + literal(misfit+c.Name+"\n") + "||random())::int::text::" + c.declared + " ELSE " + as + " END"
	}
	c.read = pg.textOf(c.quoted)
	pg.write = as
	switch {
	case pg.base == "bytea":
		c.read = c.quoted
	case pg.array:
		// One that does not begin at 1 would lose that.
		c.read = "CASE WHEN left(" + c.quoted + "::text, 1) = '[' THEN '" + notFromOne + "' ELSE to_json(" + c.quoted + ")::text END"
		as = "(SELECT r.a FROM jsonb_to_record(jsonb_build_object('a', " + x + "::jsonb)) AS r(a " + c.declared + "))"
		pg.write = checked("to_jsonb(" + as + ") <> " + x + "::jsonb")
	case c.Kind == JSON && pg.text() && !pg.modified, c.Kind != Text && !pg.modified:
	case c.Kind != Text && pg.base == "numeric":
		pg.write = checked(as + " <> " + x + "::numeric")
	case pg.base == "text", pg.base == "varchar" && !pg.modified:
	default:
		pg.write = checked(pg.textOf(as) + " <> " + x)
	}
	return nil
}
