package sqlstore

import (
	"bytes"
	"encoding/hex"
	"errors"
	"time"
	"unicode/utf8"

	"github.com/tomo-project/backup/internal/sqljson"
)

// wireBytea returns the bytes of a bytea. The transaction sets bytea_output to hex.
func wireBytea(text []byte) ([]byte, error) {
	digits, ok := bytes.CutPrefix(text, []byte(`\x`))
	b := make([]byte, len(digits)/2)
	if _, err := hex.Decode(b, digits); !ok || err != nil {
		return nil, errors.New("the server does not return bytes in the form hex")
	}
	return b, nil
}

// appendWireText appends what append would append for the text, without a copy of it where that is common.
// It returns false for what append must decide.
func appendWireText(dst []byte, c *column, s wireText) ([]byte, bool, error) {
	switch {
	case c.pg.array:
	case c.Kind == JSON && c.pg.base == "jsonb" && utf8.Valid(s):
		return appendWithoutSpace(dst, s), true, nil
	case c.Kind == JSON:
		dst, err := sqljson.AppendCompact(dst, s)
		return dst, true, err
	case c.Kind == Text && c.pg.family != moments:
		dst, err := sqljson.AppendString(dst, []byte(s))
		return dst, true, err
	case c.Kind == Text && isWireMoment(s):
		start := len(dst)
		dst = append(append(dst, '"'), s...)
		dst[start+1+len(time.DateOnly)] = 'T'
		if t, ok := bytes.CutSuffix(dst, []byte("+00")); ok {
			dst = append(t, 'Z')
		}
		return append(dst, '"'), true, nil
	case c.Kind == Integer && c.pg.family == integers:
		return append(dst, s...), true, nil
	}
	return dst, false, nil
}

// isWireMoment tells whether s is a timestamp of a year of four digits after Christ.
func isWireMoment(s wireText) bool {
	const n = len(time.DateTime)
	return len(s) >= n && s[len(s)-1] != 'C' && hasForm(s[:n], time.DateTime)
}

// hasForm tells whether s has a digit where layout has one, and is layout elsewhere.
func hasForm[T string | wireText](s T, layout string) bool {
	if len(s) != len(layout) {
		return false
	}
	for i := range len(layout) {
		if isDigit(layout[i]) != isDigit(s[i]) || !isDigit(s[i]) && s[i] != layout[i] {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// appendWithoutSpace appends the text of a jsonb. The server has made it, so it is JSON
// without duplicate names.
func appendWithoutSpace(dst []byte, s []byte) []byte {
	inString := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s):
			dst = append(dst, c, s[i+1])
			i++
			continue
		case c == '"':
			inString = !inString
		case c == ' ' && !inString:
			continue
		}
		dst = append(dst, s[i])
	}
	return dst
}
