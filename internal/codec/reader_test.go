package codec

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

var noHooks = Hooks{
	Version:  func([]byte) error { return nil },
	Progress: func(string, int64, int64) error { return nil },
}

const head = "{\"version\":\"1.0\",\n"

type record struct {
	name, value string
	offset      int64
}

func recordsOf(t testing.TB, text string, sec Section) []record {
	var rs []record
	require.NoError(t, sec.Records(strings.NewReader(text), func(name string, value []byte, offset int64) error {
		rs = append(rs, record{name, string(value), offset})
		return nil
	}))
	return rs
}

func TestScanFindsMembersAndRecords(t *testing.T) {
	const text = head + `"x" : {"b": [1, 2]},
"data": {"list": [ {"id":1} , { "id" : "\u0061" } ], "map":{"\u0061": null,"b":[ 1 ]}, "none":[]}, "y":"\u0061"}  `
	doc, err := Scan(iotest.OneByteReader(strings.NewReader(text)), testLimits, noHooks)
	require.NoError(t, err)
	require.Equal(t, map[string][]byte{"version": []byte(`"1.0"`), "x": []byte(`{"b":[1,2]}`), "data": {}, "y": []byte(`"\u0061"`)}, doc.Members)
	require.EqualValues(t, len(text), doc.Bytes)
	require.Empty(t, doc.SHA256)
	require.Len(t, doc.Collections, 3)
	list := recordsOf(t, text, doc.Collections[0])
	require.Equal(t, []record{{"", `{"id":1}`, list[0].offset}, {"", `{"id":"\u0061"}`, list[1].offset}}, list)
	require.Equal(t, `{ "id" `, text[list[1].offset:][:7])
	m := recordsOf(t, text, doc.Collections[1])
	require.Equal(t, []record{{"a", `null`, m[0].offset}, {"b", `[1]`, m[1].offset}}, m)
	require.Equal(t, "null,", text[m[0].offset:][:5])
	require.Empty(t, recordsOf(t, text, doc.Collections[2]))
	require.Equal(t, "none", doc.Collections[2].Name)
	require.Equal(t, "[]", text[doc.Collections[2].Start:doc.Collections[2].End])
}

func TestWhatIsProvenEndsWhereTheProofBegins(t *testing.T) {
	const proven = head + "\"data\":{\"map\":{\"a\":1}},\n\"left_out\":{} ,\r\n \t"
	want := sha256.Sum256([]byte(proven))
	for name, rest := range map[string]string{
		"as written":        "\"proof\":{\"mac\":\"\"},\n\"integrity\":{}\n}\n",
		"another proof":     "\"proof\":{\"ed25519\":{}},\n\"integrity\":{}\n}\n",
		"without integrity": "\"proof\" : { \"mac\" : \"\" } } \n",
	} {
		t.Run(name, func(t *testing.T) {
			for _, r := range []io.Reader{strings.NewReader(proven + rest), iotest.OneByteReader(strings.NewReader(proven + rest))} {
				doc, err := Scan(r, testLimits, noHooks)
				require.NoError(t, err)
				require.Equal(t, want[:], doc.Proven)
				before, _, found := strings.Cut(proven+rest, `"integrity"`)
				if sum := sha256.Sum256([]byte(before)); found {
					require.Equal(t, hex.EncodeToString(sum[:]), doc.SHA256)
				} else {
					require.Empty(t, doc.SHA256)
				}
			}
		})
	}
	doc, err := Scan(strings.NewReader(head+"\"data\":{},\n\"integrity\":{}\n}\n"), testLimits, noHooks)
	require.NoError(t, err)
	require.Nil(t, doc.Proven)
}

func TestNothingButTheDigestStandsBehindTheProof(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		kind error
	}{
		"before the data":         {head + `"proof":{},"data":{}}`, ErrLayout},
		"between header and data": {head + `"a":1,"proof":{},"data":{},"integrity":{}` + "\n}\n", ErrLayout},
		"a member behind":         {head + `"data":{},"proof":{},"a":1}`, ErrLayout},
		"a member between":        {head + `"data":{},"proof":{},"left_out":{},"integrity":{}` + "\n}\n", ErrLayout},
		"behind the digest":       {head + `"data":{},"integrity":{},"proof":{}}`, ErrLayout},
		"twice":                   {head + `"data":{},"proof":{},"proof":{}}`, ErrSyntax},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Scan(strings.NewReader(c.text), testLimits, noHooks)
			require.ErrorIs(t, err, c.kind)
		})
	}
}

