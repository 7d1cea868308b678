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

// notFromOne is read of an array that JSON has no form for.
const notFromOne = "array"

func (postgres) append(dst []byte, c *column, v any) ([]byte, error) {
	var s string
	switch v := v.(type) {
	case nil:
		if c.lone && (c.Kind == JSON || c.Kind == JSONBytes) && !c.pg.array {
			return dst, errors.New("the column holds NULL, which is not the JSON null: make it NOT NULL")
		}
		return append(dst, "null"...), nil
	case string:
		s = v
	case []byte:
		switch c.Kind {
		case Blob:
			return appendBlob(dst, v), nil
		case JSONBytes:
			return sqljson.AppendCompact(dst, v)
		}
		s = string(v)
	default:
		return dst, fmt.Errorf("the driver makes a %T of text", v)
	}
	switch {
	case c.pg.array && s == notFromOne:
		return dst, errors.New("the array does not begin at 1, which JSON cannot say: take the column for Text in Table.Columns")
	case c.Kind == JSON:
		return sqljson.AppendCompact(dst, []byte(s))
	case c.Kind == Text:
		if c.pg.moment() {
			s = momentOf(s)
		}
		return sqljson.AppendString(dst, s)
	case c.Kind == Bool && c.pg.integer():
		if s != "0" && s != "1" {
			return dst, holds("an integer", c)
		}
		return strconv.AppendBool(dst, s == "1"), nil
	case s == "NaN" || strings.HasSuffix(s, "Infinity"):
		return dst, errors.New("the column holds a number that JSON does not have (infinite, or not a number): take it for Text in Table.Columns")
	case c.Kind == Integer && strings.Contains(s, "."):
		return dst, holds("a fraction", c)
	}
	return append(dst, s...), nil
}

// momentOf writes a timestamp as RFC 3339 does, and sqlMoment as PostgreSQL.
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

func (postgres) bind(c *column, json string) (any, error) {
	pg := &c.pg
	number := json[0] == '-' || '0' <= json[0] && json[0] <= '9'
	switch {
	case c.Kind == JSONBytes:
		return []byte(json), nil
	case c.Kind == JSON && !pg.array:
		return json, nil
	case json == "null":
		return nil, nil
	case pg.array:
		if json[0] != '[' {
			return nil, cannot("no array", c)
		}
		return json, nil
	case json == "true" || json == "false":
		switch {
		case c.Kind != Bool:
			return nil, cannot("a boolean", c)
		case pg.integer():
			return strconv.Itoa(len("false") - len(json)), nil
		}
		return json, nil
	case number && c.Kind == Integer:
		if strings.ContainsAny(json, ".eE") {
			return nil, cannot("a number that is no integer", c)
		}
		return json, nil
	case number && c.Kind == Real:
		if bits := pg.float(); bits > 0 {
			if v, err := strconv.ParseFloat(json, bits); err != nil || !exact(json, v, bits) {
				return nil, errChanged
			}
		}
		return json, nil
	case number:
		return nil, cannot("a number", c)
	case json[0] == '"' && (c.Kind == Text || c.Kind == Blob):
		s, err := sqljson.Unquote(json)
		switch {
		case err != nil:
			return nil, err
		case c.Kind == Blob:
			return decodeBlob(s)
		case strings.Contains(s, "\x00"):
			return nil, fmt.Errorf("%w: text of PostgreSQL cannot have the character U+0000", backup.ErrInvalid)
		case pg.moment():
			moment := sqlMoment(s)
			if momentOf(moment) != s {
				return nil, errChanged
			}
			return moment, nil
		}
		return s, nil
	case json[0] == '"':
		return nil, cannot("text", c)
	default:
		return nil, cannot("an array or object", c)
	}
}

func (postgres) keyText(c *column, v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case []byte:
		return string(v), nil
	}
	return "", errors.New("a key is neither text nor an integer")
}

func (postgres) keyArg(c *column, key string) (any, bool) {
	switch {
	case c.pg.integer():
		v, err := strconv.ParseInt(key, 10, 64)
		return key, err == nil && strconv.FormatInt(v, 10) == key
	case c.pg.base == "uuid":
		return key, isUUID(key)
	case c.pg.base == "bpchar" && strings.HasSuffix(key, " "):
		return nil, false
	}
	return key, utf8.ValidString(key) && !strings.Contains(key, "\x00")
}
