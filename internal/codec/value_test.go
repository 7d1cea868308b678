package codec

import (
	"bytes"
	"encoding/json"
	"errors"
	"hash/maphash"
	"math/big"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"
)

var testLimits = Limits{Depth: 100, Values: 100_000, RecordBytes: 1 << 20, Records: 10_000, TotalBytes: 1 << 26, KeyBytes: 1 << 20}

func TestCompactTakesAwayWhiteSpaceAndNothingElse(t *testing.T) {
	for name, c := range map[string][2]string{
		"white space":       {" {\r\n\t\"a\" : [ 1 , true , null ] }\n", `{"a":[1,true,null]}`},
		"spaces in strings": {`{ "a b" : " c  d " }`, `{"a b":" c  d "}`},
		"escapes stay":      {`"\u0041\/\u2028\n\ud83d\ude00"`, `"\u0041\/\u2028\n\ud83d\ude00"`},
		"escaped names":     {`{"\u0061":1}`, `{"\u0061":1}`},
		"U+2028 in clear":   {"\"\u2028\"", "\"\u2028\""},
		"numbers":           {`[1.50, 1e+2, 1E400, -0, 12345678901234567890, 0.10]`, `[1.50,1e+2,1E400,-0,12345678901234567890,0.10]`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Compact([]byte("before"), []byte(c[0]), testLimits)
			require.NoError(t, err)
			require.Equal(t, "before"+c[1], string(got))
		})
	}
}