func TestTheHeaderIsShownBeforeTheData(t *testing.T) {
	stop := errors.New("no")
	var seen map[string][]byte
	hooks := noHooks
	hooks.Header = func(members map[string][]byte) error { seen = maps.Clone(members); return stop }
	_, err := Scan(strings.NewReader(head+`"metadata":{ "a":"b" },"data":this is no JSON`), testLimits, hooks)
	require.Equal(t, stop, err)
	require.Equal(t, map[string][]byte{"version": []byte(`"1.0"`), "metadata": []byte(`{"a":"b"}`)}, seen)
}

func TestRecordsOfManyPartsComeInOrder(t *testing.T) {
	for name, form := range map[string]string{"compact": `{"id":%d,"pad":"%s"}`, "spaced": "{ \"id\" : %d,\n\"pad\":\"%s\" }"} {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			b.WriteString(head + `"data":{"list":[`)
			var want []string
			for i := range 3000 {
				if i > 0 {
					b.WriteString(" ,\n")
				}
				pad := strings.Repeat("x", i%200)
				fmt.Fprintf(&b, form, i, pad)
				want = append(want, fmt.Sprintf(`{"id":%d,"pad":"%s"}`, i, pad))
			}
			b.WriteString("]}}")
			doc, err := Scan(strings.NewReader(b.String()), testLimits, noHooks)
			require.NoError(t, err)
			require.Greater(t, len(doc.Collections[0].parts), 3)
			var got []string
			for _, r := range recordsOf(t, b.String(), doc.Collections[0]) {
				require.Equal(t, byte('{'), b.String()[r.offset])
				got = append(got, r.value)
			}
			require.Equal(t, want, got)
		})
	}
}

func TestAFileThatChangesAfterTheScanIsNoticedBeforeAnyOfItIsUsed(t *testing.T) {
	const text = head + `"data":{"list":[{"id":"a","n":[1,2]},{"id":"b"}],"map":{"a":1}}}`
	doc, err := Scan(strings.NewReader(text), testLimits, noHooks)
	require.NoError(t, err)
	for _, sec := range doc.Collections {
		for i := sec.Start; i < sec.End; i++ {
			for _, c := range []byte("\x00 \"\\{}[],:x1") {
				changed := []byte(text)
				if changed[i] == c {
					continue
				}
				changed[i] = c
				err := sec.Records(bytes.NewReader(changed), func(string, []byte, int64) error {
					t.Fatalf("%s: a record was handed out", changed)
					return nil
				})
				require.ErrorIs(t, err, ErrSyntax)
			}
			err := sec.Records(strings.NewReader(text[:i]), func(string, []byte, int64) error { return nil })
			require.ErrorIs(t, err, ErrSyntax)
		}
	}
	f, err := os.CreateTemp(t.TempDir(), "")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	err = doc.Collections[0].Records(f, nil)
	require.ErrorIs(t, err, os.ErrClosed)
	require.NotErrorIs(t, err, ErrSyntax, "a file that cannot be read is not damaged")
}

