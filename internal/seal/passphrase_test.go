package seal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	jsonv1 "encoding/json"

	"github.com/stretchr/testify/require"
)

const (
	fixedPassphrase = "correct horse ∞"

	wrappedUsual = `{"type":"argon2id","salt":"YGFiY2RlZmdoaWprbG1ubw==","time":3,"memory":65536,"threads":4,` +
		`"wrapped":"QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXXMVgwO5jquM7sHprn7ClRFt+7eG4VncgswWrQ3GuDxqbDemx3HWjfLvod2auAsHG"}`
	wrappedLeast = `{"type":"argon2id","salt":"YGFiY2RlZmdoaWprbG1ubw==","time":1,"memory":8192,"threads":1,` +
		`"wrapped":"QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXaD8vjDroWR2e0FQ5WqCZBOBq1hx8uuKPKd0A0mEOgEOr4rMWzzPzf6gnA0qNVig8"}`
)

func isOneOf(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
}

func TestKeyWrappedByAnotherImplementationUnwraps(t *testing.T) {
	for _, wrapped := range []string{wrappedUsual, wrappedLeast} {
		key, err := UnwrapPassphrase([]byte(fixedPassphrase), jsonv1.RawMessage(wrapped))
		require.NoError(t, err)
		require.Equal(t, fixedKey, key)
	}
}

func TestWrappedKeyUnwrapsWithThePassphraseOnly(t *testing.T) {
	key := NewKey()
	wrapped, err := WrapPassphrase([]byte("hunter2"), key)
	require.NoError(t, err)
	require.Regexp(t, `^{"type":"argon2id","salt":"[A-Za-z0-9+/]{22}==","time":3,"memory":65536,"threads":4,"wrapped":"[A-Za-z0-9+/]{96}"}$`, string(wrapped))

	require.Equal(t, 18, ScryptWork())

	got, err := UnwrapPassphrase([]byte("hunter2"), wrapped)
	require.NoError(t, err)
	require.Equal(t, key, got)

	again, err := WrapPassphrase([]byte("hunter2"), key)
	require.NoError(t, err)
	require.NotEqual(t, string(wrapped), string(again))

	for _, wrong := range []string{"", "hunter", "hunter2\n", "Hunter2"} {
		got, err := UnwrapPassphrase([]byte(wrong), wrapped)
		require.ErrorIs(t, err, ErrWrongKey, "%q", wrong)
		require.Nil(t, got)
		require.NotContains(t, err.Error(), "unter")
	}
}

func TestWrapRefusesAKeyOfTheWrongLength(t *testing.T) {
	for _, n := range []int{0, 16, 33} {
		_, err := WrapPassphrase([]byte("hunter2"), make([]byte, n))
		require.ErrorIs(t, err, ErrMalformed)
	}
}

func TestMembersMayStandInAnyOrderWithWhiteSpace(t *testing.T) {
	wrapped := `{ "wrapped" : "QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXaD8vjDroWR2e0FQ5WqCZBOBq1hx8uuKPKd0A0mEOgEOr4rMWzzPzf6gnA0qNVig8",
		"threads": 1, "memory": 8192, "time": 1, "salt": "YGFiY2RlZmdoaWprbG1ubw==", "type": "argon2id" }`
	key, err := UnwrapPassphrase([]byte(fixedPassphrase), jsonv1.RawMessage(wrapped))
	require.NoError(t, err)
	require.Equal(t, fixedKey, key)
}