func TestCompactRefusesWhatIsNotStrictJSONWithinLimits(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		kind error
	}{
		"nothing":             {"", ErrSyntax},
		"white space":         {" ", ErrSyntax},
		"two values":          {"1 2", ErrSyntax},
		"cut off":             {`{"a":`, ErrSyntax},
		"cut string":          {`"a`, ErrSyntax},
		"escape at the end":   {`"\`, ErrSyntax},
		"NaN":                 {"NaN", ErrSyntax},
		"leading zero":        {"01", ErrSyntax},
		"comment":             {"1/**/", ErrSyntax},
		"trailing comma":      {"[1,]", ErrSyntax},
		"invalid UTF-8":       {"\"\xff\"", ErrSyntax},
		"lone surrogate":      {`"\ud800"`, ErrSyntax},
		"byte order mark":     {"\ufeff1", ErrSyntax},
		"a name twice":        {`{"a":1,"a":1}`, ErrSyntax},
		"a name twice, veil":  {`{"a":{"b":1,"\u0062":1}}`, ErrSyntax},
		"too deep":            {strings.Repeat("[", 101) + strings.Repeat("]", 101), ErrLimit},
		"a million deep":      {strings.Repeat("[", 1_000_000), ErrLimit},
		"too large":           {`"` + strings.Repeat("a", 1<<20) + `"`, ErrLimit},
		"huge exponent":       {"1e99999", ErrLimit},
		"huge exponent, zero": {"[-1.5E-0099999]", ErrLimit},
		"long number":         {strings.Repeat("1", 1025), ErrLimit},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Compact([]byte("before"), []byte(c.text), testLimits)
			require.ErrorIs(t, err, c.kind)
			if c.kind == ErrSyntax {
				require.Equal(t, "before", string(got))
			}
		})
	}
	for _, text := range []string{
		strings.Repeat("[", 100) + strings.Repeat("]", 100), "1e9999", "1e-0000000009999", strings.Repeat("1", 1024),
	} {
		_, err := Compact(nil, []byte(text), testLimits)
		require.NoError(t, err)
	}
}

func TestIdentityIsTheTextOfAStringOrAnInteger(t *testing.T) {
	for value, want := range map[string]string{
		`"a1"`: "a1", `"\u0061/~"`: "a/~", `42`: "42", `"42"`: "42", `-7`: "-7", `12345678901234567891`: "12345678901234567891",
	} {
		got, err := Identity([]byte(value))
		require.NoError(t, err, value)
		require.Equal(t, want, got)
	}
	for _, value := range []string{``, `""`, `1.0`, `1e3`, `null`, `true`, `{}`, `[]`, `{"id":1}`} {
		_, err := Identity([]byte(value))
		require.Error(t, err, value)
	}
}

func TestEqualComparesNumbersByValueAndExactly(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{`1`, `1.0`, true}, {`1`, `1e0`, true}, {`10`, `1E+1`, true}, {`0.1`, `1e-1`, true}, {`-0`, `0`, true}, {`0e9`, `0`, true},
		{`12345678901234567890`, `12345678901234567891`, false},
		{`12345678901234567890`, `1234567890123456789e1`, true},
		{`0.1`, `0.10000000000000000001`, false}, {`1e400`, `1e401`, false}, {`1e9999`, `10e9998`, true}, {`-1`, `1`, false},
		{`1`, `"1"`, false}, {`0`, `false`, false}, {`null`, `false`, false}, {`null`, `{}`, false}, {`[]`, `{}`, false},
		{`"\u0061\/"`, `"a/"`, true}, {`"a"`, `"b"`, false},
		{`{"a":1,"b":[1]}`, `{"\u0062":[1.0],"a":1}`, true}, {`{"a":1}`, `{"a":1,"b":null}`, false}, {`{"a":null}`, `{"b":null}`, false},
		{`[1,2]`, `[2,1]`, false}, {`[1]`, `[1,1]`, false}, {`[{"a":[]}]`, `[{"a":[]}]`, true}, {`[{"a":[]}]`, `[{"a":{}}]`, false},
	} {
		require.Equal(t, c.want, Equal([]byte(c.a), []byte(c.b)), "%s and %s", c.a, c.b)
		require.Equal(t, c.want, Equal([]byte(c.b), []byte(c.a)), "%s and %s", c.b, c.a)
	}
}

func TestMergeTakesObjectsMemberByMember(t *testing.T) {
	for _, c := range []struct{ existing, incoming, want string }{
		{`{"a":1,"b":2}`, `{"b":3,"c":4}`, `{"a":1,"b":3,"c":4}`},
		{`{"z":1,"a":{"x":1,"y":[1,2]}}`, `{"a":{"y":[3],"n":null}}`, `{"z":1,"a":{"x":1,"y":[3],"n":null}}`},
		{`{"a":{"x":1}}`, `{"a":null}`, `{"a":null}`}, {`{"a":null}`, `{"a":{"x":1}}`, `{"a":{"x":1}}`},
		{`{"a":1}`, `[1]`, `[1]`}, {`1`, `{"a":1}`, `{"a":1}`}, {`{}`, `{}`, `{}`}, {`{}`, `{"a":{}}`, `{"a":{}}`},
		{`{"\u0061":1}`, `{"a":12345678901234567891}`, `{"a":12345678901234567891}`},
	} {
		require.Equal(t, c.want, string(Merge([]byte(c.existing), []byte(c.incoming))), "%s into %s", c.incoming, c.existing)
	}
}

func pointers(t testing.TB, texts ...string) []Pointer {
	var ps []Pointer
	for _, text := range texts {
		p, err := ParsePointer(text)
		require.NoError(t, err)
		ps = append(ps, p)
	}
	return ps
}

func TestDiffNamesTheFieldsAndMasksTheSecrets(t *testing.T) {
	for name, c := range map[string]struct {
		before, after string
		hidden        []string
		want          []string
	}{
		"same but for form":          {`{"a":1,"b":2}`, `{"b":2.0,"a":1}`, nil, nil},
		"changed, gone and new":      {`{"a":1,"b":2}`, `{"a":3,"c":4}`, nil, []string{"/a 1 3", "/b 2 ", "/c  4"}},
		"arrays as a whole":          {`{"a":[1,2]}`, `{"a":[1,3]}`, nil, []string{"/a [1,2] [1,3]"}},
		"names are escaped":          {`{"a/b~":1}`, `{"a/b~":2}`, nil, []string{"/a~1b~0 1 2"}},
		"not objects":                {`1`, `2`, nil, []string{" 1 2"}},
		"secret":                     {`{"p":"MARK1"}`, `{"p":"MARK2"}`, []string{"/p"}, []string{"/p X X"}},
		"secret in another form":     {`{"p":"MARK1"}`, `{"p":{"q":"MARK2"}}`, []string{"/p"}, []string{"/p X X"}},
		"secret nested":              {`{"a":{"p":"MARK1","q":1}}`, `{"a":{"p":"MARK2","q":2}}`, []string{"/a/p"}, []string{"/a/p X X", "/a/q 1 2"}},
		"secret in an object added":  {`{}`, `{"a":{"p":"MARK","q":1}}`, []string{"/a/p"}, []string{`/a  {"p":X,"q":1}`}},
		"secret in an object gone":   {`{"a":{"p":"MARK","q":1}}`, `{}`, []string{"/a/p"}, []string{`/a {"p":X,"q":1} `}},
		"secret where a value was":   {`{"a":1}`, `{"a":{"p":"MARK"}}`, []string{"/a/p"}, []string{`/a 1 {"p":X}`}},
		"secrets in an array":        {`{"a":[{"p":"MARK1"}]}`, `{"a":[{"p":"MARK2"},{"p":"MARK3"}]}`, []string{"/a/*/p"}, []string{`/a [{"p":X}] [{"p":X},{"p":X}]`}},
		"secrets of any member":      {`{"env":{"A":"MARK1"}}`, `{"env":{"A":"MARK2","B":"MARK3"}}`, []string{"/env/*"}, []string{"/env/A X X", "/env/B  X"}},
		"whole record, secret in it": {`1`, `{"env":{"A":"MARK"}}`, []string{"/env/*"}, []string{` 1 {"env":{"A":X}}`}},
		"secret name escaped":        {`{"a/b":"MARK1"}`, `{"a\/b":"MARK2"}`, []string{"/a~1b"}, []string{"/a~1b X X"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			Diff([]byte(c.before), []byte(c.after), pointers(t, c.hidden...), []byte("X"), func(pointer string, before, after []byte) {
				got = append(got, pointer+" "+string(before)+" "+string(after))
			})
			require.Equal(t, c.want, got)
		})
	}
}

func TestFindNamesEveryPlaceWithItsPointer(t *testing.T) {
	const v = `{"a":[{"p":1},{"q":2},{"p":3}],"e/~":{"x":"y","\u007a":[]},"0":{"p":4},"*":5}`
	for name, c := range map[string]struct {
		pointers []string
		want     []string
	}{
		"member":              {[]string{"/*"}, []string{`/a=[{"p":1},{"q":2},{"p":3}]`, `/e~1~0={"x":"y","\u007a":[]}`, `/0={"p":4}`, `/*=5`}},
		"element":             {[]string{"/a/1"}, []string{`/a/1={"q":2}`}},
		"any element":         {[]string{"/a/*/p"}, []string{"/a/0/p=1", "/a/2/p=3"}},
		"escaped":             {[]string{"/e~1~0/x"}, []string{`/e~1~0/x="y"`}},
		"name with an escape": {[]string{"/e~1~0/z"}, []string{`/e~1~0/z=[]`}},
		"any and a number":    {[]string{"/*/0"}, []string{`/a/0={"p":1}`}},
		"two, in text order":  {[]string{"/0/p", "/a/2/p"}, []string{"/a/2/p=3", "/0/p=4"}},
		"outer one only":      {[]string{"/a/0/p", "/a/0"}, []string{`/a/0={"p":1}`}},
		"no leading zeros":    {[]string{"/a/01", "/a/-", "/a/9", "/a/0/p/x"}, nil},
		"the whole":           {[]string{""}, []string{"=" + v}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			require.NoError(t, Find([]byte(v), pointers(t, c.pointers...), func(pointer string, start, end int) error {
				got = append(got, pointer+"="+v[start:end])
				return nil
			}))
			require.Equal(t, c.want, got)
		})
	}
	stop := errors.New("stop")
	calls := 0
	require.ErrorIs(t, Find([]byte(v), pointers(t, "/a/*"), func(string, int, int) error { calls++; return stop }), stop)
	require.Equal(t, 1, calls)
}

