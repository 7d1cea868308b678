package sqlstore

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/sqljson"
)

func (d sqlite) append(dst []byte, c *column, v any) ([]byte, error) {
	switch v := v.(type) {
	case int64:
		return d.appendInteger(dst, c, v)
	case float64:
		return appendStoredReal(dst, c, v)
	case string:
		if c.tagged() {
			v = v[1:]
		}
		return appendStoredText(dst, c, v)
	case []byte:
		switch {
		case c.wraps && c.Kind == JSON:
			return appendDocumentBytes(dst, v), nil
		case c.wraps:
			return appendWrappedBase64(dst, v), nil
		}
		return dst, holds("a blob", c)
	}
	return dst, fmt.Errorf("the driver returns the stored value as a %T: open the database for the store without such conversions", v)
}

// textual is the text of a value.
type textual interface{ ~string | ~[]byte }

func appendStoredText[T textual](dst []byte, c *column, v T) ([]byte, error) {
	switch {
	case c.wraps && c.Kind == Blob:
		return appendWrappedText(dst, v)
	case c.wraps && c.Kind == JSON:
		return appendDocument(dst, v)
	case c.wraps && c.Kind == Hex:
		if _, hex := parseHex(string(v)); hex {
			return dst, errLikeBytes
		}
		return sqljson.AppendString(dst, v)
	}
	switch c.Kind {
	case Integer, Real, JSONBytes, Blob, Hex:
		return dst, holds("text", c)
	case JSON:
		return sqljson.AppendCompact(dst, []byte(v))
	}
	return sqljson.AppendString(dst, v)
}

func appendStoredReal(dst []byte, c *column, v float64) ([]byte, error) {
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return dst, errors.New("the column holds a number that JSON does not have (infinite, or not a number)")
	case c.Kind == JSON && c.lite.affinity != numeric, c.Kind == Text, c.Kind == Integer, c.Kind == JSONBytes, c.Kind == Hex, c.Kind == Blob && !c.wraps:
		return dst, holds("a real", c)
	}
	return appendReal(dst, v, 64, c.lite.affinity != real), nil
}

func (sqlite) appendInteger(dst []byte, c *column, v int64) ([]byte, error) {
	switch c.Kind {
	case Bool:
		if v == 0 || v == 1 {
			return strconv.AppendBool(dst, v == 1), nil
		}
	case JSON:
		if c.lite.affinity != numeric {
			return dst, holds("an integer", c)
		}
	case Text, JSONBytes, Blob, Hex:
		if c.Kind != Blob || !c.wraps {
			return dst, holds("an integer", c)
		}
	}
	return strconv.AppendInt(dst, v, 10), nil
}

// fills: a column that is the rowid takes NULL for the next number.
func (sqlite) fills(c *column) bool { return c.lite.rowid }

func (d sqlite) bindNull(c *column) (any, error) {
	if d.fills(c) {
		return nil, cannot("null", c)
	}
	return nil, nil
}

func (sqlite) bindBytes(_ *column, b []byte) (any, error) { return b, nil }

func (sqlite) bindBool(_ *column, v bool) any { return zeroOrOne(v) }

func (d sqlite) bindNumber(c *column, json string) (any, error) {
	switch {
	case c.lite.affinity == text:
		return nil, cannot("a number", c)
	case d.realBits(c, json) > 0:
		v, err := parseReal(json, 64)
		if err != nil {
			return nil, err
		}
		return v, nil
	}
	v, err := strconv.ParseInt(json, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%w: the column cannot hold this number: it is no integer of 64 bits", backup.ErrInvalid)
	}
	return v, nil
}

// realBits says that a number is a real in a REAL column. In others, a point or an exponent
// tells a real from an integer.
func (sqlite) realBits(c *column, json string) int {
	document := c.Kind == JSON && c.lite.affinity != numeric || c.Kind == JSONBytes
	if isNumber(json) && !document && c.lite.affinity != text && (c.lite.affinity == real || c.Kind != Integer && hasPoint(json)) {
		return 64
	}
	return 0
}

func (sqlite) bindText(c *column, s string) (any, error) {
	if c.lite.affinity >= numeric && looksNumeric(s) {
		return nil, errChanged
	}
	return s, nil
}

// bindJSON stores a number as such in a numeric column, which would convert its text.
func (d sqlite) bindJSON(c *column, json string) (any, error) {
	if c.lite.affinity == numeric && isNumber(json) {
		return d.bindNumber(c, json)
	}
	return json, nil
}

// looksNumeric tells whether a numeric column would convert a text to a number.
func looksNumeric(s string) bool {
	s = strings.Trim(s, " \t\n\v\f\r")
	if s != "" && (s[0] == '+' || s[0] == '-') {
		s = s[1:]
	}
	whole := digits(s)
	s = s[whole:]
	fraction := 0
	if s != "" && s[0] == '.' {
		fraction = digits(s[1:])
		s = s[1+fraction:]
	}
	if whole+fraction == 0 {
		return false
	}
	if s != "" && (s[0] == 'e' || s[0] == 'E') {
		if s = s[1:]; s != "" && (s[0] == '+' || s[0] == '-') {
			s = s[1:]
		}
		n := digits(s)
		return n > 0 && n == len(s)
	}
	return s == ""
}

func (sqlite) keyText(c *column, v any) (string, error) {
	switch v := v.(type) {
	case int64:
		if c.Kind != Text && c.Kind != Hex {
			return strconv.FormatInt(v, 10), nil
		}
		return "", holds("an integer", c)
	case string:
		if c.tagged() {
			v = v[1:]
		}
		return storedKeyText(c, v)
	case []byte:
		if c.Kind == Integer || !c.holdsHex() {
			return "", holds("a blob", c)
		}
		return hexText(v), nil
	default:
		return "", errors.New("a key is neither text nor an integer")
	}
}

// storedKeyText returns the text of a key that is stored as text.
func storedKeyText(c *column, v string) (string, error) {
	if !utf8.ValidString(v) {
		return "", sqljson.ErrUTF8
	}
	switch _, hex := parseHex(v); {
	case c.Kind == Integer, c.Kind == Hex && !c.wraps:
		return "", holds("text", c)
	case hex && c.wraps:
		return "", errLikeBytes
	}
	return v, nil
}

func (sqlite) keyArg(c *column, key string) (any, bool) {
	if c.holdsHex() && c.Kind != Integer {
		if b, ok := parseHex(key); ok || c.Kind == Hex && !c.wraps {
			return b, ok
		}
	}
	if c.Kind != Text && c.Kind != Hex {
		if v, ok := isInteger(key); ok {
			return v, true
		}
		if c.Kind == Integer {
			return nil, false
		}
	}
	return key, c.lite.affinity < numeric || !looksNumeric(key)
}