func TestWrappedKeyChangedInAnyByteIsRefused(t *testing.T) {
	at := func(name string) (from, to int) { // of the text of a string member
		_, after, ok := strings.Cut(wrappedLeast, `"`+name+`":"`)
		require.True(t, ok)
		from = len(wrappedLeast) - len(after)
		return from, from + strings.IndexByte(after, '"')
	}
	typeFrom, typeTo := at("type")
	saltFrom, saltTo := at("salt")
	sealedFrom, sealedTo := at("wrapped")
	for i := range wrappedLeast {
		for _, flip := range []byte{0x01, 0x80} {
			altered := []byte(wrappedLeast)
			altered[i] ^= flip
			want := []error{ErrMalformed, ErrLimits, ErrWrongKey} // punctuation, names of members, numbers
			switch {
			case flip == 0x80: // no longer UTF-8
				want = []error{ErrMalformed}
			case i >= typeFrom && i < typeTo:
				want = []error{ErrOtherType}
			case i >= saltFrom && i < saltTo, i >= sealedFrom && i < sealedTo:
				want = []error{ErrWrongKey, ErrMalformed}
			}
			key, err := UnwrapPassphrase([]byte(fixedPassphrase), altered)
			require.Nil(t, key)
			require.True(t, isOneOf(err, want...), "byte %d: %s: %v", i, altered, err)
		}
		_, err := UnwrapPassphrase([]byte(fixedPassphrase), jsonv1.RawMessage(wrappedLeast[:i]))
		require.ErrorIs(t, err, ErrMalformed, "%s", wrappedLeast[:i])
	}
}

// requireCheapRefusal fails if more is allocated than parsing takes: deriving a
// key takes 8 MiB at least.
func requireCheapRefusal(t *testing.T, wrapped string, want error) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	key, err := UnwrapPassphrase([]byte(fixedPassphrase), jsonv1.RawMessage(wrapped))
	runtime.ReadMemStats(&after)
	require.ErrorIs(t, err, want)
	require.Nil(t, key)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20))
}

func TestHostileCostIsRefusedBeforeAnyWork(t *testing.T) {
	for _, c := range []struct{ name, from, to string }{
		{"no time", `"time":1`, `"time":0`},
		{"much time", `"time":1`, `"time":17`},
		{"time that wraps to 1 in 32 bits", `"time":1`, `"time":4294967297`},
		{"time beyond 64 bits", `"time":1`, `"time":18446744073709551617`},
		{"no memory", `"memory":8192`, `"memory":0`},
		{"little memory", `"memory":8192`, `"memory":8191`},
		{"much memory", `"memory":8192`, `"memory":1048577`},
		{"memory that wraps to 8192 in 32 bits", `"memory":8192`, `"memory":4294975488`},
		{"no threads", `"threads":1`, `"threads":0`},
		{"many threads", `"threads":1`, `"threads":17`},
		{"threads that wrap to 1 in 8 bits", `"threads":1`, `"threads":257`},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Contains(t, wrappedLeast, c.from)
			requireCheapRefusal(t, strings.Replace(wrappedLeast, c.from, c.to, 1), ErrLimits)
		})
	}
}

func TestCostAtTheBoundsIsAllowed(t *testing.T) {
	require.NoError(t, cost{time: 1, memory: 8192, threads: 1}.check())
	require.NoError(t, cost{time: 16, memory: 1048576, threads: 16}.check())
}

func TestMalformedWrappedKeyIsRefusedBeforeAnyWork(t *testing.T) {
	for _, c := range []struct{ name, from, to string }{
		{"nothing", wrappedLeast, ``},
		{"null", wrappedLeast, `null`},
		{"array", wrappedLeast, `[]`},
		{"string", wrappedLeast, `"argon2id"`},
		{"two documents", `}`, `}{}`},
		{"no type", `"type":"argon2id",`, ``},
		{"null type", `"argon2id"`, `null`},
		{"number as type", `"argon2id"`, `1`},
		{"type in capitals", `"type"`, `"Type"`},
		{"no salt", `"salt":"YGFiY2RlZmdoaWprbG1ubw==",`, ``},
		{"no time", `"time":1,`, ``},
		{"null memory", `8192`, `null`},
		{"unknown member", `"time":1`, `"time":1,"pepper":1`},
		{"member in capitals", `"salt"`, `"Salt"`},
		{"duplicate member", `"time":1`, `"time":1,"time":1`},
		{"negative", `"time":1`, `"time":-1`},
		{"fraction", `"time":1`, `"time":1.0`},
		{"exponent", `"time":1`, `"time":1e0`},
		{"text for a number", `"time":1`, `"time":"1"`},
		{"short salt", `YGFiY2RlZmdoaWprbG1ubw==`, `YGFiY2RlZmdoaWprbG1u`},
		{"long salt", `YGFiY2RlZmdoaWprbG1ubw==`, `YGFiY2RlZmdoaWprbG1ub28=`},
		{"salt without padding", `bw==`, `bw`},
		{"salt with bits left over", `bw==`, `bx==`},
		{"line break in base64", `YGFi`, `YG\nFi`},
		{"base64 of URLs", `A0qNVig8`, `A0qN-ig_`},
		{"short key", `A0qNVig8`, ``},
		{"long key", `A0qNVig8`, `A0qNVig8AAAA`},
		{"invalid UTF-8", `"argon2id"`, "\"argon2id\xff\""},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Contains(t, wrappedLeast, c.from)
			requireCheapRefusal(t, strings.Replace(wrappedLeast, c.from, c.to, 1), ErrMalformed)
		})
	}
}

