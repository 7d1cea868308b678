package validate

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestASchemaIsCompiledOnce(t *testing.T) {
	first, err := Compile("servers", []byte(`{"type":"string"}`))
	require.NoError(t, err)
	again, err := Compile("servers", []byte(`{"type":"string"}`))
	require.NoError(t, err)
	require.Same(t, first, again)

	// The name is in errors, and the base of references.
	other, err := Compile("users", []byte(`{"type":"string"}`))
	require.NoError(t, err)
	require.NotSame(t, first, other)
}

func TestTheKeptSchemasAreBounded(t *testing.T) {
	var c cache
	for i := range 3 * maxKept {
		_, err := c.get("servers", fmt.Appendf(nil, `{"minLength":%d}`, i))
		require.NoError(t, err)
		require.LessOrEqual(t, len(c.kept), maxKept)
	}
	for i := range 10 {
		_, err := c.get("servers", fmt.Appendf(nil, `{"minLength":%d}%s`, i, strings.Repeat(" ", maxKeptBytes/3)))
		require.NoError(t, err)
		require.LessOrEqual(t, len(c.kept), 3)
		require.LessOrEqual(t, c.bytes, maxKeptBytes)
	}
	_, err := c.get("servers", []byte(`{}`+strings.Repeat(" ", maxKeptBytes)))
	require.NoError(t, err)
	require.LessOrEqual(t, c.bytes, maxKeptBytes)
}

func TestSchemasAreKeptForSeveralAtOnce(t *testing.T) {
	var c cache
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for i := range 50 {
				if _, err := c.get("servers", fmt.Appendf(nil, `{"minLength":%d}`, i%10)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	require.Len(t, c.kept, 10)
}
