package sqlstore

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/sqljson"
)

// Declared types do not bind in SQLite, and columns of bytes hold text in MariaDB. A value
// that the kind of its column has no form for is then wrapped: it is an object with one
// member, whose name says what was stored. Which form a value has depends on the value and
// on the declaration of its column alone, never on other rows.
const (
	wrappedText   = "$text"   // text, in a column of JSON or of bytes
	wrappedBytes  = "$bytes"  // JSON that is stored as bytes, in a column of JSON
	wrappedBase64 = "$base64" // other bytes
)

func appendWrapper(dst []byte, name string) []byte {
	return append(append(append(dst, `{"`...), name...), `":`...)
}

// appendWrappedText appends the JSON of text that is in a column of JSON or of bytes.
func appendWrappedText[T textual](dst []byte, s T) ([]byte, error) {
	dst, err := sqljson.AppendString(appendWrapper(dst, wrappedText), s)
	return append(dst, '}'), err
}

// appendWrappedBase64 appends the JSON of bytes in a column of text or JSON.
func appendWrappedBase64(dst, b []byte) []byte {
	return append(appendBlob(appendWrapper(dst, wrappedBase64), b), '}')
}

// appendDocument appends the JSON of text in a column of JSON, in which there can be text
// that is no JSON.
func appendDocument[T textual](dst []byte, s T) ([]byte, error) {
	n := len(dst)
	dst, err := sqljson.AppendCompact(dst, []byte(s))
	if err != nil {
		return appendWrappedText(dst[:n], s)
	}
	if document := dst[n:]; bytes.HasPrefix(document, []byte(`{"$`)) || bytes.HasPrefix(document, []byte(`{"\`)) {
		if name, _ := wrapped(string(document)); name != "" {
			return appendWrappedText(dst[:n], string(document))
		}
	}
	return dst, nil
}

// appendDocumentBytes appends the JSON of bytes in a column of JSON.
func appendDocumentBytes(dst, b []byte) []byte {
	n := len(dst)
	dst, err := sqljson.AppendCompact(appendWrapper(dst, wrappedBytes), b)
	if err != nil {
		return appendWrappedBase64(dst[:n], b)
	}
	return append(dst, '}')
}

// wrapped returns the name and the value of the only member of a wrapped value, or an empty
// name if json is none.
func wrapped(json string) (name, value string) {
	if len(json) < 4 || json[0] != '{' {
		return "", ""
	}
	members := 0
	err := sqljson.Members(json, func(n, v string) (err error) {
		if members++; members > 1 {
			return errWrapped
		}
		name, err = sqljson.Unquote(n)
		value = v
		return err
	})
	if err != nil || name != wrappedText && name != wrappedBytes && name != wrappedBase64 {
		return "", ""
	}
	return name, value
}

var errWrapped = fmt.Errorf("%w: the column would be read in another form", backup.ErrInvalid)

// bindWrapped returns what is stored for a wrapped value. It refuses one that reading would
// not wrap, or not so.
func bindWrapped(d Dialect, c *column, name, value string) (any, error) {
	if name == wrappedBytes {
		if c.Kind != JSON {
			return nil, errWrapped
		}
		return []byte(value), nil
	}
	s, err := sqljson.Unquote(value)
	if err != nil {
		return nil, errWrapped
	}
	if name == wrappedText {
		if c.Kind != JSON && c.Kind != Blob {
			return nil, errWrapped
		}
		if again, err := appendDocument(nil, s); c.Kind == JSON && (err != nil || !strings.HasPrefix(string(again), `{"`+wrappedText)) {
			return nil, errWrapped
		}
		return d.bindText(c, s)
	}
	b, err := decodeBlob(s)
	switch {
	case err != nil:
		return nil, err
	case c.Kind == Blob, c.Kind == Hex, c.Kind == JSON && !strings.HasPrefix(string(appendDocumentBytes(nil, b)), `{"`+wrappedBase64), c.textBytes && utf8.Valid(b):
		return nil, errWrapped
	}
	return d.bindBytes(c, b)
}
