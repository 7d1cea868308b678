package backuptest

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/tomo-project/backup/location"

	"github.com/stretchr/testify/require"
)

func TestFaultyLocationThatNeverFailsKeepsEveryRule(t *testing.T) {
	for _, call := range []Call{CallPutRead, CallRead} {
		t.Run(string(call), func(t *testing.T) {
			TestLocation(t, func(*testing.T) location.Location {
				return &FaultyLocation{Location: newLockable(), On: call, Err: errProbe}
			})
		})
	}
}

// useAll calls every method once, with a file of 2,500 bytes.
func useAll(ctx context.Context, l *FaultyLocation) error {
	return errors.Join(
		l.Put(ctx, "a", strings.NewReader(strings.Repeat("x", 2500))),
		func() error {
			f, err := l.Open(ctx, "a")
			if err != nil {
				return err
			}
			_, err = io.ReadAll(f)
			_, at := f.(io.ReaderAt).ReadAt(make([]byte, 1), 0)
			return errors.Join(err, at, f.Close())
		}(),
		func() error { _, err := l.List(ctx); return err }(),
		func() error {
			unlock, err := l.Lock(ctx, "a", "holder")
			if err != nil {
				return err
			}
			return unlock()
		}(),
		l.Delete(ctx, "a"),
	)
}

func TestFaultyLocationFailsAtEveryCall(t *testing.T) {
	counts := map[Call]int{}
	for _, call := range LocationCalls {
		for nth := 1; ; nth++ {
			var seen []int
			l := &FaultyLocation{Location: newLockable(), On: call, Nth: nth, Err: errProbe, Do: func() { seen = append(seen, nth) }}
			err := useAll(t.Context(), l)
			if !l.Reached() {
				require.NoError(t, err)
				counts[call] = l.Count()
				break
			}
			require.ErrorIs(t, err, errProbe)
			require.Equal(t, []int{nth}, seen)
		}
	}
	// A file of 2,500 bytes has three begun KiB and an end. ReadAt is one more call.
	require.Equal(t, map[Call]int{
		CallPut: 1, CallPutRead: 4, CallOpen: 1, CallRead: 5, CallList: 1, CallDelete: 1, CallLock: 1,
	}, counts)
}

func TestFaultyLocationThatIsDownFailsAlways(t *testing.T) {
	l := &FaultyLocation{Location: MapLocation{}, On: CallList, Nth: -1, Err: errProbe}
	require.False(t, l.Reached())
	for range 3 {
		_, err := l.List(t.Context())
		require.ErrorIs(t, err, errProbe)
	}
	require.True(t, l.Reached())
	require.Equal(t, 3, l.Count())
}

func TestFaultyLocationCanLookWithoutFailing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	inner := MapLocation{}
	l := &FaultyLocation{Location: inner, On: CallPutRead, Nth: 2, Do: cancel}
	require.ErrorIs(t, l.Put(ctx, "a", strings.NewReader(strings.Repeat("x", 2500))), context.Canceled)
	require.Empty(t, inner)
}

func TestFaultyLocationOpensWhatTheLocationOpens(t *testing.T) {
	inner := MapLocation{"a": "first"}
	plain, err := (&FaultyLocation{Location: inner, On: CallList}).Open(t.Context(), "a")
	require.NoError(t, err)
	require.IsType(t, &mapFile{}, plain)

	stream := &badPlace{lockable: lockable{MapLocation: inner}, open: func(ctx context.Context, name string) (io.ReadCloser, error) {
		f, err := inner.Open(ctx, name)
		return struct{ io.ReadCloser }{f}, err
	}}
	f, err := (&FaultyLocation{Location: stream, On: CallRead}).Open(t.Context(), "a")
	require.NoError(t, err)
	_, seeks := f.(io.Seeker)
	require.False(t, seeks)
}
