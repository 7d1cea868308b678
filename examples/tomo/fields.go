package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/tomo-project/backup"
)

// secretFields are the places of the secrets of a collection, as the tokens of
// their JSON Pointers. In a Map the first token is the key of the record.
type secretFields struct {
	isMap    bool
	pointers [][]string
}

// The tokens of a JSON Pointer (RFC 6901).
var (
	unescape = strings.NewReplacer("~1", "/", "~0", "~")
	escape   = strings.NewReplacer("~", "~0", "/", "~1")
)

// descend returns the pointers that go through token, without that token.
func descend(pointers [][]string, token string) (rest [][]string) {
	for _, p := range pointers {
		if p[0] == token || p[0] == "*" {
			rest = append(rest, p[1:])
		}
	}
	return rest
}

var errNotJSON = errors.New("the value is not JSON") // the error of a decoder would quote a part of the value

// rewrite returns the value of a record, with each secret replaced by the
// result of f. An error is a [*backup.RecordError] that names the place.
func (v *vault) rewrite(collection string, r backup.Record, f func(pointer string, value []byte) ([]byte, error)) ([]byte, error) {
	fields := v.secrets[collection]
	pointers := fields.pointers
	if fields.isMap {
		pointers = descend(pointers, r.Key)
	}
	if len(pointers) == 0 {
		return r.Value, nil
	}
	at := ""
	value, err := bytes.TrimSpace(r.Value), errNotJSON
	if json.Valid(value) {
		value, err = replace(value, pointers, "", func(pointer string, value []byte) ([]byte, error) {
			at = pointer
			return f(pointer, value)
		})
	}
	if err != nil {
		return nil, &backup.RecordError{Collection: collection, Key: r.Key, Pointer: at, Offset: -1, Err: err}
	}
	return value, nil
}

// replace returns value, which is valid JSON, with each place that a pointer
// names replaced by the result of f. null is no secret and stays. All other
// bytes stay too.
func replace(value []byte, pointers [][]string, at string, f func(pointer string, value []byte) ([]byte, error)) ([]byte, error) {
	if slices.ContainsFunc(pointers, func(p []string) bool { return len(p) == 0 }) {
		if string(value) == "null" {
			return value, nil
		}
		return f(at, value)
	}
	if len(pointers) == 0 || value[0] != '{' && value[0] != '[' {
		return value, nil
	}
	var out []byte
	last := 0 // out has what comes before it
	i := skipSpace(value, 1)
	for n := 0; value[i] != '}' && value[i] != ']'; n++ {
		token := strconv.Itoa(n)
		if value[0] == '{' {
			start := i
			i = skip(value, i)
			if err := json.Unmarshal(value[start:i], &token); err != nil {
				return nil, errNotJSON
			}
			i = skipSpace(value, skipSpace(value, i)+1) // skips the colon
		}
		start := i
		i = skip(value, i)
		if rest := descend(pointers, token); rest != nil {
			part, err := replace(value[start:i], rest, at+"/"+escape.Replace(token), f)
			if err != nil {
				return nil, err
			}
			out = append(append(out, value[last:start]...), part...)
			last = i
		}
		if i = skipSpace(value, i); value[i] == ',' {
			i = skipSpace(value, i+1)
		}
	}
	if last == 0 {
		return value, nil
	}
	return append(out, value[last:]...), nil
}

func skipSpace(value []byte, i int) int {
	for value[i] == ' ' || value[i] == '\t' || value[i] == '\n' || value[i] == '\r' {
		i++
	}
	return i
}

// skip returns the index behind the value, or the member name, that begins at
// i.
func skip(value []byte, i int) int {
	for depth := 0; ; {
		switch value[i] {
		case '"':
			for i++; value[i] != '"'; i++ {
				if value[i] == '\\' {
					i++
				}
			}
			i++
		case '{', '[':
			depth++
			i++
		case '}', ']':
			depth--
			i++
		case ',', ':', ' ', '\t', '\n', '\r': // within an object or array
			i++
		default: // a number or a literal
			if n := bytes.IndexAny(value[i:], ",]} \t\n\r"); n >= 0 {
				i += n
			} else {
				i = len(value)
			}
		}
		if depth == 0 {
			return i
		}
	}
}
