package codec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup/internal/testtime"
)

// A way is how a text is read in a comparison.
type way struct {
	block   int // the size of a block; 0 for the decoder alone
	workers int
	again   bool
	limits  Limits
	reader  func(io.Reader) io.Reader
}

// outcome is all that a caller can see of a scan.
type outcome struct {
	doc     *Document
	err     error
	records [][]record
	headers []map[string][]byte
	version []string
}

func (w way) scan(t testing.TB, text []byte) (o outcome) {
	hooks := Hooks{
		Version: func(v []byte) error { o.version = append(o.version, string(v)); return nil },
		Header: func(m map[string][]byte) error {
			o.headers = append(o.headers, maps.Clone(m))
			return nil
		},
		Progress: func(string, int64, int64) error { return nil },
	}
	if w.again {
		hooks.Again = bytes.NewReader(text)
	}
	s := newScanner(w.reader(bytes.NewReader(text)), w.limits, hooks, w.block)
	if s.lane != nil {
		s.lane.workers = w.workers
	}
	if o.doc, o.err = s.scan(); o.err == nil {
		for _, sec := range o.doc.Collections {
			o.records = append(o.records, recordsOf(t, string(text), sec))
		}
	}
	return o
}

func whole(r io.Reader) io.Reader { return r }

// agree reads a text with the lane and without it, and wants the same.
func agree(t testing.TB, text []byte, w way) {
	t.Helper()
	got := w.scan(t, text)
	w.block = 0
	want := w.scan(t, text)
	require.Equal(t, want.version, got.version)
	require.Equal(t, want.headers, got.headers)
	if want.err != nil || got.err != nil {
		require.Error(t, got.err, "%q gives %v", text, want.err)
		require.Error(t, want.err, "%q gives %v", text, got.err)
		require.Equal(t, want.err.Error(), got.err.Error(), "%q", text)
		for _, kind := range []error{ErrSyntax, ErrLayout, ErrLimit, io.ErrUnexpectedEOF} {
			require.Equal(t, errors.Is(want.err, kind), errors.Is(got.err, kind), "%v", want.err)
		}
		return
	}
	require.Equal(t, want.records, got.records)
	for _, doc := range []*Document{want.doc, got.doc} {
		for i := range doc.Collections {
			sec := &doc.Collections[i]
			require.Equal(t, sec.End, sec.parts[len(sec.parts)-1].end)
			sec.seed, sec.parts = want.doc.Collections[0].seed, nil
		}
	}
	require.Equal(t, want.doc, got.doc)
}

// ways are several ways to read a text, chosen at random.
func someWay(r *rand.Rand) way {
	w := way{
		block:   []int{1, 7, 40, 200, 1000, 5000, blockBytes}[r.IntN(7)],
		workers: 1 + r.IntN(3),
		again:   r.IntN(2) == 0,
		limits:  testLimits,
		reader:  []func(io.Reader) io.Reader{whole, iotest.OneByteReader, iotest.HalfReader, iotest.DataErrReader}[r.IntN(4)],
	}
	switch r.IntN(8) {
	case 0:
		w.limits.Records = r.Int64N(60)
	case 1:
		w.limits.KeyBytes = r.Int64N(2000)
	case 2:
		w.limits.TotalBytes = r.Int64N(5000)
	case 3:
		w.limits.RecordBytes = r.IntN(300)
	case 4:
		w.limits.Depth = r.IntN(4)
	case 5:
		w.limits.Values = r.IntN(10)
	}
	return w
}

// someSnapshot writes a snapshot of random records.
func someSnapshot(r *rand.Rand) []byte {
	var out bytes.Buffer
	w := NewWriter(&out)
	w.Member("version", []byte(`"1.0"`))
	w.Member("metadata", []byte(`{"a":"b"}`))
	w.BeginData()
	for i := range r.IntN(4) {
		isMap := r.IntN(2) == 0
		w.BeginCollection(fmt.Sprintf("c%d", i), isMap)
		for j := range r.IntN([]int{1, 5, 100}[r.IntN(3)]) {
			value := someValue(r)
			if !isMap {
				value = fmt.Sprintf(`{"id":%d,"v":%s}`, j, value)
			}
			w.Record(fmt.Sprintf("k%d%s", j, []string{"", "\n", "é", `"`}[r.IntN(4)]), []byte(value))
		}
		w.EndCollection()
	}
	w.EndData()
	w.End(func(sum string) []byte { return []byte(`{"sha256":"` + sum + `"}`) })
	return out.Bytes()
}

