package validate_test

import (
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/validate"
)

func problems(t *testing.T, schema, value string) []string {
	t.Helper()
	s, err := validate.Compile("servers", []byte(schema))
	require.NoError(t, err)
	var out []string
	found, total := s.Validate(codec.Decode([]byte(value)), 1000)
	require.Len(t, found, total)
	for _, p := range found {
		out = append(out, p.Pointer+": "+p.Message)
	}
	return out
}

func TestAProblemSaysWhereAndWhy(t *testing.T) {
	for name, c := range map[string]struct {
		schema, value string
		want          []string
	}{
		"nothing wrong":              {`{"properties":{"port":{"minimum":1}}}`, `{"port":22}`, nil},
		"in a member":                {`{"properties":{"port":{"minimum":1}}}`, `{"port":0}`, []string{"/port: must be >= 1"}},
		"in an element":              {`{"items":{"type":"string"}}`, `["a",1]`, []string{"/1: expected string, but got number"}},
		"in several places":          {`{"required":["a"],"properties":{"b":{"const":"y"},"c":{"enum":["w","x"]}}}`, `{"b":2,"c":3}`, []string{": missing properties: 'a'", `/b: value must be "y"`, `/c: value must be one of "w", "x"`}},
		"a slash and a tilde in it":  {`{"additionalProperties":{"type":"string"}}`, `{"a/b~c":1}`, []string{"/a~1b~0c: expected string, but got number"}},
		"a name that is no URL":      {`{"additionalProperties":{"type":"string"}}`, `{"50% of ü?#":1}`, []string{"/50% of ü?#: expected string, but got number"}},
		"a name like an escape":      {`{"additionalProperties":{"type":"string"}}`, `{"%41":1}`, []string{"/%41: expected string, but got number"}},
		"a member that must not be":  {`{"additionalProperties":false,"properties":{"a":true}}`, `{"a":1,"b":2}`, []string{": additionalProperties 'b' not allowed"}},
		"named like a keyword":       {`{"properties":{"format":false,"multipleOf":false,"minimum":false}}`, `{"format":1,"multipleOf":1,"minimum":1}`, []string{"/format: not allowed", "/minimum: not allowed", "/multipleOf: not allowed"}},
		"a format":                   {`{"properties":{"mail":{"format":"email"}}}`, `{"mail":"nobody"}`, []string{"/mail: is not valid 'email'"}},
		"a time":                     {`{"format":"date-time"}`, `"2024-13-01T00:00:00Z"`, []string{": is not valid 'date-time'"}},
		"a length counts characters": {`{"maxLength":3}`, `"äöü😀"`, []string{": length must be <= 3"}},
		"the reference inside":       {`{"$defs":{"p":{"type":"integer"}},"properties":{"a":{"$ref":"#/$defs/p"}}}`, `{"a":"x"}`, []string{"/a: expected integer, but got string"}},
		"a keyword of draft 2020-12": {`{"prefixItems":[{"type":"string"}]}`, `[1]`, []string{"/0: expected string, but got number"}},
		"unevaluated":                {`{"properties":{"a":true},"unevaluatedProperties":false}`, `{"b":1}`, []string{"/b: not allowed"}},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, problems(t, c.schema, c.value)) })
	}
}

func TestNumbersAreHeldAgainstTheSchemaExactly(t *testing.T) {
	for name, c := range map[string]struct {
		schema, value string
		valid         bool
	}{
		"2^53+1 is not 2^53":         {`{"const":9007199254740992}`, `9007199254740993`, false},
		"2^53+1 is itself":           {`{"const":9007199254740993}`, `9007199254740993`, true},
		"1e400 is an integer":        {`{"type":"integer"}`, `1e400`, true},
		"1e400 is more than 1e399":   {`{"exclusiveMinimum":1e399}`, `1e400`, true},
		"1.0 is an integer":          {`{"type":"integer"}`, `1.0`, true},
		"1.5 is not":                 {`{"type":"integer"}`, `1.5`, false},
		"1e-400 is more than 0":      {`{"exclusiveMinimum":0}`, `1e-400`, true},
		"0.3 is a multiple of 0.1":   {`{"multipleOf":0.1}`, `0.3`, true},
		"1e9999 is a multiple of 10": {`{"multipleOf":10}`, `1e9999`, true},
		"1 and 1.0 are not unique":   {`{"uniqueItems":true}`, `[1,1.0]`, false},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.valid, problems(t, c.schema, c.value) == nil) })
	}
}