func TestRewriteReplacesThePlacesAndNothingElse(t *testing.T) {
	upper := func(pointer string, value []byte) ([]byte, error) { return bytes.ToUpper(value), nil }
	for _, c := range []struct{ pointers, value, want string }{
		{"/p", `{"p":"a","q":"a"}`, `{"p":"A","q":"a"}`},
		{"/x/*", `{"x":["a",{"p":"b"}],"y":1.50}`, `{"x":["A",{"P":"B"}],"y":1.50}`},
		{"", `"a"`, `"A"`}, {"/none", `{"p":"a"}`, `{"p":"a"}`}, {"/p", `["a"]`, `["a"]`}, {"/p", `1`, `1`},
	} {
		got, err := Rewrite([]byte(c.value), pointers(t, c.pointers), upper)
		require.NoError(t, err)
		require.Equal(t, c.want, string(got))
	}
	fail := errors.New("fail")
	_, err := Rewrite([]byte(`{"p":1}`), pointers(t, "/p"), func(string, []byte) ([]byte, error) { return nil, fail })
	require.ErrorIs(t, err, fail)
}

func TestGetFollowsAPointer(t *testing.T) {
	const v = `{"a":{"b/c":[10,{"d":"x"}]},"":1,"\u0065":2}`
	for pointer, want := range map[string]string{
		"": v, "/a/b~1c/0": "10", "/a/b~1c/1/d": `"x"`, "/": "1", "/e": "2",
		"/b": "", "/a/b~1c/2": "", "/a/b~1c/00": "", "/e/x": "", "/a/b~1c/1/d/0": "",
	} {
		p, err := ParsePointer(pointer)
		require.NoError(t, err)
		require.Equal(t, want, string(Get([]byte(v), p)), pointer)
	}
}

