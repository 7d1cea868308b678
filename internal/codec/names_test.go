package codec

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestANameTwiceIsFoundAmongFewAndMany(t *testing.T) {
	for _, n := range []int{1, few - 1, few, few + 1, 1000} {
		var members strings.Builder
		for i := range n {
			fmt.Fprintf(&members, `"k%d":{"a":[{"b":1},{"b":1}],"k0":"a"},`, i)
		}
		_, err := Compact(nil, []byte(`{`+members.String()+`"last":1}`), testLimits)
		require.NoError(t, err, "%d names", n)
		for _, twice := range []int{0, n / 2, n - 1} {
			text := `{` + members.String() + fmt.Sprintf(`"\u006b%d":1}`, twice)
			dst, err := Compact([]byte("before"), []byte(text), testLimits)
			require.ErrorIs(t, err, ErrSyntax)
			require.ErrorContains(t, err, "duplicate")
			require.NotContains(t, err.Error(), "k", "a name may belong to a secret")
			require.Equal(t, "before", string(dst))
			document := head + `"data":{"l":[` + text + `]}}`
			_, err = Scan(strings.NewReader(document), testLimits, noHooks)
			require.ErrorIs(t, err, ErrSyntax)
			var e *Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, text[strings.LastIndex(text, `"\u006b`):]+"]}}", document[e.Offset:])
		}
	}
}

func TestTheKeysOfMapsAreLimitedTogether(t *testing.T) {
	long := strings.Repeat("k", 100)
	text := head + `"data":{"a":{"x":1,"` + long + `":1},"l":[{"` + long + `":1}],"b":{"x":1,"\u0079":1}}}`
	l := testLimits
	l.KeyBytes = 100 + 3*leastKey
	_, err := Scan(strings.NewReader(text), l, noHooks)
	require.NoError(t, err)
	l.KeyBytes--
	_, err = Scan(strings.NewReader(text), l, noHooks)
	require.ErrorIs(t, err, ErrLimit)
	require.ErrorContains(t, err, "Limits.KeyBytes")
}

func TestANameThatOnlyLooksTheSameIsNotRefused(t *testing.T) {
	const text = head + `"data":{"a":{"x":1,"y":1},"b":{"x":1,"\u0078":2,"z":1}}}`
	hooks := noHooks
	hooks.Again = strings.NewReader(text)
	_, err := Scan(strings.NewReader(text), testLimits, hooks)
	require.ErrorIs(t, err, ErrSyntax)
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, `"\u0078":2,"z":1}}}`, text[e.Offset:])
	require.Equal(t, "b", e.Collection)

	good := strings.ReplaceAll(text, `\u0078`, `\u0077`)
	doc, err := Scan(strings.NewReader(good), testLimits, noHooks)
	require.NoError(t, err)
	s := &scanner{doc: doc, hooks: Hooks{Again: strings.NewReader(good)}, in: new(tap)}
	for i, name := range []string{"x", "y", "x"} {
		s.suspects = append(s.suspects, suspect{i % 2, &duplicate{name: name}})
	}
	require.NoError(t, s.lookAgain(), "each name is there once")
	s.hooks.Again = strings.NewReader(text)
	require.Error(t, s.lookAgain(), "the file has changed")
}

func TestManyNamesThatLookTheSameAreRefusedAtOnce(t *testing.T) {
	hooks := noHooks
	hooks.Again = strings.NewReader("")
	_, err := Scan(io.MultiReader(strings.NewReader(head+`"data":{"a":{`+strings.Repeat(`"x":1,`, maxSuspects+2)), strings.NewReader("never read")), testLimits, hooks)
	require.ErrorIs(t, err, ErrSyntax)
	require.ErrorContains(t, err, "duplicate")
}
