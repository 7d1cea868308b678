package validate_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup/internal/onepass"
	"github.com/tomo-project/backup/internal/onepass/passtest"
	"github.com/tomo-project/backup/internal/validate"
	"github.com/tomo-project/backup/tomo"
)

func newJudge(t testing.TB, schema string, pointers ...string) *passtest.Judge {
	t.Helper()
	j, err := passtest.New([]byte(schema), pointers...)
	require.NoError(t, err)
	return j
}

func tomoJudges(t testing.TB) (judges map[string]*passtest.Judge) {
	judges = map[string]*passtest.Judge{}
	for _, c := range tomo.App("1.0.0").Collections {
		pointers := c.Secrets
		if c.Key != "" {
			pointers = append(pointers, c.Key)
		}
		for _, ref := range c.Refs {
			pointers = append(pointers, ref.Pointer)
		}
		judges[c.Name] = newJudge(t, string(c.Schema), pointers...)
	}
	return judges
}

// tomoRecord returns what the schema sees of a sample.
func tomoRecord(collection string, i int) string {
	record := tomo.Sample(collection, i)
	if collection == "settings" {
		key, _ := json.Marshal(record.Key)
		return fmt.Sprintf("{%s:%s}", key, record.Value)
	}
	return string(record.Value)
}

func TestThePassAcceptsTomosRecords(t *testing.T) {
	for name, j := range tomoJudges(t) {
		for i := range 16 {
			accepted, valid := j.Check(t, []byte(tomoRecord(name, i)))
			require.True(t, valid, name)
			require.True(t, accepted, "%s: %s", name, tomoRecord(name, i))
		}
	}
}

const serverSchema = `{
	"type": "object",
	"required": ["id", "name", "host", "port", "user", "status", "created_at"],
	"additionalProperties": false,
	"properties": {
		"id": {"type": "string", "pattern": "^[a-z0-9-]{1,64}$"},
		"name": {"type": "string", "minLength": 1, "maxLength": 200},
		"host": {"type": "string", "minLength": 1, "maxLength": 253},
		"port": {"type": "integer", "minimum": 1, "maximum": 65535},
		"user": {"type": "string"},
		"status": {"enum": ["online", "offline", "unknown"]},
		"description": {"type": ["string", "null"]},
		"tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": true},
		"priority": {"type": "integer", "minimum": 0},
		"created_at": {"type": "string", "format": "date-time"}
	}
}`

const serverRecord = `{"id":"srv-00000042","name":"node 42","host":"10.0.0.42","port":43,"user":"tomo","status":"online","description":"rack 1, second shelf, behind the door with the sign","tags":["rack-1","production"],"priority":2,"created_at":"2024-01-15T10:30:00Z"}`

func benchmarkRead(b *testing.B, j *passtest.Judge, text string) {
	record, marks := []byte(text), make([]onepass.Mark, 0, 16)
	b.SetBytes(int64(len(record)))
	b.ReportAllocs()
	for b.Loop() {
		_, ok := j.Pass.Read(record, onepass.Limits{Depth: 100, Values: 10000}, marks[:0])
		if !ok {
			b.Fatal("not accepted")
		}
	}
}

func BenchmarkRead(b *testing.B) {
	b.Run("server", func(b *testing.B) { benchmarkRead(b, newJudge(b, serverSchema, "/id"), serverRecord) })
	kind := func(kind string) string {
		return strings.Replace(serverSchema, `"properties": {`, `"properties": {"kind": {"const": "`+kind+`"},`, 1)
	}
	b.Run("choice", func(b *testing.B) {
		j := newJudge(b, `{"oneOf": [`+kind("a")+`,`+kind("b")+`]}`, "/id")
		benchmarkRead(b, j, `{"kind":"b",`+serverRecord[1:])
	})
	b.Run("no schema", func(b *testing.B) { benchmarkRead(b, newJudge(b, `{}`, "/id"), serverRecord) })
	for name, j := range tomoJudges(b) {
		b.Run(name, func(b *testing.B) { benchmarkRead(b, j, tomoRecord(name, 1)) })
	}
}

// BenchmarkCompile measures what the first use of a schema costs, what a use of the same
// schema costs, and what a Pass costs beside.
func BenchmarkCompile(b *testing.B) {
	for _, c := range tomo.App("1.0.0").Collections {
		b.Run(c.Name+"/new", func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				_, err := validate.Compile(c.Name, fmt.Append(c.Schema, strings.Repeat(" ", i)))
				require.NoError(b, err)
			}
		})
		b.Run(c.Name+"/again", func(b *testing.B) {
			for b.Loop() {
				_, err := validate.Compile(c.Name, c.Schema)
				require.NoError(b, err)
			}
		})
		b.Run(c.Name+"/pass", func(b *testing.B) {
			s, err := validate.Compile(c.Name, c.Schema)
			require.NoError(b, err)
			for b.Loop() {
				onepass.New(s.Rule(), [][]string{{"id"}})
			}
		})
	}
}

