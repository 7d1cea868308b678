package sqlstore

import (
	"errors"
	"fmt"
	"strings"
)

// A mariadbType says how columns of a type of MariaDB are read and stored.
type mariadbType struct {
	typeRule
	family family
	bits   int                                       // of a floating-point number
	read   string                                    // the expression that reads the column @; empty for the column itself
	show   func(c *column, s string) (string, error) // makes the text for a record from what was read; nil: the same
	store  func(c *column, s string) (any, error)    // makes what is stored from the text of a record; nil: the same
	json   func(c *column) jsonType                  // the schema of a column of text; nil: any text
}

var (
	mariadbInteger = mariadbType{typeRule: typeRule{kinds{Integer, Real, Bool, Text}, kinds{Integer, Text}}, family: integers, store: storeInteger}
	mariadbBits    = mariadbType{typeRule: typeRule{kinds: kinds{Integer, Real, Bool, Text}}, family: integers, read: asNumber, store: storeInteger}
	mariadbText    = mariadbType{typeRule: typeRule{kinds{Text, JSON, JSONBytes}, kinds{Text}}, family: texts, store: storeText}
	mariadbBlob    = mariadbType{typeRule: typeRule{kinds: kinds{Blob, JSONBytes, Text}}, family: binaries, store: storeBinary}
)

const (
	asNumber = "(@+0)"
	asText   = "CAST(@ AS CHAR)"
)

// mariadbTypes are the types that have a JSON form, by their DATA_TYPE.
var mariadbTypes = map[string]mariadbType{
	"tinyint":   mariadbInteger,
	"smallint":  mariadbInteger,
	"mediumint": mariadbInteger,
	"int":       mariadbInteger,
	"bigint":    mariadbInteger,
	"bit":       mariadbBits,
	"year":      mariadbBits,
	"decimal":   {typeRule: typeRule{kinds: kinds{Real}}, family: decimals},
	// The text of a float has fewer digits than are needed, and + loses the sign of zero.
	"float":  {typeRule: typeRule{kinds: kinds{Real}}, family: floats, bits: 32, read: "(@*1e0)"},
	"double": {typeRule: typeRule{kinds: kinds{Real}}, family: floats, bits: 64, read: "(@*1e0)"},

	"char":       {typeRule: mariadbText.typeRule, family: texts, store: storeChar, json: limited},
	"varchar":    {typeRule: mariadbText.typeRule, family: texts, store: storeText, json: limited},
	"tinytext":   mariadbText,
	"text":       mariadbText,
	"mediumtext": mariadbText,
	"longtext":   mariadbText,
	"enum":       {typeRule: typeRule{kinds: kinds{Text}}, family: labels, show: showEnum, store: storeEnum, json: oneLabel},
	"set":        {typeRule: typeRule{kinds: kinds{Text}}, family: labels, store: storeSet},
	"json":       {typeRule: typeRule{kinds: kinds{JSON, JSONBytes, Text}}, family: documents},

	"binary":     {typeRule: typeRule{kinds: kinds{Blob, Text}}, family: binaries, store: storeBinary},
	"varbinary":  {typeRule: typeRule{kinds{Blob, JSONBytes, Text}, kinds{Text}}, family: binaries, store: storeBinary},
	"tinyblob":   mariadbBlob,
	"blob":       mariadbBlob,
	"mediumblob": mariadbBlob,
	"longblob":   mariadbBlob,

	// Dates have no format, since they may be 0000-00-00.
	"date":      {typeRule: typeRule{kinds: kinds{Text}}, read: asText, store: storeDate},
	"time":      {typeRule: typeRule{kinds: kinds{Text}}, read: asText, show: showTime, store: storeTime},
	"datetime":  {typeRule: typeRule{kinds: kinds{Text}}, family: moments, read: asText, show: showMoment, store: storeMoment},
	"timestamp": {typeRule: typeRule{kinds: kinds{Text}}, family: moments, read: asText, show: showMoment, store: storeMoment},

	"uuid":  {typeRule: typeRule{kinds{Text}, kinds{Text}}, read: asText, store: storeUUID, json: formatted("uuid")},
	"inet4": {typeRule: typeRule{kinds: kinds{Text}}, read: "INET6_ATON(" + asText + ")", show: showAddress, store: storeAddress, json: formatted("ipv4")},
	"inet6": {typeRule: typeRule{kinds: kinds{Text}}, read: "INET6_ATON(" + asText + ")", show: showAddress, store: storeAddress, json: formatted("ipv6")},
}