func TestASchemaMustStandAlone(t *testing.T) {
	for name, schema := range map[string]string{
		"a file":              `{"$ref":"file:///etc/passwd"}`,
		"the network":         `{"$ref":"https://example.com/schema.json"}`,
		"a relative name":     `{"$ref":"users.json#/a"}`,
		"a base of its own":   `{"$id":"https://example.com/a.json","$ref":"b.json"}`,
		"an unknown language": `{"$schema":"https://example.com/language"}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := validate.Compile("servers", []byte(schema))
			require.ErrorContains(t, err, "schema of servers")
			require.ErrorContains(t, err, "which must stand alone")
		})
	}
	for name, schema := range map[string]string{
		"its own $id":          `{"$id":"https://example.com/a.json","$defs":{"x":true},"$ref":"#/$defs/x"}`,
		"the known language":   `{"$schema":"https://json-schema.org/draft/2020-12/schema"}`,
		"an embedded resource": `{"$defs":{"x":{"$id":"https://example.com/x","type":"string"}},"$ref":"https://example.com/x"}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := validate.Compile("servers", []byte(schema))
			require.NoError(t, err)
		})
	}
}

func TestASchemaOfAnotherDraftIsRefused(t *testing.T) {
	for name, schema := range map[string]string{
		"draft-04":             `{"$schema":"http://json-schema.org/draft-04/schema#"}`,
		"draft-07":             `{"$schema":"http://json-schema.org/draft-07/schema#","$ref":"#/definitions/x","maxLength":1,"definitions":{"x":{"type":"string"}}}`,
		"2019-09":              `{"$schema":"https://json-schema.org/draft/2019-09/schema"}`,
		"an embedded resource": `{"$ref":"https://example.com/x","$defs":{"x":{"$id":"https://example.com/x","$schema":"http://json-schema.org/draft-07/schema#"}}}`,
		"the latest":           `{"$schema":"http://json-schema.org/schema#"}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := validate.Compile("servers", []byte(schema))
			require.ErrorContains(t, err, "schema of servers: $schema names http")
			require.ErrorContains(t, err, "only draft 2020-12 is read")
		})
	}
	for name, schema := range map[string]string{
		"a property of that name": `{"properties":{"$schema":{"type":"string"}}}`,
		"a value":                 `{"const":{"$id":"x","$schema":"http://json-schema.org/draft-07/schema#"}}`,
		"2020-12 with a fragment": `{"$schema":"https://json-schema.org/draft/2020-12/schema#"}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := validate.Compile("servers", []byte(schema))
			require.NoError(t, err)
		})
	}
}

func TestASchemaThatIsNoneIsRefused(t *testing.T) {
	for name, schema := range map[string]string{
		"not JSON":            `{`,
		"two values":          `{} {}`,
		"a number":            `1`,
		"an unknown type":     `{"type":"strange"}`,
		"a bad pattern":       `{"pattern":"("}`,
		"a negative length":   `{"minLength":-1}`,
		"a reference to none": `{"$ref":"#/$defs/none"}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := validate.Compile("servers", []byte(schema))
			require.ErrorContains(t, err, "schema of servers")
		})
	}
}

func TestASchemaThatNeverEndsIsAProblemAndNotAHang(t *testing.T) {
	s, err := validate.Compile("servers", []byte(`{"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}},"$ref":"#/$defs/a"}`))
	if err != nil {
		return // found even earlier
	}
	found, total := s.Validate(codec.Decode([]byte(`{"a":"s3cret"}`)), 2)
	require.Len(t, found, total)
	require.NotEmpty(t, found)
	require.NotContains(t, found[0].Message, "s3cret")
}

func TestTheFirstOfManyProblemsAreTold(t *testing.T) {
	s, err := validate.Compile("servers", []byte(`{"items":{"allOf":[{"type":"string"},{"minimum":1}]}}`))
	require.NoError(t, err)
	value := codec.Decode([]byte("[" + strings.Repeat("0,", 999) + "0]"))
	all, total := s.Validate(value, math.MaxInt)
	require.Len(t, all, 2000)
	require.Equal(t, 2000, total)
	require.Equal(t, []validate.Problem{{"/0", "expected string, but got number"}, {"/0", "must be >= 1"}, {"/1", "expected string, but got number"}}, all[:3])
	for _, most := range []int{0, 1, 2, 3, 700, 999, 1000, 1001, 1999, 2000, 2001} {
		found, total := s.Validate(value, most)
		require.True(t, slices.Equal(all[:min(most, 2000)], found), most)
		require.Equal(t, 2000, total)
	}
}

func TestAProblemDoesNotHoldTheValue(t *testing.T) {
	s, err := validate.Compile("servers", []byte(`{"format":"email"}`))
	require.NoError(t, err)
	live := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := live()
	var kept []validate.Problem
	for range 10 {
		found, _ := s.Validate(strings.Repeat("m", 1<<20), 1)
		kept = append(kept, found...)
	}
	after := live()
	require.Len(t, kept, 10)
	require.Less(t, after-min(before, after), uint64(1<<20))
	runtime.KeepAlive(kept)
}

func TestDeepValuesAreValidated(t *testing.T) {
	depth := 100
	value := strings.Repeat(`{"a":`, depth) + `1` + strings.Repeat(`}`, depth)
	found := problems(t, `{"type":"object","properties":{"a":{"$ref":"#"}}}`, value)
	require.Equal(t, []string{strings.Repeat("/a", depth) + ": expected object, but got number"}, found)
}
