package codec

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func write(w *Writer) (string, error) {
	w.Member("version", []byte(`"1.0"`))
	w.Member("x", []byte(`{"a":1}`))
	w.BeginData()
	w.BeginCollection("servers", false)
	w.Record("ignored", []byte(`{"id":"a1"}`))
	w.Record("", []byte(`{"id":"b2"}`))
	w.EndCollection()
	w.BeginCollection("settings", true)
	w.Record("theme", []byte(`"dark"`))
	w.Record("a\"\n\u2028", []byte(`null`))
	w.EndCollection()
	w.BeginCollection("users", false)
	w.EndCollection()
	w.BeginCollection("more", true)
	w.EndCollection()
	if err := w.EndData(); err != nil {
		return "", err
	}
	return w.End(func(sum string) []byte { return []byte(`{"sha256":"` + sum + `"}`) })
}

const written = `{"version":"1.0",
"x":{"a":1},
"data":{
"servers":[
{"id":"a1"},
{"id":"b2"}
],
"settings":{
"theme":"dark",
"a\"\n` + "\u2028" + `":null
},
"users":[
],
"more":{
}
},
`

func TestWriterTellsTheDigestOfWhatStandsBeforeTheNextMember(t *testing.T) {
	const begin = "{\"version\":\"1.0\",\n\"data\":{\n},\n"
	const proof = "\"proof\":{},\n"
	for name, member := range map[string]string{"with a member": proof, "with none": ""} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			w := NewWriter(&out)
			require.NoError(t, w.Member("version", []byte(`"1.0"`)))
			require.NoError(t, w.BeginData())
			require.NoError(t, w.EndData())
			sum, err := w.Sum()
			require.NoError(t, err)
			want := sha256.Sum256([]byte(begin))
			require.Equal(t, want[:], sum)
			if member != "" {
				require.NoError(t, w.Member("proof", []byte(`{}`)))
			}
			end, err := w.End(func(string) []byte { return []byte(`{}`) })
			require.NoError(t, err)
			want = sha256.Sum256([]byte(begin + member))
			require.Equal(t, hex.EncodeToString(want[:]), end)
			require.Equal(t, begin+member+"\"integrity\":{}\n}\n", out.String())
		})
	}
}

func TestWriterWritesTheBytesOfTheFormat(t *testing.T) {
	var out bytes.Buffer
	w := NewWriter(&out)
	sum, err := write(w)
	require.NoError(t, err)
	digest := sha256.Sum256([]byte(written))
	require.Equal(t, hex.EncodeToString(digest[:]), sum)
	require.Equal(t, written+`"integrity":{"sha256":"`+sum+"\"}\n}\n", out.String())
	require.EqualValues(t, out.Len(), w.Bytes())

	doc, err := Scan(bytes.NewReader(out.Bytes()), testLimits, noHooks)
	require.NoError(t, err)
	require.Equal(t, sum, doc.SHA256)
	require.Equal(t, "a\"\n\u2028", recordsOf(t, out.String(), doc.Collections[1])[1].name)
}

func TestNoCollectionsAtAllIsAnEmptyObject(t *testing.T) {
	var out bytes.Buffer
	w := NewWriter(&out)
	require.NoError(t, w.Member("version", []byte(`"1.0"`)))
	require.NoError(t, w.BeginData())
	require.NoError(t, w.EndData())
	_, err := w.End(func(string) []byte { return []byte("{}") })
	require.NoError(t, err)
	require.Equal(t, "{\"version\":\"1.0\",\n\"data\":{\n},\n\"integrity\":{}\n}\n", out.String())
}

// A full writer takes so many bytes and then fails.
type full struct{ room int }

var errFull = errors.New("full")

func (f *full) Write(p []byte) (int, error) {
	n := min(len(p), f.room)
	f.room -= n
	if n < len(p) {
		return n, errFull
	}
	return n, nil
}

func TestWriterEndsWithTheErrorOfTheWriterUnderneath(t *testing.T) {
	for room := range len(written) + 80 {
		_, err := write(NewWriter(&full{room}))
		require.ErrorIs(t, err, errFull, "with room for %d bytes", room)
	}
	w := NewWriter(&full{100})
	w.BeginData()
	w.BeginCollection("a", false)
	var err error
	for range 10 {
		if err = w.Record("", []byte(`"`+strings.Repeat("x", 50_000)+`"`)); err != nil {
			break
		}
	}
	require.ErrorIs(t, err, errFull, "a long backup does not go on after the disk is full")
}