func BenchmarkValidate(b *testing.B) {
	run := func(name string, j *passtest.Judge, text string) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if !j.Valid([]byte(text)) {
					b.Fatal("not valid")
				}
			}
		})
	}
	run("server", newJudge(b, serverSchema, "/id"), serverRecord)
	for name, j := range tomoJudges(b) {
		run(name, j, tomoRecord(name, 1))
	}
}

func TestThePassAgreesWithTheValidator(t *testing.T) {
	deep := strings.Repeat("[", 12) + strings.Repeat("]", 12)
	for name, c := range map[string]struct {
		schema   string
		values   []string // valid values, which the pass must accept
		refused  []string // which it must not, valid or not
		pointers []string
	}{
		"any value": {schema: `{}`, pointers: []string{"/a", "/*/b", "/0"},
			values: []string{`1`, `-0.5e+0012`, `"\ud83d\ude00\/"`, `"ü😀"`, `null`, `true`, `false`, `[]`, `{}`, `{"a":{"b":[1]}}`, `[[1],{"b":2}]`, `{"\u0061":1}`, deep, `{"a":1,"b":2,"c":{"a":1}}`},
			refused: []string{``, ` 1`, `1 `, `01`, `-`, `1.`, `.5`, `1e`, `1e12345`, `"`, `"\x"`, `"\ud83d"`, `"\ude00\ud83d"`, "\"\x80\"", "\"\n\"", `nul`, `[1,]`, `[,1]`, `[1 ,2]`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{a:1}`, `{"a":1,"\u0061":2}`, `{"a":1,"a":2}`,
				"[" + deep + "]", `[` + strings.Repeat("1,", 199) + "1]", "1" + strings.Repeat("0", 1024), `1]`, `{"a":1}}`, `tru`, "\xef\xbb\xbf1"}},
		"numbers": {schema: `{"type":"number","minimum":-1.5,"exclusiveMaximum":10}`,
			values: []string{`-1.5`, `-1.50`, `-15e-1`, `0`, `-0`, `9.999`, `9.99999999999999999999`, `1e0`}, refused: []string{`-1.51`, `10`, `10.0`, `1e1`, `-2`, `123456789012345678901234567890`}},
		"large bounds": {schema: `{"minimum":9007199254740993,"maximum":123456789012345678901234567890}`,
			values: []string{`9007199254740993`, `123456789012345678901234567890`, `123456789012345678`}, refused: []string{`9007199254740992`, `123456789012345678901234567891`, `1`}},
		"integers":      {schema: `{"type":"integer","multipleOf":3}`, values: []string{`3`, `-3`, `3.0`, `30e1`, `0.3e1`}, refused: []string{`1`, `1.5`, `4.0`, `"3"`}},
		"steps":         {schema: `{"multipleOf":0.01}`, values: []string{`1`, `0.25`, `1e3`}, refused: []string{`0.001`}},
		"enum":          {schema: `{"enum":["a",1.0,null,true,"ü"]}`, values: []string{`"a"`, `"\u0061"`, `1`, `1.0`, `10e-1`, `null`, `true`, `"ü"`, `"\u00fc"`}, refused: []string{`"b"`, `2`, `false`, `[]`}},
		"const":         {schema: `{"const":9007199254740993}`, values: []string{`9007199254740993`, `9007199254740993.0`}, refused: []string{`9007199254740992`}},
		"lengths":       {schema: `{"minLength":2,"maxLength":3}`, values: []string{`"ab"`, `"äö"`, `"😀😀😀"`, `"\ud83d\ude00b"`, `1`}, refused: []string{`"a"`, `"😀"`, `"abcd"`, `"äöü😀"`}},
		"pattern":       {schema: `{"pattern":"^[a-zä]+(\\b|$)"}`, values: []string{`"abc"`, `"ä"`, `"a b"`}, refused: []string{`"1"`, `""`}},
		"formats":       {schema: `{"format":"date-time"}`, values: []string{`"2024-02-29T10:30:00Z"`, `"2024-01-15t10:30:00.5z"`, `"2016-12-31T23:59:60Z"`, `"2024-01-15T10:30:00+01:00"`, `5`}, refused: []string{`"2023-02-29T10:30:00Z"`, `"2024-01-15 10:30:00Z"`, `"2024-01-15T24:30:00Z"`, `"2024-13-15T10:30:00Z"`}},
		"email":         {schema: `{"format":"email"}`, values: []string{`"a.b@example.org"`, `"\"a b\"@example.org"`, `"a@[10.0.0.1]"`}, refused: []string{`"a"`, `"a..b@c.org"`, `".a@b"`, `"a.@b"`, `"a@b."`, `"a@-b"`}},
		"names":         {schema: `{"propertyNames":{"maxLength":2},"properties":{"ab":true,"abc":true}}`, values: []string{`{"ab":1,"x":2}`}, refused: []string{`{"abc":1}`, `{"xyz":1}`}},
		"patterns":      {schema: `{"patternProperties":{"^a":{"type":"integer"},"b$":{"minimum":3}},"properties":{"axb":{"maximum":9}},"additionalProperties":{"type":"string"}}`, values: []string{`{"axb":5,"ab":4,"c":"d"}`}, refused: []string{`{"axb":10}`, `{"axb":1}`, `{"ayb":1}`, `{"c":1}`, `{"ac":"x"}`}, pointers: []string{"/axb", "/*"}},
		"dependent":     {schema: `{"dependentRequired":{"a":["b"]},"dependentSchemas":{"c":{"required":["d"]}}}`, values: []string{`{"a":1,"b":1}`, `{"c":1,"d":1}`, `{}`}, refused: []string{`{"a":1}`, `{"c":1}`}},
		"counts":        {schema: `{"minProperties":1,"maxProperties":2,"minItems":1,"maxItems":2}`, values: []string{`{"a":1}`, `[1,2]`}, refused: []string{`{}`, `[]`, `[1,2,3]`, `{"a":1,"b":2,"c":3}`}},
		"unique":        {schema: `{"uniqueItems":true}`, values: []string{`[1,2,"a",null,true,false,1.5]`, `["a","b"]`, `[[]]`, `[1,2,3,4,5,6,7,8,9,10,11,12,13,14]`, `["a\n","b\n"]`}, refused: []string{`[1,1.0]`, `["a","\u0061"]`, `[0,-0]`, `[[1],[1.0]]`, `[1,2,3,4,5,6,7,8,9,10,11,12,13,13]`}},
		"prefix":        {schema: `{"prefixItems":[{"type":"string"}],"items":{"type":"integer"},"contains":{"const":7}}`, values: []string{`["a",7]`}, refused: []string{`[7]`, `["a"]`, `["a","b",7]`}, pointers: []string{"/0", "/*", "/1"}},
		"all":           {schema: `{"allOf":[{"minimum":1},{"maximum":5}],"anyOf":[{"type":"string"},{"multipleOf":2}]}`, values: []string{`2`, `"a"`}, refused: []string{`0`, `6`, `3`}},
		"one":           {schema: `{"oneOf":[{"properties":{"kind":{"const":"a"}},"required":["kind"]},{"properties":{"kind":{"const":"b"},"n":{"type":"integer"}},"required":["kind","n"]}]}`, values: []string{`{"kind":"a"}`, `{"kind":"b","n":1}`}, refused: []string{`{"kind":"c"}`, `{"kind":"b"}`}},
		"null or":       {schema: `{"properties":{"a":{"anyOf":[{"type":"null"},{"type":"object","properties":{"b":{"type":"string"}}}]}}}`, values: []string{`{"a":null}`, `{"a":{"b":"c"}}`}, refused: []string{`{"a":1}`, `{"a":{"b":1}}`}, pointers: []string{"/a", "/a/b"}},
		"not":           {schema: `{"not":{"type":"string"},"if":{"type":"array"},"then":{"minItems":1},"else":{"not":{"const":5}}}`, values: []string{`[1]`, `1`}, refused: []string{`"a"`, `[]`, `5`}},
		"recursion":     {schema: `{"$ref":"#/$defs/n","$defs":{"n":{"type":"object","properties":{"n":{"$ref":"#/$defs/n","maxProperties":1}},"additionalProperties":false}}}`, values: []string{`{"n":{"n":{}}}`}, refused: []string{`{"n":{"n":1}}`, `{"m":1}`}, pointers: []string{"/n/n"}},
		"an id":         {schema: `{"$id":"https://example.com/a","$defs":{"x":{"$id":"b","type":"string"}},"$ref":"b"}`, values: []string{`"a"`}, refused: []string{`1`}},
		"never":         {schema: `{"properties":{"a":false},"additionalProperties":true}`, values: []string{`{"b":1}`}, refused: []string{`{"a":1}`}},
		"not known":     {schema: `{"unevaluatedProperties":false,"properties":{"a":{"$dynamicRef":"#"}}}`, refused: []string{`{}`}},
		"huge numbers":  {schema: `{"not":{"enum":[1e1000001]}}`, refused: []string{`5`}},
		"huge in array": {schema: `{"anyOf":[{"const":[{"a":1e1000001}]},true]}`, refused: []string{`[{"a":5}]`}},
		"of another":    {schema: `{"$ref":"https://json-schema.org/draft/2020-12/schema"}`, refused: []string{`{}`, `{"type":5}`}},
	} {
		t.Run(name, func(t *testing.T) {
			j := newJudge(t, c.schema, c.pointers...)
			for range 2 { // the pass learns
				for _, text := range c.values {
					accepted, valid := j.Check(t, []byte(text))
					require.True(t, valid, "not valid: %s", text)
					require.True(t, accepted, "not accepted: %s", text)
				}
				for _, text := range c.refused {
					accepted, _ := j.Check(t, []byte(text))
					require.False(t, accepted, "accepted: %s", text)
				}
			}
		})
	}
}
