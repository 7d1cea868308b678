package codec

import (
	"errors"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

func TestLinesAreGivenWithTheirPlaces(t *testing.T) {
	long := strings.Repeat("x", 600_000) // more than what is read at once
	text := "one\n\n" + long + "\nthree\r\n\x00\xff\nlast"
	for name, r := range map[string]interface{ Read([]byte) (int, error) }{
		"at once":      strings.NewReader(text),
		"byte by byte": iotest.OneByteReader(strings.NewReader(text)),
	} {
		for _, limit := range []int{700_000, 300_000, 10, 3} {
			if name != "at once" && limit != 10 {
				continue
			}
			var back strings.Builder
			end := int64(0)
			if s, ok := r.(*strings.Reader); ok {
				s.Reset(text)
			}
			require.NoError(t, Lines(r, limit, func(l Line) error {
				require.Equal(t, end, l.Offset)
				require.LessOrEqual(t, len(l.Text), limit)
				whole := text[l.Offset:l.End]
				require.Equal(t, strings.HasSuffix(whole, "\n"), l.Ended)
				whole = strings.TrimSuffix(whole, "\n")
				require.Equal(t, len(whole) > limit, l.Cut, "%.20q with a limit of %d", whole, limit)
				require.Equal(t, whole[:min(len(whole), limit)], string(l.Text))
				back.WriteString(text[l.Offset:l.End])
				end = l.End
				return nil
			}), name)
			require.Equal(t, text, back.String())
		}
	}
	broken := errors.New("broken")
	require.Equal(t, broken, Lines(iotest.ErrReader(broken), 10, nil))
	require.Equal(t, broken, Lines(strings.NewReader("a\nb"), 10, func(Line) error { return broken }))
	require.NoError(t, Lines(strings.NewReader(""), 10, nil))
}

func TestTrimTakesOneComma(t *testing.T) {
	for text, want := range map[string]string{
		"": "", ",": "", "{},": "{}", "{}, \t\r": "{}", "{} ,": "{}", "{}\r": "{}", "{},,": "{},", " {}": " {}",
	} {
		require.Equal(t, want, string(Trim([]byte(text))), "%q", text)
	}
}

func TestMemberReadsJustOne(t *testing.T) {
	l := Limits{Depth: 2, Values: 4, RecordBytes: 20}
	for text, want := range map[string]string{
		`"a":1`:                       "a 1",
		`"a\u0041\/" : [ 1 , {} ]`:    "aA/ [1,{}]",
		`"":""`:                       ` ""`,
		``:                            "",
		`"a"`:                         "",
		`"a":`:                        "",
		`"a":1,`:                      "",
		`"a":1,"b":2`:                 "",
		`"a":1}{`:                     "",
		`"a":1},{"b":2`:               "",
		`"a":[[[1]]]`:                 "",
		`"a":[1,2,3,4]`:               "",
		`"a":"012345678901234567890"`: "",
		`"` + strings.Repeat("k", MaxKey+1) + `":1`: "",
		`"a":{"b":1,"b":2}`:                         "",
		"\"a\":\"\xff\"":                            "",
		`"a":1e99999`:                               "",
	} {
		name, value, _, err := Member(nil, []byte(text), l)
		if want == "" {
			require.Error(t, err, text)
			continue
		}
		require.NoError(t, err, text)
		require.Equal(t, want, name+" "+string(value))
	}
	name, value, err := HeaderMember([]byte(`"a" : { "b" : 1 }`))
	require.NoError(t, err)
	require.Equal(t, `a {"b":1}`, name+" "+string(value))
	_, _, err = HeaderMember([]byte(`"a":` + strings.Repeat("[", 33) + strings.Repeat("]", 33)))
	require.ErrorIs(t, err, ErrLimit)
	_, _, err = HeaderMember([]byte(`"a":"` + strings.Repeat("x", 2<<20) + `"`))
	require.ErrorIs(t, err, ErrLimit)
}

func TestGlimpseReadsTheKeyOfADamagedRecord(t *testing.T) {
	id, deep := Key{{"id"}}, Key{{"meta", "id"}}
	for text, want := range map[string]string{
		`{"id":"a1","name":"na`:                "a1",
		`{"name":[1,{"id":2}],"id":"a\u0031",`: "a1",
		`{"id":42,`:                            "42",
		`{"id":42`:                             "", // it may have gone on
		`{"id":"a1"`:                           "a1",
		`{"id":"a1`:                            "",
		`{"id":1.5,"x":1}`:                     "",
		`{"id":"","x":1}`:                      "",
		`{"id":null,"x":1}`:                    "",
		`{"name":"x,"id":"a1"}`:                "",
		"{\"\x00id\":\"a1\"}":                  "",
		`["id","a1"]`:                          "",
		``:                                     "",
		"\x00\x00":                             "",
		`{"id":"` + strings.Repeat("k", MaxKey+1) + `","x":1}`: "",
	} {
		require.Equal(t, want, id.Glimpse([]byte(text)), text)
	}
	require.Equal(t, "x", deep.Glimpse([]byte(`{"id":"no","meta":{"a":1,"id":"x","b`)))
	require.Empty(t, deep.Glimpse([]byte(`{"meta":7,"id":"x","b`)))
	require.Empty(t, deep.Glimpse([]byte(`{"meta":{"a":1},"id":"x","b`)))

	both := Key{{"id"}, {"meta", "id"}}
	require.Equal(t, `["7","x"]`, both.Glimpse([]byte(`{"id":7,"meta":{"id":"x"},"b`)))
	require.Empty(t, both.Glimpse([]byte(`{"id":7,"meta":{"id":"x`)))

	for text, want := range map[string]string{
		`"theme":"dar`: "theme", `"a\/b":`: "a/b", `"theme"`: "", `"theme`: "", `theme":1`: "", `{"a":1}`: "", ``: "", `"a" :1`: "",
	} {
		require.Equal(t, want, GlimpseName([]byte(text)), text)
	}
}

func TestPruneTakesOffWhatItIsToldTo(t *testing.T) {
	ps := []Pointer{{"a"}, {"list", Any}, {"env", Any, "x"}, {"7"}}
	drop := func(v []byte) bool { return string(v) == "0" }
	for in, want := range map[string]string{
		`{}`:                       `{}`,
		`{"a":0}`:                  `{}`,
		`{"a":1}`:                  `{"a":1}`,
		`{"b":0,"a":0,"c":0}`:      `{"b":0,"c":0}`,
		`{"a":0,"b":{"a":0}}`:      `{"b":{"a":0}}`,
		`{"\u0061":0,"\u0062":0}`:  `{"\u0062":0}`,
		`{"list":[0,1,0,[0],2,0]}`: `{"list":[1,[0],2]}`,
		`{"list":{"k":0,"l":1}}`:   `{"list":{"l":1}}`,
		`{"env":[{"x":0,"y":0},{"y":1,"x":0,"z":2},{}],"q":"}0,"}`: `{"env":[{"y":0},{"y":1,"z":2},{}],"q":"}0,"}`,
		`[1,2,3,4,5,6,7,0]`: `[1,2,3,4,5,6,7]`,
		`0`:                 `0`,
	} {
		require.Equal(t, want, string(Prune([]byte(in), ps, drop)), in)
	}
	for in, want := range map[string]string{
		`{"a":0,"b":{"c":[0,{"d":0,"e":1}]}}`: `{"b":{"c":[{"e":1}]}}`,
		`{"a":1}`:                             `{"a":1}`,
		`0`:                                   `0`,
	} {
		require.Equal(t, want, string(Prune([]byte(in), Everywhere, drop)), in)
	}
	require.Equal(t, `{"a":0}`, string(Prune([]byte(`{"a":0}`), []Pointer{}, drop)))
}
