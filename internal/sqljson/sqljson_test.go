package sqljson

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func members(s string) (got []string, err error) {
	err = Members(s, func(name, value string) error {
		n, err := Unquote(name)
		got = append(got, n+"="+value)
		return err
	})
	return got, err
}

func TestMembersAreFoundAsTheyAreWritten(t *testing.T) {
	got, err := members(" { \"a\" : 1.50 , \"b\\\"\\\\\":\"x}\\\\\",\n\"\\u00e9\":[{\"}\":\"]\"}],\"\":{}, \"n\":null }\t")
	require.NoError(t, err)
	require.Equal(t, []string{"a=1.50", `b"\="x}\\"`, `é=[{"}":"]"}]`, "={}", "n=null"}, got)
	got, err = members(" { } ")
	require.NoError(t, err)
	require.Empty(t, got)
}

func TestMembersRefusesWhatIsNoObject(t *testing.T) {
	for _, s := range []string{"", " ", "[]", "1", "{", "{,}", `{"a"}`, `{"a":}`, `{"a":1`, `{"a":1,}`, `{"a":1}{}`, `{"a":"x`, `{"a":"\`, `{"a":[}`, `{a:1}`, `{"\ud800":1}`, `{"a" 1}`, `{"a":1 2}`} {
		_, err := members(s)
		require.Error(t, err, s)
	}
}

func TestMembersReturnsTheErrorOfItsFunction(t *testing.T) {
	want := errors.New("stop")
	require.Equal(t, want, Members(`{"a":1,"b":2}`, func(string, string) error { return want }))
}

func TestStringsComeBack(t *testing.T) {
	for _, s := range []string{"", "a", "\x00\x1f\"\\/", "é\u2028🚀<&>"} {
		b, err := AppendString([]byte("x"), s)
		require.NoError(t, err)
		back, err := Unquote(string(b[1:]))
		require.NoError(t, err)
		require.Equal(t, s, back)
	}
	for _, s := range []string{"\xff", "a\xed\xa0\x80"} {
		_, err := AppendString(nil, s)
		require.ErrorIs(t, err, ErrUTF8)
	}
	for _, raw := range []string{"", `"`, `"\"`, `"a"b"`, `"\ud800"`, `"\x"`} {
		_, err := Unquote(raw)
		require.Error(t, err, raw)
	}
}

func FuzzMembers(f *testing.F) {
	for _, s := range []string{`{"a":1,"b":[{"c":"}\\"}]}`, ` {"\u0061" : "x"} `, `{"a":1,}`, `{"a":"\`, `[]`, ``} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := members(s)
		var want map[string]json.RawMessage
		if !utf8.ValidString(s) || json.Unmarshal([]byte(s), &want) != nil || want == nil || err != nil {
			return // it checks less than a decoder, but names more strictly; UTF-8 is the caller's matter
		}
		last := map[string]string{}
		for _, m := range got {
			for name, value := range want {
				if m == fmt.Sprintf("%s=%s", name, value) {
					last[name] = m
				}
			}
		}
		require.Len(t, last, len(want))
	})
}
