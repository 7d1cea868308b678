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

func (sqlite) append(dst []byte, c *column, v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		if c.lone && (c.Kind == JSON || c.Kind == JSONBytes) {
			return dst, errors.New("the column holds NULL, which is not the JSON null: make it NOT NULL")
		}
		return append(dst, "null"...), nil
	case int64:
		switch c.Kind {
		case Bool:
			if v == 0 || v == 1 {
				return strconv.AppendBool(dst, v == 1), nil
			}
		case JSON:
			if c.affinity != numeric {
				return dst, holds("an integer", c)
			}
		case Text, JSONBytes, Blob:
			return dst, holds("an integer", c)
		}
		return strconv.AppendInt(dst, v, 10), nil
	case float64:
		switch {
		case math.IsNaN(v) || math.IsInf(v, 0):
			return dst, errors.New("the column holds a number that JSON does not have (infinite, or not a number)")
		case c.Kind == JSON && c.affinity != numeric, c.Kind == Text, c.Kind == Integer, c.Kind == JSONBytes, c.Kind == Blob:
			return dst, holds("a real", c)
		}
		return appendReal(dst, v, c.affinity != real), nil
	case string:
		if c.tagged() {
			v = v[1:]
		}
		switch c.Kind {
		case Integer, Real, JSONBytes, Blob:
			return dst, holds("text", c)
		case JSON:
			return sqljson.AppendCompact(dst, []byte(v))
		}
		return sqljson.AppendString(dst, v)
	case []byte:
		switch c.Kind {
		case Blob:
			return appendBlob(dst, v), nil
		case JSONBytes:
			return sqljson.AppendCompact(dst, v)
		}
		return dst, holds("a blob", c)
	default:
		return dst, fmt.Errorf("the driver makes a %T of what is stored: open the database for the store without such conversions", v)
	}
}

func (sqlite) bind(c *column, json string) (any, error) {
	number := json[0] == '-' || '0' <= json[0] && json[0] <= '9'
	switch {
	case c.Kind == JSONBytes:
		return []byte(json), nil
	case c.Kind == JSON && number && c.affinity == numeric:
		return bindNumber(c, json)
	case c.Kind == JSON:
		return json, nil
	case number:
		if c.Kind == Text || c.Kind == Blob || c.affinity == text || c.Kind == Bool && (json == "0" || json == "1") {
			return nil, cannot("a number", c)
		}
		return bindNumber(c, json)
	}
	switch {
	case json == "null":
		return nil, nil
	case json == "true" || json == "false":
		if c.Kind != Bool {
			return nil, cannot("a boolean", c)
		}
		if json == "true" {
			return int64(1), nil
		}
		return int64(0), nil
	case json[0] == '"':
		s, err := sqljson.Unquote(json)
		switch {
		case err != nil:
			return nil, err
		case c.Kind == Blob:
			return decodeBlob(s)
		case c.Kind == Integer || c.Kind == Real:
			return nil, cannot("text", c)
		case c.affinity >= numeric && looksNumeric(s):
			return nil, errChanged
		}
		return s, nil
	default:
		return nil, cannot("an array or object", c)
	}
}

func bindNumber(c *column, json string) (any, error) {
	if c.affinity == real || c.Kind != Integer && strings.ContainsAny(json, ".eE") {
		v, err := strconv.ParseFloat(json, 64)
		if err != nil || !exact(json, v, 64) {
			return nil, errChanged
		}
		return v, nil
	}
	v, err := strconv.ParseInt(json, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%w: the column cannot hold this number: it is no integer of 64 bits", backup.ErrInvalid)
	}
	return v, nil
}

// looksNumeric tells whether a numeric column would make a number of a text.
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
		if c.Kind != Text {
			return strconv.FormatInt(v, 10), nil
		}
		return "", holds("an integer", c)
	case string:
		if c.tagged() {
			v = v[1:]
		}
		if !utf8.ValidString(v) {
			return "", sqljson.ErrUTF8
		}
		if c.Kind != Integer {
			return v, nil
		}
		return "", holds("text", c)
	default:
		return "", errors.New("a key is neither text nor an integer")
	}
}

func (sqlite) keyArg(c *column, key string) (any, bool) {
	if c.Kind != Text {
		v, err := strconv.ParseInt(key, 10, 64)
		if err == nil && strconv.FormatInt(v, 10) == key {
			return v, true
		}
		if c.Kind == Integer {
			return nil, false
		}
	}
	return key, c.affinity < numeric || !looksNumeric(key)
}