func limited(c *column) jsonType  { return jsonType{types: []string{"string"}, maxLength: c.my.chars} }
func oneLabel(c *column) jsonType { return jsonType{types: []string{"string"}, enum: c.my.labels} }

func formatted(as string) func(*column) jsonType {
	return func(*column) jsonType { return jsonType{types: []string{"string"}, format: as} }
}

func (mariadb) settle(c *column, _ int) error {
	my := &c.my
	typ, ok := mariadbTypes[my.base]
	switch {
	case !ok:
		return fmt.Errorf("there is no JSON for %s: exclude it", c.declared)
	case my.base == "year" && strings.Contains(c.declared, "(2)"):
		return errors.New("two digits do not tell the year: make it YEAR")
	case c.key && c.nullable:
		return errors.New("a key must be NOT NULL")
	}
	my.mariadbType = typ
	if c.Kind == Auto && !c.key && my.isBoolean(c.declared) {
		c.Kind = Bool
	}
	if err := c.settleKind(typ.typeRule, "text, VARBINARY, an integer or UUID"); err != nil {
		return err
	}
	if c.Kind == JSONBytes && typ.family != binaries {
		c.Kind = JSON // the server stores text in either case
	}
	c.settleDocument()
	c.read = c.quoted
	if template := my.readTemplate(); template != "" {
		c.read = strings.ReplaceAll(template, "@", c.quoted)
	}
	return nil
}

// isBoolean tells whether the column is declared BOOLEAN, or is one bit.
func (c *mariadbColumn) isBoolean(declared string) bool {
	return c.base == "tinyint" && strings.HasPrefix(declared, "tinyint(1)") && !c.zerofill || c.base == "bit" && c.precision == 1
}

func (c *mariadbColumn) readTemplate() string {
	switch {
	case c.zerofill && c.bits == 0:
		return asNumber
	case (c.family == texts || c.family == labels) && !c.unicode() && c.charset != "ascii":
		// A character that Unicode lacks would be read as a question mark.
		const utf8 = "CONVERT(@ USING utf8mb4)"
		same := "CAST(CONVERT(" + utf8 + " USING " + c.charset + ") AS BINARY) <=> CAST(@ AS BINARY)"
		return "IF(" + same + ", CAST(" + utf8 + " AS BINARY), x'FF')"
	}
	return c.mariadbType.read
}

func (c *mariadbColumn) unicode() bool {
	return c.charset == "utf8mb4" || c.charset == "utf8mb3" || c.charset == "utf8"
}

func (mariadb) jsonType(c *column) jsonType {
	switch {
	case c.Kind == Bool && c.my.base == "bit" && c.my.precision == 1:
		return typed("boolean")
	case c.Kind == Bool:
		return typed("boolean", "integer")
	case c.Kind == Text && c.my.json != nil:
		return c.my.json(c)
	}
	return jsonTypes[c.Kind]
}

// exactKey tells whether the column compares and sorts byte by byte.
func (c *mariadbColumn) exactKey() bool {
	return c.family != texts || c.collation == "utf8mb4_nopad_bin"
}

// likeStored returns the expression of a text that is compared as the column compares.
func (c *mariadbColumn) likeStored(value string) string {
	return "CONVERT(" + value + " USING " + c.charset + ") COLLATE " + c.collation
}

// bytes returns the expression of the bytes that a text of the column has in UTF-8.
func (c *mariadbColumn) bytes(value string) string {
	return "CAST(CONVERT(" + value + " USING utf8mb4) AS BINARY)"
}
