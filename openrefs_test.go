package backup_test

import (
	"context"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/testtime"
)

// A chain is a host with users, each of whom has a boss who comes later, and a friend who
// exists if there are friends.
type chain struct {
	users   int
	friends bool
}

var chainApp = &backup.App{Name: "homelab", Version: "2.1.0", SchemaVersion: 1, Collections: []backup.Collection{
	{Name: "users", Key: "/id", Refs: []backup.Ref{{Pointer: "/boss", Collection: "users"}, {Pointer: "/friend", Collection: "users"}}}}}

// chainKey is long, as the memory must not depend on it.
func chainKey(i int) string { return fmt.Sprintf("%0300d", i) }

func (c chain) View(ctx context.Context, read func(backup.Reader) error) error { return read(c) }

func (c chain) Records(context.Context, string) iter.Seq2[backup.Record, error] {
	return func(yield func(backup.Record, error) bool) {
		for i := range c.users {
			friend := chainKey(0)
			if !c.friends {
				friend = fmt.Sprintf("nobody %d", i)
			}
			value := fmt.Appendf(nil, `{"id":%q,"boss":%q,"friend":%q}`, chainKey(i), chainKey(c.users-1-i/2), friend)
			if !yield(backup.Record{Value: value}, nil) {
				return
			}
		}
	}
}

func TestTheMemoryOfABackupDoesNotDependOnReferencesToLaterRecords(t *testing.T) {
	testtime.NotForRace(t)
	live := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	users := testtime.Pick(t, 40_000, 200_000)
	before, most, calls := live(), uint64(0), 0
	m, err := chainApp.Backup(t.Context(), io.Discard, chain{users: users, friends: true}, backup.BackupOptions{Progress: func(backup.Progress) {
		if calls++; calls%20 == 0 {
			most = max(most, live())
		}
	}})
	require.NoError(t, err)
	require.EqualValues(t, users, m.Records["users"])
	require.Greater(t, calls, 100)
	require.Less(t, most-min(most, before), uint64(12<<20), "the keys alone may be held")
}

func TestReferencesToNothingAreNamedInTheirOrderHoweverManyThereAre(t *testing.T) {
	testtime.NotForRace(t)
	const users = 20_000
	for name, folder := range map[string]string{
		"with a place for a temporary file":    t.TempDir(),
		"without a place for a temporary file": filepath.Join(t.TempDir(), "missing"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("TMPDIR", folder)
			t.Setenv("TMP", folder)
			_, err := chainApp.Backup(t.Context(), io.Discard, chain{users: users}, backup.BackupOptions{})
			require.ErrorIs(t, err, backup.ErrDangling)
			require.Equal(t, 1+20+1+1, len(strings.Split(err.Error(), "\n")))
			for i, line := range strings.Split(err.Error(), "\n")[1:21] {
				require.Equal(t, fmt.Sprintf(`  users %q /friend: there is no "nobody %d" in users`, chainKey(i), i), line)
			}
			m, err := chainApp.Backup(t.Context(), io.Discard, chain{users: users}, backup.BackupOptions{LeaveOutInvalid: true})
			require.NoError(t, err)
			require.Len(t, m.Dangling, 1000)
			for i, problem := range m.Dangling {
				require.Equal(t, chainKey(i), problem.Key)
				require.Equal(t, "/friend", problem.Pointer)
			}
			left, err := os.ReadDir(folder)
			require.True(t, err != nil || len(left) == 0)
		})
	}
}
