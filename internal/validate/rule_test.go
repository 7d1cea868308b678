package validate

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v5"
	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup/internal/onepass"
)

// Whoever takes another version of the validator finds out here what a rule must heed.
func TestARuleHeedsAllThatASchemaHas(t *testing.T) {
	heeded := strings.Fields(`Location Draft
		Format Always Ref RecursiveRef DynamicRef Types Constant Enum Not AllOf AnyOf OneOf If Then Else
		MinProperties MaxProperties Required Properties PropertyNames RegexProperties PatternProperties AdditionalProperties
		Dependencies DependentRequired DependentSchemas UnevaluatedProperties
		MinItems MaxItems UniqueItems Items AdditionalItems PrefixItems Items2020 Contains MinContains MaxContains UnevaluatedItems
		MinLength MaxLength Pattern Minimum ExclusiveMinimum Maximum ExclusiveMaximum MultipleOf Extensions`)
	// What tells of other things than whether a value is valid, or only for the sake of
	// keywords that no rule has. Content is not asserted.
	others := strings.Fields(`RecursiveAnchor DynamicAnchor ContainsEval ContentEncoding ContentMediaType ContentSchema
		Title Description Default Comment ReadOnly WriteOnly Examples Deprecated`)
	var fields []string
	for f := range reflect.TypeFor[jsonschema.Schema]().Fields() {
		if f.IsExported() {
			fields = append(fields, f.Name)
		}
	}
	known := append(heeded, others...)
	slices.Sort(fields)
	slices.Sort(known)
	require.Equal(t, known, fields)
}

// A host may have formats of its own, since the validator has one set of them for a
// whole program.
func TestAFormatOfTheHostIsLeftToTheValidator(t *testing.T) {
	jsonschema.Formats["tests-own"] = func(v any) bool { return v == "a" }
	defer delete(jsonschema.Formats, "tests-own")
	s, err := compile("servers", []byte(`{"properties":{"a":{"format":"tests-own"}}}`))
	require.NoError(t, err)
	pass := onepass.New(s.Rule(), nil)
	for text, want := range map[string]bool{`{"a":"a"}`: false, `{"a":1}`: false, `{"b":1}`: true} {
		_, ok := pass.Read([]byte(text), onepass.Limits{Depth: 9, Values: 9}, nil)
		require.Equal(t, want, ok, text)
	}
}

// The compiler refuses such schemas today.
func TestASchemaThatNeverEndsIsLeftToTheValidator(t *testing.T) {
	schema := func(in ...*jsonschema.Schema) *jsonschema.Schema {
		return &jsonschema.Schema{Location: "x#", Draft: jsonschema.Draft2020, AllOf: in}
	}
	a, b := schema(), schema()
	a.AllOf, b.Not = []*jsonschema.Schema{b}, a
	root := schema()
	root.Properties = map[string]*jsonschema.Schema{"a": schema(), "b": b}
	require.Equal(t, onepass.EveryKind, newRule(root).Doubt)
	b.Not = nil
	require.Zero(t, newRule(root).Doubt)
}