func TestScanRefusesWithKindAndOffset(t *testing.T) {
	deep := strings.Repeat("[", 101) + strings.Repeat("]", 101)
	for name, c := range map[string]struct {
		text string
		kind error
		at   string // text at the offset; empty: not checked
	}{
		"empty":                       {"", ErrSyntax, ""},
		"white space":                 {" \n", ErrSyntax, ""},
		"not JSON":                    {"hello", ErrSyntax, "hello"},
		"byte order mark":             {"\ufeff" + head + `"data":{}}`, ErrSyntax, "\ufeff" + head + `"data":{}}`},
		"an array":                    {"[]", ErrLayout, ""},
		"version is not first":        {`{"data":{},"version":"1.0"}`, ErrLayout, ""},
		"version twice":               {head + `"version":"1.0"}`, ErrSyntax, `"version":"1.0"}`},
		"version twice, escaped":      {head + `"vers\u0069on":"1.0"}`, ErrSyntax, ""},
		"member twice":                {head + `"a":1,"b":2,"\u0061":3}`, ErrSyntax, `"\u0061":3}`},
		"collection twice":            {head + `"data":{"a":[],"\u0061":[]}}`, ErrSyntax, `"\u0061":[]}}`},
		"data twice":                  {head + `"data":{},"data":{}}`, ErrSyntax, `"data":{}}`},
		"key of a map twice":          {head + `"data":{"m":{"a":1,"\u0061":1}}}`, ErrSyntax, `"\u0061":1}}}`},
		"name twice in a record":      {head + `"data":{"l":[{"x":{"a":1,"\u0061":1}}]}}`, ErrSyntax, `"\u0061":1}}]}}`},
		"name twice in a header":      {head + `"x":{"a":1,"a":2}}`, ErrSyntax, `"a":2}}`},
		"data is an array":            {head + `"data":[]}`, ErrLayout, ""},
		"collection is a string":      {head + `"data":{"a":"b"}}`, ErrLayout, ""},
		"record is not an object":     {head + `"data":{"a":[{},[]]}}`, ErrLayout, ""},
		"a member after integrity":    {head + `"integrity":{},"x":1}`, ErrLayout, ""},
		"end after integrity differs": {head + `"integrity":{}}`, ErrSyntax, ""},
		"trailing value":              {head + `"data":{}}{}`, ErrSyntax, "{}"},
		"trailing zero byte":          {head + `"data":{}}` + "\x00", ErrSyntax, "\x00"},
		"NaN":                         {head + `"data":{"m":{"a":NaN}}}`, ErrSyntax, "NaN}}}"},
		"invalid UTF-8":               {head + "\"data\":{\"m\":{\"a\":\"\xff\"}}}", ErrSyntax, "\xff\"}}}"},
		"lone surrogate":              {head + `"data":{"m":{"a":"\ud800"}}}`, ErrSyntax, `\ud800"}}}`},
		"brackets do not fit":         {head + `"data":{"l":[}}}`, ErrSyntax, "}}}"},
		"too deep in a record":        {head + `"data":{"l":[{"a":` + deep + `}]}}`, ErrLimit, ""},
		"too deep in a header":        {head + `"x":` + deep + `}`, ErrLimit, ""},
		"a million deep, record":      {head + `"data":{"l":[{"a":` + strings.Repeat("[", 1_000_000), ErrLimit, ""},
		"a million deep, header":      {head + `"x":` + strings.Repeat(`{"a":`, 150_000), ErrLimit, ""},
		"huge exponent":               {head + `"data":{"m":{"a":1e99999999}}}`, ErrLimit, ""},
		"huge exponent in a header":   {head + `"x":1e99999999}`, ErrLimit, ""},
		"record too large":            {head + `"data":{"l":[{"a":"` + strings.Repeat("x", 1<<20) + `"}]}}`, ErrLimit, ""},
		"header member too large":     {head + `"x":"` + strings.Repeat("x", HeaderBytes) + `"}`, ErrLimit, ""},
		"long name of a member":       {head + `"` + strings.Repeat("x", 300) + `":1}`, ErrLimit, ""},
		"long name of a collection":   {head + `"data":{"` + strings.Repeat("x", 300) + `":[]}}`, ErrLimit, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Scan(strings.NewReader(c.text), testLimits, noHooks)
			require.ErrorIs(t, err, c.kind)
			var e *Error
			require.ErrorAs(t, err, &e)
			require.LessOrEqual(t, e.Offset, int64(len(c.text)))
			require.Less(t, len(err.Error()), 500)
			if c.at != "" {
				require.Equal(t, c.at, c.text[e.Offset:])
			}
		})
	}
}

func TestScanRefusesMembersAndCollectionsWithoutEnd(t *testing.T) {
	var members, collections strings.Builder
	members.WriteString(head)
	collections.WriteString(head + `"data":{`)
	for i := range 1100 {
		fmt.Fprintf(&members, `"m%d":1,`, i)
		fmt.Fprintf(&collections, `"c%d":[],`, i)
	}
	_, err := Scan(strings.NewReader(members.String()), testLimits, noHooks)
	require.ErrorIs(t, err, ErrLayout)
	_, err = Scan(strings.NewReader(collections.String()), testLimits, noHooks)
	require.ErrorIs(t, err, ErrLimit)
}

