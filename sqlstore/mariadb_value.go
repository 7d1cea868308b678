package sqlstore

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tomo-project/backup/internal/sqljson"
)

func (mariadb) append(dst []byte, c *column, v any) ([]byte, error) {
	my := &c.my
	var s string
	switch v := v.(type) {
	case nil:
		if c.lone && (c.Kind == JSON || c.Kind == JSONBytes) {
			return dst, errors.New("the column holds NULL, which is not the JSON null: make it NOT NULL")
		}
		return append(dst, "null"...), nil
	case int64:
		s = strconv.FormatInt(v, 10)
	case uint64:
		s = strconv.FormatUint(v, 10)
	case float64:
		s = strconv.FormatFloat(v, 'g', -1, 64)
	case float32:
		s = strconv.FormatFloat(float64(v), 'g', -1, 32)
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
		return dst, fmt.Errorf("the driver makes a %T of what is stored", v)
	}
	switch {
	case c.Kind == JSON:
		return sqljson.AppendCompact(dst, []byte(s))
	case c.Kind == Blob:
		return appendBlob(dst, []byte(s)), nil
	case my.integer() && c.Kind == Bool && (s == "0" || s == "1"):
		return strconv.AppendBool(dst, s == "1"), nil
	case my.float() > 0:
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return dst, errors.New("the driver does not return a number")
		}
		if my.float() == 32 {
			// appendReal makes a point of e-07 where it is needed.
			f32, _ := strconv.ParseFloat(strconv.FormatFloat(f, 'g', -1, 32), 64)
			return appendReal(dst, f32, false), nil
		}
		return appendReal(dst, f, false), nil
	case c.Kind != Text:
		return append(dst, s...), nil
	case my.base == "inet6" || my.base == "inet4":
		a, ok := netip.AddrFromSlice([]byte(s))
		if !ok {
			return dst, errors.New("the column does not hold an address")
		}
		return sqljson.AppendString(dst, a.String())
	case my.moment():
		return sqljson.AppendString(dst, my.momentOf(s))
	case my.base == "time":
		return sqljson.AppendString(dst, fraction(s))
	case my.base == "enum" && s == "" && !slices.Contains(my.labels, ""):
		return dst, errors.New("the column holds what is none of its labels")
	}
	return sqljson.AppendString(dst, s)
}