func TestPointersAreThoseOfRFC6901(t *testing.T) {
	p, err := ParsePointer("/a~1b/~01/*/")
	require.NoError(t, err)
	require.Equal(t, Pointer{"a/b", "~1", "*", ""}, p)
	for _, token := range []string{"", "a/b", "~1", "~", "~~//"} {
		p, err := ParsePointer("/" + Escape(token))
		require.NoError(t, err)
		require.Equal(t, Pointer{token}, p)
	}
	for _, bad := range []string{"a", "/~", "/~2", "/a~", "/~0~"} {
		_, err := ParsePointer(bad)
		require.Error(t, err, bad)
	}
}

func TestOnlyMemberWantsJustThatOne(t *testing.T) {
	text, ok := OnlyMember([]byte(`{"\u0024sealed":"a\u0062"}`), "$sealed")
	require.True(t, ok)
	require.Equal(t, "ab", string(text))
	for _, v := range []string{`{}`, `{"$sealed":1}`, `{"$sealed":"a","x":1}`, `{"x":1,"$sealed":"a"}`, `{"x":"a"}`, `"a"`, `[]`, `null`} {
		_, ok := OnlyMember([]byte(v), "$sealed")
		require.False(t, ok, v)
	}
}

func TestHeaderValuesAreTakenToTheLetter(t *testing.T) {
	var v struct {
		A int `json:"a"`
	}
	require.NoError(t, Unmarshal([]byte(`{"a":1}`), &v))
	for _, bad := range []string{`null`, `{"a":null}`, `{"A":1}`, `{"a":1,"b":2}`, `{"a":1.5}`, `{"a":"1"}`, `{"a":99999999999999999999}`, `[]`} {
		require.Error(t, Unmarshal([]byte(bad), &v), bad)
	}
	b, err := Marshal(map[string]int{"b": 1, "a": 2})
	require.NoError(t, err)
	require.Equal(t, `{"a":2,"b":1}`, string(b))
}