func someValue(r *rand.Rand) string {
	switch r.IntN(12) {
	case 0:
		return `{"a":{"b":[1,"],[{"]},"c":[]}`
	case 1:
		return `"` + strings.Repeat("x", r.IntN(400)) + `"`
	case 2:
		return `[1.5e3,-0,true,false,null,"\u0061\\\"é\u2028"]`
	case 3:
		return strings.Repeat("[", 5) + strings.Repeat("]", 5)
	case 4:
		return `{"a":1,"a":2}` // not fine
	case 5:
		return `{ "a":1}` // fine, and not as written
	}
	return fmt.Sprint(r.IntN(1000))
}

// mutate changes a text in one place.
func mutate(r *rand.Rand, text []byte) []byte {
	text = bytes.Clone(text)
	i := r.IntN(len(text))
	lines := bytes.SplitAfter(text, []byte("\n"))
	j, k := r.IntN(len(lines)), r.IntN(len(lines))
	switch r.IntN(9) {
	case 0:
		text[i] ^= 1 << r.IntN(8)
	case 1:
		text[i] = "\x00 \"\\{}[],:\n\r1x\xff"[r.IntN(15)]
	case 2:
		return text[:i]
	case 3:
		return append(text[:i], text[i+1:]...)
	case 4:
		return append(append(bytes.Clone(text[:i]), "\x00 \"\\{}[],:\n\r1x\xff"[r.IntN(15)]), text[i:]...)
	case 5:
		lines[j], lines[k] = lines[k], lines[j]
		return bytes.Join(lines, nil)
	case 6:
		lines[j] = append(bytes.Clone(lines[k]), lines[j]...)
		return bytes.Join(lines, nil)
	case 7:
		lines[j] = nil
		return bytes.Join(lines, nil)
	case 8:
		return bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))
	}
	return text
}

func TestTheLaneAndTheDecoderAgree(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range testtime.Pick(t, 100, 20_000) {
		text := someSnapshot(r)
		agree(t, text, someWay(r))
		for range 10 {
			agree(t, mutate(r, text), someWay(r))
		}
	}
}

func TestTheLaneAndTheDecoderAgreeOnTheVectors(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "backuptest", "testdata", "vectors", "*"))
	require.NoError(t, err)
	require.Greater(t, len(files), 500)
	r := rand.New(rand.NewPCG(1, 0))
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		if len(text) > 1<<20 && !testtime.Long() {
			continue
		}
		for _, block := range []int{50, blockBytes} {
			agree(t, text, way{block, 2, true, Defaults, whole})
		}
		if len(text) > 0 && len(text) < 100_000 {
			agree(t, mutate(r, text), someWay(r))
		}
	}
}

func TestTheLaneKeepsTheLimitsOnRecords(t *testing.T) {
	name := strings.Repeat("k", MaxKey)
	for text, fine := range map[string]bool{
		"{\n\"a\":1,\n\"" + name + "\":2\n}":        true,
		"{\n\"a\":1,\n\"" + name + "k\":2\n}":       false,
		"{\n\"a\":1,\n\"" + name + "\\u006b\":2\n}": false,
		"[\n{},\n{},\n{}\n]":                        true,
		"[\n{},\n{},\n{},\n{}\n]":                   false, // one too many
		"[\n{\"a\":\"" + name + name + "\"}\n]":     false, // too large
	} {
		w := way{50, 2, true, testLimits, whole}
		w.limits.Records, w.limits.RecordBytes = 3, 6000
		document := []byte(head + "\"data\":{\n\"c\":" + text + "\n}\n}\n")
		agree(t, document, w)
		require.Equal(t, fine, w.scan(t, document).err == nil, "%.50q", text)
	}
}

