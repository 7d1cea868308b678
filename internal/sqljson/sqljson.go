// Package sqljson has the parts of strict JSON that package sqlstore needs: strings to
// and from Go, compact values, and a walk over the members of an object.
package sqljson

import (
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tomo-project/backup/internal/onepass"
)

// ErrUTF8 says that a text is not valid UTF-8.
var ErrUTF8 = errors.New("the text is not valid UTF-8")

// AppendString appends s as a JSON string to dst.
func AppendString[T ~string | ~[]byte](dst []byte, s T) ([]byte, error) {
	ascii := true
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c < ' ' || c == '"' || c == '\\' {
			dst, err := jsontext.AppendQuote(dst, s)
			if err != nil {
				return dst, ErrUTF8
			}
			return dst, nil
		}
		ascii = ascii && c < utf8.RuneSelf
	}
	if !ascii && !utf8.Valid([]byte(s)) {
		return dst, ErrUTF8
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"'), nil
}

// compact accepts most of what is compact already.
var compact = onepass.New(nil, nil)

// AppendCompact appends the JSON value src to dst, without insignificant white space. It
// refuses everything that is not strict JSON, also duplicate names and invalid UTF-8.
func AppendCompact(dst, src []byte) ([]byte, error) {
	if _, ok := compact.Read(src, onepass.Limits{Depth: 1000, Values: 1_000_000}, nil); ok {
		return append(dst, src...), nil
	}
	n := len(dst)
	dst, err := jsontext.AppendFormat(dst, src, jsontext.PreserveRawStrings(true))
	if err != nil {
		// The error of jsontext may quote the value.
		return dst[:n], errors.New("the text is not valid JSON")
	}
	return dst, nil
}

// Unquote returns the text of the JSON string token raw. If raw has no escapes, the text
// is a part of raw.
func Unquote(raw string) (string, error) {
	last := len(raw) - 1
	if last < 1 || raw[0] != '"' || raw[last] != '"' {
		return "", errors.New("the string is not valid JSON")
	}
	if inside := raw[1:last]; strings.IndexByte(inside, '\\') < 0 && strings.IndexByte(inside, '"') < 0 {
		return inside, nil
	}
	b, err := jsontext.AppendUnquote(nil, raw)
	if err != nil {
		return "", errors.New("the string is not valid JSON")
	}
	return string(b), nil
}

// IsValue tells whether s has the outline of one JSON value. There must be no white space
// around it.
func IsValue(s string) bool { return ValueEnd(s, 0) == len(s) }

var errObject = errors.New("the value is not a JSON object")

// Members calls f with each member of the object s until f returns an error. s must be
// valid UTF-8. name and value are parts of s, and name has its quotes and escapes. Members
// checks no more than it needs to find them.
func Members(s string, f func(name, value string) error) error {
	i := space(s, 0)
	if i == len(s) || s[i] != '{' {
		return errObject
	}
	if i = space(s, i+1); i < len(s) && s[i] == '}' {
		return end(s, i+1)
	}
	for {
		nameEnd := stringEnd(s, i)
		if nameEnd < 0 {
			return errObject
		}
		name := s[i:nameEnd]
		if i = space(s, nameEnd); i == len(s) || s[i] != ':' {
			return errObject
		}
		i = space(s, i+1)
		after := ValueEnd(s, i)
		if after < 0 {
			return errObject
		}
		if err := f(name, s[i:after]); err != nil {
			return err
		}
		if i = space(s, after); i == len(s) {
			return errObject
		}
		switch s[i] {
		case ',':
			i = space(s, i+1)
		case '}':
			return end(s, i+1)
		default:
			return errObject
		}
	}
}

func end(s string, i int) error {
	if space(s, i) != len(s) {
		return errObject
	}
	return nil
}

// space returns the index of the first character from i that is not white space.
func space(s string, i int) int {
	for i < len(s) && (s[i] == ' ' || s[i] == '\n' || s[i] == '\t' || s[i] == '\r') {
		i++
	}
	return i
}

// stringEnd returns the index after the string that begins at i, or -1.
func stringEnd(s string, i int) int {
	if i >= len(s) || s[i] != '"' {
		return -1
	}
	for i++; ; {
		q := strings.IndexByte(s[i:], '"')
		if q < 0 {
			return -1
		}
		b := strings.IndexByte(s[i:i+q], '\\')
		if b < 0 {
			return i + q + 1
		}
		if i += b + 2; i > len(s) {
			return -1
		}
	}
}

// ValueEnd returns the index after the value that begins at i, or -1. It checks no more than
// it needs to find it.
func ValueEnd(s string, i int) int {
	if i >= len(s) {
		return -1
	}
	switch s[i] {
	case '"':
		return stringEnd(s, i)
	case '{', '[':
		for depth := 0; i < len(s); {
			switch s[i] {
			case '"':
				if i = stringEnd(s, i); i < 0 {
					return -1
				}
				continue
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
			i++
		}
		return -1
	default:
		start := i
		for i < len(s) && !delimiter(s[i]) {
			i++
		}
		if i == start {
			return -1
		}
		return i
	}
}

func delimiter(c byte) bool {
	switch c {
	case ',', '}', ']', ':', ' ', '\t', '\n', '\r':
		return true
	}
	return false
}