// fraction removes the zeros at the end of a fraction of a second.
func fraction(s string) string {
	if strings.Contains(s, ".") {
		s = strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// momentOf writes a DATETIME or TIMESTAMP as RFC 3339 does.
func (c mariadbColumn) momentOf(s string) string {
	s = strings.Replace(fraction(s), " ", "T", 1)
	if c.base == "timestamp" {
		s += "Z"
	}
	return s
}

// like tells whether a text has the form of a pattern, in which 9 is any digit.
func like(s, pattern string) bool {
	if len(s) != len(pattern) {
		return false
	}
	for i := range len(s) {
		if pattern[i] == '9' && (s[i] < '0' || s[i] > '9') || pattern[i] != '9' && s[i] != pattern[i] {
			return false
		}
	}
	return true
}

// seconds cuts a fraction of seconds off, and tells whether it is one that the
// column can hold, and in the form in which it is read.
func (c mariadbColumn) seconds(s string) (whole string, ok bool) {
	whole, f, point := strings.Cut(s, ".")
	return whole, !point || f != "" && int64(len(f)) <= c.scale && digits(f) == len(f) && f[len(f)-1] != '0'
}

// sqlText returns what is stored for a text, which is what is read of it again.
func (c *column) sqlText(s string) (any, error) {
	my := &c.my
	switch {
	case my.integer():
		return c.sqlInteger(s)
	case my.base == "binary":
		if int64(len(s)) != my.octets {
			return nil, errChanged
		}
	case my.binary():
		if int64(len(s)) > my.octets {
			return nil, errChanged
		}
	case my.text():
		runes := int64(utf8.RuneCountInString(s))
		if my.base == "char" && strings.HasSuffix(s, " ") || runes > my.chars || my.unicode() && int64(len(s)) > my.octets || int64(len(s)) > my.octets && strings.HasSuffix(s, " ") {
			return nil, errChanged
		}
	case my.base == "enum":
		if !slices.Contains(my.labels, s) {
			return nil, cannot("none of the labels", c)
		}
	case my.base == "set":
		next := 0
		for part := range strings.SplitSeq(s, ",") {
			at := slices.Index(my.labels, part)
			if s != "" && at < next {
				return nil, cannot("no list of labels in their order", c)
			}
			next = at + 1
		}
	case my.base == "date":
		if !like(s, "9999-99-99") {
			return nil, errChanged
		}
	case my.base == "time":
		whole, ok := my.seconds(s)
		whole, minus := strings.CutPrefix(whole, "-")
		if !ok || !like(whole, "99:99:99") && !like(whole, "999:99:99") || len(whole) == 9 && whole[0] == '0' || minus && !strings.ContainsAny(s, "123456789") {
			return nil, errChanged
		}
	case my.moment():
		moment, zone := strings.CutSuffix(s, "Z")
		whole, ok := my.seconds(moment)
		if !ok || zone != (my.base == "timestamp") || !like(whole, "9999-99-99T99:99:99") {
			return nil, errChanged
		}
		return strings.Replace(moment, "T", " ", 1), nil
	case my.base == "uuid":
		if !isUUID(s) {
			return nil, errChanged
		}
	case my.base == "inet6", my.base == "inet4":
		a, err := netip.ParseAddr(s)
		if err != nil || a.String() != s || a.Zone() != "" || a.Is4() != (my.base == "inet4") {
			return nil, errChanged
		}
	}
	return s, nil
}

// sqlInteger returns the integer that s is the text of.
func (c *column) sqlInteger(s string) (any, error) {
	if v, err := strconv.ParseInt(s, 10, 64); err == nil && strconv.FormatInt(v, 10) == s {
		if c.my.base == "year" && v != 0 && (v < 1901 || v > 2155) || v < 0 && (c.my.unsigned || c.my.base == "bit") {
			return nil, errChanged
		}
		return v, nil
	}
	if v, err := strconv.ParseUint(s, 10, 64); err == nil && strconv.FormatUint(v, 10) == s && (c.my.unsigned || c.my.base == "bit") {
		return v, nil
	}
	return nil, errChanged
}

func (mariadb) bind(c *column, json string) (any, error) {
	my := &c.my
	number := json[0] == '-' || '0' <= json[0] && json[0] <= '9'
	switch {
	case c.Kind == JSONBytes:
		return []byte(json), nil
	case c.Kind == JSON:
		if my.text() {
			return c.sqlText(json)
		}
		return json, nil
	case json == "null":
		if !my.nullable {
			// A TIMESTAMP might take it for now.
			return nil, cannot("null", c)
		}
		return nil, nil
	case json == "true" || json == "false":
		if c.Kind != Bool {
			return nil, cannot("a boolean", c)
		}
		return int64(len("false") - len(json)), nil
	case number && (c.Kind == Text || c.Kind == Blob || c.Kind == Bool && (json == "0" || json == "1")):
		return nil, cannot("a number", c)
	case number && my.integer():
		if strings.ContainsAny(json, ".eE") {
			return nil, cannot("a number that is no integer", c)
		}
		return c.sqlInteger(json)
	case number && my.float() > 0:
		v, err := strconv.ParseFloat(json, my.float())
		if err != nil || !exact(json, v, my.float()) || my.scale >= 0 && fractionDigits(json) > my.scale {
			return nil, errChanged
		}
		if v == 0 && math.Signbit(v) && my.scale >= 0 {
			return nil, errChanged
		}
		return v, nil
	case number:
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
	case json[0] == '"' && (c.Kind == Text || c.Kind == Blob):
		s, err := sqljson.Unquote(json)
		if err != nil {
			return nil, err
		}
		if c.Kind == Text {
			return c.sqlText(s)
		}
		b, err := decodeBlob(s)
		if err == nil && (int64(len(b)) > my.octets || my.base == "binary" && int64(len(b)) != my.octets) {
			err = errChanged
		}
		return b, err
	case json[0] == '"':
		return nil, cannot("text", c)
	default:
		return nil, cannot("an array or object", c)
	}
}

// fractionDigits counts the digits behind the point of a number.
func fractionDigits(json string) int64 {
	d, e := decimal(json)
	if d == "" {
		return 0
	}
	return int64(max(0, len(d)-e))
}

func (mariadb) keyText(c *column, v any) (string, error) {
	var s string
	switch v := v.(type) {
	case int64:
		return strconv.FormatInt(v, 10), nil
	case uint64:
		return strconv.FormatUint(v, 10), nil
	case string:
		s = v
	case []byte:
		s = string(v)
	default:
		return "", errors.New("a key is neither text nor an integer")
	}
	if !utf8.ValidString(s) {
		return "", sqljson.ErrUTF8
	}
	return s, nil
}

func (mariadb) keyArg(c *column, key string) (any, bool) {
	if !utf8.ValidString(key) {
		return nil, false
	}
	v, err := c.sqlText(key)
	return v, err == nil
}
