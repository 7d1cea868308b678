package codec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tomo-project/backup/internal/onepass"
)

// Compact checks the JSON value src and appends it to dst without insignificant
// white space. The value must be strict JSON within limits. Numbers and strings
// keep their bytes.
func Compact(dst, src []byte, l Limits) ([]byte, error) {
	if len(src) > l.RecordBytes {
		return dst, fmt.Errorf("%w: the record has %d bytes, the limit is %d (Limits.RecordBytes)", ErrLimit, len(src), l.RecordBytes)
	}
	if isWritten(src, l) {
		return append(dst, src...), nil
	}
	return Reformat(dst, src, l)
}

// Reformat is Compact by the decoder alone. It is slower, and what the pass over a record
// is held against.
func Reformat(dst, src []byte, l Limits) ([]byte, error) {
	out, err := compact(dst, src)
	if err == nil {
		_, err = checkValue(out[len(dst):], l)
	}
	if err != nil {
		return dst, err
	}
	return out, nil
}

// anything is the pass over values of which no more is asked.
var anything = onepass.New(nil, nil)

// isWritten returns true only if Compact would return the value as it is. It is faster.
func isWritten(v []byte, l Limits) bool {
	_, ok := anything.Read(v, onepass.Limits{Depth: l.Depth, Values: l.Values}, nil)
	return ok
}

// compact is Compact without limits and without a look at names.
func compact(dst, src []byte) ([]byte, error) {
	out, err := jsontext.AppendFormat(dst, src, options...)
	if err == nil {
		return out, nil
	}
	kind, err := ErrSyntax, plain(err)
	if isTooDeep(err) {
		kind = ErrLimit
	}
	return dst, fmt.Errorf("%w: %w", kind, err)
}

// isTooDeep tells whether jsontext stopped because the value is nested too
// deeply.
func isTooDeep(err error) bool { return err.Error() == "exceeded max depth" }

// checkValue checks a value that jsontext has read: the names of its members
// must differ, and it must be within the limits on depth, on numbers and on the
// count of values in it. It also tells whether the value is compact.
func checkValue(b []byte, l Limits) (compact bool, err error) {
	var shallow [16]int
	var small [32]memberName
	open := names{all: small[:0], opened: shallow[:0]}
	depth, values := 0, 1
	compact = true
	named := false // the next string is a name
	for i := 0; i < len(b); {
		switch c := b[i]; {
		case c == '"':
			end := skipString(b, i)
			if named {
				open.add(b, i, end)
				named = false
			}
			i = end
			continue
		case c == '{' || c == '[':
			if depth++; depth > l.Depth {
				return false, fmt.Errorf("%w: nested deeper than %d levels%s", ErrLimit, l.Depth, l.field("Depth"))
			}
			if next := skipBetween(b, i+1); b[next] != '}' && b[next] != ']' {
				values++
			}
			open.open(c)
			named = c == '{'
		case c == ',':
			values++
			named = open.inObject()
		case c == '}' || c == ']':
			depth--
			named = false
			if err := open.close(); err != nil {
				return false, err
			}
		case c == '-' || '0' <= c && c <= '9':
			end := skipScalar(b, i)
			if err := checkNumber(b[i:end]); err != nil {
				return false, err
			}
			i = end
			continue
		case c == ' ' || c == '\n' || c == '\t' || c == '\r':
			compact = false
		}
		if values > l.Values { // before another name is kept
			return false, fmt.Errorf("%w: made of more than %d values%s", ErrLimit, l.Values, l.field("Values"))
		}
		i++
	}
	return compact, nil
}

func checkNumber(b []byte) error {
	if len(b) > onepass.MaxNumber {
		return fmt.Errorf("%w: a number of %d characters", ErrLimit, len(b))
	}
	if len(b) <= onepass.MaxExponent {
		return nil
	}
	if e := bytes.IndexAny(b, "eE"); e >= 0 {
		if len(bytes.TrimLeft(b[e+1:], "+-0")) > onepass.MaxExponent {
			return fmt.Errorf("%w: a number with an exponent of more than %d digits", ErrLimit, onepass.MaxExponent)
		}
	}
	return nil
}

// The functions below take only values that are known to be well-formed.

// skipString returns the index behind the string that begins at b[i].
func skipString(b []byte, i int) int {
	for i++; ; i++ {
		switch b[i] {
		case '"':
			return i + 1
		case '\\':
			i++
		}
	}
}

// skipScalar returns the index behind the number or literal that begins at b[i].
func skipScalar(b []byte, i int) int {
	for ; i < len(b); i++ {
		switch b[i] {
		case ',', '}', ']', ' ', '\t', '\n', '\r', ':':
			return i
		}
	}
	return i
}

