package backuptest

import (
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/tomo-project/backup/location"

	"github.com/stretchr/testify/require"
)

func TestMapLocationKeepsEveryRule(t *testing.T) {
	TestLocation(t, func(*testing.T) location.Location { return MapLocation{} })
}

func TestMapLocationIsALiteral(t *testing.T) {
	l := MapLocation{"b": "second", "a": "first"}
	require.NoError(t, l.Put(t.Context(), "c", strings.NewReader("third")))
	require.NoError(t, l.Delete(t.Context(), "b"))
	require.Equal(t, MapLocation{"a": "first", "c": "third"}, l)

	files, err := l.List(t.Context())
	require.NoError(t, err)
	require.Equal(t, []location.File{{Name: "a", Bytes: 5}, {Name: "c", Bytes: 5}}, files)
}

func TestAFileOfAMapLocationIsOverWhenItIsClosed(t *testing.T) {
	f, err := MapLocation{"a": "first"}.Open(t.Context(), "a")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.ErrorIs(t, f.Close(), fs.ErrClosed)
	_, err = io.ReadAll(f)
	require.ErrorIs(t, err, fs.ErrClosed)
	_, err = f.(io.ReaderAt).ReadAt(make([]byte, 1), 0)
	require.ErrorIs(t, err, fs.ErrClosed)
	_, err = f.(io.Seeker).Seek(0, io.SeekStart)
	require.ErrorIs(t, err, fs.ErrClosed)
}

func TestANilMapLocationIsEmpty(t *testing.T) {
	var l MapLocation
	files, err := l.List(t.Context())
	require.NoError(t, err)
	require.Empty(t, files)
	require.ErrorContains(t, l.Put(t.Context(), "a", strings.NewReader("")), "make the map")
}
