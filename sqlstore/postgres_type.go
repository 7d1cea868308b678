package sqlstore

import (
	"errors"
	"slices"
	"strconv"
)

// A postgresType says how columns of a type of PostgreSQL are read and stored.
type postgresType struct {
	typeRule
	family  family
	bits    int      // of a floating-point number
	lookup  string   // the type of an argument that a key is compared with
	format  string   // of the JSON Schema of its text
	element []string // the JSON types of an element of an array; nil: string
}

var (
	postgresInteger = postgresType{typeRule: integerRule, family: integers, lookup: "int8", element: []string{"integer"}}
	postgresNumber  = []string{"number", "string"} // "NaN" is a string
)

// postgresTypes are the types by pg_type.typname. Types that are not here are text.
var postgresTypes = map[string]postgresType{
	"bool":        {typeRule: typeRule{kinds: kinds{Bool, Text}}, element: []string{"boolean"}},
	"int2":        postgresInteger,
	"int4":        postgresInteger,
	"int8":        postgresInteger,
	"float4":      {typeRule: typeRule{kinds: kinds{Real, Text}}, family: floats, bits: 32, element: postgresNumber},
	"float8":      {typeRule: typeRule{kinds: kinds{Real, Text}}, family: floats, bits: 64, element: postgresNumber},
	"numeric":     {typeRule: typeRule{kinds: kinds{Real, Integer, Text}}, family: decimals, element: postgresNumber},
	"json":        {typeRule: documentRule, family: documents},
	"jsonb":       {typeRule: documentRule, family: documents},
	"bytea":       {typeRule: typeRule{kinds{Blob, JSONBytes, Hex}, kinds{Hex}}, family: binaries, lookup: "bytea"},
	"text":        {typeRule: textRule, family: texts, lookup: "text"},
	"varchar":     {typeRule: textRule, family: texts, lookup: "text"},
	"bpchar":      {typeRule: textRule, family: texts, lookup: "bpchar"},
	"uuid":        {typeRule: uuidRule, lookup: "uuid", format: "uuid"},
	"timestamp":   {typeRule: onlyTextRule, family: moments},
	"timestamptz": {typeRule: onlyTextRule, family: moments},
}

// postgresTypeOf returns the type of that name.
func postgresTypeOf(name string) postgresType {
	if t, ok := postgresTypes[name]; ok {
		return t
	}
	return postgresType{typeRule: onlyTextRule}
}

// postgresArray is the rule of arrays that are JSON in records.
var postgresArray = typeRule{kinds: kinds{JSON, Text}}

// notFromOne is read for an array that JSON has no form for.
const notFromOne = "array"

func (postgres) settle(c *column, i int) error {
	pg := &c.pg
	switch {
	case c.key && pg.collated:
		return errors.New("the key has a collation to which different keys may be the same")
	case !c.key && pg.generated == "a":
		return errors.New("it is GENERATED ALWAYS AS IDENTITY and cannot be overwritten: exclude it, or make it BY DEFAULT")
	}
	rule := pg.typeRule
	if pg.array {
		rule = postgresArray
	}
	if err := c.settleKind(rule, "text, an integer, bytea or uuid"); err != nil {
		return err
	}
	if c.Kind == JSONBytes && pg.family != binaries {
		c.Kind = JSON // the server stores text in either case
	}
	if pg.array = pg.array && c.Kind != Text; pg.array {
		pg.bits = postgresTypeOf(pg.element).bits
	} else {
		c.settleDocument()
	}
	c.settleExpressions("v.c" + strconv.Itoa(i))
	c.settleKeeps()
	return nil
}

// settleExpressions works out the expressions that read the column, and that make a value
// of it from an argument.
func (c *column) settleExpressions(arg string) {
	pg := &c.pg
	as := arg + "::" + c.declared
	c.read, pg.write = pg.textOf(c.quoted), as
	switch {
	case pg.family == binaries:
		c.read = c.quoted
	case pg.array:
		// JSON cannot say that an array does not begin at 1.
		c.read = "CASE WHEN left(" + c.quoted + "::text, 1) = '[' THEN '" + notFromOne + "' ELSE to_json(" + c.quoted + ")::text END"
		if pg.bits > 0 {
			break // floatArray has checked the argument, and jsonb would lose the sign of zero
		}
		as = "(SELECT r.a FROM jsonb_to_record(jsonb_build_object('a', " + arg + "::jsonb)) AS r(a " + c.declared + "))"
		pg.write = c.unchanged(as, "to_jsonb("+as+") <> "+arg+"::jsonb")
	case c.Kind != Text && !pg.modified, pg.base == "text", pg.base == "varchar" && !pg.modified:
	case c.Kind != Text && pg.family == decimals:
		pg.write = c.unchanged(as, as+" <> "+arg+"::numeric")
	default:
		pg.write = c.unchanged(as, pg.textOf(as)+" <> "+arg)
	}
}

// unchanged returns the expression of a value that fails under the condition changed.
// random keeps PostgreSQL from evaluating the failing part beforehand.
func (c *column) unchanged(value, changed string) string {
	c.pg.checked = true
	return "CASE WHEN " + changed + " THEN (" + literal(misfit+c.Name+"\n") + "||random())::int::text::" + c.declared + " ELSE " + value + " END"
}

// textOf returns the expression of the text of a value. A cast would show the mask of
// every inet address, and would lose the spaces at the end of a bpchar.
func (c *pgColumn) textOf(value string) string {
	switch {
	case c.base == "inet":
		return "abbrev(" + value + ")"
	case c.base == "bpchar" && !c.modified:
		return "textin(bpcharout(" + value + "))"
	}
	return "(" + value + ")::text"
}

// jsonType gives dates and timestamps no format: they may be infinite, before Christ, or
// after the year 9999.
func (postgres) jsonType(c *column) jsonType {
	pg := &c.pg
	j := jsonTypes[c.Kind]
	switch {
	case pg.array: // of any number of dimensions, whatever is declared
		element := postgresTypeOf(pg.element).element
		if element == nil {
			element = []string{"string"}
		}
		return jsonType{types: []string{"array"}, items: append(slices.Clone(element), "null", "array")}
	case c.Kind == Text:
		j.format, j.maxLength, j.enum = pg.format, pg.length, pg.labels
	}
	return j
}
