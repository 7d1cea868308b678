package codec

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBase64HasOneTextForEachValue(t *testing.T) {
	for text, want := range map[string]string{"": "", "AA==": "\x00", "+/8=": "\xfb\xff", "YWJj": "abc", "YWJjZA==": "abcd"} {
		got, err := DecodeBase64([]byte("before "), []byte(text))
		require.NoError(t, err, text)
		require.Equal(t, "before "+want, string(got), text)
	}
	for name, text := range map[string]string{
		"no padding":         "AA",
		"bits left over":     "AB==",
		"half of a padding":  "AA=",
		"more than padding":  "AA===",
		"text after padding": "AA==YWJj",
		"alphabet of URLs":   "-_8=",
		"line break":         "YW\nJj",
		"line break at end":  "YWJj\n",
		"carriage return":    "YW\r\nJj",
		"only a line break":  "\n",
		"space":              "YW Jj",
		"tab":                "\tYWJj",
		"not ASCII":          "YWJ\u212a",
	} {
		t.Run(name, func(t *testing.T) {
			got, err := DecodeBase64([]byte("before"), []byte(text))
			require.Error(t, err)
			require.Equal(t, "before", string(got))
		})
	}
}
