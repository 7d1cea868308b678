package keyset_test

import (
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup/internal/keyset"
)

func TestASetKnowsItsKeys(t *testing.T) {
	s := keyset.New()
	require.False(t, s.Has(""))
	keys := []string{"", "a", "A", "a\x00", "\x00a", "ü", "\xff", strings.Repeat("long", 10_000), "1", "01"}
	for i, key := range keys {
		require.False(t, s.Has(key))
		require.True(t, s.Add(key), "%q is new", key)
		require.False(t, s.Add(key), "%q is not new any more", key)
		require.True(t, s.Has(key))
		require.Equal(t, i+1, s.Len())
	}
}

func TestASetTakesNoKeyForAnother(t *testing.T) {
	s := keyset.New()
	for i := range 200_000 {
		require.True(t, s.Add(strconv.Itoa(i)))
	}
	for i := 200_000; i < 400_000; i++ {
		if s.Has(strconv.Itoa(i)) {
			t.Fatal(i)
		}
	}
	require.Equal(t, 200_000, s.Len())
}

func TestTwoSetsDrawTheirOwnBits(t *testing.T) {
	a, b := keyset.New(), keyset.New()
	a.Add("x")
	require.False(t, b.Has("x"))
}

func TestASetDoesNotHoldTheKeys(t *testing.T) {
	live := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := live()
	s := keyset.New()
	const keys = 100_000
	tail := strings.Repeat("k", 1000)
	for i := range keys {
		s.Add(strconv.Itoa(i) + tail)
	}
	after := live()
	require.Equal(t, keys, s.Len())
	require.Less(t, after-min(before, after), uint64(100*keys), "whatever the length of a key")
}
