package sqlstore

import (
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/tomo-project/backup"
)

var errChanged = fmt.Errorf("%w: the column would change the value", backup.ErrInvalid)

// holds says that a column holds what its kind does not.
func holds(what string, c *column) error {
	if c.Kind == Auto {
		return fmt.Errorf("the column holds %s: say what it is in Table.Columns", what)
	}
	return fmt.Errorf("the column holds %s and is taken for %v: say what it is in Table.Columns", what, c.Kind)
}

func cannot(what string, c *column) error {
	declared := c.declared
	if declared == "" {
		declared = "without a type"
	}
	return fmt.Errorf("%w: the value is %s, and the column cannot hold that (it is declared %s)", backup.ErrInvalid, what, declared)
}

// appendReal appends the shortest number that is read as v again. Marked, it is
// told from an integer by a point or an exponent.
func appendReal(dst []byte, v float64, marked bool) []byte {
	format := byte('f')
	if abs := math.Abs(v); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	dst = strconv.AppendFloat(dst, v, format, -1, 64)
	if marked && format == 'f' && v == math.Trunc(v) {
		dst = append(dst, ".0"...)
	}
	return dst
}

// exact tells whether the number json is what is written for v, which has 32 or
// 64 bits.
func exact(json string, v float64, bits int) bool {
	written := strconv.FormatFloat(v, 'g', -1, bits)
	if json == written {
		return true
	}
	d1, e1 := decimal(json)
	d2, e2 := decimal(written)
	return d1 == d2 && (e1 == e2 || d1 == "")
}

// decimal returns the digits of a number without zeros at either end, and the
// power of ten that belongs to a point before them.
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
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || strings.ContainsAny(s, "\r\n") {
		return nil, fmt.Errorf("%w: the text is not base64", backup.ErrInvalid)
	}
	return b, nil
}

// isUUID tells whether s is a UUID as PostgreSQL writes it.
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