// reference decodes as encoding/json does.
func reference(t testing.TB, b []byte) any {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var v any
	require.NoError(t, dec.Decode(&v))
	return v
}

// sameValue is Equal, done slowly.
func sameValue(a, b any) bool {
	switch a := a.(type) {
	case json.Number:
		b, ok := b.(json.Number)
		if !ok {
			return false
		}
		x, _ := new(big.Rat).SetString(string(a))
		y, _ := new(big.Rat).SetString(string(b))
		return x.Cmp(y) == 0
	case []any:
		b, ok := b.([]any)
		same := ok && len(a) == len(b)
		for i := 0; same && i < len(a); i++ {
			same = sameValue(a[i], b[i])
		}
		return same
	case map[string]any:
		b, ok := b.(map[string]any)
		same := ok && len(a) == len(b)
		for name := range a {
			_, found := b[name]
			same = same && found && sameValue(a[name], b[name])
		}
		return same
	}
	return reflect.DeepEqual(a, b)
}

var hashSeed = maphash.MakeSeed()

func FuzzValue(f *testing.F) {
	seeds, err := filepath.Glob(filepath.Join("testdata", "fuzz", "FuzzValue", "*"))
	require.NoError(f, err)
	require.NotEmpty(f, seeds, "the committed seeds are gone")
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := Compact(nil, text, testLimits)
		if _, strict := jsontext.AppendFormat(nil, text, jsontext.PreserveRawStrings(true)); !errors.Is(err, ErrLimit) {
			require.Equal(t, strict != nil, err != nil, "%v, and of jsontext, which looks for duplicate names too, %v", err, strict)
		}
		if err != nil {
			return
		}
		require.True(t, json.Valid(text), "accepted what is not JSON")
		require.True(t, utf8.Valid(text))
		var want bytes.Buffer
		require.NoError(t, json.Compact(&want, text))
		require.Equal(t, want.String(), string(v))
		again, err := Compact(nil, v, testLimits)
		require.NoError(t, err)
		require.Equal(t, v, again)
		compact, err := checkValue(text, testLimits)
		require.NoError(t, err)
		require.Equal(t, len(text) == len(v), compact)

		decoded := Decode(v)
		require.Equal(t, reference(t, v), decoded)
		require.True(t, Equal(v, v))

		// Every place is found, and stands for what is decoded there.
		require.NoError(t, Find(v, []Pointer{{Any, Any}}, func(pointer string, start, end int) error {
			p, err := ParsePointer(pointer)
			require.NoError(t, err)
			require.Equal(t, string(v[start:end]), string(Get(v, p)))
			return nil
		}))
		rewritten, err := Rewrite(v, []Pointer{{Any}}, func(string, []byte) ([]byte, error) { return []byte("null"), nil })
		require.NoError(t, err)
		other := reference(t, rewritten)
		require.Equal(t, sameValue(decoded, other), Equal(v, rewritten))
		require.Equal(t, sameValue(decoded, other), Hash(hashSeed, v) == Hash(hashSeed, rewritten))
		require.Equal(t, sameValue(other, decoded), Equal(rewritten, v))

		merged := Merge(rewritten, v)
		require.True(t, Equal(merged, v), "%s merged into %s gives %s", v, rewritten, merged)
		differ := false
		Diff(rewritten, v, nil, nil, func(pointer string, before, after []byte) {
			differ = true
			require.False(t, before != nil && after != nil && Equal(before, after))
		})
		require.Equal(t, !Equal(rewritten, v), differ)
	})
}