func TestScanTakesWhatIsJustWithinTheLimits(t *testing.T) {
	pad := func(n int) string { return strings.Repeat("x", n) }
	l := testLimits
	l.Records = 2
	text := head + `"` + pad(maxName) + `":"` + pad(HeaderBytes-2) + `",
"data":{"l":[{"a":"` + pad(l.RecordBytes-8) + `"}],"m":{"k":"` + pad(l.RecordBytes-2) + `"}}}`
	l.TotalBytes = int64(len(text))
	for name, r := range map[string]io.Reader{"whole": strings.NewReader(text), "in small reads": iotest.HalfReader(strings.NewReader(text))} {
		t.Run(name, func(t *testing.T) {
			_, err := Scan(r, l, noHooks)
			require.NoError(t, err)
		})
	}
	l.TotalBytes--
	_, err := Scan(strings.NewReader(text), l, noHooks)
	require.ErrorIs(t, err, ErrLimit)
	l.TotalBytes++
	l.Records--
	_, err = Scan(strings.NewReader(text), l, noHooks)
	require.ErrorIs(t, err, ErrLimit)
	l.Records++
	l.RecordBytes--
	_, err = Scan(strings.NewReader(text), l, noHooks)
	require.ErrorIs(t, err, ErrLimit)
}

func TestScanPassesErrorsOfTheReaderAndOfHooks(t *testing.T) {
	const text = head + `"data":{"l":[{"id":1},{"id":2}]}}`
	broken := errors.New("broken")
	for n := range text {
		_, err := Scan(io.MultiReader(strings.NewReader(text[:n]), iotest.ErrReader(broken)), testLimits, noHooks)
		require.Equal(t, broken, err, "after %d bytes", n)
		_, err = Scan(strings.NewReader(text[:n]), testLimits, noHooks)
		require.ErrorIs(t, err, ErrSyntax, "cut after %d bytes", n)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, "cut after %d bytes", n)
	}
	hooks := noHooks
	hooks.Version = func(value []byte) error {
		require.Equal(t, `"1.0"`, string(value))
		return broken
	}
	_, err := Scan(strings.NewReader(`{"version": "1.0" !!!`), testLimits, hooks)
	require.Equal(t, broken, err, "the version is told before anything else is read")
	hooks = noHooks
	hooks.Progress = func(collection string, records, bytes int64) error {
		require.Equal(t, "l", collection)
		return broken
	}
	_, err = Scan(strings.NewReader(head+`"data":{"l":[`+strings.Repeat(`{"id":1},`, 9999)+`{}]}}`), testLimits, hooks)
	require.Equal(t, broken, err)
}

func FuzzScan(f *testing.F) {
	seeds, err := filepath.Glob(filepath.Join("testdata", "fuzz", "FuzzScan", "*"))
	require.NoError(f, err)
	require.NotEmpty(f, seeds, "the committed seeds are gone")
	f.Fuzz(func(t *testing.T, text []byte) {
		doc, err := Scan(bytes.NewReader(text), testLimits, noHooks)
		slow, err2 := Scan(iotest.OneByteReader(bytes.NewReader(text)), testLimits, noHooks)
		if err != nil {
			require.Error(t, err2)
			for _, kind := range []error{ErrSyntax, ErrLayout, ErrLimit} {
				require.Equal(t, errors.Is(err, kind), errors.Is(err2, kind), "%v, and byte by byte %v", err, err2)
			}
			return
		}
		require.NoError(t, err2)
		require.Equal(t, doc.Members, slow.Members)
		require.Equal(t, doc.SHA256, slow.SHA256)
		whole, ok := reference(t, text).(map[string]any)
		require.True(t, ok)
		data, _ := whole["data"].(map[string]any)
		require.Len(t, doc.Collections, len(data))
		for name, value := range doc.Members {
			if name != "data" {
				require.Equal(t, whole[name], Decode(value))
			}
		}
		for _, sec := range doc.Collections {
			records := recordsOf(t, string(text), sec)
			require.EqualValues(t, sec.Count, len(records))
			var got any = map[string]any{}
			if !sec.IsMap {
				got = []any{}
			}
			for _, r := range records {
				compact, err := checkValue([]byte(r.value), testLimits)
				require.NoError(t, err)
				require.True(t, compact)
				v := Decode([]byte(r.value))
				if sec.IsMap {
					got.(map[string]any)[r.name] = v
				} else {
					got = append(got.([]any), v)
				}
			}
			require.Equal(t, data[sec.Name], got)
		}
	})
}