func FuzzLane(f *testing.F) {
	r := rand.New(rand.NewPCG(2, 0))
	for seed := uint64(0); seed < 12; {
		if text := someSnapshot(r); len(text) < 800 { // a fuzzer takes long to cut large ones
			f.Add(text, seed)
			seed++
		}
	}
	f.Fuzz(func(t *testing.T, text []byte, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 0))
		agree(t, text, someWay(r))
		if len(text) > 0 {
			agree(t, mutate(r, text), someWay(r))
		}
	})
}

// manyLines is a document whose one collection has n records, as written.
func manyLines(n int, pad string) []byte {
	var out bytes.Buffer
	w := NewWriter(&out)
	w.Member("version", []byte(`"1.0"`))
	w.BeginData()
	w.BeginCollection("l", false)
	for i := range n {
		w.Record("", fmt.Appendf(nil, `{"id":%d,"pad":"%s"}`, i, pad))
	}
	w.EndCollection()
	w.EndData()
	w.End(func(sum string) []byte { return []byte(`{"sha256":"` + sum + `"}`) })
	return out.Bytes()
}

func TestTheLaneTakesAllThatIsWritten(t *testing.T) {
	for name, text := range map[string][]byte{
		"short records": manyLines(9000, ""),
		"long records":  manyLines(5, strings.Repeat("x", 600_000)),
	} {
		for _, workers := range []int{1, 3} {
			t.Run(fmt.Sprintf("%s, %d workers", name, workers), func(t *testing.T) {
				agree(t, text, way{10_000, workers, true, testLimits, whole})
				s := newScanner(bytes.NewReader(text), testLimits, noHooks, 10_000)
				s.lane.workers = workers
				doc, err := s.scan()
				require.NoError(t, err)
				require.EqualValues(t, s.doc.Collections[0].Count, s.records)
				for _, part := range doc.Collections[0].parts[:len(doc.Collections[0].parts)-1] {
					require.True(t, part.lines)
				}
				require.Equal(t, doc.Collections[0].End-int64(len("\n]")), s.lane.at, "the decoder has read records")
			})
		}
	}
}

func TestTheLaneLeavesNoGoroutineBehind(t *testing.T) {
	text := manyLines(9000, strings.Repeat("x", 50))
	broken := errors.New("broken")
	before := runtime.NumGoroutine()
	stops := func(after int) Hooks {
		hooks := noHooks
		hooks.Progress = func(string, int64, int64) error {
			if after--; after < 0 {
				return broken
			}
			return nil
		}
		return hooks
	}
	for name, scanIt := range map[string]func() error{
		"an error of a hook": func() error {
			s := newScanner(bytes.NewReader(text), testLimits, stops(3), 10_000)
			s.lane.workers = 3
			_, err := s.scan()
			return err
		},
		"a hook panics": func() (err error) {
			defer func() { err = recover().(error) }()
			hooks := stops(1)
			hooks.Progress = func(string, int64, int64) error { panic(broken) }
			s := newScanner(bytes.NewReader(text), testLimits, hooks, 10_000)
			s.lane.workers = 3
			_, err = s.scan()
			return err
		},
		"an error of the reader": func() error {
			s := newScanner(io.MultiReader(bytes.NewReader(text[:400_000]), iotest.ErrReader(broken)), testLimits, noHooks, 10_000)
			s.lane.workers = 3
			_, err := s.scan()
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, broken, scanIt())
			for range 1000 {
				if runtime.NumGoroutine() <= before+1 { // of the subtest
					return
				}
				time.Sleep(time.Millisecond)
			}
			t.Errorf("%d goroutines, and before %d", runtime.NumGoroutine(), before)
		})
	}
}

func BenchmarkScan(b *testing.B) {
	text := manyLines(100_000, strings.Repeat("x", 230))
	limits := Defaults
	for name, block := range map[string]int{"lane": blockBytes, "decoder": 0} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if _, err := newScanner(bytes.NewReader(text), limits, noHooks, block).scan(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
