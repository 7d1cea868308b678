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
	format string                                    // of the JSON Schema of its text
	show   func(c *column, s string) (string, error) // makes the text for a record from what was read; nil: the same
	store  func(c *column, s string) (any, error)    // makes what is stored from the text of a record; nil: the same
}

const (
	asNumber  = "(@+0)"
	asReal    = "(@*1e0)" // the text of a float has too few digits, and + loses the sign of zero
	asText    = "CAST(@ AS CHAR)"
	asAddress = "INET6_ATON(CAST(@ AS CHAR))"
)

var (
	mariadbInteger = mariadbType{typeRule: integerRule, family: integers, store: storeInteger}
	mariadbBits    = mariadbType{typeRule: typeRule{kinds: integerRule.kinds}, family: integers, read: asNumber, store: storeInteger}
	mariadbText    = mariadbType{typeRule: textRule, family: texts, store: storeText}
	mariadbBlob    = mariadbType{typeRule: typeRule{kinds: kinds{Blob, JSONBytes, Text, Hex}}, family: binaries, store: storeBinary}
	realRule       = typeRule{kinds: kinds{Real}}
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
	"decimal":   {typeRule: realRule, family: decimals},
	"float":     {typeRule: realRule, family: floats, bits: 32, read: asReal},
	"double":    {typeRule: realRule, family: floats, bits: 64, read: asReal},

	"char":       {typeRule: textRule, family: texts, store: storeChar},
	"varchar":    mariadbText,
	"tinytext":   mariadbText,
	"text":       mariadbText,
	"mediumtext": mariadbText,
	"longtext":   mariadbText,
	"enum":       {typeRule: onlyTextRule, family: labels, show: showEnum, store: storeEnum},
	"set":        {typeRule: onlyTextRule, family: labels, store: storeSet},
	"json":       {typeRule: documentRule, family: documents},

	"binary":     {typeRule: typeRule{kinds{Blob, Text, Hex}, kinds{Hex}}, family: binaries, store: storeBinary},
	"varbinary":  {typeRule: typeRule{mariadbBlob.kinds, kinds{Text, Hex}}, family: binaries, store: storeBinary},
	"tinyblob":   mariadbBlob,
	"blob":       mariadbBlob,
	"mediumblob": mariadbBlob,
	"longblob":   mariadbBlob,

	// Dates have no format, since they may be 0000-00-00.
	"date":      {typeRule: onlyTextRule, read: asText, store: storeDate},
	"time":      {typeRule: onlyTextRule, read: asText, show: showTime, store: storeTime},
	"datetime":  {typeRule: onlyTextRule, family: moments, read: asText, show: showMoment, store: storeMoment},
	"timestamp": {typeRule: onlyTextRule, family: moments, read: asText, show: showMoment, store: storeMoment},

	"uuid":  {typeRule: uuidRule, read: asText, format: "uuid", store: storeUUID},
	"inet4": {typeRule: onlyTextRule, read: asAddress, format: "ipv4", show: showAddress, store: storeAddress},
	"inet6": {typeRule: onlyTextRule, read: asAddress, format: "ipv6", show: showAddress, store: storeAddress},
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
	my.mariadbType, my.auto = typ, c.Kind == Auto
	if c.Kind == Auto && !c.key && my.isBoolean(c.declared) {
		c.Kind = Bool
	}
	if err := c.settleKind(typ.typeRule, "text, bytes, an integer or UUID"); err != nil {
		return err
	}
	if c.Kind == JSONBytes && typ.family != binaries {
		c.Kind = JSON // the server stores text in either case
	}
	c.wraps = c.Kind == Text && typ.family == binaries
	c.textBytes = c.wraps && !c.key
	c.settleDocument()
	c.read = c.quoted
	if template := my.readTemplate(); template != "" {
		c.read = strings.ReplaceAll(template, "@", c.quoted)
	}
	return nil
}

// sentAsText tells whether the driver has the bytes of a text for the values of a column.
func (c *column) sentAsText() bool {
	return c.my.base != "" && !c.key && c.my.family != binaries && (c.Kind == Text || c.Kind == JSON)
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
	my := &c.my
	j := jsonTypes[c.Kind]
	switch {
	case c.Kind == Bool && (my.base != "bit" || my.precision != 1):
		return typed("boolean", "integer")
	case c.textBytes:
		return typed("string", "object")
	case c.Kind != Text:
	case my.base == "char", my.base == "varchar":
		j.maxLength = my.chars
	case my.base == "enum":
		j.enum = my.labels
	default:
		j.format = my.format
	}
	return j
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
