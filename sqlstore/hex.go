package sqlstore

import (
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/tomo-project/backup/internal/sqljson"
)

// A key of bytes is the text x'00ff' in a record, as SQL writes bytes.

// keyBytes is a key of bytes as it is stored. It is a string, since the values of keys are
// compared.
type keyBytes string

// Value implements [driver.Valuer].
func (b keyBytes) Value() (driver.Value, error) { return []byte(b), nil }

func hexText(b []byte) string { return "x'" + hex.EncodeToString(b) + "'" }

// parseHex returns the bytes of a text that hexText returns.
func parseHex(s string) (keyBytes, bool) {
	digits, ok := strings.CutPrefix(s, "x'")
	digits, closed := strings.CutSuffix(digits, "'")
	if !ok || !closed {
		return "", false
	}
	b, err := hex.DecodeString(digits)
	if err != nil || strings.ToLower(digits) != digits {
		return "", false
	}
	return keyBytes(b), true
}

var errLikeBytes = errors.New("the column holds text that has the form of bytes, x'…', and cannot be told from them")

// holdsHex tells whether the text x'00ff' stands for bytes in the column.
func (c *column) holdsHex() bool { return c.Kind == Hex || c.key && c.wraps }

// appendHex appends the JSON of bytes in such a column.
func appendHex(d Dialect, dst []byte, c *column, b []byte) ([]byte, error) {
	if !c.key {
		return sqljson.AppendString(dst, hexText(b))
	}
	text, err := d.keyText(c, b)
	if err != nil {
		return dst, err
	}
	return sqljson.AppendString(dst, text)
}

// bindHex returns what is stored for the text of bytes. is tells whether json is such a
// text.
func bindHex(d Dialect, c *column, json string) (v any, is bool, err error) {
	s, err := sqljson.Unquote(json)
	if err != nil {
		return nil, false, nil // which the caller finds out too
	}
	b, ok := parseHex(s)
	switch {
	case !ok && c.Kind == Hex && !c.wraps:
		return nil, true, cannot("text that is not bytes in the form x'00ff'", c)
	case !ok:
		return nil, false, nil
	case c.key:
		if v, ok = d.keyArg(c, s); !ok {
			return nil, true, errKey
		}
		return v, true, nil
	}
	v, err = d.bindBytes(c, []byte(b))
	return v, true, err
}
