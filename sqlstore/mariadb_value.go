package sqlstore

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tomo-project/backup/internal/sqljson"
)

func (mariadb) append(dst []byte, c *column, v any) ([]byte, error) {
	var b []byte
	switch v := v.(type) {
	case []byte:
		b = v
	case *wireText:
		b = *v
	}
	if b != nil { // most values take this way, which makes no copy of them
		switch {
		case c.textBytes && !utf8.Valid(b):
			return appendWrappedBase64(dst, b), nil
		case c.Kind == JSON:
			return sqljson.AppendCompact(dst, b)
		case c.Kind == Text && c.my.show == nil:
			return sqljson.AppendString(dst, b)
		}
	}
	s, err := textOf(v)
	if err != nil {
		return dst, err
	}
	switch {
	case c.Kind == JSON:
		return sqljson.AppendCompact(dst, []byte(s))
	case c.Kind == Blob:
		return appendBlob(dst, []byte(s)), nil
	case c.Kind == Bool && (s == "0" || s == "1"):
		return strconv.AppendBool(dst, s == "1"), nil
	case c.my.bits > 0:
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return dst, errors.New("the driver does not return a number")
		}
		return appendReal(dst, f, c.my.bits, false), nil
	case c.Kind != Text:
		return append(dst, s...), nil
	}
	if c.my.show != nil {
		if s, err = c.my.show(c, s); err != nil {
			return dst, err
		}
	}
	return sqljson.AppendString(dst, s)
}

func (mariadb) bindNull(c *column) (any, error) {
	if !c.nullable {
		return nil, cannot("null", c)
	}
	return nil, nil
}

func (mariadb) fills(c *column) bool { return c.my.fills }

func (mariadb) bindBool(_ *column, v bool) any { return zeroOrOne(v) }

func (mariadb) bindNumber(c *column, json string) (any, error) {
	my := &c.my
	switch {
	case my.family == integers:
		if hasPoint(json) {
			return nil, cannot("a number that is no integer", c)
		}
		return storeInteger(c, json)
	case my.bits > 0:
		v, err := parseReal(json, my.bits)
		if err != nil {
			return nil, err
		}
		if my.scale >= 0 && (fractionDigits(json) > my.scale || v == 0 && math.Signbit(v)) {
			return nil, errChanged
		}
		return v, nil
	}
	if len(json) > 400 {
		return nil, errChanged
	}
	if _, e, ok := strings.Cut(strings.ToLower(json), "e"); ok && len(e) > 5 {
		return nil, errChanged
	}
	if d, e := decimal(json); d != "" && (int64(e) > my.precision-my.scale || int64(len(d)-e) > my.scale) {
		return nil, errChanged
	}
	return json, nil
}

// fractionDigits counts the digits behind the point of a number.
func fractionDigits(json string) int64 {
	d, e := decimal(json)
	if d == "" {
		return 0
	}
	return int64(max(0, len(d)-e))
}

func (mariadb) bindText(c *column, s string) (any, error) {
	if c.Kind != Text {
		return nil, cannot("text", c)
	}
	return c.my.storeText(c, s)
}

func (mariadb) bindBytes(c *column, b []byte) (any, error) {
	if int64(len(b)) > c.my.octets || c.my.base == "binary" && int64(len(b)) != c.my.octets {
		return nil, errChanged
	}
	return b, nil
}

func (mariadb) bindJSON(c *column, json string) (any, error) {
	return c.my.storeText(c, json)
}

// storeText returns what is stored for a text. Reading that gives the same text.
func (c *mariadbColumn) storeText(of *column, s string) (any, error) {
	if c.store == nil {
		return s, nil
	}
	return c.store(of, s)
}

func (mariadb) realBits(c *column, _ string) int { return c.my.bits }

// keyText takes the bytes of a VARBINARY for text if they are UTF-8.
func (mariadb) keyText(c *column, v any) (string, error) {
	s, err := textOf(v)
	if _, hex := parseHex(s); c.Kind == Hex || c.wraps && (hex || !utf8.ValidString(s)) {
		return hexText([]byte(s)), err
	}
	if err == nil && !utf8.ValidString(s) {
		err = sqljson.ErrUTF8
	}
	return s, err
}

func (mariadb) keyArg(c *column, key string) (any, bool) {
	if b, ok := parseHex(key); ok && c.holdsHex() || c.Kind == Hex {
		_, hex := parseHex(string(b))
		_, err := MariaDB.bindBytes(c, []byte(b))
		return b, ok && err == nil && (c.Kind == Hex || hex || !utf8.ValidString(string(b)))
	}
	if !utf8.ValidString(key) {
		return nil, false
	}
	v, err := c.my.storeText(c, key)
	return v, err == nil
}