// skipValue returns the index behind the value that begins at b[i].
func skipValue(b []byte, i int) int {
	switch b[i] {
	case '"':
		return skipString(b, i)
	case '{', '[':
		for depth := 0; ; {
			switch b[i] {
			case '"':
				i = skipString(b, i)
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
	default:
		return skipScalar(b, i)
	}
}

// eachMember calls f for the members of the compact object b until f returns
// false. name is unquoted. If it has no escapes it is a part of b.
func eachMember(b []byte, f func(name []byte, start, end int) bool) {
	for i := 1; b[i] != '}'; {
		nameEnd := skipString(b, i)
		name := unquote(b[i:nameEnd])
		start := nameEnd + 1
		end := skipValue(b, start)
		if !f(name, start, end) {
			return
		}
		if i = end; b[i] == ',' {
			i++
		}
	}
}

// eachElement calls f for the elements of the compact array b until f returns
// false.
func eachElement(b []byte, f func(index, start, end int) bool) {
	for i, n := 1, 0; b[i] != ']'; n++ {
		end := skipValue(b, i)
		if !f(n, i, end) {
			return
		}
		if i = end; b[i] == ',' {
			i++
		}
	}
}

// unquote returns the text of a well-formed string literal.
func unquote(lit []byte) []byte {
	if inner := lit[1 : len(lit)-1]; bytes.IndexByte(inner, '\\') < 0 {
		return inner
	}
	s, _ := jsontext.AppendUnquote(nil, lit)
	return s
}

// Quote returns s as a JSON string.
func Quote(s string) []byte {
	b, _ := jsontext.AppendQuote(nil, s)
	return b
}

// AppendQuote appends s to dst as a JSON string.
func AppendQuote(dst []byte, s string) []byte {
	dst, _ = jsontext.AppendQuote(dst, s)
	return dst
}

// IsOne tells whether b is one value. It takes what stands between a colon and a bracket
// or brace in a compact text that is well-formed, which can be several members.
func IsOne(b []byte) bool { return skipValue(b, 0) == len(b) }

// OnlyMember returns the text of a string, if the compact object v has just one
// member and that is the string called name.
func OnlyMember(v []byte, name string) (text []byte, ok bool) {
	if v[0] != '{' {
		return nil, false
	}
	n := 0
	eachMember(v, func(member []byte, start, end int) bool {
		if n++; string(member) == name && v[start] == '"' {
			text, ok = unquote(v[start:end]), true
		}
		return true
	})
	return text, ok && n == 1
}

// Unmarshal decodes a compact value into v. Names must match to the letter. It
// refuses unknown names, and null, which would otherwise count as an empty
// value.
func Unmarshal(value []byte, v any) error { return unmarshal(value, v) }

// UnmarshalMember decodes a member of the header as Unmarshal does. An int or
// int64 in it must be written in digits only, from 0 to 2^53-1. The error about
// a larger integer wraps ErrTooLarge.
func UnmarshalMember(value []byte, v any) error { return unmarshal(value, v, integers) }

func unmarshal(value []byte, v any, opts ...jsonv2.Options) error {
	if hasNull(Decode(value)) {
		return errors.New("it is or has null")
	}
	return plainMeaning(jsonv2.Unmarshal(value, v, append(opts, jsonv2.RejectUnknownMembers(true))...))
}

// MaxInteger is the largest integer of the header: 2^53-1, the largest that
// readers in all languages keep exact.
const MaxInteger = 1<<53 - 1

// ErrTooLarge is the error of UnmarshalMember about an integer that is too large.
var ErrTooLarge = errors.New("the integer is too large")

var integers = jsonv2.WithUnmarshalers(jsonv2.JoinUnmarshalers(
	jsonv2.UnmarshalFromFunc(readInteger[int]), jsonv2.UnmarshalFromFunc(readInteger[int64]),
))

func readInteger[T int | int64](dec *jsontext.Decoder, v *T) error {
	text, err := dec.ReadValue()
	if err != nil {
		return err
	}
	if len(bytes.Trim(text, "0123456789")) > 0 {
		return errors.New("not an integer from 0, in digits only")
	}
	n, err := strconv.ParseInt(string(text), 10, 64)
	if *v = T(n); err != nil || n > MaxInteger || int64(*v) != n {
		return ErrTooLarge
	}
	return nil
}

func hasNull(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case []any:
		return slices.ContainsFunc(v, hasNull)
	case map[string]any:
		return slices.ContainsFunc(slices.Collect(maps.Values(v)), hasNull)
	}
	return false
}

// Marshal encodes a value of the header, with the members of maps in order.
func Marshal(v any) ([]byte, error) {
	return jsonv2.Marshal(v, jsonv2.Deterministic(true))
}

// Identity returns the identity that the compact value v holds: the text of a
// non-empty string or of an integer.
func Identity(v []byte) (string, error) {
	switch {
	case len(v) == 0:
		return "", errors.New("the key is missing")
	case v[0] == '"':
		if len(v) == 2 {
			return "", errors.New("the key is empty")
		}
		return string(unquote(v)), nil
	case v[0] == '-' || '0' <= v[0] && v[0] <= '9':
		if !bytes.ContainsAny(v, ".eE") {
			return string(v), nil
		}
	}
	return "", errors.New("the key is neither a string nor an integer")
}

// Decode returns the compact value b as maps, slices, strings, bools, nil and
// json.Number.
func Decode(b []byte) any {
	v, _ := decode(b, 0)
	return v
}

func decode(b []byte, i int) (any, int) {
	switch b[i] {
	case '{':
		m := make(map[string]any)
		for i++; b[i] != '}'; {
			nameEnd := skipString(b, i)
			name := string(unquote(b[i:nameEnd]))
			m[name], i = decode(b, nameEnd+1)
			if b[i] == ',' {
				i++
			}
		}
		return m, i + 1
	case '[':
		a := []any{}
		for i++; b[i] != ']'; {
			var v any
			v, i = decode(b, i)
			a = append(a, v)
			if b[i] == ',' {
				i++
			}
		}
		return a, i + 1
	case '"':
		end := skipString(b, i)
		return string(unquote(b[i:end])), end
	case 't':
		return true, i + 4
	case 'f':
		return false, i + 5
	case 'n':
		return nil, i + 4
	default:
		end := skipScalar(b, i)
		return json.Number(b[i:end]), end
	}
}
