package sqlstore

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/sqljson"
)

// appendValue appends the JSON of a value that was read.
func appendValue(d Dialect, dst []byte, c *column, v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		if c.lone && c.document {
			return dst, errors.New("the column holds NULL, which is not the JSON null: make it NOT NULL")
		}
		return append(dst, "null"...), nil
	case []byte:
		if c.holdsHex() {
			return appendHex(d, dst, c, v)
		}
		switch c.Kind {
		case Blob:
			return appendBlob(dst, v), nil
		case JSONBytes:
			return sqljson.AppendCompact(dst, v)
		}
	}
	return d.append(dst, c, v)
}

// bindValue returns what is stored for a JSON value.
func bindValue(d Dialect, c *column, json string) (any, error) {
	if c.holdsHex() && json[0] == '"' {
		if v, is, err := bindHex(d, c, json); is {
			return v, err
		}
	}
	if c.wraps && !c.key {
		if name, value := wrapped(json); name != "" {
			return bindWrapped(d, c, name, value)
		}
	}
	switch {
	case c.Kind == JSONBytes:
		return []byte(json), nil
	case json == "null" && !c.document:
		return d.bindNull(c)
	case c.Kind == JSON:
		return d.bindJSON(c, json)
	}
	switch {
	case json == "true" || json == "false":
		if c.Kind != Bool {
			return nil, cannot("a boolean", c)
		}
		return d.bindBool(c, json == "true"), nil
	case isNumber(json):
		// A Bool column would return 0 and 1 as booleans.
		if c.Kind == Text || c.Kind == Hex || c.Kind == Blob && !c.wraps || c.Kind == Bool && (json == "0" || json == "1") {
			return nil, cannot("a number", c)
		}
		return d.bindNumber(c, json)
	case json[0] == '"':
		s, err := sqljson.Unquote(json)
		switch {
		case err != nil:
			return nil, err
		case c.Kind == Integer || c.Kind == Real:
			return nil, cannot("text", c)
		case c.Kind == Blob:
			b, err := decodeBlob(s)
			if err != nil {
				return nil, err
			}
			return d.bindBytes(c, b)
		}
		return d.bindText(c, s)
	}
	return nil, cannot("an array or object", c)
}

// appendNormal appends a JSON value in the form in which it would be read if it were
// stored. What cannot be stored stays as it is.
func appendNormal(dst []byte, d Dialect, c *column, json string) []byte {
	switch bits := d.realBits(c, json); {
	case bits == 0:
	case json[0] == '[' && c.pg.array:
		return appendFloats(dst, json, bits)
	case isNumber(json):
		v, err := parseReal(json, bits)
		if err != nil {
			break
		}
		if shown, err := d.append(dst, c, v); err == nil {
			return shown
		}
	}
	return append(dst, json...)
}

func isNumber(json string) bool { return json[0] == '-' || '0' <= json[0] && json[0] <= '9' }

var errChanged = fmt.Errorf("%w: the column would change the value", backup.ErrInvalid)

// holds returns the error for a column that holds what its kind does not allow.
func holds(what string, c *column) error {
	if c.Kind == Auto {
		return fmt.Errorf("the column holds %s: say what it is in Table.Columns", what)
	}
	return fmt.Errorf("the column holds %s and is taken for %v: say what it is in Table.Columns", what, c.Kind)
}

// cannot returns the error for a value that a column cannot hold.
func cannot(what string, c *column) error {
	return fmt.Errorf("%w: the value is %s, and the column cannot hold that (it is declared %s)", backup.ErrInvalid, what, c.declaredType())
}

// textOf returns the text of a value from a server.
func textOf(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case []byte:
		return string(v), nil
	case *wireText:
		return string(*v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case uint64:
		return strconv.FormatUint(v, 10), nil
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), nil
	case float32:
		return strconv.FormatFloat(float64(v), 'g', -1, 32), nil
	}
	return "", fmt.Errorf("the driver returns the stored value as a %T", v)
}

func zeroOrOne(v bool) int64 {
	if v {
		return 1
	}
	return 0
}

// appendReal appends the shortest number that is read as v again, which has 32 or 64
// bits. A marked one has a point or an exponent, which tells it from an integer.
func appendReal(dst []byte, v float64, bits int, marked bool) []byte {
	format := byte('f')
	if abs := math.Abs(v); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	dst = strconv.AppendFloat(dst, v, format, -1, bits)
	if marked && format == 'f' && v == math.Trunc(v) {
		dst = append(dst, ".0"...)
	}
	return dst
}

// parseReal returns the floating-point number of 32 or 64 bits that json stands for. It
// fails if json has other digits than that number.
func parseReal(json string, bits int) (float64, error) {
	v, err := strconv.ParseFloat(json, bits)
	if err != nil || math.IsInf(v, 0) || !stands(json, v, bits) {
		return 0, errChanged
	}
	return v, nil
}

// stands tells whether json is v, which has 32 or 64 bits, rounded to as many digits as
// json has. They need not be the fewest that are read as v: PostgreSQL writes more of them
// for some numbers, such as 9.999999999999999e+22.
func stands(json string, v float64, bits int) bool {
	if json == strconv.FormatFloat(v, 'g', -1, bits) {
		return true
	}
	d1, e1 := decimal(json)
	enough := 17
	if bits == 32 {
		enough = 9
	}
	if d1 == "" || len(d1) > enough {
		return d1 == "" && v == 0
	}
	d2, e2 := decimal(strconv.FormatFloat(v, 'e', len(d1)-1, bits))
	return d1 == d2 && e1 == e2
}

// decimal returns the digits of a number without zeros at either end. exponent is its
// power of ten if the point stands before the digits.
func decimal(json string) (digits string, exponent int) {
	json = strings.TrimPrefix(json, "-")
	mantissa, e, _ := strings.Cut(strings.ToLower(json), "e")
	if e != "" {
		exponent, _ = strconv.Atoi(e)
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits = whole + fraction
	exponent += len(whole)
	trimmed := strings.TrimLeft(digits, "0")
	exponent -= len(digits) - len(trimmed)
	return strings.TrimRight(trimmed, "0"), exponent
}

// hasPoint tells whether a number has a fraction or an exponent.
func hasPoint(json string) bool { return strings.ContainsAny(json, ".eE") }

// digits counts the digits that s begins with.
func digits(s string) int {
	n := 0
	for n < len(s) && '0' <= s[n] && s[n] <= '9' {
		n++
	}
	return n
}

func appendBlob(dst, b []byte) []byte {
	return append(base64.StdEncoding.AppendEncode(append(dst, '"'), b), '"')
}

func decodeBlob(s string) ([]byte, error) {
	b, err := codec.DecodeBase64([]byte{}, []byte(s)) // not nil, which would be NULL
	if err != nil {
		return nil, fmt.Errorf("%w: the text is not base64", backup.ErrInvalid)
	}
	return b, nil
}

// isInteger tells whether s is an integer of 64 bits in the form that is read.
func isInteger(s string) (v int64, ok bool) {
	v, err := strconv.ParseInt(s, 10, 64)
	return v, err == nil && strconv.FormatInt(v, 10) == s
}

// isUUID tells whether s is a UUID as databases write it.
func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case (c < '0' || c > '9') && (c < 'a' || c > 'f'):
			return false
		}
	}
	return true
}
