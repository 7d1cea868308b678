package codec

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAKeyOfSeveralParts(t *testing.T) {
	k, err := ParseKey("/user,/group/id")
	require.NoError(t, err)
	for value, want := range map[string]string{
		`{"user":7,"group":{"id":"admins"}}`:                 `["7","admins"]`,
		`{"user":"7","group":{"id":"admins"}}`:               `["7","admins"]`,
		`{"group":{"id":""},"user":-1}`:                      `["-1",""]`,
		`{"user":"a\",\"b","group":{"id":"\u0001é/\u2028"}}`: "[\"a\\\",\\\"b\",\"\\u0001é/\u2028\"]",
		`{"user":7}`:                       "",
		`{"user":7,"group":{"id":null}}`:   "",
		`{"user":1.5,"group":{"id":"a"}}`:  "",
		`{"user":true,"group":{"id":"a"}}`: "",
	} {
		key, err := k.Of([]byte(value))
		require.Equal(t, want, key, value)
		require.Equal(t, want == "", err != nil, value)
		if err == nil {
			parts, ok := SplitKey(key, 2)
			require.True(t, ok, key)
			require.Equal(t, key, JoinKey(parts))
		}
	}
}

func TestOtherTextsAreNoKeyOfSeveralParts(t *testing.T) {
	for _, key := range []string{
		``, `7`, `"a"`, `["a"]`, `["a","b","c"]`, `["a",null]`, `["a",1]`, `["a", "b"]`, ` ["a","b"]`,
		`["a","b"] `, `["a","\u0062"]`, `["a","b"`, `{"a":"b"}`, `["a","\/"]`, "[\"a\",\"\xff\"]",
	} {
		_, ok := SplitKey(key, 2)
		require.False(t, ok, key)
	}
}

func TestAReferenceOfSeveralPartsMayBeNone(t *testing.T) {
	k, err := ParseKey("/user,/group")
	require.NoError(t, err)
	key, ok, err := k.Reference([]byte(`{"user":7,"group":"a"}`))
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, `["7","a"]`, key)
	for _, none := range []string{`{"user":7}`, `{"user":null,"group":"a"}`, `{}`, `7`} {
		_, ok, err := k.Reference([]byte(none))
		require.NoError(t, err, none)
		require.False(t, ok, none)
	}
	_, ok, err = k.Reference([]byte(`{"user":[],"group":"a"}`))
	require.Error(t, err)
	require.False(t, ok)
}

func TestPointersThatAreNoKey(t *testing.T) {
	for _, text := range []string{"id", "/id,", ",/id", "/id,,/x", "/id,x", "/id,/id", "/id,/id/x", "/a/*,/a/b", "/a,/~2"} {
		_, err := ParseKey(text)
		require.Error(t, err, text)
	}
}
