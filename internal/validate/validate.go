// Package validate checks records against JSON Schemas. It is the only package
// that knows jsonschema.
package validate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v5"

	"github.com/tomo-project/backup/internal/onepass"
)

// A Schema is a compiled JSON Schema. It is safe for concurrent use.
type Schema struct {
	schema *jsonschema.Schema
	rule   *onepass.Rule
}

// Compile compiles a JSON Schema of draft 2020-12. It refuses one that names another draft,
// and references to other documents. Formats are asserted. It keeps the schemas that were
// compiled last, since an App has its schemas compiled for each call.
func Compile(name string, schema []byte) (*Schema, error) { return compiled.get(name, schema) }

func compile(name string, schema []byte) (*Schema, error) {
	c := jsonschema.NewCompiler()
	c.Draft = jsonschema.Draft2020
	c.AssertFormat = true
	c.LoadURL = func(url string) (io.ReadCloser, error) {
		return nil, fmt.Errorf("%s is outside of the schema, which must stand alone", url)
	}
	if err := checkDraft(schema); err != nil {
		return nil, fmt.Errorf("schema of %s: %w", name, err)
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
	return &Schema{s, newRule(s)}, nil
}

// Rule returns a rule that accepts only values in which Validate finds no problem.
func (s *Schema) Rule() *onepass.Rule { return s.rule }

const draft = "https://json-schema.org/draft/2020-12/schema"

// drafts matches the name of a draft of JSON Schema.
var drafts = regexp.MustCompile(`^https?://json-schema\.org/`)

// checkDraft refuses a schema that names another draft, in it or in a resource that is
// embedded in it. The validator would go by that draft: in the older ones, what stands
// beside a $ref counts for nothing.
func checkDraft(schema []byte) error {
	var root any
	if json.Unmarshal(schema, &root) != nil {
		return nil // the compiler says what is wrong
	}
	var check func(v any, resource bool) error
	check = func(v any, resource bool) error {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				if err := check(e, false); err != nil {
					return err
				}
			}
		case map[string]any:
			_, embedded := v["$id"].(string)
			name, ok := v["$schema"].(string)
			if ok && (resource || embedded) && drafts.MatchString(name) && strings.TrimSuffix(name, "#") != draft {
				return fmt.Errorf("$schema names %.200s, and only draft 2020-12 is read: write the schema in it and name %s, or leave $schema out", name, draft)
			}
			for _, name := range slices.Sorted(maps.Keys(v)) {
				if name == "const" || name == "enum" || name == "default" || name == "examples" {
					continue // values, not schemas
				}
				if err := check(v[name], false); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return check(root, true)
}

// A Problem says where and why a value does not satisfy its schema. It does not
// contain the value.
type Problem struct {
	Pointer string
	Message string
}

// Validate returns the problems of a value, in the order of their pointers: the first
// most of them, and how many there are. The value comes from codec.Decode. A value with
// pointers of more than maxPointers bytes is a problem, although the Rule may accept it.
func (s *Schema) Validate(v any, most int) (problems []Problem, total int) {
	// The validator computes with numbers and patterns from outside, and may
	// panic.
	defer func() {
		if r := recover(); r != nil {
			problems, total = []Problem{{Message: "cannot be held against the schema"}}[:min(most, 1)], 1
		}
	}()
	room := maxPointers
	if !fits(v, 0, &room) {
		return []Problem{{Message: "cannot be held against the schema: it has too many values under long names; shorten the names"}}[:min(most, 1)], 1
	}
	if maxPointers-room > manyPointers {
		oneByOne.Lock()
		defer oneByOne.Unlock()
	}
	err := s.schema.Validate(v)
	if err == nil {
		return nil, 0
	}
	ve, ok := errors.AsType[*jsonschema.ValidationError](err)
	if !ok {
		return []Problem{{Message: "cannot be held against the schema: the schema does not come to an end"}}[:min(most, 1)], 1
	}
	f := first{most: most}
	f.add(ve)
	f.cut()
	return f.problems, f.total
}

// maxPointers bounds the pointers of all values in a value. The validator keeps the whole
// pointer with each problem, and a long name may have 100,000 values under it.
const maxPointers = 32 << 20

// oneByOne lets only one value at a time have pointers of more than manyPointers bytes: what
// the validator says about such a value may take 64 MiB.
var oneByOne sync.Mutex

const manyPointers = 1 << 18

// fits subtracts the lengths of all pointers in a value from room. It tells whether there
// was room for them. at is the length of the pointer of the value.
func fits(v any, at int, room *int) bool {
	if *room -= at; *room < 0 {
		return false
	}
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			if !fits(member, at+1+len(url.PathEscape(name)), room) {
				return false
			}
		}
	case []any:
		for i, element := range v {
			if !fits(element, at+1+len(strconv.Itoa(i)), room) {
				return false
			}
		}
	}
	return true
}

// first gathers the first of many problems.
type first struct {
	problems []Problem // at most twice as many as wanted
	most     int
	total    int
}

func (f *first) add(ve *jsonschema.ValidationError) {
	for _, cause := range ve.Causes {
		f.add(cause)
	}
	if len(ve.Causes) > 0 {
		return
	}
	if f.total++; f.most == 0 {
		return
	}
	pointer, err := url.PathUnescape(ve.InstanceLocation)
	if err != nil {
		pointer = ve.InstanceLocation
	}
	f.problems = append(f.problems, Problem{Pointer: pointer, Message: message(ve)})
	if len(f.problems)/2 >= f.most {
		f.cut()
	}
}

// cut sorts the problems, and drops those that are too many. The validator visits members
// in any order.
func (f *first) cut() {
	slices.SortStableFunc(f.problems, func(a, b Problem) int { return strings.Compare(a.Pointer, b.Pointer) })
	if len(f.problems) > f.most {
		clear(f.problems[f.most:])
		f.problems = f.problems[:f.most]
	}
}

// message returns the text of the validator without the value, which may be a
// secret, and may be long. Some of its texts quote the value.
func message(ve *jsonschema.ValidationError) string {
	keyword := ve.KeywordLocation[strings.LastIndexByte(ve.KeywordLocation, '/')+1:]
	m := ve.Message
	switch keyword {
	case "format":
		return strings.Clone(m[max(0, strings.LastIndex(m, "is not valid ")):])
	case "multipleOf":
		return m[max(0, strings.LastIndex(m, "not multipleOf ")):]
	case "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum":
		m, _, _ = strings.Cut(m, " but found ")
	case "minLength", "maxLength":
		m, _, _ = strings.Cut(m, ", but got ")
	}
	return m
}
