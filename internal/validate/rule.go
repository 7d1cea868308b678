package validate

import (
	"encoding/json"
	"maps"
	"math/big"
	"reflect"
	"runtime"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v5"

	"github.com/tomo-project/backup/internal/onepass"
)

// newRule makes a rule of a compiled schema. The rule accepts only values that the schema
// accepts, and refuses only values that it refuses. What the rule cannot say, it doubts.
func newRule(s *jsonschema.Schema) *onepass.Rule {
	doc, _, _ := strings.Cut(s.Location, "#")
	r := ruler{made: map[*jsonschema.Schema]*onepass.Rule{}, loops: map[*jsonschema.Schema]bool{}, doc: doc + "#"}
	rule := r.rule(s)
	if r.beyond {
		return &onepass.Rule{Kinds: onepass.EveryKind, Doubt: onepass.EveryKind}
	}
	return rule
}

// A ruler makes rules of a schema and of all those in it.
type ruler struct {
	made  map[*jsonschema.Schema]*onepass.Rule
	loops map[*jsonschema.Schema]bool // see doLoop
	doc   string                      // how the locations in the schema begin

	// beyond is set if the validator may panic or go in circles for some value. Then it
	// refuses the value, wherever in the schema that happens, even below a "not".
	beyond bool
}

// kinds are the kinds of values that a type of JSON Schema has.
var kinds = map[string]onepass.Kinds{
	"null": onepass.Null, "boolean": onepass.Boolean, "number": onepass.Number, "integer": onepass.Number,
	"string": onepass.String, "array": onepass.Array, "object": onepass.Object,
}

// rule returns the rule of a schema, or nil for nil.
func (r *ruler) rule(s *jsonschema.Schema) *onepass.Rule {
	if s == nil {
		return nil
	}
	if made := r.made[s]; made != nil {
		return made
	}
	rule := &onepass.Rule{Kinds: onepass.EveryKind}
	r.made[s] = rule
	switch {
	case isForeign(s, r.doc), r.doLoop(s):
		r.beyond = true
		return rule
	case s.Always != nil:
		if !*s.Always {
			rule.Kinds = 0
		}
		return rule
	}
	if len(s.Types) > 0 {
		rule.Kinds = 0
		for _, t := range s.Types {
			rule.Kinds |= kinds[t]
		}
		rule.Integer = slices.Contains(s.Types, "integer") && !slices.Contains(s.Types, "number")
	}
	if len(s.Constant) > 0 {
		rule.Enums = append(rule.Enums, r.enum(s.Constant[:1]))
	}
	if len(s.Enum) > 0 {
		rule.Enums = append(rule.Enums, r.enum(s.Enum))
	}
	setString(rule, s)
	setNumber(rule, s)
	r.setObject(rule, s)
	r.setArray(rule, s)
	r.combine(rule, s)
	return rule
}

// isForeign tells whether a schema is outside of doc or of another draft, or has a keyword
// that no rule has. Package jsonschema has schemas of its own, which describe schemas, and
// any other may refer to them.
func isForeign(s *jsonschema.Schema, doc string) bool {
	return s.Draft != jsonschema.Draft2020 || !strings.HasPrefix(s.Location, doc) ||
		s.RecursiveRef != nil || s.DynamicRef != nil || len(s.Extensions) > 0 ||
		s.RegexProperties || s.Dependencies != nil || s.Items != nil || s.AdditionalItems != nil
}

// enum returns the set of values.
func (r *ruler) enum(values []any) (e onepass.Enum) {
	for _, v := range values {
		r.beyond = r.beyond || hasHugeNumber(v)
		switch v := v.(type) {
		case nil:
			e.Null = true
		case bool:
			e.True, e.False = e.True || v, e.False || !v
		case string:
			e.Strings = append(e.Strings, v)
		case json.Number:
			if n, ok := new(big.Rat).SetString(v.String()); ok {
				e.Numbers = append(e.Numbers, n)
			}
		case []any:
			e.Doubt |= onepass.Array
		case map[string]any:
			e.Doubt |= onepass.Object
		default:
			e.Doubt = onepass.EveryKind
		}
	}
	return e
}

// hasHugeNumber tells whether a value has a number that package big does not take, as
// 1e9999999. The validator panics where it compares it.
func hasHugeNumber(v any) bool {
	switch v := v.(type) {
	case json.Number:
		_, ok := new(big.Rat).SetString(v.String())
		return !ok
	case []any:
		return slices.ContainsFunc(v, hasHugeNumber)
	case map[string]any:
		return slices.ContainsFunc(slices.Collect(maps.Values(v)), hasHugeNumber)
	}
	return false
}

func setString(rule *onepass.Rule, s *jsonschema.Schema) {
	format := format(s.Format)
	if s.MinLength == -1 && s.MaxLength == -1 && s.Pattern == nil && format == nil {
		return
	}
	rule.String = &onepass.StringRule{MinLength: s.MinLength, MaxLength: s.MaxLength, Format: format}
	if s.Pattern != nil {
		rule.String.Pattern = onepass.NewPattern(s.Pattern)
	}
	if format != nil && format.Valid == nil {
		rule.Doubt = onepass.EveryKind // a format of the host may be about any value
	}
}