func TestHostileWrappedKeyDoesNotFillTheLog(t *testing.T) {
	name := strings.Repeat("n", 1<<20)
	for _, wrapped := range []string{
		`{"type":"argon2id","` + name + `":1}`,
		`{"type":"argon2id","` + name + `":1,"` + name + `":1}`,
		`{"type":"` + name + `"}`,
		`{"type":"argon2id","time":1` + strings.Repeat("0", 1<<20) + `}`,
		`{"type":"argon2id","salt":"` + name + `"}`,
	} {
		_, err := UnwrapPassphrase([]byte(fixedPassphrase), jsonv1.RawMessage(wrapped))
		require.Error(t, err)
		require.Less(t, len(err.Error()), 400)
	}
}

func TestKeyForAnotherTypeOfIdentityIsToldApart(t *testing.T) {
	for _, wrapped := range []string{
		`{"type":"age","recipient":"age1…","wrapped":["any","thing"]}`,
		`{"type":"Argon2id"}`,
		`{"type":""}`,
		`{"salt":1,"type":"scrypt"}`,
	} {
		requireCheapRefusal(t, wrapped, ErrOtherType)
	}
}

func FuzzUnwrapPassphrase(f *testing.F) {
	seeds, err := os.ReadDir("testdata/fuzz/FuzzUnwrapPassphrase")
	require.NoError(f, err)
	require.NotEmpty(f, seeds)
	f.Fuzz(func(t *testing.T, wrapped []byte) {
		given := bytes.Clone(wrapped)
		c, _, _, err := parsePassphrase(wrapped)
		if err == nil && (c.memory > 16<<10 || c.time > 2) {
			require.NoError(t, c.check())
			return // in order, but it would take long
		}
		key, unwrapErr := UnwrapPassphrase([]byte(fixedPassphrase), wrapped)
		require.Equal(t, given, wrapped)
		switch {
		case err != nil:
			require.True(t, isOneOf(err, ErrMalformed, ErrLimits, ErrOtherType), "%v", err)
			require.Equal(t, fmt.Sprint(err), fmt.Sprint(unwrapErr))
			require.Nil(t, key)
		case unwrapErr != nil:
			require.ErrorIs(t, unwrapErr, ErrWrongKey)
			require.Nil(t, key)
		default:
			require.Equal(t, fixedKey, key)
		}
	})
}

func TestTheMemoryOfADerivationDoesNotStay(t *testing.T) {
	wrapped, err := WrapPassphrase([]byte("hunter2"), NewKey())
	require.NoError(t, err)
	for name, derive := range map[string]func() error{
		"wrap": func() error {
			_, err := WrapPassphrase([]byte("hunter2"), NewKey())
			return err
		},
		"unwrap": func() error {
			_, err := UnwrapPassphrase([]byte("hunter2"), wrapped)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, derive())
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			require.Less(t, m.HeapAlloc, uint64(UsualMemory/2), "in use")
			require.Less(t, m.NextGC, uint64(UsualMemory/2), "to which the heap may grow")
			require.Less(t, m.HeapIdle-m.HeapReleased, uint64(UsualMemory/2), "kept from the system")
		})
	}
}
