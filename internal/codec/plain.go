package codec

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tomo-project/backup/internal/fault"
)

// A syntaxError is an error of this package about the text at an offset.
type syntaxError struct {
	at   int64
	text string
}

func (e *syntaxError) Error() string { return e.text }

// plain says an error of jsontext in fixed words. The error itself quotes the text
// that is read, which may be a secret. Its offset counts from the place where
// jsontext began to read.
func plain(err error) error {
	s, ok := errors.AsType[*jsontext.SyntacticError](err)
	if !ok || s.Err == nil {
		return err
	}
	text := s.Err.Error()
	for _, w := range wordings {
		if strings.HasPrefix(text, w.begins) && strings.HasSuffix(text, w.ends) {
			return errors.New(w.text)
		}
	}
	if isFixed(s.Err) {
		return s.Err
	}
	return errors.New("the text is not JSON")
}

// isFixed tells whether the text of an error of jsontext is always the same.
func isFixed(err error) bool {
	return isEnd(err) || isTooDeep(err) || errors.Is(err, jsontext.ErrNonStringName) || err.Error() == "missing value after object name"
}

// wordings are the errors of jsontext that quote the text, by how they begin and end.
var wordings = []struct{ begins, ends, text string }{
	{"invalid surrogate pair", "", "a string has an escape of half a surrogate pair"},
	{"invalid escape sequence", "", "a string has an escape that JSON does not know"},
	{"invalid UTF-8", "", "the text is not valid UTF-8"},
	{"invalid character", " in string (expecting non-control character)", "a string has a control character that is not escaped"},
	{"invalid character", " in number (expecting digit)", "a number lacks a digit"},
	{"invalid character", " at start of value", "no value begins with the character here"},
	{"invalid character", " after object name (expecting ':')", "a colon is missing after the name of a member"},
	{"invalid character", " after object value (expecting ',' or '}')", "a comma or } is missing after a member"},
	{"invalid character", " after array element (expecting ',' or ']')", "a comma or ] is missing after an element"},
	{"invalid character", " after array value (expecting ',' or ']')", "a comma or ] is missing after an element"},
	{"invalid character", " after top-level value", "something follows the value"},
	{"invalid character", "", "the text has a character that JSON does not allow here"},
}

// plainMeaning says an error of jsonv2 without the types of Go.
func plainMeaning(err error) error {
	s, ok := errors.AsType[*jsonv2.SemanticError](err)
	if !ok {
		return err
	}
	where := ""
	if s.JSONPointer != "" {
		where = "at " + fault.Shorten(string(s.JSONPointer)) + ": "
	}
	switch {
	case errors.Is(s.Err, jsonv2.ErrUnknownName):
		return fmt.Errorf("%sit is a member that the format does not have", where)
	case s.Err != nil && s.JSONKind == 0:
		return fmt.Errorf("%s%w", where, s.Err)
	}
	return fmt.Errorf("%s%s stands where %s belongs", where, kindName(s.JSONKind), typeName(s.GoType))
}

func kindName(kind jsontext.Kind) string {
	switch kind {
	case '"':
		return "a string"
	case '0':
		return "a number"
	case 't', 'f':
		return "true or false"
	case '[':
		return "an array"
	case '{':
		return "an object"
	}
	return "something else"
}

// typeName says in words of JSON which values a type of Go takes.
func typeName(t reflect.Type) string {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil {
		return "another value"
	}
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "an integer"
	case reflect.Slice:
		return "an array"
	case reflect.Map, reflect.Struct:
		return "an object"
	}
	return "another value"
}