// format returns a format that the schema asserts, or nil.
func format(name string) *onepass.Format {
	valid := jsonschema.Formats[name]
	if valid == nil {
		return nil
	}
	of := runtime.FuncForPC(reflect.ValueOf(valid).Pointer())
	if of == nil || !strings.HasPrefix(of.Name(), reflect.TypeFor[jsonschema.Schema]().PkgPath()+".is") {
		return &onepass.Format{}
	}
	return &onepass.Format{Name: name, Valid: func(text string) bool { return valid(text) }}
}

func setNumber(rule *onepass.Rule, s *jsonschema.Schema) {
	if s.Minimum == nil && s.ExclusiveMinimum == nil && s.Maximum == nil && s.ExclusiveMaximum == nil && s.MultipleOf == nil {
		return
	}
	if s.MultipleOf != nil && s.MultipleOf.Sign() <= 0 {
		rule.Doubt |= onepass.Number
		return
	}
	rule.Number = &onepass.NumberRule{
		Minimum: s.Minimum, ExclusiveMinimum: s.ExclusiveMinimum,
		Maximum: s.Maximum, ExclusiveMaximum: s.ExclusiveMaximum, MultipleOf: s.MultipleOf,
	}
}

func (r *ruler) setObject(rule *onepass.Rule, s *jsonschema.Schema) {
	object := &onepass.ObjectRule{
		MinProperties: s.MinProperties, MaxProperties: s.MaxProperties, Required: s.Required,
		Names: r.rule(s.PropertyNames), DependentRequired: s.DependentRequired,
	}
	if len(s.Properties) > 0 {
		object.Properties = map[string]*onepass.Rule{}
	}
	for name, property := range s.Properties {
		object.Properties[name] = r.rule(property)
	}
	// The map has no order, and that of the patterns decides nothing.
	for pattern, property := range s.PatternProperties {
		object.Patterns = append(object.Patterns, onepass.PatternRule{Pattern: onepass.NewPattern(pattern), Rule: r.rule(property)})
	}
	switch additional := s.AdditionalProperties.(type) {
	case bool:
		if !additional {
			object.Additional = new(onepass.Rule)
		}
	case *jsonschema.Schema:
		object.Additional = r.rule(additional)
	}
	if r.rule(s.UnevaluatedProperties) != nil {
		rule.Doubt |= onepass.Object
	}
	if len(s.DependentSchemas) > 0 {
		object.Dependent = map[string]*onepass.Rule{}
	}
	for name, schema := range s.DependentSchemas {
		object.Dependent[name] = r.rule(schema)
	}
	if !reflect.DeepEqual(object, &onepass.ObjectRule{MinProperties: -1, MaxProperties: -1}) {
		rule.Object = object
	}
}

func (r *ruler) setArray(rule *onepass.Rule, s *jsonschema.Schema) {
	array := &onepass.ArrayRule{MinItems: s.MinItems, MaxItems: s.MaxItems, Unique: s.UniqueItems, Items: r.rule(s.Items2020)}
	for _, item := range s.PrefixItems {
		array.Prefix = append(array.Prefix, r.rule(item))
	}
	if s.Contains != nil {
		array.Contains, array.MinContains, array.MaxContains = r.rule(s.Contains), s.MinContains, s.MaxContains
	}
	if r.rule(s.UnevaluatedItems) != nil {
		rule.Doubt |= onepass.Array
	}
	if !reflect.DeepEqual(array, &onepass.ArrayRule{MinItems: -1, MaxItems: -1}) {
		rule.Array = array
	}
}

func (r *ruler) combine(rule *onepass.Rule, s *jsonschema.Schema) {
	if s.Ref != nil {
		rule.All = append(rule.All, r.rule(s.Ref))
	}
	rule.All = append(rule.All, r.rules(s.AllOf)...)
	rule.Any, rule.One = r.rules(s.AnyOf), r.rules(s.OneOf)
	rule.Not, rule.If = r.rule(s.Not), r.rule(s.If)
	if s.If != nil {
		rule.Then, rule.Else = r.rule(s.Then), r.rule(s.Else)
	}
}

func (r *ruler) rules(schemas []*jsonschema.Schema) (rules []*onepass.Rule) {
	for _, s := range schemas {
		rules = append(rules, r.rule(s))
	}
	return rules
}

// doLoop tells whether a schema leads back to itself, or to another that does, without a
// step into the value.
func (r *ruler) doLoop(s *jsonschema.Schema) bool {
	if loops, known := r.loops[s]; known {
		return loops
	}
	r.loops[s] = true // until it is known better
	beside := slices.Concat([]*jsonschema.Schema{s.Ref, s.Not, s.If, s.Then, s.Else}, s.AllOf, s.AnyOf, s.OneOf)
	for _, d := range s.DependentSchemas {
		beside = append(beside, d)
	}
	for _, b := range beside {
		if b != nil && r.doLoop(b) {
			return true
		}
	}
	r.loops[s] = false
	return false
}
