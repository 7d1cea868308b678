package keyset_test

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup/internal/keyset"
)

func TestAMapKeepsTheNumberOfEachKey(t *testing.T) {
	m := keyset.NewMap()
	require.Nil(t, m.At(""))
	const keys = 200_000
	for i := range keys {
		require.True(t, m.Add(strconv.Itoa(i), uint64(i)))
	}
	require.False(t, m.Add("7", 8), "7 is there, and stays as it is")
	require.Equal(t, keys, m.Len())
	for i := range keys {
		at := m.At(strconv.Itoa(i))
		if at == nil || *at != uint64(i) {
			t.Fatal(i)
		}
		*at++
	}
	require.Equal(t, uint64(8), *m.At("7"))
	for i := keys; i < 2*keys; i++ {
		if m.At(strconv.Itoa(i)) != nil {
			t.Fatal(i)
		}
	}
}
