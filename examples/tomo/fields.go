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

// unescape turns a token as it is written in a JSON Pointer (RFC 6901) into its
// text, and appendEscaped does the reverse.
var unescape = strings.NewReplacer("~1", "/", "~0", "~")

func appendEscaped(dst, token []byte) []byte {
	for _, c := range token {
		switch c {
		case '~':
			dst = append(dst, "~0"...)
		case '/':
			dst = append(dst, "~1"...)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// descend returns the pointers that go through token, without that token. last
// tells whether one of them ends there.
func descend(pointers [][]string, token []byte) (rest [][]string, last bool) {
	for _, p := range pointers {
		switch {
		case p[0] != string(token) && p[0] != "*":
		case len(p) == 1:
			return nil, true
		default:
			rest = append(rest, p[1:])
		}
	}
	return rest, false
}

var errNotJSON = errors.New("the value is not JSON") // the error of a decoder would quote a part of the value

// A rewriting replaces the secrets in the records of a collection, one record
// after another. It looks at no more than it takes to find them: whoever gets
// the result checks the rest.
type rewriting struct {
	collection string
	fields     secretFields

	// replace appends what stands for the secret at a pointer to dst.
	replace func(dst []byte, pointer string, secret []byte) ([]byte, error)

	key     string
	value   []byte // of the record, read up to at
	at      int
	pointer []byte // to what is at at
	out     []byte // value up to copied, with its secrets replaced
	copied  int
	bound   []byte // of the text of place, what all places in the record share
}

// record returns the value of a record, with each secret replaced. The result
// is valid until the next call. An error is a [*backup.RecordError] that names
// the place.
func (w *rewriting) record(r backup.Record) ([]byte, error) {
	pointers, whole := w.fields.pointers, false
	if w.fields.isMap {
		pointers, whole = descend(pointers, []byte(r.Key))
	}
	if len(pointers) == 0 && !whole {
		return r.Value, nil
	}
	w.key, w.value, w.at, w.copied = r.Key, bytes.TrimSpace(r.Value), 0, 0
	w.out, w.pointer, w.bound = w.out[:0], w.pointer[:0], w.bound[:0]
	err := w.walk(pointers, whole)
	if err == nil && w.at < len(w.value) {
		err = errNotJSON
	}
	if err != nil {
		return nil, &backup.RecordError{Collection: w.collection, Key: r.Key, Pointer: string(w.pointer), Offset: -1, Err: err}
	}
	if w.copied == 0 {
		return w.value, nil
	}
	w.out = append(w.out, w.value[w.copied:]...)
	return w.out, nil
}

// walk goes over the value at at. It replaces the value if it is a secret, and
// the secrets in it that the pointers name. null is no secret and stays. All
// other bytes stay too.
func (w *rewriting) walk(pointers [][]string, secret bool) (err error) {
	start, first := w.at, w.next()
	switch {
	case secret:
		if err := w.skip(); err != nil || string(w.value[start:w.at]) == "null" {
			return err
		}
		w.out = append(slices.Grow(w.out, len(w.value)), w.value[w.copied:start]...)
		w.copied = w.at
		w.out, err = w.replace(w.out, string(w.pointer), w.value[start:w.at])
		return err
	case len(pointers) > 0 && first == '{':
		return w.walkParts(pointers, '}', w.name)
	case len(pointers) > 0 && first == '[':
		n := -1
		return w.walkParts(pointers, ']', func() ([]byte, error) {
			n++
			return strconv.AppendInt(nil, int64(n), 10), nil
		})
	}
	return w.skip()
}

// walkParts goes over the members of an object, or the elements of an array.
// token returns the token of the next.
func (w *rewriting) walkParts(pointers [][]string, end byte, token func() ([]byte, error)) error {
	w.at++
	for n := 0; w.skipSpace() != end; n++ {
		if n > 0 {
			if w.next() != ',' {
				return errNotJSON
			}
			w.at++
			w.skipSpace()
		}
		t, err := token()
		if err != nil {
			return err
		}
		rest, secret := descend(pointers, t)
		length := len(w.pointer)
		if rest != nil || secret {
			w.pointer = appendEscaped(append(w.pointer, '/'), t)
		}
		if err := w.walk(rest, secret); err != nil {
			return err
		}
		w.pointer = w.pointer[:length]
	}
	w.at++
	return nil
}

// name reads the name of a member, and the colon after it.
func (w *rewriting) name() ([]byte, error) {
	start := w.at
	if w.next() != '"' || !w.skipString() {
		return nil, errNotJSON
	}
	name := w.value[start+1 : w.at-1]
	if bytes.IndexByte(name, '\\') >= 0 {
		var text string
		if json.Unmarshal(w.value[start:w.at], &text) != nil {
			return nil, errNotJSON
		}
		name = []byte(text)
	}
	if w.skipSpace() != ':' {
		return nil, errNotJSON
	}
	w.at++
	w.skipSpace()
	return name, nil
}

// next returns the byte at at, or 0 at the end.
func (w *rewriting) next() byte {
	if w.at == len(w.value) {
		return 0
	}
	return w.value[w.at]
}

// skipSpace goes to the next byte that is no white space, and returns it.
func (w *rewriting) skipSpace() byte {
	for isSpace(w.next()) {
		w.at++
	}
	return w.next()
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// skip goes behind the value at at.
func (w *rewriting) skip() error {
	for depth := 0; ; {
		switch c := w.next(); {
		case c == '"':
			if !w.skipString() {
				return errNotJSON
			}
		case c == '{' || c == '[':
			depth++
			w.at++
		case depth > 0 && (c == '}' || c == ']'):
			depth--
			w.at++
		case depth > 0 && (c == ',' || c == ':' || isSpace(c)):
			w.at++
		case !isPlain(c):
			return errNotJSON
		default:
			for isPlain(w.next()) {
				w.at++
			}
		}
		if depth == 0 {
			return nil
		}
	}
}

// isPlain tells whether a byte may be of a number, or of true, false or null.
func isPlain(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || c == '-' || c == '+' || c == '.' || c == 'E'
}

// skipString goes behind the string at at. It returns false if the string has
// no end.
func (w *rewriting) skipString() bool {
	for end := w.at + 1; ; end++ {
		n := bytes.IndexByte(w.value[end:], '"')
		if n < 0 {
			return false
		}
		end += n
		slashes := end
		for w.value[slashes-1] == '\\' {
			slashes--
		}
		if (end-slashes)%2 == 0 {
			w.at = end + 1
			return true
		}
	}
}
