package codec

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func peek(text string) (map[string][]byte, bool, error) {
	return Peek(strings.NewReader(text), int64(len(text)), func([]byte) error { return nil })
}

func TestPeekReadsTheEndsAndNothingBetween(t *testing.T) {
	const head = `{"version":"1.0",` + "\n" + `"metadata":{"trigger":"manual"},` + "\n" + `"data":{` + "\n"
	const foot = "},\n" + `"left_out":{"a":2},` + "\n" + `"integrity":{"sha256":"00","records":{"a":1}}` + "\n}\n"
	members, ended, err := peek(head + "this is not JSON at all\n" + foot)
	require.NoError(t, err)
	require.True(t, ended)
	require.Equal(t, map[string][]byte{
		"version": []byte(`"1.0"`), "metadata": []byte(`{"trigger":"manual"}`), "data": {},
		"left_out": []byte(`{"a":2}`), "integrity": []byte(`{"sha256":"00","records":{"a":1}}`),
	}, members)

	proven := strings.Replace(foot, `"integrity"`, `"proof":{"mac":"00"},`+"\n"+`"integrity"`, 1)
	members, ended, err = peek(head + "nor is this\n" + proven)
	require.NoError(t, err)
	require.True(t, ended)
	require.Equal(t, `{"mac":"00"}`, string(members["proof"]))
	require.Equal(t, `{"a":2}`, string(members["left_out"]))

	for name, text := range map[string]string{
		"cut off":             head + strings.TrimSuffix(foot, "\n"),
		"cut in the data":     head + "{",
		"cut behind a record": head + "\"a\":[\n{}\n}\n",
		"another last line":   head + "},\n\"other\":1\n}\n",
		"damaged last line":   head + "},\n\"integrity\":{\"sha256\":\"00\n}\n",
	} {
		t.Run(name, func(t *testing.T) {
			members, ended, err := peek(text)
			require.NoError(t, err)
			require.False(t, ended)
			require.Equal(t, `{"trigger":"manual"}`, string(members["metadata"]))
		})
	}
}

func TestPeekRefusesWhatIsNoSnapshot(t *testing.T) {
	for name, text := range map[string]string{
		"empty":              "",
		"cut in the header":  `{"version":"1.0","meta`,
		"no data":            `{"version":"1.0"}`,
		"no version":         `{"data":{}}`,
		"an array":           `[1]`,
		"a name twice":       `{"version":"1.0","a":1,"a":2,"data":{}}`,
		"a member too large": `{"version":"1.0","a":"` + strings.Repeat("x", HeaderBytes) + `","data":{}}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := peek(text)
			require.Error(t, err)
		})
	}
	stop := errors.New("another version")
	_, _, err := Peek(strings.NewReader(`{"version":"2.0",`), 17, func([]byte) error { return stop })
	require.ErrorIs(t, err, stop)
}

func TestPeekOfALargeFileReadsLittle(t *testing.T) {
	var text bytes.Buffer
	text.WriteString("{\"version\":\"1.0\",\n\"data\":{\n\"a\":[\n")
	for range 100_000 {
		text.WriteString("{\"id\":\"0123456789\"},\n")
	}
	text.WriteString("{}\n]\n},\n\"integrity\":{\"sha256\":\"00\"}\n}\n")
	r := &countingReaderAt{r: bytes.NewReader(text.Bytes())}
	_, ended, err := Peek(r, int64(text.Len()), func([]byte) error { return nil })
	require.NoError(t, err)
	require.True(t, ended)
	require.Less(t, r.n, 16<<10)
}

type countingReaderAt struct {
	r *bytes.Reader
	n int
}

func (c *countingReaderAt) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.r.ReadAt(p, off)
	c.n += n
	return n, err
}