func TestEqualAgreesWithASlowReference(t *testing.T) {
	values := []string{
		`0`, `-0`, `0.0`, `0e5`, `1`, `1.0`, `10e-1`, `1e1`, `10`, `"1"`, `"\u0031"`, `true`, `false`, `null`, `[]`, `{}`, `[0]`, `[-0.0]`, `[null]`,
		`{"a":1}`, `{"a":1.0}`, `{"b":1}`, `{"a":1,"b":2}`, `{"b":2,"a":1}`, `{"a":{"a":[]}}`, `{"a":{"a":{}}}`, `12345678901234567890`, `12345678901234567891`,
		`1e400`, `10e399`, `1e9999`, `1e-9999`, `-1e9999`, `0.30`, `0.3`, `3e-1`,
	}
	for _, a := range values {
		for _, b := range values {
			require.Equal(t, sameValue(reference(t, []byte(a)), reference(t, []byte(b))), Equal([]byte(a), []byte(b)), "%s and %s", a, b)
		}
	}
}

func TestCanonicalAndHashAreTheSameForEqualValuesOnly(t *testing.T) {
	values := []string{`{}`, `[]`, `""`, `null`, `true`, `false`, `0`, `1`, `-1`, `"1"`, `"null"`, `{"a":1}`, `{"b":1}`, `{"a":"1"}`, `[1]`, `[1,2]`, `[[1],2]`, `[[1,2]]`,
		`{"a":{"b":1}}`, `{"a":1,"b":2}`, `12345678901234567890`, `12345678901234567891`, `1e400`, `"a,\"b"`, `["a","b"]`, `["a,b"]`}
	same := map[string]string{`1`: `1.0`, `0`: `-0e7`, `{"a":1,"b":2}`: `{"b":20e-1,"a":1}`, `"1"`: `"\u0031"`, `1e400`: `10e399`}
	for i, a := range values {
		for j, b := range values {
			require.Equal(t, i == j, string(Canonical(nil, []byte(a))) == string(Canonical(nil, []byte(b))), "%s %s", a, b)
			require.Equal(t, i == j, Hash(hashSeed, []byte(a)) == Hash(hashSeed, []byte(b)), "%s %s", a, b)
			require.Equal(t, i == j, Equal([]byte(a), []byte(b)), "%s %s", a, b)
		}
		if b, ok := same[a]; ok {
			require.Equal(t, string(Canonical(nil, []byte(a))), string(Canonical(nil, []byte(b))), "%s %s", a, b)
			require.Equal(t, Hash(hashSeed, []byte(a)), Hash(hashSeed, []byte(b)), "%s %s", a, b)
		}
	}
}

func TestTheValuesOfARecordAreItselfItsMembersAndTheirs(t *testing.T) {
	for text, n := range map[string]int{
		`1`: 1, `{}`: 1, `[ ]`: 1, `[1]`: 2, `[[]]`: 2, `[[],{ }]`: 3, `{"a":{"b":[1,"],["]},"c":[]}`: 6,
	} {
		limits := Defaults
		limits.Values = n
		_, err := Compact(nil, []byte(text), limits)
		require.NoError(t, err, text)
		if limits.Values--; n > 1 {
			_, err = Compact(nil, []byte(text), limits)
			require.ErrorIs(t, err, ErrLimit, text)
		}
	}
}

func TestAnIntegerOfTheHeaderIsInDigitsAndExactInAllLanguages(t *testing.T) {
	var n int64
	for _, text := range []string{"0", "1", "9007199254740991"} {
		require.NoError(t, UnmarshalMember([]byte(text), &n))
		require.Equal(t, text, strconv.FormatInt(n, 10))
	}
	for _, text := range []string{"9007199254740992", "9223372036854775808", "100000000000000000000"} {
		require.ErrorIs(t, UnmarshalMember([]byte(text), &n), ErrTooLarge, text)
	}
	for _, text := range []string{"-1", "-0", "1.0", "1e2", `"1"`, "-9223372036854775809", "true"} {
		err := UnmarshalMember([]byte(text), &n)
		require.Error(t, err, text)
		require.NotErrorIs(t, err, ErrTooLarge, text)
	}
}
