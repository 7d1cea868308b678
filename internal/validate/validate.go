// Package validate checks records against JSON Schemas. It is the only package
// that knows jsonschema.
package validate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v5"
)

// A Schema is a compiled JSON Schema. It is safe for concurrent use.
type Schema struct{ schema *jsonschema.Schema }

// Compile compiles a JSON Schema of draft 2020-12. Formats are asserted.
// References to other documents are refused.
func Compile(name string, schema []byte) (*Schema, error) {
	c := jsonschema.NewCompiler()
	c.Draft = jsonschema.Draft2020
	c.AssertFormat = true
	c.LoadURL = func(url string) (io.ReadCloser, error) {
		return nil, fmt.Errorf("%s is outside of the schema, which must stand alone", url)
	}
	// The name is the base of relative references. Nothing can be read from
	// such an address.
	url := "schema:///" + name
	if err := c.AddResource(url, bytes.NewReader(schema)); err != nil {
		return nil, fmt.Errorf("schema of %s: %w", name, err)
	}
	s, err := c.Compile(url)
	if err != nil {
		return nil, fmt.Errorf("schema of %s: %w", name, err)
	}
	return &Schema{s}, nil
}

// A Problem says where and why a value does not satisfy its schema. It does not
// contain the value.
type Problem struct {
	Pointer string
	Message string
}

// Validate returns the problems of a value, in the order of their pointers. The
// value comes from codec.Decode.
func (s *Schema) Validate(v any) (problems []Problem) {
	// The validator computes with numbers and patterns from outside, and may
	// panic.
	defer func() {
		if r := recover(); r != nil {
			problems = []Problem{{Message: "cannot be held against the schema"}}
		}
	}()
	err := s.schema.Validate(v)
	if err == nil {
		return nil
	}
	ve, ok := errors.AsType[*jsonschema.ValidationError](err)
	if !ok {
		return []Problem{{Message: "cannot be held against the schema: the schema does not come to an end"}}
	}
	problems = leaves(nil, ve)
	// The validator visits members in any order.
	slices.SortStableFunc(problems, func(a, b Problem) int { return strings.Compare(a.Pointer, b.Pointer) })
	return problems
}

func leaves(ps []Problem, ve *jsonschema.ValidationError) []Problem {
	if len(ve.Causes) == 0 {
		pointer, err := url.PathUnescape(ve.InstanceLocation)
		if err != nil {
			pointer = ve.InstanceLocation
		}
		return append(ps, Problem{Pointer: pointer, Message: message(ve)})
	}
	for _, cause := range ve.Causes {
		ps = leaves(ps, cause)
	}
	return ps
}

// message returns the text of the validator without the value, which may be a
// secret. Some of its texts quote the value.
func message(ve *jsonschema.ValidationError) string {
	keyword := ve.KeywordLocation[strings.LastIndexByte(ve.KeywordLocation, '/')+1:]
	m := ve.Message
	switch keyword {
	case "format":
		return m[max(0, strings.LastIndex(m, "is not valid ")):]
	case "multipleOf":
		return m[max(0, strings.LastIndex(m, "not multipleOf ")):]
	case "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum":
		m, _, _ = strings.Cut(m, " but found ")
	case "minLength", "maxLength":
		m, _, _ = strings.Cut(m, ", but got ")
	}
	return m
}
