package sqlstore

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/sqljson"
)

func (postgres) append(dst []byte, c *column, v any) ([]byte, error) {
	if text, ok := v.(*wireText); ok {
		if dst, done, err := appendWireText(dst, c, *text); done {
			return dst, err
		}
	}
	s, err := textOf(v)
	switch {
	case err != nil:
		return dst, err
	case c.pg.array && s == notFromOne:
		return dst, errors.New("the array does not begin at 1, which JSON cannot say: take the column for Text in Table.Columns")
	case c.pg.array && c.pg.bits > 0:
		return appendFloats(dst, s, c.pg.bits), nil
	case c.Kind == JSON:
		return sqljson.AppendCompact(dst, []byte(s))
	case c.Kind == Text:
		if c.pg.family == moments {
			s = momentOf(s)
		}
		return sqljson.AppendString(dst, s)
	case c.Kind == Bool && c.pg.family == integers:
		if s != "0" && s != "1" {
			return dst, holds("an integer", c)
		}
		return strconv.AppendBool(dst, s == "1"), nil
	case s == "NaN" || strings.HasSuffix(s, "Infinity"):
		return dst, errors.New("the column holds a number that JSON does not have (infinite, or not a number): take it for Text in Table.Columns")
	case c.Kind == Integer && strings.Contains(s, "."):
		return dst, holds("a fraction", c)
	case c.pg.bits > 0:
		v, err := strconv.ParseFloat(s, c.pg.bits)
		if err != nil {
			return dst, errors.New("the server does not return a number")
		}
		return appendReal(dst, v, c.pg.bits, false), nil
	}
	return append(dst, s...), nil
}

// momentOf writes a timestamp as RFC 3339 does, and sqlMoment as PostgreSQL does.
func momentOf(s string) string {
	s = strings.Replace(s, " ", "T", 1)
	if t, ok := strings.CutSuffix(s, "+00"); ok {
		s = t + "Z"
	}
	return strings.Replace(s, "+00 BC", "Z BC", 1)
}

func sqlMoment(s string) string {
	s = strings.Replace(s, "T", " ", 1)
	if t, ok := strings.CutSuffix(s, "Z"); ok {
		s = t + "+00"
	}
	return strings.Replace(s, "Z BC", "+00 BC", 1)
}

func (postgres) fills(*column) bool                         { return false }
func (postgres) bindNull(*column) (any, error)              { return nil, nil }
func (postgres) bindBytes(_ *column, b []byte) (any, error) { return b, nil }

func (postgres) bindBool(c *column, v bool) any {
	if c.pg.family == integers {
		return strconv.FormatInt(zeroOrOne(v), 10)
	}
	return strconv.FormatBool(v)
}

func (d postgres) bindNumber(c *column, json string) (any, error) {
	switch {
	case c.Kind == Bool:
		return nil, cannot("a number", c)
	case c.Kind == Integer && hasPoint(json):
		return nil, cannot("a number that is no integer", c)
	case d.realBits(c, json) > 0:
		if _, err := parseReal(json, c.pg.bits); err != nil {
			return nil, err
		}
	}
	return json, nil
}

func (postgres) bindText(c *column, s string) (any, error) {
	switch {
	case c.Kind != Text:
		return nil, cannot("text", c)
	case strings.Contains(s, "\x00"):
		return nil, fmt.Errorf("%w: text of PostgreSQL cannot have the character U+0000", backup.ErrInvalid)
	case c.pg.family == moments:
		moment := sqlMoment(s)
		if momentOf(moment) != s {
			return nil, errChanged
		}
		return moment, nil
	}
	return s, nil
}

func (postgres) bindJSON(c *column, json string) (any, error) {
	switch {
	case !c.pg.array:
	case json[0] != '[':
		return nil, cannot("no array", c)
	case c.pg.bits > 0:
		return floatArray(c, json)
	}
	return json, nil
}

func (postgres) realBits(c *column, _ string) int {
	if c.Kind == Real || c.pg.array {
		return c.pg.bits
	}
	return 0
}

func (postgres) keyText(c *column, v any) (string, error) {
	s, err := textOf(v)
	if c.Kind == Hex {
		s = hexText([]byte(s))
	}
	if err == nil && c.pg.base == "bpchar" && strings.HasSuffix(s, " ") {
		err = errors.New("the key has spaces at its end, which keys of the type bpchar ignore: make the column text")
	}
	return s, err
}

func (postgres) keyArg(c *column, key string) (any, bool) {
	switch {
	case c.Kind == Hex:
		b, ok := parseHex(key)
		return b, ok
	case c.pg.family == integers:
		_, ok := isInteger(key)
		return key, ok
	case c.pg.base == "uuid":
		return key, isUUID(key)
	case c.pg.base == "bpchar" && strings.HasSuffix(key, " "):
		return nil, false
	}
	return key, utf8.ValidString(key) && !strings.Contains(key, "\x00")
}
