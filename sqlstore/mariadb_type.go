package sqlstore

import (
	"errors"
	"fmt"
	"strings"
)

// labelsOf returns the texts in a list like ('a','it”s').
func labelsOf(list string) (labels []string) {
	var label strings.Builder
	inside := false
	for i := 0; i < len(list); i++ {
		c := list[i]
		switch {
		case !inside:
			inside = c == '\''
		case c == '\'' && i+1 < len(list) && list[i+1] == '\'', c == '\\' && i+1 < len(list):
			i++
			if e := strings.IndexByte(`0nrtbZ`, list[i]); c == '\\' && e >= 0 {
				label.WriteByte("\x00\n\r\t\b\x1a"[e])
			} else {
				label.WriteByte(list[i])
			}
		case c == '\'':
			labels = append(labels, label.String())
			label.Reset()
			inside = false
		default:
			label.WriteByte(c)
		}
	}
	return labels
}

func (c mariadbColumn) integer() bool {
	switch c.base {
	case "tinyint", "smallint", "mediumint", "int", "bigint", "year", "bit":
		return true
	}
	return false
}

func (c mariadbColumn) text() bool {
	switch c.base {
	case "char", "varchar", "tinytext", "text", "mediumtext", "longtext":
		return true
	}
	return false
}

func (c mariadbColumn) binary() bool {
	switch c.base {
	case "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob":
		return true
	}
	return false
}

// float returns the bits of a floating-point number, 0 for other types.
func (c mariadbColumn) float() int {
	switch c.base {
	case "float":
		return 32
	case "double":
		return 64
	}
	return 0
}

func (c mariadbColumn) moment() bool { return c.base == "datetime" || c.base == "timestamp" }
func (c mariadbColumn) unicode() bool {
	return c.charset == "utf8mb4" || c.charset == "utf8mb3" || c.charset == "utf8"
}

// exactKey tells whether the column itself compares byte by byte, and in their
// order.
func (c mariadbColumn) exactKey() bool {
	return !c.text() || c.collation == "utf8mb4_nopad_bin"
}

// likeStored returns the expression of a text as the column compares it.
func (c mariadbColumn) likeStored(value string) string {
	return "CONVERT(" + value + " USING " + c.charset + ") COLLATE " + c.collation
}

// bytes returns the expression of the bytes of a text of the column in UTF-8.
func (c mariadbColumn) bytes(value string) string {
	return "CAST(CONVERT(" + value + " USING utf8mb4) AS BINARY)"
}

// settleMariaDB works out what a column holds and how it is read.
func (c *column) settleMariaDB() error {
	my := &c.my
	var kind Kind
	c.read = c.quoted
	switch {
	case my.integer():
		kind = Integer
		if my.base == "tinyint" && strings.HasPrefix(c.declared, "tinyint(1)") && !my.zerofill || my.base == "bit" && my.precision == 1 {
			kind = Bool
		}
		if my.base == "year" && strings.Contains(c.declared, "(2)") {
			return errors.New("a year of two digits is not one: make it YEAR")
		}
		if my.zerofill || my.base == "bit" || my.base == "year" {
			c.read = "(" + c.quoted + "+0)"
		}
	case my.base == "decimal":
		kind = Real
		if my.zerofill {
			c.read = "(" + c.quoted + "+0)"
		}
	case my.float() > 0:
		kind = Real
		c.read = "(" + c.quoted + "*1e0)" // a float has fewer digits as text than are needed, and + loses the sign of zero
	case my.base == "json":
		kind = JSON
	case my.binary():
		kind = Blob
	case my.text(), my.base == "enum", my.base == "set":
		kind = Text
		if !my.unicode() && my.charset != "ascii" {
			// What has no counterpart would be read as a question mark.
			utf8 := "CONVERT(" + c.quoted + " USING utf8mb4)"
			same := "CAST(CONVERT(" + utf8 + " USING " + my.charset + ") AS BINARY) <=> CAST(" + c.quoted + " AS BINARY)"
			c.read = "IF(" + same + ", CAST(" + utf8 + " AS BINARY), x'FF')"
		}
	case my.base == "date", my.base == "time", my.moment(), my.base == "uuid":
		kind = Text
		c.read = "CAST(" + c.quoted + " AS CHAR)"
	case my.base == "inet6", my.base == "inet4":
		kind = Text
		c.read = strings.ToUpper(my.base[:4]) + "6_ATON(CAST(" + c.quoted + " AS CHAR))"
	default:
		return fmt.Errorf("there is no JSON for %s: exclude it", c.declared)
	}
	if c.key {
		switch {
		case c.OmitNull:
			return errors.New("a key cannot be left out")
		case my.nullable:
			return errors.New("a key must be NOT NULL")
		case my.base == "varbinary" && (c.Kind == Auto || c.Kind == Text):
			c.Kind = Text
			return nil
		case !my.text() && (!my.integer() || my.base == "bit" || my.base == "year") && my.base != "uuid":
			return fmt.Errorf("a key cannot be %s: it is text, VARBINARY, an integer or UUID", c.declared)
		case c.Kind != Auto && c.Kind != Text && (c.Kind != Integer || !my.integer()):
			return fmt.Errorf("a key that is %s cannot be %v", c.declared, c.Kind)
		case c.Kind == Auto && my.integer():
			c.Kind = Integer
		case c.Kind == Auto:
			c.Kind = Text
		}
		return nil
	}
	switch {
	case c.Kind == Auto:
		c.Kind = kind
	case c.Kind == kind:
	case my.integer() && (c.Kind == Integer || c.Kind == Real || c.Kind == Bool || c.Kind == Text):
	case (my.base == "json" || my.binary()) && c.Kind == Text, my.text() && c.Kind == JSON, my.binary() && my.base != "binary" && c.Kind == JSONBytes:
	case (my.text() || my.base == "json") && c.Kind == JSONBytes:
		c.Kind = JSON // what is stored is text all the same
	default:
		return fmt.Errorf("declared %s it cannot be %v", c.declared, c.Kind)
	}
	if c.Kind == JSON || c.Kind == JSONBytes {
		c.OmitNull = !c.lone
	}
	return nil
}
